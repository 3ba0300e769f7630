"""Our tracker beside SORT and ByteTrack on many sequences, by motmetrics: MOTA, IDF1 and switches in one table.

usage: compare.py [--ours] MOT-PROGRAM OUT SEQUENCE [SEQUENCE ...]

MOT-PROGRAM is examples/mot.rs, built. OUT takes its result files. With --ours the other columns are left out. The yardsticks (yardsticks.py) run with their
published settings, and ByteTrack once more with our confidences (.3 instead of .5 and .6). `looks` is ours with
appearance-weight=0.5, where a sequence has vectors; `1/3` is ours with every third frame analysed.
"""

import pathlib
import subprocess
import sys

import motmetrics as mm
import numpy as np
import yardsticks

COLUMNS = ["ours", "SORT", "ByteTrack", "ByteTrack .3", "looks", "1/3"]


def frames(path):
    rows = np.loadtxt(path, delimiter=",", ndmin=2)
    return [rows[rows[:, 0] == f][:, 2:7] for f in range(1, int(rows[:, 0].max()) + 1)]


def ours(program, sequence, result, *options):
    subprocess.run([program, sequence, result, *options], check=True)
    return np.loadtxt(result, delimiter=",", ndmin=2)[:, :6] if result.stat().st_size else np.zeros((0, 6))


def evaluate(truth, rows):
    """MOTA, IDF1, switches at IoU .5."""
    rows, events = np.asarray(rows, float).reshape(-1, 6), mm.MOTAccumulator()
    for f in range(1, int(max(truth[:, 0].max(), rows[:, 0].max(initial=0))) + 1):
        t, r = truth[truth[:, 0] == f], rows[rows[:, 0] == f]
        distance = 1 - yardsticks.iou(t[:, 2:6], r[:, 2:6])
        distance[distance > 0.5] = np.nan
        events.update(t[:, 1].astype(int), r[:, 1].astype(int), distance, frameid=f)
    figures = mm.metrics.create().compute(events, metrics=["mota", "idf1", "num_switches"])
    return figures.iloc[0].tolist()


def figures(program, out, sequence, all_columns):
    """The cells of one row, in the order of COLUMNS; None where there is nothing to measure."""
    truth = np.loadtxt(sequence / "gt.txt", delimiter=",", ndmin=2)
    truth = truth[truth[:, 6] >= 1]
    found = frames(sequence / "det.txt")
    result, looks = out / f"{sequence.name}.txt", sequence / "emb.txt"
    yield evaluate(truth, ours(program, sequence, result))
    if all_columns:
        yield evaluate(truth, yardsticks.sort(found))
        yield evaluate(truth, yardsticks.bytetrack(found))
        yield evaluate(truth, yardsticks.bytetrack(found, confident=0.3, new=0.3))
        has_looks = looks.exists() and looks.stat().st_size
        yield evaluate(truth, ours(program, sequence, result, "1", "0.5")) if has_looks else None
        yield evaluate(truth, ours(program, sequence, result, "3"))


def cell(figure):
    return "{:.3f} {:.3f} {:.0f}".format(*figure) if figure is not None else ""


def main(arguments):
    columns = COLUMNS[:1] if "--ours" in arguments else COLUMNS
    arguments = [a for a in arguments if a != "--ours"]
    if len(arguments) < 3:
        sys.exit(__doc__)
    program, out = arguments[0], pathlib.Path(arguments[1])
    out.mkdir(parents=True, exist_ok=True)
    print("| sequence | " + " | ".join(columns) + " |")
    print("|---" * (1 + len(columns)) + "|")
    sums = [[] for _ in columns]
    for sequence in map(pathlib.Path, arguments[2:]):
        row = list(figures(program, out, sequence, len(columns) > 1))
        for column, figure in zip(sums, row):
            column += [figure] if figure is not None else []
        print(f"| {sequence.name} | " + " | ".join(map(cell, row)) + " |", flush=True)
    means = [np.mean(s, 0) if s else None for s in sums]
    print("| mean | " + " | ".join(map(cell, means)) + " |")


if __name__ == "__main__":
    main(sys.argv[1:])
