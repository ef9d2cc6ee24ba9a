"""Gaps: the tracks of frames between two inferred ones, from both sides.

A tracker can only predict through frames that were skipped. Behind them it knows where its tracks went, so where the
frames can wait, their boxes are put on the way from the one inferred frame to the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from engine.records import Reported, Tracks

# Share of a gap up to which a track that ends in it is predicted, and from which on one that begins is there: trackers
# count a track only once it was seen several times, so that most were there earlier (measured on MOT17).
_ENDS, _BEGINS = 0.5, 0.3


class Gaps:
    """The gaps of one stream. Shown the tracks of each frame in order, gives them back in order."""

    def __init__(self, before: Reported | None = None) -> None:
        """Start, or continue behind the inferred frame with the tracks `before`."""
        self._before = before
        self._held: list[Tracks] = []

    def take(self, tracks: Tracks) -> Iterator[Tracks]:
        """Take the tracks of the next frame, predicted ones where it was not inferred, and give those that are known by
        now."""
        if tracks.detections is None and self._before is not None:
            self._held.append(tracks)
            return
        before, held = self._before, self._held
        self._before, self._held = Reported.of(tracks), []
        if before is not None:
            span = tracks.frame.pts - before.pts
            for each in held:
                yield _on_the_way(before, each, tracks, (each.frame.pts - before.pts) / span)
        if tracks.state is not None:
            tracks.state = tracks.state._replace(reported=self._before)
        yield tracks

    def rest(self) -> Iterator[Tracks]:
        """Give the last frames of the stream, behind which nothing was inferred, as they were predicted."""
        held, self._held = self._held, []
        yield from held


def _on_the_way(before: Reported, predicted: Tracks, now: Tracks, share: float) -> Tracks:
    """Return the tracks of a frame that is `share` of the way from one inferred frame to the other. What is in both
    lies between them; what ends is predicted and what begins stands still, each in its part of the gap."""
    both, first, second = np.intersect1d(before.track_ids, now.track_ids, return_indices=True)
    nearer, paired = (before, first) if share <= _ENDS else (now, second)
    between = before.boxes_xyxy[first] * (1 - share) + now.boxes_xyxy[second] * share
    ends = ~np.isin(predicted.track_ids, now.track_ids) & (share <= _ENDS)
    begins = ~np.isin(now.track_ids, before.track_ids) & (share >= _BEGINS)
    ids: NDArray[np.int64] = np.concatenate((both, predicted.track_ids[ends], now.track_ids[begins]))
    order = np.argsort(ids, kind="stable")
    return replace(
        predicted,
        boxes_xyxy=np.concatenate((between, predicted.boxes_xyxy[ends], now.boxes_xyxy[begins]))[order],
        track_ids=ids[order],
        class_ids=np.concatenate((nearer.class_ids[paired], predicted.class_ids[ends], now.class_ids[begins]))[order],
        scores=np.concatenate((nearer.scores[paired], predicted.scores[ends], now.scores[begins]))[order],
    )
