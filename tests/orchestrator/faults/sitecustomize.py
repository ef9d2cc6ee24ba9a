"""Loaded by every Python process of a test with faults; acts only in the engine's process.

FAULT is KIND@PLACE: what happens (segv, exit, halt, hang, raise) and where (import, load, open, frame, done). A file
that is opened counts when its name starts with `bad`; with FAULT_ONCE, a file that is removed by the first strike,
nothing happens after it. FAULT_DELAY_S is how long the fake model takes for a frame; while the file FAULT_HOLD exists,
it gives no more than a few answers; while FAULT_DRAW_HOLD exists, whoever tracked a video draws no pieces of it.
Checkpoints come five times a second.
"""

import os
import signal
import sys
import threading
import time


def strike() -> None:
    if once := os.environ.get("FAULT_ONCE"):
        try:
            os.unlink(once)
        except FileNotFoundError:
            return
    if kind == "segv":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif kind == "exit":
        os._exit(7)
    elif kind == "halt":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif kind == "hang":  # this thread alone
        threading.Event().wait()
    elif kind == "raise":
        raise RuntimeError("struck")


def before(owner: type, name: str, when=lambda *_: True, act=strike) -> None:
    real = getattr(owner, name)

    def wrapped(self, *arguments, **options):
        if when(self, *arguments):
            act()
        return real(self, *arguments, **options)

    setattr(owner, name, wrapped)


def hold(file: str) -> None:
    while os.path.exists(file):
        time.sleep(0.02)


if "orchestrator.engine_process.main" in sys.orig_argv:
    kind, _, place = os.environ.get("FAULT", "").partition("@")
    from engine.inference.backends.fake import FakeBackend
    from engine.media.source import Source
    from engine.resume import checkpoint
    from orchestrator.engine_process.ipc import Sender
    from orchestrator.engine_process.messages import Done

    checkpoint.EVERY_S = 0.2
    FakeBackend.__init__.__kwdefaults__["delay_s"] = float(os.environ.get("FAULT_DELAY_S", "0"))
    if held := os.environ.get("FAULT_HOLD"):
        before(FakeBackend, "run", lambda backend, *_: backend.calls >= 5, lambda: hold(held))
    if not_drawn := os.environ.get("FAULT_DRAW_HOLD"):
        from engine.pipeline.drawing import PieceDrawing

        before(PieceDrawing, "write", lambda drawing, *_: drawing.gives_up, lambda: hold(not_drawn))
    if place == "import":
        strike()
    elif place == "load":
        before(FakeBackend, "__init__")
    elif place == "open":
        before(Source, "open", lambda source, *_: os.path.basename(source.path).startswith("bad"))
    elif place == "frame":
        before(FakeBackend, "run", lambda backend, *_: backend.calls >= 5)
    elif place == "done":
        before(Sender, "send", lambda _, message: isinstance(message, Done))
