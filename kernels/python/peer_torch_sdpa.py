"""PyTorch's scaled_dot_product_attention, a kernel for each of its backends: on a GPU where torch sees
one, else on the CPU, whose `flash` it is.

torch has no function that writes where it is told: its output is copied, in the time that a launch
takes (33 of 234 us at B8 64/16 S1024 D64 on an H200). Its is_causal is top-left; bottom-right is a bias
of its own, which flash alone has as a kernel. A padded batch is a mask, for which no backend of these
skips a key: NaN beyond a length reaches what is before it, as in any program that pads with NaN.
"""
import attest

try:
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.nn.attention.bias import causal_lower_right
    from torch.nn.functional import scaled_dot_product_attention
except ModuleNotFoundError:
    torch = None

GPU = torch is not None and torch.cuda.is_available()
COMMON = dict(device="cuda" if GPU else "cpu", arrays="torch", needs=["torch"])
HALVES = ["f16", "bf16"]
ALL = ["f32"] + HALVES


def attend(call, backend, mask=None):
    causal = "causal" in call.problem.traits and mask is None
    if causal and call.problem.q_len != call.problem.kv_len:
        causal, mask = False, causal_lower_right(call.problem.q_len, call.problem.kv_len)
    with sdpa_kernel(backend):
        call.out.copy_(scaled_dot_product_attention(
            call.q, call.k, call.v, attn_mask=mask, is_causal=causal, scale=call.scale,
            enable_gqa=call.problem.q_heads != call.problem.kv_heads))


def top_left(problem):
    if "causal" in problem.traits and problem.q_len != problem.kv_len:
        return "is_causal is top-left"
    return None


@attest.kernel(variant="prefill", dtypes=HALVES if GPU else ALL, traits=["gqa", "causal"],
               head_dim_max=256, **COMMON)
def prefill_torch_flash_r1(call):
    attend(call, SDPBackend.FLASH_ATTENTION)


@attest.kernel(variant="decode", dtypes=HALVES if GPU else ALL, traits=["gqa"], head_dim_max=256, **COMMON)
def decode_torch_flash_r1(call):
    attend(call, SDPBackend.FLASH_ATTENTION)


@attest.kernel(variant="prefill", dtypes=ALL, traits=["gqa", "causal"], **COMMON)
def prefill_torch_math_r1(call):
    attend(call, SDPBackend.MATH)


@attest.kernel(variant="decode", dtypes=ALL, traits=["gqa"], **COMMON)
def decode_torch_math_r1(call):
    attend(call, SDPBackend.MATH)


@attest.kernel(variant="prefill_varlen", dtypes=ALL, traits=["gqa", "causal"],
               change="a mask of every query and key", **COMMON)
def prefill_varlen_torch_math_r1(call):
    attend(call, SDPBackend.MATH, call.state)


@prefill_varlen_torch_math_r1.prepare
def make_mask(call):
    """[B, 1, Sq, Skv]. A row beyond its length sees the first key: of none torch makes what it likes."""
    i, j = (torch.arange(n, device=call.q.device) for n in (call.problem.q_len, call.problem.kv_len))
    lengths = call.seq_lens.view(-1, 1, 1, 1)
    seen = j < lengths
    if "causal" in call.problem.traits:
        seen = seen & (j <= i.view(-1, 1))
    call.state = torch.where(i.view(-1, 1) < lengths, seen, j == 0)


if GPU:
    @attest.kernel(variant="prefill", dtypes=HALVES, traits=["gqa", "causal"], head_dim_max=256, **COMMON)
    def prefill_torch_cudnn_r1(call):
        attend(call, SDPBackend.CUDNN_ATTENTION)

    @attest.kernel(variant="decode", dtypes=HALVES, traits=["gqa"], head_dim_max=256,
                   nondeterministic=True, **COMMON)
    def decode_torch_cudnn_r1(call):
        attend(call, SDPBackend.CUDNN_ATTENTION)

    prefill_torch_cudnn_r1.refuse(top_left)

    @decode_torch_cudnn_r1.refuse
    def several_keys(problem):
        return "cuDNN has no plan for a single key" if problem.kv_len < 2 else None
