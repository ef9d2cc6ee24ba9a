"""How numbers of things are said: one of them is one."""

import re

import pytest

from engine.text.counted import counted
from engine.text.did_you_mean import there_is
from tests.assets import ROOT


@pytest.mark.parametrize(
    ("number", "noun", "said"),
    [
        (0, ("clip",), "0 clips"),
        (1, ("clip",), "1 clip"),
        (2, ("clip",), "2 clips"),
        (1_000, ("clip",), "1,000 clips"),
        (1, ("box", "boxes"), "1 box"),
        (3, ("box", "boxes"), "3 boxes"),
    ],
)
def test_one_and_many(number, noun, said):
    assert counted(number, *noun) == said


def test_what_there_is():
    assert there_is("cart", ["car", "person"]) == "Did you mean 'car'? There is: car, person."
    assert there_is("x", []) == "There is: none."
    assert there_is("x", map(str, range(30))).endswith(" and 10 more.")


def test_no_command_counts_by_hand():
    """`f"{len(clips)} clips"` says "1 clips". The higher end of a range is never one."""
    by_hand = re.compile(r'f"[^"]*(?<!to )\{(?:len\([^{}]*\)|[^{}]*:,)\} [a-z]+s\b')
    found = {
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in sorted((ROOT / "engine" / "cli").rglob("*.py"))
        for line in path.read_text(encoding="utf-8").splitlines()
        if by_hand.search(line)
    }
    assert not found, "say it with engine.text.counted"
