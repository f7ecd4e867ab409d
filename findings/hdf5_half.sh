#!/usr/bin/env bash
# HDF5 1.14.6 (h5py 3.14.0) converts float32 to float16 wrongly. A value below 2^-14 that rounds up to a
# power of two becomes half of it, and so does, once there was any below 2^-14 in the same array, every
# later value that rounds up to a power of two: 1.99999 alone becomes 2, after 1e-6 it becomes 1. Ties are
# rounded up, not to even, and 65520 becomes 65504, not infinity. HDF5 2.0.0 (h5py 3.16.0) mends these,
# and makes infinity of what lies between 65504 and 65520, which rounds to 65504. What converts so is
# writing to, or reading from, a dataset of the other type: dataset[...] = array, dataset.astype("f2").
# create_dataset(data=array, dtype="f2") has numpy convert, which is right.
#
# Seen: HDF5 1.14.6: 1.99999 -> 2; 1e-06, 1.99999 -> 1.01e-06, 1; 2049 -> 2050; 65519 -> 65504; 65520 -> 65504;
#       of 200000 below 2^-14 wrong 20034
#       HDF5 2.0.0: 1.99999 -> 2; 1e-06, 1.99999 -> 1.01e-06, 2; 2049 -> 2048; 65519 -> inf; 65520 -> inf;
#       of 200000 below 2^-14 wrong 0
#
# Fails if that changes. Needs python3 with venv; installs into a temporary folder.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for version in 3.14.0 3.16.0; do
    python3 -m venv "$folder/$version"
    "$folder/$version/bin/pip" -q install h5py==$version numpy==2.3.5
done
cat >"$folder/try.py" <<'PYTHON'
import sys

import h5py
import numpy as np


def stored(*values):
    values = np.array(values, "f4")
    with h5py.File(sys.argv[1], "w") as file:
        dataset = file.create_dataset("x", values.shape, "f2")
        dataset[...] = values
        return dataset[...].tolist()


def text(values):
    return ", ".join("%.6g" % float("%.3g" % value if value < 1 else value) for value in values)


seen = "; ".join("%s -> %s" % (text(values), text(stored(*values)))
                 for values in ([1.99999], [1e-6, 1.99999], [2049], [65519], [65520]))
small = np.random.default_rng(1).integers(0x33800000, 0x38800000, 200000, "u4").view("f4")  # 2^-24 to 2^-14
wrong = np.array(stored(*small)) != small.astype("f2")
seen = "HDF5 %s: %s; of 200000 below 2^-14 wrong %d" % (h5py.version.hdf5_version, seen, wrong.sum())
print(seen)
sys.exit(seen != sys.argv[2])
PYTHON
"$folder/3.14.0/bin/python" "$folder/try.py" "$folder/file.h5" "HDF5 1.14.6: 1.99999 -> 2; \
1e-06, 1.99999 -> 1.01e-06, 1; 2049 -> 2050; 65519 -> 65504; 65520 -> 65504; of 200000 below 2^-14 wrong 20034"
"$folder/3.16.0/bin/python" "$folder/try.py" "$folder/file.h5" "HDF5 2.0.0: 1.99999 -> 2; \
1e-06, 1.99999 -> 1.01e-06, 2; 2049 -> 2048; 65519 -> inf; 65520 -> inf; of 200000 below 2^-14 wrong 0"
