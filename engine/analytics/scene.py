"""The scene file: which lines and zones a camera sees, in TOML, relative to its upright frame.

camera = "cam1/**"                       # the videos it is for, by their path below the input folder
size = [1920, 1080]                      # what it was drawn on; a video of another aspect is refused

[[line]]
name = "north"
points = [[0.10, 0.55], [0.90, 0.55]]    # "in" crosses it from its left to its right, from first to last point
in = "to centre"
out = "from centre"

[[zone]]
name = "bus stop"
polygon = [[0.2, 0.6], [0.4, 0.6], [0.4, 0.9], [0.2, 0.9]]
classes = ["person"]
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from engine.analytics.geometry import Anchor, Polygon, PolyLine
from engine.analytics.ground import Ground
from engine.analytics.naming import glob_of
from engine.errors import ConfigError, InputError, describe_os_error

# A relative difference in aspect ratio above this means that a video does not fit the scene.
_SAME_ASPECT = 0.02
_MAX_FILE_BYTES = 1 << 20

Relative = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
RelativePoint = tuple[Relative, Relative]
Metres = Annotated[float, Field(ge=-1e8, le=1e8, allow_inf_nan=False)]
Name = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")]
Classes = Annotated[tuple[Name, ...], Field(min_length=1)]


def _no_point_twice(points: tuple[RelativePoint, ...]) -> tuple[RelativePoint, ...]:
    for first, second in pairwise(points):
        if first == second:
            raise ValueError(f"points that differ from the one before. Got {list(first)} twice")
    return points


def _with_area(points: tuple[RelativePoint, ...]) -> tuple[RelativePoint, ...]:
    (x, y), *others = points
    ways = [(to_x - x, to_y - y) for to_x, to_y in others if (to_x, to_y) != (x, y)]
    if all(ways[0][0] * way_y == ways[0][1] * way_x for way_x, way_y in ways):
        raise ValueError("points that are not all on one line")
    return points


Corners = Annotated[tuple[RelativePoint, ...], Field(min_length=3, max_length=1000), AfterValidator(_with_area)]


class _Part(BaseModel):
    # Built on first use, so that a run without a scene starts faster.
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, defer_build=True)


class SceneLine(_Part):
    """A line whose crossings are counted. `in` names the direction from its left to its right, `out` the other."""

    name: Name
    points: Annotated[tuple[RelativePoint, ...], Field(min_length=2, max_length=100), AfterValidator(_no_point_twice)]
    into: Annotated[Name, Field(alias="in")] = "in"
    out: Name = "out"
    anchor: Anchor = "bottom"
    classes: Classes | None = None

    @model_validator(mode="after")
    def _two_words(self) -> SceneLine:
        if self.into == self.out:
            raise ValueError(f"in and out must differ. Got {self.out!r} for both")
        return self


class SceneZone(_Part):
    """An area in which stays are measured."""

    name: Name
    polygon: Annotated[Corners, AfterValidator(_no_point_twice)]
    anchor: Anchor = "bottom"
    classes: Classes | None = None
    loiter_s: Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)] | None = None
    """A stay of so many seconds is reported while it still lasts (`on_event`); None: the run's own setting applies."""


class SceneIgnore(_Part):
    """An area in which detections are ignored."""

    polygon: Corners


class SceneMap(_Part):
    """Points of the frame and their positions on the ground, in metres, from which speeds and lengths are computed."""

    image: Annotated[tuple[RelativePoint, ...], Field(min_length=4, max_length=100)]
    metres: Annotated[tuple[tuple[Metres, Metres], ...], Field(min_length=4, max_length=100)]

    @model_validator(mode="after")
    def _pairs(self) -> SceneMap:
        if len(self.image) != len(self.metres):
            raise ValueError(f"as many image points as metres. Got {len(self.image)} and {len(self.metres)}")
        Ground.fit(self.image, self.metres)
        return self


