"""Times Vigil's pre-processing against OpenCV on one thread, interleaved, and compares the tensors.

Run it through scripts/bench-pre, which sets it up.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import cv2
import numpy as np

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--frame", default="1920x1080", help="the frame's size, even; default %(default)s")
parser.add_argument("--input", type=int, default=640, help="side of the model's input, default %(default)s")
parser.add_argument("--rounds", type=int, default=15, help="rounds; each times Vigil, then OpenCV; default %(default)s")
parser.add_argument("--runs", type=int, default=10, help="runs of each in a round; default %(default)s")
parser.add_argument("--json", action="store_true", help="one JSON array instead of the table")
OPTIONS = parser.parse_args()
WIDTH, HEIGHT = (int(n) for n in OPTIONS.frame.split("x"))
SIDE = OPTIONS.input
SCALE = min(SIDE / WIDTH, SIDE / HEIGHT)
BENCH = ["cargo", "bench", "--quiet", "--bench", "pre", "--"]
SMALL = (round(WIDTH * SCALE), round(HEIGHT * SCALE))

def rgb_picture():
    """A picture with gradients and edges, blurred a little as a lens does; no noise that chroma would smear."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    picture = np.stack([x / WIDTH, y / HEIGHT, (np.sin(x / 60) * np.cos(y / 45) + 1) / 2], axis=-1) * 200 + 20
    for i in range(40):
        color = [(i * 67) % 256, (i * 131) % 256, (i * 29) % 256]
        cv2.rectangle(picture, (i * 47 % WIDTH, i * 89 % HEIGHT), (i * 47 % WIDTH + 90, i * 89 % HEIGHT + 60), color, -1)
    return cv2.GaussianBlur(picture, (0, 0), 4).clip(0, 255).astype(np.uint8)


def i420_to_nv12(i420):
    luma, chroma = i420[: HEIGHT * WIDTH], i420[HEIGHT * WIDTH :]
    u, v = chroma.reshape(2, -1)
    return np.concatenate([luma, np.stack([u, v], axis=-1).reshape(-1)])


def padded(small):
    """The small picture in the middle of the square, as Ultralytics' LetterBox places it."""
    left, top = (SIDE - SMALL[0]) // 2, (SIDE - SMALL[1]) // 2
    right, bottom = SIDE - SMALL[0] - left, SIDE - SMALL[1] - top
    return cv2.copyMakeBorder(small, top, bottom, left, right, cv2.BORDER_CONSTANT, value=(114, 114, 114))


def letterboxed(rgb):
    return padded(cv2.resize(rgb, SMALL, interpolation=cv2.INTER_LINEAR))


def blob(rgb):
    return cv2.dnn.blobFromImage(letterboxed(rgb), 1 / 255.0)


