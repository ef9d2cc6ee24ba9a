"""What the reference programs do and their papers don't say, rule by rule."""

import numpy as np
import pytest

from engine_ext.bytetrack import ByteTracker
from engine_ext.cbiou import CBIoUTracker
from engine_ext.ocsort import OCSortTracker
from tests.engine_ext.tracking import rows

BOX = [100.0, 100.0, 160.0, 220.0]
ELSEWHERE = [600.0, 100.0, 660.0, 220.0]


def byte(**parameters):
    return ByteTracker(0.6, 0.9, **parameters)


def seen(score, box=BOX):
    return rows([*box, score])


def reports(tracker, frames):
    """How many rows each frame gives; a frame is a score, or None for nothing."""
    return [len(tracker.update([] if score is None else seen(score))) for score in frames]


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        pytest.param(byte, {1: 1, 2: 3, 3: 4, 4: 5}, id="bytetrack"),
        pytest.param(OCSortTracker, {1: 1, 2: 2, 3: 3, 4: 7}, id="ocsort"),
        pytest.param(CBIoUTracker, {1: 1, 2: 3, 3: 4, 4: 5}, id="cbiou"),
    ],
)
def test_first_report(make, expected):
    for first, reported in expected.items():
        counts = reports(make(), [None] * (first - 1) + [0.9] * 8)
        assert counts.index(1) + 1 == reported


@pytest.mark.parametrize(
    ("make", "after"),
    [(byte, [1, 1, 1]), (OCSortTracker, [0, 0, 1]), (CBIoUTracker, [1, 1, 1])],
)
def test_reports_after_a_miss(make, after):
    assert reports(make(), [0.9] * 8 + [None] + [0.9] * 3)[-3:] == after


@pytest.mark.parametrize(("make", "longest"), [(byte, 31), (OCSortTracker, 30), (CBIoUTracker, 30)])
def test_longest_gap(make, longest):
    for gap, same in ((longest, True), (longest + 1, False)):
        tracker = make()
        first = [tracker.update(seen(0.9)) for _ in range(6)][-1]
        reports(tracker, [None] * gap)
        again = [tracker.update(seen(0.9)) for _ in range(6)][-1]
        assert (again[0, 4] == first[0, 4]) == same


@pytest.mark.parametrize(
    ("fps", "buffer", "byte_frames", "cbiou_frames"), [(25, 14, 11, 12), (29.97, 30, 29, 30), (15, 3, 1, 2)]
)
def test_buffers_scale_with_the_rate(fps, buffer, byte_frames, cbiou_frames):
    for make, longest in (
        (lambda: byte(track_buffer=buffer, frame_rate=fps), byte_frames + 1),
        (lambda: CBIoUTracker(buffer, fps), cbiou_frames),
    ):
        for gap, same in ((longest, True), (longest + 1, False)):
            tracker = make()
            first = [tracker.update(seen(0.9)) for _ in range(3)][-1]
            reports(tracker, [None] * gap)
            again = [tracker.update(seen(0.9)) for _ in range(3)][-1]
            assert (again[0, 4] == first[0, 4]) == same


JUST = np.nextafter


@pytest.mark.parametrize(
    ("make", "score", "starts", "keeps"),
    [
        pytest.param(make, score, starts, keeps, id=f"{name} {score}")
        for name, make, table in (
            (
                "bytetrack",
                byte,
                [
                    (0.1, 0, 0),
                    (JUST(0.1, 1), 0, 1),
                    (JUST(0.6, 0), 0, 1),
                    (0.6, 0, 0),
                    (JUST(0.6, 1), 0, 1),
                    (JUST(0.7, 0), 0, 1),
                    (0.7, 1, 1),
                ],
            ),
            ("ocsort", OCSortTracker, [(0.1, 0, 0), (0.5, 0, 0), (0.6, 0, 0), (JUST(0.6, 1), 1, 1)]),
            (
                "ocsort byte",
                lambda: OCSortTracker(use_byte=True),
                [(0.1, 0, 0), (JUST(0.1, 1), 0, 1), (JUST(0.6, 0), 0, 1), (0.6, 0, 0), (JUST(0.6, 1), 1, 1)],
            ),
            (
                "cbiou",
                CBIoUTracker,
                [(0.1, 0, 0), (JUST(0.1, 1), 0, 1), (0.6, 0, 1), (JUST(0.7, 0), 0, 1), (0.7, 1, 1)],
            ),
        )
        for score, starts, keeps in table
    ],
)
def test_scores(make, score, starts, keeps):
    assert len(make().update(seen(score))) == starts
    tracker = make()
    reports(tracker, [0.9, 0.9])
    assert len(tracker.update(seen(score))) == keeps


def test_new_tracks_of_bytetrack_want_the_threshold_and_a_tenth_in_doubles():
    for threshold in (0.4, 0.5, 0.6, 0.7):
        assert reports(ByteTracker(threshold), [threshold + 0.1]) == [1]
        assert reports(ByteTracker(threshold), [JUST(threshold + 0.1, 0)]) == [0]


