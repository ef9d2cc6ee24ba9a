"""The answers of a run, computed from its manifest entries and the rows in its output folder. Runs, jobs and
`yolo-engine analyze` all use this, so they write the same bytes."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path, PurePosixPath
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from engine.analytics.analysis import Answers, EventKind, Recording, analyse
from engine.analytics.geometry import anchors
from engine.analytics.heatmap import Heatmap, read_file
from engine.analytics.naming import camera_of, cameras_of, name_of
from engine.analytics.paths import Paths, TrackPath
from engine.analytics.reviewed import Reviewed, rejected_tracks, without_rejected
from engine.analytics.samples import Samples, read_mot, read_tracks
from engine.analytics.settings import AnswerSettings
from engine.analytics.stitching import Fragments, Objects, count_objects
from engine.analytics.timeline import Film, lay_out, unexamined
from engine.errors import InputError
from engine.summary import CameraJson

if TYPE_CHECKING:
    from engine.analytics.verdicts import Judged

Entry = Mapping[str, Any]


class CameraAnswers(NamedTuple):
    """One camera's answers and number of objects, and, if requested, its heatmap, the path of each track and the
    outcome of a review. `offsets_s` has, by video name, the offset from container times to the camera's timeline."""

    answers: Answers
    objects: Objects
    offsets_s: Mapping[str, float]
    heatmap: Heatmap | None = None
    paths: Mapping[int, TrackPath] | None = None
    reviewed: Reviewed | None = None


def with_segments(entries: Iterable[Entry]) -> list[Entry]:
    """Return a manifest's entries with each live source replaced by its segments, as if each segment were a video of a
    sequence. Their `recording` is the name of the source."""
    return [each for entry in entries for each in (_segments(entry) if entry.get("segments") else [entry])]


def _segments(entry: Entry) -> list[Entry]:
    name, place = name_of(entry), PurePosixPath(entry["stem"]).parent
    found: list[Entry] = []
    session, ahead_s, end_s = None, 0.0, 0.0
    first = entry["segments"][0]
    for segment in entry["segments"]:
        joined = bool(found) and segment.get("session") == session
        if found and not joined:  # its times restart: it is placed by the clock, behind what there is
            ahead_s = max(first["at_s"] + _seconds_between(first, segment), end_s) - segment["at_s"]
        session, end_s = segment.get("session"), ahead_s + segment["at_s"] + segment["duration_s"]
        media = segment.get("media") or entry.get("media") or {}
        media = {**media, "first_s": 0.0, "examined_s": [0.0, segment["duration_s"]]}
        found.append(
            {
                "path": entry["path"],
                "stem": str(place / PurePosixPath(segment["segment"]).name),
                "status": "ok",
                "error": None,
                **{key: segment[key] for key in ("frames", "detections", "tracks", "duration_s", "outputs")},
                "media": {**media, "creation_time": segment["started_at"]},
                "sequence": {"offset_s": round(ahead_s + segment["at_s"], 6), "joined": joined},
                "recording": name,
                "session": session,
            }
        )
    return found


def _seconds_between(first: Entry, segment: Entry) -> float:
    """Return by how much a segment began later, by the clock; 0 if that does not tell."""
    try:
        later, earlier = (datetime.fromisoformat(each["started_at"]) for each in (segment, first))
        return (later - earlier).total_seconds()
    except (ValueError, TypeError):
        return 0.0


def films_of(
    entries: Iterable[Entry],
    folder: Path,
    settings: AnswerSettings,
    *,
    just_tracked: bool = False,
    remade: Container[str] = (),
) -> list[Film]:
    """Return the videos of a manifest whose outputs are in `folder`; a live source is given as its segments.
    `just_tracked` says that rows can't have been edited since, so the sums made while tracking are still valid.
    `remade` has the stems of videos that were tracked again since, each alone. Raises InputError if something is
    missing."""
    films = []
    entries = with_segments(entries)
    for entry in entries:
        if "stem" not in entry:
            raise InputError(f"{folder} was written by an older version: run it again, with --no-resume.")
        stem = PurePosixPath(entry["stem"])
        if stem.is_absolute() or ".." in stem.parts:
            raise InputError(f"{folder / 'manifest.json'} is damaged: {str(stem)!r} is not below its folder.")
        name = name_of(entry)
        known_as = entry.get("recording", name)
        media = entry.get("media") or {}
        examined = media.get("examined_s") if entry.get("status") in ("ok", "partial") else None
        outputs = entry.get("outputs") or {}
        tracks = outputs.get("tracks")
        if examined is not None and tracks is None:
            raise InputError(f"{folder} has no tracks of {name}: run it again with `tracks` among its formats.")
        films.append(
            Film(
                name,
                "",  # follows from all of them
                (media["size_wh"][0], media["size_wh"][1]) if examined is not None else None,
                media.get("first_s", 0.0),
                tuple(examined) if examined is not None else None,
                # Looked up by name, because the folder may have been moved since.
                _beside(folder, stem, tracks),
                settings.clock(known_as, media.get("creation_time")),
                sequence_offset_s=_of_sequence(entry, settings, name).get("offset_s"),
                sequence_joined=bool(_of_sequence(entry, settings, name).get("joined")),
                recording=entry.get("recording"),
                session=str(stem) if str(stem) in remade else entry.get("session"),
                heatmap=_beside(folder, stem, outputs.get("heatmap")) if just_tracked else None,
                objects=_objects(entry) if just_tracked else None,
                left_out_s=tuple(sorted((first, last) for first, last in media.get("not_examined_s", ()))),
                duration_s=entry.get("duration_s", 0.0),
            )
        )
    cameras = cameras_of(
        [(film.known_as, str(entry["path"])) for film, entry in zip(films, entries, strict=True)], settings.camera
    )
    return [film._replace(camera=camera) for film, camera in zip(films, cameras, strict=True)]


