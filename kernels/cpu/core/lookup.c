/* Where tokens are stored: the one place that knows layouts, page tables and lengths. */
#include "attention.h"

void *tensor_at(const struct attn_tensor *tensor, int64_t x, int64_t y, int64_t z) {
    const int64_t element = x * tensor->stride[0] + y * tensor->stride[1] + z * tensor->stride[2];
    return (char *)tensor->data + element * attn_dtype_bytes(tensor->dtype);
}

/* Where the sequences of a packed tensor begin; NULL: each has an axis' place. */
static const int32_t *first_of(const struct attn_call *call, bool of_keys) {
    return call->tensors[of_keys ? ATTN_CU_SEQLENS_KV : ATTN_CU_SEQLENS_Q].data;
}

void *lookup_row(const struct attn_call *call, enum attn_slot slot, int64_t b, int64_t h,
                 int64_t i) {
    const struct attn_tensor *tensor = &call->tensors[slot];
    const int32_t *first = first_of(call, false);
    return first ? tensor_at(tensor, first[b] + i, h, 0) : tensor_at(tensor, b, h, i);
}

static int64_t length(const struct attn_call *call, enum attn_slot slot, int64_t b) {
    return ((const int32_t *)call->tensors[slot].data)[b];
}

static int64_t page_size_of(const struct attn_call *call) {
    const struct attn_tensor *cache = &call->tensors[ATTN_KV_CACHE];
    return cache->data ? cache->shape[3] : call->tensors[ATTN_K].shape[2];
}

int64_t lookup_tokens(const struct attn_call *call, int64_t b) {
    const int32_t *indptr = call->tensors[ATTN_KV_PAGE_INDPTR].data;
    if (indptr == NULL)
        return call->tensors[ATTN_SEQ_LENS].data ? length(call, ATTN_SEQ_LENS, b)
                                                 : call->tensors[ATTN_K].shape[2];
    const int64_t pages = indptr[b + 1] - indptr[b];
    return pages > 0 ? (pages - 1) * page_size_of(call) + length(call, ATTN_KV_LAST_PAGE_LEN, b)
                     : 0;
}

int64_t lookup_queries(const struct attn_call *call, int64_t b) {
    const int64_t room = call->tensors[ATTN_Q].shape[2];
    const int32_t *first = first_of(call, false);
    if (first) return first[b + 1] - first[b];
    if (call->tensors[ATTN_Q_LENS].data) return length(call, ATTN_Q_LENS, b);
    const bool alike = call->tensors[ATTN_SEQ_LENS].data && room == call->tensors[ATTN_K].shape[2];
    return alike ? length(call, ATTN_SEQ_LENS, b) : room;
}

/* Of keys and values that are not in one cache: without a v they are part of the keys. */
static const struct attn_tensor *values_of(const struct attn_call *call) {
    return &call->tensors[call->tensors[ATTN_V].data ? ATTN_V : ATTN_K];
}

void lookup_dense(const struct attn_call *call, int64_t b, int64_t g, const int32_t *list,
                  int64_t first, int64_t count, const void **keys, const void **values) {
    const struct attn_tensor *k = &call->tensors[ATTN_K], *v = values_of(call);
    const int32_t *begin = first_of(call, true);
    const char *key = begin ? tensor_at(k, begin[b], g, 0) : tensor_at(k, b, g, 0);
    const char *value = begin ? tensor_at(v, begin[b], g, 0) : tensor_at(v, b, g, 0);
    const int64_t bytes = attn_dtype_bytes(k->dtype);
    const int64_t key_step = k->stride[begin ? 0 : 2] * bytes;
    const int64_t value_step = v->stride[begin ? 0 : 2] * bytes;
    for (int64_t n = 0; n < count; n++) {
        const int64_t token = list ? list[first + n] : first + n;
        keys[n] = key + token * key_step;
        values[n] = value + token * value_step;
    }
}

/* The pages of kv head g, in bytes: of keys or of values. */
struct pool {
    const char *base;
    int64_t page_step, row_step;
};

static struct pool pool_of(const struct attn_call *call, int64_t g, bool value) {
    const struct attn_tensor *cache = &call->tensors[ATTN_KV_CACHE];
    const struct attn_tensor *apart = value ? values_of(call) : &call->tensors[ATTN_K];
    const struct attn_tensor *tensor = cache->data ? cache : apart;
    const int64_t bytes = attn_dtype_bytes(tensor->dtype), *stride = tensor->stride;
    const int64_t half = cache->data && value ? stride[1] : 0, rank = tensor->rank;
    return (struct pool){(const char *)tensor->data + (half + g * stride[rank - 3]) * bytes,
                         stride[0] * bytes, stride[rank - 2] * bytes};
}

void lookup_paged(const struct attn_call *call, int64_t b, int64_t g, const int32_t *list,
                  int64_t first, int64_t count, const void **keys, const void **values) {
    const int32_t *indptr = call->tensors[ATTN_KV_PAGE_INDPTR].data;
    const int32_t *table = (const int32_t *)call->tensors[ATTN_KV_PAGE_INDICES].data + indptr[b];
    const struct pool k = pool_of(call, g, false), v = pool_of(call, g, true);
    const int64_t page_size = page_size_of(call);
    for (int64_t n = 0; n < count; n++) {
        /* 32 bits: a division by a 64-bit number takes twice as long, and this is one a key. */
        const uint32_t token = (uint32_t)(list ? list[first + n] : first + n);
        const uint32_t page = token / (uint32_t)page_size;
        const uint32_t row = token - page * (uint32_t)page_size;
        keys[n] = k.base + table[page] * k.page_step + row * k.row_step;
        values[n] = v.base + table[page] * v.page_step + row * v.row_step;
    }
}

int32_t lookup_dtype(const struct attn_call *call) {
    const struct attn_tensor *cache = &call->tensors[ATTN_KV_CACHE];
    return cache->data ? cache->dtype : call->tensors[ATTN_K].dtype;
}

/* One for all, one a head, or one a token, where the token is. */
static float scale_at(const struct attn_call *call, enum attn_slot slot, int64_t b, int64_t g,
                      int64_t token) {
    const struct attn_tensor *scale = &call->tensors[slot];
    const int32_t *indptr = call->tensors[ATTN_KV_PAGE_INDPTR].data;
    const int32_t *indices = call->tensors[ATTN_KV_PAGE_INDICES].data;
    const float *values = scale->data;
    if (scale->rank == 1) return values[scale->shape[0] > 1 ? g * scale->stride[0] : 0];
    int64_t block = b;
    if (indptr) {
        block = indices[indptr[b] + token / scale->shape[2]];
        token %= scale->shape[2];
    }
    return *(const float *)tensor_at(scale, block, g, token);
}

void lookup_scales(const struct attn_call *call, int64_t b, int64_t g, const int32_t *list,
                   int64_t first, int64_t count, float *k_scale, float *v_scale) {
    for (int64_t n = 0; n < count; n++) {
        const int64_t token = list ? list[first + n] : first + n;
        k_scale[n] = scale_at(call, ATTN_K_SCALE, b, g, token);
        v_scale[n] = call->tensors[ATTN_V_SCALE].data ? scale_at(call, ATTN_V_SCALE, b, g, token)
                                                      : k_scale[n]; /* a part of its key */
    }
}
