"""What a person sees: on a terminal, in a pipe, and with names that are no plain text."""

import io
import re

import pytest
from rich.console import Console

from engine.cli.console import screen
from engine.cli.progress import ProgressBars, print_summary
from engine.pipeline.stream import Progress
from engine.pipeline.total import Total


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


@pytest.mark.parametrize("status", ["failed", "cancelled", "not begun"])
def test_what_was_not_examined_has_no_numbers(status):
    """A 0 would say that somebody looked, and found nothing."""
    nothing = {"frames": 0, "fps": 0.0, "tracks_by_class": {}}
    empty = video("empty.mp4", tracks_by_class={})
    text = shown(summary(video("b.mp4", status, "why", **nothing), empty)).splitlines()
    assert text[1].removeprefix("b.mp4").replace(status, "").split() == ["-", "-", "-", "why"]
    assert text[2].split() == ["empty.mp4", "ok", "1,341", "162", "0"]


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
    assert [line for line in lines if line != line.rstrip()] == [], "no line is filled up to the longest"


def test_output_that_is_closed_takes_everything(monkeypatch):
    """As behind `>&-`: Python has no file then."""
    monkeypatch.setattr("sys.stdout", None)
    print_summary(screen(), summary(video("a.mp4")))
    monkeypatch.setattr("sys.stderr", None)
    screen(stderr=True).print("something")


STREAMS = [Progress("videos/a.mp4", 50, 100, 2.0), Progress("rtsp://camera/1", 7, None, 0.0)]


def test_nothing_is_printed_at_first_where_there_is_no_terminal():
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
        if terminal:
            bars.bars.refresh()
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
        (task,) = bars.bars.tasks
        assert (task.total, task.fields["of"]) == (None, "?")
        tick([Progress("a[/].mp4", 500, 1200, 2.0), STREAMS[1]])
        assert (task.total, task.completed, task.fields["of"], task.fields["fps"]) == (1200, 500, "1,200", 250)
        assert len(bars.bars.tasks) == 2
        bars.bars.refresh()
        tick([STREAMS[1]])  # a video that is done leaves
        assert len(bars.bars.tasks) == 1
    text = console.file.getvalue()
    assert "500/1,200 frames" in text
    assert "a[/].mp4" in text
    assert "7/? frames" in text


WHOLE = Total(
    videos=1200, done=345, frames=1_234_567, frames_total=8_234_567, fps=1225.4, elapsed_s=100.0, left_s=5725.0
)


def plain(console):
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", console.file.getvalue())


@pytest.mark.parametrize("width", [80, 120])
def test_the_whole_has_a_bar_and_nothing_breaks(width):
    console = Console(file=io.StringIO(), force_terminal=True, width=width)
    bars = ProgressBars(console, lambda _: WHOLE)
    with bars as tick:
        tick([Progress("videos/with/a/long/way/people.mp4", 123_450, 1_234_567, 100.0), STREAMS[1]])
        bars.bars.refresh()
        shown = [line.rstrip() for line in re.split(r"[\r\n]+", plain(console)) if line.strip()]
    whole, people, camera = shown[-3:]
    assert whole.startswith("345 of 1,200 videos ")
    assert whole.endswith("1,234,567/8,234,567 frames 1225 fps 1:35:25")
    assert "people.mp4 " in people
    assert people.endswith("123,450/1,234,567 frames   1234 fps 0:15:00")
    assert camera.endswith("7/? frames                 0 fps")
    assert max(map(len, shown)) <= width


def test_one_video_is_the_whole():
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    bars = ProgressBars(console, lambda _: Total(1, 0, 50, 100, 25.0, 2.0, 2.0))
    with bars as tick:
        tick(STREAMS[:1])
        assert len(bars.bars.tasks) == 1


def test_a_line_now_and_then_where_there_is_no_terminal():
    """After 5, 15, 35, 75 ... seconds, at most ten minutes apart."""
    console, clock = Console(file=io.StringIO(), width=20_000), [0.0]
    with ProgressBars(console, lambda _: WHOLE, lambda: clock[0]) as tick:
        for second in range(3601):
            clock[0] = float(second)
            tick(STREAMS)
    lines = console.file.getvalue().splitlines()
    assert len(lines) == 11
    assert all(
        re.fullmatch(r"\d\d:\d\d:\d\d 345 of 1,200 videos done, 1,234,567 frames, 1225 fps, 1:35:25 to go", line)
        for line in lines
    )


def test_sentences_end_between_words_on_a_terminal():
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    print_summary(console, summary(video()))
    words = "1 video (0 failed, 0 partial), 1,341 frames in 2.0 s = 670 fps, 72 tracks. Model"
    assert [line.rstrip() for line in plain(console).splitlines()[-2:]] == [
        words,
        "yolox-nano on CPUExecutionProvider.",
    ]


def test_segments_are_counted():
    assert "; 3 segments" in shown(summary(video(segments=[{}, {}, {}])), 140)
