"""The annotated video of a long video, drawn in pieces by several workers.

Who tracks the video keeps notes in place of encoded packets: of each frame its times, the key of its image and its
tracks, and at the beginning of each piece what was drawn before it (trails, places of labels, counts). A piece whose
last frame is noted is published as a file of its own. Whoever draws it decodes the frames, checks that each image is
the one that was noted, draws, and encodes a closed group of pictures after the other. At the end, who tracked the video
draws what nobody has drawn, and copies all packets into one MP4, with the sound. A piece that it has to infer itself,
whose images it therefore decodes, it draws at once.

A piece of others that is missing, damaged or drawn from other notes is drawn again, so that none is waited for.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import av
import numpy as np

from engine.errors import CheckpointMismatch, SinkError, describe_os_error
from engine.pipeline.assignment import Drawing, Piece, PiecesOf, spare_of
from engine.pipeline.pieces import key_of
from engine.records import EndOfStream, Frame, StreamInfo, Tracks
from engine.sinks.base import DrawnState, OutputState, State, discard, existing, fresh, reopened
from engine.sinks.mux import MUX_ERRORS, mux_into, new_encoder
from engine.sinks.packet_log import (
    FRAME,
    STATE,
    VIDEO,
    LogHeader,
    Note,
    PacketLog,
    read_header,
    read_notes,
    read_packets,
    state_bytes,
)
from engine.sinks.video import AnnotatedVideo, drawable

# key, index, bytes of the wall-clock time, tracks that may return (-1: not known)
_FRAME = struct.Struct("<40sqIi")
_ROW = np.dtype([("box", "<f8", 4), ("id", "<i8"), ("class", "<i4"), ("score", "<f4")])
_LOOK_EVERY_S = 0.5
_DIGEST_BYTES = 64

_DAMAGED = (ValueError, TypeError, KeyError, OverflowError, struct.error)


DrawPieces = Callable[[Sequence[Drawing], bool], str | None]
"""Draws pieces, from the beginning of the file with True, else from a key frame near the only one. Returns why not all
were drawn; None if they were. Raises DrawingStopped."""


class VideoInPieces(AnnotatedVideo):
    """Keeps notes of one annotated video, publishes its pieces, and makes the video of them."""

    def __init__(
        self,
        path: Path,
        class_names: Sequence[str],
        *,
        pieces: PiecesOf,
        draw: DrawPieces,
        make: Callable[[Path], PieceVideo],
        **how: Any,
    ) -> None:
        """`make` returns what draws and encodes a piece into a file, `how` are the other arguments of an
        AnnotatedVideo."""
        super().__init__(path, class_names, **how)
        self._pieces = pieces
        self._draw = draw
        self._make = make
        self._at_once: PieceVideo | None = None  # draws the piece in hand
        self._begins: dict[int, int] = {}  # bytes of the log at which each piece begins
        self._number = -1
        self._canvas: av.VideoFrame | None = None

    def open(self, info: StreamInfo) -> None:
        super().open(info)
        self._begins.clear()
        self._number = -1

    def resume(self, info: StreamInfo, state: OutputState, part: Path) -> None:
        if "apart" not in state:
            raise CheckpointMismatch("the annotated video was not drawn in pieces before")
        self._begin(info)
        try:
            self._log = PacketLog(reopened(self._part, state["offset"], part))
            self._header = read_header(self._part)
            self._check_encoder()
            self._overlay.restore(state)
            for note in read_notes(self._part):
                if note.kind == STATE:
                    self._number = int(json.loads(note.payload)["number"])
                    self._begins[self._number] = note.at
        except _DAMAGED as error:
            raise CheckpointMismatch(f"{self._part.name} is damaged: {error}") from error
        except (OSError, av.error.FFmpegError) as error:
            raise self._error(error) from error
        for number in list(self._begins)[:-1]:
            self._publish(number)

    def write(self, tracks: Tracks) -> None:
        frame = tracks.frame
        try:
            if self._header is None:
                assert frame.image is not None
                self._configure(drawable(frame.image), frame)
                self._close_encoder()
            assert self._header is not None
            assert self._log is not None
            pts = frame.pts + self._header["shift"]
            number = int(float(pts * frame.time_base) // self._pieces.length_s)
            if number > self._number:
                self._turn_to(number, frame)
            self._keep_audio(frame.audio)
            self._log.frame(pts, frame.duration, frame.time_base, _noted(tracks))
            if self._at_once is not None and frame.image is None:
                self._overlay.restore(self._at_once.drawn_state)
                self._drop_at_once()
            if self._at_once is not None:
                self._at_once.write(replace(tracks, frame=replace(frame, audio=())))
            else:
                self._overlay.draw(self._canvas_for(frame), tracks)  # for what it knows behind the frame
        except MUX_ERRORS as error:
            raise self._error(error) from error

    def mark(self) -> State:
        log, size, drawn = self._log, self._log.size if self._log is not None else 0, self._drawn_state

        def state() -> OutputState | None:
            assert log is not None
            try:
                log.sync()
            except OSError as error:
                raise self._error(error) from error
            made: OutputState = {"offset": size, "apart": True}
            made.update(cast("OutputState", drawn))
            return made

        return state

    def drain(self) -> None:
        """Do nothing: each frame is noted at once."""

    def complete(self, end: EndOfStream) -> Path:
        """Have drawn what is not, and make the MP4, still under another name. Raises SinkError and DrawingStopped."""
        assert self._log is not None
        try:
            if self._begins:
                self._publish(self._number)
            self._keep_audio(end.audio)
            self._log.close()
            self._draw_rest()
            self.notes += mux_into(self._muxed, self._part, self._audio, drawn=self._packets())
        except MUX_ERRORS as error:
            raise self._error(error) from error
        return self._muxed

    def _check_encoder(self) -> None:
        """Raise CheckpointMismatch if this encoder's packets don't go with those of other pieces."""
        assert self._header is not None
        self._encoder = new_encoder(self._header, self._threads)
        found = self.extradata()
        self._close_encoder()
        if found != self._header["extradata"]:
            raise CheckpointMismatch("the encoder of the annotated video has changed since the checkpoint")

    @property
    def _drawn_state(self) -> DrawnState:
        return self._overlay.state() if self._at_once is None else self._at_once.drawn_state

    def _turn_to(self, number: int, frame: Frame) -> None:
        """Begin a piece, whose first frame this is."""
        assert self._log is not None
        assert self._header is not None
        assert self._info is not None
        if self._begins:
            self._publish(self._number)
        before = self._drawn_state
        self._begins[number] = self._log.size
        self._number = number
        self._log.state(json.dumps({"number": number, **before}).encode())
        if frame.known is None and frame.recalled is None:
            self._at_once = self._make(spare_of(self._pieces.drawing(number).file))
            self._at_once.begin(self._info, self._header, before)

    def _drop_at_once(self) -> None:
        """Leave the piece in hand to whoever draws it later."""
        if self._at_once is not None:
            self._at_once.abort()
            self._at_once = None

    def suspend(self) -> None:
        self._drop_at_once()
        super().suspend()

    def _publish(self, number: int) -> None:
        """Let the notes of a piece appear, and the piece, if it was drawn at once. Raises SinkError."""
        assert self._log is not None
        assert self._header is not None
        later = [begin for other, begin in self._begins.items() if other > number]
        drawing = self._pieces.drawing(number)
        part = spare_of(drawing.notes)
        try:
            self._log.flush()
            drawing.notes.parent.mkdir(parents=True, exist_ok=True)
            with fresh(part) as file:
                log = PacketLog(file)
                log.header(self._header)
                for note in read_notes(self._part, self._begins[number], min(later, default=self._log.size)):
                    if note.kind == STATE:
                        log.state(note.payload)
                    else:
                        log.frame(note.pts, note.duration, note.time_base, note.payload)
                log.sync()
            os.replace(part, drawing.notes)
        except OSError as error:
            discard(part)
            raise SinkError(f"{drawing.notes.name} can't be written: {describe_os_error(error)}") from error
        if self._at_once is not None and number == self._number:
            self._overlay.restore(self._at_once.drawn_state)
            self._at_once.end(drawing.file, _digest(drawing.notes))
            self._at_once = None

    def _draw_rest(self) -> None:
        left = [self._pieces.drawing(number) for number in sorted(self._begins)]
        for drawing in left:
            if not is_drawn(drawing):
                self._draw([drawing], False)
        left = [drawing for drawing in left if not is_drawn(drawing)]
        if left and (why := self._draw(left, True)) is not None:
            raise SinkError(f"the annotated video can't be drawn: {why}")

    def _packets(self) -> Iterator[av.Packet]:
        for number in sorted(self._begins):
            packets = read_packets(self._pieces.drawing(number).file)
            yield from (packet for kind, packet, _ in packets if kind == VIDEO)

    def _canvas_for(self, frame: Frame) -> av.VideoFrame:
        """Return an image of a frame's size, of which only the size counts."""
        assert frame.size_wh is not None
        width, height = (side + side % 2 for side in frame.size_wh)
        if self._canvas is None or (self._canvas.width, self._canvas.height) != (width, height):
            self._canvas = av.VideoFrame(width, height, "yuv420p")
        return self._canvas


