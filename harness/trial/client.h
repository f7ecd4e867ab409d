/* The parent's end of the conversation with a worker (worker.c has the protocol): starts it, asks,
 * waits no longer than told, and says how it ended when it did. A worker never outlives its parent,
 * nor its client; what it started and left behind does not outlive it. What it prints is passed on,
 * cut (echo.h). `struct client c = {0}` is valid; client_stop twice is harmless. */
#ifndef ATTEST_CLIENT_H
#define ATTEST_CLIENT_H

#include "echo.h"
#include "../../oracle/fault.h"

#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>

enum client_end { CLIENT_ALIVE = 0, CLIENT_DIED, CLIENT_HUNG };

struct client {
    pid_t pid;
    int socket, process; /* process: a pidfd, or -1 */
    char *line;          /* what has been received and not yet used */
    size_t used, room;
    struct echo echo; /* of its standard error */
    enum client_end end;
    char how[96]; /* "SIGSEGV", "exit status 3", "no answer within 60 s", ... */
    int signal;   /* what killed it, 0 if nothing did: then it ended with */
    int exit_status;
    pid_t before;             /* client_running when this one was started */
    const char *const *under; /* as it was started */
    int threads;              /* that an interpreter was told of */
};

/* Workers do not reach what is at `path`, beneath it, or comes to be there, from the moment on that
 * they load a library (worker/hide.h has the details). To be said before any is started. */
void client_hide(const char *path);
/* Whether that can be kept from them, on this system and where it lies. */
bool client_hides(void);

/* Starts `program worker`, and another where one dies before it has said a word: no kernel is in it
 * yet. False with client->end set when they all do; not set when none can be started. `under` is
 * the command line of a program that starts it in turn, as compute-sanitizer does, ending with
 * NULL; NULL: none. */
bool client_start(struct client *client, const char *program, const char *const *under,
                  struct fault *fault);
/* Sends `request` (and releases it) and returns the answer, the caller's, or NULL with client->end
 * set when none came within `seconds`; the worker is then gone. */
json_t *client_ask(struct client *client, json_t *request, double seconds);
/* A request to describe or load `library`. */
json_t *client_about(const char *op, const char *library);
/* The same with open files, at most CLIENT_FILES_MAX, that the worker gets with the request. */
enum { CLIENT_FILES_MAX = 4 };
json_t *client_ask_with(struct client *client, json_t *request, const int *files, int file_count,
                        double seconds);
/* Between rows, of a worker that is kept: what it printed counts anew. Whether it is as it was:
 * false when the kernel left a process behind, which is then ended or, with the worker, will be. */
bool client_clean(struct client *client);
/* Says goodbye to a living worker, then makes sure. */
void client_stop(struct client *client);

/* When memory runs out, workers go before who judges them, and those before who waits for them:
 * this process goes before others that volunteered less (oom_score_adj, at most 1000). Safe after a
 * fork. */
void client_volunteer(int points);

/* The process group of the worker that runs now, 0 if none does: for a signal handler that ends the
 * program. */
extern volatile pid_t client_running;

#endif
