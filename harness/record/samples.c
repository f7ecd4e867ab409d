/* Samples: taking them, writing a row's, making one file of many. Whose a group is, its attributes
 * say and run.jsonl decides: what no row of the run owns is not carried over. */
#define _GNU_SOURCE
#include "samples.h"
#include "../../kernels/attn_number.h"
#include "../judge/tolerance.h"
#include "../../fixtures/replace.h"
#include "../../oracle/text.h"
#include "../../fixtures/store.h"
#include "../../oracle/bulk.h"
#include "../../oracle/fault.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_BYTES = 4096 + 128, ARRAY_BYTES_MAX = 64 << 20 };

static const char file_format[] = "attest-samples";
enum { FILE_VERSION = 1 };

/* Taking */

static void block_free(struct samples_block *block) {
    free(block->index);
    free(block->got);
    free(block->expected);
    free(block->tolerance);
}

void samples_free(struct samples *samples) {
    free(samples->cold_us);
    free(samples->warm_us);
    free(samples->cold_clock_mhz);
    free(samples->warm_clock_mhz);
    free(samples->cold_control_us);
    free(samples->warm_control_us);
    block_free(&samples->out);
    block_free(&samples->lse);
    *samples = (struct samples){0};
}

static void keep(double **kept, const double *values, int64_t count) {
    free(*kept);
    *kept = allocate_or_abort(count, sizeof **kept);
    memcpy(*kept, values, (size_t)count * sizeof **kept);
}

static void keep_known(double **kept, const double *values, int64_t count) {
    bool known = false;
    for (int64_t n = 0; values != NULL && n < count; n++) known = known || isfinite(values[n]);
    if (known) keep(kept, values, count);
}

void samples_keep_times(struct samples *samples, bool cold, const double *us,
                        const double *clock_mhz, const double *control_us, int64_t count) {
    if (samples == NULL) return;
    keep(cold ? &samples->cold_us : &samples->warm_us, us, count);
    *(cold ? &samples->cold_count : &samples->warm_count) = count;
    keep_known(cold ? &samples->cold_clock_mhz : &samples->warm_clock_mhz, clock_mhz, count);
    keep_known(cold ? &samples->cold_control_us : &samples->warm_control_us, control_us, count);
}

static void exchange(double **one, double **other) {
    double *const kept = *one;
    *one = *other;
    *other = kept;
}

void samples_exchange_times(struct samples *one, struct samples *other, bool cold) {
    int64_t *const count = cold ? &one->cold_count : &one->warm_count;
    int64_t *const other_count = cold ? &other->cold_count : &other->warm_count;
    const int64_t kept = *count;
    *count = *other_count;
    *other_count = kept;
    exchange(cold ? &one->cold_us : &one->warm_us, cold ? &other->cold_us : &other->warm_us);
    exchange(cold ? &one->cold_clock_mhz : &one->warm_clock_mhz,
             cold ? &other->cold_clock_mhz : &other->warm_clock_mhz);
    exchange(cold ? &one->cold_control_us : &one->warm_control_us,
             cold ? &other->cold_control_us : &other->warm_control_us);
}

static void keep_element(struct samples_block *block, const struct samples_output *output,
                         const struct rounding *rounding, int64_t b, int64_t h, int64_t row,
                         int64_t d, double got) {
    const struct answer *answer = output->answer;
    const int64_t from = (b * answer->q_heads + h) * answer->row_count + row, at = block->count++;
    const int64_t index[] = {b, h, answer->rows[row], d};
    memcpy(block->index[at], index, sizeof index);
    block->got[at] = got;
    block->expected[at] =
        d < 0 ? answer->lse[from]
              : rounding_target(rounding, answer->out[from * answer->value_dim + d]);
    block->tolerance[at] = tolerance_at(output->view, answer, &output->promise, b, h, row, d);
}

static void block_allocate(struct samples_block *block, int64_t most) {
    block->index = allocate_or_abort(most, sizeof *block->index);
    block->got = allocate_or_abort(most, sizeof *block->got);
    block->expected = allocate_or_abort(most, sizeof *block->expected);
    block->tolerance = allocate_or_abort(most, sizeof *block->tolerance);
}

