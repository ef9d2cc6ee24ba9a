"""A slot: all resources of one batch in flight, allocated once.

    host: pinned input or planes --upload stream--> device input or planes
    compute stream: letterbox (planes only), plan or its graph, filter of heads
    download stream: device output, or counts and candidates --> host: pinned

Each stream waits for the previous one through an event, so that the upload of one batch, the computation of another and
the download of a third overlap, both between lanes and between the two slots of a lane.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import BackendError
from engine.inference.gpu.context import OutOfMemory
from engine.inference.gpu.filters import Filters, KernelSet
from engine.inference.gpu.frames import FramePlanes, PlaneBatch
from engine.inference.gpu.graphs import GraphApi, GraphError
from engine.inference.gpu.heads_job import decoded
from engine.inference.gpu.memory import Buffers
from engine.inference.gpu.plan import LoadedPlan
from engine.inference.gpu.protocol import CANDIDATE, Event

log = logging.getLogger(__name__)

_HOT = 3  # number of uses of a shape before a graph is captured for it
_GRAPHS = 4  # maximum number of graphs, each with its own execution context

Shape = tuple[int, ...]


@dataclass
class Streams:
    """The three streams of a lane; PyCUDA's."""

    upload: Any
    compute: Any
    download: Any

    def free(self) -> None:
        self.upload = self.compute = self.download = None


@dataclass
class Graph:
    """A captured shape. Its execution context is never used for anything else, which would invalidate the graph."""

    context: Any
    executable: int


