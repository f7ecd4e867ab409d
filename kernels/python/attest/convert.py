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

What a fixture cannot say is named; the others are written, and the exit status is 1.
"""
from __future__ import annotations

import argparse
import fnmatch
import json
import os
import pathlib
import sys
import tempfile

import numpy

from . import _arrays, _definitions, _flashinfer, _foreign, _judge, _onnx


def read(path):
    """{name: array} of a file; bf16 of safetensors is told by its type's name."""
    if path.endswith(".npz"):
        return dict(numpy.load(path, allow_pickle=False))
    if path.endswith(".safetensors"):
        return {name: Typed(*array) for name, array in _arrays.load(path)[0].items()}
    if path.endswith((".pt", ".pth")):
        import torch
        found = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(found, dict):
            raise ValueError(f"holds a {type(found).__name__}, expected a dict of tensors")
        return found
    raise ValueError("is neither npz, safetensors, torch's (.pt, .pth), a definition (.json), a folder that "
                     "FlashInfer dumped to nor one with model.onnx")


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
    causal = options.causal if options.causal not in (None, "none") else False
    arrays, metadata = _judge.fixture_of(given, causal, options.scale, options.layout)
    if any(isinstance(array, Typed) and array.kind == "BF16" for array in found.values()):
        metadata["dtype"] = "bf16"
    print(write(arrays, metadata, options.to))


def convert_problem(problem, to, outputs):
    """Writes a fixture and, below `outputs`, the answer that the source has."""
    arrays = {name: (numpy.ascontiguousarray(array), problem.kind if name in ("q", "k", "v", "kv_cache")
                     else _arrays.NAMES[array.dtype]) for name, array in problem.arrays.items()}
    metadata = {"format": "attest-fixture", "version": "1", "causal": "1" if problem.causal else "0"}
    if problem.kind == "BF16":
        metadata["dtype"] = "bf16"
    if problem.scale is not None:
        metadata["scale"] = repr(problem.scale)
    given = {}
    if problem.out is not None:
        given["out"] = numpy.ascontiguousarray(problem.out), problem.kind
    if problem.lse is not None:
        given["lse"] = numpy.ascontiguousarray(problem.lse), "F32"
    if problem.checked:
        check(arrays, metadata, given)
    print(f"{to}: {write(arrays, metadata, to)}")
    if outputs and given:
        _arrays.save(f"{outputs}/{pathlib.Path(to).stem}.safetensors", given)


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
        try:
            if to in paths:
                raise ValueError(f"is '{to}', as {paths[to]!r} is")
            paths[to] = name
            convert_problem(make(), to, options.outputs)
        except (OSError, ValueError, TypeError, KeyError, MemoryError) as error:
            refused += 1
            reason = f"has no {error}" if isinstance(error, KeyError) else error
            print(f"attest.convert: '{options.source}': {name}: {reason}", file=sys.stderr)
    return refused


def problems_in(options):
    """(name, make) of each problem in what FROM names, or None where that is arrays."""
    if _definitions.definition_in(options.source):
        return _definitions.workloads_of(options.source, options)
    if _flashinfer.dump_in(options.source):
        return _flashinfer.calls_of(options.source, options)
    if _onnx.models_in(options.source):
        return _onnx.problems_of(options.source, options)
    return None


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
    parser.add_argument("--layout", choices=tuple(_judge.SWAPPED), default="bhsd",
                        help="of arrays: [B, H, S, D] or [B, S, H, D]")
    parser.add_argument(
    "--only",
    default="*",
    metavar="NAME",
     help="of problems: those of this name, as a shell matches")
    parser.add_argument(
    "--outputs",
    metavar="DIR",
     help="of problems: where answers go that come with them, NAME.safetensors, for `attest judge`")
    parser.add_argument("--workloads", metavar="FILE", help="of a definition: JSONL")
    parser.add_argument("--root", metavar="DIR", help="of a definition: where paths in workloads begin")
    parser.add_argument("--seed", type=int, default=1, help="of a definition: of what is random; default 1")
    parser.add_argument("--reference", action="store_true",
                        help="of a definition: run its code, with torch, which has to be of the same problem")
    parser.add_argument("--kv-layout", choices=("NHD", "HND"),
                        help="of a definition or dump that does not say it")
    options = parser.parse_args(words)
    try:
        found = problems_in(options)
        if found is None:
            convert_arrays(options)
        elif convert_problems(found, options):
            sys.exit(1)
    except (OSError, ValueError, TypeError, KeyError, ImportError) as error:
        sys.exit(f"attest.convert: '{options.source}': {error}")


if __name__ == "__main__":
    main()