/* What was judged of the block that query i of a head is in: of out, or of lse. */
static void keep_block(struct samples_block *block, const struct samples_output *output, bool lse,
                       int64_t b, int64_t h, int64_t i) {
    const struct answer *answer = output->answer;
    const struct attn_problem *problem = output->view->problem;
    const int64_t dim = lse ? 1 : answer->value_dim, q_len = rules_q_len(output->view, b);
    const int64_t most = DEVIATION_BLOCK_ROWS * dim;
    block_allocate(block, most);
    double *got = allocate_or_abort(dim, sizeof *got);
    const struct rounding rounding = rounding_of(output->view, &output->promise);
    for (int64_t row = 0; row < answer->row_count; row++) {
        const int64_t query = answer->rows[row];
        if (query / DEVIATION_BLOCK_ROWS != i / DEVIATION_BLOCK_ROWS || query >= q_len) continue;
        const int64_t at = (b * problem->q_heads + h) * problem->q_len + query;
        const char *values = output->out;
        if (lse)
            got[0] = (double)output->lse[at] * rounding.lse_unit;
        else
            bulk_widen_out(got, output->view, values + at * dim * attn_dtype_bytes(rounding.dtype),
                           dim);
        for (int64_t d = 0; d < dim; d++)
            keep_element(block, output, &rounding, b, h, row, lse ? -1 : d, got[d]);
    }
    free(got);
}

void samples_keep_failure(struct samples *samples, enum status status,
                          const struct deviation *deviation, const struct samples_output *output) {
    const bool wrong_out = status == STATUS_FAIL_UNWRITTEN || status == STATUS_FAIL_NAN ||
                           status == STATUS_FAIL_ACCURACY;
    if (samples == NULL || !(wrong_out || status == STATUS_FAIL_LSE)) return;
    if (wrong_out && (deviation->t_max > 1 || deviation->rho_block_b < 0)) {
        const struct deviation_place *worst = &deviation->worst;
        keep_block(&samples->out, output, false, worst->b, worst->h, worst->i);
    } else if (wrong_out) {
        keep_block(&samples->out, output, false, deviation->rho_block_b, deviation->rho_block_h,
                   deviation->rho_block_i);
    }
    if (deviation->lse_judged && deviation->lse_wrong > 0) {
        const struct deviation_place *worst = &deviation->lse_worst;
        keep_block(&samples->lse, output, true, worst->b, worst->h, worst->i);
    }
}

static void widen(double *to, const struct rule_view *view, bool lse, const void *from,
                  int64_t dim) {
    if (lse)
        bulk_widen(to, NULL, NULL, from, ATTN_F32, dim);
    else
        bulk_widen_out(to, view, from, dim);
}

/* The same of two outputs, of rows that are valid. */
static void keep_both(struct samples_block *block, const struct rule_view *view,
                      const struct deviation_place *at, bool lse, const void *got,
                      const void *expected) {
    const struct attn_problem *problem = view->problem;
    const int64_t dim = lse ? 1 : problem->value_dim, q_len = rules_q_len(view, at->b);
    const int64_t width = attn_dtype_bytes(lse ? ATTN_F32 : rules_out_dtype(problem));
    const int64_t first = at->i / DEVIATION_BLOCK_ROWS * DEVIATION_BLOCK_ROWS;
    block_allocate(block, DEVIATION_BLOCK_ROWS * dim);
    for (int64_t i = first; i < q_len && i < first + DEVIATION_BLOCK_ROWS; i++) {
        const int64_t row = (at->b * problem->q_heads + at->h) * problem->q_len + i;
        const int64_t from = row * dim * width, to = block->count;
        widen(block->got + to, view, lse, (const char *)got + from, dim);
        widen(block->expected + to, view, lse, (const char *)expected + from, dim);
        for (int64_t d = 0; d < dim; d++) {
            const int64_t index[] = {at->b, at->h, i, at->d < 0 ? -1 : d};
            memcpy(block->index[block->count++], index, sizeof index);
        }
    }
}

void samples_keep_difference(struct samples *samples, const struct rule_view *view,
                             const struct deviation_place *at, const void *out, const float *lse,
                             const void *expected_out, const float *expected_lse) {
    if (samples == NULL) return;
    if (at->d >= 0)
        keep_both(&samples->out, view, at, false, out, expected_out);
    else
        keep_both(&samples->lse, view, at, true, lse, expected_lse);
}

/* Writing a row */

