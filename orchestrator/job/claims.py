"""Which video a worker takes next: leases over the job's list, attempts counted per video, hopeless videos given up.

Fresh videos go first, longest first, so that no worker is left with a long one at the end. A video on which an engine
process died is a suspect: it is tried again alone, so that it can't affect others.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from engine.resume import attempts
from engine.storage.spooled import told
from orchestrator.errors import PathRefused, reason_of
from orchestrator.job.atomic_json import there, write_once
from orchestrator.job.files import AnyPath
from orchestrator.job.jobdir import Job, now
from orchestrator.job.leases import Lease, Owner, latest, numbered, take
from orchestrator.job.outcomes import failed_entry
from orchestrator.job.paths import confined_output, confined_video, input_is_away
from orchestrator.job.records import How, VideoEntry, VideoFacts, VideoResult
from orchestrator.settings import Settings

log = logging.getLogger(__name__)

# After this many consecutive failed files, a sequence starts anew.
_MAX_BEHIND = 32
_INNOCENT = (How.HANDED_BACK, How.CANCELLED)


@dataclass(frozen=True)
class Claim:
    """A video leased to this worker. `video` is its row in the start record."""

    index: int
    video: VideoFacts
    lease: Lease
    from_frame: int

    @property
    def successor(self) -> AnyPath:
        """Return the file that exists once another attempt has followed this one."""
        return numbered(self.lease.base, self.lease.number + 1)


class Claims:
    """The videos of one job, as one worker sees and takes them."""

    def __init__(self, job: Job, videos: Sequence[VideoFacts], owner: Owner, settings: Settings) -> None:
        self._job = job
        self._owner = owner
        self._settings = settings
        self._follows = {video.index: video.follows for video in videos if video.follows is not None}
        self._stems = {video.index: video.stem for video in videos} if self._follows else {}
        self._open = sorted(videos, key=lambda video: (-(video.duration_s or 0.0), video.index))
        self._done: set[int] = set()
        self._gave_up = False
        self.held: dict[int, Claim] = {}
        self.endings: Counter[str] = Counter()
        """How many attempts of this worker have ended in which way."""
        self.results: Counter[str] = Counter()
        """How many videos it finished, by status."""

    def next(self, *, suspect: bool) -> Claim | None:
        """Take the next fresh video, or the next suspect; None if there is none now, or if the job was given up."""
        if self._job.given_up:
            return None
        for place, video in enumerate(self._open):
            claim = self._try(video, suspect)
            if claim is not None:
                self._forget_done(place)
                return claim
            if self._gave_up:
                return None
        self._forget_done(len(self._open))
        return None

    def behind(self, claim: Claim) -> list[str]:
        """Return the stems of the camera's files before a video, the last one first, in which its tracker's state is
        searched for. None appears twice, whatever the record says."""
        stems: dict[str, None] = {}
        index = self._follows.get(claim.index)
        while index in self._stems and self._stems[index] not in stems and len(stems) < _MAX_BEHIND:
            stems[self._stems[index]] = None
            index = self._follows.get(index)
        return list(stems)

    @property
    def left(self) -> bool:
        """Whether videos of the job have no result yet, as far as is known."""
        return not all(self._has_ended(video.index) for video in self._open)

    @property
    def has_sequences(self) -> bool:
        """Whether videos of the job follow each other."""
        return bool(self._follows)

    @property
    def more_to_come(self) -> bool:
        """Return whether a video that this worker is processing is followed by another one."""
        return any(self._follows[index] in self.held for index in self._follows)

    @property
    def waits(self) -> bool:
        """Whether a video waits for another worker to end its camera's previous one."""
        if self._job.given_up:
            return False
        following = ((video.index, self._follows[video.index]) for video in self._open if video.index in self._follows)
        return any(
            not self.held.keys() & {index, before} and not self._is_done(index) and not self._has_ended(before)
            for index, before in following
        )

    def next_begun(self) -> Claim | None:
        """Take the next video that has a checkpoint and that nobody is working on."""
        for video in self._open:
            index = video.index
            last = None if self._is_done(index) or index in self.held else self._last(index)[0]
            if last is None or last.held(self._settings.lease_s) or not frames_kept(self._job, video):
                continue
            claim = self._take(video)
            if claim is not None:
                return claim
        return None

    def release(self, claim: Claim, how: How, *, error: str | None = None) -> None:
        """Release a video, and record how the attempt ended."""
        self.held.pop(claim.index, None)
        self.endings[str(how)] += 1
        try:
            claim.lease.release(how, error=error)
        except OSError as problem:
            name, why = claim.lease.path.name, reason_of(problem)
            log.warning("job %s: the end of attempt %s can't be recorded: %s", self._job.id, name, why)

    def keep(self, claim: Claim, entry: VideoEntry) -> bool:
        """Store a video's result, once. Return False, without storing it, if it has one or the lease was lost."""
        try:
            lost = claim.lease.lost or self._job.ended
        except OSError:  # the engine checks for itself, and its result is the only one
            lost = False
        if lost:
            self.held.pop(claim.index, None)
            return False
        kept = _keep(self._job, claim.index, entry, claim.lease.number, self._owner.node)
        self.results[entry.status.value] += kept
        self.release(claim, How.DONE)
        return kept

    def touch(self) -> None:
        """Renew the leases held."""
        for claim in list(self.held.values()):
            claim.lease.touch()

    def _try(self, video: VideoFacts, suspect: bool) -> Claim | None:
        index = video.index
        if index in self.held or self._is_done(index):
            return None
        if index in self._follows and not self._has_ended(self._follows[index]):
            return None  # it must wait for its camera's previous video
        last, readable = self._last(index)
        if not readable or (last is not None and (last.held(self._settings.lease_s) or self._given_up(video, last))):
            return None
        if _is_suspect(last) is not suspect:
            return None
        return self._take(video)

    def _last(self, index: int) -> tuple[Lease | None, bool]:
        """Return the last lease of a video, and whether that is known: an unreadable one is not free."""
        try:
            return latest(self._job.video_base(index)), True
        except OSError as error:
            log.warning("job %s: leases of video %d can't be read: %s", self._job.id, index, error)
            return None, False

    def _is_done(self, index: int) -> bool:
        if index not in self._done:
            try:
                if not there(self._job.done_path(index)):
                    return False
            except OSError:  # unknown; checked again later
                return True
            self._done.add(index)
        return index in self._done

    def _has_ended(self, index: int) -> bool:
        """Return whether a video is known to be done; an unreadable one is not."""
        return self._is_done(index) and index in self._done

    def _forget_done(self, places: int) -> None:
        """Drop the videos before `places` that are known to be done, so that later searches skip them."""
        self._open[:places] = [video for video in self._open[:places] if video.index not in self._done]

    def _take(self, video: VideoFacts) -> Claim | None:
        index = video.index
        try:
            confined_video(video.path, self._settings)
            confined_output(self._job.output, video.stem, self._settings, apart=self._job.apart)
        except PathRefused as refused:
            if self._input_is_away():  # not just this video
                return None
            _keep(self._job, index, failed_entry(video, str(refused)), 0, self._owner.node)
            return None
        at = frames_kept(self._job, video)
        lease = take(self._job.video_base(index), self._owner, self._settings.lease_s, from_frame=at)
        if lease is None:
            return None
        if there(self._job.done_path(index)):  # it was finished just before we took the lease
            lease.release(How.DONE)
            return None
        claim = self.held[index] = Claim(index, video, lease, at)
        return claim

    def _input_is_away(self) -> bool:
        """Return whether the job's folder has disappeared; the job is then given up."""
        try:
            reasons = [input_is_away(name, self._settings) for name in self._job.spec.inputs]
        except PathRefused:
            return False
        why = next((reason for reason in reasons if reason is not None), None)
        if why is None:
            return False
        self._gave_up = True
        self._job.give_up(why)
        log.error("job %s is given up: %s", self._job.id, why, extra={"job": self._job.id})
        return True

    def _given_up(self, video: VideoFacts, last: Lease) -> bool:
        """End a video whose last attempts all died without progress."""
        try:
            died, reason = deaths_without_progress(self._job, video, last)
        except OSError as unreadable:  # unreadable records don't count against a video
            log.warning("job %s: attempts at %s can't be read: %s", self._job.id, video.path, unreadable)
            return False
        if died < self._settings.max_attempts:
            return False
        error = f"gave up after {last.number} attempts: {reason}"
        entry = failed_entry(video, error, attempts=last.number)
        if _keep(self._job, video.index, entry, last.number, self._owner.node):
            self.results[entry.status.value] += 1
            log.error("%s: %s", video.path, error, extra={"job": self._job.id, "video": video.path})
        return True


