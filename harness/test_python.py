#!/usr/bin/python3
"""Kernels in Python: that right ones are, that each of those that are wrong ends in its status, and what
is said of files that hold none. Needs numpy."""
import json, os, pathlib, subprocess, sys, tempfile

try:
    import numpy
except ImportError:
    sys.exit(77)

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "kernels/python"))
import attest as attest_module
import attest._arrays

program = os.environ["ATTEST_PROGRAM"]
plain = pathlib.Path(__file__).resolve().parents[1] / "kernels/python/numpy_plain.py"
LINE = "f32-b2-hq4-hkv2-q1-kv300-d64-normal-seed1"
failures = []


def check(holds, what):
    if not holds:
        failures.append(what)
        print("wrong:", what)


def attest(*words, status=0):
    done = subprocess.run([program, *map(str, words)], capture_output=True, text=True, timeout=300)
    check(status is None or done.returncode == status,
          f"attest {' '.join(map(str, words))}: {done.returncode}, expected {status}\n{done.stdout}"
          f"{done.stderr}")
    return done


def rows(*words, status=0):
    done = attest("run", "--no-probe", "--json", *words, status=status)
    return [json.loads(line) for line in done.stdout.splitlines()]


RIGHT = '''
import attest, numpy as np
@attest.kernel(variant="decode", dtypes=["f32"], traits=["gqa"], change="short")
def decode_mine_r1(call):
    group = call.problem.q_heads // call.problem.kv_heads
    k, v = (np.repeat(x, group, axis=1) for x in (call.k, call.v))
    s = call.scale * np.einsum("bhqd,bhkd->bhqk", call.q, k)
    p = np.exp(s - s.max(-1, keepdims=True))
    call.out[...] = np.einsum("bhqk,bhkd->bhqd", p / p.sum(-1, keepdims=True), v)
'''

def test_right(folder):
    mine = folder / "mine.py"
    mine.write_text(RIGHT)
    row, = rows(mine, LINE, "--time-ms", "20")
    check(row["status"] in ("PASS", "UNSTABLE") and row["grade"] == "A" and row["kernel"] == "cpu/decode_mine_r1",
          f"{row['kernel']}: {row['status']}: {row['reason']}")
    check(row["warm_how"] == "clock" and row["warm_n"] > 0, "it is timed as others are")
    check("values signs keys" in row["checks"] and "edges" in row["checks"], row["checks"])
    # one of several in a file, beside a library's
    mine.write_text(RIGHT + RIGHT.replace("_mine_r1", "_mine_r2"))
    check(len(rows(mine, LINE, "--no-time")) == 2, "all kernels of a file")
    two = rows(f"{mine}:decode_mine_r2", "decode_naive_r1", LINE, "--no-time")
    check(sorted(row["kernel"] for row in two) == ["cpu/decode_mine_r2", "cpu/decode_naive_r1"],
          f"{[row['kernel'] for row in two]}")
    listed = json.loads(attest("list", "kernels", mine, "--json").stdout)
    check([one["kernel"] for one in listed] == ["cpu/decode_mine_r1", "cpu/decode_mine_r2"] and
          listed[0]["change"] == "short" and listed[0]["dtypes"] == "f32", f"{listed}")
    # and in turn with another, and with a library
    for number, other in enumerate((f"{mine}:decode_mine_r2", "decode_naive_r1")):
        done = attest("compare", "--live", f"{mine}:decode_mine_r1", other, LINE, "--warm", "--json",
                      "--time-ms", "50", "--out", folder / f"run{number}", status=None)
        pair, = json.loads(done.stdout)["pairs"]
        check(pair["verdict"] in ("same", "undecided", "faster", "slower") and
              "same library" not in pair["why"] and pair["control"] is not None, f"{other}: {pair['verdict']}: {pair['why']} {done.stderr}")


# For the stand-in of a GPU, which has its memory on the host: a kernel in C does it, called as one would be.
ON_A_GPU = '''
import attest, ctypes, os
from attest import worker
library = ctypes.CDLL(os.environ["ATTEST_LIBCUDA"].replace("libcuda.so.1", "cuda/decode_honest_r1.so"))
export = worker.Export.in_dll(library, "attn_export")
places = set()

@attest.kernel(variant="decode", device="cuda", dtypes=["f16"], writes_lse=True, {more})
def decode_mine_r1(call):
    at = call.q.__cuda_array_interface__
    assert at["shape"] == call.q.shape == (1, 1, 1, call.problem.head_dim) and at["typestr"] == "<f2", at
    problem, mine = (ctypes.cast(address, ctypes.POINTER(kind)) for address, kind in
                     zip(call.pointers, (worker.Problem, worker.Call)))
    assert mine.contents.tensors[0].data == at["data"][0] and mine.contents.stream == call.stream
    places.add(at["data"][0])
    reason = worker.PREPARE(export.launch)(problem, mine)
    if reason: raise RuntimeError(ctypes.string_at(reason).decode())
    {fault}

@decode_mine_r1.scratch
def room(problem):
    return 1 << 16

@decode_mine_r1.finish
def tell(call):
    with open(__file__ + ".places", "a") as file: file.write(str(len(places)) + " ")
'''


