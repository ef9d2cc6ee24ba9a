"""`yolo-engine build-trt`: exit statuses, messages, and the remedies where there is no GPU."""

import shlex
import signal
import subprocess
import sys

import pytest

from engine.cli.commands import build_trt as command
from engine.errors import BackendMissing, PlanError
from engine.inference.backends.tensorrt import open_plan
from engine.inference.trt import build as build_module
from engine.inference.trt import flavors
from engine.inference.trt.gpu import Gpu
from engine.inference.trt.sidecar import check_plan
from tests.assets import ROOT, require_asset
from tests.models import builders


@pytest.fixture
def small(tmp_path):
    return builders.save(builders.yolov8(), tmp_path / "small.onnx")


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(build_module, "find_gpu", lambda: None)


def test_build_and_build_again(run, rtx, small, tmp_path, no_gpu):
    plan = tmp_path / "sub folder" / "m.plan"
    words = ["build-trt", small, "-o", plan, "--layout", "yolov8", "--compute-capability", "8.9", "--max-batch", "4"]
    first = run(*words)
    assert first.status == 0
    lines = dict(line.split(None, 1) for line in first.out.splitlines())
    assert lines["plan"].startswith(f"{plan} (")
    assert lines["side-car"] == f"{plan}.json"
    assert lines["built"].startswith("ahead of time in ")
    assert lines["built"].endswith(f"by rtx {rtx.version}")
    assert lines["for"] == "compute capability 8.9, fp16"
    assert lines["input"] == "images float16 1..4 x 3 x 32..64 x 32..64"
    assert lines["output"] == "output float32 ? x 6 x ?"
    assert lines["checked"] == "not on a GPU"
    again = run(*words)
    assert (again.status, again.out) == (0, first.out)
    assert "The same plan exists already: nothing was built." in again.err


def test_the_command_on_record_builds_the_same(run, rtx, small, tmp_path, no_gpu):
    plan = tmp_path / "it's.plan"
    words = (
        f"--layout yolov8 --class-names a,b --compute-capability 12.0 --precision bf16 --min-batch 2 --opt-batch 3"
        f" --max-batch 4 --shape 32x64 --workspace 64 --channel-order bgr --input-scale 0.5,0.25,1"
        f" --input-mean 1 -o {shlex.quote(str(plan))}"
    )
    assert run("build-trt", small, *shlex.split(words)).status == 0
    record = check_plan(plan)
    plan.unlink()
    again = run(*shlex.split(record.command)[1:])
    assert again.status == 0, again.err
    assert check_plan(plan).key == record.key
    assert check_plan(plan).command == record.command


def test_verbose_says_what_tensorrt_says(run, rtx, small, tmp_path, no_gpu):
    found = run(
        "build-trt", small, "-o", tmp_path / "m.plan", "--layout", "yolov8", "--compute-capability", "8.6", "--verbose"
    )
    assert found.status == 0
    assert "info: " in found.err


def test_ctrl_c(rtx, tmp_path, own_cache):
    """A program of its own, interrupted while TensorRT is at work: status 130, no half plan, no traceback."""
    model = require_asset("models/yolox_nano.onnx")
    words = ["build-trt", model, "-o", tmp_path / "m.plan", "--compute-capability", "8.6", "--verbose"]
    process = subprocess.Popen(
        [sys.executable, "-m", "engine.cli.main", *map(str, words)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    with process:
        for line in process.stderr:
            if line.startswith("info: ") and "timing cache" in line:
                process.send_signal(signal.SIGINT)
                break
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert "Interrupted: no plan was written.\n" in err
    assert "Traceback" not in err
    assert [path.name for path in tmp_path.iterdir() if path != own_cache.parents[1]] == []


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ("", ["Usage: yolo-engine build-trt [OPTIONS] MODEL"]),
        (
            "street-nano",
            ["--compute-capability must be given where there is no NVIDIA GPU", "7.5, 8.0, 8.6, 8.9, 12.0"],
        ),
        ("street-nano --compute-capability 9.9", ["must be one of 7.5, 8.0, 8.6, 8.9, 12.0", "Got '9.9'"]),
        ("street-nano --precision int8", ["--precision int8 needs --calib DIR"]),
        ("street-nano --calib {tmp}", ["--calib is for --precision int8. Got --precision fp16."]),
        ("street-nano --precision int8 --calib {tmp}/none --compute-capability 8.6", ["--calib must be a folder"]),
        ("street-nano --precision int8 --calib {tmp} --compute-capability 8.6", ["contains no image (.jpg"]),
        ("street-nano --precision fp8", ["'--precision'", "'fp32', 'fp16', 'bf16', 'int8'"]),
        ("street-nano --compute-capability 8.6 --timing-cache x", ["--timing-cache is for --flavor tensorrt"]),
        ("street-nano --compute-capability 8.6 --max-batch 0", ["must rise and lie in [1, 256]. Got 1, 0 and 0."]),
        ("street-nano --compute-capability 8.6 --shape 100x100", ["multiples of the model's stride 32"]),
        ("street-nano --compute-capability 8.6 --input-size 416", ["--input-size must be two numbers"]),
        ("street-nano --compute-capability 8.6 -o {tmp}", ["is a folder. -o names the plan itself."]),
        ("street-nano --compute-capability 8.6 --workspace 0", ["'--workspace'"]),
        ("street-nan --compute-capability 8.6", ["'street-nan'", "did you mean street-nano"]),
        ("{tmp}/none.onnx --compute-capability 8.6", ["none.onnx", "no such file"]),
        ("{small} --compute-capability 8.6", ["--layout"]),
    ],
)
def test_wrong_usage(run, rtx, small, tmp_path, no_gpu, words, parts):
    found = run("build-trt", *shlex.split(words.format(tmp=tmp_path, small=small)))
    assert found.status == 2
    for part in parts:
        assert part in found.err


