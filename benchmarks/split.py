"""One long video over several workers (`split_s`), each on one core: 1 against 2, and a simulation of more.

The video is a real one, repeated `--times` times. Each worker is a `yolo-server` limited to one core. Measured are the
time from the first processed frame until the video is done, and the CPU time of each worker's engine (`cpu_s`), less
that for a video of one frame. If others use the cores, too, the second is more meaningful than the first: it is the
time that each worker would take on a core of its own. All rows must equal those of one worker byte for byte. The
annotated video is drawn in pieces: its frames must have the times of one worker's.

The simulation takes the seconds per frame of decoding, checksums, inference and everything else from a run on one core
(`--stats`), and lets helpers choose their pieces as the job system does. The limit is the worker that tracks: it
tracks and writes every frame, and reads and checks the packets of frames that are known. An annotated video is drawn
after that, by all; in reality helpers begin earlier, when they have nothing else to do.

    python -m benchmarks.split [--times 3] [--split 15] [--model street-nano] [--visualize] [--json FILE]
"""

from __future__ import annotations

import argparse
import hashlib
import heapq
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from benchmarks.machine import ROOT, asset, described, heading
from engine.pipeline.groups import Boundaries, Packets
from engine.pipeline.pieces import key_of
from orchestrator.application import client_app
from orchestrator.broker.local_server import EmbeddedBroker
from orchestrator.broker.publish import publish
from orchestrator.job.jobdir import Job
from orchestrator.job.leases import latest
from orchestrator.job.pieces import choice
from orchestrator.settings import settings
from orchestrator.worker import steps as jobs

VIDEO = "one-by-one-person-detection.mp4"
INFERENCE = ("preprocess", "infer", "postprocess")


@dataclass(frozen=True)
class Costs:
    """Seconds a frame on one core: `decode`, `key` of its image, `packet` (reading and checking it), `infer` (with what
    is before and behind it), `draw` (the annotated video), and `rest`, all else that comes after."""

    decode: float
    key: float
    packet: float
    infer: float
    rest: float
    draw: float

    @property
    def alone(self) -> float:
        return self.decode + self.infer + self.rest

    @property
    def known(self) -> float:
        """Seconds of the tracker for a frame that others have processed."""
        return self.rest + self.packet

    @property
    def helper(self) -> float:
        return self.decode + self.infer + self.key + self.packet

    @property
    def drawn(self) -> float:
        """Seconds for drawing a frame that is tracked."""
        return self.decode + self.key + self.draw if self.draw else 0.0


def repeated(source: Path, target: Path, times: int) -> int:
    """Write a video `times` times in a row, packet by packet, and return how many frames that makes."""
    frames, offset = 0, 0
    with av.open(str(target), "w") as made:
        stream = None
        for _ in range(times):
            last = 0
            with av.open(str(source)) as container:
                video = container.streams.video[0]
                if stream is None:
                    stream = made.add_stream_from_template(video)
                    stream.time_base = video.time_base
                for packet in container.demux(video):
                    if not packet.size:
                        continue
                    assert packet.pts is not None
                    assert packet.dts is not None
                    last = max(last, packet.pts + (packet.duration or 0))
                    packet.pts, packet.dts, packet.stream = packet.pts + offset, packet.dts + offset, stream
                    made.mux(packet)
                    frames += 1
            offset += last
    return frames


