#!/usr/bin/env bash
# ptxas 13.0.88 and 13.5.37 make of `mbarrier.arrive.release.cluster` at a barrier in another block of the
# cluster, on sm_90a, a fence of all of the GPU's memory and then the arrival: MEMBAR.ALL.GPU, ERRBAR and
# CGAERRBAR, though the scope is a cluster. Without words for it (`mbarrier.arrive`, whose order is .release
# all the same) and with .relaxed.cluster (PTX ISA 8.6) there is no fence. A consumer that hands a buffer
# back to the blocks that multicast into it, at each tile, waits for that fence each time: an attention
# kernel on an H200 took 1774 us with it and 1436 without. What it has read with wgmma, and waited for with
# wgmma.wait_group, needs no release.
#
# Seen: 13.0.88: plain: none; release.cluster: MEMBAR.ALL.CTA MEMBAR.ALL.GPU ERRBAR CGAERRBAR; relaxed.cluster: none
#       13.5.37: the same
#
# Fails if that changes. Needs python3 with venv; installs into a temporary folder. No GPU.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install --no-deps --target "$folder/dis" nvidia-cuda-nvdisasm==13.5.37
dis=$(find "$folder/dis" -name nvdisasm -type f)
chmod +x "$dis"
changed=0
for version in 13.0.88 13.5.37; do
    "$folder/venv/bin/pip" -q install --no-deps --target "$folder/$version" nvidia-cuda-nvcc==$version
    ptxas=$(find "$folder/$version" -name ptxas -type f)
    chmod +x "$ptxas"
    seen=
    for words in plain release.cluster relaxed.cluster; do
        order=.$words
        [ $words != plain ] || order=
        cat >"$folder/arrive.ptx" <<PTX
.version 8.6
.target sm_90a
.address_size 64
.visible .entry arrive(.param .u64 memory, .param .u32 rank)
{
    .reg .u64 at;
    .reg .u32 here, there, other, x;
    .shared .align 8 .b8 barrier[8];
    ld.param.u64 at, [memory];
    ld.param.u32 other, [rank];
    ld.global.u32 x, [at];
    mov.u32 here, barrier;
    mapa.shared::cluster.u32 there, here, other;
    mbarrier.arrive$order.shared::cluster.b64 _, [there];
    st.global.u32 [at+4], x;
    ret;
}
PTX
        "$ptxas" -arch=sm_90a "$folder/arrive.ptx" -o "$folder/arrive.cubin"
        fences=$("$dis" -c "$folder/arrive.cubin" | grep -oE '(MEMBAR|CGAERRBAR|ERRBAR)[A-Z.]*' | tr '\n' ' ' || true)
        seen="$seen${seen:+; }$words: ${fences:-none }"
        seen=${seen% }
    done
    echo "$version: $seen"
    [ "$seen" = "plain: none; release.cluster: MEMBAR.ALL.CTA MEMBAR.ALL.GPU ERRBAR CGAERRBAR; relaxed.cluster: none" ] ||
        changed=1
done
exit $changed
