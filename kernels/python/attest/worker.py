"""`python3 -m attest.worker LIBRARY worker PROCESS...`: a worker of attest whose kernels are Python's.

LIBRARY is attest's worker as a shared library, which knows the protocol, launches and times; here is
only what makes a kernel of a function: `open` fills the structure of attn.h, `prepare` makes views of
the call's memory, and a launch is a call of a Python object, which C makes itself (worker/foreign.c).
"""
from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import stat
import sys
import tempfile
import traceback

from ctypes import c_char_p, c_double, c_int, c_int32, c_int64, c_size_t, c_uint32, c_uint64, c_void_p

from . import _arrays, _views

TEXT_BYTES = 1024


class Problem(ctypes.Structure):
    _fields_ = ([("abi", c_uint32), ("variant", c_int32), ("dtype", c_int32), ("reserved0", c_int32),
                 ("traits", c_uint64)] +
                [(name, c_int64) for name in ("batch", "q_heads", "kv_heads", "q_len", "kv_len",
                                              "head_dim", "page_size", "pages", "page_entries",
                                              "kept_max")] +
                [("scale", c_double), ("window_left", c_int64), ("window_right", c_int64),
                 ("softcap", c_double), ("bias_batch", c_int64), ("bias_heads", c_int64),
                 ("value_dim", c_int64), ("reserved", c_int64 * 10)])


class Tensor(ctypes.Structure):
    _fields_ = [("data", c_void_p), ("host", c_void_p), ("dtype", c_int32), ("rank", c_int32),
                ("shape", c_int64 * 5), ("stride", c_int64 * 5)]


class Call(ctypes.Structure):
    _fields_ = [("abi", c_uint32), ("device_index", c_int32), ("threads", c_int32),
                ("reserved0", c_int32), ("tensors", Tensor * 32), ("scratch", c_void_p),
                ("scratch_bytes", c_size_t), ("stream", c_void_p), ("state", c_void_p),
                ("reserved", c_void_p * 8)]


PREPARE = ctypes.CFUNCTYPE(c_void_p, ctypes.POINTER(Problem), ctypes.POINTER(Call))
FINISH = ctypes.CFUNCTYPE(None, ctypes.POINTER(Problem), ctypes.POINTER(Call))
REFUSE = ctypes.CFUNCTYPE(c_void_p, ctypes.POINTER(Problem))
SCRATCH = ctypes.CFUNCTYPE(c_size_t, ctypes.POINTER(Problem))
OPEN = ctypes.CFUNCTYPE(c_void_p, c_char_p, c_void_p)


class Export(ctypes.Structure):
    """struct attn_kernel."""
    _fields_ = [("abi", c_uint32), ("bytes", c_uint32), ("device", c_int32), ("variant", c_int32),
                ("name", c_char_p), ("revision", c_int32), ("grade", c_int32), ("change", c_char_p),
                ("traits", c_uint64), ("dtypes", c_uint32), ("p_dtype", c_int32), ("flags", c_uint32),
                ("head_dim_max", c_int32), ("refuse", REFUSE), ("scratch_bytes", SCRATCH),
                ("prepare", PREPARE), ("finish", FINISH), ("launch", c_void_p),
                ("lse_grade", c_int32), ("reserved0", c_int32), ("reserved", c_void_p * 7)]


class Foreign(ctypes.Structure):
    """struct foreign of worker/foreign.h."""
    _fields_ = [("open", OPEN), ("list", OPEN), ("hold", c_void_p), ("release", c_void_p),
                ("call", c_void_p), ("drop", c_void_p), ("clear", c_void_p), ("text", c_void_p),
                ("nothing", c_void_p), ("anew", ctypes.c_bool)]


kept = []  # what C has pointers to, for as long as the process lives


def keep_text(text):
    """The address of a C string that stays."""
    buffer = ctypes.create_string_buffer(text if isinstance(text, bytes)
                                         else text.encode("utf-8", "backslashreplace"))
    kept.append(buffer)
    return ctypes.addressof(buffer)


def in_words(error):
    """"ValueError: it is too long (mine.py, line 12)": the traceback's last line, and where."""
    where = ""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if os.path.dirname(frame.filename) != os.path.dirname(__file__):
            where = f" ({os.path.basename(frame.filename)}, line {frame.lineno})"
            break
    told = traceback.TracebackException(type(error), error, None)
    told.__notes__ = None  # JAX's say that a traceback is shorter than it was
    return list(told.format_exception_only())[-1].strip() + where


def answer(text, room):
    """Writes why there is no answer."""
    data = text.encode("utf-8", "backslashreplace")[:TEXT_BYTES - 1]
    ctypes.memmove(room, data + b"\0", len(data) + 1)


