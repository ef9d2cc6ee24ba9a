import struct
import threading
import zlib

import numpy as np
import pytest

from engine_ext.sort import SortTracker
from tests.engine_ext.tracking import BOX, FAR, NO_BOXES, rows, scene
from tests.reference import sort as reference


def same(found, expected):
    np.testing.assert_array_equal(found[:, 4], expected[:, 4])
    np.testing.assert_allclose(found[:, :4], expected[:, :4], rtol=1e-8, atol=1e-6)


# --- equal to the twin


@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize(
    ("n", "frames", "crowding"),
    [(1, 60, 1.0), (6, 100, 1.0), (25, 40, 1.0), (20, 40, 8.0), (90, 8, 1.0), (120, 6, 4.0)],
)
@pytest.mark.parametrize("parameters", [(1, 3, 0.3), (10, 1, 0.3), (3, 0, 0.5)])
def test_equals_twin(n, frames, crowding, classes, parameters):
    tracker, twin = SortTracker(*parameters), reference.SortTracker(*parameters)
    for frame, (dets, class_ids) in enumerate(scene(n, frames, seed=n, crowding=crowding, classes=classes)):
        given = class_ids if classes > 1 else None
        same(tracker.update(dets, given), twin.update(dets, given))
        np.testing.assert_array_equal(tracker.last_matches, twin.last_matches)
        if frame % 3 == 2:
            same(tracker.predict(), twin.predict())
            np.testing.assert_array_equal(tracker.last_matches, twin.last_matches)


@pytest.mark.parametrize("n", [10, 100])
def test_class_aware_is_one_tracker_a_class(n):
    together = SortTracker(5, 2, 0.3)
    apart = [SortTracker(5, 2, 0.3) for _ in range(3)]
    for dets, class_ids in scene(n, 30, classes=3):
        found = together.update(dets, class_ids)
        kinds = class_ids[together.last_matches]
        for class_id, tracker in enumerate(apart):
            expected = tracker.update(dets[class_ids == class_id])
            mine = found[kinds == class_id, :4]
            np.testing.assert_array_equal(mine[np.lexsort(mine.T)], expected[np.lexsort(expected[:, :4].T), :4])


def test_classes_are_not_looked_at_when_not_class_aware():
    tracker, plain = SortTracker(class_aware=False), SortTracker()
    for dets, class_ids in scene(10, 20, classes=5):
        np.testing.assert_array_equal(tracker.update(dets, class_ids), plain.update(dets))


def test_a_detection_of_another_class_starts_a_track():
    tracker = SortTracker(min_hits=0)
    assert tracker.update(rows(BOX), [1])[:, 4].tolist() == [1]
    assert tracker.update(rows(BOX), [2])[:, 4].tolist() == [2]
    assert tracker.update(rows(BOX), [1])[:, 4].tolist() == [1]


def test_thousands_of_boxes():
    tracker = SortTracker(3, 1, 0.3)
    for dets, _ in scene(3000, 6):
        found = tracker.update(dets)
        assert len(np.unique(found[:, 4])) == len(found)
        assert np.isfinite(found).all()
        taken = dets[tracker.last_matches, :4]
        assert np.abs(found[:, :4] - taken).max() < 40
    assert len(found) > 2300


def test_a_heap_of_boxes():
    rng = np.random.default_rng(0)
    tracker, twin = SortTracker(1, 1), reference.SortTracker(1, 1)
    heap = np.column_stack([rng.uniform(0, 30, (200, 2)), rng.uniform(60, 90, (200, 2)), np.ones(200)])
    for _ in range(3):
        same(tracker.update(heap), twin.update(heap))
        heap = heap[rng.permutation(200)]


# --- the life of a track


def test_life_of_a_track():
    tracker = SortTracker(max_age=2, min_hits=2)
    reported = [len(tracker.update(rows(BOX) if seen else [])) for seen in map(int, "1110001111")]
    # Reported from the start; lost for longer than max_age; then anew, and only after two updates.
    assert reported == [1, 1, 1, 0, 0, 0, 0, 0, 1, 1]
    assert tracker.update(rows(BOX))[0, 4] == 2


@pytest.mark.parametrize(
    ("max_age", "gap", "same_track"),
    [(0, 0, True), (0, 1, False), (1, 1, True), (1, 2, False), (5, 5, True), (5, 6, False)],
)
def test_max_age(max_age, gap, same_track):
    tracker = SortTracker(max_age=max_age, min_hits=0)
    tracker.update(rows(BOX))
    for _ in range(gap):
        assert tracker.update([]).shape == (0, 5)
    assert tracker.update(rows(BOX))[:, 4].tolist() == [1 if same_track else 2]


def test_rows_run_from_the_newest_track_and_name_their_detection():
    tracker = SortTracker()
    assert tracker.last_matches.tolist() == []
    assert tracker.update(rows(BOX, FAR))[:, 4].tolist() == [2, 1]
    assert tracker.last_matches.tolist() == [1, 0]
    assert tracker.update(rows(FAR, BOX))[:, 4].tolist() == [2, 1]
    assert tracker.last_matches.tolist() == [0, 1]
    assert tracker.last_matches.dtype == np.intp


