#!/usr/bin/env python3
"""What other libraries mean, each line of the table in README.md, and that attest's converters and judge
tell it: by hand, since it needs these libraries, without a GPU. Fails where one of them changes.

    pip install torch==2.15.0 jax==0.10.2 onnx==1.23.2 onnxruntime==1.32.0 ml_dtypes==0.6.0 \\
        safetensors==0.8.0 h5py==3.16.0 numpy==2.4.6
    ATTEST_PROGRAM=build/cpu/harness/attest python3 kernels/python/test_semantics.py [WORD]  # those with WORD
"""
import json
import math
import os
import pathlib
import shutil
import sys
import tempfile
import warnings

warnings.filterwarnings("ignore")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import h5py
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import onnx
import onnx.reference
import onnxruntime
import safetensors.numpy
import torch

here = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(here))
import attest
from attest import _arrays, _judge
from converted import converted

random = np.random.default_rng(1)
folder = pathlib.Path(tempfile.mkdtemp(prefix="attest-semantics-"))
tests = []


def test(function):
    tests.append(function)
    return function


def draw(*shape):
    return random.standard_normal(shape).astype("f4")


# 5 queries over 9 keys; over 3, where bottom-right leaves two rows without a key.
Q, K, V = draw(1, 2, 5, 32), draw(1, 2, 9, 32), draw(1, 2, 9, 32)
LONG, SHORT = (Q, K, V), (Q, K[:, :, :3].copy(), V[:, :, :3].copy())


def causal(queries, keys, offset):
    return np.arange(keys) <= np.arange(queries)[:, None] + offset


def exact(q, k, v, seen=None, bias=0.0):
    """out and lse by the definition, in double."""
    s = q.astype("f8") @ k.astype("f8").swapaxes(-1, -2) * q.shape[-1]**-0.5
    s = np.where(True if seen is None else seen, s, -np.inf) + bias
    top = s.max(-1, keepdims=True)
    top = np.where(np.isneginf(top), 0, top)
    p = np.exp(s - top)
    total = p.sum(-1, keepdims=True)
    with np.errstate(divide="ignore"):
        return p / np.where(total == 0, 1, total) @ v, (top + np.log(total))[..., 0]


def seen_by(out, q, k, v):
    """Which keys the output is of."""
    queries, keys = q.shape[2], k.shape[2]
    forms = {"top-left": 0, "bottom-right": keys - queries, "all": keys}
    found = [
        name for name, offset in forms.items()
        if np.allclose(out, exact(q, k, v, causal(queries, keys, offset))[0], atol=1e-5)
    ]
    return " or ".join(found) or "something else"


def tensors(*arrays):
    return [torch.from_numpy(np.ascontiguousarray(array)) for array in arrays]


def jax_arrays(*arrays):
    """[B, S, H, D]"""
    return [jnp.asarray(array.swapaxes(1, 2)) for array in arrays]


def same(seen, expected):
    return [] if seen == expected else [f"{seen!r}, expected {expected!r}"]


def attested(text, *arrays, **words):
    """That attest.judge says so."""
    row = attest.judge(*arrays, **words)
    return [] if text in f"{row}" and not row else [f"attest says {row}, expected {text!r}"]


def refused(text, *arrays, **words):
    try:
        return [f"attest says {attest.judge(*arrays, **words)}, expected {text!r}"]
    except (ValueError, TypeError) as error:
        return [] if text in str(error) else [f"attest says {error}, expected {text!r}"]


BACKENDS = {
    "math": torch.nn.attention.SDPBackend.MATH, "flash": torch.nn.attention.SDPBackend.FLASH_ATTENTION
}
TOP_LEFT = "as if the causal mask were aligned to the top left"
NO_KEY = "4 of 4 rows that see no key are not exactly 0"


def sdpa(backend, q, k, v, **words):
    with torch.nn.attention.sdpa_kernel(BACKENDS[backend]):
        return torch.nn.functional.scaled_dot_product_attention(*tensors(q, k, v), **words).numpy()


@test
def torch_causal_is_top_left():
    wrong = []
    for backend in BACKENDS:
        out = sdpa(backend, *LONG, is_causal=True)
        wrong += same(seen_by(out, *LONG), "top-left") + attested(TOP_LEFT, *LONG, out, causal=True)
    return wrong + refused("causal is 'top-left'", *LONG, out, causal="top-left")


