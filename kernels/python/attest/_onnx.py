"""Problems of ONNX: a model of one Attention (opset 23 to 25), and the inputs of its test data.

A folder has `model.onnx` and `test_data_set_N/input_M.pb`, as the backend tests of ONNX do. What
is_causal, windows, a past, nonpad_kv_seqlen and a mask of yes and no let a query see is put together
first, and then said as a fixture says it: all keys, causal, fewer keys, a window, pages, lists, or, as what
a mask of numbers adds, a bias.
"""
from __future__ import annotations

import pathlib

import numpy

from . import _arrays, _foreign
from ._foreign import Problem

INPUTS = ("Q", "K", "V", "attn_mask", "past_key", "past_value", "nonpad_kv_seqlen")


def models_in(path):
    """The folders of models that a path names: itself, or those in it."""
    path = pathlib.Path(path)
    if path.name == "model.onnx":
        path = path.parent
    if (path / "model.onnx").is_file():
        return [path]
    return sorted(one.parent for one in path.glob("*/model.onnx")) if path.is_dir() else []


def problems_of(path, options):
    """(name, make) of each set of test data of each model."""
    folders = models_in(path)
    for folder in folders:
        sets = sorted(folder.glob("test_data_set_*"), key=lambda one: (len(one.name), one.name))
        if not sets:
            raise ValueError(f"'{folder}' has no test_data_set_0")
        for one in sets:
            number = "" if len(sets) == 1 else "." + one.name.removeprefix("test_data_set_")
            yield folder.name + number, lambda folder=folder, one=one: of_files(folder, one)


def of_files(folder, data):
    import onnx
    from onnx import numpy_helper
    model = _arrays.read(folder / "model.onnx", onnx.load)
    nodes = [node for node in model.graph.node if node.op_type != "Constant"]
    if len(nodes) != 1 or nodes[0].op_type != "Attention" or nodes[0].domain not in ("", "ai.onnx"):
        kinds = sorted({node.op_type for node in nodes})
        raise ValueError(
            f"'model.onnx' has {len(nodes)} nodes, {', '.join(kinds[:3])}{', ...' if kinds[3:] else ''}: "
            "expected one, Attention")
    node = nodes[0]
    opset = next((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), 0)
    if not 23 <= opset <= 25:
        raise ValueError(f"'model.onnx' is of opset {opset}, expected 23 to 25")

    def tensor_of(place):
        return numpy_helper.to_array(onnx.TensorProto.FromString(place.read_bytes()))

    def read(kind, names):
        found = {}
        for number, value in enumerate(names):
            place = data / f"{kind}_{number}.pb"
            if not place.is_file():
                raise ValueError(f"'{place}' is not there")
            found[value.name] = _arrays.read(place, tensor_of)
        return found

    values = read("input", model.graph.input)
    given = {name: values[own] for name, own in zip(INPUTS, node.input) if own}
    attributes = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
    problem, heads = of_attention(given, attributes)
    outputs = read("output", model.graph.output)
    if node.output[0] in outputs:
        problem.out = heads(outputs[node.output[0]])
    return problem


def of_attention(given, attributes):
    """The Problem of an Attention's inputs and attributes, and a function that brings Y into its form."""
    names = ("Q", "K", "V", *(INPUTS[4:6] if "past_key" in given or "past_value" in given else ()))
    (q, k, v, *pasts), kind = _foreign.elements(**{name: _foreign.typed(name, given[name]) for name in names})

    def heads(name, array, count):
        if array.ndim == 4:
            return array
        if array.ndim != 3 or not count or array.shape[2] % count:
            raise ValueError(
                f"{name!r} is {list(array.shape)}, expected [B, H, S, D], or [B, S, H * D] of {count} heads"
            )
        return numpy.ascontiguousarray(array.reshape(*array.shape[:2], count, -1).swapaxes(1, 2))

    of_q, of_kv = attributes.get("q_num_heads"), attributes.get("kv_num_heads")
    q, k, v = heads("Q", q, of_q), heads("K", k, of_kv), heads("V", v, of_kv)
    past = 0
    if pasts:
        for name, array in zip(names[3:], pasts):
            _foreign.expect_rank(name, array, "B, H, past, D")
        past = pasts[0].shape[2]
        k, v = (numpy.concatenate(pair, 2) for pair in zip(pasts, (k, v)))
    if k.shape[:3] != v.shape[:3] or k.shape[3] != q.shape[3] or len(k) != len(q):
        raise ValueError(f"'K' is {list(k.shape)} and 'V' {list(v.shape)}, with the past, and 'Q' "
                         f"{list(q.shape)}")
    added = mask_of(given["attn_mask"], k.shape[2]) if "attn_mask" in given else numpy.zeros((1, 1, 1, 1), "f4")
    seen = visible(given, attributes, q.shape, k.shape[2], past) & ~numpy.isneginf(added)
    arrays, causal, window = seen_as(q, k, v, seen, added)
    problem = Problem(arrays, kind, causal, attributes.get("scale"), window, attributes.get("softcap") or None)
    return problem, lambda y: heads("Y", _foreign.typed("Y", y)[0], of_q)