def worker(core: int, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start a worker that may use only one core."""
    command = [sys.executable, "-m", "orchestrator.worker.server_cli", "--worker", "--name", f"split{core}"]
    return subprocess.Popen(
        command,
        env={**os.environ, **environment},
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    )


@dataclass(frozen=True)
class Ran:
    """A job: seconds that it took, CPU seconds of each worker's engine, frames that helpers did, hashes of outputs."""

    workers: int
    wall_s: float
    cpu_s: Sequence[float]
    known: int
    outputs: Mapping[str, str]


def run(folder: Path, videos: Path, count: int, config: Mapping[str, Any]) -> Ran:
    """Have `count` workers process the videos, each on its own core."""
    output = folder / f"out-{videos.name}-{count}"
    job = jobs.begin(str(videos), dict(config), settings(), output=str(output), workers=count)
    jobs.start(job, jobs.Context("bench@here", settings()))
    cores = sorted(os.sched_getaffinity(0))
    started = [worker(cores[number % len(cores)], {}) for number in range(count)]
    try:
        for key in jobs.process_steps(count):
            publish(client_app(), job, key)
        began = _first_progress(job)
        while not job.done_indices():
            time.sleep(0.01)
        wall_s = time.perf_counter() - began
        while not job.ended or any(_cpu_s(job, key) is None for key in jobs.process_steps(count)):
            time.sleep(0.05)
        cpu = [_cpu_s(job, key) or 0.0 for key in jobs.process_steps(count)]
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(60)
    events = [json.loads(line) for line in (job.folder / "events.jsonl").read_text().splitlines()]
    known = sum(event["frames"] for event in events if event["event"] == "known ahead")
    suffixes = (".tracks.jsonl", ".mot.txt", ".mp4")
    made = {
        path.name: hashlib.sha256(_times_in(path) if path.suffix == ".mp4" else path.read_bytes()).hexdigest()
        for path in sorted(output.iterdir())
        if path.name.endswith(suffixes)
    }
    return Ran(count, wall_s, cpu, known, made)


def _times_in(path: Path) -> bytes:
    with av.open(str(path)) as container:
        return repr([(packet.pts, packet.duration) for packet in container.demux(video=0)]).encode()


def _first_progress(job: Job) -> float:
    while not job.done_indices() and not any(video.frames for told in job.progress() for video in told.videos):
        time.sleep(0.01)
    return time.perf_counter()


def _cpu_s(job: Job, key: str) -> float | None:
    """Return the CPU seconds of a step's engine; None while it is running."""
    lease = latest(job.task_base(key))
    ending = None if lease is None else lease.ending()
    return None if ending is None else ending.cpu_s


def costs(folder: Path, video: Path, config: Mapping[str, Any]) -> Costs:
    """Measure the costs per frame in a run on one core."""
    settings_file = folder / "config.json"
    settings_file.write_text(json.dumps(dict(config)))
    command = [sys.executable, "-m", "engine.cli.main", "run", str(video), "-o", str(folder / "costs")]
    command += ["--config", str(settings_file), "--stats", "--json", "--workers", "1"]
    core = min(os.sched_getaffinity(0))
    told = subprocess.run(
        command, check=True, cwd=ROOT, capture_output=True, preexec_fn=lambda: os.sched_setaffinity(0, {core})
    )
    summary = json.loads(told.stdout.splitlines()[-1])
    frames = summary["totals"]["frames"]
    spent: dict[str, float] = {}
    for threads in summary["verdict"]["threads"]:
        for stage in threads["stages"]:
            each = stage["cpu_ms"] / 1000 * max(1, stage["frames"] or 1)
            spent[stage["stage"]] = spent.get(stage["stage"], 0.0) + each
    a_frame = {stage: seconds / frames for stage, seconds in spent.items()}
    infer = sum(a_frame.get(stage, 0.0) for stage in INFERENCE)
    decode = a_frame.get("decode", 0.0)
    draw = a_frame.get("sink video", 0.0)
    rest = sum(a_frame.values()) - infer - decode - draw
    return Costs(decode, _key_s(video), _packet_s(video), infer, rest, draw)


def _key_s(video: Path) -> float:
    """Return the CPU seconds for the key of an image."""
    with av.open(str(video)) as container:
        images = [frame for frame, _ in zip(container.decode(video=0), range(20), strict=False)]
    spent = []
    for _ in range(5):
        for image in images:
            start = time.thread_time()
            key_of(image)
            spent.append(time.thread_time() - start)
    return statistics.median(spent)


def _packet_s(video: Path) -> float:
    """Return the CPU seconds for reading and checking a packet."""
    spent = []
    for _ in range(5):
        start = time.thread_time()
        with av.open(str(video)) as container:
            stream, packets, count = container.streams.video[0], Packets(), 0
            boundaries = Boundaries(stream.codec_context.name, stream.codec_context.extradata)
            for packet in container.demux(stream):
                if packet.size and boundaries.usable:
                    packets.add(packet, boundaries.look(packet))
                    count += 1
        spent.append((time.thread_time() - start) / max(1, count))
    return statistics.median(spent)


def simulated(cost: Costs, frames: int, a_piece: int, workers: int, *, start_s: float = 2.0) -> float:
    """Return the seconds that so many workers, each on a core, take for a video in pieces of `a_piece` frames. Helpers
    begin after `start_s`, and again with each piece at once."""
    sizes = [min(a_piece, frames - begin) for begin in range(0, frames, a_piece)]
    found_at: dict[int, float] = {}
    helpers = [start_s] * (workers - 1)  # when each is free
    now = 0.0
    for number, size in enumerate(sizes):
        left = float(size)
        while left > 1e-6:
            found = found_at.get(number, math.inf)
            rate = cost.known if found <= now else cost.alone
            events = [now + left * rate, *([found] if found > now else []), *(max(now, free) for free in helpers[:1])]
            left -= (min(events) - now) / rate
            now = min(events)
            if helpers and helpers[0] <= now:
                heapq.heappop(helpers)
                at = number + 1 - max(left, 1e-6) / size
                if (chosen := _chosen(at, sizes, found_at, cost)) is not None:
                    found_at[chosen] = now + sizes[chosen] * cost.helper
                    heapq.heappush(helpers, found_at[chosen])
    if workers == 1:
        return now + frames * cost.draw
    return now + math.ceil(len(sizes) / workers) * a_piece * cost.drawn


def _chosen(at: float, sizes: Sequence[int], taken: Mapping[int, float], cost: Costs) -> int | None:
    its_s, own_s = sizes[0] * cost.alone, sizes[0] * cost.helper
    for early in (True, False):
        known = cost.known / cost.alone
        number = choice(at, len(sizes), taken.__contains__, its_s=its_s, own_s=own_s, early=early, known=known)
        if number is not None:
            return number
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--split", type=float, default=15)
    parser.add_argument("--model", default="street-nano")
    parser.add_argument("--visualize", action="store_true")
    parser.add_argument("--hours", type=float, default=1.0, help="of the simulated video")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    config = {"model": chosen.model, "visualize": chosen.visualize, "report": False}
    folder = Path(tempfile.mkdtemp(prefix="split-"))
    try:
        machine = described()
        print(heading(machine))
        videos = folder / "videos"
        videos.mkdir()
        frames = repeated(asset(f"videos/{VIDEO}"), videos / "long.mp4", chosen.times)
        cost = costs(folder, asset(f"videos/{VIDEO}"), config)
        told = ", ".join(f"{name} {seconds * 1e3:.2f}" for name, seconds in asdict(cost).items())
        print(f"{frames:,} frames; ms a frame on one core: {told}")
        with EmbeddedBroker(folder / "b", state=folder / "data") as broker:
            names = {"CELERY_BROKER_URL": broker.url, "CELERY_RESULT_BACKEND": broker.url}
            os.environ.update({**names, "YOLO_STATE_DIR": str(folder / "state")})
            settings.cache_clear()
            (folder / "one").mkdir()
            from tests.e2e.runs import clip

            clip(folder / "one" / "one.mp4", 1, (768, 432))
            (begun_s,) = run(folder, folder / "one", 1, config).cpu_s
            ran = [
                run(folder, videos, 1, config),
                run(folder, videos, 2, {**config, "split_s": chosen.split}),
            ]
            ran = [replace(each, cpu_s=[cpu_s - begun_s for cpu_s in each.cpu_s]) for each in ran]
        one, two = ran
        assert one.outputs == two.outputs, "two workers gave other rows or times than one"
        print(f"1 worker:  {one.wall_s:.1f} s, CPU {one.cpu_s[0]:.1f} s")
        print(
            f"2 workers: {two.wall_s:.1f} s, CPU {' and '.join(f'{each:.1f}' for each in two.cpu_s)} s, "
            f"{two.known:,} frames by the helper: {one.wall_s / two.wall_s:.2f} times as fast, by CPU "
            f"{one.cpu_s[0] / max(two.cpu_s):.2f}. Same rows and times."
        )
        rate = Fraction(25)
        long, piece = round(chosen.hours * 3600 * rate), round(60 * rate)
        alone = simulated(cost, long, piece, 1)
        gains = {count: alone / simulated(cost, long, piece, count) for count in (1, 2, 4, 8, 16, 32, 64)}
        print(
            f"simulated, {chosen.hours:g} h in pieces of 60 s: "
            + ", ".join(f"{n}: {gain:.1f}" for n, gain in gains.items())
        )
        limit = (cost.alone + cost.draw) / cost.known
        print(f"limit, by what the tracker does with every frame: {limit:.1f}")
        if chosen.json:
            kept = {
                "machine": machine,
                "costs": asdict(cost),
                "ran": [asdict(each) for each in ran],
                "simulated": gains,
            }
            chosen.json.write_text(json.dumps(kept, indent=1))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
