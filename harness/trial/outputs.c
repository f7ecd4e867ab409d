/* Output memory, and the three things done with it: fill, look at the guards, compare. */
#define _GNU_SOURCE
#include "outputs.h"
#include "../../kernels/attn_number.h"
#include "../../fixtures/problem.h"
#include "../../oracle/bulk.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { GUARD_BYTES = 4096 };

static size_t round_up(size_t bytes) {
    return (bytes + GUARD_BYTES - 1) / GUARD_BYTES * GUARD_BYTES;
}

bool outputs_allocate(struct outputs *outputs, const struct attn_problem *problem,
                      struct fault *fault) {
    const size_t rows = (size_t)(problem->batch * problem->q_heads * problem->q_len);
    const int64_t row_bytes = problem->value_dim * attn_dtype_bytes(rules_out_dtype(problem));
    *outputs = (struct outputs){.out_at = GUARD_BYTES,
                                .out_bytes = rows * (size_t)row_bytes,
                                .lse_bytes = rows * sizeof(float)};
    outputs->lse_at = round_up(outputs->out_at + outputs->out_bytes + GUARD_BYTES);
    outputs->bytes = round_up(outputs->lse_at + outputs->lse_bytes + GUARD_BYTES);
    outputs->file = memfd_create("attest-outputs", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    void *memory = MAP_FAILED;
    /* Sealed as a fixture's memory is, and for the same reasons. */
    const int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
    if (outputs->file >= 0 && ftruncate(outputs->file, (off_t)outputs->bytes) == 0 &&
        fcntl(outputs->file, F_ADD_SEALS, seals) == 0)
        memory = mmap(NULL, outputs->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, outputs->file, 0);
    if (memory != MAP_FAILED) {
        outputs->memory = memory;
        return true;
    }
    const int error = errno;
    if (outputs->file >= 0) close(outputs->file);
    return fault_set(fault, error == EFBIG ? FAULT_INPUT : FAULT_OURS,
                     "cannot allocate %zu bytes of output: %s", outputs->bytes, strerror(error));
}

void outputs_free(struct outputs *outputs) {
    if (outputs->memory == NULL) return;
    munmap(outputs->memory, outputs->bytes);
    close(outputs->file);
    *outputs = (struct outputs){0};
}

/* From byte to byte another, so that no run of equal values passes for a guard. */
static unsigned char guard_byte(size_t at) {
    return (unsigned char)(0xa5 ^ (at * 31));
}

struct span {
    const char *where;
    size_t begin, end;
};

static void guards_of(const struct outputs *outputs, struct span spans[3]) {
    spans[0] = (struct span){"before out", 0, outputs->out_at};
    spans[1] = (struct span){"after out", outputs->out_at + outputs->out_bytes, outputs->lse_at};
    spans[2] = (struct span){"after lse", outputs->lse_at + outputs->lse_bytes, outputs->bytes};
}

void outputs_guard(struct outputs *outputs) {
    struct span spans[3];
    guards_of(outputs, spans);
    for (int n = 0; n < 3; n++) {
        for (size_t at = spans[n].begin; at < spans[n].end; at++)
            outputs->memory[at] = guard_byte(at);
    }
}

const char *outputs_guard_broken(const struct outputs *outputs) {
    struct span spans[3];
    guards_of(outputs, spans);
    for (int n = 0; n < 3; n++) {
        for (size_t at = spans[n].begin; at < spans[n].end; at++) {
            if (outputs->memory[at] != guard_byte(at)) return spans[n].where;
        }
    }
    return NULL;
}

/* Seeds a word and doubles what is filled: the rest is memcpy's, at its speed. */
static void fill(unsigned char *memory, size_t bytes, uint32_t word, size_t width) {
    enum { SEED_BYTES = 4096 };
    size_t done = 0;
    for (; done < bytes && done < SEED_BYTES; done += width) memcpy(memory + done, &word, width);
    for (; done < bytes; done += SEED_BYTES)
        memcpy(memory + done, memory, bytes - done < SEED_BYTES ? bytes - done : SEED_BYTES);
}

void outputs_fill(struct outputs *outputs, enum attn_dtype dtype) {
    fill(outputs->memory + outputs->out_at, outputs->out_bytes, deviation_unwritten(dtype),
         (size_t)attn_dtype_bytes(dtype));
    fill(outputs->memory + outputs->lse_at, outputs->lse_bytes, UNWRITTEN_32, sizeof(float));
}

void outputs_copy(const struct outputs *outputs, unsigned char *first) {
    memcpy(first, outputs->memory + outputs->lse_at, outputs->lse_bytes);
    memcpy(first + outputs->lse_bytes, outputs->memory + outputs->out_at, outputs->out_bytes);
}

void outputs_put(struct outputs *outputs, const unsigned char *first) {
    memcpy(outputs->memory + outputs->lse_at, first, outputs->lse_bytes);
    memcpy(outputs->memory + outputs->out_at, first + outputs->lse_bytes, outputs->out_bytes);
}

bool outputs_equal(const struct outputs *outputs, const unsigned char *first,
                   const struct rule_view *view, bool with_lse) {
    const struct attn_problem *problem = view->problem;
    const size_t rows = (size_t)(problem->batch * problem->q_heads * problem->q_len);
    if (rows == 0) return true;
    const size_t row_bytes = outputs->out_bytes / rows;
    const unsigned char *out = outputs->memory + outputs->out_at;
    const unsigned char *lse = outputs->memory + outputs->lse_at;
    const unsigned char *first_out = first + outputs->lse_bytes;
    for (int64_t b = 0; b < problem->batch; b++) {
        const size_t valid = (size_t)rules_q_len(view, b);
        for (int64_t h = 0; h < problem->q_heads; h++) {
            const size_t row = (size_t)((b * problem->q_heads + h) * problem->q_len);
            if (memcmp(out + row * row_bytes, first_out + row * row_bytes, valid * row_bytes) != 0)
                return false;
            if (with_lse && memcmp(lse + row * sizeof(float), first + row * sizeof(float),
                                   valid * sizeof(float)) != 0)
                return false;
        }
    }
    return true;
}

int64_t outputs_difference(const struct outputs *outputs, const unsigned char *first,
                           const struct rule_view *view, struct deviation_place *place) {
    const struct attn_problem *problem = view->problem;
    const enum attn_dtype dtype = rules_out_dtype(problem);
    const size_t width = (size_t)attn_dtype_bytes(dtype), dim = (size_t)problem->value_dim;
    const unsigned char *out = outputs->memory + outputs->out_at;
    const unsigned char *first_out = first + outputs->lse_bytes;
    int64_t rows = 0;
    *place = (struct deviation_place){-1, -1, -1, -1, 0, 0, 0};
    for (int64_t row = 0; row < problem->batch * problem->q_heads * problem->q_len; row++) {
        const int64_t i = row % problem->q_len, h = row / problem->q_len % problem->q_heads;
        const int64_t b = row / problem->q_len / problem->q_heads;
        const size_t at = (size_t)row * dim * width, lse_at = (size_t)row * sizeof(float);
        const bool differs = memcmp(out + at, first_out + at, dim * width) != 0;
        float lse, first_lse;
        memcpy(&lse, outputs->memory + outputs->lse_at + lse_at, sizeof lse);
        memcpy(&first_lse, first + lse_at, sizeof first_lse);
        if (i >= rules_q_len(view, b)) continue;
        if (!differs && place->b < 0 && memcmp(&lse, &first_lse, sizeof lse) != 0)
            *place = (struct deviation_place){b, h, i, -1, (double)lse, (double)first_lse, 0};
        if (!differs || rows++ > 0) continue;
        size_t d = 0;
        while (memcmp(out + at + d * width, first_out + at + d * width, width) == 0) d++;
        *place = (struct deviation_place){b, h, i, (int64_t)d, 0, 0, 0};
        bulk_widen_out(&place->got, view, out + at + d * width, 1);
        bulk_widen_out(&place->expected, view, first_out + at + d * width, 1);
    }
    return rows;
}

/* Whether any element of a row is a number other than 0. */
static bool has_number(const unsigned char *row, size_t bytes, enum attn_dtype dtype) {
    const size_t width = (size_t)attn_dtype_bytes(dtype);
    const uint32_t infinity = dtype == ATTN_F16    ? 0x7c00
                              : dtype == ATTN_BF16 ? 0x7f80
                              : dtype == ATTN_E4M3 ? 0x7e /* its largest number */
                                                   : 0x7f800000;
    const uint32_t magnitude = width == 1 ? 0x7f : width == 2 ? 0x7fff : 0x7fffffff;
    for (size_t n = 0; n < bytes; n += width) {
        uint32_t bits = 0;
        memcpy(&bits, row + n, width); /* little-endian, as all machines here are */
        bits &= magnitude;
        if (bits != 0 && bits <= infinity) return true;
    }
    return false;
}

bool outputs_any_unwritten(const struct outputs *outputs, const struct rule_view *view) {
    const struct attn_problem *problem = view->problem;
    const enum attn_dtype dtype = rules_out_dtype(problem);
    const size_t width = (size_t)attn_dtype_bytes(dtype);
    const size_t row_bytes = (size_t)problem->value_dim * width;
    const uint32_t word = deviation_unwritten(dtype);
    for (int64_t n = 0; n < problem->batch * problem->q_heads; n++) {
        const size_t row = (size_t)(n * problem->q_len);
        const size_t bytes = (size_t)rules_q_len(view, n / problem->q_heads) * row_bytes;
        const unsigned char *at = outputs->memory + outputs->out_at + row * row_bytes;
        for (const unsigned char *end = at + bytes; at < end; at += width) {
            if (memcmp(at, &word, width) == 0) return true;
        }
    }
    return false;
}

bool outputs_row_kept(const struct outputs *outputs, const unsigned char *first,
                      const struct rule_view *view) {
    const struct attn_problem *problem = view->problem;
    const size_t rows = (size_t)(problem->batch * problem->q_heads * problem->q_len);
    const size_t row_bytes = rows > 0 ? outputs->out_bytes / rows : 0;
    const unsigned char *out = outputs->memory + outputs->out_at;
    const unsigned char *first_out = first + outputs->lse_bytes;
    for (size_t row = 0; row < rows; row++) {
        const int64_t b = (int64_t)row / (problem->q_heads * problem->q_len);
        const int64_t i = (int64_t)row % problem->q_len;
        const size_t at = row * row_bytes;
        if (i < rules_q_len(view, b) && memcmp(out + at, first_out + at, row_bytes) == 0 &&
            has_number(out + at, row_bytes, rules_out_dtype(problem)))
            return true;
    }
    return false;
}