@test
def torch_causal_lower_right_is_bottom_right():
    from torch.nn.attention.bias import causal_lower_right
    out = sdpa("flash", *LONG, attn_mask=causal_lower_right(5, 9))
    return same(seen_by(out, *LONG), "bottom-right") + same(bool(attest.judge(*LONG, out, causal=True)),
                                                            True)


@test
def torch_rows_without_a_key_are_0():
    seen = torch.from_numpy(causal(5, 3, -2))
    outs = [sdpa(backend, *SHORT, attn_mask=seen) for backend in BACKENDS]
    return [
        text for out in outs for text in same(float(np.abs(out[:, :, :2]).max()), 0.0) +
        same(bool(attest.judge(*SHORT, out, causal=True)), True)
    ]


def flash_cpu(q, k, v, seen):
    mask = torch.where(torch.from_numpy(seen), 0.0, -math.inf).expand(1, 2, *seen.shape).contiguous()
    out, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(*tensors(q, k, v),
                                                                          0.0,
                                                                          False,
                                                                          attn_mask=mask)
    return out.numpy(), lse.numpy()


@test
def torch_cpu_flash_lse_of_no_key_is_0():
    out, lse = flash_cpu(*SHORT, causal(5, 3, -2))
    wrong = same(float(np.abs(lse[:, :, :2]).max()), 0.0)
    wrong += attested("got 0, expected -inf", *SHORT, out, lse=lse, causal=True)
    # keys in two halves, merged by lse: rows that see nothing of the second are wrong
    whole, _ = exact(*LONG, causal(5, 9, 2))
    parts = [flash_cpu(Q, K[:, :, a:b], V[:, :, a:b], causal(5, 9, 2)[:, a:b]) for a, b in ((0, 6), (6, 9))]
    weights = np.exp(np.stack([lse for _, lse in parts]))
    merged = sum(w[..., None] * out for w, (out, _) in zip(weights / weights.sum(0), parts))
    error = np.abs(merged - whole).max((0, 1, 3))
    return wrong + same([bool(one > 0.01) for one in error], [True] * 4 + [False])


@test
def torch_nan_in_a_masked_key_or_value_is_nan():
    wrong = []
    for backend in BACKENDS:
        for which in (1, 2):
            arrays = [array.copy() for array in LONG]
            arrays[which][:, :, 7:] = np.nan
            out = sdpa(backend, *arrays, attn_mask=torch.from_numpy(causal(5, 9, 2)))
            wrong += same(bool(np.isnan(out[:, :, 0]).all()), True)
    return wrong


@test
def torch_f64_to_16_bits_rounds_twice():
    f16, bf16 = 1 + 2.0**-11 + 2.0**-30, 1 + 2.0**-8 + 2.0**-30  # just above the middle of two
    return same([
        torch.tensor([f16, bf16], dtype=torch.float64).to(kind)[at].item()
        for at, kind in enumerate((torch.float16, torch.bfloat16))
    ], [1.0, 1.0])


@test
def jax_causal_is_top_left():
    out = np.asarray(jax.nn.dot_product_attention(*jax_arrays(*LONG), is_causal=True))
    swapped = [array.swapaxes(1, 2) for array in LONG]
    return (same(seen_by(out.swapaxes(1, 2), *LONG), "top-left") +
            attested(TOP_LEFT, *swapped, out, causal=True, layout="bshd"))


@test
def jax_causal_stays_top_left_with_lengths():
    """key_value_seq_lengths cuts the keys, and moves nothing."""
    out = np.asarray(
        jax.nn.dot_product_attention(*jax_arrays(*LONG),
                                     is_causal=True,
                                     key_value_seq_lengths=jnp.array([7]))).swapaxes(1, 2)
    return same(seen_by(out, Q, K[:, :, :7], V[:, :, :7]), "top-left")


@test
def jax_windows_are_top_left():
    out = np.asarray(jax.nn.dot_product_attention(*jax_arrays(*LONG), local_window_size=(2, 1))).swapaxes(1, 2)
    behind = np.arange(9) - np.arange(5)[:, None]
    return (same(bool(np.allclose(out, exact(*LONG, (behind >= -2) & (behind <= 1))[0], atol=1e-5)), True) +
            attested("as if the window were aligned to the top left", *LONG, out, window=(2, 1)))


