"""`yolo-engine retrack`: tracks made again from stored detections, without the model."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from engine.analytics import Objects, count_objects, fragments_of, read_tracks, stitch
from engine.choices.formats import FORMATS, STORE_SUFFIX
from engine.config import EngineConfig
from engine.errors import InputError, OutputError
from engine.files.folders import Folder, opened
from engine.output_folder.corrections import TRACKS, are_corrected, kept_as, make_room
from engine.output_folder.manifest import refuse_object
from engine.output_folder.own_files import STATE_FOLDER, refuse_foreign
from engine.output_folder.remade import NAME, Remade, manifest_above, noted
from engine.pipeline.outputs import prepare
from engine.records import EndOfStream, StreamInfo, Tracks
from engine.results import write_json
from engine.sinks.base import publish, sole_writer
from engine.sinks.jsonl import TracksJsonl
from engine.sinks.memory import Counters
from engine.sinks.mot import MotText
from engine.sinks.rows import RowFile, RowSink
from engine.sinks.store import Store
from engine.stages.gaps import Gaps
from engine.stages.track import StreamTracker, TrackerSettings
from engine.trackers import registry

_ROWS_IN_MEMORY = 10_000


@dataclass(frozen=True)
class Retracked:
    """What became of one video."""

    store: Path
    config: EngineConfig
    frames: int
    tracks_by_class: Mapping[str, int]
    objects: Objects
    outputs: Mapping[str, Path]
    note: str | None

    @property
    def tracks(self) -> int:
        return sum(self.tracks_by_class.values())

    def to_json(self) -> dict[str, object]:
        """Return it as JSON values: an entry of retrack.json."""
        own = registry.parameters_of(self.config.tracker, self.config.model_dump(include=set(registry.KEYS)))
        return {
            "detections": str(self.store),
            "tracker": self.config.tracker,
            "parameters": own,
            "frames": self.frames,
            "tracks": self.tracks,
            "tracks_by_class": dict(self.tracks_by_class),
            "objects": [self.objects.low, self.objects.high],
            "outputs": {kind: str(path) for kind, path in self.outputs.items()},
            "note": self.note,
        }


def stores_in(source: Path) -> list[Path]:
    """Return the stored detections in a folder, or the one that is named. Raises InputError if there are none."""
    refuse_object(source)
    if source.is_file():
        return [source]
    if not source.is_dir():
        what = "is neither a folder nor a file" if source.exists() else "does not exist"
        raise InputError(f"{source} {what}. Name the output folder of a run, or its *{STORE_SUFFIX}.")
    found = []
    for folder, folders, files in os.walk(source):
        folders[:] = sorted(name for name in folders if name != STATE_FOLDER)
        found += [Path(folder, name) for name in sorted(files) if name.endswith(STORE_SUFFIX)]
    if not found:
        raise InputError(
            f"{source} contains no stored detections (*{STORE_SUFFIX}). Run `yolo-engine run` with --store-conf 0.1 "
            "first."
        )
    return found


def changed(config: EngineConfig, changes: Mapping[str, object]) -> EngineConfig:
    """Return a run's configuration with other tracker, parameters, conf or groups. Raises ConfigError."""
    return config.updated(**changes)


def follow(store: Store, config: EngineConfig) -> Iterator[Tracks]:
    """Give the tracks of every frame, as a run with this configuration would. Raises InputError and ConfigError."""
    settings = TrackerSettings.of(config, store.header.class_names)
    tracker, gaps = StreamTracker(settings), Gaps()
    for frame, detections in store.frames():
        tracks = tracker.follow(frame, detections)
        yield from gaps.take(tracks) if settings.both else (tracks,)
    yield from gaps.rest()


def retrack(
    source: Path, output: Path | None, changes: Mapping[str, object], *, join: bool = False, overwrite: bool = False
) -> list[Retracked]:
    """Make the tracks of all stored detections in `source` again, and let them appear in their place, or below
    `output`. `join` gives the fragments of an object one id.

    Each file appears whole or not at all. Raises ConfigError, InputError, and OutputError if the folder can't be
    written, a run is writing to it, or tracks there were corrected by hand, or not written by this program: with
    `overwrite` they are replaced, and corrected ones kept beside.
    """
    stores = stores_in(source)
    base = source if source.is_dir() else source.parent
    folder = output or base
    prepare(folder)
    with sole_writer(folder), Folder.at(folder) as held:
        if not overwrite:
            refuse_foreign(folder / NAME)
            for path in stores:
                _refuse_lost(path, folder / path.relative_to(base), changes)
        done = [_one(path, folder / path.relative_to(base), changes, join=join) for path in stores]
        manifest = manifest_above(folder)
        told = [{**each.to_json(), **_made_with(each, base, join=join)} for each in done]
        # What was made again before, of other videos of the same run, is so still.
        told += [entry for entry in noted(folder, manifest) if entry["stem"] not in {each["stem"] for each in told}]
        write_json(held, NAME, {"schema": 1, "stitch": join, "manifest_sha256": manifest, "videos": told})
    return done


