"""heads.cu, on the CPU and on a card: what engine_ext.decode_heads gives, in its order, to the bit.

On a card the boxes of yolox may differ in their last bits, as CUDA's expf does from the C library's.
"""

import numpy as np
import pytest

from engine.inference.gpu import heads_job
from engine.inference.gpu.protocol import CANDIDATE, HeadSpec
from engine.inference.layouts import get_layout
from tests.engine.gpu.machines import MACHINES, opened
from tests.engine_ext.test_decode_heads import (
    BOX_E2E,
    CASES_V5,
    EXP_TOLERANCE,
    HW,
    INF,
    NAN,
    YOLOX_ANCHORS,
    array,
    check_table_row,
    random_output,
)
from tests.reference import decode_heads as reference

LAYOUTS = ["yolox", "yolov5", "yolov8", "end2end"]


@pytest.fixture(scope="module", params=MACHINES)
def machine(request):
    with opened(request.param) as found:
        yield found


def launch(machine, layout, outputs, conf, class_mask=None, *, capacity=None, input_hw=HW):
    """Counts and candidates of a batch, (B, *shape). What the counts were before does not matter."""
    shape = outputs.shape[1:]
    capacity = capacity or max(1, *shape)
    mask = None if class_mask is None else tuple(map(bool, class_mask))
    spec = HeadSpec(layout, str(outputs.dtype), shape, input_hw, conf, mask, capacity)
    counts, candidates = np.full(len(outputs), 999, np.int32), np.zeros((len(outputs), capacity), CANDIDATE)
    addresses = [machine.put(each) for each in (outputs, counts, candidates)]
    machine.kernels.head_filter(spec).launch(addresses[0], len(outputs), *addresses[1:], machine.stream)
    found = machine.get(addresses[1], counts), machine.get(addresses[2], candidates)
    machine.clear()
    return found


def filtered(machine, layout, output, conf, class_mask=None):
    """One image's output, through the filter."""
    counts, candidates = launch(machine, layout, np.ascontiguousarray(output)[None], conf, class_mask)
    found = heads_job.decoded(int(counts[0]), candidates[0])
    assert found is not None
    return found


def assert_same(machine, found, expected, layout="yolov5"):
    for got, wanted in zip(found, expected, strict=True):
        assert got.dtype == wanted.dtype
        assert got.shape == wanted.shape
        assert got.flags.c_contiguous
    assert found[1].tobytes() == expected[1].tobytes()
    assert found[2].tobytes() == expected[2].tobytes()
    if layout == "yolox" and not machine.emulated:
        sizes = expected[0][:, 2:] - expected[0][:, :2]
        largest = np.abs(np.concatenate([expected[0], sizes], axis=1)).max(axis=1, keepdims=True)
        assert (np.abs(found[0] - expected[0]) <= EXP_TOLERANCE * largest).all()
    else:
        assert found[0].tobytes() == expected[0].tobytes()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("levels", [None, 4])
@pytest.mark.parametrize("backwards", [False, True])
def test_the_bits_of_the_cpu(machine, layout, dtype, levels, backwards, monkeypatch):
    if machine.emulated:  # a card takes its threads in any order
        monkeypatch.setattr(machine.driver, "backwards", backwards)
    for seed, classes in enumerate([1, 2, 5, 80]):
        output = random_output(layout, seed, classes=classes, levels=levels, dtype=dtype, anchors=700)
        mask = np.random.default_rng(seed).random(classes) < 0.5
        for conf in (0.0, 0.25, 1.0):
            for class_mask in (None, mask):
                expected = get_layout(layout).decode(output, HW, conf, class_mask)
                assert_same(machine, filtered(machine, layout, output, conf, class_mask), expected, layout)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_twin(machine, layout):
    output = random_output(layout, 3, classes=5)
    arguments = (output, HW, 0.25) if layout == "yolox" else (output, 0.25)
    boxes, scores, class_ids = getattr(reference, f"decode_{layout}")(*arguments)
    found = filtered(machine, layout, output, 0.25)
    np.testing.assert_array_equal(found[1], scores)
    np.testing.assert_array_equal(found[2], class_ids)
    np.testing.assert_allclose(found[0], boxes, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    ("rows", "conf", "class_mask", "expected"), [case[1:] for case in CASES_V5], ids=[case[0] for case in CASES_V5]
)
def test_the_cases_of_the_cpu(machine, rows, conf, class_mask, expected):
    check_table_row(filtered(machine, "yolov5", array(rows), conf, class_mask), expected)
    without = np.delete(array(rows), 4, axis=1)
    if (array(rows)[:, 4] == 1).all():
        check_table_row(filtered(machine, "yolov8", without.T, conf, class_mask), expected)


