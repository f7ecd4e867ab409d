"""Problems of FlashInfer-Bench and SOL-ExecBench, and what FlashInfer dumps of its calls.

A definition (JSON) names inputs with shapes; a workload (a line of JSONL) says how large they are and
whether each is drawn or in a file. A dump is a folder a call, `metadata.jsonl` and `inputs.pt` or
`.safetensors`, as FlashInfer 0.6.18 to 0.7.4 write them with FLASHINFER_LOGLEVEL=10.
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

from . import _arrays, _foreign, _judge
from ._foreign import Problem

TYPES = {"float16": "F16", "bfloat16": "BF16", "float32": "F32", "int32": "I32", "int64": "I64"}
# What an input is, by the names it has in definitions and calls.
ROLES = {
    "q": ("q", "query"), "k": ("k", "key"), "v": ("v", "value"), "k_cache": ("k_cache", "key_cache"),
    "v_cache": ("v_cache", "value_cache"), "kv_cache": ("kv_cache", "paged_kv_cache"),
    "qo_indptr": ("qo_indptr", "q_indptr"), "kv_indptr": ("kv_indptr", "kv_page_indptr", "indptr"),
    "kv_indices": ("kv_indices", "kv_page_indices", "indices"),
    "kv_last_page_len": ("kv_last_page_len", "last_page_len"),
    "block_tables": ("block_tables", "block_table", "page_table"),
    "seq_lens": ("seq_lens", "cache_seqlens", "kv_lens"),
    "sm_scale": ("sm_scale", "softmax_scale", "scale"), "causal": ("causal", "is_causal"),
}
ROLE_OF = {name: role for role, names in ROLES.items() for name in names}
# What may be said without a change of the problem: any value, or one of these.
NEUTRAL = {
    **dict.fromkeys(
        ("return_lse", "max_seq_len", "max_q_len", "max_kv_len", "out", "lse", "enable_pdl", "backend",
         "use_tensor_cores", "use_fp16_qk_reduction", "workspace_buffer", "non_blocking", "fixed_split_size",
         "disable_split_kv", "rope_scale", "rope_theta", "q_data_type", "kv_data_type", "o_data_type",
         "data_type", "o_dtype", "num_qo_heads", "num_kv_heads", "head_dim", "head_dim_qk", "head_dim_vo",
         "page_size")),
    **dict.fromkeys(("q_scale", "k_scale", "v_scale", "bmm2_scale"), (None, 1)),
    "window_left": (None, -1), "window_right": (None, -1, 0), "logits_soft_cap": (None, 0),
    "pos_encoding_mode": (None, "NONE"), "q_len_per_req": (None, 1), "use_token_head_sf": (None, False),
    "skip_softmax_threshold_scale_factor": (None, 0),
}
# Of multi-head latent attention.
LATENT = ("q_nope", "q_pe", "ckv_cache", "kpe_cache", "ckv", "kpe")


def no_place(what, name, value=""):
    return ValueError(f"{what} {name!r}{value}: a fixture cannot say it")


def expect_neutral(what, name, value):
    allowed = NEUTRAL.get(name, (None, ))
    if allowed is not None and not any(value is one or (one is not None and value == one)
                                       for one in allowed):
        text = f"an array {list(value[0].shape)}" if isinstance(value, tuple) else str(value)[:60]
        raise no_place(what, name, f" is {text}" if value is not None else "")


def problem_of(given, layout, causal):
    """The Problem of arguments by their roles: arrays (array, kind), others as they are. layout: NHD or
    HND, of keys and values. causal: bottom-right, none (False), or None where nothing says so."""
    scale = given.get("sm_scale")
    if "kv_cache" in given:
        both, kind = given["kv_cache"]
        _foreign.expect_rank("kv_cache", both,
                             "pages, 2, H, P, D" if layout == "HND" else "pages, 2, P, H, D")
        if both.shape[1] != 2:
            raise ValueError(f"'kv_cache' is {list(both.shape)}, expected 2 in its second dimension")
        given = {**given, "k_cache": (both[:, 0], kind), "v_cache": (both[:, 1], kind)}
    pages = "k_cache" in given
    names = ("q", "k_cache", "v_cache") if pages else ("q", "k", "v")
    for name in names:
        if name not in given:
            raise ValueError(f"{name!r} is missing")
    (q, k, v), kind = _foreign.elements(**{name: given[name] for name in names})
    if k.shape != v.shape:
        raise ValueError(f"{names[2]!r} is {list(v.shape)}, expected {list(k.shape)} as {names[1]!r} is")
    if q.shape[-1] != k.shape[-1]:
        raise ValueError(
            f"{names[1]!r} has {k.shape[-1]} elements a head, expected {q.shape[-1]} as 'q' has")
    if pages:
        blocks = "block_tables" in given and "kv_indptr" not in given
        expect_roles(given, names, ("kv_cache", "qo_indptr", *(("block_tables", "seq_lens") if blocks else (
            "kv_indptr", "kv_indices", "kv_last_page_len"))))
        arrays, causal = paged(q, k, v, given, layout), False
    elif "qo_indptr" in given or "kv_indptr" in given:
        expect_roles(given, names, ("qo_indptr", "kv_indptr"))
        arrays, causal = ragged(q, k, v, given, layout, causal)
    elif k.ndim == 4:
        expect_roles(given, names, ("seq_lens", ))
        arrays, causal = batch(q, k, v, given, layout, causal)
    else:
        expect_roles(given, names, ())
        arrays, causal = single(q, k, v, layout, causal)
    return Problem(arrays, kind, causal, None if scale is None else float(scale))


def expect_roles(given, names, others):
    for name in given:
        if name not in (*names, *others, "sm_scale"):
            raise no_place("beside " + ", ".join(map(repr, names)), name)


def tokens_first(array, layout):
    return array if layout == "NHD" else array.swapaxes(-2, -3)


def single(q, k, v, layout, causal):
    _foreign.expect_rank("k", k, "Skv, H, D" if layout == "NHD" else "H, Skv, D")
    if q.ndim == 2:
        q = q[None]
    _foreign.expect_rank("q", q, "Sq, H, D")
    return _foreign.of_sequences([q], [tokens_first(k, layout)], [tokens_first(v, layout)], causal)


def batch(q, k, v, given, layout, causal):
    """[B, S, H, D] or [B, H, S, D], all of k or, of each sequence, as many as `seq_lens` says."""
    if q.ndim == 3:
        q = q[:, None] if layout == "NHD" else q[:, :, None]
    _foreign.expect_rank("q", q, "B, Sq, H, D" if layout == "NHD" else "B, H, Sq, D")
    q, k, v = (tokens_first(array, layout) for array in (q, k, v))
    if len(q) != len(k):
        raise ValueError(f"'k' is of {len(k)} sequences, expected {len(q)} as 'q' is")
    lengths = numpy.full(len(k), k.shape[1])
    if "seq_lens" in given:
        lengths = _foreign.integers("seq_lens", given["seq_lens"][0], len(k))
        wrong = numpy.flatnonzero((lengths < 0) | (lengths > k.shape[1]))
        if len(wrong):
            raise ValueError(f"'seq_lens' has {lengths[wrong[0]]} at {wrong[0]}, expected 0 to {k.shape[1]}")
        if q.shape[1] == 1:
            return _foreign.of_caches(q.swapaxes(1, 2), k.swapaxes(1, 2), v.swapaxes(1, 2), lengths), False
    cut = [[one[:length] for one, length in zip(array, lengths)] for array in (k, v)]
    return _foreign.of_sequences(list(q), *cut, causal)


def ragged(q, k, v, given, layout, causal):
    for name in ("qo_indptr", "kv_indptr"):
        if name not in given:
            raise ValueError(f"{name!r} is missing")
    _foreign.expect_rank("q", q, "total, H, D")
    _foreign.expect_rank("k", k, "total, H, D")
    k, v = (tokens_first(array, layout) for array in (k, v))
    queries = _foreign.offsets("qo_indptr", given["qo_indptr"][0])
    keys = _foreign.offsets("kv_indptr", given["kv_indptr"][0], len(queries) - 1)
    return _foreign.of_sequences(_foreign.pieces("q", q, queries), _foreign.pieces("k", k, keys),
                                 _foreign.pieces("v", v, keys), causal)


def paged(q, k, v, given, layout):
    _foreign.expect_rank("k_cache", k, "pages, P, H, D" if layout == "NHD" else "pages, H, P, D")
    _foreign.expect_rank("q", q, "B, H, D")
    if layout == "NHD":
        k, v = k.swapaxes(1, 2), v.swapaxes(1, 2)
    batch, pages, page_size = len(q), k.shape[0], k.shape[2]
    if "qo_indptr" in given:
        counts = numpy.diff(_foreign.offsets("qo_indptr", given["qo_indptr"][0]))
        many = numpy.flatnonzero(counts != 1)
        if len(many):
            raise ValueError(
                f"sequence {many[0]} has {counts[many[0]]} queries over pages: a fixture with pages "
                "has one query a sequence")
    if "block_tables" in given and "seq_lens" in given and "kv_indptr" not in given:
        lengths = _foreign.integers("seq_lens", given["seq_lens"][0], batch)
        tables = _foreign.tables_of_blocks("block_tables", given["block_tables"][0], lengths, page_size)
    else:
        for name in ("kv_indptr", "kv_indices"):
            if name not in given:
                raise ValueError(f"{name!r} is missing")
        begins = _foreign.offsets("kv_indptr", given["kv_indptr"][0], batch)
        indices = _foreign.integers("kv_indices", given["kv_indices"][0])
        if len(indices) < begins[-1]:
            raise ValueError(f"'kv_indices' has {len(indices)} pages, expected {begins[-1]}, where "
                             "'kv_indptr' ends")
        last = given.get("kv_last_page_len")
        if last is None and page_size > 1:
            raise ValueError(
                f"'kv_last_page_len' is missing: pages hold {page_size} tokens, and nothing says how "
                "many of the last are valid")
        tables = _foreign.tables(
            begins, indices[:begins[-1]],
            None if last is None else _foreign.integers("kv_last_page_len", last[0], batch))
    used = tables["kv_page_indices"]
    wrong = numpy.flatnonzero((used < 0) | (used >= pages))
    if len(wrong):
        raise ValueError(f"page {used[wrong[0]]} of entry {wrong[0]} is none of {pages}")
    return {"q": q[:, :, None], "kv_cache": numpy.stack([k, v], 1), **tables}


# Definitions and workloads.

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
    if found != int(found):
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
    try:
        return _arrays.load(found, (key, ))[0][key]
    except KeyError:
        raise ValueError(f"'{found}' has no array {key!r}") from None
    except (TypeError, ValueError) as error:
        raise ValueError(f"'{found}': {error}") from None


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


def layout_of(definition, layout):
    """NHD or HND, of keys and values, by the names of their axes."""
    if layout:
        return layout
    for name in ("k", "key", "k_cache", "key_cache", "kv_cache"):
        shape = definition["inputs"].get(name, {}).get("shape") or []
        heads = [
            at for at, axis in enumerate(shape[:-1]) if re.match(r"(?i)h(_\w+|[qk]|kv|qo)?$|.*head", axis)
        ]
        if len(shape) >= 3 and len(heads) == 1:
            return "NHD" if heads[0] == len(shape) - 2 else "HND"
    raise ValueError("the names of the axes do not say which are heads: --kv-layout NHD or HND")


def of_workload(definition, workload, roots, options):
    latent = [name for name in definition["inputs"] if name in LATENT]
    if latent:
        raise ValueError(
            f"input {latent[0]!r} is of multi-head latent attention, which a fixture cannot say")
    strange = [name for name in definition["inputs"] if name not in ROLE_OF and name not in NEUTRAL]
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
        causal = bool(given.pop("causal"))
    elif causal is None and re.search(r"(^|_)causal(_|$)", definition["name"]) and "qo_indptr" in given:
        causal = "bottom-right"  # as FlashInfer's is; what others call causal may be top-left
    if "sm_scale" not in given and not options.reference:
        if options.scale is None:
            raise ValueError("nothing says what logits are scaled by: --scale, or --reference, which runs "
                             "its code to see that it is 1/sqrt(D)")
    if options.scale is not None:
        if "sm_scale" in given:
            raise ValueError(f"--scale is {options.scale:g}, and its own is {given['sm_scale']:g}")
        given["sm_scale"] = options.scale
    layout = layout_of(definition, options.kv_layout)
    problem = problem_of(given, layout, known_causal(given, layout, causal))
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


def known_causal(given, layout, causal):
    """Bottom-right or not, or None; what is top-left is refused where it is another."""
    if causal in (None, "none", False):
        return None if causal is None else False
    if causal == "top-left":
        if "qo_indptr" in given and "kv_indptr" in given and "k" in given:
            if not numpy.array_equal(given["kv_indptr"][0], given["qo_indptr"][0]):
                raise ValueError(
                    "causal is 'top-left', and sequences have other numbers of keys than of queries")
        elif "k" in given and "q" in given and given["q"][0].ndim == given["k"][0].ndim:
            at = -3 if layout == "NHD" else -2
            return _judge.is_causal(causal, given["q"][0].shape[at], given["k"][0].shape[at])
    return True


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


# What FlashInfer dumps.

DECODE = "BatchDecodeWithPagedKVCacheWrapper"
RAGGED = "BatchPrefillWithRaggedKVCacheWrapper"
PAGED = "BatchPrefillWithPagedKVCacheWrapper"
SINGLE = ("single_decode_with_kv_cache", "single_prefill_with_kv_cache")


class Dumped:
    """One call that was dumped: its folder, metadata, and arguments by name."""
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        lines = _foreign.lines_of(self.folder / "metadata.jsonl")
        try:
            self.metadata = json.loads(lines[-1][1])
            self.function = self.metadata["function_name"]
            self.passed = self.metadata["input_metadata"]
            self.keys = self.metadata["tensor_info"]["input_tensor_keys"]
            self.signature = self.metadata["function_signature"]
            parts = (self.function, str), (self.signature, str), (self.passed, dict), (self.keys, list)
            if not all(isinstance(part, kind) for part, kind in (*parts, *((key, str) for key in self.keys))):
                raise TypeError
        except (ValueError, KeyError, TypeError, IndexError):
            raise ValueError("its metadata.jsonl is not FlashInfer's: expected JSON with function_name, "
                             "function_signature, input_metadata and tensor_info") from None
        self.who = (self.metadata.get("process_id"), self.metadata.get("self_id"))
        self.defaults = {}

    def tensors(self, kind):
        """{key: tensor} of inputs or outputs; None where there is no file."""
        for place in (self.folder / f"{kind}.pt", self.folder / f"{kind}.safetensors"):
            if not place.is_file():
                continue
            if place.suffix == ".safetensors":
                return _arrays.load(place)[0]
            try:
                import torch
            except ImportError:
                raise ValueError(
                    f"'{place}' needs torch; FLASHINFER_DUMP_SAFETENSORS=1 dumps safetensors") from None
            return torch.load(place, map_location="cpu", weights_only=True)
        return None

    def arguments(self):
        """{name: value} of what was passed, and of defaults: (array, kind), or as JSON has it."""
        try:
            parsed = ast.parse(f"def call{self.signature}: pass").body[0].args
        except (SyntaxError, ValueError):
            raise ValueError(f"its function_signature cannot be read: {self.signature[:60]!r}") from None
        places = [one.arg for one in parsed.posonlyargs + parsed.args]
        for names, defaults in ((places[len(places) - len(parsed.defaults):], parsed.defaults),
                                ([one.arg for one in parsed.kwonlyargs], parsed.kw_defaults)):
            for name, default in zip(names, defaults):
                if isinstance(default, ast.Constant):
                    self.defaults[name] = default.value
        found = dict(self.defaults)
        tensors = self.tensors("inputs") if self.keys else {}
        if tensors is None:
            graph = self.metadata.get("graph_capture")
            why = "it was captured in a CUDA graph, and never replayed"
            why = why if graph else f"'{self.folder / 'inputs.pt'}'"
            raise ValueError(f"its inputs are not there: {why}")
        for key in [*self.passed, *self.keys]:
            name = key.partition("_")[2]
            if "__" in key:
                continue  # of a tuple, which is read as one
            if key.startswith("arg_"):
                if int(name) >= len(places):
                    raise ValueError(
                        f"{self.function} has an argument {name} without a name: pass by keyword what "
                        f"follows {places[-1]!r}")
                name = places[int(name)]
            found[name] = self.value(key, tensors)
        found.pop("self", None)
        return found

    def value(self, key, tensors):
        if key in tensors:
            return self.tensor(key, tensors)
        value = self.passed[key]
        if isinstance(value, dict) and value.get("type") in ("tuple", "list"):
            keys = [
                one.get("tensor_key") if isinstance(one, dict) else None for one in value.get("items", [])
            ]
            if not keys or None in keys or any(one not in tensors for one in keys):
                raise ValueError(f"{key!r} is a {value['type']} whose tensors are not dumped, as they are "
                                 "from FlashInfer 0.6.18 on")
            return [self.tensor(one, tensors) for one in keys]
        if isinstance(value, dict):
            return value.get("value", value.get("repr", value.get("type")))
        return value

    def tensor(self, key, tensors):
        tensor = tensors[key]
        return tensor if isinstance(tensor, tuple) else _foreign.typed(key, tensor)

    def answer(self):
        """out and lse that it returned, (array, kind) or None."""
        if self.metadata.get("execution_status") != "completed":
            return None, None
        found = self.tensors("outputs") or {}
        names = ("result", "") if "result" in found else ("result_0", "result_1")
        return [self.tensor(name, found) if name in found else None for name in names]


def by_roles(call, arguments, own=()):
    """Arguments by their roles; those that are neither neutral nor have one stop it."""
    given = {}
    for name, value in arguments.items():
        if name in own:
            continue
        if name in ROLE_OF and not (name in ("seq_lens", "block_tables") and "indptr" in arguments):
            if value is not None:
                given[ROLE_OF[name]] = value
        elif name not in ("seq_lens",
                          "block_tables") and not (name in call.defaults and value is call.defaults[name]):
            expect_neutral(f"{call.function}'s argument", name, value)
    return given


def of_call(call, before, options):
    """The Problem of a call, given those that were dumped before it."""
    arguments, sizes = call.arguments(), {}
    if call.function in SINGLE:
        given = by_roles(call, arguments, ("kv_layout", ))
        causal, layout = bool(given.pop("causal", False)), arguments.get("kv_layout", "NHD")
    else:
        mine = [one for one in before if one.who == call.who]
        wrapper = call.function.partition(".")[0]
        plan = next((one for one in reversed(mine) if one.function == f"{wrapper}.plan"), None)
        init = next((one for one in reversed(mine) if one.function == f"{wrapper}.__init__"), None)
        if plan is None:
            raise ValueError(f"its {wrapper}.plan is not in the dump, and says which tokens are whose")
        layout = options.kv_layout or (init.arguments().get("kv_layout", "NHD") if init else None)
        if layout is None:
            raise ValueError(
                f"its {wrapper}.__init__ is not in the dump: --kv-layout NHD or HND says what it was told")
        planned = {{
            "paged_kv_indptr": "kv_indptr", "paged_kv_indices": "kv_indices",
            "paged_kv_last_page_len": "kv_last_page_len"
        }.get(name, name): value for name, value in plan.arguments().items()}
        given = {**by_roles(plan, planned), **by_roles(call, arguments)}
        causal = bool(given.pop("causal", False))
        sizes = {
            name: planned[name] for name in ("num_qo_heads", "num_kv_heads", "page_size") if name in planned
        }
    if isinstance(given.get("kv_cache"), list):
        given["k_cache"], given["v_cache"] = given.pop("kv_cache")
    problem = problem_of(given, layout, causal)
    cache = problem.arrays.get("kv_cache", problem.arrays.get("k"))
    found = {
        "num_qo_heads": problem.arrays["q"].shape[1], "num_kv_heads": cache.shape[-3],
        "page_size": cache.shape[-2]
    }
    for name, size in sizes.items():
        if size != found[name]:
            raise ValueError(
                f"{name} is {size} in plan, and {found[name]} of the arrays in layout {layout}")
    out, lse = call.answer()
    begins = given["qo_indptr"][0] if "qo_indptr" in given else None
    if out is not None:
        if out[1] != problem.kind:
            raise ValueError(f"its result is {out[1]}, expected {problem.kind} as 'q' is")
        problem.out = answer_as(problem, out[0], begins, out[0].ndim == 2)
    if lse is not None:
        problem.lse = _foreign.natural(answer_as(problem, lse[0], begins, lse[0].ndim == 1))
    return problem


def answer_as(problem, array, begins, of_one):
    """[total, H, ...], or of one query [H, ...], as [B, H, Sq, ...]."""
    if of_one:
        array = array[None]
    if "kv_cache" in problem.arrays and begins is None:
        return array[:, :, None]
    begins = numpy.array([0, len(array)]) if begins is None else begins
    return _foreign.padded(_foreign.pieces("result", array, begins))


def dump_in(path):
    """Whether a folder is a dump, of one call or of several."""
    path = pathlib.Path(path)
    return path.is_dir() and ((path / "metadata.jsonl").is_file() or any(path.glob("*/metadata.jsonl")))


def refuse(error):
    raise error


def calls_of(path, options):
    """(name, make) of each call of attention in a dump, in the order they were made."""
    path = pathlib.Path(path)
    alone = (path / "metadata.jsonl").is_file()
    folders = sorted((one.parent for one in (path.parent if alone else path).glob("*/metadata.jsonl")),
                     key=lambda one: one.name)  # which begins with the time
    calls = []
    for folder in folders:
        try:
            calls.append(Dumped(folder))
        except ValueError as error:  # of one call, as of a process that was killed
            yield folder.name, lambda error=error: refuse(error)
    for at, call in enumerate(calls):
        if alone and call.folder.resolve() != path.resolve():
            continue
        known = call.function in SINGLE or call.function.partition(".")[0] in (DECODE, RAGGED, PAGED)
        if call.function.endswith((".__init__", ".plan")) or not (known or alone):
            continue
        if not known or call.function.partition(".")[2] not in ("", "run"):
            raise ValueError(f"is a call of {call.function}, expected {', '.join(SINGLE)} or run of "
                             f"{DECODE}, {RAGGED} or {PAGED}")
        yield call.folder.name, lambda call=call, before=calls[:at]: of_call(call, before, options)
