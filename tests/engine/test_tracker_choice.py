"""Trackers are chosen: one registry, from which configuration, command line, documentation and stage are made."""

import itertools
import re
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from engine import Engine
from engine.analytics.stitching import ObjectCounter
from engine.cli.run import run as run_command
from engine.config import EngineConfig
from engine.errors import ConfigError
from engine.inference.layouts import get_layout
from engine.records import Anchors, Detections, Frame
from engine.resume.partial_outputs import partial_path
from engine.stages.postprocess import Postprocess
from engine.stages.track import StreamTracker, Track, TrackerSettings, groups_of
from engine.trackers.keys import TrackerKeys
from engine.trackers.registry import HELP, KEYS, TRACKERS, lifetime
from engine.trackers.steps import nominal_step_s, steps_between
from tests.assets import ROOT
from tests.engine.conftest import make_detections, make_end, make_frame, make_image

OF_SORT = ("max_age", "min_hits", "iou_threshold")


def refusal(**values):
    with pytest.raises(ConfigError) as caught:
        EngineConfig(**values)
    return str(caught.value)


def owner(key):
    return next(kind.name for kind in TRACKERS.values() if key in kind.defaults)


def test_every_parameter_has_a_rule_a_meaning_and_an_owner():
    assert list(TrackerKeys.model_fields) == list(HELP)
    assert {key for kind in TRACKERS.values() for key in kind.defaults} == set(HELP)


@pytest.mark.parametrize("kind", TRACKERS.values(), ids=list(TRACKERS))
def test_parameters_and_defaults_are_the_kernels(kind):
    kernel = kind.make(kind.defaults, class_aware=True)
    assert set(kind.defaults) == set(kernel.PARAMETERS) - {"frame_rate", "class_aware"}
    module, name = kind.kernel.split(".")
    authors = getattr(import_module(f"engine_ext.{module}"), name)()
    differ = {key for key, value in kind.defaults.items() if getattr(authors, key) != value}
    assert differ == ({"max_age"} if kind.name == "sort" else set())  # 10, since the first program


@pytest.mark.parametrize("tracker", TRACKERS)
def test_the_configuration_has_the_parameters_of_its_tracker(tracker):
    config = EngineConfig(tracker=tracker)
    own = TRACKERS[tracker].defaults
    assert {key: getattr(config, key) for key in own} == dict(own)
    assert all(getattr(config, key) is None for key in KEYS if key not in own)
    assert EngineConfig(**config.model_dump()) == config
    for other in TRACKERS:  # with another tracker, its parameters go
        assert config.updated(tracker=other, conf=0.3) == EngineConfig(
            tracker=other, conf=0.3, **(dict(own) if other == tracker else {})
        )
    assert lifetime(tracker, config.model_dump()) > max(own.get("max_age") or 0, 10)


@pytest.mark.parametrize("tracker", TRACKERS)
def test_a_track_that_is_lost_again_and_again_is_counted_once(tracker):
    """Its rows stay away for longer than it may be lost, where it must be detected several times in a row again."""
    config = EngineConfig(tracker=tracker)
    values = config.model_dump()
    lost = [False] * (lifetime(tracker, values) - 3)
    seen = [*[True] * 100, *lost, *[True, *lost] * 4, *[True] * 10, *lost, *[True] * 100]
    follower = StreamTracker(TrackerSettings.of(config, ("thing",)))
    objects, rows = ObjectCounter(), []
    for index, visible in enumerate(seen):
        boxes = [(100, 100, 150, 200)] if visible else []
        made = follower.follow(make_frame(index), make_detections(*boxes))
        columns = (made.track_ids, made.class_ids, made.scores, made.boxes_xyxy)
        objects.follow(made.frame.time_s, index, *columns)
        if made.alive is not None:
            objects.settle(set(made.alive.tolist()))
        rows += [(track_id, index) for track_id in made.track_ids.tolist()]
    assert objects.objects().ids == len({track_id for track_id, _ in rows}) == 1
    away = max(after - before for (_, before), (_, after) in itertools.pairwise(rows))
    assert (away > lifetime(tracker, values)) == ("min_hits" in values and values["min_hits"] is not None)


