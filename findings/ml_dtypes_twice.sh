#!/usr/bin/env bash
# ml_dtypes 0.5.4 and 0.6.0 round float64 to bfloat16 twice, by way of float32: what lies a little above
# the middle of two neighbours becomes the middle, and then the even one. Of random numbers 1 in 2^17
# is rounded to the wrong neighbour: 76 are to be expected of 10^7. float64 to float16, which is numpy's,
# rounds once.
#
# Seen: 1 + 2^-8 + 2^-30 -> 1, expected 1.0078125; of 10^7 wrong 74; float16 1.0009765625
#
# Fails if that changes. Needs python3 with venv; installs into a temporary folder.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat >"$folder/try.py" <<'PYTHON'
import sys

import ml_dtypes
import numpy as np

def once(values):
    """float64, 1 to 2, as bfloat16: to the nearest 2^-7, ties to even."""
    return np.rint(values * 128) / 128

bits = np.random.default_rng(1).integers(0x3ff0000000000000, 0x4000000000000000, 10**7)
values = bits.view("f8")
wrong = values.astype(ml_dtypes.bfloat16).astype("f8") != once(values)
one = float(np.array([1 + 2.0**-8 + 2.0**-30]).astype(ml_dtypes.bfloat16)[0])
other = float(np.array([1 + 2.0**-11 + 2.0**-30]).astype("f2")[0])
print("ml_dtypes %s: 1 + 2^-8 + 2^-30 -> %g, expected 1.0078125; of 10^7 wrong %d; float16 %.10f" % (
    ml_dtypes.__version__, one, wrong.sum(), other))
sys.exit((one, other, int(wrong.sum())) != (1, 1.0009765625, int(sys.argv[1])))
PYTHON
for version in 0.5.4 0.6.0; do
    python3 -m venv "$folder/$version"
    "$folder/$version/bin/pip" -q install ml_dtypes==$version numpy==2.3.5
    "$folder/$version/bin/python" "$folder/try.py" 74
done