@dataclass(frozen=True)
class Notes:
    """What is to be drawn in a piece: the header of the video's log, what was drawn before, and the notes of its
    frames. `digest` identifies them."""

    header: LogHeader
    before: DrawnState
    frames: Sequence[Note]
    digest: str

    @classmethod
    def read(cls, path: Path) -> Notes:
        """Raise SinkError if there are none, or if they are damaged."""
        try:
            header = read_header(path)
            state, *frames = read_notes(path)
            if state.kind != STATE or not frames or any(note.kind != FRAME for note in frames):
                raise ValueError("it has no frames")
            return cls(header, json.loads(state.payload), frames, _digest(path))
        except (*_DAMAGED, CheckpointMismatch) as error:
            raise SinkError(f"{path.name} is damaged: {error}") from error
        except OSError as error:
            raise SinkError(f"{path.name} can't be read: {describe_os_error(error)}") from error

    @cached_property
    def part(self) -> Piece:
        """The part of the file that has these frames, in seconds from its first frame."""
        first, last = (float(note.pts * note.time_base) for note in (self.frames[0], self.frames[-1]))
        return Piece(first, float(np.nextafter(last, np.inf)), Path())


def is_drawn(drawing: Drawing) -> bool:
    """Return whether a piece was drawn from the notes that are there now."""
    try:
        return _drawn_from(drawing.file) == _digest(drawing.notes)
    except (OSError, CheckpointMismatch, *_DAMAGED):
        return False


