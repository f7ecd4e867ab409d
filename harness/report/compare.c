/* Join, ratio, verdict; compare_show.c shows them. A join is a binary search in rows that are
 * sorted by problem; everything else looks at one pair at a time. */
#include "compare.h"
#include "discovery.h"
#include "effect.h"
#include "../worker/protocol.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const double compare_least = 0.01;

const char *compare_verdict_name(enum compare_verdict verdict) {
    static const char *const names[] = {"same",      "faster",   "slower",
                                        "undecided", "unstable", "untimed"};
    return names[verdict];
}

/* How many threads a command asks for, 0 if it does not say. */
static long threads_of(const char *command) {
    if (command == NULL) return 0;
    static const char *const options[] = {" --threads", " -t"};
    for (int n = 0; n < 2; n++) {
        const char *at = strstr(command, options[n]);
        if (at == NULL) continue;
        at += strlen(options[n]);
        return strtol(at + (*at == ' ' || *at == '='), NULL, 10);
    }
    return 0;
}

/* What differs, in words that are joined. */
struct differences {
    char *text;
    size_t used;
};

static void differ_by_text(struct differences *found, const char *what, const char *a,
                           const char *b) {
    if (strcmp(a, b) == 0 || found->used >= 400) return;
    found->used +=
        (size_t)snprintf(found->text + found->used, 512 - found->used, "%s%s '%.60s' and '%.60s'",
                         found->used > 0 ? ", " : "", what, a, b);
}

static void differ_by_number(struct differences *found, const char *what, int64_t a, int64_t b) {
    if (a == b || found->used >= 400) return;
    found->used +=
        (size_t)snprintf(found->text + found->used, 512 - found->used, "%s%s %lld and %lld",
                         found->used > 0 ? ", " : "", what, (long long)a, (long long)b);
}

static void differ_by_processor(struct differences *found, const struct machine *a,
                                const struct machine *b) {
    differ_by_text(found, "CPU", a->cpu, b->cpu);
    differ_by_text(found, "instruction set", a->isa, b->isa);
    differ_by_number(found, "cores", a->cores, b->cores);
    differ_by_number(found, "--threads", threads_of(a->command), threads_of(b->command));
}

/* Runs of before there was a choice say nothing. */
static void differ_by_turns(struct differences *found, const struct machine *a,
                            const struct machine *b) {
    if (a->gpus_timed[0] != '\0' && b->gpus_timed[0] != '\0')
        differ_by_text(found, "GPUs timed", a->gpus_timed, b->gpus_timed);
}

bool machines_alike(const struct machine *a, const struct machine *b, char text[512]) {
    struct differences found = {text, 0};
    text[0] = '\0';
    differ_by_processor(&found, a, b);
    differ_by_text(&found, "device", a->device, b->device);
    differ_by_number(&found, "haste", a->haste, b->haste);
    differ_by_turns(&found, a, b);
    return found.used == 0;
}

bool rows_alike(const struct machine *a, const struct row *row_a, const struct machine *b,
                const struct row *row_b, char text[512]) {
    const struct machine_device *on_a = machine_device_of(a, row_a->device, row_a->device_index);
    const struct machine_device *on_b = machine_device_of(b, row_b->device, row_b->device_index);
    struct differences found = {text, 0};
    text[0] = '\0';
    if (on_a != NULL && on_b != NULL) {
        differ_by_text(&found, "device", on_a->name, on_b->name);
        differ_by_turns(&found, a, b);
    } else if (strcmp(row_a->device, "cpu") == 0 && strcmp(row_b->device, "cpu") == 0) {
        differ_by_processor(&found, a, b);
    } else {
        return machines_alike(a, b, text);
    }
    differ_by_number(&found, "haste", a->haste, b->haste);
    return found.used == 0;
}

