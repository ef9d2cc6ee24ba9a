"""What is drawn of a scene: where signs stand, what they say, and that nothing else is lost by it."""

from dataclasses import replace
from datetime import UTC, datetime
from fractions import Fraction
from zoneinfo import ZoneInfo

import av
import numpy as np
import pytest

from engine import EngineConfig
from engine.analytics import Scene
from engine.media.planes import planes_of
from engine.pipeline.outputs import scene_overlay
from engine.records import Frame, Tracks
from engine.sinks.overlay import Overlay, OverlayStyle, rows_of
from engine.sinks.scene_overlay import SceneOverlay

ALL = ("lines", "zones", "counts", "clock")
SIZES = [(320, 180), (854, 480), (1920, 1080), (3840, 2160), (1080, 1920)]


def scene_of(lines=2, zones=1):
    rng = np.random.default_rng(lines)
    return Scene.model_validate(
        {
            "line": [
                {"name": f"line {n}", "points": rng.uniform(0, 1, (2, 2)).tolist(), "in": "to centre", "out": "away"}
                for n in range(lines)
            ],
            "zone": [{"name": f"zone {n}", "polygon": rng.uniform(0, 1, (4, 2)).tolist()} for n in range(zones)],
        }
    )


def overlay_of(scene, parts=ALL, **options):
    return SceneOverlay(scene, parts, gone_after=3.0, **options)


def tracks_of(index, boxes=(), *, size_wh=(320, 180), wall=None):
    image = av.VideoFrame(*size_wh, "yuv420p")
    for plane in planes_of(image):
        plane[:] = 128
    frame = Frame(0, index, index * 40, 40, Fraction(1, 1000), image, step_s=Fraction(1, 25), wall=wall)
    boxes = np.array(boxes, np.float64).reshape(-1, 4)
    count = len(boxes)
    return Tracks(frame, boxes, np.arange(1, count + 1), np.zeros(count, np.int32), np.full(count, 0.5, np.float32))


def drawn(overlay, tracks):
    """The planes behind the drawing."""
    overlay.draw(tracks.frame.image, tracks)
    return [plane.copy() for plane in planes_of(tracks.frame.image)]


@pytest.mark.parametrize("size_wh", SIZES)
@pytest.mark.parametrize(("lines", "zones"), [(0, 0), (1, 0), (2, 1), (5, 3)])
def test_signs_stand_apart_and_in_the_frame(size_wh, lines, zones):
    rooms = overlay_of(scene_of(lines, zones)).rooms(size_wh).tolist()
    assert len(rooms) == 1 + lines + zones
    for number, (left, top, right, bottom) in enumerate(rooms):
        assert 0 <= left < right <= size_wh[0]
        assert 0 <= top < bottom <= size_wh[1]
        for other in rooms[:number]:
            assert right <= other[0] or other[2] <= left or bottom <= other[1] or other[3] <= top


def test_more_signs_than_there_is_room_for():
    rooms = overlay_of(scene_of(60, 0)).rooms((320, 180))
    assert rooms.shape == (61, 4)
    assert rooms.min() >= 0


def said(overlay, tracks, size_wh=(320, 180)):
    overlay.see(tracks.frame, rows_of(tracks, tracks.boxes_xyxy, {0: "person"}), size_wh)
    return overlay.signs(tracks.frame)


COUNTED = Scene.model_validate(
    {
        "line": [{"name": "gate", "points": [[0.5, 0], [0.5, 1]], "in": "left", "out": "right"}],
        "zone": [{"name": "yard", "polygon": [[0.5, 0], [1, 0], [1, 1], [0.5, 1]]}],
    }
)


def walk(x):
    return [[x - 10, 100, x + 10, 140]]


def test_what_the_signs_say():
    overlay = overlay_of(COUNTED)
    texts = [said(overlay, tracks_of(index, walk(x) if x else ())) for index, x in enumerate((150, 161, 170, 0))]
    assert texts[0] == ["00:00:00", "gate: left 0, right 0", "yard: now 0, total 0"]
    assert texts[1] == ["00:00:00", "gate: left 0, right 0", "yard: now 1, total 1"]
    assert texts[2] == ["00:00:00", "gate: left 0, right 1", "yard: now 1, total 1"]
    assert texts[3] == ["00:00:00", "gate: left 0, right 1", "yard: now 0, total 1"]


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (("clock",), ["00:00:00"]),
        (("lines",), ["gate"]),
        (("zones",), ["yard"]),
        (("lines", "zones"), ["gate", "yard"]),
        (("counts",), ["gate: left 0, right 0", "yard: now 0, total 0"]),
        ((), []),
    ],
)
def test_parts(parts, expected):
    overlay = overlay_of(COUNTED, parts)
    assert said(overlay, tracks_of(0)) == expected
    assert len(overlay.rooms((320, 180))) == len(expected)
    assert bool(overlay.strokes((320, 180))) == bool({"lines", "zones"} & set(parts))


