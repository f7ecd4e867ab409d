"""Definitions of FlashInfer-Bench and SOL-ExecBench, with their workloads, as problems.

A definition (JSON) names inputs with shapes and has code that says what it computes; a workload (a line
of JSONL) says how large they are and whether each is drawn or in a file. Inputs have the names that
FlashInfer's arguments have, and `_flashinfer` knows what they are.
"""
from __future__ import annotations

import ast
import json
import math
import operator
import os
import pathlib
import re
import zlib

import numpy

from . import _arrays, _foreign
from ._flashinfer import LATENT, NEUTRAL, ROLE_OF, answer_as, expect_neutral, no_place, problem_of, tokens_first

TYPES = {"float16": "F16", "bfloat16": "BF16", "float32": "F32", "int32": "I32", "int64": "I64"}
# As models have it, whose windows may count the query's own key, or not.
OF_KEYS = ("window", "window_size", "sliding_window", "sliding_window_size", "attention_window")

OPERATORS = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.FloorDiv: operator.floordiv,
    ast.Div: operator.truediv, ast.Mod: operator.mod, ast.USub: operator.neg, ast.UAdd: operator.pos,
    ast.Pow: lambda base, power: math.pow(base, power)  # never a number of a million digits
}


def value_of(text, axes):
    """An axis that is computed from others, as SOL-ExecBench has them."""
    def of(node):
        if isinstance(node, ast.Constant) and type(node.value) is int:
            return node.value
        if isinstance(node, ast.Name) and node.id in axes:
            return axes[node.id]
        if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
            return OPERATORS[type(node.op)](of(node.left), of(node.right))
        if isinstance(node, ast.UnaryOp) and type(node.op) in OPERATORS:
            return OPERATORS[type(node.op)](of(node.operand))
        raise ValueError(f"an axis is {text!r}, which cannot be computed from {', '.join(axes)}")

    try:
        found = of(ast.parse(text, mode="eval").body)
    except (SyntaxError, ArithmeticError):
        raise ValueError(f"an axis is {text!r}, which cannot be computed") from None
    if isinstance(found, float) and not found.is_integer():  # infinity is none
        raise ValueError(f"an axis is {text!r}, {found}, expected a whole number")
    return int(found)


def axes_of(definition, workload):
    axes, later = {}, []
    for name, axis in definition["axes"].items():
        if axis["type"] == "const":
            axes[name] = axis["value"]
        elif axis["type"] == "var":
            if name not in workload["axes"]:
                raise ValueError(f"axis {name!r} is missing")
            axes[name] = workload["axes"][name]
        else:
            later.append((name, axis["expression"]))
    for name, value in axes.items():
        if type(value) is not int or value < 0:
            raise ValueError(f"axis {name!r} is {value!r}, expected a whole number from 0")
    for name, text in later:
        axes[name] = value_of(text, axes)
    return axes


def drawn(shape, kind, seed):
    """Normal values, in float32, each rounded to its type once; the same bits for the same seed and NumPy."""
    flat = numpy.empty(math.prod(shape), _arrays.TYPES[kind])
    random = numpy.random.default_rng(seed)
    for begin in range(0, len(flat), 1 << 20):
        part = flat[begin:begin + (1 << 20)]
        values = random.standard_normal(len(part), numpy.float32)
        part[...] = _arrays.bf16(values) if kind == "BF16" else values
    return flat.reshape(shape)


def blob(path, key, roots):
    """An array of a safetensors file that a workload names, below the first root that has it."""
    parts = pathlib.PurePath(path).parts
    places = [pathlib.Path(root, *parts[skip:]) for root in roots for skip in range(len(parts))]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise ValueError(f"'{path}' is not below '{roots[0]}': --root says where its path begins")
    arrays = _arrays.read(found, _arrays.load, names=(key, ))[0]
    if key not in arrays:
        raise ValueError(f"'{found}' has no array {key!r}")
    return arrays[key]


