"""How frames are fed to a model: the letterbox's arguments, defined once for the CPU's and the GPU's kernel."""

from __future__ import annotations

from typing import Any, NamedTuple

import av
from numpy.typing import NDArray

from engine.media.planes import colour_of, planes_of
from engine_ext.letterbox import Letterbox
from models.manifest import InputSpec

_KEPT = 64


class LetterboxSpec(NamedTuple):
    """The arguments of engine_ext.letterbox.Letterbox, with the same names, and the tensor's dtype."""

    src_wh: tuple[int, int]
    dst_hw: tuple[int, int]
    pix_fmt: str
    dtype: str
    matrix: str = "bt601"
    full_range: bool = False
    channel_order: str = "rgb"
    scale: float | tuple[float, ...] = 1.0
    mean: float | tuple[float, ...] = 0.0
    pad_value: float = 114.0
    pad: str = "center"
    rounding: str = "nearest"

    @classmethod
    def of(cls, image: av.VideoFrame, tensor_hw: tuple[int, int], model: InputSpec, dtype: str) -> LetterboxSpec:
        """Return the spec that turns `image` into an input (3, *tensor_hw) of `model`."""
        matrix, full_range = colour_of(image)
        return cls(
            (image.width, image.height),
            tensor_hw,
            image.format.name,
            dtype,
            matrix,
            full_range,
            model.channel_order,
            model.scale,
            model.mean,
            model.pad_value,
            model.pad,
            model.rounding,
        )

    def make(self) -> Letterbox:
        """Create the CPU's letterbox. Raises ValueError for invalid arguments."""
        return Letterbox(
            self.src_wh,
            self.dst_hw,
            self.pix_fmt,
            matrix=self.matrix,
            full_range=self.full_range,
            channel_order=self.channel_order,
            scale=self.scale,
            mean=self.mean,
            pad_value=self.pad_value,
            pad=self.pad,
            rounding=self.rounding,
        )


class Letterboxes:
    """The letterboxes for a model's frames, created when a kind of frame is first seen. Thread-safe."""

    def __init__(self, model: InputSpec, dtype: str) -> None:
        self._model = model
        self._dtype = dtype
        # Keyed by the properties that distinguish kinds of frames: building a LetterboxSpec takes longer than a lookup.
        self._made: dict[tuple[object, ...], tuple[LetterboxSpec, Letterbox]] = {}

    def __len__(self) -> int:
        return len(self._made)

    def of(self, image: av.VideoFrame, tensor_hw: tuple[int, int]) -> tuple[LetterboxSpec, Letterbox]:
        """Return the spec and the letterbox for `image`. Raises ValueError if it can't be letterboxed."""
        kind = (image.width, image.height, image.format.name, tensor_hw, *colour_of(image))
        found = self._made.get(kind)
        if found is None:
            if len(self._made) >= _KEPT:
                self._made.clear()
            spec = LetterboxSpec.of(image, tensor_hw, self._model, self._dtype)
            found = self._made[kind] = spec, spec.make()
        return found

    def fill(self, image: av.VideoFrame, out: NDArray[Any]) -> Letterbox:
        """Write `image` into one slot of a batch, (3, H, W), and return its letterbox. Raises ValueError."""
        _, letterbox = self.of(image, (out.shape[1], out.shape[2]))
        letterbox.apply(planes_of(image), out)
        return letterbox
