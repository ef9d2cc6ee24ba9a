"""What is done to good files to make bad ones of them."""

from __future__ import annotations

import json
from copy import deepcopy
from random import Random
from typing import Any

_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)

_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, 10**400, -(10**18), 0.5, 1e308, float("nan"), float("inf"),
    "", "x", "../../x", "/etc/passwd", "a/b", ".", "..", "\0", "\x1b[31m", "\ud800", "é" * 300, "x" * 5000, "1", [],
    [[]], [None],
    ["a", 1], {}, {"a": {}}, {"": None}, {"how": 1}, {"frames": "7"},
)  # fmt: skip


def damaged(data: bytes, other: bytes, chance: Random) -> bytes:
    """One or several kinds of damage to the bytes of a file; `other` is one to cut pieces from."""
    for _ in range(chance.choice((1, 1, 2, 4))):
        data = chance.choice(_DAMAGES)(data or b"\0", other or b"\0", chance)
    return data


def _bits(data: bytes, other: bytes, chance: Random) -> bytes:
    broken = bytearray(data)
    for _ in range(chance.choice((1, 3, 20, 200))):
        broken[chance.randrange(len(broken))] ^= 1 << chance.randrange(8)
    return bytes(broken)


def _numbers(data: bytes, other: bytes, chance: Random) -> bytes:
    """Sizes and counts become extreme ones; most stand in the head."""
    broken = bytearray(data)
    for _ in range(chance.choice((1, 2, 8))):
        end = len(data) if chance.random() < 0.3 else min(len(data), 1500)
        place, width = chance.randrange(end), chance.choice((1, 2, 4, 8))
        number = chance.choice(_NUMBERS) & (256**width - 1)
        broken[place : place + width] = number.to_bytes(width, chance.choice(("big", "little")))
    return bytes(broken)


def _truncated(data: bytes, other: bytes, chance: Random) -> bytes:
    return data[: chance.randrange(1, len(data) + 1)]


def _removed(data: bytes, other: bytes, chance: Random) -> bytes:
    place = chance.randrange(len(data))
    return data[:place] + data[place + chance.randrange(1, 200) :]


def _repeated(data: bytes, other: bytes, chance: Random) -> bytes:
    place, size = chance.randrange(len(data)), chance.randrange(1, 400)
    return data[:place] + data[place : place + size] * chance.choice((2, 3, 50)) + data[place + size :]


def _spliced(data: bytes, other: bytes, chance: Random) -> bytes:
    place, size = chance.randrange(len(other)), chance.randrange(1, 2000)
    at = chance.randrange(len(data))
    return data[:at] + other[place : place + size] + data[at:]


def _zeroed(data: bytes, other: bytes, chance: Random) -> bytes:
    place, size = chance.randrange(len(data)), chance.choice((4, 64, 1024))
    return data[:place] + bytes(min(size, len(data) - place)) + data[place + size :]


_DAMAGES = (_bits, _numbers, _numbers, _truncated, _removed, _repeated, _spliced, _zeroed)


def damaged_json(value: Any, chance: Random) -> Any:
    """A JSON value with a few of its parts exchanged, removed, or one too many."""
    value = json.loads(json.dumps(value))
    for _ in range(chance.choice((1, 1, 2, 3))):
        value = _one_part(value, chance)
    return value


def _one_part(value: Any, chance: Random) -> Any:
    if not isinstance(value, dict | list) or not value or chance.random() < 0.15:
        return deepcopy(chance.choice(_VALUES))
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    key = chance.choice(keys)
    how = chance.random()
    if how < 0.6:
        value[key] = _one_part(value[key], chance)
    elif how < 0.75:
        del value[key]
    elif isinstance(value, dict):
        value[chance.choice(("x", "", "schema", "checkpoint", "done", "\x1b[2J"))] = deepcopy(chance.choice(_VALUES))
    else:
        value.append(deepcopy(chance.choice(_VALUES)))
    return value


def as_text(value: Any) -> str:
    """JSON, with NaN and half characters as they come."""
    return json.dumps(value)


def deep(chance: Random) -> bytes:
    """Nested deeper than a reader's stack."""
    depth = chance.choice((500, 5000, 200_000))
    return b"[" * depth + (b"]" * depth if chance.random() < 0.5 else b"")
