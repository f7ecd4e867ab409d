#!/usr/bin/env bash
# h5py 3.16.0 (HDF5 2.0.0) stores an array of ml_dtypes 0.5.4's bfloat16 without a word, as an opaque
# type of 2 bytes with an empty tag: nothing in the file says that these are numbers. They come back as
# numpy void ('|V2'), which does not convert to float. HDF5 2.0 has a bfloat16 of its own, which is
# not used. float16 is stored as a 16-bit float.
#
# Seen: /bf16 class OPAQUE, 2 bytes, tag b'', read as |V2, to float: ValueError; /f16 class FLOAT
#
# Fails if that changes. Needs python3 with venv; installs into a temporary folder.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install h5py==3.16.0 ml_dtypes==0.5.4 numpy==2.3.5
cat >"$folder/try.py" <<'PYTHON'
import sys

import h5py
import ml_dtypes
import numpy as np

path = sys.argv[1]
with h5py.File(path, "w") as file:
    file["bf16"] = np.arange(6).astype(ml_dtypes.bfloat16)
    file["f16"] = np.arange(6).astype(np.float16)
with h5py.File(path) as file:
    kind = file["bf16"].id.get_type()
    back = file["bf16"][:]
    try:
        back.astype(np.float32)
        converted = "works"
    except (TypeError, ValueError) as error:
        converted = type(error).__name__
    names = {h5py.h5t.OPAQUE: "OPAQUE", h5py.h5t.FLOAT: "FLOAT"}
    seen = "/bf16 class %s, %d bytes, tag %r, read as %s, to float: %s; /f16 class %s" % (
        names.get(kind.get_class(), "?"), kind.get_size(),
        kind.get_tag() if kind.get_class() == h5py.h5t.OPAQUE else None, back.dtype.str, converted,
        names.get(file["f16"].id.get_type().get_class(), "?"))
print("h5py", h5py.version.version, "HDF5", h5py.version.hdf5_version)
print(seen)
sys.exit(seen != "/bf16 class OPAQUE, 2 bytes, tag b'', read as |V2, to float: ValueError; "
         "/f16 class FLOAT")
PYTHON
"$folder/venv/bin/python" "$folder/try.py" "$folder/file.h5"