def _objects(entry: Entry) -> Objects | None:
    found = entry.get("objects")
    return None if found is None else Objects(entry["tracks"], *found)


def _beside(folder: Path, stem: PurePosixPath, output: str | None) -> Path | None:
    return folder / stem.parent / os.path.basename(output) if output else None


def _of_sequence(entry: Entry, settings: AnswerSettings, name: str) -> Entry:
    """Return a video's position in its sequence when it was tracked; nothing if that was a different sequence."""
    found: Entry = entry.get("sequence") or {}
    return found if "recording" in entry or found.get("camera") == camera_of(name, settings.camera) else {}


def film_of_rows(path: Path, settings: AnswerSettings, size_wh: tuple[int, int], fps: float) -> tuple[Film, float]:
    """Return a Film for a file of rows without a manifest, `*.jsonl` or MOTChallenge text with `fps` frames per second,
    and the share of its boxes whose centres are outside a frame of `size_wh`. Raises InputError."""
    first_s, last_s, rows, outside = None, 0.0, 0, 0
    for samples in read_tracks(path) if path.suffix == ".jsonl" else read_mot(path, fps):
        first_s = float(samples.times_s.min()) if first_s is None else first_s
        last_s = max(last_s, float(samples.times_s.max()))
        centres = anchors(samples.boxes_xyxy, "centre")
        rows += len(samples)
        outside += int(((centres < 0) | (centres > size_wh)).any(axis=1).sum())
    name = path.name.removesuffix(".tracks.jsonl").removesuffix(".mot.txt")
    examined = None if first_s is None else (min(0.0, first_s), last_s + 1 / fps)
    clock = settings.clock(name, None)
    (camera,) = cameras_of([(name, str(path))], settings.camera)
    return Film(name, camera, size_wh, 0.0, examined, path, clock), outside / max(rows, 1)


def answer(
    films: Sequence[Film],
    settings: AnswerSettings,
    *,
    read: Callable[[Path], Iterator[Samples]] = read_tracks,
    heatmap: bool = False,
    paths: bool = False,
    tick: Callable[[], None] = lambda: None,
    verdicts: Sequence[Judged] | None = None,
) -> list[CameraAnswers]:
    """Analyse the films of each camera, in order of camera name. `tick` is called after each chunk of rows. With
    `verdicts`, rejected tracks and events are left out. Raises InputError if rows can't be read, or if a video's aspect
    ratio differs from its scene's."""
    cameras: defaultdict[str, list[Film]] = defaultdict(list)
    for film in films:
        cameras[film.camera].append(film)
    return [_of_camera(name, cameras[name], settings, read, heatmap, paths, tick, verdicts) for name in sorted(cameras)]


