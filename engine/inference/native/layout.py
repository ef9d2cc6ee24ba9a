"""The placement of tensors in the workspace: parts of a concatenation inside it, others in space that is free at the
time."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from operator import attrgetter
from typing import NamedTuple

from engine.inference.native.ops import Concat, Network, Tensor, sources

BLOCK = 16  # channels per block, and floats per cache line
PART = 32  # bfloat16 channels per cache line
_EVEN = 1024  # floats per memory page
_SPAN = 16  # operations


def block_size(tensor: Tensor) -> int:
    """Return the floats from one block of 16 channels to the next. It is never a whole number of pages, since the
    pixels of all blocks would then compete for the same few lines of the first-level cache."""
    size = tensor.height * tensor.width * BLOCK
    return size if size % _EVEN else size + BLOCK


def blocks(tensor: Tensor) -> int:
    return -(-tensor.channels // BLOCK)


@dataclass(eq=False)
class Region:
    """`size` floats that are live from step `first` to step `last`; `at` is their position."""

    size: int
    first: int
    last: int
    at: int = -1


class Place(NamedTuple):
    """A tensor inside a region, `offset` floats from its start."""

    region: Region
    offset: int


def place_tensors(network: Network, absent: set[Tensor]) -> dict[Tensor, Place]:
    """Return a place for each tensor except those `absent`; regions have lifetimes counted in operations.

    A part of a concatenation is placed inside it if its first channel begins a block and it is part of no other
    concatenation; `plan` copies the others. Later concatenations go first, because one may be part of the next.
    """
    places: dict[Tensor, Place] = {}
    for op in reversed(network.ops):
        if not isinstance(op, Concat):
            continue
        if op.out not in places:
            places[op.out] = Place(_region(op.out), 0)
        inside, first = places[op.out], 0
        for source in op.sources:
            if first % BLOCK == 0 and source not in places:
                places[source] = Place(inside.region, inside.offset + first // BLOCK * block_size(op.out))
            first += source.channels
    for i, op in enumerate(network.ops):
        for tensor in (*sources(op), op.out):
            if tensor in absent:
                continue
            if tensor not in places:
                places[tensor] = Place(_region(tensor), 0)
            region = places[tensor].region
            region.first, region.last = min(region.first, i), max(region.last, i)
    return places


def _region(tensor: Tensor) -> Region:
    return Region(blocks(tensor) * block_size(tensor), 1 << 30, -1)


def allocate(regions: list[Region]) -> int:
    """Place the regions, the largest first, so that no two live at the same time overlap, and return the total in
    floats.

    Conflicting regions are live when it begins, or begin later. Both are indexed by spans of operations, so that the
    time is not quadratic in the length of a chain.
    """
    alive, begun = defaultdict[int, list[Region]](list), defaultdict[int, list[Region]](list)
    for region in sorted(regions, key=lambda r: (-r.size, r.first)):
        start, end = region.first // _SPAN, region.last // _SPAN + 1
        near = [*alive[start], *(other for span in range(start + 1, end) for other in begun[span])]
        at = 0
        for other in sorted((o for o in near if o.first <= region.last and region.first <= o.last), key=_at):
            if other.at >= at + region.size:
                break
            at = max(at, -(-(other.at + other.size) // BLOCK) * BLOCK)
        region.at = at
        begun[start].append(region)
        for span in range(start, end):
            alive[span].append(region)
    return max((region.at + region.size for region in regions), default=0)


_at = attrgetter("at")
