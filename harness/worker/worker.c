/* A kernel's process: `attest worker [PROCESS...]`, processes being those that a kernel must not
 * reach for (fence.h): who started it, and who started them.
 *
 * Protocol 3. The parent writes one JSON object a line to standard input, the worker answers each
 * with one line on standard output: {"ok": true, ...} or {"ok": false, "what": W, "text": T}, W
 * being "refused" (this kernel does not take this problem), "oom" (no memory) or "error". Memory is
 * shared: open files to map come with a request as ancillary data (SCM_RIGHTS; standard input is a
 * Unix socket). Standard error is free.
 *
 * Each request has a "nonce", random text, that its answer repeats; an answer without it, or a
 * second one, is none of the worker's, and ends it. So a kernel that writes to all descriptors
 * forges nothing. It can still find the text, or rewrite the worker, for it is in its process: the
 * text is overwritten where we keep it, which is the best that can be done from here. The worker
 * ends, with EXIT_ROBBED, where its descriptors are no longer those that it was started with.
 *
 *   {"op": "hello"}
 *       -> "protocol": 3, "worker": "attest 0.1.0"
 *   {"op": "kernels", "library": FILE}
 *       Of an interpreter (foreign.h). -> "kernels": the names of those in the file, a line each
 *   {"op": "describe", "library": PATH}
 *       -> "kernel": {abi, device, variant, name, revision, grade, change, traits: [...],
 *          dtypes: [...], p_dtype, flags: [...], head_dim_max}, all as in kernels/attn.h by name.
 *          May be asked for many libraries, one after the other. A library may be FILE:NAME, which
 *          only an interpreter has (foreign.h).
 *   {"op": "load", "library": PATH, "device": "cpu", "problem": {variant, dtype, traits: [...],
 *    scale, batch, q_heads, kv_heads, q_len, kv_len, head_dim, page_size, pages, page_entries,
 *    kept_max}, "threads": N, "device_index": N, "memory_max": BYTES (0: no limit)}
 *       The kernel's own refuse() is asked here. "device" is the library's ("cpu" if not told): a
 *       GPU is opened before the library is, unless nothing is to be hidden.
 *   {"op": "load", "side": N, "library": PATH}
 *       After "map" and before "prepare" of any: another kernel, number 1 to 3, for the same
 *       device, on the same problem and tensors, inputs and outputs, and with the same scratch. A
 *       file that comes with it is opened in the library's place: a copy, which the loader takes
 *       for another library; of an interpreter's kernel "copy": true says so. Requests that
 *       are about a kernel name its side, 0 if they do not: prepare, launch, expect, furthest,
 *       finish.
 *       -> "scratch_bytes": N
 *       Both, the first time: "hide": [PATH, ...], which nothing in this process can reach from
 *       then on (hide.h).
 *   {"op": "map", "memories": [{"bytes": N}, ...], "tensors": [{"slot": "q", "memory": INDEX,
 *    "offset": BYTES, "dtype", "shape": [...], "stride": [...], "output": false}, ...]}
 *       Comes with a file for each memory. "apart": true: on the device each tensor is a memory of
 *       its own, without guards, for tools that know where each begins and ends.
 *       -> "scratch_bytes": N. The worker allocates scratch, with guards of its own around it.
 *       Where the problem has a layout (views.h), tensors are copied to where that asks for them
 *       before each prepare and launch, and back after each launch and finish.
 *   {"op": "prepare", "gaps": POISON, "nan_around": SLOT}
 *       Inputs are final. -> "us": T. Repeated with changed inputs after "finish". Of a layout what
 *       is between elements holds "nan", "inf", "big" or, as told nothing, zeros; around one tensor
 *       NaN all the same.
 *   {"op": "place", "tensors": [{"slot": "q", "offset": BYTES}, ...], "ends": BOOL}
 *       Inputs have been moved within their memory, and are there from now on; with "ends" they end
 *       where a page does. Not of a kernel that is prepared.
 *   {"op": "launch", "recorded": BOOL, "fill_scratch": X, "edges": BOOL}
 *       Scratch is filled with floats X, null being NaN, or left alone where X is not told; the
 *       kernel launched once and waited for; outputs are in shared memory when the answer comes.
 *       "recorded": what "time" recorded is replayed instead, if it did. "edges": inputs are behind
 *       protected pages meanwhile (edges.h), for which each has a page of its memory to itself
 *       before its first and one behind its last; of a CPU's kernel only.
 *       -> "us": T, "scratch": "intact" | "before" | "after", the guard that was overwritten; of a
 *       library that estimates (kernels/ascend/estimate.h) also "estimate_us": T, "counted": TEXT;
 *       of a layout "written_around": the name of an output between whose rows it wrote, if it did
 *   {"op": "time", "cold": BOOL, "touched_bytes", "samples_min", "samples_max", "total_ms_max",
 *    "ci_target", "control": PATH, "quiet_us", "watch": {"q_lens": [...], "lse": BOOL,
 *    "unwritten": WORD, "unwritten_lse": WORD}}
 *       Takes samples (sampling.h) until timing_enough (timing.h) is content. With "watch", outputs
 *       in shared memory are what each sample should leave (watch.h), and hold, when the answer
 *       comes, that of what samples left which is furthest from it; values are turned meanwhile
 *       (turn.h) and as they were afterwards; then also
 *       -> "looked": N, "differed": N, "first": N, the first sample that differed, from 1,
 *          "stale": N that did so in signs alone, "bare": N that had not been written whole,
 *          "surprised_us": [...], "touched_us": [...], "plain_us": [...], "turned_bytes",
 *          "spoilt": {"launches", "us", "touched_us", "alone_us", "usual_us", "why"} (spoil.h)
 *       Beside each sample "control" is timed (control.h), the library's for a GPU.
 *       -> "samples_us": [...], "clock_mhz": [...], "control_us": [...], "interrupted": N, "stop",
 *          "how", "launches", "copies", "single_us", "unrecorded": WHY, "watts", "celsius",
 *          "slowed": WHY, "overlapped": BOOL, "scratch" as above
 *   {"op": "repeat", "times": N}
 *       What was timed last, so many times, one after the other, and no more: who asks has a clock
 *       too. -> "us": T for all of them
 *   {"op": "expect", "q_lens": [...], "lse": BOOL, "unwritten": WORD, "unwritten_lse": WORD}
 *       What is in shared memory is what this side's launches should leave; until it is unloaded.
 *   {"op": "race", "cold": BOOL, "touched_bytes", "rounds_max", "total_ms_max", "least"}
 *       Takes samples in turn (race.h) of all sides from the first on that are prepared and expect
 *       something, two at least: 0 is the old kernel, 1 the new, 2 and 3 are their copies. Until
 *       they tell a share of the time of `least` from none (paired.h) or the time is over.
 *       -> "sides": [{"samples_us": [...], "clock_mhz": [...], "single_us", "looked", "differed",
 *          "first", "stale", "bare", "scratch"}, ...], and as above "stop", "how", "launches",
 *          "copies", "unrecorded", "watts", "celsius", "slowed". Where it fails, "side": whose
 *          launch it was.
 *   {"op": "furthest"}
 *       Of what this side's samples left in the last race, what is furthest from what they should
 *       is in shared memory.
 *   {"op": "finish"}
 *       Inputs are in shared memory as the kernel left them. -> "written_around" as above
 *   {"op": "unload"}
 *       Gives back all memory; another "load" may follow. An error says that the device is not well
 *       and this worker of no more use.
 *   {"op": "devices", "device": "cuda"}
 *       -> "devices": [{"name", "driver", ...}, ...], fields of struct machine_device (record.h)
 *   {"op": "probe", "device": "cuda", "device_index": N, "library": PATH, "seconds": S}
 *       -> "ceilings": {...}, fields of the same, as the library measured them (probe_library.h)
 *   {"op": "bye"}
 *       The worker exits with 0. */
