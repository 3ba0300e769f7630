#!/usr/bin/env python3
"""mAP of detections, by the published evaluator pycocotools.

    coco_eval.py INSTANCES.json LABELS.txt RESULTS.json...

RESULTS are what `vigil parity --detections-out` writes, with class ids that are lines of LABELS. Classes go to the
categories of the same name; LABELS may leave out or add some. With two files the difference is printed too.
"""
import contextlib
import io
import json
import sys

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

# Some files call classes after Pascal VOC; to COCO's own names.
OTHER_NAMES = {"motorbike": "motorcycle", "aeroplane": "airplane", "sofa": "couch", "pottedplant": "potted plant",
               "diningtable": "dining table", "tvmonitor": "tv"}


def main():
    truth_file, labels_file, *files = sys.argv[1:]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(truth_file)
    numbers = {OTHER_NAMES.get(c["name"], c["name"]): c["id"] for c in truth.dataset["categories"]}
    labels = [line.strip() for line in open(labels_file)]
    number = {i: numbers.get(OTHER_NAMES.get(name, name)) for i, name in enumerate(labels)}
    found = {}
    for path in files:
        rows = [dict(r, category_id=number[r["category_id"]]) for r in json.load(open(path)) if number.get(r["category_id"]) is not None]
        with contextlib.redirect_stdout(io.StringIO()):
            evaluator = COCOeval(truth, truth.loadRes(rows), "bbox")
            evaluator.evaluate()
            evaluator.accumulate()
            evaluator.summarize()
        found[path] = evaluator.stats
        print(f"{path}: mAP {evaluator.stats[0]:.4f}, AP50 {evaluator.stats[1]:.4f}")
    if len(files) == 2:
        first, second = found.values()
        print(f"difference: mAP {first[0] - second[0]:+.4f}, AP50 {first[1] - second[1]:+.4f}")


if __name__ == "__main__":
    main()