def test_gpu(folder):
    """Kernels for a GPU are launched into graphs, and with each copy of the tensors."""
    standin = os.environ["ATTEST_STANDIN"]
    os.environ["ATTEST_LIBCUDA"] = f"{standin}/libcuda.so.1"
    mine, line = folder / "gpu.py", "f16-b1-hq1-kv4096-d64-normal-seed1"
    (folder / "gpu.py.places").touch()  # beside runs, where a kernel can make no file
    for more, fault, status, reason in (
            ("", "", "PASS", ""), ("traits=['strided']", "", "PASS", ""),
            ("needs=['no-such-package']", "", "REFUSED", "no-such-package is not installed"),
            ("", "raise KeyError(call.problem.kv_len)", "CRASH", "KeyError: 4096 (gpu.py, line ")):
        mine.write_text(ON_A_GPU.replace("{more}", more).replace("{fault}", fault))
        row, = rows(mine, line.replace("kv4096-d64", "kv4096-d64-strided" if "strided" in more else "kv4096-d64"),
                    status=3 if status == "CRASH" else None)
        may_be = (status, "UNSTABLE") if status == "PASS" else (status,)  # as on a busy machine
        check(row["status"] in may_be and reason in row["reason"] and row["kernel"] == "cuda/decode_mine_r1",
              f"{row['status']}: {row['reason']}")
        if status == "PASS":
            check(row["warm_how"] == row["cold_how"] == "graph", f"{row['warm_how']}, {row['cold_how']}")
            check("2" in (folder / "gpu.py.places").read_text().split(), "the copies of cold launches are given to it")
    del os.environ["ATTEST_LIBCUDA"]


def test_modules(folder):
    """What files import from beside themselves is their own; each file is executed once a process."""
    for name, factor in (("a", 1), ("b", 2)):
        (folder / name).mkdir()
        (folder / name / "helper.py").write_text(f"factor = {factor}\n")
        (folder / name / "mine.py").write_text("import helper\n" + RIGHT + "    call.out[...] *= helper.factor\n" + """
import sys
assert not hasattr(sys, __file__), "executed twice"
setattr(sys, __file__, True)
""")
    a, b = folder / "a/mine.py", folder / "b/mine.py"
    (folder / "c").mkdir()
    (folder / "c/mine.py").write_text(b.read_text().replace("decode_mine_r1", "decode_mine_r2"))
    (folder / "c/helper.py").write_text("factor = 2\n")
    found = rows(a, folder / "c/mine.py", LINE, LINE.replace("kv300", "kv200"), "--no-time", status=1)
    check(sorted((row["kernel"], row["status"]) for row in found) ==
          [("cpu/decode_mine_r1", "PASS")] * 2 + [("cpu/decode_mine_r2", "FAIL_ACCURACY")] * 2,
          f"{[(row['kernel'], row['status'], row['reason']) for row in found]}")
    check(all(row["repeat"].startswith("attest run ") and "c/mine.py:decode_mine_r2" in row["repeat"]
              for row in found if row["status"] != "PASS"), f"{[row['repeat'] for row in found]}")
    done = attest("compare", "--live", a, b, LINE, "--warm", "--json", "--time-ms", "20", "--out",
                  folder / "beside", status=2)
    pair, = json.loads(done.stdout)["pairs"]
    check(pair["old"]["status"] in ("PASS", "UNSTABLE") and pair["new"]["status"] == "FAIL_ACCURACY", done.stdout)


def test_threads(folder):
    """NumPy's BLAS is told how many threads there are, and so is the kernel."""
    (folder / "threads.py").write_text(RIGHT + """
    import os
    if os.environ["OPENBLAS_NUM_THREADS"] != str(call.threads): call.out[...] = 0
""")
    for count in (1, 3):
        row, = rows(folder / "threads.py", LINE, "--no-time", "-t", count)
        check(row["status"] == "PASS", f"{count}: {row['status']}")


def test_plain():
    found = rows(plain, "-s", "smoke", "--no-time", "kv<=200")
    check(len(found) >= 15 and all(row["status"] == "PASS" and row["grade"] == "A" for row in found),
          "\n".join(f"{row['kernel']} {row['line']}: {row['status']}: {row['reason']}"
                    for row in found if row["status"] != "PASS") or f"{len(found)} rows")
    check(len({row["variant"] for row in found}) == 8, "all variants")


