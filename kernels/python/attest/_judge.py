"""Judging arrays, and the arrays of a problem: by the program, through files in a folder that goes."""
from __future__ import annotations

import json
import numbers
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import types

from . import _arrays

INPUTS = tuple(name for name in _arrays.INPUTS if not name.startswith("cu_seqlens"))  # which a call has, no file
SWAPPED = {"bhsd": None, "bshd": (0, 2, 1, 3)}


class Row(dict):
    """A row of a run: its fields are keys and attributes, status, reason, diagnosis, grade, t_max, rho
    and what else `attest list fields` prints. True where it is right."""

    def __getattr__(self, name):
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def __bool__(self):
        return self["status"] == "PASS"

    def __str__(self):
        text = f"{self['status']} {self['grade']}  {self['kernel']}  {self['line']}"
        return "\n".join([text] + [self[name] for name in ("reason", "diagnosis") if self[name]])


def program():
    """$ATTEST_PROGRAM, the program of the installation or build that this module is of, or in PATH."""
    here = pathlib.Path(__file__).resolve()
    places = [os.environ.get("ATTEST_PROGRAM"), here.parents[4] / "bin/attest",
              *sorted(here.parents[3].glob("build/*/harness/attest")), shutil.which("attest")]
    for place in places:
        if place and os.access(place, os.X_OK):
            return str(place)
    raise FileNotFoundError("no program attest: install it, or set ATTEST_PROGRAM")


def call(*words):
    done = subprocess.run([program(), *map(str, words)], capture_output=True, text=True)
    if done.returncode not in (0, 1):
        words = done.stderr.strip().removeprefix("attest: ")
        raise ValueError(re.sub(r"'[^']*/(fixture|output)\.safetensors': ", "", words))
    return done.stdout


def is_causal(causal, q_len, kv_len):
    if causal in (False, True, "bottom-right"):
        return bool(causal)
    if causal == "top-left":
        if q_len == kv_len:
            return True  # where they are the same
        raise ValueError(f"causal is 'top-left': query i sees keys 0..i there, here 0..i + {kv_len} - "
                         f"{q_len}; pass the keys that are seen at all, or causal=False and lists")
    raise ValueError(f"causal is {causal!r}, expected False, True, 'bottom-right' or 'top-left'")


def window_of(window):
    """(left, ) or (left, right) of what a caller says."""
    sides = tuple(window) if isinstance(window, (tuple, list)) else (window, )
    if len(sides) not in (1, 2) or not all(isinstance(side, numbers.Integral) and side >= 0 and
                                           not isinstance(side, bool) for side in sides):
        raise ValueError(f"window is {window!r}, expected how many keys before its own a query sees, or "
                         "(that, and how many behind): whole numbers from 0")
    return sides


def metadata_of(causal, scale, window, softcap, bf16, kshared=None, kv_dtype=None):
    """The attributes of a fixture; window: as `window_of` gives it, or None; kshared: of how many elements of a
    key its value is, None where there is a v."""
    metadata = {"format": "attest-fixture", "version": "1", "causal": "1" if causal else "0"}
    if bf16:
        metadata["dtype"] = "bf16"
    if kv_dtype is not None:
        metadata["kv_dtype"] = kv_dtype
    for name, number in (("scale", scale), ("softcap", softcap)):
        if number is not None:
            metadata[name] = repr(float(number))
    if kshared is not None:
        metadata.update(kshared="1", value_dim=str(kshared))
    metadata.update(zip(("window_left", "window_right"), map(str, window or ())))
    return metadata


def in_order(array, layout):
    """[B, H, S, D] of what has that layout; and its type's name."""
    values, kind = array
    axes = SWAPPED[layout]
    if axes is None:
        return array
    if values.ndim != 4:
        raise ValueError(f"layout is {layout!r}, and an array has {values.ndim} dimensions, expected 4")
    return _arrays.numpy.ascontiguousarray(values.transpose(axes)), kind


def first_of(name, first, tokens):
    """Where packed sequences begin, and their end."""
    first = _arrays.as_numpy(first)[0]
    if (first.ndim != 1 or len(first) < 2 or first.dtype.kind not in "iu" or first[0] != 0 or first[-1] != tokens
            or (_arrays.numpy.diff(first) < 0).any()):
        raise ValueError(f"{name} is {first.tolist()}, expected [B + 1], from 0 to the {tokens} tokens there are, "
                         "none below the one before")
    return first


def in_rows(name, array, first):
    """[B, H, the longest, ...] of packed [tokens, H, ...], 0 where there is no token."""
    lengths = _arrays.numpy.diff(first)
    rows = _arrays.numpy.zeros((len(lengths), max(1, lengths.max()), *array.shape[1:]), array.dtype)
    for b, length in enumerate(lengths):
        rows[b, :length] = array[first[b]:first[b + 1]]
    return _arrays.numpy.ascontiguousarray(rows.swapaxes(1, 2))


