#!/usr/bin/env python3
"""Prints the expected values in tests/real_models.rs, computed without any code of Vigil.

Pictures are resized by OpenCV, models run in onnxruntime (PyPI onnxruntime 1.31.1, opencv-python-headless,
numpy), outputs are decoded here with numpy.

    tests/golden/make.py ../shared/data ~/.local/share/vigil

Photos and the clip are decoded by gst-launch-1.0, so that both sides look at the same pixels.
"""
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
import onnxruntime as ort

PHOTOS = ["000000000036.jpg", "000000000072.jpg", "000000000144.jpg", "000000000312.jpg"]
FRAMES = [0, 60, 120]
CONFIDENCE, IOU = 0.5, 0.5
# Line of the label file of the set-up's detector.
PERSON = 3
# Boxes just under the threshold are printed too: a small difference may bring them over it.
SLACK = 0.03


def session(path):
    return ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def overlap(a, b):
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if w <= 0 or h <= 0:
        return 0.0
    area = lambda r: (r[2] - r[0]) * (r[3] - r[1])
    return w * h / (area(a) + area(b) - w * h)


def suppress(boxes, scores, classes):
    """Greedy non-maximum suppression within each class."""
    kept = []
    for i in np.argsort(-scores):
        if all(classes[i] != classes[j] or overlap(boxes[i], boxes[j]) <= IOU for j in kept):
            kept.append(i)
    return [(int(classes[i]), float(scores[i]), boxes[i]) for i in kept]


def yolox(net, rgb):
    side, bgr = 416, rgb[:, :, ::-1]
    k = min(side / bgr.shape[1], side / bgr.shape[0])
    w, h = round(bgr.shape[1] * k), round(bgr.shape[0] * k)
    canvas = np.full((side, side, 3), 114, np.float32)
    canvas[:h, :w] = resized(np.ascontiguousarray(bgr), (w, h))
    (out,) = net.run(None, {"images": canvas.transpose(2, 0, 1)[None].astype(np.float32)})
    out, row = out[0], 0
    boxes = np.empty((len(out), 4))
    for stride in (8, 16, 32):
        n = side // stride
        gy, gx = np.divmod(np.arange(n * n), n)
        part = out[row:row + n * n]
        cx, cy = (part[:, 0] + gx) * stride, (part[:, 1] + gy) * stride
        bw, bh = np.exp(part[:, 2]) * stride, np.exp(part[:, 3]) * stride
        boxes[row:row + n * n] = np.stack([cx - bw / 2, cy - bh / 2, cx + bw / 2, cy + bh / 2], 1)
        row += n * n
    scores = out[:, 4] * out[:, 5:].max(1)
    classes = out[:, 5:].argmax(1)
    good = scores >= CONFIDENCE - SLACK
    boxes /= [w, h, w, h]
    return suppress(boxes[good], scores[good], classes[good])


def ssd_postprocessed(net, rgb):
    rgb = resized(rgb, (300, 300))
    names = ["detection_boxes", "detection_classes", "detection_scores", "num_detections"]
    boxes, classes, scores, count = net.run(names, {"image": rgb.transpose(2, 0, 1)[None].astype(np.float32)})
    n = int(count[0])
    rows = zip(classes[0][:n], scores[0][:n], boxes[0][:n])
    return [(int(c), float(s), (b[1], b[0], b[3], b[2])) for c, s, b in rows if s >= CONFIDENCE - SLACK]


def anchors():
    """MediaPipe's SsdAnchorsCalculator for the set-up's detector (options in its graph): cy, cx, h, w."""
    maps, scales, rows = [19, 10, 5, 3, 2, 1], [0.2 + 0.75 * i / 5 for i in range(6)] + [1.0], []
    for layer, n in enumerate(maps):
        if layer == 0:
            sizes = [(0.1, 1), (0.2, 2), (0.2, 0.5)]
        else:
            sizes = [(scales[layer], r) for r in (1, 2, 0.5, 3, 0.3333)]
            sizes.append(((scales[layer] * scales[layer + 1]) ** 0.5, 1))
        for y in range(n):
            for x in range(n):
                rows += [((y + 0.5) / n, (x + 0.5) / n, s / r**0.5, s * r**0.5) for s, r in sizes]
    return np.array(rows)