def test_files(folder):
    wrong = folder / "none.py"
    cases = [("", "has no kernel: no function is decorated with attest.kernel"),
             ("import nothing_of_that_name", "ModuleNotFoundError: No module named"),
             ("def", "SyntaxError: "),
             ("raise SystemExit(3)", "SystemExit: 3"),
             ("import attest\n@attest.kernel(variant='decode', dtypes=['f64'])\ndef decode_a_r1(c): 0",
              "a dtype is 'f64', expected one of f32, f16, bf16"),
             ("import attest\n@attest.kernel(variant='decode', dtypes=['f32'], arrays='cupy')\ndef decode_a_r1(c): 0",
              "arrays is 'cupy', expected one of torch, jax, numpy"),
             ("import attest\n@attest.kernel(variant='decode', dtypes=['f32'])\ndef mine(c): 0",
              "is named decode_<method>_r<revision>")]
    for text, expected in cases:
        wrong.write_text(text)
        done = attest("run", wrong, LINE, status=4)
        check(expected in " ".join(done.stderr.split()), f"{text!r}: {done.stderr}")
    wrong.write_text(RIGHT)
    done = attest("run", f"{wrong}:decode_other_r1", LINE, "--json", status=3)
    check("has no kernel decode_other_r1" in done.stdout, done.stdout)
    done = attest("run", folder / "absent.py", LINE, status=4)
    check("absent.py" in done.stderr, done.stderr)
    done = attest("run", wrong, LINE, "--python", "/nonexistent/python", status=4)
    check("cannot start '/nonexistent/python'" in done.stderr, done.stderr)


def raises(kind, text, function, *arguments, **words):
    try:
        function(*arguments, **words)
    except kind as error:
        check(text in " ".join(str(error).split()), f"{text!r}: {error}")
    else:
        check(False, f"nothing is raised of {text!r}")


def exact(problem, keys=None, wider=0, **other):
    """out of float64 arithmetic, rounded to the problem's dtype, and lse; of the first keys only, by a window
    that begins `wider` earlier, or with another softcap or sinks."""
    module, group = attest_module, problem.q.shape[1] // problem.k.shape[1]
    q, k, v = (module.f32(x).astype("f8") for x in (problem.q, problem.k, problem.v))
    for x, scale in (k, problem.k_scale), (v, other.get("v_scale", problem.v_scale)):
        if scale is not None:
            x *= scale[..., None] if scale.ndim == 3 else scale[None, :, None, None]
    k, v = (numpy.repeat(x, group, axis=1)[:, :, :keys] for x in (k, v))
    s = problem.scale * q @ k.swapaxes(-1, -2)
    cap, sinks = (other.get(name, getattr(problem, name)) for name in ("softcap", "sinks"))
    s = s if cap is None else cap * numpy.tanh(s / cap)
    bias = other.get("bias", problem.bias)
    s = s if bias is None else s + bias
    behind = numpy.arange(k.shape[2]) - (numpy.arange(q.shape[2])[:, None] + k.shape[2] - q.shape[2])
    left, right = problem.window or (q.shape[2] + k.shape[2],) * 2
    s = numpy.where((behind >= -left - wider) & (behind <= (0 if problem.causal else right)), s, -numpy.inf)
    sinks = numpy.full(q.shape[1], -numpy.inf) if sinks is None else sinks.astype("f8")
    s = numpy.concatenate([s, numpy.broadcast_to(sinks[:, None, None], (*s.shape[:3], 1))], -1)
    top = s.max(-1, keepdims=True)
    p = numpy.exp(s - numpy.where(numpy.isneginf(top), 0, top))
    total = p.sum(-1, keepdims=True)
    out = numpy.empty_like(problem.q)
    module.store(out, p[..., :-1] @ v / numpy.where(total == 0, 1, total))
    with numpy.errstate(divide="ignore"):
        return out, (top + numpy.log(total))[..., 0].astype("f4")


