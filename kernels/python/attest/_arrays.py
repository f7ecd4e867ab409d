"""Arrays of any library as numpy's, and as safetensors, which attest reads."""
from __future__ import annotations

import json
import struct

import numpy

# The tensors of a call, in attn.h's order; those that are written, and those that are read.
SLOTS = ("q", "k", "v", "kv_cache", "kv_page_indptr", "kv_page_indices", "kv_last_page_len",
         "seq_lens", "sparse_ind", "sparse_nnz", "sparse_mask", "lsh_k", "lsh_l", "out", "lse",
         "sinks", "q_lens", "slopes", "bias", "k_scale", "v_scale", "cu_seqlens_q", "cu_seqlens_kv",
         "out_scale")
WRITTEN = ("out", "lse")
INPUTS = tuple(name for name in SLOTS if name not in WRITTEN)
TYPES = {"F64": "f8", "F32": "f4", "F16": "f2", "BF16": "u2", "I64": "i8", "I32": "i4", "I16": "i2",
         "U16": "u2", "U8": "u1", "I8": "i1", "F8_E4M3": "u1", "BOOL": "?"}
NAMES = {numpy.dtype(text): name for name, text in TYPES.items() if name not in ("BF16", "F8_E4M3")}


def e4m3_of(code):
    """What the bits s eeee mmm are in E4M3."""
    exponent, mantissa = code >> 3 & 15, code & 7
    size = mantissa * 2.0 ** -9 if exponent == 0 else (8 + mantissa) * 2.0 ** (exponent - 10)
    return (-1) ** (code >> 7) * (numpy.nan if code & 127 == 127 else size)


E4M3 = numpy.array([e4m3_of(code) for code in range(256)], "f4")


def as_numpy(array):
    """The array, dense, and its type's name in safetensors. bf16 is uint16 and E4M3 uint8, told by their names
    alone."""
    if hasattr(array, "detach"):  # torch, which has no bf16 that numpy knows
        array = array.detach().cpu()
        if str(array.dtype) == "torch.bfloat16":
            import torch
            return numpy.ascontiguousarray(array.contiguous().view(torch.int16).numpy()).view("u2"), "BF16"
        if str(array.dtype) == "torch.float8_e4m3fn":
            import torch
            return array.contiguous().view(torch.uint8).numpy(), "F8_E4M3"
        array = array.numpy()
    elif hasattr(array, "get") and hasattr(array, "__cuda_array_interface__"):  # CuPy
        array = array.get()
    array = numpy.ascontiguousarray(numpy.asarray(array))
    if array.dtype.name == "bfloat16":  # ml_dtypes', which JAX has
        return array.view("u2"), "BF16"
    if array.dtype.name == "float8_e4m3fn":
        return array.view("u1"), "F8_E4M3"
    dense = array.astype(array.dtype.newbyteorder("<"), copy=False)
    if dense.dtype not in NAMES:
        raise TypeError(f"an array of {array.dtype}, expected floats of 16, 32 or 64 bits, "
                        "float8_e4m3fn, integers or booleans")
    return dense, NAMES[dense.dtype]


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


