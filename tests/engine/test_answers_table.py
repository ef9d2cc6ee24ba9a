"""Counts on a console: where Rich isn't needed, the text is the one that it gives."""

import io

import pytest
from rich.console import Console

from engine.cli.rows import Rows


@pytest.mark.parametrize("cell", ["a", "[b] and [/c]", "a  b ", "", "\u00fc", "\u65e5\u672c", "w" * 300], ids=str)
def test_the_text_is_that_of_rich(cell):
    rows = Rows("camera", ">count", "classes")
    assert not rows
    rows.add(cell, "1,234", "12 person")
    rows.add("north", "-", cell)
    shown, expected = (Console(file=io.StringIO(), width=200) for _ in range(2))
    rows.show(shown)
    expected.print(rows.table())
    found, wanted = ([line.rstrip() for line in console.file.getvalue().splitlines()] for console in (shown, expected))
    assert found == wanted
    assert len(found) >= 3