def test_said(folder):
    """Windows, capped logits and sinks are judge's to be told, and a problem's line says them."""
    module = attest_module
    for line, window, softcap in (
            ("f16-b2-hq4-hkv2-q40-kv60-d64-causal-window7-normal-seed1", (7, 0), None),
            ("f32-b1-hq2-hkv1-q30-kv30-d32-window5,2-softcap3-normal-seed1", (5, 2), 3.0),
            ("f32-b1-hq4-hkv2-q9-kv5-d32-causal-window0-sinks-normal-seed1", (0, 0), None),
            ("bf16-b2-hq8-hkv2-q1-kv300-d64-window63-softcap2.5-sinks-normal-seed1", (63, 0), 2.5),
            ("bf16-b2-hq4-hkv2-q9-kv20-d64-softcap3-bias2,1-normal-seed1", None, 3.0),
            ("f16-b2-hq4-hkv2-q9-kv20-d64-kve4m3-normal-seed1", None, None),
            ("f32-b2-hq4-hkv2-q1-kv90-d64-kve4m3head-normal-seed1", None, None),
            ("bf16-b2-hq4-hkv2-q1-kv90-d64-kvint8token-normal-seed1", None, None),
            ("f16-b1-hq2-hkv2-q1-kv90-d64-normal-seed1", None, None)):
        problem = module.problem(line)
        check((problem.line, problem.window, problem.softcap, problem.sinks is not None) ==
              (line, window, softcap, "-sinks-" in line), f"{vars(problem)}")
        arrays = problem.q, problem.k, problem.v
        given = dict(causal=problem.causal, scale=problem.scale, softcap=problem.softcap, sinks=problem.sinks,
                     bias=problem.bias, k_scale=problem.k_scale, v_scale=problem.v_scale, kv_dtype=problem.kv_dtype)
        check(problem.kv_dtype == ("e4m3" if "e4m3" in line else "int8" if "int8" in line else None), line)
        out, lse = exact(problem)
        if problem.sinks is not None:  # f64, and what a tensor of bf16 holds
            check(module.judge(*arrays, out, lse=lse, **{**given, "window": window, "sinks": problem.sinks.astype("f8")}),
                  "sinks of f64")
            bits = module._arrays.bf16(problem.sinks)
            check(module.judge(*arrays, *exact(problem, sinks=module.f32(bits))[:1],
                               **{**given, "window": window, "sinks": bits}), "sinks of bf16")
        if problem.bias is not None:
            mask = problem.bias[0, 0] > -1  # for all sequences and heads
            right = exact(problem, bias=numpy.where(mask, 0, -numpy.inf))
            check(module.judge(*arrays, right[0], lse=right[1], **{**given, "bias": mask}), "a mask")
            check(module.judge(*arrays, out, lse=lse, **{**given, "bias": module._arrays.bf16(problem.bias)}),
                  "a bias of bf16")
            raises(AssertionError, "the bias were left out", module.assert_right, *arrays,
                   exact(problem, bias=None)[0], **given)
        if problem.kv_dtype is not None:
            check(problem.k.itemsize == 1, str(problem.k.dtype))
            raises(AssertionError, "the scales of values were left out", module.assert_right, *arrays,
                   exact(problem, v_scale=None)[0], **given)
        row = module.judge(*arrays, out, lse=lse, window=window, **given)
        check(row and row.grade == "A" and row.lse_grade == "A", str(row))
        if window is None:
            continue
        if window[1] == 0:
            check(module.judge(*arrays, out, lse=lse, window=numpy.int64(window[0]), **given), "one number")
        row = module.judge(*arrays, *exact(problem, wider=1)[:1], window=window, **given)
        check(row.status == "FAIL_ACCURACY" and "the window began one key earlier" in row.diagnosis, str(row))
        wrong = exact(problem, softcap=None, sinks=None)[0]
        told = {"softcap": "the softcap were left out", "sinks": "the sinks were left out"}
        for name, text in told.items() if (softcap is None) != (problem.sinks is None) else ():
            if given[name] is not None:
                raises(AssertionError, text, module.assert_right, *arrays, wrong, window=window, **given)
    for words, text in (({"window": -1}, "window is -1, expected how many keys before its own a query sees"),
                        ({"window": (1, None)}, "window is (1, None), expected"), ({"window": True}, "window is True"),
                        ({"window": (1, 2, 3)}, "window is (1, 2, 3)"), ({"window": 2.5}, "window is 2.5, expected"),
                        ({"window": 1 << 40}, "attribute 'window_left' is 1099511627776, expected 0..2147483647"),
                        ({"bias": numpy.full((1, 90), -1e4, "f4")}, "bias[0,0,0,0] is -10000: expected -1000"),
                        ({"bias": numpy.zeros((3, 1, 1, 90))}, "a bias of 3 sequences and 1 query heads"),
                        ({"bias": numpy.zeros((1, 80))}, "dataset 'bias' is for 80 key tokens, expected 90"),
                        ({"k_scale": 1.0}, "dataset 'k_scale' cannot go with 'k'"),
                        ({"kv_dtype": "e5m2"}, "attribute 'kv_dtype' is 'e5m2', expected e4m3 or int8"),
                        ({"kv_dtype": "e4m3"}, "dataset 'k' holds 16-bit floats, expected the bits of E4M3"),
                        ({"softcap": 0}, "attribute 'softcap' is 0, expected 1e-06 to 1e+06"),
                        ({"softcap": float("nan")}, "attribute 'softcap' is nan, expected"),
                        ({"sinks": numpy.zeros(3, "f4")}, "dataset 'sinks' is for 3 query heads, expected 2"),
                        ({"sinks": numpy.zeros((1, 2), "f4")}, "dataset 'sinks' has 2 dimensions, expected 1"),
                        ({"sinks": numpy.array([0, 1e39])}, "sinks[1] is inf: expected a finite number")):
        raises(ValueError, text, module.judge, *arrays, out, **words)
    raises(TypeError, "bias is I64, expected floats or booleans", module.judge, *arrays, out, bias=numpy.array([0, 1]))
    bits = problem.q, *(numpy.zeros(x.shape, "u1") for x in (problem.k, problem.v)), out
    for words, text in (({}, "expected, if these are the bits of E4M3, the attribute kv_dtype = 'e4m3'"),
                        ({"kv_dtype": "e4m3", "k_scale": 1.0}, "dataset 'v_scale' is missing"),
                        ({"kv_dtype": "e4m3", "k_scale": 0.0, "v_scale": 1.0}, "k_scale[0] is 0: expected a finite"),
                        ({"kv_dtype": "int8", "k_scale": 1.0, "v_scale": 1.0}, "'k' holds 8-bit unsigned integers")):
        raises(ValueError, text, module.judge, *bits, **words)
    raises(TypeError, "k_scale is I64, expected floats", module.judge, *bits, k_scale=numpy.array([1]))
    raises(TypeError, "sinks is I64, expected floats [Hq]", module.judge, *arrays, out, sinks=numpy.array([0, 1]))
    raises(ValueError, "a window beside kept lists", module.judge, *arrays, out, window=3,
           sparse_mask=numpy.ones((1, 2, 90), "?"))
    # a half is no number of keys, in a file's metadata either
    arrays = {name: (array, "F16") for name, array in zip("qkv", arrays)}
    module._arrays.save(folder / "half.safetensors", arrays,
                        {"format": "attest-fixture", "version": "1", "window_left": "2.5"})
    done = attest("convert", folder / "half.safetensors", folder / "half.h5", status=4)
    check("attribute 'window_left' is 2.5, expected 0..2147483647" in done.stderr, done.stderr)


