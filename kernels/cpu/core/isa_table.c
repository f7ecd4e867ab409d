/* What this instruction set offers. */
#include "isa.h"

#define TEXT_(name) #name
#define TEXT(name) TEXT_(name)

static void narrow(void *row, const float *values, int64_t count, int32_t dtype) {
    for (int64_t n = 0; dtype == ATTN_F32 && n < count; n++) ((float *)row)[n] = values[n];
    for (int64_t n = 0; dtype == ATTN_F16 && n < count; n++)
        ((uint16_t *)row)[n] = attn_f32_to_f16(values[n]);
    for (int64_t n = 0; dtype == ATTN_BF16 && n < count; n++)
        ((uint16_t *)row)[n] = attn_f32_to_bf16(values[n]);
    for (int64_t n = 0; dtype == ATTN_E4M3 && n < count; n++)
        ((uint8_t *)row)[n] = attn_f32_to_e4m3_sat(values[n]);
}

const struct isa ISA_NAME(isa_) = {
    .name = TEXT(ATTN_ISA),
    .tall_rows = TALL_TILES * LANES,
    .tall = ISA_NAME(tall_),
    .tall_workspace = ISA_NAME(tall_workspace_),
    .flat = ISA_NAME(flat_),
    .flat_workspace = ISA_NAME(flat_workspace_),
    .naive = ISA_NAME(naive_),
    .narrow = narrow,
};
