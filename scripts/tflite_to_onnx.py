#!/usr/bin/env python3
"""Convert a float TFLite SSD graph to ONNX: tflite_to_onnx.py MODEL.tflite MODEL.onnx

Knows the operators of the set-up's detector and no others: CONV_2D, DEPTHWISE_CONV_2D, ADD, RESHAPE, CONCATENATION
and DEQUANTIZE of fp16 weights. TFLite keeps pictures as NHWC, ONNX as NCHW: a tensor that comes from a convolution is
"spatial" and stays NCHW until a RESHAPE flattens it. The same input gives the same bytes.
"""

import sys

import numpy as np
import onnx
import tflite
from onnx import TensorProto, helper, numpy_helper

TYPES = {tflite.TensorType.FLOAT32: np.float32, tflite.TensorType.FLOAT16: np.float16, tflite.TensorType.INT32: np.int32}
OPS = {code: name for name, code in vars(tflite.BuiltinOperator).items() if isinstance(code, int)}


def same_pads(size, out, kernel, stride):
    """TFLite's SAME padding along one axis: what is odd goes to the end."""
    total = max((out - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def convert(data):
    model = tflite.Model.GetRootAs(data, 0)
    graph = model.Subgraphs(0)
    nodes, weights, spatial, constants = [], [], set(), {}

    def name(t):
        return f"t{t}"

    def shape(t):
        return [int(d) for d in graph.Tensors(t).ShapeAsNumpy()]

    def weight(label, array):
        weights.append(numpy_helper.from_array(np.ascontiguousarray(array), label))
        return label

    def activated(options, out):
        """The name a node must write to for `out` to come out of its fused activation."""
        kind = options.FusedActivationFunction()
        if kind == tflite.ActivationFunctionType.NONE:
            return name(out)
        if kind != tflite.ActivationFunctionType.RELU6:
            sys.exit(f"tflite_to_onnx: activation {kind} is not supported")
        return name(out) + "_linear"

    def activate(source, out):
        if source != name(out):
            nodes.append(helper.make_node("Clip", [source, "zero", "six"], [name(out)]))

    def options(op, kind):
        value = kind()
        value.Init(op.BuiltinOptions().Bytes, op.BuiltinOptions().Pos)
        return value

    for t in range(graph.TensorsLength()):
        raw = model.Buffers(graph.Tensors(t).Buffer()).DataAsNumpy()
        if not isinstance(raw, int) and len(raw):
            constants[t] = np.frombuffer(raw.tobytes(), TYPES[graph.Tensors(t).Type()]).reshape(shape(t))
    weight("zero", np.float32(0)), weight("six", np.float32(6))
    spatial.add(source := int(graph.Inputs(0)))
    for op in (graph.Operators(i) for i in range(graph.OperatorsLength())):
        kind = OPS[model.OperatorCodes(op.OpcodeIndex()).BuiltinCode()]
        ins, out = [int(t) for t in op.InputsAsNumpy()], int(op.Outputs(0))
        if kind == "DEQUANTIZE":
            constants[out] = constants[ins[0]].astype(np.float32)
        elif kind in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            deep = kind == "DEPTHWISE_CONV_2D"
            opt = options(op, tflite.DepthwiseConv2DOptions if deep else tflite.Conv2DOptions)
            kernel = constants[ins[1]].transpose((3, 0, 1, 2) if deep else (0, 3, 1, 2))  # to O, I / group, H, W
            (_, height, width, channels), strides = shape(ins[0]), [opt.StrideH(), opt.StrideW()]
            pads = [(0, 0), (0, 0)]
            if opt.Padding() == tflite.Padding.SAME:
                pads = [same_pads(s, o, k, d) for s, o, k, d in zip((height, width), shape(out)[1:3], kernel.shape[2:], strides)]
            params = [weight(name(ins[1]), kernel), weight(name(ins[2]), constants[ins[2]])]
            target = activated(opt, out)
            nodes.append(helper.make_node("Conv", [name(ins[0]), *params], [target], strides=strides, group=channels if deep else 1,
                                          kernel_shape=list(kernel.shape[2:]), pads=[p[0] for p in pads] + [p[1] for p in pads]))
            activate(target, out)
            spatial.add(out)
        elif kind == "ADD":
            target = activated(options(op, tflite.AddOptions), out)
            nodes.append(helper.make_node("Add", [name(t) for t in ins], [target]))
            activate(target, out)
            spatial.add(out)
        elif kind == "RESHAPE":
            flat = name(ins[0])
            if ins[0] in spatial:
                nodes.append(helper.make_node("Transpose", [flat], [flat := f"{flat}_nhwc"], perm=[0, 2, 3, 1]))
            nodes.append(helper.make_node("Reshape", [flat, weight(f"{name(out)}_shape", np.array(shape(out), np.int64))], [name(out)]))
        elif kind == "CONCATENATION" and not spatial.intersection(ins):
            axis = options(op, tflite.ConcatenationOptions).Axis()
            nodes.append(helper.make_node("Concat", [name(t) for t in ins], [name(out)], axis=axis))
        else:
            sys.exit(f"tflite_to_onnx: operator {kind} is not supported")

    _, height, width, channels = shape(source)
    inputs = [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, channels, height, width])]
    outputs, names = [], {name(source): "image"}
    for t in graph.OutputsAsNumpy():
        names[name(t)] = graph.Tensors(int(t)).Name().decode().rsplit("/", 1)[-1]
        outputs.append(helper.make_tensor_value_info(names[name(t)], TensorProto.FLOAT, shape(int(t))))
    for node in nodes:
        node.input[:] = [names.get(n, n) for n in node.input]
        node.output[:] = [names.get(n, n) for n in node.output]
    made = helper.make_model(helper.make_graph(nodes, "ssd", inputs, outputs, weights), producer_name="vigil",
                             opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(made, full_check=True)
    return made.SerializeToString(deterministic=True)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__.splitlines()[0])
    with open(sys.argv[1], "rb") as file:
        result = convert(file.read())
    with open(sys.argv[2], "wb") as file:
        file.write(result)
