import ctypes
import mmap
import threading
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from engine_ext import letterbox as kernel
from engine_ext.letterbox import Letterbox
from tests.assets import require_asset
from tests.reference import letterbox as reference
from tests.reference.letterbox_table import COLOURS, TOLERANCE_LEVELS, Colour

U8 = npt.NDArray[np.uint8]

FORMATS = ["yuv420p", "yuvj420p", "nv12", "rgb24", "bgr24", "gray"]

# Levels of 255. Weights have 15 fractional bits and samples 7, and YUV to RGB magnifies a chroma error about twice.
FLOAT_TOLERANCE = 0.1
UINT8_TOLERANCE = 0.5 + FLOAT_TOLERANCE


def plane_sizes(pix_fmt: str, w: int, h: int) -> list[tuple[int, int]]:
    """(rows, bytes of a row) of each plane."""
    cw, ch = (w + 1) // 2, (h + 1) // 2
    return {
        "nv12": [(h, w), (ch, 2 * cw)],
        "gray": [(h, w)],
        "rgb24": [(h, 3 * w)],
        "bgr24": [(h, 3 * w)],
    }.get(pix_fmt, [(h, w), (ch, cw), (ch, cw)])


def random_planes(pix_fmt: str, w: int, h: int, seed: int = 0) -> list[U8]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, size, dtype=np.uint8) for size in plane_sizes(pix_fmt, w, h)]


def run(
    planes: list[U8],
    src_wh: tuple[int, int],
    dst_hw: tuple[int, int],
    pix_fmt: str,
    dtype: Any = np.float32,
    **options: Any,
) -> npt.NDArray[Any]:
    """One frame into the middle row of a batch whose other rows must stay as they are. With and without what only some
    processors can do: to the bit the same."""
    batches = []
    for portable in (False, True):
        batch = np.full((3, 3, *dst_hw), 77, dtype)
        Letterbox(src_wh, dst_hw, pix_fmt, portable=portable, **options).apply(planes, batch[1])
        assert (batch[0] == 77).all(), "wrote before out"
        assert (batch[2] == 77).all(), "wrote after out"
        batches.append(batch[1])
    assert batches[0].tobytes() == batches[1].tobytes()
    return batches[0]


SIZES = [
    # src_wh, dst_hw, remark
    ((64, 48), (48, 64), "equal size"),
    ((64, 48), (64, 64), "equal width, padding above and below"),
    ((48, 64), (64, 64), "equal height, padding left and right"),
    ((320, 180), (64, 96), "reduced by a fraction"),
    ((640, 352), (22, 40), "reduced by exactly 16"),
    ((33, 17), (64, 96), "enlarged, odd size"),
    ((31, 57), (57, 31), "odd and tall into odd and wide"),
    ((5, 3), (40, 40), "a few pixels, enlarged much"),
    ((1, 1), (8, 8), "one pixel: no neighbour in any direction"),
    ((1, 9), (6, 6), "one column"),
    ((9, 1), (6, 6), "one row"),
    ((2, 2), (5, 7), "two pixels of luma, one of chroma"),
    ((3, 3), (3, 3), "odd, equal size: the last chroma column serves one luma column"),
    ((100, 80), (2, 2), "two-pixel target"),
    ((100, 80), (1, 1), "one-pixel target"),
    ((2000, 3), (16, 64), "very wide: rounds to less than one row, and one is kept"),
    ((3, 2000), (64, 16), "very tall"),
    ((130, 70), (33, 61), "odd padding on both axes of the target"),
]


@pytest.mark.parametrize("pix_fmt", FORMATS)
@pytest.mark.parametrize(("src_wh", "dst_hw", "remark"), SIZES)
def test_float32_is_the_reference_on_random_frames(
    src_wh: tuple[int, int], dst_hw: tuple[int, int], remark: str, pix_fmt: str
) -> None:
    planes = random_planes(pix_fmt, *src_wh)
    expected = reference.letterbox(planes, src_wh, dst_hw, pix_fmt)
    assert np.abs(run(planes, src_wh, dst_hw, pix_fmt) - expected).max() < FLOAT_TOLERANCE, remark


