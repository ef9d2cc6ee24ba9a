"""The table of a GPU, made without one: every stage on the CPU, the kernels emulated, and run.sh up to its refusal."""

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import clips
from benchmarks.gpu import __main__ as program
from benchmarks.gpu import decode, end_to_end, infer, kernels, live, results
from benchmarks.gpu import setting as setting_module
from benchmarks.gpu.live import Arrivals, PacedSource, Trial, camera_clip, most_sustained
from benchmarks.gpu.setting import Setting
from benchmarks.record import WrongAnswer, read_rows
from engine import Engine
from engine.errors import BackendMissing
from engine.inference.gpu.decode import HardwareDecoding
from engine.inference.gpu.kernels import CudaKernels
from tests.assets import ROOT, require_asset
from tests.engine.gpu.emulator import EmulatedDriver, Stream

FRAMES = 3


@pytest.fixture(autouse=True)
def _few_frames(monkeypatch, tmp_path_factory):
    monkeypatch.setattr(clips, "CACHE", tmp_path_factory.getbasetemp() / "bench-clips")
    for module in (infer, end_to_end):
        monkeypatch.setattr(module, "PAUSE_S", 0.0)


@pytest.fixture
def model():
    return str(require_asset("models/yolox_nano.onnx"))


@pytest.fixture
def video():
    return clips.shortened(require_asset("videos/people.mp4"), FRAMES)


@pytest.fixture
def setting(context, video, model):
    return Setting(context, "cpu", "a card", video, model, batches=(1, 2), streams=2, live_s=0.1, most_streams=2)


@pytest.fixture
def arguments(video, model, tmp_path):
    return [
        *("--device", "cpu", "--profile", "quick", "--video", str(video), "--model", model, "--batches", "1,2"),
        *("--streams", "2", "--live-s", "0.1", "--most-streams", "2", "--out", str(tmp_path / "results")),
    ]


