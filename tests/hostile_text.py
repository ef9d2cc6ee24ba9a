"""Hostile text, and a check of how it is shown."""

import re

EVIL = "x\x1b]0;owned\x07\x1b[2J\u202e[bold red]gpj[/bold red]\x9b31m\r\nERROR forged\udcff"
"""Renames a window, clears the screen, reverses the line, sets colours in three ways, begins a new line."""

_OWN_STYLE = re.compile(r"\x1b\[[0-9;]*m")


def assert_harmless(shown: str) -> None:
    """Check that only the letters of EVIL reached a screen or a log. Our own styles are allowed."""
    rest = _OWN_STYLE.sub("", shown)
    assert not [c for c in rest if not c.isprintable() and c not in "\n"], repr(rest)
    assert not [line for line in rest.splitlines() if line.startswith("ERROR forged")], rest