/* How fast a machine is by its probe in what a row is bound by; 0: not measured there and then. */
static double ceiling_of(const struct machine *machine, const struct row *row, const char *bound) {
    const struct machine_device *device =
        machine_device_of(machine, row->device, row->device_index);
    const bool flops = strcmp(bound, "flops") == 0;
    if (strcmp(device != NULL ? device->ceilings : machine->ceilings, "kept") == 0) return 0;
    if (device == NULL)
        return strcmp(row->device, "cpu") != 0 ? 0
               : flops                         ? machine->fma_flops
                                               : machine->read_bytes_s;
    if (strcmp(bound, "gather") == 0) return device->gather_512_bytes_s;
    if (!flops) return device->read_bytes_s;
    if (strcmp(row->dtype, "bf16") == 0)
        return row_is_burst(row) ? device->bf16_burst_flops : device->bf16_flops;
    return row_is_burst(row) ? device->f16_burst_flops : device->f16_flops;
}

/* What a row is bound by, as its run found; else reading. */
static const char *bound_of(const struct row *row) {
    return row->ceiling[0] != '\0' ? row->ceiling : "bytes";
}

/* What is known of two machines, of which either may be slower than its like. */
static void look_at_both(struct compare_pair *pair, const struct machine *a,
                         const struct machine *b) {
    if (machines_are_one(a, pair->before, b, pair->after)) return;
    const char *bound = bound_of(pair->after);
    const double old = ceiling_of(a, pair->before, bound), new = ceiling_of(b, pair->after, bound);
    pair->other_machine = true;
    if (old > 0 && new > 0) pair->ceiling = old / new;
}

/* How bad a status is: right, not taken, wrong, dead. */
static int status_rank(const struct row *row) {
    const enum status status = status_of(row);
    if (status == STATUS_REFUSED) return 1;
    if (status == STATUS_COUNT) return 2;
    const int exit = status_exit(status);
    return exit == 0 ? 0 : exit == EXIT_CRASH ? 3 : 2;
}

static int sign(int difference) {
    return (difference > 0) - (difference < 0);
}

/* Why times of two rows are not compared although both were taken; "" if they are. */
static const char *doubt(const struct timing *old, const struct timing *new) {
    char why[96];
    effect_doubt(old, why);
    if (why[0] == '\0') effect_doubt(new, why);
    return why[0] == '\0' ? "" : text_kept(why);
}

static struct compare_pair pair_of(const struct row *before, const struct row *after, bool cold) {
    struct compare_pair pair = {.before = before,
                                .after = after,
                                .ratio = NAN,
                                .low = NAN,
                                .high = NAN,
                                .p = NAN,
                                .q = NAN,
                                .control = NAN,
                                .ceiling = NAN,
                                .alike = true,
                                .why = ""};
    const struct timing *old = row_timing(before, cold), *new = row_timing(after, cold);
    pair.n_before = old->n;
    pair.n_after = new->n;
    pair.status_change = sign(status_rank(after) - status_rank(before));
    if (before->grade[0] >= 'A' && after->grade[0] >= 'A')
        pair.grade_change = sign(after->grade[0] - before->grade[0]);
    if (old->n == 0 || new->n == 0 || status_rank(before) != 0 || status_rank(after) != 0) {
        pair.verdict = COMPARE_UNTIMED;
        return pair;
    }
    if (!rows_share_regime(before, after)) {
        pair.verdict = COMPARE_UNTIMED;
        pair.why = "another regime";
        return pair;
    }
    const bool unstable =
        status_of(before) == STATUS_UNSTABLE || status_of(after) == STATUS_UNSTABLE;
    pair.verdict = unstable ? COMPARE_UNSTABLE : COMPARE_UNDECIDED;
    pair.why = doubt(old, new);
    return pair;
}

static bool is_one_library(const struct compare_pair *pair) {
    return pair->before->library_digest[0] != '\0' &&
           strcmp(pair->before->library_digest, pair->after->library_digest) == 0;
}

static bool on_device_of(const struct compare_pair *pair, const struct compare_pair *other) {
    return strcmp(pair->before->device, other->before->device) == 0 &&
           strcmp(pair->after->device, other->after->device) == 0;
}

/* What is found of the pairs that were timed on the devices of pairs[first]. What is said of the
 * machine is of the device where that is worst. */
