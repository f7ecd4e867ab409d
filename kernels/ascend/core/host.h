/* The host's part that all Ascend kernels share: what they export, what they refuse, and how the
 * tensors of a call reach a kernel. Emulated; never run on a 910B2.
 *
 * A kernel file ends with
 *
 *     static constexpr host_kernel mine = {ATTN_DECODE, "cube", 1, 'A', "what this revision tries",
 *                                          ATTN_GQA, ATTN_INPUT, host_refuse, scratch_bytes,
 *                                          launch};
 *     const struct attn_kernel attn_export = host_export(mine);
 *
 * (public by attn.h's declaration; gcc warns of saying so again)
 * and its launch function begins with host_declare(problem, call), then makes pointers with
 * host_data and host_scratch and returns what ASC_LAUNCH returned. */
#ifndef ATTEST_ASCEND_HOST_H
#define ATTEST_ASCEND_HOST_H

#include "../../attn.h"
#include "../asc.h"

#ifdef __CCE__
#include "acl/acl.h"
#endif

/* What the library says it is for. With -DTWIN_AS_CPU a twin build can be opened where only CPU
 * kernels can be: the emulation needs nothing but host memory. */
#if defined(__CCE__)
static constexpr int32_t host_device = ATTN_ASCEND;
#elif defined(TWIN_AS_CPU)
static constexpr int32_t host_device = ATTN_CPU;
#else
static constexpr int32_t host_device = ATTN_ASCEND_TWIN;
#endif

/* What a kernel file says of itself; the rest is the same for all. */
struct host_kernel {
    enum attn_variant variant;
    const char *method;
    int32_t revision;
    char grade;
    const char *change;
    uint64_t traits;
    enum attn_dtype p_dtype; /* ATTN_F32 where P stays f32, ATTN_INPUT where the cube takes it */
    const char *(*refuse)(const struct attn_problem *problem); /* host_refuse, or one calling it */
    size_t (*scratch_bytes)(const struct attn_problem *problem); /* may be NULL */
    const char *(*launch)(const struct attn_problem *problem, const struct attn_call *call);
    uint32_t flags = ATTN_WRITES_LSE;
};

constexpr struct attn_kernel host_export(const host_kernel &mine) {
    struct attn_kernel kernel = {};
    kernel.abi = ATTN_ABI;
    kernel.bytes = sizeof(struct attn_kernel);
    kernel.device = host_device;
    kernel.variant = mine.variant;
    kernel.name = mine.method;
    kernel.revision = mine.revision;
    kernel.grade = mine.grade;
    kernel.change = mine.change;
    kernel.traits = mine.traits;
    kernel.dtypes = 1u << ATTN_F16 | 1u << ATTN_BF16;
    kernel.p_dtype = mine.p_dtype;
    kernel.flags = mine.flags;
    kernel.head_dim_max = 256;
    kernel.refuse = mine.refuse;
    kernel.scratch_bytes = mine.scratch_bytes;
    kernel.launch = mine.launch;
    return kernel;
}

/* What no kernel of this folder takes; NULL if it is taken. */
inline const char *host_refuse(const struct attn_problem *problem) {
    if (problem->head_dim != 64 && problem->head_dim != 128 && problem->head_dim != 256)
        return "head dim is not 64, 128 or 256";
    if (problem->kv_heads < 1 || problem->q_heads % problem->kv_heads != 0)
        return "kv heads do not divide query heads";
    if (problem->q_heads / problem->kv_heads > 16) return "more than 16 query heads a kv head";
    return nullptr;
}

/* From a tensor's first element to behind its last. */
inline uint64_t host_bytes(const struct attn_tensor &tensor) {
    int64_t elements = 1;
    for (int axis = 0; axis < tensor.rank; axis++) {
        if (tensor.shape[axis] == 0) return 0;
        elements += (tensor.shape[axis] - 1) * tensor.stride[axis];
    }
    const int64_t element = tensor.dtype == ATTN_U8                                 ? 1
                            : tensor.dtype == ATTN_F16 || tensor.dtype == ATTN_BF16 ? 2
                                                                                    : 4;
    return static_cast<uint64_t>(elements * element);
}

/* Begins a call: tells the twin of every tensor that is there, and of the scratch. Nothing on
 * hardware. */
inline void host_declare(const struct attn_problem *problem, const struct attn_call *call) {
    static const char *const names[] = {
#define ATTN_X(symbol, name) #name,
        ATTN_SLOTS(ATTN_X)
#undef ATTN_X
    };
    (void)problem;
    asc_host_begin(call->threads);
    for (int slot = 0; slot < ATTN_SLOT_COUNT; slot++) {
        const struct attn_tensor &tensor = call->tensors[slot];
        const uint64_t bytes = tensor.data != nullptr ? host_bytes(tensor) : 0;
        if (bytes == 0) continue;
        if (slot == ATTN_OUT || slot == ATTN_LSE) {
            asc_host_gm(tensor.data, bytes, ASC_GM_OUT, names[slot]);
        } else {
            asc_host_gm(tensor.data, bytes, ASC_GM_IN, names[slot]);
        }
        (void)names[slot];
    }
    if (call->scratch != nullptr && call->scratch_bytes > 0) {
        asc_host_gm(call->scratch, call->scratch_bytes, ASC_GM_WORK, "scratch");
    }
}

/* A tensor's first element as a kernel's argument; NULL where it is absent. */
template <typename T> __gm__ T *host_data(const struct attn_call *call, int slot) {
    return (__gm__ T *)call->tensors[slot].data;
}
/* In elements. */
inline int64_t host_stride(const struct attn_call *call, int slot, int axis) {
    return call->tensors[slot].stride[axis];
}
/* No gaps, in the order of its axes; of an axis of one the stride says nothing. */
inline bool host_dense(const struct attn_call *call, int slot) {
    const struct attn_tensor &tensor = call->tensors[slot];
    int64_t stride = 1;
    for (int axis = tensor.rank - 1; axis >= 0; axis--) {
        if (tensor.shape[axis] != 1 && tensor.stride[axis] != stride) return false;
        stride *= tensor.shape[axis];
    }
    return true;
}
/* Scratch from `byte` on, a multiple of 256 for alignment's sake. */
template <typename T> __gm__ T *host_scratch(const struct attn_call *call, size_t byte) {
    return (__gm__ T *)((char *)call->scratch + byte);
}
constexpr size_t host_align(size_t bytes) {
    return (bytes + 255) / 256 * 256;
}

/* What asc_set_ffts_base_addr wants: where flags between cores live; 0 if the device does not say.
 * (page: aclrtGetHardwareSyncAddr) */
inline uint64_t host_flags_address() {
#ifdef __CCE__
    void *address = nullptr;
    return aclrtGetHardwareSyncAddr(&address) == ACL_SUCCESS ? (uint64_t)address : 0;
#else
    return 1;
#endif
}

#endif
