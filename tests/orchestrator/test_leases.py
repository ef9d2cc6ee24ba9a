"""Leases: who holds them, when they run out, and that two never hold the same one."""

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestrator.job import leases
from orchestrator.job.leases import Lease, Owner, age_of, latest, numbered, owner_of, take
from orchestrator.job.records import Ending, How
from tests.assets import ROOT
from tests.orchestrator.racers import race, take_each
from tests.waiting import until

LEASE_S = 30.0


@pytest.fixture
def me() -> Owner:
    return Owner.this_process("w@here")


def dead_pid() -> int:
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    return done.pid


def altered(owner: Owner, **facts) -> Owner:
    return Owner(**{**owner.to_json(), **facts})


# -- one lease --------------------------------------------------------------------------------------------------------


def test_taken_held_released_and_taken_again(tmp_path, me):
    base = tmp_path / "0007"
    assert latest(base) is None
    first = take(base, me, LEASE_S, from_frame=3)
    assert first is not None
    assert first.number == 1
    assert first.held(LEASE_S)
    assert first.from_frame() == 3
    assert owner_of(first.path) == me
    assert take(base, me, LEASE_S) is None, "one lease at a time, also for its own owner"
    first.release("crashed", error="why")
    first.release("done")  # the first word counts
    assert first.ending() == Ending(How.CRASHED, "why")
    assert not first.held(LEASE_S)
    second = take(base, me, LEASE_S)
    assert second is not None
    assert (second.number, first.lost, second.lost) == (2, True, False)
    assert latest(base).number == 2
    assert sorted(os.listdir(tmp_path)) == ["0007.1.end.json", "0007.1.json", "0007.2.json"]


@pytest.mark.parametrize(
    ("age_s", "held", "why"),
    [
        (0, True, "fresh"),
        (LEASE_S - 5, True, "nearly run out"),
        (LEASE_S + 5, False, "run out"),
        (-5, True, "clocks differ by a little"),
        (-3600, False, "the clock was set back: who lives would have touched it since"),
        (10**8, False, "of another year"),
    ],
)
def test_age(tmp_path, me, age_s, held, why):
    lease = take(tmp_path / "a", me, LEASE_S)
    present = time.time()
    os.utime(lease.path, (present - age_s, present - age_s))
    assert lease.held(LEASE_S) is held
    lease.touch()
    assert lease.held(LEASE_S), "whoever lives touches it again"


def test_the_owner_s_death_is_seen_at_once(tmp_path, me):
    cases = [
        ({}, True, "this process"),
        ({"pid": dead_pid()}, False, "no such process"),
        ({"started": me.started - 1}, False, "the pid is another process's now"),
        ({"host": "elsewhere", "pid": dead_pid()}, True, "another machine's: can't be known"),
        ({"boot": "before", "pid": dead_pid()}, True, "an earlier run of this machine, or a container of it"),
    ]
    for facts, held, why in cases:
        path = tmp_path / why
        lease = take(path, altered(me, **facts), LEASE_S)
        assert lease.held(LEASE_S) is held, why


def test_a_zombie_is_dead(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    owner = Owner("w", socket.gethostname(), leases.boot_id(), child.pid, leases.start_of(child.pid))
    assert not owner.gone
    child.stdin.close()
    until(lambda: owner.gone)  # nobody has waited for it yet
    child.wait()
    assert owner.gone


def test_a_pid_means_something_in_its_own_container_only(tmp_path, monkeypatch):
    """Two containers on one machine may share host name and kernel; their pids have nothing to do with each other."""
    here = leases.boot_id()
    leases.boot_id.cache_clear()
    monkeypatch.setattr(leases.os, "readlink", lambda path: "pid:[1]")
    there = leases.boot_id()
    leases.boot_id.cache_clear()
    assert here != there


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"7", b'{"owner": 1}', b'{"owner": {"node": "w"}}', b"\0" * 100]
    + [
        json.dumps({"owner": {"node": "w", "host": "h", "boot": "b", "pid": pid, "started": started}}).encode()
        for pid, started in (("1\0", 1), (None, 1), (1.5, 1), (1, "x"), (True, 1))
    ],
)
def test_a_lease_that_names_nobody_is_not_held(tmp_path, me, content):
    path = numbered(tmp_path / "a", 1)
    path.write_bytes(content)
    lease = Lease(tmp_path / "a", 1)
    assert owner_of(path) is None
    assert not lease.held(LEASE_S)
    assert lease.from_frame() == 0
    assert take(tmp_path / "a", me, LEASE_S).number == 2, "its number stays used"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"7", b"{}", b'{"how": 1}'])
def test_an_ending_that_can_not_be_read_is_an_ending(tmp_path, me, content):
    lease = take(tmp_path / "a", me, LEASE_S)
    numbered(tmp_path / "a", 1).with_name("a.1.end.json").write_bytes(content)
    assert lease.ending() == Ending(How.UNREADABLE)
    assert not lease.held(LEASE_S)


