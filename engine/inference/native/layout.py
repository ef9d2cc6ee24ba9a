"""Where tensors are in the workspace: parts of a concatenation inside it, the rest where nothing lives just then."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from operator import attrgetter

from engine.inference.native.ops import Concat, Network, Tensor, sources

BLOCK = 16  # channels, and the floats of a cache line
PART = 32  # channels in bfloat16, which are a cache line
_EVEN = 1024  # floats of a memory page
_SPAN = 16  # operations


def block_size(tensor: Tensor) -> int:
    """Return floats from one block of 16 channels to the next. Never a whole number of pages: the pixels of all blocks
    would meet in the same few lines of the first-level cache."""
    size = tensor.height * tensor.width * BLOCK
    return size if size % _EVEN else size + BLOCK


def blocks(tensor: Tensor) -> int:
    return -(-tensor.channels // BLOCK)


@dataclass(eq=False)
class Region:
    """`size` floats that are needed from step `first` to step `last`; `at` is where they were put."""

    size: int
    first: int
    last: int
    at: int = -1


@dataclass(frozen=True)
class Place:
    """A tensor inside a region, `offset` floats from its start."""

    region: Region
    offset: int


def place_tensors(network: Network, absent: set[Tensor]) -> dict[Tensor, Place]:
    """Return a place for each tensor but those `absent`; regions have their lifetimes, counted in operations.

    A part of a concatenation is inside it where its first channel begins a block, and where it is part of no other;
    `plan` copies the others. Later concatenations first: one may be a part of the next.
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
    """Put each region where no other lives at the same time, the largest ones first, and return the floats in all.

    Those are alive where it begins, or begin later; both are kept by spans of operations, so that a long chain takes
    no square of its length.
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
