"""Snapshots of a job from its directory, for `--status`, `--list-tasks` and the monitor.

Nothing here asks the broker, so it works whatever has been restarted or is unavailable.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from orchestrator.job import outcomes
from orchestrator.job.claims import frames_kept
from orchestrator.job.files import AnyPath
from orchestrator.job.jobdir import Job
from orchestrator.job.leases import Lease, age_of, latest, owner_of
from orchestrator.job.records import (
    EndRecord,
    EntryStatus,
    How,
    JobState,
    Stage,
    StartRecord,
    VideoEntry,
    VideoFacts,
    VideoProgress,
    VideoResult,
)
from orchestrator.job.turns import waits_for, waits_in

_NOTHING_YET = StartRecord(started_at=None, worker="")

_RATE_OVER_S = 15.0
_LAST_ENDED = 5


class OpenStatus(StrEnum):
    """The status of a video without a result. It is waiting if an attempt ended and no worker is active."""

    QUEUED = "queued"
    PROCESSING = "processing"
    WAITING = "waiting"


@dataclass(frozen=True)
class VideoRow:
    """One video.

    A row without an index is that of a worker without a video, for example while it loads its model. `age_s` is the
    time since the worker's last sign of life.
    """

    index: int | None
    path: str
    status: OpenStatus | EntryStatus
    frames: int = 0
    frames_total: int | None = None
    fps: float = 0.0
    eta_s: float | None = None
    stage: str = ""
    worker: str = ""
    attempts: int = 0
    age_s: float | None = None
    error: str | None = None


@dataclass(frozen=True)
class Snapshot:
    """A snapshot of a job. `videos` is None until they are counted; `left` is the number without a result."""

    id: str
    task: str
    state: JobState
    folder: AnyPath
    video_folder: str
    source: Path
    output: Path | None
    """Where unfinished work is; None: each of its machines has its own."""
    results: str
    created_at: str
    started_at: str | None
    ended_at: str | None
    warnings: list[str]
    refused: str | None
    videos: int | None
    counts: dict[EntryStatus, int]
    left: int
    frames: int
    frames_total: int
    fps: float
    eta_s: float | None
    working: list[VideoRow] = field(default_factory=list)
    lately_ended: list[VideoRow] = field(default_factory=list)
    cpu_s: float | None = None
    cpu_s_per_hour: float | None = None
    """CPU seconds of its engines so far, and per hour of video."""
    waits_for: str | None = None
    """The id of the job that writes to the same folder and for whose end this one waits."""
    waits_in: str | None = None
    """The quota in which it waits for room: "queue night", "user ana"."""

    @property
    def ended(self) -> bool:
        return self.state.ended


class Reader:
    """Reads a job repeatedly. A video's result never changes, and is read only once."""

    def __init__(self, job: Job, lease_s: float) -> None:
        self.job = job
        self._lease_s = lease_s
        self._start: StartRecord | None = None
        self._results: dict[int, VideoResult] = {}  # in the order of discovery
        self._rates: dict[int, deque[tuple[float, int]]] = {}

    def read(self) -> Snapshot:
        job = self.job
        end = job.end_record()  # read first: if it exists, everything read after it is complete
        steps = {key: lease for key, lease in job.leases("tasks").items() if end is None and lease.held(self._lease_s)}
        self._start = self._start or job.start_record()
        start = self._start or _NOTHING_YET
        rows = start.videos
        self._read_results()
        working = self._working(steps, rows)
        counts = self._counts(end)
        state = self._state(end, steps)
        cpu_s = end.result.summary.totals.cpu_s if end is not None else outcomes.cpu_s_of(job)
        fps = sum(row.fps for row in working)
        return Snapshot(
            id=job.id,
            task=job.spec.task,
            state=state,
            waits_for=waits_for(job) if state is JobState.WAITING else None,
            waits_in=waits_in(job) if state is JobState.WAITING else None,
            folder=job.folder,
            video_folder=job.spec.video_folder,
            source=Path(job.spec.inputs[0]),
            output=None if job.apart else job.output,
            results=job.results,
            created_at=job.spec.created_at,
            started_at=start.started_at,
            ended_at=end.ended_at if end else None,
            warnings=list(start.warnings),
            refused=start.refused,
            videos=len(rows) if self._start else None,
            counts=counts,
            left=max(0, len(rows) - sum(counts.values())),
            frames=sum(r.entry.frames for r in self._results.values()) + sum(row.frames for row in working),
            frames_total=start.total_frames,
            fps=fps,
            eta_s=self._time_left_s(rows, working, fps),
            working=working,
            cpu_s=cpu_s,
            cpu_s_per_hour=outcomes.cpu_s_per_hour(cpu_s, self._seconds_done(working)),
            lately_ended=[_result_row(index, self._results[index]) for index in list(self._results)[-_LAST_ENDED:]],
        )

    def rows(self, working: list[VideoRow]) -> list[VideoRow]:
        """Return all videos of the job in order; `working` is from the last snapshot."""
        by_index = {row.index: row for row in working}
        end = self.job.end_record()
        given_up = {entry.path: entry for entry in (end.result.summary.videos if end else ())}
        found = []
        for video in (self._start or _NOTHING_YET).videos:
            index = video.index
            if index in self._results:
                found.append(_result_row(index, self._results[index]))
            elif index in by_index:
                found.append(by_index[index])
            elif video.path in given_up:
                found.append(_entry_row(index, given_up[video.path]))
            else:
                found.append(self._open_row(video))
        return found

    def _seconds_done(self, working: list[VideoRow]) -> float:
        """Return the seconds of video processed, as far as the containers state durations."""
        seconds = sum(result.entry.duration_s for result in self._results.values() if result.entry.frames)
        claimed = {video.index: video.duration_s or 0.0 for video in (self._start or _NOTHING_YET).videos}
        for row in working:
            if row.index is not None and row.frames_total:
                seconds += claimed.get(row.index, 0.0) * row.frames / row.frames_total
        return seconds

    def _counts(self, end: EndRecord | None) -> dict[EntryStatus, int]:
        """Count videos by status. If the job has ended, all of them have one."""
        statuses = [result.status for result in self._results.values()]
        if end is not None:
            statuses = [entry.status for entry in end.result.summary.videos]
        return {status: statuses.count(status) for status in EntryStatus}

    def _state(self, end: EndRecord | None, steps: dict[str, Lease]) -> JobState:
        if end is None and steps and self.job.spec.task != "log_start":
            # The same result as outcomes.state_of, which reads the lease of every video.
            if self.job.cancelled:
                return JobState.CANCELLING
            if "end" in steps:
                return JobState.ENDING
            return JobState.PROCESSING if self._start else JobState.STARTING
        return outcomes.state_of(self.job, self._lease_s)

    def _read_results(self) -> None:
        for index in sorted(self.job.done_indices() - self._results.keys()):
            result = self.job.done(index)
            if result is not None:
                self._results[index] = result

    def _working(self, steps: dict[str, Lease], rows: Sequence[VideoFacts]) -> list[VideoRow]:
        claimed = {video.index: video.frames for video in rows}
        found = []
        for told in self.job.progress():
            key = told.key
            if key not in steps or told.stage == Stage.ENDED:
                continue
            age_s = age_of(self.job.task_base(key).with_name(f"{key}.progress.json"))
            videos = [video for video in told.videos if video.index not in self._results]
            if not videos:
                found.append(
                    VideoRow(None, "", OpenStatus.PROCESSING, stage=told.stage, worker=told.worker, age_s=age_s)
                )
            for video in videos:
                frames = video.frames
                total = video.frames_total or claimed.get(video.index)
                fps = self._rate(told.at, video)
                eta_s = max(0, total - frames) / fps if total and fps > 0 else None
                found.append(
                    VideoRow(
                        video.index,
                        video.path,
                        OpenStatus.PROCESSING,
                        frames,
                        total,
                        fps,
                        eta_s,
                        stage=told.stage,
                        worker=told.worker,
                        attempts=video.attempt,
                        age_s=age_s,
                    )
                )
        return found

    def _rate(self, at: float, video: VideoProgress) -> float:
        """Return the recent frames per second, or those of the whole attempt if not known yet."""
        frames = video.frames
        seen = self._rates.setdefault(video.index, deque())
        if seen and (frames < seen[-1][1] or at < seen[-1][0]):  # another attempt, from its checkpoint
            seen.clear()
        if not seen or at > seen[-1][0]:
            seen.append((at, frames))
        while len(seen) > 2 and at - seen[1][0] > _RATE_OVER_S:
            seen.popleft()
        span_s = seen[-1][0] - seen[0][0]
        if span_s > 0:
            return (seen[-1][1] - seen[0][1]) / span_s
        elapsed_s = video.elapsed_s or 0.0
        return max(0, frames - (video.resumed_from or 0)) / elapsed_s if elapsed_s > 0 else 0.0

    def _time_left_s(self, rows: Sequence[VideoFacts], working: list[VideoRow], fps: float) -> float | None:
        """Estimate the seconds left; None while there is no progress, or if a container does not state its number of
        frames."""
        left = [video.frames or 0 for video in rows if video.index not in self._results]
        if fps <= 0 or not all(left):
            return None
        return max(0, sum(int(count) for count in left) - sum(row.frames for row in working)) / fps

    def _open_row(self, video: VideoFacts) -> VideoRow:
        """Describe a video that has no result and no current report by a worker."""
        index, path, total = video.index, video.path, video.frames
        lease = latest(self.job.video_base(index))
        if lease is None:
            return VideoRow(index, path, OpenStatus.QUEUED, frames_total=total)
        owner = owner_of(lease.path)
        worker = "" if owner is None else owner.node
        ending = lease.ending()
        if ending is None:
            held = lease.held(self._lease_s)
            error = None if held else "its worker died"
            status = OpenStatus.PROCESSING if held else OpenStatus.WAITING
        else:
            error = None if ending.how == How.HANDED_BACK else ": ".join(filter(None, [ending.how, ending.error]))
            status = OpenStatus.WAITING
        kept = frames_kept(self.job, video)  # at its checkpoint, where the next attempt continues
        return VideoRow(index, path, status, kept, total, worker=worker, attempts=lease.number, error=error)


def _result_row(index: int, result: VideoResult) -> VideoRow:
    attempts = result.attempt if result.entry.attempts is None else result.entry.attempts
    return _entry_row(index, replace(result.entry, attempts=attempts, worker=result.worker))


def _entry_row(index: int, entry: VideoEntry) -> VideoRow:
    """Describe a video from its entry in the job's summary."""
    return VideoRow(
        index,
        entry.path,
        entry.status,
        entry.frames,
        entry.frames,
        entry.fps,
        worker=entry.worker,
        attempts=entry.attempts or 0,
        error=entry.error,
    )
