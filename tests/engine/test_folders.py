"""Open folders: what is done in one replaces nothing that it should not, and reads nothing but plain files."""

from __future__ import annotations

import errno
import fcntl
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from engine.files.folders import Folder


@pytest.fixture(params=["links", "no links"])
def _kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """File systems with hard links, and without them."""

    def refused(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    if request.param == "no links":
        monkeypatch.setattr(os, "link", refused)


@pytest.mark.usefixtures("_kind")
def test_a_new_name(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    with Folder.at(tmp_path) as here, here.sub("below", make=True) as below:
        here.rename_to_new("a", "b", below)
    assert [path.name for path in tmp_path.iterdir()] == ["below"]
    assert (tmp_path / "below" / "b").read_text() == "a"


@pytest.mark.usefixtures("_kind")
def test_a_name_that_is_taken(tmp_path: Path) -> None:
    """Also by a link that leads nowhere."""
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").write_text("b")
    (tmp_path / "c").symlink_to("nowhere")
    with Folder.at(tmp_path) as here:
        for name in ("b", "c"):
            with pytest.raises(FileExistsError):
                here.rename_to_new("a", name, here)
    assert (tmp_path / "a").read_text() == "a"
    assert (tmp_path / "b").read_text() == "b"


def test_a_new_name_after_a_kill_between_its_steps(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    os.link(tmp_path / "a", tmp_path / "b")
    with Folder.at(tmp_path) as here:
        here.rename_to_new("a", "b", here)
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_appending(tmp_path: Path) -> None:
    with Folder.at(tmp_path) as here:
        for text in (b"1\n", b"2\n"):
            with here.open("list", append=True) as file:
                file.write(text)
        assert here.read("list", 4) == b"1\n2\n"
        (tmp_path / "link").symlink_to("list")
        os.mkfifo(tmp_path / "fifo")
        for name in ("link", "fifo"):
            for append in (False, True):
                with pytest.raises(ValueError, match="not a regular file"):
                    here.open(name, append=append)
    assert (tmp_path / "list").read_bytes() == b"1\n2\n"


def test_put_removes_what_a_killed_writer_left_and_no_other(tmp_path: Path) -> None:
    dead, busy = tmp_path / f"a.csv.{'0' * 16}.part", tmp_path / f"a.csv.{'1' * 16}.part"
    others = [tmp_path / name for name in ("a.csv.part", "b.csv.0000000000000000.part", "a.csv.mine.part")]
    for path in (dead, busy, *others):
        path.write_text("x")
    with open(busy, "rb") as held, Folder.at(tmp_path) as here:
        fcntl.flock(held, fcntl.LOCK_EX)
        here.put("a.csv", b"new")
        assert (tmp_path / "a.csv").read_bytes() == b"new"
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
            path.name for path in (tmp_path / "a.csv", busy, *others)
        )


def test_many_may_put_the_same_file(tmp_path: Path) -> None:
    def put(text: bytes) -> None:
        with Folder.at(tmp_path) as here:
            for _ in range(20):
                here.put("a", text)

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(put, letter * 50_000) for letter in (b"a", b"b", b"c", b"d")]:
            done.result()
    text = (tmp_path / "a").read_bytes()
    assert text == text[:1] * 50_000
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
