"""Cuts the clips of a finished run: copied where that holds all frames, encoded where it does not."""

from __future__ import annotations

import csv
import logging
import os
import secrets
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath

from engine.analytics import read_tracks
from engine.analytics.export import write_whole
from engine.clips.copying import Copy, copy, copy_suffix
from engine.clips.encoding import encode
from engine.clips.lists import clips_csv, empty_txt
from engine.clips.packets import Cut as PacketCut
from engine.clips.packets import PacketIndex
from engine.clips.plan import ClipSettings, Part, parts_of
from engine.errors import OutputError, VideoError, describe_os_error
from engine.files.folders import refuse_link
from engine.files.opened import OpenedFile
from engine.finished import FinishedRun, FinishedVideo, file_word, fresh_name, happenings_of
from engine.media.source import Source
from engine.own_files import refuse_foreign
from engine.sinks.base import discard, publish, sole_writer
from engine.stages.decode import never_begun

log = logging.getLogger(__name__)

FOLDER = "clips"


@dataclass(frozen=True)
class Clip:
    """One clip: its path, below the folder of the clips as `name`, and the frames in it, by their numbers in the rows;
    seconds are those of the video's container. `mode` is copy or exact, `lead_s` how much was copied in front of what
    was asked for; `note` says why it is not as asked."""

    path: Path
    name: PurePosixPath
    mode: str
    video: str
    part: Part
    begins_s: float
    ends_s: float
    begins_at: datetime | None
    ends_at: datetime | None
    first_frame: int
    last_frame: int
    lead_s: float = 0.0
    note: str = ""


@dataclass
class Cut:
    """What came of it: the clips, the lists, the videos that could not be cut and why."""

    folder: Path
    clips: list[Clip] = field(default_factory=list)
    lists: list[Path] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


def cut_clips(
    run: FinishedRun,
    settings: ClipSettings,
    folder: Path | None = None,
    *,
    roots: Sequence[Path] = (),
    tick: Callable[[], None] = lambda: None,
    overwrite: bool = False,
) -> Cut:
    """Cut the clips of a run into `folder` (None: `clips` in the run's own), and write clips.csv and empty.txt there.

    A clip appears whole or not at all. What can't be cut is told in the result, and the rest is cut all the same. With
    `roots`, only sources below one of them are opened. Clips in an earlier clips.csv are replaced; what else lies there
    keeps its name, and a clip gets another, unless `overwrite` says that it may go. Raises InputError where rows can't
    be read, and OutputError.
    """
    target = folder or run.folder / FOLDER
    if folder is None:
        refuse_link(target)
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"Folder {target} can't be made: {describe_os_error(error)}.") from error
    cut = Cut(target)
    refuse_foreign(target / "clips.csv", target / "empty.txt", overwrite=overwrite)
    with sole_writer(target):
        parts = parts_of(happenings_of(run, settings.selection, tick), settings)
        taken: set[str] = set()
        own = None if overwrite else _listed(target)
        for number, wanted in parts.items():
            video = run.videos[number]
            try:
                for clip in _VideoCutter(run, video, settings, target, tick, own).cut(wanted, taken, roots):
                    cut.clips.append(clip)
            except VideoError as error:
                cut.failed[video.name] = str(error)
                log.warning("%s: no clips: %s", video.name, error)
        for name, text in (("clips.csv", clips_csv(cut.clips)), ("empty.txt", empty_txt(run))):
            write_whole(target / name, text.encode("utf-8", "backslashreplace"))
            cut.lists.append(target / name)
    return cut


def _listed(folder: Path) -> frozenset[str]:
    """Return the clips that the clips.csv in a folder names: those of the run before."""
    try:
        with open(folder / "clips.csv", newline="", encoding="utf-8", errors="backslashreplace") as file:
            return frozenset(row.get("clip") or "" for row in csv.DictReader(file))
    except (OSError, csv.Error):
        return frozenset()


