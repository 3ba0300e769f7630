"""Sequences to test the tracker on that nobody has tuned it for: walking people made by a formula, as a detector would
report them, and altered copies of real sequences. numpy only; the same seed gives the same files.

usage: synth.py OUT SEED [SEQUENCE ...]

Writes for each sequence a folder in OUT with gt.txt, det.txt, seqinfo.ini (MOTChallenge's layout) and emb.txt (one
made-up appearance vector for each line of det.txt). A SEQUENCE is a folder with det.txt and gt.txt (640x480, 25 fps).

People walk on a plane before a pinhole camera. Nearer ones hide farther ones. The detector misses what is hidden and
some of what is not, gives lower scores to both, places boxes with errors that last for some frames (as a real
detector's do), merges people by non-maximum suppression, and sees people where none are, some of them in one place
again and again. A person counts as truth on a frame where half of the box is in the picture and a tenth of it visible.
"""

import pathlib
import sys

import numpy as np

WIDTH, HEIGHT = 1280, 720
FOCAL, CAMERA_HEIGHT = 1100.0, 3.2
LOOKS = 24  # length of an appearance vector

# Camera and detector of each sequence; what is not named is as in USUAL.
USUAL = {
    "people": 20, "frames": 250, "fps": 25.0,
    "pan": 0.0,          # pixels per second; turns back now and then
    "jitter": 0.0,       # pixels from frame to frame, standard deviation
    "zoom": 0.0,         # part of the focal length, as a slow wave
    "detect": 0.97,      # chance to find a person who is wholly visible
    "noise": 0.03,       # error of a box's edges, part of its size
    "score": (0.88, 0.08),
    "false": 0.3,        # false boxes per frame
}  # fmt: skip
KINDS = {
    "plain": {},
    "crowd-30": {"people": 30},
    "crowd-60": {"people": 60},
    "pan": {"pan": 150.0},
    "jitter": {"jitter": 8.0},
    "zoom": {"zoom": 0.3},
    "handheld-crowd": {"people": 40, "pan": 100.0, "jitter": 6.0, "zoom": 0.15},
    "5-fps": {"fps": 5.0, "frames": 150},
    "3-fps": {"fps": 3.0, "frames": 120},
    "5-fps-pan": {"fps": 5.0, "frames": 150, "pan": 100.0, "jitter": 4.0},
    "poor": {"detect": 0.7, "noise": 0.08, "score": (0.5, 0.18), "false": 3.0},
    "poor-crowd": {"people": 40, "detect": 0.75, "noise": 0.07, "score": (0.55, 0.18), "false": 3.0},
    "poor-handheld": {"detect": 0.75, "noise": 0.07, "score": (0.55, 0.18), "false": 2.0, "jitter": 6.0, "pan": 80.0},
}


class Walker:
    """A person on the plane: x to the right, z away from the camera, metres."""

    def __init__(self, rng, ident, anywhere):
        self.id = ident
        self.z = rng.uniform(7, 32)
        half = self.z * WIDTH / 2 / FOCAL
        self.x = rng.uniform(-half, half) if anywhere else rng.choice([-1, 1]) * (half + 0.5)
        # Newcomers walk into the picture.
        self.heading = rng.uniform(0, 2 * np.pi) if anywhere else (0.0 if self.x < 0 else np.pi) + rng.normal(0, 0.4)
        self.speed = max(0.0, rng.normal(1.3, 0.35)) if rng.random() > 0.1 else 0.05
        self.tall, self.wide = rng.normal(1.72, 0.1), rng.uniform(0.36, 0.46)
        self.step = rng.uniform(0, 2 * np.pi)
        self.error = np.zeros(4)
        self.look = unit(rng.normal(size=LOOKS))

    def walk(self, rng, dt):
        self.heading += rng.normal(0, 0.35) * np.sqrt(dt)
        self.x += np.cos(self.heading) * self.speed * dt
        self.z = float(np.clip(self.z + np.sin(self.heading) * self.speed * dt, 6, 36))
        self.step += 2 * np.pi * 0.9 * dt * self.speed

    def box(self, focal, shift):
        """Left, top, width, height."""
        h = focal * self.tall / self.z
        w = h * self.wide * (1 + 0.15 * np.sin(self.step))
        feet = HEIGHT * 0.25 + shift[1] + focal * CAMERA_HEIGHT / self.z
        return np.array([WIDTH / 2 + shift[0] + focal * self.x / self.z - w / 2, feet - h, w, h])


