import colorsys
import sys
import threading

import numpy as np
import pytest

from engine_ext import font
from engine_ext.overlay import DARK, LIGHT, draw_layers, draw_lines, draw_tracks, lines_layer, text_layer, text_sizes
from tests.assets import require_asset
from tests.reference import overlay as reference

POISON = 0xA5


def make_planes(width, height, *, pad=0, guard=0, seed=0):
    """Y, U, V of noise, `pad` poisoned bytes beyond each row and `guard` poisoned rows above and below.

    The planes are views of the rows in between; the second list holds the whole arrays.
    """
    rng = np.random.default_rng(seed)
    planes, wholes = [], []
    for columns, rows in [(width, height)] + [((width + 1) // 2, (height + 1) // 2)] * 2:
        whole = np.full((rows + 2 * guard, columns + pad), POISON, np.uint8)
        view = whole[guard : guard + rows]
        view[:, :columns] = rng.integers(0, 256, (rows, columns))
        planes.append(view)
        wholes.append(whole)
    return planes, wholes


def draw_both(width, height, boxes, ids, labels, *, pad=0, guard=0, **options):
    """Draw with the kernel and its twin and give the kernel's planes; every byte must agree, poisoned ones too."""
    boxes = np.array(boxes, options.pop("dtype", np.float64)).reshape(-1, 4)
    ids = np.array(ids, np.int64)
    planes, wholes = make_planes(width, height, pad=pad, guard=guard)
    twin_planes, twin_wholes = make_planes(width, height, pad=pad, guard=guard)
    slots = options.pop("slots", None)
    twin_slots = None if slots is None else slots.copy()
    draw_tracks(planes, (width, height), boxes, ids, labels, slots=slots, **options)
    reference.draw_tracks(twin_planes, (width, height), boxes, ids, labels, slots=twin_slots, **options)
    np.testing.assert_array_equal(slots, twin_slots)
    for name, whole, twin in zip("YUV", wholes, twin_wholes, strict=True):
        np.testing.assert_array_equal(whole, twin, err_msg=name)
    return planes


def changed(planes, width, height):
    """(H, W) bool: the pixels whose luma is not that of make_planes. Noise may hide a few."""
    before, _ = make_planes(width, height)
    return planes[0][:height, :width] != before[0]


SIZES = [(64, 48), (63, 47), (320, 240), (1, 1), (3, 5), (5, 3), (2, 100), (100, 1), (33, 150)]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_random_tracks_equal_the_twin(width, height, dtype):
    rng = np.random.default_rng(width * 1000 + height)
    texts = ["person 12", "", "x", "Ünïcode ✓", "a label that is wider than many a frame", "\t\x7f\x00"]
    for _ in range(12):
        count = int(rng.integers(1, 25))
        corners = rng.uniform(-0.4, 1.4, (count, 2, 2)) * [width, height]
        corners.sort(axis=1)
        draw_both(
            width,
            height,
            corners.reshape(count, 4),
            rng.integers(-(2**63), 2**63 - 1, count),
            [texts[int(i)] for i in rng.integers(0, len(texts), count)],
            pad=int(rng.integers(0, 20)),
            guard=3,
            dtype=dtype,
            matrix=str(rng.choice(["bt601", "bt709", "bt2020"])),
            full_range=bool(rng.integers(0, 2)),
            thickness=[None, 1, 2, 3, 5, 9, 30][int(rng.integers(0, 7))],
            font_size=[None, 1, 7, 9, 12, 20, 40][int(rng.integers(0, 7))],
            short_labels=[None, [str(i) for i in range(count)]][int(rng.integers(0, 2))],
            colours=[None, np.arange(count)][int(rng.integers(0, 2))],
            taken=[None, np.array([[-5, -5, 12, 20], [30, 8, 10**6, 16]])][int(rng.integers(0, 2))],
            slots=[None, rng.integers(-5, 25, count)][int(rng.integers(0, 2))],
        )


@pytest.mark.parametrize("thickness", range(1, 22))
@pytest.mark.parametrize("offset", [0, 1])
def test_every_thickness_equals_the_twin(thickness, offset):
    draw_both(90, 80, [[10 + offset, 12 + offset, 70, 71]], [5], [""], pad=7, guard=2, thickness=thickness)


INFINITE = float("inf")
NAN = float("nan")

EDGE_CASES = [
    # box, whether anything is drawn, why the row is here
    ([10, 40, 50, 90], True, "inside"),
    ([0, 0, 128, 96], True, "the whole frame"),
    ([-20, -20, 30, 30], True, "over the top left corner"),
    ([100, 70, 500, 500], True, "over the bottom right corner"),
    ([-50, -50, 500, 500], False, "around the frame: all edges are outside, and with no label nothing shows"),
    ([-50, 40, 500, 60], True, "a band from one side to the other"),
    ([127, 95, 128, 96], True, "the last pixel"),
    ([0, 0, 1, 1], True, "the first pixel"),
    ([10.2, 40.2, 10.3, 40.3], True, "thinner than a pixel: one pixel"),
    ([10.5, 40.5, 20.5, 50.5], True, "halves round up"),
    ([127.6, 10, 140, 20], False, "rounds to the frame's right edge"),
    ([-9, 10, 0.4, 20], False, "rounds to the frame's left edge"),
    ([128, 10, 140, 20], False, "touches the right edge from outside"),
    ([-10, 10, 0, 20], False, "touches the left edge from outside"),
    ([10, -20, 20, 0], False, "touches the top edge from outside"),
    ([10, 96, 20, 120], False, "touches the bottom edge from outside"),
    ([30, 30, 30, 60], False, "no width"),
    ([30, 30, 60, 30], False, "no height"),
    ([60, 30, 30, 60], False, "inverted in x"),
    ([30, 60, 60, 30], False, "inverted in y"),
    ([NAN, 10, 20, 30], False, "NaN on the left"),
    ([10, NAN, 20, 30], False, "NaN at the top"),
    ([10, 10, NAN, 30], False, "NaN on the right"),
    ([10, 10, 20, NAN], False, "NaN at the bottom"),
    ([10, 40, INFINITE, INFINITE], True, "infinite to the bottom right"),
    ([-INFINITE, -INFINITE, 50, 50], True, "infinite to the top left"),
    ([-INFINITE, 40, INFINITE, 60], True, "infinite to both sides"),
    ([INFINITE, 40, INFINITE, 60], False, "infinitely far to the right"),
    ([-1e30, 40, 1e30, 60], True, "beyond any integer, both sides"),
    ([1e30, 40, 2e30, 60], False, "beyond any integer, to the right"),
    ([-2e30, 40, -1e30, 60], False, "beyond any integer, to the left"),
    ([10, 40, 9.3e18, 60], True, "just beyond an int64"),
    ([-5e-324, 40, 5e-324, 60], True, "denormal"),
]


@pytest.mark.parametrize("label", ["", "car 7"])
@pytest.mark.parametrize(("box", "is_drawn", "remark"), EDGE_CASES, ids=[case[2] for case in EDGE_CASES])
def test_edge_cases(box, is_drawn, remark, label):
    planes = draw_both(128, 96, [box], [3], [label], pad=5, guard=4, thickness=2)
    if label and remark.startswith("around the frame"):
        is_drawn = True
    assert changed(planes, 128, 96).any() == is_drawn


@pytest.mark.parametrize("track_id", [0, -1, 64, 2**63 - 1, -(2**63)])
def test_any_id_has_a_colour(track_id):
    planes = draw_both(40, 40, [[4, 4, 30, 30]], [track_id], [""])
    assert planes[0][4, 4] == reference.colour_yuv(track_id % 64, "bt601", False)[0]


def test_zero_tracks_touch_nothing():
    planes, wholes = make_planes(31, 17, pad=3, guard=2)
    before = [whole.copy() for whole in wholes]
    draw_tracks(planes, (31, 17), np.empty((0, 4)), np.empty(0, np.int64), [])
    for whole, old in zip(wholes, before, strict=True):
        np.testing.assert_array_equal(whole, old)


def test_nothing_beyond_the_picture_is_written():
    width, height, guard = 61, 45, 5
    planes, wholes = make_planes(width, height, pad=19, guard=guard)
    boxes = np.array([[-9, -9, 400, 400], [0, 0, 61, 45], [50, 30, 70, 50], [-1e30, 5, 1e30, 1e30]], np.float64)
    for thickness in (1, 3, 64):
        for size in (7, 12, 64):
            ids = np.arange(4)
            draw_tracks(planes, (width, height), boxes, ids, ["label"] * 4, thickness=thickness, font_size=size)
            points, ends = boxes.reshape(8, 2), np.array([4, 8])
            draw_lines(planes, (width, height), points, ends, ids[:2], thickness=thickness)
            lines_layer((width, height), [(points, ends, ids[:2], thickness)]).draw(planes)
            for place_xy in [(-9, 400), (61, 45), (57, -3)]:
                text_layer((width, height), place_xy, 3, "label", font_size=size).draw(planes)
    for plane, whole in zip(planes, wholes, strict=True):
        columns = width if plane is planes[0] else (width + 1) // 2
        assert (whole[:guard] == POISON).all()
        assert (whole[-guard:] == POISON).all()
        assert (whole[:, columns:] == POISON).all()


def test_planes_may_be_views():
    """A field of an interlaced frame, and a picture stored bottom up: every row stride is followed."""
    boxes, ids = np.array([[3.0, 20, 30, 35]]), np.array([9])
    want, _ = make_planes(40, 40)
    draw_tracks(want, (40, 40), boxes, ids, ["a"])
    for step in (2, -1):
        stored = [np.full((80, plane.shape[1]), POISON, np.uint8) for plane in want]
        views = [array[::step][: len(plane)] for array, plane in zip(stored, want, strict=True)]
        for view, plane in zip(views, make_planes(40, 40)[0], strict=True):
            view[:] = plane
        draw_tracks(views, (40, 40), boxes, ids, ["a"])
        for view, plane in zip(views, want, strict=True):
            np.testing.assert_array_equal(view, plane)


def as_text(label, ink, ground, face, margin_x, margin_y):
    """Read a label back: the glyph that is most alike at each place."""
    shares = np.clip((label.astype(float) - ground) / (float(ink) - ground), 0, 1)
    read, pen = "", margin_x
    rows, stride = face.glyphs.shape[1:]
    while pen + 1 < label.shape[1] - margin_x:
        place = shares[margin_y : margin_y + rows, max(pen - face.left, 0) : pen - face.left + stride]
        errors = []
        for glyph, advance in zip(face.glyphs, face.advances, strict=True):
            wide = min(face.left + int(advance), place.shape[1])
            errors.append(np.abs(place[:, :wide] - glyph[:, :wide] / 255).mean())
        best = int(np.argmin(errors))
        read += chr(best + font.FIRST)
        pen += int(face.advances[best])
    return read


@pytest.mark.parametrize("size", [12, 19, 32])
def test_text_is_the_font_s(size):
    """Read each character back from the frame, through the font's glyphs."""
    text, width, height = "person 12", 400, 200
    planes, _ = make_planes(width, height)
    draw_tracks(planes, (width, height), np.array([[20.0, 100, 160, 190]]), np.array([1]), [text], font_size=size)
    ground, _, _, ink = reference.colour_yuv(1, "bt601", False)
    face = font.face(size)
    mask = reference.label_mask(text, size, width)
    label = planes[0][100 - mask.shape[0] : 100, 20 : 20 + mask.shape[1]]
    assert as_text(label, ink, ground, face, max(face.left, size // 4), max(1, size // 8)) == text


def test_every_size_of_the_font_is_there():
    for size in font.SIZES:
        face = font.face(size)
        assert (face.size, face.glyphs.shape[0], face.glyphs.shape[2] % font.CHUNK) == (size, 96, 0)
        assert face.glyphs[1:].reshape(95, -1).max(axis=1).min() > 50, "a glyph is empty"
        assert len({glyph.tobytes() for glyph in face.glyphs}) > 90, "glyphs are alike"
        digits = face.advances[ord("0") - font.FIRST : ord("9") - font.FIRST + 1]
        assert len(set(digits.tolist())) == 1, "numbers of the same length are as wide"
    assert font.face(1).size == 7
    assert font.face(25).size == 24
    assert font.face(1000).size == 64


@pytest.mark.parametrize("size", font.SIZES)
def test_no_stem_touches_the_next_one(size):
    """Else "in" is read as "m"."""
    face = font.face(size)
    for text in ("in", "ll", "nn", "mi", "Hl"):
        first, second = (ord(letter) - font.FIRST for letter in text)
        ink = np.zeros(face.advances[first] + face.glyphs.shape[2], np.uint8)
        ink[: face.glyphs.shape[2]] = face.glyphs[first].max(axis=0)
        before = np.flatnonzero(ink >= 128).max()
        after = face.advances[first] + np.flatnonzero(face.glyphs[second].max(axis=0) >= 128).min()
        assert after - before > 1, text


@pytest.mark.parametrize(
    ("text", "codes", "remark"),
    [
        ("person 12", b"person 12", "plain"),
        ("", b"", "empty"),
        ("José Ñandú Łódź", b"Jose Nandu Lodz", "accents, and a stroke that is none to Unicode"),
        ("Straße Ærø", b"Strasse AEro", "letters that become two"),
        ("e\u0301", b"e", "an accent of its own"),
        ("\u0301", b"", "nothing but an accent"),
        ("汽车", b"\x7f\x7f", "a box a character"),
        ("한", b"\x7f", "a syllable that takes apart into three letters is still one character"),
        ("a\n\t\x00\x7fb", b"a\x7f\x7f\x7f\x7fb", "control characters"),
        ("ﬁ…", b"fi...", "compatibility forms"),
        ("\ud800", b"\x7f", "half a surrogate pair, as file names may hold"),
        ("😀", b"\x7f", "outside the basic plane"),
    ],
)
def test_fold(text, codes, remark):
    assert font.fold(text) == codes, remark


WIDE = reference.label_mask("abcdefgh", 12, 160).shape[1]
LABEL_PLACES = [
    # the box, where its label's left and top are (it is WIDE x 14); why
    ([20, 40, 80, 70], (20, 26), "above"),
    ([21, 41, 81, 70], (22, 28), "above, odd: into the outline"),
    ([20, 14, 80, 70], (20, 0), "just room above"),
    ([20, 12, 80, 70], (80, 12), "no room above: beside"),
    ([20, -30, 80, 70], (80, 0), "the box begins above the frame"),
    ([-30, 40, 60, 70], (0, 26), "the box begins left of the frame"),
    ([120, 40, 160, 70], (160 - WIDE, 26), "moved left at the right edge"),
    ([0, 0, 160, 60], (0, 60), "no room above or beside: below"),
    ([0, 0, 160, 80], (0, 66), "as large as the frame: at its foot"),
]


@pytest.mark.parametrize(("box", "place", "remark"), LABEL_PLACES, ids=[case[2] for case in LABEL_PLACES])
def test_where_a_label_goes(box, place, remark):
    planes = draw_both(160, 80, [box], [1], ["abcdefgh"], thickness=1, font_size=12)
    mask = reference.label_mask("abcdefgh", 12, 160)
    ground, _, _, ink = reference.colour_yuv(1, "bt601", False)
    x, y = place
    label = planes[0][y : y + mask.shape[0], x : x + mask.shape[1]]
    assert label.shape == mask.shape
    np.testing.assert_array_equal(label, reference.mix(ground, ink, mask))


@pytest.mark.parametrize("count", [5, 20, 60])
@pytest.mark.parametrize("size_wh", [(320, 180), (854, 480)])
def test_labels_cover_no_other_label_and_few_heads(size_wh, count):
    rng = np.random.default_rng(count)
    width, height = size_wh
    corner = rng.uniform([0, 0], [width - 30, height - 60], (count, 2))
    boxes = np.hstack([corner, corner + np.array([width / 30, height / 6])])
    planes, _ = make_planes(width, height)
    for plane in planes:
        plane[:] = 128
    draw_both(width, height, boxes, np.arange(count), [f"person {i}" for i in range(count)])
    places = []
    original = reference.paint_text

    def noted(planes, frame_wh, left, top, mask, colour):
        places.append((left, top, left + mask.shape[1], top + mask.shape[0]))
        original(planes, frame_wh, left, top, mask, colour)

    reference.paint_text = noted
    try:
        labels = [f"person {i}" for i in range(count)]
        short = [str(i) for i in range(count)]
        reference.draw_tracks(planes, size_wh, boxes, np.arange(count), labels, short_labels=short)
    finally:
        reference.paint_text = original
    for index, one in enumerate(places):
        assert 0 <= one[0] < one[2] <= width
        assert 0 <= one[1] < one[3] <= height
        for other in places[:index]:
            apart = one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
            assert apart, (one, other)
    assert len(places) >= 0.8 * count


def test_labels_lie_over_all_outlines():
    boxes = [[10, 40, 60, 70], [30, 10, 34, 79]]
    planes = draw_both(100, 80, boxes, [1, 2], ["abcdef", ""], thickness=1, font_size=12)
    second = reference.colour_yuv(2, "bt601", False)[0]
    assert (planes[0][12:26, 30] == second).all()
    mask = reference.label_mask("abcdef", 12, 100)
    ground, _, _, ink = reference.colour_yuv(1, "bt601", False)
    np.testing.assert_array_equal(planes[0][26:40, 10 : 10 + mask.shape[1]], reference.mix(ground, ink, mask))


def test_a_short_label_where_the_whole_has_no_room():
    """Between two boxes whose upper parts a long label would cover."""
    boxes = [[0, 10, 60, 310], [62, 30, 72, 60], [74, 10, 134, 310]]
    labels, short = ["", "a long label", ""], ["", "7", ""]
    planes = draw_both(134, 320, boxes, [1, 2, 3], labels, short_labels=short, font_size=12, thickness=1)
    mask = reference.label_mask("7", 12, 134)
    ground, _, _, ink = reference.colour_yuv(2, "bt601", False)
    np.testing.assert_array_equal(planes[0][16:30, 62 : 62 + mask.shape[1]], reference.mix(ground, ink, mask))


def walk(frames, count, size_wh, seed=0):
    """Boxes of `count` who walk through a frame at random, with noise of a detector's kind: (frames, count, 4)."""
    rng = np.random.default_rng(seed)
    width, height = size_wh
    start = rng.uniform([0, 0], [width, height], (count, 2))
    speed = rng.normal(0, width / 400, (count, 2))
    foot = start + speed * np.arange(frames)[:, None, None] + rng.normal(0, 0.5, (frames, count, 2))
    half = np.array([width / 60, height / 12])
    return np.concatenate([foot - half, foot + half], axis=2)


@pytest.mark.parametrize(("size_wh", "count"), [((320, 180), 12), ((427, 240), 60)])
def test_a_crowd_equals_the_twin_frame_after_frame(size_wh, count):
    labels, short = [f"person {i}" for i in range(count)], [str(i) for i in range(count)]
    slots = np.full(count, -1)
    for boxes in walk(12, count, size_wh):
        draw_both(*size_wh, boxes, np.arange(count), labels, short_labels=short, slots=slots)
    assert (slots >= 0).any()


def moved(count, size_wh, *, keep):
    """How many labels changed their place beside the box from one frame to the next, and how many there were."""
    labels, short = [f"person {i}" for i in range(count)], [str(i) for i in range(count)]
    planes, _ = make_planes(*size_wh)
    slots, changes, there = np.full(count, -1), 0, 0
    for boxes in walk(40, count, size_wh):
        before = slots.copy()
        if not keep:
            slots[:] = -1
        draw_tracks(planes, size_wh, boxes, np.arange(count), labels, short_labels=short, slots=slots)
        both = (before >= 0) & (slots >= 0)
        changes, there = changes + int(np.count_nonzero(both & (slots % 10 != before % 10))), there + int(both.sum())
    return changes, there


def test_labels_of_a_crowd_stay_where_they_are():
    jumping, of_all = moved(60, (854, 480), keep=False)
    staying, of_these = moved(60, (854, 480), keep=True)
    assert jumping > of_all / 20
    assert staying < jumping / 3
    assert of_these > 0.9 * of_all


def test_a_label_that_stays_lets_no_newcomer_in():
    """The newcomer has the smaller id, and wants the place above both."""
    labels, slots = ["old 5", "new"], np.array([0, -1])
    boxes = [[20, 40, 60, 90], [20, 40, 60, 90]]
    draw_both(200, 120, boxes, [5, 2], labels, slots=slots, thickness=1, font_size=9)
    assert slots[0] == 0
    assert slots[1] > 0
    slots = np.array([-1, -1])
    draw_both(200, 120, boxes, [5, 2], labels, slots=slots, thickness=1, font_size=9)
    assert slots[1] == 0


def test_a_short_label_grows_where_there_is_room_again():
    slots = np.array([10])  # above, the short text
    draw_both(200, 120, [[20, 40, 60, 90]], [5], ["person 5"], short_labels=["5"], slots=slots)
    assert slots == [0]


def test_a_label_moves_out_of_what_is_taken():
    slots = np.array([0])
    taken = np.array([[0, 20, 200, 40]])
    planes = draw_both(200, 120, [[20, 40, 60, 90]], [5], ["x"], slots=slots, taken=taken, thickness=1)
    assert slots[0] > 0
    assert not changed(planes, 200, 120)[20:40].any()


def test_slots_of_any_strides():
    slots = np.full(4, -1)
    draw_tracks(make_planes(200, 120)[0], (200, 120), np.array([[20.0, 40, 60, 90]] * 2), np.arange(2), ["a", "b"],
                slots=slots[::2])  # fmt: skip
    assert slots[0] == 0
    assert slots[2] > 0
    assert (slots[1::2] == -1).all()


# --- lines and texts


@pytest.mark.parametrize("font_size", [None, 7, 19])
@pytest.mark.parametrize("frame_wh", [(320, 180), (1920, 1080)])
def test_sizes_of_texts_are_those_that_are_drawn(frame_wh, font_size):
    texts = ["person 12", "", "Ünïcode", "a"]
    sizes = text_sizes(texts, frame_wh, font_size=font_size)
    np.testing.assert_array_equal(sizes, reference.text_sizes(texts, frame_wh, font_size=font_size))
    assert text_sizes([], frame_wh).shape == (0, 2)
    with pytest.raises(ValueError, match="frame_wh must be two ints"):
        text_sizes(texts, (0, 1))
    with pytest.raises(TypeError, match="texts must be a sequence of str"):
        text_sizes("abc", frame_wh)


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_lines_and_texts_equal_the_twin(width, height):
    rng = np.random.default_rng(width)
    for turn in range(8):
        count = int(rng.integers(2, 9))
        points = rng.uniform(-0.5, 1.5, (count, 2)) * [width, height]
        if turn == 3:
            points[0] = NAN, 3
        if turn == 4:
            points[:] = points[0]  # a dot
        ends, colours = np.array([count // 2, count]), np.array([LIGHT, -3])
        planes, wholes = make_planes(width, height, pad=9, guard=2)
        twin_planes, twin_wholes = make_planes(width, height, pad=9, guard=2)
        options = {"thickness": [None, 1, 3, 8][turn % 4], "matrix": "bt709", "full_range": turn % 2 == 0}
        draw_lines(planes, (width, height), points, ends, colours, **options)
        reference.draw_lines(twin_planes, (width, height), points, ends, colours, **options)
        for whole, twin in zip(wholes, twin_wholes, strict=True):
            np.testing.assert_allclose(whole.astype(int), twin.astype(int), atol=1)  # roots differ in the last place
        for plane, twin in zip(planes, twin_planes, strict=True):
            plane[:] = twin
        places = np.nan_to_num(points).astype(np.int64).tolist()
        layers = []
        for index, (place, text) in enumerate(zip(places, ["person 12", "", "x", "ünï"] * 3, strict=False)):
            layers.append(text_layer((width, height), tuple(place), index + 60, text, font_size=12))
            reference.draw_text(twin_planes, (width, height), place, index + 60, text, font_size=12)
        draw_layers(planes, layers)
        for whole, twin in zip(wholes, twin_wholes, strict=True):
            np.testing.assert_array_equal(whole, twin)


@pytest.mark.parametrize("seed", range(20))
def test_a_layer_of_lines_is_what_is_drawn_line_by_line(seed):
    """They cross, end in each other and outside the frame, and some are no lines."""
    rng = np.random.default_rng(seed)
    width, height = (int(side) for side in rng.integers(1, 130, 2))
    strokes = []
    for _ in range(int(rng.integers(0, 4))):
        points = rng.uniform(-30, 150, (int(rng.integers(0, 12)), 2))
        if seed % 3 == 0:
            points = points.round()
        if len(points) and seed % 4 == 0:
            points[rng.integers(0, len(points))] = [np.nan, 1e9]
        ends = np.sort(rng.integers(0, len(points) + 1, 3))
        colours = np.array([LIGHT, DARK, -3])
        strokes.append((points, ends, colours, [None, 1, 3, 9][int(rng.integers(0, 4))]))
    planes, wholes = make_planes(width, height, pad=9, guard=2, seed=seed)
    other_planes, other_wholes = make_planes(width, height, pad=9, guard=2, seed=seed)
    options = {"matrix": "bt709", "full_range": seed % 2 == 0}
    layer = lines_layer((width, height), strokes, **options)
    for _ in range(2):  # it may be drawn again
        layer.draw(planes)
        for points, ends, colours, thickness in strokes:
            draw_lines(other_planes, (width, height), points, ends, colours, thickness=thickness, **options)
        for whole, other in zip(wholes, other_wholes, strict=True):
            np.testing.assert_array_equal(whole, other)
    with pytest.raises(ValueError, match="must have at least"):
        lines_layer((width + 20, height), []).draw(planes)
    with pytest.raises(ValueError, match="must have at least"):
        draw_layers(planes, [layer, lines_layer((width + 20, height), [])])


def test_a_line_is_as_thick_and_as_bright_as_asked():
    planes, _ = make_planes(64, 64)
    for plane in planes:
        plane[:] = 128
    draw_lines(planes, (64, 64), np.array([[8.0, 32], [56, 32]]), np.array([2]), np.array([DARK]), thickness=4)
    dark = reference.colour_yuv(DARK, "bt601", False)[0]
    assert (planes[0][30:34, 10:54] == dark).all()
    assert (planes[0][:29] == 128).all()
    assert (planes[0][35:] == 128).all()


@pytest.mark.parametrize(
    ("points", "ends", "message"),
    [
        ([[1, 2]], [1], "points must be a float64 array"),
        ([[1.0, 2, 3]], [1], "points must be a float64 array of shape"),
        ([[1.0, 2]], [2], "ends must not fall, and end at 1 at most"),
        ([[1.0, 2], [3, 4]], [2, 1], "ends must not fall"),
        ([[1.0, 2], [3, 4]], [-1, 1], "ends must not fall"),
    ],
)
def test_lines_refused(points, ends, message):
    planes, _ = make_planes(20, 20)
    with pytest.raises(ValueError, match=message):
        draw_lines(planes, (20, 20), np.array(points), np.array(ends), np.zeros(len(ends), np.int64))


def rgb_of(yuv, matrix, full_range):
    """Back to RGB in [0, 1], by the inverse of the standard's equations."""
    red_weight, blue_weight = reference.LUMA_WEIGHTS[matrix]
    y, u, v = yuv
    luma = y / 255 if full_range else (y - 16) / 219
    swing = 255 if full_range else 224
    blue = luma + 2 * (1 - blue_weight) * (u - 128) / swing
    red = luma + 2 * (1 - red_weight) * (v - 128) / swing
    return np.array([red, (luma - red_weight * red - blue_weight * blue) / (1 - red_weight - blue_weight), blue])


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("matrix", ["bt601", "bt709", "bt2020"])
def test_colours_are_the_same_in_every_encoding(matrix, full_range):
    """All palettes decode to one RGB palette, within the rounding of 8 bits."""
    for track_id in range(64):
        planes, _ = make_planes(8, 8)
        draw_tracks(
            planes,
            (8, 8),
            np.array([[0.0, 0, 8, 8]]),
            np.array([track_id]),
            [""],
            matrix=matrix,
            full_range=full_range,
            thickness=4,
        )
        rgb = rgb_of([int(plane[0, 0]) for plane in planes], matrix, full_range)
        standard = rgb_of(reference.colour_yuv(track_id, "bt601", True)[:3], "bt601", True)
        np.testing.assert_allclose(rgb, standard, atol=0.02)
        low, high = (0, 255) if full_range else (16, 235)
        assert low <= planes[0].min()
        assert planes[0].max() <= high


@pytest.mark.parametrize(("full_range", "levels"), [(False, {16, 235}), (True, {0, 255})])
def test_text_is_black_or_white_in_the_frame_s_range(full_range, levels):
    seen = set()
    for track_id in range(64):
        planes, _ = make_planes(90, 120)
        box, ids = np.array([[4.0, 80, 80, 118]]), np.array([track_id])
        draw_tracks(planes, (90, 120), box, ids, ["|"], full_range=full_range, font_size=64)
        ground = reference.colour_yuv(track_id, "bt601", full_range)[0]
        label = planes[0][4:78, 6:30].astype(int)
        seen.add(int(label.flat[np.argmax(np.abs(label - ground))]))
    assert seen == levels


def test_known_colours():
    """Worked out by hand from track 0, HSV (0.58, 0.8, 1): RGB (0.2, 0.616, 1), luma 0.535392 in BT.601."""
    planes, _ = make_planes(4, 4)
    for full_range, want in [(False, (133, 187, 74)), (True, (137, 195, 67))]:
        draw_tracks(planes, (4, 4), np.array([[0.0, 0, 4, 4]]), np.array([0]), [""], full_range=full_range, thickness=2)
        assert tuple(int(plane[0, 0]) for plane in planes) == want


def test_successive_ids_have_hues_far_apart():
    hues = np.array(
        [colorsys.rgb_to_hsv(*rgb_of(reference.colour_yuv(i, "bt601", True)[:3], "bt601", True))[0] for i in range(128)]
    )
    for step in (1, 2, 3, 4):
        distance = np.abs(hues[step:64] - hues[: 64 - step])
        assert np.minimum(distance, 1 - distance).min() > 0.12


def test_chroma_reaches_one_pixel_past_an_odd_edge_at_most():
    planes, _ = make_planes(40, 40)
    for plane in planes:
        plane[:] = 128
    draw_tracks(planes, (40, 40), np.array([[11.0, 11, 30, 30]]), np.array([0]), [""], thickness=1)
    coloured = (planes[1] != 128).repeat(2, axis=0).repeat(2, axis=1)
    rows, columns = np.nonzero(coloured)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (10, 29, 10, 29)
    assert not coloured[12:28, 12:28].any()


def test_text_has_no_colour_where_it_fills_a_block():
    planes = draw_both(160, 160, [[10, 90, 150, 150]], [0], ["I"], font_size=64)
    _, u, v, ink = reference.colour_yuv(0, "bt601", False)
    filled = (planes[0][:90] == ink).reshape(45, 2, 80, 2).all(axis=(1, 3))
    assert filled.any()
    assert (planes[1][:45][filled] == 128).all()
    assert (planes[2][:45][filled] == 128).all()
    assert (planes[1][8, 6], planes[2][8, 6]) == (u, v)


@pytest.mark.parametrize(
    ("size_wh", "thickness", "size"),
    [((320, 180), 1, 7), ((854, 480), 2, 11), ((1280, 720), 2, 14), ((1920, 1080), 3, 19), ((1080, 1920), 3, 19)],
)
def test_sizes_follow_the_frame(size_wh, thickness, size):
    width, height = size_wh
    box, ids = np.array([[20.0, 100, 200, 200]]), np.array([1])
    automatic, _ = make_planes(width, height)
    chosen, _ = make_planes(width, height)
    draw_tracks(automatic, size_wh, box, ids, ["a"])
    draw_tracks(chosen, size_wh, box, ids, ["a"], thickness=thickness, font_size=size)
    for one, other in zip(automatic, chosen, strict=True):
        np.testing.assert_array_equal(one, other)


def valid_arguments():
    return {
        "planes": make_planes(20, 10)[0],
        "frame_wh": (20, 10),
        "boxes_xyxy": np.array([[1.0, 1, 5, 5]]),
        "ids": np.array([1]),
        "labels": ["a"],
    }


def read_only(array):
    array.flags.writeable = False
    return array


def y_plane_is(plane):
    return {"planes": [plane, *make_planes(20, 10)[0][1:]]}


REJECTED = [
    ({"planes": make_planes(20, 10)[0][:2]}, ValueError, "planes must be three 2-D writable uint8 arrays. Got 2."),
    ({"planes": []}, ValueError, "planes must be three 2-D writable uint8 arrays. Got 0."),
    (y_plane_is(b"0"), TypeError, "planes[0] must be a 2-D writable uint8 array. Got bytes."),
    (y_plane_is(np.zeros((10, 20))), TypeError, "planes[0] must be a 2-D writable uint8 array. Got float64."),
    (
        y_plane_is(np.zeros(200, np.uint8)),
        ValueError,
        "planes[0] must be a 2-D writable uint8 array. Got shape (200,).",
    ),
    (
        y_plane_is(read_only(np.zeros((10, 20), np.uint8))),
        ValueError,
        "planes[0] must be a 2-D writable uint8 array. Got a read-only one.",
    ),
    (
        y_plane_is(np.zeros((9, 20), np.uint8)),
        ValueError,
        "planes[0] must have at least 10 rows of 20 bytes. Got shape (9, 20).",
    ),
    (
        y_plane_is(np.zeros((10, 19), np.uint8)),
        ValueError,
        "planes[0] must have at least 10 rows of 20 bytes. Got shape (10, 19).",
    ),
    (
        y_plane_is(np.zeros((10, 40), np.uint8)[:, ::2]),
        ValueError,
        "planes[0] must have rows without gaps. Got strides (40, 2).",
    ),
    ({"frame_wh": (21, 11)}, ValueError, "planes[0] must have at least 11 rows of 21 bytes. Got shape (10, 20)."),
    (
        {"frame_wh": (10**30, 10)},
        ValueError,
        f"planes[0] must have at least 10 rows of {10**30} bytes. Got shape (10, 20).",
    ),
    ({"frame_wh": (0, 10)}, ValueError, "frame_wh must be two ints of at least 1. Got (0, 10)."),
    ({"frame_wh": (20.0, 10)}, ValueError, "frame_wh must be two ints of at least 1. Got (20.0, 10)."),
    ({"frame_wh": (20, True)}, ValueError, "frame_wh must be two ints of at least 1. Got (20, True)."),
    ({"frame_wh": (20,)}, ValueError, "frame_wh must be two ints of at least 1. Got (20,)."),
    ({"boxes_xyxy": [[1, 1, 5, 5]]}, TypeError, "boxes_xyxy must be a float64 or float32 array. Got list."),
    (
        {"boxes_xyxy": np.array([[1, 1, 5, 5]])},
        TypeError,
        "boxes_xyxy must be a float64 or float32 array. Got int64.",
    ),
    ({"boxes_xyxy": np.zeros(4)}, ValueError, "boxes_xyxy must have the shape (N, 4). Got (4,)."),
    ({"boxes_xyxy": np.zeros((1, 5))}, ValueError, "boxes_xyxy must have the shape (N, 4). Got (1, 5)."),
    ({"ids": [1]}, TypeError, "ids must be an int64 array. Got list."),
    ({"ids": np.array([1.0])}, TypeError, "ids must be an int64 array. Got float64."),
    ({"ids": np.array([1, 2])}, ValueError, "ids must have the shape (1,), one a box. Got (2,)."),
    ({"labels": []}, ValueError, "labels must be 1 str, one a box. Got 0."),
    ({"labels": "a"}, TypeError, "labels must be a sequence of str, one a box. Got str."),
    ({"labels": [7]}, TypeError, "labels[0] must be a str. Got int."),
    ({"matrix": "rgb"}, ValueError, "matrix must be one of bt601, bt709, bt2020. Got 'rgb'."),
    ({"thickness": 0}, ValueError, "thickness must be None or an int in [1, 64]. Got 0."),
    ({"thickness": 65}, ValueError, "thickness must be None or an int in [1, 64]. Got 65."),
    ({"thickness": 1.5}, ValueError, "thickness must be None or an int in [1, 64]. Got 1.5."),
    ({"font_size": 0}, ValueError, "font_size must be None or an int in [1, 200]. Got 0."),
    ({"font_size": 201}, ValueError, "font_size must be None or an int in [1, 200]. Got 201."),
    ({"short_labels": ["a", "b"]}, ValueError, "short_labels must be 1 str, one a box. Got 2."),
    ({"colours": np.array([1.0])}, TypeError, "colours must be an int64 array. Got float64."),
    ({"slots": np.array([1.0])}, TypeError, "slots must be an int64 array. Got float64."),
    ({"slots": np.array([1, 2])}, ValueError, "slots must have the shape (1,), one a box. Got (2,)."),
    ({"slots": read_only(np.array([1]))}, ValueError, "slots must be writable."),
    ({"taken": np.zeros((1, 4))}, ValueError, "taken must be an int64 array of shape (K, 4). Got float64 (1, 4)."),
    ({"taken": [[1, 1, 2, 2]]}, ValueError, "taken must be an int64 array of shape (K, 4). Got list."),
]


@pytest.mark.parametrize(("change", "error", "message"), REJECTED, ids=[case[2] for case in REJECTED])
def test_rejected(change, error, message):
    arguments = valid_arguments() | change
    before = [plane.copy() for plane in arguments["planes"] if isinstance(plane, np.ndarray)]
    with pytest.raises(error) as raised:
        draw_tracks(**arguments)
    assert str(raised.value) == message
    after = [plane for plane in arguments["planes"] if isinstance(plane, np.ndarray)]
    assert all(np.array_equal(old, new) for old, new in zip(before, after, strict=True))


def test_chroma_planes_are_checked_as_well():
    planes, _ = make_planes(21, 11)
    planes[2] = planes[2][:5]
    with pytest.raises(ValueError, match=r"planes\[2\] must have at least 6 rows of 11 bytes\. Got shape \(5, 11\)\."):
        draw_tracks(planes, (21, 11), np.zeros((1, 4)), np.zeros(1, np.int64), [""])


def test_threads_draw_the_same():
    """Four threads, each on a frame of its own: there is no shared state that drawing writes."""
    rng = np.random.default_rng(8)
    corners = np.sort(rng.uniform(0, 400, (60, 2, 2)), axis=1).reshape(60, 4)
    ids, labels = np.arange(60), [f"track {i}" for i in range(60)]
    frames = [make_planes(400, 400)[0] for _ in range(4)]

    def draw(planes):
        for _ in range(5):
            draw_tracks(planes, (400, 400), corners, ids, labels)

    switch = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=draw, args=(planes,)) for planes in frames[1:]]
        for thread in threads:
            thread.start()
        draw(frames[0])
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(switch)
    for planes in frames[1:]:
        for plane, first in zip(planes, frames[0], strict=True):
            np.testing.assert_array_equal(plane, first)


def test_on_a_decoded_frame():
    """The way of the video sink: PyAV's planes are written in place, and what is drawn is in the frame."""
    av = pytest.importorskip("av")
    path = require_asset("videos/people.mp4")
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0)).reformat(format="yuv420p")
    frame.make_writable()
    planes = [np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size) for plane in frame.planes]
    twin = [plane.copy() for plane in planes]
    boxes = np.array([[60.3, 120.8, 140.1, 330.7], [790, 5, 900, 400], [-30, 200, 40, 500]])
    arguments = ((frame.width, frame.height), boxes, np.array([1, 2, 3]), ["person 1", "person 2", "dog 3"])
    before = frame.to_ndarray()
    draw_tracks(planes, *arguments)
    reference.draw_tracks(twin, *arguments)
    for plane, expected in zip(planes, twin, strict=True):
        np.testing.assert_array_equal(plane, expected)
    assert (frame.to_ndarray() != before).any()
