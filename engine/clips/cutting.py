"""Cuts the clips of a finished run: by copying if that keeps all frames, otherwise by encoding."""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath

from engine.analytics import read_tracks
from engine.choices.formats import CLIPS_FOLDER
from engine.clips.copying import copy, copy_suffix
from engine.clips.cut import Clip, Cut
from engine.clips.encoding import Encoded, encode
from engine.clips.lists import EMPTY, LIST, clips_csv, empty_txt, listed_before
from engine.clips.packets import PacketIndex
from engine.clips.plan import ClipSettings, Part, parts_of
from engine.clips.writing import Copy
from engine.errors import OutputError, SinkError, Unencodable, VideoError, describe_os_error
from engine.files.folders import Folder
from engine.files.listed import ListedFiles
from engine.files.objects import open_input
from engine.files.opened import OpenedFile
from engine.finished import FinishedRun, FinishedVideo, file_word, fresh_name, happenings_of
from engine.media.source import Source
from engine.output_folder.own_files import foreign, is_own_in
from engine.results import refuse_changed
from engine.sinks.base import discard, sole_writer
from engine.stages.decode import never_begun

log = logging.getLogger(__name__)

SUFFIXES = frozenset({".mp4", ".mkv"})
# Names of unfinished files; a clip gets its own name once it is complete.
_PARTS = re.compile(r"\.clip-[0-9a-f]{16}-\d+\.part.*", re.DOTALL)


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

    A clip appears whole or not at all. Failures are reported in the result and don't stop the rest. Clips of an earlier
    run that are not cut again are removed; foreign files stay, and one that has the name of a list is an error unless
    `overwrite` is set. With `roots`, only sources below one of them are opened. Raises InputError if rows can't be
    read, and OutputError.
    """
    try:
        with _opened(run, folder) as target, sole_writer(target):
            for name in (LIST, EMPTY):
                if not overwrite and not is_own_in(target, name):
                    raise OutputError(foreign(target.shown / name))
            return _cut_all(run, settings, target, roots, tick)
    except OSError as error:
        shown = folder or run.folder / CLIPS_FOLDER
        raise OutputError(f"Folder {shown} can't be written: {describe_os_error(error)}.") from error


def _opened(run: FinishedRun, folder: Path | None) -> Folder:
    """Open the clips folder, creating it if missing. Raises OSError, and OutputError for a link."""
    if folder is None:
        with Folder.at(run.folder) as own:
            return own.sub(CLIPS_FOLDER, make=True)
    folder.mkdir(parents=True, exist_ok=True)
    return Folder.at(folder)


def _cut_all(
    run: FinishedRun, settings: ClipSettings, target: Folder, roots: Sequence[Path], tick: Callable[[], None]
) -> Cut:
    cut = Cut(target.shown)
    earlier = listed_before(target)
    files = ListedFiles(target, [row["clip"] for row in earlier], SUFFIXES)
    for below in {video.stem.parent for video in run.videos}:
        files.sweep(below, _PARTS)
    for number, wanted in parts_of(happenings_of(run, settings.selection, tick), settings).items():
        video = run.videos[number]
        done: list[Clip] = []
        try:
            with target.below(video.stem.parent, make=True) as place:
                for clip in _VideoCutter(run, video, settings, files, place, tick).cut(wanted, roots):
                    done.append(clip)
        except VideoError as error:
            cut.failed[video.name] = str(error)
            log.warning("%s: no clips: %s", video.name, error)
        # Copied clips are finished first.
        cut.clips += sorted(done, key=lambda clip: (clip.begins_s, clip.ends_s))
    # Clips of a video that can't be cut now stay, because they can't be made again.
    made = {str(clip.name) for clip in cut.clips}
    kept = [row for row in earlier if row["video"] in cut.failed and row["clip"] not in made]
    files.end(PurePosixPath(row["clip"]) for row in kept)
    for name, text in ((LIST, clips_csv(cut.clips, kept)), (EMPTY, empty_txt(run))):
        target.write(name, text.encode("utf-8", "backslashreplace"))
        cut.lists.append(target.shown / name)
    return cut


class _VideoCutter:
    """Cuts the clips of one video."""

    def __init__(
        self,
        run: FinishedRun,
        video: FinishedVideo,
        settings: ClipSettings,
        files: ListedFiles,
        place: Folder,
        tick: Callable[[], None],
    ) -> None:
        """`place` is the folder of this video's clips, one of those of `files`."""
        self._run = run
        self._video = video
        self._settings = settings
        self._files = files
        self._place = place
        self._tick = tick
        self._token = secrets.token_hex(8)

    def cut(self, parts: Sequence[Part], roots: Sequence[Path]) -> Iterator[Clip]:
        """Yield each clip once it has its final name. Raises VideoError, InputError and OutputError."""
        path = self._video.annotated if self._drawn else self._video.source
        if path is None:
            what = "a run with `blur`" if self._run.config.blur else "a live source"
            raise VideoError(f"has no annotated video, from which clips of {what} are cut")
        growing = [self._place.path(f".clip-{self._token}-{number}.part") for number in range(len(parts))]
        try:
            with open_input(str(path), () if self._drawn else roots) as file:
                if not self._drawn:
                    known = self._video
                    refuse_changed(file, known.size_bytes, known.sha256, known.etag, self._tick)
                for made in self._made(file, parts, growing):
                    yield self._published(made)
        finally:
            for each in growing:
                discard(each)

    def _made(self, file: OpenedFile, parts: Sequence[Part], growing: Sequence[Path]) -> Iterator[_Made]:
        why: dict[Path, str] = {}
        copies: dict[Path, Copy] = {}
        with closing(self._source(file)) as source:
            audio = source.open().audio
            index = PacketIndex.read(source)
            suffix = copy_suffix(audio)
        shift = self._shift_of(index)
        own = [shift.there(part) for part in parts]
        for part, path in zip(own, growing, strict=True):
            frames = index.frames_of(part) if index.problem is None else None
            found = index.cut(*frames) if frames is not None else None
            if frames is None or found is None:
                why[path] = index.problem or "no key frame stands in front of it"
            elif not self._settings.exact or found.shown == found.wanted:
                copies[path] = Copy(found, path, self._place.shown, suffix)
            elif (joint := index.joint(*frames)) is not None:
                copies[path] = Copy(index.exactly(joint, *frames), path, self._place.shown, suffix, joint)
            else:
                why[path] = index.why_not_joint(*frames)
        by_path = dict(zip(growing, parts, strict=True))
        if copies:
            with closing(self._source(file)) as source:
                audio = source.open().audio
                why |= copy(source, audio, index, list(copies.values()), self._tick)
            for path, wanted in copies.items():
                if path not in why:
                    yield shift.back(self._copied(by_path[path], wanted, index))
        left = [(part, path) for part, path in zip(own, growing, strict=True) if path in why or path not in copies]
        if left:
            first_s = 0.0 if self._drawn else self._video.first_s
            made = self._encoded(file, first_s, left)
            for _, path in left:
                if (each := made.get(path)) is not None:
                    note = "; ".join(filter(None, (why.get(path, ""), *each.notes)))
                    frames = each.first_frame, each.last_frame
                    count, spent_s = each.last_frame - each.first_frame + 1, (each.begins_s, each.ends_s)
                    yield shift.back(_Made(path, ".mp4", "exact", by_path[path], *spent_s, frames, 0.0, count, note))

    def _encoded(self, file: OpenedFile, first_s: float, left: Sequence[tuple[Part, Path]]) -> dict[Path, Encoded]:
        try:
            return encode(file, file.path, first_s, left, self._run.config, self._tick)
        except Unencodable:
            raise
        except SinkError as error:  # the disk's fault, not the video's
            why = str(error).rpartition(" can't be written: ")[2]
            raise OutputError(f"{self._place.shown} can't be written: {why}.") from error

    @property
    def _drawn(self) -> bool:
        """Whether clips are cut from the annotated video: because the source shows what that one blurs, or was live and
        was not recorded."""
        return bool(self._run.config.blur) or self._video.source is None

    def _shift_of(self, index: PacketIndex) -> _Shift:
        """Compare the rows with the frames of the file, and note a mismatch in the index. Raises InputError, and
        VideoError if an annotated video does not belong to the rows."""
        origin: int | None = None
        if self._video.tracks is None:
            return _Shift(0, 0.0)
        for samples in read_tracks(self._video.tracks):
            if self._drawn:
                found = index.origin_of(samples.frames, samples.times_s, self._video.annotated_s)
                if found is None or origin not in (None, found):
                    raise VideoError("has tracks that are not those of its annotated video: `yolo-engine render` it")
                origin = found
            else:
                index.check_rows(samples.frames, samples.pts)
            self._tick()
        return _Shift(origin or 0, self._video.annotated_s if self._drawn else 0.0)

    def _copied(self, part: Part, made: Copy, index: PacketIndex) -> _Made:
        cut, base = made.cut, index.time_base
        begins_s, ends_s = float(cut.begins_pts * base), float(cut.ends_pts * base)
        lead_s = float((cut.wanted_pts[0] - cut.begins_pts) * base)
        encoded = 0 if made.joint is None else made.joint.encoded
        mode = "exact" if encoded else "copy"
        return _Made(made.path, made.suffix, mode, part, begins_s, ends_s, cut.shown, lead_s, encoded, "")

    def _published(self, made: _Made) -> Clip:
        words, below = name_words(self._video, made.part), self._video.stem.parent
        name = below / fresh_name(words, made.suffix, lambda name: self._files.is_free(below / name))
        self._files.put(made.path.name, self._place, name)
        happening, span = made.part.happenings[0]

        def at(seconds: float) -> datetime | None:
            if happening.at is None:
                return None
            moment = happening.at.astimezone(UTC) + timedelta(seconds=seconds - span.begins_s)
            return moment.astimezone(happening.at.tzinfo)

        return Clip(
            self._place.shown / name.name,
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
            made.encoded_frames,
            made.note,
        )

    def _source(self, file: OpenedFile) -> Source:
        source = Source(file.path, audio=True, options=never_begun(self._run.config.max_frame_bytes))
        source.file = file
        return source


