"""What a person sees: on a terminal, in a pipe, and with names that are no plain text."""

import io
import re

import pytest
from rich.console import Console

from engine.cli.console import screen
from engine.cli.progress import ProgressBars, print_summary
from engine.pipeline.stream import Progress


def video(path="a.mp4", status="ok", error=None, **rest):
    counts = rest.pop("tracks_by_class", {"car": 2, "person": 70})
    return {
        "path": path, "status": status, "error": error, "frames": 1341, "fps": 162.4,
        "tracks": sum(counts.values()), "tracks_by_class": counts, **rest,
    }  # fmt: skip


def summary(*videos, model="yolox-nano"):
    return {
        "videos": list(videos),
        "totals": {
            "videos": len(videos),
            "failed": sum(v["status"] == "failed" for v in videos),
            "partial": sum(v["status"] == "partial" for v in videos),
            "frames": 1341,
            "tracks": 72,
            "elapsed_s": 2.0,
            "fps": 670.5,
        },
        "model": {"name": model},
        "backend": {"provider": "CPUExecutionProvider"},
    }


def shown(value, width=100):
    console = Console(file=io.StringIO(), width=width)
    print_summary(console, value)
    return console.file.getvalue()


def test_summary():
    lines = shown(summary(video())).splitlines()
    assert lines[0].split() == ["video", "status", "frames", "fps", "tracks", "result"]
    assert lines[1].split(None, 5) == ["a.mp4", "ok", "1,341", "162", "72", "70 person, 2 car"]
    assert lines[2] == (
        "1 video (0 failed, 0 partial), 1,341 frames in 2.0 s = 670 fps, 72 tracks. "
        "Model yolox-nano on CPUExecutionProvider."
    )


def test_how_many_objects():
    """Beside the number of tracks, where it is another."""
    lines = shown(summary(video(objects=[61, 70]), video("b.mp4", objects=[72, 72]), video("c.mp4", objects=[70, 70])))
    results = [line.split(None, 5)[5].rstrip() for line in lines.splitlines()[1:4]]
    assert results == ["70 person, 2 car; 61 to 70 objects", "70 person, 2 car", "70 person, 2 car; 70 objects"]


def test_reasons_and_notes():
    text = shown(
        summary(
            video("b.mp4", "failed", "is empty (zero bytes)", tracks_by_class={}),
            video("c.mp4", "partial", "ends early", notes=["audio left out"], tracks_by_class={"car": 1}),
        ),
        140,
    )
    assert "is empty (zero bytes)" in text
    assert "ends early; 1 car; audio left out" in text
    assert "2 videos (1 failed, 1 partial)" in text


@pytest.mark.parametrize("name", ["[red]", "[/]", "[/red] x", "a[0].mp4", "back\\slash\\"])
def test_brackets_are_no_markup(name):
    text = shown(
        summary(video(name, "failed", name, tracks_by_class={name: 1}, notes=[name]), model=name), 200
    )  # fmt: skip
    assert text.count(name) == 5


@pytest.mark.parametrize("name", ["bad \udcff.mp4", "two\nlines.mp4", "bell\a.mp4", "\x1b[31mred.mp4"])
def test_names_that_are_no_text(name):
    text = shown(summary(video(name, "failed", f"{name} can't be read")), 200)
    text.encode("utf-8")
    assert len(text.splitlines()) == 3
    assert "\x1b" not in text
    assert "\a" not in text


@pytest.mark.parametrize("width", [80, 140])
def test_a_long_path_takes_one_line_and_keeps_its_end(width):
    text = shown(summary(video("/some/very/long/way/to/the/folder/of/" + "x" * 100 + "/end.mp4")), width)
    lines = text.splitlines()
    assert "end.mp4" in lines[1]
    assert lines[1].startswith("…")
    assert all(len(line) <= width for line in lines[:-1])


def test_nothing_is_cut_where_there_is_no_terminal(capsys):
    long = "/".join(["a rather long folder"] * 10) + "/end.mp4"
    print_summary(screen(), summary(video(long, "failed", "reason " * 60)))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert long in lines[1]
    assert ("reason " * 60).strip() in lines[1]


STREAMS = [Progress("videos/a.mp4", 50, 100, 2.0), Progress("rtsp://camera/1", 7, None, 0.0)]


def test_nothing_is_printed_where_there_is_no_terminal():
    console = Console(file=io.StringIO())
    with ProgressBars(console) as tick:
        tick(STREAMS)
        tick([])
    assert console.file.getvalue() == ""


@pytest.mark.parametrize("terminal", [False, True])
def test_what_is_said_has_lines_of_its_own(terminal):
    console = Console(file=io.StringIO(), force_terminal=terminal, width=120)
    bars = ProgressBars(console)
    with bars as tick:
        tick(STREAMS)
        bars._bars.refresh()
        bars.say("Stopping [now].")
        tick(STREAMS)
        bars.say("At the end.")
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", console.file.getvalue())
    lines = [line.strip() for line in re.split(r"[\r\n]+", text)]
    assert [line for line in lines if line in ("Stopping [now].", "At the end.")] == ["Stopping [now].", "At the end."]
    if not terminal:
        assert text == "Stopping [now].\nAt the end.\n"


def test_bars_on_a_terminal():
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    bars = ProgressBars(console)
    with bars as tick:
        tick([Progress("a[/].mp4", 0, None, 0.0)])  # named before it is open
        (task,) = bars._bars.tasks
        assert (task.total, task.fields["of"]) == (None, "?")
        tick([Progress("a[/].mp4", 500, 1200, 2.0), STREAMS[1]])
        assert (task.total, task.completed, task.fields["of"], task.fields["fps"]) == (1200, 500, "1,200", 250)
        assert len(bars._bars.tasks) == 2
        bars._bars.refresh()
        tick([STREAMS[1]])  # a video that is done leaves
        assert len(bars._bars.tasks) == 1
    text = console.file.getvalue()
    assert "500/1,200 frames" in text
    assert "a[/].mp4" in text
    assert "7/? frames" in text
