"""What all trackers have in common: equal to their twins, whatever is given, and over kill and resume."""

import struct
import threading
import zlib

import numpy as np
import pytest

from engine_ext.bytetrack import ByteTracker
from engine_ext.cbiou import CBIoUTracker
from engine_ext.ocsort import OCSortTracker
from engine_ext.sort import SortTracker
from engine_ext.tracker import Tracker
from tests.engine_ext.tracking import BOX, FAR, NO_BOXES, rows, scene
from tests.reference import bytetrack, cbiou, ocsort, sort

ALL = [
    pytest.param(SortTracker, {"max_age": 5}, id="sort"),
    pytest.param(ByteTracker, {}, id="bytetrack"),
    pytest.param(ByteTracker, {"track_thresh": 0.4, "match_thresh": 0.7, "track_buffer": 3, "mot20": True}, id="mot20"),
    pytest.param(OCSortTracker, {"min_hits": 0}, id="ocsort"),
    pytest.param(OCSortTracker, {"use_byte": True, "delta_t": 1, "max_age": 4, "min_hits": 0}, id="ocsort byte"),
    pytest.param(CBIoUTracker, {}, id="cbiou"),
]
every_tracker = pytest.mark.parametrize(("kind", "parameters"), ALL)
# Tracker, twin, and the arguments of both.
TWINS = [
    pytest.param(SortTracker, sort.SortTracker, (10, 1, 0.3), id="sort"),
    pytest.param(ByteTracker, bytetrack.ByteTracker, (), id="bytetrack"),
    pytest.param(ByteTracker, bytetrack.ByteTracker, (0.6, 0.9, 3), id="bytetrack, small buffer"),
    pytest.param(ByteTracker, bytetrack.ByteTracker, (0.4, 0.7, 14, 25, True), id="bytetrack mot20"),
    pytest.param(OCSortTracker, ocsort.OCSortTracker, (), id="ocsort"),
    pytest.param(OCSortTracker, ocsort.OCSortTracker, (0.5, 15, 1, 0.25, 1, 0.5, True), id="ocsort byte"),
    pytest.param(OCSortTracker, ocsort.OCSortTracker, (0.5, 4, 0, 0.1, 5, 1.0), id="ocsort, all by angle"),
    pytest.param(CBIoUTracker, cbiou.CBIoUTracker, (), id="cbiou"),
    pytest.param(
        CBIoUTracker, cbiou.CBIoUTracker, (10, 25.0, 0.5, 3, 0.1, 0.3, 0.2, 0.4, False, 0.1, 0.7), id="cbiou, slow"
    ),
]


def renumbered(found, own_ids, numbers, matches):
    """Rows by detection, with ids in the order in which they are seen."""
    order = np.argsort(matches)
    return np.array(
        [
            [*row[:4], numbers.setdefault(own, len(numbers))]
            for row, own in zip(found[order], own_ids[order], strict=True)
        ]
    ).reshape(-1, 5)


def compare(tracker, twin, frames, dt):
    ours, theirs, reported = {}, {}, 0
    for dets, _ in frames:
        found, expected = tracker.update(dets, dt=dt), twin.update(dets, dt=dt)
        np.testing.assert_array_equal(np.sort(tracker.last_matches), np.sort(twin.last_matches))
        np.testing.assert_allclose(
            renumbered(found, found[:, 4], ours, tracker.last_matches),
            renumbered(expected, expected[:, 4], theirs, twin.last_matches),
            rtol=1e-7,
            atol=1e-5,
        )
        reported += len(found)
    return reported


@pytest.mark.parametrize(
    ("n", "frames", "crowding"),
    [(1, 100, 1.0), (8, 150, 1.0), (8, 100, 6.0), (25, 50, 1.5), (30, 20, 8.0), (80, 8, 1.0), (110, 6, 4.0)],
)
@pytest.mark.parametrize("dt", [1, 2])
@pytest.mark.parametrize(("kind", "twin", "arguments"), TWINS)
def test_equals_twin(kind, twin, arguments, dt, n, frames, crowding):
    shown = scene(n, frames, seed=n, crowding=crowding, scored=kind is not SortTracker)
    assert compare(kind(*arguments), twin(*arguments), shown, dt) > n * frames / 4