static bool measure_device(struct comparison *comparison, int64_t first, struct effect *effects,
                           int64_t *at) {
    const bool cold = comparison->options.cold;
    struct compare_pair *pairs = comparison->pairs;
    struct effect_machine machine;
    int64_t count = 0;
    for (int64_t n = first; n < comparison->pair_count; n++) {
        if (pairs[n].verdict == COMPARE_UNTIMED || !on_device_of(&pairs[n], &pairs[first]))
            continue;
        effects[count] = (struct effect){.before = row_timing(pairs[n].before, cold),
                                         .after = row_timing(pairs[n].after, cold),
                                         .same = is_one_library(&pairs[n]),
                                         .ceilings = log(pairs[n].ceiling)};
        at[count++] = n;
    }
    if (!effects_measure(effects, count, comparison->options.kernels_before == NULL, &machine))
        return false;
    for (int64_t n = 0; n < count; n++) {
        struct compare_pair *pair = &pairs[at[n]];
        pair->ratio = effects[n].ratio;
        pair->low = effects[n].low;
        pair->high = effects[n].high;
        pair->control = effects[n].control;
        pair->shift = effects[n].shift;
        if (pair->verdict == COMPARE_UNDECIDED && pair->why[0] == '\0') pair->p = effects[n].p;
    }
    comparison->control = fmax(comparison->control, exp(machine.shift));
    comparison->spread = fmax(comparison->spread, machine.spread);
    return true;
}

static bool measure(struct comparison *comparison) {
    const size_t room = (size_t)comparison->pair_count + 1;
    struct effect *effects = calloc(room, sizeof *effects);
    int64_t *at = calloc(room, sizeof *at);
    bool ok = effects != NULL && at != NULL;
    for (int64_t n = 0; ok && n < comparison->pair_count; n++) {
        const struct compare_pair *pair = &comparison->pairs[n];
        if (pair->verdict != COMPARE_UNTIMED && isnan(pair->ratio))
            ok = measure_device(comparison, n, effects, at);
    }
    free(effects);
    free(at);
    return ok;
}

/* Of a pair that is asked, all q being known. */
static enum compare_verdict verdict_of(const struct compare_pair *pair, double least) {
    const bool striking = pair->q <= 1 - effect_confidence;
    if (striking && pair->low > 1 + least) return COMPARE_SLOWER;
    if (striking && pair->high < 1 / (1 + least)) return COMPARE_FASTER;
    return pair->low >= 1 / (1 + least) && pair->high <= 1 + least ? COMPARE_SAME
                                                                   : COMPARE_UNDECIDED;
}

/* Whether the machine alone makes so much of a difference, in the direction that was found. */
static bool explains(double machine, double ratio, double least) {
    return isfinite(machine) && fabs(log(machine)) > log(1 + least) && (machine > 1) == (ratio > 1);
}

/* Why a row of another machine is undecided although its time differs, if that differs, too. */
static const char *why_of_machines(const struct compare_pair *pair, double least) {
    char why[96];
    if (!pair->other_machine || !(fabs(log(pair->ratio)) > log(1 + least))) return "";
    const double percent = 100 * fabs(pair->ceiling - 1);
    const char *bound = bound_of(pair->after);
    if (explains(pair->ceiling, pair->ratio, least))
        snprintf(why, sizeof why, "the machine: its ceiling of %s is %.2g %% %s", bound, percent,
                 pair->ceiling > 1 ? "lower" : "higher");
    else if (explains(pair->control, pair->ratio, least))
        snprintf(why, sizeof why, "the machine: its control is %.2g %% %s",
                 100 * fabs(pair->control - 1), pair->control > 1 ? "slower" : "faster");
    else
        return "";
    return text_kept(why);
}

static void decide(struct compare_pair *pair, const struct comparison *comparison) {
    const double least = comparison->options.least;
    if (!isnan(pair->p)) pair->verdict = verdict_of(pair, least);
    if ((pair->verdict == COMPARE_SLOWER || pair->verdict == COMPARE_FASTER) &&
        is_one_library(pair)) {
        pair->verdict = COMPARE_UNDECIDED;
        pair->why = "same library: the machine";
    }
    if (pair->verdict == COMPARE_UNDECIDED && pair->why[0] == '\0')
        pair->why = why_of_machines(pair, least);
    pair->regression = pair->status_change > 0 || (pair->alike && pair->verdict == COMPARE_SLOWER);
}

