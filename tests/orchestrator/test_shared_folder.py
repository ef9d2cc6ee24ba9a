"""File systems that lack something: found before a job begins there, or done another way."""

import errno
import os

import pytest

from engine.files import folders
from engine.files.folders import Folder
from orchestrator.errors import PathRefused
from orchestrator.job import shared_folder
from orchestrator.job.atomic_json import read_json, write_once
from orchestrator.job.shared_folder import check, tried
from orchestrator.settings import Settings
from orchestrator.worker import serve, steps
from tests.orchestrator.racers import race, write_once_without_links


def fail(number):
    def call(*_, **__):
        raise OSError(number, os.strerror(number))

    return call


@pytest.fixture
def without_links(monkeypatch):
    monkeypatch.setattr(os, "link", fail(errno.EPERM))


@pytest.fixture
def without_renames(without_links, monkeypatch):
    monkeypatch.setattr("orchestrator.job.disk_file.rename_to_new", fail(errno.EINVAL))


@pytest.fixture(params=["without_links", "without_renames"])
def poor(request):
    """A file system without hard links, and one that does not know a rename which replaces nothing either."""
    return request.getfixturevalue(request.param)


def test_once_is_once_without_hard_links(tmp_path, poor):
    assert write_once(tmp_path / "a.json", 1) is True
    assert write_once(tmp_path / "a.json", 2) is False
    assert read_json(tmp_path / "a.json") == 1
    assert os.listdir(tmp_path) == ["a.json"]


@pytest.mark.parametrize("way", ["rename", "create"])
def test_of_several_processes_one_wins_without_hard_links(tmp_path, way):
    told = race(3, write_once_without_links, tmp_path, 200, way)
    winners = dict(told)
    assert len(told) == len(winners) == 200, "two made the same file"
    assert {number: read_json(tmp_path / f"{number}.json") for number in range(200)} == winners


def test_a_lost_race_that_a_mount_calls_forbidden_is_a_lost_race(tmp_path, without_links):
    # sshfs: the answer to a link whose name is taken is EPERM.
    (tmp_path / "a.json").write_text("1")
    assert write_once(tmp_path / "a.json", 2) is False


def test_a_full_disk_leaves_no_empty_record(tmp_path, without_renames, monkeypatch):
    real, made = os.fsync, []

    def fsync(descriptor):
        made.append(descriptor)
        if len(made) == 2:  # the first is that of the part
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="No space left"):
        write_once(tmp_path / "a.json", 1)
    assert os.listdir(tmp_path) == []


def test_an_empty_record_is_looked_at_again(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    path.touch()
    monkeypatch.setattr("time.sleep", lambda _: path.write_text("3"))
    assert read_json(path) == 3


def test_a_folder_renames_to_a_free_name_alone_without_hard_links(tmp_path, without_links):
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    with Folder.at(tmp_path) as folder:
        with pytest.raises(FileExistsError):
            folder.rename_to_new("a", "b", folder)
        folder.rename_to_new("a", "c", folder)
        folder.link_to_new("b", "d")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"c": "a", "d": "b"}


def test_a_rename_that_replaces_nothing(tmp_path):
    (tmp_path / "a").write_text("a")
    folders.rename_to_new(tmp_path / "a", tmp_path / "b")
    (tmp_path / "a").write_text("again")
    with pytest.raises(FileExistsError):
        folders.rename_to_new(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_text() == "a"


# -- the probe --------------------------------------------------------------------------------------------------------


def test_a_good_file_system(tmp_path):
    found = tried(tmp_path)
    assert (found.lacks, found.hard_links) == ((), True)
    assert found.kind not in ("", "unknown")
    assert os.listdir(tmp_path) == []


def test_without_hard_links_nothing_is_lacking(tmp_path, poor):
    found = tried(tmp_path)
    assert (found.lacks, found.hard_links) == ((), False)
    assert os.listdir(tmp_path) == []


LACKS = [
    ("replace", fail(errno.EPERM), "renaming over a file"),
    ("utime", fail(errno.ENOSYS), "times of files"),
    ("rename", fail(errno.ENOTSUP), "renaming folders"),
]


@pytest.mark.parametrize(("call", "answer", "what"), LACKS)
def test_what_is_lacking_is_named_with_a_remedy(tmp_path, monkeypatch, call, answer, what):
    monkeypatch.setattr(shared_folder, "good_devices", set())
    monkeypatch.setattr(os, call, answer)
    with pytest.raises(PathRefused, match=rf"that lacks {what}.*: .*\. .*--output DIR"):
        check(tmp_path)


def test_times_that_can_not_be_set_to_now(tmp_path, monkeypatch):
    real = os.utime
    monkeypatch.setattr(os, "utime", lambda path, times=None: real(path, times) if times else None)
    assert [each.what for each in tried(tmp_path).lacks] == ["times of files that can be set to now (utime)"]


def test_a_job_is_refused_before_anything_is_made_of_it(tmp_path, monkeypatch):
    monkeypatch.setattr(shared_folder, "good_devices", set())
    monkeypatch.setattr(os, "utime", fail(errno.ENOSYS))
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.mp4").touch()
    given = Settings(state_dir=tmp_path / "state")
    with pytest.raises(PathRefused, match="utime"):
        steps.begin(str(tmp_path / "in"), {"output_folder": str(tmp_path / "out")}, given)
    assert os.listdir(tmp_path / "out") == []


def test_a_worker_says_which_root_is_poor(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(os, "utime", fail(errno.ENOSYS))
    serve.warn_about_the_folders(Settings(output_roots=(tmp_path, tmp_path / "missing")))
    told = capsys.readouterr().err
    assert f"{tmp_path} is on a file system" in told
    assert f"{tmp_path / 'missing'} can't be written" in told
