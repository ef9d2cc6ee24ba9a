"""The engine's CUDA kernels compared with their CPU twins: planes to a tensor, and the raw output to candidates.

On the GPU, a frame's planes are copied to it and letterboxed there, with nothing else running; in the engine this
overlaps with inference. The letterbox must give the CPU's bits; the heads the CPU's anchors, classes and scores, and
its boxes within EXP_TOLERANCE (CUDA's exp is not the C library's).
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.clips import in_words
from benchmarks.gpu.setting import CONF, Setting
from benchmarks.limit import tensors_of
from benchmarks.record import Row, checked
from benchmarks.rounds import Repeated, alternate_short
from engine import Engine
from engine.errors import BackendMissing
from engine.media.planes import colour_of, planes_of
from engine_ext.letterbox import Letterbox

EXP_TOLERANCE = 1e-6
CAPACITY = 1024
IMAGES = 16
CPU, CARD = "one core", "the card"

Array = NDArray[Any]


def measure(setting: Setting) -> Iterator[Row]:
    with ExitStack() as stack:
        engine = stack.enter_context(Engine(setting.config("onnxruntime").updated(device="cpu")))
        card = opened(setting.device, stack) if setting.on_gpu else None
        yield letterbox_row(setting, engine, card)
        yield heads_row(setting, engine, card)


def opened(device: str, stack: ExitStack) -> "Card | None":
    """Return None, with a message on standard error, if the kernels can't be compiled or PyCUDA is missing."""
    try:
        return stack.enter_context(Card(device))
    except BackendMissing as error:
        print(f"  left out: the card: {error}", file=sys.stderr)
        return None


class Card:
    """The kernels on a GPU, and memory for calling them."""

    def __init__(self, device: str) -> None:
        self._number = int(device.partition(":")[2] or 0)
        self._stack = ExitStack()

    def __enter__(self) -> "Card":
        from engine.inference.gpu.context import CudaContext
        from engine.inference.gpu.kernels import load_kernels
        from engine.inference.gpu.memory import Buffers

        with ExitStack() as stack:  # close what was opened if the rest can't be
            context = CudaContext(self._number)
            stack.callback(context.close)
            self.driver = stack.enter_context(context.current())
            self.buffers = Buffers(self.driver)
            stack.callback(self.buffers.free)
            self.kernels = load_kernels(self.driver, context.capability)
            stack.callback(self.kernels.close)
            self.stream = self.driver.Stream()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def pinned(self, array: Array) -> tuple[Array, int]:
        """Return a page-locked copy, and GPU memory for it."""
        host = self.buffers.pinned(array.nbytes)[: array.nbytes]
        host[:] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        return host, self.buffers.device(array.nbytes)

    def fetched(self, address: int, like: Array) -> Array:
        found = np.empty_like(like)
        self.stream.synchronize()
        self.driver.memcpy_dtoh(found, address)
        return found


def letterbox_row(setting: Setting, engine: Engine, card: Card | None) -> Row:
    import av

    with av.open(str(setting.video)) as container:
        image = next(container.decode(video=0))
    spec, size_wh = engine.model.manifest.input, (image.width, image.height)
    dst_hw = engine.model.shape(size_wh)
    (matrix, full_range), pix_fmt = colour_of(image), image.format.name
    options: dict[str, Any] = {
        "matrix": matrix,
        "full_range": full_range,
        "channel_order": spec.channel_order,
        "scale": spec.scale,
        "mean": spec.mean,
        "pad_value": spec.pad_value,
        "pad": spec.pad,
        "rounding": spec.rounding,
    }
    letterbox, planes = Letterbox(size_wh, dst_hw, pix_fmt, **options), planes_of(image)
    expected = np.empty((3, *dst_hw), np.float32)
    work = {CPU: Repeated(letterbox.apply, planes, expected)}
    wrong = 0
    if card is not None:
        launch, out = on_card(card, planes, size_wh, dst_hw, pix_fmt, options)
        launch()
        wrong = int(np.count_nonzero(card.fetched(out, expected).view(np.uint32) != expected.view(np.uint32)))
        work[CARD] = Repeated(launch)
    return setting.context.row(
        "preprocess",
        f"{size_wh[0]}x{size_wh[1]} {pix_fmt} to {dst_hw[1]}x{dst_hw[0]}",
        figures=alternate_short(work, rounds=setting.context.profile.rounds, scale=1e6),
        unit="us a frame",
        better="lower",
        ours=CARD if card is not None else CPU,
        input=in_words(setting.video),
        answer=checked(wrong == 0, "the CPU's tensor", f"{wrong} numbers of other bits", differing_numbers=wrong),
        **setting.told(),
    )