void samples_name(const struct row *row, char name[SAMPLES_NAME_BYTES]) {
    snprintf(name, SAMPLES_NAME_BYTES, "%s/%s%s%s", row->kernel, row->line,
             text_given(row->file) ? "~" : "", text_given(row->file) ? row->fixture_digest : "");
}

/* Says in which file it was. */
static bool in_file(struct fault *fault, const char *path) {
    char text[sizeof fault->text];
    memcpy(text, fault->text, sizeof text);
    return fault_set(fault, fault->code, "'%.600s': %.400s", path, text);
}

static store_id make_file(const char *path, struct fault *fault) {
    const store_id file = store_create(path, fault);
    if (file < 0 || (store_write_text(file, "format", file_format, fault) &&
                     store_write_integer(file, "version", FILE_VERSION, fault)))
        return file;
    store_release(&file);
    return -1;
}

/* The group with that name, and those above it. */
static store_id make_group(store_id file, const char *name, struct fault *fault) {
    struct fault absent;
    char above[SAMPLES_NAME_BYTES];
    const char *slash = strrchr(name, '/');
    if (slash == NULL) return store_create_group(file, name, fault);
    snprintf(above, sizeof above, "%.*s", (int)(slash - name), name);
    STORE_HELD parent = store_open_group(file, above, &absent);
    if (parent < 0) parent = make_group(file, above, fault);
    return parent < 0 ? parent : store_create_group(parent, slash + 1, fault);
}

static const struct {
    const char *name;
    size_t offset;
} identity[] = {{"kernel", offsetof(struct row, kernel)},
                {"line", offsetof(struct row, line)},
                {"library_digest", offsetof(struct row, library_digest)},
                {"fixture_digest", offsetof(struct row, fixture_digest)}};
enum { IDENTITY_COUNT = sizeof identity / sizeof identity[0] };

static store_id make_row(store_id file, const struct row *row, struct fault *fault) {
    char name[SAMPLES_NAME_BYTES];
    samples_name(row, name);
    const store_id group = make_group(file, name, fault);
    bool well = group >= 0;
    for (int n = 0; well && n < IDENTITY_COUNT; n++)
        well = store_write_text(group, identity[n].name, (const char *)row + identity[n].offset,
                                fault);
    if (well) return group;
    store_release(&group);
    return -1;
}

static bool write_times(store_id group, const char *name, const double *values, int64_t count,
                        struct fault *fault) {
    const struct store_array array = {.type = STORE_F64, .rank = 1, .shape = {count}};
    return count == 0 || values == NULL ||
           store_write_array(group, name, &array, values, false, fault);
}

static bool write_block(store_id group, const char *prefix, const struct samples_block *block,
                        struct fault *fault) {
    const struct {
        const char *name;
        const void *data;
        struct store_array array;
    } arrays[] = {
        {"index", block->index, {.type = STORE_I64, .rank = 2, .shape = {block->count, 4}}},
        {"got", block->got, {.type = STORE_F64, .rank = 1, .shape = {block->count}}},
        {"expected", block->expected, {.type = STORE_F64, .rank = 1, .shape = {block->count}}},
        {"tolerance", block->tolerance, {.type = STORE_F64, .rank = 1, .shape = {block->count}}}};
    bool well = true;
    for (int n = 0; well && block->count > 0 && n < 4; n++) {
        char name[STORE_NAME_BYTES];
        snprintf(name, sizeof name, "%s%s", prefix, arrays[n].name);
        well = store_write_array(group, name, &arrays[n].array, arrays[n].data, true, fault);
    }
    return well;
}

static bool write_row(const char *path, const struct row *row, const struct samples *samples,
                      struct fault *fault) {
    store_id file = make_file(path, fault);
    if (file < 0) return false;
    bool well;
    {
        STORE_HELD group = make_row(file, row, fault);
        well = group >= 0 &&
               write_times(group, "cold_us", samples->cold_us, samples->cold_count, fault) &&
               write_times(group, "warm_us", samples->warm_us, samples->warm_count, fault) &&
               write_times(group, "cold_clock_mhz", samples->cold_clock_mhz, samples->cold_count,
                           fault) &&
               write_times(group, "warm_clock_mhz", samples->warm_clock_mhz, samples->warm_count,
                           fault) &&
               write_times(group, "cold_control_us", samples->cold_control_us, samples->cold_count,
                           fault) &&
               write_times(group, "warm_control_us", samples->warm_control_us, samples->warm_count,
                           fault) &&
               write_block(group, "", &samples->out, fault) &&
               write_block(group, "lse_", &samples->lse, fault);
    }
    struct fault closing;
    const bool closed = store_close(&file, well ? fault : &closing);
    return well && closed;
}

