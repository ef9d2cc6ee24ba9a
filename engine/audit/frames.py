"""Decodes and infers some frames of a video again, and compares them with the stored rows."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import av.error
import numpy as np
from numpy.typing import NDArray

from engine.analytics.naming import name_of
from engine.analytics.settings import AnswerSettings
from engine.audit.claims import Claim
from engine.audit.findings import AuditedVideo, Finding, Kind, named
from engine.audit.rows import Row, Unreadable, read, without_like
from engine.engine import Engine
from engine.errors import EngineError, InputError
from engine.inference.model import available_cores
from engine.media.inputs import Video
from engine.media.source import Source
from engine.pipeline.reader import ReaderSettings, StreamReader
from engine.pipeline.stream import StreamRun
from engine.profiling.metrics import Metrics
from engine.records import Detections, Frame
from engine.sinks.memory import Counters
from engine.sinks.store import Store
from engine.stages.decode import never_begun
from engine.trackers.registry import FIRST_HITS

_SAME_BOX = 0.6  # least IoU of two boxes of the same object, computed with different precision
_TOUCHES = 0.05  # least IoU of a track's box and the detection behind it
_GOES_ON = 0.5  # least IoU of a box and its track, interpolated between its previous and next rows
_THROUGHOUT = 0.5  # fraction of frames (half of it for boxes) above which deviations are systematic
_NEVER_LEAVES_OUT = "sort"  # with this tracker a single missing row is a finding; others may have left it out
_MANY = 2  # so many tracks at once are left out by no tracker
_WARM_UP = 10  # frames at the start in which trackers report more than later
_JUST_BEFORE_S = 1e-6
_OF_A_STEP = 0.4  # tolerance for times of the annotated video, as a fraction of a frame's duration


@dataclass
class _Looked:
    """A frame that was inferred again. `rows` are the model's boxes; `before` and `behind` are the times, in ticks, of
    the adjacent frames, None if tracks need not continue there."""

    index: int
    pts: int
    rows: list[Row]
    before: int | None = None
    behind: int | None = None


@dataclass
class Compared:
    """Counts so far: the model's boxes in the checked frames, those that differ from the stored ones, and how many of
    these are still the same object. `wrong` describes the deviations in each affected frame."""

    frames: int = 0
    with_boxes: int = 0
    boxes: int = 0
    differ: int = 0
    nearly: int = 0
    wrong: list[str] = field(default_factory=list)

    @property
    def throughout(self) -> bool:
        """Whether the deviations are systematic."""
        return (
            len(self.wrong) > _THROUGHOUT * self.with_boxes and self.differ > _THROUGHOUT / 2 * max(1, self.boxes)
        )  # fmt: skip


def look_again(
    claim: Claim, engine: Engine, count: int, seed: int, tick: Callable[[], None]
) -> tuple[AuditedVideo, list[Finding]]:
    """Decode a video, infer `count` of its frames again, and compare frames and boxes with the stored ones. The same
    `seed` selects the same frames. `tick` is called during the work."""
    try:
        looked, times = _decoded(claim, engine, _chosen(claim, count, seed), tick)
    except EngineError as error:
        return AuditedVideo(claim.name, left_out=str(error)), [
            Finding(Kind.SOURCE, claim.name, "", f"{claim.source} {error}")
        ]
    findings = [*_count_of_frames(claim, times), *_annotated(claim, times)]
    boxes = sum(len(frame.rows) for frame in looked)
    if engine.config.gate != "off":  # boxes depend on several frames
        why = "most boxes of a gated run (key gate) are carried over from other frames: --frames all compares all rows"
        return AuditedVideo(claim.name, left_out=why), findings
    kinds = [(kind, compare) for kind, compare in _COMPARED.items() if kind in claim.outputs]
    for kind, compare in kinds:
        findings += _compare(claim, kind, looked, engine, compare)
    left_out = "" if kinds else "the run kept no boxes"
    return AuditedVideo(claim.name, len(looked), boxes, left_out=left_out), findings


def _chosen(claim: Claim, count: int, seed: int) -> frozenset[int]:
    """Choose frames, by index among the output frames."""
    generator = random.Random(f"{seed} {claim.stem}".encode("utf-8", "surrogateescape"))  # may be undecodable
    return frozenset(generator.sample(range(claim.frames), min(count, claim.frames)))


def _decoded(
    claim: Claim, engine: Engine, chosen: frozenset[int], tick: Callable[[], None]
) -> tuple[list[_Looked], list[float]]:
    """Return the chosen frames and the time of every frame, in seconds. Raises EngineError."""
    config, shown = engine.config, str(claim.source)
    scene = AnswerSettings.of(config).scene(name_of({"path": claim.name, "stem": str(claim.stem)}))
    stream = StreamRun(0, Video(shown, claim.stem), {}, Counters(), 8, scene=scene)
    source = Source(shown, options=never_begun(config.max_frame_bytes))
    settings = ReaderSettings.of(config, available_cores())._replace(
        between=config.frames_between_inferences, scan=config.scan
    )
    looked: list[_Looked] = []
    times: list[float] = []
    before: int | None = None
    warm_up = max(_WARM_UP, *(getattr(config, key) or 0 for key in FIRST_HITS))
    due = False
    try:
        reader = StreamReader(source, stream, settings)
        reader.open()
        reader.survey()
        reader.go_to_start()
        with Metrics().clock("audit") as clock:
            for frame in reader.frames(clock.lap):
                if looked and looked[-1].behind is None:
                    looked[-1].behind = frame.pts
                if frame.time_s < claim.begins_s - _JUST_BEFORE_S:
                    continue
                due = due or len(times) in chosen
                if due and frame.infer:  # for a skipped frame, the next one that was not skipped
                    known = before if len(times) > warm_up else None
                    looked.append(_Looked(frame.index, frame.pts, _inferred(frame, engine, stream), known))
                    due = False
                times.append(frame.time_s)
                before = frame.pts
                tick()
    finally:
        source.close()
    return looked, times


def _inferred(frame: Frame, engine: Engine, stream: StreamRun) -> list[Row]:
    found = engine.detect_in(frame)
    assert frame.image is not None
    if stream.ignore is not None:
        found = stream.ignore.filtered(found, (frame.image.width, frame.image.height))
    return _rows(found, frame.index, frame.pts)


def _rows(found: Detections, index: int, pts: int) -> list[Row]:
    columns = (found.class_ids.tolist(), found.scores.tolist(), found.boxes_xyxy.tolist())
    return [
        Row(index, pts, 0, class_id, score, (box[0], box[1], box[2], box[3]))
        for class_id, score, box in zip(*columns, strict=True)
    ]


def _count_of_frames(claim: Claim, times: Sequence[float]) -> Iterator[Finding]:
    if len(times) != claim.frames and claim.whole:
        detail = f"the source has {len(times):,} frames, and the manifest counts {claim.frames:,}"
        yield Finding(Kind.FRAME, claim.name, "", detail)


# -- the annotated video ----------------------------------------------------------------------------------------------


def _annotated(claim: Claim, times: Sequence[float]) -> Iterator[Finding]:
    """Check that each frame of the source is in the annotated video, at its time."""
    path = claim.outputs.get("video")
    if path is None or not times:
        return
    try:
        shown = np.array(sorted(_times_in(path))) + claim.offset_s
    except (av.error.FFmpegError, OSError, ValueError) as error:
        if path.is_file():
            yield Finding(Kind.CHANGED, claim.name, claim.shown("video"), f"it is not a video: {error}")
        return
    wanted = np.array(times)
    step = float(np.median(np.diff(wanted))) if len(wanted) > 1 else 1.0
    missing = _far_from(wanted, shown, _OF_A_STEP * step)
    extra = _far_from(shown, wanted, _OF_A_STEP * step)
    if len(missing):
        which = named([f"frame {place} ({wanted[place]:.3f} s)" for place in missing])
        detail = f"{len(shown):,} frames, and the source has {len(wanted):,}. Missing: {which}"
        yield Finding(Kind.FRAME, claim.name, claim.shown("video"), detail)
    elif len(extra):
        which = named([f"at {shown[place]:.3f} s" for place in extra])
        yield Finding(Kind.FRAME, claim.name, claim.shown("video"), f"frames that the source does not have: {which}")


def _times_in(path: Path) -> Iterator[float]:
    with av.open(f"file:{path}") as container:
        stream = container.streams.video[0]
        unit = stream.time_base or Fraction(1)
        yield from (float(packet.pts * unit) for packet in container.demux(stream) if packet.pts is not None)


def _far_from(times: NDArray[np.float64], others: NDArray[np.float64], most: float) -> NDArray[np.intp]:
    """Return the indices of `times` without any of the `others` within `most` seconds; both are sorted."""
    if not len(others):
        return np.arange(len(times))
    right = np.searchsorted(others, times).clip(0, len(others) - 1)
    left = (right - 1).clip(0)
    distance = np.minimum(np.abs(others[right] - times), np.abs(others[left] - times))
    return np.flatnonzero(distance > most)


# -- boxes ------------------------------------------------------------------------------------------------------------


def _compare(
    claim: Claim, kind: str, looked: Sequence[_Looked], engine: Engine, compare: _Comparison
) -> Iterator[Finding]:
    """Report deviations of the boxes in an output of this kind."""
    compared = Compared(len(looked), sum(bool(frame.rows) for frame in looked))
    try:
        compare(claim, looked, compared, engine)
    except (OSError, Unreadable):
        return  # already reported as missing or damaged
    except InputError as error:
        if claim.outputs[kind].is_file():
            yield Finding(Kind.CHANGED, claim.name, claim.shown(kind), str(error))
        return
    yield from _told(claim, claim.shown(kind), compared, engine)


def _stored(claim: Claim, looked: Sequence[_Looked], compared: Compared, engine: Engine) -> None:
    wanted = {frame.pts: frame for frame in looked}
    with Store(claim.outputs["store"]) as store:
        for frame, found in store.frames():
            if (mine := wanted.pop(frame.pts, None)) is not None:
                stored = _rows(found, mine.index, mine.pts) if found is not None else []
                _compare_boxes(mine, stored, store.header.conf, compared)
    for mine in wanted.values():
        _compare_boxes(mine, [], engine.config.stored_conf, compared)


def _detections(claim: Claim, looked: Sequence[_Looked], compared: Compared, engine: Engine) -> None:
    stored = _rows_at("detections", claim, {frame.pts for frame in looked})
    for mine in looked:
        _compare_boxes(mine, stored.get(mine.pts, []), engine.config.conf, compared)


def _rows_at(kind: str, claim: Claim, times: set[int]) -> dict[int, list[Row]]:
    """Return the rows of these frames, by time in ticks."""
    return {rows[0].pts: rows for _, rows in read(kind, claim.outputs[kind]) if rows[0].pts in times}


def _compare_boxes(mine: _Looked, stored: list[Row], conf: float, compared: Compared) -> None:
    """Compare the model's boxes with the stored ones. A score close to the threshold may be on either side of it."""
    right = [row for row in mine.rows if row.score >= conf]
    edge = conf + 2e-3
    missing = [row for row in without_like(right, stored) if row.score > edge]
    extra = [row for row in without_like(stored, right) if row.score > edge]
    compared.boxes += len(right)
    _note(mine, missing, extra, compared)


