"""CVAT for video 1.1: tracks with key frames, interpolated by CVAT between them.

Frames count from 0 in the video, and again from 0 in each job, which has a file of its own. After the end of a track,
or before a gap in it, there is a box marked `outside`; otherwise CVAT would show the track to the end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

from engine.exports.boxes import TrackBoxes, VideoBoxes
from engine.exports.formats.base import ExportSettings, jobs_of, write_text
from engine.exports.key_frames import key_frames, runs_of
from engine.text.printable import printable


def write(videos: Sequence[VideoBoxes], classes: Sequence[str], folder: Path, settings: ExportSettings) -> None:
    """Write `<stem>.xml` for each video and `<stem>.job-N.xml` for each of its jobs."""
    for video in videos:
        stem = video.stem
        write_text(folder / stem.with_name(f"{stem.name}.xml"), document(video, classes, settings))
        for number, first, last in jobs_of(video, settings):
            part = document(video.part(first, last), classes, settings)
            write_text(folder / stem.with_name(f"{stem.name}.job-{number}.xml"), part)


def document(video: VideoBoxes, classes: Sequence[str], settings: ExportSettings) -> str:
    """Return the annotations of a video as XML."""
    width, height = video.size_wh
    labels = "".join(f"<label><name>{_text(name)}</name><attributes></attributes></label>" for name in classes)
    head = (
        '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n<meta><task>'
        f"<name>{_text(video.video.name)}</name><size>{video.frames}</size><mode>interpolation</mode>"
        f"<start_frame>0</start_frame><stop_frame>{video.frames - 1}</stop_frame><labels>{labels}</labels>"
        f"<original_size><width>{width}</width><height>{height}</height></original_size></task></meta>\n"
    )
    tracks = (
        f'<track id="{track.track_id}" label={quoteattr(_plain(track.class_name))} source="auto">\n'
        + "".join(_boxes(track, video.frames, settings.error_px))
        + "</track>\n"
        for track in video.tracks
    )
    return head + "".join(tracks) + "</annotations>\n"


def _boxes(track: TrackBoxes, frames: int, error_px: float) -> Iterator[str]:
    for run in runs_of(track.frames):
        places, boxes = track.frames[run], track.boxes_xyxy[run]
        for index in key_frames(places, boxes, error_px).tolist():
            yield _box(int(places[index]), boxes[index].tolist(), outside=False)
        if (behind := int(places[-1]) + 1) < frames:
            yield _box(behind, boxes[-1].tolist(), outside=True)


def _box(frame: int, box: Sequence[float], *, outside: bool) -> str:
    x1, y1, x2, y2 = (f"{value:.2f}" for value in box)
    return (
        f'<box frame="{frame}" keyframe="1" outside="{int(outside)}" occluded="0" '
        f'xtl="{x1}" ytl="{y1}" xbr="{x2}" ybr="{y2}" z_order="0"></box>\n'
    )


def _plain(text: str) -> str:
    """Replace control characters, which XML can't hold."""
    return printable(text)


def _text(text: str) -> str:
    return escape(_plain(text))
