#!/usr/bin/env python3
"""Kernels of PyTorch and CuPy on a GPU: by hand, where there is one. Each ends in the status that it
should, and what a torch kernel takes is compared with triton.testing.do_bench_cudagraph.

    kernels/python/test_gpu.py PROGRAM     # build/cuda/harness/attest
"""
import json
import pathlib
import subprocess
import sys
import tempfile

program = str(pathlib.Path(sys.argv[1]).resolve())
LINE = "f16-b2-hq4-hkv2-q1-kv300-d64-normal-seed1"
LONG_S = 120  # of one command, importing torch included
failures = 0

KERNELS = '''
import attest, torch
import torch.nn.functional as F
WORDS = dict(variant="decode", device="cuda", dtypes=["f16", "bf16", "f32"], traits=["gqa"])

def attend(call):
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.FLASH_ATTENTION):  # repeats bitwise
        return F.scaled_dot_product_attention(call.q, call.k, call.v, scale=call.scale, enable_gqa=True)

@attest.kernel(**WORDS)
def decode_plain_r1(call):
    call.out.copy_(attend(call))

@attest.kernel(**WORDS)
def decode_allocates_r1(call):
    """Much more than is needed, all of which a replay writes again."""
    group = call.problem.q_heads // call.problem.kv_heads
    k, v = (x.float().repeat_interleave(group, 1) for x in (call.k, call.v))
    rubbish = [torch.full((1 << 20,), float("nan"), device=call.q.device) for _ in range(8)]
    p = torch.softmax(call.scale * call.q.float() @ k.transpose(-1, -2), -1)
    del rubbish
    call.out.copy_(p @ v)

@attest.kernel(**WORDS)
def decode_waits_r1(call):
    call.out.copy_(attend(call))
    if call.out.float().sum().item() == 1e30: raise ValueError("never")

@attest.kernel(**WORDS)
def decode_elsewhere_r1(call):
    """On a stream of its own, that joins ours."""
    own, ours = torch.cuda.Stream(), torch.cuda.current_stream()
    own.wait_stream(ours)
    with torch.cuda.stream(own):
        out = attend(call)
    ours.wait_stream(own)
    call.out.copy_(out)

first = {}
@attest.kernel(**WORDS)
def decode_stale_r1(call):
    key = call.problem
    if key not in first: first[key] = attend(call).clone()
    call.out.copy_(first[key])

@attest.kernel(**WORDS)
def decode_nothing_r1(call):
    pass

@attest.kernel(**WORDS)
def decode_beyond_r1(call):
    call.out.copy_(attend(call))
    torch.as_strided(call.out, (call.out.numel() + 4096,), (1,))[-1] = 1

@attest.kernel(**WORDS)
def decode_raises_r1(call):
    raise ValueError(f"kv_len is {call.problem.kv_len}")
'''
# Status, and how it is timed.
EXPECTED = {
    "plain": ("PASS", "graph"), "allocates": ("PASS", "graph"), "waits": ("PASS", "events"),
    "elsewhere": ("PASS", "graph"), "stale": ("FAIL_", ""), "nothing": ("FAIL_UNWRITTEN", ""),
    "beyond": (("CRASH", "FAIL_"), ""), "raises": ("CRASH", ""),
}
CUPY = '''
import attest, cupy

@attest.kernel(variant="decode", device="cuda", dtypes=["f32"])
def decode_cupy_r1(call):
    s = call.scale * (call.q * call.k).sum(-1)   # without cuBLAS, which CuPy does not record
    p = cupy.exp(s - s.max(-1, keepdims=True))
    call.out[...] = ((p / p.sum(-1, keepdims=True))[..., None] * call.v).sum(2, keepdims=True)
'''
# The plain kernel, which is first timed by Triton's do_bench_cudagraph, on the tensors of its call.
OUTSIDE = KERNELS[:KERNELS.index("@attest.kernel")] + '''
import triton
told = []

@attest.kernel(**WORDS)
def decode_outside_r1(call):
    call.out.copy_(attend(call))

@decode_outside_r1.prepare
def bench(call):
    if call.problem in told: return
    told.append(call.problem)
    us = 1e3 * triton.testing.do_bench_cudagraph(lambda: decode_outside_r1(call), rep=200, return_mode="median")
    with open(__file__ + ".us", "w") as file: file.write(str(us))
'''
TIMED = [LINE, "f16-b8-hq64-hkv16-q1-kv1024-d64-normal0.5-seed1",
         "bf16-b1-hq32-hkv8-q1-kv8192-d128-normal-seed1", "f16-b1-hq8-hkv8-q1-kv131072-d128-normal-seed1"]


def check(well, text):
    global failures
    if not well:
        failures += 1
        print("FAILED", text, flush=True)


def attest(*words):
    """What it prints, and what it says beside."""
    command = [program, *map(str, words), "--json", "--out", tempfile.mkdtemp(dir=folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LONG_S)
    except subprocess.TimeoutExpired:
        return "", f"{' '.join(command)}: not done after {LONG_S} s"
    return done.stdout, done.stderr


def rows(*words):
    printed, said = attest("run", *words, "--no-probe")
    found = [json.loads(line) for line in printed.splitlines()]
    check(found, said)
    return found


with tempfile.TemporaryDirectory(prefix="attest-gpu-") as name:
    folder = pathlib.Path(name)
    mine = folder / "mine.py"
    mine.write_text(KERNELS)
    found = rows(mine, LINE)
    check(len(found) == len(EXPECTED), f"{len(found)} rows of {len(EXPECTED)} kernels")
    for row in found:
        method = row["kernel"].removeprefix("cuda/decode_").removesuffix("_r1")
        status, how = EXPECTED[method]
        check(row["status"].startswith(status), f"{method}: {row['status']}: {row['reason']}")
        check(not how or row["warm_how"] == how, f"{method} is timed by {row['warm_how']}")
        print(method, row["status"], row["warm_how"], row["warm_median_us"], row["cold_how"], row["cold_median_us"],
              row["reason"], row["unspoilt"], flush=True)
    (folder / "ours.py").write_text(CUPY)
    for row in rows(folder / "ours.py", "f32-b1-hq2-hkv2-q1-kv300-d64-normal-seed1"):
        check(row["status"] == "PASS" and row["warm_how"] == "graph",
              f"CuPy: {row['status']} {row['warm_how']}: {row['reason']} {row['unrecorded']}")
        print("cupy", row["status"], row["warm_how"], row["warm_median_us"], flush=True)
    print("| problem | attest, us | do_bench_cudagraph, us | ratio |\n|---|--:|--:|--:|")
    beside, us = folder / "outside.py", folder / "outside.py.us"
    beside.write_text(OUTSIDE)
    for line in TIMED * 2:
        us.write_text("nan")  # beside runs, where a kernel can make no file
        row = next(iter(rows(beside, line)), {"warm_median_us": None})
        own, other = row["warm_median_us"] or 0, float(us.read_text())
        print(f"| {line} | {own:.2f} | {other:.2f} | {own / other:.3f} |", flush=True)
    printed, said = attest("compare", "--live", f"{mine}:decode_plain_r1", f"{mine}:decode_allocates_r1",
                           LINE, "--warm", "--time-ms", "100")
    check(printed, said)
    for pair in json.loads(printed or '{"pairs": []}')["pairs"]:
        check(pair["verdict"] == "slower", f"{pair['verdict']}: {pair['why']} {said}")
sys.exit(1 if failures else 0)
