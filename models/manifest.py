"""The properties of a model: its file and origin, its input format and the layout of its output.

The same TOML schema is used for the zoo (complete) and for a side-car file next to a user's own ONNX file (any part of
it). Everything is validated here, once; the rest of the program trusts a `ModelManifest`.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, TypedDict, TypeGuard

from models.coco import NAME_LISTS
from models.errors import ManifestError, ModelError
from models.files import read_regular
from models.layouts import LAYOUTS
from models.printable import printable

DTYPES = ("float32", "float16", "uint8")
CHANNEL_ORDERS = ("rgb", "bgr")
PADS = ("center", "topleft", "stretch")
ROUNDINGS = ("nearest", "down")

_MAX_BYTES = 1 << 20  # of a TOML file: a thousand times the size of a manifest with many classes
_MAX_NUMBER = 1e6  # the kernels' limit for a scale or a mean
_MAX_OF_A_NAME = 200

Scale = float | tuple[float, float, float]


class InputSpec(NamedTuple):
    """The input of a network: `(N, 3, height, width)` of `dtype`, value = (pixel - mean) * scale.

    height, width   the exported size in pixels, multiples of `stride`
    channel_order   order of the three channels
    scale           one factor, or one per channel in `channel_order`; 1 leaves pixels at 0..255
    mean            one per channel, in pixel units; (0, 0, 0) subtracts nothing
    pad_value       pixel value (0..255, before `scale`) of the padding
    pad             placement of the image: "center" or "topleft"; "stretch": it fills the input, ignoring its aspect
    rounding        rounding of the resized image's size: "nearest" (Ultralytics) or "down" (YOLOX)
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


