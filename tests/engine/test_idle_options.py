"""An option that does nothing beside the others is refused before any work is done."""

import pytest

from tests.engine.after.finished_runs import Life, finished, frames_of
from tests.engine.conftest import write_clip

RUN = ("run", "a.mp4", "--backend", "fake")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((*RUN, "--no-visualize", "--trail", "3"), "--trail does nothing here: it applies to annotated videos"),
        ((*RUN, "--no-visualize", "--line-width", "3"), "--line-width does nothing here"),
        ((*RUN, "--no-visualize", "--label-size", "12"), "--label-size does nothing here"),
        ((*RUN, "--no-visualize", "--label", "id"), "--label does nothing here"),
        ((*RUN, "--no-visualize", "--colour-by", "class"), "--colour-by does nothing here"),
        ((*RUN, "--label", "none", "--label-size", "12"), "--label-size does nothing here: it applies to labels"),
        (
            (*RUN, "--blur", "square", "--only-blur", "--trail", "1"),
            "it applies to what is drawn, and with only_blur nothing",
        ),
        ((*RUN, "--blur-style", "fill"), "--blur-style does nothing here: it goes with --blur"),
        ((*RUN, "--report-language", "es"), "--report-language does nothing here: it applies to the report"),
        ((*RUN, "--report", "--no-report", "--report-language", "es"), "--report-language does nothing here"),
        ((*RUN, "--bin", "1h"), "--bin does nothing here: it applies to counts"),
        ((*RUN, "--fill", "both"), "--fill does nothing here: it applies to the frames between two inferences"),
        ((*RUN, "--event-kinds", "track"), "--event-kinds does nothing here: it goes with --on-event"),
        ((*RUN, "--loiter", "30s"), "--loiter does nothing here: it goes with --on-event"),
        ((*RUN, "--segment", "90s"), "--segment does nothing here: it applies to live sources"),
        ((*RUN, "--full-every", "3"), "--full-every does nothing here: it applies to the gate: add --gate motion"),
        ((*RUN, "--gate", "off", "--gate-target", "0.9"), "--gate-target does nothing here: it applies to the gate"),
        (
            ("run", "rtsp://camera/a", "udp://@:5000", "--backend", "fake", "--gate", "motion"),
            "--gate does nothing here: it applies to files, and every frame of a live source is inferred",
        ),
        (
            ("run", "rtsp://camera/a", "--backend", "fake", "--scan"),
            "--scan does nothing here: it reads a file twice, and a URL is read once, as it comes",
        ),
        (("verify", "a.mp4", "--batch", "2"), "--batch does nothing here: it is varied by verify itself"),
        (("verify", "a.mp4", "--against", "b"), "--against does nothing here: it is for --precision bf16 or int8"),
        (("verify", "a.mp4", "--precision", "bf16", "--with", "b.mp4"), "--with does nothing here"),
        (
            ("export", "out", "--to", "cvat", "--every", "5"),
            "--every does nothing here: it applies to data sets of images",
        ),
        (("export", "out", "--to", "cvat", "--every", "1"), "--every does nothing here"),
        (("export", "out", "--to", "cvat", "--images"), "--images does nothing here: it applies to mot, coco and yolo"),
        (
            ("export", "out", "--to", "coco", "--max-error", "5"),
            "--max-error does nothing here: it applies to key frames",
        ),
        (("export", "out", "--to", "coco", "--job-frames", "5"), "--job-frames does nothing here: it applies to jobs"),
        (
            ("export", "out", "--to", "cvat", "--job-overlap", "5"),
            "--job-overlap does nothing here: it goes with --job-",
        ),
        (("export", "out", "--to", "coco", "--source", "x"), "--source does nothing here"),
        (("find", "out", "--direction", "in"), "--direction does nothing here: it applies to crossings"),
        (("find", "out", "--direction", "in", "--zone", "a", "--line", "b"), "--direction does nothing here"),
        (("find", "out", "--overwrite"), "--overwrite does nothing here: it goes with --crops"),
        (("bench", "--profile", "full", "report"), "--profile does nothing here: it applies to measurements"),
    ],
)
def test_it_is_refused(run, arguments, message):
    done = run(*arguments)
    assert (done.status, done.out) == (2, "")
    assert message in done.err


