#!/usr/bin/env bash
# A file that HDF5 2.0.0 (h5py 3.16.0) writes with libver="latest" opens in HDF5 1.14.6 (h5py 3.13.0),
# and its datasets can be listed; one that is stored whole can be read, one that is chunked and
# compressed cannot: "bad version number for layout message". The same data written with
# libver="v110" can. So a file that looks well is half readable, and the message names no version.
#
# Seen: latest: whole reads, compressed KeyError (bad version number for layout message);
#       v110: whole reads, compressed reads
#
# Fails if that changes. Needs python3 with venv; installs into a temporary folder.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for version in 3.16.0 3.13.0; do
    python3 -m venv "$folder/$version"
    "$folder/$version/bin/pip" -q install h5py==$version numpy==2.3.5
done
cat >"$folder/write.py" <<'PYTHON'
import sys

import h5py
import numpy as np

print("written by HDF5", h5py.version.hdf5_version)
for libver in ("latest", "v110"):
    with h5py.File(f"{sys.argv[1]}/{libver}.h5", "w", libver=libver) as file:
        file["whole"] = np.arange(4096, dtype="i4")
        file.create_dataset("compressed", data=np.arange(4096, dtype="i4"), chunks=(1024,),
                            compression="gzip")
PYTHON
cat >"$folder/read.py" <<'PYTHON'
import sys

import h5py

print("read by HDF5", h5py.version.hdf5_version)
seen = []
for libver in ("latest", "v110"):
    with h5py.File(f"{sys.argv[1]}/{libver}.h5") as file:
        for name in ("whole", "compressed"):
            try:
                file[name][:]
                seen.append("reads")
            except (KeyError, OSError) as error:
                known = "bad version number for layout message"
                seen.append(f"{type(error).__name__} ({known})" if known in str(error)
                            else f"another error: {error}")
            print(libver, name, seen[-1])
sys.exit(seen != ["reads", "KeyError (bad version number for layout message)", "reads", "reads"])
PYTHON
"$folder/3.16.0/bin/python" "$folder/write.py" "$folder"
"$folder/3.13.0/bin/python" "$folder/read.py" "$folder"
