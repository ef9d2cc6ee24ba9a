"""A process limited to a number of cores, which runs one side of the pipeline on request: stages/curves.py.

Started with `python -m benchmarks.curve_child CORES VIDEO MODEL`, it reads lines with a side, "engine" or "plain", and
answers each with a line of JSON, until the end of its input.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.machine import ROOT


class Child:
    """The parent's handle of such a process. The first result of each side includes loading and warming up."""

    def __init__(self, cores: int, video: Path, model: Path) -> None:
        command = [sys.executable, "-m", "benchmarks.curve_child", str(cores), str(video), str(model)]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, side: str) -> dict[str, Any]:
        """Run a side once and return its counts."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(side + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the process for {side!r} ended with status {self._process.wait()}")
        counts: dict[str, Any] = json.loads(line)
        return counts

    def close(self) -> None:
        self._process.communicate()


def main() -> None:
    cores, video, model = int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
    # Before anything that counts the cores.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    from benchmarks.peers.plain_loop import plain_loop
    from benchmarks.reference_detector import ReferenceDetector
    from engine import Engine, EngineConfig

    engine = Engine(EngineConfig(model=str(model), conf=0.25, nms_iou=0.45, visualize=False))
    detector = ReferenceDetector(model, "yolox", conf=0.25, nms_iou=0.45)
    with tempfile.TemporaryDirectory() as folder:
        for line in sys.stdin:
            if line.strip() == "engine":
                totals = engine.run([video], Path(folder) / "engine")["totals"]
                counts = {"frames": totals["frames"], "detections": totals["detections"]}
            else:
                plain = plain_loop(video, detector, Path(folder) / "plain.mot.txt")
                counts = {"frames": plain.frames, "detections": plain.detections}
            print(json.dumps(counts), flush=True)
    engine.close()


if __name__ == "__main__":
    main()
