"""FlashAttention-3, as the wheel tokenspeed-fa3 has it, and FlashAttention-4 (its CuTe files for sm_90,
which do not split keys): prefill, padded batches by seqused_q and seqused_k, decode, pages. They read
[B, S, H, D] through strides, so attest's tensors are views of theirs.

To both, what lies beyond a length is there: NaN in K or V beyond a padded prefill's lengths makes rows
before it NaN."""
import attest

try:
    import torch
except ModuleNotFoundError:
    torch = None
from peer_pages import table_of

COMMON = dict(device="cuda", arrays="torch", dtypes=["f16", "bf16"], head_dim_max=256)
FA3 = dict(needs=["torch", "tokenspeed-fa3"], **COMMON)
FA4 = dict(needs=["torch", "flash-attn-4"], **COMMON)


def views(call):
    """q, k, v and out as [B, S, H, D]."""
    return (x.transpose(1, 2) for x in (call.q, call.k, call.v, call.out))


def pages(call):
    """K and V as [pages, P, Hkv, D]."""
    return (call.kv_cache[:, n].transpose(1, 2) for n in (0, 1))


def fa3(call, q, k, v, out, **words):
    from flash_attn_3 import _C  # which adds the operators
    torch.ops.flash_attn_3.fwd(q, k, v, out=out, softmax_scale=call.scale,
                               is_causal="causal" in call.problem.traits, **words)


def fa4(call, q, k, v, out, **words):
    from flash_attn.cute.interface import _flash_attn_fwd
    _flash_attn_fwd(q, k, v, out=out, softmax_scale=call.scale,
                    causal="causal" in call.problem.traits, **words)


def eights(problem):
    return "FlashAttention takes a head dim that is a multiple of 8" if problem.head_dim % 8 else None


@attest.kernel(variant="prefill", traits=["gqa", "causal"], **FA3)
def prefill_flash_attn_3_r1(call):
    fa3(call, *views(call), num_splits=1)


@attest.kernel(variant="prefill_varlen", traits=["gqa", "causal"], **FA3)
def prefill_varlen_flash_attn_3_r1(call):
    fa3(call, *views(call), seqused_q=call.seq_lens, seqused_k=call.seq_lens, num_splits=1)


@attest.kernel(variant="decode", traits=["gqa"], **FA3)
def decode_flash_attn_3_r1(call):
    fa3(call, *views(call), num_splits=0)


@attest.kernel(variant="decode_paged", traits=["gqa"], **FA3)
def decode_paged_flash_attn_3_r1(call):
    table, lengths = call.state
    fa3(call, call.q.transpose(1, 2), *pages(call), call.out.transpose(1, 2), page_table=table,
        seqused_k=lengths, num_splits=0)


@attest.kernel(variant="prefill", traits=["gqa", "causal"], **FA4)
def prefill_flash_attn_4_r1(call):
    fa4(call, *views(call))


@attest.kernel(variant="prefill_varlen", traits=["gqa", "causal"], **FA4)
def prefill_varlen_flash_attn_4_r1(call):
    fa4(call, *views(call), seqused_q=call.seq_lens, seqused_k=call.seq_lens)


@attest.kernel(variant="decode", traits=["gqa"], **FA4)
def decode_flash_attn_4_r1(call):
    fa4(call, *views(call))


@attest.kernel(variant="decode_paged", traits=["gqa"], **FA4)
def decode_paged_flash_attn_4_r1(call):
    table, lengths = call.state
    fa4(call, call.q.transpose(1, 2), *pages(call), call.out.transpose(1, 2), page_table=table,
        seqused_k=lengths, max_seqlen_k=max(1, int(call.problem.kv_len)))


def make_table(call):
    call.state = table_of(call)


for kernel in (decode_paged_flash_attn_3_r1, decode_paged_flash_attn_4_r1):
    kernel.prepare(make_table)
for kernel in (prefill_flash_attn_3_r1, prefill_varlen_flash_attn_3_r1, decode_flash_attn_3_r1,
               decode_paged_flash_attn_3_r1, prefill_flash_attn_4_r1, prefill_varlen_flash_attn_4_r1,
               decode_flash_attn_4_r1, decode_paged_flash_attn_4_r1):
    kernel.refuse(eights)
