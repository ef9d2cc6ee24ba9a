"""A link among the inputs is exchanged between check and opening: what was checked is what is read, or nothing is.

The exchange is made at the worst moment, by hand: right after the path was resolved, or right after it was opened.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from engine.errors import InputError, SourceError
from engine.files.opened import OpenedFile, entries
from engine.media.inputs import Video, find_videos
from engine.media.source import Source
from engine.pipeline.assignment import Assignment
from orchestrator.engine_process.handle import EngineProcess
from orchestrator.engine_process.messages import Event, Fatal, Looked, Probe
from tests.e2e.runs import cli, clip, ended, fake_engine, statuses

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """`in`, the root, with a.mp4 (12 frames) in a folder; `secret` with another of 30."""
    clip(tmp_path / "in" / "sub" / "a.mp4", 12)
    clip(tmp_path / "secret" / "a.mp4", 30)
    return tmp_path


def _exchanged(place: Path, what: str) -> None:
    """Puts a link to the secret where the file, or its folder, was."""
    target = place / "in" / what
    target.rename(place / "moved")
    target.symlink_to(place / "secret" / ("a.mp4" if target.suffix else ""))


def _after_resolving(monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> None:
    resolve = os.path.realpath
    waiting = [act]

    def resolved(path: Any, **options: Any) -> Any:
        found = resolve(path, **options)
        if str(path).endswith("a.mp4") and waiting:
            waiting.pop()()
        return found

    monkeypatch.setattr("engine.files.opened.os.path.realpath", resolved)


@pytest.mark.parametrize("what", ["sub/a.mp4", "sub"])
def test_exchanged_after_it_was_resolved(place: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    _after_resolving(monkeypatch, lambda: _exchanged(place, what))
    with pytest.raises(SourceError, match=r"can.t be read|is not a file"):
        OpenedFile(str(place / "in" / "sub" / "a.mp4"), [place / "in"])


@pytest.mark.parametrize("path", ["secret/a.mp4", "in/../secret/a.mp4", "in/link.mp4", "in/folder/a.mp4", "in2/a.mp4"])
def test_what_lies_outside_is_not_opened(place: Path, path: str) -> None:
    (place / "in" / "link.mp4").symlink_to(place / "secret" / "a.mp4")
    (place / "in" / "folder").symlink_to(place / "secret")
    clip(place / "in2" / "a.mp4", 2)
    with pytest.raises(SourceError, match="is outside the folders that may be read"):
        OpenedFile(str(place / path), [place / "in"])


@pytest.mark.parametrize("path", ["in/sub/a.mp4", "in/link.mp4", "in/folder/a.mp4", "alias/sub/a.mp4"])
def test_what_lies_inside_is_opened_also_through_links(place: Path, path: str) -> None:
    (place / "in" / "link.mp4").symlink_to(place / "in" / "sub" / "a.mp4")
    (place / "in" / "folder").symlink_to("sub")
    (place / "alias").symlink_to("in")
    for roots in ([place / "in"], [place / "alias"], [place / "other", place / "in" / "sub" / "a.mp4"], [Path("/")]):
        with OpenedFile(str(place / path), roots) as file:
            assert file.reader().readall() == (place / "in" / "sub" / "a.mp4").read_bytes()


@pytest.mark.parametrize("rooted", [False, True])
def test_what_is_no_file(place: Path, rooted: bool) -> None:
    os.mkfifo(place / "in" / "fifo.mp4")
    (place / "in" / "zero.mp4").symlink_to("/dev/zero")
    roots = [place / "in", Path("/dev")] if rooted else []
    for name in ("fifo.mp4", "zero.mp4", "sub"):
        with pytest.raises(SourceError, match="is not a file"):
            OpenedFile(str(place / "in" / name), roots)
    with pytest.raises(SourceError, match="does not exist"):
        OpenedFile(str(place / "in" / "none.mp4"), roots)


def test_readers_have_places_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"0123456789")
    with OpenedFile(str(tmp_path / "a")) as file:
        one, other = file.reader(), file.reader()
        assert (one.read(3), other.read(2), one.read(2), one.tell()) == (b"012", b"01", b"34", 5)
        assert (one.seek(-2, os.SEEK_END), one.read(), one.read(1)) == (8, b"89", b"")
        assert (other.seek(2, os.SEEK_CUR), other.read(1)) == (4, b"4")
        with pytest.raises(ValueError, match="before the first byte"):
            other.seek(-1)


def _exchanging(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a source is about to read its file, the path becomes a link to the secret."""
    connect, waiting = Source._connect, [lambda: _exchanged(place, "sub/a.mp4")]

    def connected(source: Source) -> Any:
        if waiting:
            waiting.pop()()
        return connect(source)

    monkeypatch.setattr(Source, "_connect", connected)


