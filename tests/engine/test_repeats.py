"""A signal that comes twice, as `timeout` sends it, is one."""

from engine.cli.repeats import Repeats


def test_a_second_one_counts_after_a_second() -> None:
    times = iter([10.0, 10.001, 10.9, 11.0, 11.5, 40.0])
    repeats = Repeats(lambda: next(times))
    assert [repeats.seen() for _ in range(6)] == [False, True, True, False, True, False]
