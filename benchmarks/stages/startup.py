"""Start-up in fresh processes: `yolo-engine --help`, `yolo-submit --help`, and the time to the first track.

Each is compared with Python itself (`python -c pass`), the lower bound. The time to the first track, from the start of
the process to its first boxes, is also compared with the plain loop's; both load YOLOX-nano.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks.answers import f1
from benchmarks.clips import clip, in_words
from benchmarks.context import Context
from benchmarks.machine import ROOT, asset
from benchmarks.record import Row, checked
from benchmarks.rounds import alternate

MODEL = "models/yolox_nano.onnx"
VIDEO = "people.mp4"
FLOOR = "python -c pass"
MIN_F1 = 0.9
# The actions of the console scripts, on the sources of this clone.
PROGRAMS = {"yolo-engine": "engine.cli.main", "yolo-submit": "orchestrator.client.submit_cli"}


def measure(context: Context) -> Iterator[Row]:
    video, model = clip(context, VIDEO), asset(MODEL)
    last: dict[str, str] = {}

    def starts(name: str, *arguments: str) -> Callable[[], None]:
        def run() -> None:
            last[name] = output_of(*arguments)

        return run

    work = {FLOOR: starts(FLOOR, "-c", "pass")}
    for program, module in PROGRAMS.items():
        code = f"import sys; sys.argv[0] = {program!r}; from {module} import main; main()"
        work[program] = starts(program, "-c", code, "--help")
    for side in ("engine", "plain"):
        work[side] = starts(side, "-m", "benchmarks.first_track", side, str(video), str(model))
    samples = alternate(work, rounds=context.profile.rounds)
    times = {name: samples[name].each(1, 1e3) for name in work}
    told: dict[str, Any] = {"unit": "ms", "better": "lower"}
    for program in PROGRAMS:
        text = last[program]
        yield context.row(
            "startup",
            f"{program} --help",
            figures={program: times[program], FLOOR: times[FLOOR]},
            ours=program,
            input="no input",
            answer=checked(
                text.startswith(f"Usage: {program}"), "the usage it shall print", "printed", characters=float(len(text))
            ),
            **told,
        )
    ours, theirs = json.loads(last["engine"]), json.loads(last["plain"])
    agreement = f1([as_found(ours["boxes_xyxy"])], [as_found(theirs["boxes_xyxy"])])
    yield context.row(
        "startup",
        "first track",
        figures={"engine": times["engine"], "plain loop": times["plain"], FLOOR: times[FLOOR]},
        ours="engine",
        input=in_words(video),
        answer=checked(
            ours["frame"] == theirs["frame"] and agreement >= MIN_F1,
            "the plain loop's first tracks",
            f"{len(ours['boxes_xyxy'])} tracks in frame {ours['frame']} against {len(theirs['boxes_xyxy'])} in frame "
            f"{theirs['frame']}",
            boxes_f1=agreement,
        ),
        model="yolox-nano",
        **told,
    )


def output_of(*arguments: str) -> str:
    """Return the output of a fresh Python process."""
    done = subprocess.run([sys.executable, *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


def as_found(boxes: list[list[float]]) -> Any:
    """Return boxes of one class, for comparison."""
    array = np.array(boxes, np.float64).reshape(-1, 4)
    return array, np.ones(len(array)), np.zeros(len(array), np.int64)
