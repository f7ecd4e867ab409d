"""`python3 -m attest.convert FROM TO.h5`: fixtures of arrays in other programs' files.

FROM is npz, safetensors, or what torch.save wrote (.pt, .pth; read as weights only). Its arrays have the
names of a fixture's datasets -- q, k, v, kv_cache, ... as `attest.Call` has them -- or are given them with
--name q=query. An array that a fixture has no place for is named, and nothing is written, unless
--without says that it does not matter.
"""
from __future__ import annotations

import argparse
import sys
import tempfile

import numpy

from . import _arrays, _judge


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
    raise ValueError("is neither npz, safetensors nor torch's (.pt, .pth)")


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


def main(words=None):
    parser = argparse.ArgumentParser(prog="attest.convert", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", metavar="FROM")
    parser.add_argument("to", metavar="TO.h5")
    parser.add_argument("--name", action="append", default=[], metavar="OURS=THEIRS")
    parser.add_argument("--without", action="append", default=[], metavar="THEIRS")
    parser.add_argument("--causal", choices=("bottom-right", "top-left"), default=False,
                        help="query i sees keys up to i + Skv - Sq, or up to i; default: all")
    parser.add_argument("--scale", type=float, help="of logits; default 1/sqrt(D)")
    parser.add_argument("--layout", choices=tuple(_judge.SWAPPED), default="bhsd",
                        help="of q, k and v: [B, H, S, D] or [B, S, H, D]")
    options = parser.parse_args(words)
    try:
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
        arrays, metadata = _judge.fixture_of(given, options.causal, options.scale, options.layout)
        if any(isinstance(array, Typed) and array.kind == "BF16" for array in found.values()):
            metadata["dtype"] = "bf16"
        with tempfile.TemporaryDirectory(prefix="attest-") as folder:
            _arrays.save(f"{folder}/fixture.safetensors", arrays, metadata)
            print(_judge.call("convert", f"{folder}/fixture.safetensors", options.to).strip())
    except (OSError, ValueError, TypeError) as error:
        sys.exit(f"attest.convert: '{options.source}': {error}")


if __name__ == "__main__":
    main()
