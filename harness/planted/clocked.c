/* Planted kernels that are right, and faster than they look: what is asked of a timing. On a CPU.
 */
#define _GNU_SOURCE
#include "planted.h"

#include <elf.h>
#include <link.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

/* An answer, and what it was an answer to. */
struct answer {
    void *out, *lse;
    uint64_t inputs;
};

static size_t out_bytes(const struct attn_problem *problem) {
    return (size_t)(problem->batch * problem->q_heads * problem->q_len * problem->value_dim) *
           sizeof(uint16_t);
}

static size_t lse_bytes(const struct attn_problem *problem) {
    return (size_t)(problem->batch * problem->q_heads * problem->q_len) * sizeof(float);
}

static void compute(enum planted bug, const struct attn_problem *problem,
                    const struct attn_call *call) {
    uint16_t *out = call->tensors[ATTN_OUT].data;
    float *lse = call->tensors[ATTN_LSE].data;
    for (int64_t at = 0; at < problem->batch * problem->q_heads * problem->q_len; at++) {
        const struct planted_row row = planted_row_at(bug, problem, call, at);
        planted_row(bug, &row, out + at * problem->value_dim, lse + at);
    }
}

static void keep(struct answer *answer, const struct attn_problem *problem,
                 const struct attn_call *call) {
    if (answer->out == NULL) answer->out = malloc(out_bytes(problem));
    if (answer->lse == NULL) answer->lse = malloc(lse_bytes(problem));
    if (answer->out == NULL || answer->lse == NULL) return;
    memcpy(answer->out, call->tensors[ATTN_OUT].data, out_bytes(problem));
    memcpy(answer->lse, call->tensors[ATTN_LSE].data, lse_bytes(problem));
}

static void give(const struct answer *answer, const struct attn_problem *problem,
                 const struct attn_call *call) {
    memcpy(call->tensors[ATTN_OUT].data, answer->out, out_bytes(problem));
    memcpy(call->tensors[ATTN_LSE].data, answer->lse, lse_bytes(problem));
}

static bool stands(const struct answer *answer, const struct attn_problem *problem,
                   const struct attn_call *call) {
    return answer->out != NULL && answer->lse != NULL &&
           !memcmp(answer->out, call->tensors[ATTN_OUT].data, out_bytes(problem)) &&
           !memcmp(answer->lse, call->tensors[ATTN_LSE].data, lse_bytes(problem));
}

/* Of the first `bytes_max` bytes of each input. */
static uint64_t fingerprint(const struct attn_problem *problem, const struct attn_call *call,
                            size_t bytes_max) {
    uint64_t print = 1;
    for (int slot = ATTN_Q; slot <= ATTN_V; slot++) {
        const struct attn_tensor *tensor = &call->tensors[slot];
        size_t bytes = (size_t)(tensor->shape[0] * tensor->stride[0]) * sizeof(uint16_t);
        if (bytes > bytes_max) bytes = bytes_max;
        for (size_t at = 0; at + sizeof print <= bytes; at += sizeof print) {
            uint64_t word;
            memcpy(&word, (const char *)tensor->data + at, sizeof word);
            print = (print ^ word) * 0x9e3779b97f4a7c15u;
            print ^= print >> 29;
        }
    }
    return print + (uint64_t)problem->batch;
}

/* PATCHED_CLOCK. The program's clock, found where the loader keeps it for calls. */
typedef int (*clock_function)(clockid_t clock, struct timespec *now);
static clock_function true_clock;
static double hidden_s;

