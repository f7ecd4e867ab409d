"""Kernels with one planted bug each, such as only a language has whose functions are called, raise, and
run threads: what `attest selftest` expects of Python. All are one right kernel for f32 that goes wrong
at one place."""
import os
import sys
import threading
import time

import attest
import numpy as np

WORDS = dict(variant="decode", dtypes=["f32"], traits=["gqa"])


def answer(call):
    group = call.problem.q_heads // call.problem.kv_heads
    k, v = (np.repeat(x, group, axis=1) for x in (call.k, call.v))
    s = call.scale * np.einsum("bhqd,bhkd->bhqk", call.q, k)
    p = np.exp(s - s.max(-1, keepdims=True))
    return np.einsum("bhqk,bhkd->bhqd", p / p.sum(-1, keepdims=True), v)


@attest.kernel(**WORDS)
def decode_right_r1(call):
    call.out[...] = answer(call)


@attest.kernel(**WORDS)
def decode_other_head_r1(call):
    call.out[...] = answer(call)
    call.out[0, 0] = call.out[0, 1]


answers = {}


@attest.kernel(**WORDS)
def decode_stale_r1(call):
    """Its first answer to a problem of these sizes."""
    if call.problem not in answers:
        answers[call.problem] = answer(call)
    call.out[...] = answers[call.problem]


@attest.kernel(**WORDS)
def decode_keeps_r1(call):
    """The first since it was prepared."""
    if call.state is None:
        call.state = answer(call)
    call.out[...] = call.state


@attest.kernel(**WORDS)
def decode_unwritten_r1(call):
    """It is not `out` that is written."""
    out = call.out.astype("f4")
    out[...] = answer(call)


@attest.kernel(**WORDS)
def decode_nan_r1(call):
    call.out[...] = answer(call)
    call.out[0, 0, 0, 0] = np.nan


@attest.kernel(**WORDS)
def decode_reads_on_r1(call):
    """Through a view that is longer than the tensor."""
    beyond = np.lib.stride_tricks.as_strided(call.v, (call.v.size + 512,), (4,))
    call.out[...] = answer(call)
    call.out[0, 0, 0, 0] += 0 * (beyond[-1] > 0)


@attest.kernel(**WORDS)
def decode_writes_input_r1(call):
    call.out[...] = answer(call)
    call.q[...] = 0


@attest.kernel(**WORDS)
def decode_later_r1(call):
    """A thread does it, for which nobody waits."""
    def write():
        time.sleep(0.2)
        call.out[...] = values
    values = answer(call)
    threading.Thread(target=write, daemon=True).start()


@attest.kernel(**WORDS)
def decode_raises_r1(call):
    raise ValueError(f"kv_len is {call.problem.kv_len}")


@attest.kernel(**WORDS)
def decode_exits_r1(call):
    sys.exit(7)


@attest.kernel(**WORDS)
def decode_dies_r1(call):
    os._exit(7)


@attest.kernel(**WORDS)
def decode_aborts_r1(call):
    os.abort()


@attest.kernel(**WORDS)
def decode_hangs_r1(call):
    time.sleep(1000)
