"""Makes untrusted text fit for logs and terminals: file names, message fields, library errors, metadata.

It is here because `models` is a leaf that every package may import; `engine.text.printable` re-exports it.
"""

from __future__ import annotations

LIMIT = 1000


def printable(text: str, limit: int = LIMIT) -> str:
    r"""Return one line of at most `limit` characters in which nothing moves a cursor, changes a colour or reverses the
    direction of text.

    Unprintable characters, including surrogates (undecodable bytes of a file name), line ends, zero-width characters
    and bidirectional controls, are escaped as in Python (`\x1b`, `\u202e`, `\udcff`). The end of a longer text is
    replaced by `…`. The result only contains encodable characters for which `str.isprintable` is true, and a second
    call does not change it. It is not markup: for rich it must still be escaped or passed as a `Text`.
    """
    cut = text[: limit + 1]  # don't process a gigabyte
    line = cut if cut.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in cut)
    return line if len(line) <= limit else line[: limit - 1] + "…"
