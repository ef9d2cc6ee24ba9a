"""Makes the target of a Reshape relative: which of its dimensions follow the input's size, and how.

This only uses shapes. The tensor's shape is known at the exported size and at a probe size; a dimension that differs
between the two follows the size.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod


@dataclass(frozen=True)
class Copy:
    """Product of these dimensions of the Reshape's input."""

    dims: tuple[int, ...]


@dataclass(frozen=True)
class Cells:
    """Number of cells of `stride` along `axis` (2 height, 3 width) of the network's input."""

    axis: int
    stride: int


Entry = int | Copy | Cells


def _groups(source: Sequence[int], target: Sequence[int]) -> list[tuple[list[int], list[int]]] | None:
    """Split both shapes into the shortest runs of equal product, as index lists; None if the totals differ."""
    if prod(source) != prod(target) or prod(source) == 0:
        return None
    groups: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(source) and j < len(target):
        left, right = [i], [j]
        a, b = source[i], target[j]
        i, j = i + 1, j + 1
        while a != b:
            if a < b:
                a *= source[i]
                left.append(i)
                i += 1
            else:
                b *= target[j]
                right.append(j)
                j += 1
        groups.append((left, right))
    if groups:  # the remaining dimensions on either side are 1
        groups[-1][0].extend(range(i, len(source)))
        groups[-1][1].extend(range(j, len(target)))
    return groups


def relative_target(
    source: Sequence[int],
    source_probe: Sequence[int],
    target: Sequence[int],
    size: tuple[int, int],
    probe: tuple[int, int],
    strides: Sequence[int],
) -> list[Entry] | None:
    """Return one entry per dimension of `target`: an int valid for any size, or how to compute it; None if unclear.

    source, source_probe   the tensor's shape as exported and at the probe size
    target                 its target shape as exported, without 0 or -1
    size, probe            (height, width) of the network's input in either case
    """
    groups = _groups(source, target)
    if groups is None:
        return None
    entries: list[Entry] = list(target)
    for left, right in groups:
        if all(source[i] == source_probe[i] for i in left):
            continue
        wide = [j for j in right if target[j] != 1]
        if len(wide) <= 1:
            entries[wide[0] if wide else right[0]] = Copy(tuple(left))
        elif len(wide) == 2:
            total_probe = prod(source_probe[i] for i in left)
            rows, columns = target[wide[0]], target[wide[1]]
            cells = _cells(rows, columns, total_probe, size, probe, strides)
            if cells is None:
                return None
            entries[wide[0]], entries[wide[1]] = cells
        else:
            return None
    return entries


def _cells(
    rows: int, columns: int, total_probe: int, size: tuple[int, int], probe: tuple[int, int], strides: Sequence[int]
) -> tuple[Cells, Cells] | None:
    """Unfold a flat axis into a feature map: find the stride whose cells match the map at both sizes."""
    for stride in strides:
        here = (size[0] // stride, size[1] // stride)
        if here == (rows, columns) and (probe[0] // stride) * (probe[1] // stride) == total_probe:
            return Cells(2, stride), Cells(3, stride)
    return None
