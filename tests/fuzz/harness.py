"""Runs cases in child processes, many in one, each with a limit of time and memory; keeps those that failed."""

from __future__ import annotations

import contextlib
import importlib
import json
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import IO, Any

TARGETS = ("containers", "playlists", "models", "journals", "records")

_ROOT = Path(__file__).resolve().parents[2]
_BATCH = 40
_LONGEST_S = 20.0
_MAX_BYTES = 1_000_000_000
_START_S = 60.0


@dataclass
class Found:
    """What came of a target. A failure is a sentence that ends with the path of the case that was kept."""

    tried: int = 0
    peak_bytes: int = 0
    worst_s: float = 0.0
    failures: list[str] = field(default_factory=list)


def load(target: str) -> Any:
    return importlib.import_module(f"tests.fuzz.{target}")


def fuzz(
    target: str, *, seed: int, seconds: float | None = None, rounds: int | None = None, keep: Path | None = None
) -> Found:
    """Tries cases until `seconds` are over, or `rounds` of them. The same seed makes the same cases, in one order."""
    module, chance, found = load(target), Random(f"{seed} {target}"), Found()
    until = time.monotonic() + (seconds if seconds is not None else 1e9)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        folder = Path(name)
        (folder / "good").mkdir()
        module.prepare(folder / "good")
        while time.monotonic() < until and (rounds is None or found.tried < rounds):
            count = min(_BATCH, rounds - found.tried) if rounds is not None else _BATCH
            cases = folder / "cases"
            cases.mkdir()
            for number in range(count):
                data, suffix = module.case(chance, folder / "good")
                (cases / f"{found.tried + number:06d}{suffix}").write_bytes(data)
            waiting = sorted(cases.iterdir())
            while waiting and time.monotonic() < until:
                waiting = _Child(target, module, folder, found, seed, keep).run(waiting)
            shutil.rmtree(cases)
            if waiting:
                break
    return found


def _read(output: IO[bytes], answers: queue.SimpleQueue[bytes]) -> None:
    for line in output:
        answers.put(line)
    answers.put(b"")


class _Child:
    """One process, and the cases it is given one by one."""

    def __init__(self, target: str, module: Any, folder: Path, found: Found, seed: int, keep: Path | None) -> None:
        self._target = target
        self._longest_s = getattr(module, "LONGEST_S", _LONGEST_S)
        self._most_bytes = getattr(module, "MAX_BYTES", _MAX_BYTES)
        self._folder = folder
        self._found = found
        self._seed = seed
        self._keep = keep

    def run(self, cases: list[Path]) -> list[Path]:
        """Tries them until one ends or hangs the process; returns those that are left."""
        with open(self._folder / "stderr", "w+b") as errors:
            return self._tried(cases, errors)

    def _tried(self, cases: list[Path], errors: IO[bytes]) -> list[Path]:
        command = [sys.executable, "-m", "tests.fuzz.child", self._target, str(self._folder)]
        process = subprocess.Popen(command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors)
        answers: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        assert process.stdin is not None
        assert process.stdout is not None
        output = process.stdout
        reader = threading.Thread(target=_read, args=(output, answers), daemon=True)
        reader.start()
        try:
            if self._answer(answers, _START_S) is None:
                raise RuntimeError(f"the child of {self._target} does not begin: {self._tail(errors)}")
            for place, case in enumerate(cases):
                begun = time.monotonic()
                with contextlib.suppress(BrokenPipeError):  # its end is told below
                    process.stdin.write(f"{case}\n".encode())
                    process.stdin.flush()
                told = self._answer(answers, self._longest_s)
                took_s = time.monotonic() - begun
                self._found.tried += 1
                self._found.worst_s = max(self._found.worst_s, took_s)
                if told is None:
                    hung = took_s >= self._longest_s
                    process.kill()
                    code = process.wait()
                    self._failed(case, f"hung for {took_s:.0f} s" if hung else f"ended the process ({code})")
                    return cases[place + 1 :]
                self._found.peak_bytes = max(self._found.peak_bytes, told["peak"])
                if told["error"]:
                    self._failed(case, told["error"])
                elif told["peak"] > self._most_bytes:
                    self._failed(case, f"took {told['peak'] / 1e6:.0f} MB")
        finally:
            process.kill()
            process.wait()
            process.stdin.close()
            reader.join()
            output.close()
        return []

    def _answer(self, answers: queue.SimpleQueue[bytes], within_s: float) -> dict[str, Any] | None:
        """The child's next line; None at its end, and after so long."""
        try:
            line = answers.get(timeout=within_s)
        except queue.Empty:
            return None
        return dict(json.loads(line)) if line else None

    def _tail(self, errors: IO[bytes]) -> str:
        errors.seek(0)
        return str(errors.read()[-1500:].decode(errors="replace"))

    def _failed(self, case: Path, what: str) -> None:
        kept = ""
        if self._keep is not None:
            self._keep.mkdir(parents=True, exist_ok=True)
            kept = f": {shutil.copy(case, self._keep / f'{self._target}-{self._seed}-{case.name}')}"
        self._found.failures.append(f"{what}{kept}")
