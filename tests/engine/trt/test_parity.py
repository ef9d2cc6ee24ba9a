"""A plan against the CPU, with runners that are right and runners that are wrong in the ways that real ones were."""

import numpy as np
import onnxruntime
import pytest

from engine.errors import PlanError
from engine.inference.trt.parity import MAX_ERROR, MAX_USUAL, SLOTS, check_parity, differences, row_differences
from engine.inference.trt.prepare import prepare
from engine.inference.trt.profile import make_profile
from models.dynamic_axes import freed_model
from models.manifest import InputSpec, ModelManifest
from models.reshape import free_shape
from models.resolution import resolve
from tests.assets import require_asset
from tests.models import builders


def manifest(layout="yolov8"):
    spec = InputSpec(height=64, width=64, scale=1 / 255)
    return ModelManifest("m", "", "", 0, "", "", spec, layout, (8, 16, 32), ("a", "b"))


REFERENCE = free_shape(builders.yolov8()).SerializeToString()
PROFILE = make_profile("rect", (64, 64), 32, (1, 4, 8))


class FakeRunner:
    """ONNX Runtime's own answer, spoilt by `spoil(answers)`."""

    def __init__(self, spoil=lambda answers: answers, dtype="float32", model=REFERENCE):
        self.input_dtype = dtype
        self.shapes = []
        self._spoil = spoil
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def run(self, tensor):
        assert tensor.dtype == self.input_dtype
        self.shapes.append(tensor.shape)
        entry = self._session.get_inputs()[0]
        given = tensor if entry.type == "tensor(float16)" else tensor.astype(np.float32)
        return self._spoil(self._session.run(None, {entry.name: given})[0].copy())


def test_the_same_is_the_same():
    runner = FakeRunner()
    parity = check_parity(runner, REFERENCE, PROFILE, "fp32", manifest())
    assert set(runner.shapes) == {(1, 3, 32, 32), (4, 3, 64, 64), (8, 3, 64, 64)}
    assert parity.worst < 1e-5
    assert parity.slots == 0.0
    assert parity.shapes == ((1, 3, 32, 32), (4, 3, 64, 64), (8, 3, 64, 64))


def test_halves_go_in_as_halves():
    parity = check_parity(FakeRunner(dtype="float16"), REFERENCE, PROFILE, "fp16", manifest())
    assert 0 < parity.worst < 2e-3


@pytest.mark.parametrize("shape", ["square", "96x416"])
def test_the_conversion_alone_is_well_within_the_tolerance(own_cache, shape):
    """YOLOX-nano in halves, run on the CPU: what a card answers at best. Half of the tolerance is left to the card."""
    resolved = resolve(require_asset("models/yolox_nano.onnx"))
    made = prepare(freed_model(resolved).path, resolved.manifest.input, "fp16")
    profile = make_profile(shape, (416, 416), 32, (1, 1, 1))
    runner = FakeRunner(dtype="float16", model=made.model.SerializeToString())
    parity = check_parity(runner, made.reference.SerializeToString(), profile, "fp16", resolved.manifest)
    assert 0 < parity.worst < MAX_ERROR["fp16"] / 2
    assert 0 < parity.most < MAX_USUAL["fp16"] / 2


def fades(answers):
    """Objects vanish as the batch grows."""
    answers[:, 4:] *= 1 / len(answers)
    return answers


def one_slot(answers):
    answers[-1, 4:] += 0.01 * (len(answers) > 1)
    return answers


def second_slot_is_first_of_another(answers):
    return np.roll(answers, 1, axis=2) if len(answers) > 1 else answers


def shifted(answers):
    answers[:, 0] += 2.0
    return answers


def not_a_number(answers):
    answers[-1, 0, 0] = np.nan
    return answers


def cut(answers):
    return answers[:, :, :-1]


def unbatched(answers):
    return answers[:1]


@pytest.mark.parametrize(
    ("spoil", "part"),
    [
        (fades, "differently from ONNX Runtime on the CPU in slot 0 at 4x3x64x64"),
        (one_slot, "differently in slot 3 than in slot 0 at 4x3x64x64, for the same image: by 0.01"),
        (second_slot_is_first_of_another, "differently from ONNX Runtime on the CPU"),
        (shifted, "differently from ONNX Runtime on the CPU in slot 0 at 1x3x32x32"),
        (not_a_number, "by inf"),
        (cut, "the plan answers (1, 6, 20)"),
        (unbatched, "the plan answers (1, 6, 84) at 4x3x64x64, where (6, 84) a slot was expected"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_wrong_runners(spoil, part):
    with pytest.raises(PlanError) as caught:
        check_parity(FakeRunner(spoil), REFERENCE, PROFILE, "fp32", manifest())
    assert part in str(caught.value)
    if "differently" in part:
        assert "It was not kept." in str(caught.value)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16", "int8"])
def test_tolerance_of_each_precision(precision):
    """A little less passes, a little more does not: of all numbers, and of one."""
    for limit, spread in ((MAX_USUAL[precision], slice(None)), (MAX_ERROR[precision], slice(0, 1))):

        def add(factor, limit=limit, spread=spread):
            def spoil(answers):
                answers[:, 4:, spread] += factor * limit
                return answers

            return spoil

        profile = make_profile("square", (256, 256), 32, (1, 1, 1))
        check_parity(FakeRunner(add(0.9)), REFERENCE, profile, precision, manifest())
        with pytest.raises(PlanError):
            check_parity(FakeRunner(add(1.1)), REFERENCE, profile, precision, manifest())


def test_scores_are_compared_as_they_are_and_boxes_as_parts():
    one = np.zeros((1, 6, 100), np.float32)
    one[0, 0] = np.linspace(0, 640, 100)
    two = one.copy()
    two[0, 0, 3] += 6.4
    two[0, 4, 7] += 0.01
    off = differences(one, two)
    assert (off[0, 0, 3], off[0, 4, 7]) == (pytest.approx(0.01), pytest.approx(0.01))
    assert SLOTS < off.max() < 0.02
    assert np.count_nonzero(off) == 2


def rows(*boxes):
    return np.array([[[*box[:4], *box[4:]] for box in boxes]], np.float32)


A, B, FAINT = (10, 10, 50, 50, 0.9, 0), (60, 60, 90, 90, 0.89, 1), (5, 5, 9, 9, 0.01, 1)


@pytest.mark.parametrize(
    ("one", "two", "off"),
    [
        (rows(A, B), rows(A, B), 0.0),
        (rows(A, B), rows(B, A), 0.0),  # another order
        (rows(A, FAINT), rows(A, (*B[:4], 0.01, 0)), 0.0),  # too faint to matter
        (rows(A, B), rows(A, A), np.inf),  # one is lost
        (rows(A), rows((*A[:5], 1)), np.inf),  # another class
        (rows(A), rows((10, 10, 50, 51, 0.9, 0)), 0.02),
        (rows(A), rows((10, 10, np.nan, 51, 0.9, 0)), np.inf),
    ],
)
def test_end2end_rows(one, two, off):
    assert row_differences(one, two).max(initial=0.0) == pytest.approx(off, abs=1e-3)
