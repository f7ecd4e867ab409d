"""PyTorch's flex_attention, compiled: causality, lengths and their mask are functions of indices, of
which blocks that nobody sees are left out, and a cap is a function of logits. Compiling is the first
launch's, which is not timed. A window would be a mask as well, but NaN in a key or value that no query
sees makes rows NaN where others of its block are seen (torch 2.15, CPU)."""
import functools

import attest

try:
    import torch
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention
    compiled = torch.compile(flex_attention, dynamic=False)
    # A problem is a specialisation; beyond these limits it would not be compiled, without a word.
    torch._dynamo.config.cache_size_limit = torch._dynamo.config.accumulated_cache_size_limit = 1 << 14
except ModuleNotFoundError:
    torch = None

GPU = torch is not None and torch.cuda.is_available()
COMMON = dict(device="cuda" if GPU else "cpu", arrays="torch", needs=["torch"],
              dtypes=["f32", "f16", "bf16"], head_dim_max=256)


@functools.cache  # one is compiled once
def capped(cap):
    return (lambda logit, b, h, i, j: cap * torch.tanh(logit / cap)) if cap else None


def attend(call):
    call.out.copy_(compiled(call.q, call.k, call.v, score_mod=capped(call.problem.softcap),
                            block_mask=call.state, scale=call.scale,
                            enable_gqa=call.problem.q_heads != call.problem.kv_heads))


def mask_of(call, sees):
    batch = call.problem.batch if call.seq_lens is not None else None
    call.state = create_block_mask(sees, batch, None, call.problem.q_len, call.problem.kv_len,
                                   device=call.q.device)


def refuse(problem):
    if problem.head_dim < 16 or problem.head_dim & problem.head_dim - 1:
        return "flex_attention takes a head dim that is a power of two from 16"
    if problem.kv_len == 0:
        return "flex_attention takes at least one key"
    if GPU and {"causal", "ragged"} & problem.traits and (problem.q_len % 128 or problem.kv_len % 128):
        return "flex_attention of torch 2.11 has no kernel for masks of lengths that are no multiple of 128"
    return None


@attest.kernel(variant="prefill", traits=["gqa", "causal", "softcap"], **COMMON)
def prefill_torch_flex_r1(call):
    attend(call)


@prefill_torch_flex_r1.prepare
def prepare_prefill(call):
    if "causal" in call.problem.traits:
        shift = call.problem.kv_len - call.problem.q_len
        mask_of(call, lambda b, h, i, j: j <= i + shift)


@attest.kernel(variant="prefill_varlen", traits=["gqa", "causal"], **COMMON)
def prefill_varlen_torch_flex_r1(call):
    attend(call)


@prefill_varlen_torch_flex_r1.prepare
def prepare_varlen(call):
    lengths = call.seq_lens.clone()
    if "causal" in call.problem.traits:
        mask_of(call, lambda b, h, i, j: (j <= i) & (i < lengths[b]))
    else:
        mask_of(call, lambda b, h, i, j: (j < lengths[b]) & (i < lengths[b]))


@attest.kernel(variant="decode", traits=["gqa", "softcap"], **COMMON)
def decode_torch_flex_r1(call):
    attend(call)


for kernel in (prefill_torch_flex_r1, prefill_varlen_torch_flex_r1, decode_torch_flex_r1):
    kernel.refuse(refuse)
