"""From a model's rows to boxes of the frame: letterbox undone, classes masked, duplicates removed."""

import numpy as np
import pytest

from engine.errors import BackendError
from engine.inference.layouts import get_layout
from engine.records import Anchors, RawOutputs
from engine.stages.postprocess import Postprocess
from engine_ext.letterbox import Letterbox
from tests.engine.conftest import heads_of, make_frame, make_image

HW = (64, 64)


def read(layout, output, size_wh=(64, 64), pad="center", **options):
    reading = {key: options.pop(key) for key in ("conf", "class_mask") if key in options}
    options = {"nms_iou": 0.5, "max_detections": 300, **options}
    stage = Postprocess(get_layout(layout), **options)
    image = make_image(*size_wh)
    letterbox = Letterbox(size_wh, HW, "gray", pad=pad)
    raw = RawOutputs([make_frame(0, image=image)], heads_of(layout, [output], HW, **reading), HW, [letterbox])
    (found,) = stage.process(raw)
    return found


def yolov5_row(box, score, class_id=0, classes=2):
    x1, y1, x2, y2 = box
    row = [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1, score, *[0.0] * classes]
    row[5 + class_id] = 1.0
    return row


@pytest.mark.parametrize(
    ("size_wh", "pad", "model_box", "frame_box"),
    [
        ((64, 64), "center", (8, 16, 24, 32), (8, 16, 24, 32)),
        ((128, 64), "center", (8, 16, 24, 32), (16, 0, 48, 32)),  # half the size, 16 rows above
        ((128, 64), "topleft", (8, 16, 24, 32), (16, 32, 48, 64)),
        ((64, 128), "center", (16, 8, 32, 24), (0, 16, 32, 48)),  # portrait
        ((32, 32), "center", (8, 16, 24, 32), (4, 8, 12, 16)),  # made larger
        ((128, 64), "center", (-10, 0, 100, 64), (0, 0, 128, 64)),  # clipped to the frame
    ],
)
def test_boxes_are_pixels_of_the_frame(size_wh, pad, model_box, frame_box):
    for layout, row in (("end2end", [*model_box, 0.9, 0]), ("yolov5", yolov5_row(model_box, 0.9))):
        found = read(layout, [row], size_wh, pad)
        np.testing.assert_allclose(found.boxes_xyxy, [frame_box], atol=1e-4)
        assert found.boxes_xyxy.dtype == np.float32


NEAR = [
    yolov5_row((10, 10, 30, 30), 0.6),
    yolov5_row((11, 10, 31, 30), 0.9),
    yolov5_row((10, 11, 30, 31), 0.8, class_id=1),
    yolov5_row((40, 40, 60, 60), 0.7),
    yolov5_row((5, 5, 9, 9), 0.1),  # below conf
]


@pytest.mark.parametrize(
    ("options", "scores", "classes"),
    [
        ({}, [0.9, 0.8, 0.7], [0, 1, 0]),  # best first; the twin of the same class is gone
        ({"class_agnostic": True}, [0.9, 0.7], [0, 0]),
        ({"nms_iou": 1.0}, [0.9, 0.8, 0.7, 0.6], [0, 1, 0, 0]),
        ({"conf": 0.75}, [0.9, 0.8], [0, 1]),
        ({"conf": 0.0}, [0.9, 0.8, 0.7, 0.1], [0, 1, 0, 0]),
        ({"max_detections": 1}, [0.9], [0]),
        ({"class_mask": np.array([False, True])}, [0.8], [1]),
        ({"class_mask": np.array([False, False])}, [], []),
        ({"conf": 1.0}, [], []),
    ],
)
def test_what_is_kept(options, scores, classes):
    found = read("yolov5", NEAR, **options)
    np.testing.assert_allclose(found.scores, scores, atol=1e-6)
    assert found.class_ids.tolist() == classes
    assert found.boxes_xyxy.shape == (len(scores), 4)


def test_end2end_rows_are_only_sorted():
    rows = [[10, 10, 30, 30, 0.5, 1], [10, 10, 30, 30, 0.9, 0], [10, 10, 30, 30, 0.5, 0], [0, 0, 1, 1, 0.7, 0]]
    found = read("end2end", rows, nms_iou=0.0)  # the same box thrice: no NMS
    np.testing.assert_allclose(found.scores, [0.9, 0.7, 0.5, 0.5])
    assert found.class_ids.tolist() == [0, 0, 1, 0]
    equal = [[i, 0, i + 1, 1, 0.5, i] for i in range(60)]  # equal scores keep the model's order
    assert read("end2end", equal).class_ids.tolist() == list(range(60))
    assert len(read("end2end", rows, max_detections=2)) == 2
    assert len(read("end2end", np.empty((0, 6)))) == 0


def test_each_slot_has_its_own_frame():
    stage = Postprocess(get_layout("end2end"), nms_iou=0.5, max_detections=10)
    sizes = [(64, 64), (128, 64)]
    raw = RawOutputs(
        [make_frame(i, image=make_image(*size)) for i, size in enumerate(sizes)],
        heads_of("end2end", [[[8, 16, 24, 32, 0.9, 0]]] * 2, HW),
        HW,
        [Letterbox(size, HW, "gray") for size in sizes],
    )
    assert [found.boxes_xyxy.round(3).tolist() for found in stage.process(raw)] == [
        [[8, 16, 24, 32]],
        [[16, 0, 48, 32]],
    ]


def test_an_output_of_another_layout_is_an_error():
    with pytest.raises(BackendError, match="the model's output does not fit its layout: "):
        read("end2end", [[1, 2, 3]])
    with pytest.raises(BackendError, match="does not fit its layout"):
        read("end2end", [[0, 0, 1, 1, 0.9, 7]], class_mask=np.array([True, True]))  # class 7 of 2


ROWS = {
    "end2end": [[0, 0, 9, 9, 0.9, 7]],
    "yolov5": [yolov5_row((0, 0, 9, 9), 0.9, class_id=7, classes=8)],
    "yolov8": np.array([[4, 4, 9, 9, *[0.0] * 7, 0.9]]).T,
}


@pytest.mark.parametrize("layout", ROWS)
@pytest.mark.parametrize("count", [None, 8, 7, 1])
def test_a_class_without_a_name_is_an_error(layout, count):
    if count in (None, 8):
        assert read(layout, ROWS[layout], class_count=count).class_ids.tolist() == [7]
        assert len(read(layout, ROWS[layout], class_count=count, conf=1.0)) == 0
        return
    with pytest.raises(BackendError) as caught:
        read(layout, ROWS[layout], class_count=count)
    assert str(caught.value) == (
        f"the output does not look like layout {layout}: class 7 of {count}. Correct --layout or --class-names."
    )


def test_what_the_gpu_found_is_checked_as_well():
    stage = Postprocess(get_layout("yolov8"), nms_iou=0.5, max_detections=10, class_count=2)
    found = Anchors(np.zeros((1, 4), np.float32), np.ones(1, np.float32), np.full(1, 2, np.int32))
    with pytest.raises(BackendError, match="layout yolov8: class 2 of 2"):
        stage.read(found, HW, make_image(64, 64), Letterbox((64, 64), HW, "gray"))
