"""Problems of other programs, in the forms that a fixture has.

What reads them (`_definitions`, `_flashinfer`, `_onnx`) yields (name, make): make() returns a Problem, or
raises ValueError, which says what a fixture cannot say.
"""
from __future__ import annotations

import dataclasses
import math
import pathlib
import re

import numpy

from . import _arrays, _judge

KINDS = ("F16", "BF16", "F32")


@dataclasses.dataclass
class Problem:
    """arrays: numpy's, by the names of a fixture's datasets, elements of `kind`, a type's name in
    safetensors. window: (left, right). kshared: of how many elements of a key its value is, None where
    there is a v. out [B, Hq, Sq, Dv] and lse [B, Hq, Sq], natural: what the source says is the answer. checked: that is to be so, or these arrays are not what the source means."""
    arrays: dict
    kind: str
    causal: bool = False
    scale: float | None = None
    window: tuple | None = None
    softcap: float | None = None
    kshared: int | None = None
    out: numpy.ndarray | None = None
    lse: numpy.ndarray | None = None
    checked: bool = False


def typed(name, array):
    """The array as numpy's, dense, and its type's name."""
    try:
        return _arrays.as_numpy(array)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name!r}: {error}") from None


def elements(**arrays):
    """Arrays (array, kind) of one kind, which a fixture can have; the arrays, and the kind."""
    name, kind = next((name, kind) for name, (_, kind) in arrays.items())
    for other, (_, found) in arrays.items():
        if found not in KINDS:
            raise ValueError(f"{other!r} is {found}, expected F16, BF16 or F32")
        if found != kind:
            raise ValueError(f"{other!r} is {found}, expected {kind} as {name!r} is")
    return [array for array, _ in arrays.values()], kind


def expect_rank(name, array, axes):
    if array.ndim != len(axes.split(",")):
        raise ValueError(f"{name!r} is {list(array.shape)}, expected [{axes}]")


def integers(name, array, count=None):
    """A table of integers, int64's; of `count` of them."""
    array = numpy.asarray(array)
    if array.dtype.kind not in "iu" or array.ndim != 1:
        raise ValueError(
            f"{name!r} is {array.dtype} {list(array.shape)}, expected integers in one dimension")
    if count is not None and len(array) != count:
        raise ValueError(f"{name!r} has {len(array)} numbers, expected {count}")
    return array.astype("i8")


def lengths_in(name, array, count, room):
    """How many tokens of each of a batch are valid, where there is room for that many."""
    lengths = integers(name, array, count)
    wrong = numpy.flatnonzero((lengths < 0) | (lengths > room))
    if len(wrong):
        raise ValueError(f"{name!r} has {lengths[wrong[0]]} at {wrong[0]}, expected 0 to {room}")
    return lengths


def offsets(name, array, count=None):
    """Where each of a batch begins, and the last ends: from 0, never falling."""
    array = integers(name, array, None if count is None else count + 1)
    if not len(array) or array[0] != 0:
        raise ValueError(f"{name!r} begins with {array[0] if len(array) else 'nothing'}, expected 0")
    fall = numpy.flatnonzero(numpy.diff(array) < 0)
    if len(fall):
        at = int(fall[0])
        raise ValueError(f"{name!r} falls from {array[at]} to {array[at + 1]} at {at + 1}")
    return array


def pieces(name, array, begins):
    """[total, ...] cut into sequences."""
    if begins[-1] != len(array):
        raise ValueError(
            f"{name!r} has {len(array)} tokens, expected {begins[-1]}, where the last sequence ends")
    return [array[begin:end] for begin, end in zip(begins[:-1], begins[1:])]


def padded(parts):
    """[B, H, S, ...] of sequences [S_b, H, ...], zeros where one is shorter."""
    whole = numpy.zeros((len(parts), max(map(len, parts)), *parts[0].shape[1:]), parts[0].dtype)
    for row, part in zip(whole, parts):
        row[:len(part)] = part
    return numpy.ascontiguousarray(whole.swapaxes(1, 2))