def test_judge(folder):
    """Outputs of no kernel: from a notebook, and from files."""
    module = attest_module
    for line in ("f16-b2-hq4-hkv2-q1-kv300-d64-normal-seed1", "f32-b1-hq2-hkv2-q20-kv30-d32-causal-normal-seed1",
                 "bf16-b1-hq2-hkv1-q4-kv100-d64-normal-seed2"):
        problem = module.problem(line)
        out, lse = exact(problem)
        check(numpy.allclose(module.f32(out), problem.answer_out, atol=0.01), "its answer is there")
        given = dict(causal=problem.causal, scale=problem.scale)
        if problem.dtype == "bf16":  # which numpy does not know
            check(module.judge(problem.q, problem.k, problem.v, out, lse=lse, **given), "bf16")
            name = folder / "bf16.npz"
            numpy.savez(name, out=out, lse=lse)
            row, = [json.loads(text) for text in attest("judge", line, name, "--json").stdout.splitlines()]
            check(row["status"] == "PASS" and row["lse_grade"] == "A", f"{row['status']}: {row['reason']}")
            continue
        row = module.judge(problem.q, problem.k, problem.v, out, lse=lse, **given)
        check(row and row.grade == "A" and row.lse_grade == "A" and row.kernel == "judged/output" and
              "not values" in row.checks, str(row))
        swapped = [x.swapaxes(1, 2) for x in (problem.q, problem.k, problem.v, out)]
        check(module.judge(*swapped, lse=lse, layout="bshd", **given), "another layout")
        of_base_2 = (lse * numpy.log2(numpy.e)).astype("f4")
        row = module.judge(problem.q, problem.k, problem.v, out, lse=of_base_2, lse_base_2=True, **given)
        check(row and row.lse_grade == "A", str(row))
        row = module.judge(problem.q, problem.k, problem.v, out, lse=lse, lse_base_2=True, **given)
        check(row.status == "FAIL_LSE" and "lse were natural, not in base 2" in row.diagnosis and
              row.repeat.endswith("--lse-base-2"), str(row))
        wrong, _ = exact(problem, problem.k.shape[2] - 1)
        if not problem.causal:
            raises(AssertionError, "as if a query saw one key fewer", module.assert_right, problem.q,
                   problem.k, problem.v, wrong, **given)
        raises(ValueError, "dataset 'v' is for", module.judge, problem.q, problem.k, problem.v[:, :, :9],
               out, **given)
        raises(ValueError, "out is [", module.judge, problem.q, problem.k, problem.v, out[:, :1], **given)
        raises(ValueError, "expected", module.judge, problem.q, problem.k, problem.v,
               out.astype("f8"), **given)
    # lists of kv heads, and of each of several queries
    for line in ("f16-b2-hq4-hkv2-q1-kv60-d32-keep9-keepgroup-normal-seed1",
                 "f16-b2-hq4-hkv2-q3-kv60-d32-page16-causal-lens60,9-keep9-keepgroup-normal-seed1",
                 "f16-b2-hq2-hkv2-q3-kv60-d32-page16-lens60,19-keep9-normal-seed1"):
        other = module.problem(line)
        words = {name: getattr(other, name) for name in ("k", "v", "kv_cache", "kv_page_indptr", "kv_page_indices",
                                                         "kv_last_page_len", "sparse_ind", "sparse_nnz")}
        words.update(causal=other.causal, scale=other.scale)
        right = other.answer_out.astype("f2")
        row = module.judge(other.q, out=right, **words)
        check(row and row.line.split("-file")[0] == line.split("-normal")[0], f"{line}: {row}")
    row = module.judge(other.q, out=right, **{**words, "sparse_ind": other.sparse_ind[:, :, ::-1]})
    check(row.status == "FAIL_ACCURACY", f"lists of other queries: {row}")
    raises(ValueError, "sparse_ind[0,0,0,0] is 59: expected a token that its query may see, of 0..57", module.judge,
           other.q, out=right, **{**words, "causal": True, "sparse_ind": numpy.full((2, 2, 3, 9), 59),
                                  "sparse_nnz": numpy.ones((2, 2, 3), "i4")})
    for line in ("f16-b2-hq4-hkv2-q5-kv9-d16-dv24-causal-normal-seed1",
                 "bf16-b1-hq4-hkv1-q1-kv70-d24-dv16-kshared-scale0.3-normal-seed1",
                 "f16-b2-hq4-hkv2-q1-kv70-d16-dv24-page16-lens70,9-normal-seed1",
                 "f16-b2-hq4-hkv1-q1-kv70-d24-dv16-kshared-page16-lens70,9-normal-seed1",
                 "f16-b2-hq4-hkv2-q5-kv9-d16-dv24-causal-kvint8head-normal-seed1",
                 "bf16-b2-hq4-hkv1-q1-kv70-d24-dv16-kshared-scale0.3-kve4m3-normal-seed1",
                 "f16-b2-hq4-hkv1-q3-kv70-d24-dv16-kshared-page16-causal-lens70,9-kve4m3token-normal-seed1"):
        other = module.problem(line)
        words = {name: getattr(other, name) for name in ("kv_page_indptr", "kv_page_indices", "kv_last_page_len",
                                                         "k_scale", "v_scale", "kv_dtype")}
        check([other.k_scale is None, other.v_scale is None] == [other.kv_dtype is None, other.kv_dtype is None
                                                                 or other.kshared], f"{line}: whose scales there are")
        words.update(causal=other.causal, scale=other.scale, kshared=other.kshared)
        right = module._arrays.bf16(other.answer_out) if other.dtype == "bf16" else other.answer_out.astype("f2")
        row = module.judge(other.q, other.k, other.v, right, **words)
        check(row and row.line.split("-file")[0] == line.split("-normal")[0], f"{line}: {row}")
        if other.kv_page_indptr is not None:
            pages = [array if array is None else array.swapaxes(1, 2) for array in (other.k, other.v)]
            row = module.judge(other.q.swapaxes(1, 2), *pages, right.swapaxes(1, 2), layout="bshd", **words)
            check(row, f"{line}, tokens first: {row}")
        dense = other.kv_page_indptr is None
        raises(ValueError, "'v' is missing" if other.kshared and dense else "attribute 'kshared'", module.judge,
               other.q, other.k, other.v, right, **{**words, "kshared": not other.kshared})
    for line in ("bf16-b3-hq4-hkv2-q9-kv40-d16-dv24-causal-lens40,0,7-qlens9,3,0-normal-seed1",
                 "f16-b2-hq4-hkv2-q5-kv70-d16-page16-causal-lens70,9-qlens5,2-normal-seed1"):
        other = module.problem(line)
        q_lens, words = other.q_lens, dict(causal=True, scale=other.scale)
        packed = lambda array, lens: numpy.concatenate([x[:, :n].swapaxes(0, 1) for x, n in zip(array, lens)])
        right = module._arrays.bf16(other.answer_out) if other.dtype == "bf16" else other.answer_out.astype("f2")
        words.update(layout="thd", cu_seqlens_q=numpy.cumsum([0, *q_lens]), lse=packed(other.answer_lse.astype("f4"), q_lens))
        if other.kv_page_indptr is None:
            k, v = (packed(array, other.seq_lens) for array in (other.k, other.v))
            words.update(cu_seqlens_kv=numpy.cumsum([0, *other.seq_lens]))
        else:
            k = v = None
            words.update((name, getattr(other, name)) for name in ("kv_cache", "kv_page_indptr", "kv_page_indices",
                                                                     "kv_last_page_len"))
        q, out_of = packed(other.q, q_lens), packed(right, q_lens)
        row = module.judge(q, k, v, out_of, **words)
        check(row and row.lse_grade == "A" and row.line.split("-file")[0] == line.split("-normal")[0], f"{line}: {row}")
        row = module.judge(q, k, v, out_of[::-1], **words)
        check(not row, f"{line}, another order: {row}")
        raises(ValueError, "expected [B + 1], from 0 to the", module.judge, q, k, v, out_of,
               **{**words, "cu_seqlens_q": numpy.cumsum([1, *q_lens])})
        raises(ValueError, "layout is 'thd', and q is", module.judge, other.q, k, v, out_of, **words)
    raises(ValueError, "causal is 'top-left'", module.judge, problem.q, problem.k, problem.v, out,
           causal="top-left")
    raises(TypeError, "unknown array 'key'", module.judge, problem.q, key=problem.k, out=out)

    line = "f16-b2-hq4-hkv2-q1-kv300-d64-normal-seed1"
    problem = module.problem(line)
    out, lse = exact(problem)
    numpy.save(folder / "mine.npy", out)
    numpy.savez_compressed(folder / "wrong.npz", out=exact(problem, 299)[0], lse=lse)
    arrays = {"out": (out, "F16"), "lse": (lse, "F32")}
    module._arrays.save(folder / "other.safetensors", arrays)
    files = ["mine.npy", "wrong.npz", "other.safetensors"]
    try:
        import h5py
        with h5py.File(folder / "more.h5", "w") as file:
            file["out"], file["lse"] = out, lse
        files.append("more.h5")
    except ImportError:
        pass
    done = attest("judge", line, *(folder / name for name in files), "--json", "--out", folder / "judged",
                  status=1)
    rows = [json.loads(text) for text in done.stdout.splitlines()]
    check([row["status"] for row in rows] == ["PASS", "FAIL_ACCURACY", "PASS", "PASS"][:len(files)] and
          rows[0]["lse_grade"] == "" and rows[2]["lse_grade"] == "A", done.stdout + done.stderr)
    check("one key fewer" in rows[1]["diagnosis"] and rows[1]["repeat"].startswith("attest judge " + line),
          f"{rows[1]['diagnosis']}; {rows[1]['repeat']}")
    check("judged/wrong" in attest("report", folder / "judged").stdout, "a run like others")
    # of other programs' files
    numpy.savez(folder / "theirs.npz", query=problem.q.swapaxes(1, 2), k=problem.k.swapaxes(1, 2),
                v=problem.v.swapaxes(1, 2), note=numpy.zeros(3))
    convert = [sys.executable, "-m", "attest.convert", folder / "theirs.npz", folder / "theirs.h5"]
    environment = dict(os.environ, PYTHONPATH=str(plain.parent))
    for more, status, expected in (
            (["--layout", "bshd", "--name", "q=query", "--without", "note"], 0, line[:-13]),
            (["--layout", "bshd", "--name", "q=query"], 1, "has an array 'note', for which a fixture has no"),
            (["--name", "q=query", "--without", "note"], 1, "key/value heads do not divide 1 query"),
            (["--name", "query", "--without", "note"], 1, "--name query: expected OURS=THEIRS")):
        done = subprocess.run([*map(str, convert), *more], capture_output=True, text=True, env=environment)
        check(done.returncode == status and expected in done.stdout + done.stderr,
              f"{more}: {done.stdout}{done.stderr}")
    row, = [json.loads(text) for text in attest("judge", folder / "theirs.h5", folder / "mine.npy",
                                                "--json").stdout.splitlines()]
    check(row["status"] == "PASS", f"{row['status']}: {row['reason']}")
    # fixtures from and to safetensors
    tensors, made, again = folder / "f.safetensors", folder / "f.h5", folder / "g.safetensors"
    attest("convert", line, tensors)
    check(attest("convert", tensors, made).stdout.strip() == line, "the line stays")
    attest("convert", made, again)
    first, second = module._arrays.load(tensors)[0], module._arrays.load(again)[0]
    check(all((first[name][0] == second[name][0]).all() for name in ("q", "k", "v")), "and each bit")
    check(json.loads(attest("judge", tensors, folder / "mine.npy", "--json").stdout)["status"] == "PASS",
          "a fixture in safetensors")
    for text, expected in ((b"", "no safetensors file: it is empty"), (b"\xff" * 64, "its header is longer"),
                           (b"\x02" + bytes(7) + b"[]", "no JSON object"),
                           (b"\x40" + bytes(7) + b'{"out":{"dtype":"F16","shape":[4],"data_offsets":[0,8]}}'.ljust(64),
                            "lies at 0 to 8 of 0 bytes")):
        (folder / "bad.safetensors").write_bytes(text)
        done = attest("judge", line, folder / "bad.safetensors", status=4)
        check(expected in " ".join(done.stderr.split()), f"{expected}: {done.stderr}")
    numpy.save(folder / "bad.npy", numpy.array([{}], dtype=object), allow_pickle=True)
    done = attest("judge", line, folder / "bad.npy", status=4)
    check("cannot be read" in done.stderr, done.stderr)


