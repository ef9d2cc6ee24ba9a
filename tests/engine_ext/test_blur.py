import threading

import numpy as np
import pytest

from engine_ext.blur import hide_boxes
from tests.engine_ext.test_overlay import make_planes
from tests.reference import blur as reference


def hide_both(width, height, boxes, *, pad=0, guard=0, dtype=np.float64, **options):
    """Hide with the kernel and its twin and give the kernel's planes; every byte must agree, poisoned ones too."""
    boxes = np.array(boxes, dtype).reshape(-1, 4)
    planes, wholes = make_planes(width, height, pad=pad, guard=guard)
    twin_planes, twin_wholes = make_planes(width, height, pad=pad, guard=guard)
    hide_boxes(planes, (width, height), boxes, **options)
    reference.hide_boxes(twin_planes, (width, height), boxes, **options)
    for name, whole, twin in zip("YUV", wholes, twin_wholes, strict=True):
        np.testing.assert_array_equal(whole, twin, err_msg=name)
    return planes


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(
    ("width", "height"), [(64, 48), (63, 47), (320, 240), (1, 1), (3, 5), (5, 3), (2, 100), (100, 1), (33, 150)]
)
def test_random_boxes_equal_the_twin(width, height, dtype):
    random = np.random.default_rng(width * 1000 + height)
    for _ in range(20):
        boxes = random.uniform(-0.3, 1.3, (int(random.integers(0, 6)), 4)) * [width, height, width, height]
        options = {"cells": int(random.integers(1, 20)), "fill": bool(random.integers(2))}
        hide_both(width, height, boxes, pad=7, guard=2, dtype=dtype, full_range=bool(random.integers(2)), **options)


@pytest.mark.parametrize(
    ("box", "changed"),
    [
        ((10, 10, 30, 30), (10, 10, 30, 30)),
        ((10.9, 11.1, 29.2, 29.9), (10, 10, 30, 30)),  # grows to whole blocks
        ((-50, -50, 5, 5), (0, 0, 6, 6)),
        ((60, 40, 900, 900), (60, 40, 64, 48)),
        ((-np.inf, -np.inf, np.inf, np.inf), (0, 0, 64, 48)),
        ((30, 30, 10, 40), None),  # inverted
        ((10, 10, 10, 20), None),  # no area
        ((np.nan, 0, 10, 10), None),
        ((0, 0, np.nan, 10), None),
        ((64, 0, 80, 10), None),  # outside, but for its edge
        ((-9, 0, 0, 10), None),
    ],
)
def test_what_is_hidden(box, changed):
    planes = hide_both(64, 48, [box], fill=True)
    before, _ = make_planes(64, 48)
    expected = before[0].copy()
    if changed is not None:
        left, top, right, bottom = changed
        expected[top:bottom, left:right] = 126
    np.testing.assert_array_equal(planes[0], expected)


def test_cells_are_few_and_never_small():
    planes = hide_both(200, 200, [(0, 0, 200, 200)], cells=4)
    for number, size in ((0, 50), (1, 25), (2, 25)):
        plane = planes[number]
        for y in range(0, 4):
            for x in range(0, 4):
                assert len(np.unique(plane[y * size : (y + 1) * size, x * size : (x + 1) * size])) == 1
    small = hide_both(64, 48, [(0, 0, 16, 8)], cells=64)
    assert len(np.unique(small[0][:8, :8])) == 1


def test_one_row_and_column_of_a_wide_frame():
    """Sums of a row do not overflow."""
    planes = [np.full((2, 70_000), 255, np.uint8), *[np.full((1, 35_000), 255, np.uint8) for _ in range(2)]]
    hide_boxes(planes, (70_000, 2), np.array([[0.0, 0.0, 70_000.0, 2.0]]), cells=1)
    assert (planes[0] == 255).all()


def test_nothing_to_hide():
    planes, _ = make_planes(16, 16)
    before = [plane.copy() for plane in planes]
    hide_boxes(planes, (16, 16), np.empty((0, 4)))
    for plane, kept in zip(planes, before, strict=True):
        np.testing.assert_array_equal(plane, kept)


BOX = np.array([[0.0, 0.0, 8.0, 8.0]])


def readonly():
    planes, _ = make_planes(16, 16)
    planes[1].flags.writeable = False
    return planes


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"planes": make_planes(16, 16)[0][:2]}, ValueError, "Y, U and V. Got 2"),
        ({"planes": [1, 2, 3]}, TypeError, "plane Y must be an array"),
        ({"planes": [plane.astype(np.int16) for plane in make_planes(16, 16)[0]]}, TypeError, "uint8"),
        ({"planes": make_planes(16, 15)[0]}, ValueError, "at least 16 rows"),
        ({"planes": readonly()}, ValueError, "plane U is read-only"),
        ({"frame_wh": (0, 16)}, ValueError, "frame_wh"),
        ({"boxes_xyxy": BOX.astype(np.int64)}, TypeError, "float64 or float32"),
        ({"boxes_xyxy": BOX[0]}, ValueError, r"\(N, 4\)"),
        ({"boxes_xyxy": [[0.0, 0, 8, 8]]}, TypeError, "float64 or float32"),
        ({"cells": 0}, ValueError, "cells"),
        ({"cells": 65}, ValueError, "cells"),
        ({"cells": 2.0}, ValueError, "cells"),
    ],
)
def test_refused_and_nothing_changed(change, error, message):
    planes, _ = make_planes(16, 16)
    before = [plane.copy() for plane in planes]
    arguments = {"planes": planes, "frame_wh": (16, 16), "boxes_xyxy": BOX, **change}
    options = {"cells": arguments.pop("cells")} if "cells" in arguments else {}
    with pytest.raises(error, match=message):
        hide_boxes(arguments["planes"], arguments["frame_wh"], arguments["boxes_xyxy"], **options)
    for plane, kept in zip(planes, before, strict=True):
        np.testing.assert_array_equal(plane, kept)


def test_other_threads_run_meanwhile():
    planes = [np.zeros((2000, 3000), np.uint8), *[np.zeros((1000, 1500), np.uint8) for _ in range(2)]]
    boxes = np.tile([[0.0, 0.0, 3000.0, 2000.0]], (20, 1))
    done = threading.Event()
    thread = threading.Thread(target=lambda: (hide_boxes(planes, (3000, 2000), boxes), done.set()))
    thread.start()
    turns = 0
    while not done.is_set():
        turns += 1
    thread.join()
    assert turns > 10
