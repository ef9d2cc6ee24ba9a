"""The report tells of the tracks as they are now: after `retrack` and `import`, too."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from engine.cli.group import commands
from engine.clips import ClipSettings, cut_clips
from engine.finished import FinishedRun
from engine.output_folder.remade import read_remade
from tests.e2e.runs import clip, fake_engine

pytestmark = pytest.mark.timeout(60)


def cli(*arguments: object) -> str:
    done = CliRunner().invoke(commands, list(map(str, arguments)), standalone_mode=False)
    assert done.return_value == 0, (done.output, done.exception)
    return done.output


def page(out: Path) -> str:
    """The text of a report that is written now."""
    cli("report", out)
    return re.sub(r"<[^>]+>", " ", (out / "report.html").read_text(encoding="utf-8"))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    for name in ("a", "sub/b"):
        clip(tmp_path / "in" / f"{name}.mp4", 20)
    with fake_engine(store_conf=0.1, crops=True, max_age=7) as engine:
        assert engine.run([tmp_path / "in"], tmp_path / "out")["success"]
    return tmp_path / "out"


def test_the_thresholds_are_those_of_the_tracks(out: Path) -> None:
    before = page(out)
    assert "score below 0.25 were not" in before
    assert re.search(r"max_age\s+7\b", before)
    assert "not those of the run" not in before
    cli("retrack", out, "--tracker", "bytetrack", "--conf", "0.4", "--stitch")
    after = page(out)
    assert "made again from its detections (`retrack`): bytetrack, conf 0.4, fragments joined." in after
    assert "score below 0.4 were not" in after
    assert not re.search(r"max_age\s+7\b", after)
    assert re.search(r"tracker\s+bytetrack", after)


def test_of_some_videos_only(out: Path) -> None:
    """Whether the folder or the file below it was named; what was made again before is told still."""
    cli("retrack", out / "sub" / "b.detections.bin", "--conf", "0.5")
    text = page(out)
    assert "The tracks of sub/b.mp4 are not those of the run" in text
    assert "score below 0.25 were not" in text
    cli("retrack", out / "a.detections.bin", "--conf", "0.5")
    text = page(out)
    assert "The tracks are not those of the run" in text
    assert "score below 0.5 were not" in text


def test_another_run_has_its_own_again(tmp_path: Path, out: Path) -> None:
    cli("retrack", out, "--conf", "0.5")
    with fake_engine(store_conf=0.1, report=True) as engine:
        engine.run([tmp_path / "in"], out)
    text = re.sub(r"<[^>]+>", " ", (out / "report.html").read_text(encoding="utf-8"))
    assert "not those of the run" not in text
    assert "not those of the run" not in page(out)
    assert (out / "retrack.json").exists()


def test_before_a_job_has_written_its_manifest_a_note_says_nothing(out: Path) -> None:
    """Its page is written first, beside the manifest of the run before."""
    cli("retrack", out, "--conf", "0.5")
    manifest = json.loads((out / "manifest.json").read_text())
    assert read_remade(out, manifest).keys() == {"a", "sub/b"}
    assert read_remade(out, {**manifest, "started_at": "2031-01-01T00:00:00+00:00"}) == {}
    assert read_remade(out, {**manifest, "job": "another"}) == {}


def test_a_folder_that_was_moved(tmp_path: Path, out: Path) -> None:
    cli("retrack", out, "--conf", "0.5")
    shutil.move(out, tmp_path / "elsewhere")
    assert "score below 0.5 were not" in page(tmp_path / "elsewhere")


@pytest.mark.parametrize(
    "damage",
    [
        lambda note: "",
        lambda note: "[]",
        lambda note: json.dumps({**note, "videos": None}),
        lambda note: json.dumps({**note, "videos": [1]}),
        lambda note: json.dumps({**note, "videos": [{"stem": "a", "made_with": {"conf": 7}, "stitched": 0}]}),
        lambda note: json.dumps({**note, "videos": [{"stem": "a", "made_with": {"model": "x"}, "stitched": 0}]}),
        lambda note: json.dumps({key: value for key, value in note.items() if key != "manifest_sha256"}),
    ],
)
def test_a_note_that_is_none_says_nothing(out: Path, damage: Any) -> None:
    cli("retrack", out, "--conf", "0.5")
    (out / "retrack.json").write_text(damage(json.loads((out / "retrack.json").read_text())))
    assert "not those of the run" not in page(out)


def test_corrected_tracks_are_told(tmp_path: Path, out: Path) -> None:
    (tmp_path / "mended.txt").write_text("1,7,1,1,9,9,1,1,1\n")
    cli("import", out, tmp_path / "mended.txt", "--video", "sub/b.mp4")
    assert "A person has corrected the tracks of sub/b.mp4 (`import`)." in page(out)


def test_what_is_empty_is_asked_of_the_rows(out: Path) -> None:
    """Not of the manifest, which counted the run's own tracks."""
    cut_clips(FinishedRun.load(out), ClipSettings())
    text = (out / "clips" / "empty.txt").read_text()
    assert "a.mp4" not in text
    assert "scores from 0.25, tracker sort" in text
    cli("retrack", out, "--conf", "0.95")
    cut_clips(FinishedRun.load(out), ClipSettings())
    text = (out / "clips" / "empty.txt").read_text()
    assert "\na.mp4\t" in text
    assert "scores from 0.95, tracker sort" in text