def test_everything_is_read_from_the_file_that_was_opened(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames, hash, fingerprint and the sound for muxing, in an engine that is kept to its roots."""
    wanted = hashlib.sha256((place / "in" / "sub" / "a.mp4").read_bytes()).hexdigest()
    _exchanging(place, monkeypatch)
    entries: list[dict[str, Any]] = []
    video = Video(str(place / "in" / "sub" / "a.mp4"), PurePosixPath("a"))
    with fake_engine(visualize=True) as engine:
        engine.work(
            [Assignment(video)], place / "out", done=lambda _, entry: entries.append(entry), roots=[place / "in"]
        )
    assert [(entry["status"], entry["frames"], entry["input"]["sha256"]) for entry in entries] == [("ok", 12, wanted)]


def test_a_run_reads_one_file_too(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = hashlib.sha256((place / "in" / "sub" / "a.mp4").read_bytes()).hexdigest()
    _exchanging(place, monkeypatch)
    summary = fake_engine().run([place / "in"], place / "out")
    assert [video["frames"] for video in summary["videos"]] == [12]
    manifest = json.loads((place / "out" / "manifest.json").read_text())
    assert [video["input"]["sha256"] for video in manifest["videos"]] == [wanted]


def test_no_descriptor_is_left(place: Path) -> None:
    (place / "in" / "bad.mp4").write_bytes(b"no video")
    (place / "in" / "gone.mp4").symlink_to("/dev/null")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(2):  # the second time, what is done is only looked at
        with fake_engine() as engine:
            engine.run([place / "in"], place / "out")
    assert len(os.listdir("/proc/self/fd")) == before


def _events(task: Probe) -> list[Event]:
    with EngineProcess(task) as engine:
        return list(engine.events(30, 30))


def test_nothing_is_probed_before_it_is_checked(place: Path) -> None:
    """Neither size nor frames of what is outside stand in a job's start, also where a suffix says nothing."""
    (place / "in" / "link.mp4").symlink_to(place / "secret" / "a.mp4")
    (place / "in" / "nosuffix").symlink_to(place / "secret" / "a.mp4")
    inside = str(place / "in")
    task = Probe(inputs=(inside,), output=str(place / "out"), config={"backend": "fake"}, roots=(inside,))
    videos = {event.video.stem: event.video for event in _events(task) if isinstance(event, Looked)}
    assert sorted(videos) == ["link", "sub/a"]
    assert videos["sub/a"].frames == 12
    assert videos["link"].size_bytes == 0
    assert "is outside" in (videos["link"].error or "")
    assert videos["link"].frames is None
    (fatal,) = _events(replace(task, inputs=(str(place / "secret"),)))
    assert isinstance(fatal, Fatal)
    assert "is outside" in fatal.error


def test_a_folder_that_becomes_a_link_is_not_walked(place: Path) -> None:
    assert [entry.name for entry in entries(place / "in" / "sub", [place / "in"])] == ["a.mp4"]
    _exchanged(place, "sub")
    with pytest.raises(SourceError, match="is outside"):
        entries(place / "in" / "sub", [place / "in"])
    with pytest.raises(InputError, match="is outside"):
        find_videos([str(place / "in" / "sub")], place / "out", [place / "in"])


def test_a_tree_deeper_than_any_path(tmp_path: Path) -> None:
    """Passed over where it can't be named any more; nothing of what lies higher is lost."""
    clip(tmp_path / "in" / "a.mp4", 2)
    descriptors = [os.open(tmp_path / "in", os.O_RDONLY)]
    with contextlib.ExitStack() as stack:
        stack.callback(lambda: [os.close(descriptor) for descriptor in descriptors])
        for _ in range(40):
            os.mkdir("d" * 120, dir_fd=descriptors[-1])
            descriptors.append(os.open("d" * 120, os.O_RDONLY, dir_fd=descriptors[-1]))
        try:
            assert [str(video.stem) for video in find_videos([str(tmp_path / "in")], tmp_path / "out")] == ["a"]
        finally:
            for descriptor in reversed(descriptors[:-1]):
                os.rmdir("d" * 120, dir_fd=descriptor)


def _playlists(folder: Path) -> Iterator[Path]:
    """Files that refer to others: by a suffix that says so, by their content alone, or renamed to a video."""
    texts = {
        "list.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nsecret.mp4\n#EXT-X-ENDLIST\n",
        "list.ffconcat": "ffconcat version 1.0\nfile secret.mp4\n",
        "session.sdp": "v=0\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
        "list.mpd": '<?xml version="1.0"?>\n<MPD><Period><BaseURL>secret.mp4</BaseURL></Period></MPD>\n',
        "list.pls": "[playlist]\nFile1=secret.mp4\n",
    }
    for name, text in texts.items():
        for target in (name, name + ".txt", name + ".mp4", name.partition(".")[0] + "-" + name.partition(".")[2]):
            (folder / target).write_text(text)
            yield folder / target
    (folder / "plain.txt").write_text("file secret.mp4\n" * 20)
    yield folder / "plain.txt"


def test_what_refers_to_others_opens_nothing_else(tmp_path: Path) -> None:
    """The neighbour's file is a FIFO: whoever opened it would wait."""
    os.mkfifo(tmp_path / "secret.mp4")
    named = list(_playlists(tmp_path))
    summary = fake_engine().run(named, tmp_path / "out")
    assert set(statuses(summary).values()) == {"failed"}
    for video in summary["videos"]:
        text = video["path"].endswith("plain.txt")
        assert ("not a video" if text else "is a playlist, not a video") in video["error"], video


@pytest.mark.parametrize("codec", ["mjpeg", "png"])
def test_a_picture_is_no_video_and_its_neighbours_are_no_sequence(tmp_path: Path, codec: str) -> None:
    import av
    import numpy as np

    suffix = ".jpg" if codec == "mjpeg" else ".png"
    (tmp_path / "in").mkdir()
    for name in ("f0", "f1", "f%d", "f[0-9]*"):
        with av.open(str(tmp_path / "made.nut"), "w") as output:
            stream = output.add_stream(codec, rate=1)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p" if codec == "mjpeg" else "rgb24"
            packets = stream.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), "rgb24"))
            (tmp_path / "in" / f"{name}{suffix}").write_bytes(b"".join(map(bytes, packets + stream.encode(None))))
    (tmp_path / "in" / "f%d").write_bytes((tmp_path / "in" / f"f0{suffix}").read_bytes())
    summary = fake_engine().run(sorted((tmp_path / "in").iterdir()), tmp_path / "out")
    assert {video["error"] for video in summary["videos"]} == {"is a still image, not a video"}
    assert len(summary["videos"]) == 5