def test_bytetrack_weighs_the_limit_against_what_is_left_out():
    """One good pair, rather than two whose second costs more than the limit spares."""
    tracker = ByteTracker(mot20=True)
    first, second = [0.0, 0.0, 99.0, 99.0, 0.9], [60.0, 0.0, 159.0, 99.0, 0.9]
    tracker.update(rows(first, second))
    found = tracker.update(rows([10.0, 0.0, 109.0, 99.0, 0.9]))
    assert found[:, 4].tolist() == [1]


def test_bytetrack_unconfirmed_tracks_are_not_predicted():
    tracker = byte()
    tracker.update([])
    tracker.update(seen(0.9))
    tracker.update(seen(0.9, [102.0, 100.0, 162.0, 220.0]))
    alone = byte()
    alone.update(seen(0.9))
    alone.update(seen(0.9, [102.0, 100.0, 162.0, 220.0]))
    # In the first update the track was confirmed, hence predicted: it is surer of the second detection.
    assert not np.array_equal(tracker.update(seen(0.9)), alone.update(seen(0.9)))


def test_bytetrack_found_too_late_goes_at_the_next_miss():
    tracker = byte()
    ids = []
    for gap in (30, 1, 31, 1):
        for _ in range(3):
            found = tracker.update(seen(0.9))
        ids.append(found[0, 4])
        reports(tracker, [None] * gap)
    ids.append([tracker.update(seen(0.9)) for _ in range(3)][-1][0, 4])
    # A gap of 30 leaves no trace; the one of 31 does, at the next miss.
    assert ids[0] == ids[1] == ids[2] == ids[3] != ids[4]


def test_bytetrack_drops_the_shorter_life_of_two_on_one_spot():
    tracker = byte(track_buffer=300)
    for _ in range(10):
        tracker.update(seen(0.9))
    tracker.update(rows([*ELSEWHERE, 0.9]))
    # The new one comes from elsewhere, so that it isn't matched with the lost one, and ends up on its spot.
    for step in range(1, 11):
        x = 600.0 - 50 * step
        found = tracker.update(rows([x, 100.0, x + 60, 220.0, 0.9]))
    assert len(found) <= 1
    found = [tracker.update(seen(0.9)) for _ in range(3)][-1]
    assert len(found) == 1


def test_ocsort_the_first_detection_is_no_observation():
    tracker = OCSortTracker()
    first = tracker.update(seen(0.9))
    assert first[0, :4] == pytest.approx(BOX, abs=1e-5)
    assert first[0, :4].tolist() != BOX  # the filter's box
    assert tracker.update(seen(0.9))[0, :4].tolist() == BOX


def test_ocsort_beyond_the_corner_reports_the_filter():
    tracker, corner = OCSortTracker(), [-300.0, -300.0, -200.0, -100.0]
    for _ in range(4):
        found = tracker.update(seen(0.9, corner))
    assert found[0, :4] == pytest.approx(corner, abs=1e-3)
    assert found[0, :4].tolist() != corner


def test_ocsort_shortcut_looks_at_no_angle():
    """One candidate for each: taken, though the angle speaks for the other pairing."""
    tracker = OCSortTracker(inertia=1.0, iou_threshold=0.2, min_hits=0)
    for k in range(5):
        tracker.update(rows([10.0 * k, 0, 10.0 * k + 60, 120, 0.9]))
    found = tracker.update(rows([20.0, 0, 80.0, 120, 0.9]))  # back, against the direction
    assert found[:, 4].tolist() == [1]


def test_ocsort_second_look_at_the_last_box():
    """A track whose prediction ran away is found where it was seen last."""
    tracker = OCSortTracker(min_hits=0)
    for k in range(6):
        tracker.update(rows([30.0 * k, 0, 30.0 * k + 60, 120, 0.9]))
    for _ in range(6):
        tracker.update([])
    found = tracker.update(rows([150.0, 0, 210.0, 120, 0.9]))
    assert found[:, 4].tolist() == [1]


def test_cbiou_confirmed_from_the_start_may_be_lost():
    tracker = CBIoUTracker()
    assert reports(tracker, [0.9, None, 0.9]) == [1, 0, 1]
    late = CBIoUTracker()
    assert reports(late, [None, 0.9, None, 0.9, 0.9]) == [0, 0, 0, 0, 1]


def test_cbiou_margins_find_what_jumps():
    jumped = [165.0, 100.0, 225.0, 220.0]  # beside the box
    tracker = CBIoUTracker(minimum_iou_threshold_first_assoc=0.05)
    tracker.update(seen(0.9))
    assert tracker.update(seen(0.9, jumped))[:, 4].tolist() == [1]
    plain = CBIoUTracker(minimum_iou_threshold_first_assoc=0.05, buffer_ratio_first=0.0)
    plain.update(seen(0.9))
    assert len(plain.update(seen(0.9, jumped))) == 0


@pytest.mark.parametrize("make", [byte, OCSortTracker, CBIoUTracker])
def test_low_scores_start_nothing(make):
    tracker = make()
    assert reports(tracker, [0.3] * 10) == [0] * 10
    empty = make()
    reports(empty, [None] * 10)
    assert tracker.get_state() == empty.get_state()