class Scene(_Part):
    """What is to be counted in the videos of one camera. All coordinates are 0..1 of the upright frame."""

    camera: Annotated[str, Field(min_length=1)] = "**"
    size: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] | None = None
    margin: Annotated[float, Field(ge=0, le=0.2)] = 0.01
    """How far beyond a line or a zone's edge an anchor must be to count, as a fraction of the frame's height. A higher
    value ignores more jitter, but misses objects that turn back soon after."""
    lines: Annotated[tuple[SceneLine, ...], Field(alias="line")] = ()
    zones: Annotated[tuple[SceneZone, ...], Field(alias="zone")] = ()
    ignore: tuple[SceneIgnore, ...] = ()
    map: SceneMap | None = None

    @model_validator(mode="after")
    def _names_differ(self) -> Scene:
        seen: set[str] = set()
        lines = [("line", number, line.name) for number, line in enumerate(self.lines)]
        zones = [("zone", number, zone.name) for number, zone in enumerate(self.zones)]
        for header, number, name in lines + zones:
            if name in seen:
                at = {"name": repr(name), "place": [header, number, "name"]}
                raise PydanticCustomError("name_twice", "names of lines and zones must differ. Got {name} twice", at)
            seen.add(name)
        return self

    @classmethod
    def load(cls, path: Path) -> Scene:
        """Read a scene file. Raises ConfigError that names the file, the line and the key."""
        try:
            with open(path, "rb") as file:
                raw = file.read(_MAX_FILE_BYTES + 1)
        except OSError as error:
            raise ConfigError(f"Scene {path} can't be read: {describe_os_error(error)}.") from error
        if len(raw) > _MAX_FILE_BYTES:
            raise ConfigError(f"Scene {path} is larger than {_MAX_FILE_BYTES} bytes: not a scene file.")
        try:
            text = raw.decode("utf-8-sig")
            return cls.model_validate(tomllib.loads(text), by_name=False, by_alias=True)
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ConfigError(f"Scene {path} is not TOML: {error}.") from error
        except ValidationError as error:
            raise ConfigError(_sentence(path, text, error)) from None

    @classmethod
    def of_table(cls, table: Mapping[str, Any]) -> Scene:
        """Validate a scene that was read before, with the keys of its file. Raises ConfigError."""
        try:
            return cls.model_validate(dict(table), by_name=False, by_alias=True)
        except ValidationError as error:
            raise ConfigError(_sentence(Path("scene"), "", error)) from None

    def table(self) -> dict[str, Any]:
        """Return the scene as JSON values, with the keys of its file."""
        return self.model_dump(mode="json", by_alias=True, exclude_defaults=True)

    def matches(self, path: str | PurePosixPath) -> bool:
        """Return whether a video belongs to this camera, by its path below the input folder. `*` stays within a
        folder."""
        return glob_of(self.camera).fullmatch(PurePosixPath(path).as_posix()) is not None

    def check_aspect(self, size_wh: tuple[int, int], video: str) -> None:
        """Raise InputError if a video has another aspect ratio."""
        if problem := self.problem_of(size_wh):
            raise InputError(f"{video} {problem}.")

    def problem_of(self, size_wh: tuple[int, int]) -> str | None:
        """Return why a video with upright frames of this size is refused; None if it is accepted."""
        if self.size is None:
            return None
        ratio = (size_wh[0] / size_wh[1]) / (self.size[0] / self.size[1])
        if abs(ratio - 1) <= _SAME_ASPECT:
            return None
        drawn, given = "x".join(map(str, self.size)), "x".join(map(str, size_wh))
        return (
            f"is {given}, but its scene was drawn on {drawn}: another aspect. Draw the scene on this video, or correct "
            "`size` and `camera`"
        )

    def line_shape(self, line: SceneLine, size_wh: tuple[int, int]) -> PolyLine:
        return PolyLine(line.points, size_wh, line.anchor, self.margin)

    def zone_shape(self, zone: SceneZone, size_wh: tuple[int, int]) -> Polygon:
        return Polygon(zone.polygon, size_wh, zone.anchor, self.margin)


