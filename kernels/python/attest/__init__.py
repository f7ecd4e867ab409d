"""Attention kernels in Python: a kernel is a function, and `attest run FILE.py` checks and times it.

    import attest, numpy as np

    @attest.kernel(variant="decode", dtypes=["f32"], traits=["gqa"])
    def decode_mine_r1(call):
        group = call.problem.q_heads // call.problem.kv_heads
        k, v = (np.repeat(x, group, axis=1) for x in (call.k, call.v))
        s = call.scale * np.einsum("bhqd,bhkd->bhqk", call.q, k)
        p = np.exp(s - s.max(-1, keepdims=True))
        call.out[...] = np.einsum("bhqk,bhkd->bhqd", p / p.sum(-1, keepdims=True), v)

Shapes, and what a kernel may rely on, are those of attn.h, the contract of kernels in C. Importing
this module needs numpy and nothing else.
"""
from __future__ import annotations

import dataclasses
import importlib.metadata
import re
import types
import typing

import numpy

from ._arrays import INPUTS, SLOTS, bf16, e4m3, f32
from ._judge import Row, assert_right, judge, problem

__all__ = ["Call", "Kernel", "Problem", "Row", "assert_right", "f32", "judge", "kernel", "problem",
           "store"]

VARIANTS = ("prefill", "prefill_varlen", "decode", "decode_paged", "sparse_decode",
            "sparse_decode_paged", "magicpig_decode_paged", "prefill_paged")
DTYPES = ("input", "f32", "f16", "bf16", "i32", "u8", "e4m3", "int8")
TRAITS = ("gqa", "causal", "ragged", "page", "keep", "magicpig", "window", "softcap", "sinks",
          "qlens", "alibi", "bias", "dv", "kshared", "kve4m3", "kvint8", "kvhead", "kvtoken", "keepgroup",
          "oute4m3", "nhd", "thd", "strided")  # by their bits
DEVICES = {"cpu": 1, "cuda": 2}
# What tensors are, by the modules that a kernel's file has imported; the last where it has none of them.
ARRAYS = {"cpu": ("torch", "jax", "numpy"), "cuda": ("torch", "cupy", "interface")}
# What a variant always has, and need not be declared.
GIVEN = {"prefill": (), "prefill_varlen": ("ragged",), "decode": (),
         "decode_paged": ("ragged", "page"), "sparse_decode": ("keep",),
         "sparse_decode_paged": ("ragged", "page", "keep"),
         "magicpig_decode_paged": ("ragged", "page", "keep", "magicpig"),
         "prefill_paged": ("ragged", "page")}


@dataclasses.dataclass(frozen=True)
class Problem:
    """The sizes of a problem: B = batch, Hq = q_heads, Hkv = kv_heads, Sq = q_len, Skv = kv_len (the
    room for key tokens), D = head_dim; P = page_size, pages, page_entries: 0 without pages;
    kept_max: Lmax, the room for one row's list, 0 without lists; window_left, window_right: with the
    trait window query i sees the keys from i + Skv - Sq - window_left to i + Skv - Sq + window_right,
    lengths taken per sequence, 0 without; softcap: of logits, softcap * tanh(logit / softcap), before
    any mask or correction, 0 without; bias_batch, bias_heads: the sizes of a bias, 1 or B, 1 or Hq, 0
    without; value_dim: Dv, which is D without the trait dv."""
    variant: str
    dtype: str
    traits: frozenset
    batch: int
    q_heads: int
    kv_heads: int
    q_len: int
    kv_len: int
    head_dim: int
    page_size: int
    pages: int
    page_entries: int
    kept_max: int
    scale: float
    window_left: int = 0
    window_right: int = 0
    softcap: float = 0.0
    bias_batch: int = 0
    bias_heads: int = 0
    value_dim: int = 0


