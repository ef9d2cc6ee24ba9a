"""The original contract, on a real worker and a real server: task names, arguments, results, files."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from engine.rework.render import render
from engine.rework.retrack import retrack
from orchestrator.broker.heartbeats import live
from orchestrator.broker.local_server import client
from tests.assets import ROOT
from tests.chaos.farm import CONFIG, Farm
from tests.e2e.runs import clip, frames_in
from tests.waiting import until

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning"),
]

HEAVY = ("libav", "onnxruntime", "numpy", "engine_ext")


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    """A worker and three clips, for all tests of this file."""
    with Farm(tmp_path_factory.mktemp("farm") / "f", CHAOS_DELAY_S="0") as made:
        made.clips(3, frames=20)
        made.worker("--log-format", "json")
        connection = client(made.broker.url)
        until(lambda: bool(live(connection)), 30, made.tail)
        yield made


def result_of(farm: Farm, name: str, *arguments: Any, within_s: float = 60, **options: Any) -> Any:
    return farm.app.send_task(name, args=arguments, **options).get(timeout=within_s, disable_sync_subtasks=False)


def test_complete_pipeline_as_any_program_sends_it(farm: Farm) -> None:
    output = farm.folder / "complete"
    config = {**CONFIG, "output_folder": str(output)}
    sent = farm.app.send_task("complete_pipeline", args=(str(farm.videos), config))
    until(lambda: sent.state == "SUCCESS", 60, farm.tail)
    result = sent.get(timeout=5)
    assert list(result) == [
        "success",
        "message",
        "pipeline_task_id",
        "start_log",
        "processing_result",
        "end_log",
        "video_folder",
        "config_used",
    ]
    assert result["success"] is True
    assert result["message"] == "Pipeline completo ejecutado exitosamente"
    assert result["pipeline_task_id"] == sent.id
    assert result["video_folder"] == str(farm.videos)
    assert result["config_used"] == config
    assert (result["start_log"]["total_videos"], result["start_log"]["total_frames"]) == (3, 20 + 30 + 40)
    assert [video["status"] for video in result["processing_result"]["videos"]] == ["ok"] * 3
    assert result["end_log"]["frames"] == 90
    kept = json.loads((output / f"celery_result_{sent.id}.json").read_text())
    assert kept == result
    manifest = json.loads((output / "manifest.json").read_text())
    assert manifest["job"] == sent.id
    assert [video["attempts"] for video in manifest["videos"]] == [1, 1, 1]
    assert not any("resumed_from" in video for video in manifest["videos"]), "none of them ever stopped"
    assert all(video["input"]["sha256"] and video["worker"] for video in manifest["videos"])
    assert {path.name for path in output.iterdir() if not path.name.startswith(".")} == {
        *(f"v{n}.{kind}" for n in range(3) for kind in ("tracks.jsonl", "mot.txt", "mp4")),
        "manifest.json",
        f"celery_result_{sent.id}.json",
    }


def test_tracks_and_videos_of_a_job_are_made_again(farm: Farm) -> None:
    """Of a job that came through the broker, by another process than the worker's, without the model."""
    output = farm.folder / "again"
    config = {**CONFIG, "output_folder": str(output), "store_conf": 0.1, "skip_frames": 1}
    sent = farm.app.send_task("complete_pipeline", args=(str(farm.videos), config))
    until(lambda: sent.state == "SUCCESS", 60, farm.tail)
    files = {path: path.read_bytes() for path in output.iterdir() if path.name.endswith((".tracks.jsonl", ".mot.txt"))}
    assert len(files) == 6
    for path in files:
        path.unlink()
    done = retrack(output, None, {})
    assert sorted(each.frames for each in done) == [20, 30, 40]
    assert {path: path.read_bytes() for path in files} == files
    videos = {path: frames_in(path) for path in output.glob("*.mp4")}
    for path in videos:
        path.unlink()
    assert {made.path: made.frames for made in render(output)} == videos
    assert sorted(videos.values()) == [20, 30, 40]
    retrack(output, None, {"tracker": "bytetrack"})
    assert {path for path in files if path.read_bytes() != files[path]}


def test_each_task_alone(farm: Farm) -> None:
    config = {**CONFIG, "output_folder": str(farm.folder / "alone"), "visualize": False}
    started = result_of(farm, "log_start_yolo", str(farm.videos), config)
    assert started["total_videos"] == 3
    assert started["refused"] is None
    assert {"cores", "memory_available_bytes", "disk_free_bytes", "gpu", "model"} <= set(started["resources"])
    summary = result_of(farm, "process_videos_yolo", str(farm.videos), config)
    assert summary["success"]
    assert summary["totals"]["frames"] == 90
    end_log = result_of(farm, "log_end_yolo", str(farm.videos), config)
    assert (end_log["state"], end_log["videos"], end_log["frames"]) == ("completed", 3, 90)
    assert result_of(farm, "log_end_yolo", str(farm.videos), config) == end_log, "the end is recorded once"


def test_what_can_not_be_done_is_an_answer_not_a_wait(farm: Farm, tmp_path: Path) -> None:
    config = {**CONFIG, "output_folder": str(farm.folder / "none")}
    (tmp_path / "empty").mkdir()
    sent = farm.app.send_task("complete_pipeline", args=(str(tmp_path / "empty"), config))
    until(lambda: sent.state == "SUCCESS", 30, farm.tail)
    assert sent.result["success"] is False
    assert "No video in" in sent.result["message"]
    for folder, given, says in (
        (str(tmp_path / "nowhere"), config, "can't be read"),
        (str(farm.videos), {**config, "max_agee": 3}, "Did you mean max_age?"),
        ("/dev/zero", config, "neither a folder nor a file"),
    ):
        failed = farm.app.send_task("complete_pipeline", args=(folder, given))
        until(lambda failed=failed: failed.state == "FAILURE", 30, farm.tail)
        assert says in str(failed.result)
        until(lambda failed=failed: f"{failed.id} is refused: " in farm.log.read_text(), 10, farm.tail)


