"""Options that are durations: seconds, or a text such as 30s, 15m, 1h or 1d."""

from __future__ import annotations

import click

from engine.errors import ConfigError


def length(_: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """Parse an option to seconds; None if it is not given."""
    if value is None:
        return None
    from engine.config import clip_keys  # not for a command without the option, which decides itself when to load it

    try:
        return clip_keys({"longer_s": value}).longer_s
    except ConfigError as error:
        raise click.BadParameter(str(error).partition(" must be ")[2], param=param) from None
