"""The report as files: one page or, if that would be too large, an index and a page per camera."""

from __future__ import annotations

import base64
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import cast

from markupsafe import Markup

from engine.analytics import Event, EventKind
from engine.analytics.answering import CameraAnswers
from engine.analytics.export import write_whole
from engine.analytics.reviewed import Reviewed
from engine.analytics.settings import AnswerSettings
from engine.analytics.verdicts import Judged
from engine.errors import OutputError, describe_os_error
from engine.files.folders import Folder
from engine.output_folder.own_files import foreign, is_own_in, refuse_foreign
from engine.report.charts import MAX_BARS, Bar, bars_of, chart, colour_of, moment
from engine.report.crops import Crop, pictures
from engine.report.gather import Gathering, cameras, gather
from engine.report.island import Island, island_of, safe_json, shown
from engine.report.messages import Said, said
from engine.report.records import CameraReport, Part, VideoFacts
from engine.report.shapes import NARROW, WIDE, points_of, shapes_of
from engine.report.template import asset, data_uri, page_of, template
from engine.report.words import Language, Words
from engine.summary import JobManifestJson, ManifestJson

NAME = "report.html"
FOLDER = "report"

MAX_PAGE_BYTES = 5_000_000
"""The maximum size of a page; a larger one becomes an index and a page per camera."""

NOT_EXAMINED = "–"
"""Shown instead of a number if nothing was examined, which is not zero."""

_MAX_ROWS = 200
_SHORTEST_PART_S = 1.0  # durations in headers are inexact
_BYTES_OF_A_KEY = 16
_HEAD_BYTES = 30_000  # approximate size of problems, totals and provenance
_MAX_INPUTS = 1000
_OWN_PAGE = re.compile(r"\d{4}-[\w.-]*\.html")


@dataclass(frozen=True)
class Written:
    """The written files: `report` is the page to open, `pages` are those of single cameras."""

    report: Path
    pages: tuple[Path, ...]


@dataclass(frozen=True)
class _Legend:
    name: str
    colour: int
    count: str


@dataclass(frozen=True)
class _Row:
    """A row of a chart's table; without cells if nothing was examined."""

    when: str
    cells: tuple[str, ...]


@dataclass(frozen=True)
class _Chart:
    """A line's chart. `more` says how many rows the table lacks."""

    line: str
    per: str
    svg: Markup
    legend: list[_Legend]
    heads: list[str]
    rows: list[_Row]
    more: str


@dataclass(frozen=True)
class _Trouble:
    """A row of the list of problems: what is affected, the kind, its name in words, and the reason."""

    name: str
    kind: str
    status: str
    why: list[Said]


@dataclass(frozen=True)
class _Part:
    """A rendered camera: its section, its data, its row of an index, and its crops, with the tracks in order of
    priority for crops: those with events, then the longest."""

    name: str
    section: Markup
    island: Island
    row: dict[str, str]
    crops: Mapping[int, Crop]
    order: tuple[int, ...]

    @property
    def bytes(self) -> int:
        return len(self.section) + self.island.bytes


def write_report(
    folder: Path,
    manifest: ManifestJson,
    settings: AnswerSettings,
    *,
    language: Language = "en",
    roots: Sequence[Path] = (),
    tick: Callable[[], None] = lambda: None,
    max_bytes: int = MAX_PAGE_BYTES,
    verdicts: Sequence[Judged] | None = None,
    counted: Sequence[CameraAnswers] = (),
    overwrite: bool = False,
) -> Written:
    """Write `report.html` of a run or a job into its output folder, from its manifest and tracks.

    If it would be larger than `max_bytes`, it becomes an index, and `report/` has a page per camera. Each file appears
    whole or not at all. `roots`: only videos below one of them are opened. `tick` is called during the work. With
    `verdicts`, rejected tracks and events are left out. `counted` are answers that need not be computed again. Raises
    InputError if the manifest or tracks can't be read, and OutputError, also if a page would replace a file that this
    program did not write (`overwrite` allows that).
    """
    refuse_foreign(folder / NAME, overwrite=overwrite)
    job = cast("JobManifestJson", manifest)  # a run's manifest only lacks some keys
    known = {each.answers.camera: each for each in counted}
    work = Gathering(folder, job, settings, roots, tick, verdicts, known)
    return _Writer(work, Words(language), max_bytes, overwrite=overwrite).write()