def test_a_plain_producer_is_served(farm: Farm) -> None:
    """Another program's application, which knows of no queue of ours: Celery's own name for one."""
    output = farm.folder / "plain"
    with Celery("yolo_processor", broker=farm.broker.url, backend=farm.broker.url, set_as_current=False) as plain:
        sent = plain.send_task("complete_pipeline", args=(str(farm.videos), {**CONFIG, "output_folder": str(output)}))
        until(lambda: sent.state == "SUCCESS", 60, farm.tail)
    assert (output / f"celery_result_{sent.id}.json").exists()


def test_after_a_failure_what_is_done_is_not_done_again(farm: Farm, tmp_path: Path) -> None:
    clip(tmp_path / "good.mp4", 20)
    (tmp_path / "bad.mp4").write_bytes(b"junk")
    config = {**CONFIG, "output_folder": str(farm.folder / "again"), "visualize": False}
    notes = []
    for content in (b"junk", (tmp_path / "good.mp4").read_bytes(), None):
        if content is not None:
            (tmp_path / "bad.mp4").write_bytes(content)
        sent = farm.app.send_task("complete_pipeline", args=(str(tmp_path), config))
        until(lambda sent=sent: sent.state == "SUCCESS", 60, farm.tail)
        good = next(v for v in sent.result["processing_result"]["videos"] if v["path"].endswith("good.mp4"))
        notes.append((sent.result["success"], good.get("notes", [])))
    assert notes == [(False, []), (True, ["done in an earlier run"]), (True, [])]


def test_the_parent_holds_no_media_library(farm: Farm) -> None:
    maps = Path(f"/proc/{farm.workers[0].pid}/maps").read_text()
    assert [name for name in HEAVY if name in maps] == []


def test_logs_name_job_task_and_worker(farm: Farm) -> None:
    config = {**CONFIG, "output_folder": str(farm.folder / "logs"), "visualize": False}
    sent = farm.app.send_task("complete_pipeline", args=(str(farm.videos), config))
    until(lambda: sent.state == "SUCCESS", 60, farm.tail)
    lines = [json.loads(line) for line in farm.log.read_text().splitlines() if line.startswith("{")]
    ended = [line for line in lines if line["message"].endswith(": completed")]
    assert ended
    assert {"job", "task", "worker", "time", "level", "logger"} <= set(ended[-1])


def test_pickle_is_refused(farm: Farm, tmp_path: Path) -> None:
    """A message that would run code when it is read."""
    proof = tmp_path / "ran"
    body = base64.b64encode(f"cos\nsystem\n(S'touch {proof}'\ntR.".encode()).decode()
    message = {
        "body": body,
        "content-encoding": "binary",
        "content-type": "application/x-python-serialize",
        "headers": {"task": "log_start_yolo", "id": "evil", "lang": "py", "root_id": "evil", "parent_id": None},
        "properties": {
            "correlation_id": "evil",
            "delivery_tag": "evil",
            "body_encoding": "base64",
            "delivery_info": {"exchange": "", "routing_key": "yolo-log"},
            "delivery_mode": 2,
            "priority": 0,
        },
    }
    connection = client(farm.broker.url)
    connection.lpush("yolo-log", json.dumps(message))
    until(lambda: connection.llen("yolo-log") == 0, 20, farm.tail)
    # What comes after it is done: it was refused by then.
    assert result_of(farm, "log_start_yolo", str(farm.videos), {**CONFIG, "output_folder": str(farm.folder / "p")})
    assert not proof.exists()
    assert farm.workers[0].poll() is None


def test_memory_of_the_worker_stays_flat(farm: Farm) -> None:
    """Many short tasks; the parent and the child that runs them."""

    def resident_kb() -> int:
        pids = [farm.workers[0].pid]
        pids += [
            int(pid) for path in Path(f"/proc/{pids[0]}/task").glob("*/children") for pid in path.read_text().split()
        ]
        status = [Path(f"/proc/{pid}/status").read_text() for pid in pids]
        return sum(int(text.partition("VmRSS:")[2].split()[0]) for text in status)

    config = {**CONFIG, "output_folder": str(farm.folder / "flat"), "visualize": False}
    for name in ("log_start_yolo", "process_videos_yolo"):
        result_of(farm, name, str(farm.videos), config)

    def ends(count: int) -> None:
        sent = [farm.app.send_task("log_end_yolo", args=(str(farm.videos), config)) for _ in range(count)]
        for each in sent:
            each.get(timeout=60)

    ends(40)
    before = resident_kb()
    ends(160)
    assert resident_kb() < 1.05 * before + 1024


def test_celery_s_own_command_is_the_same_worker(tmp_path: Path) -> None:
    with Farm(tmp_path / "f", CHAOS_DELAY_S="0") as farm:
        farm.clips(1, frames=20)
        with open(farm.log, "ab") as log:
            command = [sys.executable, "-m", "celery", "-A", "orchestrator", "worker", "--loglevel=info"]
            worker = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, cwd=ROOT, env=os.environ)
        farm.workers.append(worker)
        job = farm.submit()
        farm.wait(job)
        farm.judge(job, ok=1)
        alive = live(client(farm.broker.url))
        assert [(worker.concurrency, worker.pool) for worker in alive] == [(1, "prefork")]
        assert "yolo-gpu" not in alive[0].queues or Path("/proc/driver/nvidia/version").exists()
        assert farm.stop(worker) == 0
        assert farm.engines() == []