/* Where a row's samples are until the run is finished. A line may be longer than a file's name. */
static void part_path(char path[PATH_BYTES], const char *folder, const struct row *row) {
    char name[SAMPLES_NAME_BYTES], digest[40];
    samples_name(row, name);
    store_digest(name, (int64_t)strlen(name), digest);
    snprintf(path, PATH_BYTES, "%s/samples/%s.h5", folder, digest);
}

bool samples_write(const char *folder, const struct row *row, const struct samples *samples,
                   struct fault *fault) {
    char path[PATH_BYTES], temporary[PATH_BYTES + 8];
    part_path(path, folder, row);
    if (samples->cold_count + samples->warm_count + samples->out.count + samples->lse.count == 0) {
        unlink(path); /* of a run that was killed before the row was written */
        return true;
    }
    snprintf(temporary, sizeof temporary, "%s/samples", folder);
    if (mkdir(temporary, 0777) != 0 && errno != EEXIST)
        return fault_set(fault, FAULT_INPUT, "cannot make folder '%.900s': %s", temporary,
                         strerror(errno));
    snprintf(temporary, sizeof temporary, "%s.tmp", path);
    unlink(temporary); /* what has the name is not written through */
    if (!write_row(temporary, row, samples, fault)) return in_file(fault, temporary);
    if (rename(temporary, path) == 0) return true;
    return fault_set(fault, FAULT_INPUT, "cannot rename '%.900s': %s", temporary, strerror(errno));
}

/* One file of many */

/* Not one of the same name that an older library, or another fixture, left. */
static bool is_of(store_id group, const struct row *row) {
    bool same = true;
    for (int n = 0; same && n < IDENTITY_COUNT; n++) {
        char text[STORE_TEXT_BYTES];
        struct fault fault;
        same = store_read_text(group, identity[n].name, text, sizeof text, &fault) &&
               !strcmp(text, (const char *)row + identity[n].offset);
    }
    return same;
}

static bool copy_array(store_id to, store_id from, const char *name, struct fault *fault) {
    struct store_array array;
    int64_t chunk_bytes = 0;
    STORE_HELD dataset = store_inspect(from, name, &array, &chunk_bytes, fault);
    if (dataset < 0) return false;
    int64_t bytes = store_type_bytes(array.type);
    for (int d = 0; d < array.rank && bytes <= ARRAY_BYTES_MAX; d++) bytes *= array.shape[d];
    if ((array.type != STORE_F64 && array.type != STORE_I64) || bytes > ARRAY_BYTES_MAX ||
        chunk_bytes > ARRAY_BYTES_MAX)
        return fault_set(fault, FAULT_INPUT, "'%s' is no array of samples", name);
    void *data = allocate_or_abort(bytes, 1);
    const bool copied = store_read(dataset, name, data, fault) &&
                        store_write_array(to, name, &array, data, chunk_bytes > 0, fault);
    free(data);
    return copied;
}

static bool copy_group(store_id to, store_id from, struct fault *fault) {
    char names[STORE_NAMES_MAX][STORE_NAME_BYTES];
    int count = 0;
    bool well = store_names(from, names, &count, fault);
    for (int n = 0; well && n < count; n++) well = copy_array(to, from, names[n], fault);
    return well;
}

/* Copies what `from` holds of the row, if it holds anything; what cannot be read is left out. */
static bool copy_row(store_id to, store_id from, const char *path, const struct row *row,
                     bool *copied, struct fault *fault) {
    struct fault absent;
    char name[SAMPLES_NAME_BYTES];
    samples_name(row, name);
    STORE_HELD source = store_open_group(from, name, &absent);
    if (source < 0 || !is_of(source, row)) return true;
    {
        STORE_HELD group = make_row(to, row, fault);
        if (group < 0) return false;
        *copied = copy_group(group, source, fault);
    }
    if (*copied) return true;
    if (fault->code != FAULT_INPUT) return false;
    fault_say("'%s': samples of '%s' are left out: %s", path, name, fault->text);
    return store_remove(to, name, fault);
}

/* No file: -1. */
static store_id open_readable(const char *path) {
    struct fault fault;
    if (access(path, F_OK) != 0) return -1;
    const store_id file = store_open(path, &fault);
    if (file < 0) fault_say("'%s': %s; left out", path, fault.text);
    return file;
}

