#include "foreign.h"
#include "worker.h"

#include <string.h>

struct foreign foreign;

const size_t foreign_sizes[4] = {sizeof(struct attn_problem), sizeof(struct attn_call),
                                 sizeof(struct attn_kernel), sizeof(struct foreign)};

bool foreign_is(const char *path) {
    return strstr(path, ".py:") != NULL;
}

int foreign_main(int argc, char **argv) {
    return worker_main(argc, argv);
}

const char *foreign_launch(const struct attn_problem *problem, const struct attn_call *call) {
    (void)problem;
    void *answer = foreign.call(call->state, NULL);
    const char *reason = NULL;
    if (answer == NULL) {
        foreign.clear();
        reason = "the interpreter could not call it";
    } else if (answer != foreign.nothing) {
        reason = foreign.text(answer); /* which is never given back */
    } else {
        foreign.drop(answer);
    }
    return reason;
}
