#!/usr/bin/python3
"""Problems of FlashInfer-Bench, SOL-ExecBench, FlashInfer's dumps and ONNX become fixtures, or are refused
with what a fixture cannot say. Needs numpy; what needs torch and onnx is in
kernels/python/test_semantics.py."""
import importlib.util, itertools, json, math, pathlib, sys, tempfile

try:
    import numpy as np
except ImportError:
    sys.exit(77)

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "kernels/python"))
from attest import _arrays, _judge, _onnx, bf16, f32
from converted import converted

failures = []
random = np.random.default_rng(1)


def check(holds, what):
    if not holds:
        failures.append(what)
        print("wrong:", what)


def expect(words, status, *texts):
    found, out, err = converted(*words)
    check(found == status, f"{words}: {found}, expected {status}\n{out}{err}")
    for text in texts:
        check(text in out + err, f"{text!r} is not in\n{out}{err}")
    check("Traceback" not in err, err)


def fixture(path, folder):
    _judge.call("convert", path, folder / "back.safetensors")
    return _arrays.load(folder / "back.safetensors")[0]


def attention(q, k, v, seen=None, scale=None, softcap=None, sink=-np.inf, bias=None):
    """By the definition, of [..., S, D]: out, and lse of base 2."""
    s = q @ k.swapaxes(-1, -2) * (scale or q.shape[-1] ** -0.5)
    if softcap:
        s = softcap * np.tanh(s / softcap)
    if bias is not None:
        s = s + bias
    if seen is not None:
        s = np.where(seen, s, -np.inf)
    top = s.max(-1, keepdims=True, initial=sink)
    top = np.where(np.isneginf(top), 0, top)
    p = np.exp(s - top)
    total = p.sum(-1, keepdims=True) + np.exp(sink - top)
    with np.errstate(divide="ignore"):
        return p / np.where(total == 0, 1, total) @ v, ((top + np.log(total)) / math.log(2))[..., 0]


CONST = {"num_qo_heads": 4, "num_kv_heads": 2, "head_dim": 16}


def definition(name, inputs, axes=None, **more):
    """A definition whose axes are CONST, and var; inputs: name: (shape, dtype)."""
    inputs = {
        key: {"shape": shape and shape.split(), "dtype": dtype} for key, (shape, dtype) in inputs.items()
    }
    used = {axis for spec in inputs.values() for axis in spec["shape"] or []}
    known = {
        **{axis: {"type": "var"} for axis in sorted(used)},
        **{axis: {"type": "const", "value": value} for axis, value in CONST.items()}, **(axes or {})
    }
    return {
        "name": name, "op_type": "gqa", "axes": known, "inputs": inputs, "outputs": {}, "reference": "",
        **more
    }


def put(folder, problem, workloads, kind="gqa_paged"):
    """A data set of one definition, and its workloads, as FlashInfer-Bench lays them out."""
    path = folder / "definitions" / kind / f"{problem['name']}.json"
    lines = folder / "workloads" / kind / f"{problem['name']}.jsonl"
    for one in (path, lines):
        one.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(problem))
    lines.write_text("".join(
        json.dumps({
            "definition": problem["name"], "workload": {"uuid": name, "axes": axes, "inputs": inputs},
            "solution": None, "evaluation": None
        }) + "\n" for name, axes, inputs in workloads))
    return path


def blob(folder, name, **arrays):
    (folder / "blob").mkdir(exist_ok=True)
    _arrays.save(folder / "blob" / name, {
        key: array if isinstance(array, tuple) else _arrays.as_numpy(array)
        for key, array in arrays.items()
    })
    return {key: {"type": "safetensors", "path": f"blob/{name}", "tensor_key": key} for key in arrays}


CACHE = "num_pages page_size num_kv_heads head_dim"
DECODE = {
    "q": ("batch_size num_qo_heads head_dim", "bfloat16"), "k_cache": (CACHE, "bfloat16"),
    "v_cache": (CACHE, "bfloat16"), "kv_indptr": ("len_indptr", "int32"),
    "kv_indices": ("num_kv_indices", "int32"), "sm_scale": (None, "float32")
}
RANDOM = {name: {"type": "random"} for name in ("q", "k", "v", "k_cache", "v_cache")}
SCALE = {"sm_scale": {"type": "scalar", "value": 0.3}}


