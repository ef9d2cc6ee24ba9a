"""Shapes a plan takes, by table."""

import pytest

from engine.errors import ConfigError
from engine.inference.trt.profile import Profile, make_profile


@pytest.mark.parametrize(
    ("shape", "hw", "batches", "expected"),
    [
        ("square", (416, 416), (1, 4, 8), ((1, 3, 416, 416), (4, 3, 416, 416), (8, 3, 416, 416))),
        ("rect", (640, 640), (1, 8, 8), ((1, 3, 32, 32), (8, 3, 384, 640), (8, 3, 640, 640))),
        ("rect", (416, 416), (1, 1, 1), ((1, 3, 32, 32), (1, 3, 256, 416), (1, 3, 416, 416))),
        ("rect", (288, 640), (1, 1, 1), ((1, 3, 32, 32), (1, 3, 288, 640), (1, 3, 288, 640))),  # flatter than 16:9
        ("384x640", (640, 640), (2, 2, 2), ((2, 3, 384, 640),) * 3),
    ],
)
def test_shapes(shape, hw, batches, expected):
    made = make_profile(shape, hw, 32, batches)
    assert made == Profile(*expected)


@pytest.mark.parametrize(
    ("shape", "batches", "fixed", "part"),
    [
        ("round", (1, 1, 1), None, "--shape must be square, rect or a height and width such as 384x640. Got"),
        ("0x64", (1, 1, 1), None, "--shape must be square"),
        ("100x640", (1, 1, 1), None, "multiples of the model's stride 32. Got '100x640'"),
        ("square", (0, 1, 1), None, "must rise and lie in [1, 256]. Got 0, 1 and 1"),
        ("square", (1, 9, 8), None, "must rise"),
        ("square", (4, 2, 8), None, "must rise"),
        ("square", (1, 1, 257), None, "must rise"),
        ("square", (1, 2, 2), "why", "--max-batch must be 1 for this model: why. Got 2."),
        ("rect", (1, 1, 1), "why", "--shape must be square for this model, 640x640: why."),
        ("64x64", (1, 1, 1), "why", "--shape must be square for this model, 640x640: why."),
    ],
)
def test_refused(shape, batches, fixed, part):
    with pytest.raises(ConfigError) as caught:
        make_profile(shape, (640, 640), 32, batches, fixed=fixed)
    assert part in str(caught.value)


def test_what_it_takes():
    profile = make_profile("rect", (640, 640), 32, (2, 4, 8))
    assert profile.fixed_hw is None
    assert make_profile("square", (640, 640), 32, (1, 1, 1), fixed="why").fixed_hw == (640, 640)
    assert profile.takes((2, 3, 32, 32))
    assert profile.takes((8, 3, 640, 640))
    for shape in ((1, 3, 640, 640), (9, 3, 640, 640), (8, 3, 672, 640), (8, 4, 640, 640), (8, 3, 640)):
        assert not profile.takes(shape)