class ModelManifest(NamedTuple):
    """A model. `sha256` is "" if no published hash is known, `size_bytes` is 0 if the size is unknown.

    layout        the layout of the output tensor: one of `LAYOUTS`
    strides       cell sizes in pixels of the detection levels, in the order of the output
    classes       names by class id
    other_sha256  known re-exports of the same weights with the same input and layout
    bundled       the file is part of this package, in `models/weights`, and never downloaded
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
        """Return all known hashes of this model."""
        return tuple(h for h in (self.sha256, *self.other_sha256) if h)


class InputParts(TypedDict, total=False):
    """The given fields of an InputSpec."""

    height: int
    width: int
    dtype: str
    channel_order: str
    scale: Scale
    mean: tuple[float, float, float]
    pad_value: float
    pad: str
    stride: int
    rounding: str


class ManifestParts(TypedDict, total=False):
    """The given fields of a ModelManifest."""

    name: str
    file: str
    sha256: str
    size_bytes: int
    url: str
    licence: str
    input: InputParts
    layout: str
    strides: tuple[int, ...]
    classes: tuple[str, ...]
    description: str
    other_sha256: tuple[str, ...]
    bundled: bool


class _Reader:
    """Reads typed values from one TOML table; `finish` refuses keys that were not read."""

    def __init__(self, table: Mapping[str, object], where: str, prefix: str = "") -> None:
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
        numbers = [v for v in value if _is_number(v)] if isinstance(value, list) else []
        if not isinstance(value, list) or len(value) != 3 or len(numbers) != 3:
            raise self.fail(key, "three numbers, one per channel", value)
        if not all(abs(v) <= _MAX_NUMBER for v in numbers):
            raise self.fail(key, f"three numbers of at most {_MAX_NUMBER:g}", value)
        return float(numbers[0]), float(numbers[1]), float(numbers[2])

    def scale(self, key: str) -> Scale:
        value = self._left[key]
        scale: Scale = self.number(key, 0.0, _MAX_NUMBER) if _is_number(value) else self.three(key)
        if (min(scale) if isinstance(scale, tuple) else scale) <= 0:
            raise self.fail(key, "a number above 0, or three of them", value)
        return scale

    def texts(self, key: str) -> tuple[str, ...]:
        value = self._left.pop(key)
        if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
            raise self.fail(key, "a list of texts", value)
        return tuple(printable(v, _MAX_OF_A_NAME) for v in value)

    def strides(self, key: str) -> tuple[int, ...]:
        value = self._left.pop(key)
        sizes = [v for v in value if isinstance(v, int) and 1 <= v <= 256] if isinstance(value, list) else []
        if not sizes or sizes != value or sizes != sorted(set(sizes)):
            raise self.fail(key, "a rising list of ints in [1, 256]", value)
        return tuple(sizes)

    def classes(self, key: str) -> tuple[str, ...]:
        value = self._left[key]
        if isinstance(value, str) and value in NAME_LISTS:
            self._left.pop(key)
            return NAME_LISTS[value]
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
                f"{self._where}: {self._prefix}{key} is not a known key. The keys here are {', '.join(known)}."
            )


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


_INPUT_KEYS = ("height", "width", "dtype", "channel_order", "scale", "mean", "pad_value", "pad", "stride",
               "rounding")  # fmt: skip
_OPTIONAL_INPUT = ("rounding",)
_KEYS = ("name", "file", "sha256", "size_bytes", "url", "licence", "input", "layout", "strides", "classes",
         "description", "other_sha256", "bundled")  # fmt: skip


def _input_parts(reader: _Reader) -> InputParts:
    parts: InputParts = {}
    if reader.has("height"):
        parts["height"] = reader.integer("height", 32, 8192)
    if reader.has("width"):
        parts["width"] = reader.integer("width", 32, 8192)
    if reader.has("dtype"):
        parts["dtype"] = reader.text("dtype", allowed=DTYPES)
    if reader.has("channel_order"):
        parts["channel_order"] = reader.text("channel_order", allowed=CHANNEL_ORDERS)
    if reader.has("scale"):
        parts["scale"] = reader.scale("scale")
    if reader.has("mean"):
        parts["mean"] = reader.three("mean")
    if reader.has("pad_value"):
        parts["pad_value"] = reader.number("pad_value", 0, 255)
    if reader.has("pad"):
        parts["pad"] = reader.text("pad", allowed=PADS)
    if reader.has("stride"):
        parts["stride"] = reader.integer("stride", 1, 256)
    if reader.has("rounding"):
        parts["rounding"] = reader.text("rounding", allowed=ROUNDINGS)
    reader.finish(_INPUT_KEYS)
    return parts


def parse_parts(table: Mapping[str, object], where: str) -> ManifestParts:
    """Validate the parts of a manifest in `table` and return them. `where` begins every message."""
    reader = _Reader(table, where)
    parts: ManifestParts = {}
    if reader.has("name"):
        parts["name"] = reader.text("name")
    if reader.has("file"):
        parts["file"] = reader.text("file")
    if reader.has("sha256"):
        parts["sha256"] = reader.hex64("sha256", reader.text("sha256", empty=True))
    if reader.has("size_bytes"):
        parts["size_bytes"] = reader.integer("size_bytes", 0, 2**40)
    if reader.has("url"):
        parts["url"] = reader.text("url", empty=True)
    if reader.has("licence"):
        parts["licence"] = reader.text("licence", empty=True)
    if reader.has("input"):
        parts["input"] = _input_parts(reader.table("input"))
    if reader.has("layout"):
        parts["layout"] = reader.text("layout", allowed=LAYOUTS)
    if reader.has("strides"):
        parts["strides"] = reader.strides("strides")
    if reader.has("classes"):
        parts["classes"] = reader.classes("classes")
    if reader.has("description"):
        parts["description"] = reader.text("description", empty=True)
    if reader.has("other_sha256"):
        parts["other_sha256"] = tuple(reader.hex64("other_sha256", value) for value in reader.texts("other_sha256"))
    if reader.has("bundled"):
        parts["bundled"] = reader.flag("bundled")
    reader.finish(_KEYS)
    return parts


def read_parts(path: Path, where: str | None = None) -> ManifestParts:
    """Read and check the TOML file at `path` with `parse_parts`."""
    where = where or str(path)
    try:
        text = read_regular(path, _MAX_BYTES).decode("utf-8")
    except ModelError as error:
        raise ManifestError(str(error).replace(str(path), where)) from error
    except UnicodeDecodeError as error:
        raise ManifestError(f"{where}: cannot be read as TOML: it is not UTF-8 text.") from error
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: also for a number with thousands of digits
        raise ManifestError(f"{where}: cannot be read as TOML: {error}.") from error
    return parse_parts(table, where)


def from_toml(path: Path, where: str | None = None) -> ModelManifest:
    """Load a complete manifest. `where` names the file in messages (default: the path)."""
    where = where or str(path)
    parts = read_parts(path, where)
    optional = ("description", "other_sha256", "bundled")
    missing = [key for key in _KEYS if key not in parts and key not in optional]
    missing += [
        f"input.{key}" for key in _INPUT_KEYS if key not in (*parts.get("input", _INPUT_KEYS), *_OPTIONAL_INPUT)
    ]
    if missing:
        raise ManifestError(f"{where}: {missing[0]} is missing. A manifest needs every one of its keys.")
    spec = InputSpec(**parts["input"])
    if spec.height % spec.stride or spec.width % spec.stride:
        raise ManifestError(
            f"{where}: input.height and input.width must be multiples of input.stride {spec.stride}. "
            f"Got {spec.height} x {spec.width}."
        )
    return made_of(parts, spec)


def made_of(parts: ManifestParts, spec: InputSpec) -> ModelManifest:
    """Build a manifest from `parts`, which must contain every key without a default, and the input's `spec`."""
    return ModelManifest(
        name=parts["name"],
        file=parts["file"],
        sha256=parts["sha256"],
        size_bytes=parts["size_bytes"],
        url=parts["url"],
        licence=parts["licence"],
        input=spec,
        layout=parts["layout"],
        strides=parts["strides"],
        classes=parts["classes"],
        description=parts.get("description", ""),
        other_sha256=parts.get("other_sha256", ()),
        bundled=parts.get("bundled", False),
    )