class PieceVideo(AnnotatedVideo):
    """Draws and encodes one piece into a log that ends with the digest of its notes."""

    def begin(self, info: StreamInfo, header: LogHeader, before: DrawnState) -> None:
        """Begin with the header of the video's log, where `before` was drawn. Raises SinkError."""
        self._begin(info)
        self._audio = None
        self._header = header
        try:
            self._part.parent.mkdir(parents=True, exist_ok=True)
            self._log = PacketLog(fresh(self._part))
            self._encoder = new_encoder(header, self._threads)
            self._overlay.restore(before)
        except (*MUX_ERRORS, TypeError, KeyError) as error:
            raise self._error(error) from error
        if self.extradata() != header["extradata"]:
            raise SinkError("the encoder of the annotated video is not that of the other pieces")

    @property
    def drawn_state(self) -> DrawnState:
        """What is to be known behind the last frame."""
        return self._overlay.state()

    def end(self, file: Path, digest: str) -> None:
        """Let the piece appear, drawn from the notes with this digest. Raises SinkError."""
        self.drain()
        assert self._log is not None
        try:
            self._log.state(digest.encode())
            self._log.sync()
            self._log.close()
            os.replace(self._part, file)
        except OSError as error:
            raise self._error(error) from error


class PieceDrawing:
    """Draws pieces, one after the other, of the frames of their file. Those that are drawn by now are passed over.

    `gives_up`: stops as soon as another worker has drawn the piece in hand.
    """

    kind = "drawn"

    def __init__(
        self, drawings: Sequence[Drawing], make: Callable[[Path], PieceVideo], *, gives_up: bool = False
    ) -> None:
        """`make` returns what draws and encodes into a file."""
        self._todo = iter(drawings)
        self._make = make
        self.gives_up = gives_up
        self._notes: Notes | None = None
        self._looked_at = time.monotonic()

    def open(self, info: StreamInfo) -> None:
        self._info = info
        self._next()

    def write(self, tracks: Tracks) -> None:
        """Draw what is noted of this frame; it has no tracks of its own. Raises SinkError if it is not the next one."""
        frame, notes = tracks.frame, self._notes
        if notes is None or frame.image is None:
            return
        note = notes.frames[self._at]
        pts = frame.pts + notes.header["shift"]
        if pts < note.pts:
            return
        try:
            noted = _tracks(frame, note)
        except _DAMAGED as error:
            raise SinkError(f"{self._drawing.notes.name} is damaged: {error}") from error
        if pts > note.pts or key_of(frame.image) != noted.frame.key:
            raise SinkError(f"the frame at {float(note.pts * note.time_base):.3f} s is not the one that was tracked")
        self._look()
        self._video.write(noted)
        self._at += 1
        if self._at == len(notes.frames):
            self._video.end(self._drawing.file, notes.digest)
            self._next()

    def commit(self, end: EndOfStream, path: Path) -> None:
        """Raise SinkError if frames are missing."""
        missing = self._notes is not None
        self.abort()
        if missing and not end.interrupted:
            raise SinkError("the file ends before the piece")

    def abort(self) -> None:
        if self._notes is not None:
            self._video.abort()
            self._notes = None

    def _next(self) -> None:
        self._notes = None
        for drawing in self._todo:
            if is_drawn(drawing):
                continue
            notes = Notes.read(drawing.notes)
            self._drawing, self._at = drawing, 0
            self._video = self._make(spare_of(drawing.file))
            self._notes = notes
            self._video.begin(self._info, notes.header, notes.before)
            return

    def _look(self) -> None:
        if self.gives_up and time.monotonic() - self._looked_at > _LOOK_EVERY_S:
            self._looked_at = time.monotonic()
            if is_drawn(self._drawing):
                raise SinkError("another worker was faster")