def problem_of(problem):
    import attest
    sizes = {name: getattr(problem, name)
             for name in ("batch", "q_heads", "kv_heads", "q_len", "kv_len", "head_dim", "page_size",
                          "pages", "page_entries", "kept_max", "scale", "window_left", "window_right",
                          "softcap", "bias_batch", "bias_heads", "value_dim")}
    traits = frozenset(name for n, name in enumerate(attest.TRAITS) if problem.traits >> n & 1)
    return attest.Problem(variant=attest.VARIANTS[problem.variant],
                          dtype=attest.DTYPES[problem.dtype], traits=traits, **sizes)


def call_of(problem, call, kind):
    """attest.Call of the structures; `kind` makes views."""
    import attest
    made = attest.Call()
    for n, name in enumerate(_arrays.SLOTS):
        tensor = call.tensors[n]
        setattr(made, name, kind.view(tensor, name in _arrays.WRITTEN) if tensor.data else None)
    made.problem, made.scale, made.threads = problem_of(problem), problem.scale, call.threads
    made.scratch = kind.view(scratch_of(call), True) if call.scratch else None
    made.stream, made.device_index = call.stream or 0, call.device_index
    made.pointers = ctypes.addressof(problem), ctypes.addressof(call)
    made.state = None
    return made


def scratch_of(call):
    return Tensor(data=call.scratch, dtype=5, rank=1, shape=(call.scratch_bytes,), stride=(1,))


# Kernels

class Prepared:
    """A kernel between prepare and finish; on a GPU there is one for each copy of the tensors."""

    def __init__(self, kernel, problem, call):
        self.function, self.hooks = kernel.function, kernel.hooks
        self.own = Call.from_buffer_copy(call)  # whose state is that of a kernel in C
        self.own.state = None
        self.kind = _views.KINDS[kernel.description["device"], kernel.description["arrays"]](call)
        self.call = call_of(problem, self.own, self.kind)
        if "prepare" in self.hooks:
            self.hooks["prepare"](self.call)

    def launch(self):
        """None, or why it failed, as bytes that C keeps."""
        try:
            self.kind.launch(self.function, self.call)
        except BaseException as error:  # sys.exit too: it is the kernel's, not the worker's
            return in_words(error).encode("utf-8", "backslashreplace")

    def finish(self):
        try:
            if "finish" in self.hooks:
                self.hooks["finish"](self.call)
        finally:
            self.call = None
            self.kind.end()


def export_of(kernel, library):
    """struct attn_kernel for one that knows itself (attest.Kernel)."""
    import attest
    description, hooks, running = kernel.description, kernel.hooks, {}

    def prepare(problem, call):
        try:
            prepared = Prepared(kernel, problem.contents, call.contents)
            launch = prepared.launch
            running[id(launch)] = prepared, launch
            call.contents.state = id(launch)
        except BaseException as error:
            return keep_text(in_words(error))

    def finish(problem, call):
        prepared = running.pop(call.contents.state, (None,))[0]
        try:
            if prepared is not None:
                prepared.finish()
        except BaseException as error:
            print(in_words(error), file=sys.stderr)

    def refuse(problem):
        try:
            reason = description["missing"]
            if reason is None and "refuse" in hooks:
                reason = hooks["refuse"](problem_of(problem.contents))
            return keep_text(str(reason)) if reason is not None else None
        except BaseException as error:
            return keep_text("CRASH: refuse failed: " + in_words(error))

    def scratch(problem):
        try:
            return int(hooks["scratch"](problem_of(problem.contents)))
        except BaseException as error:
            print(in_words(error), file=sys.stderr)
            return 2 ** 64 - 1  # which cannot be had

    bits = attest.TRAITS.index
    export = Export(
        abi=1, bytes=ctypes.sizeof(Export), device=attest.DEVICES[description["device"]],
        variant=attest.VARIANTS.index(description["variant"]), name=description["name"].encode(),
        revision=description["revision"], grade=ord(description["grade"]),
        change=description["change"].encode("utf-8", "backslashreplace"),
        traits=sum(1 << bits(trait) for trait in description["traits"]),
        dtypes=sum(1 << attest.DTYPES.index(dtype) for dtype in set(description["dtypes"])),
        p_dtype=attest.DTYPES.index(description["p_dtype"]),
        flags=(description["writes_lse"] | description["nondeterministic"] << 1
               | description["lse_base_2"] << 2),
        head_dim_max=description["head_dim_max"], prepare=PREPARE(prepare), finish=FINISH(finish),
        launch=ctypes.cast(library.foreign_launch, c_void_p).value,
        lse_grade=ord(description["lse_grade"]))
    if "refuse" in hooks or description["missing"] is not None:
        export.refuse = REFUSE(refuse)
    if "scratch" in hooks:
        export.scratch_bytes = SCRATCH(scratch)
    return export


modules = {}  # of each file, by its path and when it was changed
folders = set()  # that they lie in
executed = 0


