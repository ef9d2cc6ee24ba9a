"""What a person sees while a run goes on and when it ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from engine.pipeline.stream import Progress as StreamProgress
from engine.text.printable import printable

# The last two are of jobs: a video that was ended early, and one whose turn never came.
_STATUS_STYLE = {"ok": "green", "partial": "yellow", "failed": "red", "cancelled": "yellow", "not begun": "yellow"}


class ProgressBars:
    """A bar for each video in progress, on standard error. Does nothing where that is no terminal."""

    def __init__(self, console: Console) -> None:
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:,.0f}/{task.fields[of]} frames"),
            TextColumn("{task.fields[fps]:.0f} fps"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._said: list[str] = []

    def __enter__(self) -> Callable[[list[StreamProgress]], None]:
        self._bars.start()
        return self.update

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tell()
        self._bars.stop()

    def say(self, line: str) -> None:
        """Has a line printed above the bars, soon. For a signal handler, which may come in the midst of printing."""
        self._said.append(line)

    def _tell(self) -> None:
        while self._said:
            self._bars.console.print(printable(self._said.pop(0)), markup=False, highlight=False, soft_wrap=True)

    def update(self, streams: list[StreamProgress]) -> None:
        self._tell()
        present = {stream.path for stream in streams}
        for path in [path for path in self._tasks if path not in present]:
            self._bars.remove_task(self._tasks.pop(path))
        for stream in streams:
            if stream.path not in self._tasks:
                self._tasks[stream.path] = self._bars.add_task(escape(_tail(stream.path)), total=None, fps=0.0, of="?")
            fps = (stream.frames - stream.resumed_from) / stream.elapsed_s if stream.elapsed_s > 0 else 0.0
            total = stream.frames_total  # not known before the video is open
            self._bars.update(
                self._tasks[stream.path],
                completed=stream.frames,
                total=total,
                fps=fps,
                of=f"{total:,}" if total else "?",
            )


def print_summary(console: Console, summary: dict[str, Any]) -> None:
    """A row for each video, failed and partial ones with their reason, and the totals."""
    table = Table(box=None, pad_edge=False)
    table.add_column("video", no_wrap=True)
    table.add_column("status")
    for name in ("frames", "fps", "tracks"):
        table.add_column(name, justify="right")
    table.add_column("result", overflow="fold")
    for video in summary["videos"]:
        style = _STATUS_STYLE[video["status"]]
        counts = ", ".join(f"{count} {name}" for name, count in _most_first(video["tracks_by_class"]))
        resumed = f"continued from frame {video['resumed_from']:,}" if video.get("resumed_from") else ""
        told = (counts, objects_in_words(video), resumed, *video.get("notes", ()))
        remarks = [escape(printable(remark)) for remark in told if remark]
        if video["error"]:
            remarks.insert(0, f"[{style}]{escape(printable(video['error']))}[/]")
        table.add_row(
            escape(_tail(video["path"], max(20, console.width // 3))),
            f"[{style}]{video['status']}[/]",
            f"{video['frames']:,}",
            f"{video['fps']:.0f}",
            f"{video['tracks']:,}",
            "; ".join(remarks),
        )
    console.print(table)
    totals = summary["totals"]
    words = [f"{totals[name]} {name}" for name in ("failed", "partial")]
    words += [f"{totals[key]} {key.replace('_', ' ')}" for key in ("cancelled", "not_begun") if totals.get(key)]
    console.print(
        f"{_count(totals['videos'], 'video')} ({', '.join(words)}), "
        f"{_count(totals['frames'], 'frame')} in {totals['elapsed_s']:.1f} s = {totals['fps']:.0f} fps, "
        f"{_count(totals['tracks'], 'track')}. "
        f"Model {printable(summary['model']['name'], 200)} on {printable(summary['backend']['provider'], 200)}.",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def objects_in_words(video: Mapping[str, Any]) -> str:
    """How many objects the tracks of a video stand for, where that is not the number of its tracks."""
    low, high = video.get("objects") or (video["tracks"], video["tracks"])
    if low == high == video["tracks"]:
        return ""
    return f"{low:,} objects" if low == high else f"{low:,} to {high:,} objects"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _tail(path: str, width: int = 32) -> str:
    path = printable(path)
    return path if len(path) <= width else "…" + path[1 - width :]


def _most_first(counts: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: -item[1])