class Call:
    """One call: views of memory that attest owns. Absent tensors are None.

    q [B, Hq, Sq, D]; k, v [B, Hkv, Skv, D and Dv], or kv_cache [pages, 2, Hkv, P, D], or where Dv is not
    D k, v [pages, Hkv, P, D and Dv], with kv_page_indptr [B + 1], kv_page_indices and kv_last_page_len
    [B]; with kshared there is no v, values are k[..., :Dv]; seq_lens, q_lens [B]; sparse_ind [B, Hq, Lmax]
    padded with -1, sparse_nnz [B, Hq], sparse_mask [B, Hq, Skv], with the trait keepgroup of Hkv heads, and
    where Sq > 1 of each query, [B, heads, Sq, ...]; lsh_k, lsh_l [B, Hq]; sinks [Hq], one
    more logit each, without a value; slopes [Hq], alibi's; bias [1 or B, 1 or Hq, Sq, Skv], added to logits,
    a number or -infinity; k_scale and, but for kshared, v_scale where keys and values are of 8 bits, to be multiplied
    with: [1], with the trait kvhead [Hkv], with kvtoken [B, Hkv, Skv] or, of pages, [pages, Hkv, P] -- to be read. With the trait nhd there are
    k and v [pages, Hkv, P, D and Dv] instead of kv_cache, and k.swapaxes(1, 2) is contiguous; with thd q, out and lse and,
    without pages, k and v are [tokens, heads, D or Dv] and [tokens, Hq], and those of sequence b begin at
    cu_seqlens_q[b], or cu_seqlens_kv[b], both [B + 1]; with strided all of these have any strides but the last, 1. Then out [B, Hq, Sq, Dv] and
    lse [B, Hq, Sq] (f32, natural logarithm) -- to be written; with the trait oute4m3 out is E4M3, of the output over
    out_scale [1]. bf16 is uint16 in numpy and CuPy, which have
    no such type: `attest.f32` reads it and `attest.store` writes it, in numpy; torch.bfloat16 in torch,
    and JAX's own in JAX. E4M3 likewise: uint8, read by `attest.f32` and written by `attest.store`; torch.float8_e4m3fn; float8_e4m3fn in JAX.
    Integers of 8 bits are int8.

    scale: of logits. problem: a Problem. threads: how many to use, at least 1. scratch: bytes (u8) as
    many as `Kernel.scratch` asked for, undefined before every launch; None if none.
    state: the kernel's own, as its `prepare` leaves it; None before. pointers: the addresses of
    attn.h's struct attn_problem and struct attn_call, for who calls a kernel in C.

    On a GPU: device_index, and stream, the address of the CUDA stream to launch on, which is the
    current one of torch or CuPy already. A launch may be recorded, into a graph that is replayed.
    Cold launches go through copies of the tensors: each has a call of its own, which is prepared.
    """
    __slots__ = SLOTS + ("scale", "problem", "threads", "scratch", "state", "pointers", "stream",
                         "device_index")

    def replaced(self, make):
        """The same call, with each input as `make` returns it."""
        other = Call()
        for name in self.__slots__:
            value = getattr(self, name)
            if name in INPUTS and value is not None:
                value = make(value)
            setattr(other, name, value)
        return other


class Kernel:
    """What `attest.kernel` makes of a function. It is still called like one."""

    def __init__(self, function: typing.Callable[[Call], object], description: dict):
        self.function = function
        self.description = description
        self.hooks: dict = {}
        self.__name__ = function.__name__
        self.__doc__ = function.__doc__

    def __call__(self, call):
        return self.function(call)

    def prepare(self, function: typing.Callable[[Call], object]):
        """Decorates a function of the call, which is called once for a problem, timed apart from
        launches, and may set `call.state`. Between launches numbers in q, k, v and kv_cache change:
        it may rely on the problem, lengths, tables, lists and scales."""
        self.hooks["prepare"] = function
        return function

    def finish(self, function: typing.Callable[[Call], object]):
        """Decorates a function of the call, which is called after the last launch."""
        self.hooks["finish"] = function
        return function

    def scratch(self, function: typing.Callable[[Problem], int]):
        """Decorates a function of a Problem that returns how many bytes of scratch a launch needs."""
        self.hooks["scratch"] = function
        return function

    def refuse(self, function: typing.Callable[[Problem], typing.Optional[str]]):
        """Decorates a function of a Problem that returns why the kernel does not take it, or None."""
        self.hooks["refuse"] = function
        return function


