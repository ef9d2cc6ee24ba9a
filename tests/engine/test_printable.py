"""Strangers' text: one line, no control characters, bounded."""

from __future__ import annotations

import sys

import pytest

from engine.text.printable import LIMIT, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("añb 日本 🎬 [red]x[/] a\\b", "añb 日本 🎬 [red]x[/] a\\b"),
        ("a\nb\r\tc", r"a\nb\r\tc"),
        ("\x1b[2J\x1b]0;title\x07", r"\x1b[2J\x1b]0;title\x07"),
        ("\x00\x7f", r"\x00\x7f"),
        ("\x85\x9b31m", r"\x85\x9b31m"),  # C1: NEL, and CSI in one character
        ("\u202egpj.exe\u2066\u200f\u061c", r"\u202egpj.exe\u2066\u200f\u061c"),
        ("a\u200bb\ufeff", r"a\u200bb\ufeff"),  # zero width
        ("\u2028\u2029", r"\u2028\u2029"),  # line ends for some
        ("\udcff\ud800", r"\udcff\ud800"),  # a byte that is no text, half a character
        ("\U000e0041\ue000", r"\U000e0041\ue000"),  # an invisible tag, a private character
    ],
)
def test_what_is_not_printable_is_written_as_python_escapes_it(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable(shown) == shown
    shown.encode()


def test_every_character_gives_one_printable_line() -> None:
    for code in range(sys.maxunicode + 1):
        made = printable(chr(code))
        assert made, hex(code)
        assert made.isprintable(), hex(code)


@pytest.mark.parametrize("text", ["a" * 5000, "\x1b" * 5000, "é" * (LIMIT + 1)])
def test_the_length_is_bounded(text: str) -> None:
    made = printable(text)
    assert len(made) == LIMIT
    assert made.endswith("…")
    assert printable(text, 20) == made[:19] + "…"
    assert printable(made) == made


def test_a_text_of_the_limit_is_whole() -> None:
    assert printable("a" * LIMIT) == "a" * LIMIT
