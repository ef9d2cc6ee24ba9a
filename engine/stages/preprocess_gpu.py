"""Preprocess for a GPU that letterboxes itself: check the planes of decoded frames and pass them on unchanged."""

from __future__ import annotations

from engine.inference.gpu.frames import FramePlanes, PlaneBatch, frame_planes
from engine.inference.letterbox import Letterboxes
from engine.media.planes import planes_of
from engine.records import FrameBatch, TensorBatch
from engine.stages.preprocess import image_of, unreadable
from engine_ext.letterbox import Letterbox
from models.manifest import InputSpec


class PreprocessOnGpu:
    """FrameBatch -> TensorBatch whose tensor is made on the GPU: the frames' planes, checked and unchanged."""

    def __init__(self, spec: InputSpec, dtype: str) -> None:
        self._letterboxes = Letterboxes(spec, dtype)

    def process(self, batch: FrameBatch) -> TensorBatch[PlaneBatch]:
        """Raise DecodeError if a frame can't be read."""
        letterboxes: list[Letterbox] = []
        planes: list[FramePlanes] = []
        try:
            for frame in batch.frames:
                image = image_of(frame)
                spec, letterbox = self._letterboxes.of(image, batch.tensor_hw)
                planes.append(frame_planes(spec, planes_of(image)))
                letterboxes.append(letterbox)
        except ValueError as error:
            raise unreadable(error) from error
        return TensorBatch(batch.frames, PlaneBatch(planes, batch.tensor_hw), letterboxes)
