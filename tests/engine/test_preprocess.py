"""The tensor's shape for a frame, the colour of a frame, and tensors that threads don't share."""

import threading

import av
import numpy as np
import pytest

from engine.errors import DecodeError
from engine.inference.letterbox import Letterboxes
from engine.inference.tensor_shape import TensorShape
from engine.media.planes import colour_of, planes_of
from engine.records import FrameBatch
from engine.stages.preprocess import Preprocess
from engine_ext.letterbox import Letterbox
from models.manifest import InputSpec
from tests.engine.conftest import make_frame, make_image

SPEC = InputSpec(height=64, width=64, scale=1.0, pad_value=114.0)


@pytest.mark.parametrize(
    ("size_wh", "model_hw", "rect_hw"),
    [
        ((1920, 1080), (416, 416), (256, 416)),  # 234 rows
        ((1280, 720), (640, 640), (384, 640)),
        ((1080, 1920), (416, 416), (416, 256)),  # portrait
        ((416, 416), (416, 416), (416, 416)),
        ((100, 100), (416, 416), (416, 416)),  # smaller than the model: made larger
        ((640, 480), (640, 640), (480, 640)),  # a multiple already
        ((641, 481), (640, 640), (512, 640)),  # odd; 480.2 rows are more than 480
        ((854, 480), (416, 416), (256, 416)),  # 233.8 rows
        ((1, 1), (416, 416), (416, 416)),
        ((10_000, 1), (416, 416), (32, 416)),  # a line: one stride
        ((1, 10_000), (416, 416), (416, 32)),
        ((32768, 2), (640, 640), (32, 640)),
        ((1920, 1080), (384, 640), (384, 640)),  # a model that is not square
        ((1080, 1920), (384, 640), (384, 224)),
        ((3840, 1600), (384, 640), (288, 640)),  # 266.7 rows
    ],
)
def test_tensor_shape(size_wh, model_hw, rect_hw):
    assert TensorShape(model_hw, 32, rect=False)(size_wh) == model_hw
    assert TensorShape(model_hw, 32, rect=True)(size_wh) == rect_hw


@pytest.mark.parametrize("stride", [8, 32, 64])
def test_rect_is_a_multiple_never_larger_and_holds_the_same_pixels(stride):
    rng = np.random.default_rng(0)
    shape = TensorShape((448, 640), stride, rect=True)
    for width, height in rng.integers(1, 5000, (500, 2)).tolist():
        rows, columns = shape((width, height))
        assert rows % stride == columns % stride == 0
        assert 0 < rows <= 448
        assert 0 < columns <= 640
        rect, square = (Letterbox((width, height), hw, "gray") for hw in ((rows, columns), (448, 640)))
        assert rect.resized_wh == square.resized_wh  # the same pixels, less padding


@pytest.mark.parametrize(
    ("pixel_format", "height", "colorspace", "color_range", "expected"),
    [
        ("yuv420p", 480, 2, 0, ("bt601", False)),  # nothing said: by size, as players do
        ("yuv420p", 719, 2, 0, ("bt601", False)),
        ("yuv420p", 720, 2, 0, ("bt709", False)),
        ("yuv420p", 1080, 5, 1, ("bt601", False)),  # said
        ("yuv420p", 1080, 6, 1, ("bt601", False)),
        ("yuv420p", 240, 1, 1, ("bt709", False)),
        ("yuv420p", 240, 9, 1, ("bt2020", False)),
        ("yuv420p", 240, 10, 1, ("bt2020", False)),
        ("yuv420p", 240, 1, 2, ("bt709", True)),  # full range
        ("yuvj420p", 240, 5, 0, ("bt601", True)),  # full range by its name
        ("yuv420p", 720, 4, 0, ("bt709", False)),  # a matrix the kernel does not know
    ],
)
def test_colour_of(pixel_format, height, colorspace, color_range, expected):
    image = make_image(64, height, pixel_format)
    image.colorspace, image.color_range = colorspace, color_range
    assert colour_of(image) == expected


@pytest.mark.parametrize("pixel_format", ["gray", "rgb24", "yuv420p", "nv12"])
@pytest.mark.parametrize(("width", "height"), [(64, 48), (63, 47), (1, 1), (33, 2)])
def test_planes_are_views_of_all_rows(pixel_format, width, height):
    image = make_image(width, height, pixel_format)
    half = -(-height // 2)
    rows = {"gray": [height], "rgb24": [height], "yuv420p": [height, half, half], "nv12": [height, half]}
    planes = planes_of(image)
    assert [len(plane) for plane in planes] == rows[pixel_format]
    assert all(plane.base is not None for plane in planes)


def test_the_tensor_holds_the_pictures_in_order():
    stage = Preprocess(SPEC, "float32")
    images = [av.VideoFrame.from_ndarray(np.full((64, 64, 3), level, np.uint8), "rgb24") for level in (10, 200)]
    batch = FrameBatch([make_frame(i, image=image) for i, image in enumerate(images)], (64, 64))
    done = stage.process(batch)
    assert (done.tensor.shape, done.tensor.dtype) == ((2, 3, 64, 64), np.float32)
    assert [float(slot.mean()) for slot in done.tensor] == [10.0, 200.0]
    assert done.frames is batch.frames
    assert len(done.letterboxes) == 2
    assert done.letterboxes[0] is done.letterboxes[1]  # one a size, kept


def test_a_smaller_batch_reuses_the_tensor_and_shows_no_rest():
    stage = Preprocess(SPEC, "float16")
    frame = make_frame(0)
    large = stage.process(FrameBatch([frame] * 4, (64, 64))).tensor
    small = stage.process(FrameBatch([frame], (64, 64))).tensor
    assert len(small) == 1
    assert np.shares_memory(large, small)
    assert stage.process(FrameBatch([frame], (32, 64))).tensor.shape == (1, 3, 32, 64)


def test_threads_don_t_share_a_tensor():
    stage = Preprocess(SPEC, "float32")
    batch = FrameBatch([make_frame(0)], (64, 64))
    mine, others = stage.process(batch).tensor, []
    thread = threading.Thread(target=lambda: others.append(stage.process(batch).tensor))
    thread.start()
    thread.join()
    assert not np.shares_memory(mine, others[0])


def test_letterboxes_kept_are_bounded():
    letterboxes = Letterboxes(SPEC, "float32")
    for width in range(1, 200):
        letterboxes.of(make_image(width, 8), (32, 32))
        assert 0 < len(letterboxes) <= 64


def test_a_frame_that_no_kernel_takes_is_the_video_s_error():
    stage = Preprocess(SPEC, "float32")
    with pytest.raises(DecodeError, match=r"gives frames that can't be read: .*32768"):
        stage.process(FrameBatch([make_frame(0, image=make_image(40_000, 2))], (64, 64)))
    with pytest.raises(DecodeError, match="gives frames that can't be read: "):
        stage.process(FrameBatch([make_frame(0, image=make_image(8, 8, "yuv444p"))], (64, 64)))