def test_the_whole_table(arguments, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(program, "cpu_name", lambda: "Some (R) Card")
    assert program.main(arguments) == 0
    (table,) = (tmp_path / "results").glob("some-r-card-*.md")
    rows = read_rows(table.with_suffix(".jsonl"))
    cases = [(row.stage, row.case) for row in rows]
    assert [row.stage for row in rows] == [
        *("decode", "preprocess", "heads", "infer", "infer", "end to end", "end to end", "live"),
    ]
    text = table.read_text(encoding="utf-8")
    shown = capsys.readouterr().out
    assert text.startswith("# Some (R) Card\n")
    for _, case in cases:
        assert case in text
        assert case in shown
    by_case = {row.case: row for row in rows}
    assert by_case["1 video"].figures.keys() == {"engine, onnxruntime", "plain loop"}
    assert by_case["1 video"].answer.accuracy["onnxruntime_tracks_same"] == 1.0
    assert by_case["2 videos at the same time"].answer.accuracy["differing_videos"] == 0
    assert rows[-1].parameters["streams"] <= 2
    assert {row.parameters["card"] for row in rows} == {"Some (R) Card"}


def test_a_wrong_answer_is_status_1_and_the_others_go_on(arguments, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(infer, "errors_of", lambda given, expected: (0.5, 0.5))
    assert program.main([*arguments, "--stages", "infer", "kernels"]) == 1
    (table,) = (tmp_path / "results").glob("*.md")
    assert [row.stage for row in read_rows(table.with_suffix(".jsonl"))] == ["preprocess", "heads"]
    assert "**Failed:** infer: WrongAnswer: compared with ONNX Runtime on the CPU" in table.read_text(encoding="utf-8")
    assert "FAILED: infer: WrongAnswer" in capsys.readouterr().out


def test_nothing_to_measure_on_is_status_2(arguments, monkeypatch, capsys):
    monkeypatch.setattr(program, "find_gpu", lambda number: None)
    assert program.main([*arguments, "--device", "cuda:0"]) == 2
    assert capsys.readouterr().err == ("There is no GPU for --device cuda:0 here: `yolo-engine doctor` says more.\n")
    assert program.main([*arguments, "--video", "/nowhere.mp4"]) == 2
    assert capsys.readouterr().err == "There is no video: /nowhere.mp4.\n"


class Room:
    """engine.inference.gpu.memory.Buffers of the emulated driver."""

    def __init__(self, driver):
        self._driver, self._held = driver, []

    def device(self, size):
        self._held.append(self._driver.mem_alloc(size))
        return int(self._held[-1])

    def pinned(self, size):
        return np.zeros(size, np.uint8)


@pytest.fixture
def card():
    found = kernels.Card("cuda:0")
    found.driver, found.stream = EmulatedDriver(), Stream()
    found.buffers = Room(found.driver)
    found.kernels = CudaKernels(found.driver, {"letterbox": b"", "heads": b""})
    return found


@pytest.mark.parametrize("row_of", [kernels.letterbox_row, kernels.heads_row])
def test_the_kernels_on_a_card(setting, card, row_of):
    with Engine(setting.config("onnxruntime")) as engine:
        row = row_of(setting, engine, card)
        assert (row.ours, set(row.figures)) == ("the card", {"the card", "one core"})
        assert row.answer.accuracy.get("differing_numbers", 0) == 0
        assert row.answer.accuracy.get("box_difference", 0) == 0
        assert row.answer.accuracy.get("candidates", 1) > 0


def test_without_what_runs_the_kernels_the_cpu_stands_alone(setting, monkeypatch, capsys):
    def absent(self):
        raise BackendMissing("PyCUDA is not installed.")

    monkeypatch.setattr(kernels.Card, "__enter__", absent)
    monkeypatch.setattr(kernels, "Engine", lambda config: Engine(setting.config("onnxruntime")))
    rows = list(kernels.measure(replace(setting, device="cuda:0")))
    assert [row.ours for row in rows] == ["one core", "one core"]
    assert capsys.readouterr().err == "  left out: the card: PyCUDA is not installed.\n"


def test_without_any_backend_the_program_says_so(setting, monkeypatch, capsys):
    def absent(config):
        raise BackendMissing(f"{config.backend} is not here.")

    monkeypatch.setattr(setting_module, "Engine", absent)
    with (
        pytest.raises(SystemExit, match="No backend runs on cuda:0 here"),
        replace(setting, device="cuda:0").engines(),
    ):
        pass
    assert capsys.readouterr().err.splitlines() == [
        "  left out: tensorrt: tensorrt is not here.",
        "  left out: onnxruntime: onnxruntime is not here.",
    ]


def test_a_card_that_computes_wrong_is_no_row(setting, card, monkeypatch):
    monkeypatch.setattr(kernels.Card, "fetched", lambda self, address, like: np.zeros_like(like))
    monkeypatch.setattr(kernels, "CAPACITY", 1)  # fewer than there are candidates
    with Engine(setting.config("onnxruntime")) as engine:
        with pytest.raises(WrongAnswer, match="numbers of other bits"):
            kernels.letterbox_row(setting, engine, card)
        with pytest.raises(WrongAnswer, match="box_difference inf"):
            kernels.heads_row(setting, engine, card)


def test_what_the_card_decodes_is_compared(setting, monkeypatch):
    """The card's decoder, played by the CPU's: the same frames, another number of them, and a card that refuses."""
    import av

    import engine.inference.gpu.decode as gpu_decode

    def frames(setting, most=FRAMES):
        with av.open(str(setting.video)) as container:
            yield from (frame for number, frame in enumerate(container.decode(video=0)) if number < most)

    monkeypatch.setattr(gpu_decode, "hardware_decoding", lambda device: HardwareDecoding(("cuda",), ("h264",), None))
    monkeypatch.setattr(decode, "hardware_frames", frames)
    assert decode.compared(setting) == {"problem": None, "differing_frames": 0}
    monkeypatch.setattr(decode, "hardware_frames", lambda setting: frames(setting, FRAMES - 1))
    assert decode.compared(setting) == {"problem": None, "differing_frames": 1}

    def refuse(setting):
        raise av.error.PermissionError(1, "Operation not permitted")
        yield

    monkeypatch.setattr(decode, "hardware_frames", refuse)
    assert "PermissionError" in decode.compared(setting)["problem"]


@pytest.mark.parametrize("limit", [0, 1, 2, 3, 5, 8, 13, 21, 30])
def test_the_most_streams_that_are_sustained(limit):
    tried = []

    def holds(count):
        tried.append(count)
        return count <= limit

    assert most_sustained(holds, 21) == min(limit, 21)
    assert max(tried) <= 21 or limit < 1


@pytest.mark.parametrize(
    ("missing", "p95_ms", "sustained"), [(0, 100.0, True), (0, 100.1, False), (1, 5.0, False), (0, float("inf"), False)]
)
def test_what_sustained_means(missing, p95_ms, sustained):
    assert Trial(4, 40, missing, 1.0, p95_ms).sustained is sustained


def test_a_paced_source_comes_as_a_camera_does(video):
    clip = camera_clip(video, 7)
    arrivals = Arrivals()
    source = PacedSource(str(clip), arrivals)
    source.open(3)
    count = sum(1 for _ in source.packets())
    source.close()
    came = np.array(arrivals.came_s[3])
    assert count == len(came) == 7
    np.testing.assert_allclose(np.diff(came), 1 / live.RATE)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda given: given, (0.0, 0.0)),
        (lambda given: given[:, :, :-1], (np.inf, np.inf)),
        (lambda given: given + np.array([0, 0, 0, 0, 0.25]), (0.25, 0.25)),
        (lambda given: given + np.array([50.0, 0, 0, 0, 0]), (0.5, 0.5)),
    ],
)
def test_errors_are_a_share_of_the_largest_number_of_the_field(change, expected):
    """Of 1 where that is smaller: scores as they are."""
    alone = np.zeros((1, 20, 5))
    alone[..., 0], alone[..., 4] = 100.0, 0.5
    assert infer.errors_of(change(np.concatenate([alone, alone])), [alone]) == pytest.approx(expected)