OPTIONS = [
    ({}, "the defaults"),
    ({"channel_order": "bgr"}, "the other order"),
    ({"pad": "topleft"}, "the other padding"),
    ({"rounding": "down"}, "the other rounding"),
    ({"rounding": "down", "pad": "topleft", "channel_order": "bgr"}, "as YOLOX"),
    ({"pad_value": 0.0}, "zero is a value, not absence"),
    ({"pad_value": 254.5}, "a fraction"),
    ({"matrix": "bt709"}, "matrix"),
    ({"matrix": "bt2020", "full_range": True, "channel_order": "bgr"}, "matrix, range and order together"),
]
SCALINGS = [
    ({"scale": 1 / 255}, "0..1"),
    ({"scale": (1 / 58.4, 1 / 57.1, 1 / 57.4), "mean": (123.7, 116.3, 103.5)}, "one a channel"),
    ({"scale": [0.01, 0.02, 0.04], "mean": np.array([10, 20, 30]), "channel_order": "bgr"}, "in out's order"),
    ({"scale": -2.0, "mean": 100.0}, "a negative scale turns the limits round"),
    ({"mean": 128.0, "pad": "topleft"}, "mean alone"),
]


@pytest.mark.parametrize("pix_fmt", FORMATS)
@pytest.mark.parametrize(("options", "remark"), OPTIONS + SCALINGS)
def test_options(options: dict[str, Any], remark: str, pix_fmt: str) -> None:
    src_wh, dst_hw = (75, 40), (30, 34)
    planes = random_planes(pix_fmt, *src_wh)
    expected = reference.letterbox(planes, src_wh, dst_hw, pix_fmt, **options)
    tolerance = FLOAT_TOLERANCE * np.abs(options.get("scale", 1.0)).max()
    assert np.abs(run(planes, src_wh, dst_hw, pix_fmt, **options) - expected).max() < tolerance, remark


@pytest.mark.parametrize("pix_fmt", FORMATS)
@pytest.mark.parametrize(("options", "remark"), OPTIONS)
def test_uint8_rounds_to_nearest(options: dict[str, Any], remark: str, pix_fmt: str) -> None:
    src_wh, dst_hw = (75, 40), (30, 34)
    planes = random_planes(pix_fmt, *src_wh)
    out = run(planes, src_wh, dst_hw, pix_fmt, np.uint8, **options)
    expected = reference.letterbox(planes, src_wh, dst_hw, pix_fmt, **options)
    assert np.abs(out - expected).max() < UINT8_TOLERANCE, remark
    as_float = run(planes, src_wh, dst_hw, pix_fmt, **options)
    np.testing.assert_array_equal(out, np.floor(as_float + np.float32(0.5)), err_msg=remark)


@pytest.mark.parametrize(("options", "remark"), [*OPTIONS, *SCALINGS, ({"scale": 1e-6}, "subnormal halves")])
@pytest.mark.parametrize("pix_fmt", FORMATS)
def test_float16_is_float32_rounded(options: dict[str, Any], remark: str, pix_fmt: str) -> None:
    src_wh, dst_hw = (75, 40), (60, 64)
    planes = random_planes(pix_fmt, *src_wh)
    out = run(planes, src_wh, dst_hw, pix_fmt, np.float16, **options)
    expected = run(planes, src_wh, dst_hw, pix_fmt, **options).astype(np.float16)
    np.testing.assert_array_equal(out.view(np.uint16), expected.view(np.uint16), err_msg=remark)


