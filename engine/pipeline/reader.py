"""Source and decode of one stream, on one thread: yields its frames in order, then its end."""

from __future__ import annotations

import contextlib
import itertools
import logging
import math
import time
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import av
import numpy as np

from engine.errors import DecodeError, OverLimit, SourceError, VideoError
from engine.media.lead import Astray, Lead
from engine.media.planes import planes_of
from engine.media.source import Source
from engine.pipeline.groups import Boundaries
from engine.pipeline.held_sound import HeldSound, begin_of
from engine.pipeline.missing import Missing
from engine.pipeline.pieces import KnownFrame
from engine.pipeline.stream import StreamRun
from engine.pipeline.ways import AllFrames, Item, ScannedFrames, Way
from engine.profiling.metrics import ROOM
from engine.records import Barrier, EndOfStream, Frame, Look, Recalled, StreamInfo
from engine.resume.audio_cursor import SoundGate
from engine.resume.fingerprint import seed_of
from engine.stages.decode import Decoder, check_frame_bytes, check_pixels, frame_bytes
from engine.stages.gate import Gate, GateSettings
from engine.stages.infer import Lap
from engine.stages.scan import Scan, Survey, Unscannable
from engine.text.counted import counted

if TYPE_CHECKING:
    from engine.analytics import Clock as WallClock
    from engine.config import EngineConfig

log = logging.getLogger(__name__)

# Images of more than this share of what is allowed are large: of one stream, no more of them are decoded and not yet
# done with than take what is allowed for one, and one stream of them is decoded at a time.
LARGE = 0.25

_ANCHORS = 8
_BETWEEN_ANCHORS_S = 1.0

# Sound is in a file up to this many seconds behind the frames it belongs to.
_SOUND_LAGS_S = 3

# Packets of sound that may gather on the way to the part asked for before those that are not wanted go.
_SOUND_HELD = 256

# Pictures are shown by other times than those by which some containers seek; in a transport stream any packet is found,
# and the next key frame lies behind it.
_BEFORE_PIECE_S = (0.5, 2.5, 10.0)

# Where a key frame lies farther before a piece, by so many of its lengths as well, decoding takes longer than is won.
LENGTHS, NEAR_S = 4, 10.0

# Containers whose packets have each frame's own time.
_TIMED = frozenset({"mov", "matroska"})

# Once the stream is to stop, this many packets may still be read to find the frame that bears the last mark.
_LAST_PACKETS = 64


class ReaderSettings(NamedTuple):
    """between         frames between two inferences
    decode_threads  threads for decoding a large video
    checkpoint_s    seconds between two marks
    start_s, end_s  the part to return, in seconds from the first frame: start_s <= time < end_s
    max_pixels, max_frame_bytes, max_duration_s, max_decode_s  limits; see EngineConfig
    both            frames between two inferences wait for the second one, and get no mark
    gate            decides what is inferred; None: every frame that is not skipped
    scan            only groups of pictures in which something happens are decoded; see engine.stages.scan
    """

    between: int = 0
    decode_threads: int = 1
    checkpoint_s: float = 5.0
    start_s: float = 0.0
    end_s: float | None = None
    max_pixels: int | None = None
    max_frame_bytes: int | None = None
    max_duration_s: float | None = None
    max_decode_s: float | None = None
    both: bool = False
    gate: GateSettings | None = None
    scan: bool = False

    @classmethod
    def of(cls, config: EngineConfig, decode_threads: int) -> Self:
        """Return a configuration's part of the video and its limits, without what decides which frames are
        inferred."""
        return cls(
            decode_threads=decode_threads,
            start_s=config.start_s,
            end_s=config.part_ends_s,
            max_pixels=config.max_pixels,
            max_frame_bytes=config.max_frame_bytes,
            max_duration_s=config.max_duration_s,
        )


