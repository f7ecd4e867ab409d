"""Attention for all variants in Triton, the usual method and no more: to copy from, and to have a
plain kernel of a GPU beside a fast one.

    attest run kernels/python/triton_plain.py -s smoke                       # on a GPU
    TRITON_INTERPRET=1 attest run kernels/python/triton_plain.py -s smoke    # without one, slowly

All are flash attention: a program walks over keys in tiles, keeps the largest logit m, the sum l of
exp(logit - m) and the sum acc of these times values, and rescales when m grows. Logits are taken in
base 2, times log2(e), since a GPU has exp2. What is masked is never loaded (it may hold NaN) and has
the logit -inf; rows without a key have m = -inf, from which nothing is subtracted.

  prefill  a program owns M queries of one head; both products are tl.dot.
  decode   a program owns a share of the keys of one kv head, for all query heads of its group: they
           are the rows of tl.dot. A second kernel merges the shares.
  sparse   a program owns a share of the list of one query head. Heads share no keys, so there is
           nothing to multiply by matrices: sums of products in f32. Merged as decode is.

A window is where a program begins and ends to walk, and a mask; a softcap is taken of q.k scale; a sink
is added where a row is finished. What a problem does not ask for is not compiled.

Tensors are dense, as attn.h lays them out; places of elements are 64 bits wide. D is padded with 0 to
a power of two, which tl.arange asks for, and to 16, which tl.dot does."""
import math
import os

import attest
import torch
import triton
import triton.language as tl

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
LN2 = tl.constexpr(math.log(2))
PROGRAMS = 512  # that decode divides its work into, at least: a GPU has some 132 multiprocessors
SHARE_MIN = 256  # keys, below which a share is not worth its merging
FAR = 2**30  # keys: as good as all of them, and places less or more than it still fit in 32 bits


# What a program does

@triton.jit
def exp2_from(x, m):
    """2^(x - m) where x <= m; 0 where x is -inf, even if m is."""
    return tl.exp2(x - tl.where(m == float("-inf"), 0.0, m))


@triton.jit
def logits_of(products, scale_log2, inner, SOFTCAP: tl.constexpr):
    """Of q.k, in base 2. SOFTCAP: scale_log2 is softcap log2(e), and inner is scale / softcap."""
    if SOFTCAP:
        x = products * inner
        less = expm1_negative(-2 * tl.abs(x))  # of tanh |x| = -less / (2 + less), which nothing cancels
        products = tl.where(x < 0, less, -less) / (2 + less)
    return products * scale_log2


@triton.jit
def with_sink(m, l, sink):
    """The largest logit and the sum of a row (or of many), a sink with them."""
    m_new = tl.maximum(m, sink / LN2)
    return m_new, l * exp2_from(m, m_new) + exp2_from(sink / LN2, m_new)


@triton.jit
def load_rows(tensor, rows, wanted, D: tl.constexpr, DIM: tl.constexpr):
    """Rows of D elements each, [N, DIM]; 0 where they are not wanted and beyond D."""
    d = tl.arange(0, DIM)
    return tl.load(tensor + rows[:, None] * D + d[None, :], mask=wanted[:, None] & (d < D)[None, :],
                   other=0.0)


@triton.jit
def add_tile(s, k_seen, v, m, l, acc):
    """Adds a tile of keys to what M rows have: s [M, N] are logits, v [N, DIM] values."""
    s = tl.where(k_seen, s, float("-inf"))
    m_new = tl.maximum(m, tl.max(s, 1))
    p = exp2_from(s, m_new[:, None])
    fade = exp2_from(m, m_new)
    acc = tl.dot(p.to(v.dtype), v, acc * fade[:, None], input_precision="ieee")
    return m_new, l * fade + tl.sum(p, 1), acc


