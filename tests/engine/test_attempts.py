"""Attempts at a video: numbers, tickets, and what a file system may answer late, or twice."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from engine.errors import LeaseLost, SinkError
from engine.resume import attempts
from engine.resume.attempts import Attempt, clean, forget, label, peek, verdict_of

STEM = PurePosixPath("sub/a")
ENTRY: dict[str, Any] = {
    **{"path": "a.mp4", "status": "ok", "error": None, "frames": 7, "inferred_frames": 7, "detections": 1, "tracks": 1},
    **{"tracks_by_class": {"square": 1}, "duration_s": 1.0, "elapsed_s": 1.0, "fps": 7.0, "outputs": {}},
}


def begun(output: Path, **given: Any) -> Attempt:
    attempt = Attempt(output, STEM, **given)
    attempt.begin()
    return attempt


def place(output: Path) -> Path:
    return output / ".yolo-engine" / label(STEM)


def finished(attempt: Attempt, text: str) -> dict[str, Any]:
    """A verdict with one output, which says `text`."""
    attempt.make_way(attempt.output / "sub" / "a.mot.txt")
    attempt.folder.path("a.mot.txt.part").write_text(text)
    made = {"mot": {"name": "a.mot.txt.part", "path": "sub/a.mot.txt", "size": len(text)}}
    return {"entry": ENTRY, "made": made}


def test_one_after_the_other(tmp_path):
    first = begun(tmp_path)
    first.commit(finished(first, "one"))
    assert peek(tmp_path, STEM) == 7
    assert not (tmp_path / "sub" / "a.mot.txt").exists()
    second = begun(tmp_path)  # the first one has died before it published
    assert second.verdict is not None
    assert second.publish() == {"mot": tmp_path / "sub" / "a.mot.txt"}
    assert (tmp_path / "sub" / "a.mot.txt").read_text() == "one"
    inode = (tmp_path / "sub" / "a.mot.txt").stat().st_ino
    first.publish()
    second.publish()
    assert (tmp_path / "sub" / "a.mot.txt").stat().st_ino == inode


def test_who_was_revoked_can_do_nothing(tmp_path):
    first = begun(tmp_path)
    verdict = finished(first, "one")
    second = begun(tmp_path)
    for last_word in (lambda: first.commit(verdict), lambda: first.set_aside({})):
        with pytest.raises(LeaseLost):
            last_word()
    second.sweep()
    with pytest.raises(LeaseLost):
        first.keep({})
    assert os.listdir(place(tmp_path)) == ["2"]
    second.commit(finished(second, "two"))
    assert [path.read_text() for path in second.publish().values()] == ["two"]


def test_one_committed_before_it_was_revoked(tmp_path):
    """Then the second finds it, whenever it looks: there is no moment between."""
    first = begun(tmp_path)
    first.commit(finished(first, "one"))
    second = begun(tmp_path)
    assert second.verdict["entry"]["frames"] == 7
    first.publish()
    assert first.stands
    assert second.stands


def test_an_old_verdict_is_no_more(tmp_path):
    first = begun(tmp_path)
    first.commit(finished(first, "one"))
    second = begun(tmp_path)
    second.disregard()
    second.sweep()
    with pytest.raises(LeaseLost):
        first.publish()
    second.commit(finished(second, "two"))
    second.publish()
    first.take_away(tmp_path / "nothing")
    first.leave()
    forget(tmp_path, STEM, "first's job")
    assert verdict_of(tmp_path, STEM) is not None
    assert (tmp_path / "sub" / "a.mot.txt").read_text() == "two"


def test_a_number_that_another_has_by_now(tmp_path):
    """All was removed meanwhile, and done anew under the same numbers: the first one touches none of it."""
    first, second = begun(tmp_path), begun(tmp_path)
    second.sweep()
    forget(tmp_path, STEM, "")
    assert os.listdir(tmp_path) == []
    anew = begun(tmp_path)
    assert anew.number == first.number == 1
    for late in (first, second):
        late.sweep()
        late.leave()
        late.retire()
        with pytest.raises(LeaseLost):
            late.commit({"entry": ENTRY, "made": {}})
    anew.commit(finished(anew, "anew"))
    anew.publish()


def test_a_fence_is_asked_before_anybody_is_revoked(tmp_path):
    def lost() -> None:
        raise LeaseLost("lost")

    owner = begun(tmp_path)
    with pytest.raises(LeaseLost):
        begun(tmp_path, fence=lost)
    assert os.listdir(place(tmp_path)) == ["1"]
    owner.commit(finished(owner, "one"))


def test_a_listing_that_is_old(tmp_path, monkeypatch):
    """As a network share may give it: whoever came before is found all the same, once the own number is there."""
    first, number = begun(tmp_path), begun(tmp_path).number
    verdict = finished(first, "one")
    real, asked = attempts.attempt_numbers, 0

    def old(folder: Any) -> list[int]:
        nonlocal asked
        asked += 1
        return real(folder) if asked > 2 else [] if asked == 1 else [7]

    monkeypatch.setattr(attempts, "attempt_numbers", old)
    last = begun(tmp_path)
    assert last.number > number > first.number
    with pytest.raises(LeaseLost):
        first.commit(verdict)


def test_an_answer_that_was_lost(tmp_path, monkeypatch):
    """The server has renamed the ticket and is asked again: "no such file" means that it was done."""
    attempt = begun(tmp_path)
    verdict, real = finished(attempt, "one"), os.rename

    def twice(source: str, target: str, **at: Any) -> None:
        real(source, target, **at)
        if source == "ticket":
            real(source, target, **at)

    monkeypatch.setattr(os, "rename", twice)
    attempt.commit(verdict)
    assert attempt.stands


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES, errno.ENOSPC])
def test_who_can_not_be_revoked_is_not_passed_by(tmp_path, monkeypatch, number):
    first = begun(tmp_path)
    real = os.unlink

    def fails(name: str, **at: Any) -> None:
        if name == "ticket":
            raise OSError(number, os.strerror(number))
        real(name, **at)

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", fails)
        with pytest.raises(SinkError, match="can't be written"):
            begun(tmp_path)
    first.commit(finished(first, "one"))


def row(number: int) -> str:
    """A line of MOTChallenge: an attempt that comes late looks whether what appeared is the program's own."""
    return f"{number},1,0.00,0.00,10.00,10.00,1.0000,-1,-1,-1\n"