class Slot:
    """Buffers for the shape `most`, an execution context, and the events between streams.

    The CUDA context must be current for every call, and a slot is used by one thread at a time.
    """

    def __init__(self, driver: Any, plan: LoadedPlan, streams: Streams, most: Shape, graphs: GraphApi | None) -> None:
        """Allocate everything. Raises OutOfMemory after freeing what was allocated."""
        self._driver = driver
        self._plan = plan
        self._streams = streams
        self._api = graphs
        self._entry = plan.record.inputs[0]
        self._buffers = Buffers(driver)
        self._planes = Buffers(driver)
        self._planes_room = 0
        self._graphs: dict[Shape, Graph] = {}
        self._seen: Counter[Shape] = Counter()
        self._context: Any = None
        self._events: dict[str, Event] = {}
        try:
            self._context = plan.context()
            self._allocate(most)
            for name in "started uploaded begun computed fetching".split():
                self._events[name] = driver.Event()
            # The event that a thread waits for: blocking, so that it does not spin on a core that decoding could use.
            self._events["fetched"] = driver.Event(driver.event_flags.BLOCKING_SYNC)
        except BaseException:
            self.free()
            raise

    def _allocate(self, most: Shape) -> None:
        self._set_shape(self._context, most)
        record = self._plan.record
        input_bytes = math.prod(most) * np.dtype(self._entry.dtype).itemsize
        self._input = self._buffers.device(input_bytes)
        self._host_input = self._buffers.pinned(input_bytes)
        self._outputs: dict[str, int] = {}
        for output in record.outputs:
            nbytes = math.prod(self._output_shape(self._context, output.name)) * np.dtype(output.dtype).itemsize
            self._outputs[output.name] = self._buffers.device(nbytes)
            if output is record.outputs[0]:
                self._host_output = self._buffers.pinned(nbytes)
        self._most = most
        self._filter_room = 0

    # -- a batch, in the order of the data ------------------------------------------------------------------------

    def start(self, job: NDArray[Any] | PlaneBatch, kernels: KernelSet | None, filters: Filters | None) -> None:
        """Enqueue all work for a batch. `job` may be freed afterwards; `finish` returns the results."""
        streams, events = self._streams, self._events
        self._batch, self._filtered = len(job), False
        least = self._plan.record.profile.least[0]
        self._shape: Shape = (max(len(job), least), *job.shape[1:])
        if isinstance(job, PlaneBatch):
            targets = self._upload_planes(job)
        else:
            self._upload_tensor(job)
        streams.compute.wait_for_event(events["uploaded"])
        events["begun"].record(streams.compute)
        if isinstance(job, PlaneBatch):
            assert kernels is not None
            self._letterbox(job, targets, kernels)
        self._compute()
        output = self._plan.record.outputs[0]
        shape = self._output_shape(self._context, output.name)
        self._output_view = shape, np.dtype(output.dtype)
        if filters is not None and len(shape) == 3:
            self._filter(filters, shape)
        events["computed"].record(streams.compute)
        streams.download.wait_for_event(events["computed"])
        events["fetching"].record(streams.download)
        self._download()
        events["fetched"].record(streams.download)

    def _upload_tensor(self, tensor: NDArray[Any]) -> None:
        host = self._host_input[: math.prod(self._shape) * tensor.itemsize].view(tensor.dtype).reshape(self._shape)
        np.copyto(host[: len(tensor)], tensor)
        host[len(tensor) :] = 0
        self._events["started"].record(self._streams.upload)
        self._driver.memcpy_htod_async(self._input, host, self._streams.upload)
        self._events["uploaded"].record(self._streams.upload)

    def _upload_planes(self, batch: PlaneBatch) -> list[list[int]]:
        """Upload the planes, and return their device addresses per frame."""
        room = sum(sum(frame.sizes) for frame in batch.frames)
        if room > self._planes_room:
            self._planes.free()
            self._planes_room = 0
            self._device_planes, self._host_planes = self._planes.device(room), self._planes.pinned(room)
            self._planes_room = room
        at, addresses = 0, []
        for frame in batch.frames:
            frame.copy_to(self._host_planes[at:])
            addresses.append([self._device_planes + at + offset for offset in _offsets(frame)])
            at += sum(frame.sizes)
        self._events["started"].record(self._streams.upload)
        self._driver.memcpy_htod_async(self._device_planes, self._host_planes[:room], self._streams.upload)
        self._events["uploaded"].record(self._streams.upload)
        return addresses

    def _letterbox(self, batch: PlaneBatch, addresses: list[list[int]], kernels: KernelSet) -> None:
        image_bytes = math.prod(self._shape[1:]) * np.dtype(self._entry.dtype).itemsize
        for slot, (frame, planes) in enumerate(zip(batch.frames, addresses, strict=True)):
            kernel = kernels.letterbox(frame.spec)
            kernel.launch(planes, frame.pitches, self._input + slot * image_bytes, self._streams.compute)

    def _compute(self) -> None:
        """Run the plan, with a graph if this shape has one."""
        graph = self._graphs.get(self._shape)
        if graph is not None and self._api is not None:
            self._set_shape(self._context, self._shape)  # the output's shape is asked of it
            self._launch(graph)
            return
        self._enqueue(self._context)
        self._seen[self._shape] += 1
        if self._api is not None and self._seen[self._shape] == _HOT and len(self._graphs) < _GRAPHS:
            self._capture()

    def _launch(self, graph: Graph) -> None:
        assert self._api is not None
        try:
            self._api.launch(graph.executable, self._streams.compute)
        except GraphError as error:
            raise self._driver.LaunchError(str(error)) from error

    def _enqueue(self, context: Any) -> None:
        self._set_shape(context, self._shape)
        context.set_tensor_address(self._entry.name, self._input)
        for name, address in self._outputs.items():
            context.set_tensor_address(name, address)
        if not context.execute_async_v3(self._streams.compute.handle):
            raise BackendError(f"TensorRT failed on a {self._shape} tensor: {self._plan.said()}")

    def _capture(self) -> None:
        """Capture a graph for this shape. If that fails, plain launches are used."""
        assert self._api is not None
        stream = self._streams.compute
        try:
            context = self._plan.context()
            self._enqueue(context)  # its setup in the first run can't be captured
            stream.synchronize()
            self._api.begin(stream)
            try:
                self._enqueue(context)
            except BaseException:
                self._api.abandon(stream)
                raise
            self._graphs[self._shape] = Graph(context, self._api.end(stream))
            log.debug("CUDA graph for %s", self._shape)
        except (GraphError, BackendError, OutOfMemory) as error:
            log.debug("no CUDA graphs, each launch is made by itself: %s", str(error))
            self._api = None if not self._graphs else self._api

    def _filter(self, filters: Filters, shape: Shape) -> None:
        kernel = filters.kernel(shape[1:], self._shape[2:])
        if kernel is None:
            return
        if not self._filter_room:
            room, most = filters.capacity * CANDIDATE.itemsize, self._most[0]
            self._counts, self._host_counts = self._buffers.device(4 * most), self._buffers.pinned(4 * most)
            self._candidates = self._buffers.device(room * most)
            self._host_candidates = self._buffers.pinned(room * most)
            self._filter_room = room
        output = self._outputs[self._plan.record.outputs[0].name]
        kernel.launch(output, self._shape[0], self._counts, self._candidates, self._streams.compute)
        self._filtered = True

    def _download(self) -> None:
        copy, stream = self._driver.memcpy_dtoh_async, self._streams.download
        if self._filtered:
            copy(self._host_counts[: 4 * self._batch], self._counts, stream)
            copy(self._host_candidates[: self._filter_room * self._batch], self._candidates, stream)
            return
        shape, dtype = self._output_view
        nbytes = math.prod(shape[1:]) * self._batch * dtype.itemsize
        copy(self._host_output[:nbytes], self._outputs[self._plan.record.outputs[0].name], stream)

    def finish(self) -> list[Any]:
        """Wait for the batch, and return per image its output, or the result of the head filter (boxes, scores,
        classes)."""
        self._events["fetched"].synchronize()
        if not self._filtered:
            return list(self._whole_output().copy())
        counts = self._host_counts[: 4 * self._batch].view(np.int32)
        rows = self._host_candidates[: self._filter_room * self._batch].view(CANDIDATE).reshape(self._batch, -1)
        found: list[Any] = [decoded(int(count), row) for count, row in zip(counts, rows, strict=True)]
        if any(each is None for each in found):  # too many candidates: the CPU reads the whole output
            whole = self._fetch_whole()
            found = [whole[i].copy() if each is None else each for i, each in enumerate(found)]
        return found

    def _fetch_whole(self) -> NDArray[Any]:
        self._filtered = False
        self._download()
        self._streams.download.synchronize()
        return self._whole_output()

    def _whole_output(self) -> NDArray[Any]:
        shape, dtype = self._output_view
        nbytes = math.prod(shape[1:]) * self._batch * dtype.itemsize
        return self._host_output[:nbytes].view(dtype).reshape(self._batch, *shape[1:])

    def times_ms(self) -> tuple[float, float, float]:
        """Return the times for upload, computing and download of the last finished batch."""
        events = self._events
        return (
            float(events["uploaded"].time_since(events["started"])),
            float(events["computed"].time_since(events["begun"])),
            float(events["fetched"].time_since(events["fetching"])),
        )

    # -- shapes ---------------------------------------------------------------------------------------------------

    def _set_shape(self, context: Any, shape: Shape) -> None:
        if not context.set_input_shape(self._entry.name, tuple(shape)):
            raise BackendError(f"TensorRT refuses a {shape} tensor: {self._plan.said()}")

    def _output_shape(self, context: Any, name: str) -> Shape:
        shape = tuple(int(side) for side in context.get_tensor_shape(name))
        if any(side < 0 for side in shape):
            raise BackendError(f"the plan's output {name} has a size that depends on the image, {shape}")
        return shape

    def free(self) -> None:
        """Free everything; no work may be in progress. Idempotent."""
        for graph in self._graphs.values():
            try:
                if self._api is not None:
                    self._api.destroy(graph.executable)
            except GraphError as error:
                log.debug("%s", str(error))
        self._graphs.clear()
        self._context = None
        self._planes.free()
        self._buffers.free()
        self._events.clear()


def _offsets(frame: FramePlanes) -> list[int]:
    return [sum(frame.sizes[:i]) for i in range(len(frame.sizes))]
