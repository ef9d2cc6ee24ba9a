"""Cuts parts of a video without loss: packets are copied from a key frame on, with their sound, or joined with
re-encoded ends so that a part begins and ends at exact frames.

All parts of a file are copied in one pass. In a file, sound may be some seconds before or after the frame it belongs
to; so the last packets read are kept, and a clip accepts sound for a while after its last frame.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from engine.clips.joining import Joiner
from engine.clips.packets import PacketIndex
from engine.clips.writing import Copy, Writer
from engine.media.source import Source
from engine.sinks.mux import audio_problem

_SOUND_KEPT_S = 10


def copy_suffix(audio: Any) -> str:
    """Return the suffix of a copy's container: MP4, or Matroska if MP4 can't hold the sound."""
    return ".mp4" if audio is None or audio_problem(audio) is None else ".mkv"


def copy(
    source: Source, audio: Any, index: PacketIndex, copies: Sequence[Copy], tick: Callable[[], None]
) -> dict[Path, str]:
    """Write clips from a freshly opened source in one pass, and return the reasons of failures by path. `index` is of
    the same file. Raises SourceError and OutputError."""
    waiting = deque(sorted(copies, key=lambda each: each.cut.first))
    open_now: list[Writer] = []
    failed: dict[Path, str] = {}
    sound: deque[Any] = deque()
    number, at_s = 0, Fraction(0)
    try:
        for packet in source.packets():
            if packet.stream_index != source.video.index:
                _keep_sound(sound, packet, at_s)
                for writer in open_now:
                    writer.hear(packet)
                continue
            if number >= len(index.pts):
                break  # the file has grown since
            packet.pts, packet.dts = int(index.pts[number]), int(index.dts[number])
            at_s = packet.dts * index.time_base
            while waiting and waiting[0].cut.first == number:
                open_now.append(_writer(source, audio, waiting.popleft()))
                for heard in sound:
                    open_now[-1].hear(heard)
            for writer in open_now:
                writer.see(packet, number)
            for writer in [each for each in open_now if each.over(number, at_s)]:
                open_now.remove(writer)
                _end(writer, failed)
            number += 1
            tick()
            if not waiting and not open_now:
                break
        while open_now:
            _end(open_now.pop(), failed)
        failed |= {each.path: "the file ended before it" for each in waiting}
    finally:
        for writer in open_now:
            writer.close()
    return failed


def _writer(source: Source, audio: Any, copy: Copy) -> Writer:
    return Writer(source, audio, copy) if copy.joint is None else Joiner(source, audio, copy)


def _end(writer: Writer, failed: dict[Path, str]) -> None:
    if (problem := writer.finish()) is not None:
        failed[writer.path] = problem


def _keep_sound(sound: deque[Any], packet: Any, at_s: Fraction) -> None:
    if packet.dts is None or not packet.time_base:
        return
    sound.append(packet)
    while sound and sound[0].dts * sound[0].time_base < at_s - _SOUND_KEPT_S:
        sound.popleft()