def unit(v):
    return v / np.linalg.norm(v)


def iou(a, b):
    """Of each box of a with each of b."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum((a[:, :2] + a[:, 2:])[:, None], (b[:, :2] + b[:, 2:])[None])
    both = np.clip(high - low, 0, None).prod(2)
    return both / (a[:, 2:].prod(1)[:, None] + b[:, 2:].prod(1)[None] - both)


def visible(boxes):
    """Part of each box that no nearer one (an ellipse in its box, as people have no corners) and no edge hides."""
    u, v = np.meshgrid((np.arange(7) + 0.5) / 7, (np.arange(14) + 0.5) / 14)
    part = np.zeros(len(boxes))
    for i, b in enumerate(boxes):
        x, y = b[0] + u * b[2], b[1] + v * b[3]
        seen = (x >= 0) & (x < WIDTH) & (y >= 0) & (y < HEIGHT)
        for j, n in enumerate(boxes):
            if n[1] + n[3] > b[1] + b[3] and j != i:
                seen &= ((x - n[0]) / n[2] - 0.5) ** 2 + ((y - n[1]) / n[3] - 0.5) ** 2 > 0.25
        part[i] = seen.mean()
    return part


def camera(rng, kind):
    """Shift in pixels and factor of the focal length on each frame."""
    n, dt = kind["frames"], 1 / kind["fps"]
    turn = np.sign(np.sin(np.arange(n) * dt * 2 * np.pi / 9 + rng.uniform(0, 6)))
    pan = np.cumsum(kind["pan"] * dt * turn)
    shake = np.zeros((n, 2))
    for i in range(1, n):
        shake[i] = 0.9 * shake[i - 1] + rng.normal(0, 1, 2) * kind["jitter"] * (1, 0.7)
    zoom = 1 + kind["zoom"] * np.sin(np.arange(n) * dt * 2 * np.pi / 6)
    return np.stack([pan + shake[:, 0], shake[:, 1]], 1), zoom


def detect(rng, kind, people, boxes, part, clutter):
    """Boxes, scores and appearance vectors that a detector gives for a frame."""
    found = []
    for p, b, v in zip(people, boxes, part):
        p.error = 0.7 * p.error + rng.normal(0, kind["noise"] * 0.71, 4)
        if v <= 0 or rng.random() > kind["detect"] / (1 + np.exp(-(v - 0.35) / 0.06)):
            continue
        box = np.array([b[0] + p.error[0] * b[2], b[1] + p.error[1] * b[3], b[2] * (1 + p.error[2]), b[3] * (1 + p.error[3])])
        score = np.clip(rng.normal(*kind["score"]) - 0.35 * (1 - v), 0.06, 0.99)
        found.append((box, score, unit(p.look + rng.normal(0, 0.6 + 0.6 * (1 - v), LOOKS) / np.sqrt(LOOKS) * 1.2)))
    for _ in range(rng.poisson(kind["false"])):
        h = rng.uniform(60, 300)
        box = np.array([rng.uniform(0, WIDTH), rng.uniform(0, HEIGHT - h), h * 0.42, h])
        if rng.random() < 0.5:
            box = clutter[rng.integers(len(clutter))] * (1 + rng.normal(0, 0.01, 4))
        found.append((box, np.clip(rng.normal(kind["score"][0] - 0.3, 0.15), 0.06, 0.95), unit(rng.normal(size=LOOKS))))
    found.sort(key=lambda f: -f[1])
    kept = []
    for f in found:
        if not kept or iou(f[0][None], np.array([k[0] for k in kept])).max() < 0.6:
            kept.append(f)
    return kept


def make(kind, rng):
    """Truth and detections: rows (frame, id or -1, box, confidence), and the detections' appearance vectors."""
    shift, zoom = camera(rng, kind)
    people = [Walker(rng, i + 1, True) for i in range(kind["people"])]
    heights = rng.uniform(80, 250, 4)
    clutter = np.stack([rng.uniform(0, WIDTH, 4), rng.uniform(100, 400, 4), heights * 0.42, heights], 1)
    truth, detections, looks, born = [], [], [], kind["people"]
    for f in range(kind["frames"]):
        boxes = np.array([p.box(FOCAL * zoom[f], shift[f]) for p in people])
        part = visible(boxes)
        for p, b, v in zip(people, boxes, part):
            inside = np.clip(min(b[0] + b[2], WIDTH) - max(b[0], 0), 0, None) * (min(b[1] + b[3], HEIGHT) - max(b[1], 0))
            if v >= 0.1 and inside >= 0.5 * b[2] * b[3]:
                truth.append((f + 1, p.id, *b, 1))
        for box, score, look in detect(rng, kind, people, boxes, part, clutter + [shift[f][0], shift[f][1], 0, 0]):
            detections.append((f + 1, -1, *box, score))
            looks.append(look)
        for i, p in enumerate(people):
            p.walk(rng, 1 / kind["fps"])
            if abs(p.x) > p.z * WIDTH / 2 / FOCAL + 3:
                born += 1
                people[i] = Walker(rng, born, False)
    return truth, detections, looks