def input_of(name, spec, source, axes, roots, seed):
    """The (array, kind), or value, of one input of a definition."""
    shape, dtype = spec.get("shape"), spec.get("dtype")
    how = (source or {}).get("type")
    if how == "custom":
        raise ValueError(f"input {name!r} is custom: drawn by the definition's own code, which is not run")
    if shape is None:
        if how == "scalar":
            return source["value"]
        if spec.get("optional") and how is None:
            return None
        raise ValueError(f"input {name!r} is {how or 'not there'}, expected a scalar")
    sizes = [axes[axis] for axis in shape]
    if how == "safetensors":
        array, kind = blob(source["path"], source["tensor_key"], roots)
        if list(array.shape) != sizes:
            raise ValueError(
                f"input {name!r} is {list(array.shape)} in '{source['path']}', expected {sizes}, "
                f"[{', '.join(shape)}]")
        if kind != TYPES.get(dtype, kind):
            raise ValueError(f"input {name!r} is {kind} in '{source['path']}', expected {dtype}")
        return array, kind
    if how not in (None, "random"):
        raise ValueError(f"input {name!r} is {how}, expected random, scalar or safetensors")
    if TYPES.get(dtype) not in _foreign.KINDS:
        if dtype in ("int32", "int64"):
            raise ValueError(
                f"input {name!r} is {dtype} and random: lengths and tables have to be in a file")
        raise ValueError(f"input {name!r} is {dtype}, expected float16, bfloat16 or float32")
    return drawn(sizes, TYPES[dtype], [seed, zlib.crc32(name.encode())]), TYPES[dtype]


def layout_named(shape):
    """NHD or HND by the names of axes, None where they do not say which are heads."""
    heads = [at for at, axis in enumerate(shape[:-1]) if re.match(r"(?i)h(_\w+|[qk]|kv|qo)?$|.*head", axis)]
    return None if len(heads) != 1 else "NHD" if heads[0] == len(shape) - 2 else "HND"


def layout_of(definition, told):
    """NHD or HND, by --kv-layout and the names of the axes of keys and values, and of queries that have as
    many, which have to agree; queries without a batch are NHD."""
    keys, queries = {"--kv-layout": told}, {}
    for name, spec in definition["inputs"].items():
        role, shape = ROLE_OF.get(name), spec.get("shape") or []
        text, named = f"{name!r} [{', '.join(shape)}]", layout_named(shape)
        if role in ("k", "v", "k_cache", "v_cache", "kv_cache") and len(shape) > 2:
            keys[text] = named
        elif role == "q" and len(shape) > 3:
            queries[text] = named
        elif role == "q" and named == "HND":
            raise ValueError(f"{text} is HND, expected its heads before the last axis")
    if not any(keys.values()):
        raise ValueError("the names of the axes do not say which are heads: --kv-layout NHD or HND")
    (first, layout), *others = [(by, named) for by, named in {**keys, **queries}.items() if named]
    for by, named in others:
        if named != layout:
            raise ValueError(f"{by} is {named}, expected {layout} as {first} is")
    return layout


def of_workload(definition, workload, roots, options):
    strange = [name for name in definition["inputs"] if name not in ROLE_OF and name not in NEUTRAL]
    if strange and strange[0] in OF_KEYS:
        raise ValueError(f"input {strange[0]!r}: it is not said whether that counts the query's own key, expected "
                         "'window_left', the keys before it")
    if strange:
        raise no_place("input", strange[0])
    axes, given, values = axes_of(definition, workload), {}, {}
    order = sorted(definition["inputs"].items(),
                   key=lambda one: one[1].get("shape") and len(one[1]["shape"]) or 0)
    for name, spec in order:  # tables before what is drawn for long
        source = workload["inputs"].get(name)
        if name in NEUTRAL and name not in ROLE_OF:
            if spec.get("shape") is None:
                expect_neutral("input", name, (source or {}).get("value"))
            elif NEUTRAL[name] is not None:
                raise no_place("input", name)
            values[name] = (source or {}).get("value")
            continue
        values[name] = input_of(name, spec, source, axes, roots, options.seed)
        if values[name] is not None:
            given[ROLE_OF[name]] = values[name]
    causal = options.causal
    if "causal" in given:
        own = bool(given.pop("causal"))
        if causal is not None:
            raise ValueError(f"--causal is {causal or 'none'}, and its own is {own}")
        causal = own
    elif causal is None and re.search(r"(^|_)causal(_|$)", definition["name"]) and "qo_indptr" in given:
        causal = "bottom-right"  # as FlashInfer's is; what others call causal may be top-left
    if "sm_scale" not in given and not options.reference:
        if options.scale is None:
            raise ValueError("nothing says what logits are scaled by: --scale, or --reference, which runs "
                             "its code to see that it is 1/sqrt(D)")
    left, right = options.window or (None, None)
    for option, name, told in (("--scale", "sm_scale", options.scale), ("--softcap", "softcap", options.softcap),
                               ("--window", "window_left", left), ("--window", "window_right", right)):
        if told is not None:
            if name in given:
                raise ValueError(f"{option} is {told:g}, and its own is {given[name]:g}")
            given[name] = told
    latent = any(name in given for name in LATENT)  # whose tokens have no heads
    layout = "HND" if latent else layout_of(definition, options.kv_layout)
    problem = problem_of(given, layout, causal)
    if options.reference:
        add_reference(problem, definition, values, given, layout)
    return problem