def _noted(tracks: Tracks) -> bytes:
    """Return the payload of a frame's note."""
    frame = tracks.frame
    key = frame.key
    if key is None:
        assert frame.image is not None
        key = key_of(frame.image)
    table = np.empty(len(tracks), _ROW)
    table["box"], table["id"] = tracks.boxes_xyxy, tracks.track_ids
    table["class"], table["score"] = tracks.class_ids, tracks.scores
    wall = b"" if frame.wall is None else frame.wall.isoformat().encode()
    alive = tracks.alive
    head = _FRAME.pack(key, frame.index, len(wall), -1 if alive is None else len(alive))
    return head + wall + (b"" if alive is None else alive.astype("<i8").tobytes()) + table.tobytes()


def _tracks(frame: Frame, note: Note) -> Tracks:
    """Return the tracks that are noted of a frame. Raises ValueError or struct.error."""
    key, index, length, count = _FRAME.unpack_from(note.payload)
    begin = _FRAME.size + length
    wall = datetime.fromisoformat(note.payload[_FRAME.size : begin].decode()) if length else None
    alive = None if count < 0 else np.frombuffer(note.payload, "<i8", count, begin)
    begin += 8 * max(0, count)
    table: Any = np.frombuffer(note.payload, _ROW, offset=begin)
    noted = replace(frame, index=index, duration=note.duration, wall=wall, key=key, audio=())
    boxes, scores = np.ascontiguousarray(table["box"]), np.ascontiguousarray(table["score"])
    ids, kinds = np.ascontiguousarray(table["id"]), np.ascontiguousarray(table["class"])
    return Tracks(noted, boxes, ids, kinds, scores, alive=alive)


def _drawn_from(path: Path) -> str:
    """Return the digest of the notes from which a piece was drawn: its last record, so that the piece is whole. Raises
    OSError, ValueError, CheckpointMismatch."""
    with existing(path) as file:
        size = os.fstat(file.fileno()).st_size
    found = list(read_notes(path, max(0, size - state_bytes(_DIGEST_BYTES))))
    if len(found) != 1 or found[0].kind != STATE:
        raise ValueError(f"{path.name} is no piece")
    return str(found[0].payload.decode())


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