def _tracks(claim: Claim, looked: Sequence[_Looked], compared: Compared, engine: Engine) -> None:
    """Compare the rows of tracks with the boxes that they were made of: class and score are theirs, and the filter's
    box is on them. A detection need not have a row; where its track has rows before and behind, it does."""
    beside = {time for frame in looked for time in (frame.before, frame.pts, frame.behind) if time is not None}
    stored = _rows_at("tracks", claim, beside)
    for mine in looked:
        rows, left = stored.get(mine.pts, []), list(mine.rows)
        extra = []
        for row in rows:
            of = next((each for each in left if _may_be_of(row, each)), None)
            if of is None:
                extra.append(row)
            else:
                left.remove(of)
        missing: list[Row] = []
        if mine.before is not None and mine.behind is not None:
            missing = _gone(rows, stored.get(mine.before, []), stored.get(mine.behind, []), left)
        if engine.config.tracker != _NEVER_LEAVES_OUT and (rows or len(missing) < _MANY):
            missing = []
        compared.boxes += len(rows)
        _note(mine, missing, extra, compared)


def _may_be_of(row: Row, box: Row) -> bool:
    return row.class_id == box.class_id and abs(row.score - box.score) <= 2e-3 and _overlap(row, box) > _TOUCHES


def _gone(rows: Sequence[Row], before: Sequence[Row], behind: Sequence[Row], left: Sequence[Row]) -> list[Row]:
    """Return the rows that tracks should have between two frames, by what is `left` of the model's boxes."""
    here = {row.track_id for row in rows}
    later = {row.track_id: row for row in behind}
    gone = []
    for one in before:
        if one.track_id in here or (other := later.get(one.track_id)) is None:
            continue
        box = [(a + b) / 2 for a, b in zip(one.box, other.box, strict=True)]
        place = Row(one.frame + 1, 0, one.track_id, one.class_id, one.score, (box[0], box[1], box[2], box[3]))
        if any(each.class_id == one.class_id and _overlap(place, each) > _GOES_ON for each in left):
            gone.append(place)
    return gone


