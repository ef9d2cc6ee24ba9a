"""`yolo-engine render`: the annotated video again, from source and tracks."""

import json

import av
import numpy as np
import pytest

from engine import Engine, EngineConfig
from engine.errors import ConfigError, InputError
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


SCENE = """
[[line]]
name = "middle"
points = [[0.5, 0.0], [0.5, 1.0]]
[[zone]]
name = "all"
polygon = [[0.02, 0.02], [0.98, 0.02], [0.98, 0.98], [0.02, 0.98]]
"""


@pytest.mark.parametrize("settings", [{}, {"label": "id,score", "trail_s": 0.3, "line_width": 3}])
def test_it_is_the_run_s_to_the_last_pixel(tmp_path, settings):
    """Lines, zones, their counts, the clock, labels where they stood: all of it comes from the tracks."""
    (tmp_path / "scene.toml").write_text(SCENE)
    clip = write_clip(tmp_path / "a.mp4", 40)
    settings = {"video_crf": 0, "scene": tmp_path / "scene.toml", "start": "2024-05-01T08:00:00", **settings}
    with Engine(EngineConfig(backend="fake", min_hits=0, **settings)) as engine:
        assert engine.run([clip], tmp_path / "out")["success"]
    before = pictures(tmp_path / "out" / "a.mp4")
    list(render(tmp_path / "out"))
    again = pictures(tmp_path / "out" / "a.mp4")
    assert len(again) == len(before) == 40
    assert all((one == other).all() for one, other in zip(before, again, strict=True))
    plain = {"draw": "none"}
    list(render(tmp_path / "out", changes=plain))
    bare = pictures(tmp_path / "out" / "a.mp4")
    assert all((one != other).any() for one, other in zip(before, bare, strict=True))
    (tmp_path / "scene.toml").unlink()
    list(render(tmp_path / "out", changes=plain))  # what is not drawn need not be there
    with pytest.raises(ConfigError, match=r"scene\.toml can't be read"):
        list(render(tmp_path / "out"))


def test_another_scene(out, tmp_path, run):
    list(render(out))
    before = pictures(out / "a.mp4")
    (tmp_path / "scene.toml").write_text(SCENE)
    done = run("render", out, "--scene", tmp_path / "scene.toml")
    assert done.status == 0, done.err
    assert all((one != other).any() for one, other in zip(before, pictures(out / "a.mp4"), strict=True))


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


def test_a_scene_that_is_gone(out):
    manifest = json.loads((out / "manifest.json").read_text())
    manifest["config"]["scene"] = ["gone.toml"]
    (out / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ConfigError, match=r"Name it with --scene, or leave it out with --draw none"):
        list(render(out))
    for draw in ("none", "clock"):
        assert [done.frames for done in render(out, changes={"draw": draw})] == [8]


def test_rows_that_are_gone(out):
    (out / "a.tracks.jsonl").unlink()
    with pytest.raises(InputError, match="no longer exists"):
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
