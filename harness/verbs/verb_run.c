/* attest run: what was asked for; session.h does it. */
#include "ask.h"
#include "../session/again.h"
#include "../session/shards.h"
#include "../verb.h"

#include <string.h>

enum {
    KEY_RESUME = 256,
    KEY_SHARD,
    KEY_BY,
    KEY_NO_TIME,
    KEY_WARM,
    KEY_TIME_MS,
    KEY_PROCESSES,
    KEY_NO_PROBE,
    KEY_ANCHORS,
    KEY_SANITIZE,
    KEY_JUNIT,
};

static const struct argp_option options[] = {
    ASK_OPTIONS,
    {"resume", KEY_RESUME, "DIR", 0, "Add to that run what it does not hold yet", 0},
    {"device", 'd', "LIST", 0,
     "Only these, and kernels for them: cpu, cuda (the first GPU), cuda:1, cuda:all, ascend and "
     "the like, twin, joined by commas; may be repeated. Several GPUs share the rows. `attest list "
     "devices` tells what there is; default: kernels of every kind, on the first device of it, the "
     "twin's where kernels are named",
     0},
    {"sanitize", KEY_SANITIZE, "TOOL", 0,
     "GPU kernels only, each launched once under compute-sanitizer and not timed; its findings are "
     "statuses. TOOL is memcheck, racecheck, initcheck or synccheck",
     0},
    {"shard", KEY_SHARD, "I/N", 0, "Only part I of N; the parts are disjoint, and all of it", 0},
    {"by", KEY_BY, "COSTS", 0,
     "Of --shard: parts that take about the same time, by what rows took in COSTS, a past run, and "
     "by estimates of those that it does not hold; COSTS `work`: all by estimates. Needs the same "
     "COSTS, kernels and problems for each part; default: parts by rows' names",
     0},
    {"threads", 't', "N", 0,
     "Threads for kernels, oracle and judge; default: all cores, which several GPUs divide", 0},
    {"no-time", KEY_NO_TIME, NULL, 0, "Check only", 0},
    {"warm", KEY_WARM, NULL, 0,
     "Time nothing cold. On a CPU with a large last cache, which is emptied before each cold "
     "launch, a row then takes a fraction",
     0},
    {"time-ms", KEY_TIME_MS, "MS", 0,
     "Cap on timing, for cold and for warm each; default 300. On a CPU, where rows are timed in "
     "three processes or more, for each of them, a third of it where there are many rows",
     0},
    {"processes", KEY_PROCESSES, "N", 0,
     "Time rows of the CPU in N processes at least, one after the other; default 3, and up to 8 "
     "where two do not agree. 1: once, of which little is known of another run's",
     0},
    {"anchors", KEY_ANCHORS, NULL, 0,
     "Add rows for two kernels that are computed here: ideal, the answer rounded once, and std16, "
     "the textbook with S and P in 16 bits",
     0},
    {"no-probe", KEY_NO_PROBE, NULL, 0, "Do not measure the machine's ceilings first", 0},
    {"junit", KEY_JUNIT, "FILE", 0,
     "When all is done, write the run there as JUnit's XML, as `attest report --junit` does", 0},
    {"json", 'j', NULL, 0, "Print the rows as JSON lines", 0},
    {"quiet", 'q', NULL, 0, "Print rows that did not pass only", 0},
    {0},
};

static void parse_shard(struct session_options *asked, const char *text, struct argp_state *state) {
    int64_t part, parts;
    if (!shards_parse(text, &part, &parts))
        argp_error(state, "--shard takes I/N with I in 1..N, not '%s'", text);
    if (asked->shards != 0 && (asked->shard != part || asked->shards != parts))
        argp_error(state, "--shard is %lld/%lld already, not '%s' too", (long long)asked->shard,
                   (long long)asked->shards, text);
    asked->shard = part;
    asked->shards = parts;
}

static error_t parse(int key, char *text, struct argp_state *state) {
    struct session_options *asked = state->input;
    struct trial_options *trial = &asked->trial;
    switch (key) {
    case KEY_RESUME:
        take_once(&asked->resume, text, "resume", state);
        return 0;
    case KEY_SHARD:
        parse_shard(asked, text, state);
        return 0;
    case KEY_BY:
        take_once(&asked->costs, text, "by", state);
        return 0;
    case KEY_NO_TIME:
        trial->time = false;
        return 0;
    case KEY_WARM:
        trial->only_warm = true;
        return 0;
    case KEY_TIME_MS:
        trial->plan.total_ms_max = verb_number(text, 1, 1e6, "time-ms", state);
        return 0;
    case KEY_PROCESSES:
        asked->processes = verb_count(text, 1, AGAIN_PROCESSES_MAX, "processes", state);
        return 0;
    case KEY_SANITIZE:
        take_once(&asked->sanitize, text, "sanitize", state);
        return 0;
    case KEY_ANCHORS:
        asked->anchors = true;
        return 0;
    case KEY_NO_PROBE:
        asked->no_probe = true;
        return 0;
    case KEY_JUNIT:
        take_once(&asked->junit, text, "junit", state);
        return 0;
    case 'j':
        asked->json = true;
        return 0;
    case 'q':
        asked->quiet = true;
        return 0;
    case ARGP_KEY_END:
        if (asked->out != NULL && asked->resume != NULL)
            argp_error(state, "--resume adds to '%s', so there is no --out '%s'", asked->resume,
                       asked->out);
        if (trial->only_warm && !trial->time)
            argp_error(state, "--warm says what is timed, and --no-time that nothing is");
        if (asked->costs != NULL && asked->shards == 0)
            argp_error(state, "--by '%s' deals rows to parts, so there is --shard I/N",
                       asked->costs);
        if (asked->costs != NULL && !strcmp(asked->costs, "work")) asked->costs = "";
        return 0;
    default:
        return ask_parse(asked, &asked->globs, key, text, state);
    }
}

static const struct argp argp = {
    .options = options,
    .parser = parse,
    .args_doc = "[KERNEL...] [-s SUITE|-f FILE|LINE...] [WORD...]",
    .doc =
        "Checks kernels against exact answers and times them. KERNEL is a glob over names as "
        "`attest list kernels` prints them, or a path to an .so; mine.py is every kernel in that "
        "file of Python's, mine.py:decode_mine_r1 one; without any, all kernels run. "
        "LINE is a problem, WORD selects among the problems: variant=decode_paged dtype=bf16 "
        "kv>=4096. Without a problem, the suite smoke is run.\vWhat was done stays done: a run "
        "that was interrupted is readable, and --resume with the same arguments completes it. "
        "Its exit status is then that of the whole run, also where nothing was left to do.\n\n"
        "Nothing begins unless each argument is of use: a name that matches nothing is exit "
        "status 4, and one that selects nothing, or a run in which no row was judged because "
        "each was refused, is 5. A kernel that was named and cannot be loaded is a row for every "
        "problem, CRASH or HANG; 3. A kernel, or a process of attest, that dies costs a row; one "
        "run "
        "writes to a folder at a time.",
};

static int run_run(int argc, char **argv) {
    struct session_options asked = {.trial = trial_defaults};
    argp_parse(&argp, argc, argv, 0, NULL, &asked);
    ask_complete(&asked);
    const int status = session_run(&asked, argc, argv, NULL);
    ask_free(&asked);
    return status;
}

const struct verb verb_run = {
    .name = "run",
    .arguments = "[KERNEL...] [-s SUITE|-f FILE|LINE...]",
    .summary = "check and time",
    .argp = &argp,
    .run = run_run,
};
