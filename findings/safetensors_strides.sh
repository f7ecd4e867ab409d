#!/usr/bin/env bash
# safetensors 0.8.0 stores the bytes of a numpy array as they lie in memory, whatever its strides, without
# a word: a transposed array comes back scrambled, and of every second column come other columns. The
# functions for torch refuse such a tensor ("You are trying to save a non contiguous tensor").
#
# Seen: of [[0 1 2] [3 4 5]] transposed [[0 1] [2 3] [4 5]], expected [[0 3] [1 4] [2 5]];
#       columns 0 and 2 [[0 1] [2 3]], expected [[0 2] [3 5]]
#
# Fails if that changes. Needs python3 with venv; installs into a temporary folder.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install safetensors==0.8.0 numpy==2.3.5
cat >"$folder/try.py" <<'PYTHON'
import sys

import numpy as np
import safetensors
import safetensors.numpy

array = np.arange(6).reshape(2, 3)
safetensors.numpy.save_file({"transposed": array.T, "columns 0 and 2": array[:, ::2]}, sys.argv[1])
back = safetensors.numpy.load_file(sys.argv[1])
print("safetensors", safetensors.__version__)
for name, right in (("transposed", array.T), ("columns 0 and 2", array[:, ::2])):
    print(name, back[name].tolist(), "expected", right.tolist())
sys.exit(back["transposed"].tolist() != [[0, 1], [2, 3], [4, 5]] or
         back["columns 0 and 2"].tolist() != [[0, 1], [2, 3]])
PYTHON
"$folder/venv/bin/python" "$folder/try.py" "$folder/file.safetensors"
