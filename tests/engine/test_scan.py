"""Which groups of pictures are examined, by made-up packets and images."""

from fractions import Fraction
from types import SimpleNamespace

import av
import numpy as np
import pytest

from engine.stages.scan import Survey, Unscannable

BASE = Fraction(1, 10)
SIZE = (160, 96)


def packet(pts, size=50, *, key=False, discard=False):
    return SimpleNamespace(pts=pts, size=size, is_keyframe=key, is_discard=discard)


def image(*squares, level=80):
    luma = np.full((SIZE[1] * 3 // 2, SIZE[0]), 128, np.uint8)
    luma[: SIZE[1]] = level
    for x, y in squares:
        luma[y : y + 20, x : x + 20] = 200
    return av.VideoFrame.from_ndarray(luma, "yuv420p")


def scan(images, sizes=None, *, start_s=0.0, ignored=None):
    """Of groups of a key frame and nine others, the sizes of which default to 50 bytes."""
    survey = Survey({"mov"}, "h264", ignored)
    for group, shown in enumerate(images):
        for index in range(10):
            if survey.take(packet(10 * group + index, (sizes or {}).get((group, index), 50), key=not index)):
                survey.show(shown)
    return survey.result(BASE, start_s)


def examined(found):
    return np.flatnonzero(found.examined).tolist()


STILL = [image()] * 30


@pytest.mark.parametrize(
    ("images", "sizes", "expected"),
    [
        (STILL, {}, []),
        ([*STILL[:10], image((50, 40)), *STILL[11:]], {}, [9, 10]),
        (STILL, {(12, 3): 4000}, [12]),
        (STILL, {(12, 0): 4000}, []),  # a key frame's own size tells nothing
        (STILL, {(12, 3): 4000, (17, 3): 4000}, [12, *range(13, 17), 17]),
        (STILL, {(12, 3): 4000, (18, 3): 4000}, [12, 18]),  # six seconds are long enough to be left out
        ([image(level=80 + group // 3) for group in range(30)], {}, []),  # the light drifts
        ([*STILL[:10], *[image(level=120)] * 20], {}, [9]),  # it is switched on
        ([*STILL[:10], None, *STILL[11:]], {}, [9]),  # a damaged key frame
    ],
)
def test_what_is_examined(images, sizes, expected):
    assert examined(scan(images, sizes)) == [0, *expected, 29]


def test_a_region_to_ignore():
    images = [*STILL[:10], image((0, 0)), *STILL[11:20], image((120, 60)), *STILL[21:]]
    assert examined(scan(images, ignored=lambda boxes, size: boxes[:, 0] < 80)) == [0, 19, 20, 29]


def test_the_first_group_of_a_part():
    assert examined(scan(STILL, start_s=12.3)) == [12, 29]


def test_frames_keep_their_numbers():
    found = scan(STILL, {(12, 3): 4000})
    assert (found.frames, found.index(120), found.index(290)) == (30, 120, 290)
    assert [index for index in range(300) if found.begins(index)] == [120, 290]
    assert [index for index in range(300) if found.ends(index)] == [9, 129]
    assert found.gaps() == [(10, 120), (130, 290)]


@pytest.mark.parametrize(
    ("packets", "why"),
    [
        ([packet(0)], "doesn't begin with a key frame"),
        ([packet(None, key=True)], "packets without a time"),
        ([packet(0, key=True, discard=True)], "not to be shown"),
        ([packet(0, key=True), packet(1), packet(1)], "two frames at one time"),
        ([packet(5, key=True), packet(6), packet(5, key=True)], "times don't increase"),
        ([packet(5, key=True), packet(3)], "belong to no group"),
        ([], "has no frames"),
    ],
)
def test_what_can_not_be_surveyed(packets, why):
    with pytest.raises(Unscannable, match=why):
        surveyed(packets)


def surveyed(packets):
    survey = Survey({"mov"}, "h264")
    for each in packets:
        if survey.take(each):
            survey.show(image())
    return survey.result(BASE)


@pytest.mark.parametrize(("container", "codec", "why"), [("avi", "h264", "remux"), ("matroska", "vp8", "encode")])
def test_kinds_that_can_not_be_surveyed(container, codec, why):
    with pytest.raises(Unscannable, match=why):
        Survey({container}, codec)
