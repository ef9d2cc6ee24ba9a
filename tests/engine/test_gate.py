"""The gate's parts, one by one: what is planned, which parts, and what is carried over."""

import base64
import threading
import zlib
from fractions import Fraction
from types import MappingProxyType

import av
import numpy as np
import pytest

from engine.inference.backends.fake import fake_manifest
from engine.inference.letterbox import Letterboxes
from engine.inference.tensor_shape import TensorShape
from engine.records import Agreements, Anchors, Detections, Frame, Look, Part, Plan, Ratio, Tracks
from engine.stages.agreement import Auditor
from engine.stages.confidence import drawn, interval
from engine.stages.fill import Fill, matches
from engine.stages.gate import MAX_BETWEEN, Gate, GateSettings
from engine.stages.parts import grown, in_whole, packed, rectangles
from engine.stages.windows import DELAY, WINDOW, Opening, Windows

SIZE = (640, 480)
TICK = Fraction(1, 25)


def settings(*, every_s=2, parts=True, largest=1 << 30):
    shape, boxes = TensorShape((640, 640), 32, rect=True), Letterboxes(fake_manifest(640, 640).input, "float32")
    return GateSettings(
        full_every_s=Fraction(every_s),
        shape_of=shape,
        fine_shape_of=shape if parts else None,
        letterbox_of=lambda image, hw: boxes.of(image, hw)[1],
        stride=32,
        largest=largest,
    )


