#!/usr/bin/env python3
"""Makes the small models that the tests run (needs PyPI onnx; the models are committed).

red.onnx      YOLOv8 layout [1,6,21], classes red and blue, input 32x32. Box 0 is the left half and scores the mean of
              red, box 1 is the right half and scores the mean of blue. Metadata as Ultralytics writes it.
dynamic.onnx  The same with a dynamic batch, and only the boxes that score over 1/10.
half.onnx     The same in 16-bit floats.
nan.onnx      The same, with NaN, infinite and inverted boxes before the two.
fails.onnx    The same, but a run fails when the mean of green is over 1/2.
hang.onnx     The same, but a run has no end when the mean of green is over 9/10.
hungry.onnx   The same, but a run takes 1 GiB of memory when the mean of green is over 1/2.
liar.onnx     Dynamic output that turns out to have 9 rows: 5 classes where its metadata names 2.
ints.onnx     The same as red.onnx, but the answer is rounded to 32-bit integers.
colors.onnx   Classification: softmax over (red, green, blue) means times 8.
blob.onnx     YOLOv8 layout [1,5,525], input 160x160: one box around what is red, from its centre and its second moments.
blob96.onnx   The same for an input of 96x96, with classes blue, red and green: [1,7,189].
blob_three.onnx  blob.onnx with classes red, two and three: [1,7,525].
blob_last.onnx   blob.onnx with its channels last: [1,160,160,3].
blob_blind.onnx  blob.onnx, but nothing is found when the mean of green is over 1/2.
blob_nan.onnx    The same, but then all of the answer is NaN.
blob_slow.onnx   The same, but then a run takes thirty products of matrices 400x400, about a tenth of a second.
blob_crash.onnx  The same, but then the process is killed by an arithmetic trap.
blob_crash_load.onnx   blob.onnx, but the same happens while the runtime loads it.
blob_hang_load.onnx    The same, but the runtime takes minutes to load it.
blob_hungry_load.onnx  The same, but the runtime takes 1 GiB of memory while it loads it.
blob_hang_run.onnx     The same, but no run has an end.
vector.onnx   The means of red, green and blue: classes or an embedding, nothing says which.
overlapping.onnx  Rows as DeepStream-Yolo exports them, [batch,3,6] of corners, score, class: two that overlap score the mean of
              red and nine tenths of it, one on the right scores the mean of blue.
batch.onnx    colors.onnx with a free batch.
batch4.onnx   colors.onnx with a batch of 4.
batch_bad.onnx  The same, but it says that its batch is free and fails on more than one picture.
batch_pays.onnx  batch.onnx, but a run takes ten products of matrices 200x200, however many pictures are in it.
"""
import json
import sys

import numpy as np
import onnx
from onnx import TensorProto as T, helper as h, numpy_helper as nh

SIDE = 32
CELLS = 16 + 4 + 1


def const(name, values, dtype=np.float32):
    return nh.from_array(np.array(values, dtype), name)


def save(name, nodes, inits, output, dtype=T.FLOAT, out_dtype=None, batch=1, meta=None, side=SIDE, last=False,
         source="images"):
    x = h.make_tensor_value_info(source, dtype, [batch, 3, side, side])
    if last:
        x = h.make_tensor_value_info("rows", dtype, [batch, side, side, 3])
        nodes = [h.make_node("Transpose", ["rows"], ["images"], perm=[0, 3, 1, 2])] + nodes
    y = h.make_tensor_value_info(output[0], out_dtype or dtype, output[1])
    graph = h.make_graph(nodes, name, [x], [y], inits)
    model = h.make_model(graph, producer_name="vigil tests", opset_imports=[h.make_opsetid("", 17)], ir_version=9)
    for key, value in (meta or {}).items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    onnx.checker.check_model(model, full_check=True)
    with open(f"{sys.argv[1] if len(sys.argv) > 1 else '.'}/{name}.onnx", "wb") as f:
        f.write(model.SerializeToString(deterministic=True))


ULTRALYTICS = {
    "task": "detect", "stride": "32", "imgsz": json.dumps([SIDE, SIDE]), "names": "{0: 'red', 1: 'blue'}", "batch": "1",
}
LEFT, RIGHT = (8, 16, 16, 32), (24, 16, 16, 32)


