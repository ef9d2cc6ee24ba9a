"""Commands whose work is loaded when they are run: help needs none of it."""

from __future__ import annotations

import functools
import gc
import sys
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any

Command = Callable[..., Any]


def deferred(home: str) -> Callable[[Command], Command]:
    """Return a decorator of a function that has a docstring only, a command's help: called, it is the function `home`,
    "module:name", of engine.cli.commands."""
    module, _, name = home.partition(":")

    def decorate(declared: Command) -> Command:
        @functools.wraps(declared)
        def command(*arguments: Any, **options: Any) -> Any:
            return getattr(_loaded(f"engine.cli.commands.{module}"), name)(*arguments, **options)

        return command

    return decorate


def _loaded(name: str) -> ModuleType:
    """Return a module. While it is imported the garbage collector, which would look through all of it several times,
    rests; afterwards it leaves alone what is there, for that stays to the end."""
    if name in sys.modules:
        return sys.modules[name]
    gc.disable()
    try:
        return import_module(name)
    finally:
        gc.freeze()
        gc.enable()
