#!/usr/bin/env bash
# nvidia-cutlass-dsl 4.8.1, which FlashAttention-4 (flash-attn-4 4.0.0b36) and other kernels in CuTe's Python
# import as `cutlass`, has no such package: it lies in nvidia_cutlass_dsl/dsl_packages, and a .pth file says
# so. Those are read in site directories only. So after `pip install --target DIR`, with DIR in PYTHONPATH, as
# on machines without a network, pip lists it as installed, nvidia_cutlass_dsl can be imported, and cutlass
# cannot; site.addsitedir(DIR), or the folder itself in PYTHONPATH, mends it.
#
# Seen: PYTHONPATH: nvidia_cutlass_dsl found, cutlass not found; addsitedir: cutlass found; the folder in
#       PYTHONPATH: cutlass found
#
# Fails if that changes. Needs python3 with venv (3.10 or later); installs into a temporary folder.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install --no-deps --target "$folder/site" nvidia-cutlass-dsl==4.8.1 \
    nvidia-cutlass-dsl-libs-base==4.8.1
find_spec='import importlib.util as u
def tell(name): return name + (" found" if u.find_spec(name) else " not found")'
python=$folder/venv/bin/python
seen="PYTHONPATH: $(PYTHONPATH=$folder/site "$python" -c "$find_spec
print(tell('nvidia_cutlass_dsl') + ', ' + tell('cutlass'))")"
seen+="; addsitedir: $("$python" -c "$find_spec
import site; site.addsitedir('$folder/site'); print(tell('cutlass'))")"
seen+="; the folder in PYTHONPATH: $(PYTHONPATH=$folder/site:$folder/site/nvidia_cutlass_dsl/dsl_packages "$python" -c "$find_spec
print(tell('cutlass'))")"
echo "$seen"
[ "$seen" = "PYTHONPATH: nvidia_cutlass_dsl found, cutlass not found; addsitedir: cutlass found; the folder in PYTHONPATH: cutlass found" ]