@pytest.mark.parametrize("arguments", [(0.6, 30, 0, 0.3, 3, 0.2, True), (0.5, 15, 0, 0.1, 1, 1.0, False)])
def test_many_objects_of_which_few_are_lost(arguments):
    """OC-SORT leaves out pairs that it can prove to be in no best assignment, where there are many."""
    shown = scene(600, 10, seed=3, crowding=2.0, scored=True)
    assert compare(OCSortTracker(*arguments), ocsort.OCSortTracker(*arguments), shown, 1) > 2000


@every_tracker
def test_class_aware_is_one_tracker_a_class(kind, parameters):
    together, apart = kind(**parameters), [kind(**parameters) for _ in range(3)]
    mine, theirs = {}, {}
    for dets, class_ids in scene(20, 40, classes=3, crowding=3.0, scored=True):
        found = together.update(dets, class_ids)
        kinds = class_ids[together.last_matches]
        for class_id, tracker in enumerate(apart):
            expected = tracker.update(dets[class_ids == class_id])
            matches = np.flatnonzero(class_ids == class_id)[tracker.last_matches]
            here = kinds == class_id
            np.testing.assert_array_equal(
                renumbered(found[here], found[here, 4], mine, together.last_matches[here])[:, :4],
                renumbered(expected, expected[:, 4] + class_id * 1000, theirs, matches)[:, :4],
            )
            for at, own in zip(together.last_matches[here], found[here, 4], strict=True):
                assert mine[own] == theirs[expected[matches == at][0, 4] + class_id * 1000]


@every_tracker
def test_classes_are_not_looked_at_when_not_class_aware(kind, parameters):
    tracker, plain = kind(**parameters, class_aware=False), kind(**parameters)
    for dets, class_ids in scene(10, 20, classes=5, scored=True):
        np.testing.assert_array_equal(tracker.update(dets, class_ids), plain.update(dets))


# --- time


@every_tracker
def test_a_step_of_1_is_the_default(kind, parameters):
    tracker, plain = kind(**parameters), kind(**parameters)
    for dets, _ in scene(10, 20, scored=True):
        np.testing.assert_array_equal(tracker.update(dets, dt=1), plain.update(dets))


@every_tracker
def test_one_long_prediction_is_many_short_ones(kind, parameters):
    long, short = kind(**parameters), kind(**parameters)
    for dets, _ in scene(10, 20, scored=True):
        for tracker in (long, short):
            tracker.update(dets)
        found = long.predict(2.5)
        for dt in (1, 0.25, 0.25, 1):
            parts = short.predict(dt)
        # C-BIoU and ByteTrack take the noise from the size at the start of a step.
        np.testing.assert_allclose(found, parts, rtol=0, atol=1e-6 if kind in (SortTracker, OCSortTracker) else 0.5)


def moving(at):
    """Three objects at a time: one still, one steady, one faster."""
    return rows(
        [10, 20, 50, 100, 0.9], [200 + 2 * at, 20, 250 + 2 * at, 100, 0.9], [400, 10 + 5 * at, 480, 90 + 5 * at, 0.9]
    )


RATES = [
    pytest.param(lambda rng, k: 1.0, id="constant"),
    pytest.param(lambda rng, k: 2.0, id="every second frame"),
    pytest.param(lambda rng, k: rng.uniform(0.5, 2.5), id="variable"),
    pytest.param(lambda rng, k: 12.0 if k % 20 == 19 else 1.0, id="with gaps"),
]


@every_tracker
@pytest.mark.parametrize("rate", RATES)
def test_rate_does_not_change_tracks(kind, parameters, rate):
    rng, tracker, at, ids = np.random.default_rng(0), kind(**parameters), 0.0, set()
    for k in range(80):
        dt = rate(rng, k)
        at += dt
        found = tracker.update(moving(at), dt=dt)
        ids |= set(found[:, 4].tolist())
        if k > 5:
            found = found[np.argsort(tracker.last_matches)]
            np.testing.assert_allclose(found[:, :4], moving(at)[:, :4], rtol=0, atol=1.0)
    assert len(ids) == 3