def visible(given, attributes, shape, keys, past):
    """Which keys a query sees but for a mask, [B or 1, 1, Sq, Skv]."""
    batch, _, queries, _ = shape
    lengths = None
    if "nonpad_kv_seqlen" in given:
        lengths = _foreign.integers("nonpad_kv_seqlen", given["nonpad_kv_seqlen"], batch)
        lengths = lengths.reshape(-1, 1, 1, 1)
    offset = past if lengths is None else lengths - queries
    j, at = numpy.arange(keys), numpy.arange(queries)[:, None] + offset
    seen = numpy.ones((1, 1, queries, keys), bool)
    if attributes.get("is_causal"):
        seen = seen & (j <= at)
    for name, sign in (("left_window_size", 1), ("right_window_size", -1)):
        if attributes.get(name, -1) >= 0:
            seen = seen & (sign * (at - j) <= attributes[name])
    if lengths is not None:
        seen = seen & (j < lengths)
    return seen


def mask_of(mask, keys):
    """What a mask adds, -infinity where it says no; what it does not reach is not seen."""
    mask = numpy.where(mask, 0, -numpy.inf).astype("f4") if mask.dtype == bool else mask.astype("f4")
    width = mask.shape[-1] if mask.ndim else 1
    if width > keys or mask.ndim > 4 or width == 1 < keys:  # 1: broadcast in the text, short in the reference
        raise ValueError(f"'attn_mask' is {list(mask.shape)}, expected up to {keys} in its last dimension, "
                         "and more than 1")
    mask = numpy.pad(mask, [(0, 0)] * (mask.ndim - 1) + [(0, keys - width)], constant_values=-numpy.inf)
    return mask.reshape((1, ) * (4 - mask.ndim) + mask.shape)


def reach(seen):
    """How many keys there are up to the last that some query of [B, Sq, Skv] sees."""
    return (seen.any(1) * numpy.arange(1, seen.shape[2] + 1)).max(1, initial=0)


def forms(seen, lengths):
    """(causal, window) and what is seen by it, [B, Sq, Skv], of the first `lengths` [B] keys. A window is the
    narrowest in which all is that `seen` has."""
    queries, keys = seen.shape[1:]
    lengths = lengths.reshape(-1, 1, 1)
    j = numpy.arange(keys)
    behind = j - (numpy.arange(queries)[:, None] + lengths - queries)
    left, right = -min(0, behind[seen].min(initial=0)), max(0, behind[seen].max(initial=0))
    for causal, window in ((False, None), (True, None), (True, (left, 0)), (False, (left, right))):
        least, most = window or (keys + queries, keys + queries)
        yield causal, window, (j < lengths) & (behind >= -least) & (behind <= (0 if causal else most))


def seen_as(q, k, v, seen, added):
    """The arrays of a fixture in which queries see just these keys, with that added to their logits, whether
    it is causal, and its window."""
    batch, q_heads, queries, _ = q.shape
    keys = k.shape[2]
    plain = not added[~numpy.isneginf(added)].any()
    if plain and (seen == seen[:, :1]).all():
        rows = seen[:, 0]
        for lengths in (reach(rows), numpy.full(len(rows), keys)):
            most = int(lengths[0])
            alike = (lengths == most).all()
            found = [form[:2] for form in forms(rows, lengths) if (form[2] == rows).all()]
            if found and alike:
                return {"q": q, "k": k[:, :, :most], "v": v[:, :, :most]}, *found[0]
            if found and queries == 1:  # each sequence's cache is one page
                return _foreign.of_caches(q, k, v, lengths), *found[0]
    if plain and queries == 1:
        mask = numpy.broadcast_to(seen[:, :, 0], (batch, q_heads, keys))
        return {"q": q, "k": k, "v": v, "sparse_mask": mask.astype("u1")}, False, None
    bias = numpy.where(seen, added, -numpy.inf).astype("f4")
    return {"q": q, "k": k, "v": v, "bias": bias}, False, None
