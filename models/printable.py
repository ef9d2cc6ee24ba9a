"""Text of strangers, made fit for a log or a terminal: file names, fields of messages, errors of libraries, metadata.

It is here because `models` is a leaf, which everybody may import; `engine.text.printable` has it as well.
"""

from __future__ import annotations

LIMIT = 1000


def printable(text: str, limit: int = LIMIT) -> str:
    r"""Return one line of at most `limit` characters in which nothing moves a cursor, changes a colour or reverses the
    direction of text.

    What is not printable, including half a character (a byte of a file name that is not text), line ends, zero-width
    and bidirectional controls, is written as Python escapes it (`\x1b`, `\u202e`, `\udcff`). The end of a longer text
    is replaced by `…`. The result holds only what `str.isprintable` admits and what can be encoded, and a second call
    leaves it as it is. It is not markup: where rich reads markup, it still has to be escaped or given as a `Text`.
    """
    cut = text[: limit + 1]  # a gigabyte is not looked at to its end
    line = cut if cut.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in cut)
    return line if len(line) <= limit else line[: limit - 1] + "…"
