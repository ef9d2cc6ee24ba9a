"""Views of jobs: tables and lines for people, plain values for `--json`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import PurePath
from typing import TYPE_CHECKING

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from engine.cli.answers_table import NOT_EXAMINED
from engine.cli.console import screen as screen_on
from engine.text.printable import printable
from orchestrator.client.snapshot import Snapshot, VideoRow
from orchestrator.job.outcomes import ENDINGS
from orchestrator.job.records import EntryStatus

if TYPE_CHECKING:
    from engine.cli.console import Screen

STYLES = {
    "ok": "green",
    "completed": "green",
    "processing": "cyan",
    "partial": "yellow",
    "warning": "yellow",
    "waiting": "yellow",
    "cancelling": "yellow",
    "cancelled": "yellow",
    "not begun": "yellow",
    "failed": "red",
}

WIDE = 130
"""The console width from which tables have all of their columns, and ids are not abbreviated."""
_SILENT_S = 10.0
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_MAX_ROWS = 60
_MAX_PATH, _WIDE = 40, 160
# Videos that may need attention come first.
_BY_WEIGHT = ("failed", "partial", "cancelled", "not begun", "processing", "waiting", "queued", "ok")
_ORDER = {name: place for place, name in enumerate(_BY_WEIGHT)}


class Fitted:
    """A renderable that is built for the width of its console."""

    def __init__(self, make: Callable[[int], RenderableType]) -> None:
        self._make = make

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self._make(options.max_width)


def screen() -> Screen:
    """Return a console on standard output; wide if it is not a terminal."""
    return screen_on(width=_WIDE)


def table_of(*columns: str) -> Table:
    """Return an empty table in this program's style; a column whose name begins with `>` has numbers."""
    table = Table(box=None, pad_edge=False)
    for name in columns:
        right = name.startswith(">")
        whole = right or name in ("id", "job", "step", "state", "status")
        table.add_column(name.lstrip(">"), justify="right" if right else "left", no_wrap=whole, overflow="fold")
    return table


def state_text(state: str) -> Text:
    return Text(state, style=STYLES.get(state, ""))


# -- the monitor ------------------------------------------------------------------------------------------------------


def live_view(shot: Snapshot, rows: int) -> RenderableType:
    """Render the job's counts, its warnings, the running videos (at most `rows`) and the last few that ended."""
    return Fitted(lambda width: _live_view(shot, rows, width))


def _live_view(shot: Snapshot, rows: int, width: int) -> RenderableType:
    narrow = width < WIDE
    parts: list[RenderableType] = [Text.assemble((shot.id, "bold"), "  ", state_text(shot.state), "  ", counts(shot))]
    parts += [Text(f"Warning: {printable(warning)}", style=STYLES["warning"]) for warning in shot.warnings]
    extra = () if narrow else ("worker", ">attempt", ">seen")
    table = table_of("video", *(() if narrow else ("",)), ">frames", ">fps", ">left", "stage", *extra)
    for row in shot.working[:rows]:
        about = row.index is not None
        bar = ProgressBar(total=row.frames_total, completed=row.frames, width=20, pulse=row.frames_total is None)
        cells: list[RenderableType] = [_video(row, shot, width)]
        cells += [] if narrow else [bar if about else ""]
        cells += [frames(row) if about else "", f"{row.fps:.0f}" if about else "", span(row.eta_s)]
        stage = printable(row.stage, 40)
        if narrow:
            silent = f", seen {ago(row.age_s)}" if row.age_s is not None and row.age_s >= _SILENT_S else ""
            cells.append(Text(stage + silent))
        else:
            cells += [Text(stage), Text(printable(row.worker)), str(row.attempts or ""), ago(row.age_s)]
        table.add_row(*cells)
    lately = shot.lately_ended[::-1][: max(0, rows - len(shot.working))]
    for row in [] if narrow else lately:
        remark = f"{row.status}: {row.error}" if row.error else row.status
        table.add_row(
            _video(row, shot, width),
            Text(_cut(printable(remark), max(20, min(60, width - 100))), style=STYLES[row.status]),
            frames(row),
            f"{row.fps:.0f}" if row.fps else "",
            "",
            "",
            Text(printable(row.worker)),
            str(row.attempts),
            "",
        )
    if table.row_count:
        parts.append(table)
    if narrow:
        parts += [_remark(row, shot, width) for row in lately]
    if len(shot.working) > rows:
        parts.append(Text(f"and {len(shot.working) - rows} more at work"))
    return Group(*parts)