def test_render_draws_what_the_run_lets_be_drawn(run, tmp_path):
    clip = write_clip(tmp_path / "a.mp4")
    done = run("run", clip, "--backend", "fake", "-o", tmp_path / "out", "--blur", "square", "--only-blur")
    assert done.status == 0, done.err
    done = run("render", tmp_path / "out", "--trail", "2")
    assert done.status == 2
    assert "--trail does nothing here: it applies to what is drawn" in done.err


LINE = '[[line]]\nname = "a"\npoints = [[0, 0], [1, 1]]\n'
ZONE = '[[zone]]\nname = "b"\npolygon = [[0, 0], [1, 0], [1, 1]]\n'


@pytest.mark.parametrize(
    ("scene", "options", "message"),
    [
        (None, ("--event-kinds", "crossing"), "kinds that the scene can give: track. Got 'crossing'"),
        (LINE, ("--event-kinds", "stay"), "kinds that the scene can give: crossing, track. Got 'stay'"),
        (ZONE, ("--event-kinds", "enter,loiter"), "Got 'loiter'"),
        (LINE, ("--loiter", "30s"), "for zones, with loiter among the --event-kinds"),
        (ZONE, ("--loiter", "30s", "--event-kinds", "stay"), "for zones, with loiter among the --event-kinds"),
        (ZONE, ("--loiter", "30s"), None),
        (ZONE + "loiter_s = 3\n", ("--event-kinds", "loiter"), None),
        (LINE, ("--event-kinds", "crossing,track"), None),
    ],
)
def test_kinds_of_events_that_the_scene_can_give(run, tmp_path, scene, options, message):
    clip = write_clip(tmp_path / "a.mp4")
    (tmp_path / "scene.toml").write_text(scene or "")
    given = ("--scene", tmp_path / "scene.toml") if scene else ()
    done = run("run", clip, "--backend", "fake", "-o", tmp_path / "out", "--on-event", "true", *given, *options)
    assert (done.status == 2, message or "") == (message is not None, message or "")
    assert (message or "") in " ".join(done.err.split())


def test_size_and_rate_are_of_files_of_rows(run, tmp_path):
    (tmp_path / "out").mkdir()
    done = run("analyze", tmp_path / "out", "--fps", 25)
    assert done.status == 2
    assert "--fps does nothing here: it applies to a file of rows" in done.err


def test_what_does_something_is_taken(run, tmp_path):
    clip = write_clip(tmp_path / "a.mp4")
    plain = ("run", clip, "--backend", "fake", "-o", tmp_path / "out")
    for arguments in (
        ("--trail", "3", "--label-size", "12", "--line-width", "2"),
        ("--no-visualize", "--trail", "0"),  # which asks for nothing
        ("--no-visualize", "--tables", "csv", "--bin", "1h"),
        ("--no-visualize", "--report", "--report-language", "es", "--bin", "1h"),
    ):
        done = run(*plain, *arguments)
        assert done.status == 0, done.err


def test_a_file_of_settings_may_hold_more_than_a_run_has_use_for(run, tmp_path):
    clip = write_clip(tmp_path / "a.mp4")
    (tmp_path / "c.toml").write_text('trail_s = 3\nblur_style = "fill"\nreport_language = "es"\nsegment = "90s"\n')
    done = run(
        "run", clip, "--backend", "fake", "--config", tmp_path / "c.toml", "--no-visualize", "-o", tmp_path / "out"
    )
    assert done.status == 0, done.err
    (tmp_path / "c.toml").write_text("visualize = false\n")
    done = run(
        "run", clip, "--backend", "fake", "--config", tmp_path / "c.toml", "--trail", "3", "-o", tmp_path / "out"
    )
    assert "--trail does nothing here" in done.err  # against what the file says, too


def test_keys_of_a_file_are_checked_where_few_of_them_count(run, tmp_path):
    clip = write_clip(tmp_path / "a.mp4")
    out = finished(tmp_path / "out", {clip: (frames_of(clip), [Life(0, 5)])})
    (tmp_path / "c.toml").write_text("bin_secs = 60\n")
    done = run("analyze", out, "--config", tmp_path / "c.toml")
    assert done.status == 2
    assert "Unknown key 'bin_secs'" in done.err
