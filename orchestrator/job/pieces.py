"""Pieces of long videos: which one an idle worker takes next from a video that another worker tracks.

    pieces/0007-00012.bin         the detections in piece 12 of video 7 (engine/pipeline/pieces.py)
    pieces/0007-00012.1.json      the lease of that piece
    pieces/0007-00012.1.end.json  how the work on it ended
    pieces/0007-00012.notes       what is to be drawn in it (engine/pipeline/drawing.py)
    pieces/0007-00012.drawn       the packets of the annotated video
    pieces/0007-00012d.1.json     the lease of the drawing

The worker that tracks a video uses the pieces that exist and infers the rest itself, so it never waits for a piece: one
that is abandoned or can't be made only costs time. A piece is useful if it is done before the tracker reaches it. The
first such piece is taken, and those before it are left to the tracker, so that both work all the time and finish
together. The pieces of an annotated video can be drawn once they are tracked: helpers begin with the last one, and the
worker that tracked the video with the first.
"""

from __future__ import annotations

import contextlib
import logging
import math
import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from engine.config import EngineConfig
from engine.errors import OutputError
from engine.files.folders import Folder
from engine.pipeline.assignment import DRAWN_SUFFIX, NOTES_SUFFIX, PIECE_SUFFIX, Drawing, Piece, PiecesOf
from orchestrator.errors import PathRefused, reason_of
from orchestrator.job.atomic_json import there
from orchestrator.job.files import AnyPath, file_at, names_in
from orchestrator.job.jobdir import Job
from orchestrator.job.leases import Lease, Owner, age_of, latest, take
from orchestrator.job.paths import confined_video
from orchestrator.job.records import How, VideoFacts, VideoProgress
from orchestrator.job.stored_file import remove_all
from orchestrator.job.stored_path import StoredPath
from orchestrator.settings import Settings

log = logging.getLogger(__name__)

_FILES = "|".join(map(re.escape, (PIECE_SUFFIX, NOTES_SUFFIX, DRAWN_SUFFIX)))
_NAME = re.compile(rf"([0-9]{{4,9}})-([0-9]{{5,9}})(?:(d?)\.([1-9][0-9]{{0,3}})(\.end)?\.json|({_FILES}))")

# A tracker's time for a finished piece, relative to inferring it. Measured: an eighth to a third if it decodes the
# images, and a thirtieth if nothing needs them.
_KNOWN, _KNOWN_WITHOUT_IMAGES = 0.2, 0.05

# Workers report their progress every second; one that is silent for longer may have died.
_OLDEST_S = 5.0

# Maximum number of attempts at a piece.
_ATTEMPTS = 2

_INNOCENT = (How.DONE, How.HANDED_BACK, How.CANCELLED)


def is_split(config: EngineConfig, video: VideoFacts) -> bool:
    """Return whether a video is processed in pieces: if its container claims a duration above `split_s`. If not every
    frame is inferred, the choice of frames depends on earlier ones, and with `build_plan` the backend of a frame
    depends on when it is processed, so such videos stay whole."""
    whole = config.gate != "off" or config.scan or config.frames_between_inferences or config.build_plan
    return not whole and config.split_s is not None and (video.duration_s or 0.0) > config.split_s


def pieces_of(job: Job, config: EngineConfig, video: VideoFacts) -> PiecesOf | None:
    """Return the pieces of a video, for the worker that tracks it; None if it stays whole."""
    if config.split_s is None or not is_split(config, video):
        return None
    drawn = _is_drawn_apart(job, config)
    return PiecesOf(job.pieces_here / f"{video.index:04d}", config.split_s, drawn)


def _is_drawn_apart(job: Job, config: EngineConfig) -> bool:
    """Return whether the annotated videos of a job are drawn in pieces: if there may be others who help, and nothing
    that is drawn depends on images or files before the piece."""
    by_itself = not (config.blur or config.crops or config.camera or config.start_s or config.part_ends_s)
    goes_on = config.resume and config.save_intermediate_results
    return config.visualize and by_itself and goes_on and job.workers > 1


