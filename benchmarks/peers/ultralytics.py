"""Ultralytics `track` on the same video and the same ONNX file, as a process in a separate environment.

Ultralytics is under AGPL-3.0: it is not a dependency of this project, which never imports it. `make bench-ultralytics`
makes an environment with it below build/, only for the benchmarks; without it, its figures are left out. The process is
this file run by that environment's Python: it reads a line per run, "track" or "predict", and answers with a line of
JSON, so that its runs can alternate with ours. Its tracker is ByteTrack, the closest to SORT of those it has.

    build/ultralytics/bin/python benchmarks/peers/ultralytics.py VIDEO MODEL CONF NMS_IOU
"""

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
HOME = Path(os.environ.get("YOLO_ENGINE_ULTRALYTICS", ROOT / "build" / "ultralytics"))
TRACKER = "bytetrack.yaml"
MISSING = "Ultralytics is not there: `make bench-ultralytics` fetches it (AGPL-3.0, some gigabytes) for the benchmarks"


def python() -> Path | None:
    """Return a Python interpreter with Ultralytics; None if there is none."""
    path = HOME / "bin" / "python"
    return path if path.exists() else None


class Ultralytics:
    """The parent's handle of such a process."""

    def __init__(self, video: Path, model: Path, *, conf: float, nms_iou: float) -> None:
        found = python()
        if found is None:
            raise FileNotFoundError(MISSING)
        command = [str(found), __file__, str(video), str(model), str(conf), str(nms_iou)]
        # It must not see our packages, install anything or send telemetry.
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        alone = {**kept, "YOLO_AUTOINSTALL": "false", "YOLO_VERBOSE": "false", "YOLO_OFFLINE": "true"}
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=alone)
        self.versions = self._read()

    def track(self) -> dict[str, Any]:
        """Track the video once: {"frames", "boxes", "tracks", "elapsed_s"}; `boxes` are those of tracks."""
        return self._run("track")

    def predict(self) -> dict[str, Any]:
        """Return the same without tracks: `boxes` are the detections."""
        return self._run("predict")

    def _run(self, what: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended, and its output says why
            self._process.stdin.write(what + "\n")
            self._process.stdin.flush()
        return self._read()

    def close(self) -> None:
        self._process.communicate()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        while line := self._process.stdout.readline():
            if line.startswith("{"):  # other lines are messages
                answer: dict[str, Any] = json.loads(line)
                return answer
        raise RuntimeError(f"Ultralytics ended with status {self._process.wait()}")


def main() -> None:
    video, model, conf, nms_iou = sys.argv[1:]
    sys.path.pop(0)  # the folder of this file, whose name would hide the package
    from importlib.metadata import version

    from ultralytics import YOLO

    packages = ("ultralytics", "torch", "onnxruntime", "opencv-python")
    detector = YOLO(model, task="detect")
    print(json.dumps({name: version(name) for name in packages}), flush=True)
    settings = {"stream": True, "conf": float(conf), "iou": float(nms_iou), "verbose": False, "save": False}
    for line in sys.stdin:
        frames, boxes, ids = 0, 0, set()
        start = time.perf_counter()
        # Without `persist` every run starts afresh.
        track = line.strip() == "track"
        results = detector.track(video, tracker=TRACKER, **settings) if track else detector.predict(video, **settings)
        for result in results:
            frames += 1
            boxes += len(result.boxes)
            if result.boxes.id is not None:
                ids.update(int(number) for number in result.boxes.id)
        elapsed_s = time.perf_counter() - start
        print(json.dumps({"frames": frames, "boxes": boxes, "tracks": len(ids), "elapsed_s": elapsed_s}), flush=True)


if __name__ == "__main__":
    main()
