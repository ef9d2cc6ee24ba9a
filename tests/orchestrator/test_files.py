"""JSON files that are whole or not there, with full disks, killed writers and files that are none."""

import errno
import json
import os
import socket
from pathlib import Path

import pytest

from orchestrator.job.atomic_json import (
    MAX_BYTES,
    MAX_LIST_BYTES,
    append_line,
    read_json,
    write_json,
    write_once,
    write_quick,
)
from tests.chaos.farm import small_disk
from tests.orchestrator.racers import append_lines, race, write_once_each

VALUE = {"text": "é\udcff\u2028", "numbers": [1, 2.5, None, True]}
BIG = {"text": "x" * 200_000}
WRITERS = [write_json, write_once, write_quick]


@pytest.mark.parametrize("write", WRITERS)
def test_what_is_written_is_read(tmp_path, write):
    write(tmp_path / "a.json", VALUE)
    assert read_json(tmp_path / "a.json") == VALUE
    assert os.listdir(tmp_path) == ["a.json"]


@pytest.mark.parametrize("write", [write_json, write_quick])
def test_replaced(tmp_path, write):
    write(tmp_path / "a.json", BIG)
    write(tmp_path / "a.json", VALUE)
    assert read_json(tmp_path / "a.json") == VALUE


def test_once_is_once(tmp_path):
    assert write_once(tmp_path / "a.json", 1) is True
    assert write_once(tmp_path / "a.json", 2) is False
    assert read_json(tmp_path / "a.json") == 1
    assert os.listdir(tmp_path) == ["a.json"]


def test_of_several_processes_one_wins_each_time(tmp_path):
    told = race(3, write_once_each, tmp_path, 300)
    winners = dict(told)
    assert len(told) == len(winners) == 300, "two made the same file"
    assert {number: read_json(tmp_path / f"{number}.json") for number in range(300)} == winners


def test_what_a_killed_writer_leaves_is_never_written_to_again(tmp_path, monkeypatch):
    # Killed between the link and the removal of its own name: both names are one file now.
    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", lambda *_, **__: None)
        assert write_once(tmp_path / "a.json", "first")
    for _ in range(20):
        assert not write_once(tmp_path / "a.json", "second")
        with monkeypatch.context() as patched:
            patched.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(errno.ESTALE, "away")))
            with pytest.raises(OSError, match="away"):
                write_once(tmp_path / "a.json", "third")
    assert read_json(tmp_path / "a.json") == "first"


# -- full disks -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("write", WRITERS)
def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, write):
    try:
        with small_disk(tmp_path / "disk", "64k") as folder:
            path = folder / "a.json"
            if write is not write_once:
                write(path, VALUE)
            with pytest.raises(OSError, match="No space left"):
                write(path, BIG)
            assert read_json(path) == (None if write is write_once else VALUE)
            assert os.listdir(folder) == ([] if write is write_once else ["a.json"])
            write(path, 3)
            assert read_json(path) == 3
    except PermissionError as error:
        pytest.skip(str(error))
    except OSError as error:
        if "mount" not in str(error):
            raise
        pytest.skip(str(error))


@pytest.mark.parametrize(
    ("write", "call"),
    [
        (write_json, "fsync"),
        (write_json, "replace"),
        (write_once, "fsync"),
        (write_once, "link"),
        (write_quick, "replace"),
    ],
)
def test_each_call_that_may_fail(tmp_path, monkeypatch, write, call):
    def fail(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OSError, match="No space left"):
        write(tmp_path / "a.json", VALUE)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("write", WRITERS)
def test_what_is_no_json_leaves_nothing(tmp_path, write):
    with pytest.raises(TypeError):
        write(tmp_path / "a.json", {"a": object()})
    assert os.listdir(tmp_path) == []


# -- reading ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "empty, as after a crash of a bad disk"),
        (b'{"a": ', "half of it"),
        (b"\xff\xfe{}", "no text"),
        (b"[" * 100_000, "nested too deeply"),
        (b"1" * 5_000, "a number that Python refuses"),
        (b"\0" * 4096, "zeros, as a journaling file system leaves them"),
    ],
)
def test_a_damaged_file_is_a_value_error(tmp_path, content, why):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"\w"):
        read_json(tmp_path / "a.json")


def test_files_that_are_none(tmp_path):
    assert read_json(tmp_path / "missing.json") is None
    assert read_json(tmp_path / "missing" / "a.json") is None
    os.mkfifo(tmp_path / "fifo.json")
    (tmp_path / "zero.json").symlink_to("/dev/zero")
    (tmp_path / "good.json").write_text("{}")
    (tmp_path / "link.json").symlink_to("good.json")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(tmp_path / "s.json"))
    listening.close()
    for name in ("fifo.json", "zero.json", "link.json", "s.json"):
        with pytest.raises(ValueError, match="not a file of JSON"):
            read_json(tmp_path / name)
    with open(tmp_path / "huge.json", "wb") as huge:
        huge.truncate(1 << 40)
    for most in (MAX_BYTES, MAX_LIST_BYTES):
        with pytest.raises(ValueError, match=f"more than {most}"):
            read_json(tmp_path / "huge.json", most)
    (tmp_path / "folder.json").mkdir()
    with pytest.raises((OSError, ValueError)):
        read_json(tmp_path / "folder.json")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"NaN", "not a JSON number"),
        (b'{"a": -Infinity}', "not a JSON number"),
        (b"[" * 100_000, "nested too deeply|Expecting"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "nested too deeply"),
        (b"9" * 100_000, "digits"),
        (b"\xff\xfe{\0}\0", "decode"),
        (b"\xef\xbb\xbf{}", "BOM"),
        (b"", "Expecting value"),
        (b"{} {}", "Extra data"),
    ],
)
def test_texts_that_are_no_json(tmp_path, text, said):
    (tmp_path / "a.json").write_bytes(text)
    with pytest.raises(ValueError, match=said):
        read_json(tmp_path / "a.json")


# -- lines ------------------------------------------------------------------------------------------------------------


def test_lines_of_several_processes_do_not_mix(tmp_path):
    race(3, append_lines, tmp_path / "l", 300)
    lines = [json.loads(line) for line in (tmp_path / "l").read_text().splitlines()]
    for who in range(3):
        assert [line["number"] for line in lines if line["who"] == who] == list(range(300))


def test_lines_never_leave_the_folder_and_never_wait(tmp_path):
    (tmp_path / "target").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    os.mkfifo(tmp_path / "fifo")
    for name in ("link", "fifo"):
        with pytest.raises(OSError, match=r"\w"):
            append_line(tmp_path / name, 1)
    assert (tmp_path / "target").read_text() == "mine"


def test_half_a_line_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "write", lambda descriptor, line: len(line) // 2)
    with pytest.raises(OSError, match="No space left"):
        append_line(tmp_path / "l", {"a": 1})