class StreamReader:
    """Source and decode of one stream. `open`, `survey`, perhaps `go_to` a mark, then iterate `frames`, then take the
    `end`."""

    def __init__(self, source: Source, run: StreamRun, settings: ReaderSettings) -> None:
        self._source = source
        self._run = run
        self._settings = settings
        self._every = settings.between + 1
        self._asked_at = 0.0
        self._passing = False
        self._problem: str | None = None
        self._complete = False
        self._has_read_all = False
        self._ended = False
        self._may_lead = settings.start_s > 0
        self._scan: Scan | None = None
        self._survey_s = 0.0
        self._unscannable: str | None = None

    def open(self) -> StreamInfo:
        """Open the source, or open it again, at its beginning. Raises SourceError and DecodeError."""
        settings = self._settings
        self.info = self._source.open(self._run.key)
        if (clock := self._wall_clock) is not None:
            self.info = self.info._replace(wall_start=clock.start)
        check_pixels(*self.info.size_wh, settings.max_pixels)
        pixel_format = self._source.video.codec_context.pix_fmt
        check_frame_bytes(pixel_format, *self.info.size_wh, settings.max_frame_bytes)
        self._run.expected = self._expected()
        self._decoder = self._new_decoder()
        self._packets = self._source.packets()
        names = self._source.containers
        self._leads = self._may_lead and not self.info.live and Lead.can(names, self._source.video.codec_context.name)
        self._decoded: Iterator[Item] = self._decode()
        self._all = self._all_frames()
        self._way: Way = self._all if self._scan is None else ScannedFrames(self._scan, self._decoder, self._go_on_at)
        self._index = 0
        self._complete = False
        self._origin: int | None = None
        self._first_pts = None if self._scan is None else int(self._scan.pts[0])
        self._decode_s = self._survey_s
        self._sound = HeldSound(lambda: self._run.folder)
        self._gate = SoundGate()
        ignore = self._run.ignore
        self._motion = None
        if self._is_live_and_gated:
            log.warning("%s: the gate is of files: every frame of a live source is inferred", self._run.video.shown)
        if settings.gate is not None and not self.info.live:  # a live source waits for nobody
            cover = ignore.cover if ignore is not None else None
            opening = self._run.opening if settings.gate.audit else None
            self._motion = Gate(settings.gate, cover, seed=seed_of(self._run.file), opening=opening)
        self._anchors: deque[tuple[int, int]] = deque(maxlen=_ANCHORS)
        self._given = 0  # frames since the last mark
        self._follows: int | None = None  # the number behind that of the last frame
        self._marked_at = time.monotonic()
        return self.info

    def _new_decoder(self) -> Decoder:
        settings = self._settings
        decoder = Decoder(
            self.info.time_base,
            self.info.frame_rate,
            threads=settings.decode_threads,
            max_pixels=settings.max_pixels,
            max_frame_bytes=settings.max_frame_bytes,
        )
        decoder.attach(self._source.video)
        return decoder

    def survey(self) -> None:
        """Find out what to examine, if not everything, and return to the beginning. Call it after `open`. Read errors
        are left for `frames` to report. Raises SourceError if the source can't be read twice."""
        if not self._settings.scan:
            return
        if self._source.scheme is not None:
            raise SourceError("is read once, as it comes, but scan reads twice: turn scan off, or save it to a file")
        began = time.perf_counter()
        try:
            self._scan = self._surveyed(began)
        except Unscannable as error:
            self._unscannable = str(error)
        self._survey_s = time.perf_counter() - began
        self._may_lead = self._may_lead and self._scan is None
        self.open()

    def _surveyed(self, began: float) -> Scan | None:
        """Read all packets of the requested part, and decode its key frames. Returns None if the stream was stopped.
        Raises Unscannable."""
        source, settings, decoder, base = self._source, self._settings, self._new_decoder(), self.info.time_base
        ignore = self._run.ignore
        survey = Survey(
            source.containers, source.video.codec_context.name, ignore.cover if ignore is not None else None
        )
        ends = self._ends
        first_pts: int | None = None
        with contextlib.suppress(SourceError, OverLimit):
            for packet in self._packets:
                if self._run.stop.is_set():
                    return None
                if packet.stream_index != source.video.index:
                    continue
                if survey.take(packet):
                    images = [image for image, _, _ in (*decoder.decode(packet), *decoder.drain())]
                    survey.show(images[-1] if images else None)
                    first_pts = packet.pts if first_pts is None else first_pts
                    # What begins behind the end is the last group, by whose first frame the end is found.
                    if ends and (packet.pts - first_pts) * base >= min(ends):
                        break
                if settings.max_decode_s is not None and time.perf_counter() - began > settings.max_decode_s:
                    break
        if source.retimed:
            raise Unscannable("its clock jumps: remux it")
        return survey.result(base, settings.start_s)

    @property
    def _ends(self) -> list[float]:
        """Where the part that may be read ends, in seconds from the first frame; empty: at the end of the file."""
        return [each for each in (self._settings.end_s, self._settings.max_duration_s) if each is not None]

    def _all_frames(self) -> AllFrames:
        """Get ready to tell groups of pictures: those that are known, or in a piece those that are to be."""
        context, head = self._source.video.codec_context, self._source.video.codec_context.extradata
        timed = not self.info.live and not self._source.containers.isdisjoint(_TIMED)
        if self._run.recorder is not None:
            self._run.recorder.begin(context.name if timed else "", head)
        boundaries = Boundaries(context.name, head)
        told = boundaries if timed and boundaries.usable and self._may_leave_out else None
        return AllFrames(self._run, self._decoder, told, self._may_recall, self._seconds)

    def _may_recall(self) -> bool:
        return not self._passing and self._origin is not None and not self._source.retimed

    def _go_on_at(self, index: int) -> None:
        self._index = index

    @property
    def _may_leave_out(self) -> bool:
        """Whether groups that are known need not be decoded: nothing depends on the images."""
        settings, run = self._settings, self._run
        large = settings.max_frame_bytes is not None and self.picture_bytes > LARGE * settings.max_frame_bytes
        by_images = (
            run.place is not None or settings.gate is not None or settings.between or self.info.audio is not None
        )
        limited = settings.max_decode_s is not None or large
        return run.ahead is not None and not (run.ahead.needs_images or by_images or limited)

    @property
    def picture_bytes(self) -> int:
        """Bytes of an image, according to the stream's header."""
        return frame_bytes(self._source.video.codec_context.pix_fmt, *self.info.size_wh)

    def go_to(self, mark: Barrier) -> bool:
        """Skip the frames up to `mark`, so that `frames` yields those after it. Call it after `open`.

        The fast way seeks to a key frame before the mark, the slow way decodes all frames; the frame at the mark must
        be the one seen there before. Returns False if it is not: the reader is then at the beginning.
        """
        if (anchor := anchor_of(mark, self.info)) is not None:
            if self.passes(mark, anchor):
                return True
            self.open()
        try:
            if self.passes(mark, None):
                return True
        except Astray:
            self._lead_no_more()
            if self.passes(mark, None):
                return True
        self.open()
        return False

    def look_back(self) -> None:
        """Find which of the first frames the camera's previous file already had, if only the images can tell, and
        return to the beginning. Call it after `open`. Read errors are left for `frames` to report."""
        place = self._run.place
        if place is None or not place.heads or self.info.live or self._settings.start_s > 0:
            return
        sketches: list[int] = []
        times: list[int] = []
        with contextlib.suppress(SourceError, DecodeError):
            while (item := self._next()) is not None:
                image, pts, _ = item
                assert isinstance(image, av.VideoFrame)
                if not times:
                    place.arrive(pts, self.info)
                if len(times) >= place.heads:
                    break
                sketches.append(_sketch(image))
                times.append(pts)
        if times:
            place.recognise(sketches, times, self.info)
        self.open()

    def go_to_start(self) -> None:
        """Skip everything before the requested part that need not be decoded. Call it after `open`, and before anything
        keeps its results: it may reopen the source. Raises SourceError and DecodeError."""
        if not self._leads:
            return
        try:
            first = self._next()
        except Astray:
            self._lead_no_more()
        except (SourceError, DecodeError) as error:
            self._decoded = _raising(error)  # as if it came now
        else:
            self._decoded = itertools.chain([] if first is None else [first], self._decoded)

    def go_to_piece(self) -> None:
        """Go to a key frame before the part asked for, as a piece of a video may: its frames are known by their
        images, so that they need not be numbered, and what is not met is found by others. Raises SourceError and
        DecodeError."""
        self._may_lead = self._leads = False
        first = self._next()
        start_s, end_s = self._settings.start_s, self._settings.end_s
        if first is None or not start_s:
            self.open()
            return
        for before_s in _BEFORE_PIECE_S:
            self.open()
            self._first_pts = first[1]
            self._source.seek(first[1] + int(max(0.0, start_s - before_s) / self._decoder.time_base))
            sought = self._next()
            if sought is not None and self._seconds(sought[1]) > start_s:
                continue
            length_s = 0.0 if end_s is None else end_s - start_s
            if sought is not None and self._seconds(sought[1]) < start_s - LENGTHS * length_s - NEAR_S:
                raise DecodeError(f"has no key frame to begin at shortly before {start_s:g} s")
            break
        self._decoded = itertools.chain([] if sought is None else [sought], self._decoded)

    def _lead_no_more(self) -> None:
        self._may_lead = False
        self.open()

    def frames(self, lap: Lap) -> Iterator[Frame]:
        """Yield every frame of the stream. If the source can't be read further, the stream ends with a problem, not an
        error. Raises DecodeError if it ends before the requested part starts."""
        stop = self._run.stop
        stage = "source" if self.info.live else "decode"  # of a live one, most is waiting for its next frame
        self._marked_at = time.monotonic()
        while not (stop.is_set() and not self._given):
            self._problem = None
            try:
                while True:
                    item = self._next()
                    if item is None:
                        lap(stage, 0)
                        break
                    image, pts, duration = item
                    if self._is_behind_end(pts):
                        self._end_here()
                        return
                    if self._is_before_start(pts) or self._was_there_before(pts):
                        self.pass_over(pts)
                        self._sound.drop_before(float(pts * self._decoder.time_base))
                        lap(stage, 0)
                        continue
                    if isinstance(image, KnownFrame):
                        frame = self._recalled(image, pts, duration)
                        lap("recall", 1)
                        yield frame
                        del frame
                        lap(ROOM, 0)
                        continue
                    if self._motion is not None:
                        lap(stage, 1)
                    frame = self._frame(image, pts, duration, last=stop.is_set())
                    lap(stage if self._motion is None else "gate", 1)
                    del item, image
                    yield frame
                    del frame
                    lap(ROOM, 0)
                    # A stream with checkpoints gives one more frame, which bears the last mark.
                    if stop.is_set() and (self._run.failed or not self._marks or not self._given):
                        return
            except OverLimit as error:
                self._problem = f"{error} after {self._index} frames"
                return
            except (SourceError, DecodeError) as error:
                # FFmpeg takes the end of an http answer without a length for an error. A video with all its
                # frames is whole.
                if not self._has_all():
                    self._problem = f"{error} after {self._index} frames"
            if self._complete and self._origin is None and self._index:
                if self._run.place is not None and not self._settings.start_s:
                    raise DecodeError("has no frame that the previous file does not have")
                raise DecodeError(f"ends before start_s = {self._settings.start_s:g}")
            if not self._source.live or stop.is_set():
                return
            lost_at = time.monotonic()
            if not self._source.reconnect(stop):
                if self._problem is None and self._source.reconnects_asked and not stop.is_set():
                    self._problem = f"the stream ended after {self._index} frames and could not be opened again"
                return
            self._decoder.attach(self._source.video)
            self._decoder.resume_after(time.monotonic() - lost_at)
            self._packets = self._source.packets()
            self._decoded = self._decode()

    def end(self) -> EndOfStream:
        settings, recorder = self._settings, self._run.recorder
        if recorder is not None and (self._problem or self._source.retimed or not self._decoder.whole):
            recorder.give_up()
        missing = Missing(self._source, self._decoder, self.info, self._index)
        return EndOfStream(
            self._run.key,
            (self._index if self._follows is None else self._follows) if self._origin is not None else 0,
            problems=tuple(self._problems(missing)),
            interrupted=self._run.stop.is_set() and not self._complete and not self._run.failed,
            dropped=self._run.dropped,
            discarded=self._decoder.discarded,
            audio=self._heard(),
            notes=tuple(self._notes(missing)),
            retimed=self._source.retimed or settings.start_s > 0 or self._ended,
            left_out=tuple(self._left_out()),
            first_pts=self._first_pts if settings.start_s > 0 or self._run.place is not None else None,
        )

    def _left_out(self) -> Iterator[tuple[int, int]]:
        """Yield from when to when nothing was examined between the frames that were returned, in ticks."""
        scan = self._scan
        if scan is None or self._origin is None or self._follows is None:
            return
        first, last = int(scan.pts[self._origin]), int(scan.pts[min(self._follows, len(scan.pts)) - 1])
        if self._ended and self._ends:
            last = int(scan.pts[0] + min(self._ends) / self._decoder.time_base)
        yield from ((begins, min(ends, last)) for begins, ends in scan.gaps() if first < begins < last)

    def _problems(self, missing: Missing) -> Iterator[str]:
        """Yield the reasons why frames are missing, and what was damaged."""
        read_to_end = self._complete and not self._ended
        changed = self._source.changed() if read_to_end else None
        if self._problem:
            yield self._problem
        if changed:
            yield changed
        lost = self._decoder.lost_at_start
        if lost and not self.info.live and not self._settings.start_s:
            why = "" if self._decoder.began_at_key else "begins in the middle of a group of pictures: "
            yield f"{why}its first {counted(lost, 'frame')} can't be decoded"
        yield from self._decoder.problems()
        if read_to_end and not self._problem and not changed:
            yield from missing.problems()

    def _notes(self, missing: Missing) -> Iterator[str]:
        yield from self._source.notes
        if self._is_live_and_gated:
            yield "the gate is of files: every frame of a live source was inferred"
        yield from self._notes_of_scan()
        if (leading := self._decoder.leading) and not self.info.live and not self._settings.start_s:
            yield (
                f"{counted(leading, 'frame')} before the first key frame can't be decoded: "
                "they refer to frames from before the start of the file"
            )
        holes = self._decoder.holes - self._source.clock_steps  # where two recordings were joined, nothing is missing
        if holes > 0 and not self.info.live:
            yield (
                f"the stream has {counted(holes, 'hole')}: data was lost on its way or when it was "
                "recorded, and frames may be missing there"
            )
        if self._complete and not self._ended:
            yield from missing.notes()

    def _notes_of_scan(self) -> Iterator[str]:
        if self._unscannable is not None:
            yield f"scan: nothing was left out, because {self._unscannable}"
        if self._scan is not None and self._origin is not None:
            gaps = list(self._left_out())
            out_s = sum(float((last - first) * self.info.time_base) for first, last in gaps)
            yield (
                f"scan: {out_s:,.0f} seconds were not examined, in {counted(len(gaps), 'interval')}: there, only key "
                "frames and the sizes of packets were compared (not_examined_s)"
            )

    @property
    def _is_live_and_gated(self) -> bool:
        return self._settings.gate is not None and self.info.live

    @property
    def _marks(self) -> bool:
        return self._run.checkpoints is not None

    def _has_all(self) -> bool:
        claimed = self.info.frames
        return claimed is not None and self._index >= claimed

    def _next(self) -> Item | None:
        """Return the next decoded frame; None at the end. Counts the time it takes."""
        self._asked_at = time.perf_counter()
        try:
            return next(self._decoded, None)
        finally:
            self._decode_s += time.perf_counter() - self._asked_at

    def _decode(self) -> Iterator[Item]:
        """Yield every frame that can be decoded; if the beginning is skipped, those of the requested part."""
        yield from self._decode_part() if self._leads else self._decode_all()

    def _decode_part(self) -> Iterator[Item]:
        """Yield the frames from start_s on. Raises Astray, before any of them, if they can't be numbered this way."""
        lead = Lead(self._settings.start_s, self.info.time_base)
        held = self._packets_to_decode(lead)
        self._first_pts = lead.first_pts
        passed, begun = 0, False
        packets = self._packets
        self._packets = itertools.chain(held, packets)
        for image, pts, duration in self._decode_all():
            if not begun:
                if pts < lead.key_pts:
                    continue
                if not passed:
                    assert isinstance(image, av.VideoFrame)
                    if pts != lead.key_pts or (image.interlaced_frame and "mpegts" in self._source.containers):
                        raise Astray
                    self._index = lead.index
                    self._decoder.forgive()
                if pts < lead.target_pts:
                    passed += 1
                    self._index += 1
                    continue
                lead.check(passed, pts)
                begun = True
            yield image, pts, duration

    def _packets_to_decode(self, lead: Lead) -> list[av.Packet]:
        """Read up to the requested part. Raises Astray."""
        try:
            for packet in self._packets:
                if self._run.stop.is_set():
                    return []
                if packet.stream_index != self._source.video.index:
                    if self._gate.passes(packet):
                        self._sound.add(packet)
                    if lead.first_pts is not None and len(self._sound) > _SOUND_HELD:
                        self._sound.drop_before(float(lead.target_pts * self.info.time_base))
                elif (held := lead.take(packet)) is not None:
                    return held
        except SourceError as error:  # whatever can be read is decoded all the same
            raise Astray from error
        return lead.rest()

    def _packets_to_use(self) -> Iterator[av.Packet]:
        """Yield packets of the video, and keep those of the sound, up to the end or, if the stream is stopped, until
        the last mark must have come."""
        self._has_read_all = False
        left = _LAST_PACKETS
        for packet in self._packets:
            if self._run.stop.is_set():
                # The frame given last is on its way without a mark; the next one brings it.
                left = left - 1 if self._given and self._marks and not self._run.failed else -1
                if left < 0:
                    return
            self._check_time()
            if packet.stream_index == self._source.video.index:
                yield packet
            elif self._gate.passes(packet):
                self._sound.add(packet)
        self._has_read_all = True

    def _decode_all(self) -> Iterator[Item]:
        take = self._way.take
        try:
            for packet in self._packets_to_use():
                yield from take(packet)
        except SourceError:
            yield from self._way.rest()  # what was read before is decoded, and counts
            raise
        if self._has_read_all:
            yield from self._way.rest()
            self._complete = not self._source.live

    def _check_time(self) -> None:
        limit_s = self._settings.max_decode_s
        if limit_s is None or self._passing or self._source.live:  # counted before; time spent waiting
            return
        if (spent_s := self._decode_s + time.perf_counter() - self._asked_at) > limit_s:
            raise OverLimit(f"took {spent_s:.1f} seconds to decode, more than max_decode_s = {limit_s:g},")

    def _expected(self) -> int | None:
        """Return the expected number of frames, by the container's claims; None if it makes none."""
        settings, frames, duration_s = self._settings, self.info.frames, self.info.duration_s
        if self._scan is not None:
            return self._scan.frames
        if frames is None or (settings.start_s <= 0 and settings.end_s is None):
            return frames
        if not duration_s:
            return None
        end_s = min(duration_s, settings.end_s if settings.end_s is not None else duration_s)
        return round(frames * max(0.0, end_s - settings.start_s) / duration_s)

    def _seconds(self, pts: int) -> float:
        """Return a frame's seconds from the stream's first frame, which it may be itself."""
        if self._first_pts is None:
            self._first_pts = pts
        return float((pts - self._first_pts) * self._decoder.time_base)

    @cached_property
    def _wall_clock(self) -> WallClock | None:
        """Return the wall-clock time of the file's first frame; None for a live source, whose rows restart with each
        segment."""
        return None if self.info.live else self._run.clock_of(self.info.creation_time)

    def _is_before_start(self, pts: int) -> bool:
        return self._settings.start_s > 0 and self._seconds(pts) < self._settings.start_s

    def _was_there_before(self, pts: int) -> bool:
        """Return whether the camera's previous file already had this frame, which precedes all returned ones."""
        place = self._run.place
        if place is None or self._origin is not None:
            return False
        if not place.has_arrived:
            self._seconds(pts)
            assert self._first_pts is not None
            place.arrive(self._first_pts, self.info)
        return place.drops(pts, self.info)

    def _is_behind_end(self, pts: int) -> bool:
        """Return whether the requested part, or the part of the file that may be read, has ended. Notes the latter as a
        problem."""
        end_s, limit_s = self._settings.end_s, self._settings.max_duration_s
        at_s = self._seconds(pts) if end_s is not None or limit_s is not None else 0.0
        if end_s is not None and at_s >= end_s:
            return True
        if limit_s is not None and at_s > limit_s and not self._source.live:
            self._problem = (
                f"goes on for more than max_duration_s = {limit_s:g} seconds, after {self._index} frames: "
                "not read further"
            )
            return True
        return False

    def _end_here(self) -> None:
        """Stop at the end of the requested part, and read on for the sound that belongs to it."""
        self._ended = self._complete = True
        end_s = self._settings.end_s if self._problem is None else self._settings.max_duration_s
        if self.info.audio is None or self._source.live or self._first_pts is None or end_s is None:
            return
        sound_ends_s = float(self._first_pts * self._decoder.time_base) + end_s
        with contextlib.suppress(SourceError):
            for packet in self._packets:
                at_s = begin_of(packet)
                if packet.stream_index != self._source.video.index:
                    if self._gate.passes(packet):
                        self._sound.add(packet)
                    if at_s >= sound_ends_s:
                        return
                elif at_s >= sound_ends_s + _SOUND_LAGS_S:
                    return

    def _heard(self) -> Iterable[av.Packet]:
        """Return the sound that was read but not returned yet and belongs to the requested part."""
        end_s, first_pts = self._settings.end_s, self._first_pts
        limit_s = self._settings.max_duration_s if not self._source.live else None
        ends = [item for item in (end_s, limit_s) if item is not None]
        if not ends or first_pts is None:
            return self._sound.take()
        end = float(first_pts * self._decoder.time_base) + min(ends)
        return self._sound.take(end)

    def _frame(self, image: av.VideoFrame, pts: int, duration: int, *, last: bool = False) -> Frame:
        """Wrap a decoded frame. `last`: it is the last one before a stop."""
        index = self._index
        if self._run.place is not None:
            self._run.place.tail.append(_sketch(image))
        if self._origin is None:
            self._run.check_size((image.width, image.height))
            self._origin = index
            self._check_waiting(image)
            if self._settings.start_s:
                self._sound.drop_before(float(pts * self._decoder.time_base))
        self.pass_over(pts)
        audio = self._heard() if self.info.audio is not None else ()
        self._given += 1
        due = last or time.monotonic() - self._marked_at >= self._settings.checkpoint_s
        plan = None
        if self._motion is not None:
            begins, ends = (self._scan.begins(index), self._scan.ends(index)) if self._scan else (False, False)
            plan = self._motion.see(image, pts, self._decoder.time_base, begins=begins, ends=ends)
        infer = plan.infer if plan is not None else (index - self._origin) % self._every == 0
        mark = None
        if due and self._marks:
            # What is known behind a frame between others depends on the next ones; what the audit knows, on its window.
            held_up = plan is not None and (plan.look is Look.BETWEEN or plan.audited)
            if not held_up and (infer or not self._settings.both):
                mark = self._mark(image, pts, duration)
        step_s, base = self.info.step_s, self._decoder.time_base
        look, clock = not self._run.judged, self._wall_clock
        wall = clock.at(self._seconds(pts)) if clock is not None else None
        ahead = self._run.ahead if not self.info.live else None
        piece = ahead.at(self._seconds(pts)) if ahead is not None else None
        known = piece.images if piece is not None else None
        left_out = 0 if self._follows is None else index - self._follows
        self._follows = index + 1
        told = (infer, audio, mark, step_s, look, wall, plan)
        return Frame(self._run.key, index, pts, duration, base, image, *told, known=known, left_out=left_out)

    def _recalled(self, known: KnownFrame, pts: int, duration: int) -> Frame:
        """Return a frame that was not decoded, because what is in it is known."""
        index, image, clock = self._index, self._all.last_image, self._wall_clock
        assert image is not None
        self.pass_over(pts)
        self._given += 1
        self._follows = index + 1
        return Frame(
            self._run.key,
            index,
            pts,
            duration,
            self._decoder.time_base,
            None,
            step_s=self.info.step_s,
            look=False,
            wall=clock.at(self._seconds(pts)) if clock is not None else None,
            recalled=Recalled((image.width, image.height), known.detections),
            key=known.key,
        )

    def _check_waiting(self, image: av.VideoFrame) -> None:
        """Raise VideoError if images are too large for several of them to wait for the next inferred one."""
        settings = self._settings
        if settings.both and settings.max_frame_bytes is not None:
            size = frame_bytes(image.format.name, image.width, image.height)
            if size > LARGE * settings.max_frame_bytes:
                raise VideoError(
                    f"has pictures of {size:,} bytes, too large to wait for the next one that is inferred (fill = "
                    f"both): use fill = predict, or a max_frame_bytes of at least {math.ceil(size / LARGE):,}"
                )

    def pass_over(self, pts: int) -> None:
        """Count one more frame, and remember it if it can be sought to."""
        if self._decoder.at_key_frame:
            since = pts - self._anchors[-1][1] if self._anchors else None
            if since is None or since * self._decoder.time_base >= _BETWEEN_ANCHORS_S:
                self._anchors.append((self._index, pts))
        self._index += 1

    def _mark(self, image: av.VideoFrame, pts: int, duration: int) -> Barrier:
        self._given, self._marked_at = 0, time.monotonic()
        seekable = self._source.seekable and self._decoder.clean and self._gate.regular
        anchors = tuple(self._anchors) if seekable else ()
        first_pts = self._first_pts or 0
        return Barrier(
            self._index,
            pts,
            duration,
            _crc(image),
            first_pts,
            self._decode_s,
            anchors,
            seekable,
            **self._gate.state(),
            origin=self._origin or 0,
            tail=tuple(self._run.place.tail) if self._run.place is not None else (),
            gate=self._motion.state() if self._motion is not None else "",
        )

    def passes(self, mark: Barrier, anchor: tuple[int, int] | None) -> bool:
        """Decode up to the mark, from the key frame `anchor` or from the beginning. Return whether the mark was
        reached; also true if the stream was stopped in the meantime."""
        self._passing = True
        try:
            if anchor is not None:
                self._leads = False
                self._source.seek(anchor[1])
            self._gate.skip_to(mark, sought=anchor is not None)
            while self._index < mark.frames:
                item = self._next()
                if self._run.stop.is_set():
                    self._index = mark.frames
                    return True
                if item is None:
                    return False
                image, pts, duration = item
                if anchor is not None and not self._index:
                    if pts < anchor[1]:
                        continue
                    if pts > anchor[1]:
                        return False
                    self._index = anchor[0]
                    self._decoder.forgive()
                self.pass_over(pts)
        except (SourceError, DecodeError):
            return False
        finally:
            self._passing = False
        if anchor is not None and not (self._decoder.clean and self._gate.fits):
            return False
        if self._run.place is not None:
            self._run.place.arrive(mark.first_pts, self.info)
            self._run.place.tail.clear()
            self._run.place.tail.extend(mark.tail)
        if self._motion is not None:
            try:
                self._motion.restore(mark.gate)
            except ValueError:
                return False
        self._anchors = deque(mark.anchors, _ANCHORS)
        self._first_pts, self._decode_s, self._origin = mark.first_pts, mark.decode_s, mark.origin
        self._follows = mark.frames
        return (pts, duration, _crc(image)) == (mark.pts, mark.duration, mark.crc)


