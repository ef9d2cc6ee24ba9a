"""What comes after a run over a camera: its segments are videos of one sequence, of which clips are cut."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from engine.clips import ClipSettings, cut_clips
from engine.errors import InputError
from engine.exports import ExportSettings, export_run
from engine.finished import FinishedRun, Selection
from engine.rework.render import render
from tests.e2e.rtsp_server import Camera, Play
from tests.e2e.runs import clip, fake_engine

pytestmark = pytest.mark.timeout(90)

SCENE = {
    "line": [{"name": "kerb", "points": [[0.5, 0.0], [0.5, 1.0]], "anchor": "centre"}],
    "zone": [{"name": "yard", "polygon": [[0, 0], [1, 0], [1, 1], [0, 1]], "anchor": "centre"}],
}


@pytest.fixture(scope="module")
def ts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clip(tmp_path_factory.mktemp("ts") / "a.ts", 50, codec="libx264")


def _recorded(ts: Path, out: Path, **settings: Any) -> dict[str, Any]:
    """A run over 130 pictures of a camera: segments of 50, 50 and 30 frames."""
    given = {"open_timeout_s": 5.0, "read_timeout_s": 3.0, "reconnect_attempts": 0, "window": 200, "segment": 2}
    with Camera(ts, Play(130)) as camera, fake_engine(**{"visualize": True, **given, **settings}) as engine:
        engine.run([camera.url], out)
    return dict(json.loads((out / "manifest.json").read_text()))


def _lumas(path: Path) -> list[np.ndarray[Any, Any]]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]


@pytest.mark.parametrize("exact", [False, True], ids=["copy", "exact"])
def test_clips_of_a_camera_are_of_its_segments(ts: Path, tmp_path: Path, exact: bool) -> None:
    """Every frame of an event is in its clip, as the segment shows it; what lasts into the next one has a clip of
    each."""
    manifest = _recorded(ts, tmp_path, scene=[SCENE])
    run = FinishedRun.load(tmp_path)
    segments = manifest["videos"][0]["segments"]
    assert [str(video.stem) for video in run.videos] == [segment["segment"] for segment in segments]
    settings = ClipSettings(Selection(kinds=("track",)), pre_s=0.0, post_s=0.0, merge_gap_s=0.0, exact=exact)
    cut = cut_clips(run, settings)
    assert cut.failed == {}
    held: dict[str, set[int]] = {}
    for made in cut.clips:
        (segment,) = (each for each in segments if each["segment"] == made.video)
        whole, shown = _lumas(Path(segment["outputs"]["video"])), _lumas(made.path)
        assert len(shown) == made.last_frame - made.first_frame + 1
        for picture, known in zip(shown, whole[made.first_frame : made.last_frame + 1], strict=True):
            assert np.abs(picture.astype(int) - known).mean() < (4 if exact else 0.01)
        for happening, span in made.part.happenings:
            held.setdefault(made.video, set()).add(happening.track_id)
            assert made.begins_s <= span.begins_s + 1e-3
            assert made.ends_s >= span.ends_s - 1e-3
    for segment in segments:
        rows = [json.loads(line) for line in Path(segment["outputs"]["tracks"]).read_text().splitlines()]
        assert held[segment["segment"]] == {row["track_id"] for row in rows}


def test_what_happened_before_a_camera_is_counted_over_all_its_segments(ts: Path, tmp_path: Path) -> None:
    """As of the same pictures in one file; times are those of the wall."""
    manifest = _recorded(ts, tmp_path / "live", scene=[SCENE], clips={"kinds": ("crossing",)})
    with fake_engine(scene=[SCENE]) as engine:
        engine.run([_looped(ts, tmp_path)], tmp_path / "file")
    live, known = (
        list(csv.DictReader((tmp_path / name / "events.csv").read_text().splitlines())) for name in ("live", "file")
    )
    assert [(each["kind"], each["track_id"]) for each in live] == [(each["kind"], each["track_id"]) for each in known]
    assert [float(each["time_s"]) for each in live] == pytest.approx([float(each["time_s"]) for each in known])
    assert {each["camera"] for each in live} == {"cam"}
    segments = manifest["videos"][0]["segments"]
    assert {each["video"] for each in live} == {segment["segment"] for segment in segments}
    assert live[0]["time"].startswith(segments[0]["started_at"][:16])
    crossings = sum(each["kind"] == "crossing" for each in live)
    assert sum(each["events"] for each in manifest["clips"]["clips"]) == crossings > 0


def _looped(ts: Path, folder: Path) -> Path:
    """The 130 pictures that the camera sends, as a file."""
    path = folder / "looped.mp4"
    with av.open(str(ts)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        packets = [packet for packet in source.demux(video=0) if packet.size]
        for number in range(130):
            packet = packets[number % len(packets)]
            packet.stream = stream
            packet.pts = packet.dts = number * 3600
            packet.time_base = source.streams.video[0].time_base
            target.mux(packet)
    return path


def test_a_camera_of_which_no_picture_was_kept(ts: Path, tmp_path: Path) -> None:
    _recorded(ts, tmp_path, visualize=False)
    cut = cut_clips(FinishedRun.load(tmp_path), ClipSettings())
    assert cut.clips == []
    assert set(cut.failed.values()) == {"has no annotated video, from which clips of a live source are cut"}


def test_a_segment_that_was_removed_stops_no_other(ts: Path, tmp_path: Path) -> None:
    manifest = _recorded(ts, tmp_path)
    first, *_ = manifest["videos"][0]["segments"]
    Path(first["outputs"]["video"]).unlink()
    cut = cut_clips(FinishedRun.load(tmp_path), ClipSettings())
    assert list(cut.failed) == [first["segment"]]
    assert {each.video for each in cut.clips} == {each["segment"] for each in manifest["videos"][0]["segments"][1:]}
    Path(first["outputs"]["tracks"]).unlink()
    with pytest.raises(InputError, match=r"tracks\.jsonl can't be read"):
        cut_clips(FinishedRun.load(tmp_path), ClipSettings())


@pytest.mark.parametrize("form", ["cvat", "mot", "coco", "labelstudio"])
def test_tracks_of_a_camera_are_exported_by_segment(ts: Path, tmp_path: Path, form: str) -> None:
    manifest = _recorded(ts, tmp_path)
    made = export_run(FinishedRun.load(tmp_path), form)
    segments = manifest["videos"][0]["segments"]
    rows = sum(len(Path(segment["outputs"]["tracks"]).read_text().splitlines()) for segment in segments)
    assert (made.videos, made.boxes) == (len(segments), rows)


def test_what_needs_the_source_of_a_camera_says_that_there_is_none(ts: Path, tmp_path: Path) -> None:
    _recorded(ts, tmp_path)
    with pytest.raises(InputError, match="is of live sources, which leave no file to extract images from"):
        export_run(FinishedRun.load(tmp_path), "coco", ExportSettings(images=True))
    with pytest.raises(InputError, match="is of live sources, of which no file is kept that could be drawn again"):
        list(render(tmp_path))
