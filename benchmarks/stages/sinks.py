"""The sinks on recorded tracks of a real video: time and bytes per frame, compared with handwritten code.

`tracks.jsonl` is compared with a loop of json.dumps, `mot.txt` with NumPy's savetxt for each frame, the annotated video
with OpenCV's rectangle, putText and VideoWriter on BGR frames, and again with everything that can be drawn.
The engine's files are whole and durable when they appear (fsync, rename); the peers' are not. The row files get the
frames ROW_REPEATS times, so that opening a file does not dominate. The engine's encoder has the threads it
has with one video; OpenCV's has those it chooses.

Rows must say the same, number by number; each video must hold all frames. How close its luma is to the source's is told
with the boxes in it, and the engine's labels are the larger ones.
"""

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from benchmarks.answers import luma_psnr_db
from benchmarks.clips import QUICK_FRAMES, in_words, shortened
from benchmarks.context import Context
from benchmarks.machine import asset, cores
from benchmarks.peers.plain_loop import CODEC, draw
from benchmarks.record import Row, checked
from benchmarks.rounds import alternate
from benchmarks.stages.overlay import SCENE
from engine import Engine, EngineConfig
from engine.media.source import Source
from engine.pipeline.outputs import scene_overlay
from engine.records import EndOfStream, StreamInfo, Tracks
from engine.sinks.base import Sink
from engine.sinks.jsonl import TracksJsonl
from engine.sinks.mot import MotText
from engine.sinks.overlay import OverlayStyle
from engine.sinks.rows import RowFile
from engine.sinks.scene_overlay import SceneOverlay
from engine.sinks.video import AnnotatedVideo

MODEL = "models/yolox_nano.onnx"
VIDEO = "people.mp4"
ROW_REPEATS = 5
TOLERANCE = 0.011  # of two roundings to 0.01


def measure(context: Context) -> Iterator[Row]:
    video = shortened(asset(f"videos/{VIDEO}"), QUICK_FRAMES)
    recorded = record(video)
    with tempfile.TemporaryDirectory() as folder:
        for make in (jsonl_case, mot_case, video_case):
            yield from rows(context, recorded, make(recorded, Path(folder)))


@dataclass
class Recorded:
    """A video's tracks, frame by frame, with their images."""

    video: Path
    info: StreamInfo
    tracks: list[Tracks]
    names: Sequence[str]
    config: EngineConfig


@dataclass
class Case:
    """A sink and its peer: each writes `frames` frames to its path."""

    name: str
    frames: int
    work: dict[str, Callable[[], None]]
    paths: dict[str, Path]
    compare: Callable[[], Any]
    setup: dict[str, Callable[[], None]]
    parameters: dict[str, Any]


def record(video: Path) -> Recorded:
    with (
        Engine(EngineConfig(model=str(asset(MODEL)), visualize=False)) as engine,
        closing(Source(str(video))) as source,
    ):
        tracks = list(engine.stream(video))
        return Recorded(video, source.open(), tracks, engine.model.manifest.classes, engine.config)


