"""In which order a run does its videos: the files of one camera one after the other, the others beside them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Container, Iterator, Sequence

from engine.analytics.settings import AnswerSettings
from engine.media.inputs import Video
from engine.pipeline.sequence import Place, chains
from engine.resume.journal import CarriedJson

_LOOK_EVERY_S = 0.1


class Order:
    """The order of a run's videos, by their numbers, and what each leaves to the next of its camera. Any thread."""

    def __init__(self, videos: Sequence[Video], settings: AnswerSettings, stopped: Callable[[], bool]) -> None:
        """Put videos in order. `stopped` says that the run is to end: nothing is waited for any more."""
        self.is_sequence = settings.camera is not None
        self._settings = settings
        self._stopped = stopped
        self._before = chains(videos, settings)
        self._carried: dict[int, CarriedJson | None] = {}
        self._changed = threading.Condition()
        self.keys = self._sorted(len(videos))

    def _sorted(self, count: int) -> list[int]:
        """Return all numbers, each behind the one before it of its camera, else as they are."""
        keys: list[int] = []
        placed: set[int] = set()
        for key in range(count):
            chain = [key]
            while (before := self._before.get(chain[-1])) is not None and before not in placed:
                chain.append(before)
            for each in reversed(chain):
                if each not in placed:
                    placed.add(each)
                    keys.append(each)
        return keys

    def may_be_done(self, key: int, earlier: Container[int]) -> bool:
        """Return whether what an earlier run made of a video can stand: also the one before it was done then."""
        return self._before.get(key) is None or self._before[key] in earlier

    def place(self, key: int, video: Video) -> Place:
        """Return a video's place behind the one before it, which has ended when the place is begun."""
        place = Place(video, self._settings, lambda: self._carried.get(self._before.get(key, -1)))
        place.begin()
        return place

    def done(self, key: int, carried: CarriedJson | None) -> None:
        """Note that a video has ended; where it leaves nothing, what it was given goes to the next."""
        with self._changed:
            self._carried[key] = carried if carried is not None else self._carried.get(self._before.get(key, -1))
            self._changed.notify_all()

    def following(self, earlier: Container[int]) -> Iterator[int]:
        """Give the videos that are left to do, each once the one before it has ended."""
        left = [key for key in self.keys if key not in earlier]
        while left:
            with self._changed:
                ready = next((key for key in left if self._is_ready(key)), None)
                if ready is None:
                    self._changed.wait(_LOOK_EVERY_S)
                    continue
            left.remove(ready)
            yield ready

    def _is_ready(self, key: int) -> bool:
        before = self._before.get(key)
        return before is None or before in self._carried or self._stopped()