LIVES = [
    pytest.param(SortTracker, {"max_age": 10, "min_hits": 0}, 10, id="sort"),
    pytest.param(ByteTracker, {"track_buffer": 10}, 11, id="bytetrack"),
    pytest.param(OCSortTracker, {"max_age": 10, "min_hits": 0}, 10, id="ocsort"),
    pytest.param(CBIoUTracker, {"lost_track_buffer": 10}, 10, id="cbiou"),
]


@pytest.mark.parametrize("dt", [0.5, 1.0, 2.5])
@pytest.mark.parametrize(("kind", "parameters", "longest"), LIVES)
def test_a_lost_track_lives_for_a_time(kind, parameters, longest, dt):
    def survives(missed):
        tracker = kind(**parameters)
        first = [tracker.update(rows(BOX), dt=dt) for _ in range(5)][-1]
        for _ in range(missed):
            tracker.update([], dt=dt)
        found = [tracker.update(rows(BOX), dt=dt) for _ in range(3)][-1]
        return found[0, 4] == first[0, 4]

    if kind is ByteTracker:  # one update more than its buffer of 10, whatever the step
        most = int(10 / dt) + 1
    else:
        most = int(longest / dt)
    assert survives(most)
    assert not survives(most + 1)


@every_tracker
def test_aging_is_asked_for(kind, parameters):
    def gone(aging):
        tracker = kind(**parameters)
        first = [tracker.update(rows(BOX)) for _ in range(4)][-1]
        for _ in range(50):
            tracker.predict(aging=aging)
            tracker.update([]) if aging else None
        return [tracker.update(rows(BOX)) for _ in range(4)][-1][0, 4] != first[0, 4]

    assert gone(True)
    assert not gone(False)


@every_tracker
@pytest.mark.parametrize(
    ("dt", "error"),
    [*((bad, ValueError) for bad in (0, -1.0, np.nan, np.inf, 1e10)), *((bad, TypeError) for bad in ("1", None, True))],
)
def test_refuses_steps(kind, parameters, dt, error):
    tracker = kind(**parameters)
    tracker.update(rows(BOX))
    before = tracker.get_state()
    with pytest.raises(error, match=r"dt must be a number of steps in \(0, 1e9\]\. Got"):
        tracker.update(rows(BOX), dt=dt)
    with pytest.raises(error, match="dt must be"):
        tracker.predict(dt)
    assert tracker.get_state() == before


# --- who is alive


@every_tracker
def test_an_id_that_is_not_alive_never_comes_again(kind, parameters):
    tracker, reported, alive = kind(**parameters), [], []
    for dets, class_ids in scene(20, 120, crowding=3.0, classes=2, scored=True):
        reported.append(set(tracker.update(dets, class_ids)[:, 4].tolist()))
        alive.append(set(tracker.alive_ids.tolist()))
        assert len(alive[-1]) == len(tracker.alive_ids)
        assert reported[-1] <= alive[-1]
    before = set()
    for number, (seen, living) in enumerate(zip(reported, alive, strict=True)):
        before |= seen
        assert before & set().union(*reported[number + 1 :]) <= living
    assert before - alive[-1]
    assert tracker.alive_ids.dtype == np.int64
    again = kind(**parameters)
    again.set_state(tracker.get_state())
    assert again.alive_ids.tolist() == tracker.alive_ids.tolist()
    for _ in range(40):
        tracker.update([])
    assert tracker.alive_ids.tolist() == []
    assert kind(**parameters).alive_ids.shape == (0,)


