"""Attention for all seven variants in NumPy, row by row as attn.h defines it: to copy from, and to see
that an interpreter's kernels are judged as others are. Sums in float64, P in float64.

    attest run kernels/python/numpy_plain.py -s smoke
"""
import attest
import numpy as np

EVERYTHING = dict(dtypes=["f32", "f16", "bf16"], writes_lse=True, p_dtype="f32", change="by the definition")
OF_LISTS = ["gqa", "softcap", "sinks"]
OF_ALL_KEYS = OF_LISTS + ["window"]


def attend(call, b, h, i, k, v, logits_of=None):
    """One row: its keys and values are [n, D], those that it sees."""
    q = attest.f32(call.q[b, h, i]).astype(np.float64)
    keys, values = (attest.f32(x).astype(np.float64) for x in (k, v))
    cap, sink = call.problem.softcap, -np.inf if call.sinks is None else float(call.sinks[h])
    logits = call.scale * (keys @ q)
    if cap:
        logits = cap * np.tanh(logits / cap)
    if logits_of is not None:
        logits = logits_of(logits, q, keys)
    out, lse = np.zeros(len(q)), max(sink, logits.max(initial=-np.inf))
    if lse > -np.inf:
        p = np.exp(logits - lse)
        total = p.sum() + np.exp(sink - lse)
        out, lse = p @ values / total, lse + np.log(total)
    attest.store(call.out[b, h, i], out)
    call.lse[b, h, i] = lse


def seen(problem, i, q_len, kv_len):
    """The keys that query i sees of its sequence, by its place among them."""
    place, first, end = i + kv_len - q_len, 0, kv_len
    if "causal" in problem.traits:
        end = place + 1
    if "window" in problem.traits:
        first, end = place - problem.window_left, min(end, place + problem.window_right + 1)
    return slice(max(first, 0), max(end, 0))


def rows(problem):
    group = problem.q_heads // problem.kv_heads
    for b in range(problem.batch):
        for h in range(problem.q_heads):
            yield b, h, h // group


def clear(call):
    call.out[...] = 0
    call.lse[...] = 0


def pages(call, b, g):
    """Keys and values of one sequence, [length, D] each, out of its pages."""
    first, end = call.kv_page_indptr[b], call.kv_page_indptr[b + 1]
    found = call.kv_cache[call.kv_page_indices[first:end], :, g]  # [n, 2, P, D]
    length = max(0, (end - first - 1) * call.problem.page_size + call.kv_last_page_len[b])
    dim = call.problem.head_dim
    return (found[:, n].reshape(-1, dim)[:length] for n in (0, 1))


def kept(call, b, h):
    return call.sparse_ind[b, h, :call.sparse_nnz[b, h]]


def attend_all(call, lengths):
    clear(call)
    for b, h, g in rows(call.problem):
        q_len, kv_len = lengths(b)
        for i in range(q_len):
            keys = seen(call.problem, i, q_len, kv_len)
            attend(call, b, h, i, call.k[b, g, keys], call.v[b, g, keys])


@attest.kernel(variant="prefill", traits=OF_ALL_KEYS + ["causal"], **EVERYTHING)
def prefill_numpy_r1(call):
    attend_all(call, lambda b: (call.problem.q_len, call.problem.kv_len))


@attest.kernel(variant="prefill_varlen", traits=OF_ALL_KEYS + ["causal"], **EVERYTHING)
def prefill_varlen_numpy_r1(call):
    attend_all(call, lambda b: (call.seq_lens[b], call.seq_lens[b]))


@attest.kernel(variant="decode", traits=OF_ALL_KEYS, **EVERYTHING)
def decode_numpy_r1(call):
    attend_all(call, lambda b: (1, call.problem.kv_len))


@attest.kernel(variant="decode_paged", traits=OF_ALL_KEYS, **EVERYTHING)
def decode_paged_numpy_r1(call):
    for b, h, g in rows(call.problem):
        keys, values = pages(call, b, g)
        own = seen(call.problem, 0, 1, len(keys))
        attend(call, b, h, 0, keys[own], values[own])


@attest.kernel(variant="sparse_decode", traits=OF_LISTS, **EVERYTHING)
def sparse_decode_numpy_r1(call):
    for b, h, g in rows(call.problem):
        tokens = kept(call, b, h)
        attend(call, b, h, 0, call.k[b, g, tokens], call.v[b, g, tokens])


def attend_kept(call, logits_of=None):
    for b, h, g in rows(call.problem):
        tokens = kept(call, b, h)
        keys, values = pages(call, b, g)
        of_row = logits_of(b, h) if logits_of is not None else None
        attend(call, b, h, 0, keys[tokens], values[tokens], of_row)


@attest.kernel(variant="sparse_decode_paged", traits=OF_LISTS, **EVERYTHING)
def sparse_decode_paged_numpy_r1(call):
    attend_kept(call)


@attest.kernel(variant="magicpig_decode_paged", traits=OF_LISTS, **EVERYTHING)
def magicpig_decode_paged_numpy_r1(call):
    def corrected(b, h):
        def logits_of(logits, q, keys):
            big_k, big_l = float(call.lsh_k[b, h]), float(call.lsh_l[b, h])
            norms = np.linalg.norm(q) * np.linalg.norm(keys, axis=1)
            c = np.clip(keys @ q / (norms + 1e-8), -(1 - 1e-7), 1 - 1e-7)
            x = (1 - np.arccos(c) / np.pi) ** big_k
            u = -np.expm1((big_l - 1) * np.log1p(-x) + np.log1p((big_l - 1) * x))
            return logits - np.log(np.maximum(u, 1e-10))
        return logits_of
    attend_kept(call, corrected)
