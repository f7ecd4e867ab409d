/* Decode kernels that are odd in how they behave as libraries and processes, not in what they
 * compute: what the tests of plugin.c, worker.c and trial.c run. One library each, compiled from
 * this file with ODD_KIND; all answer with zeros where they answer at all. */
#define _GNU_SOURCE
#include "../../kernels/attn.h"

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

enum odd {
    CHATTY,         /* prints to standard output, also while it is loaded */
    DIES_LOADING,   /* aborts in a constructor */
    MISNAMED,       /* says that it is revision 2 */
    NEWER,          /* was built for a contract that this program does not know */
    NAMELESS,       /* has no name */
    REFUSES,        /* takes no problem */
    REFUSES_HERE,   /* takes none on this machine, which it sees when it prepares */
    FAILS,          /* its launch returns a reason */
    EXITS,          /* its launch ends the process in good order */
    ORPHANS,        /* its launch leaves a child behind that keeps the pipes open, then dies */
    NO_MEMORY,      /* its launch says that there is no memory */
    SCRATCH_HUGE,   /* asks for more scratch than there is */
    SCRATCH_AFTER,  /* writes one byte after its scratch */
    SCRATCH_BEFORE, /* ... before it */
    SCRATCH_ZERO,   /* wants its scratch to be zeroed */
    CHANGES,        /* answers otherwise from its twelfth launch on */
    HOARDS,         /* allocates until it gets no more */
    BABBLES,        /* answers in the worker's place */
    MARKED,       /* its words would steer a terminal, mark up a table, compute in a spreadsheet */
    GARBLES,      /* answers without an end */
    PRINTS,       /* prints a hundred thousand lines */
    LEAVES,       /* leaves a process behind that is in no group or session of its, and that goes on
                     to write to V */
    FORKS,        /* leaves many that leave others */
    SCRIBBLES,    /* changes V and dies */
    SHRINKS,      /* cuts off the memory that it shares with its parent */
    REGROUPS,     /* moves to its parent's process group and never returns */
    STOPS,        /* stops itself */
    IS_TRACED,    /* dies while a child of its traces it */
    KILLS_PARENT, /* reaches for its parent: with SIGKILL, */
    STOPS_PARENT, /* with SIGSTOP, */
    TRACES_PARENT,  /* with ptrace, */
    READS_PARENT,   /* with process_vm_readv, */
    SIGNALS_ALL,    /* and for everybody, with a signal that does no harm */
    CATCHES,        /* lives by faults: a page of its own is there once it has been missed */
    READS_ON,       /* eight threads read on behind the end of q */
    LEAKS_PADDING,  /* adds 0 times what must not be read: of q, beyond the length of sequence 1; */
    LEAKS_UNLISTED, /* of k and v, the first token that no list of kv head 0 has; */
    LEAKS_UNUSED,   /* of kv_cache, the last value in the first page that no sequence has */
    WRITES_ON,      /* writes behind the end of q, as long as NaN is there what is there */
};

#define ODD_STRING(x) #x
#define ODD_NAME(x) ODD_STRING(x)
static const enum odd kind = ODD_KIND;

static void *volatile missed;

static void on_miss(int number, siginfo_t *info, void *context) {
    (void)number, (void)context;
    if (info->si_addr != missed) _exit(1);
    mprotect(info->si_addr, 4096, PROT_READ | PROT_WRITE);
}

/* The handler is there before anything is launched. */
static void miss_a_page(void) {
    void *page = missed = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) return;
    *(volatile int *)page = 1;
    munmap(page, 4096);
}

__attribute__((constructor)) static void loaded(void) {
    if (kind == CHATTY) puts("{\"ok\": false, \"what\": \"error\", \"text\": \"a kernel talks\"}");
    if (kind == DIES_LOADING) abort();
    const struct sigaction action = {.sa_sigaction = on_miss, .sa_flags = SA_SIGINFO};
    if (kind == CATCHES) sigaction(SIGSEGV, &action, NULL);
}

/* Formula, markup, escape sequence, direction, what is no UTF-8, and a line of another's. */
#define ODD_MARKS "=1+1|`<b>*_x_[l](u)\x1b[31m\xe2\x80\xae\xe2\x80\xac\xff\nPASS A"

static const char *refuse(const struct attn_problem *problem) {
    (void)problem;
    return kind == REFUSES ? "not on a Sunday" : NULL;
}

static size_t scratch_bytes(const struct attn_problem *problem) {
    (void)problem;
    for (int file = 3; kind == SHRINKS && file < 128; file++) {
        if (ftruncate(file, 0) != 0) continue;
    }
    return kind == SCRATCH_HUGE ? (size_t)1 << 60 : 1000;
}

