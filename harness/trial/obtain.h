/* The fixture of a problem line: from the cache, or drawn, answered and cached. */
#ifndef ATTEST_OBTAIN_H
#define ATTEST_OBTAIN_H

#include "../../fixtures/fixture.h"
#include "../../oracle/oracle.h"

/* What it took, for those who report it. Seconds are 0 where a step was not needed. */
struct obtain_report {
    bool cached; /* tensors and answer were there */
    double load_seconds, generate_seconds, oracle_seconds, write_seconds;
    struct oracle_cost cost;
};

struct obtain_options {
    const char *program; /* the attest executable, for loading in a child */
    int threads;         /* 0: all cores */
    bool uncached;       /* neither read nor write the cache (fuzz) */
    bool again;          /* make it, or its answer, anew although it is there */
    bool must_store; /* not to be able to write is a fault (make, oracle), not a warning (run) */
    int64_t rows;    /* obtain_file: query rows of each head to answer; 0: what the line says */
    struct obtain_report *report; /* may be NULL */
};

/* A cached file that does not load, or whose tensors or answer do not belong to the line, is made
 * anew with a line on stderr. An answer is kept under the digest of the inputs. */
bool obtain_line(struct fixture *fixture, const char *line, const struct obtain_options *options,
                 struct fault *fault);
/* What a line's fixture and answer may take at the most: 0.9 of the machine's memory. */
int64_t obtain_bytes_max(void);
/* A file made elsewhere; its answer is computed and stored in it if it has none, one to other
 * tensors or, which a line on stderr says, one by another version of the oracle: to as many rows as
 * that. */
bool obtain_file(struct fixture *fixture, const char *path, const struct obtain_options *options,
                 struct fault *fault);
/* Makes the folders that a file of the cache is to lie in. */
bool obtain_folders(const char *path, struct fault *fault);
/* The lines that an argument stands for: a line itself, or the path of a suite or its name in the
 * folder `suites`. The caller frees them with suite_free. */
bool obtain_lines(struct suite *lines, const char *argument, const char *suites,
                  struct fault *fault);

#endif