def test_float16_rounds_ties_to_even() -> None:
    """Scaled so that the 256 levels are multiples of a half's half-step, over normal and subnormal halves."""
    levels = np.arange(256, dtype=np.uint8)[None, :]
    for scale in (2.0**-15, 2.0**-20, 2.0**-25, 1 + 2.0**-11, 2049 / 2048 * 2.0**-14):
        out = run([levels], (256, 1), (1, 256), "gray", np.float16, scale=scale)
        expected = (levels[0].astype(np.float32) * np.float32(scale)).astype(np.float16)
        np.testing.assert_array_equal(out[0, 0].view(np.uint16), expected.view(np.uint16), err_msg=f"scale {scale}")


@pytest.mark.parametrize("colour", COLOURS, ids=lambda colour: f"{colour.name}-{colour.matrix}-{colour.full_range}")
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "nv12"])
def test_known_colours(colour: Colour, pix_fmt: str) -> None:
    w, h = 6, 4
    y, u, v = (np.full((h, w), value, np.uint8) for value in colour.yuv)
    chroma = [np.stack([u, v], axis=-1)[: h // 2, : w // 2].reshape(h // 2, w)]
    if pix_fmt == "yuv420p":
        chroma = [u[: h // 2, : w // 2], v[: h // 2, : w // 2]]
    options = {"matrix": colour.matrix, "full_range": colour.full_range}
    out = run([y, *chroma], (w, h), (9, 13), pix_fmt, pad="topleft", **options)[:, :8, :]
    for channel, expected in zip(out, colour.rgb, strict=True):
        assert np.abs(channel - expected).max() < TOLERANCE_LEVELS, colour.remark
    bgr = run([y, *chroma], (w, h), (9, 13), pix_fmt, pad="topleft", channel_order="bgr", **options)[:, :8, :]
    np.testing.assert_array_equal(bgr, out[::-1])


def test_neutral_chroma_gives_equal_channels() -> None:
    y = random_planes("gray", 64, 32)[0]
    neutral = np.full((16, 32), 128, np.uint8)
    out = run([y, neutral, neutral], (64, 32), (20, 40), "yuv420p")
    np.testing.assert_array_equal(out[0], out[1])
    np.testing.assert_array_equal(out[0], out[2])


@pytest.mark.parametrize("pix_fmt", ["rgb24", "bgr24", "gray"])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.uint8])
def test_equal_size_is_exact(pix_fmt: str, dtype: Any) -> None:
    planes = random_planes(pix_fmt, 37, 21)
    expected = reference.letterbox(planes, (37, 21), (21, 37), pix_fmt)
    np.testing.assert_array_equal(run(planes, (37, 21), (21, 37), pix_fmt, dtype), expected)


def test_equal_size_leaves_luma_and_sited_chroma_alone() -> None:
    """Even columns lie on chroma samples; with chroma constant down the rows no blending is left but the conversion."""
    rng = np.random.default_rng(3)
    y = rng.integers(0, 256, (16, 24), dtype=np.uint8)
    u, v = (np.repeat(rng.integers(0, 256, (1, 12), dtype=np.uint8), 8, axis=0) for _ in range(2))
    even = [y[:, ::2].astype(float), np.repeat(u, 2, axis=0).astype(float), np.repeat(v, 2, axis=0).astype(float)]
    expected = np.clip(reference.yuv_to_rgb(even, "bt601", False), 0, 255)
    out = run([y, u, v], (24, 16), (16, 24), "yuv420p")
    np.testing.assert_allclose(out[:, :, ::2], expected, atol=1e-4)


@pytest.mark.parametrize("pix_fmt", FORMATS)
@pytest.mark.parametrize(("src_wh", "dst_hw", "remark"), SIZES)
def test_bytes_beyond_the_row_do_not_matter(
    src_wh: tuple[int, int], dst_hw: tuple[int, int], remark: str, pix_fmt: str
) -> None:
    planes = random_planes(pix_fmt, *src_wh)
    expected = run(planes, src_wh, dst_hw, pix_fmt)
    rng = np.random.default_rng(1)
    for extra in (1, 31, 64):
        poisoned = []
        for plane in planes:
            wide = rng.integers(0, 256, (plane.shape[0], plane.shape[1] + extra), dtype=np.uint8)
            wide[:, : plane.shape[1]] = plane
            poisoned.append(wide)
        np.testing.assert_array_equal(run(poisoned, src_wh, dst_hw, pix_fmt), expected, err_msg=remark)


STRIDES = [
    (lambda plane: np.repeat(plane, 3, axis=0)[::3], "every third row"),
    (lambda plane: plane[::-1].copy()[::-1], "bottom-up"),
    (lambda plane: np.pad(plane, ((1, 1), (3, 5)), constant_values=9)[1:-1, 3:-5], "a window of a larger array"),
    (lambda plane: np.frombuffer(plane.tobytes(), np.uint8).reshape(plane.shape), "read-only"),
]


@pytest.mark.parametrize("pix_fmt", FORMATS)
@pytest.mark.parametrize(("view", "remark"), STRIDES)
def test_row_strides(view: Any, remark: str, pix_fmt: str) -> None:
    planes = random_planes(pix_fmt, 45, 30)
    expected = run(planes, (45, 30), (24, 24), pix_fmt)
    views = [view(plane) for plane in planes]
    np.testing.assert_array_equal(run(views, (45, 30), (24, 24), pix_fmt), expected, err_msg=remark)


def test_nv12_and_yuv420p_agree_bit_for_bit() -> None:
    y, u, v = random_planes("yuv420p", 71, 43)
    uv = np.stack([u, v], axis=-1).reshape(u.shape[0], -1)
    expected = run([y, u, v], (71, 43), (50, 33), "yuv420p")
    np.testing.assert_array_equal(run([y, uv], (71, 43), (50, 33), "nv12"), expected)


GEOMETRY = [
    # src_wh, dst_hw, pad, ratio, resized_wh, pad_xy, remark
    ((1920, 1080), (256, 416), "center", 416 / 1920, (416, 234), (0, 11), "even padding"),
    ((1920, 1080), (384, 640), "center", 1 / 3, (640, 360), (0, 12), "a third"),
    ((1920, 1080), (384, 640), "topleft", 1 / 3, (640, 360), (0, 0), "YOLOX"),
    ((640, 480), (640, 640), "center", 1.0, (640, 480), (0, 80), "no resize"),
    ((100, 75), (100, 100), "center", 1.0, (100, 75), (0, 12), "25 rows of padding: 12 above, 13 below"),
    ((75, 100), (100, 100), "center", 1.0, (75, 100), (12, 0), "the same on its side"),
    ((810, 1080), (640, 640), "center", 640 / 1080, (480, 640), (80, 0), "a portrait"),
    ((2000, 3), (16, 64), "center", 0.032, (64, 1), (0, 7), "never less than one row"),
    ((1, 1), (1, 1), "center", 1.0, (1, 1), (0, 0), "the least of all"),
]


@pytest.mark.parametrize(("src_wh", "dst_hw", "pad", "ratio", "resized_wh", "pad_xy", "remark"), GEOMETRY)
def test_geometry(
    src_wh: tuple[int, int],
    dst_hw: tuple[int, int],
    pad: str,
    ratio: float,
    resized_wh: tuple[int, int],
    pad_xy: tuple[int, int],
    remark: str,
) -> None:
    letterbox = Letterbox(src_wh, dst_hw, "nv12", pad=pad)
    assert letterbox.ratio == pytest.approx(ratio), remark
    assert (letterbox.resized_wh, letterbox.pad_xy) == (resized_wh, pad_xy), remark
    assert (letterbox.src_wh, letterbox.dst_hw, letterbox.pix_fmt) == (src_wh, dst_hw, "nv12")


@pytest.mark.parametrize("src_wh", [(640, 427), (33, 64), (64, 64)])
def test_a_stretched_image_fills_the_tensor(src_wh: tuple[int, int]) -> None:
    planes = random_planes("yuv420p", *src_wh)
    letterbox = Letterbox(src_wh, (48, 96), "yuv420p", pad="stretch")
    assert (letterbox.resized_wh, letterbox.pad_xy) == ((96, 48), (0, 0))
    assert letterbox.ratio_xy == (96 / src_wh[0], 48 / src_wh[1])
    expected = reference.letterbox(planes, src_wh, (48, 96), "yuv420p", pad="stretch")
    assert np.abs(run(planes, src_wh, (48, 96), "yuv420p", pad="stretch") - expected).max() < FLOAT_TOLERANCE


def test_boxes_go_back_by_one_ratio_unless_stretched() -> None:
    letterbox = Letterbox((640, 427), (416, 416), "gray")
    assert letterbox.ratio_xy == (letterbox.ratio, letterbox.ratio)


@pytest.mark.parametrize(
    ("src_wh", "dst_hw", "nearest", "down"),
    [
        ((640, 427), (416, 416), (416, 278), (416, 277)),  # 277.55 rows
        ((500, 375), (416, 416), (416, 312), (416, 312)),  # 312 rows
        ((2000, 3), (16, 64), (64, 1), (64, 1)),  # never less than one row
        ((429, 640), (416, 416), (279, 416), (278, 416)),  # 278.85 columns
    ],
)
def test_the_size_is_rounded_as_the_family_does(
    src_wh: tuple[int, int], dst_hw: tuple[int, int], nearest: tuple[int, int], down: tuple[int, int]
) -> None:
    assert Letterbox(src_wh, dst_hw, "gray").resized_wh == nearest
    letterbox = Letterbox(src_wh, dst_hw, "gray", rounding="down", pad="topleft")
    assert letterbox.resized_wh == down
    assert letterbox.ratio == Letterbox(src_wh, dst_hw, "gray").ratio  # by which boxes go back, in both families
    (plane,) = random_planes("gray", *src_wh)
    expected = reference.letterbox([plane], src_wh, dst_hw, "gray", rounding="down", pad="topleft")
    found = run([plane], src_wh, dst_hw, "gray", rounding="down", pad="topleft")
    assert np.abs(found - expected).max() < FLOAT_TOLERANCE


@pytest.mark.parametrize(("src_wh", "dst_hw", "remark"), SIZES)
def test_gray_resizes_as_opencv_does(src_wh: tuple[int, int], dst_hw: tuple[int, int], remark: str) -> None:
    """In float32, where OpenCV does not round its weights to 11 bits."""
    (plane,) = random_planes("gray", *src_wh)
    letterbox = Letterbox(src_wh, dst_hw, "gray", pad="topleft")
    rw, rh = letterbox.resized_wh
    expected = cv2.resize(plane.astype(np.float32), (rw, rh), interpolation=cv2.INTER_LINEAR)
    out = run([plane], src_wh, dst_hw, "gray", pad="topleft")
    assert np.abs(out[0, :rh, :rw] - expected.reshape(rh, rw)).max() < 0.05, remark


def test_threads_share_one_letterbox() -> None:
    letterbox = Letterbox((320, 180), (96, 160), "yuv420p")
    frames = [random_planes("yuv420p", 320, 180, seed) for seed in range(4)]
    expected = [run(planes, (320, 180), (96, 160), "yuv420p") for planes in frames]
    wrong = []

    def work(i: int) -> None:
        out = np.empty((3, 96, 160), np.float32)
        for _ in range(100):
            letterbox.apply(frames[i], out)
            if not np.array_equal(out, expected[i]):
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(frames))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


BAD_ARGUMENTS: list[tuple[dict[str, Any], str]] = [
    ({"src_wh": (0, 10)}, r"src_wh must be two ints in \[1, 32768\]. Got \(0, 10\)."),
    ({"src_wh": (10, 32769)}, r"src_wh must be two ints"),
    ({"src_wh": (10.0, 10)}, r"src_wh must be two ints"),
    ({"src_wh": 10}, r"src_wh must be two ints in \[1, 32768\]. Got 10."),
    ({"src_wh": (10, 10, 3)}, r"src_wh must be two ints"),
    ({"dst_hw": (-1, 10)}, r"dst_hw must be two ints in \[1, 32768\]. Got \(-1, 10\)."),
    ({"pix_fmt": "yuv422p"}, r"pix_fmt must be one of yuv420p, .*, gray. Got 'yuv422p'."),
    ({"matrix": "bt601-6"}, r"matrix must be one of bt601, bt709, bt2020. Got 'bt601-6'."),
    ({"channel_order": "RGB"}, r"channel_order must be one of rgb, bgr. Got 'RGB'."),
    ({"pad": "centre"}, r"pad must be one of center, topleft, stretch. Got 'centre'."),
    ({"rounding": "up"}, r"rounding must be one of nearest, down. Got 'up'."),
    ({"scale": 0}, r"scale must not be 0. Got 0."),
    ({"scale": (1, 1)}, r"scale must be a number, or three, in .*. Got \(1, 1\)."),
    ({"scale": float("nan")}, r"scale must be a number"),
    ({"scale": float("inf")}, r"scale must be a number"),
    ({"scale": "big"}, r"scale must be a number, or three, in .*. Got 'big'."),
    ({"mean": (0, 0, 1e9)}, r"mean must be a number, or three, in .*1000000"),
    ({"mean": None}, r"mean must be a number, or three, in .*. Got None."),
    ({"pad_value": 255.5}, r"pad_value must be in \[0, 255\]. Got 255.5."),
    ({"pad_value": float("nan")}, r"pad_value must be in \[0, 255\]. Got nan."),
]


@pytest.mark.parametrize(("change", "message"), BAD_ARGUMENTS)
def test_arguments_refused(change: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"src_wh": (8, 6), "dst_hw": (6, 8), "pix_fmt": "yuv420p", **change}
    with pytest.raises(ValueError, match=message):
        Letterbox(arguments.pop("src_wh"), arguments.pop("dst_hw"), arguments.pop("pix_fmt"), **arguments)


def test_a_name_that_is_no_text_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="pix_fmt"):
        Letterbox((8, 6), (6, 8), 420)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="pix_fmt"):
        Letterbox((8, 6), (6, 8), None)  # type: ignore[arg-type]