static bool decide_all(struct comparison *comparison) {
    const int64_t count = comparison->pair_count;
    double *values = calloc((size_t)count + 1, sizeof *values);
    for (int64_t n = 0; values != NULL && n < count; n++) values[n] = comparison->pairs[n].p;
    const bool ok = values != NULL && discovery_rates(values, values, count);
    for (int64_t n = 0; ok && n < count; n++) {
        struct compare_pair *pair = &comparison->pairs[n];
        pair->q = values[n];
        decide(pair, comparison);
        comparison->regressions += pair->regression;
    }
    free(values);
    return ok;
}

/* How close two kernels are; see the head of compare.h. */
static int kinship(const struct row *a, const struct row *b) {
    return 2 * !strcmp(a->device, b->device) + !strcmp(a->method, b->method);
}

static bool kernels_match(const struct compare_options *options, const struct row *before,
                          const struct row *after) {
    if (options->kernels_before == NULL) return strcmp(before->kernel, after->kernel) == 0;
    return kernel_matches(before->kernel, options->kernels_before) &&
           kernel_matches(after->kernel, options->kernels_after);
}

static bool is_partner(const struct compare_options *options, const struct row *before,
                       const struct row *after) {
    return rows_share_inputs(before, after) && kernels_match(options, before, after);
}

/* The last member is the kinship that pairs of a variant must have. */
struct join {
    const struct compare_options *options;
    const struct row_set *before, *after;
    int closest[ATTN_VARIANT_COUNT + 1];
};

static void find_closest(struct join *join) {
    for (int64_t n = 0; n < join->before->count; n++) {
        const struct row *row = join->before->places[n].row;
        int *closest = &join->closest[variant_rank(row)];
        int64_t count;
        const struct row_place *others = row_set_find(join->after, row, &count);
        for (int64_t m = 0; m < count; m++) {
            if (!is_partner(join->options, row, others[m].row)) continue;
            const int kin = kinship(row, others[m].row);
            if (kin > *closest) *closest = kin;
        }
    }
}

static bool is_joined(const struct join *join, const struct row *before, const struct row *after) {
    return is_partner(join->options, before, after) &&
           kinship(before, after) == join->closest[variant_rank(before)];
}

static bool keep_pair(struct comparison *comparison, int64_t *room, struct compare_pair pair,
                      struct fault *fault) {
    if (comparison->pair_count == *room) {
        *room = 2 * *room + 64;
        struct compare_pair *larger =
            realloc(comparison->pairs, (size_t)*room * sizeof *comparison->pairs);
        if (larger == NULL) return fault_set(fault, FAULT_OURS, "out of memory for the pairs");
        comparison->pairs = larger;
    }
    comparison->pairs[comparison->pair_count++] = pair;
    return true;
}

/* Rows of `set` that nobody on the other side pairs with. */
static const struct row **unpaired(const struct join *join, const struct row_set *set,
                                   const char *glob, bool is_before, int64_t *count) {
    const struct row_set *other = is_before ? join->after : join->before;
    const struct row **rows = calloc((size_t)set->count + 1, sizeof(const struct row *));
    *count = 0;
    for (int64_t n = 0; rows != NULL && n < set->count; n++) {
        const struct row *row = set->places[n].row;
        if (glob != NULL && !kernel_matches(row->kernel, glob)) continue;
        int64_t others_count;
        bool joined = false;
        const struct row_place *others = row_set_find(other, row, &others_count);
        for (int64_t m = 0; m < others_count && !joined; m++)
            joined = is_before ? is_joined(join, row, others[m].row)
                               : is_joined(join, others[m].row, row);
        if (!joined) rows[(*count)++] = row;
    }
    return rows;
}

