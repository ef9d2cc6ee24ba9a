"""Whatever lies in a job's directory in the place of a record: it is damaged, or a clear error, and nothing waits."""

import io
import json
import os
import resource
import shutil
import socket
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.client import views
from orchestrator.client.snapshot import Reader
from orchestrator.errors import JobError
from orchestrator.job import outcomes
from orchestrator.job.jobdir import Job, jobs_in
from orchestrator.job.records import BackendFacts, EngineFacts, ModelFacts
from orchestrator.settings import Settings
from orchestrator.worker import steps as jobs
from tests.hostile_text import assert_harmless
from tests.orchestrator import handmade as made

pytestmark = pytest.mark.timeout(20)

RECORDS = [
    "job.json",
    "start.json",
    "end.json",
    "cancel.json",
    "events.jsonl",
    "manifest.json",
    "videos/0000.done.json",
    "videos/0001.1.json",
    "videos/0001.1.end.json",
    "videos/0001.2.json",
    "tasks/process-1.1.json",
    "tasks/process-1.1.end.json",
    "tasks/process-1.progress.json",
    "tasks/process-1.sent.json",
]


def fifo(path: Path) -> None:
    os.mkfifo(path)


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def terminal(path: Path) -> None:
    path.symlink_to("/dev/tty")


def link(path: Path) -> None:
    """To a file that says what the record would."""
    path.symlink_to(path.with_name(f".kept.{path.name}"))


def dangling(path: Path) -> None:
    path.symlink_to("nowhere")


def circle(path: Path) -> None:
    path.symlink_to(path)


def bound(path: Path) -> None:
    """A socket. Its name may be too long for one, not so from its folder."""
    before = os.getcwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(before)


def folder(path: Path) -> None:
    path.mkdir()


def gigabyte(path: Path) -> None:
    with open(path, "wb") as file:
        file.truncate(1 << 30)


def text(content: bytes):
    return lambda path: path.write_bytes(content)


def spoilt(value: object):
    """Each value of the record replaced by this one."""

    def write(path: Path) -> None:
        kept = path.with_name(f".kept.{path.name}")
        keys = json.loads(kept.read_text() if path.suffix == ".json" and kept.exists() else "{}")
        path.write_text(json.dumps(dict.fromkeys([*keys, "owner", "how", "result"], value)))

    return write


DAMAGE = {
    "a FIFO": fifo,
    "endless": endless,
    "a terminal": terminal,
    "a link": link,
    "a dangling link": dangling,
    "a link to itself": circle,
    "a socket": bound,
    "a folder": folder,
    "a gigabyte": gigabyte,
    "empty": text(b""),
    "bytes": text(bytes(range(256)) * 40),
    "deep": text(b"[" * 200_000),
    "deep dictionaries": text(b'{"a":' * 100_000),
    "a number of 100,000 digits": text(b"9" * 100_000),
    "NaN": text(b"NaN"),
    "null": text(b"null"),
    "a list": text(b"[1]"),
    "a text": text(b'"x"'),
    "keys twice": text(b'{"schema": 1, "schema": 2, "owner": 1, "owner": [], "id": "a", "id": "b"}'),
    "all null": spoilt(None),
    "all huge": spoilt(10**400),
    "all infinite": spoilt(float("1e308")),
    "all lists": spoilt([[[]]]),
    "all half characters": spoilt("\ud800\x1b[2J"),
    "all dictionaries": spoilt({"owner": {}, "processing_result": {}, "how": 1}),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A job in the midst of its work, with each of the records."""
    root = tmp_path_factory.mktemp("whole")
    given = Settings(state_dir=root / "state")
    job = made.make_job(root, given)
    made.start(job, 3)
    made.finish(job, 0)
    made.hold(job, job.video_base(1), made.dead_owner()).release("crashed", error="it did")
    made.hold(job, job.video_base(1))
    made.hold(job, job.task_base("process-1")).release(
        "exhausted", engine=EngineFacts(ModelFacts("m", ""), BackendFacts("fake", "fake"))
    )
    made.tell(job, (1, 30))
    (job.folder / "tasks" / "process-1.sent.json").write_text(
        '{"id": "a", "at": "2026-01-01T00:00:00+00:00", "again": 1}'
    )
    return root


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", RECORDS)
def test_a_record_that_is_something_else(whole, tmp_path, name, damage):
    shutil.copytree(whole, tmp_path / "r", symlinks=True)
    given = Settings(state_dir=tmp_path / "r" / "state")
    here = next((tmp_path / "r" / "out" / ".yolo-jobs").iterdir())
    spec = json.loads((here / "job.json").read_text())
    spec = {**spec, "output": str(tmp_path / "r" / "out"), "inputs": [str(tmp_path / "r" / "videos")]}
    (here / "job.json").write_text(json.dumps(spec))
    job = Job.open(here)
    path = here / name
    if path.exists():
        path.rename(path.with_name(f".kept.{path.name}"))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    DAMAGE[damage](path)
    outside = sorted(p for p in tmp_path.iterdir())

    reader = Reader(job, given.lease_s)
    shot = reader.read()
    shown = io.StringIO()
    console = Console(file=shown, width=200)
    console.print(views.status_view(shot, reader.rows(shot.working), None))
    console.print(views.live_view(shot, 10))
    assert_harmless(shown.getvalue())
    outcomes.state_of(job, given.lease_s)
    jobs.next_step(job, given.lease_s)
    job.note("looked at")
    list(jobs_in(job.output))
    try:
        jobs.open_job(str(here), given)
    except JobError as error:
        said = str(error)
    else:
        said = ""
    assert bool(said) == (name == "job.json")
    assert len(said) < 1000
    try:
        jobs.end(job, jobs.Context("w@here", given))
    except OSError:
        failed = True
    else:
        failed = False
    assert not failed or name in ("end.json", "manifest.json", "cancel.json")
    assert sorted(p for p in tmp_path.iterdir()) == outside
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown_kib < 200 << 10