static void folder_of(char folder[4096], const char *run) {
    struct stat status;
    snprintf(folder, 4096, "%s", run);
    if (stat(folder, &status) == 0 && S_ISDIR(status.st_mode)) return;
    char *slash = strrchr(folder, '/');
    if (slash != NULL)
        *slash = '\0';
    else
        strcpy(folder, ".");
}

struct gathering {
    store_id to;
    char path[PATH_BYTES]; /* of the samples.h5 that was read last */
    store_id from;         /* ... which is open, if there is one */
    int64_t count;
};

static bool gather_row(struct gathering *gathering, const struct samples_source *source,
                       struct fault *fault) {
    struct fault absent;
    bool copied = false;
    char name[SAMPLES_NAME_BYTES], folder[4096], path[PATH_BYTES];
    samples_name(source->row, name);
    STORE_HELD present = store_open_group(gathering->to, name, &absent);
    if (present >= 0) return true;
    folder_of(folder, source->run);
    part_path(path, folder, source->row);
    STORE_HELD part = open_readable(path);
    if (part >= 0 && !copy_row(gathering->to, part, path, source->row, &copied, fault))
        return false;
    snprintf(path, sizeof path, "%s/samples.h5", folder);
    if (!copied && strcmp(path, gathering->path) != 0) {
        store_release(&gathering->from);
        strcpy(gathering->path, path);
        gathering->from = open_readable(path);
    }
    if (!copied && gathering->from >= 0 &&
        !copy_row(gathering->to, gathering->from, path, source->row, &copied, fault))
        return false;
    gathering->count += copied;
    return true;
}

bool samples_exist(const char *run) {
    char folder[4096], path[PATH_BYTES];
    folder_of(folder, run);
    snprintf(path, sizeof path, "%s/samples.h5", folder);
    if (access(path, F_OK) == 0) return true;
    snprintf(path, sizeof path, "%s/samples", folder);
    return access(path, F_OK) == 0;
}

bool samples_gather(const char *folder, const struct samples_sources *sources,
                    struct fault *fault) {
    char path[PATH_BYTES];
    struct replace replace;
    snprintf(path, sizeof path, "%s/samples.h5", folder);
    bool well = replace_begin_entry(&replace, path, fault);
    struct gathering gathering = {.to = well ? make_file(replace.temporary, fault) : -1,
                                  .from = -1};
    if (well && gathering.to < 0) well = in_file(fault, path);
    for (int64_t n = sources->count; well && n > 0; n--) { /* of one name, the last comes first */
        struct samples_source source = {.row = NULL};
        well = sources->find(sources->context, n - 1, &source, fault) &&
               (source.row == NULL || gather_row(&gathering, &source, fault));
    }
    store_release(&gathering.from);
    if (gathering.to >= 0) {
        struct fault closing;
        well = store_close(&gathering.to, well ? fault : &closing) && well;
    }
    if (!well && gathering.to >= 0) in_file(fault, path);
    if (well && gathering.count > 0) well = replace_commit(&replace, fault);
    replace_abort(&replace);
    return well;
}

static void move_aside(const char *path) {
    char aside[PATH_BYTES + 16];
    struct fault fault;
    if (access(path, F_OK) != 0) return;
    STORE_HELD file = store_open(path, &fault);
    if (file >= 0) return;
    snprintf(aside, sizeof aside, "%s.unreadable", path);
    if (rename(path, aside) == 0) fault_say("'%s': %s; moved to '%s'", path, fault.text, aside);
}

static void remove_parts(const char *parts) {
    DIR *folder = opendir(parts);
    for (const struct dirent *entry; folder != NULL && (entry = readdir(folder)) != NULL;) {
        if (text_ends_with(entry->d_name, ".h5") || text_ends_with(entry->d_name, ".h5.tmp"))
            unlinkat(dirfd(folder), entry->d_name, 0);
    }
    if (folder != NULL) closedir(folder);
    rmdir(parts);
}

struct finishing {
    const struct run *run;
    const char *folder;
};

static bool find_row(void *context, int64_t n, struct samples_source *source, struct fault *fault) {
    const struct finishing *finishing = context;
    (void)fault;
    *source = (struct samples_source){&finishing->run->rows[n], finishing->folder};
    return true;
}

