"""What a folder holds and is left out, and that it is told; what links lead to; whose damage is told."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from engine.errors import InputError
from engine.media.inputs import find_videos
from engine.media.listing import LeftOut, told
from tests.e2e.runs import cli, clip, ended, fake_engine, statuses

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clip(tmp_path_factory.mktemp("one") / "one.mp4", 5)


@pytest.fixture
def folder(tmp_path: Path, one: Path) -> Path:
    """With one video that is one."""
    (tmp_path / "in").mkdir()
    shutil.copyfile(one, tmp_path / "in" / "a.mp4")
    return tmp_path / "in"


def _found(folder: Path, *more: Path, roots: tuple[Path, ...] = ()) -> tuple[list[str], dict[str, str]]:
    """The videos, and what was left out: path and reason."""
    left_out: list[LeftOut] = []
    videos = find_videos(map(str, (folder, *more)), folder.parent / "out", left_out=left_out, roots=roots)
    named = {os.path.relpath(each.path, folder): each.why for each in left_out}
    return [os.path.relpath(video.path, folder) for video in videos], named


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("#recycle", "a recycle bin"),
        ("@Recycle", "a recycle bin"),
        ("$RECYCLE.BIN", "a recycle bin"),
        ("RECYCLER", "a recycle bin"),
        (".Trash", "a recycle bin"),
        (".Trash-1000", "a recycle bin"),
        (".Trashes", "a recycle bin"),
        ("@eaDir", "a system folder"),
        ("System Volume Information", "a system folder"),
        ("lost+found", "a system folder"),
        ("#snapshot", "a system folder"),
    ],
)
@pytest.mark.parametrize("where", ["", "sub"])
def test_no_place_for_videos(folder: Path, one: Path, name: str, why: str, where: str) -> None:
    (folder / where / name / "deep").mkdir(parents=True)
    shutil.copyfile(one, folder / where / name / "deep" / "gone.mp4")
    assert _found(folder) == (["a.mp4"], {os.path.join(where, name): why})
    # Who names it means it.
    assert _found(folder / where / name)[0] == ["deep/gone.mp4"]


def test_a_file_of_such_a_name_is_a_file(folder: Path, one: Path) -> None:
    shutil.copyfile(one, folder / "#recycle")
    assert _found(folder) == (["#recycle", "a.mp4"], {})


@pytest.mark.parametrize("name", ["GX010001.LRV", "GX010001.THM", "DJI_0001.LRF", "low.lrv"])
def test_previews_of_cameras(folder: Path, one: Path, name: str) -> None:
    shutil.copyfile(one, folder / name)
    why = "a camera's preview or thumbnail of another file"
    assert _found(folder) == (["a.mp4"], {name: why})
    assert [video.path for video in find_videos([str(folder / "*")], folder / "out")] == [str(folder / "a.mp4")]
    for named in (name, f"*{Path(name).suffix}"):
        assert [video.path for video in find_videos([str(folder / named)], folder / "out")] == [str(folder / name)]


def test_links_to_folders(folder: Path, one: Path, tmp_path: Path) -> None:
    """Each is followed once; none leads in circles."""
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "deep").mkdir(parents=True)
    (folder / "sub").mkdir()
    for path in (elsewhere / "b.mp4", elsewhere / "deep" / "c.mp4", folder / "sub" / "d.mp4"):
        shutil.copyfile(one, path)
        with open(path, "ab") as file:
            file.write(path.name.encode())
    (folder / "1 link").symlink_to(elsewhere)
    (folder / "2 again").symlink_to(elsewhere)
    (folder / "3 beside").symlink_to(folder / "sub")  # the real place comes first
    (folder / "4 up").symlink_to(tmp_path)
    (folder / "5 root").symlink_to("/")
    (folder / "6 self").symlink_to(folder)
    (folder / "7 gone").symlink_to(tmp_path / "gone")
    (elsewhere / "deep" / "back").symlink_to(elsewhere)
    (folder / "8 output").symlink_to(tmp_path / "out")
    (tmp_path / "out").mkdir()
    shutil.copyfile(one, tmp_path / "out" / "x.mp4")
    found, left_out = _found(folder)
    assert found == ["a.mp4", "sub/d.mp4", "1 link/b.mp4", "1 link/deep/c.mp4"]
    back = "a link that leads back to its own folder"
    again = "a link to a folder that is already searched"
    assert left_out == {
        "2 again": again,
        "3 beside": again,
        "4 up": back,
        "5 root": back,
        "6 self": back,
        "7 gone": "a link that leads nowhere",
        "8 output": "a link to the output folder",
        "1 link/deep/back": again,
    }


def test_a_link_out_of_the_folders_allowed(folder: Path, one: Path, tmp_path: Path) -> None:
    for name in ("allowed", "allowed too", "all"):
        (tmp_path / name).mkdir()
        shutil.copyfile(one, tmp_path / name / "b.mp4")
    (folder / "inside").symlink_to(tmp_path / "allowed")
    (folder / "outside").symlink_to(tmp_path / "allowed too")
    (folder / "outside too").symlink_to(tmp_path / "all")
    found, left_out = _found(folder, roots=(folder, tmp_path / "allowed"))
    assert found == ["a.mp4", "inside/b.mp4"]
    assert set(left_out) == {"outside", "outside too"}


@pytest.mark.parametrize("suffix", "dav m2t mpe 264 265 h264 MPE trp mpv insv 3gpp ismv m1v".split())
def test_damage_is_told_not_passed_over(folder: Path, suffix: str) -> None:
    (folder / f"b.{suffix}").write_bytes(b"no video at all" * 100)
    summary = fake_engine().run([folder], folder.parent / "out")
    assert statuses(summary) == {"a.mp4": "ok", f"b.{suffix}": "failed"}


@pytest.mark.parametrize("how", ["inside", "manifest of another run", "moved", "killed before its manifest"])
def test_annotated_videos_are_no_sources(folder: Path, one: Path, how: str) -> None:
    """Those of another output folder in the input folder."""
    first, second = folder / "first", folder.parent / "second"
    fake_engine(visualize=True).run([folder], first)
    assert (first / "a.mp4").exists()
    if how == "manifest of another run":
        clip(folder.parent / "other.mp4", 3)
        fake_engine(visualize=True).run([folder.parent / "other.mp4"], first)
    elif how == "moved":
        first = first.rename(folder / "moved")
    elif how == "killed before its manifest":
        (first / "manifest.json").unlink()
    shutil.copyfile(one, first / "mine.mp4")  # a source beside them is one
    summary = fake_engine().run([folder], second)
    assert [video["path"] for video in summary["videos"]] == [str(folder / "a.mp4"), str(first / "mine.mp4")]
    expected = ["a.mp4", "other.mp4"] if how == "manifest of another run" else ["a.mp4"]
    why = "an annotated video of an earlier run"
    assert summary["left_out"] == [{"path": str(first / name), "why": why} for name in expected]
    assert json.loads((second / "manifest.json").read_text())["left_out"] == summary["left_out"]
    # Who names one means it.
    assert statuses(fake_engine().run([first / "a.mp4"], second)) == {"a.mp4": "ok"}


def test_annotated_by_a_version_that_left_no_note(folder: Path, one: Path) -> None:
    """A manifest is enough, also that of a job."""
    for place in ("first", "second/.yolo-jobs/1"):
        first = folder / place.partition("/")[0]
        (folder / place).mkdir(parents=True)
        for name in ("sub/x.mp4", "x.mp4"):
            (first / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(one, first / name)
        videos = [{"path": "x.mp4", "outputs": {"video": "old/sub/x.mp4"}}, {"path": "y", "outputs": {}}]
        manifest = {"schema": 1, "config": {"output_folder": "old"}, "videos": videos}
        (folder / place / "manifest.json").write_text(json.dumps(manifest))
    (folder / "manifest.json").write_text('["not", "ours"]')
    found, left_out = _found(folder)
    assert found == ["a.mp4", "first/x.mp4", "second/x.mp4"]  # the same by name only
    assert set(left_out) == {"first/sub/x.mp4", "second/sub/x.mp4"}


def test_results_beside_their_sources_hide_none(folder: Path) -> None:
    """Rows without annotated videos may stand beside their sources, which stay sources."""
    fake_engine().run([folder], folder)
    assert _found(folder) == (["a.mp4"], {})


def test_it_is_said(folder: Path, one: Path) -> None:
    (folder / "#recycle").mkdir()
    for number in range(5):
        shutil.copyfile(one, folder / f"{number}.LRV")
    arguments = ("run", folder, "--backend", "fake", "--no-visualize", "-o", folder.parent / "out")
    status, _, errors = ended(cli(*arguments))
    assert status == 0, errors
    assert f"Left out (a recycle bin): {folder / '#recycle'}\n" in errors
    assert f"{folder / '2.LRV'} and 2 more\n" in errors
    (folder / "a.mp4").unlink()
    with pytest.raises(InputError, match=r"No video in .* Left out \(a recycle bin\): "):
        find_videos([str(folder)], folder / "out")


def test_lines_are_few() -> None:
    many = [LeftOut(f"{number}.LRV", "small") for number in range(2000)]
    assert told([*many, LeftOut("x", "bin")]) == [
        "Left out (small): 0.LRV, 1.LRV, 2.LRV and 1,997 more",
        "Left out (bin): x",
    ]


def test_a_half_made_video_is_no_source(folder: Path) -> None:
    """What a kill leaves of an annotated video, just before it has its name."""
    fake_engine(visualize=True).run([folder], folder / "first")
    (folder / "first" / "a.mp4").rename(folder / "first" / "b.mp4.new")
    found, left_out = _found(folder)
    assert found == ["a.mp4"]
    assert left_out == {"first/b.mp4.new": "an annotated video of an earlier run"}


def test_recordings_of_a_live_source_are_no_sources(folder: Path) -> None:
    """Those of a run that was killed, too: there is no manifest."""
    fake_engine(visualize=True).run([folder], folder / "live")
    for path in (folder / "live").glob("a.*"):
        path.rename(path.with_name(path.name.replace("a.", "cam-2026-11-30T10-15-00Z.", 1)))
    (folder / "live" / "manifest.json").unlink()
    assert _found(folder)[0] == ["a.mp4"]


@pytest.mark.timeout(20)
def test_a_manifest_that_is_no_file(folder: Path, one: Path) -> None:
    """A FIFO is not waited for, and a link not followed."""
    os.mkfifo(folder / "manifest.json")
    (folder / "sub").mkdir()
    shutil.copyfile(one, folder / "sub" / "b.mp4")
    (folder / "sub" / "manifest.json").symlink_to("/dev/zero")
    assert _found(folder)[0] == ["a.mp4", "sub/b.mp4"]
