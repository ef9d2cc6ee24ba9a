"""How recordings become answers: their clocks, their cameras, what is counted and in which bins.

Every run needs this module; the code that computes answers and reads scenes is loaded only if needed.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from engine.analytics.clock import Clock, clock_of, zone_of
from engine.analytics.naming import glob_of, name_of
from engine.errors import ConfigError

if TYPE_CHECKING:
    from engine.analytics.scene import Scene
    from engine.config import EngineConfig
    from engine.summary import ClockJson

DEFAULT_BIN_S = 900.0

_MAX_SHOWN = 10
_NEEDS = {"parquet": "pyarrow", "xlsx": "xlsxwriter"}


class AnswerSettings(NamedTuple):
    """`starts` has (glob, first frame's time) in order; the first that matches counts. The rest is as in
    EngineConfig."""

    scenes: tuple[Scene, ...] = ()
    zone: tzinfo = UTC
    starts: tuple[tuple[str, datetime], ...] = ()
    clock_patterns: tuple[str, ...] = ()
    camera: str | None = None
    max_gap_s: float = 1.0
    max_overlap_s: float = 2.0
    bin_s: float = DEFAULT_BIN_S

    @classmethod
    def of(cls, config: EngineConfig) -> AnswerSettings:
        """Extract the settings for answers from a configuration. Raises ConfigError if a scene can't be read."""
        start = config.start or {}
        starts = start if isinstance(start, Mapping) else {"**": start}
        return cls(
            load_scenes(config.scene or ()),
            zone_of(config.zone),
            tuple((pattern, datetime.fromisoformat(text)) for pattern, text in starts.items()),
            config.clock_patterns,
            config.camera,
            config.max_gap_s,
            config.max_overlap_s,
            config.bin_s,
        )

    def clock(self, video: str, creation_time: str | None) -> Clock:
        """Find the wall clock of a video, named by its path below the input folder."""
        start = next((start for pattern, start in self.starts if glob_of(pattern).fullmatch(video)), None)
        patterns = self.clock_patterns
        return clock_of(video, zone=self.zone, start=start, patterns=patterns, creation_time=creation_time)

    def clock_entry(self, entry: Mapping[str, Any]) -> ClockJson:
        """Return a video's clock for the manifest, from its entry in a summary: the first frame's time, its source, and
        the zone."""
        clock = self.clock(name_of(entry), (entry.get("media") or {}).get("creation_time"))
        start = None if clock.start is None else clock.start.isoformat(timespec="milliseconds")
        return {"start": start, "origin": clock.origin.value, "zone": str(self.zone)}

    def scene(self, video: str) -> Scene | None:
        """Return the first scene that matches a video."""
        return next((scene for scene in self.scenes if scene.matches(video)), None)

    def check_videos(self, videos: Sequence[str]) -> str | None:
        """Return a sentence that lists the scenes that match none of the videos, given by name; None if each matches
        some. Raises ConfigError if no scene matches any video: nothing would be counted."""
        if not self.scenes or not videos:
            return None
        used = {id(scene) for name in videos if (scene := self.scene(name)) is not None}
        unused = [scene.camera for scene in self.scenes if id(scene) not in used]
        if not unused:
            return None
        shown = ", ".join(map(repr, unused[:_MAX_SHOWN])) + (" ..." if len(unused) > _MAX_SHOWN else "")
        if used:
            return f"Scenes whose `camera` matches none of the videos, or only those of an earlier scene: {shown}."
        raise ConfigError(
            f"No scene is for any of the videos: their `camera` is {shown}. The videos' paths below the input folder: "
            f"{', '.join(videos[:_MAX_SHOWN])}{' ...' if len(videos) > _MAX_SHOWN else ''}."
        )

    def check_clips(self, config: EngineConfig, classes: Collection[str]) -> None:
        """Raise ConfigError if no possible event matches the key `clips`. `classes` are those that the model knows."""
        if config.clips is not None:
            from engine.analytics.vocabulary import Vocabulary

            Vocabulary.of(self.scenes, looked_for(classes, config.classes)).check(config.clips)

    def classes_named(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Yield a description of each line and zone that counts some classes only, and these classes."""
        for scene in self.scenes:
            for what, places in (("line", scene.lines), ("zone", scene.zones)):
                for place in places:
                    if place.classes is not None:
                        yield f"{what} {place.name!r} of a scene", place.classes


def looked_for(known: Collection[str], kept: Collection[str] | None) -> Collection[str]:
    """Return the classes that a model knows and that are `kept`; None: all."""
    return known if kept is None else [name for name in known if name in kept]


def load_scenes(given: tuple[Path | dict[str, Any], ...]) -> tuple[Scene, ...]:
    """Read scenes from files, from folders of `*.toml` files in order of name, and from tables that were read before.
    Raises ConfigError."""
    if not given:
        return ()
    from engine.analytics.scene import Scene  # building pydantic's models is slow

    scenes: list[Scene] = []
    for item in given:
        if isinstance(item, Mapping):
            scenes.append(Scene.of_table(item))
        elif item.is_dir():
            files = sorted(item.glob("*.toml"))
            if not files:
                raise ConfigError(f"Scene folder {item} contains no .toml file.")
            scenes += [Scene.load(file) for file in files]
        else:
            scenes.append(Scene.load(item))
    return tuple(scenes)


def check_formats(formats: Iterable[str]) -> None:
    """Raise ConfigError if the library for a table format is not installed."""
    for name in formats:
        module = _NEEDS.get(name)
        if module is not None and importlib.util.find_spec(module) is None:
            raise ConfigError(f"{name} tables need {module}, which is not installed: pip install 'yolo-engine[tables]'")
