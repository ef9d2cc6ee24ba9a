"""Decoding: FFmpeg on all cores, as in the engine, compared with the GPU's decoder if PyAV can open it.

It is reported whether the GPU's frames equal the CPU's byte for byte. The engine does not use them, so a difference is
not an error.
"""

import threading
from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

from benchmarks.clips import described, in_words
from benchmarks.gpu.setting import Setting
from benchmarks.limit import decode_all
from benchmarks.machine import cores
from benchmarks.record import Row, checked
from benchmarks.rounds import alternate
from engine.choices.backends import gpu_number

OURS, CARD = "FFmpeg, a video a core", "the card's decoder, one video"


def measure(setting: Setting) -> Iterator[Row]:
    frames = described(setting.video)["frames"]
    counted: list[int] = []

    def on_cores() -> None:
        counted.clear()
        threads = [threading.Thread(target=lambda: counted.append(decode_all(setting.video))) for _ in range(cores())]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    work: dict[str, Any] = {OURS: on_cores}
    pieces = {OURS: frames * cores()}
    found: dict[str, Any] = {"problem": None if setting.on_gpu else "not asked for"}
    if setting.on_gpu:
        found = compared(setting)
        if found["problem"] is None:
            work[CARD] = lambda: sum(1 for _ in hardware_frames(setting))
            pieces[CARD] = frames
    samples = alternate(work, rounds=setting.context.profile.rounds)
    yield setting.context.row(
        "decode",
        setting.video.name,
        figures={name: [pieces[name] / seconds for seconds in samples[name].wall_s] for name in work},
        unit="fps",
        better="higher",
        ours=OURS,
        input=in_words(setting.video),
        answer=checked(
            counted == [frames] * cores(),
            "the frames of another decoding",
            f"{frames} frames on each of {cores()} cores",
            frames=frames,
        ),
        **setting.told(card_decoder=found),
    )


def hardware_frames(setting: Setting) -> Iterator[Any]:
    from engine.inference.gpu.decode import hardware_planes

    return hardware_planes(setting.video, gpu_number(setting.device))


def compared(setting: Setting) -> dict[str, Any]:
    """Return whether the GPU decodes this video, and how many frames differ from the CPU's."""
    import av

    from engine.inference.gpu.decode import hardware_decoding

    problem = hardware_decoding(gpu_number(setting.device)).problem
    if problem is not None:
        return {"problem": problem}
    differing = 0
    try:
        with av.open(str(setting.video)) as container:
            pairs = zip_longest(container.decode(video=0), hardware_frames(setting))
            for ours, theirs in pairs:
                same = ours is not None and theirs is not None and pixels(ours, "nv12") == pixels(theirs, "nv12")
                differing += not same
    except (av.error.FFmpegError, OSError) as error:
        return {"problem": f"{type(error).__name__}: {error}"}
    return {"problem": None, "differing_frames": differing}


def pixels(frame: Any, pixel_format: str) -> bytes:
    return bytes(frame.reformat(format=pixel_format).to_ndarray().tobytes())