def people(net, rgb):
    x = resized(rgb, (300, 300)).astype(np.float32) / 127.5 - 1
    outs = {o.name: v[0] for o, v in zip(net.get_outputs(), net.run(None, {net.get_inputs()[0].name: x.transpose(2, 0, 1)[None]}))}
    raw, logits = sorted(outs.values(), key=lambda v: v.shape[-1])
    a = anchors()
    cy, cx = raw[:, 0] / 10 * a[:, 2] + a[:, 0], raw[:, 1] / 10 * a[:, 3] + a[:, 1]
    h, w = np.exp(raw[:, 2] / 5) * a[:, 2], np.exp(raw[:, 3] / 5) * a[:, 3]
    boxes = np.stack([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], 1)
    p = 1 / (1 + np.exp(-logits[:, 1:]))
    # The bundle asks .35 of Person, .4 of the others.
    classes, scores = p.argmax(1), p.max(1)
    good = scores >= np.where(classes == PERSON, 0.35, 0.4) - SLACK
    return suppress(boxes[good], scores[good], classes[good])


def show(name, found):
    for c, s, b in found:
        x1, y1, x2, y2 = np.clip(b, 0, 1)
        print(f"    ({name}, {c}, {s:.4f}, [{x1:.4f}, {y1:.4f}, {x2:.4f}, {y2:.4f}]),")


def decoded(path, frames, form):
    """Frames of a picture or clip by number, RGB: decoded by GStreamer, from NV12 converted here where asked for."""
    caps = {"RGB": "video/x-raw,format=RGB", "NV12": "video/x-raw,format=NV12,colorimetry=bt601"}[form]
    line = f"filesrc location={path} ! decodebin ! videoconvert ! {caps} ! identity eos-after={frames[-1] + 2} ! filesink location="
    probe = subprocess.run(["gst-launch-1.0", "-v", *(line + "/dev/null").split()], capture_output=True, text=True)
    size = re.search(r"filesink0.GstPad:sink: caps = .*width=\(int\)(\d+), height=\(int\)(\d+)", probe.stdout)
    width, height = map(int, size.groups())
    with tempfile.NamedTemporaryFile() as raw:
        subprocess.run(["gst-launch-1.0", "-q", *(line + raw.name).split()], check=True, stdout=subprocess.DEVNULL)
        stride = (width * 3 if form == "RGB" else width) + 3 & ~3
        rows = height if form == "RGB" else (height + 1 & ~1) * 3 // 2
        video = np.fromfile(raw.name, np.uint8).reshape(-1, rows, stride)
    unpack = (lambda v: v[:, :width * 3].reshape(height, width, 3)) if form == "RGB" else lambda v: nv12(v, width, height)
    return {n: unpack(video[n]) for n in frames}


def nv12(planes, width, height):
    """By cv2.cvtColor, which knows BT.601 in the limited range, on planes with even sides."""
    h2, w2 = height + 1 & ~1, width + 1 & ~1
    even = np.ascontiguousarray(planes[:h2 * 3 // 2, :w2])
    return np.ascontiguousarray(cv2.cvtColor(even, cv2.COLOR_YUV2RGB_NV12)[:height, :width])


def resized(rgb, size):
    return cv2.resize(rgb, size, interpolation=cv2.INTER_LINEAR)


def main():
    data, home = Path(sys.argv[1]), Path(sys.argv[2])
    for family, model in ((yolox, "yolox_nano"), (ssd_postprocessed, "ssd_mobilenet_v1_coco_300")):
        net = session(data / "models" / f"{model}.onnx")
        for form in ("RGB", "NV12"):
            print(f"{model} {form}: photo, class, confidence, corners")
            for i, name in enumerate(PHOTOS):
                show(i, family(net, decoded(data / "coco128/train2017" / name, [0], form)[0]))
    net = session(data / "models/mobilenet_v2_1.0_224_float.onnx")
    labels = (data / "labels/imagenet_labels.txt").read_text().splitlines()
    for name in ("cat.bmp", "parrot.jpg", "bird.bmp"):
        rgb = cv2.resize(cv2.imread(str(data / "images" / name)), (224, 224), interpolation=cv2.INTER_LINEAR)[:, :, ::-1]
        (p,) = net.run(None, {"image": rgb.transpose(2, 0, 1)[None].astype(np.float32)})
        print(f"    ({name!r}, {labels[p[0].argmax()]!r}, {p[0].max():.4f}),")
    net = session(home / "bundles/people/model.onnx")
    for form in ("RGB", "NV12"):
        print(f"people {form}: frame of the clip, class, confidence, corners")
        for n, rgb in decoded(home / "clips/vtest.avi", FRAMES, form).items():
            show(n, people(net, rgb))


main()
