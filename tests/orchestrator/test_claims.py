"""Which video is taken next: order, confinement, attempts, suspects, and races between workers."""

import errno
import json
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.job import claims as module
from orchestrator.job.claims import Claims
from orchestrator.job.jobdir import Job
from orchestrator.job.leases import Lease, numbered
from orchestrator.job.outcomes import failed_entry
from orchestrator.job.records import Ending, EntryStatus, How, VideoEntry
from orchestrator.settings import Settings
from tests.orchestrator import handmade as made
from tests.orchestrator.racers import race, work, work_while_reads_fail


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings(state_dir=tmp_path / "state")


def make(tmp_path, settings, durations=(4.0, 4.0, 4.0)) -> Job:
    """A job whose videos have these lengths, and are there."""
    job = made.make_job(tmp_path, settings)
    made.start(job, len(durations))
    record = json.loads(job.start_path.read_text())
    for row, duration_s in zip(record["videos"], durations, strict=True):
        row["duration_s"] = duration_s
        Path(row["path"]).touch()
    job.start_path.write_text(json.dumps(record))
    return job


def claims_of(job, settings, node="yolo@here") -> Claims:
    return Claims(job, job.start_record().videos, made.owner(node), settings)


def entry(claim, **facts) -> VideoEntry:
    return replace(failed_entry(claim.video, ""), status=EntryStatus.OK, error=None, **facts)


def ways(job, index, *attempts, owner=None) -> None:
    """Attempts at a video that are over: (frame it began at, how it ended); None: its worker vanished."""
    for from_frame, how in attempts:
        lease = module.take(job.video_base(index), owner or made.dead_owner(), 30, from_frame=from_frame)
        if how is not None:
            lease.release(how, error=f"it {how}")


# -- order ------------------------------------------------------------------------------------------------------------


def test_longest_first_and_each_once(tmp_path, settings):
    claims = claims_of(make(tmp_path, settings, (1.0, None, 9.0, 5.0)), settings)
    taken = [claims.next(suspect=False).index for _ in range(4)]
    assert taken == [2, 3, 0, 1]
    assert claims.next(suspect=False) is None
    assert claims.next(suspect=True) is None
    assert set(claims.held) == {0, 1, 2, 3}


def test_what_others_hold_or_have_done_is_passed_over(tmp_path, settings):
    job = make(tmp_path, settings)
    mine, theirs = claims_of(job, settings), claims_of(job, settings, "other@here")
    first = theirs.next(suspect=False)
    assert mine.next(suspect=False).index == 1
    assert theirs.keep(first, entry(first))
    assert mine.next(suspect=False).index == 2
    assert mine.next(suspect=False) is None


def test_given_back_is_taken_again(tmp_path, settings):
    job = make(tmp_path, settings, (4.0,))
    claims = claims_of(job, settings)
    claim = claims.next(suspect=False)
    claims.release(claim, "handed back")
    again = claims.next(suspect=False)
    assert (again.index, again.lease.number, claims.held) == (0, 2, {0: again})


def test_kept_once(tmp_path, settings):
    job = make(tmp_path, settings, (4.0,))
    claims = claims_of(job, settings)
    claim = claims.next(suspect=False)
    assert claims.keep(claim, entry(claim)) is True
    assert job.done(0).worker == "yolo@here"
    assert claim.lease.ending() == Ending(How.DONE)
    assert claims.held == {}


def test_a_lost_lease_keeps_nothing(tmp_path, settings):
    """A worker was halted, its video went to another one, and now it wakes."""
    job = make(tmp_path, settings, (4.0,))
    halted, other = claims_of(job, settings), claims_of(job, settings, "other@here")
    old = halted.next(suspect=False)
    os.utime(old.lease.path, (1, 1))
    new = other.next(suspect=False)
    assert (new.lease.number, old.lease.lost) == (2, True)
    halted.touch()
    assert halted.keep(old, entry(old, frames=1)) is False
    assert job.done(0) is None
    assert not new.lease.lost
    assert other.keep(new, entry(new, frames=2))
    halted.release(old, "done")
    assert job.done(0).entry.frames == 2


