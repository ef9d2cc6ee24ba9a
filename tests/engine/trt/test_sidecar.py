"""A plan is checked before it is loaded: what differs is one sentence with the command that repairs it."""

import errno
import hashlib
import json
import math
import os
import re
import shlex
from dataclasses import replace
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from engine.cli.group import commands
from engine.cli.trt import build_trt
from engine.errors import OutputError, PlanError
from engine.inference.trt.fed import Fed
from engine.inference.trt.flavors import FLAVORS, Flavor
from engine.inference.trt.gpu import Gpu
from engine.inference.trt.profile import Profile
from engine.inference.trt.sidecar import (
    CalibrationSet,
    Parity,
    cached_plans,
    check_plan,
    read_record,
    sidecar_of,
    write_plan,
)
from tests.assets import ROOT
from tests.engine.trt.conftest import RECORD, record_with

DATA = b"a plan " * 1000
VERSION = RECORD.version
RTX = Flavor(FLAVORS["rtx"], SimpleNamespace(__version__=VERSION))


def record_of(data=DATA, **changes):
    return record_with(plan_sha256=hashlib.sha256(data).hexdigest(), plan_bytes=len(data), **changes)


@pytest.fixture
def plan(tmp_path):
    path = tmp_path / "y.plan"
    write_plan(path, DATA, record_of())
    return path


def test_it_comes_back_as_it_was_written(plan):
    assert read_record(plan) == record_of()
    assert check_plan(plan) == record_of()
    assert sidecar_of(plan).name == "y.plan.json"
    assert sorted(path.name for path in plan.parent.iterdir()) == ["y.plan", "y.plan.json"]


def test_plans_in_the_cache(own_cache):
    folder = own_cache.parent / "plans"
    assert cached_plans("a" * 64) == []
    for name, changes in {"b": {}, "a": {}, "c": {"onnx_sha256": "b" * 64}}.items():
        write_plan(folder / f"{name}.plan", DATA, record_of(**changes))
    (folder / "d.plan").write_bytes(b"no side-car")
    assert cached_plans("a" * 64) == [(folder / "a.plan", record_of()), (folder / "b.plan", record_of())]


def test_all_that_fits(plan):
    assert check_plan(plan, onnx_sha256="a" * 64, layout="yolox", flavor=RTX, gpu=Gpu("any card", "8.6"))


OTHER = {
    "another model": ({"onnx_sha256": "b" * 64}, ["built from another model", "aaaaaaaaaaaa…", "bbbbbbbbbbbb…"]),
    "layout": ({"layout": "yolov8"}, ["built for output layout yolox, and yolov8 was requested"]),
    "flavour": (
        {"flavor": Flavor(FLAVORS["tensorrt"], SimpleNamespace(__version__="11.4"))},
        ["was built by TensorRT for RTX, and TensorRT can't load it", "'.[rtx]'", "--flavor tensorrt"],
    ),
    "version": (
        {"flavor": Flavor(FLAVORS["rtx"], SimpleNamespace(__version__="1.8"))},
        [f"was built by TensorRT for RTX {VERSION}, and 1.8 is installed", "--flavor rtx"],
    ),
    "capability": (
        {"gpu": Gpu("NVIDIA L4", "8.9")},
        ["was built for compute capability 8.6, and this GPU (NVIDIA L4) has 8.9", "--compute-capability 8.9"],
    ),
}


def one_sentence(error):
    text = str(error)
    assert "\n" not in text
    assert len(text) < 500
    return text


def the_command(text):
    """The command that a message names, which the program must accept."""
    (command,) = [part for part in text.split("`") if part.startswith("yolo-engine ")]
    words = shlex.split(command)
    assert words[:2] == ["yolo-engine", "build-trt"]
    with build_trt.make_context("build-trt", words[2:], **commands.context_settings):
        return command


@pytest.mark.parametrize("case", OTHER)
def test_what_does_not_fit(plan, case):
    asked, parts = OTHER[case]
    with pytest.raises(PlanError) as caught:
        check_plan(plan, **asked)
    text = one_sentence(caught.value)
    assert text.startswith(str(plan))
    for part in parts:
        assert part in text
    the_command(text)


