"""`yolo-engine render`: the annotated video again, from source and tracks."""

import json

import av
import numpy as np
import pytest

from engine import Engine, EngineConfig
from engine.errors import InputError
from engine.rework.render import render
from tests.engine.conftest import write_clip


def pictures(path):
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]


@pytest.fixture
def out(tmp_path):
    (tmp_path / "videos").mkdir()
    clip = write_clip(tmp_path / "videos" / "a.mp4", 12)
    with Engine(EngineConfig(backend="fake", min_hits=0, start_s=0.16)) as engine:
        assert engine.run([clip], tmp_path / "out")["success"]
    return tmp_path / "out"


def test_the_video_of_the_run_comes_again(out):
    before = pictures(out / "a.mp4")
    (out / "a.mp4").unlink()
    (done,) = list(render(out))
    assert (done.path, done.frames, done.problems) == (out / "a.mp4", 8, ())
    again = pictures(out / "a.mp4")
    assert len(again) == len(before) == 8
    # Boxes in a file are rounded to 0.01 pixel: a line may lie one pixel beside.
    assert max(np.mean(abs(a.astype(int) - b) > 30) for a, b in zip(again, before, strict=True)) < 0.02


def test_it_draws_the_tracks_as_they_are_now(out):
    before = pictures(out / "a.mp4")
    (out / "a.tracks.jsonl").write_text("")
    list(render(out))
    assert any((a != b).any() for a, b in zip(pictures(out / "a.mp4"), before, strict=True))


def test_the_folder_of_a_job(out):
    """Its manifest has only the keys that were given."""
    manifest = json.loads((out / "manifest.json").read_text())
    manifest["config"] = {"start_s": 0.16, "output_folder": str(out), "tracker": "bytetrack"}
    manifest["videos"].append({**manifest["videos"][0], "path": "b.mp4", "status": "failed", "outputs": {}})
    (out / "manifest.json").write_text(json.dumps(manifest))
    assert [done.frames for done in render(out)] == [8]


def test_another_source_is_refused(out, tmp_path, run):
    video = tmp_path / "videos" / "a.mp4"
    before = (out / "a.mp4").read_bytes()
    video.write_bytes(video.read_bytes() + b"x")
    with pytest.raises(InputError, match="is not the file that the tracks are of"):
        list(render(out))
    assert (out / "a.mp4").read_bytes() == before
    video.unlink()
    with pytest.raises(InputError, match="does not exist: name the folder where it lies now with --source"):
        list(render(out))
    done = run("render", out)
    assert done.status == 2
    assert "--source" in done.err


def test_a_source_that_moved(out, tmp_path, run):
    (tmp_path / "videos").rename(tmp_path / "archive")
    done = run("render", out, "--source", tmp_path / "archive")
    assert done.status == 0, done.err
    assert "a.mp4: 8 frames" in done.out
    with pytest.raises(InputError, match=r"none/a\.mp4 does not exist: name the folder .* with --source"):
        list(render(out, tmp_path / "none"))


def test_sources_of_one_name_that_moved(tmp_path):
    """Each is found by its path below the input folder, as everywhere."""
    for number, folder in enumerate(("x", "y")):
        (tmp_path / "videos" / folder).mkdir(parents=True)
        write_clip(tmp_path / "videos" / folder / "a.mp4", 6 + number)
    with Engine(EngineConfig(backend="fake", min_hits=0)) as engine:
        assert engine.run([tmp_path / "videos"], tmp_path / "out")["success"]
    (tmp_path / "videos").rename(tmp_path / "archive")
    done = list(render(tmp_path / "out", tmp_path / "archive"))
    assert [(each.path.relative_to(tmp_path / "out").as_posix(), each.frames) for each in done] == [
        ("x/a.mp4", 6),
        ("y/a.mp4", 7),
    ]


def test_no_scene_is_needed_to_draw(out):
    manifest = json.loads((out / "manifest.json").read_text())
    manifest["config"]["scene"] = ["gone.toml"]
    (out / "manifest.json").write_text(json.dumps(manifest))
    assert [done.frames for done in render(out)] == [8]


def test_rows_that_are_gone(out):
    (out / "a.tracks.jsonl").unlink()
    with pytest.raises(InputError, match="is not there any more"):
        list(render(out))


def test_the_source_is_never_overwritten(out, tmp_path):
    before = (tmp_path / "videos" / "a.mp4").read_bytes()
    (tmp_path / "videos" / "a.mp4").replace(out / "a.mp4")
    with pytest.raises(InputError, match="would be overwritten"):
        list(render(out, out))
    assert (out / "a.mp4").read_bytes() == before


@pytest.mark.parametrize(
    "text",
    [
        *(None, "", "[1]", "{}", '{"videos": [1], "config": {}}', '{"videos": [], "config": {}}'),
        '{"videos": [{"path": "a", "stem": "../a", "status": "ok", "outputs": {"tracks": "a"}}], "config": {}}',
    ],
)
def test_no_manifest_of_a_run(tmp_path, text):
    if text is not None:
        (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(InputError):
        list(render(tmp_path))


def test_it_is_drawn_in_another_style(out):
    list(render(out))
    before = pictures(out / "a.mp4")
    for change in ({"label": "none"}, {"line_width": 9}, {"trail_s": 5.0}, {"colour_by": "class"}, {"label_size": 40}):
        list(render(out, changes=change))
        after = pictures(out / "a.mp4")
        assert len(after) == len(before)
        assert any((one != other).any() for one, other in zip(before, after, strict=True)), change
    list(render(out))
    assert all((one == other).all() for one, other in zip(before, pictures(out / "a.mp4"), strict=True))
