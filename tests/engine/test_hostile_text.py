"""File names, errors of libraries and models' own words reach the terminal, the log and files as text and no more."""

import io
import json
import logging
import re
import sys
from pathlib import Path

import pytest
from rich.console import Console

from engine.cli import main as cli
from engine.cli.progress import ProgressBars, print_summary
from engine.files.folders import Folder
from engine.logs import JsonFormatter, TextFormatter
from engine.pipeline.stream import Progress
from engine.results import write_json
from tests.assets import ROOT
from tests.e2e.runs import clip
from tests.hostile_text import EVIL, assert_harmless
from tests.models.builders import save, yolox

NAME = EVIL.replace("/", "")


@pytest.fixture
def call(monkeypatch, capfd):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["yolo-engine", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capfd.readouterr()
        return ended.value.code, out, err

    return run


def record(message, *args, error=None):
    made = logging.getLogger("engine.x").makeRecord("engine.x", logging.WARNING, "", 1, message, args, None)
    if error is not None:
        made.exc_info = (type(error), error, None)
    return made


def test_a_line_of_a_log_is_one_line():
    shown = TextFormatter("%(levelname)s %(message)s").format(record("%s can't be opened", EVIL))
    assert "\n" not in shown
    assert_harmless(shown)
    assert r"[bold red]gpj[/bold red]\x9b31m\r\nERROR forged\udcff" in shown


def test_a_traceback_begins_no_other_line():
    shown = TextFormatter("%(levelname)s %(message)s").format(record("it failed", error=ValueError(EVIL)))
    assert_harmless(shown)
    assert all(line.startswith("  ") for line in shown.splitlines()[1:])


def test_an_endless_message_is_cut():
    assert len(TextFormatter().format(record("a" * 10**6))) < 5000


def test_json_of_a_log_keeps_the_text_and_shows_no_control_characters():
    shown = JsonFormatter().format(record("%s é 日本", EVIL))
    assert json.loads(shown)["message"] == f"{EVIL} é 日本"
    assert shown.isprintable()
    assert "é 日本" in shown


def test_json_files_keep_the_text_and_show_no_control_characters(tmp_path):
    with Folder.at(tmp_path) as folder:
        write_json(folder, "manifest.json", {"path": EVIL, "name": "é 日本"})
    text = (tmp_path / "manifest.json").read_text()
    assert json.loads(text) == {"path": EVIL, "name": "é 日本"}
    assert_harmless(text)
    assert "é 日本" in text


def summary(**facts):
    video = {
        "path": EVIL,
        "status": "failed",
        "error": EVIL,
        "frames": 1,
        "inferred_frames": 1,
        "detections": 1,
        "tracks": 1,
        "tracks_by_class": {EVIL: 1},
        "fps": 1.0,
        "outputs": {},
        "notes": [EVIL],
    }
    totals = {"videos": 1, "failed": 1, "partial": 0, "frames": 1, "elapsed_s": 1.0, "fps": 1.0, "tracks": 1}
    return {"videos": [video], "totals": totals, "model": {"name": EVIL}, "backend": {"provider": EVIL}, **facts}


@pytest.mark.parametrize("terminal", [True, False])
def test_the_summary(terminal):
    shown = io.StringIO()
    print_summary(Console(file=shown, force_terminal=terminal, width=2000), summary())
    assert_harmless(shown.getvalue())
    assert "[bold red]gpj[/bold red]" in shown.getvalue()


def test_the_bars():
    shown = io.StringIO()
    bars = ProgressBars(Console(file=shown, force_terminal=True, width=300, legacy_windows=False))
    with bars as tick:
        tick([Progress(EVIL, 1, 2, 1.0)])
        bars.say(EVIL)
        tick([])
    # What the bars themselves do to the cursor is their own.
    rest = re.sub(r"\x1b\[\??[0-9;]*[A-Za-z]", "", shown.getvalue()).replace("\r", "")
    assert_harmless(rest)
    assert "owned" in rest
    assert "\x1b[2J" not in shown.getvalue()


def test_a_video_of_that_name(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path(NAME + ".mp4").write_bytes(b"no video")
    for arguments in (
        ["run", "."],
        ["run", NAME + ".mp4"],
        ["run", NAME],
        ["verify", NAME + ".mp4"],
        ["models", "info", NAME],
    ):
        code, out, err = call(*arguments)
        assert code != 0
        assert_harmless(out + err)
    assert_harmless((tmp_path / "output_videos" / "manifest.json").read_text())


@pytest.mark.parametrize(
    "arguments",
    [("--" + EVIL,), ("run", "--" + EVIL), (EVIL,), ("run", "a", "--layout", EVIL), ("models", "pull", EVIL)],
)
def test_arguments_that_a_pattern_of_the_shell_made(call, arguments):
    code, out, err = call(*arguments)
    assert code == 2
    assert_harmless(out + err)


@pytest.mark.parametrize(
    ("side_car", "names", "operator"),
    [
        ({}, [EVIL[:-1], "b"], "Conv"),
        ({"licence": EVIL[:-1], "description": EVIL[:-1]}, ["a", "b"], "Conv"),
        ({EVIL[:-1]: 1}, ["a", "b"], "Conv"),
        ({"layout": EVIL[:-1]}, ["a", "b"], "Conv"),
        ({}, ["a", "b"], EVIL[:-1]),
    ],
    ids=["class names", "side-car's texts", "side-car's key", "side-car's value", "operator"],
)
def test_what_a_model_says_of_itself(call, tmp_path, side_car, names, operator):
    """A side-car is TOML and an ONNX file holds UTF-8: no half characters."""
    model = yolox(metadata={"names": json.dumps(names), "yolo_engine.layout": "yolox"})
    model.graph.node[0].op_type = operator if operator != "Conv" else model.graph.node[0].op_type
    save(model, tmp_path / "m.onnx")
    (tmp_path / "m.toml").write_text("".join(f"{json.dumps(k)} = {json.dumps(v)}\n" for k, v in side_car.items()))
    clip(tmp_path / "a.mp4", 3)
    output = ("-o", tmp_path / "out", "--no-visualize", "--device", "cpu")
    for arguments in (
        ["models", "info", tmp_path / "m.onnx"],
        ["run", tmp_path / "a.mp4", "--model", tmp_path / "m.onnx", *output],
    ):
        _, out, err = call(*arguments)
        assert_harmless(out + err)
        assert out + err
    for path in (tmp_path / "out").glob("*.*"):
        assert_harmless(path.read_text())


def test_nothing_else_speaks_to_people():
    """One function writes for people, click.echo only what programs read."""
    for folder in ("engine", "orchestrator", "models"):
        for path in (ROOT / folder).rglob("*.py"):
            text = path.read_text()
            if path.name == "say.py" or "train" in path.parts:
                continue
            for found in re.finditer(r"click\.(echo|secho)\(\s*(\S*)|(?<![.\w])(?<!def )print\(", text):
                assert (found[2] or "").startswith("json.dumps("), f"{path}: {text[found.start() : found.start() + 80]}"