def test_tensorrt_plans_belong_to_the_very_card(tmp_path):
    plan = tmp_path / "y.plan"
    write_plan(plan, DATA, record_of(flavor="tensorrt", gpu="NVIDIA A10"))
    assert check_plan(plan, gpu=Gpu("NVIDIA A10", "8.6"))
    with pytest.raises(PlanError, match="was built on and tuned for NVIDIA A10, and this GPU is NVIDIA A40"):
        check_plan(plan, gpu=Gpu("NVIDIA A40", "8.6"))


def truncate(plan):
    plan.write_bytes(DATA[:100])


def lengthen(plan):
    plan.write_bytes(DATA + b"x")


def flip(plan):
    plan.write_bytes(b"A" + DATA[1:])


def edit(change):
    def edited(plan):
        found = json.loads(sidecar_of(plan).read_text())
        change(found)
        sidecar_of(plan).write_text(json.dumps(found))

    return edited


DAMAGE = {
    "truncated plan": (truncate, "y.plan: is truncated: 100 bytes where 7,000 were built"),
    "longer plan": (lengthen, "is longer than it was built: 7,001 bytes"),
    "one flipped bit": (flip, "is not the plan that its side-car is for: SHA-256"),
    "no plan": (lambda plan: plan.unlink(), "only its side-car is there"),
    "no side-car": (lambda plan: sidecar_of(plan).unlink(), "its side-car y.plan.json is missing"),
    "neither": (lambda plan: (plan.unlink(), sidecar_of(plan).unlink()), "there is no such file"),
    "half a side-car": (lambda plan: sidecar_of(plan).write_text('{"schema": 1,'), "can't be read"),
    "binary": (lambda plan: sidecar_of(plan).write_bytes(b"\xff\xfe\x00"), "can't be read"),
    "a list": (lambda plan: sidecar_of(plan).write_text("[]"), "has schema None where this version reads 1"),
    "of the future": (edit(lambda found: found.update(schema=2)), "has schema 2 where this version reads 1"),
    "a schema that is no number": (edit(lambda found: found.update(schema=True)), "has schema True where"),
    "a long schema": (edit(lambda found: found.update(schema="1" * 9999)), "has schema '111"),
    "a schema of many digits": (lambda plan: sidecar_of(plan).write_text('{"schema":' + "1" * 5000 + "}"), "can't be"),
    "nested deeply": (lambda plan: sidecar_of(plan).write_text("[" * 200_000), "can't be read: "),
    "a folder": (lambda plan: (sidecar_of(plan).unlink(), sidecar_of(plan).mkdir()), "is not a regular file, but a fo"),
    "a pipe": (lambda plan: (sidecar_of(plan).unlink(), os.mkfifo(sidecar_of(plan))), "not a regular file, but a pipe"),
    "an endless device": (
        lambda plan: (sidecar_of(plan).unlink(), sidecar_of(plan).symlink_to("/dev/zero")), "but a device"),
    "a gigabyte": (lambda plan: os.truncate(sidecar_of(plan), 1 << 30), "is too large: 1,073,741,824 bytes"),
    "a second command": (
        edit(lambda found: found.update(command="yolo-engine build-trt x; rm -rf y")), "a command with more in it"),
    "a command in a command": (
        edit(lambda found: found.update(command="yolo-engine build-trt $(id)")), "a command with more in it"),
    "a key is missing": (edit(lambda found: found.pop("layout")), "is not a whole side-car ('layout': Field required)"),
    "a key too many": (edit(lambda found: found.update(more=1)), "('more': Extra inputs are not permitted)"),
    "a long key too many": (edit(lambda found: found.update({"m\n" * 9999: 1})), "('m\\nm"),
    "an unknown layout": (edit(lambda found: found.update(layout="yolo99")), "('layout': Value error, a layout that"),
    "an unknown flavour": (edit(lambda found: found.update(flavor="trt")), "('flavor': Value error, a flavour that"),
    "a lone quote in the command": (edit(lambda found: found.update(command="it's")), "('command': Value error, no"),
    "another program": (edit(lambda found: found.update(command="rm -r /")), "('command': Value error, no command"),
    "no shapes": (edit(lambda found: found.update(profile={})), "('profile.least': Field required)"),
    "no inputs": (edit(lambda found: found.update(inputs=[])), "('inputs': Tuple should have at least 1 item"),
    "half a surrogate": (edit(lambda found: found.update(model="\ud800")), "is not a whole side-car ("),
}  # fmt: skip