def detector(boxes, dtype=np.float32):
    """Nodes for [1, 4 + 2, 21], 21 being the grid cells of a 32x32 input. Boxes are constants; the last two that are
    given score the means of red and blue, those before them .99: only a guard keeps them out. The rest score 0."""
    columns = np.zeros((1, 4, CELLS), dtype)
    columns[0, :, :len(boxes)] = np.array(boxes, dtype).T
    n = len(boxes)
    red = np.zeros((1, 1, CELLS)); red[0, 0, n - 2] = 1
    blue = np.zeros((1, 1, CELLS)); blue[0, 0, n - 1] = 1
    sure = np.zeros((1, 1, CELLS)); sure[0, 0, :n - 2] = 0.99
    nodes = [
        h.make_node("GlobalAveragePool", ["images"], ["pooled"]),
        h.make_node("Squeeze", ["pooled", "axis3"], ["means"]),
        h.make_node("Split", ["means", "thirds"], ["r", "g", "b"], axis=1),
        h.make_node("Mul", ["r", "red_at"], ["red_only"]),
        h.make_node("Add", ["red_only", "sure_at"], ["red_row"]),
        h.make_node("Mul", ["b", "blue_at"], ["blue_row"]),
        h.make_node("Concat", ["boxes", "red_row", "blue_row"], ["output0"], axis=1),
    ]
    inits = [
        const("boxes", columns, dtype), const("red_at", red, dtype), const("blue_at", blue, dtype),
        const("sure_at", sure, dtype), const("axis3", [3], np.int64), const("thirds", [1, 1, 1], np.int64),
    ]
    return nodes, inits


nodes, inits = detector([LEFT, RIGHT])
save("red", nodes, inits, ("output0", [1, 6, CELLS]), meta=ULTRALYTICS)
filtering = nodes[:-1] + [
    h.make_node("Concat", ["boxes", "red_row", "blue_row"], ["all"], axis=1),
    h.make_node("Add", ["red_row", "blue_row"], ["best"]),
    h.make_node("Greater", ["best", "tenth"], ["likely"]),
    h.make_node("Reshape", ["likely", "flat"], ["keep"]),
    h.make_node("Compress", ["all", "keep"], ["output0"], axis=2),
]
save("dynamic", filtering, inits + [const("tenth", 0.1), const("flat", [-1], np.int64)],
     ("output0", ["batch", 6, "boxes"]), batch="batch", meta=ULTRALYTICS)
nodes, inits = detector([LEFT, RIGHT], np.float16)
save("half", nodes, inits, ("output0", [1, 6, CELLS]), dtype=T.FLOAT16, meta=ULTRALYTICS)
nan, inf = float("nan"), float("inf")
nodes, inits = detector([(nan, 16, 8, 8), (16, 16, inf, 8), (16, 16, -8, 8), (16, 16, 1e9, 1e9), LEFT, RIGHT])
save("nan", nodes, inits, ("output0", [1, 6, CELLS]), meta=ULTRALYTICS)

# Gather with an index past the end is an error of the run, not of the load.
nodes, inits = detector([LEFT, RIGHT])
nodes = nodes[:-1] + [
    h.make_node("Mul", ["g", "two"], ["g2"]),
    h.make_node("Floor", ["g2"], ["index_f"]),
    h.make_node("Cast", ["index_f"], ["index"], to=T.INT64),
    h.make_node("Squeeze", ["index"], ["index0"]),
    h.make_node("Gather", ["one_zero", "index0"], ["zero"], axis=0),
    h.make_node("Add", ["blue_row", "zero"], ["blue_safe"]),
    h.make_node("Concat", ["boxes", "red_row", "blue_safe"], ["output0"], axis=1),
]
save("fails", nodes, inits + [const("two", 1.999), const("one_zero", [0.0])], ("output0", [1, 6, CELLS]), meta=ULTRALYTICS)

# A loop without a count, and a condition that it never changes.
body = h.make_graph(
    [h.make_node("Identity", ["goes_on"], ["goes_on_out"]), h.make_node("Sin", ["row"], ["row_out"])], "body",
    [h.make_tensor_value_info("round", T.INT64, []), h.make_tensor_value_info("goes_on", T.BOOL, []),
     h.make_tensor_value_info("row", T.FLOAT, [1, 1, CELLS])],
    [h.make_tensor_value_info("goes_on_out", T.BOOL, []), h.make_tensor_value_info("row_out", T.FLOAT, [1, 1, CELLS])],
)
nodes, inits = detector([LEFT, RIGHT])
nodes = nodes[:-1] + [
    h.make_node("Squeeze", ["g"], ["green"]),
    h.make_node("Greater", ["green", "most"], ["white"]),
    h.make_node("Loop", ["", "white", "blue_row"], ["blue_last"], body=body),
    h.make_node("Concat", ["boxes", "red_row", "blue_last"], ["output0"], axis=1),
]
save("hang", nodes, inits + [const("most", 0.9)], ("output0", [1, 6, CELLS]), meta=ULTRALYTICS)

