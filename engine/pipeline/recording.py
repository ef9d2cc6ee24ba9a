"""The recording of a live source: segments that bear the clock, each complete in itself, none ever overwritten.

    <stem>-2026-11-30T10-15-00Z.tracks.jsonl, .mot.txt, .mp4   a segment, named after the time (UTC) it was begun
    <stem>.segments.jsonl                                      their list, a line each, over all runs

A segment begins at frame 0 and time 0, its video with a key frame; track ids continue from one to the next. Each is an
attempt of its own (resume/attempts.py): it grows in a folder that nobody else writes into, and appears whole. What a
killed run leaves of one becomes `.partial` files when the next run begins (`salvage`).
"""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path, PurePath, PurePosixPath
from typing import IO, cast

import av

from engine.errors import EngineError, LeaseLost, OutputError, SinkError, describe_os_error
from engine.files.folders import Folder, opened
from engine.media.inputs import Video
from engine.pipeline.channel import Closed, Handoff
from engine.pipeline.facts import media_facts
from engine.records import EndOfStream, Frame, StreamInfo, Tracks
from engine.resume.attempts import Attempt, clean, identities, label, left, made_file
from engine.resume.journal import CheckpointJson, Journal, LiveJson, MadeFile, Verdict
from engine.resume.partial_outputs import set_aside
from engine.sinks.base import FileSink, OutputState, Sink, State
from engine.sinks.memory import Counters
from engine.sinks.sound_head import sound_head, sound_of
from engine.summary import EntryJson, FileJson, SegmentJson

log = logging.getLogger(__name__)

_MAX_NOTES = 10
_WAITING = 2  # segments that may wait for their end to be written; the next one keeps the source waiting
_FIRST_PAUSE_S = 1.0

MakeSinks = Callable[[Video], dict[str, tuple[Sink, Path]]]


@dataclass(frozen=True)
class Rules:
    """segment_s     length of a segment, in the source's own time
    checkpoint_s  seconds between two moments of a segment that a kill can't undo; None: there are none
    counters      make the counters of a segment
    """

    segment_s: float
    checkpoint_s: float | None
    counters: Callable[[], Counters]