def changed(place, value):
    """A side-car with another value at `place`, keys with dots between."""

    def change(found):
        *path, last = place.split(".")
        for key in path:
            found = found[int(key) if isinstance(found, list) else key]
        found[last] = value

    return edit(change)


# Values of other types than the field's, or beyond what it can be.
WRONG = {
    "model": [None, 1, "", [], True, "a" * 99999],
    "layout": [None, 1, []],
    "onnx_sha256": [None, "", "x" * 64, "A" * 64, "a" * 63, 1],
    "plan_sha256": [None, "", "a" * 65],
    "plan_bytes": [None, "9", 1.0, 7000.5, -1, True, math.inf, 10**400],
    "flavor": [None, 1, {}],
    "version": [None, 1, "", "1\n2"],
    "gpu": [1, "", [1], False],
    "compute_capability": [None, 8.6, "", "86", "8.x"],
    "precision": [None, 7, "fp8"],
    "profile": [None, [], "x", {"least": [9, 3, 32, 32], "opt": [8, 3, 32, 32], "most": [9, 3, 32, 32]}],
    "profile.least": ["1111", [math.inf] * 4, [math.nan] * 4, [-1] * 4, [0, 3, 32, 32], [1, 3], [1, 1, 32, 32],
                      [1.0, 3, 32, 32], [True, 3, 32, 32], [10**400] * 4],
    "profile.opt": [[1, 3], None],
    "batch_safe": [None, "no", 0, 1],
    "inputs": [None, {"name": 1}, "x", ["x"] * 4],
    "inputs.0.name": [1, ""],
    "inputs.0.dtype": [2, None],
    "inputs.0.shape": [["a"], "1", [-2], [1.5], None],
    "outputs": [None, [], [{}]],
    "calibration": ["x", {}, {"pictures": "1", "sha256": "d" * 64}, {"pictures": 0, "sha256": "d" * 64}],
    "options": [None, [], {"workspace_mib": "1"}, {"a": {}}, {"a": True}],
    "built_at": [None, 1, "", "x"],
    "build_s": [None, "1", -1.0, math.inf, math.nan, True],
    "command": [None, 1, "", "yolo-engine build-trt"],
    "fed": ["x", {}, {"scale": "1", "mean": None, "channel_order": None},
            {"scale": 1.0, "mean": [1.0], "channel_order": None}, {"scale": 1.0, "mean": None, "channel_order": "grb"}],
    "checked": ["x", {}, {"worst": "a", "most": 0.0, "slots": 0.0, "shapes": []}],
}  # fmt: skip


@pytest.mark.parametrize(("place", "value"), [(place, value) for place in WRONG for value in WRONG[place]],
                         ids=lambda value: repr(value)[:30])  # fmt: skip
def test_wrong_values(plan, own_cache, place, value):
    changed(place, value)(plan)
    with pytest.raises(PlanError) as caught:
        check_plan(plan)
    text = one_sentence(caught.value)
    assert f"is not a whole side-car ('{place}" in text
    the_command(text.replace("MODEL", "street-nano"))


def test_the_cache_skips_what_is_damaged(own_cache):
    folder = own_cache.parent / "plans"
    for case in ("nested deeply", "a folder", "a lone quote in the command", "a schema that is no number"):
        write_plan(folder / f"{case}.plan", DATA, record_of())
        DAMAGE[case][0](folder / f"{case}.plan")
    for number, value in enumerate(WRONG["profile.least"]):
        write_plan(folder / f"{number}.plan", DATA, record_of())
        changed("profile.least", value)(folder / f"{number}.plan")
    write_plan(folder / "sound.plan", DATA, record_of())
    assert cached_plans("a" * 64) == [(folder / "sound.plan", record_of())]


def test_all_that_a_build_writes(tmp_path):
    record = record_of(
        gpu="NVIDIA A10",
        flavor="tensorrt",
        precision="int8",
        calibration=CalibrationSet(4, "d" * 64),
        options={"workspace_mib": 64, "freed": 1, "conversions": 1},
        checked=Parity(0.5, 1e-05, 0.0, ((1, 3, 32, 32),)),
        fed=Fed(0.5, (1.0, 2.0, 3.0), "bgr"),
    )
    write_plan(tmp_path / "y.plan", DATA, record)
    assert check_plan(tmp_path / "y.plan") == record