def on_card(
    card: Card,
    planes: list[Array],
    size_wh: tuple[int, int],
    dst_hw: tuple[int, int],
    pix_fmt: str,
    options: dict[str, Any],
) -> tuple[Callable[[], None], int]:
    """Return what copies a frame and letterboxes it, then waits; and where its tensor is."""
    from engine.inference.letterbox import LetterboxSpec

    options = {**options, "scale": plain(options["scale"]), "mean": plain(options["mean"])}
    kernel = card.kernels.letterbox(LetterboxSpec(size_wh, dst_hw, pix_fmt, "float32", **options))
    copies = [card.pinned(plane) for plane in planes]
    pitches = [plane.shape[1] for plane in planes]
    out = card.buffers.device(4 * 3 * dst_hw[0] * dst_hw[1])

    def launch() -> None:
        for host, address in copies:
            card.driver.memcpy_htod_async(address, host, card.stream)
        kernel.launch([address for _, address in copies], pitches, out, card.stream)
        card.stream.synchronize()

    return launch, out


def plain(value: Any) -> Any:
    """Return a number, or a tuple of them."""
    return tuple(float(each) for each in value) if np.ndim(value) else float(value)


def heads_row(setting: Setting, engine: Engine, card: Card | None) -> Row:
    tensors = tensors_of(engine, setting.video, IMAGES)
    input_hw: tuple[int, int] = tensors[0].shape[2:]
    outputs = [np.ascontiguousarray(engine.model.backend.run(tensor)[0]) for tensor in tensors]
    layout = engine.model.layout
    expected = [layout.decode(output, input_hw, CONF, None) for output in outputs]
    fullest = max(range(len(outputs)), key=lambda i: len(expected[i][1]))
    work = {CPU: Repeated(layout.decode, outputs[fullest], input_hw, CONF, None)}
    error = 0.0
    if card is not None:
        for output, wanted in [*zip(outputs, expected, strict=True), (outputs[fullest], expected[fullest])]:
            launch, read = filter_on_card(card, layout.name, output, input_hw)
            launch()
            error = max(error, difference(read(), wanted))
        work[CARD] = Repeated(launch)
    return setting.context.row(
        "heads",
        f"{layout.name} {'x'.join(map(str, outputs[0].shape))}",
        figures=alternate_short(work, rounds=setting.context.profile.rounds, scale=1e6),
        unit="us an image",
        better="lower",
        ours=CARD if card is not None else CPU,
        input=f"the raw output of {engine.model.manifest.name}",
        answer=checked(
            error <= EXP_TOLERANCE,
            "the CPU's candidates",
            f"the same anchors, classes and scores in {len(outputs)} images",
            candidates=len(expected[fullest][1]),
            box_difference=error,
        ),
        **setting.told(),
    )


def filter_on_card(
    card: Card, layout: str, output: Array, input_hw: tuple[int, int]
) -> tuple[Callable[[], None], Callable[[], Any]]:
    """Return what filters an output that is on the card and copies the candidates back; and what reads them."""
    from engine.inference.gpu.heads_job import decoded
    from engine.inference.gpu.protocol import CANDIDATE, HeadSpec

    shape: Any = output.shape
    spec = HeadSpec(layout, str(output.dtype), shape, input_hw, CONF, None, CAPACITY)
    kernel = card.kernels.head_filter(spec)
    host, address = card.pinned(output)
    card.driver.memcpy_htod(address, host)
    counts, on_counts = card.pinned(np.zeros(1, np.int32))
    candidates, on_candidates = card.pinned(np.zeros(CAPACITY, CANDIDATE))

    def launch() -> None:
        kernel.launch(address, 1, on_counts, on_candidates, card.stream)
        card.driver.memcpy_dtoh_async(counts, on_counts, card.stream)
        card.driver.memcpy_dtoh_async(candidates, on_candidates, card.stream)
        card.stream.synchronize()

    return launch, lambda: decoded(int(counts.view(np.int32)[0]), candidates.view(CANDIDATE))


def difference(found: Any, expected: Any) -> float:
    """Return the largest difference of the boxes, relative to each box's largest number; infinite if anything else
    differs."""
    if found is None or any(found[i].tobytes() != expected[i].tobytes() for i in (1, 2)):
        return float("inf")
    if not len(expected[1]):
        return 0.0
    sizes = expected[0][:, 2:] - expected[0][:, :2]
    largest = np.abs(np.concatenate([expected[0], sizes], axis=1)).max(axis=1, keepdims=True)
    return float((np.abs(found[0] - expected[0]) / np.maximum(largest, 1e-9)).max())