@triton.jit
def prefill(q, k, v, indptr, indices, last_page_len, seq_lens, q_lens, sinks, out, lse, q_room, kv_room,
            scale_log2, inner, before, behind, Hq, Hkv, CAUSAL: tl.constexpr, WINDOW: tl.constexpr,
            SOFTCAP: tl.constexpr, SINKS: tl.constexpr, RAGGED: tl.constexpr, QLENS: tl.constexpr,
            P: tl.constexpr, D: tl.constexpr, DIM: tl.constexpr, M: tl.constexpr, N: tl.constexpr):
    b, h = tl.program_id(0) // Hq, tl.program_id(0) % Hq
    block = tl.num_programs(1) - 1 - tl.program_id(1)  # causal: the longest first
    first, kv_len = sequence(b, indptr, last_page_len, kv_room, P)
    q_len = q_room
    if RAGGED:
        kv_len = tl.load(seq_lens + b)
        q_len = kv_len
    if QLENS:
        q_len = tl.load(q_lens + b)
    i = block * M + tl.arange(0, M)
    q_rows = tl.program_id(0).to(tl.int64) * q_room + i
    g = h // (Hq // Hkv)
    begin, end = 0, kv_len
    if CAUSAL:
        end = tl.minimum(kv_len, (block + 1) * M + kv_len - q_len)
    if WINDOW:  # what the program's first query sees begins, and what its last sees ends
        begin = tl.maximum(block * M + kv_len - q_len - before, 0)
        end = tl.minimum(end, (block + 1) * M + kv_len - q_len + behind)
    end = tl.where(block * M < q_len, end, 0)

    queries = load_rows(q, q_rows, i < q_len, D, DIM)
    m = tl.full([M], float("-inf"), tl.float32)
    l = tl.zeros([M], tl.float32)
    acc = tl.zeros([M, DIM], tl.float32)
    for start in range(begin, end, N):
        j = start + tl.arange(0, N)
        rows = rows_of(j, j < kv_len, first, indices, b * Hkv + g, g, Hkv, kv_room, P)
        keys = load_rows(k, rows, j < kv_len, D, DIM)
        values = load_rows(v, rows, j < kv_len, D, DIM)
        s = logits_of(tl.dot(queries, tl.trans(keys), input_precision="ieee"), scale_log2, inner, SOFTCAP)
        seen = (j < kv_len)[None, :]
        if CAUSAL:
            seen = seen & (j[None, :] <= i[:, None] + kv_len - q_len)
        if WINDOW:
            beyond = j[None, :] - (i[:, None] + kv_len - q_len)
            seen = seen & (beyond >= -before) & (beyond <= behind)
        m, l, acc = add_tile(s, seen, values, m, l, acc)

    valid = i < q_len
    keyless = l == 0
    sink = float("-inf")
    if SINKS:
        sink = tl.load(sinks + h)
        m_keys = m
        m, l = with_sink(m, l, sink)
        acc = acc * exp2_from(m_keys, m)[:, None]
    result = tl.where(valid[:, None], acc / tl.where(l == 0, 1.0, l)[:, None], 0.0)
    d = tl.arange(0, DIM)
    tl.store(out + q_rows[:, None] * D + d[None, :], result.to(out.dtype.element_ty),
             mask=(i < q_room)[:, None] & (d < D)[None, :])
    row_lse = tl.where(keyless, sink, (m + tl.log2(l)) * LN2)
    tl.store(lse + q_rows, tl.where(valid, row_lse, 0.0), mask=i < q_room)


@triton.jit
def sequence(b, indptr, last_page_len, kv_len, P: tl.constexpr):
    """Where the pages of sequence b begin in the table, and its length. P = 0: no pages."""
    first, length = 0, kv_len
    if P > 0:
        first = tl.load(indptr + b)
        pages = tl.load(indptr + b + 1) - first
        length = tl.maximum((pages - 1) * P + tl.load(last_page_len + b), 0)
    return first, length