@pytest.mark.parametrize("key", KEYS)
def test_a_parameter_of_another_tracker_is_refused_by_name(key):
    value = TRACKERS[owner(key)].defaults[key]
    for tracker, kind in TRACKERS.items():
        if key in kind.defaults:
            assert getattr(EngineConfig(tracker=tracker, **{key: value}), key) == value
        else:
            said = refusal(tracker=tracker, **{key: value})
            assert said.startswith(f"{key} is a parameter of the tracker {owner(key)}")
            assert f"the tracker is {tracker}:" in said


@pytest.mark.parametrize("key", [key for key in KEYS if key not in OF_SORT])
def test_rules(key):
    tracker = owner(key)
    default = TRACKERS[tracker].defaults[key]
    wrong = ["many", None] if isinstance(default, bool) else [-1, "many", True, None, 10**9]
    for value in wrong:
        assert refusal(tracker=tracker, **{key: value}).startswith(f"{key} must be "), value


def test_unknown_tracker():
    assert refusal(tracker="deepsort") == (
        "tracker must be one of 'sort', 'bytetrack', 'ocsort' or 'cbiou'. Got 'deepsort'."
    )


def test_the_command_line_has_every_parameter_with_its_default():
    options = {option.name: option for option in run_command.params}
    for key, text in HELP.items():
        assert options[key].help.startswith(text)
        for kind in TRACKERS.values():
            if key in kind.defaults:
                assert str(kind.defaults[key]).lower() in options[key].help
    assert list(options["tracker"].type.choices) == list(TRACKERS)


def test_the_documentation_has_every_parameter_with_its_default():
    text = (ROOT / "docs" / "trackers.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]*) \|", text, re.M))
    assert list(rows) == list(KEYS)
    for key, told in rows.items():
        for kind in TRACKERS.values():
            if key in kind.defaults:
                assert f"{kind.name} {str(kind.defaults[key]).lower()}" in told
    for kind in TRACKERS.values():
        assert kind.help in " ".join(text.split())


@pytest.mark.parametrize(
    ("values", "tracker", "lowest"),
    [
        ({}, 0.25, 0.25),
        ({"conf": 0.05}, 0.05, 0.05),
        ({"tracker": "bytetrack"}, 0.1, 0.1),
        ({"tracker": "bytetrack", "conf": 0.05}, 0.05, 0.05),
        ({"tracker": "ocsort"}, 0.25, 0.25),
        ({"tracker": "ocsort", "use_byte": True}, 0.1, 0.1),
        ({"tracker": "cbiou"}, 0.1, 0.1),
        ({"store_conf": 0.05}, 0.25, 0.05),
        ({"store_conf": 0.9}, 0.25, 0.25),
        ({"gate": "motion"}, 0.25, 0.1),
    ],
)
def test_scores_that_are_wanted(values, tracker, lowest):
    config = EngineConfig(**values)
    assert (config.tracker_conf, config.lowest_conf) == (tracker, lowest)


def box(index):
    return (10 + 2 * index, 20, 40 + 2 * index, 80)


def settings(**values):
    return TrackerSettings.of(EngineConfig(**values), ("car", "truck", "person"))


def test_a_faint_detection_keeps_the_track_only_where_the_tracker_wants_it():
    def ids(given):
        tracker, out = StreamTracker(given), []
        for index in range(8):
            found = make_detections(box(index), score=0.9 if index < 5 else 0.15)
            out.append(tracker.follow(make_frame(index), found).track_ids.tolist())
        return out

    assert ids(settings(tracker="bytetrack"))[5:] == [[1]] * 3
    assert ids(settings(min_hits=0))[5:] == [[]] * 3  # below conf: stored perhaps, but none of SORT's


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ({"tracker": "sort", "min_hits": 6}, "min_hits"),
        ({"tracker": "ocsort", "min_hits": 6}, "min_hits"),
        ({"tracker": "cbiou", "minimum_consecutive_frames": 6}, "minimum_consecutive_frames"),
    ],
)
@pytest.mark.parametrize(("skip_frames", "expected"), [(0, 6), (1, 3), (2, 2), (3, 2), (100, 1)])
def test_the_first_hits_count_frames_not_inferences(given, key, skip_frames, expected):
    assert settings(skip_frames=skip_frames, **given).parameters[key] == expected


def test_a_track_of_cbiou_counts_as_early_where_frames_are_left_out():
    def begins(skip_frames):
        given = settings(
            tracker="cbiou",
            skip_frames=skip_frames,
            minimum_consecutive_frames=6,
            instant_first_frame_activation=False,
        )
        tracker = StreamTracker(given)
        found = [
            tracker.follow(make_frame(index), None if index % (skip_frames + 1) else make_detections(box(index)))
            for index in range(12)
        ]
        return next(index for index, tracks in enumerate(found) if len(tracks))

    assert begins(0) == 5
    assert begins(2) == 3  # the second inference, each standing for three frames