def test_alive_and_not_reported_for_longer_than_a_track_may_stay_lost():
    """Found in every second frame, a track of SORT is never found often enough in a row."""
    tracker = SortTracker(max_age=5, min_hits=3)
    (found,) = [tracker.update(rows(BOX)) for _ in range(4)][-1]
    for step in range(60):
        assert len(tracker.update(rows(BOX) if step % 2 else [])) == 0
        assert tracker.alive_ids.tolist() == [found[4]]
    assert [tracker.update(rows(BOX)) for _ in range(3)][-1][0, 4] == found[4]


# --- detections that are no boxes, or no detections

NO_SCORES = [pytest.param(score, id=f"score {score}") for score in (np.nan, np.inf, -np.inf, 1e300, -1.0)]


def ignores(kind, parameters, bad):
    tracker, plain = kind(**parameters), kind(**parameters)
    for _ in range(3):
        found = tracker.update(rows(bad, BOX, bad, FAR, bad))
        np.testing.assert_array_equal(found, plain.update(rows(BOX, FAR)))
        np.testing.assert_array_equal(tracker.last_matches, plain.last_matches * 2 + 1)


@every_tracker
@pytest.mark.parametrize("bad", NO_BOXES)
def test_no_box_is_ignored(kind, parameters, bad):
    ignores(kind, parameters, bad)


# SORT looks at no score.
@pytest.mark.parametrize(("kind", "parameters"), ALL[1:])
@pytest.mark.parametrize("score", NO_SCORES)
def test_no_score_is_ignored(kind, parameters, score):
    ignores(kind, parameters, [*BOX[:4], score])


@every_tracker
@pytest.mark.parametrize("size", [1e-100, 1e-9, 1.0, 1e9, 1e70])
def test_extreme_sizes_stay_finite(kind, parameters, size):
    tracker = kind(**parameters)
    for step in range(20):
        given = rows([0, 0, size * (1 + step % 3), size, 1], [-size, -size, size, size, 1e6], [*BOX[:4], 0.3])
        assert np.isfinite(tracker.update(given)).all()
        assert np.isfinite(tracker.predict(10.0)).all()
    for _ in range(50):
        tracker.update([], dt=7.0)


@every_tracker
def test_anything_at_all(kind, parameters):
    rng = np.random.default_rng(0)
    tracker = kind(**parameters)
    for _ in range(300):
        n = int(rng.integers(0, 90))
        dets = rng.normal(0, 1, (n, 5)) * 10.0 ** rng.integers(-5, 5, (n, 1))
        strange = rng.random((n, 5)) < 0.02
        dets[strange] = rng.choice([np.nan, np.inf, -np.inf, 0.0, 1e308, -1e308, 5e-324], strange.sum())
        dets[rng.random(n) < 0.5, 4] = rng.choice([0.1, 0.5, 0.6, 0.7, 1.0])
        found = tracker.update(dets, rng.integers(0, 3, n), dt=float(rng.uniform(0.1, 40)))
        assert np.isfinite(found).all()
        assert len(set(found[:, 4])) == len(found) == len(set(tracker.last_matches.tolist()))
        assert np.isfinite(tracker.predict(aging=bool(rng.integers(2)))).all()


@every_tracker
def test_thousands_of_boxes(kind, parameters):
    tracker = kind(**parameters)
    for dets, _ in scene(3000, 5):
        found = tracker.update(dets)
        taken = dets[tracker.last_matches, :4]
        assert np.abs(found[:, :4] - taken).max() < 60
    assert len(found) > 2000


@every_tracker
def test_a_heap_of_boxes(kind, parameters):
    rng = np.random.default_rng(0)
    tracker = kind(**parameters)
    heap = np.column_stack([rng.uniform(0, 30, (150, 2)), rng.uniform(60, 90, (150, 2)), rng.uniform(0.7, 1, 150)])
    for _ in range(5):
        found = tracker.update(heap)
        assert len(set(found[:, 4])) == len(found) > 70
        heap = heap[rng.permutation(150)]


# --- what may be given