# Zeros without end where there is green; their sum changes nothing.
nodes, inits = detector([LEFT, RIGHT])
nodes = nodes[:-1] + [
    h.make_node("Mul", ["g", "two"], ["g2"]),
    h.make_node("Floor", ["g2"], ["much_f"]),
    h.make_node("Mul", ["much_f", "quarter_billion"], ["length_f"]),
    h.make_node("Cast", ["length_f"], ["length_3d"], to=T.INT64),
    h.make_node("Reshape", ["length_3d", "one_long"], ["length"]),
    h.make_node("ConstantOfShape", ["length"], ["zeros"]),
    h.make_node("ReduceSum", ["zeros"], ["zero"], keepdims=0),
    h.make_node("Add", ["blue_row", "zero"], ["blue_safe"]),
    h.make_node("Concat", ["boxes", "red_row", "blue_safe"], ["output0"], axis=1),
]
save("hungry", nodes, inits + [const("two", 1.999), const("quarter_billion", float(1 << 28)), const("one_long", [1], np.int64)],
     ("output0", [1, 6, CELLS]), meta=ULTRALYTICS)

nodes, inits = detector([LEFT, RIGHT])
nodes = nodes[:-1] + [
    h.make_node("Concat", ["boxes", "red_row", "blue_row", "three"], ["all"], axis=1),
    # A shape computed from the input hides the rows from the runtime's shape inference.
    h.make_node("ReduceMax", ["images"], ["most"], keepdims=0),
    h.make_node("Mul", ["most", "nothing"], ["hide"]),
    h.make_node("Add", ["three_rows", "hide"], ["rows_f"]),
    h.make_node("Cast", ["rows_f"], ["rows"], to=T.INT64),
    h.make_node("Reshape", ["all", "rows"], ["hidden"]),
]
save("liar", nodes, inits + [const("three", np.zeros((1, 3, CELLS))), const("three_rows", [1, 9, CELLS]), const("nothing", 0.0)],
     ("hidden", ["batch", "rows", "boxes"]), meta=ULTRALYTICS)

nodes, inits = detector([LEFT, RIGHT])
nodes = nodes[:-1] + [
    h.make_node("Concat", ["boxes", "red_row", "blue_row"], ["floats"], axis=1),
    h.make_node("Cast", ["floats"], ["output0"], to=T.INT32),
]
save("ints", nodes, inits, ("output0", [1, 6, CELLS]), out_dtype=T.INT32, meta=ULTRALYTICS)

colors = [
    h.make_node("GlobalAveragePool", ["images"], ["pooled"]),
    h.make_node("Flatten", ["pooled"], ["means"]),
    h.make_node("Mul", ["means", "eight"], ["logits"]),
    h.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
]
eight = [const("eight", 8.0)]
save("colors", colors, eight, ("probabilities", [1, 3]))
save("batch", colors, eight, ("probabilities", ["batch", 3]), batch="batch")
save("batch4", colors, eight, ("probabilities", [4, 3]), batch=4)
one_only = [h.make_node("Reshape", ["images", "one"], ["first"]), h.make_node("GlobalAveragePool", ["first"], ["pooled"])]
save("batch_bad", one_only + colors[1:], eight + [const("one", [1, 3, SIDE, SIDE], np.int64)],
     ("probabilities", ["batch", 3]), batch="batch")