def load(path):
    rows = [[float(v) for v in line.split(",")[:7]] for line in path.read_text().splitlines()]
    return sorted(rows, key=lambda r: r[0])


def altered(truth, detections, rng):
    """Name, fps and both tables of each altered copy of a real sequence."""
    last = int(max(r[0] for r in truth))
    steps = rng.normal(0, 1, (last + 1, 2))

    def moved(rows, shift):
        return [[r[0], r[1], r[2] + shift(int(r[0]))[0], r[3] + shift(int(r[0]))[1], *r[4:]] for r in rows]

    def thinned(rows, n):
        return [[(r[0] - 1) // n + 1, *r[1:]] for r in rows if (r[0] - 1) % n == 0]

    def both(change):
        return change(truth), change(detections)

    yield "reversed", 25.0, *both(lambda rows: sorted(([last + 1 - r[0], *r[1:]] for r in rows), key=lambda r: r[0]))
    yield "thinned-3", 25 / 3, *both(lambda rows: thinned(rows, 3))
    yield "thinned-5", 5.0, *both(lambda rows: thinned(rows, 5))
    yield "jittered", 25.0, *both(lambda rows: moved(rows, lambda f: steps[f] * 8))
    yield "panned", 25.0, *both(lambda rows: moved(rows, lambda f: (60 * np.sin(f / 12) + 3 * f, 0)))
    missed = rng.random(len(detections)) > 0.3
    noise = rng.normal(0, 0.07, (len(detections), 4))
    worse = [
        [r[0], r[1], r[2] + n[0] * r[4], r[3] + n[1] * r[5], r[4] * (1 + n[2]), r[5] * (1 + n[3]), r[6] * 0.6]
        for r, keep, n in zip(detections, missed, noise)
        if keep
    ]
    yield "worse", 25.0, truth, worse


def write(folder, truth, detections, looks, fps, size):
    folder.mkdir(parents=True, exist_ok=True)

    def line(r):
        return f"{int(r[0])},{int(r[1])}," + ",".join(f"{v:.3f}" for v in r[2:]) + ",-1,-1,-1\n"

    (folder / "gt.txt").write_text("".join(line(r) for r in truth))
    (folder / "det.txt").write_text("".join(line(r) for r in detections))
    (folder / "emb.txt").write_text("".join(",".join(f"{x:.4f}" for x in v) + "\n" for v in looks))
    (folder / "seqinfo.ini").write_text(
        f"[Sequence]\nname={folder.name}\nframeRate={fps}\nimWidth={size[0]}\nimHeight={size[1]}\n"
    )


def main(arguments):
    if len(arguments) < 2:
        sys.exit(__doc__)
    out, seed = pathlib.Path(arguments[0]), int(arguments[1])
    for i, (name, changes) in enumerate(KINDS.items()):
        kind = USUAL | changes
        truth, detections, looks = make(kind, np.random.default_rng([seed, i]))
        write(out / name, truth, detections, looks, kind["fps"], (WIDTH, HEIGHT))
    for i, sequence in enumerate(arguments[2:]):
        sequence = pathlib.Path(sequence)
        rng = np.random.default_rng([seed, 100 + i])
        for name, fps, truth, detections in altered(load(sequence / "gt.txt"), load(sequence / "det.txt"), rng):
            write(out / f"{sequence.name}-{name}", truth, detections, [], fps, (640, 480))


if __name__ == "__main__":
    main(sys.argv[1:])
