"""The format of an audio stream as bytes: for when the input it came from is closed, or gone."""

from __future__ import annotations

import io

import av
import av.error

_FORMAT = "nut"  # holds the parameters of any codec in its head
_SIZE = 8
_ERRORS = (av.error.FFmpegError, OSError, ValueError)


def sound_head(audio: av.AudioStream | None) -> bytes:
    """Return the format of an open input's audio stream. Empty if there is none, or it can't be written down."""
    if audio is None:
        return b""
    head = io.BytesIO()
    try:
        with av.open(head, "w", format=_FORMAT) as container:
            stream = container.add_stream_from_template(audio)
            container.start_encoding()
            container.mux(_something(stream))  # a file without a packet is refused when it is read back
    except _ERRORS:
        return b""
    return head.getvalue()


def sound_of(head: bytes) -> av.AudioStream | None:
    """Return an audio stream of the format in `head`, without packets; None if there is none."""
    if not head:
        return None
    try:
        return next(iter(av.open(io.BytesIO(head), format=_FORMAT).streams.audio), None)
    except _ERRORS:
        return None


def _something(stream: av.AudioStream) -> av.Packet:
    packet = av.Packet(_SIZE)
    packet.update(bytes(_SIZE))
    packet.stream, packet.time_base = stream, stream.time_base
    packet.pts = packet.dts = 0
    packet.duration = 1
    return packet
