"""Attention for all variants in NumPy, row by row as attn.h defines it: to copy from, and to see that an
interpreter's kernels are judged as others are. Sums in float64, P in float64.

    attest run kernels/python/numpy_plain.py -s smoke
"""
import attest
import numpy as np

EVERYTHING = dict(dtypes=["f32", "f16", "bf16"], writes_lse=True, p_dtype="f32", change="by the definition")
OF_LOGITS = ["gqa", "softcap", "alibi", "sinks", "dv", "kshared", "kve4m3", "kvint8", "kvhead", "kvtoken", "oute4m3",
             "strided"]
OF_PAGES = [*OF_LOGITS, "qlens", "nhd", "thd"]
OF_DECODE = [*OF_LOGITS, "ragged", "qlens", "window", "bias", "nhd", "thd"]
OF_PREFILL = [*OF_DECODE, "causal"]
OF_LISTS = [*OF_LOGITS, "keepgroup"]


def f64(array):
    return attest.f32(array).astype(np.float64)


def key_rows(call, b, g):
    """Keys and values of one sequence, [tokens, D] and [tokens, Dv], as they are stored, and the scale of each
    token."""
    if call.kv_cache is not None:
        k, v = call.kv_cache[:, 0], call.kv_cache[:, 1]
    else:
        k, v = call.k, call.k[..., :call.problem.value_dim] if call.v is None else call.v
    if call.kv_page_indptr is None:
        tokens, pages = call.problem.kv_len if call.seq_lens is None else call.seq_lens[b], [b]
    else:
        first, end = call.kv_page_indptr[b], call.kv_page_indptr[b + 1]
        pages = call.kv_page_indices[first:end]
        tokens = max(0, (end - first - 1) * call.problem.page_size + call.kv_last_page_len[b])
    if call.cu_seqlens_kv is not None:
        rows = (x[call.cu_seqlens_kv[b]:call.cu_seqlens_kv[b + 1], g] for x in (k, v))
    else:
        rows = (x[pages, g].reshape(-1, x.shape[3])[:tokens] for x in (k, v))
    of_values = call.k_scale if "kshared" in call.problem.traits else call.v_scale
    return *rows, *(scales(scale, pages, g, tokens) for scale in (call.k_scale, of_values))


def scales(scale, pages, g, tokens):
    """[tokens, 1], of one for all, one a kv head or one a token."""
    if scale is None:
        return np.ones((tokens, 1))
    of = scale[pages, g].reshape(-1)[:tokens] if scale.ndim == 3 else scale[g % len(scale)]
    return np.broadcast_to(f64(of), tokens)[:, None]


def query_count(call, b):
    if call.q_lens is not None:
        return call.q_lens[b]
    alike = call.seq_lens is not None and call.problem.q_len == call.problem.kv_len
    return call.seq_lens[b] if alike else call.problem.q_len


def row_at(call, b, h, i):
    """The index of a query's row in q, out and lse."""
    return (b, h, i) if call.cu_seqlens_q is None else (call.cu_seqlens_q[b] + i, h)


def seen(call, b, h, i, place, tokens):
    """The tokens that query i sees, which stands at `place` of its sequence."""
    if call.sparse_ind is not None:
        at = (b, h * call.sparse_ind.shape[1] // call.problem.q_heads)  # a query head's list, or a kv head's
        at += (i,) if call.problem.q_len > 1 else ()
        return call.sparse_ind[at][:call.sparse_nnz[at]]
    first, end = 0, tokens
    if "causal" in call.problem.traits:
        end = min(end, place + 1)
    if "window" in call.problem.traits:
        first, end = place - call.problem.window_left, min(end, place + call.problem.window_right + 1)
    return np.arange(max(first, 0), max(end, 0))


def log_u(call, b, h, q, keys):
    """MagicPIG's: the probability that a token was sampled."""
    big_k, big_l = float(call.lsh_k[b, h]), float(call.lsh_l[b, h])
    norms = np.linalg.norm(q) * np.linalg.norm(keys, axis=1)
    c = np.clip(keys @ q / (norms + 1e-8), -(1 - 1e-7), 1 - 1e-7)
    x = (1 - np.arccos(c) / np.pi) ** big_k
    u = -np.expm1((big_l - 1) * np.log1p(-x) + np.log1p((big_l - 1) * x))
    return np.log(np.maximum(u, 1e-10))


def attend(call, b, h, i, place, tokens, keys, values):
    """One row, of the keys and values that it sees."""
    row = row_at(call, b, h, i)
    q, cap = f64(call.q[row]), call.problem.softcap
    logits = call.scale * (keys @ q)
    if cap:
        logits = cap * np.tanh(logits / cap)
    if call.slopes is not None:
        logits = logits + float(call.slopes[h]) * (tokens - place)
    if call.bias is not None:
        logits = logits + call.bias[b % len(call.bias), h % call.bias.shape[1], i, tokens]
    if call.lsh_k is not None:
        logits = logits - log_u(call, b, h, q, keys)
    sink = -np.inf if call.sinks is None else float(call.sinks[h])
    out, lse = np.zeros(values.shape[1]), max(sink, logits.max(initial=-np.inf))
    if lse > -np.inf:
        p = np.exp(logits - lse)
        total = p.sum() + np.exp(sink - lse)
        out, lse = p @ values / total, lse + np.log(total)
    attest.store(call.out[row], out if call.out_scale is None else out / call.out_scale)
    call.lse[row] = lse


def attention(call):
    problem = call.problem
    call.out[...] = 0  # of queries beyond a sequence's, too
    call.lse[...] = 0
    for b in range(problem.batch):
        for h in range(problem.q_heads):
            keys, values, k_scale, v_scale = key_rows(call, b, h * problem.kv_heads // problem.q_heads)
            queries = query_count(call, b)
            for i in range(queries):
                place = i + len(keys) - queries
                tokens = seen(call, b, h, i, place, len(keys))
                attend(call, b, h, i, place, tokens, f64(keys[tokens]) * k_scale[tokens],
                       f64(values[tokens]) * v_scale[tokens])


@attest.kernel(variant="prefill", traits=OF_PREFILL, **EVERYTHING)
def prefill_numpy_r1(call):
    attention(call)


@attest.kernel(variant="prefill_varlen", traits=OF_PREFILL, **EVERYTHING)
def prefill_varlen_numpy_r1(call):
    attention(call)


@attest.kernel(variant="prefill_paged", traits=[*OF_PREFILL, "keep", "keepgroup"], **EVERYTHING)
def prefill_paged_numpy_r1(call):
    attention(call)


@attest.kernel(variant="decode", traits=OF_DECODE, **EVERYTHING)
def decode_numpy_r1(call):
    attention(call)


@attest.kernel(variant="decode_paged", traits=OF_DECODE, **EVERYTHING)
def decode_paged_numpy_r1(call):
    attention(call)


@attest.kernel(variant="sparse_decode", traits=OF_LISTS, **EVERYTHING)
def sparse_decode_numpy_r1(call):
    attention(call)


@attest.kernel(variant="sparse_decode_paged", traits=[*OF_PAGES, "keepgroup"], **EVERYTHING)
def sparse_decode_paged_numpy_r1(call):
    attention(call)


@attest.kernel(variant="magicpig_decode_paged", traits=OF_PAGES, **EVERYTHING)
def magicpig_decode_paged_numpy_r1(call):
    attention(call)
