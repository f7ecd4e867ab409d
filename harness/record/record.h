/* A run on disk: reports/runs/<time>-<commit>-<device>/run.jsonl. The first record is the machine,
 * then one row for each kernel x problem, appended and flushed as it finishes; a reader ignores a
 * torn last line. NaN and infinity are written as null. Field names, units and meanings are one
 * table (row_fields), from which JSON, CSV and `attest list fields` come. */
#ifndef ATTEST_RECORD_H
#define ATTEST_RECORD_H

#include "../judge/deviation.h"
#include "../judge/judge.h"
#include "../worker/paired.h"
#include "../worker/timing.h"
#include "../../fixtures/problem.h"

#include <jansson.h>

struct row {
    /* identity */
    char kernel[96]; /* "cpu/decode_flash_r1" */
    char device[16], variant[32], method[48], change[256];
    int64_t device_index; /* 1 for cuda:1 */
    int64_t revision;
    char library_digest[40];
    char line[PROBLEM_LINE_BYTES];
    const char *file; /* the fixture's path when it was named with -f, else ""; text_kept */
    char fixture_digest[40];
    char dtype[8];
    int64_t batch, q_heads, kv_heads, q_len, kv_len, head_dim, value_dim, page_size, pages;
    /* verdict */
    char status[24], reason[256], grade[4], lse_grade[4];
    int64_t bias_warning;
    const char *diagnosis; /* what a wrong output looks like (diagnosis.h), else ""; text_kept */
    const char *repeat; /* the command that repeats a row that did not pass, else ""; text_kept */
    char checks[160];   /* what was shown of how inputs are read, and what was not, and why */
    /* counts and ratios */
    double nan_ratio, inf_ratio, unwritten_ratio, kept_ratio, kept_mass;
    struct deviation deviation;
    /* time */
    struct timing cold, warm;
    char regime[12]; /* of a GPU: "sustained" or "burst" (worker/regime.h); "": no GPU's, or a run
                        of before there were any */
    double burst_us, burst_clock_mhz, burst_watts; /* warm, of a sustained row, if it differs */
    double single_us;                              /* a launch alone, between two events of a GPU */
    double changed_us;                     /* a warm launch after values were turned (turn.h) */
    double outside_us;                     /* a warm launch by the clock of who asked for it */
    double spoilt_us, beside_us, spoil_us; /* of a GPU, warm: spoil.h; spoil_us: nothing else */
    char unspoilt[160];                    /* why that was not done */
    double watts, celsius;                 /* of the GPU, at the end of timing */
    char slowed[96];                       /* why its clock was not higher then */
    char unrecorded[160]; /* why the kernel is not timed by replays; "": it is, or need not be */
    int64_t overlapped;   /* 1: its launches begin before the one before has ended */
    double prepare_us;
    double flops, bytes;    /* what the problem needs at least: visible pairs, each byte once */
    double tflops, gbs;     /* from the warm median; gbs from the cold one where there is one */
    double ceiling_percent; /* of the nearer ceiling: tflops over one, gbs over the other */
    char ceiling[8];        /* "flops", "bytes" or "gather": which one it was */
    char ceiling_from[16];  /* "measured", "kept", "data sheet" or "bound" */
    double seconds;         /* wall time that the row took, all included */
    double estimate_us;     /* of a 910B2's twin, which is never timed; see row_fields */
    char counted[2048];     /* what the estimate is of, in the twin's words */
    /* Of a kernel that was launched in turn with another; versus "": of no such */
    char versus[96], versus_digest[40]; /* the other one's `kernel` and `library_digest` */
    char versus_why[160];               /* why it was not timed beside it; "": it was */
    double versus_least;                /* the difference that mattered: 0.01 is 1 % */
    struct versus versus_cold, versus_warm;
};

/* A GPU that rows ran on, and what it was measured to reach at the start of the run; 0: not
 * measured. */
enum { MACHINE_DEVICES_MAX = 16 };
struct machine_device {
    char device[16], name[96], driver[48], uuid[48]; /* uuid "": not known */
    int64_t index, processors;
    double memory_bytes, cache_bytes, clock_mhz; /* clock_mhz: the highest it is specified for */
    int64_t ecc;                                 /* 1: on, 0: off, -1: not known */
    double copy_bytes_s, read_bytes_s;           /* copy: read and written bytes */
    double gather_128_bytes_s, gather_256_bytes_s, gather_512_bytes_s, gather_1024_bytes_s;
    double f16_flops, bf16_flops;             /* 8192^3 products of random data, sustained */
    double f16_burst_flops, bf16_burst_flops; /* and in a burst (worker/regime.h) */
    double launch_us;                         /* an empty kernel between two events */
    double graph_launch_us;                   /* one of many in a graph */
    char ceilings[16];                        /* "measured" in this run, "kept" from another, "" */
};

