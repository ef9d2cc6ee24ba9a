"""The answers without what a reviewer has rejected. Their file is read elsewhere (`verdicts`): most runs have none."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.analytics.analysis import Answers, Event, EventKind

if TYPE_CHECKING:
    from engine.analytics.verdicts import EventKey, Judged

_SAME_MOMENT_S = 1e-6


@dataclass(frozen=True, repr=False)
class Reviewed:
    """The outcome of the verdicts on one camera. `unknown` counts those that name nothing that exists."""

    confirmed: int = 0
    rejected: int = 0
    unknown: int = 0

    def __add__(self, other: Reviewed) -> Reviewed:
        return Reviewed(self.confirmed + other.confirmed, self.rejected + other.rejected, self.unknown + other.unknown)


def rejected_tracks(judged: Iterable[Judged]) -> frozenset[int]:
    """Return the ids of rejected tracks."""
    return frozenset(each.track_id for each in judged if each.kind == "track" and each.verdict == "rejected")


def without_rejected(answers: Answers, judged: Collection[Judged], tracks: Collection[int]) -> tuple[Answers, Reviewed]:
    """Return the answers without rejected events, and the outcome of the verdicts. `tracks` are all track ids in the
    rows, including rejected ones."""
    events = {_key(event): event for event in answers.events}
    verdicts = {each.key: each for each in judged}
    met = [
        each for each in verdicts.values() if (each.track_id in tracks if each.kind == "track" else each.key in events)
    ]
    gone = {each.key for each in met if each.verdict == "rejected" and each.kind != "track"}
    stays: defaultdict[tuple[int, str], list[Event]] = defaultdict(list)
    for key in gone:
        if key[0] == EventKind.STAY:
            stays[events[key].track_id, events[key].place].append(events[key])
    kept = tuple(
        event
        for event in answers.events
        if _key(event) not in gone
        and not any(_is_end_of(event, stay) for stay in stays.get((event.track_id, event.place), ()))
    )
    rejected = sum(each.verdict == "rejected" for each in met)
    return answers._replace(events=kept), Reviewed(len(met) - rejected, rejected, len(verdicts) - len(met))


def _key(event: Event) -> EventKey:
    return (event.kind.value, event.track_id, event.place, event.direction, event.at.video, event.at.pts)


def _is_end_of(event: Event, stay: Event) -> bool:
    """Return whether an event is the enter or leave of a stay."""
    begins, ends = stay.at.time_s, stay.at.time_s + (stay.dwell_s or 0.0)
    moment = {EventKind.ENTER: begins, EventKind.LEAVE: ends}.get(event.kind)
    return moment is not None and abs(event.at.time_s - moment) < _SAME_MOMENT_S