BERLIN = datetime(2024, 3, 31, 1, 59, 58, 900_000, tzinfo=ZoneInfo("Europe/Berlin"))


@pytest.mark.parametrize(
    ("wall", "options", "expected", "remark"),
    [
        (BERLIN, {}, "2024-03-31 01:59:58", "the frame's own, whole seconds that have passed"),
        (BERLIN, {"wall_start": datetime(2020, 1, 1, tzinfo=UTC)}, "2024-03-31 01:59:58", "which comes first"),
        (None, {"wall_start": datetime(2020, 1, 1, 8, tzinfo=UTC)}, "2020-01-01 09:02:03", "counted from the first"),
        (None, {}, "01:02:03", "the time since the first frame"),
    ],
)
def test_the_clock(wall, options, expected, remark):
    overlay = overlay_of(Scene(), ("clock",), **options)
    said(overlay, tracks_of(100))
    assert said(overlay, tracks_of(100 + 25 * 3723, wall=wall)) == [expected]


def test_labels_stand_beside_signs():
    """A label's best place is where a sign is: it goes elsewhere, and the sign is whole."""
    overlay = Overlay(OverlayStyle(), ["person"], overlay_of(COUNTED, ("clock",)))
    left, top, right, bottom = overlay_of(COUNTED, ("clock",)).rooms((320, 180))[0].tolist()
    box = [[left, bottom, left + 30, bottom + 60]]
    with_track, without = drawn(overlay, tracks_of(0, box)), drawn(overlay, tracks_of(0))
    np.testing.assert_array_equal(with_track[0][top : bottom - 1, left:right], without[0][top : bottom - 1, left:right])


def test_an_arrow_points_to_the_side_that_is_called_in():
    """Of a line downwards, the right hand of who walks along it is the left of the screen."""
    strokes = overlay_of(COUNTED, ("lines",)).strokes((320, 180))
    assert strokes[1].points[:, 0].min() < 155
    assert strokes[1].points[:, 0].max() == 160


def test_a_frame_of_odd_size():
    overlay = Overlay(OverlayStyle(), ["person"], overlay_of(COUNTED))
    tracks = tracks_of(0, walk(100), size_wh=(322, 182))
    image = tracks.frame.image
    tracks = replace(tracks, frame=replace(tracks.frame, image=av.VideoFrame(321, 181, "yuv420p")))
    overlay.draw(image, tracks)
    assert (planes_of(image)[0][90, 155:165] == 235).any()


@pytest.mark.parametrize(
    ("draw", "has_scene", "expected"),
    [
        (None, True, ALL),
        (None, False, ()),
        ("none", True, ()),
        ("clock,lines", True, ("clock", "lines")),
        ("clock,lines", False, ("clock",)),
    ],
)
def test_what_is_drawn_by_configuration(draw, has_scene, expected):
    config = EngineConfig(draw=draw)
    assert config.drawn(has_scene=has_scene) == expected
    assert (scene_overlay(config, COUNTED if has_scene else None) is None) == (not expected)


@pytest.mark.parametrize("state", [{"first_s": "x", "counts": None}, {"first_s": 0.0, "counts": {}}, {"counts": None}])
def test_what_is_no_state(state):
    with pytest.raises((ValueError, TypeError, KeyError)):
        overlay_of(COUNTED).restore(state)


@pytest.mark.parametrize(
    "state",
    [
        {"labels": [[1]]},
        {"labels": [[1, 10**30]]},
        {"labels": [[1, -7]]},
        {"trails": [[1.0]]},
        {"scene": {"first_s": 1}},
    ],
)
def test_what_is_no_state_of_a_drawing(state):
    overlay = Overlay(OverlayStyle(), ["person"], overlay_of(COUNTED))
    with pytest.raises((ValueError, TypeError, KeyError)):
        overlay.restore(state)


def test_an_empty_state_begins_anew():
    """As where a checkpoint proves to be of no use after some of it was taken."""
    used, new = (Overlay(OverlayStyle(), ["person"], overlay_of(COUNTED)) for _ in range(2))
    for index, x in enumerate((150, 161, 170)):
        drawn(used, tracks_of(index, walk(x)))
    used.restore({})
    for index, x in enumerate((100, 120)):
        pairs = zip(drawn(used, tracks_of(index, walk(x))), drawn(new, tracks_of(index, walk(x))), strict=True)
        assert all((one == other).all() for one, other in pairs)
    assert used.state() == new.state()
