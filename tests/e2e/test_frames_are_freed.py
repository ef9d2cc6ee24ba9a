"""A frame's memory goes when its last user lets go, not when the garbage collector comes by.

At 3 MB a full-HD frame, a reference cycle a frame would make the window's bound worthless.
"""

import gc

import av

from engine.media.source import Source
from engine.stages.decode import Decoder
from tests.e2e.runs import clip


def _frames_alive() -> int:
    return sum(issubclass(type(each), av.VideoFrame) for each in gc.get_objects())


def test_decoded_frames_need_no_collector(tmp_path):
    source = Source(str(clip(tmp_path / "a.mp4", 30)))
    info = source.open()
    decoder = Decoder(info.time_base, info.frame_rate)
    decoder.attach(source.video)
    gc.collect()
    gc.disable()
    try:
        before = _frames_alive()
        frames = 0
        for packet in source.packets():
            for _image, _pts, _duration in decoder.decode(packet):
                frames += 1
        del _image
        assert frames >= 28
        assert _frames_alive() - before <= 2
    finally:
        gc.enable()
        source.close()
