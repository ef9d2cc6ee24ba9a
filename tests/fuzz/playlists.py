"""Files that refer to other files and to hosts, whole and damaged: nothing else may be opened or contacted."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from random import Random

from tests.e2e.runs import clip, fake_engine
from tests.fuzz.mutate import damaged

LONGEST_S = 10.0

_LISTENER = socket.create_server(("127.0.0.1", 0))
_LISTENER.setblocking(False)
_PORT = "@PORT@"  # stands for the listener's, which is another in each process

_PLACES = (
    "secret.mp4", "./secret.mp4", "/etc/passwd", "file:secret.mp4", "file:///etc/passwd", "fd:", "pipe:0", "pipe:",
    "concat:secret.mp4|secret.mp4", "subfile,,start,0,end,0,,:secret.mp4", "crypto:secret.mp4", "data:text/plain,a",
    f"http://127.0.0.1:{_PORT}/a.mp4", f"tcp://127.0.0.1:{_PORT}", f"rtsp://127.0.0.1:{_PORT}/a", "async:secret.mp4",
    f"rtmp://127.0.0.1:{_PORT}/a", f"ftp://127.0.0.1:{_PORT}/a", f"udp://127.0.0.1:{_PORT}", "cache:secret.mp4",
    f"hls+http://127.0.0.1:{_PORT}/a.m3u8", "secret%d.mp4", "tee:secret.mp4", "/dev/zero",
)  # fmt: skip

_TEXTS = (
    "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{a}\n#EXTINF:1,\n{b}\n#EXT-X-ENDLIST\n",
    "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{a}\n",
    '#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="{a}"\n#EXT-X-MAP:URI="{b}"\n#EXTINF:1,\n{a}\n#EXT-X-ENDLIST\n',
    "ffconcat version 1.0\nfile '{a}'\nfile '{b}'\n",
    "ffconcat version 1.0\noption safe 0\nfile {a}\n",
    "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video @PORT@ RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    '<?xml version="1.0"?>\n<MPD type="static"><Period><AdaptationSet><Representation id="1"><BaseURL>{a}</BaseURL>'
    '<SegmentList><SegmentURL media="{b}"/></SegmentList></Representation></AdaptationSet></Period></MPD>\n',
    '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "{a}">]><MPD>&b;</MPD>\n',
    "[playlist]\nFile1={a}\nNumberOfEntries=1\n",
    "# VobSub index file, v7\nid: en, index: 0\ntimestamp: 00:00:01:000, filepos: 000000000\n",
    ";FFMETADATA1\ntitle={a}\n",
    '<?xml version="1.0"?><CompositionPlaylist xmlns="http://www.smpte-ra.org/schemas/2067-3/2016"><Id>{a}</Id>'
    "</CompositionPlaylist>\n",
    "{a}\n{b}\n",
    '<smil><body><video src="{a}"/></body></smil>\n',
    "[Reference]\nRef1={a}\n",
    '<svg xmlns="http://www.w3.org/2000/svg"><image href="{a}"/></svg>\n',
)

_SUFFIXES = (
    ".m3u8",
    ".mp4",
    ".txt",
    "",
    ".ffconcat",
    ".sdp",
    ".mpd",
    ".idx",
    ".mov",
    ".xml",
    ".svg",
    ".ts",
    ".asx",
    ".bin",
)


def prepare(folder: Path) -> None:
    clip(folder / "a.mov", 4)


def case(chance: Random, folder: Path) -> tuple[bytes, str]:
    text = chance.choice(_TEXTS).replace("{a}", chance.choice(_PLACES)).replace("{b}", chance.choice(_PLACES)).encode()
    how = chance.random()
    if how < 0.15:  # a movie whose data lies elsewhere
        movie = (folder / "a.mov").read_bytes()
        at = movie.index(b"dref") + 12
        name = chance.choice(_PLACES).encode()
        return movie[: at + 4] + chance.choice((b"alis", b"url ", b"rsrc")) + bytes(4) + name + movie[at + 12 :], ".mov"
    if how < 0.3:
        text = chance.choice((b"\xef\xbb\xbf", b"\n \t", b"\xff\xfe", b"#", bytes(3))) + text
    elif how < 0.5:
        text = damaged(text, text, chance)
    elif how < 0.6:
        text = text + bytes(chance.choice((1, 300, 9000))) + (folder / "a.mov").read_bytes()
    return text, chance.choice(_SUFFIXES)


def attempt(path: Path, folder: Path) -> None:
    """Beside the file lies a FIFO of the name that many refer to: whoever opened it would hang."""
    port = str(_LISTENER.getsockname()[1]).encode()
    (folder / "in").mkdir()
    os.mkfifo(folder / "in" / "secret.mp4")
    os.mkfifo(folder / "in" / "secret0.mp4")
    named = folder / "in" / f"list{path.suffix}"
    named.write_bytes(path.read_bytes().replace(_PORT.encode(), port))
    before = os.getcwd()
    os.chdir(folder / "in")
    try:
        (video,) = fake_engine(streams=1, workers=1).run([named], folder / "out")["videos"]
    finally:
        os.chdir(before)
    assert video["status"] in ("ok", "partial", "failed"), video
    assert "Error:" not in (video["error"] or ""), f"a foreign error got through: {video['error']}"
    try:
        _LISTENER.accept()[0].close()
    except BlockingIOError:
        return
    raise AssertionError("somebody was contacted")