@pytest.mark.parametrize(
    ("anchor", "row"),
    [
        (0, [0, 0, 0, 0]),
        (11, [0.5, 0.5, 0, 0]),
        (12, [0.5, 0.5, 0, 0]),
        (96, [0.5, 0.5, 0, 0]),
        (125, [0.5, 0.5, 0, 0]),
    ],
)
def test_the_cells_of_a_grid(machine, anchor, row):
    output = np.zeros((YOLOX_ANCHORS, 7), np.float32)
    output[anchor] = [*row, 0.5, 0.25, 0.5]
    expected = get_layout("yolox").decode(output, HW, 0.25)
    assert_same(machine, filtered(machine, "yolox", output, 0.25), expected, "yolox")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_batch_is_its_images(machine, layout):
    outputs = np.stack([random_output(layout, seed, classes=4, anchors=257) for seed in range(5)])
    counts, candidates = launch(machine, layout, outputs, 0.3)
    for output, count, found in zip(outputs, counts, candidates, strict=True):
        expected = get_layout(layout).decode(output, HW, 0.3)
        assert_same(machine, heads_job.decoded(int(count), found), expected, layout)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_too_many_candidates_are_told_never_lost(machine, layout):
    output = random_output(layout, 1, classes=4)
    expected = len(get_layout(layout).decode(output, HW, 0.1)[1])
    batch = np.stack([output, output])
    for capacity in (1, expected - 1, expected, expected + 1):
        counts, candidates = launch(machine, layout, batch, 0.1, capacity=capacity)
        assert counts.tolist() == [expected, expected]
        found = heads_job.decoded(int(counts[1]), candidates[1])
        assert (found is None) == (capacity < expected)


@pytest.mark.parametrize(
    ("class_number", "class_mask"),
    [(0.5, None), (2.0**24, None), (2, [True, True]), (1.5, [True, True])],
)
def test_a_class_that_is_none_sends_the_whole_output_back(machine, class_number, class_mask):
    good, bad = [*BOX_E2E, 0.9, 1], [*BOX_E2E, 0.9, class_number]
    outputs = np.stack([array([good, bad, good]), array([good, good, good])])
    counts, candidates = launch(machine, "end2end", outputs, 0.5, class_mask)
    assert heads_job.decoded(int(counts[0]), candidates[0]) is None
    with pytest.raises(ValueError, match="must be a class"):
        get_layout("end2end").decode(outputs[0], HW, 0.5, None if class_mask is None else np.array(class_mask))
    assert len(heads_job.decoded(int(counts[1]), candidates[1])[1]) == 3


@pytest.mark.parametrize("number", [NAN, INF, -1.0])
def test_an_empty_row_of_a_finished_output(machine, number):
    found = filtered(machine, "end2end", array([[*BOX_E2E, 0.9, number], [*BOX_E2E, 0.8, 1]]), 0.5)
    check_table_row(found, [(np.float32(0.8), 1)])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_half(machine, layout):
    """All 65,536 halves as a score: read as NumPy reads them."""
    halves = np.arange(65536, dtype=np.uint16).view(np.float16)
    rows = np.ones((len(halves), 6), np.float16)
    if layout == "yolov8":
        rows = rows[:, :5]
    rows[:, 4] = halves
    if layout == "yolox":
        rows, input_hw = rows[: 21 * 3072], (8 * 64 * 3, 8 * 256)
        rows = np.ascontiguousarray(rows[: sum((input_hw[0] // s) * (input_hw[1] // s) for s in (8, 16, 32))])
    else:
        input_hw = HW
    output = np.ascontiguousarray(rows.T if layout == "yolov8" else rows)
    counts, candidates = launch(machine, layout, output[None], 0.0, input_hw=input_hw)
    expected = get_layout(layout).decode(output, input_hw, 0.0)
    assert len(expected[1]) > 30_000
    assert_same(machine, heads_job.decoded(int(counts[0]), candidates[0]), expected, layout)


GOOD = {
    "layout": "yolov5",
    "dtype": "float32",
    "shape": (10, 7),
    "input_hw": HW,
    "conf": 0.25,
    "class_mask": None,
    "capacity": 8,
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layout": "yolo"}, "layout must be one of yolox, yolov5, yolov8, end2end. Got 'yolo'."),
        ({"dtype": "float64"}, "dtype must be float32 or float16. Got 'float64'."),
        ({"shape": (10, 5)}, r"shape must be one image's output of layout yolov5. Got \(10, 5\)."),
        ({"layout": "end2end"}, r"shape must be one image's output of layout end2end. Got \(10, 7\)."),
        ({"conf": 1.5}, r"conf must be a number in \[0, 1\]. Got 1.5."),
        ({"conf": NAN}, r"conf must be a number in \[0, 1\]. Got nan."),
        ({"capacity": 0}, "capacity must be an int above 0. Got 0."),
        ({"class_mask": (True,)}, "class_mask must have an entry a class, 2. Got 1."),
        ({"layout": "end2end", "shape": (10, 6), "class_mask": ()}, "class_mask must have an entry a class"),
        ({"layout": "yolox", "input_hw": (64, 90)}, "input_hw must be multiples of each stride"),
        ({"layout": "yolox"}, "shape must have 126 rows, one a grid cell of an input of 64 x 96. Got 10."),
    ],
)
def test_what_it_can_t_read_is_refused(machine, change, message):
    with pytest.raises(ValueError, match=message):
        machine.kernels.head_filter(HeadSpec(**{**GOOD, **change}))


def test_no_anchors(machine):
    counts, _ = launch(machine, "yolov5", np.empty((2, 0, 7), np.float32), 0.0, capacity=4)
    assert counts.tolist() == [0, 0]
