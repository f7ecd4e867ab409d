/* A run on disk: reports/runs/<time>-<commit>-<device>/run.jsonl. The first record is the machine,
 * then one row for each kernel x problem, appended and flushed as it finishes; a reader ignores a
 * torn last line. NaN and infinity are written as null. Field names, units and meanings are one
 * table (row_fields), from which JSON, CSV and `attest list fields` come. */
#ifndef ATTEST_RECORD_H
#define ATTEST_RECORD_H

#include "deviation.h"
#include "judge.h"
#include "timing.h"
#include "../fixtures/problem.h"

#include <jansson.h>

struct row {
    /* identity */
    char kernel[96]; /* "cpu/decode_flash_r1" */
    char device[16], variant[32], method[48], change[256];
    int64_t revision;
    char library_digest[40];
    char line[PROBLEM_LINE_BYTES];
    char file[512]; /* the fixture's path when it was named with -f, else "" */
    char fixture_digest[40];
    char dtype[8];
    int64_t batch, q_heads, kv_heads, q_len, kv_len, head_dim, page_size, pages;
    /* verdict */
    char status[24], reason[256], grade[4];
    int64_t bias_warning;
    char repeat[640]; /* the command that repeats a row that did not pass */
    /* counts and ratios */
    double nan_ratio, inf_ratio, unwritten_ratio, kept_ratio, kept_mass;
    struct deviation deviation;
    /* time */
    struct timing cold, warm;
    double prepare_us;
    double flops, bytes;    /* what the problem needs at least: visible pairs, each byte once */
    double tflops, gbs;     /* from the warm median; gbs from the cold one where there is one */
    double ceiling_percent; /* max of tflops over the GEMM ceiling and gbs over the read ceiling */
    char ceiling[8];        /* "flops" or "bytes": which one it was */
    double seconds;         /* wall time that the row took, all included */
};

struct machine {
    char time[32], host[64], commit[48], command[1024];
    int64_t dirty;
    char cpu[128], os[128], compiler[128], blas[128], hdf5[32], isa[32];
    int64_t cores;
    double memory_bytes;
    double dgemm_flops, sgemm_flops, fma_flops, read_bytes_s, copy_bytes_s; /* 0: not probed */
    char device[32];                                                        /* "cpu" */
};

enum row_type { ROW_TEXT, ROW_INTEGER, ROW_REAL };
struct row_field {
    const char *name, *unit, *meaning;
    enum row_type type;
    size_t offset, bytes; /* in struct row; bytes of a text */
};
extern const struct row_field row_fields[]; /* ends with name == NULL */
extern const struct row_field machine_fields[];

json_t *row_to_json(const struct row *row);
bool row_from_json(struct row *row, const json_t *json);
json_t *machine_to_json(const struct machine *machine);

/* A run as read back. */
struct run {
    struct machine machine;
    struct row *rows;
    int64_t count;
    int64_t torn; /* lines that could not be read: a run that was killed has at most one */
};
/* `path` is a run's folder or its run.jsonl. */
bool run_read(struct run *run, const char *path, struct fault *fault);
void run_free(struct run *run);

/* Fills everything about this machine but the ceilings. */
void machine_describe(struct machine *machine, int argc, char **argv);

#endif
