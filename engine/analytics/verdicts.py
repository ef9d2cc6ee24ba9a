"""A reviewer's verdicts on events and tracks: the file that the report page saves, honoured by `analyze`.

A verdict names exactly one event: camera, video, track, kind, place, direction and pts. With other tracks or another
scene there are other events: a verdict on one that no longer exists is reported and has no effect.

    {"schema": 1, "report": "5f0c...", "verdicts": [
      {"verdict": "rejected", "camera": "north", "track_id": 12, "kind": "crossing", "place": "middle",
       "direction": "away", "video": "north/a.mp4", "pts": 5120, "time_s": 0.4},
      {"verdict": "rejected", "camera": "north", "track_id": 13, "kind": "track"}]}
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from engine.errors import ConfigError, describe_os_error

_MAX_FILE_BYTES = 256 << 20


EventKey: TypeAlias = tuple[str, int, str, str, str, int]
"""What a verdict names an event by: kind, track, place, direction, video and pts."""


class Judged(BaseModel):
    """A verdict. `kind` is crossing, stay, or track (a whole track; fields of events are None then). A verdict on a
    stay includes its enter and leave."""

    model_config = ConfigDict(frozen=True, strict=True, defer_build=True)  # other keys are for human readers

    verdict: Literal["confirmed", "rejected"]
    camera: str
    track_id: Annotated[int, Field(ge=0, lt=2**63)]
    kind: Literal["crossing", "stay", "track"]
    place: str | None = None
    direction: str | None = None
    video: str | None = None
    pts: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None

    @model_validator(mode="after")
    def _whole(self) -> Judged:
        if self.kind != "track" and None in (self.place, self.direction, self.video, self.pts):
            raise ValueError(f"a verdict on a {self.kind} needs place, direction, video and pts")
        return self

    @property
    def key(self) -> EventKey:
        return (self.kind, self.track_id, self.place or "", self.direction or "", self.video or "", self.pts or 0)


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, defer_build=True)

    schema_: Annotated[Literal[1], Field(alias="schema")]
    verdicts: tuple[Judged, ...]


def read_verdicts(path: Path) -> tuple[Judged, ...]:
    """Read a file of verdicts. Raises ConfigError that names the file, the entry and the rule."""
    if path.exists() and not path.is_file():
        raise ConfigError(f"Verdicts {path} can't be read: it is not a regular file.")
    try:
        with open(path, "rb") as file:
            raw = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"Verdicts {path} can't be read: {describe_os_error(error)}.") from error
    if len(raw) > _MAX_FILE_BYTES:
        raise ConfigError(f"Verdicts {path} are larger than {_MAX_FILE_BYTES} bytes: not a file of verdicts.")
    try:
        return _File.model_validate_json(raw).verdicts
    except ValidationError as error:
        fault = error.errors()[0]
        place = "".join(f"[{part + 1}]" if isinstance(part, int) else f".{part}" for part in fault["loc"]).lstrip(".")
        rule = fault["msg"].removeprefix("Value error, ")
        raise ConfigError(
            f"Verdicts {path}: {f'{place}: ' if place else ''}{rule[0].lower()}{rule[1:]}. The page of a report saves"
            " such a file."
        ) from None