def test_a_file_bears_the_cards_name():
    name = results.file_name("NVIDIA GeForce RTX 4090, compute capability 8.9", "run-1")
    assert name == "nvidia-geforce-rtx-4090-compute-capability-8-9-run-1"


# ---- run.sh ----

SCRIPT = ROOT / "benchmarks" / "gpu" / "run.sh"

PYTHON = """#!/usr/bin/env bash
echo "$*" >> "$CALLS"
case "$*" in
    *default_model*) echo some-model ;;
    *pytest*) exit "$TESTS" ;;
    "-m benchmarks.gpu"*) exit "$TABLE" ;;
esac
"""
SMI = """#!/usr/bin/env bash
case "$*" in
    -L) echo "GPU 0: Some Card (UUID: x)" ;;
    "") echo "| NVIDIA-SMI 570.1  Driver Version: 570.1  CUDA Version: 12.8 |" ;;
esac
"""


def run_script(folder, smi, *arguments, **environment):
    for name, text in {"nvidia-smi": smi, "python": PYTHON}.items():
        (folder / name).write_text(text, encoding="utf-8")
        (folder / name).chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{folder}:/usr/bin:/bin",
        "CALLS": str(folder / "calls"),
        "GPU_PYTHON": str(folder / "python"),
        "TESTS": "0",
        "TABLE": "0",
        **environment,
    }
    return subprocess.run(
        [str(SCRIPT), *arguments], env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_run_sh_without_a_gpu(tmp_path):
    run = run_script(tmp_path, "#!/bin/sh\nexit 9\n")
    assert run.returncode == 2
    assert run.stderr == "benchmarks/gpu/run.sh needs an NVIDIA GPU and its driver; nvidia-smi finds none here.\n"
    assert not (tmp_path / "calls").exists()


@pytest.mark.parametrize(("tests", "table", "status"), [("0", "0", 0), ("1", "0", 1), ("0", "1", 1)])
def test_run_sh_in_order(tmp_path, tests, table, status):
    run = run_script(tmp_path, SMI, "--profile", "quick", TESTS=tests, TABLE=table)
    assert run.returncode == status, run.stderr
    assert "The driver supports CUDA 12." in run.stdout
    calls = Path(tmp_path / "calls").read_text(encoding="utf-8").splitlines()
    wanted = [
        "setup.py",
        "-c",
        "doctor",
        "pytest -q -m gpu",
        "default_model",
        "build-trt some-model",
        "-m benchmarks.gpu",
    ]
    at = [next(i for i, call in enumerate(calls) if part in call) for part in wanted]
    assert at == sorted(at)
    assert calls[-1] == "-m benchmarks.gpu --profile quick"
