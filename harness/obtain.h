/* The fixture of a problem line: from the cache, or drawn, answered and cached. */
#ifndef ATTEST_OBTAIN_H
#define ATTEST_OBTAIN_H

#include "../fixtures/fixture.h"

struct obtain_options {
    const char *program; /* the attest executable, for loading in a child */
    int threads;         /* 0: all cores */
    bool uncached;       /* neither read nor write the cache (fuzz) */
    bool again;          /* make it anew although it is cached */
};

/* A cached file that does not load, or whose tensors or answer do not belong to the line, is made
 * anew with a line on stderr. An answer is kept under the digest of the inputs. */
bool obtain_line(struct fixture *fixture, const char *line, const struct obtain_options *options,
                 struct fault *fault);
/* A file made elsewhere; its answer is computed and stored in it if it has none or a stale one. */
bool obtain_file(struct fixture *fixture, const char *path, const struct obtain_options *options,
                 struct fault *fault);

#endif
