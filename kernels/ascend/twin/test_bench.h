/* A small bench for the twin's tests: global memory of known names, kernels as lambdas, and what a
 * finding says. */
#ifndef ATTEST_ASCEND_TWIN_TEST_BENCH_H
#define ATTEST_ASCEND_TWIN_TEST_BENCH_H

#include <criterion/criterion.h>

#include <array>
#include <string>
#include <vector>

#include "../../attn.h"
#include "core.h"
#include "machine_state.h"

/* Aligned as device memory is. */
template <typename T> struct gm_array {
    std::vector<T> store;
    T *data;
    size_t size;
    explicit gm_array(size_t n) : store(n + 512 / sizeof(T)), size(n) {
        const uintptr_t at = reinterpret_cast<uintptr_t>(store.data());
        data = reinterpret_cast<T *>((at + 511) / 512 * 512);
    }
    T &operator[](size_t i) {
        return data[i];
    }
    uint64_t bytes() const {
        return size * sizeof(T);
    }
};

struct bench {
    gm_array<float> in{16384}, out{16384}, work{16384};
    bench() {
        for (size_t i = 0; i < in.size; i++) in[i] = static_cast<float>(i % 251) - 100;
    }

    /* "" or the finding. Every core starts with asc_init and the address of flags. */
    template <typename Body>
    std::string run(int kind, int blocks, Body body, int threads = 2, bool prepared = true) {
        asc_host_begin(threads);
        asc_host_gm(in.data, in.bytes(), ASC_GM_IN, "in");
        asc_host_gm(out.data, out.bytes(), ASC_GM_OUT, "out");
        asc_host_gm(work.data, work.bytes(), ASC_GM_WORK, "work");
        return again(kind, blocks, body, prepared);
    }
    /* Another launch of the same call. */
    template <typename Body>
    std::string again(int kind, int blocks, Body body, bool prepared = true) {
        const char *found = twin_launch(kind, blocks, "test", [&] {
            if (prepared) {
                asc_init();
                asc_set_ffts_base_addr(1);
            }
            body();
        });
        return found ? found : "";
    }
};

/* A dense tensor of a call of a kernel. */
inline void call_set(struct attn_call &call, int slot, void *data, int32_t dtype,
                     std::array<int64_t, 4> sizes, int32_t rank) {
    struct attn_tensor &tensor = call.tensors[slot];
    tensor.data = data;
    tensor.dtype = dtype;
    tensor.rank = rank;
    int64_t stride = 1;
    for (int axis = rank - 1; axis >= 0; axis--) {
        tensor.shape[axis] = sizes[static_cast<size_t>(axis)];
        tensor.stride[axis] = stride;
        stride *= tensor.shape[axis];
    }
}

inline bool begins_with(const std::string &text, const std::string &head) {
    return text.compare(0, head.size(), head) == 0;
}
inline bool says(const std::string &text, const std::string &part) {
    return text.find(part) != std::string::npos;
}

/* What `found` says must begin with the status and, unless 0, name this file's line. */
inline void expect_finding(const std::string &found, const char *status, const char *file,
                           int line) {
    cr_assert(begins_with(found, std::string(status) + ": "), "%s instead of %s", found.c_str(),
              status);
    if (!line) return;
    const char *slash = strrchr(file, '/');
    const std::string place =
        std::string(slash ? slash + 1 : file) + ":" + std::to_string(line) + ":";
    cr_assert(says(found, place), "%s does not name %s", found.c_str(), place.c_str());
}
inline void expect_clean(const std::string &found) {
    cr_assert(found.empty(), "%s", found.c_str());
}

/* A memory of a core as the last launch left it. */
template <typename T> const T *memory_of(int core, twin_memory_kind kind) {
    return reinterpret_cast<const T *>(
        twin::state().cores[static_cast<size_t>(core)]->memories[kind].base);
}

#endif
