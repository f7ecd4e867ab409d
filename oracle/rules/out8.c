/* An output of 8 bits: what is stored, times out_scale, is meant. The answer stays what it is, in
 * double; that E4M3 says it in four bits and no more than 448 times the scale is the judge's. */
#include "../rule.h"

#include <math.h>

static const struct rule_tensor tensors[] = {{ATTN_OUT_SCALE, ATTN_F32, 1, {SIZE_1}}, {.rank = 0}};

static bool check(const struct rule_view *view, struct fault *fault) {
    const float scale = *(const float *)view->tensors[ATTN_OUT_SCALE].data;
    return (isfinite(scale) && scale > 0) ||
           fault_set(fault, FAULT_INPUT, "out_scale[0] is %g: expected a finite number above 0",
                     (double)scale);
}

/* In [1, 2), a multiple of 2^-16: by how much it is larger than the values ask for, which who draws
 * them multiplies it with. */
static void draw(const struct rule_view *view, const struct rule_draw *draw) {
    *(float *)view->tensors[ATTN_OUT_SCALE].data =
        1 + (float)rule_below(&draw->random, ATTN_OUT_SCALE, 0, 0x10000) * 0x1p-16f;
}

const struct rule rule_out_e4m3 = {
    .trait = ATTN_OUT_E4M3,
    .name = "oute4m3",
    .meaning = "the output is 8-bit floats (OCP E4M3) times a scale",
    .words = "oute4m3",
    .tensors = tensors,
    .out_dtype = ATTN_E4M3,
    .check = check,
    .draw = draw,
};