@every_tracker
@pytest.mark.parametrize("nothing", [[], np.zeros((0, 5)), np.zeros((0, 4)), np.zeros((0, 5), np.float32), np.zeros(0)])
def test_nothing(kind, parameters, nothing):
    tracker = kind(**parameters)
    assert tracker.update(nothing).shape == (0, 5)
    assert tracker.update(nothing, []).dtype == np.float64
    assert tracker.predict().shape == (0, 5)
    assert tracker.last_matches.tolist() == []


@every_tracker
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
def test_other_inputs_are_copied(kind, parameters, given):
    dets = rows([10, 20, 50, 100, 1], [200, 20, 260, 100, 1])
    found = kind(**parameters).update(given(dets))
    assert len(found) == 2
    np.testing.assert_array_equal(found, kind(**parameters).update(dets))


@every_tracker
def test_read_only_detections_stay_as_they_are(kind, parameters):
    dets = rows(BOX, FAR)
    dets.flags.writeable = False
    tracker = kind(**parameters)
    for _ in range(3):
        tracker.update(dets, np.zeros(2, np.int32))
    np.testing.assert_array_equal(dets, rows(BOX, FAR))


@every_tracker
@pytest.mark.parametrize(
    ("dets", "class_ids", "message"),
    [
        (np.zeros((3, 2)), None, r"dets must be an \(N, 5\) array of x1 y1 x2 y2 score\. Got shape \(3, 2\)\."),
        (np.zeros((1, 3, 5)), None, r"Got shape \(1, 3, 5\)\."),
        (np.zeros((2, 5), complex), None, r"Got dtype complex128\."),
        ([[1, 2], [3]], None, "Got rows of unequal length"),
        (None, None, r"Got dtype object\."),
        (rows(BOX), [1, 2], "Got 2 for 1 detections"),
        (rows(BOX), [0.5], r"Got dtype float64\."),
    ],
)
def test_refuses(kind, parameters, dets, class_ids, message):
    tracker = kind(**parameters)
    tracker.update(rows(BOX))
    before = tracker.get_state()
    with pytest.raises(ValueError, match=message):
        tracker.update(dets, class_ids)
    assert tracker.get_state() == before


@pytest.mark.parametrize(
    ("kind", "arguments", "error", "message"),
    [
        (ByteTracker, {"track_thresh": 1.1}, ValueError, r"track_thresh must be a number in \[0, 1\]\. Got 1\.1\."),
        (ByteTracker, {"match_thresh": np.nan}, ValueError, "Got nan"),
        (ByteTracker, {"track_buffer": -1}, ValueError, r"track_buffer must be an int from 0 to 1000000000\. Got -1\."),
        (ByteTracker, {"track_buffer": 1.0}, TypeError, "track_buffer must be an int"),
        (ByteTracker, {"frame_rate": -30}, ValueError, "frame_rate must be a number"),
        (ByteTracker, {"mot20": 1}, TypeError, r"mot20 must be a bool\. Got 1\."),
        (OCSortTracker, {"det_thresh": "0.6"}, TypeError, "det_thresh must be a number"),
        (OCSortTracker, {"delta_t": 0}, ValueError, "delta_t must be an int from 1 to 100"),
        (OCSortTracker, {"inertia": 2}, ValueError, "inertia must be a number"),
        (OCSortTracker, {"max_age": True}, TypeError, "max_age must be an int"),
        (CBIoUTracker, {"minimum_consecutive_frames": 0}, ValueError, "must be an int >= 1"),
        (CBIoUTracker, {"buffer_ratio_second": -0.1}, ValueError, r"must be a number in \[0, 10\]"),
        (CBIoUTracker, {"instant_first_frame_activation": None}, TypeError, "must be a bool"),
        (Tracker, {}, TypeError, "make one of those"),
    ],
)
def test_refuses_parameters(kind, arguments, error, message):
    with pytest.raises(error, match=message):
        kind(**arguments)


@every_tracker
def test_parameters_can_be_read(kind, parameters):
    tracker = kind(**parameters, class_aware=False)
    assert all(getattr(tracker, name) == value for name, value in parameters.items())
    read = {name: getattr(tracker, name) for name in kind.PARAMETERS}
    assert repr(kind(**read)) == repr(tracker)
    assert repr(tracker).startswith(f"{kind.__name__}(")