def forget_others(path):
    """Modules that files imported from beside themselves: another file's are others of the same name, and
    a copy's are its own. What is installed stays."""
    installed = ("site-packages", "dist-packages")
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None) or ""
        if (file.endswith(".py") and any(file.startswith(folder + os.sep) for folder in folders)
                and not any(part in file for part in installed)
                and not file.startswith((os.path.dirname(os.__file__), os.path.dirname(__file__)))):
            del sys.modules[name]
    sys.path[:] = [os.path.dirname(path)] + [one for one in sys.path if one not in folders]
    folders.add(os.path.dirname(path))


def module_of(path, anew):
    """The file as a module, executed once, or `anew`: a module that shares no names with another."""
    global executed
    key = path, os.stat(path).st_mtime_ns
    if key in modules and not anew:
        return modules[key]
    executed += 1
    forget_others(path)
    spec = importlib.util.spec_from_file_location(f"attest_kernels_{executed}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    if not anew:
        modules[key] = module
    return module


def kernels_of(module):
    import attest
    return {name: value for name, value in vars(module).items()
            if isinstance(value, attest.Kernel) and value.function.__module__ == module.__name__
            and name == value.__name__}


def open_kernel(library, foreign):
    def function(path, room):
        try:
            path, name = os.fsdecode(path).rsplit(":", 1)
            kernels = kernels_of(module_of(path, foreign.anew))
            if name not in kernels:
                return answer(f"'{path}' has no kernel {name}", room)
            export = export_of(kernels[name], library)
            kept.append(export)
            return ctypes.addressof(export)
        except BaseException as error:
            return answer(in_words(error), room)
    return function


def list_kernels(path, room):
    """The names, a line each."""
    try:
        return keep_text("\n".join(kernels_of(module_of(os.fsdecode(path), False))))
    except BaseException as error:
        return answer(in_words(error), room)


def folder_of_ours(path):
    """Makes it, where it is nobody else's to write to; None."""
    with contextlib.suppress(OSError):
        os.makedirs(path, mode=0o700, exist_ok=True)
        found = os.lstat(path)
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022:
            return path
    return None


def make_room_for_compilers():
    """Where what kernels are compiled with keeps things: beneath a folder that leads to what is hidden
    from kernels nothing can be made later on (worker/hide.h). What it is told already stays so."""
    home, scratch = os.path.expanduser("~"), folder_of_ours(f"{tempfile.gettempdir()}/attest-{os.getuid()}")
    if scratch is not None and "TMPDIR" not in os.environ:
        os.environ["TMPDIR"] = tempfile.tempdir = scratch
    for module, variable, usual, beneath in (
            ("triton", "TRITON_CACHE_DIR", f"{home}/.triton/cache", ""),
            ("torch", "TORCHINDUCTOR_CACHE_DIR", f"{scratch}/inductor" if scratch else None, ""),
            ("cupy", "CUPY_CACHE_DIR", f"{home}/.cupy/kernel_cache", ""),
            ("flashinfer", "FLASHINFER_WORKSPACE_BASE", home, "/.cache/flashinfer")):
        folder = os.environ.get(variable, usual)
        if module == "triton" and "TRITON_HOME" in os.environ and variable not in os.environ:
            folder = f"{os.environ['TRITON_HOME']}/.triton/cache"
        if folder is None or not os.path.isabs(folder) or importlib.util.find_spec(module) is None:
            continue
        if folder_of_ours(folder + beneath) is not None:
            os.environ[variable] = folder


def main(words):
    make_room_for_compilers()
    library = ctypes.CDLL(words[0])
    foreign = Foreign.in_dll(library, "foreign")
    sizes = (c_size_t * 4).in_dll(library, "foreign_sizes")
    ours = [ctypes.sizeof(one) for one in (Problem, Call, Export, Foreign)]
    if list(sizes) != ours:
        sys.exit(f"attest.worker: '{words[0]}' is of another version than this module")
    foreign.open, foreign.list = OPEN(open_kernel(library, foreign)), OPEN(list_kernels)
    api = ctypes.pythonapi
    for member, function in (("hold", api.PyGILState_Ensure), ("release", api.PyGILState_Release),
                             ("call", api.PyObject_CallObject), ("drop", api.Py_DecRef),
                             ("clear", api.PyErr_Clear), ("text", api.PyBytes_AsString)):
        setattr(foreign, member, ctypes.cast(function, c_void_p).value)
    foreign.nothing = id(None)
    sys.stdout.reconfigure(line_buffering=True)  # it is standard error by then
    arguments = (c_char_p * len(words))(*map(os.fsencode, words[1:]), None)
    library.foreign_main.restype = c_int
    status = library.foreign_main(len(words) - 1, arguments)
    sys.stdout.flush()
    os._exit(status)  # what a kernel left, threads and exit handlers, is not waited for


if __name__ == "__main__":
    main(sys.argv[1:])