class _Writer:
    def __init__(self, work: Gathering, words: Words, max_bytes: int, *, overwrite: bool) -> None:
        self._overwrite = overwrite
        self._work = work
        self._words = words
        self._max_bytes = max_bytes
        self._room = max_bytes - len(asset("report.js")) - len(asset("page.css")) - _HEAD_BYTES  # for cameras
        self._report = gather(work)
        # By frequency; they determine the colours on all pages.
        counts: Counter[str] = Counter()
        for entry in work.entries:
            counts.update(entry.get("tracks_by_class") or {})
        self._classes = [name for name, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]
        self._sums: Counter[str] = Counter()
        self._reviewed = Reviewed()
        self._troubles: list[_Trouble] = []

    def write(self) -> Written:
        held: list[_Part] = []
        rows: list[dict[str, str]] = []
        pages: list[Path] = []
        size = 0
        examined = (each for each in cameras(self._work) if each.answers.examined_s)  # others only appear as problems
        for number, camera in enumerate(examined):
            part = self._part(camera, number)
            held.append(part)
            size += part.bytes
            if size > self._room:  # now it becomes an index
                pages += self._pages(held, rows)
                held = []
        if pages:
            pages += self._pages(held, rows)
            html = self._page([], rows, whole=True)
        else:
            html = self._page(held, [], whole=True)
        report = self._work.folder / NAME
        write_whole(report, html.encode())
        self._remove_others(pages)
        return Written(report, tuple(pages))

    def _pages(self, parts: Sequence[_Part], rows: list[dict[str, str]]) -> Iterator[Path]:
        """Write a page per part, and add its row to the index."""
        for part in parts:
            name = f"{len(rows) + 1:04}-{_slug(part.name)}.html"
            self._put(name, self._page([part], [], whole=False))
            rows.append({**part.row, "href": f"{FOLDER}/{name}"})
            yield self._work.folder / FOLDER / name

    def _put(self, name: str, html: str) -> None:
        """Write the page of a camera."""
        shown = self._work.folder / FOLDER
        try:
            with Folder.at(self._work.folder) as own, own.sub(FOLDER, make=True) as folder:
                if not self._overwrite and not is_own_in(folder, name):
                    raise OutputError(foreign(shown / name))
                folder.put(name, html.encode())
        except OSError as error:
            raise OutputError(f"{shown / name} can't be written: {describe_os_error(error)}.") from error

    def _remove_others(self, pages: Sequence[Path]) -> None:
        """Remove pages of an earlier report that this one does not have."""
        kept = {page.name for page in pages}
        try:
            with Folder.at(self._work.folder) as own:
                with own.sub(FOLDER) as folder:
                    for name in filter(_OWN_PAGE.fullmatch, folder.names()):
                        if name not in kept and is_own_in(folder, name):
                            folder.remove(name)
                    left = folder.names()
                if not left:
                    own.remove_folder(FOLDER)
        except (FileNotFoundError, NotADirectoryError, OutputError):  # no folder of ours
            return
        except OSError as error:
            shown = self._work.folder / FOLDER
            raise OutputError(f"{shown} can't be written: {describe_os_error(error)}.") from error

    def _part(self, camera: CameraReport, number: int) -> _Part:
        for track in camera.answers.tracks:
            if track.class_name not in self._classes:
                self._classes.append(track.class_name)
        words = self._words
        crossings = [event for event in camera.answers.events if event.kind is EventKind.CROSSING]
        stays = [event for event in camera.answers.events if event.kind is EventKind.STAY]
        self._reviewed += camera.reviewed or Reviewed()
        self._sums.update(
            ids=camera.objects.ids,
            low=camera.objects.low,
            high=camera.objects.high,
            crossings=len(crossings),
            stays=len(stays),
        )
        for gap in camera.gaps:
            start, end = moment(gap.starts, gap.start_s), moment(gap.ends, gap.end_s)
            self._troubles.append(
                _Trouble(shown(camera.name), "partial", words("gap"), [Said(words("gap_why", start=start, end=end))])
            )
        island = island_of(camera, self._classes, self._room * 4 // 5)
        section = self._section(camera, number, island, crossings, stays)
        row = {
            "name": shown(camera.name),
            "videos": words.number(len(camera.videos)),
            "ids": words.number(camera.objects.ids),
            "objects": self._range(camera.objects.low, camera.objects.high),
            "crossings": words.number(len(crossings)),
            "stays": words.number(len(stays)),
        }
        busy = {event.track_id for event in camera.answers.events}
        tracks = sorted(camera.answers.tracks, key=lambda track: (track.track_id not in busy, -track.duration_s))
        return _Part(camera.name, section, island, row, camera.crops, tuple(track.track_id for track in tracks))

    def _section(
        self, camera: CameraReport, number: int, island: Island, crossings: list[Event], stays: list[Event]
    ) -> Markup:
        words, scene = self._words, camera.scene
        width, height = size_wh = camera.size_wh or (16, 9)
        of_class = Counter(track.class_name for track in camera.answers.tracks)
        dwells = {zone.name: [e.dwell_s or 0.0 for e in stays if e.place == zone.name] for zone in scene.zones}
        facts = [
            words.some("videos", len(camera.videos)),
            words.some("ids", camera.objects.ids),
            words.some("objects", camera.objects.high, self._range(camera.objects.low, camera.objects.high)),
        ]
        return Markup(
            template("camera.html").render(
                t=words,
                number=number,
                name=shown(camera.name),
                facts=" · ".join(facts),
                thinned=list(self._thinned(island)),
                still=data_uri(camera.still.jpeg) if camera.still else None,
                width=width,
                height=height,
                ignored=[points_of(each.polygon, (width, height)) for each in scene.ignore],
                shapes=[shapes_of(scene, size_wh, across) for across in (WIDE, NARROW)],
                legend=self._legend(of_class),
                charts=[self._chart(camera, line.name, line.into, line.out, crossings) for line in scene.lines],
                stays=[
                    {
                        "zone": shown(name),
                        "count": words.number(len(found)),
                        "dwell": f"{words.number(median(found), 1)} s" if found else "",
                    }
                    for name, found in dwells.items()
                ],
            )
        )

    def _chart(self, camera: CameraReport, line: str, into: str, out: str, crossings: list[Event]) -> _Chart:
        words = self._words
        of_line = [event for event in crossings if event.place == line]
        by_class = Counter(event.class_name for event in of_line)
        by_way = Counter(event.direction for event in of_line)
        bars = bars_of(camera.bins, camera.counts, line, into, out, MAX_BARS)
        per = words("per_bin", length=words.duration(bars[0].end_s - bars[0].start_s)) if bars else ""
        said = words(
            "chart_said",
            line=line,
            into=into,
            into_count=words.number(by_way[into]),
            out=out,
            out_count=words.number(by_way[out]),
            bins=words.number(len(bars)),
        )
        heads = [(way, name) for way in (into, out) for name in sorted(by_class)]
        return _Chart(
            line=shown(line),
            per=per,
            svg=chart(bars, self._classes, into, out, said, words),
            legend=self._legend(by_class),
            heads=[f"{shown(way)}: {self._class_shown(name)}" for way, name in heads] or [words("count")],
            rows=[self._row(bar, heads, into) for bar in bars[:_MAX_ROWS]],
            more=words.some("more_bins", len(bars) - _MAX_ROWS) if len(bars) > _MAX_ROWS else "",
        )

    def _row(self, bar: Bar, heads: Sequence[tuple[str, str]], into: str) -> _Row:
        cells = [self._words.number((bar.up if way == into else bar.down).get(name, 0)) for way, name in heads] or ["0"]
        return _Row(moment(bar.starts, bar.start_s), tuple(cells) if bar.examined else ())

    def _legend(self, counts: Mapping[str, int]) -> list[_Legend]:
        order = sorted(counts, key=lambda name: (-counts[name], name))
        return [
            _Legend(self._class_shown(name), colour_of(self._classes, name), self._words.number(counts[name]))
            for name in order
        ]

    def _thinned(self, island: Island) -> Iterator[str]:
        thinned, words = island.thinned, self._words
        if thinned.paths:
            yield words(f"thinned_paths_{thinned.paths}")
        if thinned.idle:
            yield words(
                "thinned_idle",
                left=words.number(thinned.idle),
                all=words.number(thinned.tracks),
                seconds=words.number(thinned.seconds, 1),
            )
        if thinned.listed is not None:
            yield words("thinned_listed", listed=words.number(thinned.listed), all=words.number(thinned.tracks))

    def _range(self, low: int, high: int) -> str:
        words = self._words
        return words.number(low) if low == high else words("range", low=words.number(low), high=words.number(high))

    def _page(self, parts: Sequence[_Part], index: Sequence[Mapping[str, str]], *, whole: bool) -> str:
        words, report = self._words, self._report
        up = not whole
        page = {
            "id": report.report_id,
            "lang": words.language,
            "up": "../" if up else "./",
            "words": words.of_scripts(),
            "classes": [self._class_shown(name) for name in self._classes],
        }
        return page_of(
            "report.html",
            "report.js",
            words,
            page,
            heading=shown(parts[0].name) if up else Path(report.folder).name or report.folder,
            up=up,
            started=(report.started_at or "").replace("T", " ").replace("+00:00", " UTC"),
            whole=whole,
            report=report,
            troubles=[*self._bad(), *self._troubles] if whole else [],
            all_well=words("all_well")
            if report.part is None
            else words("all_well_part", part=self._told_part(report.part)),
            noted=words("noted" if report.part is None else "noted_part"),
            notes=[{"name": each.name, "why": self._said(*each.notes)} for each in report.noted],
            totals=self._totals(),
            reviewed=self._told_of_review() if whole else "",
            index=index,
            largest=f"{words.number(self._max_bytes / 1e6, 1 if self._max_bytes < 1e6 else 0)} MB",
            parts=[part.section for part in parts],
            islands=[part.island.json for part in parts],
            crops=self._pictures(parts),
            made=report.provenance,
            described=self._said(report.provenance.model_description),
            reason=self._said(report.provenance.why),
            verdict=[self._said(line.removeprefix("- ")) for line in report.provenance.verdict],
            error=self._said(report.error or ""),
            accuracy=list(self._accuracy()),
            took=self._took(),
            inputs=[self._input(video) for video in report.videos[:_MAX_INPUTS]],
            more_inputs=len(report.videos) if len(report.videos) > _MAX_INPUTS else 0,
        )

    def _took(self) -> str:
        words, totals = self._words, self._report.totals
        told = f"{words.duration(totals.elapsed_s)}, {words.number(totals.fps, 1)} fps"
        if totals.cpu_s is None or totals.cpu_s_per_hour is None:
            return told
        return f"{told}, {words('cost', cpu=words.number(totals.cpu_s), hour=words.number(totals.cpu_s_per_hour))}"

    def _pictures(self, parts: Sequence[_Part]) -> list[Markup]:
        """Return the crops of each part as JSON: JPEGs in base64 by track. They only use the space left on a page, so
        that they never turn it into an index."""
        left = self._room - sum(part.bytes for part in parts)
        tracks = sum(len(part.order) for part in parts) or 1
        found = []
        for part in parts:
            room = max(0, left) * len(part.order) // tracks
            jpegs = pictures(part.crops, part.order, room * 3 // 4 - _BYTES_OF_A_KEY * len(part.crops))
            coded = {track_id: base64.b64encode(jpeg).decode() for track_id, jpeg in sorted(jpegs.items())}
            found.append(safe_json(coded))
        return found

    def _class_shown(self, name: str) -> str:
        return shown(self._words.class_name(name))

    def _said(self, *messages: str) -> list[Said]:
        return [part for message in messages for part in said(message, self._words)]

    def _bad(self) -> Iterator[_Trouble]:
        words = self._words
        order = {"partial": 1}
        for video in sorted(self._report.problems, key=lambda each: order.get(each.status, 0)):
            why = self._said(*([video.error] if video.error else []), *video.notes)
            yield _Trouble(video.name, video.status.replace(" ", "-"), self._status(video), why)
        for each in self._report.left_out:
            yield _Trouble(each.path, "left", words("left_out"), self._said(each.why))

    def _accuracy(self) -> Iterator[str]:
        words, report = self._words, self._report
        if report.part is not None:
            yield words("acc_part", self._told_part(report.part))
        for note in report.accuracy:
            classes = ", ".join(map(words.class_name, note.classes))
            yield words(note.key, *map(words.digits, note.values), classes=classes)

    def _told_part(self, part: Part) -> str:
        words = self._words
        start, end = (None if bound is None else words.duration(bound) for bound in (part.start_s, part.end_s))
        if start is None:
            return words("part_to", end=end)
        return words("part_from", start=start) if end is None else words("part_between", start=start, end=end)

    def _status(self, video: VideoFacts) -> str:
        if video.status == "ok" and self._report.part is not None:
            return self._words("status_ok_part")
        key = f"status_{video.status}"
        return self._words(key) if key in _STATUSES else video.status

    def _totals(self) -> list[tuple[str, str, str]]:
        words, totals, sums = self._words, self._report.totals, self._sums
        bad = (("failed", totals.failed), ("partial", totals.partial))
        rows = [
            (words.number(totals.videos), words("videos"), ", ".join(words.some(key, n) for key, n in bad if n)),
            (words.duration(totals.examined_s), words("examined"), words.some("frames", totals.frames)),
            (self._range(sums["low"], sums["high"]), words("objects"), words.some("ids", sums["ids"])),
        ]
        if self._work.settings.scenes:
            rows += [
                (words.number(sums["crossings"]), words("crossings"), ""),
                (words.number(sums["stays"]), words("stays"), ""),
            ]
        return rows

    def _told_of_review(self) -> str:
        if self._work.verdicts is None:
            return ""
        met = self._reviewed
        confirmed, rejected = self._words.number(met.confirmed), self._words.number(met.rejected)
        return self._words("reviewed", confirmed=confirmed, rejected=rejected)

    def _input(self, video: VideoFacts) -> dict[str, str]:
        words = self._words
        more = [words("attempts", count=video.attempts)] if video.attempts > 1 else []
        more += [words("resumed", frame=words.number(video.resumed_from))] if video.resumed_from else []
        return {
            "name": video.name,
            "status": ", ".join([self._status(video), *more]),
            "frames": words.number(video.frames) if video.frames else NOT_EXAMINED,
            "length": self._length(video),
            "clock": words(f"clock_{video.clock}") if f"clock_{video.clock}" in _STATUSES else video.clock,
            "sha256": video.sha256,
        }

    def _length(self, video: VideoFacts) -> str:
        """Return the duration of a video, and the examined part if that is less."""
        words = self._words
        if not video.duration_s:
            return NOT_EXAMINED
        length, examined = words.duration(video.duration_s), words.duration(video.examined_s)
        less = video.status in ("ok", "partial") and video.examined_s < video.duration_s - _SHORTEST_PART_S
        return words("length_of", examined=examined, length=length) if less else length


_STATUSES = frozenset(
    "status_ok status_failed status_partial status_cancelled clock_given clock_name clock_container clock_none".split()
) | {"status_not begun"}


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[:60] or "camera"