# The optimiser does not see that nothing of the products changes the answer.
body = h.make_graph(
    [h.make_node("Identity", ["goes_on"], ["goes_on_out"]), h.make_node("MatMul", ["m", "m"], ["product"]),
     h.make_node("Sin", ["product"], ["m_out"])], "body",
    [h.make_tensor_value_info("round", T.INT64, []), h.make_tensor_value_info("goes_on", T.BOOL, []),
     h.make_tensor_value_info("m", T.FLOAT, [200, 200])],
    [h.make_tensor_value_info("goes_on_out", T.BOOL, []), h.make_tensor_value_info("m_out", T.FLOAT, [200, 200])],
)
save("batch_pays", [
    h.make_node("ReduceMax", ["images"], ["brightest"], keepdims=0),
    h.make_node("Expand", ["brightest", "square"], ["matrix"]),
    h.make_node("Loop", ["ten", "", "matrix"], ["matrix_last"], body=body),
    h.make_node("ReduceMax", ["matrix_last"], ["most"], keepdims=0),
    h.make_node("Clip", ["most", "zero", "zero"], ["nothing"]),
    h.make_node("GlobalAveragePool", ["images"], ["pooled"]),
    h.make_node("Flatten", ["pooled"], ["means"]),
    h.make_node("Mul", ["means", "eight"], ["raw"]),
    h.make_node("Add", ["raw", "nothing"], ["logits"]),
    h.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
], eight + [const("square", [200, 200], np.int64), const("ten", 10, np.int64), const("zero", 0.0)],
     ("probabilities", ["batch", 3]), batch="batch")

save("overlapping", [
    h.make_node("GlobalAveragePool", ["input"], ["pooled"]),
    h.make_node("Squeeze", ["pooled", "axis3"], ["means"]),
    h.make_node("Transpose", ["means"], ["turned"], perm=[0, 2, 1]),
    h.make_node("MatMul", ["turned", "weights"], ["flat"]),
    h.make_node("Add", ["flat", "rest"], ["long"]),
    h.make_node("Reshape", ["long", "shape"], ["output"]),
], [
    const("axis3", [3], np.int64), const("shape", [-1, 3, 6], np.int64),
    # From means to the 18 numbers of the rows: only the scores depend on them.
    const("weights", [[0] * 4 + [1] + [0] * 5 + [0.9] + [0] * 7, [0] * 18, [0] * 16 + [1, 0]]),
    const("rest", [[[2, 4, 14, 28, 0, 0, 3, 5, 15, 29, 0, 0, 18, 4, 30, 28, 0, 1]]]),
], ("output", ["batch", 3, 6]), batch="batch", source="input")

save("vector", [
    h.make_node("GlobalAveragePool", ["images"], ["pooled"]),
    h.make_node("Flatten", ["pooled"], ["output"]),
], [], ("output", [1, 3]))


