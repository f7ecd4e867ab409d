"""cuDNN's attention by its frontend, which writes where it is told (torch's own way to it copies the
output): prefill, padded batches, decode, pages. A graph is built in prepare; its causal is top-left.

To cuDNN, what lies beyond a length is there: NaN in K or V beyond a padded prefill's lengths makes rows
before it NaN. Its pages are powers of two, and its decode does not repeat bitwise."""
import attest

try:
    import torch
except ModuleNotFoundError:
    torch = None
from peer_pages import table_of

COMMON = dict(device="cuda", arrays="torch", needs=["torch", "nvidia-cudnn-frontend"],
              dtypes=["f16", "bf16"], head_dim_max=256)
handles = {}


class Graph:
    """One of attention over tensors like the call's, with further ones by the frontend's names."""

    def __init__(self, call, k, v, tensors, words):
        import cudnn
        if call.device_index not in handles:
            handles[call.device_index] = cudnn.create_handle()
        self.handle = handles[call.device_index]
        cudnn.set_stream(handle=self.handle, stream=call.stream)
        kind = cudnn.data_type.HALF if call.q.dtype == torch.float16 else cudnn.data_type.BFLOAT16
        graph = self.graph = cudnn.pygraph(
            io_data_type=kind, intermediate_data_type=cudnn.data_type.FLOAT,
            compute_data_type=cudnn.data_type.FLOAT, handle=self.handle)
        self.inputs = [graph.tensor_like(x) for x in (call.q, k, v)]
        self.others = {name: graph.tensor_like(x) for name, x in tensors.items()}
        self.out, _ = graph.sdpa(name="attention", q=self.inputs[0], k=self.inputs[1], v=self.inputs[2],
                                 attn_scale=call.scale, generate_stats=False,
                                 use_causal_mask="causal" in call.problem.traits, **self.others, **words)
        self.out.set_output(True).set_dim(list(call.out.shape)).set_stride(list(call.out.stride()))
        graph.validate()
        graph.build_operation_graph()
        graph.create_execution_plans([cudnn.heur_mode.A])
        graph.check_support()
        graph.build_plans()
        self.workspace = torch.empty(max(graph.get_workspace_size(), 1), dtype=torch.uint8,
                                     device=call.q.device)

    def run(self, call, k, v):
        pack = dict(zip(self.inputs, (call.q, k, v)))
        pack.update((self.others[name], x) for name, x in call.state[1].items())
        pack[self.out] = call.out
        self.graph.execute(pack, self.workspace, handle=self.handle)


latest = {}  # the graph of the problem that was last prepared, which is one for all copies of tensors


def build(call, k, v, tensors=None, **words):
    """Leaves the graph, and what else it reads, in call.state."""
    if call.problem not in latest:
        latest.clear()
        latest[call.problem] = Graph(call, k, v, tensors or {}, words)
    call.state = latest[call.problem], tensors or {}


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
    call.state[0].run(call, call.k, call.v)


@attest.kernel(variant="prefill_varlen", traits=["gqa", "causal"], **COMMON)
def prefill_varlen_cudnn_r1(call):
    call.state[0].run(call, call.k, call.v)


@prefill_varlen_cudnn_r1.prepare
def build_padded(call):
    lengths = as_lengths(call.seq_lens)
    build(call, call.k, call.v, dict(seq_len_q=lengths, seq_len_kv=lengths.clone()),
          use_padding_mask=True)


@attest.kernel(variant="decode", traits=["gqa"], nondeterministic=True, **COMMON)
def decode_cudnn_r1(call):
    call.state[0].run(call, call.k, call.v)


@attest.kernel(variant="decode_paged", traits=["gqa"], nondeterministic=True, **COMMON)
def decode_paged_cudnn_r1(call):
    call.state[0].run(call, call.kv_cache[:, 0], call.kv_cache[:, 1])


@decode_paged_cudnn_r1.prepare
def build_paged(call):
    table, lengths = table_of(call)
    table = table.view(table.shape[0], 1, -1, 1)
    build(call, call.kv_cache[:, 0], call.kv_cache[:, 1],
          dict(seq_len_q=as_lengths(torch.ones_like(lengths)), seq_len_kv=as_lengths(lengths),
               paged_attention_k_table=table, paged_attention_v_table=table.clone()),
          use_padding_mask=True, paged_attention_max_seq_len_kv=int(call.problem.kv_len))


def build_dense(call):
    build(call, call.k, call.v)


for kernel in (prefill_cudnn_r1, decode_cudnn_r1):
    kernel.prepare(build_dense)
for kernel in (prefill_cudnn_r1, prefill_varlen_cudnn_r1, decode_cudnn_r1, decode_paged_cudnn_r1):
    kernel.refuse(refuse)