def _made_with(done: Retracked, base: Path, *, join: bool) -> dict[str, object]:
    """Return what tells the tracks of a video that were made again from the run's, as JSON values."""
    stem = done.store.relative_to(base).as_posix().removesuffix(STORE_SUFFIX)
    made = Remade.by(done.config, stitched=join)
    return {"stem": stem, "made_with": dict(made.keys), "stitched": made.stitched}


def _refuse_lost(path: Path, place: Path, changes: Mapping[str, object]) -> None:
    """Raise OutputError if tracks that a person has corrected, or another program's files, would be replaced."""
    with Store(path) as store:
        wanted = _wanted(place, changed(store.header.config, changes))
    refuse_foreign(*wanted.values())
    with opened(place.parent) as folder:
        if folder is not None and "tracks" in wanted and are_corrected(folder, wanted["tracks"].name):
            raise OutputError(
                f"{wanted['tracks']} was corrected by hand (`yolo-engine import`), and retrack would replace it. Name "
                "another folder with -o, or pass --overwrite: the corrected tracks are then kept as "
                f"{kept_as(folder, wanted['tracks'].name)}."
            )


def _wanted(place: Path, config: EngineConfig) -> dict[str, Path]:
    """Return the files to write: those that the run wrote; all where it wrote none of them."""
    paths = _paths(place)
    return {kind: file for kind, file in paths.items() if kind in config.formats} or paths


def _paths(place: Path) -> dict[str, Path]:
    stem = place.name.removesuffix(STORE_SUFFIX)
    return {"tracks": place.with_name(stem + TRACKS), "mot": place.with_name(stem + FORMATS["mot"].suffix)}


def _one(path: Path, place: Path, changes: Mapping[str, object], *, join: bool) -> Retracked:
    with Store(path) as store:
        config = changed(store.header.config, changes)
    place.parent.mkdir(parents=True, exist_ok=True)
    paths, wanted = _paths(place), _wanted(place, config)
    sinks, tally = _written(path, config, paths)
    try:
        fragments = fragments_of(read_tracks(sinks["tracks"].part))
        objects = count_objects(fragments)
        if join:
            sinks["tracks"].abort()
            sinks["mot"].abort()
            sinks, tally = _written(path, config, paths, stitch(fragments))
        with Folder.at(place.parent) as folder:
            for kind, file in wanted.items():
                make_room(folder, file.name, overwrite=True)
                publish(sinks[kind].part, file)
    finally:
        for sink in sinks.values():
            sink.abort()  # what has appeared is no part any more
    with Store(path) as store:
        names, stored = store.header.class_names, store.header.conf
    tracks: Counter[str] = Counter()
    for class_id, count in sorted(tally.tracks_by_class.items()):
        tracks[names[class_id]] += count
    note = None
    if config.tracker_conf < stored:
        note = f"{config.tracker} wants scores from {config.tracker_conf:g}, and those from {stored:g} are stored"
    return Retracked(path, config, tally.frames, dict(tracks), objects, wanted, note)


class _Part:
    """A sink of rows whose part is known."""

    def __init__(self, sink: RowSink, info: StreamInfo) -> None:
        self._sink = sink
        sink.open(info)
        self.part = Path()

    def write(self, tracks: Tracks) -> None:
        self._sink.write(tracks)

    def complete(self, end: EndOfStream) -> None:
        self.part = self._sink.complete(end)

    def abort(self) -> None:
        self._sink.abort()


def _written(
    path: Path, config: EngineConfig, paths: Mapping[str, Path], ids: Mapping[int, int] | None = None
) -> tuple[dict[str, _Part], Counters]:
    """Track one file of detections into parts beside `paths`; `ids` has the id of each track's object."""
    with Store(path) as store:
        header = store.header
        info = StreamInfo(0, str(path), (0, 0), header.time_base, Fraction(1), None, None)

        def rows(file: Path) -> RowFile:
            return RowFile(file, limit=_ROWS_IN_MEMORY, intermediate=True)

        made = (TracksJsonl(rows(paths["tracks"]), header.class_names), MotText(rows(paths["mot"])))
        sinks = {sink.kind: _Part(sink, info) for sink in made}
        tally = Counters(config.conf)
        try:
            for tracks in follow(store, config):
                if ids is not None:
                    tracks.track_ids[:] = [ids[track_id] for track_id in tracks.track_ids.tolist()]
                    tracks.alive = None  # fragments of one object may lie farther apart than a track lives
                tally.write(tracks)
                for sink in sinks.values():
                    sink.write(tracks)
            for sink in sinks.values():
                sink.complete(EndOfStream(0, tally.frames))
        except BaseException:
            for sink in sinks.values():
                sink.abort()
            raise
    return sinks, tally