def _note(mine: _Looked, missing: Sequence[Row], extra: Sequence[Row], compared: Compared) -> None:
    if not missing and not extra:
        return
    compared.differ += max(len(missing), len(extra))
    compared.nearly += sum(any(_is_nearly(row, each) for each in mine.rows) for row in extra)
    parts = [f"{what}: {named([str(row).partition(': ')[2] for row in rows])}"
             for what, rows in (("missing", missing), ("not the model's", extra)) if rows]  # fmt: skip
    compared.wrong.append(f"frame {mine.index}, {'; '.join(parts)}")


def _is_nearly(row: Row, box: Row) -> bool:
    return row.class_id == box.class_id and _overlap(row, box) >= _SAME_BOX


def _overlap(one: Row, other: Row) -> float:
    """Return the intersection of two boxes over their union."""
    (a1, b1, a2, b2), (c1, d1, c2, d2) = one.box, other.box
    common = max(0.0, min(a2, c2) - max(a1, c1)) * max(0.0, min(b2, d2) - max(b1, d1))
    both = (a2 - a1) * (b2 - b1) + (c2 - c1) * (d2 - d1) - common
    return common / both if both > 0 and math.isfinite(both) else 0.0


_Comparison = Callable[[Claim, Sequence[_Looked], Compared, Engine], None]
_COMPARED: dict[str, _Comparison] = {"store": _stored, "detections": _detections, "tracks": _tracks}


def _told(claim: Claim, shown: str, compared: Compared, engine: Engine) -> Iterator[Finding]:
    if not compared.wrong:
        return
    model = engine.model
    if not compared.throughout:
        for each in compared.wrong:
            yield Finding(Kind.BOXES, claim.name, shown, each)
        return
    boxes = f"in {len(compared.wrong)} of {compared.with_boxes} frames"
    if compared.nearly > compared.differ / 2:
        detail = f"{boxes} the boxes are nearly those of {model.manifest.name} in {model.precision}: another precision?"
        yield Finding(Kind.PRECISION, claim.name, shown, f"{detail} {compared.wrong[0]}")
    else:
        detail = f"{boxes} the boxes are not those of {model.manifest.name}: another model?"
        yield Finding(Kind.MODEL, claim.name, shown, f"{detail} {compared.wrong[0]}")
