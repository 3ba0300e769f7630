"""MOTA and IDF1 of result files against ground truth, by motmetrics (the published MOTChallenge evaluator).

usage: mot_eval.py GT RESULT [GT RESULT ...]
"""

import pathlib
import sys

import motmetrics as mm

METRICS = ["mota", "idf1", "num_switches", "num_false_positives", "num_misses", "num_unique_objects"]


def main(arguments):
    if not arguments or len(arguments) % 2:
        sys.exit(__doc__)
    accumulators, names = [], []
    for truth_path, result_path in zip(arguments[::2], arguments[1::2]):
        truth = mm.io.loadtxt(truth_path, fmt="mot15-2D", min_confidence=1)
        result = mm.io.loadtxt(result_path, fmt="mot15-2D")
        accumulators.append(mm.utils.compare_to_groundtruth(truth, result, "iou", distth=0.5))
        names.append(pathlib.Path(result_path).stem)
    summary = mm.metrics.create().compute_many(accumulators, metrics=METRICS, names=names)
    print(mm.io.render_summary(summary, formatters={"mota": "{:.3f}".format, "idf1": "{:.3f}".format}))


if __name__ == "__main__":
    main(sys.argv[1:])