def test_paged(folder):
    ps1 = {"page_size": {"type": "const", "value": 1}}
    tables = blob(folder,
                  "ps1.safetensors",
                  kv_indptr=np.array([0, 3, 3, 8], "i4"),
                  kv_indices=np.array([9, 0, 4, 1, 2, 3, 5, 8], "i4"))
    wrong = blob(folder,
                 "wrong.safetensors",
                 kv_indptr=np.array([0, 3, 2, 8], "i4"),
                 kv_indices=np.array([9, 0, 4, 1, 2, 3, 5, 10], "i4"))
    axes = {"batch_size": 3, "num_pages": 10, "len_indptr": 4, "num_kv_indices": 8}
    inputs = {**RANDOM, **SCALE, **tables}
    path = put(
        folder, definition("gqa_paged_decode_h4_kv2_d16_ps1", DECODE, ps1),
        [("good", axes, inputs), ("drawn", axes, {**inputs, "kv_indices": {"type": "random"}}),
         ("axis", {**axes, "num_kv_indices": 7}, inputs), ("absent", {"batch_size": 3}, inputs),
         ("falls", axes, {**inputs, "kv_indptr": wrong["kv_indptr"]}),
         ("beyond", axes, {**inputs, "kv_indices": wrong["kv_indices"]}),
         ("key", axes, {**inputs, "kv_indptr": {**tables["kv_indptr"], "tensor_key": "indptr"}}),
         ("file", axes, {**inputs, "kv_indptr": {**tables["kv_indptr"], "path": "blob/none.safetensors"}}),
         ("scale", axes, {**RANDOM, **tables})])
    expect([path, folder / "out"], 1, f"{folder}/out/good.h5: bf16-b3-hq4-hkv2-q1-kv5-d16-page1-lens3,0,5-",
           "drawn: input 'kv_indices' is int32 and random: lengths and tables have to be in a file",
           "axis: input 'kv_indices' is [8] in 'blob/ps1.safetensors', expected [7], [num_kv_indices]",
           "absent: axis 'len_indptr' is missing", "falls: 'kv_indptr' falls from 3 to 2 at 2",
           "beyond: page 10 of entry 7 is none of 10", "ps1.safetensors' has no array 'indptr'",
           "file: 'blob/none.safetensors' is not below",
           "scale: input 'sm_scale' is not there, expected a scalar")
    check(
        sorted(one.name for one in (folder / "out").iterdir()) == ["good.h5"],
        "nothing of what was refused")
    first = fixture(folder / "out/good.h5", folder)
    expect([path, folder / "again.h5", "--only", "good"], 0)
    expect([path, folder / "other.h5", "--only", "good", "--seed", "2"], 0)
    expect([path, folder / "other.h5"], 1, "has 9 problems", "expected a folder, or --only good")
    expect([path, folder / "other.h5", "--only", "g"], 1, "has no problem 'g'")
    again, other = fixture(folder / "again.h5", folder), fixture(folder / "other.h5", folder)
    same = [(again[name][0] == first[name][0]).all() and not (other[name][0] == first[name][0]).all()
            for name in ("q", "kv_cache")]
    check(all(same), f"a seed is the same bits, another is others: {same}")
    values = f32(first["kv_cache"][0])
    check(
        first["kv_cache"][0].shape == (10, 2, 2, 1, 16) and abs(values.mean()) < 0.2 and
        abs(values.std() - 1) < 0.1 and (values[:, 0] != values[:, 1]).any(), "drawn as standard normal")

    # Pages of 4, values from a file, both layouts; the answer by another way through the pages.
    q, k, v = (random.standard_normal(shape, "f4").astype("f2")
               for shape in ((2, 4, 16), (5, 4, 2, 16), (5, 4, 2, 16)))
    given = blob(folder,
                 "ps4.safetensors",
                 q=q,
                 k_cache=k,
                 v_cache=v,
                 kv_indptr=np.array([0, 2, 3], "i4"),
                 kv_indices=np.array([4, 1, 0], "i8"),
                 kv_last_page_len=np.array([3, 4], "i4"),
                 block_tables=np.array([[4, 1, -1], [0, 7, 7]], "i4"),
                 seq_lens=np.array([7, 4], "i4"))
    hnd = blob(folder, "hnd.safetensors", k_cache=k.swapaxes(1, 2), v_cache=v.swapaxes(1, 2))
    f16 = {
        name: (shape, dtype.replace("bfloat16", "float16").replace("int32", "int64")
               if name == "kv_indices" else dtype.replace("bfloat16", "float16"))
        for name, (shape, dtype) in DECODE.items()
    }
    axes = {
        "batch_size": 2, "num_pages": 5, "len_indptr": 3, "num_kv_indices": 3, "page_size": 4, "blocks": 3
    }
    last = {"kv_last_page_len": ("batch_size", "int32")}
    blocks = {
        "q": f16["q"], "k_cache": f16["k_cache"], "v_cache": f16["v_cache"],
        "block_tables": ("batch_size blocks", "int32"), "seq_lens": ("batch_size", "int32")
    }
    swapped = {
        **f16, **last,
        **dict.fromkeys(("k_cache", "v_cache"), ("num_pages num_kv_heads page_size head_dim", "float16"))
    }
    out = np.zeros((2, 4, 1, 16))
    where = ((4, 4, 4, 4, 1, 1, 1), (0, 1, 2, 3, 0, 1, 2)), ((0, 0, 0, 0), (0, 1, 2, 3))
    for b, (page, row) in enumerate(where):
        for h in range(4):
            out[b, h] = attention(q[b, h:h + 1].astype("f8"), k[page, row, h // 2].astype("f8"),
                                  v[page, row, h // 2].astype("f8"), None, 0.3)[0]
    _arrays.save(folder / "answer.safetensors", {"out": (out.astype("f2"), "F16")})
    for name, inputs, sources in (("nhd", {**f16, **last}, given), ("hnd", swapped, {**given, **hnd}),
                                  ("blocks", blocks, given)):
        scale = [{}, "--scale", "0.3"] if name == "blocks" else [SCALE]
        path = put(folder, definition(f"decode_{name}", inputs), [(name, axes, {**sources, **scale[0]})])
        expect([path, folder / f"{name}.h5", *scale[1:]], 0, "-page4-lens7,4-")
        check(
            '"PASS"' in _judge.call("judge", folder / f"{name}.h5", folder / "answer.safetensors", "--json",
                                    "--out", folder / f"judged_{name}"), f"{name}: the answer is another")
    path = put(folder, definition("decode_tail", f16), [("tail", axes, {**given, **SCALE})])
    expect([path, folder / "tail.h5"], 1, "tail: 'kv_last_page_len' is missing: pages hold 4 tokens")
    expect([path, folder / "tail.h5", "--scale", "1"], 1, "tail: --scale is 1, and its own is 0.3")
    path = put(
        folder, definition("prefill_paged", {**f16, **last, "qo_indptr": ("len_indptr", "int32")}),
        [("many", axes,
          {**given, **SCALE, **blob(folder, "qo.safetensors", qo_indptr=np.array([0, 2, 3], "i4"))})])
    expect([path, folder / "many.h5"], 1,
           "many: sequence 0 has 2 queries over pages: a fixture with pages has one query")
    for name, inputs, text in (("latent", {
            "q_nope": ("batch_size num_qo_heads head_dim", "bfloat16"), "ckv_cache": (CACHE, "bfloat16"),
            "sm_scale": (None, "float32")
    }, "'q_pe' is missing"),
                               ("slopes", {**DECODE, "alibi_slopes": ("num_qo_heads", "float32")},
                                "input 'alibi_slopes': a fixture cannot say it"),
                               ("slides", {**DECODE, "sliding_window": (None, "int32")},
                                "input 'sliding_window': it is not said whether that counts the query's own"),
                               ("fp8", {**DECODE, "k_cache": (CACHE, "float8_e4m3fn")},
                                "input 'k_cache' is float8_e4m3fn, expected float16"),
                               ("capped", {**DECODE, "logits_soft_cap": (None, "float32")},
                                f"'{folder}/none.h5': attribute 'softcap' is -3, expected 1e-06 to 1e+06")):
        path = put(folder, definition(name, inputs, ps1),
                   [(name, {"batch_size": 3, "num_pages": 10, "len_indptr": 4, "num_kv_indices": 8},
                     {**RANDOM, **SCALE, **tables, "logits_soft_cap": {"type": "scalar", "value": -3}})])
        expect([path, folder / "none.h5"], 1, f"{name}: {text}")
    check(not (folder / "none.h5").exists(), "nothing is half written")


def test_latent(folder):
    """FlashInfer-Bench's MLA: queries and pages in two parts, of which the first is the value."""
    inputs = {
        "q_nope": ("batch_size num_qo_heads latent", "float16"),
        "q_pe": ("batch_size num_qo_heads rope", "float16"),
        "ckv_cache": ("num_pages page_size latent", "float16"),
        "kpe_cache": ("num_pages page_size rope", "float16"), "kv_indptr": ("len_indptr", "int32"),
        "kv_indices": ("num_kv_indices", "int32"), "kv_last_page_len": ("batch_size", "int32"),
        "sm_scale": (None, "float32")
    }
    axes = {"batch_size": 2, "num_pages": 6, "len_indptr": 3, "num_kv_indices": 3}
    sizes = {name: {"type": "const", "value": size}
             for name, size in (("page_size", 4), ("latent", 24), ("rope", 8), ("narrow", 6))}
    shapes = {"q_nope": (2, 4, 24), "q_pe": (2, 4, 8), "ckv_cache": (6, 4, 24), "kpe_cache": (6, 4, 8)}
    parts = {name: random.standard_normal(shape).astype("f2") for name, shape in shapes.items()}
    tables = {"kv_indptr": np.array([0, 2, 3], "i4"), "kv_indices": np.array([4, 0, 5], "i4"),
              "kv_last_page_len": np.array([3, 4], "i4")}
    sources = {**blob(folder, "latent.safetensors", **parts, **tables), **SCALE}
    path = put(folder, definition("mla_paged_decode", inputs, sizes), [("latent", axes, sources)])
    expect([path, folder / "latent.h5"], 0, "-q1-kv7-d32-dv24-kshared-page4-lens7,4-scale0.3-")
    out = np.zeros((2, 4, 1, 24))
    for b, tokens in enumerate(([(4, 0), (4, 1), (4, 2), (4, 3), (0, 0), (0, 1), (0, 2)], [(5, n) for n in range(4)])):
        latent, rope = (np.stack([parts[name][at] for at in tokens]).astype("f8") for name in ("ckv_cache", "kpe_cache"))
        s = 0.3 * (parts["q_nope"][b].astype("f8") @ latent.T + parts["q_pe"][b].astype("f8") @ rope.T)
        p = np.exp(s - s.max(1, keepdims=True))
        out[b, :, 0] = p / p.sum(1, keepdims=True) @ latent
    _arrays.save(folder / "latent_answer.safetensors", {"out": (out.astype("f2"), "F16")})
    check('"PASS"' in _judge.call("judge", folder / "latent.h5", folder / "latent_answer.safetensors", "--json",
                                  "--out", folder / "judged_latent"), "the answer is another")
    decoding, of_decoding = inputs, axes
    # DeepSeek's sparse attention: lists of tokens of all pages, in any order, -1 anywhere
    inputs = {**{name: (shape and shape.replace("batch_size", "num_tokens"), dtype) for name, (shape, dtype) in inputs.items()
                 if not name.startswith("kv_")}, "sparse_indices": ("num_tokens topk", "int32")}
    axes = {"num_tokens": 2, "num_pages": 6, "topk": 5}
    chosen = {"few": np.array([[23, -1, 4, 0, 9], [-1] * 5], "i4"), "far": np.array([[0] * 5, [1, 24, 2, 3, 4]], "i4"),
              "twice": np.array([[7, 7, 1, 2, 3], [-1] * 5], "i4")}
    lists = {name: {**sources, **blob(folder, f"{name}.safetensors", sparse_indices=array)} for name, array in chosen.items()}
    one = {**lists["few"], **blob(folder, "one.safetensors", sparse_indices=chosen["few"][:1],
                                  **{name: parts[name][:1] for name in ("q_nope", "q_pe")})}
    path = put(folder, definition("dsa_sparse_attention", inputs, sizes),
               [("few", axes, lists["few"]), ("one", {**axes, "num_tokens": 1}, one), ("far", axes, lists["far"]),
                ("twice", axes, lists["twice"])], kind="dsa_paged")
    expect([path, folder / "dsa"], 1,
           f"{folder}/dsa/few.h5: f16-b1-hq4-hkv1-q2-kv24-d32-dv24-kshared-page4-lens24-keep0.0833-keepgroup-scale0.3-",
           f"{folder}/dsa/one.h5: f16-b1-hq4-hkv1-q1-kv24-d32-dv24-kshared-page4-lens24-keep4-keepgroup-scale0.3-",
           "far: 'sparse_indices' has 24 at [1, 1], expected -1 or a token of 0..23",
           "sparse_ind[0,0,0,1] is 7: expected no token twice")
    flat = {name: parts[name].reshape(24, -1)[[23, 4, 0, 9]].astype("f8") for name in ("ckv_cache", "kpe_cache")}
    s = 0.3 * (parts["q_nope"][0].astype("f8") @ flat["ckv_cache"].T + parts["q_pe"][0].astype("f8") @ flat["kpe_cache"].T)
    p = np.exp(s - s.max(1, keepdims=True))
    out = np.zeros((1, 4, 2, 24))
    out[0, :, 0] = p / p.sum(1, keepdims=True) @ flat["ckv_cache"]
    _arrays.save(folder / "dsa_answer.safetensors", {"out": (out.astype("f2"), "F16")})
    check('"PASS"' in _judge.call("judge", folder / "dsa/few.h5", folder / "dsa_answer.safetensors", "--json",
                                  "--out", folder / "judged_dsa"), "the answer of lists is another")
    narrow = {**sources, **blob(folder, "narrow.safetensors", q_pe=parts["q_pe"][..., :6].copy())}
    path = put(folder, definition("mla_paged_decode", {**decoding, "q_pe": ("batch_size num_qo_heads narrow", "float16")},
                                  sizes), [("latent", of_decoding, narrow)])
    expect([path, folder / "narrow.h5"], 1, "latent: 'q_pe' has 6 elements, expected 8 as 'kpe' has")


def test_latent_bytes(folder):
    """Latents as FlashMLA and vLLM keep them, [pages, P, 1, D] of E4M3 and one scale."""
    codes = random.integers(0, 126, (5, 4, 1, 32)).astype("u1") | random.choice(np.array([0, 128], "u1"), (5, 4, 1, 32))
    q = bf16(random.standard_normal((2, 3, 4, 32)).astype("f4"))
    tables = {"kv_page_indptr": [0, 2, 3], "kv_page_indices": [4, 0, 2], "kv_last_page_len": [3, 4]}
    given = {"query": (q, "BF16"), "cache": (codes, "F8_E4M3"), "k_scale": (np.array([2 ** -6], "f4"), "F32"),
             **{name: (np.array(table, "i4"), "I32") for name, table in tables.items()}}
    _arrays.save(folder / "served.safetensors", given)
    words = ["--name", "q=query", "--name", "k=cache", "--layout", "bshd", "--causal", "bottom-right", "--scale", "0.3"]
    expect([folder / "served.safetensors", folder / "served.h5", *words, "--kshared", "24"], 0,
           "bf16-b2-hq4-hkv1-q3-kv7-d32-dv24-kshared-page4-causal-lens7,4-scale0.3-kve4m3-")
    rows = [np.concatenate([_arrays.E4M3[codes[page, :, 0]] for page in pages])[:tokens].astype("f8") * 2 ** -6
            for pages, tokens in (((4, 0), 7), ((2, ), 4))]
    out = np.stack([attention(f32(q)[b].swapaxes(0, 1).astype("f8"), k[None], k[None, :, :24],
                              np.arange(len(k)) <= np.arange(len(k) - 3, len(k))[:, None], 0.3)[0] for b, k in enumerate(rows)])
    _arrays.save(folder / "answer.safetensors", {"out": (bf16(out.astype("f4")), "BF16")})
    check('"PASS"' in _judge.call("judge", folder / "served.h5", folder / "answer.safetensors", "--json",
                                  "--out", folder / "judged"), "the answer is another")
    _arrays.save(folder / "two.safetensors", {**given, "v_scale": given["k_scale"]})
    expect([folder / "two.safetensors", folder / "two.h5", *words, "--kshared", "24"], 1,
           "dataset 'v_scale' cannot go with attribute 'kshared': values have the scale of their keys")


def test_ragged(folder):
    inputs = {
        "q": ("total_q num_qo_heads head_dim", "float16"),
        **dict.fromkeys(("k", "v"), ("total_kv num_kv_heads head_dim", "float16")), "qo_indptr": (
            "len_indptr", "int32"), "kv_indptr": ("len_indptr", "int32"), "sm_scale": (None, "float32")
    }
    cases = [("as_many", [0, 3, 3, 10], [0, 3, 3, 10], "q7-kv7-d16-causal-lens3,0,7-scale0.3-"),
             ("alike", [0, 3, 6], [0, 7, 14], "b2-hq4-hkv2-q3-kv7-d16-causal-scale0.3-"),
             ("one", [0, 5], [0, 9], "b1-hq4-hkv2-q5-kv9-d16-causal-scale0.3-"),
             ("decode", [0, 1, 2, 3], [0, 4, 4, 13], "b3-hq4-hkv2-q1-kv9-d16-page1-lens4,0,9-scale0.3-"),
             ("others", [0, 3, 10], [0, 5,
                                     12], "sequence 0 has 3 queries and 5 keys: where sequences differ"),
             ("short", [0, 3, 9], [0, 3, 8], "sequence 1 has 6 queries and 5 keys"),
             ("batch", [0, 3, 10], [0, 10], "input 'kv_indptr' is [2] in"),
             ("begin", [1, 3], [0, 3], "'qo_indptr' begins with 1, expected 0")]
    for name, queries, keys, text in cases:
        tables = blob(folder,
                      f"{name}.safetensors",
                      qo_indptr=np.array(queries, "i4"),
                      kv_indptr=np.array(keys, "i4"))
        axes = {"total_q": queries[-1], "total_kv": keys[-1], "len_indptr": len(queries)}
        path = put(folder, definition("gqa_ragged_prefill_causal_h4", inputs),
                   [(name, axes, {**RANDOM, **SCALE, **tables})])
        expect([path, folder / f"{name}.h5"], int("-" not in text), text)
    path = put(folder, definition("gqa_ragged_h4", inputs),
               [("as_many", {"total_q": 10, "total_kv": 10, "len_indptr": 4}, {
                   **RANDOM, **SCALE, **blob(folder,
                                             "as_many.safetensors",
                                             qo_indptr=np.array([0, 3, 3, 10], "i4"),
                                             kv_indptr=np.array([0, 3, 3, 10], "i4"))
               })])
    expect([path, folder / "unsaid.h5"], 1,
           "it is not said whether it is causal: --causal bottom-right, or none")
    expect([path, folder / "said.h5", "--causal", "none"], 0, "kv7-d16-lens3,0,7-scale0.3-")
    expect([path, folder / "said.h5", "--causal", "top-left"], 0, "kv7-d16-causal-")


def test_sol(folder):
    """SOL-ExecBench: definition.json beside workload.jsonl, bare workloads, axes computed from others."""
    inputs = {"q": ("B Q H_qo D", "bfloat16"), **dict.fromkeys(("k", "v"), ("B KV H_kv D", "bfloat16"))}
    axes = {
        "H_kv": {"type": "const", "value": 2}, "H_qo": {"type": "expr", "expression": "H_kv * 4"},
        "D": {"type": "const", "value": 32}
    }
    one = {
        "uuid": "a/b c", "axes": {"B": 2, "Q": 5, "KV": 9},
        "inputs": {name: {"type": "random"} for name in "qkv"}
    }
    custom = {**one, "uuid": "custom", "inputs": {name: {"type": "custom"} for name in "qkv"}}
    (folder / "sol").mkdir()
    (folder / "sol/definition.json").write_text(json.dumps(definition("gqa", inputs, axes)))
    (folder / "sol/workload.jsonl").write_text(json.dumps(one) + "\n\n" + json.dumps(custom) + "\n")
    expect([folder / "sol", folder / "out"], 1,
           "nothing says what logits are scaled by: --scale, or --reference")
    for words, text in (((), "it is not said whether it is causal"),
                        (("--causal", "bottom-right"), "a_b_c.h5: bf16-b2-hq8-hkv2-q5-kv9-d32-causal-"),
                        (("--causal", "none"), "bf16-b2-hq8-hkv2-q5-kv9-d32-"),
                        (("--causal", "top-left"), "causal is 'top-left': query i sees keys 0..i")):
        expect([folder / "sol", folder / "out", "--scale", "0.5", *words], 1, text,
               "custom: input 'q' is custom")
    # decode over caches with room, of which lengths say what is valid
    cached = {**inputs, "q": ("B H_qo D", "bfloat16"), "seq_lens": ("B", "int32")}
    lengths = blob(folder, "lengths.safetensors", seq_lens=np.array([9, 0], "i4"))
    for more, text in (({}, "bf16-b2-hq8-hkv2-q1-kv9-d32-page9-lens9,0-"),
                       ({"sm_scale": (None, "float32"), "kv_indptr": ("B", "int32")}, "expected a scalar")):
        (folder / "sol/definition.json").write_text(json.dumps(definition("gqa", {**cached, **more}, axes)))
        (folder / "sol/workload.jsonl").write_text(
            json.dumps({**one, "inputs": {**one["inputs"], **lengths, "kv_indptr": lengths["seq_lens"]}}))
        expect([folder / "sol", folder / "cached.h5", "--root", folder, "--scale", "0.5"],
               int("-" not in text), text)
    (folder / "sol/workload.jsonl").write_text('{"uuid": "x"}\n')
    expect([folder / "sol", folder / "out"], 1,
           "line 1 is no workload: expected JSON with uuid, axes and inputs")
    (folder / "sol/definition.json").write_text(
        json.dumps(
            definition("gqa", inputs,
                       {**axes, "H_qo": {"type": "expr", "expression": "__import__('os')"}})))
    (folder / "sol/workload.jsonl").write_text(json.dumps(one))
    expect([folder / "sol", folder / "out"], 1, "which cannot be computed from")
    (folder / "sol/definition.json").write_text("[]")
    expect([folder / "sol", folder / "out"], 1, "is no definition: expected name, axes and inputs")


BATCH = {"q": ("B Q H_qo D", "float16"), **dict.fromkeys(("k", "v"), ("B KV H_kv D", "float16"))}
HEADS = {"H_kv": {"type": "const", "value": 2}, "H_qo": {"type": "const", "value": 4},
         "D": {"type": "const", "value": 16}}


def expect_batch(folder, inputs, words, status, text, axes=None, **sources):
    """What is said of one workload of a definition: B 2, Q 6, KV 6 where `axes` does not say otherwise."""
    place = folder / "batch"
    place.mkdir(exist_ok=True)
    (place / "definition.json").write_text(json.dumps(definition("gqa", {**BATCH, **inputs}, HEADS)))
    (place / "workload.jsonl").write_text(
        json.dumps({"uuid": "one", "axes": {"B": 2, "Q": 6, "KV": 6, **(axes or {})},
                    "inputs": {**RANDOM, **sources}}))
    expect([place, folder / "batch.h5", "--root", folder, "--scale", "1", *words], status, text)


def test_top_left(folder):
    """It is taken where each sequence has as many keys as queries, of those that are valid."""
    words, another = ("--causal", "top-left"), "causal is 'top-left': query i sees keys 0..i there, here 0..i"
    lengths = {"seq_lens": ("B", "int32")}
    for valid, status, text in (([6, 6], 0, "f16-b2-hq4-hkv2-q6-kv6-d16-causal-"),
                                ([3, 3], 1, f"{another} + 3 - 6"), ([6, 5], 1, f"{another} + 5 - 6")):
        expect_batch(folder, lengths, words, status, text,
                     **blob(folder, "lens.safetensors", seq_lens=np.array(valid, "i4")))
    decode = {"q": ("B H_qo D", "float16")}
    expect_batch(folder, decode, words, 1, f"{another} + 6 - 1")
    expect_batch(folder, {**decode, **lengths}, words, 1, f"{another} + 6 - 1",
                 **blob(folder, "lens.safetensors", seq_lens=np.array([1, 6], "i4")))
    expect_batch(folder, {"q": ("H_qo D", "float16"), "k": ("KV D", "float16"), "v": ("KV D", "float16")},
                 (*words, "--kv-layout", "NHD"), 1, "'k' is [6, 16], expected [Skv, H, D]")
    tables = blob(folder, "tables.safetensors", kv_indptr=np.array([0, 2, 3], "i4"),
                  kv_indices=np.array([4, 1, 0], "i4"))
    path = put(folder, definition("paged", DECODE),
               [("paged", {"batch_size": 2, "num_pages": 5, "len_indptr": 3, "num_kv_indices": 3,
                           "page_size": 1}, {**RANDOM, **SCALE, **tables})])
    expect([path, folder / "paged.h5", *words], 1, "over pages a query sees all keys of its sequence")


def test_axes(folder):
    """Where heads are is said alike by all, and a size is a number."""
    hnd = dict.fromkeys(("k", "v"), ("B H_kv KV D", "float16"))
    none = ("--causal", "none")
    expect_batch(folder, {}, none, 0, "f16-b2-hq4-hkv2-q6-kv6-d16-scale1-")
    expect_batch(folder, {"q": ("B H_qo Q D", "float16"), **hnd}, none, 0,
                 "f16-b2-hq4-hkv2-q6-kv6-d16-scale1-")
    expect_batch(folder, hnd, none, 1, "'q' [B, Q, H_qo, D] is NHD, expected HND as 'k' [B, H_kv, KV, D] is",
                 {"Q": 4, "KV": 2})
    expect_batch(folder, {"v": hnd["v"]}, none, 1, "'v' [B, H_kv, KV, D] is HND, expected NHD as 'k'",
                 {"KV": 2})
    expect_batch(folder, {"q": ("H_qo Q D", "float16"), **hnd}, none, 1,
                 "'q' [H_qo, Q, D] is HND, expected its heads before the last axis")
    expect_batch(folder, {}, (*none, "--kv-layout", "HND"), 1,
                 "'k' [B, KV, H_kv, D] is NHD, expected HND as --kv-layout is")
    starts = {"qo_indptr": ("n", "int32"), "kv_indptr": ("n", "int32")}
    expect_batch(folder, {"q": ("Q H_qo D", "float16"), **hnd, **starts}, none, 1,
                 "'k' is [2, 2, 6, 16], expected [H, total, D]", {"n": 2},
                 **blob(folder, "starts.safetensors", qo_indptr=np.array([0, 6], "i4"),
                        kv_indptr=np.array([0, 6], "i4")))
    for text in ("10**308*10", "10**308*10 - 10**308*10", "7 / 2"):
        HEADS["H_kv"] = {"type": "expr", "expression": text}
        expect_batch(folder, {}, none, 1, f"an axis is {text!r}, ")
    HEADS["H_kv"] = {"type": "const", "value": 2}
    paged = {"q": DECODE["q"], "k_cache": DECODE["k_cache"], "v_cache": DECODE["v_cache"],
             "block_tables": ("batch_size blocks", "int32"), "seq_lens": ("batch_size", "int32")}
    for lengths, text in (([-6, 4], "'seq_lens' has -6 at 0, expected 0 to 12"),
                          ([4, 13], "'seq_lens' has 13 at 1, expected 0 to 12")):
        path = put(folder, definition("blocks", paged),
                   [("blocks", {"batch_size": 2, "num_pages": 5, "page_size": 4, "blocks": 3},
                     {**RANDOM, **blob(folder, "blocks.safetensors", seq_lens=np.array(lengths, "i4"),
                                       block_tables=np.zeros((2, 3), "i4"))})])
        expect([path, folder / "blocks.h5", "--scale", "1"], 1, text)


def test_options(folder):
    """One that does not apply to what FROM is, or says what FROM itself says, is named."""
    np.savez(folder / "a.npz", **{name: np.zeros((1, 2, 3, 8), "f4") for name in "qkv"})
    calls = dump(folder / "dumps", 0, "single_prefill_with_kv_cache", [np.zeros((3, 2, 8), "f4")] * 3,
                 {"kv_layout": "NHD"})
    (folder / "onnx").mkdir()
    (folder / "onnx/model.onnx").write_bytes(b"")
    expect_batch(folder, {}, ("--causal", "none"), 0, "f16-b2-")
    for source, what, words in (
        (folder / "a.npz", "arrays", ("--only *", f"--outputs {folder}/o", "--workloads w", "--root r",
                                      "--seed 1", "--reference", "--kv-layout NHD")),
        (folder / "batch", "a definition", ("--layout bhsd", "--name q=q", "--without w")),
        (calls, "dumped calls", ("--causal none", "--scale 1", "--layout bhsd", "--name q=q", "--without w",
                                 "--workloads w", "--root r", "--seed 1", "--reference")),
        (folder / "onnx", "ONNX's models", ("--causal none", "--scale 1", "--seed 1", "--kv-layout NHD"))):
        for option in words:
            expect([source, folder / "no.h5", *option.split()], 1,
                   f"'{source}': {option.split()[0]} does not apply to {what}")
    check(not (folder / "no.h5").exists() and not (folder / "o").exists(), "nothing is made")
    expect([folder / "none", folder / "no.h5", "--outputs", "o"], 1, "is neither npz")
    expect([folder / "batch", folder / "no.h5", "--outputs", "o"], 1,
           "has no answers for --outputs but those that --reference computes")
    said = {"type": "scalar", "value": True}
    expect_batch(folder, {"causal": (None, "bool")}, (), 0, "kv6-d16-causal-", causal=said)
    for word in ("none", "bottom-right"):
        expect_batch(folder, {"causal": (None, "bool")}, ("--causal", word), 1,
                     f"--causal is {word}, and its own is True", causal=said)
    expect([calls, folder / "no.h5", "--kv-layout", "HND"], 1, "--kv-layout is HND, and its own is NHD")


def test_refused(folder):
    """What an earlier run made of a problem that is refused now, or has no answer now, goes."""
    root, answers, out = folder / "dumps", folder / "answers", folder / "out"
    q = random.standard_normal((3, 2, 8)).astype("f4")
    many = [dump(root, at, "single_prefill_with_kv_cache", [q, q, q], None, {"result": q}) for at in range(4)]
    words, names = [root, out, "--outputs", answers], [one.name for one in many]
    made = lambda: [sorted(path.stem for path in place.iterdir()) for place in (out, answers)]
    expect(words, 0, *names)
    check(made() == [names, names], f"{made()}")
    metadata = json.loads((many[1] / "metadata.jsonl").read_text().splitlines()[0])
    (many[1] / "metadata.jsonl").write_text(json.dumps(metadata))  # a call that has not returned
    metadata["input_metadata"] = {"kwarg_custom_mask": 1}
    (many[2] / "metadata.jsonl").write_text(json.dumps(metadata))
    header = b'{"arg_0":{"dtype":"F32","shape":[1],"data_offsets":[0,%d]}}' % 10**30
    (many[3] / "inputs.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    expect(words, 1, f"{many[1].name}.h5: f32-", "argument 'custom_mask' is 1",
           f"{many[3].name}: '{many[3] / 'inputs.safetensors'}': ")
    check(made() == [names[:2], names[:1]], f"{made()}")
    check(not list(folder.rglob("*.part")), "no part is left")
    tables = blob(folder, "ps1.safetensors", kv_indptr=np.array([0, 1], "i4"), kv_indices=np.array([0], "i4"))
    axes = {"batch_size": 1, "num_pages": 1, "len_indptr": 2, "num_kv_indices": 1, "page_size": 1}
    path = put(folder, definition("twice", DECODE),
               [(name, axes, {**RANDOM, **SCALE, **tables}) for name in ("a b", "a/b")])
    expect([path, folder / "twice"], 1, "a_b.h5: bf16-", f"a/b: is '{folder}/twice/a_b.h5', as 'a b' is")
    check((folder / "twice/a_b.h5").exists(), "the other that is of this file stays")


def test_damaged(folder):
    """A file that is cut or is something else is one line, whatever its reader raises."""
    np.savez(folder / "cut.npz", q=np.zeros(99))
    (folder / "cut.npz").write_bytes((folder / "cut.npz").read_bytes()[:200])
    (folder / "empty.npz").write_bytes(b"")
    header = b'{"q":7}'
    (folder / "odd.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    broken = ["cut.npz", "empty.npz", "odd.safetensors", "none.npz"]
    if importlib.util.find_spec("torch"):
        (folder / "empty.pt").write_bytes(b"")
        (folder / "text.pt").write_bytes(b"no pickle" * 9)
        broken += ["empty.pt", "text.pt"]
        q = np.zeros((3, 2, 8), "f4")
        one, other = (dump(folder / "dumps", at, "single_prefill_with_kv_cache", [q, q, q]) for at in (0, 1))
        (one / "inputs.pt").write_bytes(b"PK\3\4" + bytes(99))
        expect([folder / "dumps", folder / "out"], 1, f"{one.name}: '{one / 'inputs.pt'}': ",
               f"{other.name}.h5: f32-")
    for name in broken:
        status, out, err = converted(folder / name, folder / "no.h5")
        check(status == 1 and err.startswith(f"attest.convert: '{folder / name}': ") and
              err.count("\n") == 1 and err.count(name) == 1 + (name == "none.npz"), f"{name}: {err}")


SIGNATURES = {
    "single_prefill_with_kv_cache":
    "(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, custom_mask: Optional[torch.Tensor] = None, "
    "causal: bool = False, kv_layout: str = 'NHD', sm_scale: Optional[float] = None, "
    "window_left: int = -1, logits_soft_cap: Optional[float] = None, "
    "return_lse: bool = False) -> Union[torch.Tensor]",
    "__init__": "(self, float_workspace_buffer: torch.Tensor, kv_layout: str = 'NHD') -> None",
    "plan": "(self, indptr: torch.Tensor, indices: torch.Tensor, last_page_len: torch.Tensor, "
    "num_qo_heads: int, num_kv_heads: int, head_dim: int, page_size: int, "
    "*deprecated_positional_args: Any, **kwargs: Any) -> None",
    "run": "(self, q: torch.Tensor, paged_kv_cache: Union[torch.Tensor, Tuple[torch.Tensor, "
    "torch.Tensor]], *args, q_scale: Optional[float] = None, return_lse: bool = False, "
    "sinks: Optional[torch.Tensor] = None) -> torch.Tensor"
}
WRAPPER = "BatchDecodeWithPagedKVCacheWrapper"


def dump(root, number, function, positional, keyword=None, outputs=None, self_id=None):
    """One call, as FlashInfer 0.7.4 dumps it with FLASHINFER_DUMP_SAFETENSORS=1."""
    folder = root / f"20260801_12000{number}_000_pid7_{function}_call0001"
    folder.mkdir(parents=True)
    tensors, metadata = {}, {}
    named = [(f"arg_{at}", value) for at, value in enumerate(positional)] + \
              [(f"kwarg_{name}", value) for name, value in (keyword or {}).items()]
    for key, value in named:
        if isinstance(value, np.ndarray):
            tensors[key] = value
        elif isinstance(value, tuple):
            tensors.update({f"{key}__{at}": one for at, one in enumerate(value)})
            metadata[key] = {
                "type": "tuple", "length": len(value), "truncated": False,
                "items": [{"type": "torch.Tensor", "tensor_key": f"{key}__{at}"}
                          for at in range(len(value))]
            }
        else:
            metadata[key] = value
    for kind, arrays in (("inputs", tensors), ("outputs", outputs or {})):
        if arrays:
            _arrays.save(folder / f"{kind}.safetensors",
                         {name: _arrays.as_numpy(array) for name, array in arrays.items()})
    entry = {
        "function_name": function, "process_id": 7, "input_metadata": metadata,
        "function_signature": SIGNATURES[function.rpartition(".")[2]],
        "tensor_info": {"input_tensor_keys": list(tensors)}, "execution_status": "inputs_saved",
        "graph_capture": False, **({"self_id": self_id} if self_id else {})
    }
    entries = [entry, {**entry, "execution_status": "completed"}] if outputs else [entry]
    (folder / "metadata.jsonl").write_text("".join(json.dumps(one) + "\n" for one in entries))
    return folder


def test_dumps(folder):
    root, workspace, me = folder / "dumps", np.zeros(8, "u1"), {"type": WRAPPER, "repr": "<...>"}
    draw = lambda *shape: random.standard_normal(shape, "f4")
    q, k, v = draw(3, 4, 16), draw(6, 2, 8, 16), draw(6, 2, 8, 16)  # HND
    indptr, indices, last = np.array([0, 2, 2, 3], "i4"), np.array([5, 0, 3, 1, 1],
                                                                   "i4"), np.array([3, 8, 8], "i4")
    out, lse = np.zeros((3, 4, 16), "f4"), np.full((3, 4), -np.inf, "f4")
    for b, rows in ((0, [(5, t) for t in range(8)] + [(0, t) for t in range(3)]), (2, [(3, t)
                                                                                       for t in range(8)])):
        page, row = np.array(rows).T
        for h in range(4):
            one, two = attention(q[b, h:h + 1].astype("f8"), k[page, h // 2, row].astype("f8"),
                                 v[page, h // 2, row].astype("f8"))
            out[b, h], lse[b, h] = one[0], two[0]
    plan = [me, indptr, indices, last, 4, 2, 16, 8]
    dump(root, 0, f"{WRAPPER}.__init__", [me, workspace, "HND"], self_id=1)
    dump(root,
         1,
         f"{WRAPPER}.plan",
         plan, {"q_data_type": {"type": "torch.dtype", "value": "torch.float32"}, "window_left": -1},
         self_id=1)
    dump(root, 2, f"{WRAPPER}.run", [me, q, (k, v)], {"return_lse": True},
         {"result_0": out, "result_1": lse}, 1)
    dump(root, 3, f"{WRAPPER}.run", [me, q, np.stack([k, v], 1)], {"kv_cache_sf": np.zeros(4, "f4")}, self_id=1)
    dump(root, 4, f"{WRAPPER}.run", [me, q, (k, v)], {"kernel_mode": 2}, self_id=1)
    dump(root, 5, f"{WRAPPER}.run", [me, q, (k, v)], self_id=2)
    dump(root, 6, f"{WRAPPER}.plan", plan[:-1] + [4], self_id=1)
    dump(root, 7, f"{WRAPPER}.run", [me, q, (k, v)], self_id=1)
    dump(root, 8, f"{WRAPPER}.plan", plan + ["NONE"], self_id=1)
    pending = dump(root, 9, f"{WRAPPER}.run", [me, q, (k, v)], self_id=1)
    expect([root, folder / "out", "--outputs", folder / "answers"], 1,
           "f32-b3-hq4-hkv2-q1-kv11-d16-page8-lens11,0,8-",
           "argument 'kv_cache_sf' is an array [4]: a fixture cannot say it",
           "argument 'kernel_mode' is 2: a fixture cannot say it", f"its {WRAPPER}.plan is not in the dump",
           "page_size is 4 in plan, and 8 of the arrays in layout HND",
           "has an argument 8 without a name: pass by keyword")
    path, = (folder / "out").iterdir()
    row = json.loads(
        _judge.call("judge", path, folder / "answers" / f"{path.stem}.safetensors", "--json", "--out",
                    folder / "judged"))
    check(row["status"] == "PASS" and row["lse_grade"] == "A", f"{row['status']}: {row['reason']}")
    (pending / "inputs.safetensors").unlink()
    metadata = json.loads((pending / "metadata.jsonl").read_text())
    (pending / "metadata.jsonl").write_text(json.dumps({**metadata, "graph_capture": True}))
    expect([pending, folder / "one.h5"], 1,
           "its inputs are not there: it was captured in a CUDA graph, and never replayed")
    for text in ("", "{", '{"function_name": 1}', '{"function_name": "f", "input_metadata": []}'):
        (pending / "metadata.jsonl").write_text(text)
        expect([root, folder / "out"], 1, "call0001: its metadata.jsonl is not FlashInfer's",
               "-page8-lens11,0,8-")
    # without __init__, of one call; and a single prefill
    lone = folder / "lone"
    dump(lone, 1, f"{WRAPPER}.plan", plan, self_id=1)
    run = dump(lone, 2, f"{WRAPPER}.run", [me, q, (k, v)], self_id=1)
    expect([run, folder / "one.h5"], 1,
           f"its {WRAPPER}.__init__ is not in the dump: --kv-layout NHD or HND")
    expect([run, folder / "one.h5", "--kv-layout", "HND"], 0, "-page8-lens11,0,8-")
    expect([run, folder / "one.h5", "--kv-layout", "NHD"], 1,
           "num_kv_heads is 2 in plan, and 8 of the arrays in layout NHD")
    q, k, v = draw(5, 4, 16), draw(9, 2, 16), draw(9, 2, 16)
    seen = np.arange(9) <= np.arange(5)[:, None] + 4
    pairs = [
        attention(q[:, h].astype("f8"), k[:, h // 2].astype("f8"), v[:, h // 2].astype("f8"), seen, 0.5)
        for h in range(4)
    ]
    out, lse = np.stack([one for one, _ in pairs], 1).astype("f4"), np.stack([two for _, two in pairs],
                                                                             1).astype("f4")
    one = dump(folder / "single", 0, "single_prefill_with_kv_cache", [q, k, v],
               {"causal": True, "sm_scale": 0.5, "return_lse": True}, {"result_0": out, "result_1": lse})
    expect([one, folder / "single.h5", "--outputs", folder / "answers"], 0,
           "f32-b1-hq4-hkv2-q5-kv9-d16-causal-scale0.5-")
    row = json.loads(
        _judge.call("judge", folder / "single.h5", folder / "answers/single.safetensors", "--json", "--out",
                    folder / "judged1"))
    check(row["status"] == "PASS" and row["lse_grade"] == "A", f"{row['status']}: {row['reason']}")
    other = dump(folder / "masked", 0, "single_prefill_with_kv_cache", [q, k, v],
                 {"custom_mask": np.ones((5, 9), "?")})
    expect([other, folder / "masked.h5"], 1, "argument 'custom_mask' is an array [5, 9]")


def judged(folder, fixture, answer):
    """What attest says of an answer."""
    return json.loads(_judge.call("judge", fixture, answer, "--json", "--out",
                                  folder / f"judged_{len(list(folder.iterdir()))}"))


def test_said(folder):
    """A window, a cap and sinks that FlashInfer is told are a fixture's; by its own mask, kv_idx + qo_len +
    window_left >= kv_len + qo_idx. A window of a key more is another."""
    draw = lambda *shape: random.standard_normal(shape, "f4")
    q, k, v, sinks = draw(5, 4, 16), draw(9, 2, 16), draw(9, 2, 16), draw(4) + 1
    i, j = np.arange(5)[:, None], np.arange(9)

    def answer(left, causal, cap, sunk=False):
        seen = (j + 5 + left >= 9 + i) & ((not causal) | (j <= i + 4))
        pairs = [attention(q[:, h].astype("f8"), k[:, h // 2].astype("f8"), v[:, h // 2].astype("f8"), seen, None,
                           cap, sinks[h] if sunk else -np.inf) for h in range(4)]
        return {f"result_{n}": np.stack([pair[n] for pair in pairs], 1).astype("f4") for n in (0, 1)}

    for name, left, causal, cap, line in (("causal", 2, True, None, "-causal-window2-file-"),
                                          ("left", 3, False, None, "-d16-window3,5-file-"),
                                          ("own", 0, True, 0.0, "-causal-window0-file-"),
                                          ("wide", 8, True, 0.5, "-causal-window8-softcap0.5-file-"),
                                          ("none", -1, True, 2.5, "-causal-softcap2.5-file-")):
        words = {"window_left": left, "causal": causal, "logits_soft_cap": cap, "return_lse": True}
        for wrong in (0, 1) if 0 <= left < 8 else (0, ):
            call = dump(folder / f"{name}{wrong}", 0, "single_prefill_with_kv_cache", [q, k, v], words,
                        answer(left + wrong if left >= 0 else 9, causal, cap))
            expect([call, folder / f"{name}.h5", "--outputs", folder / "answers"], 0, line)
            row = judged(folder, folder / f"{name}.h5", folder / f"answers/{name}.safetensors")
            check((row["status"], row["lse_grade"] == "A", "the window began one key earlier" in row["diagnosis"])
                  == (("FAIL_ACCURACY", False, True) if wrong else ("PASS", True, False)),
                  f"{name} {wrong}: {row['status']}: {row['reason']} {row['diagnosis']}")

    # Over pages: two sequences of 5 and 9 tokens in pages of 4.
    root, me = folder / "paged", {"type": WRAPPER, "repr": "<...>"}
    cache, q = draw(6, 2, 4, 2, 16), draw(2, 4, 16)
    plan = [me, np.array([0, 2, 5], "i4"), np.array([4, 1, 0, 5, 2], "i4"), np.array([1, 1], "i4"), 4, 2, 16, 4]
    rows = ([4] * 4 + [1], [0, 1, 2, 3, 0]), ([0] * 4 + [5] * 4 + [2], [0, 1, 2, 3] * 2 + [0])
    out, lse = np.zeros((2, 4, 16), "f4"), np.zeros((2, 4), "f4")
    for b, h in np.ndindex(2, 4):
        page, row = (np.array(one)[-7:] for one in rows[b])  # window_left is 6
        one, two = attention(q[b, h:h + 1].astype("f8"), *(cache[page, half, row, h // 2].astype("f8")
                                                           for half in (0, 1)), None, None, 1.5, sinks[h])
        out[b, h], lse[b, h] = one[0], two[0]
    dump(root, 0, f"{WRAPPER}.__init__", [me, np.zeros(8, "u1")], self_id=1)
    dump(root, 1, f"{WRAPPER}.plan", plan, {"window_left": 6, "window_right": 0, "logits_soft_cap": 1.5}, self_id=1)
    one = dump(root, 2, f"{WRAPPER}.run", [me, q, cache], {"sinks": sinks, "return_lse": True},
               {"result_0": out, "result_1": lse}, 1)
    expect([one, folder / "paged.h5", "--outputs", folder / "answers"], 0,
           "q1-kv9-d16-page4-window6-lens5,9-softcap1.5-sinks-file-")
    row = judged(folder, folder / "paged.h5", folder / "answers/paged.safetensors")
    check(row["status"] == "PASS" and row["lse_grade"] == "A", f"{row['status']}: {row['reason']}")

    # Definitions, by names and by options; arrays.
    left, cap = {"window_left": (None, "int32")}, {"logits_soft_cap": (None, "float32")}
    four, right, none = {"type": "scalar", "value": 4}, ("--causal", "bottom-right"), ("--causal", "none")
    for inputs, words, status, text, sources in (
        (left, right, 0, "-causal-window4-scale1-", {"window_left": four}),
        (left, none, 0, "-d16-window4,6-scale1-", {"window_left": four}),
        ({"window_right": (None, "int32")}, none, 0, "-d16-window6,4-", {"window_right": four}),
        ({"window_right": (None, "int32")}, right, 0, "-d16-causal-scale1-", {"window_right": four}),
        (cap, right, 0, "-causal-scale1-softcap4-", {"logits_soft_cap": four}),
        ({"sinks": ("H_qo", "bfloat16")}, right, 0, "-causal-scale1-sinks-", {"sinks": RANDOM["q"]}),
        ({"sinks": ("H_kv", "float32")}, right, 1, "dataset 'sinks' is for 2 query heads, expected 4",
         {"sinks": RANDOM["q"]}),
        ({"sinks": ("H_qo", "int32")}, right, 1, "input 'sinks' is int32 and random", {"sinks": RANDOM["q"]}),
        ({}, (*right, "--window", "3", "--softcap", "2"), 0, "-causal-window3-scale1-softcap2-", {}),
        ({}, (*none, "--window", "3"), 0, "-d16-window3-", {}),
        ({}, (*none, "--window", "3,0"), 0, "-d16-window3,0-", {}),
        (left, (*right, "--window", "3"), 1, "--window is 3, and its own is 4", {"window_left": four}),
        (cap, (*right, "--softcap", "3"), 1, "--softcap is 3, and its own is 4", {"logits_soft_cap": four}),
        ({}, (*right, "--window=-1"), 2, "argument --window: invalid window value: '-1'", {}),
        ({}, (*right, "--window=1,2,3"), 2, "argument --window: invalid window value: '1,2,3'", {})):
        expect_batch(folder, inputs, words, status, text, **sources)
    np.savez(folder / "a.npz", **{name: draw(1, 2, 3, 8) for name in "qkv"}, sink=np.array([0.1, -2]))
    expect([folder / "a.npz", folder / "a.h5", "--name", "sinks=sink", "--causal", "bottom-right", "--window", "1",
            "--softcap", "0.5"], 0, "f32-b1-hq2-hkv2-q3-kv3-d8-causal-window1-softcap0.5-sinks-file-")
    check((fixture(folder / "a.h5", folder)["sinks"][0] == np.array([0.1, -2], "f4")).all(), "sinks are f32")


def by_fixture(problem):
    """Attention of a Problem's arrays by what a fixture means; [B, Hq, Sq, D]."""
    a, out = problem.arrays, np.zeros_like(problem.arrays["q"])
    batch, heads, queries, _ = out.shape
    for b, h in np.ndindex(batch, heads):
        if "kv_cache" in a:
            cache, begin, end = a["kv_cache"], *a["kv_page_indptr"][b:b + 2]
            g = h // (heads // cache.shape[2])
            k, v = (cache[a["kv_page_indices"][begin:end], half, g].reshape(-1, cache.shape[-1])
                    for half in (0, 1))
            count = (end - begin - 1) * cache.shape[3] + a["kv_last_page_len"][b] if end > begin else 0
            k, v = k[:count], v[:count]
        else:
            g = h // (heads // a["k"].shape[1])
            k, v = a["k"][b, g], a["v"][b, g]
        behind = np.arange(len(k)) - (np.arange(queries)[:, None] + len(k) - queries)
        left, right = problem.window or (len(k) + queries, len(k) + queries)
        seen = (behind >= -left) & (behind <= (0 if problem.causal else right))
        seen = a["sparse_mask"][b, h][None] != 0 if "sparse_mask" in a else seen
        sink = a["sinks"][h] if "sinks" in a else -np.inf
        bias = a["bias"][b % len(a["bias"]), h % a["bias"].shape[1]] if "bias" in a else None
        out[b, h] = attention(a["q"][b, h], k, v, seen, problem.scale, problem.softcap, sink, bias)[0]
    return out


def test_onnx():
    """What is said of an Attention is what ONNX's text says it computes: j <= i + offset, windows, lengths,
    mask; over all combinations of few sizes. How many are biases is counted, so that no more become so."""
    random = np.random.default_rng(2)
    said = biases = 0
    for queries, keys, causal, cache, mask, window in itertools.product(
        (1, 3), (2, 3, 5), (0, 1), (None, "past", (4, 1), (3, 3), (0, 2)), (None, "bool", "ones", "short", "numbers"),
        ((-1, -1), (1, 0), (9, 9), (2, 1), (-1, 1))):
        q, k, v = (random.standard_normal(shape)
                   for shape in ((2, 4, queries, 8), (2, 2, keys, 8), (2, 2, keys, 8)))
        given, attributes, offset = {"Q": q, "K": k, "V": v}, {
            "is_causal": causal, "left_window_size": window[0], "right_window_size": window[1],
            "softcap": 0.5 if keys == 3 else 0.0
        }, 0
        length = np.full((2, 1, 1, 1), keys)
        if cache == "past":
            given["past_key"], given["past_value"] = random.standard_normal((2, 2, 2, 2, 8))
            k, v = np.concatenate([given["past_key"], k], 2), np.concatenate([given["past_value"], v], 2)
            offset, length = 2, length + 2
        elif cache:
            given["nonpad_kv_seqlen"] = np.minimum(cache, keys)
            length = given["nonpad_kv_seqlen"].reshape(2, 1, 1, 1)
            offset = length - queries
        j, i = np.arange(k.shape[2]), np.arange(queries)[:, None]
        seen = (j < length) & np.ones((2, 4, queries, 1), bool)
        seen &= (not causal) | (j <= i + offset)
        seen &= (window[0] < 0) | (i + offset - j <= window[0])
        seen &= (window[1] < 0) | (j - i - offset <= window[1])
        if mask:
            width = k.shape[2] - (mask == "short")
            given["attn_mask"] = {
                "bool": random.random((queries, width)) < 0.6, "ones": np.ones((1, 1, queries, width),
                                                                               bool),
                "numbers": random.standard_normal((2, 1, queries, width)),
                "short": np.where(random.random((4, queries, width)) < 0.8, 0, -np.inf)
            }[mask]
            allowed = given["attn_mask"] if mask in ("bool", "ones") else given["attn_mask"] > -np.inf
            if width > 1:
                seen &= np.pad(allowed, [(0, 0)] * (allowed.ndim - 1) + [(0, k.shape[2] - width)])
            else:
                continue  # a mask of one key, short of one more, is no width that broadcasts
        given = {
            name: array.astype("f4") if array.dtype == "f8" else array for name, array in given.items()
        }
        problem, _ = _onnx.of_attention(given, attributes)
        said += 1
        biases += "bias" in problem.arrays
        added = given["attn_mask"] if mask == "numbers" else None
        expected = attention(q, np.repeat(k, 2, 1), np.repeat(v, 2, 1), seen, None, attributes["softcap"],
                             bias=added)[0]
        check(np.allclose(by_fixture(problem), expected, atol=1e-5),
              f"{queries} {keys} {causal} {cache} {mask} {window}: {list(problem.arrays)}")
    check((said, biases) == (1420, 666), f"{said} said, {biases} as biases")
    q = np.zeros((1, 2, 3, 8), "f4")
    half = q.astype("f2")
    for given, attributes, text in (
        ({"Q": q.astype("f8")}, {}, "'Q' is F64, expected F16, BF16 or F32"),
        ({"K": half}, {}, "'K' is F16, expected F32 as 'Q' is"),
        ({"past_key": half, "past_value": half}, {}, "'past_key' is F16, expected F32 as 'Q' is"),
        ({"V": np.zeros((1, 2, 4, 8), "f4")}, {}, "'K' is [1, 2, 3, 8] and 'V' [1, 2, 4, 8]"),
        ({"Q": np.zeros((1, 3, 16), "f4")}, {}, "'Q' is [1, 3, 16], expected [B, H, S, D], or [B, S, H * D]"),
        ({"nonpad_kv_seqlen": np.array([1, 2])}, {}, "'nonpad_kv_seqlen' has 2 numbers, expected 1")):
        try:
            _onnx.of_attention({"Q": q, "K": q, "V": q, **given}, attributes)
            check(False, f"nothing is raised of {text!r}")
        except ValueError as error:
            check(text in str(error), f"{text!r}: {error}")


def test_arrays(folder):
    """Arrays that are not dense are stored as they read; what is no safetensors is said to be none."""
    array = np.arange(24, dtype="f4").reshape(2, 3, 4).T
    _arrays.save(folder / "t.safetensors", {"a": _arrays.as_numpy(array)})
    check((_arrays.load(folder / "t.safetensors")[0]["a"][0] == array).all(), "a transposed array")
    turned = _arrays.as_numpy(array.astype(">f4"))[0]
    check((turned.view("u4") == array.view("u4")).all(), "the other byte order")
    check((f32(bf16(np.array([1, 1 + 2 ** -8, 1 + 2 ** -8 + 2 ** -20, 3.4e38, np.nan],
                             "f4")))[:3] == [1, 1, 1 + 2 ** -7]).all(), "ties to even")
    for data, text in ((b"", "its header takes 0 of 0 bytes"), (b"\xff" * 64,
                                                                "no safetensors: its header takes"),
                       (b"\x02" + bytes(7) + b"[]", "its header is no JSON object")):
        (folder / "bad.safetensors").write_bytes(data)
        expect([folder / "bad.safetensors", folder / "bad.h5"], 1, text)
    expect([folder / "nothing.txt", folder / "bad.h5"], 1,
           "is neither npz, safetensors, torch's (.pt, .pth), a definition")
    for kind in ("f8", "f4"):
        np.savez(folder / "f8.npz",
                 **{name: random.standard_normal((1, 2, 3, 8)).astype(kind) for name in "qkv"})
        expect([folder / "f8.npz", folder / "f8.h5"], int(kind == "f8"),
               "expected" if kind == "f8" else "f32-b1-hq2-hkv2-q3-kv3-d8-")


with tempfile.TemporaryDirectory(prefix="attest-convert-") as name:
    for test in (test_paged, test_latent, test_latent_bytes, test_ragged, test_sol, test_top_left, test_axes, test_options, test_refused,
                 test_damaged, test_dumps, test_said, test_arrays):
        (pathlib.Path(name) / test.__name__).mkdir()
        test(pathlib.Path(name) / test.__name__)
    test_onnx()
sys.exit(1 if failures else 0)
