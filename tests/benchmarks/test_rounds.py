"""Who runs when."""

import gc

import pytest

from benchmarks.rounds import Repeated, alternate, alternate_short


def test_in_turn_and_each_second_round_in_reverse():
    seen = []
    work = {name: (lambda name=name: seen.append(name)) for name in "abc"}
    found = alternate(work, rounds=3, warmup=1)
    assert "".join(seen) == "abccbaabccba"
    assert {name: (len(each.wall_s), len(each.cpu_s)) for name, each in found.items()} == dict.fromkeys("abc", (3, 3))


def test_setup_comes_before_its_work_and_collection_is_off_in_it_only():
    seen = []
    alternate(
        {"a": lambda: seen.append(("work", gc.isenabled()))},
        rounds=1,
        warmup=1,
        setup={"a": lambda: seen.append(("setup", gc.isenabled()))},
    )
    assert seen == [("setup", True), ("work", False)] * 2
    assert gc.isenabled()


def test_a_failure_ends_it():
    with pytest.raises(ZeroDivisionError):
        alternate({"a": lambda: 1 / 0}, rounds=5)
    assert gc.isenabled()


def test_short_works_are_repeated():
    calls = []
    repeated = Repeated(calls.append, 1)
    assert repeated.times > 1
    (figures,) = alternate_short({"a": repeated}, rounds=5, scale=1e6).values()
    assert len(figures) == 5
    assert len(calls) == 2 + 6 * repeated.times
