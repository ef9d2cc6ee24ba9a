"""Strangers' text, made fit for a log or a terminal: names of operators and classes, keys and values of metadata.

The function of engine/text/printable.py; `models` is a leaf and imports nothing of the engine.
"""

from __future__ import annotations

LIMIT = 1000


def printable(text: str, limit: int = LIMIT) -> str:
    r"""One line of `limit` characters at most, in which nothing moves a cursor, changes a colour or turns a text round.

    What is not printable, also half a character (a byte of a file name that is no text), line ends, zero-width and
    bidirectional controls, is written as Python escapes it (`\x1b`, `\u202e`, `\udcff`). A longer text loses its end
    for `…`. The result holds only what `str.isprintable` admits and can be encoded, and is left as it is by a second
    call. It is not markup: where rich reads markup, it has still to be escaped or given as a `Text`.
    """
    cut = text[: limit + 1]  # a gigabyte is not looked at to its end
    line = cut if cut.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in cut)
    return line if len(line) <= limit else line[: limit - 1] + "…"
