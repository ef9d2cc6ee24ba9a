"""A camera's rows as the data island of a page: JSON in an element that is not executed.

Texts are made printable here, once, so that control characters in a name neither reverse the line nor vanish; the page
inserts them as text. `static/report.js`, which reads the rows, documents their meaning.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from urllib.parse import quote

from markupsafe import Markup

from engine.analytics import EventKind
from engine.analytics.paths import TOLERANCE, UNITS, TrackPath, simplified
from engine.report.records import CameraReport
from engine.text.printable import printable

_LONGEST_NAME = 300


@dataclass(frozen=True)
class Thinned:
    """What was left out to keep a page small. `paths`: "fewer" points, or "none"; `idle` tracks without events, of at
    most `seconds`; all but the first `listed`, out of `tracks` in total."""

    tracks: int = 0
    paths: str = ""
    idle: int = 0
    seconds: float = 0.0
    listed: int | None = None


@dataclass(frozen=True)
class Island:
    """The JSON of a camera, safe inside a script element, and what was left out."""

    json: Markup
    thinned: Thinned

    @property
    def bytes(self) -> int:
        return len(self.json)  # ASCII


def safe_json(value: object) -> Markup:
    """Return JSON for a script element: ASCII, without characters that begin a tag, a comment or an entity."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def shown(text: str) -> str:
    """Return untrusted text as pages show it."""
    return printable(text, _LONGEST_NAME)


def link(path: str) -> str:
    """Return the URL of a file, relative to the output folder."""
    return quote(os.fsencode(path))


def island_of(camera: CameraReport, classes: Sequence[str], at_most: int) -> Island:
    """Return the island of a camera, of at most `at_most` bytes as far as leaving out tracks can achieve that.

    If it is too large, paths lose points first; then the shortest tracks without events are dropped; then paths; then
    all but the first tracks.
    """
    made = safe_json(_table(camera, classes))
    whole = len(camera.answers.tracks)
    thinned = Thinned(whole)
    if len(made) > at_most:
        camera = replace(camera, paths={key: _coarser(path) for key, path in camera.paths.items()})
        made, thinned = safe_json(_table(camera, classes)), replace(thinned, paths="fewer")
    busy = {event.track_id for event in camera.answers.events}
    idle = sorted((each for each in camera.answers.tracks if each.track_id not in busy), key=lambda t: t.duration_s)
    while len(made) > at_most and thinned.idle < len(idle):
        gone = min(len(idle), thinned.idle + max(1, whole // 10))
        made = safe_json(_table(_only(camera, {each.track_id for each in idle[gone:]} | busy), classes))
        thinned = replace(thinned, idle=gone, seconds=round(idle[gone - 1].duration_s, 1))
    if len(made) > at_most:
        camera = replace(_only(camera, busy), paths={})
        made, thinned = safe_json(_table(camera, classes)), replace(thinned, paths="none")
    first = sorted(camera.answers.tracks, key=lambda track: (track.first_s, track.track_id))
    listed = len(first)
    while len(made) > at_most and listed:
        listed = min(listed - 1, int(0.95 * listed * at_most / len(made)))
        made = safe_json(_table(_only(camera, {each.track_id for each in first[:listed]}), classes))
        thinned = replace(thinned, listed=listed)
    return Island(made, thinned)


def _only(camera: CameraReport, track_ids: set[int]) -> CameraReport:
    """Return the camera with only these tracks."""
    tracks = tuple(track for track in camera.answers.tracks if track.track_id in track_ids)
    return replace(camera, answers=camera.answers._replace(tracks=tracks))


def _coarser(path: TrackPath) -> TrackPath:
    points = list(zip(path.points[::2], path.points[1::2], strict=True))
    kept = simplified(points, 4 * TOLERANCE) if len(points) > 2 else points
    return TrackPath(path.track_id, tuple(value for point in kept for value in point))


def _table(camera: CameraReport, classes: Sequence[str]) -> dict[str, object]:
    answers, scene = camera.answers, camera.scene
    zero = answers.clock.start
    tracks = {track.track_id: place for place, track in enumerate(answers.tracks)}
    videos = {video.name: place for place, video in enumerate(camera.videos)}
    places = [line.name for line in scene.lines] + [zone.name for zone in scene.zones]
    width, height = camera.size_wh or (1, 1)
    return {
        "camera": shown(camera.name),
        "key": camera.name,
        "zero": None if zero is None else round(zero.timestamp() * 1000),
        "zone": camera.zone,
        "size": [width, height],
        "videos": [
            {
                "name": shown(video.name),
                "key": video.name,
                "src": None if video.annotated is None else link(video.annotated),
                "offset": round(video.offset_s, 6),
                "at": round(camera.offsets_s.get(video.name, 0.0), 6),
            }
            for video in camera.videos
        ],
        "lines": [
            {
                "name": shown(line.name),
                "points": line.points,
                "in": shown(line.into),
                "out": shown(line.out),
            }
            for line in scene.lines
        ],
        "zones": [{"name": shown(zone.name), "points": zone.polygon} for zone in scene.zones],
        "ignore": [each.polygon for each in scene.ignore],
        "keys": [[line.name, line.into, line.out] for line in scene.lines] + [[zone.name] for zone in scene.zones],
        "heat": camera.heatmap,
        "tracks": [
            [
                track.track_id,
                classes.index(track.class_name),
                round(track.first_s, 2),
                round(track.last_s, 2),
                round(100 * track.mean_score),
                videos.get(track.video, 0),
                *(
                    min(UNITS, max(0, round(UNITS * value / side)))
                    for value, side in zip(track.best_box_xyxy, (width, height, width, height), strict=True)
                ),
                camera.paths[track.track_id].points if track.track_id in camera.paths else (),
            ]
            for track in answers.tracks
        ],
        "events": [
            [
                0 if event.kind is EventKind.CROSSING else 1,
                round(event.at.time_s, 3),
                tracks[event.track_id],
                places.index(event.place),
                (1 if event.direction == scene.lines[places.index(event.place)].into else 2)
                if event.kind is EventKind.CROSSING
                else 0,
                None if event.dwell_s is None else round(event.dwell_s, 3),
                event.born_inside + 2 * event.ended_inside,
                videos.get(event.at.video, 0),
                round(event.at.video_s, 3),
                event.at.pts,
            ]
            for event in answers.events
            if event.kind in (EventKind.CROSSING, EventKind.STAY) and event.track_id in tracks
        ],
    }