#define _GNU_SOURCE
#include "worker.h"
#include "foreign.h"
#include "operations.h"
#include "protocol.h"
#include "../../oracle/fault.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__ 1 /* as gcc says it */
#endif
#endif

#if defined(__SANITIZE_ADDRESS__)
/* Memory that is not there is an answer here too, not the end; and the leak check must be able to
 * attach to the process. */
const char *__asan_default_options(void);
const char *__asan_default_options(void) {
    return "allocator_may_return_null=1";
}
enum { DUMPABLE = 1 };
#else
enum { DUMPABLE = 0 };
#endif

/* No core files, nor pipes to a collector of them: a worker maps gigabytes, and crashing is what
 * some kernels are here for. */
static void forbid_cores(void) {
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    prctl(PR_SET_DUMPABLE, DUMPABLE);
}

/* Takes the request's nonce out of it, and out of the inbox. What json_loads allocated on its way
 * is beyond us. */
static void take_nonce(char nonce[NONCE_BYTES], json_t *request, struct inbox *inbox) {
    const char *text = json_string_value(json_object_get(request, "nonce"));
    snprintf(nonce, NONCE_BYTES, "%s", text != NULL ? text : "");
    if (text != NULL) explicit_bzero((char *)text, strlen(text));
    json_object_del(request, "nonce");
    inbox_wipe(inbox);
}

