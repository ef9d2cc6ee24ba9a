"""Verify a graph whose outputs were joined by running it against its original, on the CPU."""

import numpy as np
import onnx
import onnxruntime

from models.errors import LayoutError
from models.parts import Parts
from models.verify_dynamic_axes import Array, Session, made_up_picture

_TOLERANCE = 1e-4  # of the largest value: an executor may order sums otherwise where more of a graph follows


def check_joined(original: onnx.ModelProto, joined: bytes, parts: Parts, input_hw: tuple[int, int]) -> None:
    """Run one made-up image through both. Raise LayoutError if the joined output does not hold, bit for bit or
    nearly, what the outputs hold, or where either can't be run."""
    before, after = _session(original.SerializeToString()), _session(joined)
    entry = next(each for each in before.get_inputs() if each.name == parts.picture)
    dtype = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(uint8)": "uint8"}.get(entry.type)
    if dtype is None:
        raise LayoutError(f"its input is {entry.type}; float32, float16 or uint8 are supported.")
    count = entry.shape[0] if isinstance(entry.shape[0], int) else 1
    picture = np.repeat(made_up_picture(1, *input_hw, 255.0 if dtype == "uint8" else 1.0, dtype), count, axis=0)
    fed = {parts.picture: picture}
    if parts.sizes is not None:
        sizes = next(each for each in before.get_inputs() if each.name == parts.sizes)
        kind = {"tensor(int64)": "int64", "tensor(int32)": "int32", "tensor(float)": "float32"}.get(sizes.type, "int64")
        fed[parts.sizes] = np.full((count, 2), input_hw[::-1]).astype(kind)
    expected = [np.asarray(each, np.float64) for each in _run(before, list(parts.outputs), fed)]
    got = np.asarray(_run(after, None, {parts.picture: picture})[0], np.float64)
    if got.ndim != 3:
        raise LayoutError(f"its outputs can't be joined as {parts.layout}: they become {got.shape}.")
    if parts.layout == "detr":
        wanted = np.concatenate([expected[1], expected[0]], axis=2)[..., : got.shape[2]]
    elif parts.layout == "detr-post":
        labels, boxes, scores = expected
        wanted = np.concatenate(
            [boxes.reshape(count, -1, 4), scores.reshape(count, -1, 1), labels.reshape(count, -1, 1)], axis=2
        )
    elif parts.layout == "nanodet":
        wanted = np.concatenate([np.concatenate(expected[kind::2], axis=1) for kind in (0, 1)], axis=2)
    else:
        wanted = np.concatenate([expected[0], expected[1].reshape(*expected[0].shape[:2], 1)], axis=2)
    if got.shape != wanted.shape:
        raise LayoutError(f"its outputs can't be joined as {parts.layout}: {got.shape} where {wanted.shape} is due.")
    scale = max(1e-6, float(np.abs(wanted[np.isfinite(wanted)]).max(initial=0.0)))
    same = (got == wanted) | (np.isnan(got) & np.isnan(wanted))
    worst = float(np.nan_to_num(np.abs(got - wanted)[~same], nan=np.inf).max(initial=0.0)) / scale
    if worst > _TOLERANCE:
        raise LayoutError(f"joined as {parts.layout} it answers differently, by {worst:.2g} of the largest value.")


def _session(model: bytes) -> Session:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4  # its errors come as exceptions, written as strangers' text
    try:
        session: Session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        return session
    except Exception as error:
        raise LayoutError(f"ONNX Runtime does not load the model: {error}.") from error


def _run(session: Session, outputs: list[str] | None, fed: dict[str, Array]) -> list[Array]:
    try:
        return session.run(outputs, fed)
    except Exception as error:
        raise LayoutError(f"ONNX Runtime does not run the model: {error}.") from error