class Recording:
    """The sink of a live source: holds the sinks of the segment under way, and begins new ones where it is due.

    A segment is completed on a thread beside: that takes a while where it is long, and a live source waits for nobody.
    `outputs` are the files of the last complete segment, `complete` is how many there are. `now` tells the time; tests
    set it.
    """

    kind = "segments"

    def __init__(
        self,
        video: Video,
        place: Folder,
        sinks: MakeSinks,
        rules: Rules,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.notes: list[str] = []
        self.outputs: dict[str, str] = {}
        self.complete = 0  # segments that are listed
        self._video = video
        self._place = place
        self._sinks = sinks
        self._rules = rules
        self._now = now
        self._info: StreamInfo | None = None
        self._sound = b""
        self._session = ""  # when its first frame came
        self._segment: _Segment | None = None
        self._list = SegmentList(place, video.stem)
        self._error: BaseException | None = None
        self._ending: Handoff[_Segment] = Handoff("segments that end", _WAITING)
        self._ender: threading.Thread | None = None

    def open(self, info: StreamInfo) -> None:
        """Begin the session; its first segment begins with its first frame."""
        # A reconnection closes the container that the audio stream belongs to.
        self._sound = sound_head(info.audio)
        self._info = info._replace(audio=sound_of(self._sound))
        self._ender = threading.Thread(target=self._end_segments, name="sink-segments", daemon=True)
        self._ender.start()

    def write(self, tracks: Tracks) -> None:
        """Give a frame to the segment under way, or to a new one where that has its length. Raises SinkError."""
        if self._error is not None:
            raise self._error
        frame = tracks.frame
        if self._segment is not None and self._segment.length_s(frame) >= self._rules.segment_s:
            self._segment.take_sound(frame)
            self._end()
        if self._segment is None:
            assert self._info is not None
            now = self._now()
            self._session = self._session or _shown(now)
            self._segment = _Segment(
                self._video, self._place, self._sinks, self._rules, now, self._session, self._info, frame
            )
            self._segment.open(self._sound)
        self._segment.write(tracks)

    def idle(self) -> None:
        """End a segment that has had its time, so that it appears although nothing comes."""
        if self._segment is not None and self._segment.age_s >= self._rules.segment_s:
            self._end()

    def commit(self, end: EndOfStream, path: Path) -> None:
        """End the last segment and wait until all have appeared. Raises SinkError."""
        if self._segment is not None:
            self._segment.sound = end.audio
        self._finish()
        if self._error is not None:
            raise self._error

    def abort(self) -> None:
        """End a session that failed; what was recorded appears all the same. Never raises."""
        self._finish()

    def entries(self) -> list[SegmentJson]:
        """Return the segments of this session, as they are in the list, but with whole paths."""
        return [entry for entry in self._complete(self._list.entries()) if entry.get("session") == self._session]

    def earlier(self) -> list[SegmentJson]:
        """Return the segments of sessions before this one whose files are all still there, with whole paths."""
        listed = self._complete(self._list.entries(everything=True))
        found = (entry for entry in listed if entry.get("session") not in (None, self._session))
        return [entry for entry in found if all(map(os.path.isfile, entry["outputs"].values()))]

    def _complete(self, listed: list[SegmentJson]) -> Iterator[SegmentJson]:
        for entry in listed:
            if not entry.get("salvaged"):
                entry["outputs"] = {kind: str(self._place.shown / path) for kind, path in entry["outputs"].items()}
                yield entry

    def _end(self) -> None:
        assert self._segment is not None
        segment, self._segment = self._segment, None
        self._ending.put(segment)

    def _finish(self) -> None:
        if self._segment is not None:
            self._end()
        self._ending.close()
        if self._ender is not None:
            self._ender.join()

    def _end_segments(self) -> None:
        while True:
            try:
                segment = self._ending.get()
            except Closed:
                return
            try:
                segment.finish()
                self._list.add(segment.entry)
                self.outputs = segment.outputs
                self.complete += 1
                segment.forget()
            except BaseException as error:  # noqa: BLE001 - it is raised with the next frame, or at the end
                self._error = self._error or error
            finally:
                segment.close()
            self.notes += [note for note in segment.notes if note not in self.notes][: _MAX_NOTES - len(self.notes)]


class _Segment:
    """One segment: its sinks, and where it begins in the stream."""

    def __init__(
        self,
        video: Video,
        place: Folder,
        sinks: MakeSinks,
        rules: Rules,
        started: datetime,
        session: str,
        info: StreamInfo,
        first: Frame,
    ) -> None:
        """Take a name that nobody has. Raises SinkError and OutputError."""
        self.sound: Iterable[av.Packet] = ()
        self._place, self._folder = place, place.shown
        self._of = video.stem
        self._rules = rules
        self._pts, self._time_base = first.pts, first.time_base
        self._began_s = time.monotonic()
        self._attempt, self._stem = claim(place, video.stem, started)
        self._journal: Journal = {}
        self._session = session
        self._info = info
        self._started_at = _shown(started)
        self._sinks = sinks(Video(video.path, self._stem))
        self._opened: list[FileSink] = []
        self._tally = rules.counters()
        self._whole = True
        self._made: dict[str, FileJson] = {}
        self._moments: list[_Moment] = []
        self._marked_s = float("-inf")
        self._marked_frames = 0
        self._pause_s = 0.0

    @property
    def age_s(self) -> float:
        return time.monotonic() - self._began_s

    @property
    def notes(self) -> list[str]:
        return [note for sink in self._opened for note in getattr(sink, "notes", [])]

    def length_s(self, frame: Frame) -> Fraction:
        """Return its length with all up to `frame`."""
        return (frame.pts - self._pts) * self._time_base

    def open(self, sound: bytes) -> None:
        """Open the outputs, once it is noted what they are. Raises SinkError and OutputError."""
        self._journal = {
            "fingerprint": {},
            "attempts": 1,
            "outputs": {kind: str(path.relative_to(self._folder)) for kind, (_, path) in self._sinks.items()},
            "live": {
                "stem": str(self._of),
                "segment": str(self._stem),
                "session": self._session,
                "started_at": self._started_at,
                "audio": sound.hex(),
            },
        }
        self._attempt.keep(self._journal)
        for sink, path in self._sinks.values():
            assert isinstance(sink, FileSink)  # all that write files for a run are
            self._attempt.make_way(path)
            sink.grow_in(self._attempt.folder.path(""))
            self._opened.append(sink)
            sink.open(self._info)

    def write(self, tracks: Tracks) -> None:
        """Give a frame to every output, numbered and timed from the segment's beginning. Raises SinkError."""
        frame = tracks.frame
        # Numbered as they are in its video: what was dropped has no number.
        own = replace(
            frame, index=self._tally.frames, pts=frame.pts - self._pts, audio=self._moved(frame.audio), mark=None
        )
        tracks = replace(tracks, frame=own)
        self._whole = False  # until every output has the frame
        for sink in self._opened:
            sink.write(tracks)
        self._whole = True
        self._tally.write(tracks)
        if self._rules.checkpoint_s is not None:
            if time.monotonic() - self._marked_s >= self._pause_s:
                self._mark()
                self._pause_s = min(max(_FIRST_PAUSE_S, 2 * self._pause_s), self._rules.checkpoint_s)
            self._settle()

    def take_sound(self, frame: Frame) -> None:
        """Take from the first frame behind this segment the sound that was read with it and is older."""
        begins_s = frame.pts * frame.time_base
        older = [p.dts is not None and p.dts * p.time_base < begins_s for p in frame.audio]
        self.sound = tuple(itertools.compress(frame.audio, older))
        frame.audio = tuple(packet for packet, is_older in zip(frame.audio, older, strict=True) if not is_older)

    def finish(self) -> None:
        """Complete the outputs and let them appear. Where that fails, they appear as `.partial` ones, now or when the
        next run begins. Raises SinkError."""
        end = EndOfStream(0, self._tally.frames, audio=self._moved(self.sound))
        try:
            if not self._whole or not self._tally.frames:
                raise SinkError(f"{self._stem.name} was not written to its end")
            for sink in self._opened:
                sink.drain()
            if self._rules.checkpoint_s is not None:
                self._mark()
                self._settle()
            paths = {kind: path.relative_to(self._folder) for kind, (_, path) in self._sinks.items()}
            made = {sink.kind: made_file(sink.complete(end), paths[sink.kind]) for sink in self._opened}
            self._made = identities(made)
            self._attempt.commit(self._verdict(made))
            self._attempt.publish()
        except BaseException:
            if self._attempt.verdict is None:  # what is committed is finished by whoever salvages it
                for sink in self._opened:
                    sink.suspend()
            _salvage(self._place, self._stem)
            raise

    @property
    def outputs(self) -> dict[str, str]:
        return {kind: str(path) for kind, (_, path) in self._sinks.items()}

    @property
    def entry(self) -> SegmentJson:
        """What the list says of it. `at_s` is its beginning in the session's time."""
        tally = self._tally
        return {
            "segment": str(self._stem),
            "session": self._session,
            "started_at": self._started_at,
            "at_s": round(float(self._pts * self._time_base), 6),
            "frames": tally.frames,
            "detections": tally.detections,
            "tracks": sum(tally.tracks_by_class.values()),
            "duration_s": round(tally.span_s, 3),
            "outputs": {kind: os.path.relpath(path, self._folder) for kind, path in self.outputs.items()},
            "files": self._made,
            "media": media_facts(self._info, tally, EndOfStream(0, tally.frames)),
        }

    def forget(self) -> None:
        """Note that it is listed: nothing more is needed of it but its files."""
        self._attempt.retire()

    def close(self) -> None:
        self._attempt.close()

    def _verdict(self, made: dict[str, MadeFile]) -> Verdict:
        tally, duration_s = self._tally, self._tally.span_s
        entry: EntryJson = {
            "status": "ok",
            "error": None,
            "frames": tally.frames,
            "inferred_frames": tally.inferred,
            "detections": tally.detections,
            "tracks": sum(tally.tracks_by_class.values()),
            "tracks_by_class": {},
            "duration_s": duration_s,
            "elapsed_s": self.age_s,
            "fps": 0.0,
            "outputs": {},
        }
        return {"entry": entry, "made": made, "live": {**self._journal["live"], "line": self.entry}}

    def _mark(self) -> None:
        """Remember where the outputs stand behind the last frame, once."""
        self._marked_s = time.monotonic()
        if self._marked_frames == self._tally.frames:
            return
        self._marked_frames = self._tally.frames
        self._moments.append(_Moment(self._tally.frames, {sink.kind: sink.mark() for sink in self._opened}))

    def _settle(self) -> None:
        """Note the last moment up to which every output is durable. Raises SinkError."""
        settled = None
        while self._moments and (outputs := self._moments[0].settled()) is not None:
            settled = CheckpointJson(frames=self._moments.pop(0).frames, outputs=outputs)
        if settled is not None:
            self._journal["checkpoint"] = settled
            self._attempt.keep(self._journal)

    def _moved(self, packets: Iterable[av.Packet]) -> tuple[av.Packet, ...]:
        """Return sound on the segment's time, in place. What is older than its first frame has no place in it."""
        kept = []
        for packet in packets:
            if packet.dts is None or not packet.time_base:
                continue
            by = round(self._pts * self._time_base / packet.time_base)
            packet.dts -= by
            packet.pts = None if packet.pts is None else packet.pts - by
            if packet.dts >= 0:
                kept.append(packet)
        return tuple(kept)


class _Moment:
    """Where the outputs stood behind a frame; `settled` once they are durable up to there."""

    def __init__(self, frames: int, states: dict[str, State]) -> None:
        self.frames = frames
        self._states = states
        self._settled: dict[str, OutputState] = {}

    def settled(self) -> dict[str, OutputState] | None:
        """Return the state of each output; None as long as one is not durable. Raises SinkError."""
        for kind, state in self._states.items():
            if kind not in self._settled:
                if (found := state()) is None:
                    return None
                self._settled[kind] = found
        return self._settled


def _shown(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds")


class SegmentList:
    """`<stem>.segments.jsonl`: only ever appended to. Links are not followed."""

    def __init__(self, place: Folder, stem: PurePath) -> None:
        self._place = place
        self._path = PurePosixPath(stem.with_name(f"{stem.name}.segments.jsonl"))
        self._from = self._size()

    def add(self, entry: SegmentJson) -> None:
        """Append a line, durably. Raises SinkError and OutputError."""
        try:
            with (
                self._place.below(self._path.parent, make=True) as folder,
                folder.open(self._path.name, append=True) as file,
            ):
                torn = file.seek(0, os.SEEK_END) > 0 and not _ends_a_line(file)
                file.write(b"\n" * torn + json.dumps(entry).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise SinkError(f"{self._path.name} can't be written: {describe_os_error(error)}") from error
        except ValueError as error:
            raise SinkError(f"{self._path.name} can't be written: {error}") from error

    def entries(self, *, everything: bool = False) -> list[SegmentJson]:
        """Return what was added since this object was made, or `everything`; nothing where it can't be read any
        more."""
        try:
            with opened(self._place, *self._path.parent.parts) as folder:
                if folder is None:
                    return []
                with folder.open(self._path.name) as file:
                    file.seek(0 if everything else self._from)
                    lines = [json.loads(line) for line in file if line.strip()]
                    return [cast("SegmentJson", line) for line in lines if isinstance(line, dict)]
        except FileNotFoundError:
            return []
        except (OSError, ValueError) as error:
            log.warning("%s can't be read: %s", self._path, error)
            return []

    def _size(self) -> int:
        with opened(self._place, *self._path.parent.parts) as folder, contextlib.suppress(OSError):
            facts = folder.facts(self._path.name) if folder is not None else None
            return facts.st_size if facts is not None else 0
        return 0


def _ends_a_line(file: IO[bytes]) -> bool:
    """Return whether a file, opened for reading and appending, ends with a whole line."""
    file.seek(-1, os.SEEK_END)
    return bool(file.read(1) == b"\n")


def claim(place: Folder, stem: PurePosixPath, at: datetime) -> tuple[Attempt, PurePosixPath]:
    """Return the first attempt at a segment begun at `at`, with a name that no file bears: where the clock was set
    back, or two begin in one second, a number is added. Raises SinkError and OutputError."""
    name = f"{stem.name}-{at.astimezone(UTC):%Y-%m-%dT%H-%M-%SZ}"
    number = 1
    while True:
        own = stem.with_name(name if number == 1 else f"{name}-{number}")
        if not _is_taken(place, own) and (attempt := _first_attempt(place, own)) is not None:
            return attempt, own
        number += 1


def _is_taken(place: Folder, stem: PurePosixPath) -> bool:
    """Return whether a file bears the name."""
    try:
        with opened(place, *stem.parent.parts) as found:
            return found is not None and any(name.startswith(f"{stem.name}.") for name in found.names())
    except OSError as error:
        raise SinkError(f"{place.shown / stem.parent} can't be read: {describe_os_error(error)}") from error


def _first_attempt(place: Folder, stem: PurePosixPath) -> Attempt | None:
    """Begin an attempt; None if another has the name, which is not disturbed."""

    def alone() -> None:
        if attempt.number != 1:
            raise LeaseLost("another segment has this name")

    attempt = Attempt(place.shown, stem, job=str(stem), fence=alone, replaces=False, place=place)
    try:
        attempt.begin()
    except BaseException as error:
        attempt.retire()
        attempt.close()
        if isinstance(error, LeaseLost):
            return None
        raise
    return attempt


def salvage(place: Folder, there: list[str]) -> None:
    """Make `.partial` files of segments that a killed run left in an output folder. `there` are the labels of the
    videos at which there were attempts before this run began to record. What can't be salvaged is told and stays as it
    is. Never raises."""
    for name in there:
        if (stem := _segment_of(place, name)) is not None:
            _salvage(place, stem)
    if there:
        clean(place)


def _segment_of(place: Folder, name: str) -> PurePosixPath | None:
    """Return the stem of a segment that is not done with; None if the label is that of another video."""
    for job, values in left(place, name):
        stem = PurePosixPath(values.get("live", {}).get("segment", job))
        if label(stem) == name:
            return stem
    return None


def _salvage(place: Folder, stem: PurePosixPath) -> None:
    """Salvage one segment, and remove its parts once all that is worth keeping is in other files, and listed."""
    attempt = Attempt(place.shown, stem, job=str(stem), replaces=False, place=place)
    try:
        attempt.begin()
        if attempt.damaged is not None:
            raise SinkError(f"its journal is damaged ({attempt.damaged})")
        paths = _publish(place, attempt)
        attempt.disregard()
        attempt.sweep()
    except (EngineError, OSError) as error:
        log.warning("%s could not be salvaged and is kept as it is: %s", stem, error)
        return
    finally:
        attempt.retire()
        attempt.close()
    if paths:
        log.warning("%s was not complete; salvaged: %s", stem, ", ".join(map(str, paths)))


def _publish(place: Folder, attempt: Attempt) -> list[Path]:
    """Publish and list what there is of a segment; return the paths of what is not complete. Raises SinkError,
    LeaseLost and OutputError."""
    if attempt.verdict is not None:
        if (live := attempt.verdict.get("live")) is None or "line" not in live:
            raise OutputError("there is another video of this name")
        attempt.publish()
        _list_once(place, live, live["line"])
        return []
    if not attempt.earlier or not (last := attempt.earlier[-1]).journal.get("checkpoint"):
        return []
    journal = last.journal
    if (live := journal.get("live")) is None:
        raise OutputError("there is another video of this name")
    files = {}
    for kind, state in journal["checkpoint"]["outputs"].items():
        path = journal["outputs"][kind]
        files[kind] = (attempt.output / path, state["offset"], last.parts(path))
    made = set_aside(None, attempt, files, live)
    line: SegmentJson = {
        "segment": live["segment"],
        "session": live["session"],
        "started_at": live["started_at"],
        "frames": journal["checkpoint"]["frames"],
        "outputs": {kind: os.path.relpath(path, attempt.output) for kind, path in made.items()},
        "salvaged": True,
    }
    _list_once(place, live, line)
    return list(made.values())


def _list_once(place: Folder, live: LiveJson, line: SegmentJson) -> None:
    """Make up for a run that was killed after the listing."""
    listed = SegmentList(place, PurePosixPath(live["stem"]))
    if line not in listed.entries(everything=True):
        listed.add(line)
