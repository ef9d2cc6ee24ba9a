"""A camera on 127.0.0.1: RTSP (RFC 2326) with H.264 in RTP (RFC 6184), both over the one TCP connection."""

from __future__ import annotations

import contextlib
import re
import socket
import socketserver
import struct
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import av

_SPS, _PPS, _AUD, _FU_A = 7, 8, 9, 28
_LARGEST = 100  # bytes of a payload: few, so that even the pictures of a tiny clip are sent in fragments
_FIRST_TICK, _FIRST_NUMBER = 2**32 - 90_000, 65_500  # RTP's clock and numbers begin anywhere; here both overflow
_BYE = struct.pack(">BBHIBBHI", 0x80, 201, 1, 7, 0x81, 203, 1, 7)  # after a receiver report, as RFC 3550 requires


class Play(NamedTuple):
    """What one connection gets: `frames` pictures, the clip again and again, `late_s` after it was asked, and then

    bye      the camera announces the end
    cut      the connection is closed without notice
    silent   nothing more
    reports  no pictures, but sender reports all the same
    """

    frames: int = 50
    then: str = "bye"
    gap_s: float = 0.01
    late_s: float = 0.0


def access_units(clip: Path) -> list[tuple[int, list[bytes]]]:
    """(pts in ticks of 1/90,000 s, NAL units) of each picture of an MPEG-TS clip, which holds H.264 as Annex B."""
    with av.open(str(clip)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    split = [[piece.rstrip(b"\x00") for piece in re.split(rb"\x00\x00\x01", bytes(packet))] for packet in packets]
    return [(p.pts - packets[0].pts, [nal for nal in nals if nal]) for p, nals in zip(packets, split, strict=True)]


def payloads(nal: bytes) -> list[bytes]:
    """Return a NAL unit as RTP payloads: unchanged if it is small, otherwise in fragments (FU-A)."""
    if len(nal) <= _LARGEST + 1:
        return [nal]
    pieces = [nal[i : i + _LARGEST] for i in range(1, len(nal), _LARGEST)]
    marks = [0x80, *[0] * (len(pieces) - 2), 0x40]
    return [bytes([nal[0] & 0xE0 | _FU_A, mark | nal[0] & 0x1F]) + p for mark, p in zip(marks, pieces, strict=True)]


class Camera(socketserver.ThreadingTCPServer):
    """Serves `clip` at `url`. The n-th connection gets `plays[n]`; later ones are refused.

    in_band   the parameter sets are sent with the pictures, not only in the description
    password  of the user "user"; None: not required
    """

    daemon_threads = True

    def __init__(self, clip: Path, *plays: Play, in_band: bool = True, password: str | None = None) -> None:
        super().__init__(("127.0.0.1", 0), socketserver.BaseRequestHandler)
        self.url = f"rtsp://127.0.0.1:{self.server_address[1]}/cam"
        self.requests: list[str] = []
        self.fragments = 0
        self.sent: list[float] = []  # when each picture was sent, by time.monotonic
        self.sent_all, self._stop = threading.Event(), threading.Event()
        self._units = access_units(clip)
        sets = [b64encode(nal).decode() for nal in self._units[0][1] if nal[0] & 0x1F in (_SPS, _PPS)]
        self._sets = "" if in_band else f";sprop-parameter-sets={','.join(sets)}"
        self._unsent = (_AUD,) if in_band else (_AUD, _SPS, _PPS)
        self._login = password and "Basic " + b64encode(f"user:{password}".encode()).decode()
        self._plays = iter(plays)

    def __enter__(self) -> Camera:
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self.shutdown()
        self.server_close()

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Answer a client until it disconnects; another thread sends the pictures."""
        play, lock = next(self._plays, None), threading.Lock()
        request.settimeout(20)
        with request.makefile("rb") as incoming, contextlib.suppress(OSError):
            while play is not None and (head := incoming.read(1)):
                if head == b"$":  # a receiver report
                    incoming.read(struct.unpack(">xH", incoming.read(3))[0])
                    continue
                method, url, _ = (head + incoming.readline()).decode().split()
                lines = iter(lambda: incoming.readline().decode().strip(), "")
                fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
                self.requests.append(method)
                with lock:
                    request.sendall(self._answer(method, url, fields))
                if method == "PLAY":
                    threading.Thread(target=self._send, args=(request, lock, play), daemon=True).start()

    def _answer(self, method: str, url: str, fields: dict[str, str]) -> bytes:
        status, body = "200 OK", ""
        more = ["Session: 1234;timeout=2", "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN, GET_PARAMETER"]
        if self._login is not None and method != "OPTIONS" and fields.get("authorization") != self._login:
            more, status = ['WWW-Authenticate: Basic realm="cam"'], "401 Unauthorized"
        elif not url.startswith(self.url) and method != "OPTIONS":
            status = "404 Not Found"
        elif method == "DESCRIBE":
            body = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=cam\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\na=control:track0\r\n"
            body += f"a=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1{self._sets}\r\n"
            more = ["Content-Type: application/sdp", f"Content-Base: {self.url}/"]
        elif method == "SETUP":
            more.append("Transport: RTP/AVP/TCP;unicast;interleaved=0-1")
        head = [f"RTSP/1.0 {status}", f"CSeq: {fields['cseq']}", *more, f"Content-Length: {len(body)}"]
        return "\r\n".join([*head, "", body]).encode()

    def _send(self, connection: socket.socket, lock: threading.Lock, play: Play) -> None:
        def put(channel: int, packet: bytes) -> None:
            with lock:
                connection.sendall(struct.pack(">cBH", b"$", channel, len(packet)) + packet)

        self._stop.wait(play.late_s)
        with contextlib.suppress(OSError):
            for number, (tick, last, payload) in enumerate(self._packets(play), _FIRST_NUMBER):
                put(0, struct.pack(">BBHII", 0x80, 96 | last << 7, number % 2**16, tick % 2**32, 7) + payload)
            self.sent_all.set()
            if play.then == "bye":
                put(1, _BYE)
            while play.then == "reports" and not self._stop.wait(0.1):
                put(1, struct.pack(">BBHIQIII", 0x80, 200, 6, 7, 1 << 60, _FIRST_TICK, play.frames, 0))
            self._stop.wait(0 if play.then == "cut" else None)
            connection.shutdown(socket.SHUT_RDWR)

    def _packets(self, play: Play) -> Iterator[tuple[int, bool, bytes]]:
        """(tick, whether it ends a picture, payload) of the RTP packets, picture by picture in real time."""
        shown = sorted(pts for pts, _ in self._units)
        for index in range(play.frames):
            rounds, place = divmod(index, len(self._units))
            pts, nals = self._units[place]
            parts = [payload for nal in nals if nal[0] & 0x1F not in self._unsent for payload in payloads(nal)]
            self.fragments += sum(part[0] & 0x1F == _FU_A for part in parts)
            for number, part in enumerate(parts, 1):
                yield _FIRST_TICK + rounds * (shown[-1] + shown[1]) + pts, number == len(parts), part
            self.sent.append(time.monotonic())
            if self._stop.wait(play.gap_s):
                return
