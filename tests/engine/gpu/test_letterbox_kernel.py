"""letterbox.cu, on the CPU and on a card: the bits of engine_ext.letterbox, the float64 twin, the known colours."""

import numpy as np
import pytest

from engine.inference.gpu.letterbox_job import BLOCK, JOB, LetterboxPlan
from engine.inference.letterbox import LetterboxSpec
from engine_ext.letterbox import Letterbox
from tests.engine.gpu.machines import MACHINES, opened
from tests.engine_ext.test_letterbox import FORMATS, OPTIONS, SCALINGS, SIZES, plane_sizes, random_planes
from tests.reference import letterbox as reference
from tests.reference.letterbox_table import COLOURS, TOLERANCE_LEVELS

DTYPES = ["float32", "float16", "uint8"]


@pytest.fixture(scope="module", params=MACHINES)
def machine(request):
    with opened(request.param) as found:
        yield found


def launch(machine, planes, src_wh, dst_hw, pix_fmt, dtype="float32", **options):
    """One frame into the middle slot of a batch whose other slots must stay as they are."""
    options = {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in options.items()}
    kernel = machine.kernels.letterbox(LetterboxSpec(src_wh, dst_hw, pix_fmt, dtype, **options))
    batch = np.full((3, 3, *dst_hw), 77, dtype)
    address = machine.put(batch)
    addresses, pitches = [machine.put(plane) for plane in planes], [plane.shape[1] for plane in planes]
    kernel.launch(addresses, pitches, address + batch[0].nbytes, machine.stream)
    found = machine.get(address, batch)
    machine.clear()
    assert (found[[0, 2]] == 77).all()
    return found[1]


def on_cpu(planes, src_wh, dst_hw, pix_fmt, dtype="float32", **options):
    out = np.empty((3, *dst_hw), dtype)
    Letterbox(src_wh, dst_hw, pix_fmt, **options).apply(planes, out)
    return out


@pytest.mark.parametrize("pix_fmt", FORMATS)
@pytest.mark.parametrize(("src_wh", "dst_hw", "remark"), SIZES)
def test_the_bits_of_the_cpu_at_every_size(machine, src_wh, dst_hw, remark, pix_fmt):
    planes = random_planes(pix_fmt, *src_wh)
    for dtype in DTYPES:
        found = launch(machine, planes, src_wh, dst_hw, pix_fmt, dtype)
        assert found.tobytes() == on_cpu(planes, src_wh, dst_hw, pix_fmt, dtype).tobytes(), (remark, dtype)


@pytest.mark.parametrize("pix_fmt", FORMATS)
@pytest.mark.parametrize(("options", "remark"), [*OPTIONS, *SCALINGS, ({"scale": 1e-6}, "subnormal halves")])
def test_the_bits_of_the_cpu_with_every_option(machine, options, remark, pix_fmt):
    src_wh, dst_hw = (75, 40), (30, 34)
    planes = random_planes(pix_fmt, *src_wh)
    plain = "scale" not in options and "mean" not in options
    for dtype in DTYPES if plain else DTYPES[:2]:
        found = launch(machine, planes, src_wh, dst_hw, pix_fmt, dtype, **options)
        assert found.tobytes() == on_cpu(planes, src_wh, dst_hw, pix_fmt, dtype, **options).tobytes(), (remark, dtype)


@pytest.mark.parametrize("pix_fmt", FORMATS)
def test_the_twin(machine, pix_fmt):
    planes = random_planes(pix_fmt, 130, 70)
    found = launch(machine, planes, (130, 70), (64, 96), pix_fmt)
    assert np.abs(found - reference.letterbox(planes, (130, 70), (64, 96), pix_fmt)).max() < 0.1


@pytest.mark.parametrize("colour", COLOURS, ids=lambda colour: f"{colour.name}-{colour.matrix}-{colour.full_range}")
def test_known_colours(machine, colour):
    planes = [
        np.full(size, value, np.uint8) for size, value in zip(plane_sizes("yuv420p", 6, 4), colour.yuv, strict=True)
    ]
    options = {"matrix": colour.matrix, "full_range": colour.full_range, "pad": "topleft"}
    found = launch(machine, planes, (6, 4), (9, 13), "yuv420p", **options)[:, :8, :]
    for channel, expected in zip(found, colour.rgb, strict=True):
        assert np.abs(channel - expected).max() < TOLERANCE_LEVELS, colour.remark


@pytest.mark.parametrize("pix_fmt", FORMATS)
def test_pitches_are_as_given(machine, pix_fmt):
    """Rows further apart, as decoders lay them; what lies between them changes nothing."""
    planes = random_planes(pix_fmt, 45, 30)
    wide = [np.pad(plane, ((0, 0), (0, 19)), constant_values=9) for plane in planes]
    expected = launch(machine, planes, (45, 30), (24, 24), pix_fmt)
    np.testing.assert_array_equal(launch(machine, wide, (45, 30), (24, 24), pix_fmt), expected)


def test_a_real_size(machine):
    """Full HD into the rectangle that the engine gives it."""
    planes = random_planes("nv12", 1920, 1080)
    options = {"matrix": "bt709", "scale": 1 / 255}
    found = launch(machine, planes, (1920, 1080), (256, 416), "nv12", "float16", **options)
    assert found.tobytes() == on_cpu(planes, (1920, 1080), (256, 416), "nv12", "float16", **options).tobytes()


def test_the_plan():
    plan = LetterboxPlan(LetterboxSpec((1920, 1080), (256, 416), "yuv420p", "float16"))
    assert (plan.kernel, plan.planes, plan.grid) == ("letterbox_float16", 3, (13, 32))
    assert (plan.letterbox.resized_wh, plan.letterbox.pad_xy) == ((416, 234), (0, 11))
    assert plan.grid[0] * BLOCK[0] >= 416
    assert len(plan.tables) == 2 * (416 + 234) * 6
    assert len(plan.job(0, [0] * 3, [0] * 3, 0)) == JOB.itemsize == 240


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dtype": "float64"}, "dtype must be float32, float16 or uint8. Got 'float64'."),
        ({"dtype": "uint8", "scale": 2.0}, "dtype may be uint8 only with scale 1 and mean 0"),
        ({"dtype": "float16", "scale": 300.0}, "dtype may be float16 only for values up to 65504. Got up to 76500."),
        ({"pix_fmt": "yuv422p"}, "pix_fmt must be one of"),
        ({"scale": 0.0}, "scale must not be 0"),
        ({"src_wh": (0, 4)}, "src_wh must be two ints"),
    ],
)
def test_what_letterbox_would_not_take_is_refused(machine, change, message):
    arguments = {"src_wh": (8, 6), "dst_hw": (6, 8), "pix_fmt": "yuv420p", "dtype": "float32", **change}
    with pytest.raises(ValueError, match=message):
        machine.kernels.letterbox(LetterboxSpec(**arguments))


def test_a_wrong_number_of_planes_is_refused(machine):
    kernel = machine.kernels.letterbox(LetterboxSpec((8, 6), (6, 8), "nv12", "float32"))
    with pytest.raises(ValueError, match=r"planes and pitches must be 2 for nv12\. Got 3 and 2"):
        kernel.launch([0, 0, 0], [8, 8], 0, machine.stream)
