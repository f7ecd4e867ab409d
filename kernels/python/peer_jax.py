"""JAX's dot_product_attention, on the CPU. Its arrays do not change, so each launch copies: what that
takes is part of the time. Its causal and its windows are top-left, and a row without keys is the mean of
all values."""
import attest

try:
    import jax
except ModuleNotFoundError:
    jax = None

COMMON = dict(arrays="jax", needs=["jax"], dtypes=["f32", "bf16"])


def attend(q, k, v, lengths, scale, causal, window):
    q, k, v = (x.swapaxes(1, 2) for x in (q, k, v))  # [B, S, H, D]
    out = jax.nn.dot_product_attention(q, k, v, scale=scale, is_causal=causal, local_window_size=window,
                                       query_seq_lengths=lengths, key_value_seq_lengths=lengths)
    return out.swapaxes(1, 2)


compiled = jax.jit(attend, static_argnames=("scale", "causal", "window")) if jax is not None else None


def run(call):
    p = call.problem
    window = (p.window_left, p.window_right) if "window" in p.traits else None
    call.out[...] = compiled(call.q, call.k, call.v, call.seq_lens, scale=call.scale,
                             causal="causal" in p.traits, window=window)


def refuse(problem):
    if {"causal", "window"} & problem.traits and problem.q_len != problem.kv_len:
        return "is_causal and local_window_size are top-left"
    if problem.kv_len == 0:
        return "a row without keys is the mean of none"
    return None


@attest.kernel(variant="prefill", traits=["gqa", "causal", "window"], **COMMON)
def prefill_jax_r1(call):
    run(call)


@attest.kernel(variant="prefill_varlen", traits=["gqa", "causal"], **COMMON)
def prefill_varlen_jax_r1(call):
    run(call)


@attest.kernel(variant="decode", traits=["gqa"], **COMMON)
def decode_jax_r1(call):
    run(call)


for kernel in (prefill_jax_r1, prefill_varlen_jax_r1, decode_jax_r1):
    kernel.refuse(refuse)
