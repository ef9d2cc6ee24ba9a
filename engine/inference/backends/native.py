"""Our own executor of convolutional networks, in float32 on AVX-512 or AVX2, in bfloat16 on AMX or AVX-512
BF16. See engine/inference/native.

Activations, sums and concatenations are fused into the writes of convolutions, so that YOLOX-nano takes 0.7 times as
long as in ONNX Runtime. What follows the last convolutions, such as the decoders of YOLOv5 and YOLOv8, is computed with
NumPy. A model with an unknown operator is refused, with the reason.

Two things differ from ONNX Runtime. Results of non-finite numbers, in an image or a model, may differ: silu(-inf) and 0
* NaN, for instance. And a network is planned for one image: a model that computes with its batch size is refused if the
graph shows it, and otherwise runs as with a batch of 1.
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from engine.choices.precision import Precision
from engine.errors import BackendError, BackendMissing, ModelError
from engine.inference.backends.base import CpuModel
from engine.inference.native.end import EndedGraph, EndedNet
from engine.inference.native.graph import graph_of, read_graph
from engine.inference.native.ops import Unsupported
from engine.inference.native.pack import WeightStore
from engine.inference.native.plan import plan
from engine.text.printable import printable
from engine_ext.convnet import ConvNet, aligned, bf16_instruction_sets, instruction_sets
from models.errors import ModelError as ModelPackageError

log = logging.getLogger(__name__)


def on_cpu(model: CpuModel) -> NativeBackend:
    """Create the backend. Raises BackendMissing and ModelError."""
    return NativeBackend(model.path, model.size, model=model.name, batch_safe=model.batch_safe)


class NativeBackend:
    """A model as tables of steps, one per size. Satisfies engine.inference.backends.base.Backend.

    A batch is computed image by image, so that its size can't change a result.
    """

    name = "native"
    on_gpu = False
    input_dtype = "float32"

    def __init__(
        self,
        path: Path | onnx.ModelProto,
        size: tuple[int, int],
        *,
        model: str = "",
        instruction_set: str | None = None,
        batch_safe: bool = True,
        precision: Precision = "f32",
    ) -> None:
        """`size` is the height and width to plan first; others are planned on demand.

        path             the ONNX file, or its content
        model            as named by the user, for messages: the file may be in a cache
        instruction_set  one of engine_ext.convnet's for that precision; None selects the best
        batch_safe       whether the model is known to compute the images of a batch independently
        precision        f32, or bf16 if the processor supports it: for convolutions except depthwise ones, and the
                         few whose kernel is too large
        Raises BackendMissing if the processor or the model is unsuitable, ModelError if the file is not a model.
        """
        if not instruction_sets():
            raise BackendMissing(
                "--backend native needs a processor with AVX2 and FMA, which this processor does not have. "
                "Repair: --backend onnxruntime"
            )
        bf16 = precision == "bf16"
        sets = bf16_instruction_sets() if bf16 else instruction_sets()
        if not sets:
            raise BackendMissing(
                f"{model or path} can't be run by --backend native in bf16: the processor or this build has no AVX-512 "
                "BF16. Repair: --backend auto"
            )
        if instruction_set not in (None, *sets):
            raise BackendMissing(f"this processor has no {instruction_set}, only {', '.join(sets)}")
        self.instruction_set = instruction_set or sets[0]
        self.provider = f"{self.instruction_set.removesuffix(' BF16')} bf16" if bf16 else self.instruction_set
        self.batch_safe = batch_safe
        try:
            self._graph = read_graph(path) if isinstance(path, Path) else graph_of(path)
            height, width = self._graph.dims[2:]
            self.fixed_hw = (height, width) if height is not None and width is not None else None
            self._store = WeightStore()
            self._ended: EndedGraph | None = None
            self._plans: dict[tuple[int, int], ConvNet | EndedNet] = {}
            self._planning = threading.Lock()
            self._workspaces: list[NDArray[np.float32]] = []  # as many as there were concurrent calls
            self._closed = False
            self._plan(*(self.fixed_hw or size))
        except ModelPackageError as error:
            raise ModelError(str(error)) from error
        except Unsupported as error:
            raise BackendMissing(
                f"{model or path} can't be run by --backend native: {printable(str(error))}. "
                "Repair: --backend onnxruntime, or auto"
            ) from error

    def run(self, tensor: NDArray[Any]) -> NDArray[Any]:
        if self._closed:
            raise BackendError("the engine is closed: its model was freed")
        channels = self._graph.dims[1]
        if tensor.ndim != 4 or tensor.shape[1] != channels or tensor.dtype != np.float32:
            raise BackendError(
                f"the native backend failed on a {tensor.shape} {tensor.dtype} tensor: "
                f"it takes (N, {channels}, H, W) float32"
            )
        height, width = tensor.shape[2:]
        given = f"{tensor.shape} {tensor.dtype}"
        try:
            network = self._plans.get((height, width)) or self._plan(height, width)
            pictures = np.ascontiguousarray(tensor)
            output = np.empty((len(tensor), *network.output_shape), np.float32)
            workspace = self._workspace(network.workspace_size)
        except (Unsupported, MemoryError) as error:
            raise BackendError(f"the native backend failed on a {given} tensor: {printable(str(error))}") from error
        for picture, rows in zip(pictures, output, strict=True):
            network.run(picture, rows, workspace)
        self._workspaces.append(workspace)
        return output

    def close(self) -> None:
        self._closed = True
        self._plans.clear()
        self._workspaces.clear()
        self._store = WeightStore()

    def _plan(self, height: int, width: int) -> ConvNet | EndedNet:
        for found, fixed in zip((height, width), self._graph.dims[2:], strict=True):
            if fixed not in (None, found):
                raise Unsupported(f"the model takes {fixed} rows or columns here, not {found}")
        with self._planning:
            if (height, width) not in self._plans:
                self._plans[height, width] = self._planned(height, width)
            return self._plans[height, width]

    def _planned(self, height: int, width: int) -> ConvNet | EndedNet:
        if self._ended is not None:
            return self._ended.plan(height, width, self._store, self.instruction_set)
        try:
            return plan(self._graph, height, width, self._store, self.instruction_set)
        except Unsupported as error:
            try:
                ended = EndedGraph(self._graph, alone=not self.batch_safe)
                found = ended.plan(height, width, self._store, self.instruction_set)
                self._ended = ended
                return found
            except Unsupported as again:
                log.debug("its end can't be computed apart: %s", again)
                raise error from again

    def _workspace(self, size: int) -> NDArray[np.float32]:
        """Return an unused workspace that is large enough. `run` returns it to the pool."""
        try:
            workspace = self._workspaces.pop()
        except IndexError:
            return aligned(size)
        return workspace if workspace.size >= size else aligned(size)