def rows(context: Context, recorded: Recorded, case: Case) -> Iterator[Row]:
    sizes: dict[str, list[float]] = {name: [] for name in case.work}

    def measured(name: str, write: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            write()
            sizes[name].append(case.paths[name].stat().st_size / case.frames)

        return run

    rounds = context.profile.rounds
    work = {name: measured(name, write) for name, write in case.work.items()}
    samples = alternate(work, rounds=rounds, setup=case.setup)
    answered = case.compare()
    told = {"input": in_words(recorded.video), "answer": answered, "better": "lower", "ours": "engine"}
    times = {name: samples[name].each(case.frames, 1e6) for name in work}
    yield context.row("sinks", case.name, figures=times, unit="us a frame", **told, **case.parameters)
    written = {name: values[-rounds:] for name, values in sizes.items()}
    yield context.row(
        "sinks", f"{case.name}, written", figures=written, unit="bytes a frame", **told, **case.parameters
    )


def write_all(sink: Sink, recorded: Recorded, tracks: Sequence[Tracks], path: Path, repeats: int = 1) -> None:
    sink.open(recorded.info)
    for _ in range(repeats):
        for each in tracks:
            sink.write(each)
    sink.commit(EndOfStream(0, len(tracks)), path)


def row_file(path: Path, recorded: Recorded) -> RowFile:
    return RowFile(path, limit=recorded.config.max_detections_in_memory // 2, intermediate=True)


# -- tracks.jsonl ---------------------------------------------------------------------------------------------------


def jsonl_case(recorded: Recorded, folder: Path) -> Case:
    paths = {"engine": folder / "ours.tracks.jsonl", "json.dumps": folder / "theirs.jsonl"}

    def ours() -> None:
        sink = TracksJsonl(row_file(paths["engine"], recorded), recorded.names)
        write_all(sink, recorded, recorded.tracks, paths["engine"], ROW_REPEATS)

    def theirs() -> None:
        with paths["json.dumps"].open("w", encoding="utf-8") as stream:
            for _ in range(ROW_REPEATS):
                for tracks in recorded.tracks:
                    dump(tracks, recorded.names, stream)

    def compare() -> Any:
        one, other = ([json.loads(line) for line in path.read_text().splitlines()] for path in paths.values())
        return same_numbers([flat(row) for row in one], [flat(row) for row in other], "json.dumps")

    return rows_case("tracks.jsonl", recorded, {"engine": ours, "json.dumps": theirs}, paths, compare)


def dump(tracks: Tracks, names: Sequence[str], stream: Any) -> None:
    """Return one frame's rows as by handwritten code, sorted by id."""
    frame = tracks.frame
    for i in np.argsort(tracks.track_ids):
        class_id = int(tracks.class_ids[i])
        row = {
            "frame": frame.index,
            "pts": frame.pts,
            "time_s": round(frame.time_s, 6),
            "track_id": int(tracks.track_ids[i]),
            "class_id": class_id,
            "class": names[class_id],
            "score": round(float(tracks.scores[i]), 4),
            "box_xyxy": [round(float(side), 2) for side in tracks.boxes_xyxy[i]],
        }
        stream.write(json.dumps(row) + "\n")


def flat(row: dict[str, Any]) -> list[float]:
    """Return a row's numbers in a fixed order."""
    return [*(row[key] for key in ("frame", "pts", "time_s", "track_id", "class_id", "score")), *row["box_xyxy"]]


# -- mot.txt --------------------------------------------------------------------------------------------------------


def mot_case(recorded: Recorded, folder: Path) -> Case:
    paths = {"engine": folder / "ours.mot.txt", "numpy.savetxt": folder / "theirs.mot.txt"}

    def ours() -> None:
        write_all(MotText(row_file(paths["engine"], recorded)), recorded, recorded.tracks, paths["engine"], ROW_REPEATS)

    def theirs() -> None:
        with paths["numpy.savetxt"].open("w", encoding="utf-8") as stream:
            for _ in range(ROW_REPEATS):
                for tracks in recorded.tracks:
                    np.savetxt(stream, mot_rows(tracks), "%d,%d,%.2f,%.2f,%.2f,%.2f,%.4f,%d,%d,%d")

    def compare() -> Any:
        one, other = (np.loadtxt(path, delimiter=",", ndmin=2).tolist() for path in paths.values())
        return same_numbers(one, other, "numpy.savetxt")

    return rows_case("mot.txt", recorded, {"engine": ours, "numpy.savetxt": theirs}, paths, compare)


def mot_rows(tracks: Tracks) -> Any:
    """(M, 10): frame, id, left, top, width, height, score, and three times -1, in the order of ids."""
    order = np.argsort(tracks.track_ids)
    boxes = tracks.boxes_xyxy[order]
    return np.column_stack(
        [
            np.full(len(order), tracks.frame.index + 1),
            tracks.track_ids[order],
            boxes[:, :2],
            boxes[:, 2:] - boxes[:, :2],
            tracks.scores[order],
            np.full((len(order), 3), -1),
        ]
    )


def rows_case(
    name: str,
    recorded: Recorded,
    work: dict[str, Callable[[], None]],
    paths: dict[str, Path],
    compare: Callable[[], Any],
) -> Case:
    tracks = sum(len(each) for each in recorded.tracks)
    parameters = {"tracks_a_frame": tracks / len(recorded.tracks), "repeats": ROW_REPEATS}
    return Case(name, len(recorded.tracks) * ROW_REPEATS, work, paths, compare, {}, parameters)


def same_numbers(one: Sequence[Sequence[float]], other: Sequence[Sequence[float]], peer: str) -> Any:
    same = len(one) == len(other) > 0
    error = float(np.abs(np.array(one) - np.array(other)).max()) if same else float("inf")
    return checked(
        same and error <= TOLERANCE,
        f"the rows of {peer}",
        f"{len(one)} rows against {len(other)}",
        max_difference=error,
    )


# -- the annotated video --------------------------------------------------------------------------------------------


def video_case(recorded: Recorded, folder: Path) -> Case:
    peer, decorated = "OpenCV, drawing and writing", "engine, with trails, lines, zones, clock"
    paths = {"engine": folder / "ours.mp4", decorated: folder / "decorated.mp4", peer: folder / "theirs.mp4"}
    pictures = [tracks.frame.image.to_ndarray(format="bgr24") for tracks in recorded.tracks]  # type: ignore[union-attr]
    fresh: dict[str, list[Any]] = {}
    config = recorded.config

    def write(name: str, style: OverlayStyle, scene: SceneOverlay | None) -> None:
        sink = AnnotatedVideo(
            paths[name],
            recorded.names,
            crf=config.video_crf,
            preset=config.video_preset,
            threads=cores(),
            style=style,
            scene=scene,
        )
        write_all(sink, recorded, fresh[name], paths[name])

    def ours() -> None:
        write("engine", OverlayStyle(), None)

    def with_scene() -> None:
        write(decorated, OverlayStyle(trail_s=1.0), scene_overlay(config, SCENE))

    def theirs() -> None:
        rate, size_wh = float(recorded.info.frame_rate), recorded.info.size_wh
        writer = cv2.VideoWriter(str(paths[peer]), cv2.VideoWriter.fourcc(*CODEC), rate, size_wh)
        for image, tracks in zip(fresh[peer], recorded.tracks, strict=True):
            for number, box in zip(tracks.track_ids.tolist(), tracks.boxes_xyxy.tolist(), strict=True):
                draw(image, box, number)
            writer.write(image)
        writer.release()

    def compare() -> Any:
        frames, psnr = luma_psnr_db(paths["engine"], recorded.video)
        their_frames, their_psnr = luma_psnr_db(paths[peer], recorded.video)
        more_frames, _ = luma_psnr_db(paths[decorated], recorded.video)
        return checked(
            frames == more_frames == their_frames == len(recorded.tracks),
            "the source's frames",
            f"{frames} of {len(recorded.tracks)} frames written, {their_frames} by OpenCV",
            luma_psnr_db=psnr,
            opencv_luma_psnr_db=their_psnr,
        )

    def untouched(name: str) -> None:
        fresh[name] = sharing(recorded.tracks)

    def copied() -> None:
        fresh[peer] = [picture.copy() for picture in pictures]

    h264 = f"H.264, {config.video_preset}, crf {config.video_crf}"
    codec = {"engine": h264, decorated: h264, peer: f"MPEG-4 Part 2 ({CODEC})"}
    return Case(
        "annotated video",
        len(recorded.tracks),
        {"engine": ours, decorated: with_scene, peer: theirs},
        paths,
        compare,
        {"engine": lambda: untouched("engine"), decorated: lambda: untouched(decorated), peer: copied},
        {"codec": codec, "threads": {"engine": cores(), decorated: cores(), peer: "OpenCV's own choice"}},
    )


def sharing(recorded: Sequence[Tracks]) -> list[Tracks]:
    """Return the tracks with images that share the recorded ones' memory: who draws on one copies it first, as in a
    real run, where the decoder still needs its own."""
    first: Any = recorded[0].frame.image
    graph = av.filter.Graph()
    source = graph.add_buffer(
        width=first.width, height=first.height, format=first.format, time_base=recorded[0].frame.time_base
    )
    graph.link_nodes(source, graph.add("null"), graph.add("buffersink")).configure()
    found = []
    for tracks in recorded:
        graph.push(tracks.frame.image)
        found.append(replace(tracks, frame=replace(tracks.frame, image=graph.pull())))
    return found
