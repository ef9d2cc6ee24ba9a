"""Every stage that runs the engine gives its rows, answers checked, on a few frames of a real video."""

import sys

import pytest

from benchmarks import clips, limit, machine, soak
from benchmarks.curve_child import Child
from benchmarks.first_track import by_engine, by_plain_loop
from benchmarks.peers import openvino_loop
from benchmarks.record import WrongAnswer
from benchmarks.stages import answers, curves, decode, infer, memory, pipeline, sinks, startup
from tests.assets import require_asset

FRAMES = 3


@pytest.fixture(autouse=True)
def _few_frames(monkeypatch, tmp_path_factory):
    """Clips of a few frames in a folder of the tests, no pauses, short tries, and the same peers on every machine."""
    require_asset("models/yolox_nano.onnx")
    monkeypatch.setattr(machine, "ASSETS", require_asset("videos/people.mp4").parent.parent)
    monkeypatch.setattr(clips, "CACHE", tmp_path_factory.getbasetemp() / "bench-clips")
    for module in (clips, sinks):
        monkeypatch.setattr(module, "QUICK_FRAMES", FRAMES)
    monkeypatch.setattr(limit, "PROBES", 2)
    monkeypatch.setattr(openvino_loop, "installed", lambda: False)  # it is an extra
    for module in (pipeline, infer, curves):
        monkeypatch.setattr(module, "PAUSE_S", 0.0)


def rows_of(stage, context):
    return {row.case: row for row in stage.measure(context)}


def test_pipeline(context, monkeypatch):
    monkeypatch.setattr(pipeline, "VIDEOS", ("people.mp4",))
    monkeypatch.setattr(pipeline, "TOLERANCE", 0.06)  # so few frames: one box is 3 %
    monkeypatch.setattr(pipeline, "MIN_F1", 0.94)
    rows = rows_of(pipeline, context)
    assert list(rows) == ["people.mp4", "people.mp4 annotated"]
    tracks, annotated = rows.values()
    assert set(tracks.figures) == {"engine", "plain loop", "limit"}
    assert tracks.answer.accuracy["tracks_same"] == 1.0
    assert tracks.answer.accuracy["detections_f1"] > 0.94
    assert tracks.parameters["share_of_limit"]["median"] == tracks.times_better["limit"].median
    assert tracks.parameters["found"]["engine"]["frames"] == FRAMES
    assert set(annotated.figures) == {"engine", "plain loop, drawing and writing", "engine, tracks only"}
    assert annotated.parameters["written_bytes_a_frame"]["engine"] > 0


def test_decode(context):
    rows = rows_of(decode, context)
    assert len(rows) == 4
    assert rows["people.mp4, frames"].answer.outcome == f"{FRAMES} frames against {FRAMES}"
    assert rows["vtest.avi, to the tensor"].answer.accuracy["mean_difference_levels"] < 3


def test_infer(context, monkeypatch):
    monkeypatch.setitem(infer.MODELS, "quick", (infer.Model("yolox_nano.onnx", 2, 1e-3),))
    (row,) = infer.measure(context)
    assert row.case == "yolox-nano 416x256"
    assert row.ours in row.figures
    assert "ONNX Runtime, its default threads" in row.figures
    assert row.parameters["best_layout"]


def test_sinks(context, monkeypatch):
    monkeypatch.setattr(sinks, "ROW_REPEATS", 1)
    rows = rows_of(sinks, context)
    assert list(rows) == [
        f"{sink}{what}" for sink in ("tracks.jsonl", "mot.txt", "annotated video") for what in ("", ", written")
    ]
    assert {row.unit for row in rows.values()} == {"us a frame", "bytes a frame"}


def test_drawing_never_touches_what_was_recorded(context):
    recorded = sinks.record(clips.clip(context, "people.mp4"))
    before = bytes(recorded.tracks[0].frame.image.planes[0])
    shared = sinks.sharing(recorded.tracks)[0].frame.image
    shared.make_writable()
    memoryview(shared.planes[0])[:1000] = bytes(1000)
    assert bytes(recorded.tracks[0].frame.image.planes[0]) == before


def test_numbers_that_differ_are_a_wrong_answer():
    with pytest.raises(WrongAnswer, match="2 rows against 1"):
        sinks.same_numbers([[1.0], [2.0]], [[1.0]], "json.dumps")
    with pytest.raises(WrongAnswer, match="max_difference"):
        sinks.same_numbers([[1.0]], [[1.2]], "json.dumps")


def test_first_tracks_are_alike(context):
    video, model = clips.clip(context, "people.mp4"), machine.asset("models/yolox_nano.onnx")
    (frame, boxes), (plain_frame, plain_boxes) = by_engine(video, model), by_plain_loop(video, model)
    assert frame == plain_frame == 0
    assert len(boxes) == pytest.approx(len(plain_boxes), abs=1)


def test_answers(context, monkeypatch):
    monkeypatch.setattr(answers, "VIDEOS", ("people.mp4",))
    rows = rows_of(answers, context)
    assert list(rows) == ["people.mp4", "people.mp4, all cores"]
    assert all(set(row.figures) == {answers.WITH, answers.WITHOUT} for row in rows.values())


def test_startup_reads_what_a_fresh_python_prints():
    assert startup.output_of("-c", "import sys; print(sys.argv[1])", "here") == "here\n"


def test_peak_memory_is_that_of_a_process_of_its_own(tmp_path):
    inputs = tmp_path / "in"
    inputs.mkdir()
    soak.make_clip(inputs / "a.mp4")
    report = soak.in_own_process([inputs], tmp_path / "out", backend="fake", visualize=False)
    assert report["success"]
    assert report["totals"]["frames"] == 6
    assert 20 < report["peak_mb"] < 500
    assert memory.frames_answer([report, report], 6).accuracy["frames"] == 6
    with pytest.raises(WrongAnswer, match="6 of 7 frames"):
        memory.frames_answer([report], 7)


def test_profile_quick_has_no_curves(context):
    assert list(curves.measure(context)) == []


def test_several_videos_at_once_have_the_tracks_of_one(context, monkeypatch):
    monkeypatch.setattr(curves, "AT_ONCE", (1, 2))
    monkeypatch.setattr(curves, "AT_ONCE_FRAMES", 1)
    rows = list(curves.by_videos_at_once(context))
    assert [(row.parameters["curve"], row.parameters["x"]) for row in rows] == [
        ("videos at once", 1),
        ("videos at once", 2),
    ]


def test_another_size_and_length_have_their_own_rows(context, monkeypatch):
    monkeypatch.setattr(curves, "SIZES_WH", ((640, 360),))
    monkeypatch.setattr(curves, "SIZE_FRAMES", 1)
    (row,) = curves.by_resolution(context)
    assert row.case == "rows of the picture: 360p"
    assert row.parameters["x"] == 360


@pytest.mark.skipif(sys.platform != "linux", reason="cores are given out by sched_setaffinity of Linux")
def test_a_process_that_may_use_one_core_finds_the_same(context):
    child = Child(1, clips.clip(context, "people.mp4"), machine.asset("models/yolox_nano.onnx"))
    try:
        assert child.run("engine")["frames"] == child.run("plain")["frames"] == FRAMES
    finally:
        child.close()
