"""The end of a job: one program counts, cuts and writes the page, whatever becomes of it."""

import json
import os
import signal

import pytest

from orchestrator.engine_process.handle import EngineProcess
from orchestrator.engine_process.messages import FollowUp, WriteReport
from orchestrator.job.job_config import JobConfig
from orchestrator.settings import Settings
from orchestrator.worker import steps as jobs
from tests.e2e.runs import clip
from tests.engine.report.handmade import SCENE

CONFIG = {"backend": "fake", "min_hits": 1, "visualize": False, "formats": ["tracks"], "scene": [SCENE]}


@pytest.fixture
def programs(monkeypatch):
    """The tasks of the programs that follow up, and in `kill` which of them die at once."""

    class Programs(list):
        kill = ()

    found = Programs()

    class Watched(EngineProcess):
        def __init__(self, task, **settings):
            super().__init__(task, **settings)
            if isinstance(task, FollowUp):
                if len(found) in found.kill:
                    os.kill(self.pid, signal.SIGKILL)
                found.append(task)

        def order(self, order):
            assert isinstance(order, WriteReport)
            super().order(order)

    monkeypatch.setattr(jobs, "EngineProcess", Watched)
    return found


@pytest.fixture
def ended(tmp_path, monkeypatch):
    """Does a job, and returns its result and its manifest."""
    parsed = []
    parse = JobConfig.parse.__func__

    def counted(cls, *arguments):
        parsed.append(arguments)
        return parse(cls, *arguments)

    def do(**config):
        clip(tmp_path / "videos" / "a.mp4", 30, codec="libx264")
        settings = Settings(state_dir=tmp_path / "state")
        job = jobs.begin(str(tmp_path / "videos"), {**CONFIG, **config}, settings, output=str(tmp_path / "out"))
        context = jobs.Context("w@here", settings)
        jobs.start(job, context)
        jobs.process(job, "process-1", context)
        monkeypatch.setattr(JobConfig, "parse", classmethod(counted))
        result = jobs.end(job, context).to_json()["processing_result"]
        assert len(parsed) == 1, "a job's end reads its configuration once"
        return result, json.loads((tmp_path / "out" / "manifest.json").read_text())

    return do


def test_one_program_counts_and_writes_the_page(tmp_path, programs, ended):
    result, manifest = ended()
    assert len(programs) == 1
    assert (programs[0].reported, programs[0].made) == (True, False)
    assert result["success"] is True
    assert result["answers"]["cameras"][0]["lines"]
    assert manifest["report"] == result["report"] == str(tmp_path / "out" / "report.html")
    assert (tmp_path / "out" / "counts.csv").exists()


@pytest.mark.parametrize(("config", "wanted"), [({"scene": None}, True), ({"scene": None, "report": False}, False)])
def test_where_nothing_is_counted_there_is_a_page_if_it_is_wanted(tmp_path, programs, ended, config, wanted):
    result, _ = ended(**config)
    assert [(task.reported, task.made) for task in programs] == [(True, True)] * wanted
    assert "answers" not in result
    assert (tmp_path / "out" / "report.html").exists() == wanted


def test_without_a_page_it_ends_when_it_has_counted(tmp_path, programs, ended):
    result, _ = ended(report=False)
    assert len(programs) == 1
    assert result["success"] is True
    assert result["answers"]["cameras"]
    assert "report" not in result


def test_what_ends_the_program_is_an_error_and_the_page_is_written_all_the_same(tmp_path, programs, ended):
    programs.kill = (0,)
    result, manifest = ended()
    assert [task.made for task in programs] == [False, True]
    assert result["success"] is False
    assert "SIGKILL" in result["error"]
    assert result["answers"]["error"] == result["error"]
    assert manifest["report"] == str(tmp_path / "out" / "report.html")
    assert manifest["videos"][0]["clock"]["origin"] == "none"


def test_two_that_end_leave_the_data(tmp_path, programs, ended):
    programs.kill = (0, 1)
    result, manifest = ended()
    assert "SIGKILL" in result["error"]
    assert "report" not in manifest
    assert manifest["videos"][0]["frames"] == 30