struct machine {
    char time[32], host[256], commit[48];
    const char *command; /* text_kept */
    char deal[20];       /* of a shard: which row is in which (--by); "": no such */
    int64_t dirty;
    int64_t haste;       /* worker/haste.h; 0: none */
    char gpus_timed[12]; /* "in turn" (trial/timing_lock.h) or "together"; "": none was, or before
                            there was a choice */
    char cpu[128], os[128], compiler[128], blas[128], hdf5[32], isa[32];
    int64_t cores;
    double memory_bytes;
    double dgemm_flops, sgemm_flops, fma_flops, read_bytes_s, copy_bytes_s; /* 0: not probed */
    char ceilings[16]; /* as of a device, of the CPU */
    char device[32];   /* "cpu", or the first accelerator's name */
    struct machine_device devices[MACHINE_DEVICES_MAX];
    int64_t device_count;
};

static inline bool text_given(const char *text) {
    return text != NULL && *text != '\0';
}
/* A copy that lives as long as the program, the same for equal texts: for members of any length in
 * structures that are copied freely. */
const char *text_kept(const char *text);

/* Texts are UTF-8 in a record: another byte is written \xff. ROW_KEPT is of any length, a pointer;
 * NULL is "". ROW_PATH is a ROW_KEPT from whose record the bytes can be had again (path_to_json).
 * ROW_COUNTS is an array of int64_t, as many as `bytes` hold; of the zeros at its end the record
 * has none. */
enum row_type { ROW_TEXT, ROW_KEPT, ROW_PATH, ROW_INTEGER, ROW_REAL, ROW_COUNTS };
struct row_field {
    const char *name, *unit, *meaning;
    enum row_type type;
    size_t offset, bytes; /* in struct row; bytes of a text or of counts */
};
extern const struct row_field row_fields[]; /* ends with name == NULL */
extern const struct row_field machine_fields[];
extern const struct row_field machine_device_fields[];

/* A row's status by its name; STATUS_COUNT if there is none of that name. */
enum status status_of(const struct row *row);
/* Whether the row makes the exit status of its run 1 or 3. */
bool row_is_failure(const struct row *row);
bool row_is_refused(const struct row *row);
bool row_is_right(const struct row *row); /* neither: PASS or UNSTABLE */
bool row_is_timed(const struct row *row);
/* False only where both say of which regime they are, and it is not the same. */
bool rows_share_regime(const struct row *a, const struct row *b);
bool row_is_burst(const struct row *row);    /* timed so */
bool row_has_burst(const struct row *row);   /* sustained, and with what a burst takes */
bool row_keeps_lists(const struct row *row); /* of a sparse variant */
const struct timing *row_timing(const struct row *row, bool cold);
/* Whether a kernel was tried: the row is no refusal and none that is computed (an anchor). */
bool row_is_judged(const struct row *row);

json_t *row_to_json(const struct row *row);
bool row_from_json(struct row *row, const json_t *json);
json_t *machine_to_json(const struct machine *machine);
/* The accelerator of the machine that rows of `device` and `index` are on; NULL: none of it. */
const struct machine_device *machine_device_of(const struct machine *machine, const char *device,
                                               int64_t index);
/* Whether rows `a` and `b`, one of each machine, were on one piece of hardware: an accelerator by
 * its uuid or, where that is not known, by its place in the host; a CPU by the host's name. */
bool machines_are_one(const struct machine *of_a, const struct row *a, const struct machine *of_b,
                      const struct row *b);
/* What a sentence that says where a run is from ends with, where its times are none; else "". */
const char *machine_doubt(const struct machine *machine);
/* What a reader is told of gpus_timed; "" where there is nothing to tell. */
const char *machine_turns(const struct machine *machine);
void machine_device_from_json(struct machine_device *device, const json_t *json);

/* A run read row by row, which takes no more memory the longer the run is. `path` is its folder or
 * its run.jsonl. */
struct run_reader {
    char path[4096]; /* of the file */
    FILE *file;
    struct machine machine;
    int64_t torn; /* lines that could not be read: a run that was killed has at most one */
    int64_t at;   /* where the last row begins in the file */
    json_t *json; /* that row: its file, diagnosis and repeat point into it, and live as long */
    /* the reader's own */
    char *line;
    size_t room;
    int64_t next; /* where the file is read next */
};
bool run_open(struct run_reader *reader, const char *path, struct fault *fault);
/* The next row; false where there is none. */
bool run_next(struct run_reader *reader, struct row *row);
/* The row that begins at `at` once more; the next is the one behind it. */
bool run_row_at(struct run_reader *reader, int64_t at, struct row *row, struct fault *fault);
/* Its line as it is, to `to`, whose errors are the caller's to find. */
bool run_copy(struct run_reader *reader, int64_t at, FILE *to, struct fault *fault);
void run_close(struct run_reader *reader);

/* A run as a whole, 5 kB a row, or rows of several. */
struct run {
    struct machine machine;
    struct row *rows;
    int64_t count;
    int64_t torn;                    /* as a reader's */
    const struct machine **machines; /* of each row, where rows are of several runs; NULL: it is
                                        `machine` */
};
/* That of one of its rows. */
const struct machine *run_machine_of(const struct run *run, const struct row *row);
bool run_read(struct run *run, const char *path, struct fault *fault);
void run_free(struct run *run);

#endif