def test_classes_of_a_group_share_a_track_and_rows_keep_their_own():
    def follow(**values):
        tracker, rows = StreamTracker(settings(min_hits=0, **values)), []
        for index in range(6):
            tracks = tracker.follow(make_frame(index), make_detections(box(index), class_id=index % 2))
            rows += zip(tracks.track_ids.tolist(), tracks.class_ids.tolist(), strict=True)
        return rows

    assert len({track for track, _ in follow()}) == 2
    assert follow(class_groups="vehicle=car,truck") == [(1, 0), (1, 1)] * 3
    assert len({track for track, _ in follow(class_groups={"other": ["truck", "person"]})}) == 2


def test_a_group_of_a_class_that_is_not_there():
    with pytest.raises(ConfigError, match="class_groups: vehicle names 'bus', and the model has no such class"):
        groups_of({"vehicle": ["car", "bus"]}, ("car", "truck"))


@pytest.mark.parametrize(
    ("average", "declared", "step"),
    [
        (Fraction(25), Fraction(25), Fraction(1, 25)),
        (Fraction(30_000, 1001), Fraction(30_000, 1001), Fraction(1001, 30_000)),
        (Fraction(24), Fraction(25), Fraction(1, 25)),  # some frames are missing
        (Fraction(20), Fraction(120), Fraction(1, 20)),  # the grid of a rate that varies
        (Fraction(30), Fraction(25), Fraction(1, 30)),
        (Fraction(0), Fraction(25), Fraction(1, 25)),
        (None, Fraction(90_000), None),
        (None, None, None),
    ],
)
def test_nominal_step(average, declared, step):
    assert nominal_step_s(average, declared) == step


