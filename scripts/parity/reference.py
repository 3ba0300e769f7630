#!/usr/bin/env python3
"""What a model says about pictures, in plain Python: OpenCV or Pillow prepares them, onnxruntime runs the model, numpy reads the
answer. `vigil parity` compares Vigil with it, so it shares no code with Vigil: it is written from what the frameworks
publish, and says for each family what its tensors mean.

    reference.py REQUEST.json              frames on standard input, each "WIDTH HEIGHT FORMAT\\n" and its bytes
    reference.py REQUEST.json PICTURE...   pictures from files, decoded by OpenCV

REQUEST.json is what `vigil bundle show --json` prints, with "model" (path of the .onnx file), "threads", and "run":
{"confidence", "iou", "max-objects"}. One line of JSON is printed for each picture, in pixels of it:

    {"objects": [{"class", "score", "box": [x1, y1, x2, y2], "corners", "keypoints", "mask"}],
     "probabilities": [...], "embedding": [...]}

"corners" are those of a turned box, "keypoints" are [x, y, confidence], a "mask" is {"at": [x, y, width, height],
"runs": [...]}: how many pixels are outside, inside, outside, … row by row. "probabilities" has one value per label.
"""
import json
import sys

try:
    import cv2
    import numpy as np
    import onnxruntime
    from PIL import Image
except ImportError as missing:
    print(f"missing Python module: {missing.name}", file=sys.stderr)
    sys.exit(3)


# --- Where the picture lies in the model's input ---------------------------------------------------------------------

class Placement:
    """x in the input = x in the frame * scale + offset, for each axis."""

    def __init__(self, contract, width, height):
        self.frame = (width, height)
        self.input = W, H = contract["input"]["size"]
        resize = contract["input"]["resize"]
        if resize == "stretch":
            self.size, self.offset = (W, H), (0, 0)
            self.scale = (W / width, H / height)
            return
        ratio = (min if resize == "letterbox" else max)(W / width, H / height)
        if resize == "crop":
            # 224 pixels cut out of 256 are a fraction of .875.
            ratio /= contract["input"]["crop-fraction"]
        self.size = w, h = round(width * ratio), round(height * ratio)
        # As large as the picture became, whole pixels, as today's Ultralytics has it. Earlier releases and YOLOX divide by the
        # ratio, which puts boxes at the far edge off by up to half a pixel of the input; YOLOX cuts off instead of rounding.
        self.scale = (w / width, h / height)
        if resize == "crop":
            # torchvision: Resize(short side), CenterCrop.
            self.offset = (-int(round((w - W) / 2)), -int(round((h - H) / 2)))
        elif contract["input"]["align"] == "center":
            # Ultralytics, LetterBox: an odd pixel of padding goes right and below.
            self.offset = (round((W - w) / 2 - 0.1), round((H - h) / 2 - 0.1))
        else:
            self.offset = (0, 0)

    def to_frame(self, points):
        """(..., 2) pixels of the input -> pixels of the frame."""
        return (np.asarray(points, np.float64) - self.offset) / self.scale

    def boxes_to_frame(self, boxes):
        """(N, 4) corners, cut off at the frame's edges."""
        points = self.to_frame(np.asarray(boxes).reshape(-1, 2, 2))
        return np.clip(points, 0, self.frame).reshape(-1, 4)


def prepare(picture, contract, placement):
    """RGB bytes (height, width, 3) -> the input tensor's values, float32, without the batch."""
    image, (W, H) = contract["input"], placement.input
    if image["antialias"]:
        # As torchvision and transformers resize: Pillow averages where it makes smaller.
        resized = np.array(Image.fromarray(picture).resize(placement.size, Image.Resampling.BILINEAR))
    else:
        resized = cv2.resize(picture, placement.size, interpolation=cv2.INTER_LINEAR)
    (w, h), (x, y) = placement.size, placement.offset
    if image["resize"] == "crop":
        resized = resized[-y:-y + H, -x:-x + W]
    elif image["resize"] == "letterbox":
        resized = cv2.copyMakeBorder(resized, y, H - h - y, x, W - w - x, cv2.BORDER_CONSTANT, value=(image["pad"],) * 3)
    if image["color"] == "bgr":
        resized = resized[..., ::-1]
    elif image["color"] == "gray":
        resized = cv2.cvtColor(resized, cv2.COLOR_RGB2GRAY)[..., None]
    values = (resized.astype(np.float32) - np.float32(image["mean"])) / np.float32(image["std"])
    return values.transpose(2, 0, 1) if image["layout"] == "nchw" else values


DTYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8,
          "tensor(int8)": np.int8, "tensor(int32)": np.int32, "tensor(int64)": np.int64}


