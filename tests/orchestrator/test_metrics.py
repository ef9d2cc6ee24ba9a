"""What is served for Prometheus: of a worker and of a run, while they are at work; and what others ask of it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from engine.errors import ConfigError
from engine.observe.address import Address
from engine.observe.snapshot import Snapshot, Stage, added
from orchestrator.worker import alive, readings
from orchestrator.worker.readings import Ledger, Reading, Taken
from tests.assets import ROOT
from tests.chaos.farm import Farm
from tests.e2e.runs import cli, clip, ended
from tests.waiting import until

pytestmark = pytest.mark.timeout(120)

Metrics = dict[str, dict[tuple[str, ...], float]]


def scraped(url: str) -> Metrics:
    """name -> labels -> value. A name without a value is there all the same."""
    with urllib.request.urlopen(url, timeout=5) as answer:
        text = answer.read().decode()
    found: Metrics = {name: {} for name in re.findall(r"^# TYPE (\S+)", text, re.M)}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sample.labels[key] for key in sorted(sample.labels))] = sample.value
    return found


def url_in(read: Callable[[], str]) -> str:
    found: list[str] = []
    until(lambda: bool(found.extend(re.findall(r"Metrics: (http://\S+)", read())) or found), 30, read)
    return found[0]


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Farm, str]]:
    with Farm(tmp_path_factory.mktemp("metrics") / "f", CHAOS_DELAY_S="0.02") as made:
        made.clips(2, frames=300)
        (made.videos / "broken.mp4").write_bytes(b"no video")
        made.worker("--metrics", "0")
        yield made, url_in(lambda: made.log.read_text() if made.log.exists() else "")


def test_of_a_worker_while_a_job_runs(farm):
    made, url = farm
    job = made.submit()
    made.at_work(job)
    seen: list[Metrics] = []

    def at_work() -> bool:
        seen.append(scraped(url))
        now = seen[-1]
        return now["yolo_frames_total"][()] > 0 and now["yolo_leases"][()] > 0 and now["yolo_worker_slots_busy"][()] > 0

    until(at_work, 30, made.tail)
    now = seen[-1]
    assert now["yolo_broker_up"][()] == now["yolo_worker_slots"][()] == 1
    assert now["yolo_fps"][()] > 0
    assert now["yolo_videos_active"][()] > 0
    assert now["yolo_engine_memory_bytes"][()] > 10e6
    assert 0 < now["yolo_stage_busy_share"]["infer", "worker"] <= 1
    assert {"yolo", "yolo-log"} <= {queue for (queue,) in now["yolo_queue_messages"]}
    made.wait(job)
    until(lambda: scraped(url)["yolo_leases"][()] == 0, 30, made.tail)
    then = scraped(url)
    assert then["yolo_frames_total"][()] == 300 + 310
    assert then["yolo_videos_total"] == {("ok",): 2, ("failed",): 1}
    assert then["yolo_attempts_total"] == {("done",): 3}
    assert then["yolo_engine_failures_total"][()] == 0
    assert then["yolo_engine_cpu_seconds_total"][()] > 0.1
    assert then["yolo_stage_seconds_total"]["infer", "worker"] >= 610 * 0.02
    # Nothing is counted twice, or forgotten, with the next job.
    made.wait(made.submit(made.folder / "again"))
    until(lambda: scraped(url)["yolo_frames_total"][()] == 2 * 610, 30, lambda: str(scraped(url)))


def test_of_a_run_while_it_goes_on(tmp_path):
    clip(tmp_path / "a.mp4", frames=200)
    errors = tmp_path / "errors"
    with errors.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.e2e.slow_cli", "run", str(tmp_path / "a.mp4"), "--backend", "fake",
             "--no-visualize", "-o", str(tmp_path / "out"), "--metrics", "127.0.0.1:0"],
            env={"PYTHONPATH": str(ROOT), "FAKE_DELAY_S": "0.05", "CHECKPOINT_S": "5"}, stderr=file, cwd=ROOT,
        )  # fmt: skip
    try:
        url = url_in(errors.read_text)
        seen: list[Metrics] = []
        until(lambda: bool(seen.append(scraped(url)) or seen[-1]["yolo_frames_total"][()] > 20), 30, errors.read_text)
        assert seen[-1]["yolo_videos_active"][()] == 1
        assert seen[-1]["yolo_fps"][()] > 0
        assert seen[-1]["yolo_stage_busy_share"]["infer", "worker"] > 0.5
        assert "yolo_gpu_seconds_total" in seen[-1], "told without a value where there is no card"
        assert seen[-1]["process_cpu_seconds_total"][()] > 0
    finally:
        process.terminate()
        process.wait(30)


def test_a_port_that_is_taken(tmp_path, farm):
    taken = farm[1].split("/")[2]
    status, _, errors = ended(cli("run", clip(tmp_path / "a.mp4"), "--backend", "fake", "-o", tmp_path / "out",
                                  "--metrics", taken))  # fmt: skip
    assert status == 2
    assert f"--metrics {taken}: can't listen there: address already in use." in errors
    assert "Traceback" not in errors
    done = subprocess.run([sys.executable, "-m", "orchestrator.worker.server_cli", "--worker", "--metrics", taken],
                          capture_output=True, text=True, cwd=ROOT, timeout=60)  # fmt: skip
    assert done.returncode == 2
    assert "can't listen there" in done.stderr


def test_without_the_extra(tmp_path):
    """As in an environment without prometheus_client."""
    program = "import sys; sys.modules['prometheus_client'] = None; from engine.cli.main import main; main()"
    video = clip(tmp_path / "a.mp4")
    command = [sys.executable, "-c", program, "run", str(video), "-o", str(tmp_path / "out"), "--metrics", "0"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == 2
    assert "--metrics needs prometheus_client, which is not installed: pip install" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "host", "port", "shown"),
    [
        ("9100", "127.0.0.1", 9100, "127.0.0.1:9100"),
        ("0.0.0.0:9100", "0.0.0.0", 9100, "0.0.0.0:9100"),
        ("[::1]:80", "::1", 80, "[::1]:80"),
        ("gpu-1:0", "gpu-1", 0, "gpu-1:0"),
    ],
)
def test_addresses(text, host, port, shown):
    address = Address.of(text)
    assert (address.host, address.port, str(address)) == (host, port, shown)


@pytest.mark.parametrize("text", ["", "no", ":9100", "9100:", "1.2.3.4:65536", "::1:80", "-1", "٣"])
def test_what_is_no_address(text):
    with pytest.raises(ConfigError, match=r"--metrics must be PORT or ADDRESS:PORT"):
        Address.of(text)


# -- what is asked of it ----------------------------------------------------------------------------------------------


def expressions() -> list[tuple[str, str]]:
    """(where, expression) of the dashboard and of the alerts."""
    board = json.loads((ROOT / "docs/grafana/yolo-engine.json").read_text())
    found = [(panel["title"], target["expr"]) for panel in board["panels"] for target in panel["targets"]]
    found += [(each["name"], each["query"]["query"]) for each in board["templating"]["list"] if each["type"] == "query"]
    alerts = (ROOT / "docs/prometheus/alerts.yaml").read_text()
    names, exprs = re.findall(r"alert: (\w+)", alerts), re.findall(r"expr: (.+)", alerts)
    return found + list(zip(names, exprs, strict=True))


def test_each_metric_that_the_dashboard_and_the_alerts_name_is_there(farm):
    there = scraped(farm[1])
    there |= {f"{name}_total": {} for name in there if not name.endswith("_total")}
    asked = {(where, name) for where, text in expressions() for name in re.findall(r"\byolo_\w+", text)}
    assert len(asked) > 25
    assert {each for each in asked if each[1] not in there} == set()


def test_the_table_has_them_all(farm):
    told = set(re.findall(r"`(yolo_\w+)", (ROOT / "docs/metrics.md").read_text()))
    there = {name for name in scraped(farm[1]) if name.startswith("yolo_")}
    assert {name.removesuffix("_total") for name in there} == {name.removesuffix("_total") for name in told}


def test_the_dashboard_is_one():
    board = json.loads((ROOT / "docs/grafana/yolo-engine.json").read_text())
    places = [panel["gridPos"] for panel in board["panels"]]
    assert len({panel["id"] for panel in board["panels"]}) == len(places)
    taken = {
        (x, y) for at in places for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])
    }
    assert len(taken) == sum(at["w"] * at["h"] for at in places), "no two panels lie on each other"
    assert max(x for x, _ in taken) < 24


# -- adding up --------------------------------------------------------------------------------------------------------


def reading(frames: int, leases: int = 1) -> Reading:
    engine = Snapshot(frames, 5.0, 1, {"ok": 1}, 2.0, 100, (Stage("worker", "infer", 3.0, 0.5),), {"frames": 4})
    return Reading(engine, {"done": 1}, {"ok": 1}, 0, leases)


def test_a_reading_is_read_as_it_was_written():
    assert Reading.from_json(json.loads(json.dumps(reading(7).to_json()))) == reading(7)
    with pytest.raises((ValueError, KeyError)):
        Reading.from_json({})
    with pytest.raises(ValueError, match="frames"):
        Snapshot.from_json({"frames": "7"})


def test_engines_are_added_up():
    both = added([reading(3).engines, reading(4).engines])
    assert (both.frames, both.fps, both.ended, both.cpu_s, both.queues) == (7, 10.0, {"ok": 2}, 4.0, {"frames": 8})
    assert both.stages == (Stage("worker", "infer", 6.0, 0.5),)
    rest = both.at_its_end()
    assert (rest.frames, rest.fps, rest.queues, rest.stages[0].seconds, rest.stages[0].share) == (7, 0.0, {}, 6.0, 0.0)


def test_a_step_counts_engines_one_after_the_other():
    taken = Taken()
    taken.measured(Snapshot(frames=5, cpu_s=1.0))
    taken.measured(Snapshot(frames=9, cpu_s=2.0))
    taken.engine_ended()
    taken.measured(Snapshot(frames=4, cpu_s=0.5))
    assert taken.cpu_s == 2.5
    assert taken.reading({}, {}, 0).engines.frames == 13


def test_what_ended_tasks_have_done_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(alive.RUNTIME, str(tmp_path))
    present = [1e9]
    monkeypatch.setattr("orchestrator.worker.readings.time.time", lambda: present[0])
    ledger = Ledger()
    readings.show("one", reading(10))
    readings.show("two", reading(20))
    for path in tmp_path.iterdir():
        os.utime(path, (present[0], present[0]))
    assert ledger.read(["one", "two"]).engines.frames == 30
    assert ledger.read([]).leases == 2, "a task that has just begun is not known to be held yet"
    present[0] += 60
    assert ledger.read(["two"]).engines.frames == 30
    assert len(list(tmp_path.iterdir())) == 1
    found = ledger.read([])
    assert (found.engines.frames, found.attempts, found.leases, found.engines.fps) == (30, {"done": 2}, 0, 0.0)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "readings-x").write_text("no JSON")
    assert ledger.read([]).engines.frames == 30