def test_two_trackers_share_nothing():
    first, second = SortTracker(), SortTracker()
    assert first.update(rows(BOX, FAR))[0, 4] == 2
    assert second.update(rows(BOX))[0, 4] == 1


def test_reset_is_a_new_tracker():
    tracker, fresh = SortTracker(), SortTracker()
    for dets, _ in scene(8, 10):
        tracker.update(dets)
    tracker.reset()
    assert tracker.predict().shape == (0, 5)
    for dets, _ in scene(8, 10, seed=1):
        np.testing.assert_array_equal(tracker.update(dets), fresh.update(dets))


def test_answers_belong_to_the_caller():
    tracker = SortTracker()
    first = tracker.update(rows(BOX))
    kept = first.copy()
    tracker.update(rows(FAR, BOX))
    np.testing.assert_array_equal(first, kept)


# --- detections that are no boxes


@pytest.mark.parametrize("bad", NO_BOXES)
def test_no_box_is_ignored(bad):
    tracker, plain = SortTracker(min_hits=0), SortTracker(min_hits=0)
    for _ in range(3):
        found = tracker.update(rows(bad, BOX, bad, FAR, bad))
        np.testing.assert_array_equal(found, plain.update(rows(BOX, FAR)))
        assert tracker.last_matches.tolist() == [3, 1]


def test_a_score_that_is_no_number_does_not_matter():
    assert len(SortTracker().update(rows([*BOX[:4], np.nan]))) == 1


@pytest.mark.parametrize("size", [1e-100, 1e-9, 1.0, 1e9, 1e70])
def test_extreme_sizes_stay_finite(size):
    tracker = SortTracker(max_age=50, min_hits=0)
    for step in range(20):
        assert np.isfinite(tracker.update(rows([0, 0, size * (1 + step % 3), size, 1]))).all()
        assert np.isfinite(tracker.predict()).all()
    for _ in range(30):
        tracker.update([])


def test_predict_drops_a_track_that_leaves_the_finite_numbers():
    tracker = SortTracker(min_hits=0, iou_threshold=0.0)
    vast = 1e153
    tracker.update(rows([0, 0, vast, vast, 1], BOX))
    tracker.update(rows([0, 0, 5 * vast, 5 * vast, 1], BOX))
    while len(found := tracker.predict()) == 2:
        assert np.isfinite(found).all()
    assert found[:, 4].tolist() == [2]
    assert tracker.last_matches.tolist() == [1]


# --- what may be given


@pytest.mark.parametrize("nothing", [[], np.zeros((0, 5)), np.zeros((0, 4)), np.zeros((0, 5), np.float32), np.zeros(0)])
def test_nothing(nothing):
    tracker = SortTracker()
    assert tracker.update(nothing).shape == (0, 5)
    assert tracker.update(nothing, []).dtype == np.float64
    assert tracker.predict().shape == (0, 5)


@pytest.mark.parametrize(
    "given",
    [
        pytest.param(lambda a: a.tolist(), id="list"),
        pytest.param(lambda a: a.astype(np.float32), id="float32"),
        pytest.param(lambda a: a.astype(np.int16), id="int16"),
        pytest.param(np.asfortranarray, id="Fortran order"),
        pytest.param(lambda a: np.repeat(a, 2, axis=0)[::2], id="strided"),
        pytest.param(lambda a: a.astype(">f8"), id="other byte order"),
    ],
)
def test_other_inputs_are_copied(given):
    dets = rows([10, 20, 50, 100, 1], [200, 20, 260, 100, 1])
    np.testing.assert_array_equal(SortTracker().update(given(dets)), SortTracker().update(dets))


def test_read_only_detections():
    dets = rows(BOX)
    dets.flags.writeable = False
    assert len(SortTracker().update(dets, np.zeros(1, np.int32))) == 1


@pytest.mark.parametrize(
    ("dets", "message"),
    [
        (np.zeros((3, 2)), r"dets must be an \(N, 5\) array of x1 y1 x2 y2 score\. Got shape \(3, 2\)\."),
        (np.zeros((3, 4)), r"Got shape \(3, 4\)\."),
        (np.zeros((1, 3, 5)), r"Got shape \(1, 3, 5\)\."),
        (np.zeros(5), r"Got shape \(5,\)\."),
        (np.zeros((0, 7)), r"Got shape \(0, 7\)\."),
        (np.zeros((2, 5), complex), r"Got dtype complex128\."),
        ([["a"] * 5], r"Got dtype <U1\."),
        ([[1, 2], [3]], "Got rows of unequal length"),
        (None, r"Got dtype object\."),
    ],
)
def test_refuses_dets(dets, message):
    tracker = SortTracker()
    tracker.update(rows(BOX))
    before = tracker.get_state()
    with pytest.raises(ValueError, match=message):
        tracker.update(dets)
    assert tracker.get_state() == before


