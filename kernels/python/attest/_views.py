"""A call's memory, which is the worker's, as arrays of the libraries that kernels are written with.

A tensor here is attn.h's struct attn_tensor: an address, a dtype, sizes and steps in elements. What is
made of it owns nothing and copies nothing, but for JAX, whose arrays never change.
"""
from __future__ import annotations

import ctypes

# Of enum attn_dtype; bf16 and E4M3 as their bits.
TYPES = {1: "<f4", 2: "<f2", 3: "<u2", 4: "<i4", 5: "|u1", 6: "|u1", 7: "|i1"}
BF16, E4M3 = 3, 6


class DeviceArray:
    """Memory of a GPU for any library that knows __cuda_array_interface__: numba.cuda.as_cuda_array,
    cupy.asarray, torch.as_tensor. bf16 is uint16 and E4M3 uint8, as they are not among that protocol's types."""

    def __init__(self, tensor):
        kind = TYPES[tensor.dtype]
        self.shape = tuple(tensor.shape[:tensor.rank])
        self.__cuda_array_interface__ = {
            "version": 3, "shape": self.shape, "typestr": kind, "stream": None,
            "strides": tuple(step * int(kind[2]) for step in tensor.stride[:tensor.rank]),
            "data": (0 if 0 in self.shape else tensor.data, False)}


def span_bytes(tensor):
    """From its first element to behind its last."""
    steps = zip(tensor.shape[:tensor.rank], tensor.stride[:tensor.rank])
    return (1 + sum((n - 1) * step for n, step in steps)) * int(TYPES[tensor.dtype][2])


def numpy_view(tensor, writeable):
    import numpy
    dtype, shape = numpy.dtype(TYPES[tensor.dtype]), tensor.shape[:tensor.rank]
    if 0 in shape:
        return numpy.empty(shape, dtype)
    memory = (ctypes.c_ubyte * span_bytes(tensor)).from_address(tensor.data)
    view = numpy.ndarray(shape, dtype, memory, 0,
                         [step * dtype.itemsize for step in tensor.stride[:tensor.rank]])
    view.flags.writeable = writeable
    return view


class Numpy:
    """What a launch needs beside views: nothing."""

    def __init__(self, call):
        pass

    def view(self, tensor, writeable):
        return numpy_view(tensor, writeable)

    def launch(self, function, call):
        function(call)

    def end(self):
        pass


class Jax(Numpy):
    """Inputs are made anew for each launch, since JAX takes it that arrays do not change: copies, in the
    time that the launch takes. out and lse are numpy's, to be written; so is all that prepare sees."""

    def view(self, tensor, writeable):
        import ml_dtypes
        view = numpy_view(tensor, writeable)
        own = {BF16: ml_dtypes.bfloat16, E4M3: ml_dtypes.float8_e4m3fn}
        return view.view(own[tensor.dtype]) if tensor.dtype in own else view

    def launch(self, function, call):
        import jax.numpy
        with jax.default_device(jax.local_devices(backend="cpu")[0]):
            given = call.replaced(jax.numpy.array)
            function(given)
        call.state = given.state


class Torch(Numpy):
    def __init__(self, call):
        import torch
        torch.set_num_threads(call.threads)
        torch.set_grad_enabled(False)

    def view(self, tensor, writeable):
        import torch
        view = numpy_view(tensor, True)  # torch has no arrays that are read only
        if tensor.dtype == BF16:
            return torch.from_numpy(view.view("i2")).view(torch.bfloat16)
        made = torch.from_numpy(view)
        return made.view(torch.float8_e4m3fn) if tensor.dtype == E4M3 else made


class Interface(Numpy):
    """The addresses, and the stream in `call.stream`."""

    def view(self, tensor, writeable):
        return DeviceArray(tensor)


class Cupy(Numpy):
    """All that CuPy allocates in launches is from a pool of the kernel's own, that lives until it has
    ended: replays of a graph write where launches did while it was recorded."""

    def __init__(self, call):
        import cupy
        self.cupy = cupy
        cupy.cuda.Device(call.device_index).use()
        cupy.cuda.ExternalStream(call.stream).use()
        self.pool = cupy.cuda.MemoryPool()

    def view(self, tensor, writeable):
        return self.cupy.asarray(DeviceArray(tensor))

    def launch(self, function, call):
        with self.cupy.cuda.using_allocator(self.pool.malloc):
            function(call)

    def end(self):
        self.pool = None


class TorchCuda(Numpy):
    """The worker's stream is torch's current one. What torch allocates while a graph is recorded is the
    graph's, whose replays write there: it comes from a pool that lives until the kernel has ended, and
    so have its graphs by then. Not by torch.cuda.use_mem_pool, which since 2.15 asks for a graph that
    torch itself records."""

    def __init__(self, call):
        import torch
        self.torch, self.pool = torch, None
        self.device = torch.device("cuda", call.device_index)
        torch.cuda.set_device(self.device)
        torch.cuda.set_stream(torch.cuda.ExternalStream(call.stream, self.device))
        torch.set_grad_enabled(False)

    def view(self, tensor, writeable):
        torch = self.torch
        if tensor.dtype == BF16:
            bits = type(tensor).from_buffer_copy(tensor)
            bits.dtype = 2
            return self.view(bits, writeable).view(torch.bfloat16)
        if tensor.dtype == E4M3:
            bits = type(tensor).from_buffer_copy(tensor)
            bits.dtype = 5
            return self.view(bits, writeable).view(torch.float8_e4m3fn)
        if 0 in tensor.shape[:tensor.rank]:
            return torch.from_numpy(numpy_view(tensor, True)).to(self.device)
        return torch.as_tensor(DeviceArray(tensor), device=self.device)

    def launch(self, function, call):
        cuda = self.torch.cuda
        if not cuda.is_current_stream_capturing():
            function(call)
            return
        if self.pool is None:
            self.pool = cuda.MemPool()
        own = self.torch._C
        own._cuda_beginAllocateCurrentThreadToPool(self.device.index, self.pool.id)
        try:
            function(call)
        finally:
            own._cuda_endAllocateToPool(self.device.index, self.pool.id)
            own._cuda_releasePool(self.device.index, self.pool.id)

    def end(self):
        self.pool = None
        self.torch.cuda.empty_cache()


KINDS = {("cpu", "numpy"): Numpy, ("cpu", "jax"): Jax, ("cpu", "torch"): Torch,
         ("cuda", "torch"): TorchCuda, ("cuda", "cupy"): Cupy, ("cuda", "interface"): Interface}