bool samples_finish(const char *folder, struct fault *fault) {
    char path[PATH_BYTES];
    struct run run;
    snprintf(path, sizeof path, "%s/samples", folder);
    if (access(path, F_OK) != 0) return true;
    if (!run_read(&run, folder, fault)) return false;
    struct finishing finishing = {&run, folder};
    snprintf(path, sizeof path, "%s/samples.h5", folder);
    move_aside(path);
    const bool gathered =
        samples_gather(folder, &(struct samples_sources){find_row, &finishing, run.count}, fault);
    snprintf(path, sizeof path, "%s/samples", folder);
    if (gathered) remove_parts(path);
    run_free(&run);
    return gathered;
}

/* Reading */

store_id samples_open(const char *run) {
    char folder[4096], path[PATH_BYTES];
    folder_of(folder, run);
    snprintf(path, sizeof path, "%s/samples.h5", folder);
    return open_readable(path);
}

/* An array of `columns` numbers a row, the caller's; NULL where there is none. */
static void *read_array(store_id group, const char *name, enum store_type type, int64_t columns,
                        int64_t *count) {
    struct store_array array;
    struct fault absent;
    int64_t chunk_bytes = 0;
    if (!store_has(group, name)) return NULL;
    STORE_HELD dataset = store_inspect(group, name, &array, &chunk_bytes, &absent);
    if (dataset < 0 || array.type != type || array.rank != (columns > 1 ? 2 : 1) ||
        (columns > 1 && array.shape[1] != columns) ||
        array.shape[0] > ARRAY_BYTES_MAX / (8 * columns) || chunk_bytes > ARRAY_BYTES_MAX)
        return NULL;
    void *data = allocate_or_abort(array.shape[0] * columns, 8);
    if (store_read(dataset, name, data, &absent)) {
        *count = array.shape[0];
        return data;
    }
    free(data);
    return NULL;
}

static void read_beside(store_id group, const char *name, int64_t count, double **values) {
    int64_t there = 0;
    *values = read_array(group, name, STORE_F64, 1, &there);
    if (there == count) return;
    free(*values);
    *values = NULL;
}

static void read_block(store_id group, const char *prefix, struct samples_block *block) {
    char names[4][STORE_NAME_BYTES];
    static const char *const parts[] = {"index", "got", "expected", "tolerance"};
    int64_t counts[4] = {0};
    for (int n = 0; n < 4; n++) snprintf(names[n], sizeof names[n], "%s%s", prefix, parts[n]);
    block->index = read_array(group, names[0], STORE_I64, 4, &counts[0]);
    block->got = read_array(group, names[1], STORE_F64, 1, &counts[1]);
    block->expected = read_array(group, names[2], STORE_F64, 1, &counts[2]);
    block->tolerance = read_array(group, names[3], STORE_F64, 1, &counts[3]);
    block->count = counts[0];
    if (counts[1] == counts[0] && counts[2] == counts[0] && counts[3] == counts[0]) return;
    block_free(block);
    *block = (struct samples_block){0};
}

void samples_read(store_id file, const struct row *row, struct samples *samples) {
    char name[SAMPLES_NAME_BYTES];
    struct fault absent;
    *samples = (struct samples){0};
    samples_name(row, name);
    STORE_HELD group = file >= 0 ? store_open_group(file, name, &absent) : -1;
    if (group < 0 || !is_of(group, row)) return;
    samples->cold_us = read_array(group, "cold_us", STORE_F64, 1, &samples->cold_count);
    samples->warm_us = read_array(group, "warm_us", STORE_F64, 1, &samples->warm_count);
    read_beside(group, "cold_clock_mhz", samples->cold_count, &samples->cold_clock_mhz);
    read_beside(group, "warm_clock_mhz", samples->warm_count, &samples->warm_clock_mhz);
    read_beside(group, "cold_control_us", samples->cold_count, &samples->cold_control_us);
    read_beside(group, "warm_control_us", samples->warm_count, &samples->warm_control_us);
    read_block(group, "", &samples->out);
    read_block(group, "lse_", &samples->lse);
}

void samples_read_row(const char *folder, const struct row *row, struct samples *samples) {
    char path[PATH_BYTES];
    part_path(path, folder, row);
    STORE_HELD part = access(path, F_OK) == 0 ? open_readable(path) : samples_open(folder);
    samples_read(part, row, samples);
}