def zeros(*shape: int, dtype: Any = np.uint8) -> npt.NDArray[Any]:
    return np.zeros(shape, dtype)


GOOD_PLANES = [zeros(5, 8), zeros(3, 4), zeros(3, 4)]  # an 8x5 frame: chroma rounds up to 3 rows
BAD_PLANES: list[tuple[Any, str]] = [
    ([], r"planes must be 3 for yuv420p. Got 0."),
    (GOOD_PLANES[:2], r"planes must be 3 for yuv420p. Got 2."),
    ([zeros(4, 8), *GOOD_PLANES[1:]], r"planes\[0\] must be a \(5, 8 or more\) uint8 array .* Got \(4, 8\) uint8."),
    ([zeros(6, 8), *GOOD_PLANES[1:]], r"planes\[0\] .* Got \(6, 8\) uint8."),
    ([zeros(5, 7), *GOOD_PLANES[1:]], r"planes\[0\] .* Got \(5, 7\) uint8."),
    ([zeros(5, 8), zeros(2, 4), zeros(3, 4)], r"planes\[1\] must be a \(3, 4 or more\) .* Got \(2, 4\) uint8."),
    ([zeros(5, 8), zeros(3, 4), zeros(3, 3)], r"planes\[2\] .* Got \(3, 3\) uint8."),
    ([zeros(5, 8, dtype=np.int8), *GOOD_PLANES[1:]], r"planes\[0\] .* Got \(5, 8\) int8."),
    ([zeros(40), *GOOD_PLANES[1:]], r"planes\[0\] .* Got \(40,\) uint8."),
    ([zeros(5, 8, 1), *GOOD_PLANES[1:]], r"planes\[0\] .* Got \(5, 8, 1\) uint8."),
    ([zeros(5, 16)[:, ::2], *GOOD_PLANES[1:]], r"planes\[0\] .* contiguous rows .* with strides \(16, 2\)"),
    ([zeros(8, 5).T, *GOOD_PLANES[1:]], r"planes\[0\] .* with strides \(1, 5\)"),
    ([b"x" * 40, *GOOD_PLANES[1:]], r"planes\[0\] .* Got bytes."),
    ([None, *GOOD_PLANES[1:]], r"planes\[0\] .* Got NoneType."),
]