class _VideoCutter:
    """Cuts the clips of one video."""

    def __init__(
        self,
        run: FinishedRun,
        video: FinishedVideo,
        settings: ClipSettings,
        folder: Path,
        tick: Callable[[], None],
        own: Container[str] | None,
    ) -> None:
        """`own` are the clips that may be replaced; None: whatever has a clip's name."""
        self._own = own
        self._run = run
        self._video = video
        self._settings = settings
        self._folder = folder
        self._place = folder / video.stem.parent
        self._tick = tick
        self._token = secrets.token_hex(8)

    def cut(self, parts: Sequence[Part], taken: set[str], roots: Sequence[Path]) -> Iterator[Clip]:
        """Give each clip once it stands under its name. Raises VideoError, InputError and OutputError."""
        path = self._video.annotated if self._hides else self._video.source
        if path is None and self._hides:
            raise VideoError("has no annotated video, from which clips of a run with `blur` are cut")
        if path is None:
            raise VideoError("is a live source, of which no file is kept")
        refuse_link(self._place)
        try:
            self._place.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"Folder {self._place} can't be made: {describe_os_error(error)}.") from error
        growing = [self._place / f".clip-{self._token}-{number}.part" for number in range(len(parts))]
        try:
            with OpenedFile(str(path), () if self._hides else roots) as file:
                if not self._hides and self._video.size_bytes not in (None, file.facts.st_size):
                    raise VideoError("is not the file that the tracks are of: its size has changed since the run")
                for made in self._made(file, parts, growing):
                    yield self._published(made, taken)
        finally:
            for each in growing:
                discard(each)

    def _made(self, file: OpenedFile, parts: Sequence[Part], growing: Sequence[Path]) -> Iterator[_Made]:
        why: dict[Path, str] = {}
        cuts: dict[Path, tuple[Part, PacketCut]] = {}
        with closing(self._source(file)) as source:
            audio = source.open().audio
            index = PacketIndex.read(source)
            suffix = copy_suffix(audio)
        shift = self._shift_of(index)
        own = [shift.there(part) for part in parts]
        for part, path in zip(own, growing, strict=True):
            frames = index.frames_of(part) if index.problem is None else None
            found = index.cut(*frames) if frames is not None else None
            if found is None:
                why[path] = index.problem or "no key frame stands in front of it"
            elif not self._settings.exact or found.shown == found.wanted:
                cuts[path] = part, found
        by_path = dict(zip(growing, parts, strict=True))
        if cuts:
            with closing(self._source(file)) as source:
                audio = source.open().audio
                copies = [Copy(found, path, suffix) for path, (_, found) in cuts.items()]
                why |= copy(source, audio, index, copies, self._tick)
            for path, (_, found) in cuts.items():
                if path not in why:
                    yield shift.back(self._copied(path, by_path[path], found, index, suffix))
        left = [(part, path) for part, path in zip(own, growing, strict=True) if path in why or path not in cuts]
        if left:
            first_s = 0.0 if self._hides else self._video.first_s
            made = encode(file, file.path, first_s, left, self._run.config, self._tick)
            for _, path in left:
                if (each := made.get(path)) is not None:
                    note = "; ".join(filter(None, ("" if self._settings.exact else why.get(path, ""), *each.notes)))
                    frames = each.first_frame, each.last_frame
                    part = by_path[path]
                    yield shift.back(_Made(path, ".mp4", "exact", part, each.begins_s, each.ends_s, frames, 0.0, note))

    @property
    def _hides(self) -> bool:
        """Whether clips are cut from the annotated video: the source shows what that one hides."""
        return bool(self._run.config.blur)

    def _shift_of(self, index: PacketIndex) -> _Shift:
        """Compare the rows with the frames of the file; where they don't fit, note it in the index. Raises InputError,
        and VideoError where an annotated video is not that of the rows."""
        origin: int | None = None
        if self._video.tracks is None:
            return _Shift(0, 0.0)
        for samples in read_tracks(self._video.tracks):
            if self._hides:
                found = index.origin_of(samples.frames, samples.times_s, self._video.annotated_s)
                if found is None or origin not in (None, found):
                    raise VideoError("has tracks that are not those of its annotated video: `yolo-engine render` it")
                origin = found
            else:
                index.check_rows(samples.frames, samples.pts)
            self._tick()
        return _Shift(origin or 0, self._video.annotated_s if self._hides else 0.0)

    def _copied(self, path: Path, part: Part, cut: PacketCut, index: PacketIndex, suffix: str) -> _Made:
        base = index.time_base
        begins_s, ends_s = float(cut.begins_pts * base), float(cut.ends_pts * base)
        lead_s = float((cut.wanted_pts[0] - cut.begins_pts) * base)
        return _Made(path, suffix, "copy", part, begins_s, ends_s, cut.shown, lead_s, "")

    def _published(self, made: _Made, taken: set[str]) -> Clip:
        words = name_words(self._video, made.part)
        below = self._video.stem.parent
        while True:
            name = PurePosixPath(below, fresh_name(words, made.suffix, {PurePosixPath(each).name for each in taken}))
            taken.add(str(name))
            if self._own is None or str(name) in self._own or not os.path.lexists(self._folder / name):
                break  # else another's keeps its name
        publish(made.path, self._folder / name)
        happening, span = made.part.happenings[0]

        def at(seconds: float) -> datetime | None:
            if happening.at is None:
                return None
            moment = happening.at.astimezone(UTC) + timedelta(seconds=seconds - span.begins_s)
            return moment.astimezone(happening.at.tzinfo)

        return Clip(
            self._folder / name,
            name,
            made.mode,
            self._video.name,
            made.part,
            made.begins_s,
            made.ends_s,
            at(made.begins_s),
            at(made.ends_s),
            *made.frames,
            made.lead_s,
            made.note,
        )

    def _source(self, file: OpenedFile) -> Source:
        source = Source(file.path, audio=True, options=never_begun(self._run.config.max_frame_bytes))
        source.file = file
        return source


