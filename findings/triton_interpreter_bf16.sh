#!/usr/bin/env bash
# Triton 3.9.0's interpreter (TRITON_INTERPRET=1) takes bf16 without a word and computes something else. Its
# manual says that bf16 is not supported, and to cast to f32; the cast back cuts off where a GPU rounds to
# nearest, so that what was computed in f32 is not what is stored either: errors of one sign, up to an ulp.
# Subnormals become larger: 1e-40 is 4.4e-39 after a cast there and back. tl.dot multiplies the bits as
# integers (triton-lang/triton issue 11584, closed: "we just don't support it yet"). f16 and f32 are right.
#
# Seen: 1.998 as bf16 1.9921875, 1e-40 as bf16 4.408e-39, sum of ones @ ones [16, 16] 1.08e+12;
#       expected 2.0, 9.18e-41, 4096
#
# Fails if that changes. Needs python3 with venv; installs into a temporary folder.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install triton==3.9.0 numpy==2.3.5
cat >"$folder/try.py" <<'PYTHON'
import triton
import triton.language as tl


@triton.jit
def show():
    tl.device_print("cast", tl.full([1], 1.998, tl.float32).to(tl.bfloat16).to(tl.float32))
    tl.device_print("subnormal", tl.full([1], 1e-40, tl.float32).to(tl.bfloat16).to(tl.float32))
    ones = tl.full([16, 16], 1, tl.float32).to(tl.bfloat16)
    tl.device_print("dot", tl.sum(tl.sum(tl.dot(ones, ones), 0), 0))


show[(1,)]()
PYTHON
TRITON_INTERPRET=1 "$folder/venv/bin/python" "$folder/try.py" | tee "$folder/seen"
grep -q 'cast: *\[1.9921875\]' "$folder/seen"
grep -q 'subnormal: *\[4.408104e-39\]' "$folder/seen"
grep -q 'dot: *\[1.0823989e+12\]' "$folder/seen"