def opencv_cases(rgb):
    """Name of the case, Vigil's arguments, the frame's bytes, what OpenCV does for it."""
    i420 = cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_I420).reshape(-1)
    nv12 = i420_to_nv12(i420)
    planar, pairs = i420.reshape(-1, WIDTH), nv12.reshape(-1, WIDTH)
    luma, chroma = pairs[:HEIGHT], pairs[HEIGHT:].reshape(HEIGHT // 2, WIDTH // 2, 2)
    yuy2 = cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_YUY2) if hasattr(cv2, "COLOR_RGB2YUV_YUY2") else None
    rgbx = cv2.cvtColor(rgb, cv2.COLOR_RGB2RGBA)
    gray = np.ascontiguousarray(luma)

    def planes_first():
        y, uv = cv2.resize(luma, SMALL), cv2.resize(chroma, (SMALL[0] // 2, SMALL[1] // 2))
        return cv2.dnn.blobFromImage(padded(cv2.cvtColorTwoPlane(y, uv, cv2.COLOR_YUV2RGB_NV12)), 1 / 255.0)

    from_nv12 = lambda: blob(cv2.cvtColor(pairs, cv2.COLOR_YUV2RGB_NV12))
    to_u8 = lambda: letterboxed(cv2.cvtColor(pairs, cv2.COLOR_YUV2RGB_NV12))
    cases = [
        ("nv12 -> f32 nchw", "nv12 f32 nchw rgb", nv12, from_nv12),
        ("nv12; OpenCV resizes the planes first", "nv12 f32 nchw rgb", nv12, planes_first),
        ("nv12 -> f16 nchw", "nv12 f16 nchw rgb", nv12, lambda: from_nv12().astype(np.float16)),
        ("nv12 -> u8 nhwc", "nv12 u8 nhwc rgb", nv12, to_u8),
        ("i420 -> f32 nchw", "i420 f32 nchw rgb", i420, lambda: blob(cv2.cvtColor(planar, cv2.COLOR_YUV2RGB_I420))),
        ("rgb -> f32 nchw", "rgb f32 nchw rgb", rgb, lambda: blob(rgb)),
        ("rgb -> f32 nhwc", "rgb f32 nhwc rgb", rgb, lambda: letterboxed(rgb).astype(np.float32) / 255.0),
        ("rgbx -> f32 nchw", "rgbx f32 nchw rgb", rgbx, lambda: blob(cv2.cvtColor(rgbx, cv2.COLOR_RGBA2RGB))),
        ("rgb -> f32 gray", "rgb f32 nchw gray", rgb, lambda: blob(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY))),
        ("gray8 -> f32 nchw rgb", "gray8 f32 nchw rgb", gray, None),
    ]
    if yuy2 is not None:
        packed = yuy2.reshape(HEIGHT, WIDTH, 2)
        from_yuy2 = lambda: blob(cv2.cvtColor(packed, cv2.COLOR_YUV2RGB_YUY2))
        cases.insert(5, ("yuy2 -> f32 nchw", "yuy2 f32 nchw rgb", yuy2, from_yuy2))
    if SMALL[0] % 2 or SMALL[1] % 2:
        cases = [case for case in cases if case[3] is not planes_first]
    return cases


def time_opencv(job, runs):
    times = []
    for _ in range(runs):
        start = time.perf_counter_ns()
        job()
        times.append(time.perf_counter_ns() - start)
    return times


def measure(case, folder):
    runs = OPTIONS.runs
    name, arguments, frame, job = case
    file = folder / "frame.raw"
    file.write_bytes(frame.tobytes())
    pixel, dtype, layout, color = arguments.split()
    command = [*BENCH, pixel, str(WIDTH), str(HEIGHT), str(SIDE), str(SIDE), dtype, layout, color, str(file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        ask = lambda: child.stdin.write(f"{runs}\n") and child.stdin.flush() or child.stdout.readline().split()
        ask()
        if job:
            time_opencv(job, runs)
        ours, theirs = [], []
        for _ in range(OPTIONS.rounds):
            ours += [int(t) for t in ask()]
            theirs += time_opencv(job, runs) if job else []
        child.stdin.close()
        if child.wait():
            sys.exit(f"bench-pre: {' '.join(command)} failed")
    result = {"case": name, "vigil_ms": statistics.median(ours) / 1e6, "vigil_min_ms": min(ours) / 1e6}
    if job:
        tensor = np.fromfile(f"{file}.tensor", dtype={"f32": "<f4", "f16": "<f2", "u8": "u1"}[dtype])
        unit = 1.0 if dtype == "u8" else 255.0
        difference = np.abs(tensor.astype(np.float32) - job().reshape(-1).astype(np.float32)) * unit
        result |= {"opencv_ms": statistics.median(theirs) / 1e6, "opencv_min_ms": min(theirs) / 1e6}
        result |= {"ratio": result["opencv_ms"] / result["vigil_ms"]}
        result |= {"mean_difference": float(difference.mean()), "max_difference": float(difference.max())}
    return result


def main():
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        results = [measure(case, pathlib.Path(folder)) for case in opencv_cases(rgb_picture())]
    if OPTIONS.json:
        print(json.dumps(results, indent=2))
        return
    print(f"{WIDTH}x{HEIGHT} to {SIDE}x{SIDE}, letterboxed; one thread each; OpenCV {cv2.__version__}; median (least) ms;")
    print("differences in levels of 0..255")
    print(f"{'case':38} {'Vigil':>15} {'OpenCV':>15} {'ratio':>6} {'mean':>6} {'max':>6}")
    for r in results:
        line = f"{r['case']:38} {r['vigil_ms']:6.2f} ({r['vigil_min_ms']:5.2f})"
        if "ratio" in r:
            line += f"  {r['opencv_ms']:6.2f} ({r['opencv_min_ms']:5.2f}) {r['ratio']:6.1f}"
            line += f" {r['mean_difference']:6.2f} {r['max_difference']:6.2f}"
        print(line)


main()