def unpacked(arrays, cu_seqlens_q, cu_seqlens_kv):
    """q, k, v, out and lse of layout "thd" as [B, H, S, ...]; and the lengths. Of pages only q, out and lse."""
    found = {name: _arrays.as_numpy(array) for name, array in arrays.items() if array is not None}
    paged = cu_seqlens_kv is None
    for name, (array, _) in found.items():
        rank = 4 if paged and name in ("k", "v") else 2 if name == "lse" else 3
        if array.ndim != rank:
            raise ValueError(f"layout is 'thd', and {name} is {list(array.shape)}, expected "
                             + {2: "[tokens, Hq]", 3: "[tokens, H, D]", 4: "pages, or cu_seqlens_kv beside it"}[rank])
    first = {name: first_of("cu_seqlens_q", cu_seqlens_q, len(found[name][0]))
             for name in ("q", "out", "lse") if name in found}
    first.update((name, first_of("cu_seqlens_kv", cu_seqlens_kv, len(found[name][0])))
                 for name in ("k", "v") if name in found and not paged)
    made = {name: in_rows(name, array, first[name]) if name in first else array
            for name, (array, _) in found.items()}
    lengths = {"q_lens": _arrays.numpy.diff(first["q"]).astype("i4")}
    if not paged:
        lengths["seq_lens"] = _arrays.numpy.diff(first["k"]).astype("i4")
    return made, lengths, "e4m3" if found.get("k", (0, ""))[1] == "F8_E4M3" else None


def scale_of(name, array, kind):
    """Of keys, values or an output of 8 bits: a number or an array, which become f32."""
    if kind not in ("F64", "F32", "F16", "BF16", "U16"):
        raise TypeError(f"{name} is {kind}, expected floats")
    with _arrays.numpy.errstate(over="ignore"):
        return _arrays.f32(array).reshape(array.shape or (1,)), "F32"


def fixture_of(given, causal, scale, layout, window=None, softcap=None, kshared=None, kv_dtype=None):
    """Arrays by the names of a fixture's datasets, and its attributes."""
    if layout not in SWAPPED:
        raise ValueError(f"layout is {layout!r}, expected 'bhsd', 'bshd' or, of judge, 'thd'")
    unknown = sorted(set(given) - set(INPUTS))
    if unknown:
        raise TypeError(f"unknown array {unknown[0]!r}, expected {', '.join(INPUTS)}")
    arrays = {name: _arrays.as_numpy(array) for name, array in given.items() if array is not None}
    for name in ("q", "k", "v"):
        if name in arrays:
            arrays[name] = in_order(arrays[name], layout)
    if "q" not in arrays or arrays["q"][0].ndim != 4:
        raise ValueError("q is missing" if "q" not in arrays else
                         f"q is {list(arrays['q'][0].shape)}, expected [B, Hq, Sq, D]")
    q_len = arrays["q"][0].shape[2]
    dense = "k" in arrays and arrays["k"][0].ndim == 4 and "kv_page_indptr" not in arrays
    kv_len = arrays["k"][0].shape[2] if dense else 0
    if "sinks" in arrays:
        arrays["sinks"] = _arrays.sinks_of(*arrays["sinks"])
    if "bias" in arrays:
        arrays["bias"] = _arrays.bias_of(*arrays["bias"], q_len, kv_len or arrays["bias"][0].shape[-1])
    for name in ("k_scale", "v_scale", "out_scale"):
        if name in arrays:
            arrays[name] = scale_of(name, *arrays[name])
    if kv_dtype is None and arrays.get("k", arrays.get("kv_cache", (None, None)))[1] == "F8_E4M3":
        kv_dtype = "e4m3"
    return arrays, metadata_of(is_causal(causal, q_len, kv_len), scale, None if window is None else
                               window_of(window), softcap, arrays["q"][1] in ("BF16", "U16"), kshared, kv_dtype)


