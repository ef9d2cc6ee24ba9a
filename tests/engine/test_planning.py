"""plan: what is tried, how it is compared, and what is said where nothing reaches the target."""

import json

import pytest

from engine import EngineConfig
from engine.errors import InputError, VideoError
from engine.verification.planning import Planned, Probed, Setting, plan
from tests.assets import require_asset
from tests.e2e.runs import clip

WHOLE = Setting("m", (416, 416))


def probed(f1, fps, **setting):
    return Probed(Setting("m", (416, 416), **setting), f1, f1 - 0.01, min(1.0, f1 + 0.01), fps)


def planned(*others, target=0.98):
    return Planned("a.mp4", target, 12.0, 300, (Probed(WHOLE, 1.0, 1.0, 1.0, 40.0), *others), ())


@pytest.mark.parametrize(
    ("what", "others", "best", "nearest"),
    [
        ("nothing else was tried", [], None, None),
        ("two reach it", [(0.99, 50), (0.985, 90), (0.9, 200)], (0.985, 90), (0.9, 200)),
        ("what reaches it is slower", [(0.99, 30)], None, None),
        ("none does", [(0.97, 60), (0.9, 200)], None, (0.97, 60)),
        ("what comes near is slower", [(0.97, 39), (0.9, 200)], None, (0.9, 200)),
        ("to the last digit", [(0.98, 41)], (0.98, 41), None),
    ],
)
def test_the_fastest_that_reaches_it(what, others, best, nearest):
    found = planned(*(probed(*each) for each in others))
    assert [each and (each.f1, each.fps) for each in (found.best, found.nearest)] == [best, nearest]


@pytest.mark.parametrize(
    ("setting", "options"),
    [
        (WHOLE, "--model m"),
        (Setting("m", (320, 256), own_size=False), "--model m --input-size 320,256"),
        (Setting("m", (416, 416), "bf16"), "--model m --precision bf16"),
        (Setting("m", (416, 416), full_every_s=2.0), "--model m --gate motion"),
        (Setting("m", (416, 416), "int8", 0.5), "--model m --precision int8 --gate motion --full-every 0.5"),
    ],
)
def test_options_ask_for_the_setting(setting, options):
    assert setting.options == options


def fake(**keys):
    return EngineConfig(backend="fake", visualize=False, **keys)


def test_sizes_and_gates_of_a_short_clip(tmp_path):
    seen = []
    found = plan(fake(), str(clip(tmp_path / "a.mp4", frames=30)), 0.9, tell=seen.append)
    assert list(found.probed) == seen
    assert found.frames == 30
    assert found.strongest.setting.input_hw == (128, 128)
    assert (found.strongest.f1, found.strongest.low) == (1.0, 1.0)
    assert {each.setting.input_hw for each in seen} == {(128, 128), (96, 96), (64, 64)}
    assert seen[1].setting.full_every_s == 2.0
    assert all(each.f1 <= 1.0 and each.fps > 0 for each in seen)
    assert seen[1].f1 > 0.9  # the square moves on, and is found on its way
    again = plan(fake(), str(tmp_path / "a.mp4"), 0.9)
    assert [(each.setting, each.f1) for each in again.probed] == [(each.setting, each.f1) for each in found.probed]


def test_where_a_size_falls_short_its_gate_is_not_tried(tmp_path):
    video = clip(tmp_path / "a.mp4", frames=12)
    found = plan(fake(), str(video), 1.0)
    tried = {(each.setting.input_hw, each.setting.full_every_s is not None) for each in found.probed if each.f1 < 1}
    for each in found.probed:
        if each.f1 < 1 and each.setting.full_every_s is None:
            assert (each.setting.input_hw, True) not in tried


def test_stretches_lie_all_over_a_long_video(tmp_path):
    video = clip(tmp_path / "a.mp4", frames=100)
    found = plan(fake(), str(video), 1.0, probe_s=1.2)
    assert found.seconds == pytest.approx(1.2)
    assert 25 <= found.frames <= 35  # about 6 in a quarter of a second


def test_what_a_header_claims_and_is_not_there_is_passed_over(tmp_path):
    whole = clip(tmp_path / "a.mkv", frames=200)
    data = whole.read_bytes()
    whole.write_bytes(data[: len(data) // 2])
    found = plan(fake(), str(whole), 1.0, probe_s=1.2)
    assert 0.2 < found.seconds < 1.0
    assert found.frames < 25
    with pytest.raises(VideoError, match="ends before start_s"):
        plan(fake(start_s=6), str(whole), 1.0, probe_s=1.0)


def test_a_model_that_is_not_there_is_left_out(tmp_path):
    config = EngineConfig(visualize=False, backend="native")
    found = plan(config, str(clip(tmp_path / "a.mp4", frames=4)), 0.98, others=["no/such.onnx"])
    assert any("no/such.onnx" in line for line in found.left_out)
    assert {each.setting.model for each in found.probed} == {config.model}


def test_what_is_no_single_video(tmp_path):
    with pytest.raises(InputError, match=r"takes a file. Got rtsp://\*\*\*@camera/1"):
        plan(fake(), "rtsp://me:secret@camera/1", 0.98)
    for name in ("a.mp4", "b.mp4"):
        clip(tmp_path / name)
    with pytest.raises(InputError, match="contains 2"):
        plan(fake(), str(tmp_path), 0.98)
    with pytest.raises(VideoError, match="ends before start_s"):
        plan(fake(start_s=50), str(tmp_path / "a.mp4"), 0.98)


def test_real_pedestrians():
    """The default model: the gate agrees with whole frames in most boxes, half its size in fewer."""
    config = EngineConfig(visualize=False, backend="native", start_s=20, duration_s=1.5)  # native: float32 alone
    found = plan(config, str(require_asset("videos/vtest.avi")), 0.9, probe_s=3.0)
    f1 = {each.setting.options: each.f1 for each in found.probed}
    assert f1["--model street-nano"] == 1.0
    assert f1["--model street-nano --gate motion"] > 0.9
    assert f1["--model street-nano --input-size 320,320"] < 0.98
    assert 0 <= found.probed[1].low < found.probed[1].f1 < found.probed[1].high <= 1


def test_the_command(run, tmp_path):
    video = clip(tmp_path / "a.mp4", frames=20)
    done = run("plan", video, "--backend", "fake", "--target", "0.9")
    assert done.status in (0, 1), done.err
    assert "every frame  F1 1.000 [1.00 .. 1.00]" in done.out
    assert ("Reaches 0.9: --model" in done.out) == (done.status == 0)
    assert ("No faster setting reaches 0.9" in done.out) == (done.status == 1)
    done = run("plan", video, "--backend", "fake", "--json", "--probe", "2s")
    told = json.loads(done.out)
    assert (told["schema"], told["target"], told["frames"]) == (1, 0.98, 20)
    assert (told["best"] is None) == (done.status == 1)


def test_what_plan_varies_is_refused(run, tmp_path):
    done = run("plan", clip(tmp_path / "a.mp4"), "--backend", "fake", "--gate", "motion")
    assert done.status == 2
    assert "--gate does nothing here: it is varied by plan itself" in done.err