def add_reference(problem, definition, values, given, layout):
    """The answer of the definition's own code."""
    import torch

    def tensor(value):
        if not isinstance(value, tuple):
            return value
        array = torch.from_numpy(numpy.array(value[0].view("i2") if value[1] == "BF16" else value[0]))
        return array.view(torch.bfloat16) if value[1] == "BF16" else array
    names = {"__name__": "reference"}
    try:
        exec(compile(definition.get("reference", ""), "reference", "exec"), names)
        found = names["run"](*(tensor(values[name]) for name in definition["inputs"]))
    except Exception as error:  # of code that is not ours
        raise ValueError(f"its reference raises {type(error).__name__}: {error}") from None
    found = next(iter(found.values())) if isinstance(found, dict) else found
    out, kind = _foreign.typed("reference", found[0] if isinstance(found, (tuple, list)) else found)
    if kind != problem.kind:
        raise ValueError(f"its reference gives {kind}, expected {problem.kind} as 'q' is")
    if out.ndim == 4:
        out = tokens_first(out, "HND" if layout == "NHD" else "NHD")
    elif "qo_indptr" not in given and out.ndim == 3 and out.shape[0] == len(problem.arrays["q"]) and (
            "k" not in given or given["k"][0].ndim == 4):
        out = out[:, :, None]
    else:
        out = answer_as(problem, out, given["qo_indptr"][0] if "qo_indptr" in given else None, out.ndim == 2)
    problem.out, problem.checked = out, True


def definition_in(path):
    """The definition's file that a path names, or None."""
    path = pathlib.Path(path)
    if path.is_dir():
        path = path / "definition.json"
    return path if path.suffix == ".json" and path.is_file() else None


def expect_definition(definition):
    well = isinstance(definition, dict) and isinstance(definition.get("name"), str)
    parts = [definition.get(name) for name in ("axes", "inputs")] if well else [None]
    if not all(isinstance(part, dict) and all(isinstance(one, dict) for one in part.values())
               for part in parts):
        raise ValueError("is no definition: expected name, axes and inputs")
    for name, spec in definition["inputs"].items():
        for axis in spec.get("shape") or []:
            if axis not in definition["axes"]:
                raise ValueError(f"input {name!r} has an axis {axis!r}, which the definition has not")


def workloads_of(path, options):
    """(name, make) of each workload of a definition."""
    if options.outputs and not options.reference:
        raise ValueError("has no answers for --outputs but those that --reference computes")
    path = definition_in(path)
    definition = json.loads(path.read_text(encoding="utf-8"))
    expect_definition(definition)
    root = path.resolve().parents[2] if len(path.resolve().parents) > 2 else path.resolve().parent
    places = [options.workloads] if options.workloads else [
        path.with_name("workload.jsonl"), root / "workloads" / path.parent.name / f"{path.stem}.jsonl"
    ]
    lines = next((place for place in places if os.path.isfile(place)), None)
    if lines is None:
        raise ValueError(f"has no workloads at '{places[0]}': --workloads says where they are")
    roots = [options.root] if options.root else [
        root,
        pathlib.Path(lines).resolve().parent,
        *(os.environ[name] for name in ("FIB_DATASET_PATH", "FLASHINFER_TRACE_DIR") if name in os.environ)
    ]
    for number, line in _foreign.lines_of(lines):
        where = f"'{lines}' line {number}"
        try:
            entry = json.loads(line)
            workload = entry.get("workload", entry)
            name = workload["uuid"]
            if not all(isinstance(one, dict) for one in (workload["axes"], *workload["inputs"].values())):
                raise TypeError
        except (ValueError, KeyError, TypeError, AttributeError):
            raise ValueError(f"{where} is no workload: expected JSON with uuid, axes and inputs") from None
        if entry.get("definition", definition["name"]) != definition["name"]:
            raise ValueError(
                f"{where} is of definition {entry['definition']!r}, expected {definition['name']!r}")
        yield str(name), lambda workload=workload: of_workload(definition, workload, roots, options)
