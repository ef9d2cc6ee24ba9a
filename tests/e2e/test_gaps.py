"""fill = both: what is between two inferences depends on nothing but the video, and on no kill."""

from pathlib import Path, PurePosixPath

import pytest

from engine.resume.attempts import peek
from engine.rework.retrack import retrack
from tests.e2e.runs import clip, fake_engine, rows

FORMATS = ("tracks", "mot", "detections")
BOTH = {"skip_frames": 3, "fill": "both", "formats": FORMATS, "store_conf": 0.1}


def files(output):
    return {path.name: path.read_bytes() for path in sorted(output.iterdir()) if path.suffix in (".jsonl", ".txt")}


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gaps")
    clip(folder / "a.mp4", 60)
    clip(folder / "b.mp4", 31, seed=4)
    return folder


@pytest.fixture(scope="module")
def alone(clips, tmp_path_factory):
    output = tmp_path_factory.mktemp("alone")
    for path in sorted(clips.iterdir()):
        fake_engine(batch=1, workers=1, streams=1, window=1, **BOTH).run([path], output)
    return files(output)


def test_boxes_are_nearer_to_those_of_every_frame(clips, alone, tmp_path):
    fake_engine(formats=FORMATS).run([clips / "a.mp4"], tmp_path / "every")
    fake_engine(**{**BOTH, "fill": "predict"}).run([clips / "a.mp4"], tmp_path / "predict")
    (tmp_path / "both").mkdir()
    (tmp_path / "both" / "a.tracks.jsonl").write_bytes(alone["a.tracks.jsonl"])
    found = {
        name: {row["frame"]: row["box_xyxy"][0] for row in rows(tmp_path / name / "a.tracks.jsonl")}
        for name in ("every", "predict", "both")
    }
    first = range(1, 29)  # before the square jumps back
    assert set(first) <= set(found["both"])
    off = {name: sum(abs(found[name][at] - found["every"][at]) for at in first) for name in ("predict", "both")}
    assert off["both"] < off["predict"]


@pytest.mark.parametrize(("batch", "workers", "streams", "window"), [(3, 2, 2, 1), (8, 4, 1, 64)])
def test_neighbours_never_change_a_result(clips, alone, tmp_path, batch, workers, streams, window):
    engine = fake_engine(batch=batch, workers=workers, streams=streams, window=window, **BOTH)
    assert engine.run([clips], tmp_path)["success"]
    assert files(tmp_path) == alone


def test_broken_off_and_gone_on(clips, alone, tmp_path):
    reached = 0
    for after in (5, 4):
        broken = fake_engine(checkpoint_s=0.0, fail_after=after, workers=1, **BOTH)
        assert not broken.run([clips / "a.mp4"], tmp_path)["success"]
        assert peek(tmp_path, PurePosixPath("a")) > reached
        reached = peek(tmp_path, PurePosixPath("a"))
        assert reached % 4 == 1  # behind an inferred frame
    (entry,) = fake_engine(**BOTH).run([clips / "a.mp4"], tmp_path)["videos"]
    assert entry["resumed_from"] == reached
    made = files(tmp_path)
    assert made == {name: value for name, value in alone.items() if name in made}


def test_stopped_and_gone_on(clips, alone, tmp_path):
    stopped = fake_engine(delay_s=0.01, workers=1, **BOTH)
    stopped.run(
        [clips / "a.mp4"], tmp_path, progress=lambda all_: stopped.stop() if all_ and all_[0].frames > 8 else None
    )
    assert 8 < peek(tmp_path, PurePosixPath("a")) < 60
    fake_engine(**BOTH).run([clips / "a.mp4"], tmp_path)
    made = files(tmp_path)
    assert made == {name: value for name, value in alone.items() if name in made}


def test_retracked_it_is_the_same(clips, tmp_path):
    fake_engine(**BOTH).run([clips / "a.mp4"], tmp_path / "out")
    before = files(tmp_path / "out")
    retrack(tmp_path / "out", tmp_path / "again", {})
    again = files(tmp_path / "again")
    assert again
    assert again == {name: before[name] for name in again}


def test_images_too_large_to_wait_are_refused(clips, tmp_path: Path):
    engine = fake_engine(max_frame_bytes=64 * 48 * 2, **BOTH)
    (entry,) = engine.run([clips / "a.mp4"], tmp_path)["videos"]
    assert entry["status"] == "failed"
    assert "use fill = predict, or a max_frame_bytes of at least 18,432" in entry["error"]
