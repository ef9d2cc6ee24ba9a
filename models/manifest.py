"""What a model is: its file, where that comes from, what it wants to be fed and how its output is laid out.

The same TOML schema serves the zoo (complete) and a side-car file next to a user's own ONNX (any part of it).
Everything is checked here, once; the rest of the program trusts a `ModelManifest`.
"""

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from models.coco import NAME_LISTS
from models.errors import ManifestError, ModelError
from models.files import read_regular
from models.printable import printable

LayoutName = Literal["yolox", "yolov5", "yolov8", "end2end", "detr", "detr-post", "rtmdet"]
LAYOUTS: tuple[LayoutName, ...] = get_args(LayoutName)
DTYPES = ("float32", "float16", "uint8")
CHANNEL_ORDERS = ("rgb", "bgr")
PADS = ("center", "topleft", "stretch")
ROUNDINGS = ("nearest", "down")

_MAX_BYTES = 1 << 20  # of a TOML file: a thousand times what a manifest with many classes has

_MAX_NUMBER = 1e6  # what the kernels take for a scale or a mean
_MAX_OF_A_NAME = 200

Scale = float | tuple[float, float, float]


@dataclass(frozen=True)
class InputSpec:
    """What the network wants to be fed: `(N, 3, height, width)` of `dtype`, value = (pixel - mean) * scale.

    height, width   the exported size in pixels, multiples of `stride`
    channel_order   order of the three channels
    scale           one factor, or one a channel in `channel_order`; 1 leaves pixels at 0..255
    mean            one a channel, in pixel units; (0, 0, 0) subtracts nothing
    pad_value       pixel value (0..255, before `scale`) that fills what the picture does not cover
    pad             where the picture lies: "center" or "topleft"; "stretch": it fills the input, its aspect is not kept
    rounding        how the resized picture's size becomes whole pixels: "nearest" (Ultralytics) or "down" (YOLOX)
    stride          height and width must be multiples of it: the network's coarsest cell
    """

    height: int
    width: int
    dtype: str = "float32"
    channel_order: str = "rgb"
    scale: Scale = 1.0
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    pad_value: float = 114.0
    pad: str = "center"
    stride: int = 32
    rounding: str = "nearest"


@dataclass(frozen=True)
class ModelManifest:
    """One model. `sha256` is empty where no published hash is known, `size_bytes` 0 where the size is not.

    layout        how the output tensor reads: one of `LAYOUTS`
    strides       cell sizes in pixels of the detection levels, in the order the output lists them
    classes       names by class id
    other_sha256  known re-exports of the same weights with the same input and layout
    bundled       the file is a part of this package, in `models/weights`; it is never downloaded
    """

    name: str
    file: str
    sha256: str
    size_bytes: int
    url: str
    licence: str
    input: InputSpec
    layout: str
    strides: tuple[int, ...]
    classes: tuple[str, ...]
    description: str = ""
    other_sha256: tuple[str, ...] = ()
    bundled: bool = False

    @property
    def hashes(self) -> tuple[str, ...]:
        """Every hash under which this model is known; empty where none is."""
        return tuple(h for h in (self.sha256, *self.other_sha256) if h)


class _Reader:
    """Takes typed values out of one TOML table; `finish` refuses what nobody asked for."""

    def __init__(self, table: Mapping[str, Any], where: str, prefix: str = "") -> None:
        self._left = dict(table)
        self._where = where
        self._prefix = prefix

    def fail(self, key: str, rule: str, got: object) -> ManifestError:
        return ManifestError(f"{self._where}: {self._prefix}{key} must be {rule}. Got {got!r}.")

    def has(self, key: str) -> bool:
        return key in self._left

    def text(self, key: str, *, allowed: tuple[str, ...] = (), empty: bool = False) -> str:
        value = self._left.pop(key)
        if allowed and value not in allowed:
            raise self.fail(key, " or ".join([", ".join(allowed[:-1]), allowed[-1]]), value)
        if not isinstance(value, str) or not (value or empty):
            raise self.fail(key, "a text" if empty else "a text that is not empty", value)
        return printable(value)

    def flag(self, key: str) -> bool:
        value = self._left.pop(key)
        if not isinstance(value, bool):
            raise self.fail(key, "true or false", value)
        return value

    def integer(self, key: str, low: int, high: int) -> int:
        value = self._left.pop(key)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise self.fail(key, f"an int in [{low}, {high}]", value)
        return value

    def number(self, key: str, low: float, high: float) -> float:
        value = self._left.pop(key)
        if not _is_number(value) or not low <= value <= high:
            raise self.fail(key, f"a number in [{low:g}, {high:g}]", value)
        return float(value)

    def three(self, key: str) -> tuple[float, float, float]:
        value = self._left.pop(key)
        if not isinstance(value, list) or len(value) != 3 or not all(_is_number(v) for v in value):
            raise self.fail(key, "three numbers, one a channel", value)
        if not all(abs(v) <= _MAX_NUMBER for v in value):
            raise self.fail(key, f"three numbers of at most {_MAX_NUMBER:g}", value)
        return float(value[0]), float(value[1]), float(value[2])

    def scale(self, key: str) -> Scale:
        value = self._left[key]
        if _is_number(value):
            scale: Scale = self.number(key, 0.0, _MAX_NUMBER)
            positive = value > 0
        else:
            scale = self.three(key)
            positive = min(scale) > 0
        if not positive:
            raise self.fail(key, "a number above 0, or three of them", value)
        return scale

    def texts(self, key: str) -> tuple[str, ...]:
        value = self._left.pop(key)
        if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
            raise self.fail(key, "a list of texts", value)
        return tuple(printable(v, _MAX_OF_A_NAME) for v in value)

    def strides(self, key: str) -> tuple[int, ...]:
        value = self._left.pop(key)
        good = isinstance(value, list) and value and all(isinstance(v, int) and 1 <= v <= 256 for v in value)
        if not good or list(value) != sorted(set(value)):
            raise self.fail(key, "a rising list of ints in [1, 256]", value)
        return tuple(value)

    def classes(self, key: str) -> tuple[str, ...]:
        if isinstance(self._left[key], str) and self._left[key] in NAME_LISTS:
            return NAME_LISTS[self._left.pop(key)]
        names = self.texts(key) if isinstance(self._left[key], list) else ()
        if not names or not all(names):
            raise self.fail(key, 'a list of names, "coco80" or "coco91"', self._left.get(key, []))
        return names

    def hex64(self, key: str, value: str) -> str:
        if value and (len(value) != 64 or set(value) - set("0123456789abcdef")):
            raise self.fail(key, "a SHA-256 in 64 small hexadecimal digits, or empty", value)
        return value

    def table(self, key: str) -> "_Reader":
        value = self._left.pop(key)
        if not isinstance(value, dict):
            raise self.fail(key, "a table", value)
        return _Reader(value, self._where, f"{self._prefix}{key}.")

    def finish(self, known: tuple[str, ...]) -> None:
        if self._left:
            key = next(iter(self._left))
            raise ManifestError(
                f"{self._where}: {self._prefix}{key} is no known key. The keys here are {', '.join(known)}."
            )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_INPUT_KEYS = ("height", "width", "dtype", "channel_order", "scale", "mean", "pad_value", "pad", "stride",
               "rounding")  # fmt: skip