@pytest.mark.parametrize(("planes", "message"), BAD_PLANES)
def test_planes_refused(planes: Any, message: str) -> None:
    out = zeros(3, 6, 8, dtype=np.float32)
    letterbox = Letterbox((8, 5), (6, 8), "yuv420p")
    letterbox.apply(GOOD_PLANES, out)
    out[:] = 7
    with pytest.raises(ValueError, match=message):
        letterbox.apply(planes, out)
    assert (out == 7).all(), "nothing is written when something is refused"


def read_only() -> npt.NDArray[Any]:
    out = zeros(3, 6, 8, dtype=np.float32)
    out.flags.writeable = False
    return out


def misaligned() -> npt.NDArray[Any]:
    return np.frombuffer(bytearray(3 * 6 * 8 * 4 + 1), np.uint8)[1:].view(np.float32).reshape(3, 6, 8)


BAD_OUT: list[tuple[Any, str]] = [
    (zeros(3, 8, 6, dtype=np.float32), r"out must be .* \(3, 6, 8\) float32.* Got \(3, 8, 6\) float32."),
    (zeros(1, 3, 6, 8, dtype=np.float32), r"out must be .* Got \(1, 3, 6, 8\) float32."),
    (zeros(6, 8, 3, dtype=np.float32).transpose(2, 0, 1), r"out must be .* with strides"),
    (zeros(3, 6, 9, dtype=np.float32)[:, :, :8], r"out must be .* with strides"),
    (zeros(3, 6, 8, dtype=np.float64), r"out must be .* Got \(3, 6, 8\) float64."),
    (zeros(3, 6, 8, dtype=">f4"), r"out must be .* Got \(3, 6, 8\) >f4."),
    (zeros(3, 6, 8, dtype=np.int8), r"out must be .* Got \(3, 6, 8\) int8."),
    (read_only(), r"out must be a writable .* read-only"),
    (misaligned(), r"out must be .* not aligned"),
    ([[[0.0]]], r"out must be .* Got list."),
    (None, r"out must be .* Got NoneType."),
]


