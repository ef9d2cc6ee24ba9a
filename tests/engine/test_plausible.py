"""An output that is read wrongly is told from one that is read rightly, whatever the scene."""

import numpy as np
import pytest

from engine.errors import BackendError
from engine.inference.layouts import get_layout
from engine.inference.plausible import FirstLook, Signs, signs_of
from engine.records import RawOutputs
from engine.stages.postprocess import Postprocess
from engine_ext.letterbox import Letterbox
from tests.engine.conftest import heads_of, make_frame, make_image

HW = (320, 416)
RNG = np.random.default_rng(0)


def boxes_at(count, low=(20, 20), high=(380, 300), side=(8, 120)):
    """Boxes such as a detector gives."""
    corner = RNG.uniform(low, high, (count, 2))
    return np.concatenate([corner, corner + RNG.uniform(*side, (count, 2))], axis=1).astype(np.float32)


def look(frames, scores=0.6, hw=HW):
    first = FirstLook()
    for boxes in frames:
        boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
        first.see(signs_of("yolov5", boxes, np.full(len(boxes), scores, np.float32), hw))
    first.conclude()


WRONG = {
    "normalised": (lambda: [RNG.random((9, 4)) for _ in range(10)], "lie within 4 pixels of the input's corner"),
    "a raw grid": (lambda: [RNG.uniform(-3, 3, (9, 4)) for _ in range(10)], "lie within 4 pixels of the input's"),
    "inside out": (lambda: [boxes_at(9)[:, [2, 3, 0, 1]] for _ in range(10)], "are empty"),
    "lines": (lambda: [boxes_at(9)[:, [0, 1, 2, 1]] for _ in range(10)], "are empty"),
    "beyond all sides": (lambda: [[[-400, -400, 900, 900]] * 3 for _ in range(10)], "cover the whole frame"),
    "everywhere": (lambda: [[[0, 0, 416, 320]] * 300 for _ in range(10)], "cover the whole frame"),
    "the very same": (lambda: [[[50, 50, 90, 90]] * 250 for _ in range(10)], "are the very same"),
    "a short video": (lambda: [RNG.random((9, 4)) for _ in range(2)], "in the first 2 frames with boxes all 18 boxes"),
    "behind empty frames": (lambda: [[]] * 50 + [RNG.random((9, 4)) for _ in range(10)], "in the first 10 frames"),
}  # fmt: skip

RIGHT = {
    "nothing at all": lambda: [[]] * 20,
    "a few small ones": lambda: [boxes_at(2, side=(2, 9)) for _ in range(20)],
    "one thing close up": lambda: [[[0, 0, 416, 320]] * 60 for _ in range(20)],  # many anchors of one object
    "close up, beyond the frame": lambda: [[[-30, -30, 450, 350]] * 60 for _ in range(20)],
    "a crowd": lambda: [boxes_at(400) for _ in range(20)],
    "an overlay in the corner": lambda: [[[0, 0, 40, 16]] * 5 for _ in range(20)],
    "some boxes outside the picture": lambda: [np.r_[boxes_at(1), np.array([[0, 0, 0, 0]] * 8)] for _ in range(20)],
    "one frame gone wrong": lambda: [RNG.random((9, 4)), *(boxes_at(3) for _ in range(9))],
    "too few to tell": lambda: [RNG.random((1, 4)) for _ in range(9)],
    "the same box of coarse numbers": lambda: [[[50, 50, 90, 90]] * 30 for _ in range(20)],
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_garbage_stops_with_a_sentence(case):
    frames, said = WRONG[case]
    with pytest.raises(BackendError, match="does not look like layout yolov5: in the ") as caught:
        look(frames())
    assert said in str(caught.value)


@pytest.mark.parametrize("case", RIGHT)
def test_scenes_that_are_only_odd_go_on(case):
    look(RIGHT[case]())


def test_rows_that_only_fill_an_output_up_are_no_sign():
    boxes = np.concatenate([np.zeros((298, 4), np.float32), boxes_at(2)])
    scores = np.concatenate([np.zeros(298, np.float32), [0.5, 0.6]]).astype(np.float32)
    first = FirstLook()
    for _ in range(20):
        first.see(signs_of("end2end", boxes, scores, HW))
    first.conclude()


@pytest.mark.parametrize(("score", "wrong"), [(1.0, False), (1.04, False), (1.06, True), (5.0, True)])
def test_scores_are_at_most_one(score, wrong):
    if not wrong:  # quantized models go a little beyond
        look([boxes_at(1)], scores=score)
        return
    with pytest.raises(
        BackendError, match=f"in the one frame with boxes scores go up to {score:g}, where 0 to 1 is possible"
    ):
        look([boxes_at(1)], scores=score)


def test_the_verdict_comes_with_the_tenth_frame_and_only_once():
    wrong = Signs("yolox", 5, 0.5, 0, 5, 0, 0, 0)
    first = FirstLook()
    for _ in range(9):
        first.see(wrong)
        first.see(None)  # a frame in which nothing was counted
        first.see(Signs("yolox", 0, 0.0, 0, 0, 0, 0, 0))
    with pytest.raises(BackendError):
        first.see(wrong)
    first.conclude()
    for _ in range(20):
        first.see(wrong)


def stage(**options):
    return Postprocess(get_layout("end2end"), **{"nms_iou": 0.5, "max_detections": 3, **options})


def raw_of(rows, index=0, layout="end2end"):
    image, letterbox = make_image(64, 32), Letterbox((64, 32), (64, 64), "gray")  # 16 rows above, 16 below
    return RawOutputs([make_frame(index, image=image)], heads_of(layout, [rows], (64, 64)), (64, 64), [letterbox])


def test_boxes_without_area_are_dropped_before_the_most_are_taken():
    padding = [[4, 2, 30, 12, 0.9, 0], [4, 52, 30, 64, 0.9, 0]]  # above and below the picture
    empty = [[30, 30, 30, 40, 0.95, 0], [40, 40, 30, 50, 0.95, 0], [70, 20, 99, 40, 0.95, 0]]
    good = [[0, 16, 8, 24, 0.5, 0], [8, 16, 16, 24, 0.4, 0], [16, 16, 24, 24, 0.3, 0]]
    (found,) = stage().process(raw_of([*padding, *empty, *good]))
    np.testing.assert_allclose(found.scores, [0.5, 0.4, 0.3])
    assert found.without_area == 5
    assert (found.boxes_xyxy[:, 2:] > found.boxes_xyxy[:, :2]).all()


def test_a_box_in_the_padding_suppresses_none():
    rows = [[32, 10, 20, 12, 0.9, 1.0], [32, 14, 20, 12, 0.8, 1.0]]  # cx cy w h: the first just above the picture
    postprocess = Postprocess(get_layout("yolov5"), nms_iou=0.3, max_detections=9)
    (found,) = postprocess.process(raw_of(rows, layout="yolov5"))
    np.testing.assert_allclose(found.scores, [0.8])
    assert found.without_area == 1


def test_signs_are_counted_at_the_beginning_only():
    rows = [[0, 16, 8, 24, 0.5, 0]]
    assert stage(look_until=3).process(raw_of(rows, index=2))[0].signs is not None
    assert stage(look_until=3).process(raw_of(rows, index=3))[0].signs is None
