#!/usr/bin/env bash
# HDF5 2.0.0 (h5py 3.16.0) lets an 8-bit float of E4M3's layout be made (H5Tset_fields: 4 exponent bits,
# bias 7), and reads IEEE's infinity and NaN out of it: OCP's E4M3 has none but NaN, 0x7f, and its 256 to
# 448 come back as infinity and NaN, 14 of 256 codes, without a word. h5py takes such a dataset for float16, and stores
# ml_dtypes 0.6.0's float8_e4m3fn as an opaque byte.
#
# Seen: 14 codes differ, the first 0x78: inf, not 256; dtype float16; ml_dtypes' is |V1
#
# Fails if that changes. Needs python3 with venv; installs into a temporary folder.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install h5py==3.16.0 ml_dtypes==0.6.0 numpy==2.4.6
cat >"$folder/try.py" <<'PYTHON'
import sys

import h5py
import ml_dtypes
import numpy as np

codes = np.arange(256, dtype="u1")
right = codes.view(ml_dtypes.float8_e4m3fn).astype("f4")
layout = h5py.h5t.IEEE_F16LE.copy()
layout.set_fields(7, 3, 4, 0, 3)
layout.set_size(1)
layout.set_ebias(7)
with h5py.File(sys.argv[1], "w") as file:
    file["ml_dtypes"] = codes.view(ml_dtypes.float8_e4m3fn)
    space = h5py.h5s.create_simple((256,))
    dataset = h5py.h5d.create(file.id, b"e4m3", layout, space)
    dataset.write(space, space, codes, layout)
    back = np.empty(256, "f4")
    dataset.read(space, space, back)
    wrong = np.flatnonzero((back != right) & ~(np.isnan(back) & np.isnan(right)))
    seen = "%d codes differ, the first 0x%x: %g, not %g; dtype %s; ml_dtypes' is %s" % (
        len(wrong), wrong[0], back[wrong[0]], right[wrong[0]], file["e4m3"].dtype, file["ml_dtypes"].dtype.str)
print("h5py", h5py.version.version, "HDF5", h5py.version.hdf5_version)
print(seen)
sys.exit(seen != "14 codes differ, the first 0x78: inf, not 256; dtype float16; ml_dtypes' is |V1")
PYTHON
"$folder/venv/bin/python" "$folder/try.py" "$folder/file.h5"
