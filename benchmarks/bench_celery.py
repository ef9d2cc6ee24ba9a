"""The overhead of the job system: the same folder through Celery and `yolo-engine run`, excluding start-up.

Both sides are processes. The time of a clip of one frame, which is each side's start-up (Python, the model, with Celery
also the queue and probing the videos), is subtracted from the time of the folder. Rounds alternate, after one that is
not counted. `ratio` is the median of the rounds' ratios, with the lowest and the highest. The tracks of both
sides must be the same, byte for byte.

    python -m benchmarks.bench_celery [--rounds 5] [--visualize] [--most 1.05] [--json FILE]
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.machine import ROOT, asset, described, heading
from orchestrator.application import client_app
from orchestrator.broker.local_server import EmbeddedBroker
from orchestrator.broker.publish import publish
from orchestrator.settings import settings
from orchestrator.worker import steps as jobs

VIDEOS = ("people.mp4", "vtest.avi", "bikes.mp4")


def through_celery(app: Any, videos: Path, output: Path, config: dict[str, Any]) -> float:
    start = time.perf_counter()
    job = jobs.begin(str(videos), config, settings(), output=str(output))
    publish(app, job, "start")
    while not job.ended:
        time.sleep(0.005)
    record = job.end_record()
    assert record is not None
    assert record.result["success"], record.result["message"]
    return time.perf_counter() - start


def by_the_engine(videos: Path, output: Path, config: dict[str, Any]) -> float:
    start = time.perf_counter()
    settings_file = output.with_suffix(".json")
    settings_file.write_text(json.dumps(config))
    command = [
        sys.executable,
        "-m",
        "engine.cli.main",
        "run",
        str(videos),
        "-o",
        str(output),
        "--config",
        str(settings_file),
    ]
    subprocess.run(command, check=True, cwd=ROOT, capture_output=True)
    return time.perf_counter() - start


def tracks_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.tracks.jsonl"))}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.bench_celery", description=str(__doc__).partition("\n")[0]
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--visualize", action="store_true", help="with annotated videos")
    parser.add_argument("--most", type=float, default=1.05, help="exit status 1 above this ratio")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    machine = described("celery", "kombu", "onnxruntime", "av")
    print(heading(machine))
    folder = Path(tempfile.mkdtemp(prefix="bench-celery-"))
    os.environ["YOLO_STATE_DIR"] = str(folder / "state")
    os.environ.setdefault("YOLO_ENGINE_MODELS", str(asset("models")))
    config = {"model": "yolox-nano", "visualize": given.visualize}
    many, one = folder / "many", folder / "one"
    many.mkdir()
    one.mkdir()
    for name in VIDEOS:
        (many / name).symlink_to(asset(f"videos/{name}"))
    from tests.e2e.runs import clip

    clip(one / "clip.mp4", 1)
    rounds: list[dict[str, float]] = []
    try:
        with EmbeddedBroker.temporary() as broker:
            os.environ["CELERY_BROKER_URL"] = os.environ["CELERY_RESULT_BACKEND"] = broker.url
            command = [sys.executable, "-m", "orchestrator.worker.server_cli", "--worker", "--loglevel", "warning"]
            worker = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
            app = client_app()
            try:
                for number in range(given.rounds + 1):
                    output = folder / str(number)
                    output.mkdir()
                    found = {
                        "celery_start_s": through_celery(app, one, output / "c1", config),
                        "engine_start_s": by_the_engine(one, output / "e1", config),
                        "celery_s": through_celery(app, many, output / "c", config),
                        "engine_s": by_the_engine(many, output / "e", config),
                    }
                    assert tracks_of(output / "c") == tracks_of(output / "e"), "the tracks differ"
                    shutil.rmtree(output)
                    celery_s, engine_s = (
                        found[f"{side}_s"] - found[f"{side}_start_s"] for side in ("celery", "engine")
                    )
                    found["ratio"] = celery_s / engine_s
                    if number:
                        rounds.append(found)
                        print("  ".join(f"{key} {value:.2f}" for key, value in found.items()))
            finally:
                worker.terminate()
                worker.wait(60)
                app.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    ratios = [found["ratio"] for found in rounds]
    ratio = statistics.median(ratios)
    print(f"ratio {ratio:.3f} [{min(ratios):.3f}..{max(ratios):.3f}], tracks equal in every round")
    if given.json:
        given.json.write_text(json.dumps({"machine": machine, "rounds": rounds, "ratio": ratio}, indent=1) + "\n")
    return 1 if ratio > given.most else 0


if __name__ == "__main__":
    sys.exit(main())
