"""Plain reimplementations of two well-known trackers, from their papers, to compare ours with.

Both take a list of frames, each an array of rows (left, top, width, height, score), and give rows
(frame from 1, identity, left, top, width, height).

- sort: Bewley et al., *Simple Online and Realtime Tracking*, ICIP 2016 (IoU .3, three hits, kept for one frame).
- bytetrack: Zhang et al., *ByteTrack: Multi-Object Tracking by Associating Every Detection Box*, ECCV 2022 (confident
  from .5, new from .6, weak from .1; IoU above .2, .5 and .3 in the three stages, the first and the last with the
  score multiplied in; kept for 30 frames). Its `confident` and `new` may be set.
"""

import numpy as np
from scipy.optimize import linear_sum_assignment


def iou(a, b):
    """Of each box (left, top, width, height) of a with each of b."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum((a[:, :2] + a[:, 2:4])[:, None], (b[:, :2] + b[:, 2:4])[None])
    both = np.clip(high - low, 0, None).prod(2)
    return both / (a[:, 2:4].prod(1)[:, None] + b[:, 2:4].prod(1)[None] - both)


def match(value, least):
    """Pairs (row, column) of the best assignment with a value of at least `least`, and the rows and columns left."""
    if not value.size:
        return [], list(range(value.shape[0])), list(range(value.shape[1]))
    pairs = [(r, c) for r, c in zip(*linear_sum_assignment(-np.where(value >= least, value, 0))) if value[r, c] >= least]
    rows, columns = {r for r, _ in pairs}, {c for _, c in pairs}
    return pairs, [r for r in range(value.shape[0]) if r not in rows], [c for c in range(value.shape[1]) if c not in columns]


class Kalman:
    """Constant velocity on a state of `n` measured values, of which the first `moving` have a velocity."""

    def __init__(self, z, p, q, r, moving):
        n = len(z)
        self.x = np.concatenate([z, np.zeros(moving)])
        self.f = np.eye(n + moving)
        self.f[np.arange(moving), n + np.arange(moving)] = 1
        self.h = np.eye(n, n + moving)
        self.p, self.q, self.r = np.diag(p), q, r

    def predict(self):
        self.x = self.f @ self.x
        self.p = self.f @ self.p @ self.f.T + np.diag(self.q(self.x))

    def update(self, z):
        gain = self.p @ self.h.T @ np.linalg.inv(self.h @ self.p @ self.h.T + np.diag(self.r(self.x)))
        self.x = self.x + gain @ (z - self.h @ self.x)
        self.p = self.p - gain @ self.h @ self.p


class Track:
    def __init__(self, ident, box):
        self.id, self.hits, self.missed, self.confirmed = ident, 1, 0, False
        self.begin(box)


class SortTrack(Track):
    """State: centre, area, aspect; the aspect is constant."""

    def begin(self, b):
        q = np.array([1, 1, 1, 1, 0.01, 0.01, 0.0001])
        self.filter = Kalman(self.measure(b), [10.0] * 4 + [1e4] * 3, lambda _: q, lambda _: np.array([1, 1, 10, 10.0]), 3)

    @staticmethod
    def measure(b):
        return np.array([b[0] + b[2] / 2, b[1] + b[3] / 2, b[2] * b[3], b[2] / b[3]])

    def predict(self):
        if self.filter.x[2] + self.filter.x[6] <= 0:
            self.filter.x[6] = 0
        self.filter.predict()

    def box(self):
        x, y, area, aspect = self.filter.x[:4]
        w = np.sqrt(max(area * aspect, 1e-6))
        return np.array([x - w / 2, y - area / w / 2, w, area / w])


class ByteTrack(Track):
    """State: centre, aspect, height; noise in parts of the height."""

    def begin(self, b):
        def noise(place, speed, h):
            return np.square([place * h, place * h, 1e-2, place * h, speed * h, speed * h, 1e-5, speed * h])

        first = noise(0.1, 0.0625, b[3])
        self.filter = Kalman(
            self.measure(b),
            first,
            lambda x: noise(0.05, 0.00625, x[3]),
            lambda x: np.square([0.05 * x[3], 0.05 * x[3], 1e-1, 0.05 * x[3]]),
            4,
        )

    @staticmethod
    def measure(b):
        return np.array([b[0] + b[2] / 2, b[1] + b[3] / 2, b[2] / b[3], b[3]])

    def predict(self):
        if self.missed > 0:
            self.filter.x[7] = 0
        self.filter.predict()

    def box(self):
        x, y, aspect, h = self.filter.x[:4]
        return np.array([x - aspect * h / 2, y - h / 2, aspect * h, h])


def boxes(tracks):
    return np.array([t.box() for t in tracks]).reshape(-1, 4)


def sort(frames, confident=0.3, hits=3, keep=1):
    tracks, rows, born = [], [], 0
    for f, found in enumerate(frames, 1):
        found = found[found[:, 4] >= confident]
        for t in tracks:
            t.predict()
            # `hits` are those in a row here, as in the published code.
            t.hits = t.hits if t.missed == 0 else 0
            t.missed += 1
        pairs, _, free = match(iou(boxes(tracks), found), 0.3)
        for r, c in pairs:
            tracks[r].filter.update(tracks[r].measure(found[c]))
            tracks[r].hits, tracks[r].missed = tracks[r].hits + 1, 0
        for c in free:
            born += 1
            tracks.append(SortTrack(born, found[c]))
            tracks[-1].hits = 0
        for t in tracks:
            if t.missed == 0 and (t.hits >= hits or f <= hits):
                rows.append((f, t.id, *t.box()))
        tracks = [t for t in tracks if t.missed <= keep]
    return rows


def bytetrack(frames, confident=0.5, new=0.6, weak=0.1, keep=30):
    tracks, rows, born = [], [], 0
    for f, found in enumerate(frames, 1):
        high = found[found[:, 4] > confident]
        low = found[(found[:, 4] > weak) & (found[:, 4] <= confident)]
        for t in tracks:
            t.predict()
            t.missed += 1

        def stage(pool, detections, least, fuse):
            value = iou(boxes(pool), detections)
            if fuse and value.size:
                value = value * detections[None, :, 4]
            pairs, left, free = match(value, least)
            for r, c in pairs:
                pool[r].filter.update(pool[r].measure(detections[c]))
                pool[r].missed, pool[r].confirmed = 0, True
            return [pool[r] for r in left], detections[free]

        left, high = stage([t for t in tracks if t.confirmed], high, 0.2, True)
        stage([t for t in left if t.missed == 1], low, 0.5, False)
        _, high = stage([t for t in tracks if not t.confirmed], high, 0.3, True)
        tracks = [t for t in tracks if (t.confirmed or t.missed == 0) and t.missed <= keep]
        for d in high[high[:, 4] >= new]:
            born += 1
            tracks.append(ByteTrack(born, d))
            tracks[-1].confirmed = f == 1
        rows += [(f, t.id, *t.box()) for t in tracks if t.confirmed and t.missed == 0]
    return rows