@triton.jit
def rows_of(tokens, wanted, first, indices, kv_head, g, Hkv, kv_len, P: tl.constexpr):
    """Which rows of k (and of v) hold tokens: of [B, Hkv, kv_len], or of [pages, 2, Hkv, P], whose v
    begins at the second half of the first page."""
    if P > 0:
        page = tl.load(indices + first + tokens // P, mask=wanted, other=0).to(tl.int64)
        return (page * (2 * Hkv) + g) * P + tokens % P
    else:
        return kv_head.to(tl.int64) * kv_len + tokens


@triton.jit
def decode_share(q, k, v, indptr, indices, last_page_len, seq_lens, q_lens, part, part_lse, kv_room,
                 share_len, scale_log2, inner, before, Hq, Hkv, WINDOW: tl.constexpr,
                 SOFTCAP: tl.constexpr, RAGGED: tl.constexpr, QLENS: tl.constexpr, P: tl.constexpr,
                 D: tl.constexpr, DIM: tl.constexpr, M: tl.constexpr, N: tl.constexpr):
    kv_head, share, shares = tl.program_id(0), tl.program_id(1), tl.num_programs(1)
    b, g = kv_head // Hkv, kv_head % Hkv
    first, length = sequence(b, indptr, last_page_len, kv_room, P)
    if RAGGED:
        length = tl.load(seq_lens + b)
    begin = share * share_len
    if WINDOW:  # of the one query: the last keys
        begin += tl.maximum(length - 1 - before, 0)
    end = tl.minimum(length, begin + share_len)
    if QLENS:  # who asks nothing sees nothing
        end = tl.where(tl.load(q_lens + b) > 0, end, 0)
    r = tl.program_id(2) * M + tl.arange(0, M)  # of the group's query heads
    q_rows = kv_head.to(tl.int64) * (Hq // Hkv) + r
    valid = r < Hq // Hkv

    queries = load_rows(q, q_rows, valid, D, DIM)
    m = tl.full([M], float("-inf"), tl.float32)
    l = tl.zeros([M], tl.float32)
    acc = tl.zeros([M, DIM], tl.float32)
    for start in range(begin, end, N):
        j = start + tl.arange(0, N)
        rows = rows_of(j, j < end, first, indices, kv_head, g, Hkv, kv_room, P)
        keys = load_rows(k, rows, j < end, D, DIM)
        values = load_rows(v, rows, j < end, D, DIM)
        s = logits_of(tl.dot(queries, tl.trans(keys), input_precision="ieee"), scale_log2, inner, SOFTCAP)
        m, l, acc = add_tile(s, (j < end)[None, :], values, m, l, acc)

    place = q_rows * shares + share
    d = tl.arange(0, DIM)
    tl.store(part + place[:, None] * D + d[None, :], acc / tl.where(l == 0, 1.0, l)[:, None],
             mask=valid[:, None] & (d < D)[None, :])
    tl.store(part_lse + place, m + tl.log2(l), mask=valid)


@triton.jit
def sparse_share(q, k, v, indptr, indices, last_page_len, sparse_ind, sparse_nnz, lsh_k, lsh_l, part,
                 part_lse, kv_room, kept_room, share_len, scale_log2, inner, Hq, Hkv,
                 MAGICPIG: tl.constexpr, SOFTCAP: tl.constexpr, P: tl.constexpr, D: tl.constexpr,
                 DIM: tl.constexpr, N: tl.constexpr):
    row, share, shares = tl.program_id(0), tl.program_id(1), tl.num_programs(1)
    b, g = row // Hq, row % Hq // (Hq // Hkv)
    first, length = sequence(b, indptr, last_page_len, kv_room, P)
    end = tl.minimum(tl.load(sparse_nnz + row), (share + 1) * share_len)
    d = tl.arange(0, DIM)

    query = tl.load(q + row.to(tl.int64) * D + d, mask=d < D, other=0.0).to(tl.float32)
    m = float("-inf")
    l = 0.0
    acc = tl.zeros([DIM], tl.float32)
    for start in range(share * share_len, end, N):
        n = start + tl.arange(0, N)
        tokens = tl.load(sparse_ind + row.to(tl.int64) * kept_room + n, mask=n < end, other=0)
        rows = rows_of(tokens, n < end, first, indices, b * Hkv + g, g, Hkv, kv_room, P)
        keys = load_rows(k, rows, n < end, D, DIM).to(tl.float32)
        values = load_rows(v, rows, n < end, D, DIM).to(tl.float32)
        dot = tl.sum(query[None, :] * keys, 1)
        s = logits_of(dot, scale_log2, inner, SOFTCAP)
        if MAGICPIG:
            norms = tl.sqrt(tl.sum(query * query, 0)) * tl.sqrt(tl.sum(keys * keys, 1))
            s -= log_sampled(dot / (norms + 1e-8), tl.load(lsh_k + row), tl.load(lsh_l + row)) / LN2
        s = tl.where(n < end, s, float("-inf"))
        m_new = tl.maximum(m, tl.max(s, 0))
        p = exp2_from(s, m_new)
        fade = exp2_from(m, m_new)
        acc = acc * fade + tl.sum(p[:, None] * values, 0)
        l = l * fade + tl.sum(p, 0)
        m = m_new

    place = row.to(tl.int64) * shares + share
    tl.store(part + place * D + d, acc / tl.where(l == 0, 1.0, l), mask=d < D)
    tl.store(part_lse + place, m + tl.log2(l))


@triton.jit
def merge(part, part_lse, sinks, out, lse, shares, Hq, SINKS: tl.constexpr, SHARES: tl.constexpr,
          D: tl.constexpr, DIM: tl.constexpr):
    """One row: the mean of its shares, each by its weight 2^lse."""
    row = tl.program_id(0).to(tl.int64)
    n = tl.arange(0, SHARES)
    lses = tl.load(part_lse + row * shares + n, mask=n < shares, other=float("-inf"))
    m = tl.max(lses, 0)
    l = tl.sum(exp2_from(lses, m), 0)
    keyless = l == 0
    sink = float("-inf")
    if SINKS:
        sink = tl.load(sinks + row % Hq)
        m, l = with_sink(m, l, sink)
    d = tl.arange(0, DIM)
    acc = tl.zeros([DIM], tl.float32)
    for share in range(0, shares):
        weight = exp2_from(tl.load(part_lse + row * shares + share), m)
        acc += weight * tl.load(part + (row * shares + share) * D + d, mask=d < D, other=0.0)
    tl.store(out + row * D + d, (acc / tl.where(l == 0, 1.0, l)).to(out.dtype.element_ty), mask=d < D)
    tl.store(lse + row, tl.where(keyless, sink, (m + tl.log2(l)) * LN2))


# MagicPIG's correction in f32. libdevice has acos, log1p and expm1; the interpreter has no libdevice.

@triton.jit
def log1p_less(z):
    """log1p(z) - z, z > -1. Near 0 of log1p(z) = 2 atanh(s), s = z / (2 + z), |s| <= 1/3, that is
    -s z + 2 s^3 (1/3 + s^2/5 + ...); what is cut off is below 2^-26 of it."""
    s = z / (2 + z)
    series = tl.zeros_like(s)
    for odd in tl.static_range(17, 1, -2):
        series = series * s * s + 1.0 / odd
    return tl.where(tl.abs(z) <= 0.5, 2 * s * s * s * series - s * z, tl.log(1 + z) - z)


@triton.jit
def expm1_negative(y):
    """expm1(y), y <= 0: near 0 its series, of which 2^-28 is cut off."""
    series = tl.zeros_like(y) + 1.0
    for n in tl.static_range(9, 1, -1):
        series = series * (y / n) + 1.0
    return tl.where(y > -0.5, y * series, tl.exp(y) - 1)


@triton.jit
def log_sampled(c, K, L):
    """log u of attn.h, within 5.3 x 2^-24 (1 + |log u| + |d log u / dc|) for K to 16, L to 1000.
    acos(|c|) = sqrt(1 - |c|) * polynomial within 2e-8 (Abramowitz and Stegun, 4.4.46). The logarithm of
    p = 1 - acos(c) / pi is taken of what p is short of 1 by, and the sum of log1p as attn.h has it,
    without the linear terms, which cancel."""
    c = tl.minimum(tl.maximum(c, -(1 - 1e-7)), 1 - 1e-7)
    a = tl.abs(c)
    angle = -0.0012624911 * a + 0.0066700901
    angle = angle * a - 0.0170881256
    angle = angle * a + 0.0308918810
    angle = angle * a - 0.0501743046
    angle = angle * a + 0.0889789874
    angle = angle * a - 0.2145988016
    angle = (angle * a + 1.5707963050) * tl.sqrt(1 - a) * 0.3183098861837907
    x = tl.exp(K * tl.where(c < 0, tl.log(angle), log1p_less(-angle) - angle))
    u = -expm1_negative((L - 1) * log1p_less(-x) + log1p_less((L - 1) * x))
    return tl.log(tl.maximum(u, 1e-10))


# What attest calls

EVERYTHING = dict(device="cpu" if INTERPRETED else "cuda", dtypes=["f32", "f16", "bf16"],
                  writes_lse=True, head_dim_max=256, needs=["torch", "triton"])
OF_LOGITS = ["gqa", "softcap", "sinks"]
OF_KEYS = [*OF_LOGITS, "window", "qlens"]  # without lists


def ceil(n, step):
    return -(-n // step)


def padded(n, least):
    return max(least, triton.next_power_of_2(n))


def refuse(problem):
    if INTERPRETED and problem.dtype == "bf16":
        return (f"the interpreter of Triton {triton.__version__} does not support bf16: it cuts off "
                "where a GPU rounds, and tl.dot multiplies the bits")


def tiles(element_size, dim, rows):
    """M and N, and how many warps a program has: what sm_90 has the registers for. Products in f32 are
    done by threads, which hold whole rows of their operands: 64 x 32 of D 128 in 4 warps spilled 17 KB
    a thread."""
    M = min(padded(rows, 16), 128 if element_size == 2 else 32)
    N = min(128, 16384 // dim) // element_size
    return dict(M=M, N=N, num_warps=8 if element_size == 4 or M * dim > 64 * 128 else 4)


def logits_asked(call):
    """scale_log2 and inner of logits_of."""
    cap = call.problem.softcap
    return (cap or call.scale) / math.log(2), call.scale / (cap or 1.0)


def tensors_of_keys(call):
    pages = call.kv_page_indptr, call.kv_page_indices, call.kv_last_page_len
    k, v = (call.k, call.v) if call.kv_cache is None else (call.kv_cache, call.kv_cache[:, 1])
    return k, v, *pages


def launch_prefill(call):
    p = call.problem
    dim = padded(p.head_dim, 16)
    tile = tiles(call.q.element_size(), dim, p.q_len)
    prefill[p.batch * p.q_heads, ceil(p.q_len, tile["M"])](
        call.q, *tensors_of_keys(call), call.seq_lens, call.q_lens, call.sinks, call.out, call.lse,
        p.q_len, p.kv_len, *logits_asked(call), min(p.window_left, FAR), min(p.window_right, FAR),
        p.q_heads, p.kv_heads, CAUSAL="causal" in p.traits, WINDOW="window" in p.traits,
        SOFTCAP="softcap" in p.traits, SINKS="sinks" in p.traits, RAGGED=call.seq_lens is not None,
        QLENS=call.q_lens is not None, P=p.page_size, D=p.head_dim, DIM=dim, **tile)


def shares_of(p):
    """How many shares the tokens of a kv head, or the list of a query head, are divided into, and how
    many tokens a share has."""
    room, rows = (p.kept_max, p.q_heads) if "keep" in p.traits else (p.kv_len, p.kv_heads)
    if "window" in p.traits:
        room = min(room, p.window_left + 1)
    shares = max(1, min(ceil(room, SHARE_MIN), ceil(PROGRAMS, p.batch * rows)))
    return shares, ceil(room, shares)


def scratch(p):
    return 4 * p.batch * p.q_heads * shares_of(p)[0] * (p.head_dim + 1)


def launch_shares(call, magicpig=False):
    p = call.problem
    shares, share_len = shares_of(p)
    rows, dim = p.batch * p.q_heads, padded(p.head_dim, 16)
    parts = call.scratch.view(torch.float32)
    part, part_lse = parts[:rows * shares * p.head_dim], parts[rows * shares * p.head_dim:]
    keys, logits = tensors_of_keys(call), logits_asked(call)
    sizes = dict(SOFTCAP="softcap" in p.traits, P=p.page_size, D=p.head_dim, DIM=dim)
    if call.sparse_ind is None:
        group = p.q_heads // p.kv_heads
        tile = tiles(call.q.element_size(), dim, group)
        decode_share[p.batch * p.kv_heads, shares, ceil(group, tile["M"])](
            call.q, *keys, call.seq_lens, call.q_lens, part, part_lse, p.kv_len, share_len, *logits,
            min(p.window_left, FAR), p.q_heads, p.kv_heads, WINDOW="window" in p.traits,
            RAGGED=call.seq_lens is not None, QLENS=call.q_lens is not None, **sizes, **tile)
    else:
        sparse_share[rows, shares](
            call.q, *keys, call.sparse_ind, call.sparse_nnz, call.lsh_k, call.lsh_l, part, part_lse,
            p.kv_len, p.kept_max, share_len, *logits, p.q_heads, p.kv_heads, MAGICPIG=magicpig,
            N=min(64, 4096 // dim), **sizes)
    merge[rows,](part, part_lse, call.sinks, call.out, call.lse, shares, p.q_heads,
                 SINKS="sinks" in p.traits, SHARES=padded(shares, 1), D=p.head_dim, DIM=dim)


@attest.kernel(variant="prefill", traits=["causal", "window", *OF_LOGITS], change="flash, tl.dot",
               **EVERYTHING)
def prefill_triton_r1(call):
    launch_prefill(call)


@attest.kernel(variant="prefill_varlen", traits=["causal", *OF_KEYS], change="flash, tl.dot", **EVERYTHING)
def prefill_varlen_triton_r1(call):
    launch_prefill(call)


@attest.kernel(variant="prefill_paged", traits=["causal", *OF_KEYS], change="flash, tl.dot", **EVERYTHING)
def prefill_paged_triton_r1(call):
    launch_prefill(call)


@attest.kernel(variant="decode", traits=["ragged", *OF_KEYS], change="flash in shares, tl.dot", **EVERYTHING)
def decode_triton_r1(call):
    launch_shares(call)


@attest.kernel(variant="decode_paged", traits=OF_KEYS, change="flash in shares, tl.dot", **EVERYTHING)
def decode_paged_triton_r1(call):
    launch_shares(call)


@attest.kernel(variant="sparse_decode", traits=OF_LOGITS, change="flash in shares, by the list",
               p_dtype="f32", **EVERYTHING)
def sparse_decode_triton_r1(call):
    launch_shares(call)


@attest.kernel(variant="sparse_decode_paged", traits=OF_LOGITS, change="flash in shares, by the list",
               p_dtype="f32", **EVERYTHING)
def sparse_decode_paged_triton_r1(call):
    launch_shares(call)


@attest.kernel(variant="magicpig_decode_paged", traits=OF_LOGITS, p_dtype="f32",
               change="flash in shares, by the list, corrected in f32", **EVERYTHING)
def magicpig_decode_paged_triton_r1(call):
    launch_shares(call, magicpig=True)


for each in (prefill_triton_r1, prefill_varlen_triton_r1, prefill_paged_triton_r1):
    each.refuse(refuse)
for each in (decode_triton_r1, decode_paged_triton_r1, sparse_decode_triton_r1,
             sparse_decode_paged_triton_r1, magicpig_decode_paged_triton_r1):
    each.refuse(refuse)
    each.scratch(scratch)