def _of_camera(
    camera: str,
    films: list[Film],
    settings: AnswerSettings,
    read: Callable[[Path], Iterator[Samples]],
    heatmap: bool,
    paths: bool,
    tick: Callable[[], None],
    verdicts: Sequence[Judged] | None,
) -> CameraAnswers:
    placed, clock = lay_out(films, settings.max_gap_s, settings.max_overlap_s)
    scene = next((scene for each in placed if (scene := settings.scene(each.film.known_as)) is not None), None)
    shown = [each for each in placed if each.film.examined_s is not None]
    # A single file, whose times are all shifted alike: the count made while tracking equals a count of its rows.
    alone = shown[0] if len(shown) == 1 else None
    objects = alone.film.objects if alone is not None and verdicts is None else None
    fragments = Fragments() if objects is None else None
    in_sequence = all(film.sequence_offset_s is not None for film in films if film.examined_s is not None)
    own_ids = have_own_ids(film for film in films if film.examined_s is not None)
    highest, base = -1, 0
    session = placed[0].film.session if placed else None
    size_wh = next((each.film.size_wh for each in placed if each.film.size_wh is not None), None)
    # Older versions had no better name for a camera whose videos are in no folder.
    known_as = {camera, *(camera_of(film.known_as, settings.camera) for film in films[:1])}
    judged = [each for each in verdicts or () if each.camera in known_as]
    out = np.array(sorted(rejected_tracks(judged)), np.int64)
    met: set[int] = set()
    heat = added_up = None
    if heatmap and size_wh is not None:
        added_up = _sum_of_heatmaps(films, own_ids) if verdicts is None else None
        heat = added_up or Heatmap(size_wh)
    ways = Paths() if paths else None

    def rows(film: Film, offset_s: float) -> Iterator[Samples]:
        nonlocal highest, base, session
        if film.tracks is None:
            return
        restart = not in_sequence or film.session != session
        session = film.session
        for samples in read(film.tracks):
            if restart:  # such ids become unique within the camera; other programs' may begin at 0
                base, restart = max(0, highest + int(samples.track_ids.min() == 0)), False
            ids = samples.track_ids + base
            highest = max(highest, int(ids.max()))
            if judged:
                met.update(ids.tolist())
                stay = ~np.isin(ids, out)
                samples, ids = samples.take(np.flatnonzero(stay)), ids[stay]
                if not len(ids):
                    continue
            if fragments is not None:
                fragments.feed(replace(samples, track_ids=ids, offset_s=offset_s if alone is None else 0.0))
            if heat is not None and added_up is None and film.size_wh == size_wh:
                heat.feed(replace(samples, track_ids=ids, offset_s=offset_s))
            if ways is not None and film.size_wh is not None:
                ways.feed(replace(samples, track_ids=ids), film.size_wh)
            yield replace(samples, track_ids=ids)
            tick()

    recordings = (
        Recording(
            each.film.name,
            each.film.size_wh,
            rows(each.film, each.offset_s),
            (each.film.examined_s[0] + each.offset_s, each.film.examined_s[1] + each.offset_s),
            each.offset_s,
            tuple((first + each.offset_s, last + each.offset_s) for first, last in each.film.left_out_s),
        )
        for each in placed
        if each.film.size_wh is not None and each.film.examined_s is not None
    )
    answers = analyse(recordings, scene, clock, camera)._replace(unexamined_s=tuple(unexamined(films, clock)))
    reviewed = None
    if verdicts is not None:
        answers, reviewed = without_rejected(answers, judged, met)
    return CameraAnswers(
        answers,
        objects or count_objects(fragments.all() if fragments is not None else []),
        {each.film.name: each.offset_s for each in placed},
        heat,
        ways.ended() if ways is not None else None,
        reviewed,
    )


def have_own_ids(films: Iterable[Film]) -> bool:
    """Return whether no track id of these films of a camera stands for two tracks."""
    films = list(films)
    return all(film.sequence_offset_s is not None for film in films) and len({film.session for film in films}) <= 1


def _sum_of_heatmaps(films: Sequence[Film], own_ids: bool) -> Heatmap | None:
    """Return the sum of the heatmaps made while a camera's films were tracked; None if one has none, or if ids restart
    in each film."""
    shown = [film for film in films if film.examined_s is not None]
    if len(shown) > 1 and not own_ids:
        return None
    try:
        states = [read_file(film.heatmap) for film in shown if film.heatmap is not None]
        if len(states) < len(shown) or any(state.size_wh != shown[0].size_wh for state in states):
            return None
        found = Heatmap.of(states[0])
        for state in states[1:]:
            found.add(state)
    except (OSError, ValueError, KeyError, TypeError, IndexError):  # computed from its rows instead
        return None
    return found


def cameras_json(cameras: Sequence[CameraAnswers]) -> list[CameraJson]:
    """Return the part of a summary about answers, as JSON values: for each camera its objects, crossings by line,
    direction and class, and stays by zone. Numbers are None if nothing was examined."""
    return [_camera_json(each) for each in cameras]


def _camera_json(camera: CameraAnswers) -> CameraJson:
    answers, objects = camera.answers, camera.objects
    scene, examined = answers.scene, bool(answers.examined_s)
    crossed: Counter[tuple[str, str, str]] = Counter()
    dwells: defaultdict[str, list[float]] = defaultdict(list)
    for event in answers.events:
        if event.kind is EventKind.CROSSING:
            crossed[event.place, event.direction, event.class_name] += 1
        elif event.kind is EventKind.STAY:
            dwells[event.place].append(event.dwell_s or 0.0)
    found: CameraJson = {
        "camera": answers.camera,
        "ids": objects.ids if examined else None,
        "objects": [objects.low, objects.high] if examined else None,
        "lines": [
            {
                "line": line.name,
                "direction": direction,
                "count": sum(number for key, number in crossed.items() if key[:2] == (line.name, direction))
                if examined
                else None,
                "by_class": {
                    name: number for (*at, name), number in sorted(crossed.items()) if at == [line.name, direction]
                },
            }
            for line in (scene.lines if scene else ())
            for direction in (line.into, line.out)
        ],
        "zones": [
            {
                "zone": zone.name,
                "stays": len(dwells[zone.name]) if examined else None,
                "median_dwell_s": round(median(dwells[zone.name]), 3) if dwells[zone.name] else None,
            }
            for zone in (scene.zones if scene else ())
        ],
    }
    if (reviewed := camera.reviewed) is not None:
        found["reviewed"] = {
            "confirmed": reviewed.confirmed,
            "rejected": reviewed.rejected,
            "unknown": reviewed.unknown,
        }
    if answers.ground_residual_m is not None:
        found["map_residual_m"] = round(answers.ground_residual_m, 3)
    return found