def feed(session, contract, values, placement):
    """All inputs of the model by name. Also says whether its boxes will be in pixels of the frame."""
    feeds, in_frame = {}, False
    inputs = session.get_inputs()
    picture = max(inputs, key=lambda i: len(i.shape))
    (W, H), (w, h) = placement.input, placement.frame
    # A letterboxed picture's boxes are best asked for in pixels of the input; the frameworks of these models stretch.
    stretched = contract["input"]["resize"] == "stretch"
    for item in inputs:
        dtype = DTYPES[item.type]
        if item.name == picture.name:
            tensor = values
            if np.issubdtype(dtype, np.integer):
                how = contract["input"].get("quantization")
                if how:
                    tensor = tensor / how["scale"] + how.get("zero-point", 0)
                info = np.iinfo(dtype)
                tensor = np.clip(np.rint(tensor), info.min, info.max)
            if len(item.shape) == 4:
                batch = item.shape[0] if isinstance(item.shape[0], int) else 1
                tensor = np.repeat(tensor[None], batch, axis=0)
        elif item.name.startswith(("orig_target_size", "target_sizes")):
            # RT-DETR, D-FINE: width and height that the boxes are multiplied with.
            in_frame = stretched
            tensor = [[w, h]] if stretched else [[W, H]]
        elif item.name.startswith("im_shape"):
            # PaddleDetection: height and width of the input; boxes are divided by scale_factor.
            tensor = [[H, W]]
        elif item.name.startswith("scale_factor"):
            in_frame = stretched
            tensor = [[H / h, W / w]] if stretched else [[1, 1]]
        elif item.name.startswith(("image_shape", "img_shape")):
            tensor = [[h, w]] if stretched else [[H, W]]
            in_frame = stretched
        else:
            raise SystemExit(f"no value is known for the model's input {item.name}")
        feeds[item.name] = np.ascontiguousarray(tensor, dtype).reshape(
            [s if isinstance(s, int) else n for s, n in zip(item.shape, np.shape(tensor))] if len(item.shape) == len(np.shape(tensor)) else -1)
    return feeds, in_frame


# --- Small things -----------------------------------------------------------------------------------------------------

def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def activate(x, name):
    return {"none": lambda v: v, "sigmoid": sigmoid, "softmax": softmax}[name](x)


def from_centre(cxcywh):
    c, half = cxcywh[:, :2], cxcywh[:, 2:4] / 2
    return np.concatenate([c - half, c + half], 1)


def best(scores):
    """(N, classes) -> the score and the number of each row's best class."""
    return scores.max(1), scores.argmax(1)


def grid(width, height, centre=0.0):
    """x, y of each cell, row by row: (cells, 2)."""
    ys, xs = np.mgrid[:height, :width]
    return np.stack([xs.ravel(), ys.ravel()], 1) + centre


class Answer:
    """Boxes in pixels of the input, corners, before NMS."""

    def __init__(self, boxes, scores, classes, nms="upright", angles=None, keypoints=None, mask=None):
        self.boxes, self.scores, self.classes = np.float32(boxes).reshape(-1, 4), np.ravel(scores), np.ravel(classes)
        self.nms, self.angles = nms, angles
        self.keypoints = keypoints  # (N, K, 2 or 3), or None
        self.mask = mask  # (row) -> logits over the whole input at any resolution, inside where > 0
        self.whole_masks = False  # whether masks reach out of their boxes

    def pick(self, rows):
        part = Answer(self.boxes[rows], self.scores[rows], self.classes[rows], self.nms)
        part.angles = None if self.angles is None else self.angles[rows]
        part.keypoints = None if self.keypoints is None else self.keypoints[rows]
        part.rows = (self.rows if hasattr(self, "rows") else np.arange(len(self.scores)))[rows]
        part.mask, part.whole_masks = self.mask, self.whole_masks
        return part


# --- Families: the model's outputs by name (batch of 1 still there) -> Answer ------------------------------------------

def squeeze(tensor, rank):
    """The first picture of a batch, without dimensions of 1 in front."""
    while tensor.ndim > rank:
        tensor = tensor[0]
    return tensor


def columns_from(output):
    """Class columns start after those that have no label."""
    return output["class-offset"], output["labels"]


def extras(answer, rows, output, outputs):
    """What follows the classes in a row of the YOLO families: mask coefficients, keypoints, an angle."""
    task = output["task"]
    if task == "segment":
        protos = squeeze(next(t for t in outputs.values() if t.ndim == 4), 3)
        coefficients = rows[:, -protos.shape[0]:]
        # Ultralytics, process_mask(): coefficients times prototypes, inside where the logit is over 0.
        answer.mask = lambda row: np.tensordot(coefficients[row], protos, 1)
    elif task == "pose":
        count, values = output["keypoint-shape"]
        answer.keypoints = rows[:, -count * values:].reshape(len(rows), count, values)
    elif task == "obb":
        answer.angles, answer.nms = rows[:, -1], "turned" if answer.nms != "none" else "none"
    return answer