def test_attachments_are_neither_written_nor_taken_for_videos(tmp_path: Path) -> None:
    """Matroska carries files of any name: they stay where they are."""
    import av

    plain = clip(tmp_path / "plain.mkv", 6, codec="libx264")
    before = {path.name for path in tmp_path.iterdir()} | {"attached.mkv", "out"}
    with av.open(str(plain)) as source, av.open(str(tmp_path / "attached.mkv"), "w") as made:
        stream = made.add_stream_from_template(source.streams.video[0])
        made.add_attachment("../../escaped.mp4", "video/mp4", plain.read_bytes())
        made.add_attachment("/tmp/font.ttf", "application/x-truetype-font", b"font")
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                made.mux(packet)
    (video,) = fake_engine(visualize=True).run([tmp_path / "attached.mkv"], tmp_path / "out")["videos"]
    assert (video["status"], video["frames"]) == ("ok", 6)
    assert {path.name for path in tmp_path.iterdir()} == before
    assert not (tmp_path.parent.parent / "escaped.mp4").exists()


def test_references_in_a_movie_are_not_followed(tmp_path: Path) -> None:
    """A MOV's data reference to another file (dref with an alias) is not opened, whatever lies there."""
    secret = clip(tmp_path / "secret.mov", 5)
    movie = bytearray(secret.read_bytes())
    at = movie.index(b"dref") + 4
    assert movie[at + 12 : at + 16] == b"url "
    movie[at + 12 : at + 20] = b"alis" + bytes(4)  # no longer "in this very file"
    (tmp_path / "refers.mov").write_bytes(movie)
    status, _, errors = ended(cli("run", tmp_path / "refers.mov", "--backend", "fake", "-o", tmp_path / "out"))
    assert status in (0, 1), errors
    assert "Traceback" not in errors