def test_many_begin_at_once_and_one_commits(tmp_path):
    """Threads that begin, work and commit, again and again: each turn has one result."""
    for turn in range(40):
        output = tmp_path / str(turn)
        output.mkdir()
        won: list[int] = []

        def compete(output: Path = output, won: list[int] = won) -> None:
            attempt = Attempt(output, STEM)
            try:
                attempt.begin()
                if attempt.verdict is None:
                    attempt.sweep()
                    attempt.commit(finished(attempt, row(attempt.number)))
                    won.append(attempt.number)
                attempt.publish()
            except (LeaseLost, FileNotFoundError):  # its folder was swept away
                pass
            finally:
                attempt.close()

        threads = [threading.Thread(target=compete) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1
        assert (output / "sub" / "a.mot.txt").read_text() == row(won[0])


def test_forgetting_leaves_others_at_work(tmp_path):
    first = begun(tmp_path, job="one")
    second = begun(tmp_path, job="two")
    second.sweep()
    forget(tmp_path, STEM, "one")
    assert os.listdir(place(tmp_path)) == ["2"]
    first.close()
    second.commit(finished(second, "two"))
    second.publish()
    forget(tmp_path, STEM, "two")
    assert os.listdir(tmp_path) == ["sub"]


def test_clean_takes_what_killed_ones_left(tmp_path):
    begun(tmp_path)
    (place(tmp_path) / "new-0badcafe").mkdir()
    (place(tmp_path) / "new-0badcafe" / "ticket").touch()
    old = tmp_path / ".yolo-engine" / "sub"
    old.mkdir()
    (old / "b.json.0badcafe.tmp").touch()
    clean(tmp_path)
    assert os.listdir(tmp_path / ".yolo-engine") == [label(STEM)]
    assert os.listdir(place(tmp_path)) == ["1"]
    forget(tmp_path, STEM, "")
    clean(tmp_path)
    clean(tmp_path)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["a", "x" * 300, "ä/ö", "a b;c", ".hidden", "a\udcff"])
def test_labels(name):
    assert len(os.fsencode(label(PurePosixPath(name)))) < 120
    assert "/" not in label(PurePosixPath(name))
    assert label(PurePosixPath(name)) != label(PurePosixPath(f"{name}2"))
