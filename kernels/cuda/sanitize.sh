#!/bin/bash
# Runs every mma kernel that run_check.sh built under compute-sanitizer, on one small problem
# in EVERY. Usage: sanitize.sh BUILD_DIR [SECONDS_EACH [TOOLS [EVERY]]]. One line a kernel and tool.
set -u
build=$1
limit=${2:-120}
tools=${3:-memcheck initcheck racecheck}
every=${4:-7}
export PATH=$PATH:/usr/local/cuda/bin
# Racecheck is slow: only the kernels' own launches, not cuda_check's.
filter="--kernel-name kernel_substring=attn"

examine() {
    local library=$1 tool=$2 name log only=
    name=$(basename "$library" .so)
    log=$build/$name.$tool.log
    [ "$tool" = racecheck ] && only=$filter
    timeout "$limit" compute-sanitizer --tool "$tool" $only "$build/cuda_check" --small \
        --every "$every" "$library" >"$log" 2>&1
    printf '%-32s %-10s status %-4s %s %s\n' "$name" "$tool" "$?" \
        "$(grep -E 'SUMMARY' "$log" | sed 's/=* *//')" "$(grep -o 'small problems done.*' "$log")"
}

for tool in $tools; do
    for library in "$build"/*_mma_*.so; do examine "$library" $tool & done
    wait
done
