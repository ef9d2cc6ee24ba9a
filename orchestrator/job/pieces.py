"""The pieces of long videos that other workers track: which one a worker without a video takes next.

    pieces/0007-00012.bin         what was found in piece 12 of video 7 (engine/pipeline/pieces.py)
    pieces/0007-00012.1.json      the lease of that piece
    pieces/0007-00012.1.end.json  how the work on it ended

Who tracks a video takes what is there and infers the rest, so no piece is ever waited for: one that its worker leaves
behind, or that can't be made, costs nothing but time. A piece is worth its while where it is done before the tracker
comes to it; the first such one is taken, and those between are left to the tracker itself. So both are at work all the
time, and come to the end together.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from engine.config import EngineConfig
from engine.errors import OutputError
from engine.files.folders import Folder
from engine.pipeline.assignment import PIECE_SUFFIX, Piece, PiecesOf
from orchestrator.errors import PathRefused, reason_of
from orchestrator.job.atomic_json import there
from orchestrator.job.jobdir import PIECES, Job
from orchestrator.job.leases import Lease, Owner, age_of, latest, take
from orchestrator.job.paths import confined_video
from orchestrator.job.records import How, VideoFacts, VideoProgress
from orchestrator.settings import Settings

log = logging.getLogger(__name__)

_NAME = re.compile(rf"([0-9]{{4,9}})-([0-9]{{5,9}})(?:\.([1-9][0-9]{{0,3}})(\.end)?\.json|{re.escape(PIECE_SUFFIX)})")

# A tracker takes so long for a piece that is there, in the time that it takes to infer one: measured, an eighth to a
# third where it decodes the images, and a thirtieth where nothing needs them.
_KNOWN, _KNOWN_WITHOUT_IMAGES = 0.2, 0.05

# A worker tells every second how far it is; one that does not for longer is perhaps no more.
_OLDEST_S = 5.0

# Attempts at a piece.
_ATTEMPTS = 2

_INNOCENT = (How.DONE, How.HANDED_BACK, How.CANCELLED)


def is_split(config: EngineConfig, video: VideoFacts) -> bool:
    """Return whether a video is worked on in pieces: one that is longer than `split_s` by its container's claim. Where
    not every frame is inferred, which ones are depends on those before, and with `build_plan` what infers a frame
    depends on when it is done: such videos stay whole."""
    every_frame = config.gate == "off" and not config.frames_between_inferences and not config.build_plan
    return every_frame and config.split_s is not None and (video.duration_s or 0.0) > config.split_s


def pieces_of(job: Job, config: EngineConfig, video: VideoFacts) -> PiecesOf | None:
    """Return the pieces of a video, for whoever tracks it; None if it stays whole."""
    if config.split_s is None or not is_split(config, video):
        return None
    return PiecesOf(job.folder / PIECES / f"{video.index:04d}", config.split_s)


def forget_pieces(job: Job, index: int | None = None) -> None:
    """Remove what was found in the pieces of a video that has its result; of all, without an index. Best effort."""
    with contextlib.suppress(OSError, OutputError), Folder.at(job.folder) as folder:
        if index is None:
            folder.remove_folder(PIECES)
            return
        with folder.sub(PIECES) as pieces:
            for name in pieces.names():
                if (match := _NAME.fullmatch(name)) and int(match[1]) == index and match[3] is None:
                    pieces.remove(name)


def choice(
    at: float,
    count: int,
    is_taken: Callable[[int], bool],
    *,
    its_s: float,
    own_s: float,
    early: bool,
    known: float = _KNOWN,
) -> int | None:
    """Return which of `count` pieces to take while the tracker is at `at`, in pieces; None for none. It takes `its_s`
    for a piece, `known` of that for one that is there, and the one who asks takes `own_s`. With `early` the first one
    that is done before the tracker comes to it; else the last that it has not come to."""
    current = int(at)
    until_s = (current + 1 - at) * its_s * (known if is_taken(current) else 1.0)
    free = None
    for number in range(current + 1, count):
        if is_taken(number):
            until_s += its_s * known
            continue
        if early and until_s >= own_s:
            return number
        free = number
        until_s += its_s
    return None if early else free


@dataclass(frozen=True)
class PieceClaim:
    """A piece leased to this worker. `stem` names it among all that the worker does."""

    video: VideoFacts
    number: int
    piece: Piece
    lease: Lease
    since: float = field(default_factory=time.monotonic)

    @property
    def stem(self) -> str:
        return f"{self.video.stem}.piece-{self.number}"


@dataclass
class _Seen:
    """What the folder has of one piece."""

    done: bool = False
    attempts: int = 0
    over: bool = False  # the last attempt has ended, however


class Pieces:
    """The pieces of one job's videos, as one worker sees and takes them. It has at most `at_once` in hand."""

    def __init__(
        self,
        job: Job,
        videos: Sequence[VideoFacts],
        config: EngineConfig,
        owner: Owner,
        settings: Settings,
        *,
        at_once: int = 1,
    ) -> None:
        self.held: dict[str, PieceClaim] = {}
        self._job = job
        self._config = config
        self._owner = owner
        self._settings = settings
        self._at_once = at_once
        split = [video for video in videos if is_split(config, video)]
        self._videos = sorted(split, key=lambda video: (-(video.duration_s or 0.0), video.index))
        self._whole: set[int] = set()  # of which no more pieces are taken
        self.took_s = 0.0
        """For one piece, lately; 0: none was done."""

    @property
    def full(self) -> bool:
        """Whether this worker has as many in hand as it may."""
        return len(self.held) >= self._at_once

    @property
    def are_of_no_use(self) -> bool:
        """Whether there are some in hand, all of videos that have their result."""
        try:
            return bool(self.held) and all(
                there(self._job.done_path(claim.video.index)) for claim in list(self.held.values())
            )
        except OSError:
            return False

    def of(self, video: VideoFacts) -> PiecesOf | None:
        """Return the pieces of a video, for whoever tracks it; None if it stays whole."""
        return pieces_of(self._job, self._config, video)

    def next(self) -> PieceClaim | None:
        """Take the next piece of a video that another worker tracks; None if there is none to take."""
        if self.full or self._job.given_up or not self._videos:
            return None
        seen = self._look()
        told = self._told()
        for early in (True, False):
            for video in self._videos:
                if not self._is_tracked(video):
                    continue
                rows = seen.get(video.index, {})
                number = self._choice(video, rows, told.get(video.index), early=early)
                if number is not None and (claim := self._take(video, number)) is not None:
                    return claim
        return None

    def release(self, claim: PieceClaim, how: How, *, error: str | None = None) -> None:
        """Give a piece back; how the work on it ended is kept."""
        self.held.pop(claim.stem, None)
        if how == How.DONE:
            self.took_s = time.monotonic() - claim.since
        if how not in _INNOCENT:  # the next one may well do the same to this worker
            self._whole.add(claim.video.index)
        try:
            claim.lease.release(how, error=error)
            if there(self._job.done_path(claim.video.index)):  # it came too late
                forget_pieces(self._job, claim.video.index)
        except OSError as problem:
            why = reason_of(problem)
            log.warning("job %s: how %s ended can't be noted: %s", self._job.id, claim.lease.path.name, why)

    def release_all(self, how: How, *, error: str | None = None) -> None:
        for claim in list(self.held.values()):
            self.release(claim, how, error=error)

    def touch(self) -> None:
        """Renew the leases held."""
        for claim in list(self.held.values()):
            claim.lease.touch()

    def _is_tracked(self, video: VideoFacts) -> bool:
        """Return whether somebody is at work on a video. What can't be read is passed over."""
        if video.index in self._whole:
            return False
        try:
            if there(self._job.done_path(video.index)):
                self._whole.add(video.index)
                return False
            lease = latest(self._job.video_base(video.index))
        except OSError:
            return False
        return lease is not None and lease.held(self._settings.lease_s)

    def _look(self) -> dict[int, dict[int, _Seen]]:
        """Return what the folder has of each piece, by video and number."""
        seen: dict[int, dict[int, _Seen]] = {}
        try:
            names = os.listdir(self._job.folder / PIECES)
        except OSError:  # none was ever taken
            return seen
        for name in sorted(names):
            if not (match := _NAME.fullmatch(name)):
                continue
            row = seen.setdefault(int(match[1]), {}).setdefault(int(match[2]), _Seen())
            if match[3] is None:
                row.done = True
                continue
            row.over = int(match[3]) >= row.attempts if match[4] else row.over and int(match[3]) <= row.attempts
            row.attempts = max(row.attempts, int(match[3]))
        return seen

    def _told(self) -> dict[int, tuple[VideoProgress, float]]:
        """Return how far each video is, by what its worker told last, and how many seconds ago that was."""
        told = {}
        for each in self._job.progress():
            if each.videos:
                path = self._job.task_base(each.key).with_name(f"{each.key}.progress.json")
                age_s = min(age_of(path) or 0.0, _OLDEST_S)
                told.update({video.index: (video, age_s) for video in each.videos})
        return told

    def _choice(
        self, video: VideoFacts, rows: dict[int, _Seen], told: tuple[VideoProgress, float] | None, *, early: bool
    ) -> int | None:
        """Return which piece of a video to take, by how far its tracker is."""
        config, length_s = self._config, self._config.split_s
        assert length_s is not None
        ends_s = min(video.duration_s or 0.0, math.inf if config.part_ends_s is None else config.part_ends_s)
        at_s, rate, a_frame_s = config.start_s, 0.0, 0.0
        if told is not None and (total := told[0].frames_total):
            progress, age_s = told
            a_frame_s = (ends_s - config.start_s) / total
            done, took_s = progress.frames - (progress.resumed_from or 0), progress.elapsed_s or 0.0
            rate = done / took_s if took_s else 0.0
            at_s += a_frame_s * min(progress.frames + rate * age_s, total)
        first, current = int(config.start_s // length_s), int(at_s // length_s)
        passed, there = current - first, sum(row.done for number, row in rows.items() if first <= number < current)
        known = _KNOWN if config.visualize or config.crops else _KNOWN_WITHOUT_IMAGES
        its_s = length_s / a_frame_s / rate if rate and a_frame_s else self.took_s  # the tracker's for a piece
        if passed > 0:
            its_s /= 1 - (1 - known) * min(1.0, there / passed)
        return choice(
            at_s / length_s,
            math.ceil(ends_s / length_s),
            lambda number: self._is_taken(video, rows.get(number), number),
            its_s=its_s,
            own_s=self.took_s or its_s,
            early=early,
            known=known,
        )

    def _is_taken(self, video: VideoFacts, row: _Seen | None, number: int) -> bool:
        """Return whether a piece is done, somebody is at it, or it is not to be tried again."""
        if row is None:
            return False
        if row.done or row.attempts >= _ATTEMPTS:
            return True
        lease = self._lease(video.index, number, row.attempts)
        if not row.over:
            return lease.held(self._settings.lease_s)
        ending = lease.ending()
        return ending is None or ending.how not in _INNOCENT

    def _lease(self, index: int, number: int, attempt: int) -> Lease:
        return Lease(self._job.folder / PIECES / f"{index:04d}-{number:05d}", attempt)

    def _take(self, video: VideoFacts, number: int) -> PieceClaim | None:
        pieces = pieces_of(self._job, self._config, video)
        assert pieces is not None
        piece = pieces.piece(number)
        try:
            confined_video(video.path, self._settings)
            with Folder.at(self._job.folder) as folder:
                folder.sub(PIECES, make=True).close()
            lease = take(piece.file.with_suffix(""), self._owner, self._settings.lease_s)
        except (PathRefused, OSError, OutputError) as error:
            self._whole.add(video.index)
            log.warning("job %s: no piece of %s can be taken: %s", self._job.id, video.path, reason_of(error))
            return None
        if lease is None:
            return None
        claim = PieceClaim(video, number, piece, lease)
        self.held[claim.stem] = claim
        return claim