_OPTIONAL_INPUT = ("rounding",)
_KEYS = ("name", "file", "sha256", "size_bytes", "url", "licence", "input", "layout", "strides", "classes",
         "description", "other_sha256", "bundled")  # fmt: skip


def _input_parts(reader: _Reader) -> dict[str, Any]:
    readers: dict[str, Callable[[str], Any]] = {
        "height": lambda k: reader.integer(k, 32, 8192),
        "width": lambda k: reader.integer(k, 32, 8192),
        "dtype": lambda k: reader.text(k, allowed=DTYPES),
        "channel_order": lambda k: reader.text(k, allowed=CHANNEL_ORDERS),
        "scale": reader.scale,
        "mean": reader.three,
        "pad_value": lambda k: reader.number(k, 0, 255),
        "pad": lambda k: reader.text(k, allowed=PADS),
        "stride": lambda k: reader.integer(k, 1, 256),
        "rounding": lambda k: reader.text(k, allowed=ROUNDINGS),
    }
    parts = {key: readers[key](key) for key in _INPUT_KEYS if reader.has(key)}
    reader.finish(_INPUT_KEYS)
    return parts


def parse_parts(table: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Check whatever part of a manifest `table` gives and return it as keyword arguments of `ModelManifest`,
    with `input`, where given, as a dict of keyword arguments of `InputSpec`. `where` opens every message."""
    reader = _Reader(table, where)
    parts: dict[str, Any] = {}
    for key in _KEYS:
        if not reader.has(key):
            continue
        if key == "input":
            parts[key] = _input_parts(reader.table(key))
        elif key == "layout":
            parts[key] = reader.text(key, allowed=LAYOUTS)
        elif key == "strides":
            parts[key] = reader.strides(key)
        elif key == "classes":
            parts[key] = reader.classes(key)
        elif key == "other_sha256":
            parts[key] = tuple(reader.hex64(key, value) for value in reader.texts(key))
        elif key == "bundled":
            parts[key] = reader.flag(key)
        elif key == "size_bytes":
            parts[key] = reader.integer(key, 0, 2**40)
        elif key == "sha256":
            parts[key] = reader.hex64(key, reader.text(key, empty=True))
        else:
            parts[key] = reader.text(key, empty=key in ("url", "description", "licence"))
    reader.finish(_KEYS)
    return parts


def read_parts(path: Path, where: str | None = None) -> dict[str, Any]:
    """`parse_parts` of the TOML file at `path`."""
    where = where or str(path)
    try:
        text = read_regular(path, _MAX_BYTES).decode("utf-8")
    except ModelError as error:
        raise ManifestError(str(error).replace(str(path), where)) from error
    except UnicodeDecodeError as error:
        raise ManifestError(f"{where}: cannot be read as TOML: it is no UTF-8 text.") from error
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also of a number with thousands of digits
        raise ManifestError(f"{where}: cannot be read as TOML: {error}.") from error
    return parse_parts(table, where)


def from_toml(path: Path, where: str | None = None) -> ModelManifest:
    """Load a complete manifest. `where` stands for the file in messages (default: the path itself)."""
    where = where or str(path)
    parts = read_parts(path, where)
    optional = ("description", "other_sha256", "bundled")
    missing = [key for key in _KEYS if key not in parts and key not in optional]
    missing += [
        f"input.{key}" for key in _INPUT_KEYS if key not in (*parts.get("input", _INPUT_KEYS), *_OPTIONAL_INPUT)
    ]
    if missing:
        raise ManifestError(f"{where}: {missing[0]} is missing. A manifest needs every one of its keys.")
    spec = InputSpec(**parts.pop("input"))
    if spec.height % spec.stride or spec.width % spec.stride:
        raise ManifestError(
            f"{where}: input.height and input.width must be multiples of input.stride {spec.stride}. "
            f"Got {spec.height} x {spec.width}."
        )
    return ModelManifest(input=spec, **parts)
