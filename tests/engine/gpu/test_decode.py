"""What is said of decoding on the GPU, with and without one."""

import av
import pytest

from engine.inference.gpu import decode
from engine.inference.gpu.decode import CODECS, hardware_decoding, hardware_planes
from engine.inference.trt.gpu import find_gpu


def test_what_this_build_of_pyav_has():
    from av.codec.hwaccel import hwdevices_available

    found = hardware_decoding()
    assert found.kinds == tuple(hwdevices_available())
    assert set(found.codecs) <= set(CODECS)


@pytest.mark.skipif(find_gpu() is not None, reason="there is a GPU here")
def test_without_a_gpu_the_device_does_not_open_and_nothing_falls_back(clip):
    found = hardware_decoding()
    if "cuda" not in found.kinds:
        assert found.problem == "this FFmpeg was built without CUDA"
        return
    assert found.problem is not None
    assert found.problem.startswith("cuda does not open (")
    with pytest.raises((av.error.FFmpegError, OSError)):
        next(hardware_planes(clip))


def test_a_build_without_cuda(monkeypatch):
    monkeypatch.setattr(decode, "opens_on_cuda", lambda codec: False)
    assert hardware_decoding().problem == "this FFmpeg was built without CUDA"


@pytest.mark.gpu
def test_the_gpu_decodes_the_frames_of_the_cpu(clip):
    """To the byte: H.264 leaves a decoder no freedom."""
    if hardware_decoding().problem is not None:
        pytest.skip("cuda does not open for decoding")
    with av.open(str(clip)) as container:
        expected = [frame.reformat(format="nv12").to_ndarray() for frame in container.decode(video=0)]
    found = [frame.to_ndarray() for frame in hardware_planes(clip)]
    assert [frame.tobytes() for frame in found] == [frame.tobytes() for frame in expected]
