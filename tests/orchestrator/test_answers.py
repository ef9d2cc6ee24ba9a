"""A job with a scene counts what a run counts: the same bytes, also after its workers were killed."""

import json
import random

import pytest

from engine.analytics.tables import COLUMNS
from orchestrator.client.submit_cli import submit
from orchestrator.errors import PathRefused
from orchestrator.job import outcomes
from orchestrator.job.paths import scene_tables
from orchestrator.settings import Settings
from orchestrator.worker import steps as jobs
from tests.chaos.farm import CONFIG, Farm
from tests.e2e.runs import clip, fake_engine, frames_in
from tests.e2e.test_answers import SCENE
from tests.e2e.test_sequences import cut_in_five, whole  # noqa: F401 - a fixture
from tests.engine.after.receivers import Receiver
from tests.waiting import until

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning"),
]


def bytes_of(folder):
    return {name: (folder / f"{name}.csv").read_bytes() for name in COLUMNS}


def frames_done(job):
    return [video.frames for told in job.progress() for video in told.videos]


def test_a_killed_job_gives_the_bytes_of_a_run(tmp_path, capsys):
    scene = tmp_path / "scene.toml"
    scene.write_text(SCENE)
    keys = {**CONFIG, "visualize": False, "camera": "folder", "scene": str(scene)}
    with Farm(tmp_path / "f", CHAOS_DELAY_S="0.005", YOLO_LEASE_S="3") as farm:
        farm.clips(3, frames=150)
        with fake_engine(**keys) as engine:
            expected = engine.run([farm.videos], tmp_path / "run")
        job = farm.submit(**{key: keys[key] for key in ("visualize", "camera", "scene")}, report=None)
        assert job.config["scene"][0]["line"][0]["name"] == "mid", "workers need not see the file"
        scene.unlink()
        moments = random.Random(0)
        for _ in range(3):
            worker = farm.worker()
            frames = moments.randint(1, 120)
            until(lambda: job.ended or max(frames_done(job), default=0) >= frames, 90, farm.tail)  # noqa: B023
            if job.ended:  # a slow machine may have done it all by then
                break
            farm.kill(worker)
        if not farm.workers:
            farm.worker()
        record = farm.wait(job)
        summary = record.result.to_json()["processing_result"]
        assert record.state == "completed", summary
        assert bytes_of(job.output) == bytes_of(tmp_path / "run")
        assert summary["answers"]["cameras"] == expected["answers"]["cameras"]
        (camera,) = expected["answers"]["cameras"]
        assert summary["totals"]["tracks"] == expected["totals"]["tracks"] == camera["ids"]
        until((job.output / "manifest.json").exists, 60)
        manifest = json.loads((job.output / "manifest.json").read_text())
        assert manifest["answers"] == summary["answers"]
        assert manifest["videos"][0]["clock"]["origin"] == "none"
        page = job.output / "report.html"
        assert summary["report"] == manifest["report"] == str(page)
        assert job.id in page.read_text(encoding="utf-8")
        with pytest.raises(SystemExit):
            submit(["--status", job.id], standalone_mode=True)
        shown = capsys.readouterr().out
        assert "left half" in shown
        assert str(page) in shown
        assert "tracks.csv" in shown


def started(folder, only=None, **config):
    """The start record of a job over one clip, `cam1/a.mp4`."""
    video = clip(folder / "videos" / "cam1" / "a.mp4", 5)
    settings = Settings(state_dir=folder / "state")
    keys = {"backend": "fake", "visualize": False, **config}
    names = None if only is None else [str(video)]
    job = jobs.begin(str(folder / "videos"), keys, settings, output=str(folder / "out"), only=names)
    return job, jobs.start(job, jobs.Context("w@here", settings))


LINE = {"name": "a", "points": [[0, 0], [1, 1]]}


@pytest.mark.parametrize(
    ("config", "refused"),
    [
        ({"scene": [{"camera": "cam1/**", "line": [LINE]}]}, None),
        ({"scene": [{"camera": "cam7/**", "line": [LINE]}]}, "No scene is for any of the videos"),
        ({"scene": [{"line": [{**LINE, "classes": ["dog"]}]}]}, "classes of the line 'a' of a scene must be names"),
        ({"scene": [{"line": [LINE]}], "clips": {"places": ["b"]}}, "There is no line or zone 'b'"),
        ({"clips": {"classes": ["square"]}}, None),
        ({"clips": {"classes": ["dog"]}}, "No class 'dog' is looked for in these videos"),
    ],
)
def test_a_job_that_asks_for_what_can_not_be_is_refused_at_its_start(tmp_path, config, refused):
    job, record = started(tmp_path, **config)
    if refused is None:
        assert record.model.classes == ("square",)
        assert outcomes.build_manifest(job, outcomes.summarise(job))["classes"] == ["square"]
    assert (refused or "") in (record.refused or "")
    assert (record.refused is None) == (refused is None)