@test
def jax_rows_without_a_key_are_the_mean_of_v():
    out = np.asarray(
        jax.nn.dot_product_attention(*jax_arrays(*SHORT), mask=jnp.asarray(causal(5, 3, -2))[None, None]))
    none = np.asarray(jax.nn.dot_product_attention(*jax_arrays(*LONG),
                                                   key_value_seq_lengths=jnp.array([0])))
    mean = [np.broadcast_to(one[2].mean(2, keepdims=True), (1, 2, 1, 32)) for one in (SHORT, LONG)]
    return (same(bool(np.allclose(out.swapaxes(1, 2)[:, :, :2], mean[0], atol=1e-6)), True) +
            same(bool(np.allclose(none.swapaxes(1, 2), mean[1], atol=1e-6)), True) +
            attested(NO_KEY, *[array.swapaxes(1, 2) for array in SHORT], out, causal=True, layout="bshd"))


@test
def jax_lse_of_no_key_is_finite():
    _, lse = jax.nn.dot_product_attention(*jax_arrays(*SHORT),
                                          mask=jnp.asarray(causal(5, 3, -2))[None, None],
                                          return_residual=True)
    lse = np.ascontiguousarray(np.asarray(lse).swapaxes(1, 2))
    out, right = exact(*SHORT, causal(5, 3, -2))
    out, infinite = out.astype("f4"), np.where(np.isneginf(right), np.inf, right).astype("f4")  # FlashMLA's
    return (same(bool(np.isfinite(lse[:, :, :2]).all() and (lse[:, :, :2] < -1e38).all()), True) +
            same(bool(np.allclose(lse[:, :, 2:], right[:, :, 2:], atol=1e-5)), True) +
            attested("FAIL_LSE", *SHORT, out, lse=lse, causal=True) +
            attested("FAIL_LSE", *SHORT, out, lse=infinite, causal=True))


@test
def jax_nan_in_v_beyond_the_length_is_nan_in_k_it_is_not():
    found = []
    for which in (1, 2):
        arrays = [array.copy() for array in LONG]
        arrays[which][:, :, 7:] = np.nan
        out = np.asarray(
            jax.nn.dot_product_attention(*jax_arrays(*arrays), key_value_seq_lengths=jnp.array([7])))
        found.append((bool(np.isnan(out).any()), bool(np.isnan(out).all())))
    return same(found, [(False, False), (True, True)])


@test
def jax_f64_to_16_bits_rounds_twice():
    f16, bf16 = 1 + 2.0**-11 + 2.0**-30, 1 + 2.0**-8 + 2.0**-30
    jax.config.update("jax_enable_x64", True)
    try:
        found = [
            float(jnp.asarray(value, jnp.float64).astype(kind))
            for value, kind in ((f16, jnp.float16), (bf16, jnp.bfloat16))
        ]
    finally:
        jax.config.update("jax_enable_x64", False)
    return same(found, [1.0, 1.0])


@test
def ml_dtypes_f64_to_bf16_rounds_twice():
    value = 1 + 2.0**-8 + 2.0**-30
    return (same(float(np.array([value]).astype(ml_dtypes.bfloat16)[0]), 1.0) +
            same(float(np.array([1 + 2.0**-11 + 2.0**-30]).astype("f2")[0]), 1 + 2.0**-10)
            )  # NumPy's own is right


@test
def attest_takes_no_f64():
    wide = [array.astype("f8") for array in LONG]
    out, _ = exact(*LONG)
    return (refused("holds 64-bit floats, expected 16-bit or 32-bit", *wide, out.astype("f4")) +
            refused("out is of type F64", *LONG, out) +
            refused("holds 64-bit floats", *[torch.from_numpy(array) for array in wide], out))


@test
def flashinfer_lse_is_of_base_2():
    """As its documentation says; what is seen here is that attest tells it."""
    out, lse = exact(*LONG)
    return attested("as if lse were in base 2",
                    *LONG,
                    out.astype("f4"),
                    lse=(lse / math.log(2)).astype("f4"))


KINDS = {"f4": onnx.TensorProto.FLOAT, "?": onnx.TensorProto.BOOL, "i8": onnx.TensorProto.INT64}
ORDER = ("Q", "K", "V", "attn_mask", "past_key", "past_value", "nonpad_kv_seqlen")