static int64_t count_redrawn(const struct comparison *comparison) {
    int64_t count = 0;
    for (int64_t n = 0; n < comparison->before_only_count; n++) {
        for (int64_t m = 0; m < comparison->after_only_count; m++) {
            const struct row *a = comparison->before_only[n], *b = comparison->after_only[m];
            if (strcmp(a->line, b->line) == 0 && !rows_share_inputs(a, b) &&
                kernels_match(&comparison->options, a, b)) {
                count++;
                break;
            }
        }
    }
    return count;
}

static void look_at_machines(struct comparison *comparison, struct compare_pair *pair,
                             const struct machine *old, const struct machine *new) {
    char text[sizeof comparison->machines_differ];
    pair->machine_before = old;
    pair->machine_after = new;
    pair->alike = rows_alike(old, pair->before, new, pair->after, text);
    if (comparison->machines_differ[0] == '\0')
        snprintf(comparison->machines_differ, sizeof text, "%s", text);
    look_at_both(pair, old, new);
}

bool compare_runs(struct comparison *comparison, const struct run *before, const struct run *after,
                  const struct compare_options *options, struct fault *fault) {
    *comparison = (struct comparison){
        .options = *options, .confidence = effect_confidence, .control = NAN, .spread = NAN};
    struct row_set old = {0}, new = {0}, old_read = {0}, new_read = {0};
    /* Two orders of each side: one to search, one to read. */
    bool ok = row_set_make(&old, before, fault) && row_set_make(&new, after, fault) &&
              row_set_make(&old_read, before, fault) && row_set_make(&new_read, after, fault);
    row_set_arrange(&old_read);
    row_set_arrange(&new_read);

    struct join join = {.options = options, .before = &old, .after = &new};
    if (ok) find_closest(&join);
    int64_t room = 0;
    for (int64_t n = 0; ok && n < old_read.count; n++) {
        const struct row *row = old_read.places[n].row;
        int64_t count;
        const struct row_place *others = row_set_find(&new, row, &count);
        for (int64_t m = 0; ok && m < count; m++) {
            if (!is_joined(&join, row, others[m].row)) continue;
            struct compare_pair pair = pair_of(row, others[m].row, options->cold);
            look_at_machines(comparison, &pair, run_machine_of(before, row),
                             run_machine_of(after, others[m].row));
            ok = keep_pair(comparison, &room, pair, fault);
        }
    }
    if (ok && !(measure(comparison) && decide_all(comparison)))
        ok = fault_set(fault, FAULT_OURS, "out of memory for the verdicts");
    if (ok) {
        comparison->before_only = unpaired(&join, &old_read, options->kernels_before, true,
                                           &comparison->before_only_count);
        comparison->after_only = unpaired(&join, &new_read, options->kernels_after, false,
                                          &comparison->after_only_count);
        if (comparison->before_only == NULL || comparison->after_only == NULL)
            ok = fault_set(fault, FAULT_OURS, "out of memory for the rows");
        else
            comparison->redrawn = count_redrawn(comparison);
    }
    row_set_free(&old);
    row_set_free(&new);
    row_set_free(&old_read);
    row_set_free(&new_read);
    return ok;
}

static const struct versus *versus_of(const struct row *row, bool cold) {
    return cold ? &row->versus_cold : &row->versus_warm;
}

bool run_is_live(const struct run *run) {
    for (int64_t n = 0; n < run->count; n++) {
        if (run->rows[n].versus[0] != '\0') return true;
    }
    return false;
}

bool run_has_duels(const struct run *run, bool cold) {
    for (int64_t n = 0; n < run->count; n++) {
        if (versus_of(&run->rows[n], cold)->pairs > 0) return true;
    }
    return false;
}

/* How many pairs it would take, where that is another number than there are; it is known of the
 * difference alone that mattered when they were launched. */
static const char *what_it_takes(const struct row *row, const struct versus *versus, double least) {
    char text[64];
    if (isnan(versus->needed) || row->versus_least != least) return "";
    if (versus->needed == 0) return "the control differs as much";
    snprintf(text, sizeof text, "%lld of about %.3g pairs", (long long)versus->pairs,
             versus->needed);
    return text_kept(text);
}

