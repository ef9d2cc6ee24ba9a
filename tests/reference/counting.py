"""Crossings and stays by the letter of the rules (docs/answers.md), one sample after the other, in exact fractions."""

from fractions import Fraction
from itertools import pairwise


def cross(p, q, a):
    """Positive where a is at the right hand of p -> q, y downwards."""
    return (q[0] - p[0]) * (a[1] - p[1]) - (q[1] - p[1]) * (a[0] - p[0])


def squared(p, q):
    return (q[0] - p[0]) ** 2 + (q[1] - p[1]) ** 2


def nearest(p, q, a, low=0, high=1):
    """The share of p -> q that is nearest to a, between bounds (None: none), and the square of its distance."""
    share = Fraction((a[0] - p[0]) * (q[0] - p[0]) + (a[1] - p[1]) * (q[1] - p[1])) / squared(p, q)
    share = share if low is None else max(share, low)
    share = share if high is None else min(share, high)
    return share, squared((p[0] + share * (q[0] - p[0]), p[1] + share * (q[1] - p[1])), a)


def side_of(line, a):
    """The side of a, -1, 0 or 1, of a polyline whose end segments go on without end, and the square of its distance.
    None where two parts that are equally near tell different sides: such a line does not divide the frame."""
    parts = list(pairwise(line))
    found = []
    for number, (p, q) in enumerate(parts):
        share, distance = nearest(p, q, a, None if number == 0 else 0, None if number == len(parts) - 1 else 1)
        side = cross(p, q, a)
        # Nearest to a corner, a is outside of its bend.
        if share == 1 and number < len(parts) - 1:
            side = -cross(p, q, parts[number + 1][1]) or side
        elif share == 0 and number > 0:
            side = -cross(*parts[number - 1], q) or side
        found.append((distance, (side > 0) - (side < 0)))
    least = min(distance for distance, _ in found)
    sides = {side if least else 0 for distance, side in found if distance == least}
    return (sides.pop() if len(sides) == 1 else None), least


def meeting(line, a, b):
    """How far along a -> b it meets the line between its ends the last time; None: not at all."""
    shares = []
    for p, q in pairwise(line):
        at_a, at_b = cross(p, q, a), cross(p, q, b)
        if at_a == at_b:
            continue
        share = Fraction(at_a) / (at_a - at_b)
        if not 0 <= share <= 1:
            continue
        met = a[0] + share * (b[0] - a[0]), a[1] + share * (b[1] - a[1])
        along, distance = nearest(p, q, met)
        if distance == 0 and 0 <= along <= 1:
            shares.append(share)
    return max(shares, default=None)


def crossings(line, samples, margin):
    """(frame, whether to the right hand) of each crossing of samples (frame, point); None where a side is not known."""
    told = [side_of(line, point) for _, point in samples]
    if any(side is None for side, _ in told):
        return None
    sides = []
    for side, _ in told:
        sides.append(side or (sides[-1] if sides else 0))
    first = next((side for side in sides if side), 0)
    sides = [side or first for side in sides]
    settled, found = sides[0], []
    for number, (side, (own, distance)) in enumerate(zip(sides, told, strict=True)):
        far = own != 0 and distance >= margin**2
        if side == settled or not (far or number == len(samples) - 1):
            continue
        settled = side
        last = max(at for at in range(1, number + 1) if sides[at] != sides[at - 1])
        (before, a), (after, b) = samples[last - 1], samples[last]
        share = meeting(line, a, b)
        if share is not None:
            found.append((before + share * (after - before), side > 0))
    return found


def is_inside(polygon, a):
    edges = list(zip(polygon, polygon[1:] + polygon[:1], strict=True))
    if any(nearest(p, q, a)[1] == 0 for p, q in edges):
        return True
    passed = 0
    for p, q in edges:
        if (p[1] > a[1]) != (q[1] > a[1]):
            passed += a[0] < p[0] + Fraction(a[1] - p[1]) / (q[1] - p[1]) * (q[0] - p[0])
    return passed % 2 == 1


def stays(polygon, samples, margin):
    """(first frame, last frame, born inside, ended inside) of each stay."""
    edges = list(zip(polygon, polygon[1:] + polygon[:1], strict=True))
    found, first, last = [], None, None
    for frame, point in samples:
        if is_inside(polygon, point):
            first = frame if first is None else first
            last = frame
        elif first is not None and min(nearest(p, q, point)[1] for p, q in edges) >= margin**2:
            found.append((first, last, first == samples[0][0], False))
            first = None
    if first is not None:
        found.append((first, last, first == samples[0][0], True))
    return found
