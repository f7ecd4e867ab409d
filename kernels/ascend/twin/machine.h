/* What twin.h needs of the emulator: places, operations and the launch. Emulated; never run on a
 * 910B2. A kernel's file and line travel with every call as a twin_site, made where the call
 * stands. */
#ifndef ATTEST_ASCEND_TWIN_MACHINE_H
#define ATTEST_ASCEND_TWIN_MACHINE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct twin_site {
    const char *file;
    int line;
    static constexpr twin_site here(const char *file = __builtin_FILE(),
                                    int line = __builtin_LINE()) {
        return {file, line};
    }
};

enum twin_memory_kind { TWIN_UB, TWIN_L1, TWIN_L0A, TWIN_L0B, TWIN_L0C, TWIN_MEMORIES };
enum twin_access { TWIN_GM_IN, TWIN_GM_OUT, TWIN_GM_WORK };
enum twin_operation {
    TWIN_add,
    TWIN_sub,
    TWIN_mul,
    TWIN_max,
    TWIN_min,
    TWIN_div,
    TWIN_exp,
    TWIN_log,
    TWIN_sqrt,
    TWIN_abs,
    TWIN_half2float,
    TWIN_bfloat162float,
    TWIN_float2half,
    TWIN_float2bfloat16,
    TWIN_lt
};

/* The shape of a vector call: `count` elements, or, where counted is false, repeats and strides of
 * dst, src0, src1. */
struct twin_form {
    bool counted;
    uint32_t count;
    int repeat;
    int block_stride[3];
    int repeat_stride[3];
};
inline twin_form twin_count(uint32_t count) {
    return {true, count, 0, {1, 1, 1}, {8, 8, 8}};
}
inline twin_form twin_repeat(int repeat, int b0, int b1, int b2, int r0, int r1, int r2) {
    return {false, 0, repeat, {b0, b1, b2}, {r0, r1, r2}};
}

inline uint32_t twin_bits(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}
unsigned char *twin_place(twin_memory_kind memory, uint32_t byte);
void twin_binary(twin_operation operation, void *dst, void *src0, void *src1, const twin_form &form,
                 twin_site at);
void twin_unary(twin_operation operation, void *dst, void *src, uint32_t value,
                const twin_form &form, twin_site at);
void twin_duplicate(void *dst, uint32_t bits, unsigned element, const twin_form &form,
                    twin_site at);
void twin_compare(twin_operation operation, uint8_t *dst, float *src, float value,
                  const twin_form &form, twin_site at);

void twin_begin(int threads);
void twin_declare(const void *data, uint64_t bytes, twin_access access, const char *name);
const char *twin_run(int kind, int blocks, const char *name, void (*body)(void *), void *context);

template <typename Body>
const char *twin_launch(int kind, int64_t blocks, const char *name, Body body) {
    return twin_run(
        kind, static_cast<int>(blocks), name,
        [](void *context) { (*static_cast<Body *>(context))(); }, &body);
}

#endif
