"""The Triton files of the original author, run and judged as they are: nothing of them is here, only how
they are called. ATTEST_ORIGINAL names the folder that has them.

    ATTEST_ORIGINAL=~/original attest run kernels/python/triton_original.py -s seed

They were written for an older Triton, and two need what it had: globals that kernels read without being
tl.constexpr, and libdevice's functions in tl.math. Both are given to them, in this process. Each
returns a new tensor, which is copied to call.out: the copy is part of the time. None returns lse.

VAR_Q_SEQ_BLK_SIZE and VAR_KV_SEQ_BLK_SIZE, their tiles, are the environment's, else 64, and of keys in
pages no more than a page."""
import functools
import importlib.util
import os
import sys

import attest
import triton.language as tl
from triton.language.extra.cuda import libdevice

FOLDER = os.environ.get("ATTEST_ORIGINAL")
TILES = {name: os.environ.get(name) for name in ("VAR_Q_SEQ_BLK_SIZE", "VAR_KV_SEQ_BLK_SIZE")}
DEVICE = "cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda"

@functools.lru_cache(maxsize=None)
def module(stem):
    """The file as a module. What it raises is its own. From the first on, files of this interpreter, in
    which other kernels' rows may follow, are given what these need."""
    os.environ.setdefault("TRITON_ALLOW_NON_CONSTEXPR_GLOBALS", "1")
    for name, function in vars(libdevice).items():
        if not name.startswith("_") and not hasattr(tl.math, name):
            setattr(tl.math, name, function)
    path = os.path.join(FOLDER, stem + ".py")
    if not os.path.exists(path):
        raise FileNotFoundError(f"{FOLDER} has no {stem}.py")
    if FOLDER not in sys.path:
        sys.path.append(FOLDER)
    spec = importlib.util.spec_from_file_location(stem, path)
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def set_tiles(page_size):
    page = page_size or 64
    for name, asked in TILES.items():
        os.environ[name] = asked or str(64 if "Q" in name.split("_") else min(64, page))


def original(variant, stem, name, traits=("gqa",), takes_scale=True):
    """Decorates a function of the call that returns the arguments of the function `name` of a file."""
    def decorate(arguments):
        @functools.wraps(arguments)
        def launch(call):
            set_tiles(call.problem.page_size)
            made = getattr(module(stem), name)(*arguments(call))
            call.out.copy_(made.reshape(call.out.shape))

        kernel = attest.kernel(variant=variant, device=DEVICE, arrays="torch", dtypes=["f16"],
                               needs=["torch", "triton"],
                               traits=traits, change=f"{stem}.py as it is")(launch)

        @kernel.refuse
        def refuse(problem):
            if not FOLDER:
                return "ATTEST_ORIGINAL is not set: the folder of the original's files"
            if not takes_scale and abs(problem.scale * problem.head_dim ** 0.5 - 1) > 1e-6:
                return f"{name} takes no scale, it is 1 / sqrt(D)"
            set_tiles(problem.page_size)  # which a file may read when it is imported
            try:
                if not hasattr(module(stem), name):
                    return f"{stem}.py has no {name}"
            except Exception as error:
                return f"{stem}.py cannot be imported: {type(error).__name__}: {error}"

        return kernel
    return decorate


def group(call):
    return call.problem.q_heads // call.problem.kv_heads


def causal(call):
    return "causal" in call.problem.traits


@original("prefill", "prefill_flash_attention", "flash_attention_prefill", traits=("gqa", "causal"))
def prefill_original_r1(call):
    return call.q, call.k, call.v, causal(call), call.scale, group(call)


@original("prefill_varlen", "prefill_flash_attention_var_len_padding", "flash_attention_prefill",
          traits=("gqa", "causal"))
def prefill_varlen_original_r1(call):
    return call.q, call.k, call.v, causal(call), call.scale, group(call), call.state


@prefill_varlen_original_r1.prepare
def prepare(call):
    call.state = call.seq_lens.long()  # it takes int64


@original("decode", "decode_flash_attention_redundant", "flash_attention_decode")
def decode_original_r1(call):
    return call.q, call.k, call.v, call.scale, group(call)


@original("decode_paged", "decode_flash_attention_redundant_var_len_paged",
          "flash_attention_decode_paged", takes_scale=False)
def decode_paged_original_r1(call):
    return call.q, call.kv_cache, call.kv_page_indptr, call.kv_page_indices, call.kv_last_page_len


@original("sparse_decode", "sparsetoken_decode_flash_attention_redundant",
          "sparsetoken_flash_attention_decode")
def sparse_decode_original_r1(call):
    return (call.q, call.k, call.v, call.sparse_ind, call.sparse_nnz.unsqueeze(-1), call.scale,
            group(call))


@original("sparse_decode_paged", "sparsetoken_decode_flash_attention_redundant_var_len_paged",
          "sparsetoken_flash_attention_decode_paged", takes_scale=False)
def sparse_decode_paged_original_r1(call):
    return (call.q, call.kv_cache, call.kv_page_indptr, call.kv_page_indices, call.sparse_ind,
            call.sparse_nnz.unsqueeze(-1))


@original("magicpig_decode_paged",
          "magicpig_sparsetoken_decode_flash_attention_redundant_var_len_paged_with_norm",
          "magicpig_sparsetoken_flash_attention_decode_paged", takes_scale=False)
def magicpig_decode_paged_original_r1(call):
    return (call.q, call.kv_cache, call.kv_page_indptr, call.kv_page_indices, call.sparse_ind,
            call.sparse_nnz.unsqueeze(-1), call.lsh_k.unsqueeze(-1), call.lsh_l.unsqueeze(-1))
