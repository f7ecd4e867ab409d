"""FlashInfer: decode over pages on CUDA cores and on tensor cores, XQA, prefill of ragged batches, and
lists of tokens as pages of one token. Pages are attest's own, HND with K and V together. It plans on
the host, in prepare, where it also compiles. Its lse is to base 2."""
import attest

try:
    import torch
except ModuleNotFoundError:
    torch = None
from peer_pages import rows_kept, table_of

COMMON = dict(device="cuda", arrays="torch", needs=["torch", "flashinfer-python"], dtypes=["f16", "bf16"])
LSE = dict(writes_lse=True, lse_base_2=True, **COMMON)
WORKSPACE_BYTES = 256 << 20
kept = {}


def workspace(call, bytes_=WORKSPACE_BYTES):
    """FlashInfer's own scratch, which is zero at first: one for all."""
    key = call.device_index, bytes_
    if key not in kept:
        kept[key] = torch.zeros(bytes_, dtype=torch.uint8, device=call.q.device)
    return kept[key]


def head_dim(problem):
    if problem.head_dim not in (64, 128, 256):
        return "FlashInfer takes a head dim of 64, 128 or 256"
    if problem.q_heads // problem.kv_heads not in (1, 2, 3, 4, 8, 16):
        return "FlashInfer takes a group of 1, 2, 3, 4, 8 or 16 query heads"
    return None


def head_dim_of_list(problem):
    return None if problem.head_dim in (64, 128, 256) else "FlashInfer takes a head dim of 64, 128 or 256"


def plan_decode(call, tensor_cores):
    import flashinfer
    p = call.problem
    call.state = flashinfer.BatchDecodeWithPagedKVCacheWrapper(workspace(call), "HND",
                                                               use_tensor_cores=tensor_cores)
    call.state.plan(call.kv_page_indptr, call.kv_page_indices, call.kv_last_page_len, p.q_heads,
                    p.kv_heads, p.head_dim, p.page_size, sm_scale=call.scale, q_data_type=call.q.dtype,
                    kv_data_type=call.q.dtype)


def run_decode(call):
    call.state.run(call.q[:, :, 0], call.kv_cache, out=call.out[:, :, 0], lse=call.lse[:, :, 0],
                   return_lse=True)


@attest.kernel(variant="decode_paged", traits=["gqa"], change="CUDA cores", **LSE)
def decode_paged_flashinfer_r1(call):
    run_decode(call)


@decode_paged_flashinfer_r1.prepare
def plan_on_cuda_cores(call):
    plan_decode(call, False)


@attest.kernel(variant="decode_paged", traits=["gqa"], change="tensor cores", **LSE)
def decode_paged_flashinfer_tensor_r1(call):
    run_decode(call)


@decode_paged_flashinfer_tensor_r1.prepare
def plan_on_tensor_cores(call):
    plan_decode(call, True)


@attest.kernel(variant="decode_paged", traits=["gqa"], grade="B", change="XQA", **COMMON)
def decode_paged_xqa_r1(call):
    import flashinfer
    table, lengths, longest = call.state
    flashinfer.decode.xqa_batch_decode_with_kv_cache(
        call.q[:, :, 0], (call.kv_cache[:, 0], call.kv_cache[:, 1]), workspace(call, 2 * WORKSPACE_BYTES),
        table, lengths, longest, bmm1_scale=call.scale, bmm2_scale=1.0, out=call.out[:, :, 0],
        kv_layout="HND")


@decode_paged_xqa_r1.prepare
def make_table(call):
    table, lengths = table_of(call)
    call.state = table, lengths.to(torch.uint32), max(1, int(lengths.max()))


@decode_paged_xqa_r1.refuse
def refuse_xqa(problem):
    if problem.page_size not in (16, 32, 64, 128):
        return "XQA takes pages of 16, 32, 64 or 128 tokens"
    return head_dim(problem)


def as_requests(call, keys, values):
    """Each list is a request of one head with pages of one token: views of [rows, 1, 1, D]."""
    D = call.problem.head_dim
    return ((call.q.view(-1, 1, D), (keys.view(-1, 1, 1, D), values.view(-1, 1, 1, D))),
            dict(out=call.out.view(-1, 1, D), lse=call.lse.view(-1, 1), return_lse=True))


def plan_lists(call):
    import flashinfer
    rows, begin = rows_kept(call)
    call.state = flashinfer.BatchDecodeWithPagedKVCacheWrapper(workspace(call), "HND")
    call.state.plan(begin.to(call.q.device), rows.to(call.q.device),
                    (begin[1:] > begin[:-1]).int().to(call.q.device), 1, 1, call.problem.head_dim, 1,
                    sm_scale=call.scale, q_data_type=call.q.dtype, kv_data_type=call.q.dtype)


@attest.kernel(variant="sparse_decode", traits=["gqa"], grade="B", change="pages of one token", **LSE)
def sparse_decode_flashinfer_r1(call):
    tensors, words = as_requests(call, call.k, call.v)
    call.state.run(*tensors, **words)


@attest.kernel(variant="sparse_decode_paged", traits=["gqa"], grade="B", change="pages of one token", **LSE)
def sparse_decode_paged_flashinfer_r1(call):
    D, behind = call.problem.head_dim, call.problem.kv_heads * call.problem.page_size
    rows = call.kv_cache.view(-1, D)
    tensors, words = as_requests(call, rows[:-behind], rows[behind:])
    call.state.run(*tensors, **words)


@attest.kernel(variant="prefill", traits=["gqa", "causal"], change="ragged, its FlashAttention-3",
               **COMMON)
def prefill_flashinfer_r1(call):
    """Its q, k and v are packed tokens, [B S, H, D]: attest's are copied there and back."""
    q, k, v = (x.transpose(1, 2).flatten(0, 1) for x in (call.q, call.k, call.v))
    B, Hq, Sq, D = call.q.shape
    call.out.copy_(call.state.run(q, k, v).view(B, Sq, Hq, D).transpose(1, 2))


@prefill_flashinfer_r1.prepare
def plan_prefill(call):
    import flashinfer
    p = call.problem
    begin_q, begin_kv = (torch.arange(p.batch + 1, dtype=torch.int32) * n for n in (p.q_len, p.kv_len))
    call.state = flashinfer.BatchPrefillWithRaggedKVCacheWrapper(workspace(call), "NHD", backend="fa3")
    call.state.plan(begin_q, begin_kv, p.q_heads, p.kv_heads, p.head_dim, causal="causal" in p.traits,
                    sm_scale=call.scale, q_data_type=call.q.dtype, kv_data_type=call.q.dtype)


for kernel in (sparse_decode_flashinfer_r1, sparse_decode_paged_flashinfer_r1):
    kernel.prepare(plan_lists)
    kernel.refuse(head_dim_of_list)
for kernel in (decode_paged_flashinfer_r1, decode_paged_flashinfer_tensor_r1, prefill_flashinfer_r1):
    kernel.refuse(head_dim)
