"""What PyTorch takes for the seed problems, in two ways of writing attention without a fused
kernel: `half` multiplies in f16 and takes softmax in f32 (as model code does), `float` upcasts
first (as reference code in tests does). Eager includes the host's launches; graph does not.
Usage: torch_baseline.py. Prints microseconds, medians."""

import torch

GPU = "cuda"


def normal(*shape):
    return torch.randn(*shape, device=GPU, dtype=torch.float16)


def dense(q, k, v, mask, upcast):
    """mask is True where a key is seen, or None."""
    group = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
    scale = q.shape[-1] ** -0.5
    if upcast:
        scores = torch.matmul(q.float(), k.float().transpose(-1, -2)) * scale
        if mask is not None:
            scores = scores.masked_fill(~mask, float("-inf"))
        return torch.matmul(torch.softmax(scores, -1), v.float()).to(q.dtype)
    scores = torch.matmul(q, k.transpose(-1, -2)) * scale
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return torch.matmul(torch.softmax(scores, -1, dtype=torch.float32).to(q.dtype), v)


def median(times):
    return sorted(times)[len(times) // 2]


def timed(call, repeats):
    call()
    torch.cuda.synchronize()
    times = []
    for _ in range(repeats):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        call()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) * 1e3)
    return median(times)


def report(name, call, repeats=15):
    with torch.no_grad():
        eager = timed(call, repeats)
        try:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                for _ in range(4):
                    call()
            replay = timed(graph.replay, repeats) / 4
        except Exception as fault:  # synchronising code cannot be captured
            torch.cuda.synchronize()
            replay = float("nan")
            print("   not captured:", str(fault).splitlines()[0][:80])
    print(f"{name:44s} eager {eager:11.1f}  graph {replay:11.1f}", flush=True)


def prefill():
    q, k, v = normal(8, 64, 1024, 64), normal(8, 16, 1024, 64), normal(8, 16, 1024, 64)
    i = torch.arange(1024, device=GPU)
    causal = i[None, :] <= i[:, None]
    lens = [1024, 468, 631, 258, 353, 599, 732, 94]
    valid = i[None, :] < torch.tensor(lens, device=GPU)[:, None]
    mask = causal[None, None] & valid[:, None, None, :] & valid[:, None, :, None]
    for upcast in (False, True):
        kind = "float" if upcast else "half"
        report(f"prefill {kind}", lambda: dense(q, k, v, causal, upcast))
        report(f"prefill_varlen padded {kind}", lambda: dense(q, k, v, mask, upcast))

        def loop():
            for b, n in enumerate(lens):
                part = slice(b, b + 1)
                dense(q[part, :, :n], k[part, :, :n], v[part, :, :n], causal[:n, :n], upcast)

        report(f"prefill_varlen loop {kind}", loop)


def decode():
    q, k, v = normal(8, 64, 1, 64), normal(8, 16, 1024, 64), normal(8, 16, 1024, 64)
    for upcast in (False, True):
        kind = "float" if upcast else "half"
        report(f"decode {kind}", lambda: dense(q, k, v, None, upcast))


def pages_of(lens, page):
    counts = [(n + page - 1) // page for n in lens]
    order, tables = torch.randperm(sum(counts)).tolist(), []
    for count in counts:
        tables.append(torch.tensor(order[:count], device=GPU))
        order = order[count:]
    return tables, sum(counts)


def paged():
    lens = [194, 22, 131]
    tables, pages = pages_of(lens, 64)
    cache, q = normal(pages, 2, 2, 64, 64), normal(3, 4, 1, 64)
    for upcast in (False, True):

        def loop():
            for b, n in enumerate(lens):
                kv = cache[tables[b]].permute(1, 2, 0, 3, 4).reshape(2, 1, 2, -1, 64)[..., :n, :]
                dense(q[b : b + 1], kv[0], kv[1], None, upcast)

        report(f"decode_paged {'float' if upcast else 'half'}", loop)


def sparse():
    q, k, v = normal(1, 32, 1, 128), normal(1, 8, 32000, 128), normal(1, 8, 32000, 128)
    mask = torch.rand(1, 32, 1, 32000, device=GPU) < 0.02
    lists = [mask[0, h, 0].nonzero().flatten() for h in range(32)]
    for upcast in (False, True):
        kind = "float" if upcast else "half"
        report(f"sparse_decode by mask {kind}", lambda: dense(q, k, v, mask, upcast))

        def loop():
            for h in range(32):
                keys, values = k[:, h // 4, lists[h]], v[:, h // 4, lists[h]]
                dense(q[:, h : h + 1], keys[:, None], values[:, None], None, upcast)

        report(f"sparse_decode loop over rows {kind}", loop)


def sparse_paged():
    counts = [270, 350, 321]
    tables, pages = pages_of([n * 256 for n in counts], 256)
    cache, q = normal(pages, 2, 8, 256, 256), normal(3, 32, 1, 256)
    lists = [[torch.randperm(n * 256, device=GPU)[: int(n * 5.12)] for _ in range(32)]
             for n in counts]

    def rows(upcast):
        for b in range(3):
            for h in range(32):
                token = lists[b][h]
                page, row = tables[b][token // 256], token % 256
                keys, values = cache[page, 0, h // 4, row], cache[page, 1, h // 4, row]
                dense(q[b : b + 1, h : h + 1], keys[None, None], values[None, None], None, upcast)

    for upcast in (False, True):
        report(f"sparse_decode_paged loop over rows {'float' if upcast else 'half'}",
               lambda: rows(upcast), 5)
    # A loop over tokens, as paged tests are often written: one row of 96, times 96.
    host, table = lists[0][0].tolist(), tables[0].tolist()

    def tokens():
        keys = torch.stack([cache[table[t // 256], 0, 0, t % 256] for t in host])
        values = torch.stack([cache[table[t // 256], 1, 0, t % 256] for t in host])
        dense(q[:1, :1], keys[None, None], values[None, None], None, True)

    print(f"sparse_decode_paged loop over tokens, one row: eager {timed(tokens, 3):11.1f}")


torch.manual_seed(1)
torch.backends.cuda.matmul.allow_tf32 = False
print(torch.__version__, torch.cuda.get_device_name())
for part in (decode, paged, prefill, sparse, sparse_paged):
    part()