# A rectangle of width w has the variance w^2 / 12; red is what red has more than green and blue, a tenth of it or more.
def blob(name, side, labels, twist=None, channels_last=False):
    """A detector whose class "red" finds the box around what is red. `twist` gives nodes that make "row", the box and its
    score [1, 5, 1], out of "seen", with the mean of green as "green" [1] and whether it is over 1/2 as "bright" [1]."""
    cells = (side // 8) ** 2 + (side // 16) ** 2 + (side // 32) ** 2
    centres = (np.arange(side) + 0.5).astype(np.float32)
    nodes = [
        h.make_node("Split", ["images", "thirds"], ["r", "g", "b"], axis=1),
        h.make_node("Max", ["g", "b"], ["others"]),
        h.make_node("Sub", ["r", "others"], ["more"]),
        h.make_node("ThresholdedRelu", ["more"], ["red"], alpha=0.1),
        h.make_node("ReduceSum", ["red", "all"], ["total"], keepdims=1),
        h.make_node("Max", ["total", "little"], ["area"]),
    ]
    for axis, along in (("x", "xs"), ("y", "ys")):
        nodes += [
            h.make_node("Mul", ["red", along], [axis + "_red"]),
            h.make_node("ReduceSum", [axis + "_red", "all"], [axis + "_sum"], keepdims=1),
            h.make_node("Div", [axis + "_sum", "area"], [axis + "_mean"]),
            h.make_node("Sub", [along, axis + "_mean"], [axis + "_off"]),
            h.make_node("Mul", [axis + "_off", axis + "_off"], [axis + "_square"]),
            h.make_node("Mul", [axis + "_square", "red"], [axis + "_square_red"]),
            h.make_node("ReduceSum", [axis + "_square_red", "all"], [axis + "_square_sum"], keepdims=1),
            h.make_node("Div", [axis + "_square_sum", "area"], [axis + "_variance"]),
            h.make_node("Mul", [axis + "_variance", "twelve"], [axis + "_twelve"]),
            h.make_node("Sqrt", [axis + "_twelve"], [axis + "_size"]),
        ]
    # Rows of the classes before and behind "red" are zeros, and so are all cells but the first.
    above, below = labels.index("red"), len(labels) - 1 - labels.index("red")
    pads = [0, 0, 0, 0, 0, cells - 1]
    last = "output0" if len(labels) == 1 else "first_cell"
    nodes += [
        h.make_node("Min", ["total", "one"], ["sure"]),
        h.make_node("Concat", ["x_mean", "y_mean", "x_size", "y_size", "sure"], ["column"], axis=2),
        h.make_node("Reshape", ["column", "shape"], ["first" if twist is None else "seen"]),
    ]
    inits = [
        const("thirds", [1, 1, 1], np.int64), const("all", [1, 2, 3], np.int64), const("little", 1e-3), const("one", 1.0),
        const("twelve", 12.0), const("xs", centres[None, None, None]), const("ys", centres[None, None, :, None]),
        const("shape", [1, 5, 1], np.int64),
    ]
    if twist is not None:
        more_nodes, more_inits = twist()
        nodes += [
            h.make_node("ReduceMean", ["g"], ["green"], axes=[2, 3], keepdims=0),
            h.make_node("Greater", ["green", "half"], ["is_bright"]),
            h.make_node("Cast", ["is_bright"], ["bright"], to=T.FLOAT),
        ] + more_nodes + [h.make_node("Identity", ["row"], ["first"])]
        inits += [const("half", 0.5)] + more_inits
    if len(labels) > 1:
        nodes += [
            h.make_node("Split", ["first", "box_and_score"], ["box", "score"], axis=1),
            h.make_node("Pad", ["score", "classes"], ["scores"]),
            h.make_node("Concat", ["box", "scores"], [last], axis=1),
        ]
        inits += [const("box_and_score", [4, 1], np.int64), const("classes", [0, above, 0, 0, below, 0], np.int64)]
    nodes.append(h.make_node("Pad", ["first" if len(labels) == 1 else last, "pads"], ["output0"]))
    save(name, nodes, inits + [const("pads", pads, np.int64)], ("output0", [1, 4 + len(labels), cells]), meta={
        "task": "detect", "stride": "32", "imgsz": json.dumps([side, side]),
        "names": str(dict(enumerate(labels))), "batch": "1",
    }, side=side, last=channels_last)


blob("blob", 160, ["red"])
blob("blob96", 96, ["blue", "red", "green"])
blob("blob_three", 160, ["red", "two", "three"])
blob("blob_last", 160, ["red"], channels_last=True)


# The models below do what blob.onnx does until it gets bright.
def score(factor):
    """Nodes that multiply the score by a value [1]."""
    return [
        h.make_node("Split", ["seen", "parts"], ["place", "sureness"], axis=1),
        h.make_node("Mul", ["sureness", factor], ["new_sureness"]),
        h.make_node("Concat", ["place", "new_sureness"], ["row"], axis=1),
    ], [const("parts", [4, 1], np.int64)]


def blind():
    nodes, inits = score("dark")
    return [h.make_node("Sub", ["white", "bright"], ["dark"])] + nodes, inits + [const("white", [1.0])]


def not_a_number():
    # 0 / 0.
    return [
        h.make_node("Sub", ["white", "bright"], ["dark"]),
        h.make_node("Div", ["dark", "dark"], ["one_or_nan"]),
        h.make_node("Mul", ["seen", "one_or_nan"], ["row"]),
    ], [const("white", [1.0])]


def slow():
    """Thirty products of matrices 400 x 400 where it is bright, none where it is not."""
    body = h.make_graph(
        [h.make_node("Identity", ["goes_on"], ["goes_on_out"]), h.make_node("MatMul", ["m", "m"], ["product"]),
         h.make_node("Sin", ["product"], ["m_out"])], "body",
        [h.make_tensor_value_info("round", T.INT64, []), h.make_tensor_value_info("goes_on", T.BOOL, []),
         h.make_tensor_value_info("m", T.FLOAT, [400, 400])],
        [h.make_tensor_value_info("goes_on_out", T.BOOL, []), h.make_tensor_value_info("m_out", T.FLOAT, [400, 400])],
    )
    nodes, inits = score("one_more")
    return [
        h.make_node("Expand", ["green", "square"], ["matrix"]),
        h.make_node("Mul", ["bright", "thirty"], ["count_float"]),
        h.make_node("Cast", ["count_float"], ["count_one"], to=T.INT64),
        h.make_node("Squeeze", ["count_one"], ["count"]),
        h.make_node("Loop", ["count", "", "matrix"], ["matrix_last"], body=body),
        # Nothing of it changes the answer, which the optimiser does not see.
        h.make_node("ReduceMax", ["matrix_last"], ["most"], keepdims=0),
        h.make_node("Clip", ["most", "zero", "zero"], ["nothing"]),
        h.make_node("Add", ["nothing", "white"], ["one_more"]),
    ] + nodes, inits + [
        const("square", [400, 400], np.int64), const("thirty", [30.0]), const("zero", 0.0), const("white", [1.0]),
    ]


def crash():
    """The least whole number divided by -1 where it is bright: the processor's trap ends the process."""
    nodes, inits = score("one_more")
    return [
        h.make_node("Mul", ["bright", "minus_two"], ["down"]),
        h.make_node("Add", ["down", "white"], ["divisor_float"]),
        h.make_node("Cast", ["divisor_float"], ["divisor"], to=T.INT64),
        h.make_node("Div", ["least", "divisor"], ["quotient"]),
        h.make_node("Cast", ["quotient"], ["negative"], to=T.FLOAT),
        h.make_node("Relu", ["negative"], ["nothing"]),
        h.make_node("Add", ["nothing", "white"], ["one_more"]),
    ] + nodes, inits + [const("white", [1.0]), const("minus_two", [-2.0]), const("least", [-1 << 63], np.int64)]


def crash_at_load():
    """The same of constants, which the runtime works out while it loads the model."""
    nodes, inits = score("one_more")
    return [
        h.make_node("Div", ["least", "divisor"], ["quotient"]),
        h.make_node("Cast", ["quotient"], ["one_more"], to=T.FLOAT),
    ] + nodes, inits + [const("divisor", [-1], np.int64), const("least", [-1 << 63], np.int64)]


def hang_at_load():
    """Products of constant matrices, which the runtime works out while it loads the model: minutes of work."""
    nodes, inits = score("one_more")
    products = [h.make_node("MatMul", ["m0", "m0"], ["m1"])]
    products += [h.make_node("MatMul", [f"m{i}", "m0"], [f"m{i + 1}"]) for i in range(1, 200)]
    return [h.make_node("ConstantOfShape", ["large"], ["m0"])] + products + [
        h.make_node("ReduceMax", ["m200"], ["most"], keepdims=0),
        h.make_node("Add", ["most", "white"], ["one_more"]),
    ] + nodes, inits + [const("large", [4000, 4000], np.int64), const("white", [1.0])]


def hungry_at_load():
    """The sum of 1 GiB of zeros, which the runtime works out while it loads the model."""
    nodes, inits = score("one_more")
    return [
        h.make_node("ConstantOfShape", ["large"], ["zeros"]),
        h.make_node("ReduceSum", ["zeros"], ["zero"], keepdims=0),
        h.make_node("Add", ["zero", "white"], ["one_more"]),
    ] + nodes, inits + [const("large", [1 << 28], np.int64), const("white", [1.0])]


def hang_at_run():
    """A loop without end, on every picture."""
    body = h.make_graph(
        [h.make_node("Identity", ["goes_on"], ["goes_on_out"]), h.make_node("Sin", ["v"], ["v_out"])], "body",
        [h.make_tensor_value_info("round", T.INT64, []), h.make_tensor_value_info("goes_on", T.BOOL, []),
         h.make_tensor_value_info("v", T.FLOAT, [1, 1])],
        [h.make_tensor_value_info("goes_on_out", T.BOOL, []), h.make_tensor_value_info("v_out", T.FLOAT, [1, 1])],
    )
    nodes, inits = score("v_last")
    return [
        h.make_node("Squeeze", ["green"], ["mean"]),
        h.make_node("Less", ["mean", "many"], ["always"]),
        h.make_node("Loop", ["", "always", "green"], ["v_last"], body=body),
    ] + nodes, inits + [const("many", 1e9)]


blob("blob_blind", 160, ["red"], blind)
blob("blob_nan", 160, ["red"], not_a_number)
blob("blob_slow", 160, ["red"], slow)
blob("blob_crash", 160, ["red"], crash)
blob("blob_crash_load", 160, ["red"], crash_at_load)
blob("blob_hang_load", 160, ["red"], hang_at_load)
blob("blob_hang_run", 160, ["red"], hang_at_run)
blob("blob_hungry_load", 160, ["red"], hungry_at_load)
