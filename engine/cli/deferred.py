"""Commands whose work is loaded when they are run: help needs none of it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from importlib import import_module
from typing import Any

Command = Callable[..., Any]


def deferred(home: str) -> Callable[[Command], Command]:
    """Return a decorator of a function that has a docstring only, a command's help: called, it is the function `home`,
    "module:name", of engine.cli.commands."""
    module, _, name = home.partition(":")

    def decorate(declared: Command) -> Command:
        @functools.wraps(declared)
        def command(*arguments: Any, **options: Any) -> Any:
            return getattr(import_module(f"engine.cli.commands.{module}"), name)(*arguments, **options)

        return command

    return decorate
