import pytest

from engine.pipeline.flow_control import Window
from tests.engine.test_handoff import Aside


def test_at_most_size_are_inside():
    window = Window(2)
    assert [window.enter(wait=False) for _ in range(3)] == [True, True, False]
    window.leave()
    assert window.enter(wait=False)
    assert not window.enter(wait=False)


def test_enter_waits_for_one_to_leave():
    window = Window(1)
    assert window.enter()
    waiting = Aside(window.enter)
    assert waiting.waits
    window.leave()
    assert waiting.end() is True


def test_close_wakes_all_who_wait():
    window = Window(1)
    window.enter()
    waiting = [Aside(window.enter) for _ in range(3)]
    assert all(each.waits for each in waiting)
    window.close()
    assert [each.end() for each in waiting] == [False] * 3


def test_a_decoder_rests_until_few_are_inside() -> None:
    window = Window(5)
    inside = 0
    while not window.rest(many=4, few=2):
        assert window.enter(wait=False)
        inside += 1
    assert inside == 4
    assert [window.leave() for _ in range(4)] == [False, False, True, False]  # it is called back once


def test_a_decoder_rests_where_there_is_no_room() -> None:
    window = Window(5)
    assert window.enter()
    window.narrow(1)
    assert window.rest(many=4, few=3)
    assert window.leave()
    assert not window.rest(many=4, few=3)


def test_a_decoder_does_not_rest_at_a_closed_window() -> None:
    window = Window(1)
    assert window.enter()
    window.close()
    assert not window.rest(many=1, few=1)


@pytest.mark.parametrize("wait", [True, False])
def test_nothing_enters_a_closed_window(wait):
    window = Window(5)
    window.close()
    window.leave()  # a frame that was in flight
    assert window.enter(wait=wait) is False


def test_frames_that_wait_for_the_next_one_take_up_no_room() -> None:
    window = Window(1)
    assert window.enter()
    assert not window.enter(wait=False)
    assert window.enter(held=1)
    assert not window.enter(wait=False, held=1)
