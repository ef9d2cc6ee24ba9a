"""Ranges for int8: which pictures, how they are read, and what the histogram makes of them."""

import av
import numpy as np
import pytest

from engine.errors import ConfigError, PlanError
from engine.inference.trt.calibrate import Histogram, find_pictures, tensors_of
from models.manifest import InputSpec


def write_picture(path, value=200, size_wh=(40, 20)):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg" if path.suffix == ".jpg" else "png", rate=1)
        stream.width, stream.height = size_wh
        stream.pix_fmt = "yuvj420p" if path.suffix == ".jpg" else "rgb24"
        picture = np.full((size_wh[1], size_wh[0], 3), value, np.uint8)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode(None))
    return path


def test_pictures_are_taken_evenly_and_hashed(tmp_path):
    for number in range(10):
        (tmp_path / f"{number}.JPG").write_bytes(b"%d" % number)
    (tmp_path / "notes.txt").write_text("no picture")
    found = find_pictures(tmp_path, 4)
    assert [path.stem for path in found.pictures] == ["0", "2", "5", "7"]
    assert found.sha256 == find_pictures(tmp_path, 4).sha256 != find_pictures(tmp_path, 5).sha256
    (tmp_path / "5.JPG").write_bytes(b"other")
    assert found.sha256 != find_pictures(tmp_path, 4).sha256


def test_no_folder_and_an_empty_one(tmp_path):
    with pytest.raises(ConfigError, match="--calib must be a folder of images"):
        find_pictures(tmp_path / "none")
    with pytest.raises(ConfigError, match=r"contains no image \(.jpg"):
        find_pictures(tmp_path)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_pictures_are_letterboxed_as_the_model_is_fed(tmp_path, suffix):
    path = write_picture(tmp_path / f"a{suffix}")
    spec = InputSpec(height=64, width=64, scale=1 / 255, pad_value=0.0)
    (tensor,) = tensors_of([path], spec)
    assert (tensor.shape, tensor.dtype) == ((1, 3, 64, 64), np.float32)
    np.testing.assert_allclose(tensor[0, :, 24:40], 200 / 255, atol=0.02)
    assert not tensor[0, :, :14].any()  # the picture lies in the middle


def test_what_is_no_picture_is_named(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(b"text")
    with pytest.raises(ConfigError, match=r"a.jpg is not an image that can be read"):
        list(tensors_of([path], InputSpec(height=64, width=64)))


def test_histogram_grows_and_loses_nothing():
    histogram = Histogram()
    values = np.linspace(-1, 1, 1001, dtype=np.float32)
    histogram.add(values)
    assert histogram.limit == 1.0
    histogram.add(values * 9)
    assert histogram.limit == 16.0
    assert histogram.counts.sum() == 2 * len(values)


@pytest.mark.parametrize(
    ("values", "low", "high"),
    [
        (np.zeros(100), 1.0, 1.0),  # nothing was seen: any scale does
        (np.ones(100), 0.98, 1.01),  # one value: no clipping
        (np.linspace(-6, 6, 5000), 5.8, 6.01),  # flat: nothing is worth clipping
        (np.r_[np.random.default_rng(0).normal(0, 1, 60000), 8.0], 3.0, 6.5),  # one far away: it is clipped
    ],
)
def test_threshold(values, low, high):
    histogram = Histogram()
    histogram.add(values.astype(np.float32))
    assert low <= histogram.threshold() <= high


def test_overflow_is_told():
    with pytest.raises(PlanError, match="not finite"):
        Histogram().add(np.array([1.0, np.inf]))
