#!/usr/bin/env python3
"""Writes bundles around the models of the test data, whose README.md says what goes in: bundles.py DATA FOLDER."""
import hashlib
import pathlib
import sys

data, out = map(pathlib.Path, sys.argv[1:])
PLAIN = {"layout": '"nchw"', "color": '"rgb"', "resize": '"stretch"', "mean": "[0, 0, 0]", "std": "[1, 1, 1]"}
BGR = PLAIN | {"color": '"bgr"'}
VOC = ("aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person pottedplant sheep "
       "sofa train tvmonitor").split()
COCO = (data / "labels/coco_classes.txt").read_text()


def write(name, file, task, labels, size, inputs, outputs):
    folder = out / name
    folder.mkdir(parents=True)
    weights = (data / "models" / file).read_bytes()
    (folder / "model.onnx").write_bytes(weights)
    if labels:
        (folder / "labels.txt").write_text(labels)
    lines = ["format = 1", f'name = "{name}"', 'release = "1"', f'task = "{task}"', *(['labels = "labels.txt"'] if labels else []),
             "[input]", f"size = {size}", *(f"{k} = {v}" for k, v in inputs.items()),
             "[output]", *(f"{k} = {v}" for k, v in outputs.items()),
             "[[variant]]", 'file = "model.onnx"', f'sha256 = "{hashlib.sha256(weights).hexdigest()}"']
    (folder / "bundle.toml").write_text("\n".join(lines) + "\n")


write("yolox_nano", "yolox_nano.onnx", "detect", COCO, [416, 416],
      BGR | {"resize": '"letterbox"', "align": '"top-left"', "pad": 114}, {"decoder": '"yolox"'})
write("nanodet_m_320", "nanodet_m_320.onnx", "detect", COCO, [320, 320],
      BGR | {"mean": "[103.53, 116.28, 123.675]", "std": "[57.375, 57.12, 58.395]"}, {"decoder": '"nanodet"', "iou": 0.6})
write("ssd_mobilenet_v1", "ssd_mobilenet_v1_coco_300.onnx", "detect", (data / "labels/coco_labels_90.txt").read_text(),
      [300, 300], PLAIN, {"decoder": '"ssd-postprocessed"'})
write("mobilenet_v2", "mobilenet_v2_1.0_224_float.onnx", "classify", (data / "labels/imagenet_labels.txt").read_text(),
      [224, 224], PLAIN, {"decoder": '"classify"'})
write("movenet", "movenet_lightning_192.onnx", "pose", "person\n", [192, 192], PLAIN | {"resize": '"letterbox"', "pad": 0},
      {"decoder": '"movenet"', "confidence": 0.2})
write("yunet", "yunet_n_320_320.onnx", "detect", "face\n", [320, 320],
      BGR | {"resize": '"letterbox"', "align": '"top-left"', "pad": 0}, {"decoder": '"yunet"', "iou": 0.3})
write("deeplab_v3", "deeplab_v3_1_default_1.onnx", "segment", "\n".join(VOC) + "\n", [257, 257],
      PLAIN | {"layout": '"nhwc"', "mean": "[127.5, 127.5, 127.5]", "std": "[127.5, 127.5, 127.5]"},
      {"decoder": '"segmentation"', "class-offset": 1})
write("reid", "person-reidentification-retail-0288.onnx", "embed", "", [128, 256], BGR | {"layout": '"nhwc"'},
      {"decoder": '"embed"'})