def onnx_out(opset, inputs, **attributes):
    """Y of ONNX's reference and of onnxruntime."""
    last = max(at for at, name in enumerate(ORDER) if name in inputs)
    names = [name if name in inputs else "" for name in ORDER[:last + 1]]
    outputs = ["Y", "present_key", "present_value"] if "past_key" in inputs else ["Y"]
    node = onnx.helper.make_node("Attention", names, outputs, **attributes)
    value = lambda name: onnx.helper.make_tensor_value_info(
        name, next(kind for text, kind in KINDS.items()
                   if np.dtype(text) == inputs.get(name, Q).dtype), None)
    graph = onnx.helper.make_graph([node], "one", [value(name) for name in names if name],
                                   [value(name) for name in outputs])
    model = onnx.helper.make_model(graph,
                                   opset_imports=[onnx.helper.make_opsetid("", opset)],
                                   ir_version=11)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(),
                                           options,
                                           providers=["CPUExecutionProvider"])
    return onnx.reference.ReferenceEvaluator(model).run(None, inputs)[0], session.run(None, inputs)[0]


def of(arrays, **more):
    return {**dict(zip("QKV", arrays)), **more}


@test
def onnx_causal_is_top_left_without_a_past():
    return [
        text for opset in (23, 24, 25) for out in onnx_out(opset, of(LONG), is_causal=1)
        for text in same(seen_by(out, *LONG), "top-left") + attested(TOP_LEFT, *LONG, out, causal=True)
    ]


@test
def onnx_a_past_shifts_by_its_length():
    given = of((Q, K[:, :, 4:], V[:, :, 4:]), past_key=K[:, :, :4], past_value=V[:, :, :4])
    fewer = of((Q, K[:, :, 4:7], V[:, :, 4:7]), past_key=K[:, :, :4],
               past_value=V[:, :, :4])  # 3 keys, 5 queries
    wrong = []
    for opset in (23, 24, 25):
        for out in onnx_out(opset, given, is_causal=1):
            wrong += same(seen_by(out, *LONG), "bottom-right")
        for out in onnx_out(opset, fewer, is_causal=1):
            seven = Q, K[:, :, :7], V[:, :, :7]
            wrong += same(bool(np.allclose(out, exact(*seven, causal(5, 7, 4))[0], atol=1e-5)), True)
    return wrong


@test
def onnx_lengths_are_bottom_right():
    wrong = []
    for opset in (24, 25):
        for out in onnx_out(opset, of(LONG, nonpad_kv_seqlen=np.array([7])), is_causal=1):
            wrong += same(seen_by(out, Q, K[:, :, :7], V[:, :, :7]), "bottom-right")
        for out in onnx_out(opset, of(LONG, nonpad_kv_seqlen=np.array([3])), is_causal=1):
            wrong += same(bool(attest.judge(*SHORT, out, causal=True)), True)
    return wrong


@test
def onnx_rows_without_a_key_are_0():
    return [
        text for opset in (23, 24, 25) for out in onnx_out(opset, of(SHORT, attn_mask=causal(5, 3, -2)))
        for text in same(float(np.abs(out[:, :, :2]).max()), 0.0) +
        same(bool(attest.judge(*SHORT, out, causal=True)), True)
    ]


@test
def onnx_softcap_comes_before_the_mask():
    mask = np.where(causal(5, 9, 4), 0, -np.inf).astype("f4")
    s = Q.astype("f8") @ K.astype("f8").swapaxes(-1, -2) * 32**-0.5
    p = np.exp(2 * np.tanh(s / 2) + mask)
    right = p / p.sum(-1, keepdims=True) @ V
    given = of((Q, K[:, :, 4:], V[:, :, 4:]), past_key=K[:, :, :4], past_value=V[:, :, :4])  # which is bottom-right
    return [
        text for opset in (23, 24, 25) for out in onnx_out(opset, of(LONG, attn_mask=mask), softcap=2.0)
        for text in same(bool(np.allclose(out, right, atol=1e-5)), True)
    ] + [
        text for opset in (23, 24, 25) for out in onnx_out(opset, given, softcap=2.0, is_causal=1)
        for text in same(bool(attest.judge(*LONG, out, causal=True, softcap=2)), True)
    ]


@test
def onnx_nan_in_v_beyond_the_length_is_nan():
    spoilt = V.copy()
    spoilt[:, :, 7:] = np.nan
    return [
        text for out in onnx_out(24, of((Q, K, spoilt), nonpad_kv_seqlen=np.array([7])))
        for text in same(bool(np.isnan(out).all()), True)
    ]


