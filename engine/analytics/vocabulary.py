"""Which names what happens in a run can bear: its classes, kinds, lines, zones and directions.

A name that can't come up is an error before any work is done; one that just did not come up finds nothing.
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
    """Something that may happen. `classes` are those that a line or a zone is for; None: all."""

    kind: str
    place: str = ""
    direction: str = ""
    classes: tuple[str, ...] | None = None

    def takes(self, class_name: str) -> bool:
        """Return whether it may happen to this class."""
        return self.classes is None or class_name in self.classes


@dataclass(frozen=True)
class Vocabulary:
    """What may happen, and the classes that are looked for; None if nobody noted them: then any may come up."""

    possible: tuple[Possible, ...]
    classes: Collection[str] | None = None

    @classmethod
    def of(cls, scenes: Iterable[Scene], classes: Collection[str] | None) -> Vocabulary:
        """Take what the scenes hold, and the classes that are looked for."""
        return cls((Possible(TRACK), *(each for scene in scenes for each in _possible(scene))), classes)

    def kinds(self, asked: Collection[str] | None) -> tuple[str, ...]:
        """Return the kinds that are meant: where none is named, events where there are lines or zones, else tracks."""
        return tuple(asked or (("crossing", "stay") if len(self.possible) > 1 else (TRACK,)))

    def check(self, keys: ClipKeys) -> None:
        """Raise ConfigError for the first name in `keys` that nothing can bear of what they ask for."""
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
    """Raise ConfigError for a line or zone, in words and with the classes that it is for, that is for one which is
    neither among `classes` (None: nobody noted them) nor `in_rows`, where people may have corrected them."""
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