def test_done_between_the_look_and_the_lease(tmp_path, settings, monkeypatch):
    job = make(tmp_path, settings, (4.0,))
    claims = claims_of(job, settings)

    def slow(*arguments, **facts):
        made.finish(job, 0)
        return real(*arguments, **facts)

    real = module.take
    monkeypatch.setattr(module, "take", slow)
    assert claims.next(suspect=False) is None
    assert claims.held == {}
    assert not job.live(30)


# -- what may be opened, and written ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("vanished", "no such file or directory"),
        ("FIFO", "not a file, but a FIFO"),
        ("folder", "not a file, but a folder"),
        ("outside", "not below YOLO_VIDEO_ROOTS"),
        ("device", "not a file, but a character device"),
        ("outputs outside", "not below YOLO_OUTPUT_ROOTS"),
        ("outputs in a file", "is not a folder"),
    ],
)
def test_a_file_that_changed_since_the_start(tmp_path, kind, said):
    settings = Settings(
        state_dir=tmp_path / "state", video_roots=(tmp_path / "videos",), output_roots=(tmp_path / "out",)
    )
    job = make(tmp_path, settings, (9.0, 4.0))
    path = Path(job.start_record().videos[0].path)
    path.unlink()
    (tmp_path / "secret").write_bytes(b"s")
    if kind == "FIFO":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "outside":
        path.symlink_to(tmp_path / "secret")
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind.startswith("outputs"):
        path.touch()
        record = json.loads(job.start_path.read_text())
        record["videos"][0]["stem"] = "sub/a"
        job.start_path.write_text(json.dumps(record))
        if kind == "outputs outside":
            (job.output / "sub").symlink_to(tmp_path)
        else:
            (job.output / "sub").touch()
    claims = claims_of(job, settings)
    assert claims.next(suspect=False).index == 1, "the others go on"
    failed = job.done(0).entry
    assert failed.status == "failed"
    assert said in failed.error
    assert not list(job.folder.glob("videos/0000.[0-9].json")), "it is not an attempt"


# -- attempts ---------------------------------------------------------------------------------------------------------

CRASH, STALL, BACK, VANISHED = "crashed", "stalled", "handed back", None


@pytest.mark.parametrize(
    ("attempts", "reached", "died", "why"),
    [
        ([(0, CRASH)], 0, 1, "one death"),
        ([(0, CRASH), (0, CRASH), (0, CRASH)], 0, 3, "three in a row at the same frame"),
        ([(0, CRASH), (0, STALL), (0, VANISHED)], 0, 3, "of any kind"),
        ([(0, CRASH), (0, CRASH), (0, CRASH)], 50, 0, "the last one got further"),
        ([(0, CRASH), (50, CRASH), (50, CRASH)], 50, 2, "the first one got further"),
        ([(0, CRASH), (50, CRASH), (90, CRASH)], 120, 0, "each got further"),
        ([(0, CRASH), (0, BACK), (0, BACK), (0, BACK)], 0, 1, "handed back is no death"),
        ([(0, CRASH), (0, BACK), (0, CRASH), (0, BACK), (0, CRASH)], 0, 3, "and no excuse"),
        ([(0, BACK)] * 9, 0, 0, "a worker that is stopped and stopped"),
        ([(0, CRASH), (0, BACK), (70, CRASH)], 70, 1, "the one handed back got further"),
        ([(0, CRASH), (0, CRASH), (0, BACK)], 70, 0, "so did this one, last"),
        ([(90, CRASH), (0, CRASH)], 0, 2, "a checkpoint that was of no use is no progress"),
        ([("x", CRASH), (None, CRASH)], 0, 2, "not what a worker of ours writes"),
    ],
)
def test_deaths_without_progress(tmp_path, settings, monkeypatch, attempts, reached, died, why):
    job = make(tmp_path, settings, (4.0,))
    ways(job, 0, *attempts)
    monkeypatch.setattr(module, "frames_kept", lambda *_: reached)
    count, _ = module.deaths_without_progress(
        job, job.start_record().videos[0], Lease(job.video_base(0), len(attempts))
    )
    assert count == died


