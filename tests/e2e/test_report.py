"""The report of a real run, and of a run that asks for none."""

import json
import os
import sys

import pytest
from click.testing import CliRunner

from engine.cli.group import commands
from tests.e2e.runs import clip, fake_engine
from tests.engine.report.handmade import SCENE
from tests.engine.report.test_pages import Page


@pytest.fixture
def videos(tmp_path):
    clip(tmp_path / "in" / "cam" / "a_20240101_120000.mp4", 40, codec="libx264")
    (tmp_path / "in" / "broken.mp4").write_bytes(b"no video")
    return tmp_path / "in"


def test_a_run_writes_it_where_asked(tmp_path, videos):
    with fake_engine(scene=(SCENE,), report=True, visualize=True, report_language="es") as engine:
        summary = engine.run([videos], tmp_path / "out")
    assert summary["report"] == str(tmp_path / "out" / "report.html")
    found = Page(tmp_path / "out" / "report.html")
    assert found.named("html") == [{"lang": "es"}]
    assert "broken.mp4" in found.text
    island = next(each for each in found.islands if each["tracks"])
    assert island["videos"][0]["src"] == "cam/a_20240101_120000.mp4"
    assert island["zero"] == 1704110400000
    assert found.named("img")[0]["src"].startswith("data:image/jpeg;base64,")
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["verdict"], "a report says where the time went"
    # Afterwards it is the same page.
    before = (tmp_path / "out" / "report.html").read_bytes()
    result = CliRunner().invoke(commands, ["report", str(tmp_path / "out")], standalone_mode=False)
    assert result.exception is None
    assert (tmp_path / "out" / "report.html").read_bytes() == before


opened_files: list[str] | None = None


@sys.addaudithook  # none can be taken away again
def _note(event, arguments):
    if opened_files is not None and event == "open" and arguments[2] & os.O_ACCMODE == os.O_RDONLY:
        opened_files.append(str(arguments[0]))


# Where a clip begins is looked for in the rows once more.
@pytest.mark.parametrize(("clips", "times"), [(None, 1), ({"kinds": ["track"]}, 2)])
def test_tables_clips_and_report_come_of_one_look_at_the_rows(tmp_path, videos, monkeypatch, clips, times):
    monkeypatch.setattr(sys.modules[__name__], "opened_files", [])
    with fake_engine(scene=(SCENE,), report=True, heatmap=True, clips=clips) as engine:
        summary = engine.run([videos], tmp_path / "out")
    assert summary["answers"]["tables"]["heatmap.json"]
    assert ("clips" in summary) == (clips is not None)
    assert summary["report"]
    assert sum(path.endswith(".tracks.jsonl") for path in opened_files) == times


def test_what_a_run_hides_its_report_does_not_show(tmp_path, videos):
    """The picture of where they went is of the annotated video, else there is none: the source shows all."""
    with fake_engine(report=True, visualize=True, blur=["square"]) as engine:
        engine.run([videos / "cam"], tmp_path / "out")
    page = tmp_path / "out" / "report.html"
    assert Page(page).named("img")
    (annotated,) = (tmp_path / "out").rglob("*.mp4")
    annotated.unlink()
    result = CliRunner().invoke(commands, ["report", str(tmp_path / "out")], standalone_mode=False)
    assert result.exception is None
    assert not Page(page).named("img")


def test_a_run_writes_none_unasked(tmp_path, videos):
    with fake_engine() as engine:
        summary = engine.run([videos], tmp_path / "out")
    assert "report" not in summary
    assert not (tmp_path / "out" / "report.html").exists()


def test_a_report_that_can_not_be_written_is_an_error_of_the_run(tmp_path, videos):
    (tmp_path / "out" / "report.html").mkdir(parents=True)
    with fake_engine(report=True) as engine:
        summary = engine.run([videos / "cam"], tmp_path / "out")
    assert summary["success"] is False
    assert "report.html can't be written" in summary["error"]
    assert summary["videos"][0]["status"] == "ok"
    assert (tmp_path / "out" / "manifest.json").exists()
