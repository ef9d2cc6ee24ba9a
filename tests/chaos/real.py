"""kill -9 of the workers on real videos: N runs, each with one kill of all at a random moment and a restart.

    python -m tests.chaos.real [--runs 20] [--seed 1] [--workers 1] [--split SECONDS] [VIDEO ...]

Each run is a complete pipeline with the default model. Its tracks must be, byte for byte, those of an undisturbed run,
and its annotated videos must have the same frames at the same times. Prints a row a run.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path
from random import Random

from engine import Engine, EngineConfig
from orchestrator.broker.publish import publish
from orchestrator.settings import settings
from orchestrator.worker import steps as jobs
from tests.assets import ASSETS
from tests.chaos.farm import Farm, times
from tests.waiting import until

VIDEOS = ("people.mp4", "bikes.mp4", "carphone_pristine.mp4", "vtest.avi")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.real", description=str(__doc__).partition("\n")[0])
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--split", type=float, help="split_s of the job")
    parser.add_argument("videos", nargs="*", type=Path, default=[ASSETS / "videos" / name for name in VIDEOS])
    given = parser.parse_args()
    chance, failed = Random(given.seed), 0
    root = Path(tempfile.mkdtemp(prefix="chaos-real-"))
    try:
        with Engine(EngineConfig()) as engine:
            begun = time.monotonic()
            engine.run(given.videos, root / "undisturbed")
            whole_s = time.monotonic() - begun
        print(f"undisturbed: {len(given.videos)} videos in {whole_s:.1f} s", flush=True)
        for number in range(1, given.runs + 1):
            kill_after_s = chance.uniform(0.5, whole_s + 2.0)
            begun = time.monotonic()
            config = {} if given.split is None else {"split_s": given.split}
            row, same = one_run(
                root / str(number), given.videos, root / "undisturbed", kill_after_s, given.workers, config
            )
            failed += not same
            print(
                f"run {number:2}: killed after {kill_after_s:5.1f} s, {row}, {time.monotonic() - begun:.1f} s",
                flush=True,
            )
            shutil.rmtree(root / str(number))
    finally:
        shutil.rmtree(root, ignore_errors=True)
    print(f"{given.runs - failed} passed, {failed} failed")
    return 1 if failed else 0


def one_run(
    folder: Path, videos: list[Path], undisturbed: Path, kill_after_s: float, workers: int, config: dict[str, float]
) -> tuple[str, bool]:
    """What happened, and whether the results are those of the undisturbed run."""
    with Farm(folder, PYTHONPATH="") as farm:
        for video in videos:
            (farm.videos / video.name).symlink_to(video)
        job = jobs.begin(str(farm.videos), config, settings(), output=str(farm.output), workers=workers)
        publish(farm.app, job, "start")
        started = [farm.worker() for _ in range(workers)]
        time.sleep(kill_after_s)
        done_before = job.done_indices()
        stamps = {path: path.stat().st_mtime_ns for path in (job.folder / "videos").glob("*.done.json")}
        for worker in started:
            farm.kill(worker)
        until(lambda: not farm.engines(), 2)
        for _ in range(workers):
            farm.worker()
        record = farm.wait(job)
        result = record.result.to_json()["processing_result"]
        different = [
            path.name
            for path in undisturbed.iterdir()
            if path.name.endswith((".tracks.jsonl", ".mot.txt"))
            and path.read_bytes() != (farm.output / path.name).read_bytes()
        ]
        different += [p.name for p in undisturbed.glob("*.mp4") if times(p) != times(farm.output / p.name)]
        twice = [path.name for path, stamp in stamps.items() if path.stat().st_mtime_ns != stamp]
        attempts = [video["attempts"] for video in result["videos"]]
        resumed = [video.get("resumed_from") or 0 for video in result["videos"]]
        known = sum(event["frames"] for event in farm.events(job, "known ahead"))
        row = f"{len(done_before)} were done, attempts {attempts}, resumed from frames {resumed}"
        row += f", {known} frames by helpers" if config else ""
        if different or twice or not result["success"]:
            return f"{row}; DIFFERENT {different} TWICE {twice} {record.result.message}", False
        return f"{row}; all equal", True


if __name__ == "__main__":
    sys.exit(main())
