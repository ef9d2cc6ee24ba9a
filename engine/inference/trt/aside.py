"""A plan that is built beside a run, when that was asked for (`build_plan`).

The build is `yolo-engine build-trt` in a process of its own: what goes wrong there costs the run nothing, and a run
that ends stops it at once. Whole plans alone appear in the cache, and the next run finds them there.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from engine.choices.backends import gpu_number
from engine.errors import EngineError
from engine.inference.trt.command import description
from engine.inference.trt.gpu import find_gpu

if TYPE_CHECKING:
    from engine.config import EngineConfig

log = logging.getLogger(__name__)

_STOP_S = 10.0


def why_not(config: EngineConfig, backend: str) -> str | None:
    """Return why no plan is built beside a run that begins with this backend; None if one is."""
    if backend == "tensorrt":
        return "there is one, and it is used from the beginning"
    if config.precision != "f32":
        return f"precision {config.precision} is that of CPUs"
    if config.device == "cpu":
        return "--device is cpu"
    return None if find_gpu(gpu_number(config.device)) is not None else "no NVIDIA GPU was found"


def command_of(config: EngineConfig, batch: int) -> list[str]:
    """Return the command that builds a plan for a run with this configuration and batch."""
    command = [sys.executable, "-P", "-m", "engine.cli.main", "build-trt", config.model, "--max-batch", str(batch)]
    given = {**description(config), "--shape": None if config.shape == "auto" else config.shape}
    return [*command, *(word for option, value in given.items() if value is not None for word in (option, value))]


class PlanAside:
    """A build under way. `ready` is called on a thread of its own when it has ended well; what that raises is told."""

    def __init__(self, command: Sequence[str], number: int, ready: Callable[[], None]) -> None:
        """Begin a build that sees the GPU of this number as its only one."""
        self._command = list(command)
        self._environment = {**os.environ, **({"CUDA_VISIBLE_DEVICES": str(number)} if number else {})}
        self._ready = ready
        self._stopped = threading.Event()
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._work, name="plan-aside", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        log.info("a TensorRT plan is built beside the run: %s", shlex.join(self._command))
        with self._lock:
            if self._stopped.is_set():
                return
            try:
                self._process = subprocess.Popen(
                    self._command,
                    env=self._environment,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    text=True,
                    errors="replace",
                    start_new_session=True,  # Ctrl-C is the run's, which stops it
                )
            except OSError as error:
                log.warning("no TensorRT plan is built: %s", error)
                return
        told = self._process.communicate()[1]
        if self._stopped.is_set():
            return
        if self._process.returncode:
            last = (told.strip().splitlines() or [f"it ended with status {self._process.returncode}"])[-1]
            log.warning("no TensorRT plan was built, and the run goes on without: %s", last[:500])
            return
        try:
            self._ready()
        except EngineError as error:
            log.warning("the TensorRT plan that was built can't be used, and the run goes on without: %s", error)

    def wait(self) -> None:
        """Return when the build has ended and what follows it is done."""
        self._thread.join()

    def close(self) -> None:
        """Stop it, if it is under way. Idempotent."""
        self._stopped.set()
        with self._lock:
            process = self._process
        if process is not None and process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
        self._thread.join()
