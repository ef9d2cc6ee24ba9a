"""`make demo` in short: a job with a broker and a worker of its own, over a real video, by the bundled model."""

import json
import os
import subprocess
import sys

import pytest

from engine import Engine, EngineConfig
from engine.audit import ALL, Kind, audit
from orchestrator.engine_process.probe import model_facts
from tests.assets import ROOT, demo_video
from tests.e2e.damage import cut
from tests.e2e.reading import read

NOTE = "Model: street-nano (bundled, 6 classes: people and vehicles)."


@pytest.fixture
def submit(tmp_path):
    """Runs a job over a short video, where no model can be found or fetched."""
    (tmp_path / "videos").mkdir()
    cut(demo_video(), tmp_path / "videos" / "bikes.mp4", 40)
    given = {
        "PYTHONPATH": str(ROOT),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "YOLO_ENGINE_MODELS": str(tmp_path),
        "YOLO_STATE_DIR": str(tmp_path / "state"),
        "XDG_RUNTIME_DIR": "",
        "LC_ALL": "C.UTF-8",
    }
    unset = {"CELERY_BROKER_URL", "CELERY_RESULT_BACKEND", "YOLO_SETTINGS", "YOLO_VIDEO_ROOTS", "YOLO_OUTPUT_ROOTS"}
    environment = {key: value for key, value in os.environ.items() if key not in unset} | given
    command = [
        sys.executable,
        "-m",
        "orchestrator.client.submit_cli",
        "--embedded",
        "--video-folder",
        "videos",
        "-o",
        "out",
    ]

    def run(*options):
        return subprocess.run(
            [*command, *options], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100
        )

    return run


@pytest.mark.timeout(120)
def test_a_job_gives_what_a_run_gives(submit, tmp_path):
    done = submit()
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(NOTE) == done.stderr.count("street-nano") == 1
    assert "The job completed successfully" in done.stdout
    with Engine() as engine:
        (video,) = engine.run([tmp_path / "videos"], tmp_path / "plain")["videos"]
        assert f"Model street-nano on {engine.model.backend.provider}." in done.stdout
    assert video["frames"] == 40
    assert video["tracks"] > 0
    for name in ("bikes.tracks.jsonl", "bikes.mot.txt"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()
    assert read(tmp_path / "out" / "bikes.mp4").pts == read(tmp_path / "plain" / "bikes.mp4").pts
    (told,) = json.loads((tmp_path / "out" / "manifest.json").read_text())["videos"]
    assert (told["status"], told["frames"], told["tracks"]) == ("ok", 40, video["tracks"])
    assert not (tmp_path / "cache" / "yolo-engine").exists()
    audited = audit(tmp_path / "out", frames=ALL)
    assert audited.passed, audited.findings
    assert audited.files == 4, "three outputs and the report"
    (result,) = (tmp_path / "out").glob("celery_result_*.json")
    result.write_text(result.read_text().replace('"frames": 40', '"frames": 41'))
    (found,) = audit(tmp_path / "out", frames=0).findings
    assert (found.kind, found.file) == (Kind.MANIFEST, result.name)
    assert found.detail == "it differs from manifest.json in videos, totals"


@pytest.mark.parametrize(("classes", "refused"), [(["person"], False), (["person", "dog"], True)])
def test_a_job_with_classes_that_its_model_does_not_know_is_refused_at_its_start(classes, refused):
    told = model_facts(EngineConfig(classes=classes))
    assert told.name == "street-nano"
    assert ("yolo-engine models pull yolox-nano" in (told.error or "")) == refused
