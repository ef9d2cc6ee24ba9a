import colorsys
import sys
import threading

import numpy as np
import pytest

from engine_ext import font
from engine_ext.overlay import draw_tracks
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
    draw_tracks(planes, (width, height), boxes, ids, labels, **options)
    reference.draw_tracks(twin_planes, (width, height), boxes, ids, labels, **options)
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
        count = int(rng.integers(1, 9))
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
            font_scale=[None, 1, 2, 3][int(rng.integers(0, 4))],
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
        for scale in (1, 2, 16):
            ids = np.arange(4)
            draw_tracks(planes, (width, height), boxes, ids, ["label"] * 4, thickness=thickness, font_scale=scale)
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


@pytest.mark.parametrize("scale", [1, 2, 3])
def test_text_is_the_font_s(scale):
    """Read each character back from the frame, through the art in the font's sheet."""
    bands = [[line.split(" ") for line in band.split("\n")] for band in font.SHEET.strip("\n").split("\n\n")]
    art = {}
    for code in range(0x20, 0x80):
        band, column = divmod(code - 0x20, 16)
        art["\n".join(line[column] for line in bands[band])] = chr(code)
    assert len(art) == 96, "two glyphs are alike"

    text = "person 12"
    width, height = 220, 100
    planes, _ = make_planes(width, height)
    draw_tracks(planes, (width, height), np.array([[20.0, 60, 60, 90]]), np.array([1]), [text], font_scale=scale)
    ground, _, _, ink = reference.colour_yuv(1, "bt601", False)
    top, left = 60 - 12 * scale, 20
    label = planes[0][top:60, left : left + (6 * len(text) + 3) * scale]
    assert set(np.unique(label)) == {ground, ink}
    pixels = label[::scale, ::scale]
    np.testing.assert_array_equal(label, pixels.repeat(scale, axis=0).repeat(scale, axis=1))
    read = ""
    for i in range(len(text)):
        cell = pixels[2:11, 2 + 6 * i : 2 + 6 * i + 5]
        read += art["\n".join("".join("#" if level == ink else "." for level in row) for row in cell)]
    assert read == text


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


LABEL_PLACES = [
    # box's left, top; label's left, top; why
    ((20, 40), (20, 28), "above"),
    ((21, 41), (21, 30), "above, odd: one row into the outline"),
    ((20, 12), (20, 0), "just room above"),
    ((20, 11), (20, 12), "no room above: inside, under the outline's first row"),
    ((20, 0), (20, 0), "inside at the frame's top"),
    ((20, -30), (20, 0), "the box starts above the frame"),
    ((-30, 40), (0, 28), "the box starts left of the frame"),
    ((95, 40), (66, 28), "moved left at the right edge"),
]


@pytest.mark.parametrize(("corner", "place", "remark"), LABEL_PLACES, ids=[case[2] for case in LABEL_PLACES])
def test_label_is_fully_visible(corner, place, remark):
    width, height = 100, 80
    left, top = corner
    planes = draw_both(width, height, [[left, top, left + 60, 70]], [1], ["abcde"], thickness=1, font_scale=1)
    ground, _, _, ink = reference.colour_yuv(1, "bt601", False)
    x, y = place
    right = x + x % 2 + 34
    label = planes[0][y : y + 12, x:right]
    assert label.shape == (12, right - x)
    assert set(np.unique(label)) == {ground, ink}


def test_labels_lie_over_all_outlines():
    boxes = [[10, 40, 60, 70], [0, 30, 90, 34]]
    planes = draw_both(100, 80, boxes, [1, 2], ["abcd", ""], thickness=1, font_scale=1)
    second = reference.colour_yuv(2, "bt601", False)[0]
    assert not (planes[0][28:40, 10:36] == second).any()


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
        planes, _ = make_planes(60, 40)
        box, ids = np.array([[4.0, 20, 50, 38]]), np.array([track_id])
        draw_tracks(planes, (60, 40), box, ids, ["I"], full_range=full_range, font_scale=1)
        seen.add(int(planes[0][8 + 2, 4 + 2 + 2]))
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
    planes = draw_both(60, 60, [[10, 30, 50, 50]], [0], ["I"], font_scale=2)
    _, u, v, _ = reference.colour_yuv(0, "bt601", False)
    stem = (6 + 4, 10 + 2 * (2 + 2))
    assert planes[1][stem[0] // 2 + 4, stem[1] // 2] == 128
    assert planes[2][stem[0] // 2 + 4, stem[1] // 2] == 128
    assert (planes[1][4, 6], planes[2][4, 6]) == (u, v)


@pytest.mark.parametrize(
    ("size_wh", "thickness", "scale"),
    [((320, 240), 1, 1), ((854, 480), 2, 1), ((1280, 720), 2, 2), ((1920, 1080), 3, 3), ((1080, 1920), 3, 3)],
)
def test_sizes_follow_the_frame(size_wh, thickness, scale):
    width, height = size_wh
    box, ids = np.array([[20.0, 100, 200, 200]]), np.array([1])
    automatic, _ = make_planes(width, height)
    chosen, _ = make_planes(width, height)
    draw_tracks(automatic, size_wh, box, ids, ["a"])
    draw_tracks(chosen, size_wh, box, ids, ["a"], thickness=thickness, font_scale=scale)
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
    ({"font_scale": 0}, ValueError, "font_scale must be None or an int in [1, 16]. Got 0."),
    ({"font_scale": 17}, ValueError, "font_scale must be None or an int in [1, 16]. Got 17."),
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
