"""Whether a machine can do a job: what is needed, what is there, what is refused."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from engine.config import EngineConfig
from orchestrator.job import resources
from orchestrator.job.records import ModelFacts, VideoFacts
from orchestrator.job.resources import examine, needed_bytes

HD = VideoFacts(0, "a.mp4", "a", size_bytes=2_000_000_000, frames=25 * 3600, width=1920, height=1080)
GB = 10**9


@pytest.mark.parametrize(
    ("videos", "config", "least", "most", "why"),
    [
        ([], {}, 0, 0, "nothing"),
        ([HD], {}, 6.9 * GB, 7.6 * GB, "an hour: the video twice, and rows"),
        ([HD], {"visualize": False}, 0.2 * GB, 0.3 * GB, "rows alone"),
        ([HD], {"visualize": False, "formats": ["mot"]}, 0.05 * GB, 0.06 * GB, "the smallest"),
        ([HD], {"visualize": False, "formats": []}, 0, 0, "no file of rows at all"),
        ([HD, HD], {}, 13.8 * GB, 15.2 * GB, "two hours"),
        ([VideoFacts(0, "a.mp4", "a", size_bytes=9)], {}, 0, 0, "a file that could not be opened"),
        ([replace(HD, frames=None, width=None)], {}, 0, 0, "nothing is known of it"),
        ([replace(HD, frames=2**40, size_bytes=4096)], {}, 0, 0.025 * GB, "a container that claims what can't be"),
    ],
)
def test_needed(videos, config, least, most, why):
    assert least <= needed_bytes(videos, EngineConfig(**config)) <= most


def machine(monkeypatch, *, free=10**15, memory=64 * GB, gpu=False) -> None:
    monkeypatch.setattr(resources.shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    monkeypatch.setattr(resources, "available_memory", lambda: memory)
    monkeypatch.setattr(resources.Path, "exists", lambda self: gpu if "nvidia" in str(self) else True)


@pytest.mark.parametrize(
    ("facts", "config", "warned", "refused"),
    [
        ({}, {}, [], None),
        ({"free": 9 * GB}, {}, ["The outputs need about 7 GB, but /out has 9 GB free"], None),
        ({"free": 1 * GB}, {}, ["has 1 GB free"], "The outputs need about"),
        ({"free": 0}, {"visualize": False}, ["has 0 bytes free"], "visualize: false"),
        ({"memory": 10**8}, {}, ["of memory, but 100 MB is available"], None),
        ({"memory": None}, {}, [], None),
        ({}, {"device": "cuda:1"}, ["device is cuda:1, but this machine has no NVIDIA driver"], None),
        ({"gpu": True}, {"device": "cuda"}, [], None),
    ],
)
def test_a_machine_and_a_job(monkeypatch, facts, config, warned, refused):
    machine(monkeypatch, **facts)
    found = examine([HD], ModelFacts("m"), EngineConfig(**config), Path("/out"))
    why = found.refused
    assert len(found.warnings) == len(warned)
    for warning, part in zip(found.warnings, warned, strict=True):
        assert part in warning
    assert (why is None) is (refused is None)
    assert refused is None or refused in why
    assert found.resources.disk_needed_bytes == needed_bytes([HD], EngineConfig(**config))


def test_a_model_that_is_not_there(monkeypatch):
    machine(monkeypatch)
    assert (
        examine([HD], ModelFacts("m", error="no such model"), EngineConfig(), Path("/out")).refused == "no such model"
    )


def test_this_machine(tmp_path):
    found = examine([], ModelFacts("fake"), EngineConfig(), tmp_path / "not" / "yet" / "there")
    assert found.refused is None
    assert found.resources.cores >= 1
    assert found.resources.disk_free_bytes > 0
    assert found.resources.memory_available_bytes > 0