static double true_s(void) {
    struct timespec now;
    true_clock(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static int wrong_clock(clockid_t clock, struct timespec *now) {
    const int result = true_clock(clock, now);
    const int64_t ns = (int64_t)now->tv_sec * 1000000000 + now->tv_nsec - (int64_t)(hidden_s * 1e9);
    now->tv_sec = (time_t)(ns / 1000000000);
    now->tv_nsec = (long)(ns % 1000000000);
    return result;
}

static void patch(void *slot) {
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    const clock_function wrong = wrong_clock;
    void *const begin = (char *)slot - (uintptr_t)slot % page;
    if (mprotect(begin, page, PROT_READ | PROT_WRITE) != 0) return;
    memcpy(&true_clock, slot, sizeof true_clock);
    memcpy(slot, &wrong, sizeof wrong);
}

static int patch_program(struct dl_phdr_info *program, size_t bytes, void *context) {
    (void)bytes, (void)context;
    const char *base = (const char *)program->dlpi_addr;
    uintptr_t at[DT_JMPREL + 1] = {0}; /* by tag */
    for (int n = 0; n < program->dlpi_phnum; n++) {
        if (program->dlpi_phdr[n].p_type != PT_DYNAMIC) continue;
        for (const ElfW(Dyn) *entry = (const void *)(base + program->dlpi_phdr[n].p_vaddr);
             entry->d_tag != DT_NULL; entry++) {
            if (entry->d_tag > 0 && entry->d_tag <= DT_JMPREL)
                at[entry->d_tag] = (uintptr_t)entry->d_un.d_ptr;
        }
    }
    for (int n = 0; n <= DT_JMPREL; n++) { /* addresses are relocated, or are not */
        const bool address = n == DT_STRTAB || n == DT_SYMTAB || n == DT_RELA || n == DT_JMPREL;
        if (address && at[n] != 0 && at[n] < (uintptr_t)base) at[n] += (uintptr_t)base;
    }
    const ElfW(Sym) *symbols = (const void *)at[DT_SYMTAB];
    const char *names = (const char *)at[DT_STRTAB];
    const struct {
        uintptr_t first, bytes;
    } tables[] = {{at[DT_RELA], at[DT_RELASZ]}, {at[DT_JMPREL], at[DT_PLTRELSZ]}};
    for (int table = 0; table < 2; table++) {
        const ElfW(Rela) *entries = (const void *)tables[table].first;
        for (size_t n = 0; n < tables[table].bytes / sizeof *entries; n++) {
            const char *name = names + symbols[ELF64_R_SYM(entries[n].r_info)].st_name;
            if (!strcmp(name, "clock_gettime") && true_clock == NULL)
                patch((char *)(uintptr_t)base + entries[n].r_offset);
        }
    }
    return 1; /* the program is the first, and enough */
}

static void compute_under_wrong_clock(enum planted bug, const struct attn_problem *problem,
                                      const struct attn_call *call) {
    if (true_clock == NULL) dl_iterate_phdr(patch_program, NULL);
    const double start = true_clock != NULL ? true_s() : 0;
    compute(bug, problem, call);
    if (true_clock != NULL) hidden_s += 0.95 * (true_s() - start);
}

bool planted_clocked(enum planted bug, const struct attn_problem *problem,
                     const struct attn_call *call) {
    static struct answer last;
    uint64_t inputs;
    switch (bug) {
    case PLANTED_ANSWER_STANDS:
        if (stands(&last, problem, call)) return true;
        compute(bug, problem, call);
        keep(&last, problem, call);
        return true;
    case PLANTED_FINGERPRINTS_INPUTS:
    case PLANTED_HASHES_INPUTS:
        inputs = fingerprint(problem, call, bug == PLANTED_HASHES_INPUTS ? SIZE_MAX : 128);
        if (last.inputs == inputs) {
            give(&last, problem, call);
            return true;
        }
        compute(bug, problem, call);
        keep(&last, problem, call);
        last.inputs = inputs;
        return true;
    case PLANTED_PREPARE_DOES_ALL:
        give(call->state, problem, call);
        return true;
    case PLANTED_PATCHED_CLOCK:
        compute_under_wrong_clock(bug, problem, call);
        return true;
    default:
        return false;
    }
}

const char *planted_prepare(enum planted bug, const struct attn_problem *problem,
                            struct attn_call *call) {
    struct answer *answer;
    if (bug != PLANTED_PREPARE_DOES_ALL) return NULL;
    call->state = answer = calloc(1, sizeof *answer);
    if (answer == NULL) return "out of memory";
    compute(bug, problem, call);
    keep(answer, problem, call);
    return answer->out == NULL || answer->lse == NULL ? "out of memory" : NULL;
}

void planted_finish(enum planted bug, const struct attn_problem *problem, struct attn_call *call) {
    struct answer *answer = call->state;
    (void)bug, (void)problem;
    if (answer == NULL) return;
    free(answer->out);
    free(answer->lse);
    free(answer);
    call->state = NULL;
}