def test_the_key_of_a_plan_is_that_of_earlier_versions():
    """Plans in a user's cache are found by it."""
    assert RECORD.key == "a5628ba0850120faab3d5a68fa0745b9796072bae115d10562697ae940ecbda3"
    said = replace(RECORD, calibration=CalibrationSet(4, "a" * 64), fed=Fed(1.0, (1.0, 2.0, 3.0), "bgr"))
    assert said.key == "c6fe85111caa91bd0996178582b74c515bbb37b7a6aefe9d214f685c4670acca"


def test_a_command_that_ends_in_the_option(tmp_path):
    plan = tmp_path / "y.plan"
    write_plan(plan, DATA, record_of(command="yolo-engine build-trt m --compute-capability"))
    with pytest.raises(PlanError, match=r"Build it for this one: `yolo-engine build-trt m --compute-capability 8.9`"):
        check_plan(plan, gpu=Gpu("any card", "8.9"))


@pytest.mark.parametrize("case", DAMAGE)
def test_damage(plan, case):
    damage, part = DAMAGE[case]
    damage(plan)
    with pytest.raises(PlanError) as caught:
        check_plan(plan)
    text = one_sentence(caught.value)
    assert part in text
    the_command(text.replace("MODEL", "street-nano"))


CHANGES = {
    "onnx_sha256": "c" * 64, "layout": "yolov5", "flavor": "tensorrt", "version": "1.8", "gpu": "NVIDIA A10",
    "compute_capability": "8.9", "precision": "int8", "calibration": {"pictures": 1, "sha256": "d"},
    "options": {"workspace_mib": 64, "conversions": 1}, "profile": Profile(*((1, 3, 416, 416),) * 3),
}  # fmt: skip


@pytest.mark.parametrize("what", CHANGES)
def test_the_key_is_over_all_that_decides(what):
    assert record_with(**{what: CHANGES[what]}).key != RECORD.key


@pytest.mark.parametrize("what", ["plan_sha256", "plan_bytes", "built_at", "build_s", "command", "checked", "model"])
def test_and_over_nothing_else(what):
    assert record_with(**{what: "other"}).key == RECORD.key


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=r"y.plan can't be written: no space left on the disk. Nothing was kept."):
        write_plan(tmp_path / "y.plan", DATA, record_of())
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_leaves_the_old_plan_alone(plan, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: (_ for _ in ()).throw(OSError(errno.ENOSPC, "")))
    with pytest.raises(OutputError):
        write_plan(plan, b"new", record_of(b"new"))
    assert plan.read_bytes() == DATA
    assert check_plan(plan) == record_of()


def said_by(plan, **asked):
    with pytest.raises(PlanError) as caught:
        check_plan(plan, **asked)
    return without_numbers(str(caught.value))


def without_numbers(text):
    return re.sub(r"\d[\d.,x]*", "#", text)


def test_the_manual_quotes_what_is_said(plan):
    """docs/gpu.md has a table of these messages; numbers apart, each is one of them."""
    said = [said_by(plan, **asked) for asked, _ in OTHER.values()]
    for damage in (flip, truncate):
        damage(plan)
        said.append(said_by(plan))
    section = (ROOT / "docs/gpu.md").read_text("utf-8").split("## The side-car")[1].split("\n## ")[0]
    quoted = re.findall(r"^\| `([^`]*)` \|", section, re.M)
    *quoted, of_a_run = quoted  # tests/engine/gpu/test_tensorrt_backend.py
    assert len(quoted) == 6
    assert of_a_run.startswith("takes inputs from ")
    for message in quoted:
        assert any(without_numbers(message) in each for each in said), message


def test_help_lists_every_option():
    result = CliRunner().invoke(commands, ["build-trt", "--help"])
    assert result.exit_code == 0
    for option in "output flavor compute-capability precision calib min-batch opt-batch max-batch shape".split():
        assert f"--{option}" in result.output
    for option in "workspace timing-cache verbose".split():
        assert f"--{option}" in result.output