def _raising(error: Exception) -> Iterator[Any]:
    """Return an iterator that raises at once."""
    raise error
    yield


def anchor_of(mark: Barrier, info: StreamInfo) -> tuple[int, int] | None:
    """Return the last key frame from which all the sound after the mark is also read; None if there is none."""
    if not mark.seekable:
        return None
    latest = mark.pts * info.time_base
    if info.audio is not None:
        if not mark.audio:
            return None
        latest = min(latest, mark.audio_dts * Fraction(*mark.audio_time_base))
    near = [anchor for anchor in mark.anchors if anchor[0] and anchor[1] * info.time_base <= latest]
    return near[-1] if near else None


def _sketch(image: av.VideoFrame) -> int:
    """Return CRC-32 of every sixteenth row of an image's luma, or of its RGB: cheap enough for every frame."""
    width = image.width * (3 if image.format.name in ("rgb24", "bgr24") else 1)
    return zlib.crc32(np.ascontiguousarray(planes_of(image)[0][: image.height : 16, :width]).data)


def _crc(image: av.VideoFrame) -> int:
    """Return CRC-32 of an image's luma, or of its RGB, without what pads the rows."""
    width = image.width * (3 if image.format.name in ("rgb24", "bgr24") else 1)
    return zlib.crc32(np.ascontiguousarray(planes_of(image)[0][: image.height, :width]).data)
