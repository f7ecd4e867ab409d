/* The memories of a core and the declared parts of global memory, with what is remembered of each
 * 32 bytes: who wrote them last, and who read them since, as stamps, and which of the 32 bytes that
 * was (so that neighbours in a block do not look like a race); and for every byte whether it was
 * ever written. Instructions touch ranges; whole blocks take one comparison and one store each. */
#ifndef ATTEST_ASCEND_TWIN_MEMORY_H
#define ATTEST_ASCEND_TWIN_MEMORY_H

#include <cstdlib>
#include <memory>
#include <mutex>
#include <vector>

#include "../asc.h"

namespace twin {

struct core;

/* epoch:32 core:7 pipe:3 site:22; 0 is no access. */
using stamp = uint64_t;
inline stamp stamp_of(uint32_t epoch, uint32_t core, uint32_t pipe, uint32_t site) {
    return static_cast<uint64_t>(epoch) << 32 | core << 25 | pipe << 22 | site;
}
inline uint32_t stamp_epoch(stamp s) {
    return static_cast<uint32_t>(s >> 32);
}
inline uint32_t stamp_core(stamp s) {
    return s >> 25 & 127;
}
inline uint32_t stamp_pipe(stamp s) {
    return s >> 22 & 7;
}
inline uint32_t stamp_site(stamp s) {
    return s & ((1u << 22) - 1);
}

constexpr uint64_t block_bytes = 32;

/* Zeros from calloc: pages that nobody touches cost nothing. */
struct freed {
    void operator()(void *p) const {
        free(p);
    }
};
template <typename T> using zeroed = std::unique_ptr<T[], freed>;

/* Last accesses of one sort, a block each. */
struct trace {
    zeroed<stamp> last;
    zeroed<uint32_t> bytes; /* which bytes of the block, a bit each */
    void allocate(uint64_t blocks);
};

/* Bits, one a byte of memory. */
struct written_map {
    zeroed<uint64_t> bits;
    void set(uint64_t from, uint64_t to);
    void clear(uint64_t from, uint64_t to);
    /* The first byte in [from, to) not written, or `to`. */
    uint64_t first_missing(uint64_t from, uint64_t to) const;
};

constexpr int readers_max = 3;

/* UB, L1, L0A, L0B or L0C of one core. capacity 0: this core has none. */
struct memory {
    memory() = default;
    ~memory() {
        release();
    }
    memory(const memory &) = delete;
    memory &operator=(const memory &) = delete;

    unsigned char *base = nullptr;
    uint32_t capacity = 0;
    uint32_t used = 0; /* bytes written since it was last made fresh: what to poison again */
    written_map written;
    trace writes;
    trace reads[readers_max];
    pipe_t reader[readers_max]; /* whose; PIPE_ALL: nobody's */

    void allocate(twin_memory_kind kind);
    void release();
    void freshen(); /* unwritten, filled with NaN */
};

/* A declared part of global memory. Its shadow is kept for what kernels may write. */
struct region {
    const unsigned char *base = nullptr;
    uint64_t bytes = 0;
    twin_access access = TWIN_GM_IN;
    const char *name = "";
    written_map written;
    trace writes;
    trace reads[2];                     /* two readers of a block are remembered */
    std::unique_ptr<std::mutex[]> lock; /* a chunk each */
};

/* A piece of an operand. */
struct span {
    const unsigned char *at;
    uint64_t bytes;
};

/* An operand of the instruction being issued: bytes of one on-chip memory. Fails unless they lie in
 * that memory of this core, and `place` is a multiple of the memory's (or `align`) bytes. */
struct operand {
    memory *in;
    twin_memory_kind kind;
    uint64_t first; /* offset of `place` */
};
operand place_of(core &c, twin_memory_kind kind, const void *place, bool write, uint32_t align,
                 twin_site at);

/* Check first, all operands; then compute; then record. */
void check_read(core &c, pipe_t pipe, const operand &o, uint64_t from, uint64_t to, twin_site at);
/* The same of bytes that may be unwritten, because their padding is only passed on. */
void check_passed(core &c, pipe_t pipe, const operand &o, uint64_t from, uint64_t to, twin_site at);
void check_write(core &c, pipe_t pipe, const operand &o, uint64_t from, uint64_t to, twin_site at);
void record_read(core &c, pipe_t pipe, const operand &o, uint64_t from, uint64_t to, twin_site at);
void record_write(core &c, pipe_t pipe, const operand &o, uint64_t from, uint64_t to, twin_site at);
/* Bytes that an instruction fills with nothing one may read. */
void forget(const operand &o, uint64_t from, uint64_t to);

/* Global memory, checked and recorded in one step (an instruction only reads or only writes it). */
void gm_read(core &c, pipe_t pipe, const void *place, uint64_t bytes, twin_site at);
void gm_write(core &c, pipe_t pipe, void *place, uint64_t bytes, twin_site at);
/* A read through the scalar unit's cache. */
void gm_scalar(core &c, const void *place, uint64_t bytes, twin_site at);

const char *name_of(twin_memory_kind kind);
uint32_t capacity_of(twin_memory_kind kind);

} // namespace twin

#endif
