"""What is known beside the messages, in files: workers, jobs, refusals, messages that were set aside."""

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.broker import board as module
from orchestrator.broker.board import Board
from orchestrator.broker.heartbeats import EXPIRES_S, Heartbeat

BEAT = Heartbeat("w@here", "here", ("yolo",), 1, 0, 1.0, pid=7, tasks=("a.start",))


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path / "not yet there" / "board")


def older(board: Board, kind: str, by_s: float) -> None:
    for path in (board.folder / kind).iterdir():
        os.utime(path, (time.time() - by_s,) * 2)


def test_an_empty_board(board):
    assert (board.look().workers, board.announced(9), board.refusals(), board.dead()) == ([], [], [], 0)
    board.forget_worker("w", 1)
    board.withdraw("a")
    board.forget_refusal("sweep x")
    assert not board.folder.exists(), "who only asks makes nothing"


def test_workers_live_until_their_heartbeat_runs_out(board):
    board.tell_alive(BEAT)
    board.tell_alive(replace(BEAT, node="../other", pid=8))
    assert [beat.node for beat in board.look().workers] == ["../other", "w@here"]
    assert board.look().workers[1] == BEAT
    assert len(list((board.folder / "workers").iterdir())) == 2, "no name leads out of the folder"
    board.forget_worker("../other", 8)
    assert [beat.node for beat in board.look().workers] == ["w@here"]
    older(board, "workers", EXPIRES_S + 1)
    assert board.look().workers == []
    older(board, "workers", 11 * EXPIRES_S)
    board.tell_alive(replace(BEAT, pid=9))
    assert len(list((board.folder / "workers").iterdir())) == 1, "what ran out long ago is gone"


def test_a_heartbeat_that_is_none_is_told(board):
    board.tell_alive(BEAT)
    (board.folder / "workers" / "strange").write_bytes(b"\xff{")
    seen = board.look()
    assert (len(seen.workers), seen.found, seen.unreadable, seen.complete) == (1, 2, 1, True)


def test_jobs_are_announced_until_they_are_withdrawn(board):
    for number in range(5):
        board.announce(f"job.{number}", f"/out/.yolo-jobs/job.{number}")
    assert sorted(board.announced(9)) == [(f"job.{n}", f"/out/.yolo-jobs/job.{n}") for n in range(5)]
    assert len(board.announced(2)) == 2
    board.withdraw("job.0")
    assert len(board.announced(9)) == 4
    (board.folder / "jobs" / "strange").write_text('{"folder": 3}')
    assert len(board.announced(9)) == 4


def test_refusals_are_kept_for_a_while_the_newest_ones(board, monkeypatch):
    monkeypatch.setattr(module, "MAX_KEPT", 3)
    board.note_refusal("old", "why", -1.0)
    assert board.refusals() == []
    for number in range(5):
        board.note_refusal(f"sweep {number}", "why\nnot", 60.0)
    assert [(each.what, each.why) for each in board.refusals()] == [(f"sweep {n}", "why not") for n in (4, 3, 2)]
    assert len(list((board.folder / "refused").iterdir())) == 3
    board.note_refusal("sweep 3", "another", 60.0)
    assert next(each.why for each in board.refusals() if each.what == "sweep 3") == "another"
    board.forget_refusal("sweep 3")
    assert {each.what for each in board.refusals()} == {"sweep 4", "sweep 2"}


def test_the_newest_messages_that_were_dropped_are_kept(board, monkeypatch):
    monkeypatch.setattr(module, "MAX_DEAD", 2)
    for number in range(4):
        place = board.set_aside({"message": number})
    assert board.dead() == 2
    assert place.exists()


def test_one_looks_at_a_time(board):
    assert board.is_mine("look", "a", 5.0)
    assert not board.is_mine("look", "b", 5.0)
    assert board.is_mine("look", "a", 5.0), "it goes on"
    assert board.is_mine("another", "b", 5.0)
    older(board, "alone", 6.0)
    assert board.is_mine("look", "b", 5.0)
    older(board, "alone", 4000.0)
    board.sweep()
    assert list((board.folder / "alone").iterdir()) == []
