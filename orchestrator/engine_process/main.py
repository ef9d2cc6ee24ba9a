"""The engine's process: everything that touches media or a model runs here, and nowhere else in the job system.

    python -m orchestrator.engine_process.main EVENTS_FD ORDERS_FD PARENT

The first message is the task: probe inputs, process videos that are requested one by one, salvage what an ended attempt
left, do the work that follows all videos and write a job's report, or send the rest of a job's results to storage. A
file that crashes a library only takes this process with it; the worker sees the end of the pipe and continues. When the
worker dies, this process dies with it.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from functools import partial

from engine.choices.loading import uncollected
from engine.errors import EngineError
from engine.logs import set_up_logging
from models.errors import ModelError
from orchestrator.engine_process.ipc import Sender, received
from orchestrator.engine_process.messages import (
    AnyTask,
    Fatal,
    Order,
    Probe,
    Salvage,
    SendRest,
    Work,
    order_of,
    task_of,
)
from orchestrator.engine_process.send_rest import send_rest

log = logging.getLogger(__name__)

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Receive the task and run it."""
    _die_with(parent=int(sys.argv[3]))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # signals are handled by the worker, which then sends orders
    events = Sender(int(sys.argv[1]))
    line = os.fdopen(int(sys.argv[2]), "rb")
    task = next(received(line, task_of), None)
    if task is None:
        return
    set_up_logging(task.log_level, task.log_format)
    try:
        _do(task, events, received(line, order_of))
    except BrokenPipeError:
        os._exit(1)
    except Exception as error:
        log.debug("the engine's process failed", exc_info=error)
        events.send(Fatal(_sentence(error)))
        sys.exit(3)


def _do(task: AnyTask, events: Sender, orders: Iterator[Order]) -> None:
    with uncollected():
        work = _work_of(task, events, orders)
    work()


def _work_of(task: AnyTask, events: Sender, orders: Iterator[Order]) -> Callable[[], None]:
    """Return what runs a task. The parts of the engine that it needs are imported here, because that takes time (a
    second for `work`, which needs them all) and because a failed import must be reported to the worker."""
    if isinstance(task, Probe):
        from orchestrator.engine_process.probe import probe

        return partial(probe, task, events)
    if isinstance(task, Work):
        from orchestrator.engine_process.work import work

        return partial(work, task, events, orders)
    if isinstance(task, Salvage):
        from orchestrator.engine_process.salvage import salvage

        return partial(salvage, task, events)
    if isinstance(task, SendRest):
        return partial(send_rest, task, events)
    from orchestrator.engine_process.follow_up import follow_up

    return partial(follow_up, task, events, orders)


def _die_with(parent: int) -> None:
    """Have the kernel kill this process when the worker's thread that started it ends, for whatever reason."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)


def _sentence(error: BaseException) -> str:
    text = str(error)
    return text if isinstance(error, EngineError | ModelError) and text else f"{type(error).__name__}: {text}"


if __name__ == "__main__":
    main()