def test_of_a_watched_folder_the_next_videos_may_be_those_of_a_scene(tmp_path):
    _, record = started(tmp_path, only=True, scene=[{"camera": "cam7/**", "line": [LINE]}])
    assert record.refused is None
    (warning,) = [each for each in record.warnings if "scene" in each]
    assert warning.startswith("No scene is for any of the videos")


def test_a_sequence_in_a_job_is_that_of_a_run(tmp_path, whole):  # noqa: F811
    """Files of a camera are leased in order, by whichever worker, and their tracker goes on."""
    scene = tmp_path / "scene.toml"
    scene.write_text(SCENE)
    keys = {"visualize": False, "camera": "folder", "scene": str(scene), "max_age": 5}
    with Farm(tmp_path / "f", CHAOS_DELAY_S="0.02", YOLO_LEASE_S="3") as farm:
        for camera in ("north", "south"):
            cut_in_five(whole, farm.videos / camera, own_clock=True)
        with fake_engine(**{**CONFIG, **keys}) as engine:
            expected = engine.run([farm.videos], tmp_path / "run")
        assert [video["sequence"]["joined"] for video in expected["videos"][:3]] == [False, True, True]
        job = farm.submit(workers=2, **keys)
        worker = farm.worker()
        until(lambda: len(job.done_indices()) >= 2, 60, farm.tail)
        farm.kill(worker)
        for _ in range(2):
            farm.worker()
        record = farm.wait(job)
        assert record.state == "completed", record.result.to_json()["processing_result"]
        assert bytes_of(job.output) == bytes_of(tmp_path / "run")
        for video in expected["videos"]:
            name = f"{video['stem']}.tracks.jsonl"
            assert (job.output / name).read_bytes() == (tmp_path / "run" / name).read_bytes()


def test_scenes_of_a_job_are_read_where_it_is_made(tmp_path):
    inside, outside = tmp_path / "videos", tmp_path / "elsewhere"
    for folder in (inside, outside):
        folder.mkdir()
        (folder / "scene.toml").write_text(SCENE)
    settings = Settings(video_roots=(inside,))
    assert len(scene_tables((inside,), settings)) == 1
    assert scene_tables((inside / "scene.toml", {"camera": "x"}), settings)[1] == {"camera": "x"}
    with pytest.raises(PathRefused, match="is not below YOLO_VIDEO_ROOTS"):
        scene_tables((outside / "scene.toml",), settings)
    (inside / "bad.toml").write_text("secret = ")
    with pytest.raises(PathRefused, match="is not TOML") as told:
        scene_tables((inside / "bad.toml",), settings)
    assert "secret" not in str(told.value)
    with pytest.raises(PathRefused, match="is not a scene file"):
        scene_tables((inside / "none.toml",), settings)


def test_a_job_cuts_clips_and_exports_at_its_end(tmp_path, capsys):
    """In the process that opens media, below the folders that are allowed; its table of how comes with the message."""
    keys = {"visualize": False, "clips": {"kinds": ["track"], "pre_s": 0, "post_s": "0s"}, "export": ["cvat", "mot"]}
    with Farm(tmp_path / "f") as farm:
        farm.clips(2, frames=30)
        job = farm.submit(**keys)
        farm.worker()
        record = farm.wait(job)
        summary = record.result.to_json()["processing_result"]
        assert record.state == "completed", summary
        until((job.output / "manifest.json").exists, 20)
        clips = json.loads((job.output / "manifest.json").read_text())["clips"]
        assert clips == summary["clips"]
        assert len(clips["clips"]) >= 2
        assert not clips["failed"]
        for each in clips["clips"]:
            assert frames_in(each["clip"]) == each["last_frame"] - each["first_frame"] + 1
        assert (job.output / "clips" / "empty.txt").exists()
        assert [each["format"] for each in summary["exports"]["exports"]] == ["cvat", "mot"]
        assert len(list((job.output / "export" / "cvat").glob("*.xml"))) == 2


def test_a_job_tells_the_receivers_of_its_workers_settings(tmp_path):
    """One that is down half of the time gets all, and the summary says so."""
    with Receiver(lambda number: 200 if number % 2 else 503) as receiver:
        (tmp_path / "settings.toml").write_text(f'on_event = ["{receiver.url}"]\n')
        with Farm(tmp_path / "f", YOLO_SETTINGS=str(tmp_path / "settings.toml")) as farm:
            farm.clips(2, frames=30)
            job = farm.submit(visualize=False)
            farm.worker()
            record = farm.wait(job)
            summary = record.result.summary.to_json()
            assert record.state == "completed", summary
        (line,) = summary["alarms"]
        assert line["target"] == receiver.url
        assert line["sent"] == len(receiver.events) >= 2
        assert line["given_up"] == 0
        assert {event["kind"] for event in receiver.events} == {"track"}