@pytest.mark.parametrize(
    ("class_ids", "message"),
    [
        ([1, 2], r"class_ids must be an \(N,\) array of ints, one a detection\. Got 2 for 1 detections\."),
        ([], "Got 0 for 1 detections"),
        ([0.5], r"Got dtype float64\."),
        ([[1]], r"Got shape \(1, 1\)\."),
    ],
)
@pytest.mark.parametrize("class_aware", [True, False])
def test_refuses_class_ids(class_ids, message, class_aware):
    with pytest.raises(ValueError, match=message):
        SortTracker(class_aware=class_aware).update(rows(BOX), class_ids)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"max_age": -1}, ValueError, r"max_age must be an int >= 0\. Got -1\."),
        ({"max_age": 1.5}, TypeError, r"max_age must be an int >= 0\. Got 1\.5\."),
        ({"min_hits": True}, TypeError, "min_hits must be an int"),
        ({"min_hits": 2**63}, ValueError, "min_hits must be an int"),
        ({"iou_threshold": 1.1}, ValueError, r"iou_threshold must be a number in \[0, 1\]\. Got 1\.1\."),
        ({"iou_threshold": float("nan")}, ValueError, "Got nan"),
        ({"iou_threshold": "0.3"}, TypeError, "iou_threshold must be a number"),
        ({"class_aware": 1}, TypeError, r"class_aware must be a bool\. Got 1\."),
    ],
)
def test_refuses_parameters(arguments, error, message):
    with pytest.raises(error, match=message):
        SortTracker(**arguments)


def test_parameters_can_be_read():
    tracker = SortTracker(7, 2, 0.25, class_aware=False)
    assert (tracker.max_age, tracker.min_hits, tracker.iou_threshold, tracker.class_aware) == (7, 2, 0.25, False)
    assert repr(tracker) == "SortTracker(max_age=7, min_hits=2, iou_threshold=0.25, class_aware=False)"


@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_ends_of_the_threshold(threshold):
    tracker = SortTracker(1, 0, threshold)
    tracker.update(rows(BOX))
    assert tracker.update(rows(FAR))[:, 4].tolist() == [2]  # boxes apart never match, at 0 either


# --- state


@pytest.mark.parametrize("n", [0, 5, 90])
def test_state_goes_on_to_the_last_bit(n):
    frames = list(scene(n, 20, classes=2)) if n else [(np.zeros((0, 5)), np.zeros(0, int))] * 20
    tracker = SortTracker(3, 2, 0.3)
    for dets, class_ids in frames[:10]:
        tracker.update(dets, class_ids)
    copy = SortTracker(3, 2, 0.3)
    copy.set_state(tracker.get_state())
    assert copy.get_state() == tracker.get_state()
    np.testing.assert_array_equal(copy.last_matches, tracker.last_matches)
    np.testing.assert_array_equal(copy.predict(), tracker.predict())
    for dets, class_ids in frames[10:]:
        np.testing.assert_array_equal(copy.update(dets, class_ids), tracker.update(dets, class_ids))
        np.testing.assert_array_equal(copy.last_matches, tracker.last_matches)
    assert copy.get_state() == tracker.get_state()


def saved():
    tracker = SortTracker()
    tracker.update(rows(BOX, FAR))
    return tracker.get_state()


def signed(body):
    return body + struct.pack("<I", zlib.crc32(body))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        pytest.param(lambda s: b"", "Got 0 bytes of something else", id="empty"),
        pytest.param(lambda s: b"x" * 500, "Got 500 bytes of something else", id="foreign"),
        pytest.param(lambda s: s[:-1], "damaged", id="cut"),
        pytest.param(lambda s: s + b"\0", "damaged", id="longer"),
        pytest.param(lambda s: s[:80] + bytes([s[80] ^ 1]) + s[81:], "damaged", id="one bit"),
        pytest.param(lambda s: signed(s[:-12]), "damaged", id="a track short"),
        pytest.param(lambda s: s[:6] + b"\x63\0" + s[8:], "version 2. Got version 99", id="another version"),
    ],
)
def test_refuses_foreign_state(damage, message):
    tracker = SortTracker()
    tracker.update(rows(BOX))
    before = tracker.get_state()
    with pytest.raises(ValueError, match=message):
        tracker.set_state(damage(saved()))
    assert tracker.get_state() == before


def test_refuses_state_of_other_parameters():
    with pytest.raises(
        ValueError, match=r"same parameters, SortTracker\(max_age=9, min_hits=3, .* Got SortTracker\(max_age=1,"
    ):
        SortTracker(max_age=9).set_state(saved())
    with pytest.raises(TypeError, match="state must be bytes"):
        SortTracker().set_state("text")


def test_one_tracker_a_thread():
    frames = [dets for dets, _ in scene(100, 40)]
    expected = [SortTracker.update(tracker, dets) for tracker in [SortTracker()] for dets in frames]
    failures = []

    def work():
        tracker = SortTracker()
        for dets, want in zip(frames, expected, strict=True):
            if not np.array_equal(tracker.update(dets), want):
                failures.append(dets)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