@dataclass(frozen=True)
class _Shift:
    """The offsets of frame numbers and times between the rows and the file that is cut."""

    frames: int
    seconds: float

    def there(self, part: Part) -> Part:
        """Convert a part from the rows' numbers and times to the file's."""
        frames = None if part.frames is None else (part.frames[0] - self.frames, part.frames[1] - self.frames)
        begins_s, ends_s = part.begins_s - self.seconds, part.ends_s - self.seconds
        return replace(part, begins_s=begins_s, ends_s=ends_s, after_s=part.after_s - self.seconds, frames=frames)

    def back(self, made: _Made) -> _Made:
        """Convert a clip from the file's numbers and times to the rows'."""
        first, last = made.frames
        begins_s, ends_s = made.begins_s + self.seconds, made.ends_s + self.seconds
        return replace(made, begins_s=begins_s, ends_s=ends_s, frames=(first + self.frames, last + self.frames))


@dataclass(frozen=True)
class _Made:
    """A complete clip that does not have its final name yet."""

    path: Path
    suffix: str
    mode: str
    part: Part
    begins_s: float
    ends_s: float
    frames: tuple[int, int]
    lead_s: float
    encoded_frames: int
    note: str


def name_words(video: FinishedVideo, part: Part) -> list[str]:
    """Return the words of a clip's name: the video, the clock time (or the second in the video), the first event and
    its track, and the number of further events."""
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