def kernel(*, variant: str, dtypes: typing.Sequence[str], device: str = "cpu",
           traits: typing.Sequence[str] = (), grade: str = "A", lse_grade: str = "A",
           p_dtype: str = "input", writes_lse: bool = False, lse_base_2: bool = False,
           nondeterministic: bool = False, head_dim_max: int = 1 << 20, change: str = "",
           needs: typing.Sequence[str] = (), arrays: typing.Optional[str] = None):
    """Declares the decorated function a kernel. Its name is <variant>_<method>_r<revision>.

    variant, device ("cpu", "cuda"), dtypes ("f32", "f16", "bf16"), traits ("gqa", "causal", ... as
    `attest list traits` prints them; those that a variant always has need not be named): what it
    takes; other problems are refused on its behalf. grade: the accuracy that it promises, "A", "B" or
    "C", and lse_grade, "A" or "B"; p_dtype: what P = softmax is rounded to before P V, "input" being
    the dtype of q. writes_lse: it writes call.lse, lse_base_2: to base 2. nondeterministic:
    repeats may differ in the last bits. change: one line, what this revision tries. needs: packages by pip's names; where one is not
    installed problems are refused, where all are their versions stand behind `change`. arrays: what
    the tensors of a call are, on a CPU "numpy", "torch" or "jax", on a GPU "torch", "cupy" or
    "interface", which has __cuda_array_interface__ and nothing else; by default what the function's
    module has imported.

    ValueError where that is no kernel."""
    description = {"variant": variant, "device": device, "dtypes": tuple(dtypes),
                   "traits": tuple(traits), "grade": grade, "lse_grade": lse_grade,
                   "p_dtype": p_dtype, "writes_lse": writes_lse,
                   "lse_base_2": lse_base_2, "nondeterministic": nondeterministic, "head_dim_max": head_dim_max,
                   "change": change, "needs": tuple(needs), "arrays": arrays}

    def decorate(function):
        return Kernel(function, _checked(function, description))
    return decorate


def _one_of(what, value, known):
    if value not in known:
        raise ValueError(f"{what} is {value!r}, expected one of {', '.join(known)}")


def _checked(function, description):
    description, variant = dict(description), description["variant"]
    _one_of("variant", variant, VARIANTS)
    _one_of("device", description["device"], tuple(DEVICES))
    _one_of("grade", description["grade"], ("A", "B", "C"))
    _one_of("lse_grade", description["lse_grade"], ("A", "B"))
    _one_of("p_dtype", description["p_dtype"], DTYPES[:4])
    for dtype in description["dtypes"]:
        _one_of("a dtype", dtype, DTYPES[1:4])
    for trait in description["traits"]:
        _one_of("a trait", trait, TRAITS)
    if not description["dtypes"]:
        raise ValueError("dtypes is empty, expected at least one of f32, f16, bf16")
    known = ARRAYS[description["device"]]
    if description["arrays"] is None:
        imported = {value.__name__.split(".")[0] for value in function.__globals__.values()
                    if isinstance(value, types.ModuleType)}
        description["arrays"] = next((name for name in known if name in imported), known[-1])
    _one_of("arrays", description["arrays"], known)
    description["missing"] = missing(description["needs"])
    if description["needs"] and description["missing"] is None:
        versions = ", ".join(f"{name} {importlib.metadata.version(name)}"
                             for name in description["needs"])
        description["change"] = "; ".join(filter(None, (description["change"], versions)))
    parts = re.fullmatch(re.escape(variant) + r"_([a-z0-9_]+)_r([1-9][0-9]*)", function.__name__)
    if parts is None:
        raise ValueError(f"a kernel of {variant} is named {variant}_<method>_r<revision>, as "
                         f"{variant}_mine_r1, not {function.__name__!r}")
    return dict(description, name=parts[1], revision=int(parts[2]),
                traits=tuple(dict.fromkeys(description["traits"] + GIVEN[variant])))


def missing(packages: typing.Sequence[str]) -> typing.Optional[str]:
    """Which of the packages is not installed, in words, or None."""
    for name in packages:
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            return f"{name} is not installed"
    return None


def store(out: numpy.ndarray, values: numpy.ndarray) -> None:
    """Writes float32 values into `out`, f32, f16, bf16 (uint16) or E4M3 (uint8, which has no more than 448),
    each rounded to the nearest, ties to even. Values of float64 are rounded twice."""
    values = numpy.asarray(values, dtype=numpy.float32)
    if out.dtype == numpy.uint16:
        out[...] = bf16(values)
        return
    if out.dtype == numpy.uint8:
        out[...] = e4m3(values)
        return
    with numpy.errstate(over="ignore"):
        out[...] = values