def image(*squares, level=80, size=SIZE, fmt="yuv420p"):
    luma = np.full((size[1] * 3 // 2, size[0]), 128, np.uint8)
    luma[: size[1]] = level
    for x, y, side in squares:
        luma[y : y + side, x : x + side] = 200
    frame = av.VideoFrame.from_ndarray(luma, "yuv420p")
    return frame if fmt == "yuv420p" else frame.reformat(format=fmt)


def looks(gate, images, start=0):
    return [gate.see(each, start + number, TICK).look.value for number, each in enumerate(images)]


SQUARE = (200, 200, 40)


@pytest.mark.parametrize(
    ("what", "images", "expected"),
    [
        ("nothing changes", [image()] * 4, "whole same same same"),
        (
            "a thing comes and stays",
            [image()] * 2 + [image(SQUARE)] * 13,
            "whole same" + 11 * " between" + " parts same",
        ),
        ("all is brighter by a little", [image(level=80 + i) for i in range(4)], "whole same same same"),
        ("the light jumps", [image(), image(level=110), image(level=110)], "whole whole same"),
        ("another scene", [image(), image((0, 0, 470)), image((0, 0, 470))], "whole whole same"),
        ("another size", [image(), image(size=(320, 240)), image(size=(320, 240))], "whole whole same"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_looks(what, images, expected):
    assert looks(Gate(settings()), images) == expected.split()


def moving(count, step=8):
    return [image((100 + step * index, 200, 40)) for index in range(count)]


def between_in_a_row(gate, images, tick):
    """How many frames are between two others, each time, of frames so many seconds apart."""
    plans = [gate.see(each, number, tick) for number, each in enumerate(images)]
    seen = "".join("-" if plan.look is Look.BETWEEN else "p" for plan in plans)
    return [len(each) for each in seen.rstrip("-").split("p")[1:-1]]


@pytest.mark.parametrize(
    ("rate", "expected"),
    [(100, [11, 11]), (30, [11, 11]), (25, [11, 11]), (15, [10, 10]), (10, [7, 7, 7]), (5, [0] * 27)],
)
def test_of_frames_near_each_other_some_are_between(rate, expected):
    assert between_in_a_row(Gate(settings(every_s=60)), moving(28, 4), Fraction(1, rate)) == expected


def test_the_audit_says_how_many_may_be_between():
    found = []
    for level in (0, 1, 2):
        opening = Opening()
        opening.tell(1 << 30, level)
        found.append(between_in_a_row(Gate(settings(every_s=60), opening=opening), moving(100, 2), TICK)[-1])
    assert found == [11, 1, 0]


def test_images_too_large_to_be_held_up_are_never_between():
    assert looks(Gate(settings(largest=1000)), moving(4)) == ["whole", "parts", "parts", "parts"]


def held_most(largest):
    """The most frames in a row that wait."""
    gate = Gate(settings(every_s=60, largest=largest))
    return max(gate.see(each, number, TICK).held for number, each in enumerate(moving(60, 2)))


def test_of_small_images_more_may_wait():
    size = SIZE[0] * SIZE[1] * 3 // 2
    assert [held_most(many) for many in (size - 1, size, 2 * size, 1 << 30)] == [0, 4, 8, MAX_BETWEEN]


@pytest.mark.parametrize(("held", "expected"), [(1, "whole parts"), (5, "between between")])
def test_what_changes_much_in_a_usual_time_is_a_camera_that_moves(held, expected):
    """Behind it, for a second, no frame is between two others."""
    gate = Gate(settings(every_s=60))
    assert looks(gate, moving(held + 1)) == ["whole", *["between"] * held]
    images = image((0, 0, 380)), image((0, 0, 380), (500, 200, 40))
    assert " ".join(looks(gate, images, held + 1)) == expected


def whole_at(gate, images, start=0):
    """The seconds at which frames, 5 per second, are inferred whole."""
    plans = [gate.see(each, start + number, Fraction(1, 5)).look for number, each in enumerate(images)]
    return [(start + number) / 5 for number, look in enumerate(plans) if look is Look.WHOLE]


def test_a_whole_frame_every_so_often_and_less_often_the_longer_nothing_changes():
    small = (64, 48)
    still, square = image(size=small), image((20, 20, 12), size=small)
    assert whole_at(Gate(settings(every_s=1)), [still] * 180) == [0, 1, 2, 4, 8, 16, 24, 32]
    # What comes after three quiet seconds has the frame inferred whole at once.
    assert whole_at(Gate(settings(every_s=1)), [still] * 36 + [square] * 34) == [0, 1, 2, 4, 7.2, 8.2, 9.2, 11.2]
    lit = image(size=small, level=110)
    assert whole_at(Gate(settings(every_s=1)), [still] * 36 + [lit] * 34) == [0, 1, 2, 4, 7.2, 8.2, 9.2, 11.2]


def test_how_long_nothing_has_changed_goes_on_with_the_state():
    small = (64, 48)
    gate, other = Gate(settings(every_s=1)), Gate(settings(every_s=1))
    whole_at(gate, [image(size=small)] * 30)
    other.restore(gate.state())
    assert whole_at(other, [image(size=small)] * 60, 30) == [8, 16]


def test_without_parts_whole_frames():
    assert looks(Gate(settings(parts=False)), moving(14)) == ["whole", *["between"] * 11, "whole", "between"]


@pytest.mark.parametrize("fmt", ["rgb24", "bgr24", "gray", "nv12"])
def test_every_pixel_format(fmt):
    images = [image(fmt=fmt), image(fmt=fmt), image(SQUARE, fmt=fmt)]
    gate = Gate(settings())
    assert [gate.see(each, 3 * number, TICK).look for number, each in enumerate(images)] == ["whole", "same", "parts"]


def test_parts_hold_what_has_changed_with_a_margin():
    gate = Gate(settings())
    gate.see(image(), 0, TICK)
    plan = gate.see(image(SQUARE), 10, TICK)
    (part,) = plan.parts
    assert part.x <= 200 - 16
    assert part.y <= 200 - 16
    assert part.x + part.width >= 240 + 16
    assert part.y + part.height >= 240 + 16
    assert plan.tensor_hw == (part.height, part.width)
    assert plan.cost == pytest.approx(part.width * part.height / (640 * 480))
    assert all(value % 32 == 0 for value in (part.x, part.y, part.width, part.height))


def test_a_state_goes_on():
    images = moving(30)
    gate = Gate(settings())
    looks(gate, images[:15])
    other = Gate(settings())
    other.restore(gate.state())
    assert looks(gate, images[15:], 15) == looks(other, images[15:], 15)
    assert gate.state() == other.state()


def test_a_state_of_a_version_with_other_windows_is_refused():
    gate = Gate(settings())
    looks(gate, moving(3))
    values = zlib.decompress(base64.b64decode(gate.state()))
    other = base64.b64encode(zlib.compress(b"gate1" + values[5:])).decode()
    with pytest.raises(ValueError, match="of another version"):
        Gate(settings()).restore(other)


@pytest.mark.parametrize("state", ["", "x", "AAAA", "eJwDAAAAAAE="])
def test_a_damaged_state_is_refused(state):
    with pytest.raises(ValueError, match="state is"):
        Gate(settings()).restore(state)


def test_rectangles_do_not_overlap():
    cells = np.zeros((12, 20), bool)
    for y, x in [(0, 0), (1, 1), (5, 5), (5, 9), (6, 8), (8, 6), (11, 19)]:
        cells[y, x] = True
    found = rectangles(cells)
    assert (0, 0, 2, 2) in found
    assert (19, 11, 20, 12) in found
    covered = np.zeros_like(cells, dtype=int)
    for left, top, right, bottom in found:
        covered[top:bottom, left:right] += 1
    assert covered.max() == 1
    assert covered[cells].all()
    assert rectangles(np.zeros((3, 3), bool)) == []


@pytest.mark.parametrize(
    ("rect", "counts", "expected"),
    [
        ((5, 3, 8, 5), (12, 20), (5, 3, 9, 5)),
        ((17, 9, 20, 12), (12, 20), (16, 8, 20, 12)),  # at the edge it grows inwards
        ((0, 0, 1, 1), (12, 20), (0, 0, 2, 2)),
        ((2, 0, 15, 15), (15, 20), (1, 0, 17, 15)),  # as high as the frame, which is no more than 15 cells
    ],
)
def test_a_single_part_grows_to_the_size_of_its_tensor(rect, counts, expected):
    assert grown([rect], counts) == [expected]
    parts, (height, width) = packed([expected], 32, counts)
    left, top, right, bottom = expected
    assert (width, height) == (parts[0].width, parts[0].height) == ((right - left) * 32, (bottom - top) * 32)
    assert grown([rect, (0, 10, 1, 11)], counts) == [rect, (0, 10, 1, 11)]


def test_packing_loses_nothing_and_keeps_the_grid():
    random = np.random.default_rng(4)
    for _ in range(50):
        cells = random.random((12, 20)) < 0.06
        rects = rectangles(cells)
        if not rects:
            continue
        parts, (height, width) = packed(rects, 32, cells.shape)
        assert all(side // 32 % 2 == 0 for side in (height, width))
        used = np.zeros((height, width), int)
        for part in parts:
            used[part.at_y : part.at_y + part.height, part.at_x : part.at_x + part.width] += 1
            assert part.at_x + part.width <= width
            assert part.at_y + part.height <= height
            assert (part.x - part.at_x) % 32 == (part.y - part.at_y) % 32 == 0
        assert used.max() == 1
        assert sorted((p.x // 32, p.y // 32) for p in parts) == sorted((left, top) for left, top, _, _ in rects)


def anchors(*boxes):
    count = len(boxes)
    return Anchors(
        np.array(boxes, np.float32).reshape(-1, 4), np.full(count, 0.5, np.float32), np.zeros(count, np.int32)
    )


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((10, 10, 50, 50), (330, 170, 370, 210)),  # inside
        ((1, 10, 50, 50), None),  # cut on the left
        ((10, 10, 95, 50), None),  # reaches into the neighbour
        ((100, 10, 126, 40), (4, 10, 30, 40)),  # in the second, which is at the frame's corner
        ((97, -3, 120, 40), (1, 0, 24, 40)),  # over the frame's edge
        ((10, 80, 50, 100), None),  # in neither
    ],
)
def test_boxes_go_back_to_the_whole(box, expected):
    parts = (Part(320, 160, 96, 64, 0, 0), Part(0, 0, 64, 64, 96, 0))
    found = in_whole(anchors(box), parts, (480, 640))
    assert [tuple(each) for each in found.boxes_xyxy.tolist()] == ([] if expected is None else [expected])


def found(*rows):
    """Detections of rows (x1, y1, x2, y2, score, class)."""
    table = np.array(rows, np.float32).reshape(-1, 6)
    return Detections(np.ascontiguousarray(table[:, :4]), table[:, 4].copy(), table[:, 5].astype(np.int32))


def frame(number, look, **plan):
    return Frame(0, number, number, 1, TICK, None, plan=Plan(look, **plan))


def listed(detections):
    return [
        (*np.round(box, 2).tolist(), round(float(score), 2), int(kind))
        for box, score, kind in zip(detections.boxes_xyxy, detections.scores, detections.class_ids, strict=True)
    ]


def test_matches_take_the_best_first():
    one = found((0, 0, 10, 10, 0.9, 0), (2, 0, 12, 10, 0.8, 0), (50, 50, 60, 60, 0.7, 1))
    other = found((2, 0, 12, 10, 0.9, 0), (50, 50, 60, 60, 0.5, 0))
    assert matches(one, other).tolist() == [[1, 0]]


def test_what_goes_fast_is_on_its_way_too():
    fill = Fill(300)
    list(fill.take(frame(0, Look.WHOLE), found((0, 0, 10, 10, 0.8, 0))))
    list(fill.take(frame(1, Look.BETWEEN), None))
    given = list(fill.take(frame(2, Look.WHOLE), found((8, 0, 18, 10, 0.8, 0))))
    assert listed(given[0][1]) == [(4, 0, 14, 10, 0.8, 0)]


def test_between_is_on_the_way_and_what_is_alone_is_in_the_nearer_half():
    fill = Fill(300)
    (first,) = fill.take(frame(0, Look.WHOLE), found((0, 0, 10, 10, 0.8, 0), (90, 0, 99, 9, 0.6, 0)))
    assert listed(first[1]) == [(0, 0, 10, 10, 0.8, 0), (90, 0, 99, 9, 0.6, 0)]
    for number in (1, 2, 3):
        assert list(fill.take(frame(number, Look.BETWEEN), None)) == []
    given = list(
        fill.take(frame(4, Look.PARTS, changed=np.ones((9, 9), bool), block_px=16), found((4, 0, 14, 10, 0.4, 0)))
    )
    assert [each.index for each, _ in given] == [1, 2, 3, 4]
    assert listed(given[0][1]) == [(1, 0, 11, 10, 0.7, 0), (90, 0, 99, 9, 0.6, 0)]
    assert listed(given[1][1]) == [(90, 0, 99, 9, 0.6, 0), (2, 0, 12, 10, 0.6, 0)]
    assert listed(given[2][1])[-1] == (3, 0, 13, 10, 0.5, 0)
    assert given[1][1].carried.all()
    assert given[3][1].carried.tolist() == [True, False]


def test_what_is_alone_fades():
    """What comes and goes with the noise is left out where its score would be too low half way."""
    rows = found((0, 0, 10, 10, 0.8, 0), (90, 0, 99, 9, 0.4, 0))
    given = {}
    for lowest in (0.0, 0.25):
        fill = Fill(300, lowest=lowest)
        list(fill.take(frame(0, Look.WHOLE), rows))
        for number in (1, 2, 3):
            list(fill.take(frame(number, Look.BETWEEN), None))
        given[lowest] = [listed(now) for _, now in fill.take(frame(4, Look.WHOLE), found())]
    assert [[row[4] for row in rows] for rows in given[0.0]] == [[0.6, 0.3], [0.4, 0.2], [0.2, 0.1], []]
    assert given[0.25] == [[(0, 0, 10, 10, 0.6, 0), (90, 0, 99, 9, 0.3, 0)], [(0, 0, 10, 10, 0.4, 0)], [], []]


def test_scores_below_the_lowest_tell_what_is_between():
    """Of two things found on one side, the one that is nearly found on the other is there half way."""
    fill = Fill(300, lowest=0.25)
    list(fill.take(frame(0, Look.WHOLE), found((0, 0, 10, 10, 0.4, 0), (90, 0, 99, 9, 0.4, 0))))
    list(fill.take(frame(1, Look.BETWEEN), None))
    given = list(fill.take(frame(2, Look.WHOLE), found((4, 0, 14, 10, 0.2, 0))))
    assert listed(given[0][1]) == [(2, 0, 12, 10, 0.3, 0)]
    list(fill.take(frame(3, Look.BETWEEN), None))
    given = list(fill.take(frame(4, Look.WHOLE), found((8, 0, 18, 10, 0.4, 0), (90, 0, 99, 9, 0.3, 0))))
    assert listed(given[0][1]) == [(6, 0, 16, 10, 0.3, 0)]


@pytest.mark.parametrize(
    ("known", "new", "expected"),
    [
        (0.4, 0.2, [0.4]),  # a part scores what it shows lower
        (0.2, 0.4, [0.4]),
        (0.2, 0.1, [0.1]),
        (0.4, 0.3, [0.3]),
    ],
)
def test_in_a_part_a_score_below_the_lowest_replaces_no_higher_one(known, new, expected):
    fill = Fill(300, lowest=0.25)
    list(fill.take(frame(0, Look.WHOLE), found((10, 10, 60, 60, known, 0))))
    plan = {"changed": np.zeros((9, 9), bool), "block_px": 16, "parts": (Part(0, 0, 96, 96, 0, 0),)}
    ((_, now),) = fill.take(frame(1, Look.PARTS, **plan, whole_hw=(96, 96)), found((12, 10, 62, 60, new, 0)))
    assert [row[4] for row in listed(now)] == expected


@pytest.mark.parametrize(
    ("what", "changed", "parts", "expected"),
    [
        ("nothing of it was looked at", True, (), True),
        ("it was looked at, and nothing had changed", False, (Part(0, 0, 96, 96, 0, 0),), True),
        ("it was looked at, and had changed", True, (Part(0, 0, 96, 96, 0, 0),), False),
        ("half of it was looked at", True, (Part(0, 0, 32, 96, 0, 0),), True),
    ],
)
def test_a_box_not_found_again_is_gone_where_it_was_looked_at(what, changed, parts, expected):
    fill = Fill(300)
    list(fill.take(frame(0, Look.WHOLE), found((10, 10, 60, 60, 0.8, 0))))
    plan = {"changed": np.full((9, 9), changed), "block_px": 16, "parts": parts, "whole_hw": (96, 96)}
    ((_, now),) = fill.take(frame(1, Look.PARTS, **plan), found())
    assert (len(now) == 1) is expected


def test_a_box_that_overlaps_a_new_one_gives_way():
    fill = Fill(300)
    list(fill.take(frame(0, Look.WHOLE), found((10, 10, 60, 60, 0.8, 0))))
    plan = {"changed": np.zeros((9, 9), bool), "block_px": 16, "parts": (Part(0, 0, 96, 96, 0, 0),)}
    ((_, now),) = fill.take(frame(1, Look.PARTS, **plan, whole_hw=(96, 96)), found((12, 10, 62, 60, 0.3, 1)))
    assert listed(now) == [(12, 10, 62, 60, 0.3, 1)]


@pytest.mark.parametrize(
    ("what", "new", "expected"),
    [
        ("a piece of it", (10, 10, 60, 60, 0.9, 0), (10, 10, 60, 90, 0.8, 0)),
        ("most of it, taken for something else", (10, 10, 60, 61, 0.9, 1), (10, 10, 60, 90, 0.8, 0)),
        ("it ends before the edge", (10, 10, 60, 45, 0.9, 0), (10, 10, 60, 45, 0.9, 0)),
        ("it has gone on", (40, 10, 90, 60, 0.9, 0), (40, 10, 90, 60, 0.9, 0)),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_what_a_parts_edge_cuts_does_not_replace_the_whole(what, new, expected, turned):
    """The part ends within the thing, at row 64, or begins there, seen in a mirror."""
    height = 96

    def seen(*row):
        return (row[0], height - row[3], row[2], height - row[1], *row[4:]) if turned else row

    fill = Fill(300)
    list(fill.take(frame(0, Look.WHOLE), found(seen(10, 10, 60, 90, 0.8, 0))))
    part = Part(0, height - 64 if turned else 0, 96, 64, 0, 0)
    plan = {"changed": np.ones((9, 9), bool), "block_px": 16, "parts": (part,), "whole_hw": (height, 96)}
    ((_, now),) = fill.take(frame(1, Look.PARTS, **plan), found(seen(*new)))
    assert seen(*expected) in listed(now)
    assert (seen(*new) in listed(now)) == (new == expected)


def test_something_else_within_it_is_found():
    fill = Fill(300)
    list(fill.take(frame(0, Look.WHOLE), found((10, 10, 60, 90, 0.8, 0))))
    plan = {"changed": np.ones((9, 9), bool), "block_px": 16, "parts": (Part(0, 0, 96, 64, 0, 0),)}
    ((_, now),) = fill.take(frame(1, Look.PARTS, **plan, whole_hw=(96, 96)), found((20, 20, 35, 40, 0.7, 1)))
    assert listed(now) == [(10, 10, 60, 90, 0.8, 0), (20, 20, 35, 40, 0.7, 1)]


def held(count, *things):
    """A fill that has been given a frame with boxes (left, score), and so many frames that wait."""
    fill = Fill(300, lowest=0.1, reported=0.25)
    list(fill.take(frame(0, Look.WHOLE), boxes_at(*things)))
    for number in range(1, count + 1):
        list(fill.take(frame(number, Look.BETWEEN), None))
    return fill


def boxes_at(*things):
    return found(*((left, 0, left + 20, 20, score, 0) for left, score in things))


def lacking(fill, number, *things, again=MappingProxyType({}), look=Look.WHOLE):
    now = None if look is Look.SAME else boxes_at(*things)
    return [each.index for each in fill.lacks(frame(number, look), now, again)]


@pytest.mark.parametrize(
    ("what", "before", "behind", "expected"),
    [
        ("all goes on", [(0, 0.8), (200, 0.5)], [(10, 0.8), (200, 0.4)], []),
        ("nothing is there", [], [], []),
        ("a thing comes", [(0, 0.8)], [(10, 0.8), (200, 0.4)], [6]),
        ("a thing goes", [(0, 0.8), (200, 0.4)], [(10, 0.8)], [6]),
        ("a thing fades", [(0, 0.8), (200, 0.3)], [(10, 0.8), (200, 0.2)], [6]),
        ("what is not reported comes", [(0, 0.8)], [(10, 0.8), (200, 0.2)], []),
        ("a thing leaps", [(0, 0.8)], [(100, 0.8)], [6]),
        ("one of many comes", [(50 * at, 0.8) for at in range(30)], [(50 * at, 0.8) for at in range(31)], []),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_where_two_frames_disagree_the_one_in_the_middle_is_inferred(what, before, behind, expected):
    assert lacking(held(11, *before), 12, *behind) == expected


def test_the_middle_is_asked_for_again_and_again():
    """Until both sides agree: the thing comes in frame 4."""
    fill, again = held(11), {}
    asked = []
    while more := lacking(fill, 12, (24, 0.8), again=again):
        asked.append(more)
        again |= {number: boxes_at(*([(2 * number, 0.8)] if number >= 4 else [])) for number in more}
    assert asked == [[6], [3], [4]]
    given = list(fill.take(frame(12, Look.WHOLE), boxes_at((24, 0.8)), again))
    assert [each.index for each, _ in given] == list(range(1, 13))
    assert [[row[0] for row in listed(now)] for _, now in given] == [[]] * 3 + [[2 * at] for at in range(4, 13)]
    whole = [each.index for each, _ in given if each.plan.look is Look.WHOLE]
    assert whole == [3, 4, 6, 12]
    assert [each.index for each, now in given if now.carried is not None and len(now)] == [5, 7, 8, 9, 10, 11]


def test_in_a_short_interval_more_may_be_doubtful():
    assert lacking(held(2, (0, 0.8), (50, 0.8), (90, 0.8), (140, 0.8)), 3, (0, 0.8), (50, 0.8), (90, 0.8)) == []
    assert lacking(held(2, (0, 0.8), (50, 0.8)), 3, (0, 0.8)) == [1]
    assert lacking(held(0, (0, 0.8)), 1) == []


def test_what_has_changed_and_is_as_it_was_has_passed():
    assert lacking(held(11, (0, 0.8)), 12, look=Look.SAME) == [6]
    assert lacking(held(11), 12, look=Look.SAME, again={6: found()}) == []
    assert lacking(held(2, (0, 0.8)), 3, look=Look.SAME) == []


def test_a_middle_that_can_not_be_read_is_not_asked_for_again():
    fill = held(11)
    assert lacking(fill, 12, (60, 0.8), again={6: None}) == []
    assert len(list(fill.take(frame(12, Look.WHOLE), boxes_at((60, 0.8)), {6: None}))) == 12


def test_what_moves_is_looked_for_where_it_would_be():
    """Two that meet: without knowing how they go, each would be taken for the other."""
    fill = held(0, (0, 0.8), (100, 0.7))
    for number in (1, 2):
        list(fill.take(frame(number, Look.WHOLE), boxes_at((15 * number, 0.8), (100 - 15 * number, 0.7))))
    other = Fill(300, fill.state(), lowest=0.1)
    for each in (fill, other):
        for number in range(3, 6):
            list(each.take(frame(number, Look.BETWEEN), None))
        given = list(each.take(frame(6, Look.WHOLE), boxes_at((90, 0.8), (10, 0.7))))
        assert [(row[0], row[4]) for row in listed(given[0][1])] == [(45, 0.8), (55, 0.7)]


def test_the_last_frame_of_a_stream_is_taken_once_more():
    fill = held(3, (0, 0.8))
    assert fill.last() is None  # it has no image
    list(fill.take(Frame(0, 4, 4, 1, TICK, image(), plan=Plan(Look.BETWEEN)), None))
    last = fill.last()
    assert (last.index, last.plan.look, last.infer) == (4, Look.WHOLE, True)
    given = list(fill.take(last, boxes_at((12, 0.8))))
    assert [listed(now)[0][0] for _, now in given] == [3, 6, 9, 12]
    assert list(fill.rest()) == []


def test_the_last_frames_and_those_without_a_gate():
    fill = Fill(300)
    list(fill.take(frame(0, Look.WHOLE), found((0, 0, 10, 10, 0.8, 0))))
    list(fill.take(frame(1, Look.BETWEEN), None))
    assert [(each.index, listed(now)) for each, now in fill.rest()] == [(1, [(0, 0, 10, 10, 0.8, 0)])]
    plain = Frame(0, 2, 2, 1, TICK, None)
    assert list(fill.take(plain, None)) == [(plain, None)]


def test_no_more_than_are_allowed():
    fill = Fill(2)
    list(fill.take(frame(0, Look.WHOLE), found((0, 0, 10, 10, 0.8, 0), (90, 0, 99, 9, 0.6, 0))))
    plan = {"changed": np.zeros((9, 9), bool), "block_px": 16}
    ((_, now),) = fill.take(frame(1, Look.PARTS, **plan), found((40, 40, 50, 50, 0.7, 0)))
    assert [row[4] for row in listed(now)] == [0.8, 0.7]


# -- the audit --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", ["", "1234 abcd", "x"])
def test_windows(seed):
    windows = Windows(seed)
    places = [windows.place(number) for number in range(288 + 300 * 7)]
    assert not places[0].audited
    audited = [number for number, each in enumerate(places) if each.audited]
    assert len(audited) >= 0.02 * len(places)
    firsts = [number for number in audited if not places[number - 1].audited]
    assert len(firsts) == places[-1].stretch + 1
    assert len([first for first in firsts if first < 288]) == 3
    for first in firsts:
        last = first + WINDOW - 1
        assert [number for number in range(first, last + 1) if places[number].ends] == [last]
        assert places[last + DELAY].decides
        assert places[last + DELAY].stretch == places[first].stretch
    assert sum(each.decides for each in places) == len(firsts)


def test_other_inputs_have_other_windows():
    assert len({tuple(Windows(str(seed)).place(number).audited for number in range(96)) for seed in range(20)}) > 5


def test_opening_is_waited_for_and_a_closed_one_is_not():
    opening = Opening()
    opening.tell(0, 0)
    opening.tell(1, 2)
    assert (opening.after(0), opening.after(1)) == (2, 2)
    waiting = threading.Thread(target=lambda: found_levels.append(opening.after(2)))
    found_levels: list[int | None] = []
    waiting.start()
    opening.tell(2, 3)
    waiting.join(10)
    assert found_levels == [3]
    waiting = threading.Thread(target=lambda: found_levels.append(opening.after(9)))
    waiting.start()
    opening.close()
    waiting.join(10)
    assert found_levels == [3, None]


def tracks(number, detections, ids, **plan):
    rows = Frame(0, number, number, 1, TICK, None, plan=Plan(Look.WHOLE, audited=True, **plan))
    boxes = detections.boxes_xyxy.astype(np.float64)
    return Tracks(rows, boxes, np.array(ids, np.int64), detections.class_ids, detections.scores, detections)


def test_the_auditor_counts_boxes_ids_and_numbers():
    auditor = Auditor(0.98, 0.25)
    two = found((0, 0, 10, 10, 0.9, 0), (50, 50, 60, 60, 0.8, 0))
    low = found((0, 0, 10, 10, 0.9, 0), (50, 50, 60, 60, 0.2, 0))
    other = found((0, 0, 10, 10, 0.9, 1), (50, 50, 60, 60, 0.8, 0))
    auditor.see(Plan(Look.WHOLE), tracks(5, two, [1, 2]), tracks(5, two, [1, 3]))
    auditor.see(Plan(Look.WHOLE), tracks(6, low, [1, 2]), tracks(6, two, [1, 3]))
    assert auditor.seen == Agreements(frames=2)
    plan = Plan(Look.WHOLE, stretch=4, window_ends=True)
    auditor.see(plan, tracks(7, other, [1, 2]), tracks(7, two, [1, 3]))
    seen = auditor.seen
    assert (seen.frames, seen.stretch) == (3, 4)
    assert (seen.boxes.part, seen.boxes.whole) == (2 * (2 + 1 + 1), 4 + 3 + 4)
    assert (seen.ids.part, seen.ids.whole) == (2 * 2, 2 * (2 + 2 + 1))
    assert (seen.counts.part, seen.counts.whole) == (4, 4)


def test_what_a_closer_look_finds_in_addition_is_no_disagreement():
    auditor = Auditor(0.98, 0.25, finer=True)
    three = found((0, 0, 10, 10, 0.9, 0), (50, 50, 60, 60, 0.8, 0), (80, 50, 90, 60, 0.8, 0))
    two = found((0, 0, 10, 10, 0.9, 0), (20, 50, 30, 60, 0.8, 0))
    plan = Plan(Look.WHOLE, stretch=0, window_ends=True)
    auditor.see(plan, tracks(5, three, [1, 2, 3]), tracks(5, two, [1, 2]))
    assert (auditor.seen.boxes.part, auditor.seen.boxes.whole) == (2, 4), "the other one is missed"
    assert (auditor.seen.counts.part, auditor.seen.counts.whole) == (4, 4)


@pytest.mark.parametrize(
    ("agreeing", "of", "target", "level"),
    [(0, 10, 0.98, 1), (9, 10, 0.98, 0), (170, 200, 0.98, 1), (198, 200, 0.98, 0), (0, 10, 0.0, 0), (0, 0, 0.98, 0)],
)
def test_it_opens_where_too_little_agrees_and_that_is_no_chance(agreeing, of, target, level):
    auditor = Auditor(target, 0.25)
    places = [(20 * number, 0, 20 * number + 10, 10, 0.9, 0) for number in range(of)]
    away = [(20 * number, 50, 20 * number + 10, 60, 0.9, 0) for number in range(of - agreeing)]
    one, other = found(*places), found(*places[:agreeing], *away)
    plan = Plan(Look.WHOLE, stretch=0, window_ends=True)
    auditor.see(plan, tracks(30, one, range(of)), tracks(30, other, range(of)))
    assert (auditor.seen.level, auditor.seen.opened_at) == (level, [30] * level)
    assert auditor.seen.here.windows == 1 - level


def test_it_closes_after_windows_that_agree_and_waits_longer_each_time():
    auditor = Auditor(0.98, 0.25)
    places = [(20 * number, 0, 20 * number + 10, 10, 0.9, 0) for number in range(40)]
    away = [(20 * number, 50, 20 * number + 10, 60, 0.9, 0) for number in range(40)]
    nearly = [*places[:38], *away[38:]]  # 0.95 of one window may be chance, and is not calm
    levels = []
    windows = [away, *[places] * 4, away, *[places] * 5, nearly, *[places] * 8, *[places] * 8]
    for number, each in enumerate(windows):
        plan = Plan(Look.WHOLE, stretch=number, window_ends=True)
        one, other = found(*places), found(*each)
        auditor.see(plan, tracks(number, one, range(40)), tracks(number, other, range(40)))
        levels.append(auditor.seen.level)
    assert levels == [1, 1, 1, 1, 0, 1, *[1] * 5, 1, *[1] * 7, 0, *[0] * 8]
    assert (auditor.seen.opened_at, auditor.seen.closed_at, auditor.seen.patience) == ([0, 5], [4, 19], 8)
    copy = auditor.seen.copy()
    assert copy == auditor.seen
    assert copy.closed_at is not auditor.seen.closed_at


def test_an_interval_holds_the_truth_nineteen_times_in_twenty():
    random = np.random.default_rng(8)
    held = 0
    for _ in range(400):
        ratio = Ratio()
        for _ in range(8):
            here = min(1.0, max(0.0, random.normal(0.93, 0.03)))  # windows differ
            whole = int(random.integers(80, 240))
            ratio.add(2 * int(random.binomial(whole, here)), 2 * whole)
        low, high = interval(ratio)
        held += low <= 0.93 <= high
    assert held >= 0.93 * 400


def test_intervals_of_little():
    assert interval(Ratio()) == drawn(Ratio()) == (0.0, 1.0)
    one = Ratio()
    one.add(20, 20)
    assert interval(one) == (0.0, 1.0)
    low, high = drawn(one)
    assert 0.3 < low < 0.6
    assert high == 1.0
