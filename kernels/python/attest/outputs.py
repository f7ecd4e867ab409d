"""`python3 -m attest.outputs FROM TO.safetensors`: an output in npy or npz, as attest reads it."""
import sys

import numpy

from . import _arrays


def main(path, to):
    found = numpy.load(path, allow_pickle=False)
    arrays = {"out": found} if isinstance(found, numpy.ndarray) else dict(found)
    _arrays.save(to, {name: _arrays.as_numpy(array) for name, array in arrays.items()})


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except Exception as error:  # what is wrong with a file is one line
        sys.exit(f"attest: '{sys.argv[1]}': {type(error).__name__}: {error}")