/* Both ends of the conversation are one socket: a kernel that put something between, to read or
 * edit what goes by, has made it two. By hand they may be two from the beginning. */
struct ends {
    ino_t in, out;
};

static struct ends ends_now(FILE *to) {
    struct stat in = {0}, out = {0};
    fstat(STDIN_FILENO, &in);
    fstat(fileno(to), &out);
    return (struct ends){in.st_ino, out.st_ino};
}

static void check_ends(FILE *to, const struct ends *given) {
    const struct ends now = ends_now(to);
    if (now.in != given->in || now.out != given->out) _exit(EXIT_ROBBED);
}

static void send_answer(FILE *to, json_t *reply, char nonce[NONCE_BYTES]) {
    if (*nonce != '\0') json_object_set_new(reply, "nonce", json_string(nonce));
    json_dumpf(reply, to, JSON_COMPACT);
    fputc('\n', to);
    fflush(to);
    json_decref(reply);
}

int worker_main(int argc, char **argv) {
    forbid_cores();
    /* The conversation moves to a file that only we know: what a kernel prints goes to stderr. */
    const int out = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 64);
    FILE *to = out >= 0 && dup2(STDERR_FILENO, STDOUT_FILENO) >= 0 ? fdopen(out, "w") : NULL;
    if (to == NULL) return FAULT_OURS;
    const struct ends ends = ends_now(to);
    struct inbox inbox = {0};
    static struct worker worker;
    worker.inbox = &inbox;
    worker.answers = out;
    for (int n = 0; n < FENCE_KEEPERS; n++)
        worker.keepers[n] = argc > 1 + n ? (pid_t)strtol(argv[1 + n], NULL, 10) : getppid();
    const char *line;
    bool end = false;
    char nonce[NONCE_BYTES];
    worker.nonce = nonce;
    while (!end && (line = inbox_next(&inbox)) != NULL) {
        const int held = foreign.hold != NULL ? foreign.hold() : 0;
        json_t *request = json_loads(line, 0, NULL);
        take_nonce(nonce, request, &inbox);
        const char *op = json_string_value(json_object_get(request, "op"));
        end = op != NULL && !strcmp(op, "bye");
        json_t *reply = end ? json_pack("{s:b}", "ok", 1) : worker_perform(&worker, request);
        check_ends(to, &ends);
        send_answer(to, reply, nonce);
        json_decref(request);
        if (foreign.release != NULL) foreign.release(held);
    }
    worker_release(&worker);
    worker.inbox = NULL;
    worker.nonce = NULL;
    inbox_free(&inbox);
    fclose(to);
    return 0;
}
