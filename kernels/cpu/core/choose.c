/* Which instruction set runs. */
#include "attention.h"

#include <stdlib.h>
#include <string.h>

const struct isa *choose_isa(void) {
    const struct isa *choices[3] = {&isa_portable};
    int count = 1;
#if defined(__x86_64__)
    __builtin_cpu_init();
    /* Every CPU with AVX2 has F16C, by which name clang cannot ask. */
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        choices[count++] = &isa_avx2;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        choices[count++] = &isa_avx512;
#endif
    const char *wanted = getenv("ATTN_CPU_ISA");
    for (int c = 0; wanted && c < count; c++)
        if (!strcmp(choices[c]->name, wanted)) return choices[c];
    return choices[count - 1];
}
