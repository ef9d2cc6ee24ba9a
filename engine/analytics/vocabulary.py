"""The names that can occur in a run's events: classes, kinds, lines, zones and directions.

A filter with a name that can't occur is an error before any work is done; a possible name that did not occur just finds
nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING

from engine.errors import ConfigError
from engine.text.did_you_mean import there_is

if TYPE_CHECKING:
    from engine.analytics.scene import Scene
    from engine.config import ClipKeys

TRACK = "track"
_OF_ZONES = ("enter", "leave", "stay")
_LASTING = frozenset({TRACK, "stay"})
_RULE = (
    "A crossing is of a line, has a direction and takes no time; enter, leave and stay are of a zone, and only a stay "
    "takes time; a track has neither place nor direction."
)
_ASKED = (("kind", "kinds", "kind"), ("line or zone", "places", "place"), ("direction", "directions", "direction"))


@dataclass(frozen=True)
class Possible:
    """A possible event. `classes` are those that the line or zone counts; None: all."""

    kind: str
    place: str = ""
    direction: str = ""
    classes: tuple[str, ...] | None = None

    def takes(self, class_name: str) -> bool:
        """Return whether this class can have such an event."""
        return self.classes is None or class_name in self.classes


@dataclass(frozen=True)
class Vocabulary:
    """The possible events and the classes that are detected; None if those were not recorded: then any may occur."""

    possible: tuple[Possible, ...]
    classes: Collection[str] | None = None

    @classmethod
    def of(cls, scenes: Iterable[Scene], classes: Collection[str] | None) -> Vocabulary:
        """Build from scenes and the classes that are detected."""
        return cls((Possible(TRACK), *(each for scene in scenes for each in _possible(scene))), classes)

    def kinds(self, asked: Collection[str] | None) -> tuple[str, ...]:
        """Return the requested kinds; by default events if there are lines or zones, otherwise tracks."""
        return tuple(asked or (("crossing", "stay") if len(self.possible) > 1 else (TRACK,)))

    def check(self, keys: ClipKeys) -> None:
        """Raise ConfigError for the first name in `keys` that no event matching the other keys can have."""
        for name in keys.classes or ():
            if self.classes is not None and name not in self.classes:
                raise ConfigError(f"No class {name!r} is looked for in these videos. {there_is(name, self.classes)}")
        for what, key, attribute in _ASKED:
            known = set(filter(None, map(attrgetter(attribute), self.possible)))
            for name in getattr(keys, key) or ():
                if name not in known:
                    raise ConfigError(f"There is no {what} {name!r} in these videos. {there_is(name, known)}")
        left = [each for each in self.possible if self._is_asked(each, keys)]
        for what, key, attribute in _ASKED:
            for name in getattr(keys, key) or ():
                if name not in map(attrgetter(attribute), left):
                    raise ConfigError(f"Nothing of the {what} {name!r} can be as the rest is asked for. {_RULE}")
        for name in keys.classes or ():
            if not any(each.takes(name) for each in left):
                raise ConfigError(f"Nothing of the class {name!r} is counted where it is asked for.")
        if not left:
            raise ConfigError(f"Nothing can be as it is asked for. {_RULE}")

    def _is_asked(self, each: Possible, keys: ClipKeys) -> bool:
        return (
            each.kind in self.kinds(keys.kinds)
            and (not keys.places or each.place in keys.places)
            and (not keys.directions or each.direction in keys.directions)
            and (not keys.longer_s or each.kind in _LASTING)
            and (keys.classes is None or any(map(each.takes, keys.classes)))
        )


def _possible(scene: Scene) -> Iterator[Possible]:
    for line in scene.lines:
        for word in (line.into, line.out):
            yield Possible("crossing", line.name, word, line.classes)
    for zone in scene.zones:
        for kind in _OF_ZONES:
            yield Possible(kind, zone.name, "", zone.classes)


def check_places(
    places: Iterable[tuple[str, tuple[str, ...]]],
    classes: Collection[str] | None,
    in_rows: Callable[[], Collection[str]],
) -> None:
    """Raise ConfigError if a line or zone, given by its description and the classes it counts, counts a class that is
    neither among `classes` (None: not recorded) nor `in_rows`, where people may have corrected classes."""
    known = classes
    for what, names in places:
        for name in names:
            if known is None or name in known:
                continue
            known = {*known, *in_rows()}
            if name not in known:
                raise ConfigError(
                    f"The {what} is for the class {name!r}, which was not looked for. {there_is(name, known)}"
                )
