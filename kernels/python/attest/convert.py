"""`python3 -m attest.convert FROM TO`: fixtures of problems in other programs' files.

FROM is arrays: npz, safetensors, or what torch.save wrote (.pt, .pth; read as weights only). They have the
names of a fixture's datasets -- q, k, v, kv_cache, ... as `attest.Call` has them -- or are given them with
--name q=query. An array that a fixture has no place for is named, and nothing is written, unless
--without says that it does not matter.

Or FROM is of problems, and TO a folder, NAME.h5 for each, or a file where there is one:

  a definition of FlashInfer-Bench or SOL-ExecBench (.json, or a folder with definition.json) with its
  workloads; what is random in them is drawn: normal, by --seed. --reference runs the definition's code
  a folder that FlashInfer dumped to (FLASHINFER_LOGLEVEL=10), or one call's in it
  a folder with ONNX's model.onnx, of one Attention, and test_data_set_0, or a folder of such

What a fixture cannot say is named, and what an earlier run made of it goes; the others are written, and
the exit status is 1. An option that does not apply to what FROM is, or contradicts it, stops everything.
"""
from __future__ import annotations

import argparse
import contextlib
import dataclasses
import fnmatch
import json
import os
import pathlib
import sys
import tempfile
from collections.abc import Callable

import numpy

from . import _arrays, _definitions, _flashinfer, _foreign, _judge, _onnx


def read(path):
    """{name: array} of a file; bf16 of safetensors is told by its type's name."""
    if path.endswith(".npz"):
        return _arrays.read(path, lambda path: dict(numpy.load(path, allow_pickle=False)))
    if path.endswith(".safetensors"):
        return {name: Typed(*array) for name, array in _arrays.read(path, _arrays.load)[0].items()}
    return _arrays.read(path, _arrays.of_torch)


class Typed:
    """An array of safetensors, whose type numpy may not have."""

    def __init__(self, array, kind):
        self.array, self.kind = array, kind


def names(words):
    pairs = [word.partition("=") for word in words]
    wrong = [word for word, (own, sign, other) in zip(words, pairs) if not (own and sign and other)]
    if wrong:
        raise ValueError(f"--name {wrong[0]}: expected OURS=THEIRS, as q=query")
    return {other: own for own, _, other in pairs}


def write(arrays, metadata, to):
    with tempfile.TemporaryDirectory(prefix="attest-") as folder:
        _arrays.save(f"{folder}/fixture.safetensors", arrays, metadata)
        return _judge.call("convert", f"{folder}/fixture.safetensors", to).strip()


def convert_arrays(options):
    own = names(options.name)
    found = {own.get(name, name): array for name, array in read(options.source).items()
             if name not in options.without}
    strange = sorted(set(found) - set(_judge.INPUTS))
    if strange:
        raise ValueError(f"has an array {strange[0]!r}, for which a fixture has no place: --name "
                         f"OURS={strange[0]} says what it is, --without {strange[0]} that it does "
                         "not matter")
    given = {name: array.array if isinstance(array, Typed) else array
             for name, array in found.items()}
    arrays, metadata = _judge.fixture_of(given, options.causal or False, options.scale, options.layout,
                                         options.window, options.softcap, options.kshared)
    if any(isinstance(array, Typed) and array.kind == "BF16" for array in found.values()):
        metadata["dtype"] = "bf16"
    if any(isinstance(array, Typed) and array.kind == "F8_E4M3" for array in found.values()):
        metadata["kv_dtype"] = "e4m3"
    print(write(arrays, metadata, options.to))


def convert_problem(problem, to, answer):
    """Writes a fixture and, where `answer` is a path, what the source says is right."""
    arrays = {name: (numpy.ascontiguousarray(array), problem.kind if name in ("q", "k", "v", "kv_cache")
                     else _arrays.NAMES[array.dtype]) for name, array in problem.arrays.items()}
    metadata = _judge.metadata_of(problem.causal, problem.scale, problem.window, problem.softcap,
                                  problem.kind == "BF16", problem.kshared)
    given = {}
    if problem.out is not None:
        given["out"] = numpy.ascontiguousarray(problem.out), problem.kind
    if problem.lse is not None:
        given["lse"] = numpy.ascontiguousarray(problem.lse), "F32"
    if problem.checked:
        check(arrays, metadata, given)
    line = write(arrays, metadata, to)
    if answer and given:
        _arrays.save(f"{answer}.part", given)
        os.replace(f"{answer}.part", answer)
    else:
        forget(answer)
    print(f"{to}: {line}")


def forget(*paths):
    """What an earlier run made of these names: it would be judged as of this one."""
    for path in filter(None, paths):
        with contextlib.suppress(OSError):
            os.unlink(path)


def check(arrays, metadata, given):
    """ValueError where the answer is not of these arrays: at grade C, which any honest arithmetic has."""
    with tempfile.TemporaryDirectory(prefix="attest-") as folder:
        _arrays.save(f"{folder}/fixture.safetensors", arrays, metadata)
        _arrays.save(f"{folder}/output.safetensors", given)
        row = json.loads(_judge.call("judge", f"{folder}/fixture.safetensors", f"{folder}/output.safetensors",
                                     "--json", "--grade", "C", "--out", f"{folder}/run"))
    if row["status"] != "PASS":
        raise ValueError(f"its reference is of another problem: {row['reason']}; {row['diagnosis']}")


