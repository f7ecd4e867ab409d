"""Arrays of any library as numpy's, and as safetensors, which attest reads."""
from __future__ import annotations

import json
import struct

import numpy

# The tensors of a call, in attn.h's order; the last two are written.
SLOTS = ("q", "k", "v", "kv_cache", "kv_page_indptr", "kv_page_indices", "kv_last_page_len",
         "seq_lens", "sparse_ind", "sparse_nnz", "sparse_mask", "lsh_k", "lsh_l", "out", "lse")
TYPES = {"F64": "f8", "F32": "f4", "F16": "f2", "BF16": "u2", "I64": "i8", "I32": "i4", "I16": "i2",
         "U16": "u2", "U8": "u1", "BOOL": "?"}
NAMES = {numpy.dtype(text): name for name, text in TYPES.items() if name != "BF16"}


def as_numpy(array):
    """The array, dense, and its type's name in safetensors. bf16 is uint16, told by its name alone."""
    if hasattr(array, "detach"):  # torch, which has no bf16 that numpy knows
        array = array.detach().cpu()
        if str(array.dtype) == "torch.bfloat16":
            import torch
            return numpy.ascontiguousarray(array.contiguous().view(torch.int16).numpy()).view("u2"), "BF16"
        array = array.numpy()
    elif hasattr(array, "get") and hasattr(array, "__cuda_array_interface__"):  # CuPy
        array = array.get()
    array = numpy.ascontiguousarray(numpy.asarray(array))
    if array.dtype.name == "bfloat16":  # ml_dtypes', which JAX has
        return array.view("u2"), "BF16"
    if array.dtype not in NAMES:
        raise TypeError(f"an array of {array.dtype}, expected floats of 16, 32 or 64 bits, integers or "
                        "booleans")
    return array.astype(array.dtype.newbyteorder("<"), copy=False), NAMES[array.dtype]


def save(path, arrays, metadata=None):
    """Writes safetensors of {name: (array, type's name)}."""
    header, at = {"__metadata__": metadata} if metadata else {}, 0
    for name, (array, kind) in arrays.items():
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [at, at + array.nbytes]}
        at += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for array, _ in arrays.values():
            file.write(array.data if array.size else b"")


def load(path):
    """{name: (array, type's name)} and the metadata of a file that attest wrote."""
    with open(path, "rb") as file:
        data = file.read()
    length, = struct.unpack_from("<Q", data)
    header = json.loads(data[8:8 + length])
    metadata = header.pop("__metadata__", {})
    arrays = {}
    for name, entry in header.items():
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        arrays[name] = (numpy.frombuffer(data[begin:end], TYPES[entry["dtype"]]).reshape(entry["shape"]),
                        entry["dtype"])
    return arrays, metadata
