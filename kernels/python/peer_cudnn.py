"""cuDNN's attention by its frontend, which writes where it is told (torch's own way to it copies the
output): prefill, padded batches, decode, pages. A graph is built in prepare; its causal is top-left.

To cuDNN, what lies beyond a length is there: NaN in K or V beyond a padded prefill's lengths makes rows
before it NaN. Its pages are powers of two, and its decode does not repeat bitwise."""
import attest

try:
    import torch
except ImportError:
    torch = None
from peer_pages import table_of

COMMON = dict(device="cuda", arrays="torch", needs=["torch", "nvidia-cudnn-frontend"],
              dtypes=["f16", "bf16"], head_dim_max=256)
handles = {}


class Graph:
    """One of attention over tensors like the call's, with further ones by the frontend's names."""

    def __init__(self, call, k, v, **further):
        import cudnn
        if call.device_index not in handles:
            handles[call.device_index] = cudnn.create_handle()
        self.handle, self.further = handles[call.device_index], further
        cudnn.set_stream(handle=self.handle, stream=call.stream)
        kind = cudnn.data_type.HALF if call.q.dtype == torch.float16 else cudnn.data_type.BFLOAT16
        graph = self.graph = cudnn.pygraph(
            io_data_type=kind, intermediate_data_type=cudnn.data_type.FLOAT,
            compute_data_type=cudnn.data_type.FLOAT, handle=self.handle)
        self.inputs = [graph.tensor_like(x) for x in (call.q, k, v)]
        tensors = {name: x for name, x in further.items() if torch.is_tensor(x)}
        self.others = {graph.tensor_like(x): x for x in tensors.values()}
        words = dict(further, **dict(zip(tensors, self.others)))
        self.out, _ = graph.sdpa(name="attention", q=self.inputs[0], k=self.inputs[1], v=self.inputs[2],
                                 attn_scale=call.scale, generate_stats=False,
                                 use_causal_mask="causal" in call.problem.traits, **words)
        self.out.set_output(True).set_dim(list(call.out.shape)).set_stride(list(call.out.stride()))
        graph.validate()
        graph.build_operation_graph()
        graph.create_execution_plans([cudnn.heur_mode.A])
        graph.check_support()
        graph.build_plans()
        self.workspace = torch.empty(max(graph.get_workspace_size(), 1), dtype=torch.uint8,
                                     device=call.q.device)

    def run(self, call, k, v):
        pack = {**dict(zip(self.inputs, (call.q, k, v))), **self.others, self.out: call.out}
        self.graph.execute(pack, self.workspace, handle=self.handle)


def as_lengths(lengths):
    return lengths.view(-1, 1, 1, 1)


def refuse(problem):
    if "causal" in problem.traits and problem.q_len != problem.kv_len:
        return "use_causal_mask is top-left"
    if problem.head_dim % 8:
        return "cuDNN takes a head dim that is a multiple of 8"
    if problem.page_size & problem.page_size - 1:
        return "cuDNN takes pages of a power of two"
    if problem.kv_len < 2:
        return "cuDNN has no plan for a single key"
    return None


@attest.kernel(variant="prefill", traits=["gqa", "causal"], **COMMON)
def prefill_cudnn_r1(call):
    call.state.run(call, call.k, call.v)


@attest.kernel(variant="prefill_varlen", traits=["gqa", "causal"], **COMMON)
def prefill_varlen_cudnn_r1(call):
    call.state.run(call, call.k, call.v)


@prefill_varlen_cudnn_r1.prepare
def build_padded(call):
    lengths = as_lengths(call.seq_lens.clone())
    call.state = Graph(call, call.k, call.v, use_padding_mask=True, seq_len_q=lengths,
                       seq_len_kv=lengths.clone())


@attest.kernel(variant="decode", traits=["gqa"], nondeterministic=True, **COMMON)
def decode_cudnn_r1(call):
    call.state.run(call, call.k, call.v)


@attest.kernel(variant="decode_paged", traits=["gqa"], nondeterministic=True, **COMMON)
def decode_paged_cudnn_r1(call):
    call.state.run(call, call.kv_cache[:, 0], call.kv_cache[:, 1])


@decode_paged_cudnn_r1.prepare
def build_paged(call):
    table, lengths = table_of(call)
    table = table.view(table.shape[0], 1, -1, 1)
    call.state = Graph(call, call.kv_cache[:, 0], call.kv_cache[:, 1], use_padding_mask=True,
                       seq_len_q=as_lengths(torch.ones_like(lengths)), seq_len_kv=as_lengths(lengths),
                       paged_attention_k_table=table, paged_attention_v_table=table.clone(),
                       paged_attention_max_seq_len_kv=int(call.problem.kv_len))


def build(call):
    call.state = Graph(call, call.k, call.v)


for kernel in (prefill_cudnn_r1, decode_cudnn_r1):
    kernel.prepare(build)
for kernel in (prefill_cudnn_r1, prefill_varlen_cudnn_r1, decode_cudnn_r1, decode_paged_cudnn_r1):
    kernel.refuse(refuse)
