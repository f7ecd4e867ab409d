/* What is timed in the worker clocked from the process that asked, which a kernel cannot reach. */
#include "trial_inside.h"
#include "../record/number.h"
#include "../../oracle/clock.h"

#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Launches are also timed as a whole, from here: so many that the worker's clock says about 2 ms,
 * which is less than a slice of a scheduler's. They may take longer than that clock says of the
 * same launches by the first factor, and be at work longer than it said of samples by the second,
 * and this time more.
 */
static const double outside_us = 2e3, outside_factor = 1.5, claimed_factor = 4,
                    outside_more_us = 1e3;
/* Of what is not timed by the host's clock, what the host takes for each. */
static const double outside_host_us = 100;
/* So much faster than any sample, whose outputs were filled before, they are not. */
static const double stands_factor = 4, stands_us = 100;
enum { TRIES_SHORT = 5, TRIES_MAX = 9, USED_MAX = 1024 };

static bool accuse_clock(struct trial *trial, double theirs_us, double ours_us) {
    return trial_end(trial, STATUS_INVALID_PHYSICS,
                     "the worker's clock says %s a launch, that of the process that asked %s",
                     number_time(theirs_us).text, number_time(ours_us).text);
}

/* All samples happened while we waited for them. */
bool trial_look_at_sum(struct trial *trial, double sum_us, double launches, double wall_us) {
    return !(sum_us > wall_us) || accuse_clock(trial, sum_us / launches, wall_us / launches);
}

/* So many of what was timed last in a row, in microseconds for all of them. */
struct outing {
    double theirs_us, ours_us; /* by the worker's clock, and by ours */
    /* Of ours, what others on the machine have no part in: on a CPU what its busiest thread had a
     * processor for, of a device what neither process was ready and had none for. */
    double busy_us;
};

/* What a process and each thread of it has had a processor for, as the scheduler counts it. */
struct used {
    double all_us; /* threads that have ended, too */
    int64_t count;
    struct {
        long thread;
        double us;
    } threads[USED_MAX];
};

static void look_at_threads(pid_t process, struct used *used) {
    char path[64];
    clockid_t clock;
    struct timespec all = {0};
    if (clock_getcpuclockid(process, &clock) == 0) clock_gettime(clock, &all);
    used->all_us = (double)all.tv_sec * 1e6 + (double)all.tv_nsec * 1e-3;
    used->count = 0;
    snprintf(path, sizeof path, "/proc/%d/task", (int)process);
    DIR *folder = opendir(path);
    for (const struct dirent *entry;
         folder != NULL && used->count < USED_MAX && (entry = readdir(folder)) != NULL;) {
        double ns;
        const long thread = strtol(entry->d_name, NULL, 10);
        snprintf(path, sizeof path, "/proc/%d/task/%ld/schedstat", (int)process, thread);
        FILE *file = thread > 0 ? fopen(path, "re") : NULL;
        if (file == NULL) continue;
        if (fscanf(file, "%lf", &ns) == 1) {
            used->threads[used->count].thread = thread;
            used->threads[used->count++].us = ns * 1e-3;
        }
        fclose(file);
    }
    if (folder != NULL) closedir(folder);
}

/* At least what its busiest thread has. */
static double busiest(const struct used *before, const struct used *after, int threads) {
    double most_us = (after->all_us - before->all_us) / threads;
    for (int64_t n = 0; n < after->count; n++) {
        double us = after->threads[n].us;
        for (int64_t m = 0; m < before->count; m++) {
            if (before->threads[m].thread == after->threads[n].thread) us -= before->threads[m].us;
        }
        most_us = fmax(most_us, us);
    }
    return most_us;
}

/* How long a process, of its threads the first, has been ready and not running. */
static double waited_us(pid_t process) {
    char path[64];
    double ran_ns, waited_ns;
    snprintf(path, sizeof path, "/proc/%d/schedstat", (int)process);
    FILE *file = fopen(path, "re");
    if (file == NULL) return 0;
    const bool well = fscanf(file, "%lf %lf", &ran_ns, &waited_ns) == 2;
    fclose(file);
    return well ? waited_ns * 1e-3 : 0;
}

static bool go_out(struct trial *trial, int64_t times, struct outing *outing) {
    static struct used before, after;
    json_t *reply;
    const double seconds = 2 * trial->options->watchdog_seconds;
    const bool counted = trial->plugin->kernel.device == ATTN_CPU;
    const pid_t worker = trial->client->pid, here = getpid();
    if (counted) look_at_threads(worker, &before);
    const double waited = waited_us(worker) + waited_us(here);
    const double start = clock_s();
    if (!trial_ask(trial, json_pack("{s:s, s:I}", "op", "repeat", "times", (json_int_t)times),
                   seconds, &reply))
        return false;
    outing->ours_us = outing->busy_us = (clock_s() - start) * 1e6;
    outing->theirs_us = json_number_value(json_object_get(reply, "us"));
    json_decref(reply);
    if (!counted) outing->busy_us -= waited_us(worker) + waited_us(here) - waited;
    if (counted) look_at_threads(worker, &after);
    if (counted && after.all_us > 0)
        outing->busy_us = fmin(outing->ours_us, busiest(&before, &after, trial->threads));
    return true;
}

/* By how much it takes longer than a clock says. */
static double beyond_clock(double ours_us, double theirs_us, double factor) {
    return ours_us - factor * theirs_us - outside_more_us;
}

/* Warm launches in a row, clocked from here too. Nothing fills their outputs: each finds its answer
 * standing there. A machine has other users: the try that speaks most for the kernel counts, and
 * one that others have had a part of is repeated. On a host so busy that an answer takes
 * milliseconds to come the longer ones do. */
bool trial_clock_outside(struct trial *trial) {
    struct row *row = trial->row;
    const struct timing *warm = &row->warm;
    const double sample_us = warm->median_us * (double)warm->launches;
    const double host_us = strcmp(warm->how, "clock") != 0 ? outside_host_us : 0;
    int64_t times = (int64_t)fmax(1, outside_us / fmax(sample_us + host_us, 1));
    double outside = INFINITY, launch_us = INFINITY, beyond_us = INFINITY;
    bool unclear = true;
    for (int n = 0; (n < TRIES_MAX && beyond_us > 0) || (n < TRIES_SHORT && unclear); n++) {
        struct outing one;
        if (n >= TRIES_SHORT) times *= 2;
        if (!go_out(trial, times, &one)) return false;
        const double claimed_us = (double)times * (sample_us + host_us);
        beyond_us = fmin(beyond_us, fmax(beyond_clock(one.busy_us, one.theirs_us, outside_factor),
                                         beyond_clock(one.busy_us, claimed_us, claimed_factor)));
        outside = fmin(outside, one.ours_us / (double)(times * warm->launches));
        launch_us =
            fmin(fmin(launch_us, outside), one.theirs_us / (double)(times * warm->launches));
        unclear =
            one.ours_us > outside_factor * claimed_us || one.ours_us < claimed_us / outside_factor;
    }
    row->outside_us = outside;
    if (beyond_us > 0) return accuse_clock(trial, warm->median_us, outside);
    if (warm->launches > 1 || stands_factor * launch_us + stands_us >= warm->min_us) return true;
    return trial_end(trial, STATUS_INVALID_PHYSICS,
                     "a launch whose output holds the answer already takes %s, else %s",
                     number_time(launch_us).text, number_time(warm->min_us).text);
}