def test_narrow(folder):
    """An output of 8 bits is judged beside its scale, from arrays and from files."""
    module = attest_module
    codes = numpy.array([code for code in range(256) if code & 127 != 127], "u1")
    check((module._arrays.e4m3(module.f32(codes)) == codes).all(), "each number of E4M3 is itself")
    told = module._arrays.e4m3([numpy.nan, -numpy.inf, 449, -1e30, 2.0**-10, 3 * 2.0**-10, 1.0625, 1.1875])
    check(told.tolist() == [127, 254, 126, 254, 0, 2, 56, 58], f"ties are even, the rest saturates: {told}")
    for line in ("f16-b2-hq4-hkv2-q9-kv40-d32-causal-oute4m3-normal-seed1",
                 "bf16-b2-hq4-hkv2-q1-kv90-d64-dv40-kve4m3-oute4m3-normal-seed1"):
        problem, right, wrong = module.problem(line), *(numpy.zeros((2, 4, n, d), "u1") for n, d in
                                                         [(9, 32) if "-q9-" in line else (1, 40)] * 2)
        module.store(right, problem.answer_out / problem.out_scale)
        module.store(wrong, problem.answer_out)
        arrays = problem.q, problem.k, problem.v
        given = {name: getattr(problem, name) for name in ("causal", "scale", "k_scale", "v_scale", "kv_dtype")}
        for scale in (problem.out_scale, problem.out_scale.astype("f8"), float(problem.out_scale[0])):
            row = module.judge(*arrays, right, out_scale=scale, **given)
            check(row and row.grade == "A" and "-oute4m3-" in row.line, f"{line}: {row}")
        raises(AssertionError, "out_scale were forgotten", module.assert_right, *arrays, wrong,
               out_scale=problem.out_scale, **given)
        for out in (numpy.where(right == right.max(), 0x7f, right), right ^ 0x80):
            row = module.judge(*arrays, out.astype("u1"), out_scale=problem.out_scale, **given)
            check(row.status in ("FAIL_NAN", "FAIL_ACCURACY"), f"{line}: {row}")
        raises(ValueError, "out is of type F16, expected e4m3, the dtype of an output with out_scale", module.judge,
               *arrays, problem.answer_out.astype("f2"), out_scale=problem.out_scale, **given)
        raises(ValueError, "the dtype of q, or out_scale beside the inputs of one of 8 bits", module.judge, *arrays,
               right, **given)
        raises(ValueError, "out_scale[0] is 0: expected a finite number above 0", module.judge, *arrays, right,
               out_scale=0.0, **given)
        raises(ValueError, "dimension 0 of dataset 'out_scale' is 4, expected 1", module.judge, *arrays, right,
               out_scale=numpy.ones(4), **given)
        numpy.save(folder / "narrow.npy", right)
        numpy.savez(folder / "narrow.npz", out=right, lse=problem.answer_lse.astype("f4"))
        module._arrays.save(folder / "narrow.safetensors", {"out": (right, "F8_E4M3")})
        attest("judge", line, *(folder / f"narrow.{end}" for end in ("npy", "npz", "safetensors")))


with tempfile.TemporaryDirectory(prefix="attest-python-") as name:
    os.environ["ATTEST_RUNS"] = name + "/runs"
    folder = pathlib.Path(name)
    test_right(folder)
    test_gpu(folder)
    test_modules(folder)
    test_threads(folder)
    test_plain()
    test_files(folder)
    test_said(folder)
    test_narrow(folder)
    test_judge(folder)
sys.exit(1 if failures else 0)
