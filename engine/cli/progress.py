"""Output on the terminal during a run and at its end."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING

from engine.cli.answers_table import NOT_EXAMINED
from engine.cli.console import Piped, drawn, tell_on
from engine.cli.rows import Marked, Rows
from engine.pipeline.stream import Progress as StreamProgress
from engine.pipeline.total import Total, span
from engine.summary import SummaryJson, VideoJson
from engine.text.counted import counted
from engine.text.printable import printable

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from engine.cli.console import Screen

# The last two occur in jobs: a video that was ended early, and one that was never started.
_STATUS_STYLE = {"ok": "green", "partial": "yellow", "failed": "red", "cancelled": "yellow", "not begun": "yellow"}
_NARROW = 110  # columns
_FIRST_LINE_S, _LONGEST_PAUSE_S = 5.0, 600.0


class ProgressBars:
    """A bar for the whole run and one per video in progress, on standard error. If that is not a terminal: a line now
    and then, less often the longer it takes.

    `total` returns the state of the whole run, if known; `now` returns the time, and is set by tests.
    """

    def __init__(
        self,
        console: Screen,
        total: Callable[[list[StreamProgress]], Total | None] = lambda _: None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        narrow = console.width < _NARROW
        self._path_width = 18 if narrow else 32
        self.bars: Progress | None = None  # where nobody watches
        if console.is_terminal and not isinstance(console, Piped):
            self.bars = drawn().bars(console, narrow=narrow)
        self._print = tell_on(console)
        self._total = total
        self._now = now
        self._pause_s = _FIRST_LINE_S
        self._line_due_s = now() + self._pause_s
        self._tasks: dict[str, TaskID] = {}
        self._whole: TaskID | None = None
        self._said: list[str] = []

    def __enter__(self) -> Callable[[list[StreamProgress]], None]:
        if self.bars is not None:
            self.bars.start()
        return self.update

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tell()
        if self.bars is not None:
            self.bars.stop()

    def say(self, line: str) -> None:
        """Print a line above the bars soon. Safe in a signal handler, which may interrupt printing."""
        self._said.append(line)

    def _tell(self) -> None:
        while self._said:
            self._print(self._said.pop(0))

    def update(self, streams: list[StreamProgress]) -> None:
        self._tell()
        if self.bars is None:
            self._line(streams)
        else:
            self._show(self.bars, streams)

    def _show(self, bars: Progress, streams: list[StreamProgress]) -> None:
        self._show_total(bars, streams)
        present = {stream.path for stream in streams}
        for path in [path for path in self._tasks if path not in present]:
            bars.remove_task(self._tasks.pop(path))
        for stream in streams:
            if stream.path not in self._tasks:
                name = _tail(stream.path, self._path_width)
                self._tasks[stream.path] = bars.add_task(name, total=None, fps=0.0, of="?", left="")
            fps = (stream.frames - stream.resumed_from) / stream.elapsed_s if stream.elapsed_s > 0 else 0.0
            total = stream.frames_total  # not known before the video is open
            bars.update(
                self._tasks[stream.path],
                completed=stream.frames,
                total=total,
                fps=fps,
                of=f"{total:,}" if total else "?",
                left=span(max(0, total - stream.frames) / fps) if total and fps > 0 else "",
            )

    def _show_total(self, bars: Progress, streams: list[StreamProgress]) -> None:
        """Show the bar of the whole run, unless it is a single video."""
        total = self._total(streams)
        if total is None or total.videos == 1:
            return
        if self._whole is None:
            self._whole = bars.add_task("", total=None, fps=0.0, of="?", left="")
        bars.update(
            self._whole,
            description=f"{total.done:,} of {counted(total.videos, 'video')}",
            completed=total.frames,
            total=total.frames_total,
            fps=total.fps,
            of=f"{total.frames_total:,}" if total.frames_total else "?",
            left=span(total.left_s) if total.left_s is not None else "",
        )

    def _line(self, streams: list[StreamProgress]) -> None:
        if self._now() < self._line_due_s or (total := self._total(streams)) is None:
            return
        self._print(f"{datetime.now():%H:%M:%S} {total.line()}")
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
        self._line_due_s = self._now() + self._pause_s


def print_summary(console: Screen, summary: SummaryJson) -> None:
    """Print a row per video, with the reason if it failed or is partial, and the totals."""
    rows = Rows("video", "status", ">frames", ">fps", ">tracks", "result", wrapped=("result",))
    for video in summary["videos"]:
        style = _STATUS_STYLE[video["status"]]
        counts = ", ".join(f"{count} {name}" for name, count in _most_first(video["tracks_by_class"]))
        resumed = f"continued from frame {video['resumed_from']:,}" if video.get("resumed_from") else ""
        recorded = counted(len(video["segments"]), "segment") if "segments" in video else ""
        told = (counts, objects_in_words(video), resumed, recorded, *video.get("notes", ()))
        remarks = "; ".join(printable(remark) for remark in told if remark)
        if error := printable(video["error"] or ""):
            remarks = f"; {remarks}" if remarks else ""
        # A video without a result has no numbers: a 0 would mean that it was examined.
        looked_at = video["status"] in ("ok", "partial")
        rows.add(
            _tail(video["path"], max(20, console.width // 3)),
            Marked(video["status"], style),
            f"{video['frames']:,}" if looked_at or video["frames"] else NOT_EXAMINED,
            f"{video['fps']:.0f}" if looked_at or video["frames"] else NOT_EXAMINED,
            f"{video['tracks']:,}" if looked_at or video.get("segments") else NOT_EXAMINED,
            Marked(error, style, remarks) if error else remarks,
        )
    rows.show(console)
    totals = summary["totals"]
    words = [f"{totals['failed']} failed", f"{totals['partial']} partial"]
    ended_early = {"cancelled": totals.get("cancelled"), "not begun": totals.get("not_begun")}
    words += [f"{count} {name}" for name, count in ended_early.items() if count]
    tell_on(console)(
        f"{counted(totals['videos'], 'video')} ({', '.join(words)}), "
        f"{counted(totals['frames'], 'frame')} in {totals['elapsed_s']:.1f} s = {totals['fps']:.0f} fps, "
        f"{counted(totals['tracks'], 'track')}. "
        f"Model {printable(summary['model']['name'], 200)} on {printable(summary['backend']['provider'], 200)}."
    )


def objects_in_words(video: VideoJson) -> str:
    """Return the number of objects behind a video's tracks; "" if it equals the number of tracks."""
    low, high = video.get("objects") or (video["tracks"], video["tracks"])
    if low == high == video["tracks"]:
        return ""
    return counted(low, "object") if low == high else f"{low:,} to {high:,} objects"


def _tail(path: str, width: int = 32) -> str:
    path = printable(path)
    return path if len(path) <= width else "…" + path[1 - width :]


def _most_first(counts: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: -item[1])
