"""Commands whose code is imported only when they run, because --help needs none of it."""

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
    """Return a decorator for a function that only has a docstring, a command's help. When called, it runs the function
    `home` ("module:name") of engine.cli.commands."""
    module, _, name = home.partition(":")

    def decorate(declared: Command) -> Command:
        @functools.wraps(declared)
        def command(*arguments: Any, **options: Any) -> Any:
            return getattr(_loaded(f"engine.cli.commands.{module}"), name)(*arguments, **options)

        return command

    return decorate


def _loaded(name: str) -> ModuleType:
    """Return a module. The garbage collector is off during the import, because it would scan everything several times;
    afterwards it ignores the imported objects, because they live until the end."""
    if name in sys.modules:
        return sys.modules[name]
    gc.disable()
    try:
        return import_module(name)
    finally:
        gc.freeze()
        gc.enable()
