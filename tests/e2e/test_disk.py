"""A folder that can't be written, and a disk that fills up in the middle of a run."""

from __future__ import annotations

import errno
import json
import resource
import signal
from pathlib import Path

import av
import numpy as np
import pytest

from engine import results as report
from engine.errors import OutputError
from engine.files.folders import Folder
from tests.e2e.runs import cli, clip, ended, engine_threads, fake_engine, frames_in, left_over, rows, statuses

pytestmark = pytest.mark.timeout(60)


@pytest.mark.parametrize(
    ("made", "below"),
    [("file", ""), ("file", "deeper/still"), ("proc", ""), ("long", "")],
    ids=["a file is there", "a file is above", "no folder can be made", "a name too long"],
)
def test_an_output_folder_that_cannot_be_made(tmp_path: Path, made: str, below: str) -> None:
    place = {"file": tmp_path / "taken", "proc": Path("/proc/out"), "long": tmp_path / ("x" * 300)}[made]
    (tmp_path / "taken").write_text("mine")
    source = clip(tmp_path / "a.mp4", 5)
    with pytest.raises(OutputError, match="can't be written: "):
        fake_engine().run([source], place / below)
    assert (tmp_path / "taken").read_text() == "mine"
    status, _, errors = ended(cli("run", source, "--backend", "fake", "-o", place / below))
    assert status == 2
    assert errors.startswith("Error: Output folder")
    assert len(errors.splitlines()) == 1


def _noisy(path: Path, frames: int) -> Path:
    """A clip whose annotated video is large."""
    chance = np.random.default_rng(1)
    with av.open(str(path), "w") as output:
        stream = output.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 320, 240, "yuv420p", 20_000_000
        for _ in range(frames):
            image = chance.integers(0, 256, (240, 320, 3), np.uint8)
            image[10:60, 10:60] = 255
            output.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        output.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("limit", [1_000, 40_000, 100_000, 300_000])
def test_a_file_that_cannot_grow(tmp_path: Path, limit: int) -> None:
    """The size limit of a process fails like a full disk, at any byte: no half file gets a final name."""
    big, small = _noisy(tmp_path / "big.mp4", 20), clip(tmp_path / "small.mp4", 8)
    output = tmp_path / "out"

    def limited() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    arguments = ["run", big, small, "--backend", "fake", "--visualize", "--json", "-o", output]
    status, out, errors = ended(cli(*arguments, preexec_fn=limited))
    assert status == 1, errors
    summary = json.loads(out.splitlines()[-1])
    assert statuses(summary)["big.mp4"] == "failed"
    assert "can't be written: file too large" in summary["videos"][0]["error"]
    assert summary["videos"][0]["outputs"] == {}
    assert not list(output.glob("big.*"))
    assert left_over(output) == []
    if limit > 1_000:
        assert statuses(summary)["small.mp4"] == "ok"
        assert frames_in(output / "small.mp4") == 8
        assert rows(output / "small.tracks.jsonl")
        assert (output / "manifest.json").exists()
    else:
        assert "manifest.json can't be written" in summary["error"]
        assert "manifest.json can't be written" in errors
        assert not summary["success"]


def test_a_full_disk(tmp_path: Path, small_disk: Path) -> None:
    big, small = _noisy(tmp_path / "big.mp4", 20), clip(tmp_path / "small.mp4", 8)
    summary = fake_engine(visualize=True, streams=1).run([big, small], small_disk)
    assert statuses(summary) == {"big.mp4": "failed", "small.mp4": "ok"}
    assert "no space left on the disk" in summary["videos"][0]["error"]
    assert left_over(small_disk) == []
    assert not list(small_disk.glob("big.*"))
    assert engine_threads() == []


@pytest.mark.parametrize("intermediate", [True, False])
@pytest.mark.parametrize("in_memory", [1, 10_000])
def test_rows_on_a_full_disk(tmp_path: Path, small_disk: Path, intermediate: bool, in_memory: int) -> None:
    (small_disk / "filler").write_bytes(bytes(240 * 1024))
    source = clip(tmp_path / "long.mp4", 300)
    summary = fake_engine(save_intermediate_results=intermediate, max_detections_in_memory=in_memory).run(
        [source], small_disk
    )
    assert statuses(summary) == {"long.mp4": "failed"}
    assert "no space left on the disk" in summary["videos"][0]["error"]
    assert {path.name for path in small_disk.iterdir()} <= {"filler", "manifest.json"}


def test_a_manifest_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was done is told all the same."""
    source = clip(tmp_path / "a.mp4", 5)
    (tmp_path / "out" / "manifest.json").mkdir(parents=True)
    summary = fake_engine().run([source], tmp_path / "out")
    assert statuses(summary) == {"a.mp4": "ok"}
    assert not summary["success"]
    assert "manifest.json can't be written" in summary["error"]
    assert left_over(tmp_path / "out") == []

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with Folder.at(tmp_path) as folder, pytest.raises(OutputError, match="no space left on the disk"):
        report.write_json(folder, "x.json", {})
    assert not (tmp_path / "x.json").exists()
    assert left_over(tmp_path) == []