@test
def onnx_test_cases_convert_or_are_refused():
    """All of the backend tests of Attention: those that convert, the answers that come with them, and the
    rest by reason."""
    from onnx import numpy_helper
    from onnx.backend.test.case import node
    np.random.seed(0)
    cases = [
        case for case in node.collect_testcases("Attention") if case.name.startswith("test_attention_")
    ]
    for case in cases:
        for number, arrays in enumerate(case.data_sets):
            place = folder / "onnx" / case.name / f"test_data_set_{number}"
            place.mkdir(parents=True)
            (place.parent / "model.onnx").write_bytes(case.model.SerializeToString())
            for kind, values, names in zip(("input", "output"), arrays,
                                           (case.model.graph.input, case.model.graph.output)):
                for at, value in enumerate(values):
                    tensor = value if isinstance(value, onnx.TensorProto) else numpy_helper.from_array(
                        value, names[at].name)
                    (place / f"{kind}_{at}.pb").write_bytes(tensor.SerializeToString())
    status, out, err = converted(folder / "onnx", folder / "fixtures", "--outputs", folder / "answers")
    lines = [line for line in err.splitlines() if line]
    reasons = {"another operator": "expected one, Attention"}
    counts = {name: sum(text in line for line in lines) for name, text in reasons.items()}
    wrong = same((status, len(cases), len(out.splitlines()), len(lines)), (1, 186, 93, 93))
    wrong += same(counts, {"another operator": 93})
    grades = {}
    for path in sorted((folder / "fixtures").iterdir()):
        grade = "B" if path.stem.endswith("16") else "A"  # its reference computes in 16 bits throughout
        row = json.loads(
            _judge.call("judge", path, folder / "answers" / f"{path.stem}.safetensors", "--json", "--grade",
                        grade, "--out", folder / "judged" / path.stem))
        grades[row["status"]] = grades.get(row["status"], 0) + 1
        wrong += [] if row["status"] == "PASS" else [f"{path.stem}: {row['status']}: {row['reason']}"]
    return wrong + same(grades, {"PASS": 93})


@test
def flashinfer_dumps_of_torch_keep_their_strides():
    """inputs.pt, as FlashInfer 0.7.4 writes by default: K and V as transposed views, bf16."""
    q, k, v = torch.randn(5, 4, 64).bfloat16(), torch.randn(2, 9, 64).bfloat16(), torch.randn(64, 9,
                                                                                              2).bfloat16()
    call = folder / "dumps" / "20260801_120000_000_pid7_single_prefill_with_kv_cache_call0001"
    call.mkdir(parents=True)
    torch.save({"arg_0": q, "arg_1": k.transpose(0, 1), "arg_2": v.permute(1, 2, 0)}, call / "inputs.pt")
    (call / "metadata.jsonl").write_text(
        json.dumps({
            "function_name": "single_prefill_with_kv_cache", "input_metadata": {"kwarg_causal": True},
            "function_signature": "(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, causal: bool = False)",
            "tensor_info": {"input_tensor_keys": ["arg_0", "arg_1",
                                                  "arg_2"]}, "execution_status": "inputs_saved"
        }))
    status, out, err = converted(call, folder / "strided.h5")
    wrong = same((status, "bf16-b1-hq4-hkv2-q5-kv9-d64-causal-" in out, err), (0, True, ""))
    _judge.call("convert", folder / "strided.h5", folder / "strided.safetensors")
    found = _arrays.load(folder / "strided.safetensors")[0]
    return wrong + same([
        bool((found[name][0][0] == one.contiguous().view(torch.int16).numpy().view("u2")).all())
        for name, one in (("q", q.transpose(0, 1)), ("k", k), ("v", v.permute(2, 1, 0)))
    ], [True] * 3)


REFERENCE = """
import torch
def run(q, k, v):
    s = q.float() @ k.float().repeat_interleave(2, 1).transpose(-1, -2) * (q.shape[-1] ** -0.5 * FACTOR)
    s = s.masked_fill(torch.ones_like(s, dtype=torch.bool).triu(1 + OFFSET), float("-inf"))
    return (s.softmax(-1) @ v.float().repeat_interleave(2, 1)).bfloat16()
"""


