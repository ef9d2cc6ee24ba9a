"""An environment without any extra and without ONNX Runtime: what works there all the same, and what tells how to get
what it lacks."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest

from tests.assets import ROOT
from tests.e2e.runs import clip
from tests.e2e.test_answers import SCENE, TABLES

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("onnxruntime") is not None, reason="ONNX Runtime is here: make test-bare does without"
)

OF_EXTRAS = (
    "cv2 duckdb matplotlib obstore openvino paho prometheus_client psutil pyarrow scipy skvideo sqlalchemy tensorrt"
    " tensorrt_rtx torch trackeval xlsxwriter"
)


def yolo_engine(*arguments):
    command = [sys.executable, "-m", "engine.cli.main", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=ROOT, check=False)


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return clip(tmp_path_factory.mktemp("in") / "a.mp4", 30)


@pytest.mark.parametrize("name", OF_EXTRAS.split())
def test_this_is_such_an_environment(name):
    assert importlib.util.find_spec(name) is None


def test_the_default_model_runs_and_counts(video, tmp_path):
    (tmp_path / "scene.toml").write_text(SCENE)
    done = yolo_engine("run", video, "-o", tmp_path / "out", "--scene", tmp_path / "scene.toml", "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary["videos"][0]["frames"] == 30
    assert {path.name for path in (tmp_path / "out").glob("*.csv")} == set(TABLES)
    assert (tmp_path / "out" / "a.mp4").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--tables", "xlsx"], "pip install 'yolo-engine[tables]'"),
        (["--tables", "parquet"], "pip install 'yolo-engine[tables]'"),
        (["--backend", "onnxruntime"], "Repair: pip install onnxruntime"),
        (["--backend", "openvino"], "[openvino]'"),
        (["--metrics", "0"], "[metrics]'"),
    ],
)
def test_what_is_not_there_is_told_before_anything_is_written(video, tmp_path, arguments, told):
    (tmp_path / "scene.toml").write_text(SCENE)
    done = yolo_engine("run", video, "-o", tmp_path / "out", "--scene", tmp_path / "scene.toml", *arguments)
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_eval_says_what_it_needs(tmp_path):
    for name in ("tracks.txt", "gt.txt"):
        (tmp_path / name).write_text("1,1,0,0,10,10,1,-1,-1\n")
    done = yolo_engine("eval", tmp_path / "tracks.txt", tmp_path / "gt.txt")
    assert done.returncode == 2
    assert "eval needs the package trackeval: pip install" in done.stderr


def test_the_doctor_names_it():
    done = yolo_engine("doctor")
    lines = {line.split()[0]: line for line in done.stdout.splitlines() if line[:1].strip()}
    assert "broken" in lines["onnxruntime"]
    assert " ok " in lines["native"]


def test_results_in_a_database_say_what_they_need(video, tmp_path):
    command = [sys.executable, "-m", "orchestrator.client.submit_cli", "--video-folder", video.parent]
    urls = {
        "CELERY_BROKER_URL": f"filesystem://{tmp_path}/queue",
        "CELERY_RESULT_BACKEND": f"db+sqlite:///{tmp_path}/r",
    }
    done = subprocess.run(
        [*map(str, command), "--output", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
        check=False,
        env={**os.environ, **urls, "XDG_STATE_HOME": str(tmp_path / "state")},
    )
    assert done.returncode == 2
    assert "results in a database need SQLAlchemy: pip install" in done.stderr
    assert "[database]'" in done.stderr
    assert "Traceback" not in done.stderr
