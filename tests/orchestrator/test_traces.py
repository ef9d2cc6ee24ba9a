"""The trace of a job: its spans, from what its directory tells, and a collector that gets it, or is away."""

from __future__ import annotations

import http.server
import json
import os
import threading
from collections.abc import Iterator
from importlib import metadata
from typing import Any

import pytest
from pydantic import ValidationError

from orchestrator.job.jobdir import Job
from orchestrator.job.records import How
from orchestrator.job.traces import request_of, spans_of
from orchestrator.settings import Settings
from orchestrator.worker import steps, tracing
from tests.orchestrator import handmade as made


@pytest.fixture
def collector() -> Iterator[tuple[str, list[Any]]]:
    """A server that takes traces: its address, and what it got (path, headers, body)."""
    got: list[Any] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.append((self.path, dict(self.headers), json.loads(body)))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Be silent."""

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", got
    server.shutdown()
    server.server_close()
    thread.join()


def worked_on(tmp_path, settings: Settings) -> Job:
    """A job of two videos: the first one killed a worker and was done by the next, the second failed."""
    job = made.make_job(tmp_path, settings)
    made.start(job, 2)
    made.hold(job, job.task_base("process-1"), made.dead_owner())
    made.hold(job, job.video_base(0), made.dead_owner())
    step = made.hold(job, job.task_base("process-1"))
    first, second = made.hold(job, job.video_base(0)), made.hold(job, job.video_base(1))
    first.release(How.DONE)
    made.finish(job, 0)
    value = json.loads(job.done_path(0).read_text())
    job.done_path(0).write_text(json.dumps({**value, "attempt": 2}))
    second.release(How.DONE)
    made.finish(job, 1, "failed", "not a video")
    step.release(How.EXHAUSTED, cpu_s=1.5)
    return job


def test_the_spans_of_a_job(tmp_path):
    settings = Settings(state_dir=tmp_path / "state")
    job = worked_on(tmp_path, settings)
    made.end(job, settings)
    end = job.end_record()
    spans = {span.key: span for span in spans_of(job, end)}
    assert {"job", "process-1.1", "process-1.2", "0000.1", "0000.2", "0001.1"} <= spans.keys() <= {*spans, "end"}
    root = spans["job"]
    assert root.parent == ""
    assert root.error == end.result.message
    assert (root.attributes["yolo.videos"], root.attributes["yolo.cpu_s"]) == (2, 1.5)
    assert spans["process-1.1"].error == "its worker died"
    assert spans["process-1.2"].error is None
    assert spans["0000.1"].parent == "process-1.1"
    assert spans["0000.2"].parent == "process-1.2"
    assert spans["0000.2"].error is None
    assert spans["0001.1"].error == "not a video"
    assert spans["0001.1"].attributes["yolo.status"] == "failed"
    assert all(root.begins_s - 1 <= span.begins_s <= span.ends_s <= root.ends_s + 1 for span in spans.values())


def test_the_request_is_that_of_otlp(tmp_path):
    settings = Settings(state_dir=tmp_path / "state")
    job = worked_on(tmp_path, settings)
    made.end(job, settings)
    body = request_of(job, job.end_record())
    assert body == request_of(Job.open(job.folder), job.end_record()), "the same whoever makes it"
    (resource,) = body["resourceSpans"]
    assert {"key": "service.name", "value": {"stringValue": "yolo-engine"}} in resource["resource"]["attributes"]
    spans = resource["scopeSpans"][0]["spans"]
    ids = [span["spanId"] for span in spans]
    assert len(set(ids)) == len(ids)
    assert {span["traceId"] for span in spans} == {spans[0]["traceId"]}
    assert all(len(bytes.fromhex(span["traceId"])) == 16 and len(bytes.fromhex(span["spanId"])) == 8 for span in spans)
    assert [span.get("parentSpanId") is None for span in spans].count(True) == 1
    assert {span["parentSpanId"] for span in spans[1:]} <= set(ids)
    for span in spans:
        assert 10**18 < int(span["startTimeUnixNano"]) <= int(span["endTimeUnixNano"])
        assert span["status"]["code"] in (1, 2)
    values = {pair["key"]: pair["value"] for pair in spans[0]["attributes"]}
    assert values["yolo.videos"] == {"intValue": "2"}
    assert values["yolo.cpu_s"] == {"doubleValue": 1.5}


def test_a_trace_of_sources_that_are_not_installed(tmp_path, monkeypatch):
    def not_installed(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", not_installed)
    settings = Settings(state_dir=tmp_path / "state")
    job = worked_on(tmp_path, settings)
    made.end(job, settings)
    (resource,) = request_of(job, job.end_record())["resourceSpans"]
    assert {"key": "service.version", "value": {"stringValue": "unknown"}} in resource["resource"]["attributes"]


def test_a_job_is_told_once_by_who_ended_it(tmp_path, collector, monkeypatch):
    url, got = collector
    monkeypatch.setenv(tracing.HEADERS, "authorization=Bearer%20secret,x-tenant=me")
    settings = Settings(state_dir=tmp_path / "state", traces=f"{url}/")
    job = worked_on(tmp_path, settings)
    for _ in range(2):
        steps.end(job, steps.Context("yolo@here", settings))
    ((path, headers, body),) = got
    assert path == "/v1/traces"
    assert (headers["Authorization"], headers["X-Tenant"]) == ("Bearer secret", "me")
    assert headers["Content-Type"] == "application/json"
    assert len(body["resourceSpans"][0]["scopeSpans"][0]["spans"]) >= 6


def test_a_collector_that_is_away_costs_the_trace_alone(tmp_path, caplog):
    settings = Settings(state_dir=tmp_path / "state", traces="http://me:secret@127.0.0.1:1")
    job = worked_on(tmp_path, settings)
    assert steps.end(job, steps.Context("yolo@here", settings)).pipeline_task_id == job.id
    assert (job.output / "manifest.json").exists()
    (record,) = (record for record in caplog.records if "trace" in record.getMessage())
    assert "secret" not in record.getMessage()


def test_nothing_is_sent_unless_the_settings_say_where(tmp_path, collector, monkeypatch):
    url, got = collector
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
    settings = Settings(state_dir=tmp_path / "state")
    assert settings.traces is None
    made.end(worked_on(tmp_path, settings), settings)
    assert got == []


def test_a_job_whose_records_are_damaged_has_a_trace_all_the_same(tmp_path):
    settings = Settings(state_dir=tmp_path / "state")
    job = worked_on(tmp_path, settings)
    made.end(job, settings)
    for path in (job.folder / "tasks" / "process-1.2.json", job.folder / "videos" / "0000.2.end.json"):
        path.write_text("no JSON")
    os.remove(job.folder / "videos" / "0001.1.end.json")
    (job.folder / "start.json").write_text("{}")
    assert spans_of(job, job.end_record())[0].key == "job"


@pytest.mark.parametrize("url", ["localhost:4318", "file:///etc/passwd", "grpc://x:4317", "http://a b"])
def test_what_is_no_collector(url):
    with pytest.raises(ValidationError, match="traces"):
        Settings(traces=url)
