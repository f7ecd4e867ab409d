/* Additions over 64 KiB, as many at once as a core can do: what takes from a kernel -- another
 * thread on the same core, a lower clock -- takes from these. (Multiply-adds that wait for each
 * other do not notice: beside other work on a 2-core EPYC a decode's time went with theirs to the
 * power 4.5, and with that of additions to the power 1.5 and, of 1,024 keys, 1.0; correlation 0.94
 * and 0.83 over fifths of a second.) */
#include "control.h"
#include "probe_library.h"
#include "../../oracle/clock.h"

#include <dlfcn.h>
#include <pthread.h>
#include <string.h>

enum { FLOATS = 16384, LANES = 8, CHAINS = 8, PASSES = 8, THREADS_MAX = 256 };
typedef float vector __attribute__((vector_size(LANES * sizeof(float))));

static vector numbers[FLOATS / LANES];

static void add(int passes) {
    vector sum[CHAINS] = {0};
    for (int pass = 0; pass < passes; pass++) {
        for (int n = 0; n < FLOATS / LANES; n += CHAINS) {
            for (int chain = 0; chain < CHAINS; chain++) sum[chain] += numbers[n + chain];
        }
    }
    __asm__ volatile("" : : "r"(sum) : "memory"); /* all of it is wanted */
}

static void *work(void *unused) {
    add(PASSES);
    return unused;
}

static double time_work(int threads) {
    pthread_t others[THREADS_MAX];
    bool started[THREADS_MAX] = {false};
    add(1); /* what a kernel has left of the numbers in the caches is nobody else's doing */
    const double start = clock_s();
    for (int n = 1; n < threads; n++) started[n] = !pthread_create(&others[n], NULL, work, NULL);
    work(NULL);
    for (int n = 1; n < threads; n++) {
        if (started[n]) pthread_join(others[n], NULL);
    }
    return (clock_s() - start) * 1e6;
}

static bool take_here(double *us, int threads) {
    if (numbers[0][0] == 0) {
        for (int n = 0; n < FLOATS; n++) numbers[n / LANES][n % LANES] = 1 + (float)n / FLOATS;
    }
    *us = time_work(threads < THREADS_MAX ? threads : THREADS_MAX);
    return true;
}

bool control_take(double *us, const struct attn_call *call, enum attn_device device,
                  const char *library) {
    static char loaded[4096];
    static const char *(*control)(void *stream, double *us);
    if (device == ATTN_CPU) return take_here(us, call->threads);
    if (library == NULL || strlen(library) >= sizeof loaded) return false;
    if (strcmp(library, loaded) != 0) {
        void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
        *(void **)&control = handle != NULL ? dlsym(handle, "attest_control") : NULL;
        strcpy(loaded, library); /* also where it cannot be: it is not tried again */
    }
    return control != NULL && control(call->stream, us) == NULL;
}
