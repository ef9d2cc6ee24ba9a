import numpy as np
import pytest

from engine_ext.motion import MotionMap
from tests.reference.motion import MotionMap as Twin

SIZES = [(64, 48), (63, 47), (1920, 1080), (854, 480), (321, 7), (1, 1), (5, 3000), (2570, 33), (641, 1)]


def noisy(random, width, height, *, base=None, pad=0):
    """A frame of a scene that is a little different each time, its rows padded with what is never to be read."""
    scene = random.integers(0, 256, (height, width)) if base is None else base
    luma = np.full((height + 1, width + pad), 255, np.uint8)
    luma[:height, :width] = np.clip(scene + random.integers(-3, 4, (height, width)), 0, 255)
    return luma


def same(mine, twin):
    np.testing.assert_array_equal(mine.changed, twin.changed)
    assert (mine.shift, mine.share) == (twin.shift, twin.share)


@pytest.mark.parametrize("size_wh", SIZES)
def test_it_answers_as_its_twin(size_wh):
    random = np.random.default_rng(size_wh[0])
    width, height = size_wh
    mine, twin = MotionMap(size_wh), Twin(size_wh)
    assert (mine.blocks_hw, mine.block_px) == (twin.blocks_hw, twin.block_px)
    base = random.integers(0, 256, (height, width))
    for number in range(12):
        if number % 3 == 2:  # something appears
            x, y = int(random.integers(0, width)), int(random.integers(0, height))
            base = base.copy()
            base[y : y + 40, x : x + 40] = int(random.integers(0, 256))
        luma = noisy(random, width, height, base=base + 2 * number, pad=number)
        settings = {"threshold": float(random.uniform(0.5, 9)), "noises": 2.5, "pixels": int(random.integers(1, 5))}
        mine.look(luma, **settings)
        twin.look(luma, **settings)
        same(mine, twin)
        blocks = None if number % 4 == 0 else random.random(mine.blocks_hw) < 0.5
        mine.accept(blocks)
        twin.accept(blocks)


def test_what_appears_has_changed_until_it_is_accepted_and_light_is_no_change():
    quiet = np.full((360, 640), 90, np.uint8)
    seen = MotionMap((640, 360))
    seen.look(quiet)
    assert not seen.changed.any()
    seen.accept()
    there = quiet.copy()
    there[100:140, 200:220] = 120
    seen.look(there + np.uint8(7))  # brighter as a whole, too
    assert seen.shift == 7.0
    rows, columns = np.nonzero(seen.changed)
    touched = (rows * seen.block_px < 140) & ((rows + 1) * seen.block_px > 100)
    touched &= (columns * seen.block_px < 220) & ((columns + 1) * seen.block_px > 200)
    assert len(rows) == touched.sum() > 0
    seen.look(there)
    seen.accept(seen.changed)
    seen.look(there)
    assert seen.share == 0.0
    seen.look(quiet)  # it is gone again
    assert seen.share > 0.0


def test_noise_raises_what_counts_as_change():
    random = np.random.default_rng(1)
    flicker = [np.clip(100 + random.normal(0, 4, (240, 320)), 0, 255).astype(np.uint8) for _ in range(40)]
    seen = MotionMap((320, 240))
    seen.look(flicker[0])
    seen.accept()
    shares = []
    for luma in flicker:
        seen.look(luma, threshold=4.0, pixels=24)
        shares.append(seen.share)
    assert shares[1] > 0.5
    assert shares[-1] < shares[1] / 4


def test_a_state_goes_on_where_it_was_taken():
    random = np.random.default_rng(2)
    frames = [noisy(random, 200, 100) for _ in range(6)]
    first = MotionMap((200, 100))
    for luma in frames[:3]:
        first.look(luma)
        first.accept()
    second = MotionMap((200, 100))
    second.set_state(first.get_state())
    for luma in frames[3:]:
        for each in (first, second):
            each.look(luma)
        np.testing.assert_array_equal(first.changed, second.changed)
        assert first.shift == second.shift
        assert first.get_state() == second.get_state()


@pytest.mark.parametrize("wrong", [b"", b"x" * 10, "text", None])
def test_a_state_of_something_else_is_refused(wrong):
    with pytest.raises(ValueError, match="state is not"):
        MotionMap((64, 48)).set_state(wrong)
    other = MotionMap((64, 40)).get_state()
    with pytest.raises(ValueError, match="state is not"):
        MotionMap((64, 48)).set_state(other)
    own = MotionMap((64, 48)).get_state()
    with pytest.raises(ValueError, match="state is"):
        MotionMap((64, 48)).set_state(own[:-4] + b"\xff\xff\xff\xff")


@pytest.mark.parametrize(
    ("size_wh", "luma", "settings"),
    [
        ((0, 4), None, {}),
        ((4, 40_000), None, {}),
        ((4.0, 4), None, {}),
        ((4, 4), np.zeros((4, 4), np.float32), {}),
        ((4, 4), np.zeros((3, 4), np.uint8), {}),
        ((4, 4), np.zeros((4, 8), np.uint8)[:, ::2], {}),
        ((4, 4), np.zeros((4, 4), np.uint8), {"threshold": 0.0}),
        ((4, 4), np.zeros((4, 4), np.uint8), {"noises": float("nan")}),
        ((4, 4), np.zeros((4, 4), np.uint8), {"pixels": 0}),
    ],
)
def test_what_is_no_frame_is_refused(size_wh, luma, settings):
    with pytest.raises(ValueError, match=r"must (be|have)"):
        MotionMap(size_wh).look(luma, **settings)


def test_blocks_of_another_shape_are_refused():
    seen = MotionMap((64, 48))
    with pytest.raises(ValueError, match="blocks must be"):
        seen.accept(np.zeros((1, 1), bool))