def _keep(job: Job, index: int, entry: VideoEntry, attempt: int, node: str) -> bool:
    if job.apart and job.spec.stored is not None:  # the path on this machine tells others nothing
        entry = VideoEntry.from_json(told(entry.to_json(), job.output, job.spec.stored))
    kept = write_once(job.done_path(index), VideoResult(entry, attempt, node, now()).to_json())
    if kept:
        job.note("video ended", video=entry.path, status=entry.status, attempt=attempt, worker=node)
    return kept


def frames_kept(job: Job, video: VideoFacts) -> int:
    """Return how many frames the next attempt need not process again."""
    return attempts.peek(job.output, PurePosixPath(video.stem))


def _is_suspect(last: Lease | None) -> bool:
    """Return whether a video may have crashed an engine or a whole worker. An attempt that was handed back, or none at
    all, says nothing about it."""
    if last is None:
        return False
    endings = [Lease(last.base, number).ending() for number in range(1, last.number + 1)]
    told = [end for end in endings if end is None or end.how not in _INNOCENT]
    if not told:
        return False
    return (told[-1] is not None and told[-1].how in (How.CRASHED, How.STALLED)) or told.count(None) > 1


def deaths_without_progress(job: Job, video: VideoFacts, last: Lease) -> tuple[int, str]:
    """Return how many attempts in a row, counted from the last, died without progress, and what is known about the last
    death. Raises OSError if that can't be known."""
    reached = frames_kept(job, video)
    count, reason = 0, "its workers died"
    for number in range(last.number, 0, -1):
        lease = Lease(last.base, number)
        end = lease.read_ending()
        began = lease.from_frame()
        if reached > began:
            break
        reached = began
        if end is not None and end.how in _INNOCENT:
            continue
        if count == 0 and end is not None:
            reason = end.how if end.error is None else end.error
        count += 1
    return count, reason
