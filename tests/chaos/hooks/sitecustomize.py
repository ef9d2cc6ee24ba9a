"""Loaded by every Python process of a chaos run; acts only in the engine's process.

There the fake backend is given the time that a real model takes, checkpoints come more often, and a video named
`crash...` ends the process in the way a fault in native code does. CHAOS_HALT_AT halts the whole worker, once, when its
engine has reached that step.
"""

import os
import signal
import sys

if "orchestrator.engine_process.main" in sys.orig_argv:
    from engine.inference.backends.fake import FakeBackend
    from engine.media.source import Source
    from engine.resume import checkpoint

    FakeBackend.__init__.__kwdefaults__["delay_s"] = float(os.environ.get("CHAOS_DELAY_S", "0.02"))
    checkpoint.EVERY_S = 0.3

    opened = Source.open

    def open_or_crash(self, key=0):
        info = opened(self, key)
        if os.path.basename(self.path).startswith("crash"):
            os.kill(os.getpid(), signal.SIGSEGV)
        return info

    Source.open = open_or_crash

    if os.environ.get("CHAOS_HALT_AT"):
        from engine.resume import steps

        wanted, _, turn = os.environ["CHAOS_HALT_AT"].partition("#")
        turns = []

        def halt(step):
            if step == wanted:
                turns.append(step)
            if step == wanted and len(turns) == int(turn or 1) and os.path.exists(os.environ["CHAOS_HALT_ONCE"]):
                os.unlink(os.environ["CHAOS_HALT_ONCE"])
                os.killpg(os.getpgrp(), signal.SIGSTOP)  # the worker, its pool and this process

        steps.reached = halt

if (
    os.environ.get("CHAOS_DEAF")
    and sys.orig_argv[1:3] == ["-m", "orchestrator.worker.server_cli"]
    and os.path.exists(os.environ["CHAOS_DEAF"])
):
    # The worker's first life hears nothing: it never asks for a message.
    os.unlink(os.environ["CHAOS_DEAF"])
    from kombu.transport.redis import Channel

    Channel._brpop_start = lambda self, timeout=None: None

    from kombu.transport import pyamqp

    pyamqp.Channel.basic_consume = lambda self, queue="", consumer_tag="", *rest, **options: consumer_tag
