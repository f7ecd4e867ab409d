/* What a row of a run sums up, in full: the timings one by one and, of an output that is wrong, the
 * elements around the worst place. A run keeps them in samples.h5 beside run.jsonl:
 *
 *   attributes format = "attest-samples", version
 *   /<kernel>/<line>             of a row; <line>~<fixture digest> where -f named the fixture
 *     attributes kernel, line, library_digest, fixture_digest
 *     cold_us, warm_us           f64 [n], in the order taken; where there are any
 *     cold_clock_mhz, ...        f64 [n], the GPU's clock during each; NaN: not known
 *     cold_control_us, ...       f64 [n], the control beside each (worker/control.h)
 *     index                      i64 [n,4]: b, h, i, d of the judged elements of a block of 128
 *                                queries; where out is wrong, or depends on what must not be read:
 *                                of two launches then, tolerance 0
 *     got, expected, tolerance   f64 [n]
 *     lse_index, lse_got, ...    the same for lse, d = -1; where lse is wrong
 *
 * While a run goes on each row has a file of its own in samples/, of the same layout, that appears
 * whole; the end of the run makes one file of them, which replaces samples.h5 when it is complete.
 * HDF5 refuses a file whose writer was killed: so there is no moment at which that loses more than
 * the row at hand, and run.jsonl, which tells what was done, never depends on it. */
#ifndef ATTEST_SAMPLES_H
#define ATTEST_SAMPLES_H

#include "record.h"
#include "../../fixtures/store.h"

/* The empty value is valid; owns its arrays. */
struct samples_block {
    int64_t count;
    int64_t (*index)[4];
    double *got, *expected, *tolerance;
};
struct samples {
    double *cold_us, *warm_us;
    double *cold_clock_mhz, *warm_clock_mhz;   /* NULL: of no GPU */
    double *cold_control_us, *warm_control_us; /* NULL: there was none */
    int64_t cold_count, warm_count;
    struct samples_block out, lse;
};
void samples_free(struct samples *samples);

/* An output as it was judged: the arguments of deviation_measure. */
struct samples_output {
    const struct rule_view *view;
    const struct answer *answer;
    const void *out;
    const float *lse;
    struct promise promise;
};

/* Copy what is worth keeping; to NULL, nothing. clock_mhz and control_us may be NULL. */
void samples_keep_times(struct samples *samples, bool cold, const double *us,
                        const double *clock_mhz, const double *control_us, int64_t count);
/* The times of both, cold or warm ones, change places. */
void samples_exchange_times(struct samples *one, struct samples *other, bool cold);
/* What is wrong of an output that was judged `status`: of out the block of the worst element or,
 * where each is within its tolerance, of the worst rho; of lse the block of the worst. */
void samples_keep_failure(struct samples *samples, enum status status,
                          const struct deviation *deviation, const struct samples_output *output);

/* Of an output that was another under another poison, the rows around the first element that
 * differs: `out` and `lse` there, as got, and those that were expected, with tolerance 0. */
void samples_keep_difference(struct samples *samples, const struct rule_view *view,
                             const struct deviation_place *at, const void *out, const float *lse,
                             const void *expected_out, const float *expected_lse);

/* The group of a row. */
enum { SAMPLES_NAME_BYTES = 384 };
void samples_name(const struct row *row, char name[SAMPLES_NAME_BYTES]);

/* Writes a row's file in `folder`/samples, if there is anything to write; before the row itself. */
bool samples_write(const char *folder, const struct row *row, const struct samples *samples,
                   struct fault *fault);
/* Makes one file of those in `folder`/samples and the samples.h5 that is there. One that cannot be
 * read is moved aside, and standard error says so. */
bool samples_finish(const char *folder, struct fault *fault);

/* Makes `folder`/samples.h5 of what the runs (folders or their run.jsonl) hold of `count` rows; of
 * rows with one name, of the last. What cannot be read is left out, and standard error says so.
 * `find` says of the nth, the last first, which row it is, until it is asked for the next, and
 * which run has it; row NULL: it has no samples. */
struct samples_source {
    const struct row *row;
    const char *run;
};
struct samples_sources {
    bool (*find)(void *context, int64_t n, struct samples_source *source, struct fault *fault);
    void *context;
    int64_t count;
};
bool samples_gather(const char *folder, const struct samples_sources *sources, struct fault *fault);
/* Whether a run, or its folder, has any. */
bool samples_exist(const char *run);

/* Of a row whose run goes on: from its own file, or from the samples.h5 of the run that is resumed.
 */
void samples_read_row(const char *folder, const struct row *row, struct samples *samples);

/* Reading: the samples.h5 of a run (its folder or its run.jsonl), to be released with
 * store_release; negative where there is none that can be read. */
store_id samples_open(const char *run);
/* What the file holds of a row; empty where it holds nothing, or not of this row. */
void samples_read(store_id file, const struct row *row, struct samples *samples);

#endif