def convert_problems(found, options):
    """Each that --only names; how many could not be said."""
    found = [(name, make) for name, make in found if fnmatch.fnmatchcase(name, options.only)]
    if not found:
        raise ValueError(f"has no problem{'' if options.only == '*' else ' ' + repr(options.only)}")
    one = options.to.endswith(".h5")
    if one and len(found) > 1:
        raise ValueError(f"has {len(found)} problems, and '{options.to}' is one file: expected a folder, or "
                         f"--only {found[0][0]}")
    for folder in ([] if one else [options.to]) + ([options.outputs] if options.outputs else []):
        os.makedirs(folder, exist_ok=True)
    paths, refused = {}, 0
    for name, make in found:
        to = options.to if one else f"{options.to}/{_foreign.file_name(name)}.h5"
        answer = options.outputs and f"{options.outputs}/{pathlib.Path(to).stem}.safetensors"
        try:
            if to in paths:
                raise ValueError(f"is '{to}', as {paths[to]!r} is")
            convert_problem(make(), to, answer)
        except (OSError, ValueError, TypeError, KeyError, MemoryError) as error:
            refused += 1
            reason = f"has no {error}" if isinstance(error, KeyError) else error
            print(f"attest.convert: '{options.source}': {name}: {reason}", file=sys.stderr)
            if to not in paths:
                forget(to, answer)
        paths.setdefault(to, name)
    return refused


@dataclasses.dataclass
class Source:
    """What FROM may be: told(path) says whether it is this, problems(path, options) yields (name, make) of
    each problem in it, and `options` are those that apply to it."""
    what: str
    told: Callable
    problems: Callable | None
    options: tuple


SOURCES = (
    Source("a definition", _definitions.definition_in, _definitions.workloads_of,
           ("causal", "scale", "window", "softcap", "only", "outputs", "workloads", "root", "seed",
            "reference", "kv_layout")),
    Source("dumped calls", _flashinfer.dump_in, _flashinfer.calls_of, ("only", "outputs", "kv_layout")),
    Source("ONNX's models", _onnx.models_in, _onnx.problems_of, ("only", "outputs")),
    Source("arrays", lambda path: path.endswith((".npz", ".safetensors", ".pt", ".pth")), None,
           ("causal", "scale", "window", "softcap", "kshared", "name", "without", "layout")),
)


def source_of(path):
    for source in SOURCES:
        if source.told(path):
            return source
    raise ValueError("is neither npz, safetensors, torch's (.pt, .pth), a definition (.json), a folder that "
                     "FlashInfer dumped to nor one with model.onnx")


def expect_applies(source, parser, words):
    """ValueError where an option is given that does not apply to what FROM is."""
    every = {option for one in SOURCES for option in one.options}
    given = parser.parse_args(words, argparse.Namespace(**dict.fromkeys(every)))  # None where it is not
    for option in sorted(every.difference(source.options)):
        if getattr(given, option) is not None:
            raise ValueError(f"--{option.replace('_', '-')} does not apply to {source.what}")


def window(text):
    """(left, right) of one number or two."""
    left, *right = _judge.window_of([int(side) for side in text.split(",")])
    return left, *(right or [left])


def main(words=None):
    parser = argparse.ArgumentParser(prog="attest.convert", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", metavar="FROM")
    parser.add_argument("to", metavar="TO")
    parser.add_argument("--causal", choices=("bottom-right", "top-left", "none"), default=None,
                        help="query i sees keys up to i + Skv - Sq, or up to i, or all; of arrays the "
                             "default is all, of a definition what its name says")
    parser.add_argument("--name", action="append", default=[], metavar="OURS=THEIRS", help="of arrays")
    parser.add_argument("--without", action="append", default=[], metavar="THEIRS", help="of arrays")
    parser.add_argument("--scale", type=float, help="of logits; of arrays the default is 1/sqrt(D), of a "
                        "definition what it says")
    parser.add_argument("--window", type=window, metavar="LEFT[,RIGHT]",
                        help="how many keys before its own, i + Skv - Sq, query i sees, and how many behind: "
                        "a model's window of W keys is W - 1")
    parser.add_argument("--softcap", type=float, help="logits are c tanh(logit / c), before any mask")
    parser.add_argument("--kshared", type=int, metavar="DV",
                        help="of arrays without v: values are the first DV elements of k")
    parser.add_argument("--layout", choices=tuple(_judge.SWAPPED), default="bhsd",
                        help="of arrays: [B, H, S, D] or [B, S, H, D]")
    parser.add_argument("--only", default="*", metavar="NAME",
                        help="of problems: those of this name, as a shell matches")
    parser.add_argument("--outputs", metavar="DIR",
                        help="of problems: where answers go that come with them, NAME.safetensors, for "
                             "`attest judge`")
    parser.add_argument("--workloads", metavar="FILE", help="of a definition: JSONL")
    parser.add_argument("--root", metavar="DIR", help="of a definition: where paths in workloads begin")
    parser.add_argument("--seed", type=int, default=1, help="of a definition: of what is random; default 1")
    parser.add_argument("--reference", action="store_true",
                        help="of a definition: run its code, with torch, which has to be of the same problem")
    parser.add_argument("--kv-layout", choices=("NHD", "HND"),
                        help="of a definition or dump that does not say it")
    options = parser.parse_args(words)
    options.causal = False if options.causal == "none" else options.causal
    try:
        source = source_of(options.source)
        expect_applies(source, parser, words)
        if source.problems is None:
            convert_arrays(options)
        elif convert_problems(source.problems(options.source, options), options):
            sys.exit(1)
    except (OSError, ValueError, TypeError, KeyError, ImportError) as error:
        text = str(error).removeprefix(f"'{options.source}': ")
        sys.exit(f"attest.convert: '{options.source}': {text}")


if __name__ == "__main__":
    main()