def test_given_up_after_so_many(tmp_path, settings):
    job = make(tmp_path, settings, (9.0, 4.0))
    ways(job, 0, (0, CRASH), (0, BACK), (0, CRASH))
    claims = claims_of(job, settings)
    assert claims.next(suspect=False).index == 1
    assert job.done(0) is None
    claim = claims.next(suspect=True)
    assert (claim.index, claim.lease.number) == (0, 4)
    claims.release(claim, CRASH, error="the engine was killed by SIGSEGV")
    assert claims.next(suspect=True) is None
    given_up = job.done(0).entry
    assert given_up.error == "gave up after 4 attempts: the engine was killed by SIGSEGV"
    assert (given_up.status, given_up.attempts) == ("failed", 4)


@pytest.mark.parametrize(
    ("attempts", "suspect", "why"),
    [
        ([], False, "never begun"),
        ([(0, CRASH)], True, "an engine died on it"),
        ([(0, STALL)], True, "or hung"),
        ([(0, BACK)], False, "a worker was stopped"),
        ([(0, VANISHED)], False, "a worker vanished: machines do"),
        ([(0, VANISHED), (0, VANISHED)], True, "twice is no chance"),
        ([(0, VANISHED), (0, BACK)], False, "once, and stopped"),
        ([(0, CRASH), (0, BACK)], True, "the stop took no suspicion away"),
        ([(0, CRASH), (9, VANISHED)], False, "another end since"),
    ],
)
def test_suspects_run_alone(tmp_path, settings, attempts, suspect, why):
    job = make(tmp_path, settings, (4.0,))
    ways(job, 0, *attempts)
    assert claims_of(job, settings).next(suspect=not suspect) is None
    assert claims_of(job, settings).next(suspect=suspect).index == 0


# -- disks and folders ------------------------------------------------------------------------------------------------


def test_a_full_disk_is_told_and_nothing_is_held(tmp_path, settings, monkeypatch):
    job = make(tmp_path, settings, (4.0,))
    claims = claims_of(job, settings)
    with monkeypatch.context() as full:
        full.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
        with pytest.raises(OSError, match="full"):
            claims.next(suspect=False)
    claim = claims.next(suspect=False)
    assert claim.lease.number == 1
    with monkeypatch.context() as full:
        full.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
        claims.release(claim, "handed back")  # is logged
        with pytest.raises(OSError, match="full"):
            claims.keep(claim, entry(claim))
    assert job.done(0) is None


def test_the_directory_is_removed_meanwhile(tmp_path, settings):
    job = make(tmp_path, settings)
    claims = claims_of(job, settings)
    claim = claims.next(suspect=False)
    shutil.rmtree(job.folder)
    claims.touch()
    with pytest.raises(FileNotFoundError):
        claims.next(suspect=False)
    claims.release(claim, "handed back")


@pytest.mark.parametrize("what", ["0000.1.json", "0000.1.end.json", "0000.2.json", "0000.done.json"])
def test_leases_that_can_not_be_read_are_not_taken(tmp_path, settings, monkeypatch, what):
    """Neither is what another worker holds, nor what is perhaps done; the others go on."""
    job = make(tmp_path, settings, (9.0, 4.0))
    claims_of(job, settings, "other@here").next(suspect=False)
    mine = claims_of(job, settings)
    with monkeypatch.context() as patch:
        for call in ("open", "stat"):
            patch.setattr(os, call, failing(getattr(os, call), what))
        assert mine.next(suspect=False).index == 1
        assert mine.next(suspect=True) is None
    assert not numbered(job.video_base(0), 2).exists()


