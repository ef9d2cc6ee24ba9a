"""The twin of engine_ext.sides: all rows at once."""

import numpy as np


def beside_line(boxes_xyxy, points, halves, margin):
    at, doubt = anchors(boxes_xyxy, halves)
    starts, (step_x, step_y) = points[:-1], np.diff(points, axis=0).T
    count = len(starts)
    rest_x, rest_y = at[:, :1] - starts[:, 0], at[:, 1:] - starts[:, 1]
    along = (rest_x * step_x + rest_y * step_y) / (step_x * step_x + step_y * step_y)
    low, high = np.zeros(count), np.ones(count)
    low[0], high[-1] = -np.inf, np.inf
    along = np.clip(along, low, high)
    rest_x, rest_y = rest_x - along * step_x, rest_y - along * step_y
    distance2 = rest_x * rest_x + rest_y * rest_y
    rows, nearest = np.arange(len(at)), distance2.argmin(axis=1)
    lengths = np.sqrt(step_x * step_x + step_y * step_y)
    normals = np.column_stack((-step_y / lengths, step_x / lengths))
    normal, where = normals[nearest], along[rows, nearest]
    follows, precedes = (where >= 1) & (nearest < count - 1), (where <= 0) & (nearest > 0)
    normal[follows] += normals[nearest[follows] + 1]
    normal[precedes] += normals[nearest[precedes] - 1]
    turned = rest_x[rows, nearest] * normal[:, 0] + rest_y[rows, nearest] * normal[:, 1]
    distance = np.sqrt(distance2[rows, nearest])
    return np.sign(turned).astype(np.int8), distance >= margin, unsure(distance, margin, doubt)


def inside_polygon(boxes_xyxy, corners, halves, margin):
    at, doubt = anchors(boxes_xyxy, halves)
    inside, least = np.zeros(len(at), np.bool_), np.full(len(at), np.inf)
    x, y = at.T
    with np.errstate(divide="ignore", invalid="ignore"):
        for (px, py), (qx, qy) in zip(np.roll(corners, 1, axis=0), corners, strict=True):
            step_x, step_y = qx - px, qy - py
            rest_x, rest_y = x - px, y - py
            inside ^= ((py > y) != (qy > y)) & (x < px + rest_y * step_x / step_y)
            if length2 := step_x * step_x + step_y * step_y:
                along = np.clip((rest_x * step_x + rest_y * step_y) / length2, 0, 1)
                rest_x, rest_y = rest_x - along * step_x, rest_y - along * step_y
            least = np.minimum(least, rest_x * rest_x + rest_y * rest_y)
    distance = np.sqrt(least)
    return inside, distance >= margin, unsure(distance, margin, doubt)


def anchors(boxes_xyxy, halves):
    """The points, and how closely distances from there are known."""
    (left, right), (top, bottom) = halves
    x1, y1, x2, y2 = boxes_xyxy.T
    at = np.column_stack(((left * x1 + right * x2) / 2, (top * y1 + bottom * y2) / 2))
    return at, 1e-6 + 1e-12 * (np.abs(at[:, 0]) + np.abs(at[:, 1]))


def unsure(distance, margin, doubt):
    return np.flatnonzero((distance <= doubt) | (np.abs(distance - margin) <= doubt)).tolist()


class Watch:
    def __init__(self, places):
        self.places = list(places)
        self.seen, self.sides, self.before = {}, {}, set()

    def follow(self, track_ids, boxes_xyxy, step, gone_before):
        ids = track_ids.tolist()
        new = [track_id for track_id in ids if track_id not in self.seen]
        self.seen.update(dict.fromkeys(ids, step))
        moved = []
        for number, (points, halves, margin, closed) in enumerate(self.places):
            told = inside_polygon if closed else beside_line
            sides, far, doubtful = told(boxes_xyxy, points, halves, margin)
            for row, (track_id, side, away) in enumerate(zip(ids, sides.tolist(), far.tolist(), strict=True)):
                if row in doubtful and row not in told(boxes_xyxy, points, halves, np.inf)[2]:
                    sure = self.sides.get((number, track_id)) == side  # only its distance from the margin is doubtful
                else:
                    sure = row not in doubtful and self.sides.get((number, track_id)) == side
                if not sure:
                    moved.append((number, row, None if row in doubtful else int(side), away))
        gone = sorted((seen, track_id) for track_id, seen in self.seen.items() if seen < gone_before)
        gone = [(seen, track_id) for seen, track_id in gone if track_id not in ids]
        for _, track_id in gone:
            self.forget(track_id)
        same, self.before = set(ids) == self.before, set(ids)
        return new, moved, gone, same

    def settle(self, place, track_id, side):
        self.sides[place, track_id] = side

    def forget(self, track_id):
        self.seen.pop(track_id)
        self.sides = {key: side for key, side in self.sides.items() if key[1] != track_id}
