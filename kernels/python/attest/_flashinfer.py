"""Calls of FlashInfer as problems, and what it dumps of them.

What an argument is, is told by its name; K and V are together or apart, in pages, ragged or of one
length, NHD or HND. A dump is a folder a call, `metadata.jsonl` and `inputs.pt` or `.safetensors`, as
FlashInfer 0.6.18 to 0.7.4 write them with FLASHINFER_LOGLEVEL=10.
"""
from __future__ import annotations

import ast
import importlib.util
import json
import pathlib

import numpy

from . import _arrays, _foreign
from ._foreign import Problem

# Of multi-head latent attention, absorbed: queries and tokens in two parts each, of which the first of a
# token is its value, and the other tells its place.
LATENT = ("q_nope", "q_pe", "ckv", "kpe")
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
    "window_left": ("window_left", ), "window_right": ("window_right", ),
    "softcap": ("logits_soft_cap", "softcap"), "sinks": ("sinks", "sink", "attention_sinks"),
    **{name: (name, ) for name in LATENT[:2]}, "ckv": ("ckv", "ckv_cache"), "kpe": ("kpe", "kpe_cache"),
    "sparse_indices": ("sparse_indices", ),
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
    "pos_encoding_mode": (None, "NONE"), "q_len_per_req": (None, 1), "use_token_head_sf": (None, False),
    "skip_softmax_threshold_scale_factor": (None, 0),
}


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
    HND, of keys and values. causal: as `_foreign.bottom_right` takes it."""
    given = dict(given)
    sinks = given.pop("sinks", None)
    scale, softcap, left, right = (number(name, given.pop(name, None))
                                   for name in ("sm_scale", "softcap", "window_left", "window_right"))
    if "kv_cache" in given:
        both, kind = given["kv_cache"]
        _foreign.expect_rank("kv_cache", both,
                             "pages, 2, H, P, D" if layout == "HND" else "pages, 2, P, H, D")
        if both.shape[1] != 2:
            raise ValueError(f"'kv_cache' is {list(both.shape)}, expected 2 in its second dimension")
        given = {**given, "k_cache": (both[:, 0], kind), "v_cache": (both[:, 1], kind)}
    latent = any(name in given for name in LATENT)
    pages = "k_cache" in given or latent
    names = LATENT if latent else ("q", "k_cache", "v_cache") if pages else ("q", "k", "v")
    for name in names:
        if name not in given:
            raise ValueError(f"{name!r} is missing")
    parts, kind = _foreign.elements(**{name: given[name] for name in names})
    q, k, v = of_latent(*parts) if latent else parts
    if v is not None and k.shape[:-1] != v.shape[:-1]:
        raise ValueError(f"{names[2]!r} is {list(v.shape)}, expected {list(k.shape)} as {names[1]!r} is")
    if q.shape[-1] != k.shape[-1]:
        raise ValueError(
            f"{names[1]!r} has {k.shape[-1]} elements a head, expected {q.shape[-1]} as 'q' has")
    if "sparse_indices" in given:
        expect_roles(given, names, ("kv_cache", "sparse_indices"))
        if not pages:
            raise ValueError("'sparse_indices' are tokens of pages, and there are none")
        arrays, causal = listed(q, k, v, given["sparse_indices"][0], "HND" if latent else layout), False
    elif pages:
        blocks = "block_tables" in given and "kv_indptr" not in given
        expect_roles(given, names, ("kv_cache", "qo_indptr", *(("block_tables", "seq_lens") if blocks else (
            "kv_indptr", "kv_indices", "kv_last_page_len"))))
        if causal == "top-left":
            raise ValueError("causal is 'top-left': over pages a query sees all keys of its sequence")
        arrays, causal = paged(q, k, v, given, "HND" if latent else layout), False
    elif "qo_indptr" in given or "kv_indptr" in given:
        expect_roles(given, names, ("qo_indptr", "kv_indptr"))
        arrays, causal = ragged(q, k, v, given, layout, causal)
    elif k.ndim == 4:
        expect_roles(given, names, ("seq_lens", ))
        arrays, causal = batch(q, k, v, given, layout, causal)
    else:
        expect_roles(given, names, ())
        arrays, causal = single(q, k, v, layout, causal)
    if sinks is not None:
        if not isinstance(sinks, tuple):
            raise ValueError("'sinks' is no array, expected [Hq]")
        arrays["sinks"], _ = _arrays.sinks_of(*sinks)
    return Problem(arrays, kind, causal, scale, window_of(left, right, arrays, causal), softcap or None,
                   parts[2].shape[-1] if latent else None)


def of_latent(q_nope, q_pe, ckv, kpe):
    """q [B, H, D] and pages of keys [pages, 1, P, D] of both parts beside each other, and no values."""
    for name, array in zip(LATENT, (q_nope, q_pe, ckv, kpe)):
        _foreign.expect_rank(name, array, "B, H, D" if name in LATENT[:2] else "pages, P, D")
    for name, array, like, other in (("q_nope", q_nope, "ckv", ckv), ("q_pe", q_pe, "kpe", kpe)):
        if array.shape[-1] != other.shape[-1]:
            raise ValueError(f"{name!r} has {array.shape[-1]} elements, expected {other.shape[-1]} as {like!r} has")
    for one, other, names in ((q_nope, q_pe, LATENT[:2]), (ckv, kpe, LATENT[2:])):
        if one.shape[:-1] != other.shape[:-1]:
            raise ValueError(f"{names[1]!r} is {list(other.shape)}, expected all but the last as {names[0]!r} is, "
                             f"{list(one.shape)}")
    return numpy.concatenate([q_nope, q_pe], -1), numpy.concatenate([ckv, kpe], -1)[:, None], None


def number(name, value):
    if isinstance(value, (tuple, list)):
        raise ValueError(f"{name!r} is an array, expected a number")
    return None if value is None else float(value)


def window_of(left, right, arrays, causal):
    """(left, right) as a fixture has it, None where neither is a bound, as None and -1 are. As here query i
    sees the keys from i + Skv - Sq - left on, to i + Skv - Sq + right (FlashInfer's variants.cuh: kv_idx +
    qo_len + window_left >= kv_len + qo_idx)."""
    queries = arrays["q"].shape[2]
    bounds = [None if side is None or side < 0 else side
              for side in (left, None if causal or queries == 1 else right)]
    if bounds == [None, None]:
        return None
    most = arrays["k"].shape[2] if "kv_page_indptr" not in arrays else 0  # over pages there is one query
    return tuple(room if side is None else side for side, room in zip(bounds, (most, queries)))


def expect_roles(given, names, others):
    for name in given:
        if name not in (*names, *others):
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
        lengths = _foreign.lengths_in("seq_lens", given["seq_lens"][0], len(k), k.shape[1])
        if q.shape[1] == 1:
            _foreign.bottom_right(causal, [(1, int(length)) for length in lengths])  # it is, or raises
            return _foreign.of_caches(q.swapaxes(1, 2), k.swapaxes(1, 2), v.swapaxes(1, 2), lengths), False
    cut = [[one[:length] for one, length in zip(array, lengths)] for array in (k, v)]
    return _foreign.of_sequences(list(q), *cut, causal)


def ragged(q, k, v, given, layout, causal):
    for name in ("qo_indptr", "kv_indptr"):
        if name not in given:
            raise ValueError(f"{name!r} is missing")
    _foreign.expect_rank("q", q, "total, H, D")
    _foreign.expect_rank("k", k, "total, H, D" if layout == "NHD" else "H, total, D")
    k, v = (tokens_first(array, layout) for array in (k, v))
    queries = _foreign.offsets("qo_indptr", given["qo_indptr"][0])
    keys = _foreign.offsets("kv_indptr", given["kv_indptr"][0], len(queries) - 1)
    return _foreign.of_sequences(_foreign.pieces("q", q, queries), _foreign.pieces("k", k, keys),
                                 _foreign.pieces("v", v, keys), causal)


def in_heads(q, k, v, layout):
    """q [B, H, D], and pages [pages, H, P, D] of either layout."""
    _foreign.expect_rank("k_cache", k, "pages, P, H, D" if layout == "NHD" else "pages, H, P, D")
    _foreign.expect_rank("q", q, "B, H, D")
    return (k.swapaxes(1, 2), v.swapaxes(1, 2)) if layout == "NHD" else (k, v)  # NHD never without v


def listed(q, k, v, chosen, layout):
    """Of each of several queries, [T, most], the tokens that it sees of all pages, page P + row, which all heads
    share; -1 is none. To a fixture that is one sequence, which has all pages, and lists."""
    k, v = in_heads(q, k, v, layout)
    pages, kv_heads, page_size = k.shape[:3]
    if chosen.dtype.kind not in "iu" or chosen.ndim != 2 or len(chosen) != len(q):
        raise ValueError(f"'sparse_indices' is {chosen.dtype} {list(chosen.shape)}, expected integers [{len(q)}, most]")
    wrong = numpy.argwhere((chosen < -1) | (chosen >= pages * page_size))
    if len(wrong):
        at = tuple(int(n) for n in wrong[0])
        raise ValueError(f"'sparse_indices' has {chosen[at]} at {list(at)}, expected -1 or a token of "
                         f"0..{pages * page_size - 1}")
    order = numpy.argsort(chosen == -1, axis=1, kind="stable")  # none behind the last
    lists = {"sparse_ind": numpy.take_along_axis(chosen, order, 1), "sparse_nnz": (chosen != -1).sum(1)}
    for name, array in lists.items():
        each = numpy.broadcast_to(array, (1, kv_heads, *array.shape))
        lists[name] = numpy.ascontiguousarray(each[:, :, 0] if len(q) == 1 else each).astype("i4")
    tables = _foreign.tables(numpy.array([0, pages]), numpy.arange(pages), numpy.array([page_size]))
    return {"q": numpy.ascontiguousarray(q.swapaxes(0, 1)[None]), **_foreign.in_pages(k, v), **tables, **lists}


def paged(q, k, v, given, layout):
    k, v = in_heads(q, k, v, layout)
    batch, pages, page_size = len(q), k.shape[0], k.shape[2]
    if "qo_indptr" in given:
        counts = numpy.diff(_foreign.offsets("qo_indptr", given["qo_indptr"][0]))
        many = numpy.flatnonzero(counts != 1)
        if len(many):
            raise ValueError(
                f"sequence {many[0]} has {counts[many[0]]} queries over pages: a fixture with pages "
                "has one query a sequence")
    if "block_tables" in given and "seq_lens" in given and "kv_indptr" not in given:
        tables = _foreign.tables_of_blocks(given["block_tables"][0], given["seq_lens"][0], batch, page_size)
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
    return {"q": q[:, :, None], **_foreign.in_pages(k, v), **tables}


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
                return _arrays.read(place, _arrays.load)[0]
            if importlib.util.find_spec("torch") is None:
                raise ValueError(f"'{place}' needs torch; FLASHINFER_DUMP_SAFETENSORS=1 dumps safetensors")
            return _arrays.read(place, _arrays.of_torch)
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
        causal, own = bool(given.pop("causal", False)), arguments.get("kv_layout", "NHD")
    else:
        mine = [one for one in before if one.who == call.who]
        wrapper = call.function.partition(".")[0]
        plan = next((one for one in reversed(mine) if one.function == f"{wrapper}.plan"), None)
        init = next((one for one in reversed(mine) if one.function == f"{wrapper}.__init__"), None)
        if plan is None:
            raise ValueError(f"its {wrapper}.plan is not in the dump, and says which tokens are whose")
        own = init.arguments().get("kv_layout", "NHD") if init else None
        if own is None and options.kv_layout is None:
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
    layout = own or options.kv_layout
    if options.kv_layout not in (None, layout):
        raise ValueError(f"--kv-layout is {options.kv_layout}, and its own is {layout}")
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
    if "sparse_ind" in problem.arrays:
        return array.swapaxes(0, 1)[None]
    if "kv_page_indptr" in problem.arrays and begins is None:
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