def test_age_without_a_place_for_the_clock(tmp_path, monkeypatch):
    """On a full disk, or for somebody who may only look."""
    (tmp_path / "a").touch()
    monkeypatch.setattr(Path, "touch", lambda *_, **__: (_ for _ in ()).throw(PermissionError()))
    assert age_of(tmp_path / "a") < 5
    assert age_of(tmp_path / "missing") is None


def test_a_folder_that_is_gone(tmp_path, me):
    lease = take(tmp_path / "a", me, LEASE_S)
    lease.path.unlink()
    tmp_path.rmdir()
    lease.touch()
    assert (lease.held(LEASE_S), lease.lost, latest(tmp_path / "a"), lease.ending()) == (False,) * 2 + (None,) * 2
    with pytest.raises(FileNotFoundError):
        take(tmp_path / "a", me, LEASE_S)
    with pytest.raises(FileNotFoundError):
        lease.release("done")


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EMFILE, errno.EINVAL, errno.EACCES])
@pytest.mark.parametrize("call", ["open", "stat"])
def test_what_can_not_be_read_is_not_free(tmp_path, me, monkeypatch, number, call):
    """On a network share any read may fail for a moment; two may never hold a lease for that."""
    lease = take(tmp_path / "a", me, LEASE_S)
    real = getattr(os, call)

    def fails(path, *arguments, **options):
        if "a.1." in str(path):
            raise OSError(number, os.strerror(number), str(path))
        return real(path, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fails)
        assert lease.held(LEASE_S)
        if call == "open":
            assert take(tmp_path / "a", me, LEASE_S) is None
        else:
            with pytest.raises(OSError, match=os.strerror(number)):
                latest(tmp_path / "a")
    assert not numbered(tmp_path / "a", 2).exists()
    assert lease.held(LEASE_S)


def test_no_descriptor_to_look_whether_the_owner_lives(me, monkeypatch):
    """A process that has too many files open must not take others for dead."""

    def fails(*_, **__):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(Path, "read_text", fails)
    assert not me.gone


def test_a_successor_that_can_not_be_seen_is_not_denied(tmp_path, me, monkeypatch):
    lease = take(tmp_path / "a", me, LEASE_S)

    def fails(*_, **__):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", fails)
        with pytest.raises(OSError, match="Input/output error"):
            _ = lease.lost
    assert not lease.lost


def test_a_clock_that_is_a_link_touches_nothing(tmp_path, monkeypatch):
    (tmp_path / "a").touch()
    (tmp_path / "mine").write_text("mine")
    os.utime(tmp_path / "mine", (1, 1))
    monkeypatch.setattr("secrets.token_hex", lambda _: "known")
    (tmp_path / ".clock.known").symlink_to(tmp_path / "mine")
    assert age_of(tmp_path / "a") < 5
    assert (tmp_path / "mine").stat().st_mtime == 1


# -- several who want it ----------------------------------------------------------------------------------------------


def test_hundreds_of_races_and_never_two_owners(tmp_path, me):
    rounds = 400
    dead = altered(me, pid=dead_pid())
    for number in range(0, rounds, 2):  # every second one is a dead worker's
        take(tmp_path / f"{number:04d}", dead, LEASE_S)
    told = race(3, take_each, tmp_path, rounds)
    assert sorted(number for number, _, _ in told) == list(range(rounds)), "one owner each"
    for number, who, attempt in told:
        assert attempt == (2 if number % 2 == 0 else 1)
        assert owner_of(numbered(tmp_path / f"{number:04d}", attempt)).node == who


STOPPED = """
import sys, time
from pathlib import Path
from orchestrator.job.leases import Owner, take
base = Path(sys.argv[1])
lease = take(base, Owner.this_process("paused"), 30.0)
print("taken", flush=True)
while not lease.lost:
    lease.touch()
    time.sleep(0.02)
print("lost", flush=True)
"""


def test_a_halted_owner_loses_it_and_knows_when_it_wakes(tmp_path, me):
    base = tmp_path / "a"
    child = subprocess.Popen([sys.executable, "-c", STOPPED, base], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert child.stdout.readline() == "taken\n"
        file = numbered(base, 1)
        taken_at = file.stat().st_mtime
        until(lambda: file.stat().st_mtime > taken_at + 0.6)
        assert take(base, me, 0.5) is None, "it lives"
        child.send_signal(signal.SIGSTOP)
        until(lambda: not latest(base).held(0.5), 10)
        taken = take(base, me, 0.5)
        assert taken.number == 2
        child.send_signal(signal.SIGCONT)
        assert child.stdout.readline() == "lost\n"
        assert child.wait(10) == 0
        assert (taken.lost, taken.held(LEASE_S)) == (False, True), "what the halted one does touches it not"
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
