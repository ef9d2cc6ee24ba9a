"""The options that choose a tracker and its parameters, generated from the registry of trackers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from engine.trackers.registry import DEFAULT, HELP, TRACKERS

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def tracker_options() -> list[Decorator]:
    """Return the options, in the order of the help. Options that are not given are None: the configuration decides."""
    return [
        click.option("--tracker", type=click.Choice(list(TRACKERS)), help=f"Tracking algorithm.  [{DEFAULT}]"),
        *(_option(key) for key in HELP),
        click.option(
            "--class-groups",
            metavar="NAME=A,B,...",
            help="Classes that may share a track, e.g. vehicle=car,truck.  [none]",
        ),
    ]


def _option(key: str) -> Decorator:
    """Return the option of one parameter, with the trackers that have it and their defaults."""
    defaults = {kind.name: kind.defaults[key] for kind in TRACKERS.values() if key in kind.defaults}
    default = next(iter(defaults.values()))
    others = ", ".join(f"{name} {_shown(value)}" for name, value in defaults.items() if name != DEFAULT)
    if DEFAULT in defaults:  # its value goes last, like every option's default
        text = f"{HELP[key]} ({others})  [{_shown(defaults[DEFAULT])}]"
    else:
        text = f"{HELP[key]}  [{others}]"
    name = key.replace("_", "-")
    if isinstance(default, bool):
        return click.option(f"--{name}/--no-{name}", key, default=None, help=text)
    return click.option(f"--{name}", type=type(default), help=text)


def _shown(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