@pytest.mark.parametrize("what", ["0000.1.end.json", "0000.2.end.json", "0000.2.json"])
def test_nobody_is_given_up_for_what_can_not_be_read(tmp_path, settings, monkeypatch, what):
    """An attempt that was handed back is no death, also where that can't be read just now."""
    job = make(tmp_path, settings, (9.0,))
    ways(job, 0, (0, CRASH), (0, BACK), (0, CRASH))
    claims = claims_of(job, settings)
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", failing(os.open, what))
        claims.next(suspect=False)
    assert job.done(0) is None


def failing(real, name):
    def call(path, *arguments, **options):
        if str(path).endswith(name):
            raise OSError(errno.EIO, "Input/output error", str(path))
        return real(path, *arguments, **options)

    return call


def test_nothing_is_kept_in_a_job_that_has_ended(tmp_path, settings):
    """Its worker was halted meanwhile, and nobody needed to follow it."""
    job = make(tmp_path, settings, (4.0,))
    claims = claims_of(job, settings)
    claim = claims.next(suspect=False)
    (job.folder / "end.json").write_text("{}")
    assert claims.keep(claim, entry(claim)) is False
    assert (job.done(0), claims.held) == (None, {})


def test_two_win_no_race_while_reads_fail(tmp_path, settings):
    """As over SMB, where a fresh lease may be unreadable for a moment."""
    count = 60
    job = make(tmp_path, settings, (1.0,) * count)
    attempts = race(3, work_while_reads_fail, job.folder)
    assert len({index for index, _, _ in attempts}) == len(attempts) == count, "a video was taken twice"


# -- several workers --------------------------------------------------------------------------------------------------


def test_workers_never_share_an_attempt_or_a_result(tmp_path, settings):
    count = 90
    job = make(tmp_path, settings, (1.0,) * count)
    attempts = race(3, work, job.folder)
    assert len({attempt[:2] for attempt in attempts}) == len(attempts), "one attempt had two owners"
    assert sorted(index for index, _, kept in attempts if kept) == list(range(count))
    assert job.done_indices() == set(range(count))
    events = [json.loads(line) for line in (job.folder / "events.jsonl").read_text().splitlines()]
    assert sum(event["event"] == "video ended" for event in events) == count
    assert job.live(30) == []


@pytest.mark.parametrize("count", [4000])
def test_many_videos_take_time_in_proportion(tmp_path, settings, monkeypatch, count):
    """A look must not pass over everything that is done."""
    job = make(tmp_path, settings, (1.0,) * count)
    looks = 0

    def counted(base):
        nonlocal looks
        looks += 1
        return real(base)

    real = module.latest
    monkeypatch.setattr(module, "latest", counted)
    monkeypatch.setattr(os, "fsync", lambda _: None)
    claims = claims_of(job, settings)
    begun = time.monotonic()
    for _ in range(300):
        claim = claims.next(suspect=False)
        job.done_path(claim.index).touch()
        claims.release(claim, "done")
    assert time.monotonic() - begun < 10
    assert looks < 1000
    for index in range(300, count):
        job.done_path(index).touch()
    assert claims.next(suspect=False) is None
    looks = 0
    for _ in range(100):
        assert claims.next(suspect=True) is None
    assert looks == 0


def test_numbers_beyond_four_digits(tmp_path, settings):
    job = make(tmp_path, settings, (4.0,))
    record = json.loads(job.start_path.read_text())
    record["videos"][0]["index"] = 12345
    job.start_path.write_text(json.dumps(record))
    claims = claims_of(job, settings)
    claim = claims.next(suspect=False)
    assert claim.successor == numbered(job.folder / "videos" / "12345", 2)
    assert claims.keep(claim, entry(claim))
    assert job.done_indices() == {12345}
