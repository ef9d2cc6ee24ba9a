"""A stranger's text, and what must be true of all that people see of it."""

import re

EVIL = "x\x1b]0;owned\x07\x1b[2J\u202e[bold red]gpj[/bold red]\x9b31m\r\nERROR forged\udcff"
"""Renames a window, clears the screen, turns the line round, has colours in three ways, begins a line of its own."""

_OWN_STYLE = re.compile(r"\x1b\[[0-9;]*m")


def assert_harmless(shown: str) -> None:
    """Nothing of EVIL but its letters reached a screen or a log; styles of our own may be there."""
    rest = _OWN_STYLE.sub("", shown)
    assert not [c for c in rest if not c.isprintable() and c not in "\n"], repr(rest)
    assert not [line for line in rest.splitlines() if line.startswith("ERROR forged")], rest