def judge(q, k=None, v=None, out=None, *, lse=None, causal=False, scale=None, window=None, softcap=None,
          sinks=None, bias=None, kshared=False, layout="bhsd", grade="A", lse_grade="A", lse_base_2=False,
          p_dtype="input", kv_dtype=None, name="output", threads=None, cu_seqlens_q=None, cu_seqlens_kv=None,
          **others) -> Row:
    """How far `out` is from exact attention of these arrays -- of numpy, torch, JAX, CuPy -- and
    whether that is honest rounding: a Row, true where it is right.

    q [B, Hq, Sq, D], k [B, Hkv, Skv, D] and v [B, Hkv, Skv, Dv], out [B, Hq, Sq, Dv]; layout="bshd":
    [B, Sq, Hq, D] and so on, as FlashAttention has them, pages of k and v [pages, P, Hkv, D], too; layout="thd":
    q, out [tokens, Hq, D], lse [tokens, Hq] and k, v [tokens, Hkv, D], sequences one behind another, those of
    sequence b from cu_seqlens_q[b] and cu_seqlens_kv[b] on; without cu_seqlens_kv keys are in pages, as without thd.
    kshared: there is no v, values are the first Dv elements of k, Dv as out has it. lse [B, Hq, Sq], f32, natural unless lse_base_2. Or, by name, kv_cache and its tables,
    seq_lens, sparse_ind and sparse_nnz, ... as `attest.Call` has them. causal: True is "bottom-right",
    query i of Sq sees keys up to i + Skv - Sq; "top-left" where that is no other. scale: default
    1/sqrt(D). window: (left, right), query i sees keys i' - left to i' + right, where i' is
    i + Skv - Sq, its own key; or one number, as many on either side, where it is causal or there is one
    query none behind: a model's window of W keys is W - 1. softcap: c, where logits are
    c tanh(scale q.k / c), before any mask. sinks [Hq], any floats, which become f32: one more logit for
    each query head, in the denominator and in lse, neither scaled nor capped, without a value. bias, broadcast to [B, Hq, Sq, Skv]:
    floats added to logits after a softcap, or booleans, true where a key is seen; where it is -infinity a
    key has weight 0. k and v, or kv_cache, of 8 bits: float8_e4m3fn, int8, or, with kv_dtype="e4m3", uint8;
    with k_scale and v_scale, which they are to be multiplied with, any floats, which become f32: one number, [Hkv],
    or one for each token, [B, Hkv, Skv] or [pages, Hkv, P]; with kshared k_scale alone.
    out of 8 bits: float8_e4m3fn, or its bits as uint8, with out_scale, one number, which it is to be multiplied with.

    grade, lse_grade, p_dtype: what is asked, as in `attest.kernel`. threads: of the oracle, default
    all.

    ValueError with the program's words where arrays are not of one problem."""
    if out is None:
        raise TypeError("out is missing")
    if layout == "thd":
        if cu_seqlens_q is None:
            raise TypeError("cu_seqlens_q is missing")
        made, lengths, of_bytes = unpacked({"q": q, "k": k, "v": v, "out": out, "lse": lse}, cu_seqlens_q, cu_seqlens_kv)
        q, k, v, out, lse = (made.get(one) for one in ("q", "k", "v", "out", "lse"))
        layout, others, kv_dtype = "bhsd", {**others, **lengths}, kv_dtype or of_bytes
    elif cu_seqlens_q is not None or cu_seqlens_kv is not None:
        raise TypeError(f"cu_seqlens beside layout={layout!r}, expected 'thd'")
    result = {"out": in_order(_arrays.as_numpy(out), layout)}
    arrays, metadata = fixture_of({"q": q, "k": k, "v": v, "sinks": sinks, "bias": bias, **others}, causal, scale, layout,
                                  window, softcap, result["out"][0].shape[-1] if kshared else None, kv_dtype)
    if lse is not None:
        result["lse"] = _arrays.as_numpy(lse)
    with tempfile.TemporaryDirectory(prefix="attest-") as folder:
        fixture, output = f"{folder}/fixture.safetensors", f"{folder}/output.safetensors"
        _arrays.save(fixture, arrays, metadata)
        _arrays.save(output, result)
        text = call("judge", fixture, output, "--json", "--out", f"{folder}/run", "--name", name,
                    "--grade", grade, "--lse-grade", lse_grade, "--p-dtype", p_dtype,
                    *(["--lse-base-2"] if lse_base_2 else []), *(["--threads", threads] if threads else []))
    return Row(json.loads(text))


def assert_right(*arrays, **words) -> Row:
    """`judge`, for tests: AssertionError with status, reason and diagnosis where it is wrong."""
    row = judge(*arrays, **words)
    if not row:
        raise AssertionError(str(row))
    return row


def problem(line) -> types.SimpleNamespace:
    """The arrays of a problem's line, numpy's, by their names (`attest.Call` has them), with line,
    dtype, causal, scale, window (left, right) or None, softcap or None, kshared, kv_dtype or None, as `judge` takes
    them, and the exact answer: answer_out, answer_lse, f64, of the query rows answer_rows. bf16 is uint16, E4M3 uint8. Drawn and
    answered if need be, and kept in attest's cache."""
    with tempfile.TemporaryDirectory(prefix="attest-") as folder:
        call("convert", line, f"{folder}/problem.safetensors")
        arrays, metadata = _arrays.load(f"{folder}/problem.safetensors")
    made = types.SimpleNamespace(**dict.fromkeys(INPUTS))
    for name, (array, _) in arrays.items():
        setattr(made, name.replace(".", "_"), array)
    made.line, made.dtype = metadata["line"], metadata["dtype"]
    made.causal, made.scale = metadata["causal"] == "1", float(metadata["scale"])
    made.window = (int(metadata["window_left"]), int(metadata["window_right"])
                   ) if "window_left" in metadata else None
    made.kshared = metadata.get("kshared") == "1"
    made.softcap = float(metadata["softcap"]) if "softcap" in metadata else None
    made.kv_dtype = metadata.get("kv_dtype")
    return made
