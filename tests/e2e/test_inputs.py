"""What is taken as a video, where its results go, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from engine.errors import InputError, OutputError
from engine.media.inputs import find_videos
from engine.sinks.base import sole_writer
from tests.e2e.runs import cli, clip, ended, fake_engine, left_over, statuses
from tests.waiting import until

pytestmark = pytest.mark.timeout(30)


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clip(tmp_path_factory.mktemp("one") / "one.mp4", 5)


def _stems(inputs: list[Any], output: Path) -> list[str]:
    return [str(video.stem) for video in find_videos(map(str, inputs), output)]


def test_nothing_to_process(tmp_path: Path, one: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("hello\n" * 100)
    for named, message in (
        ("empty", "No video in"),
        ("texts", "No video in"),
        ("missing.mp4", "does not exist"),
        ("*.mov", "Nothing matches"),
        ("nul\0byte", "does not exist"),
    ):
        with pytest.raises(InputError, match=message):
            find_videos([str(tmp_path / named)], tmp_path / "out")
    with pytest.raises(InputError, match="No video in no inputs"):
        find_videos([], tmp_path / "out")
    status, _, errors = ended(cli("run", tmp_path / "missing.mp4", "--backend", "fake", "-o", tmp_path / "out"))
    assert (status, errors) == (2, f"Error: {tmp_path / 'missing.mp4'} does not exist.\n")
    assert not (tmp_path / "out").exists()


def _with_cover(path: Path) -> None:
    """Sound with a picture on its sleeve."""
    with av.open(str(path), "w") as output:
        sound = output.add_stream("mp3", rate=44100)
        cover = output.add_stream("mjpeg", rate=25)
        cover.width, cover.height, cover.pix_fmt = 64, 64, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        picture = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), "rgb24").reformat(format="yuvj420p")
        output.mux(cover.encode(picture))
        output.mux(cover.encode(None))
        for _ in range(20):
            frame = av.AudioFrame.from_ndarray(np.zeros((2, 1152), np.int16), format="s16p", layout="stereo")
            frame.rate = 44100
            output.mux(sound.encode(frame))
        output.mux(sound.encode(None))


def _picture(path: Path, codec: str, pixel_format: str, container: str) -> None:
    with av.open(str(path), "w", format=container) as output:
        stream = output.add_stream(codec, rate=1)
        stream.width, stream.height, stream.pix_fmt = 64, 48, pixel_format
        frame = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), "rgb24").reformat(format=pixel_format)
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))


def test_what_a_folder_gives(tmp_path: Path, one: Path) -> None:
    folder = tmp_path / "in"
    (folder / "sub" / ".hidden").mkdir(parents=True)
    taken = ["a.mp4", "UPPER.MP4", "no suffix", "odd.suffix", "sub/b.mkv", "link.mp4", "sub/damaged.mp4"]
    for name in ("a.mp4", "UPPER.MP4", "no suffix", "odd.suffix", ".hidden.mp4", "sub/.hidden/c.mp4", "sub/b.mkv"):
        shutil.copyfile(one, folder / name)
    (folder / "sub" / "damaged.mp4").write_bytes(b"damaged")
    outside = shutil.copytree(one.parent, tmp_path / "outside")
    (folder / "link.mp4").symlink_to(outside / "one.mp4")
    (folder / "twin.mp4").symlink_to(folder / "a.mp4")  # the same file a second time
    (folder / "linked folder").symlink_to(outside)
    (folder / "loop").symlink_to(folder)
    (folder / "self.mp4").symlink_to(folder / "self.mp4")
    (folder / "dangling.mp4").symlink_to(folder / "gone.mp4")
    os.mkfifo(folder / "fifo.mp4")
    (folder / "folder.mp4").mkdir()
    (folder / "notes.txt").write_text("00:00:01,000 --> 00:00:02,000\nhello\n" * 50)
    (folder / "data.json").write_text(json.dumps({"a": 1}))
    (folder / "noise.bin").write_bytes(np.random.default_rng(3).bytes(200_000))
    (folder / "zero.bin").write_bytes(bytes(100_000))
    (folder / "nothing.bin").write_bytes(b"")
    (folder / "list.m3u8").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\na.mp4\n")
    (folder / "list.ffconcat").write_text("ffconcat version 1.0\nfile a.mp4\n")
    (folder / "camera.sdp").write_text("v=0\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n")
    _with_cover(folder / "song.mp3")
    _picture(folder / "p.jpg", "mjpeg", "yuvj420p", "image2")
    _picture(folder / "p.png", "png", "rgb24", "image2")
    _picture(folder / "p.gif", "gif", "rgb8", "gif")
    for name in ("p.jpg", "p.png", "p.gif"):
        shutil.copyfile(folder / name, folder / f"{name}-without-suffix")
    found = {str(Path(video.path).relative_to(folder)) for video in find_videos([str(folder)], tmp_path / "out")}
    assert found == set(taken)


def test_outputs_mirror_the_folders(tmp_path: Path, one: Path) -> None:
    for name in ("a.mp4", "x/a.mp4", "x/y/a.mp4", "x/y/z.w/b.mp4"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(one, tmp_path / "in" / name)
    fake_engine().run([tmp_path / "in"], tmp_path / "out")
    made = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.tracks.jsonl")}
    assert made == {f"{stem}.tracks.jsonl" for stem in ("a", "x/a", "x/y/a", "x/y/z.w/b")}


@pytest.mark.parametrize(
    ("names", "stems"),
    [
        (["a.mp4", "a.avi"], ["a.avi", "a.mp4"]),
        (["a.mp4", "a.avi", "a.mp4.mkv"], ["a.avi", "a.mp4", "a.mp4-2"]),
        (["a.mp4", "A.avi"], ["A.avi", "a.mp4"]),
        (["a.mp4", "b.mp4"], ["a", "b"]),
        ([" .mp4", "a .mp4", "a..mp4", "a.b.c.mp4"], [" ", "a ", "a.", "a.b.c"]),
    ],
)
def test_each_video_has_a_place_of_its_own(tmp_path: Path, one: Path, names: list[str], stems: list[str]) -> None:
    (tmp_path / "in").mkdir()
    for name in names:
        shutil.copyfile(one, tmp_path / "in" / name)
    found = _stems([tmp_path / "in"], tmp_path / "out")
    assert len({stem.casefold() for stem in found}) == len(names)
    assert sorted(found) == sorted(stems)
    summary = fake_engine().run([tmp_path / "in"], tmp_path / "out")
    assert set(statuses(summary).values()) == {"ok"}
    assert len(list((tmp_path / "out").glob("*.tracks.jsonl"))) == len(names)


def test_the_same_file_named_often_is_taken_once(tmp_path: Path, one: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    path = shutil.copyfile(one, folder / "one.mp4")
    (tmp_path / "link").symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    named = [path, path, folder, "in/../in/one.mp4", tmp_path / "link", tmp_path / "link" / "one.mp4", "in/*.mp4"]
    assert _stems(named, tmp_path / "out") == ["one"]


_NAMES = [
    "with space.mp4", "quo'te\".mp4", "日本語 émoji 🎬.mp4", "new\nline.mp4", "-dash.mp4", "[1].mp4", "%03d.mp4",
    "a:b.mp4", "http:x.mp4", "concat:y.mp4", "back\\slash.mp4", "tab\t.mp4", "$(x);&|.mp4", "\x1b[31m.mp4",
    "bytes-\udcff\udcfe.mp4", "*.mp4", "..mp4", "...mp4", ".mp4",
]  # fmt: skip


def test_awkward_names(tmp_path: Path, one: Path) -> None:
    """Named one by one and from inside their folder, where no leading part of the path protects them."""
    folder = tmp_path / "in"
    folder.mkdir()
    for name in _NAMES:
        shutil.copyfile(one, folder / name)
    arguments = ["run", "--backend", "fake", "--visualize", "-o", "../out", "--json", "--", *_NAMES]
    status, out, errors = ended(cli(*arguments, cwd=folder))
    assert status == 0, (out, errors)
    summary = json.loads(out.splitlines()[-1])
    assert sorted(video["path"] for video in summary["videos"]) == sorted(_NAMES)
    for video in summary["videos"]:
        for path in video["outputs"].values():
            assert (folder / path).parent.resolve() == tmp_path / "out"
            assert (folder / path).stat().st_size
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))
    assert {video["path"]: video["input"]["size_bytes"] for video in manifest["videos"]} == dict.fromkeys(
        _NAMES, one.stat().st_size
    )
    assert {path.name for path in tmp_path.iterdir()} == {"in", "out"}  # nothing beside the output folder


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_awkward_names_in_the_table(tmp_path: Path, one: Path, encoding: str) -> None:
    for name in _NAMES:
        if name.strip(".") != "mp4":
            (tmp_path / "in").mkdir(exist_ok=True)
            shutil.copyfile(one, tmp_path / "in" / name)
    environment = {"PYTHONIOENCODING": encoding}
    arguments = ["run", tmp_path / "in", "--backend", "fake", "--no-visualize", "-o", tmp_path / "out"]
    status, out, errors = ended(cli(*arguments, env=environment))
    assert status == 0, errors
    assert "16 videos (0 failed" in out


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\none.mp4\n"),
        ("renamed.mp4", "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\none.mp4\n"),
        ("list.ffconcat", "ffconcat version 1.0\nfile one.mp4\n"),
        ("renamed.mp4", "ffconcat version 1.0\nfile one.mp4\n"),
        ("camera.sdp", "v=0\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n"),
    ],
)
def test_a_file_that_points_to_others(tmp_path: Path, one: Path, name: str, text: str) -> None:
    """Named by the user, it fails at once: FFmpeg would wait for a playlist to grow, without end."""
    shutil.copyfile(one, tmp_path / "one.mp4")
    (tmp_path / name).write_text(text)
    summary = fake_engine().run([tmp_path / name], tmp_path / "out")
    assert statuses(summary) == {name: "failed"}


def test_a_name_too_long_for_its_outputs(tmp_path: Path, one: Path) -> None:
    (tmp_path / "in").mkdir()
    shutil.copyfile(one, tmp_path / "in" / ("x" * 250 + ".mp4"))
    shutil.copyfile(one, tmp_path / "in" / "short.mp4")
    summary = fake_engine().run([tmp_path / "in"], tmp_path / "out")
    assert sorted(statuses(summary).values()) == ["failed", "ok"]
    assert "file name too long" in summary["videos"][1]["error"]


@pytest.mark.parametrize("name", ["fifo", "/dev/zero", "/dev/null"])
def test_what_is_no_file(tmp_path: Path, one: Path, name: str) -> None:
    """Neither opened nor hashed: a FIFO would wait for its writer, /dev/zero has no end."""
    os.mkfifo(tmp_path / "fifo")
    result: list[dict[str, str]] = []
    thread = threading.Thread(
        target=lambda: result.append(statuses(fake_engine().run([tmp_path / name, one], tmp_path / "out"))), daemon=True
    )
    thread.start()
    thread.join(10)
    assert result == [{Path(name).name: "failed", "one.mp4": "ok"}]


def test_an_output_folder_inside_the_input_folder(tmp_path: Path, one: Path) -> None:
    """A second run does not take the annotated videos of the first for sources."""
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copyfile(one, folder / "a.mp4")
    for _ in range(2):
        summary = fake_engine(visualize=True).run([folder], folder / "results")
        assert statuses(summary) == {"a.mp4": "ok"}
    assert sorted(path.name for path in folder.iterdir()) == ["a.mp4", "results"]


@pytest.mark.parametrize("named", ["folder", "file", "link", "avi"])
def test_an_output_folder_that_is_the_input_folder(tmp_path: Path, one: Path, named: str) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    source = folder / ("a.avi" if named == "avi" else "a.mp4")
    shutil.copyfile(one, source)
    (tmp_path / "link").symlink_to(folder)
    given = source if named == "file" else folder
    before = source.read_bytes(), source.stat().st_mtime_ns
    with pytest.raises(OutputError, match="Choose another output folder"):
        fake_engine(visualize=True).run([given], tmp_path / "link" if named == "link" else folder)
    assert (source.read_bytes(), source.stat().st_mtime_ns) == before
    assert list(folder.iterdir()) == [source]


def test_rows_may_stand_beside_their_source(tmp_path: Path, one: Path) -> None:
    (tmp_path / "in").mkdir()
    source = shutil.copyfile(one, tmp_path / "in" / "a.mp4")
    assert statuses(fake_engine().run([tmp_path / "in"], tmp_path / "in")) == {"a.mp4": "ok"}
    assert source.read_bytes() == one.read_bytes()


def test_an_unfinished_output_never_lands_on_a_source(tmp_path: Path, one: Path) -> None:
    (tmp_path / "in").mkdir()
    shutil.copyfile(one, tmp_path / "in" / "a.avi")
    part = Path(shutil.copyfile(one, tmp_path / "in" / "a.mp4.part"))
    with pytest.raises(OutputError, match="would be overwritten"):
        fake_engine(visualize=True).run([tmp_path / "in" / "a.avi", part], tmp_path / "in")
    assert part.read_bytes() == one.read_bytes()


def test_two_runs_into_one_folder(tmp_path: Path, one: Path) -> None:
    """The second is told so and touches nothing; when the first is over, or was killed, the folder is free."""
    long = clip(tmp_path / "long.mp4", 100)
    output = tmp_path / "out"
    first = cli("run", long, "--backend", "fake", "--no-visualize", "-o", output, delay_s=0.01)
    until(lambda: (output / ".yolo-engine.lock").exists() or first.poll() is not None)
    first.send_signal(signal.SIGSTOP)  # it has the lock as long as the second needs
    try:
        with pytest.raises(OutputError, match="Another run is writing to"):
            fake_engine().run([one], output)
        second = ended(cli("run", one, "--backend", "fake", "-o", output))
    finally:
        first.send_signal(signal.SIGCONT)
    told = f"Error: Another run is writing to {output}. Wait for its end, or choose another output folder.\n"
    assert second == (2, "", told)
    assert not (output / "one.tracks.jsonl").exists()
    assert ended(first)[0] == 0
    assert statuses(fake_engine().run([one], output)) == {"one.mp4": "ok"}
    assert left_over(output) == []


def test_the_lock_admits_one_at_a_time(tmp_path: Path) -> None:
    """Many try at once, again and again: never two inside."""
    inside, most, entered = 0, 0, 0
    guard = threading.Lock()

    def compete() -> None:
        nonlocal inside, most, entered
        for _ in range(200):
            try:
                with sole_writer(tmp_path):
                    with guard:
                        inside, entered = inside + 1, entered + 1
                        most = max(most, inside)
                    with guard:
                        inside -= 1
            except OutputError:
                pass

    threads = [threading.Thread(target=compete) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert entered > 0
    assert left_over(tmp_path) == []