def extra_columns(output, outputs):
    return {"segment": lambda: next(squeeze(t, 3).shape[0] for t in outputs.values() if t.ndim == 4),
            "pose": lambda: int(np.prod(output["keypoint-shape"])), "obb": lambda: 1}.get(output["task"], lambda: 0)()


def yolov8(outputs, output, size):
    """Ultralytics v8 to v12 (and v5u, v9): [4 + classes + extras, boxes]; centre and size in pixels, then probabilities,
    then mask coefficients, keypoints or an angle. No objectness."""
    skip, count = columns_from(output)
    columns = 4 + skip + count + extra_columns(output, outputs)
    rows = squeeze(next(t for t in outputs.values() if t.ndim <= 3), 2)
    rows = rows.T if rows.shape[0] == columns else rows
    scores, classes = best(rows[:, 4 + skip:4 + skip + count])
    return extras(Answer(from_centre(rows), scores, classes), rows, output, outputs)


def yolov5(outputs, output, size):
    """YOLOv5 and v7: [boxes, 5 + classes + masks]; centre, size in pixels, objectness, classes; score = objectness * class.
    Raw heads [anchors, rows, columns, 5 + classes] or [anchors * (5 + classes), rows, columns] need the sigmoid s of all:
    centre = (2 s - 0.5 + cell) * stride, size = (2 s)^2 * anchor."""
    skip, count = columns_from(output)
    wide = 5 + skip + count + (32 if output["task"] == "segment" else 0)
    flat = [t for t in outputs.values() if t.ndim <= 3 and t.shape[-1] == wide]
    if flat:
        rows = squeeze(flat[0], 2)
    else:
        anchors = output["yolo-anchors"] or [[[10, 13], [16, 30], [33, 23]], [[30, 61], [62, 45], [59, 119]],
                                             [[116, 90], [156, 198], [373, 326]]]
        heads = []
        for t in outputs.values():
            if t.ndim == 4 and t.shape[1] % wide == 0:
                n, c, h, w = t.shape
                heads.append(t.reshape(n, c // wide, wide, h, w).transpose(0, 1, 3, 4, 2)[0])
            elif t.ndim == 5:
                heads.append(t[0])
        rows = []
        for head, sizes in zip(sorted(heads, key=lambda head: -head.shape[1]), anchors):
            n, h, w, _ = head.shape
            stride = np.array([size[0] / w, size[1] / h])
            s = sigmoid(head).reshape(n, h * w, wide)
            s[..., :2] = (s[..., :2] * 2 - 0.5 + grid(w, h)) * stride
            s[..., 2:4] = (s[..., 2:4] * 2) ** 2 * np.array(sizes)[:, None]
            rows.append(s.reshape(-1, wide))
        rows = np.concatenate(rows)
    scores, classes = best(rows[:, 5 + skip:5 + skip + count] * rows[:, 4:5])
    return extras(Answer(from_centre(rows), scores, classes), rows, output, outputs)


def yolox(outputs, output, size):
    """Megvii YOLOX: [cells, 5 + classes] at strides 8, 16, 32 (64): centre = (value + cell) * stride, size = exp(value) *
    stride; objectness and classes are probabilities, score = their product (demo_postprocess)."""
    skip, count = columns_from(output)
    rows = squeeze(next(iter(outputs.values())), 2)
    cells, strides = [], []
    for stride in (8, 16, 32, 64):
        if sum(map(len, cells)) < len(rows):
            cells.append(grid(size[0] // stride, size[1] // stride))
            strides.append(np.full((len(cells[-1]), 1), stride))
    cells, strides = np.concatenate(cells), np.concatenate(strides)
    boxes = np.concatenate([(rows[:, :2] + cells) * strides, np.exp(rows[:, 2:4]) * strides], 1)
    scores, classes = best(rows[:, 5 + skip:5 + skip + count] * rows[:, 4:5])
    return Answer(from_centre(boxes), scores, classes)


def yolo_nas(outputs, output, size):
    """SuperGradients YOLO-NAS: corners in pixels [boxes, 4] and probabilities [boxes, classes]."""
    tensors = [squeeze(t, 2) for t in outputs.values()]
    boxes = next(t for t in tensors if t.shape[1] == 4)
    skip, count = columns_from(output)
    scores = next(t for t in tensors if t is not boxes and t.shape[1] == skip + count)
    return Answer(boxes, *best(scores[:, skip:]))


def scaled(boxes, output, size, form, unit):
    """Corners in pixels from boxes in the contract's form (or the family's usual one)."""
    form, unit = output["box-format"] or form, output["box-unit"] or unit
    boxes = np.asarray(boxes, np.float32)
    if form == "cxcywh":
        boxes = from_centre(boxes)
    elif form == "yxyx":
        boxes = boxes[:, [1, 0, 3, 2]]
    return boxes * np.array([*size, *size]) if unit == "normalized" else boxes


def detections(outputs, output, size):
    """Finished rows in one tensor: YOLOv10, YOLO26, exports with NMS inside. Usually x1, y1, x2, y2, score, class in
    pixels; padded with rows of score 0."""
    names = output["columns"] or ["x1", "y1", "x2", "y2", "score", "class"]
    floats = [t for t in outputs.values() if t.ndim in (2, 3) and t.shape[-1] >= len(names)]
    rows = squeeze(floats[0], 2)
    column = {name: rows[:, i] for i, name in enumerate(names)}
    boxes = np.stack([column[n] for n in ("x1", "y1", "x2", "y2")], 1)
    boxes = scaled(boxes, output, size, "cxcywh" if output["task"] == "obb" else "xyxy", "pixels")
    classes = column["class"].round() - output["class-offset"] if "class" in column else np.zeros(len(rows))
    nms = "upright" if output.get("nms") else "none"
    answer = extras(Answer(boxes, column["score"], classes, nms=nms), rows, output, outputs)
    if "angle" in column:
        answer.angles = column["angle"]
    return answer


def ssd_postprocessed(outputs, output, size):
    """Boxes, classes and scores in tensors of their own after NMS. TensorFlow: y1, x1, y2, x2 in 0..1, with a count;
    others (EfficientNMS, torchvision) as box-format and box-unit say."""
    def called(*parts):
        return next((t for n, t in outputs.items() if any(p in n.lower() for p in parts)), None)
    boxes, classes, scores = called("box"), called("class", "label"), called("score")
    if boxes is None:  # TFLite_Detection_PostProcess: in this order
        boxes, classes, scores = list(outputs.values())[:3]
    boxes, classes, scores = squeeze(boxes, 2), np.ravel(squeeze(classes, 1)), np.ravel(squeeze(scores, 1))
    count = called("num")
    rows = len(scores) if count is None else int(np.ravel(count)[0])
    boxes = scaled(boxes, output, size, "yxyx", "normalized")
    return Answer(boxes[:rows], scores[:rows], classes[:rows].round() - output["class-offset"], nms="none")


def detr(outputs, output, size):
    """A box and scores for each query, no NMS: one tensor [queries, 4 + classes] (Ultralytics RT-DETR: centre and size in
    0..1, probabilities); boxes and logits (DETR: softmax, the last class is "none"; RT-DETR: sigmoid); or labels, boxes,
    scores already picked, corners in pixels (RT-DETR and D-FINE with orig_target_sizes)."""
    skip, count = columns_from(output)
    if len(outputs) == 1:
        rows = squeeze(next(iter(outputs.values())), 2)
        scores, classes = best(activate(rows[:, 4 + skip:4 + skip + count], output["activation"] or "none"))
        return Answer(scaled(rows[:, :4], output, size, "cxcywh", "normalized"), scores, classes, nms="none")
    boxes = squeeze(next(t for t in outputs.values() if t.shape[-1] == 4 and t.ndim >= 2), 2)
    if len(outputs) >= 3:
        flat = {n: np.ravel(squeeze(t, 1)) for n, t in outputs.items() if t.ndim <= 2 and t.shape[-1] != 4}
        labels = next(v for n, v in flat.items() if "label" in n or "class" in n)
        scores = next(v for n, v in flat.items() if "score" in n)
        boxes = scaled(boxes, output, size, "xyxy", "pixels")
        return Answer(boxes, scores, labels - output["class-offset"], nms="none")
    logits = squeeze(next(t for t in outputs.values() if t.shape[-1] != 4 or "logit" in t), 2)
    extra = logits.shape[1] - skip - count
    probabilities = activate(logits, output["activation"] or ("softmax" if extra == 1 else "sigmoid"))
    probabilities, boxes = probabilities[:, skip:skip + count], scaled(boxes, output, size, "cxcywh", "normalized")
    if extra == 1:
        return Answer(boxes, *best(probabilities), nms="none")
    # RT-DETR and Deformable DETR take the best of all pairs of query and class.
    queries, classes = np.nonzero(probabilities > 0)
    return Answer(boxes[queries], probabilities[queries, classes], classes, nms="none")


def ssd_anchors(outputs, output, size):
    """Raw SSD heads: encodings (centre y, centre x, height, width) relative to anchors and class logits. Anchors after
    MediaPipe's ssd_anchors_calculator.cc, the box code is the TensorFlow Object Detection API's."""
    config, (skip, count) = output["anchors"], columns_from(output)
    maps = config["feature-maps"]
    low, high = config["min-scale"], config["max-scale"]
    scale = [low + (high - low) * i / (len(maps) - 1) if len(maps) > 1 else (low + high) / 2 for i in range(len(maps))]
    scale.append(1.0)
    anchors = []
    for layer, side in enumerate(maps):
        if layer == 0 and config["reduce-lowest"]:
            kinds = [(0.1, 1.0), (scale[0], 2.0), (scale[0], 0.5)]
        else:
            kinds = [(scale[layer], ratio) for ratio in config["aspect-ratios"]]
            if config["interpolated-scale"]:
                kinds.append(((scale[layer] * scale[layer + 1]) ** 0.5, 1.0))
        for x, y in (grid(side, side, 0.5) / side):
            anchors += [(x, y, s * r ** 0.5, s / r ** 0.5) for s, r in kinds]
    anchors = np.array(anchors)
    tensors = {name: squeeze(t, 2) for name, t in outputs.items()}
    named = [n for n, t in tensors.items() if t.shape[1] == 4 and any(p in n.lower() for p in ("box", "loc", "regress"))]
    name = (named or [n for n, t in tensors.items() if t.shape[1] == 4])[0]
    code = tensors.pop(name) / np.array(config["box-scales"])
    logits = next(t for t in tensors.values() if len(t) == len(anchors))
    centre = np.stack([code[:, 1] * anchors[:, 2] + anchors[:, 0], code[:, 0] * anchors[:, 3] + anchors[:, 1]], 1)
    sides = np.exp(code[:, [3, 2]]) * anchors[:, 2:]
    scores, classes = best(activate(logits, output["activation"] or "sigmoid")[:, skip:skip + count])
    return Answer(from_centre(np.concatenate([centre, sides], 1)) * np.array([*size, *size]), scores, classes)


def nanodet(outputs, output, size):
    """NanoDet: class probabilities and, for each side, a distribution over distances; distance = its mean * stride. The
    first version has a pair of tensors per stride (8, 16, 32) and centres at (cell + 0.5) * stride; Plus has one tensor,
    strides 8, 16, 32, 64, and centres at cell * stride."""
    skip, count = columns_from(output)
    flat = [squeeze(t, 2) for t in outputs.values()]
    if len(flat) == 1:
        parts = [(flat[0][:, :skip + count], flat[0][:, skip + count:])]
    else:
        scores = sorted((t for n, t in zip(outputs, flat) if "dis" not in n and t.shape[1] == skip + count), key=len)[::-1]
        sides = sorted((t for t in flat if not any(t is s for s in scores)), key=len)[::-1]
        parts = list(zip(scores, sides))
    total = sum(len(s) for s, _ in parts)
    ceil = lambda stride: (-(-size[0] // stride), -(-size[1] // stride))
    strides = [8, 16, 32] if total == sum(np.prod(ceil(s)) for s in (8, 16, 32)) else [8, 16, 32, 64]
    half = 0.5 if len(strides) == 3 else 0.0
    centres = np.concatenate([grid(*ceil(s), half) * s for s in strides])
    factor = np.concatenate([np.full((np.prod(ceil(s)), 1), s) for s in strides])
    scores = np.concatenate([s for s, _ in parts])[:, skip:]
    code = np.concatenate([d for _, d in parts])
    bins = code.shape[1] // 4
    distance = softmax(code.reshape(len(code), 4, bins)) @ np.arange(bins) * factor
    boxes = np.concatenate([centres - distance[:, :2], centres + distance[:, 2:]], 1)
    # The heads cut boxes off at the input's edges (distance2bbox with max_shape).
    boxes = np.clip(boxes, 0, [*size, *size])
    return Answer(boxes, *best(activate(scores, output["activation"] or "none")))


def centernet(outputs, output, size):
    """CenterNet: a heat map per class; its local maxima (3 x 3) are centres, with a size and an offset in cells."""
    tensors = [squeeze(t, 3) for t in outputs.values()]
    skip, count = columns_from(output)
    heat = next((t for n, t in zip(outputs, tensors) if n in ("hm", "heatmap")), None)
    heat = heat if heat is not None else next(t for t in tensors if t.shape[0] == skip + count)
    pairs = {n: t for n, t in zip(outputs, tensors) if t is not heat}
    sides = next((t for n, t in pairs.items() if "wh" in n or "size" in n), list(pairs.values())[0])
    offset = next((t for t in pairs.values() if t is not sides), np.full_like(sides, 0.5))
    heat = activate(heat, output["activation"] or "none")[skip:]
    peak = np.stack([cv2.dilate(m, np.ones((3, 3))) for m in heat]) == heat
    classes, ys, xs = np.nonzero(peak & (heat > 0))
    stride = np.array([size[0] / heat.shape[2], size[1] / heat.shape[1]])
    centre = np.stack([xs + offset[0, ys, xs], ys + offset[1, ys, xs]], 1)
    boxes = np.concatenate([centre * stride, sides[:, ys, xs].T * stride], 1)
    return Answer(from_centre(boxes), heat[classes, ys, xs], classes, nms="none")


def yunet(outputs, output, size):
    """YuNet (OpenCV, FaceDetectorYN): per stride cls, obj, bbox, kps; score = sqrt(cls * obj), centre = (cell + value) *
    stride, size = exp(value) * stride, landmark = (cell + value) * stride."""
    rows = []
    for stride in (8, 16, 32):
        cls, obj, box, kps = (squeeze(outputs[f"{n}_{stride}"], 2) for n in ("cls", "obj", "bbox", "kps"))
        cells = grid(size[0] // stride, size[1] // stride)
        score = np.sqrt(np.clip(cls, 0, 1) * np.clip(obj, 0, 1))
        points = (kps.reshape(len(kps), 5, 2) + cells[:, None]) * stride
        rows.append(np.concatenate([(box[:, :2] + cells) * stride, np.exp(box[:, 2:]) * stride, score,
                                    points.reshape(len(kps), 10)], 1))
    rows = np.concatenate(rows)
    answer = Answer(from_centre(rows), rows[:, 4], np.zeros(len(rows), int))
    answer.keypoints = rows[:, 5:].reshape(-1, 5, 2)
    return answer


def ultraface(outputs, output, size):
    """Ultra-Light-Fast-Generic-Face-Detector: probabilities [boxes, 2] (background, face), corners [boxes, 4] in 0..1."""
    tensors = {t.shape[-1]: squeeze(t, 2) for t in outputs.values()}
    return Answer(tensors[4] * np.array([*size, *size]), tensors[2][:, 1], np.zeros(len(tensors[2]), int))


def movenet(outputs, output, size):
    """MoveNet: [17, 3] keypoints as y, x, score in 0..1 of the input, one skeleton; or rows of 56 with y1, x1, y2, x2 and
    a score behind the keypoints (multipose)."""
    tensor = next(iter(outputs.values()))
    if tensor.shape[-1] == 56:
        rows = squeeze(tensor, 2)
        points = rows[:, :51].reshape(-1, 17, 3)
        boxes, scores = rows[:, [52, 51, 54, 53]] * np.array([*size, *size]), rows[:, 55]
    else:
        points = tensor.reshape(1, -1, 3)
        # One skeleton without a box: that around its points; as sure as its points are on average.
        xy = points[..., [1, 0]] * size
        boxes, scores = np.concatenate([xy.min(1), xy.max(1)], 1), points[..., 2].mean(1)
    points = np.concatenate([points[..., [1, 0]] * size, points[..., 2:]], 2)
    return Answer(boxes, scores, np.zeros(len(boxes), int), nms="none", keypoints=points)


def segmentation(outputs, output, size):
    """A class for each pixel (DeepLab, SegFormer): scores [classes, rows, columns] or [rows, columns, classes], or the
    best class itself. One object for each class that a pixel has."""
    skip, count = columns_from(output)
    map_ = next(iter(outputs.values()))
    while map_.ndim > 2 and map_.shape[0] == 1:
        map_ = map_[0]
    if map_.ndim == 2:
        scores = np.stack([map_ == c for c in range(skip + count)]).astype(np.float32)
    else:
        scores = map_.transpose(2, 0, 1) if map_.shape[-1] == skip + count else map_
        kind = output["activation"] or ("none" if scores.min() >= 0 and scores.max() <= 1 else "softmax")
        scores = softmax(scores, 0) if kind == "softmax" else activate(scores, kind)
    winner = scores.argmax(0)
    found = [c for c in range(skip, skip + count) if (winner == c).any()]
    answer = Answer(np.tile([0, 0, *size], (len(found), 1)), [scores[c][winner == c].mean() for c in found],
                    np.array(found, int) - skip, nms="none")
    rest = [np.delete(scores, c, 0).max(0) for c in found]
    answer.mask = lambda row: scores[found[row]] - rest[row]
    answer.whole_masks = True
    return answer


FAMILIES = {"yolov8": yolov8, "yolov5": yolov5, "yolox": yolox, "yolo-nas": yolo_nas, "detections": detections,
            "ssd-postprocessed": ssd_postprocessed, "ssd-anchors": ssd_anchors, "detr": detr, "nanodet": nanodet,
            "centernet": centernet, "yunet": yunet, "ultraface": ultraface, "movenet": movenet,
            "segmentation": segmentation}


# --- From candidates to objects ---------------------------------------------------------------------------------------

def iou(box, others):
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    both = np.prod(np.clip(high - low, 0, None), 1)
    area = lambda b: (b[..., 2] - b[..., 0]) * (b[..., 3] - b[..., 1])
    return both / (area(box) + area(others) - both)


def suppress(answer, threshold, agnostic):
    """Greedy NMS: of boxes of one class that overlap more than this, the most confident stays. Rows, best first."""
    kept, order = [], np.argsort(-answer.scores, kind="stable")
    while len(order):
        first, rest = order[0], order[1:]
        kept.append(first)
        same = np.ones(len(rest), bool) if agnostic else answer.classes[rest] == answer.classes[first]
        order = rest[~(same & (iou(answer.boxes[first], answer.boxes[rest]) > threshold))]
    return kept


def covariance(boxes, angles):
    w, h = (boxes[:, 2] - boxes[:, 0]) ** 2 / 12, (boxes[:, 3] - boxes[:, 1]) ** 2 / 12
    c, s = np.cos(angles), np.sin(angles)
    return w * c ** 2 + h * s ** 2, w * s ** 2 + h * c ** 2, (w - h) * c * s


def suppress_turned(answer, threshold, agnostic):
    """Ultralytics' NMS of turned boxes: probabilistic IoU (Llerena et al. 2021), and a box goes if any more confident one
    overlaps it, even one that goes itself."""
    order = np.argsort(-answer.scores, kind="stable")
    boxes, classes = answer.boxes[order].astype(np.float64), answer.classes[order]
    a, b, c = covariance(boxes, answer.angles[order].astype(np.float64))
    x, y = (boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2
    kept = []
    for i in range(len(order)):
        sa, sb, sc, dx, dy, eps = a[i] + a[:i], b[i] + b[:i], c[i] + c[:i], x[i] - x[:i], y[i] - y[:i], 1e-7
        det = sa * sb - sc ** 2
        t1 = (sa * dy ** 2 + sb * dx ** 2) / (det + eps) / 4
        t2 = -sc * dx * dy / (det + eps) / 2
        dets = np.clip(a[i] * b[i] - c[i] ** 2, 0, None) * np.clip(a[:i] * b[:i] - c[:i] ** 2, 0, None)
        t3 = np.log(det / (4 * np.sqrt(dets) + eps) + eps) / 2
        overlap = 1 - np.sqrt(1 - np.exp(-np.clip(t1 + t2 + t3, eps, 100)) + eps)
        if not ((overlap >= threshold) & (agnostic | (classes[:i] == classes[i]))).any():
            kept.append(order[i])
    return kept


def turned_corners(box, angle):
    centre, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2
    c, s = np.cos(angle), np.sin(angle)
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half
    return corners @ np.array([[c, s], [-s, c]]) + centre


def frame_mask(logits, placement, box):
    """Where logits over the input are above 0 (bilinear between them), inside a box of the frame: pixels by their centres."""
    x1, y1 = np.floor(box[:2]).astype(int)
    x2, y2 = np.minimum(np.ceil(box[2:]).astype(int), placement.frame)
    xs, ys = np.arange(x1, x2) + 0.5, np.arange(y1, y2) + 0.5
    cells = np.array([logits.shape[1] / placement.input[0], logits.shape[0] / placement.input[1]])
    mx = ((xs * placement.scale[0] + placement.offset[0]) * cells[0] - 0.5).astype(np.float32)
    my = ((ys * placement.scale[1] + placement.offset[1]) * cells[1] - 0.5).astype(np.float32)
    values = cv2.remap(logits.astype(np.float32), *np.meshgrid(mx, my), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    inside = (values > 0) & ((xs >= box[0]) & (xs <= box[2]))[None] & ((ys >= box[1]) & (ys <= box[3]))[:, None]
    flat = np.concatenate([[False], inside.ravel()])
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    runs = np.diff(np.concatenate([[0], edges, [inside.size]]))
    return inside, {"at": [int(x1), int(y1), int(x2 - x1), int(y2 - y1)], "runs": [int(r) for r in runs]}


def objects(outputs, contract, placement, in_frame):
    output, run = contract["output"], contract["run"]
    answer = FAMILIES[output["decoder"]](outputs, output, placement.input)
    answer.rows = np.arange(len(answer.scores))
    sides = answer.boxes[:, 2:] - answer.boxes[:, :2]
    sound = (answer.scores >= run["confidence"]) & (answer.scores <= 1.01) & (sides > 0).all(1)
    sound &= (answer.classes >= 0) & (answer.classes < output["labels"])
    answer = answer.pick(np.flatnonzero(sound))
    if answer.nms == "none":
        kept = np.argsort(-answer.scores, kind="stable")
    else:
        kept = (suppress_turned if answer.nms == "turned" else suppress)(answer, run["iou"], output["class-agnostic"])
    answer = answer.pick(np.array(kept, int)[:run["max-objects"]])
    if in_frame:  # the model has led its boxes back itself
        placement = Identity(placement)
    found = []
    for i in range(len(answer.scores)):
        box, corners = answer.boxes[i].astype(np.float64), None
        if answer.angles is not None:
            corners = placement.to_frame(turned_corners(box, float(answer.angles[i])))
            box = np.clip(np.concatenate([corners.min(0), corners.max(0)]), 0, [*placement.frame] * 2)
        else:
            box = placement.boxes_to_frame(box)[0]
        if (box[2:] <= box[:2]).any():
            continue
        item = {"class": int(answer.classes[i]), "score": float(min(answer.scores[i], 1)), "box": box.tolist()}
        if corners is not None:
            item["corners"] = corners.tolist()
        if answer.keypoints is not None:
            points = answer.keypoints[i]
            confidence = points[:, 2:] if points.shape[1] > 2 else np.ones((len(points), 1))
            item["keypoints"] = np.concatenate([placement.to_frame(points[:, :2]), confidence], 1).tolist()
        if answer.mask is not None:
            inside, item["mask"] = frame_mask(answer.mask(answer.rows[i]), placement, box)
            if answer.whole_masks:
                ys, xs = np.nonzero(inside)
                if not len(xs):
                    continue
                item["box"] = [float(xs.min()), float(ys.min()), float(xs.max() + 1), float(ys.max() + 1)]
        found.append(item)
    return found


class Identity(Placement):
    """Where the model answers in pixels of the frame."""

    def __init__(self, placement):
        self.frame = self.input = placement.frame
        self.scale, self.offset = (1, 1), (0, 0)


def probabilities(outputs, contract):
    """One vector of class scores: logits unless the output's name says "prob" or "softmax"."""
    output = contract["output"]
    (name, values), *_ = outputs.items()
    kind = output["activation"] or ("none" if "prob" in name.lower() or "softmax" in name.lower() else "softmax")
    return activate(np.ravel(squeeze(values, 2) if values.ndim > 1 else values), kind)[output["class-offset"]:]


def analyse(session, contract, picture):
    placement = Placement(contract, picture.shape[1], picture.shape[0])
    feeds, in_frame = feed(session, contract, prepare(picture, contract, placement), placement)
    outputs = {}
    for item, tensor in zip(session.get_outputs(), session.run(None, feeds)):
        how = contract["output"]["quantization"].get(item.name)
        tensor = tensor.astype(np.float32)
        outputs[item.name] = (tensor - how.get("zero-point", 0)) * how["scale"] if how else tensor
    decoder = contract["output"]["decoder"]
    if decoder == "classify":
        return {"probabilities": probabilities(outputs, contract).tolist()}
    if decoder == "embed":
        vector = np.ravel(next(iter(outputs.values())))
        return {"embedding": (vector / np.linalg.norm(vector)).tolist()}
    return {"objects": objects(outputs, contract, placement, in_frame)}


def frames(stream):
    """The frames on standard input as RGB. OpenCV reads YUV by BT.601, limited range, with the nearest chroma."""
    codes = {"NV12": cv2.COLOR_YUV2RGB_NV12, "I420": cv2.COLOR_YUV2RGB_I420, "YV12": cv2.COLOR_YUV2RGB_YV12}
    while header := stream.readline():
        width, height, name = header.decode().split()
        width, height = int(width), int(height)
        if name == "RGB":
            yield np.frombuffer(stream.read(width * height * 3), np.uint8).reshape(height, width, 3)
            continue
        # OpenCV takes even sizes only: the last row and column of luma are repeated, and cut off again.
        rows, columns = height + height % 2, width + width % 2
        luma = np.frombuffer(stream.read(width * height), np.uint8).reshape(height, width)
        luma = np.pad(luma, ((0, rows - height), (0, columns - width)), "edge")
        chroma = np.frombuffer(stream.read(rows * columns // 2), np.uint8).reshape(rows // 2, columns)
        yield cv2.cvtColor(np.concatenate([luma, chroma]), codes[name])[:height, :width]


def main():
    contract = json.load(open(sys.argv[1]))
    contract["output"]["labels"], contract["output"]["task"] = len(contract["labels"]), contract["task"]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = contract.get("threads", 1)
    options.log_severity_level = 3
    cv2.setNumThreads(contract.get("threads", 1))
    session = onnxruntime.InferenceSession(contract["model"], options, providers=["CPUExecutionProvider"])
    named = (cv2.cvtColor(cv2.imread(path), cv2.COLOR_BGR2RGB) for path in sys.argv[2:])
    for picture in named if len(sys.argv) > 2 else frames(sys.stdin.buffer):
        print(json.dumps(analyse(session, contract, picture)), flush=True)


if __name__ == "__main__":
    main()