def forget_pieces(job: Job, index: int | None = None) -> None:
    """Remove the pieces of a video that has its result, or of all videos without an index. Best effort."""
    here, stored = job.pieces_here, job.pieces
    with contextlib.suppress(OSError, OutputError), Folder.at(here.parent) as folder:
        if index is None:
            folder.remove_folder(here.name)
        else:
            with folder.sub(here.name) as pieces:
                for name in _files_of(index, pieces.names()):
                    pieces.remove(name)
    if isinstance(stored, StoredPath):
        with contextlib.suppress(OSError):
            if index is None:
                remove_all(stored)
            else:
                for name in _files_of(index, names_in(stored)):
                    file_at(stored / name).remove()


def _files_of(index: int, names: Iterable[str]) -> list[str]:
    """Return the names of a video's pieces; leases are left out."""
    return [name for name in names if (match := _NAME.fullmatch(name)) and int(match[1]) == index and match[6]]


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
    """Return which of `count` pieces to take while the tracker is at position `at`, in pieces; None for none. The
    tracker needs `its_s` per piece, `known` of that for a finished one; this worker needs `own_s`. With `early`, it is
    the first piece that will be done before the tracker reaches it; otherwise the last one not reached yet."""
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
    """A piece leased to this worker, for its detections or, with `drawing`, to be drawn. `stem` identifies it among the
    worker's videos and pieces."""

    video: VideoFacts
    number: int
    piece: Piece
    lease: Lease
    drawing: Drawing | None = None
    since: float = field(default_factory=time.monotonic)

    @property
    def stem(self) -> str:
        return f"{self.video.stem}.{'piece' if self.drawing is None else 'drawing'}-{self.number}"


@dataclass
class _Seen:
    """The state of a piece according to the folder."""

    done: bool = False
    attempts: int = 0
    over: bool = False  # the last attempt has ended in some way

    def lease(self, attempt: int, *, ended: bool) -> None:
        self.over = attempt >= self.attempts if ended else self.over and attempt <= self.attempts
        self.attempts = max(self.attempts, attempt)


@dataclass
class _SeenVideo:
    """The pieces of a video according to the folder: their detections and their drawings, by number, and which can be
    drawn."""

    found: dict[int, _Seen] = field(default_factory=dict)
    drawn: dict[int, _Seen] = field(default_factory=dict)
    noted: set[int] = field(default_factory=set)


