/* A run: kernels x problems on devices. Rows for the CPU come first and alone, since a timing must
 * not be disturbed; then, kind by kind, those for accelerators, each device with a process of its
 * own (lane.c), to which rows are dealt as they become free; they judge side by side, and take
 * turns to time (trial/timing_lock.h). Each row is on disk before its process begins the next. */
#ifndef ATTEST_SESSION_H
#define ATTEST_SESSION_H

#include "crew.h"
#include "hands.h"
#include "select.h"
#include "show.h"
#include "targets.h"
#include "writer.h"
#include "../trial/trial.h"

enum { SESSION_FOLDER_BYTES = 4096 };

struct texts {
    const char **list;
    int64_t count;
};

/* Instead of each kernel alone, each beside its next of kin among others (trial/duel.h). */
struct session_live {
    const char *old; /* these others, a glob or a path; NULL: the run is an ordinary one */
    bool cold, warm;
    double least, total_ms_max; /* as in struct duel */
};

struct session_options {
    const char *suites_folder, *kernels_folder, *runs_folder; /* kernels: joined by ':' */
    struct texts globs, suites, files, lines, words, devices;
    const char *out, *resume;
    const char *junit;     /* a file for the rows of the whole run, as JUnit's XML; or NULL */
    int64_t shard, shards; /* 1..shards; 0: all */
    const char *costs; /* a past run, by which rows are dealt to shards; "": by estimates; NULL: by
                          what they are called */
    int64_t processes; /* that rows of the CPU are timed in at least; 0: the usual number */
    bool anchors, no_probe, json, quiet;
    bool together;        /* GPUs are timed at once, not in turn */
    const char *sanitize; /* the tool of compute-sanitizer that GPU kernels run under; or NULL */
    struct session_live live;
    struct trial_options trial;
};

/* One problem: a line, or a file, which is loaded before the run begins and again by whoever runs
 * it. */
struct item {
    char line[PROBLEM_LINE_BYTES];
    const char *file;
    bool named; /* by the user, not by a suite */
    struct problem problem;
};

static inline const char *item_name(const struct item *item) {
    return item->file != NULL ? item->file : item->line;
}

/* What the processes of a run share. */
struct mark {
    struct crew_lock lock; /* held while somebody obtains the problem's fixture, and its anchors */
    bool failed;           /* could not be had, and said so */
    bool anchored, begun;  /* anchors' rows are written, or some of them */
    double std16_rho;      /* NaN: not known */
    char line[PROBLEM_LINE_BYTES], digest[40]; /* of a file that was loaded; "" until it was */
};
struct board {
    struct show show;
    struct crew_lock writing; /* held while a row is appended to the run */
    int exit_status;          /* of the worst row */
    int64_t judged;           /* rows that were, so far; both while `writing` is held */
    struct mark marks[];      /* of each item */
};

struct session {
    struct session_options options;
    int argc; /* the command */
    char **argv;
    struct select_word *words;
    struct item *items;
    int64_t item_count;
    struct plugin_list kernels;
    struct plugin_list old; /* of a live run */
    int64_t *partners;      /* of each kernel, in `old` */
    struct targets targets;
    int32_t *parts; /* with options.costs: of each row, [items, kernels], and -1 where there is
                       none; 0..shards - 1 */
    struct machine machine;
    struct run done; /* what the resumed run holds; while `again`, what this one does */
    bool again;      /* rows that are there are tried once more (again.h) */
    struct writer writer;
    struct hands hands;  /* while rounds.c runs it, as the board */
    struct board *board; /* while rounds.c runs it */
    /* what is left of the board then: rows done, and its counts */
    int64_t rows, judged;
};

/* Gathers, runs, and says how it went; returns the exit status. `argv` is the command; `folder`, if
 * not NULL, gets where the run is, "" if there is none. Of a live run rows are not shown. Nothing
 * is begun unless each thing that was named is there and of use: a glob matches kernels, no two of
 * one name, these are for the devices that were named and for some problem's variant; a file can be
 * loaded. */
int session_run(const struct session_options *options, int argc, char **argv,
                char folder[SESSION_FOLDER_BYTES]);

/* Whether accelerators of the host are timed one at a time (trial/timing_lock.h). */
bool session_takes_turns(const struct session *session);
/* Whether the row of this kernel is in this part of a sharded run, and not in the resumed one. The
 * digest is looked at where the problem is a file. */
bool session_in_shard(const struct session *session, const char *kernel, const struct item *item);
bool session_has(const struct session *session, const struct plugin *kernel,
                 const struct item *item, const char *fixture_digest);
/* That row, the last one if there are several; NULL: there is none. */
const struct row *session_find(const struct session *session, const struct plugin *kernel,
                               const struct item *item, const char *fixture_digest);
/* The kernels for `kind` that `item` is still to be run with, as indices into the list; adds those
 * that it was run with already to *resumed. While `again`, those that want it. */
int64_t session_choose(const struct session *session, enum attn_device kind,
                       const struct item *item, const char *fixture_digest, int64_t *chosen,
                       int64_t *resumed);

#endif