# --- reset, threads, state


@every_tracker
def test_reset_is_a_new_tracker(kind, parameters):
    tracker, fresh = kind(**parameters), kind(**parameters)
    for dets, _ in scene(8, 10, scored=True):
        tracker.update(dets)
    tracker.reset()
    assert tracker.get_state() == fresh.get_state()
    for dets, _ in scene(8, 10, seed=1, scored=True):
        np.testing.assert_array_equal(tracker.update(dets), fresh.update(dets))


@every_tracker
def test_one_tracker_a_thread(kind, parameters):
    frames = [dets for dets, _ in scene(100, 20, scored=True)]
    alone = kind(**parameters)
    expected = [alone.update(dets) for dets in frames]
    failures = []

    def work():
        tracker = kind(**parameters)
        failures.extend(
            dets for dets, want in zip(frames, expected, strict=True) if not np.array_equal(tracker.update(dets), want)
        )

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


@every_tracker
@pytest.mark.parametrize(("n", "frames"), [(0, 5), (6, 90), (90, 12)])
def test_killed_anywhere_it_goes_on_to_the_last_bit(kind, parameters, n, frames):
    shown = list(scene(n, frames, classes=2, crowding=2.0, scored=True)) if n else [(rows(), [])] * frames
    steps = [1.0 if k % 4 else 1.75 for k in range(frames)]
    tracker = kind(**parameters)
    states, answers = [], []
    for (dets, class_ids), dt in zip(shown, steps, strict=True):
        answers.append((tracker.update(dets, class_ids, dt), tracker.last_matches, tracker.predict(0.5)))
        states.append(tracker.get_state())
    for killed in range(0, frames, 1 if n < 10 else 5):
        again = kind(**parameters)
        again.set_state(states[killed])
        assert again.get_state() == states[killed]
        np.testing.assert_array_equal(again.last_matches, answers[killed][1])
        for k in range(killed + 1, min(killed + 12, frames)):
            found = again.update(*shown[k], steps[k]), again.last_matches, again.predict(0.5)
            for here, there in zip(found, answers[k], strict=True):
                np.testing.assert_array_equal(here, there)
            assert again.get_state() == states[k]


@every_tracker
def test_state_does_not_grow(kind, parameters):
    """What is long gone leaves nothing behind."""
    tracker, sizes = kind(**parameters), []
    for k in range(40):
        for _ in range(4):
            tracker.update(rows([50 * k, 0, 50 * k + 40, 80, 0.9]))
        for _ in range(40):
            tracker.update([])
        sizes.append(len(tracker.get_state()))
    assert sizes == [sizes[0]] * 40


def signed(body):
    return body + struct.pack("<I", zlib.crc32(body))


@every_tracker
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        pytest.param(lambda s: b"", "Got 0 bytes of something else", id="empty"),
        pytest.param(lambda s: b"x" * 500, "Got 500 bytes of something else", id="foreign"),
        pytest.param(lambda s: s[:-1], "damaged", id="cut"),
        pytest.param(lambda s: s[:200] + bytes([s[200] ^ 1]) + s[201:], "damaged", id="one bit"),
        pytest.param(lambda s: signed(s[:-12]), "damaged", id="a track short"),
        pytest.param(lambda s: signed(s[:6] + b"\x63\0" + s[8:-4]), "version 2. Got version 99", id="another version"),
        pytest.param(
            lambda s: ByteTracker(0.123).get_state(),
            r"same parameters, .*\. Got ByteTracker\(.*0\.123",
            id="another tracker",
        ),
    ],
)
def test_refuses_foreign_state(kind, parameters, damage, message):
    tracker = kind(**parameters)
    tracker.update(rows(BOX, FAR))
    before = tracker.get_state()
    with pytest.raises(ValueError, match=message):
        tracker.set_state(damage(before))
    assert tracker.get_state() == before
    with pytest.raises(TypeError, match="state must be bytes"):
        tracker.set_state("text")