def bottom_right(causal, lengths):
    """Whether it is causal, bottom-right, given (queries, keys) of each sequence: of None, where nothing says
    so, None. ValueError where it is top-left, and that is another."""
    if causal is None:
        return None
    return any([_judge.is_causal(causal, queries, keys) for queries, keys in lengths])


def of_sequences(q, k, v, causal):
    """The arrays of a fixture, and whether it is causal, of sequences q [Sq_b, Hq, D] and k, v
    [Skv_b, Hkv, D]; causal as `bottom_right` takes it."""
    lengths = [(len(one), len(other)) for one, other in zip(q, k)]
    if not lengths:
        raise ValueError("there is no sequence")
    causal = bottom_right(causal, lengths)
    if all(queries == 1 for queries, _ in lengths):
        if len(set(lengths)) > 1:  # pages of one token
            begins = numpy.cumsum([0] + [keys for _, keys in lengths])
            pages = in_pages(*(numpy.concatenate(one)[:, :, None] for one in (k, v)))
            return {"q": padded(q), **pages, **tables(begins, numpy.arange(begins[-1]))}, False
        causal = False
    if causal is None:
        raise ValueError("it is not said whether it is causal: --causal bottom-right, or none")
    if len(set(lengths)) == 1:
        return {"q": padded(q), "k": padded(k), "v": padded(v)}, causal
    for b, (queries, keys) in enumerate(lengths):
        if queries != keys:
            raise ValueError(
                f"sequence {b} has {queries} queries and {keys} keys: where sequences differ, a fixture "
                "has as many keys as queries in each")
    return {
        "q": padded(q), "k": padded(k), "v": padded(v), "seq_lens": numpy.array(lengths, "i4")[:, 0].copy()
    }, causal


def in_pages(k, v=None):
    """Pages [pages, Hkv, P, D] of keys and values as a fixture has them: together, or apart where their widths
    differ; without v they are part of the keys."""
    if v is None:
        return {"k": numpy.ascontiguousarray(k)}
    if k.shape == v.shape:
        return {"kv_cache": numpy.stack([k, v], 1)}
    return {"k": numpy.ascontiguousarray(k), "v": numpy.ascontiguousarray(v)}


def tables(begins, indices, last=None):
    """The tables of pages; last: tokens in the last page of each sequence, 1 where pages hold one."""
    counts = numpy.diff(begins)
    last = numpy.ones(len(counts)) if last is None else last
    return {
        "kv_page_indptr": begins.astype("i4"), "kv_page_indices": indices.astype("i4"),
        "kv_last_page_len": numpy.where(counts > 0, last, 0).astype("i4")
    }


def tables_of_blocks(blocks, lengths, batch, page_size):
    """The same of `block_tables` [B, most] and `seq_lens`, in tokens."""
    blocks = numpy.asarray(blocks)
    if blocks.dtype.kind not in "iu" or blocks.ndim != 2 or len(blocks) != batch:
        raise ValueError(f"'block_tables' is {blocks.dtype} {list(blocks.shape)}, expected integers "
                         f"[{batch}, blocks]")
    lengths = lengths_in("seq_lens", lengths, batch, blocks.shape[1] * page_size)
    counts = -(-lengths // page_size)
    indices = numpy.concatenate([row[:count] for row, count in zip(blocks, counts)])
    return tables(numpy.cumsum(numpy.concatenate([[0], counts])), indices,
                  lengths - (counts - 1) * page_size)


def of_caches(q, k, v, lengths):
    """The arrays of a fixture of q [B, Hq, 1, D] over caches k, v [B, Hkv, room, D], of which `lengths`
    tokens are valid: each sequence's cache is one page."""
    begins = numpy.concatenate([[0], numpy.cumsum(lengths > 0)])
    return {"q": q, **in_pages(k, v), **tables(begins, numpy.flatnonzero(lengths), lengths)}


def natural(lse):
    """lse of base 2 as natural, rounded once."""
    return (lse.astype("f8") * math.log(2)).astype("f4")


def file_name(text):
    return re.sub(r"[^A-Za-z0-9._-]+", "_", text).lstrip(".") or "_"


def lines_of(path):
    """(number, text) of what is not empty."""
    text = pathlib.Path(path).read_text(encoding="utf-8")
    return [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
