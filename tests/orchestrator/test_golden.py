"""The JSON of a job's directory stays what it is: files of an earlier version are read and written again unchanged."""

import json
from pathlib import Path

import pytest

from orchestrator.job.records import Ending, EndRecord, JobSpec, Progress, StartRecord, VideoResult

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize(
    ("name", "record"),
    [
        ("job", JobSpec),
        ("start", StartRecord),
        ("start-refused", StartRecord),
        ("result-ok", VideoResult),
        ("result-failed", VideoResult),
        ("end", EndRecord),
        ("progress", Progress),
        ("lease-end", Ending),
        ("step-end", Ending),
    ],
)
def test_read_and_written_again(name, record):
    text = (GOLDEN / f"{name}.json").read_text(encoding="utf-8")
    assert json.dumps(record.from_json(json.loads(text)).to_json(), indent=1) + "\n" == text, "also in the same order"