def awaited(shot: Snapshot) -> str:
    """Describe what a job that has begun is waiting for; "" if it does not wait."""
    if shot.waits_for:
        return f"for job {shot.waits_for}, which writes to the same folder"
    return f"for room in the quota of {printable(shot.waits_in)}" if shot.waits_in else ""


def line(shot: Snapshot) -> str:
    """Return a job's state in one line, for logs."""
    why = f" {awaited(shot)}" if awaited(shot) else ""
    parts = [f"{shot.state}{why}: {counts(shot)}"]
    for row in shot.working[:4]:
        if row.index is None:
            parts.append(f"{row.worker}: {row.stage}")
        else:
            parts.append(f"{shown(row.path, shot)} {frames(row)}")
    if len(shot.working) > 4:
        parts.append(f"{len(shot.working) - 4} more")
    return printable("; ".join(parts))


def kept(shot: Snapshot) -> str:
    """Describe what a job that ended early leaves, and how to resume it."""
    partial = ", as valid .partial files" if shot.counts[EntryStatus.PARTIAL] else ""
    place = "on the machines of its workers" if shot.output is None else f"in {shot.output}"
    return f"Progress on the others is kept {place}{partial}; submit the same folder again to resume."


def counts(shot: Snapshot) -> str:
    """Describe a job's progress in words."""
    if shot.videos is None:
        return "its videos are not counted yet"
    words = [f"{shot.counts[EntryStatus.OK]} of {shot.videos} videos done"]
    words += [f"{count} {status}" for status, count in shot.counts.items() if count and status is not EntryStatus.OK]
    if shot.left and not shot.ended:
        words.append(f"{shot.left} left")
    if shot.working:
        words.append(f"{shot.fps:.0f} fps")
        if shot.eta_s is not None:
            words.append(f"{span(shot.eta_s)} to go")
    return ", ".join(words)


# -- --status ---------------------------------------------------------------------------------------------------------


def status_view(shot: Snapshot, rows: list[VideoRow], error: str | None) -> RenderableType:
    """Render a job's facts and its videos; if there are very many, only the most important."""
    return Fitted(lambda width: _status_view(shot, rows, error, width))


def _status_view(shot: Snapshot, rows: list[VideoRow], error: str | None, width: int) -> RenderableType:
    facts = Table.grid(padding=(0, 2))
    for name, value in (
        ("job", Text(shot.id, style="bold")),
        ("state", Text.assemble(state_text(shot.state), f"  {counts(shot)}")),
        ("waits", Text(awaited(shot))),
        ("task", Text(printable(shot.task))),
        ("videos", Text(printable(shot.video_folder))),
        ("output", Text(printable(shot.results))),
        ("created", Text(printable(f"{shot.created_at}{f', started {shot.started_at}' if shot.started_at else ''}"))),
        ("ended", Text(printable(shot.ended_at or ""))),
        ("cost", Text(cost(shot.cpu_s, shot.cpu_s_per_hour))),
        ("error", Text(printable(error or ""), style="red")),
    ):
        if value.plain:
            facts.add_row(name, value)
    parts: list[RenderableType] = [facts]
    parts += [Text(f"Warning: {printable(warning)}", style=STYLES["warning"]) for warning in shot.warnings]
    if rows:
        narrow = width < WIDE
        chosen = sorted(rows, key=lambda row: _ORDER[row.status])[:_MAX_ROWS] if len(rows) > _MAX_ROWS else rows
        table = table_of("video", "status", ">frames", ">fps", ">attempts", *(() if narrow else ("worker", "error")))
        for row in chosen:
            cells: list[RenderableType] = [_video(row, shot, width), state_text(row.status), frames(row)]
            cells += [f"{row.fps:.0f}" if row.fps else "", str(row.attempts or "")]
            cells += [] if narrow else [Text(printable(row.worker)), Text(printable(row.error or ""))]
            table.add_row(*cells)
        parts.append(table)
        if narrow:
            parts += [_remark(row, shot, width) for row in chosen if row.error]
        if len(rows) > len(chosen):
            parts.append(Text(f"and {len(rows) - len(chosen)} more: --json lists them all"))
    return Group(*parts)