class Pieces:
    """The pieces of a job's videos, as seen and taken by one worker, which holds at most `at_once` of them."""

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
        self._whole: set[int] = set()  # videos of which no more pieces are taken
        self._not_drawn: set[int] = set()  # videos of which no more pieces are drawn
        self.took_s = 0.0
        """Seconds for the latest piece; 0: none was done."""

    @property
    def full(self) -> bool:
        """Whether this worker holds as many pieces as it may."""
        return len(self.held) >= self._at_once

    @property
    def are_of_no_use(self) -> bool:
        """Whether this worker holds pieces, and all of them are of videos that have their result."""
        try:
            return bool(self.held) and all(
                there(self._job.done_path(claim.video.index)) for claim in list(self.held.values())
            )
        except OSError:
            return False

    def of(self, video: VideoFacts) -> PiecesOf | None:
        """Return the pieces of a video, for the worker that tracks it; None if it stays whole."""
        return pieces_of(self._job, self._config, video)

    def next(self) -> PieceClaim | None:
        """Take the next piece of a video that another worker tracks; None if there is none."""
        if self.full or self._job.given_up or not self._videos:
            return None
        seen = self._look()
        told = self._told()
        tracked = [video for video in self._videos if self._is_tracked(video)]
        for early, draws in ((True, False), (False, True), (False, False)):
            for video in tracked:
                here = seen.get(video.index, _SeenVideo())
                if draws:
                    number = self._to_draw(video, here)
                else:
                    number = self._choice(video, here.found, told.get(video.index), early=early)
                if number is not None and (claim := self._take(video, number, draws=draws)) is not None:
                    return claim
        return None

    @property
    def waits(self) -> bool:
        """Whether pieces of a video may soon be there to draw."""
        if self._job.given_up or not _is_drawn_apart(self._job, self._config):
            return False
        return any(self._is_tracked(video) for video in self._videos if video.index not in self._not_drawn)

    def release(self, claim: PieceClaim, how: How, *, error: str | None = None) -> None:
        """Release a piece, and record how the work on it ended."""
        self.held.pop(claim.stem, None)
        if how == How.DONE and claim.drawing is None:
            self.took_s = time.monotonic() - claim.since
        if how not in _INNOCENT:  # the video's other pieces may do the same to this worker
            (self._whole if claim.drawing is None else self._not_drawn).add(claim.video.index)
        try:
            claim.lease.release(how, error=error)
            if there(self._job.done_path(claim.video.index)):  # it came too late
                forget_pieces(self._job, claim.video.index)
        except OSError as problem:
            why = reason_of(problem)
            log.warning("job %s: the end of %s can't be recorded: %s", self._job.id, claim.lease.path.name, why)

    def release_all(self, how: How, *, error: str | None = None) -> None:
        for claim in list(self.held.values()):
            self.release(claim, how, error=error)

    def touch(self) -> None:
        """Renew the leases held."""
        for claim in list(self.held.values()):
            claim.lease.touch()

    def _is_tracked(self, video: VideoFacts) -> bool:
        """Return whether a worker is tracking a video; False if that can't be read."""
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

    def _look(self) -> dict[int, _SeenVideo]:
        """Return the state of each piece in the folder, by video."""
        seen: dict[int, _SeenVideo] = {}
        for name in names_in(self._job.pieces):
            if not (match := _NAME.fullmatch(name)):
                continue
            video, number = seen.setdefault(int(match[1]), _SeenVideo()), int(match[2])
            if match[6] == NOTES_SUFFIX:
                video.noted.add(number)
                continue
            draws = match[3] == "d" or match[6] == DRAWN_SUFFIX
            row = (video.drawn if draws else video.found).setdefault(number, _Seen())
            if match[6]:
                row.done = True
            else:
                row.lease(int(match[4]), ended=bool(match[5]))
        return seen

    def _told(self) -> dict[int, tuple[VideoProgress, float]]:
        """Return each video's last reported progress and its age in seconds."""
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
        """Return which piece of a video to take, given its tracker's progress."""
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
        apart = _is_drawn_apart(self._job, config)
        known = _KNOWN if (config.visualize and not apart) or config.crops else _KNOWN_WITHOUT_IMAGES
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

    def _to_draw(self, video: VideoFacts, seen: _SeenVideo) -> int | None:
        """Return which piece of a video to draw; None if there is none. The last one comes first: whoever tracked the
        video draws from the beginning."""
        if video.index in self._not_drawn or not _is_drawn_apart(self._job, self._config):
            return None
        numbers = sorted(seen.noted, reverse=True)
        free = (n for n in numbers if not self._is_taken(video, seen.drawn.get(n), n, draws=True))
        return next(free, None)

    def _is_taken(self, video: VideoFacts, row: _Seen | None, number: int, *, draws: bool = False) -> bool:
        """Return whether a piece is done, in progress, or must not be tried again."""
        if row is None:
            return False
        if row.done or row.attempts >= _ATTEMPTS:
            return True
        lease = Lease(self._base(video.index, number, draws=draws), row.attempts)
        if not row.over:
            return lease.held(self._settings.lease_s)
        ending = lease.ending()
        return ending is None or ending.how not in _INNOCENT

    def _base(self, index: int, number: int, *, draws: bool) -> AnyPath:
        return self._job.pieces / f"{index:04d}-{number:05d}{'d' if draws else ''}"

    def _take(self, video: VideoFacts, number: int, *, draws: bool) -> PieceClaim | None:
        pieces = pieces_of(self._job, self._config, video)
        assert pieces is not None
        piece = pieces.piece(number)
        try:
            confined_video(video.path, self._settings)
            here = self._job.pieces_here
            here.parent.mkdir(parents=True, exist_ok=True)
            with Folder.at(here.parent) as folder:
                folder.sub(here.name, make=True).close()
            lease = take(self._base(video.index, number, draws=draws), self._owner, self._settings.lease_s)
        except (PathRefused, OSError, OutputError) as error:
            self._whole.add(video.index)
            log.warning("job %s: no piece of %s can be taken: %s", self._job.id, video.path, reason_of(error))
            return None
        if lease is None:
            return None
        claim = PieceClaim(video, number, piece, lease, pieces.drawing(number) if draws else None)
        self.held[claim.stem] = claim
        return claim
