"""Videos of the length and size that a benchmark needs, made once from real ones and cached in build/bench-clips.

Shortening and lengthening copy packets, so that the images stay the real ones; another size is re-encoded.
"""

import os
from collections.abc import Callable
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.context import Context
from benchmarks.machine import ROOT, asset

CACHE = ROOT / "build" / "bench-clips"
QUICK_FRAMES = 120
LARGE_TIMES = 4


def clip(context: Context, name: str) -> Path:
    """Return a video of the assets: its first frames in profile quick, all in full, several repetitions in large."""
    video = asset(f"videos/{name}")
    if context.profile.name == "quick":
        return shortened(video, QUICK_FRAMES)
    return video if context.profile.name == "full" else lengthened(video, LARGE_TIMES)


def shortened(video: Path, frames: int) -> Path:
    """Return a video of the first `frames` packets, or of all if there are fewer."""
    return _kept(video, f"first-{frames}-frames", lambda target: copy_first(video, target, frames))


def lengthened(video: Path, times: int) -> Path:
    """Return a video with the same packets repeated `times` times."""
    return _kept(video, f"times-{times}", lambda target: copy_packets(video, target, times))


def resized(video: Path, size_wh: tuple[int, int], frames: int) -> Path:
    """Return the first frames of a video in another size, as H.264 with B-frames, 25 per second, without sound."""
    name = f"{size_wh[0]}x{size_wh[1]}-{frames}"
    return _kept(video, name, lambda target: encode_resized(video, target, size_wh, frames), suffix=".mp4")


def copy_first(video: Path, target: Path, most: int) -> None:
    """Copy the first `most` packets of the video stream, at the stream's rate, because frames that are shown in another
    order than they are sent would leave gaps at the end."""
    import av

    with av.open(str(video)) as source, av.open(str(target), "w") as out:
        shown = source.streams.video[0]
        stream = out.add_stream_from_template(shown)
        assert shown.average_rate is not None
        assert shown.time_base is not None
        tick = max(1, round(1 / shown.average_rate / shown.time_base))
        packets = list(islice((packet for packet in source.demux(shown) if packet.dts is not None), most))
        times = sorted(packet.pts if packet.pts is not None else packet.dts for packet in packets)
        places = [times.index(packet.pts if packet.pts is not None else packet.dts) for packet in packets]
        late = max(number - place for number, place in enumerate(places))
        for number, (packet, place) in enumerate(zip(packets, places, strict=True)):
            packet.pts, packet.dts, packet.duration = place * tick, (number - late) * tick, tick
            packet.stream = stream
            out.mux(packet)


def copy_packets(video: Path, target: Path, times: int = 1) -> None:
    """Copy the packets of the video stream `times` times, one after the other."""
    import av

    with av.open(str(target), "w") as out:
        stream, offset = None, 0
        for _ in range(times):
            with av.open(str(video)) as source:
                shown = source.streams.video[0]
                stream = stream or out.add_stream_from_template(shown)
                assert shown.average_rate is not None
                assert shown.time_base is not None
                tick = max(1, round(1 / shown.average_rate / shown.time_base))
                end = offset
                for packet in source.demux(shown):
                    if packet.dts is None:
                        continue
                    packet.pts = (packet.pts if packet.pts is not None else packet.dts) + offset
                    packet.dts += offset
                    end = max(end, packet.pts + tick, packet.dts + tick)
                    packet.stream = stream
                    out.mux(packet)
                offset = end


def encode_resized(video: Path, target: Path, size_wh: tuple[int, int], frames: int) -> None:
    import av

    with av.open(str(video)) as source, av.open(str(target), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"preset": "superfast", "bf": "3"})
        (stream.width, stream.height), stream.pix_fmt = size_wh, "yuv420p"
        for number, frame in enumerate(source.decode(video=0)):
            if number == frames:
                break
            picture = frame.reformat(*size_wh, "yuv420p")
            picture.pts, picture.time_base, picture.pict_type = number, Fraction(1, 25), 0
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))


def described(video: Path) -> dict[str, Any]:
    """Return the number of frames (by decoding), the size and the codec."""
    import av

    with av.open(str(video)) as source:
        stream = source.streams.video[0]
        context = stream.codec_context
        frames = sum(1 for _ in source.decode(stream))
        return {"frames": frames, "size_wh": (context.width, context.height), "codec": context.name}


def in_words(video: Path) -> str:
    """Return a row's description of its input."""
    found = described(video)
    width, height = found["size_wh"]
    return f"{video.name}: {width}x{height} {found['codec']}, {found['frames']} frames"


def _kept(video: Path, what: str, make: Callable[[Path], None], suffix: str | None = None) -> Path:
    """Return the clip made from `video`, cached if possible. It is written atomically."""
    suffix = suffix or video.suffix
    target = CACHE / f"{video.stem}-{video.stat().st_size}-{what}{suffix}"
    if not target.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f"{target.stem}.{os.getpid()}.part{suffix}")
        make(part)
        os.replace(part, target)
    return target