@pytest.mark.parametrize(
    ("flavor", "parts"),
    [
        ("auto", ["TensorRT for RTX is not installed", "pip install -c constraints.txt -e '.[rtx]' in a clone"]),
        ("tensorrt", ["TensorRT is not installed", "pip install -c constraints.txt -e '.[tensorrt]' in a clone"]),
        ("rtx", ["TensorRT for RTX is not installed", "pip install -c constraints.txt -e '.[rtx]' in a clone"]),
    ],
)
def test_what_is_not_installed(run, monkeypatch, no_gpu, flavor, parts):
    def refuse(name):
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(flavors.importlib, "import_module", refuse)
    found = run("build-trt", "street-nano", "--flavor", flavor, "--compute-capability", "8.6")
    assert (found.status, found.out) == (2, "")
    for part in parts:
        assert part in found.err
    assert flavor == "tensorrt" or "[tensorrt]" not in found.err


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ("street-nan", "did you mean street-nano"),
        ("{tmp}/none.onnx", "none.onnx: there is no such file"),
        ("{small}", "--layout"),
        ("street-nano --layout yolov8", "layout must be yolox for street-nano"),
        ("street-nano --compute-capability 86", "Got '86'. Did you mean 8.6?"),
        ("street-nano --precision int8 --calib {tmp}/none", "--calib must be a folder"),
        (
            "street-nano --precision bf16 --compute-capability 7.5",
            "needs compute capability 8.0 or later. Got 7.5: use",
        ),
        ("street-nano --workspace 0", "'--workspace': must be in [1, 1048576]. Got 0."),
        ("street-nano", "Neither flavour of TensorRT is installed."),
    ],
)
def test_wrong_arguments_are_told_before_what_is_missing(run, monkeypatch, small, tmp_path, no_gpu, words, part):
    def refuse(name):
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(flavors.importlib, "import_module", refuse)
    found = run("build-trt", *shlex.split(words.format(tmp=tmp_path, small=small)))
    assert (found.status, found.out) == (2, "")
    assert part in found.err


@pytest.mark.parametrize(
    ("gpu", "pycuda", "checks", "told"),
    [
        (None, True, False, ""),
        (Gpu("Fake 3080", "8.6"), False, False, "The plan will not be compared with the CPU: PyCUDA is not installed"),
        (Gpu("Fake 3080", "8.6"), True, True, ""),
    ],
)
def test_a_build_on_a_card_is_compared_with_the_cpu(run, small, monkeypatch, gpu, pycuda, checks, told):
    runners = []

    def build_plan(options, watcher, *, say, runner):
        runners.append(runner)
        raise PlanError("far enough")

    def load_driver():
        if not pycuda:
            raise BackendMissing("PyCUDA is not installed")

    monkeypatch.setattr(command, "build_plan", build_plan)
    monkeypatch.setattr(command, "load_driver", load_driver)
    monkeypatch.setattr(command, "find_gpu", lambda: gpu)
    done = run("build-trt", small, "--layout", "yolov8")
    assert done.err == f"{told}\n" * bool(told) + "Error: far enough\n"
    assert runners == [open_plan if checks else None]