def _sentence(path: Path, text: str, error: ValidationError) -> str:
    """Describe the first fault: its line and key, the rule, and the value found."""
    fault, *others = error.errors()
    missing: list[str] = []
    if fault["type"] == "missing":  # perhaps because it is misspelt
        beside = [each for each in others if each["loc"][:-1] == fault["loc"][:-1]]
        unknown = next((each for each in beside if each["type"] == "extra_forbidden"), None)
        if unknown is not None:
            missing = [str(each["loc"][-1]) for each in (fault, *beside) if each["type"] == "missing"]
            fault = unknown
    limits = fault.get("ctx", {})
    place = limits.get("place") or [str(part) if isinstance(part, str) else part for part in fault["loc"]]
    number = _line_of(text, place)
    key = "".join(f"[{part + 1}]" if isinstance(part, int) else f".{part}" for part in place).lstrip(".")
    rule = _rule_of(fault["type"], limits, place) or fault["msg"].removeprefix("Value error, ")
    found = fault.get("input")
    shown = "" if isinstance(found, dict) or ". Got " in rule else f". Got {str(found)[:80]}"
    where = f"{path}, line {number}" if number else str(path)
    if fault["type"] == "extra_forbidden":
        lacks = f", and {' and '.join(missing)} {'are' if missing[1:] else 'is'} missing" if missing else ""
        return f"{where}: {key}: there is no such key{lacks}."
    return f"{where}: {key + ': ' if key else ''}{rule[0].lower()}{rule[1:]}{shown}."


def _rule_of(kind: str, limits: dict[str, Any], place: list[Any]) -> str | None:
    """Return the rule that a fault of this kind breaks, in words; None if pydantic's own words will do."""
    shares = {"points", "polygon", "image"} & set(place)
    of_shares = ", for coordinates are shares of the frame's width and height" if shares else ""
    if kind == "tuple_type":
        tables = len(place) == 1 and place[0] in ("line", "zone", "ignore")
        return f"it must be written [[{place[0]}]], in two brackets" if tables else "it must be a list"
    if kind == "missing":
        return "it is missing"
    if kind == "model_type":
        return "it must be a table"
    if kind == "string_pattern_mismatch":
        return "it must not contain control characters"
    if kind == "too_short":
        return f"it needs {limits['min_length']} or more"
    if kind == "too_long":
        return f"it may have {limits['max_length']} at most"
    if kind == "less_than_equal":
        return f"it must be at most {limits['le']:g}{of_shares}"
    return f"it must be at least {limits['ge']:g}{of_shares}" if kind == "greater_than_equal" else None


def _line_of(text: str, place: list[Any]) -> int | None:
    """Find the line of a key: `["line", 1, "points"]` is `points` in the second `[[line]]`."""
    if not place:
        return None
    lines = text.splitlines()
    header: str = place[0]
    index = place[1] if len(place) > 1 and isinstance(place[1], int) else 0
    heads = [n for n, line in enumerate(lines) if re.match(rf"\s*\[\[?\s*{re.escape(header)}\s*\]", line)]
    start = heads[index] if index < len(heads) else None
    if start is None:
        found = [n for n, line in enumerate(lines) if re.match(rf"\s*{re.escape(header)}\s*=", line)]
        return found[0] + 1 if found else None
    key = next((part for part in place[1:] if isinstance(part, str)), None)
    for number in range(start + 1, len(lines)):
        if re.match(r"\s*\[\[?\s*[A-Za-z_\"']", lines[number]):  # a header, not a row of points
            break
        if key is not None and re.match(rf"\s*{re.escape(key)}\s*=", lines[number]):
            return number + 1
    return start + 1