def _video(row: VideoRow, shot: Snapshot, width: int) -> Text:
    """Return a video's name on one line, truncated at its beginning if it is long."""
    return Text(end_of(shown(row.path, shot), max(16, width // 3)), no_wrap=True)


def _remark(row: VideoRow, shot: Snapshot, width: int) -> Text:
    """Return a video's outcome on separate lines, for text that would not fit into a column."""
    name = end_of(shown(row.path, shot), max(16, width // 3))
    remark = f"{row.status}: {row.error}" if row.error else row.status
    return Text.assemble(f"{name}  ", (printable(remark), STYLES.get(row.status, "")))


def as_json(shot: Snapshot, rows: list[VideoRow] | None = None) -> dict[str, object]:
    """Return a job as plain values; with `rows`, its videos."""
    value: dict[str, object] = {
        "id": shot.id,
        "state": shot.state,
        "task": shot.task,
        "video_folder": shot.video_folder,
        "output_folder": shot.results,
        "created_at": shot.created_at,
        "started_at": shot.started_at,
        "ended_at": shot.ended_at,
        "counts": {
            "videos": shot.videos,
            **{key: shot.counts[status] for status, key in ENDINGS.items()},
            "left": shot.left,
            "at_work": len(shot.working),
        },
        "frames": shot.frames,
        "frames_total": shot.frames_total,
        "fps": round(shot.fps, 2),
        "eta_s": None if shot.eta_s is None else round(shot.eta_s, 1),
        "cpu_s": shot.cpu_s,
        "cpu_s_per_hour": shot.cpu_s_per_hour,
        "warnings": shot.warnings,
        "waits_for": shot.waits_for,
        "waits_in": shot.waits_in,
    }
    if rows is not None:
        value["videos"] = [
            {key: round(entry, 2) if isinstance(entry, float) else entry for key, entry in asdict(row).items()}
            for row in rows
        ]
    return value


# -- words ------------------------------------------------------------------------------------------------------------


def cost(cpu_s: float | None, per_hour: float | None) -> str:
    """Return a job's CPU time in words; "" if not measured."""
    if cpu_s is None:
        return ""
    return f"{cpu_s:,.0f} CPU seconds" + (f", {per_hour:,.0f} per hour of video" if per_hour is not None else "")


def shown(path: str, shot: Snapshot) -> str:
    """Return a video's path below the submitted folder; only its end if it is long."""
    inside = PurePath(path)
    if inside != shot.source and inside.is_relative_to(shot.source):
        inside = inside.relative_to(shot.source)
    text = printable(str(inside)) if path else ""
    return end_of(text, _MAX_PATH)


def end_of(text: str, width: int) -> str:
    """Return the end of a text; the end of a path says more than its beginning."""
    return text if len(text) <= width else "…" + text[1 - width :]


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def short_ids(text: str, width: int) -> str:
    """Abbreviate job ids, which every command accepts, if there is no room for whole ones."""
    return text if width >= WIDE else _UUID.sub(lambda found: found[0][:8], text)


def frames(row: VideoRow) -> str:
    if isinstance(row.status, EntryStatus):
        counted = row.frames or row.status in (EntryStatus.OK, EntryStatus.PARTIAL)
        return f"{row.frames:,}" if counted else NOT_EXAMINED
    if not row.frames and not row.frames_total:
        return ""
    return f"{row.frames:,}/{row.frames_total:,}" if row.frames_total else f"{row.frames:,}/?"


def span(seconds: float | None) -> str:
    """Format seconds as h:mm:ss; "" if unknown."""
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"


def ago(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds:.0f} s ago" if seconds < 120 else f"{span(seconds)} ago"


def age_s(at: str | None) -> float | None:
    """Return the seconds since a time in a record; None if there is none."""
    if not at:
        return None
    return max(0.0, (datetime.now(UTC) - datetime.fromisoformat(at)).total_seconds())


def listed(names: Iterable[str], limit: int = 5) -> str:
    """Join as `a, b and 3 more`."""
    every = list(names)
    return ", ".join(every[:limit]) + (f" and {len(every) - limit} more" if len(every) > limit else "")