@dataclass(frozen=True)
class _Shift:
    """How frames are numbered and timed in the rows, against the file that is cut."""

    frames: int
    seconds: float

    def there(self, part: Part) -> Part:
        """Return a part as the file has it."""
        frames = None if part.frames is None else (part.frames[0] - self.frames, part.frames[1] - self.frames)
        begins_s, ends_s = part.begins_s - self.seconds, part.ends_s - self.seconds
        return replace(part, begins_s=begins_s, ends_s=ends_s, after_s=part.after_s - self.seconds, frames=frames)

    def back(self, made: _Made) -> _Made:
        """Return a clip as the rows have it."""
        first, last = made.frames
        begins_s, ends_s = made.begins_s + self.seconds, made.ends_s + self.seconds
        return replace(made, begins_s=begins_s, ends_s=ends_s, frames=(first + self.frames, last + self.frames))


@dataclass(frozen=True)
class _Made:
    """A clip that is complete and does not stand under its name yet."""

    path: Path
    suffix: str
    mode: str
    part: Part
    begins_s: float
    ends_s: float
    frames: tuple[int, int]
    lead_s: float
    note: str


def name_words(video: FinishedVideo, part: Part) -> list[str]:
    """Return what stands in a clip's name: the video, the clock (or the second in the video), the first event and its
    track, and how many more there are."""
    happening, span = part.happenings[0]
    at = happening.at
    if at is None:
        clock = f"{span.begins_s:010.3f}s"
    else:
        offset = at.strftime("%z")
        clock = at.strftime("%Y-%m-%dT%H-%M-%S") + ("Z" if offset == "+0000" else offset)
    words = [file_word(PurePosixPath(video.stem).name, 80), clock, happening.kind]
    words += [file_word(happening.place), file_word(happening.direction), file_word(happening.class_name)]
    words.append(str(happening.track_id))
    if (more := len(part.happenings) - 1) > 0:
        words.append(f"and-{more}-more")
    if part.of > 1:
        words.append(f"part-{part.number}-of-{part.of}")
    return words
