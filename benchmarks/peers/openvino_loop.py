"""The fastest simple loop on a CPU: OpenVINO's queue of asynchronous inferences.

OpenCV decodes and resizes on the main thread, OpenVINO infers as many frames at a time as it chooses to, NumPy reads
the outputs and removes duplicates, filterpy and SciPy track, in the order of the frames. The model runs on its own
square; `precision` is OpenVINO's hint, so that it can be compared at equal precision.
"""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.plain_loop import Counts
from benchmarks.reference_detector import ReferenceDetector
from benchmarks.reference_sort import ReferenceSort

Array = NDArray[Any]


def installed() -> bool:
    """Return whether OpenVINO, an extra, is installed."""
    try:
        import openvino  # noqa: F401
    except ImportError:
        return False
    return True


class OpenVinoLoop:
    """A model compiled once, and a queue of requests on it."""

    def __init__(
        self,
        model: Path,
        detector: ReferenceDetector,
        precision: str = "f32",
        size_hw: tuple[int, int] | None = None,
    ) -> None:
        """`size_hw` is that of the input, for a file with dynamic axes."""
        import openvino

        self._detector = detector
        core = openvino.Core()
        settings = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": precision}
        network = core.read_model(str(model))
        if size_hw is not None:
            network.reshape([1, 3, *size_hw])
        self._queue = openvino.AsyncInferQueue(core.compile_model(network, "CPU", settings))
        self._queue.set_callback(self._done)
        self._answers: dict[int, Array] = {}

    def _done(self, request: Any, number: int) -> None:
        self._answers[number] = np.array(request.get_output_tensor(0).data[0], np.float32)

    def run(self, video: Path, out: Path) -> Counts:
        """Process a video into a MOTChallenge text."""
        counts, tracker = Counts(), ReferenceSort()
        capture = cv2.VideoCapture(str(video))
        waiting: dict[int, tuple[float, tuple[int, int], tuple[int, int]]] = {}
        begun = 0
        with out.open("w", encoding="utf-8") as stream:
            while True:
                there, image = capture.read()
                if there:
                    tensor, ratio, offset = self._detector.letterbox(image)
                    waiting[begun] = ratio, offset, image.shape[:2]
                    self._queue.start_async([tensor], begun)  # waits for a free request; copies the tensor
                    begun += 1
                else:
                    self._queue.wait_all()
                while counts.frames in self._answers:
                    output = self._answers.pop(counts.frames)
                    self._track(output, *waiting.pop(counts.frames), counts, tracker, stream)
                if not there:
                    break
        capture.release()
        return counts

    def _track(
        self,
        output: Array,
        ratio: float,
        offset: tuple[int, int],
        image_hw: tuple[int, int],
        counts: Counts,
        tracker: ReferenceSort,
        stream: Any,
    ) -> None:
        boxes, scores, class_ids = self._detector.read(output, ratio, offset, image_hw)
        counts.frames += 1
        counts.detections += len(scores)
        counts.found.append((boxes, scores, class_ids))
        for number, (x1, y1, x2, y2) in tracker.update(np.asarray(boxes, np.float64), class_ids):
            stream.write(f"{counts.frames},{number},{x1:.2f},{y1:.2f},{x2 - x1:.2f},{y2 - y1:.2f},1,-1,-1,-1\n")
            counts.rows += 1
            counts.track_ids.add(number)
