"""Mean average precision, against values worked out by hand."""

import numpy as np
import pytest

from benchmarks.coco_ap import Boxes, iou, mean_ap, read_labels

FAR = [200.0, 200.0, 210.0, 210.0]
ONE = [0.0, 0.0, 10.0, 10.0]
TWO = [50.0, 50.0, 60.0, 60.0]
# Of ONE's 100 pixels 72 are shared, union 100: IoU 0.72, right at 0.50 to 0.70, five of ten thresholds.
NEAR_ONE = [0.0, 0.0, 10.0, 7.2]


def boxes(*rows: tuple[list[float], int, float]) -> Boxes:
    places = np.array([row[0] for row in rows], np.float64).reshape(-1, 4)
    return Boxes(places, np.array([row[1] for row in rows], np.int64), np.array([row[2] for row in rows], np.float64))


def labels(*rows: tuple[list[float], int]) -> Boxes:
    return boxes(*((box, class_id, 1.0) for box, class_id in rows))


CASES = [
    ("one object, found", [boxes((ONE, 0, 0.9))], [labels((ONE, 0))], 1.0, 1.0),
    ("nothing found", [boxes()], [labels((ONE, 0))], 0.0, 0.0),
    ("loose box", [boxes((NEAR_ONE, 0, 0.9))], [labels((ONE, 0))], 1.0, 0.5),
    ("another class is no match", [boxes((ONE, 1, 0.9))], [labels((ONE, 0))], 0.0, 0.0),
    ("a class without objects does not count", [boxes((ONE, 0, 0.9), (TWO, 1, 0.9))], [labels((ONE, 0))], 1.0, 1.0),
    ("the false one has the lower score", [boxes((ONE, 0, 0.9), (FAR, 0, 0.1))], [labels((ONE, 0))], 1.0, 1.0),
    ("the false one has the higher score", [boxes((FAR, 0, 0.9), (ONE, 0, 0.1))], [labels((ONE, 0))], 0.5, 0.5),
    ("a second box on one object is false", [boxes((ONE, 0, 0.9), (ONE, 0, 0.8))], [labels((ONE, 0))], 1.0, 1.0),
    # Recall 0.5 with precision 1: the recalls 0.00 to 0.50 are 51 of 101 points.
    ("one of two objects found", [boxes((ONE, 0, 0.9))], [labels((ONE, 0), (TWO, 0))], 51 / 101, 51 / 101),
    # hit, miss, hit: precision 1 up to recall 0.5, then 2/3 up to 1 on the other 50 points.
    (
        "a false one between two right ones",
        [boxes((ONE, 0, 0.9), (FAR, 0, 0.8), (TWO, 0, 0.7))],
        [labels((ONE, 0), (TWO, 0))],
        (51 + 50 * 2 / 3) / 101,
        (51 + 50 * 2 / 3) / 101,
    ),
    # miss, hit, hit: precision 0, 1/2, 2/3; the envelope lifts the 1/2 to the later 2/3.
    (
        "precision never falls towards lower recall",
        [boxes((FAR, 0, 0.9), (ONE, 0, 0.8), (TWO, 0, 0.7))],
        [labels((ONE, 0), (TWO, 0))],
        2 / 3,
        2 / 3,
    ),
    ("mean over classes", [boxes((ONE, 0, 0.9))], [labels((ONE, 0), (TWO, 7))], 0.5, 0.5),
    (
        "scores rank over all images",
        [boxes((FAR, 0, 0.9)), boxes((ONE, 0, 0.8))],
        [labels(), labels((ONE, 0))],
        0.5,
        0.5,
    ),
    ("an object of another image is no match", [boxes((ONE, 0, 0.9)), boxes()], [labels(), labels((ONE, 0))], 0.0, 0.0),
    # The better score takes the object it overlaps most (ONE), which leaves none for the exact box behind it.
    (
        "an object is taken once, by the better score",
        [boxes((NEAR_ONE, 0, 0.9), (ONE, 0, 0.8))],
        [labels((ONE, 0))],
        1.0,
        (5 * 1.0 + 5 * 0.5) / 10,
    ),
]


@pytest.mark.parametrize(
    ("found", "truth", "map50", "map50_95"), [case[1:] for case in CASES], ids=[c[0] for c in CASES]
)
def test_mean_ap(found: list[Boxes], truth: list[Boxes], map50: float, map50_95: float) -> None:
    result = mean_ap(found, truth)
    assert result.map50 == pytest.approx(map50, abs=1e-12)
    assert result.map50_95 == pytest.approx(map50_95, abs=1e-12)


def test_labels_without_objects_have_no_mean() -> None:
    with pytest.raises(ValueError, match="at least one object"):
        mean_ap([boxes((ONE, 0, 0.9))], [labels()])


def test_iou() -> None:
    empty = [5.0, 5.0, 5.0, 5.0]
    given = np.array([ONE, NEAR_ONE, FAR, empty])
    expected = [[1.0, 0.72, 0.0, 0.0], [0.72, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0]]
    np.testing.assert_allclose(iou(given, given), expected, atol=1e-12)


def test_labels_are_read_in_pixels(tmp_path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("3 0.5 0.5 0.2 0.4\n\n0 0.1 0.2 0.2 0.4\n")
    found = read_labels(path, (100, 50))
    np.testing.assert_allclose(found.boxes_xyxy, [[40, 15, 60, 35], [0, 0, 20, 20]], atol=1e-12)
    assert found.class_ids.tolist() == [3, 0]


def test_no_label_file_means_no_objects(tmp_path) -> None:
    assert len(read_labels(tmp_path / "absent.txt", (100, 50)).class_ids) == 0