static unsigned char *scratch_of(const struct attn_call *call) {
    return call->scratch;
}

/* A process that nobody is the parent of. It changes V for as long as it is. */
static void leave_behind(uint16_t *v) {
    if (fork() != 0) {
        wait(NULL);
        return;
    }
    setsid();
    if (fork() != 0) _exit(0);
    signal(SIGTERM, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    for (;;) {
        usleep(1000);
        (*(volatile uint16_t *)v)++;
    }
}

static void leave_many(int depth) {
    for (int n = 0; n < 3 && depth > 0; n++) {
        if (fork() != 0) continue;
        setsid();
        leave_many(depth - 1);
        pause();
        _exit(0);
    }
}

/* What HOARDS holds: each block begins with where the one before it is. */
static void **volatile hoard;

static void *read_on(void *tensor) {
    const volatile unsigned char *end = tensor;
    for (int n = 0; n < 64; n++) (void)end[n];
    return NULL;
}

static void read_on_by_threads(void *end) {
    pthread_t threads[8];
    for (int t = 0; t < 8; t++) pthread_create(&threads[t], NULL, read_on, end);
    for (int t = 0; t < 8; t++) pthread_join(threads[t], NULL);
}

static bool is_in(const int32_t *list, int64_t count, int64_t number) {
    for (int64_t n = 0; n < count; n++) {
        if (list[n] == number) return true;
    }
    return false;
}

static float leak_padding(const struct attn_problem *problem, const struct attn_tensor *tensors) {
    const int32_t *lens = tensors[ATTN_SEQ_LENS].data;
    const float *q = tensors[ATTN_Q].data;
    return q[(problem->q_heads * problem->q_len + lens[1]) * problem->head_dim];
}

static float leak_unlisted(const struct attn_problem *problem, const struct attn_tensor *tensors) {
    const int64_t group = problem->q_heads / problem->kv_heads;
    const float *k = tensors[ATTN_K].data, *v = tensors[ATTN_V].data;
    int64_t t = 0;
    while (is_in(tensors[ATTN_SPARSE_IND].data, group * problem->kept_max, t)) t++;
    return k[t * problem->head_dim] * v[t * problem->head_dim];
}

static float leak_unused(const struct attn_problem *problem, const struct attn_tensor *tensors) {
    const int64_t elements = tensors[ATTN_KV_CACHE].stride[0];
    const int32_t *first = tensors[ATTN_KV_PAGE_INDPTR].data;
    int64_t page = 0;
    while (is_in(tensors[ATTN_KV_PAGE_INDICES].data, first[problem->batch], page)) page++;
    return ((const float *)tensors[ATTN_KV_CACHE].data)[(page + 1) * elements - 1];
}

/* Of tensors of f32. */
static float leaked(const struct attn_problem *problem, const struct attn_tensor *tensors) {
    return kind == LEAKS_PADDING    ? leak_padding(problem, tensors)
           : kind == LEAKS_UNLISTED ? leak_unlisted(problem, tensors)
                                    : leak_unused(problem, tensors);
}

static const char *launch(const struct attn_problem *problem, const struct attn_call *call) {
    size_t bytes = sizeof(float);
    if (problem->dtype != ATTN_F32) bytes = 2;
    const int64_t rows = problem->batch * problem->q_heads * problem->q_len;
    const size_t q_bytes = (size_t)(rows * problem->head_dim) * bytes;
    memset(call->tensors[ATTN_OUT].data, 0, q_bytes);
    switch (kind) {
    case CHATTY:
        puts("hello"), fflush(stdout);
        return NULL;
    case FAILS:
        return "the moon is full";
    case MARKED:
        return ODD_MARKS;
    case EXITS:
        exit(0);
    case ORPHANS:
        if (fork() == 0) pause();
        abort();
    case NO_MEMORY:
        return "Out of memory on the device";
    case SCRATCH_AFTER:
        scratch_of(call)[call->scratch_bytes] = 1;
        return NULL;
    case SCRATCH_BEFORE:
        scratch_of(call)[-1] = 1;
        return NULL;
    case SCRATCH_ZERO: /* 0 / 0 where it is not */
        for (size_t n = 0; n < call->scratch_bytes; n++) {
            if (scratch_of(call)[n] != 0) memset(call->tensors[ATTN_OUT].data, 0x7e, 2);
        }
        return NULL;
    case CHANGES: {
        static int launches;
        if (++launches > 11) memset(call->tensors[ATTN_OUT].data, 0x3c, 2);
        return NULL;
    }
    case HOARDS:
        for (int n = 0; n < 1 << 16; n++) {
            void **block = malloc((size_t)1 << 20);
            if (block == NULL) return "out of memory for a block";
            memset(block, 1, (size_t)1 << 20);
            *block = hoard;
            hoard = block;
        }
        return NULL;
    case BABBLES: /* all files it could have found */
        for (int file = 3; file < 128; file++) {
            if (write(file, "x\n", 2) < 0) continue;
        }
        return NULL;
    case GARBLES:
        for (int n = 0; n < 4096; n++) {
            static char dots[1 << 16];
            memset(dots, '.', sizeof dots);
            for (int file = 64; file < 70; file++) {
                if (write(file, dots, sizeof dots) < 0) continue;
            }
        }
        return NULL;
    case PRINTS:
        for (int n = 0; n < 100000; n++) fprintf(stderr, "\033[2Jline %d of many\n", n);
        return NULL;
    case LEAVES:
        leave_behind(call->tensors[ATTN_V].data);
        return NULL;
    case FORKS:
        leave_many(4);
        return NULL;
    case SCRIBBLES:
        memset(call->tensors[ATTN_V].data, 1, 64);
        abort();
    case REGROUPS:
        setpgid(0, getpgid(getppid()));
        for (;;) pause();
    case STOPS:
        raise(SIGSTOP);
        return NULL;
    case IS_TRACED:
        if (fork() == 0) {
            ptrace(PTRACE_SEIZE, getppid(), NULL, NULL);
            for (;;) pause();
        }
        usleep(100000);
        abort();
    case KILLS_PARENT:
        kill(getppid(), SIGKILL);
        return NULL;
    case STOPS_PARENT:
        kill(getppid(), SIGSTOP);
        return NULL;
    case TRACES_PARENT:
        ptrace(PTRACE_ATTACH, getppid(), NULL, NULL);
        return NULL;
    case READS_PARENT: {
        char byte;
        struct iovec here = {&byte, 1}, there = {&byte, 1};
        if (process_vm_readv(getppid(), &here, 1, &there, 1, 0) < 0) return "there is no memory";
        return NULL;
    }
    case SIGNALS_ALL:
        kill(-1, SIGWINCH);
        return NULL;
    case CATCHES:
        miss_a_page();
        return NULL;
    case LEAKS_PADDING:
    case LEAKS_UNLISTED:
    case LEAKS_UNUSED:
        *(float *)call->tensors[ATTN_OUT].data = 0 * leaked(problem, call->tensors);
        return NULL;
    case READS_ON:
        read_on_by_threads((char *)call->tensors[ATTN_Q].data + q_bytes);
        return NULL;
    case WRITES_ON: /* half a NaN of 16 bits */
        ((unsigned char *)call->tensors[ATTN_Q].data)[q_bytes + 16] = 0;
        return NULL;
    default:
        return NULL;
    }
}

static const char *prepare(const struct attn_problem *problem, struct attn_call *call) {
    (void)problem, (void)call;
    return kind == REFUSES_HERE ? "REFUSED: not on this machine" : NULL;
}

ATTN_PUBLIC const struct attn_kernel attn_export = {
    .abi = kind == NEWER ? ATTN_ABI + 1 : ATTN_ABI,
    .bytes = sizeof(struct attn_kernel),
    .device = ATTN_CPU,
    .variant = kind == LEAKS_PADDING    ? ATTN_PREFILL_VARLEN
               : kind == LEAKS_UNLISTED ? ATTN_SPARSE_DECODE
               : kind == LEAKS_UNUSED   ? ATTN_DECODE_PAGED
                                        : ATTN_DECODE,
    .name = kind == NAMELESS ? NULL
            : kind == MARKED ? ODD_MARKS
                             : ODD_NAME(ODD_FILE),
    .revision = kind == MISNAMED ? 2 : 1,
    .grade = 'A',
    .change = kind == MARKED ? ODD_MARKS : "odd",
    .traits = kind == LEAKS_PADDING    ? ATTN_GQA | ATTN_CAUSAL | ATTN_RAGGED
              : kind == LEAKS_UNLISTED ? ATTN_GQA | ATTN_KEEP
              : kind == LEAKS_UNUSED   ? ATTN_GQA | ATTN_RAGGED | ATTN_PAGE
                                       : ATTN_GQA,
    .dtypes = 1u << ATTN_F16 | 1u << ATTN_F32,
    .head_dim_max = 64,
    .refuse = refuse,
    .scratch_bytes = scratch_bytes,
    .prepare = prepare,
    .launch = launch,
};