def load(path, names=None):
    """{name: (array, type's name)}, of these names, and the metadata of a file of safetensors."""
    with open(path, "rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        length, = struct.unpack("<Q", file.read(8).ljust(8, b"\0"))
        if not 2 <= length <= size - 8:
            raise ValueError(f"no safetensors: its header takes {length} of {size} bytes")
        header = json.loads(file.read(length))
        if not isinstance(header, dict):
            raise ValueError("no safetensors: its header is no JSON object")
        metadata, arrays = header.pop("__metadata__", {}), {}
        for name, entry in header.items():
            if names is not None and name not in names:
                continue
            if entry["dtype"] not in TYPES:
                raise TypeError(f"array {name!r} is {entry['dtype']}, expected {', '.join(TYPES)}")
            begin, end = entry["data_offsets"]
            file.seek(8 + length + begin)
            arrays[name] = (numpy.frombuffer(file.read(end - begin), TYPES[entry["dtype"]])
                            .reshape(entry["shape"]), entry["dtype"])
    return arrays, metadata


def of_torch(path):
    """{name: tensor} of what torch.save wrote, read as weights only."""
    import torch
    found = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(found, dict):
        raise ValueError(f"holds a {type(found).__name__}, expected a dict of tensors")
    return found


def read(path, reader, **words):
    """What `reader` makes of a file. Of one that is damaged numpy's, torch's and protobuf's raise kinds of
    their own, some with advice: ValueError, of their first sentence."""
    try:
        return reader(path, **words)
    except Exception as error:
        own = isinstance(error, (OSError, TypeError, ValueError))
        text = str(error) if own else f"{type(error).__name__}: {error}".partition(". ")[0]
        raise ValueError(f"'{path}': " + text.partition("\n")[0].rstrip(": ")) from None


def f32(array: numpy.ndarray) -> numpy.ndarray:
    """The numbers of a tensor as float32, exactly; of bf16, which is uint16 here, and of E4M3, uint8, too."""
    if array.dtype == numpy.uint16:
        return (array.astype(numpy.uint32) << 16).view(numpy.float32)
    if array.dtype == numpy.uint8:
        return E4M3[array]
    return array.astype(numpy.float32)


def sinks_of(array, kind):
    """Sinks of any floats as a fixture has them, f32; of float64 each is rounded once."""
    if kind not in ("F64", "F32", "F16", "BF16", "U16"):
        raise TypeError(f"sinks is {kind}, expected floats [Hq]")
    with numpy.errstate(over="ignore"):
        return f32(array), "F32"


def bias_of(array, kind, q_len, kv_len):
    """A bias of any floats, or a mask that is true where a key is seen, as a fixture has it: f32 of four
    dimensions, of which the last two are not broadcast."""
    if kind not in ("F64", "F32", "F16", "BF16", "U16", "BOOL"):
        raise TypeError(f"bias is {kind}, expected floats or booleans [1 or B, 1 or Hq, Sq, Skv]")
    if array.ndim > 4:
        raise ValueError(f"bias has {array.ndim} dimensions, expected at most 4")
    with numpy.errstate(over="ignore"):
        values = numpy.where(array, 0, -numpy.inf).astype("f4") if kind == "BOOL" else f32(array)
    values = values.reshape((1,) * (4 - values.ndim) + values.shape)
    sizes = (q_len if values.shape[2] == 1 else values.shape[2], kv_len if values.shape[3] == 1 else values.shape[3])
    return numpy.ascontiguousarray(numpy.broadcast_to(values, (*values.shape[:2], *sizes))), "F32"


def bf16(values):
    """float32 as bf16's bits, each rounded to the nearest, ties to even; of float64 twice."""
    bits = numpy.ascontiguousarray(values, numpy.float32).view(numpy.uint32)
    rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16
    return numpy.where(numpy.isnan(values), bits >> 16 | 0x40, rounded).astype(numpy.uint16)


def e4m3(values):
    """float32 as E4M3's bits as outputs have them, each rounded to the nearest, ties to even: beyond 448, of
    infinity, too, 448 of its sign, and of NaN 0x7f; of float64 rounded twice."""
    values = numpy.asarray(values, numpy.float32)
    size = numpy.minimum(numpy.abs(values), numpy.float32(448))
    bits = numpy.ascontiguousarray(size).view(numpy.uint32)
    small = numpy.ascontiguousarray(size + numpy.float32(16384)).view(numpy.uint32) - 0x46800000  # multiples of 2^-9
    normal = (bits - (120 << 23) + 0x7ffff + (bits >> 20 & 1)) >> 20
    code = numpy.where(bits < 0x3c800000, small, normal) | numpy.where(numpy.signbit(values), 0x80, 0)
    return numpy.where(numpy.isnan(values), 0x7f, code).astype(numpy.uint8).reshape(values.shape)
