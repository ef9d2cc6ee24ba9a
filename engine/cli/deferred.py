"""Commands whose code is imported only when they run, because --help needs none of it."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from types import ModuleType
from typing import Any

import click

from engine.choices.loading import additions, uncollected

Command = Callable[..., Any]


def deferred(home: str) -> Callable[[Command], Command]:
    """Return a decorator for a function that only has a docstring, a command's help. When called, it runs the function
    `home` ("module:name") of engine.cli.commands."""
    module, _, name = home.partition(":")

    def decorate(declared: Command) -> Command:
        @functools.wraps(declared)
        def command(*arguments: Any, **options: Any) -> Any:
            return getattr(_loaded(f"engine.cli.commands.{module}"), name)(*arguments, **options)

        return command

    return decorate


class DeferredGroup(click.Group):
    """A group that imports a command when it is asked for: `homes` has "module:name" in engine.cli, by command."""

    def __init__(self, *arguments: Any, homes: Mapping[str, str], **facts: Any) -> None:
        super().__init__(*arguments, **facts)
        self._homes = homes

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(self._homes)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._homes:
            return None
        module, _, name = self._homes[cmd_name].partition(":")
        command: click.Command = getattr(import_module(f"engine.cli.{module}"), name)
        return command


def _loaded(name: str) -> ModuleType:
    if name in sys.modules:
        return sys.modules[name]
    with uncollected(), _interrupts_kill(), _surroundings():
        return import_module(name)


@contextlib.contextmanager
def _surroundings() -> Iterator[None]:
    """Hold what libraries should find in the environment while they are loaded."""
    added = additions(os.environ)
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]  # not for the processes that this one starts


@contextlib.contextmanager
def _interrupts_kill() -> Iterator[None]:
    """Let Ctrl-C end the process at once while nothing has begun: some libraries swallow a KeyboardInterrupt that is
    raised while they are loaded."""
    import signal  # its enumerations take a millisecond, which help need not spend

    replaceable = threading.current_thread() is threading.main_thread()
    if not replaceable or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