@test
def a_definition_is_what_its_reference_computes():
    """A name says causal, and the code top-left, or another scale."""
    wrong = []
    shape = dict(zip("qkv", ("B HQ S D", "B HK T D", "B HK T D")))
    for name, factor, offset, text in (("right", "1", "k.shape[2] - q.shape[2]",
                                        "bf16-b2-hq4-hkv2-q5-kv9-d32-causal-"), ("left", "1", "0",
                                                                                 TOP_LEFT),
                                       ("scaled", "0.95", "k.shape[2] - q.shape[2]",
                                        "its reference is of another problem"),
                                       ("raises", "1 / 0", "0", "its reference raises ZeroDivisionError")):
        place = folder / name
        place.mkdir()
        (place / "definition.json").write_text(
            json.dumps({
                "name": f"attention_causal_{name}",
                "axes": {axis: {"type": "var"} for axis in ("B", "HQ", "HK", "S", "T", "D")}, "inputs": {
                    one: {"shape": axes.split(), "dtype": "bfloat16"} for one, axes in shape.items()
                }, "outputs": {}, "reference": REFERENCE.replace("FACTOR",
                                                                 factor).replace("OFFSET", offset)
            }))
        (place / "workload.jsonl").write_text(
            json.dumps({
                "uuid": name, "axes": {"B": 2, "HQ": 4, "HK": 2, "S": 5, "T": 9, "D": 32},
                "inputs": {one: {"type": "random"} for one in shape}
            }))
        status, out, err = converted(place, place / "one.h5", "--causal", "bottom-right", "--reference")
        wrong += same((status, text in out + err, (place / "one.h5").exists()),
                      (int(name != "right"), True, name == "right"))
    return wrong


@test
def safetensors_numpy_scrambles_what_is_not_dense():
    array, path = np.arange(24, dtype="f4").reshape(4, 6), folder / "a.safetensors"
    safetensors.numpy.save_file({"t": array.T, "s": array[:, ::2]}, path)
    back = safetensors.numpy.load_file(path)
    wrong = same([bool((back[name] == one).all()) for name, one in (("t", array.T), ("s", array[:, ::2]))],
                 [False, False])
    _arrays.save(path, {"t": _arrays.as_numpy(array.T), "s": _arrays.as_numpy(array[:, ::2])})
    back = _arrays.load(path)[0]
    wrong += same(
        [bool((back[name][0] == one).all()) for name, one in (("t", array.T), ("s", array[:, ::2]))],
        [True, True])
    for other in (torch.from_numpy(array).T, jnp.asarray(array).T, np.asfortranarray(array.T),
                  array.astype(">f4").T):
        wrong += same(bool((_arrays.as_numpy(other)[0] == array.T).all()), True)
    return wrong


@test
def h5py_bf16_is_opaque():
    with h5py.File(folder / "bf16.h5", "w") as file:
        file["x"] = np.arange(3).astype(ml_dtypes.bfloat16)
        return same(file["x"].id.get_type().get_class(), h5py.h5t.OPAQUE)


@test
def hdf5_makes_infinity_of_what_f16_can_hold():
    """HDF5 2.0; findings/hdf5_half.sh has what 1.14 makes of f32."""
    values = np.array([65504, 65505, 65519.99, 65520, 2**-24 * 1.25, 1 + 2**-11 + 2**-20], "f4")
    with h5py.File(folder / "f16.h5", "w") as file:
        file.create_dataset("x", (len(values), ), "f2")[...] = values
        found = file["x"][...]
    return same(found.tolist(), [65504, math.inf, math.inf, math.inf, 2**-24, 1 + 2**-10])


failures = 0
for one in tests:
    if len(sys.argv) > 1 and sys.argv[1] not in one.__name__:
        continue
    try:
        wrong = one()
    except Exception as error:  # a library that changed may raise anything
        wrong = [f"{type(error).__name__}: {error}"]
    failures += bool(wrong)
    print(f"{'wrong' if wrong else 'holds'}  {one.__name__.replace('_', ' ')}" +
          "".join(f"\n       {text}" for text in wrong))
print("torch", torch.__version__, "jax", jax.__version__, "onnx", onnx.__version__, "onnxruntime",
      onnxruntime.__version__, "ml_dtypes", ml_dtypes.__version__, "safetensors", safetensors.__version__,
      "h5py", h5py.__version__, "HDF5", h5py.version.hdf5_version, "numpy", np.__version__)
shutil.rmtree(folder)
sys.exit(1 if failures else 0)