@pytest.mark.parametrize(("out", "message"), BAD_OUT)
def test_out_refused(out: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Letterbox((8, 5), (6, 8), "yuv420p").apply(GOOD_PLANES, out)


@pytest.mark.parametrize(
    ("options", "dtype", "message"),
    [
        ({"scale": 1 / 255}, np.uint8, "out may be uint8 only with scale 1 and mean 0"),
        ({"mean": (0, 0, 1)}, np.uint8, "out may be uint8 only with scale 1 and mean 0"),
        ({"scale": 300}, np.float16, "out may be float16 only for values up to 65504. Got up to 76500."),
        ({"scale": -300}, np.float16, "out may be float16 only for values up to 65504"),
    ],
)
def test_values_that_out_cannot_hold_are_refused(options: dict[str, Any], dtype: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Letterbox((8, 5), (6, 8), "yuv420p", **options).apply(GOOD_PLANES, zeros(3, 6, 8, dtype=dtype))


# ---- real frames ----

CLIPS = ["people.mp4", "vtest.avi", "one-by-one-person-detection.mp4", "bikes.mp4", "carphone_pristine.mp4"]
MATRICES = ["bt601", "bt709", "bt2020"]


def planes_of(frame: Any) -> list[U8]:
    return [np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size) for plane in frame.planes]


def frames_of(clip: str) -> Iterator[Any]:
    av = pytest.importorskip("av")
    with av.open(str(require_asset(f"videos/{clip}"))) as container:
        for i, frame in enumerate(container.decode(video=0)):
            if i in (0, 60):
                yield frame
            if i == 60:
                return


@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize("pix_fmt", FORMATS)
def test_real_frames_look_as_converted_and_resized(clip: str, pix_fmt: str) -> None:
    """Against another implementation, with its own chroma upsampling: swscale to RGB, then OpenCV's resize."""
    dst_hw = (256, 416)
    for frame in frames_of(clip):
        source = frame.reformat(format=pix_fmt)
        # swscale turns nv12 darker, by about a level, than the very same samples as yuv420p: ask it for the latter.
        rgb = (frame if pix_fmt == "nv12" else source).to_ndarray(format="rgb24")
        matrix = "bt709" if frame.colorspace == 1 else "bt601"  # AVCOL_SPC_BT709; swscale takes the rest for BT.601
        letterbox = Letterbox((frame.width, frame.height), dst_hw, pix_fmt, matrix=matrix)
        out = np.empty((3, *dst_hw), np.float32)
        letterbox.apply(planes_of(source), out)
        (x, y), (rw, rh) = letterbox.pad_xy, letterbox.resized_wh
        expected = cv2.resize(rgb, (rw, rh), interpolation=cv2.INTER_LINEAR).transpose(2, 0, 1)
        error = np.abs(out[:, y : y + rh, x : x + rw] - expected).mean()
        assert error < 2.0


@pytest.mark.parametrize("matrix", MATRICES)
@pytest.mark.parametrize("full_range", [False, True])
def test_real_frames_in_every_matrix_and_range(matrix: str, full_range: bool) -> None:
    """swscale told to read the same samples in each matrix and range."""
    reformatter = pytest.importorskip("av.video.reformatter")
    spaces = {"bt601": "ITU601", "bt709": "ITU709", "bt2020": None}
    space = spaces[matrix]
    source_space = reformatter.Colorspace[space] if space else 9  # AVCOL_SPC_BT2020_NCL
    colour_range = reformatter.ColorRange.JPEG if full_range else reformatter.ColorRange.MPEG
    for frame in frames_of("people.mp4"):
        w, h = frame.width, frame.height
        rgb = frame.reformat(format="rgb24", src_colorspace=source_space, src_color_range=colour_range).to_ndarray()
        out = run(planes_of(frame), (w, h), (h, w), "yuv420p", matrix=matrix, full_range=full_range)
        assert np.abs(out - rgb.transpose(2, 0, 1)).mean() < 2.0


def test_every_format_has_a_case() -> None:
    assert set(FORMATS) == set(kernel.PLANES)
    assert set(MATRICES) == set(kernel.LUMA_WEIGHTS)


@pytest.mark.parametrize("width", [2, 15, 16, 17, 100, 127, 128, 129, 130, 192, 256, 854])
@pytest.mark.parametrize("dst_w", [1, 16, 31, 32, 416])
def test_nothing_is_read_behind_the_last_row(width: int, dst_w: int) -> None:
    """The plane ends where the memory does: one byte further is a page that can't be read."""
    page = mmap.PAGESIZE
    memory = mmap.mmap(-1, 2 * page)
    libc = ctypes.CDLL(None, use_errno=True)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    assert libc.mprotect(ctypes.c_void_p(start + page), page, 0) == 0
    try:
        plane = np.frombuffer(memory, np.uint8, 3 * width, page - 3 * width).reshape(3, width)
        plane[:] = np.arange(width) % 251
        run([plane], (width, 3), (4, dst_w), "gray")
    finally:
        libc.mprotect(ctypes.c_void_p(start + page), page, mmap.PROT_READ | mmap.PROT_WRITE)