static struct compare_pair live_pair_of(const struct row *before, const struct row *after,
                                        const struct compare_options *options) {
    struct compare_pair pair = pair_of(before, after, options->cold);
    const struct versus *versus = versus_of(after, options->cold);
    pair.n_before = pair.n_after = versus->pairs;
    pair.p = NAN;
    pair.why = text_kept(after->versus_why);
    pair.verdict = COMPARE_UNTIMED;
    if (versus->pairs == 0) return pair;
    pair.ratio = versus->ratio;
    pair.low = isnan(versus->low) ? 0 : versus->low; /* endless ones are read back as NaN */
    pair.high = isnan(versus->high) ? INFINITY : versus->high;
    pair.p = versus->p;
    pair.control = versus->control;
    pair.why = what_it_takes(after, versus, options->least);
    return pair;
}

/* The row that this one was launched in turn with; NULL if the run lost it. */
static const struct row *other_of(const struct row_set *set, const struct row *row) {
    int64_t count;
    const struct row_place *others = row_set_find(set, row, &count);
    for (int64_t n = 0; n < count; n++) {
        const struct row *other = others[n].row;
        if (!strcmp(other->kernel, row->versus) && rows_share_inputs(other, row)) return other;
    }
    return NULL;
}

/* The geometric mean of the controls, and by how much one of them widened an interval at most. */
static void sum_controls(struct comparison *comparison) {
    double sum = 0, widest = 0;
    int64_t count = 0;
    for (int64_t n = 0; n < comparison->pair_count; n++) {
        const double control = log(comparison->pairs[n].control);
        if (!isfinite(control)) continue;
        sum += control;
        widest = fmax(widest, fabs(control) / 2);
        count++;
    }
    if (count == 0) return;
    comparison->control = exp(sum / (double)count);
    comparison->spread = widest;
}

bool compare_live(struct comparison *comparison, const struct run *run,
                  const struct compare_options *options, struct fault *fault) {
    struct row_set set = {0}, read = {0};
    *comparison = (struct comparison){.options = *options,
                                      .confidence = effect_confidence,
                                      .live = true,
                                      .control = NAN,
                                      .spread = NAN};
    bool ok = row_set_make(&set, run, fault) && row_set_make(&read, run, fault);
    row_set_arrange(&read);
    int64_t room = 0;
    for (int64_t n = 0; ok && n < read.count; n++) {
        const struct row *row = read.places[n].row;
        const struct row *other = row->versus[0] != '\0' ? other_of(&set, row) : NULL;
        if (other != NULL)
            ok = keep_pair(comparison, &room, live_pair_of(other, row, options), fault);
    }
    if (ok && !decide_all(comparison))
        ok = fault_set(fault, FAULT_OURS, "out of memory for the pairs");
    sum_controls(comparison);
    row_set_free(&set);
    row_set_free(&read);
    return ok;
}

void compare_free(struct comparison *comparison) {
    free(comparison->pairs);
    free(comparison->before_only);
    free(comparison->after_only);
    *comparison = (struct comparison){0};
}

void compare_summarise(struct compare_summary *summary, const struct comparison *comparison,
                       const char *variant) {
    double sum = 0, variance = 0, shift = 0;
    int64_t timed = 0;
    *summary = (struct compare_summary){.ratio = NAN, .low = NAN, .high = NAN};
    for (int64_t n = 0; n < comparison->pair_count; n++) {
        const struct compare_pair *pair = &comparison->pairs[n];
        if (variant != NULL && strcmp(pair->after->variant, variant) != 0) continue;
        summary->pairs++;
        summary->verdicts[pair->verdict]++;
        summary->worse += pair->status_change > 0;
        summary->better += pair->status_change < 0;
        if (!isfinite(pair->ratio) || !(pair->ratio > 0)) continue;
        sum += log(pair->ratio);
        variance += pow(log(pair->high / pair->low) / 2 - pair->shift, 2);
        shift += pair->shift;
        timed++;
    }
    if (timed == 0) return;
    const double half = (sqrt(variance) + shift) / (double)timed;
    summary->ratio = exp(sum / (double)timed);
    summary->low = summary->ratio * exp(-half);
    summary->high = summary->ratio * exp(half);
}
