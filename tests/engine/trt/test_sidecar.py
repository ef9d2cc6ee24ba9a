"""A plan is checked before it is loaded: what differs is one sentence with the command that repairs it."""

import errno
import hashlib
import json
import os
import re
import shlex
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from engine.cli_trt import build_trt
from engine.errors import OutputError, PlanError
from engine.trt.flavors import FLAVORS, Flavor
from engine.trt.gpu import Gpu
from engine.trt.profile import Profile
from engine.trt.sidecar import cached_plans, check_plan, read_record, sidecar_of, write_plan
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
    assert check_plan(
        plan, onnx_sha256="a" * 64, layout="yolox", flavor=RTX, gpu=Gpu("any card", "8.6"), shape=(4, 3, 256, 416)
    )


OTHER = {
    "another model": ({"onnx_sha256": "b" * 64}, ["built from another model", "aaaaaaaaaaaa…", "bbbbbbbbbbbb…"]),
    "layout": ({"layout": "yolov8"}, ["built for output layout yolox, and yolov8 was asked for"]),
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
    "batch": (
        {"shape": (16, 3, 416, 416)},
        ["takes inputs from 1x3x32x32 to 8x3x416x416", "16x3x416x416", "--max-batch"],
    ),
    "size": ({"shape": (1, 3, 640, 640)}, ["1x3x640x640 was asked for"]),
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
    with build_trt.make_context("build-trt", words[2:]):
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
    "a key is missing": (edit(lambda found: found.pop("layout")), "is no whole side-car (TypeError"),
    "a key too many": (edit(lambda found: found.update(more=1)), "is no whole side-car (TypeError"),
    "an unknown layout": (edit(lambda found: found.update(layout="yolo99")), "a layout or flavour that is not known"),
    "a number for a text": (edit(lambda found: found.update(version=1)), "a value of the wrong kind"),
    "a text for a number": (edit(lambda found: found.update(plan_bytes="9")), "a value of the wrong kind"),
    "no shapes": (edit(lambda found: found.update(profile={})), "is no whole side-car (KeyError"),
    "short shapes": (edit(lambda found: found["profile"].update(opt=[1, 3])), "is no whole side-car (ValueError"),
}


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
    assert len(quoted) == 7
    for message in quoted:
        assert any(without_numbers(message) in each for each in said), message


def test_help_lists_every_option():
    result = CliRunner().invoke(build_trt, ["--help"])
    assert result.exit_code == 0
    for option in "output flavor compute-capability precision calib min-batch opt-batch max-batch shape".split():
        assert f"--{option}" in result.output
    for option in "workspace timing-cache verbose".split():
        assert f"--{option}" in result.output
