#!/bin/bash
# Builds every CUDA kernel and cuda_check with all cores, checks ptxas's reports for spills, and
# checks and times everything on this machine's GPU. Usage: run_check.sh [BUILD_DIR] [--small]
# The table comes last.
set -u
here=$(cd "$(dirname "$0")" && pwd)
build=${1:-/tmp/cuda_check}
shift $(( $# > 0 ? 1 : 0 ))
mkdir -p "$build"
export PATH=$PATH:/usr/local/cuda/bin
export here build
export common="-std=c++20 -O3 -Xcompiler -fPIC,-Wall,-fvisibility=hidden"
export targets="-gencode arch=compute_80,code=[sm_80,compute_80] -gencode arch=compute_90,code=sm_90"

# cuBLAS from the toolkit, or from where another package put it.
export cublas=-lcublas
if ! echo '#include <cublas_v2.h>' | nvcc -E -x cu - >/dev/null 2>&1; then
    header=$(find / -name cublas_v2.h 2>/dev/null | head -1)
    library=$(find / -name 'libcublas.so*' 2>/dev/null | head -1)
    cublas="-I$(dirname "$header") $library -Xlinker -rpath,$(dirname "$library")"
fi

compile() {
    local source=$1 name
    name=$(basename "$source" .cu)
    case $name in
    cuda_check) nvcc -std=c++20 -O2 -Xcompiler -Wall $targets -o "$build/$name" "$source" $cublas -ldl ;;
    *_mma_*) nvcc $common $targets -Xptxas -v -shared -o "$build/$name.so" "$source" ;;
    *) nvcc $common $targets -shared -o "$build/$name.so" "$source" $cublas ;;
    esac >"$build/$name.log" 2>&1 || { echo "run_check: $name does not compile"; tail -20 "$build/$name.log"; }
    if grep -E "warning|C75[0-9][0-9]" "$build/$name.log"; then echo "run_check: warnings in $name"; fi
    if grep -E "bytes stack" "$build/$name.log" | grep -v -q " 0 bytes stack frame, 0 bytes spill stores"; then
        echo "run_check: $name uses local memory"
    fi
}
export -f compile

start=$(date +%s)
ls "$here"/*_mma_*.cu "$here"/cuda_check.cu "$here"/*_reference_*.cu "$here"/*_bymask_*.cu |
    xargs -P "$(nproc)" -I{} bash -c 'compile {}'
echo "run_check: built in $(( $(date +%s) - start )) s"
start=$(date +%s)
"$build/cuda_check" "$@" "$build"/*_mma_*.so "$build"/*_reference_*.so "$build"/*_bymask_*.so
status=$?
echo "run_check: checked in $(( $(date +%s) - start )) s, status $status"
exit $status
