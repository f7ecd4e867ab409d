"""ONNX' Attention by ONNX Runtime, on the CPU: a model of one node, made in prepare. is_causal is
top-left there, and its f16 is numpy's."""
import attest
import numpy as np

COMMON = dict(arrays="numpy", needs=["onnx", "onnxruntime"], dtypes=["f32", "f16"])
OPSET = 23


def make_session(call):
    import onnx
    import onnxruntime
    p, kind = call.problem, onnx.helper.np_dtype_to_tensor_dtype(call.q.dtype)
    node = onnx.helper.make_node("Attention", ["q", "k", "v"], ["out"], scale=call.scale, softcap=p.softcap,
                                 is_causal=int("causal" in p.traits))
    shapes = {name: list(getattr(call, name).shape) for name in ("q", "k", "v", "out")}
    infos = {name: onnx.helper.make_tensor_value_info(name, kind, shape)
             for name, shape in shapes.items()}
    graph = onnx.helper.make_graph([node], "attention", [infos[name] for name in "qkv"], [infos["out"]])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", OPSET)],
                                   ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = call.threads
    options.log_severity_level = 3
    call.state = onnxruntime.InferenceSession(model.SerializeToString(), options,
                                              providers=["CPUExecutionProvider"])


def run(call):
    call.out[...] = call.state.run(["out"], {"q": call.q, "k": call.k, "v": call.v})[0]


def refuse(problem):
    if "causal" in problem.traits and problem.q_len != problem.kv_len:
        return "is_causal is top-left"
    return None


@attest.kernel(variant="prefill", traits=["gqa", "causal", "softcap"], **COMMON)
def prefill_onnxruntime_r1(call):
    run(call)


@attest.kernel(variant="decode", traits=["gqa", "softcap"], **COMMON)
def decode_onnxruntime_r1(call):
    run(call)


for kernel in (prefill_onnxruntime_r1, decode_onnxruntime_r1):
    kernel.prepare(make_session)
    kernel.refuse(refuse)
