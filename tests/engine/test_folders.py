"""Open folders: what is done in one replaces nothing that it should not, and reads nothing but plain files."""

from __future__ import annotations

import errno
import os
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
