/* Decode kernels that are odd in how they are loaded and what they say of themselves then: what the
 * tests of plugin.c and of `attest run` name. One library each, compiled from this file with
 * ODD_KIND; those that can be launched answer with zeros. */
#include "../../kernels/attn.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum odd {
    ABORTS,     /* in a constructor */
    LEAVES,     /* ends the process in good order there */
    WAITS,      /* never comes back from there */
    LATER,      /* ends it from a thread, a moment after all is well */
    EXPORTLESS, /* is no kernel */
    UNRESOLVED, /* needs a function that nobody has */
    NEWER,      /* was built for a contract that this program does not know */
    GRADED_D,   /* promises a grade that there is not */
    GRADELESS,  /* promises none */
};

#define ODD_STRING(x) #x
#define ODD_NAME(x) ODD_STRING(x)
static const enum odd kind = ODD_KIND;

static void *die(void *nothing) {
    usleep(1000);
    abort();
    return nothing;
}

__attribute__((constructor)) static void loaded(void) {
    pthread_t thread;
    if (kind == ABORTS) abort();
    if (kind == LEAVES) exit(7);
    while (kind == WAITS) pause();
    if (kind == LATER && pthread_create(&thread, NULL, die, NULL) != 0) abort();
}

#ifdef ODD_EXPORTS
#ifdef ODD_CALLS
const char *attn_function_of_nobody(void);
#else
static const char *attn_function_of_nobody(void) {
    return NULL;
}
#endif

static const char *launch(const struct attn_problem *problem, const struct attn_call *call) {
    const size_t bytes = problem->dtype == ATTN_F32 ? sizeof(float) : 2;
    memset(call->tensors[ATTN_OUT].data, 0,
           (size_t)(problem->batch * problem->q_heads * problem->head_dim) * bytes);
    return attn_function_of_nobody();
}

ATTN_PUBLIC const struct attn_kernel attn_export = {
    .abi = kind == NEWER ? ATTN_ABI + 1 : ATTN_ABI,
    .bytes = sizeof(struct attn_kernel),
    .device = ATTN_CPU,
    .variant = ATTN_DECODE,
    .name = ODD_NAME(ODD_FILE),
    .revision = 1,
    .grade = kind == GRADED_D    ? 'D'
             : kind == GRADELESS ? 0
                                 : 'A',
    .change = "odd",
    .traits = ATTN_GQA,
    .dtypes = 1u << ATTN_F16 | 1u << ATTN_F32,
    .head_dim_max = 64,
    .launch = launch,
};
#endif