@pytest.mark.parametrize(
    ("time_base", "step", "pts"),
    [
        (Fraction(1, 12_800), Fraction(1, 25), [512 * i for i in range(200)]),
        (Fraction(1, 30_000), Fraction(1001, 30_000), [1001 * i for i in range(200)]),
        (Fraction(1, 1000), Fraction(1001, 30_000), [round(i * 1001 / 30) for i in range(200)]),  # as Matroska has it
        (Fraction(1, 1000), Fraction(1001, 60_000), [i * 1001 // 60 for i in range(200)]),
        (Fraction(1, 10), Fraction(1, 10), list(range(200))),
    ],
)
def test_a_constant_rate_is_exactly_one_step_a_frame(time_base, step, pts):
    pairs = list(itertools.pairwise(pts))
    assert {steps_between(before, after, time_base, step) for before, after in pairs} == {1.0}
    assert {steps_between(before, after, time_base, step) for before, after in zip(pts, pts[3:], strict=False)} == {3.0}


def test_other_steps():
    at = {"time_base": Fraction(1, 1000), "step_s": Fraction(1, 25)}
    assert steps_between(0, 50, **at) == 1.25
    assert steps_between(0, 10, **at) == 0.25
    assert steps_between(0, 10**15, **at) == 1e9
    assert steps_between(7, 7, **at) == steps_between(7, 3, **at) == 1.0  # no time is none
    assert steps_between(0, 3, Fraction(1, 10), Fraction(1, 5)) == 1.5  # a tick is no rounding here
    assert steps_between(0, 12345, Fraction(1, 1000), None) == 1.0


def objects(time_s):
    """Three objects on their ways, at a moment."""
    ways = [(50, 60, 31, 4), (600, 100, -45, 10), (300, 400, 3, -20)]
    corners = [(x + vx * time_s, y + vy * time_s) for x, y, vx, vy in ways]
    return [(x, y, x + 60, y + 120) for x, y in corners]


def tracked(times_ms, tracker):
    """Id and box of each object by time."""
    own = {"min_hits": 0} if "min_hits" in TRACKERS[tracker].defaults else {}
    following, found = StreamTracker(settings(tracker=tracker, **own)), {}
    for index, time_ms in enumerate(times_ms):
        frame = Frame(0, index, time_ms, 40, Fraction(1, 1000), None, step_s=Fraction(1, 25))
        tracks = following.follow(frame, make_detections(*objects(time_ms / 1000)))
        for track_id, where in zip(tracks.track_ids.tolist(), tracks.boxes_xyxy, strict=True):
            found[time_ms, track_id] = where
    return found


@pytest.mark.parametrize("tracker", TRACKERS)
@pytest.mark.parametrize(
    "times_ms",
    [
        list(range(0, 4000, 80)),  # every second frame
        sorted(set(range(0, 4000, 40)) - set(np.random.default_rng(3).integers(2, 100, 30) * 40)),  # frames missing
        [*range(0, 2000, 40), *range(2280, 4000, 40)],  # a gap
    ],
    ids=["half", "variable", "gap"],
)
def test_a_scene_gives_the_same_tracks_whatever_the_rate(tracker, times_ms):
    """Ids are the same, and boxes within 2 pixels, once the filters have settled (after one second)."""
    whole, part = tracked(range(0, 4000, 40), tracker), tracked(times_ms, tracker)
    assert {track for _, track in part} == {track for _, track in whole} == {1, 2, 3}
    late = [key for key in part if key[0] > 1000]
    assert len(late) > 60
    for key in late:
        np.testing.assert_allclose(part[key], whole[key], atol=2.0)


def test_a_long_gap_ends_a_track_by_its_time():
    def ids(gap_ms):
        tracker = StreamTracker(settings(min_hits=0, max_age=10))
        out = []
        for index, time_ms in enumerate([0, 40, 80, 80 + gap_ms]):
            frame = Frame(0, index, time_ms, 40, Fraction(1, 1000), None, step_s=Fraction(1, 25))
            out.append(tracker.follow(frame, make_detections((10, 10, 60, 90))).track_ids.tolist())
        # Unseen, then there again.
        return out[-1]

    assert ids(40 * 5) == [1]


def test_the_state_is_handed_out_at_the_end_and_carries_on_in_the_next_file():
    given, states = settings(min_hits=0), {}
    track = Track(given, at_end=lambda stream, state: states.update({stream: state}))
    for index in range(5):
        list(track.process(make_frame(index), make_detections(box(index))))
    list(track.end(make_end(5)))
    following = StreamTracker(given)
    following.carry_on(states[0], Fraction(1, 25))
    frame = Frame(0, 0, 0, 40, Fraction(1, 1000), None, step_s=Fraction(1, 25))
    assert following.follow(frame, make_detections(box(5))).track_ids.tolist() == [1]
    other = StreamTracker(settings(tracker="bytetrack"))
    with pytest.raises(ValueError, match="it is of the tracker sort, and bytetrack is wanted"):
        other.restore(states[0])


def test_detections_above_a_score():
    found = Detections(np.zeros((3, 4), np.float32), np.array([0.9, 0.25, 0.1], np.float32), np.zeros(3, np.int32))
    assert found.above(0.0) is found
    assert found.above(0.25).scores.tolist() == found.scores[:2].tolist()
    assert len(found.above(0.1)) == 3  # as the model's output is compared: in its own precision


@pytest.mark.parametrize(
    ("values", "told"),
    [({"tracker": "bytetrack"}, True), ({"store_conf": 0.1}, True), ({}, False), ({"tracker": "ocsort"}, False)],
)
def test_a_model_that_chooses_its_boxes_itself_may_hide_faint_ones(caplog, values, told):
    with Engine(EngineConfig(backend="fake", **values)):
        assert ("fake chooses its boxes itself" in caplog.text) == told


def test_stored_detections_have_a_partial_name():
    assert partial_path(Path("out/a.detections.bin")) == Path("out/a.partial.detections.bin")


def test_a_group_suppresses_its_duplicates():
    """A car that the model has found as a truck, too, is one detection where they are a group."""
    output = np.array([[10, 10, 60, 60, 0.9, 0], [11, 11, 61, 61, 0.8, 1], [11, 11, 61, 61, 0.7, 2]], np.float32)
    image, letterbox = make_image(128, 128), SimpleNamespace(pad_xy=(0, 0), ratio_xy=(1.0, 1.0))

    def found(groups):
        stage = Postprocess(get_layout("yolov8"), nms_iou=0.5, max_detections=9, groups=groups)
        anchors = Anchors(output[:, :4].copy(), output[:, 4].copy(), output[:, 5].astype(np.int32))
        return stage.read(anchors, (128, 128), image, letterbox).class_ids.tolist()

    assert found(None) == [0, 1, 2]
    assert found((0, 0, 2)) == [0, 2]
