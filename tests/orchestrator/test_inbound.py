"""What a worker takes from a queue: hostile messages are refused, and what passes is made anew."""

import base64
import json
import random
from typing import Any

import pytest

from orchestrator.broker.inbound import Refused, checked
from orchestrator.settings import Settings
from tests.orchestrator.hostile import GOOD_HEADERS, NOTHING_FOLLOWS, POISON, first_protocol, message, spoilt

QUEUES = Settings().known_queues


def passed(sent: Any) -> dict[str, Any]:
    return json.loads(checked(json.dumps(sent).encode(), "yolo-log", QUEUES))


def body_of(made: dict[str, Any]) -> Any:
    return json.loads(base64.b64decode(made["body"]))


@pytest.mark.parametrize("name", POISON)
def test_poison_is_refused_in_one_printable_line(name: str) -> None:
    with pytest.raises(Refused) as refused:
        checked(POISON[name], "yolo-log", QUEUES)
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) <= 300


def test_a_message_of_celery_passes() -> None:
    sent = message("/v", {"max_age": 3}, kwargs={"job": "/out/.yolo-jobs/a"}, redelivered=True)
    made = passed(sent)
    assert body_of(made) == [["/v", {"max_age": 3}], {"job": "/out/.yolo-jobs/a"}, NOTHING_FOLLOWS]
    for key in ("task", "id", "eta", "expires", "retries", "timelimit", "root_id", "parent_id", "origin"):
        assert made["headers"][key] == GOOD_HEADERS[key]
    assert made["headers"]["redelivered"] is True
    assert made["properties"]["delivery_tag"] == sent["properties"]["delivery_tag"]
    assert passed(made) == made, "a message that was given back passes again"


def test_the_first_protocol_passes_as_the_second() -> None:
    made = passed(first_protocol(kwargs={"config": None}))
    assert (made["headers"]["task"], made["headers"]["id"]) == ("log_start_yolo", "abc")
    assert body_of(made)[:2] == [["/v"], {"config": None}]


def test_a_chain_of_our_tasks_passes() -> None:
    follower = {
        "task": "process_videos_yolo",
        "args": ["/v"],
        "kwargs": {},
        "options": {"task_id": "b", "reply_to": "c", "queue": "yolo"},
        "subtask_type": None,
        "immutable": True,
    }
    made = passed(message("/v", embedded={**NOTHING_FOLLOWS, "chain": [follower]}))
    assert body_of(made)[2]["chain"] == [follower]


def test_a_message_goes_back_to_where_it_came_from() -> None:
    """The workers' commands and others' queues are reached by what an envelope names."""
    sent = message("/v")
    sent["properties"]["delivery_info"] = {"exchange": "celery.pidbox", "routing_key": "mallory"}
    info = passed(sent)["properties"]["delivery_info"]
    assert (info["exchange"], info["routing_key"]) == ("", "yolo-log")


def test_what_is_for_display_is_made_anew() -> None:
    made = passed(
        message("/v\n\x1b[2J", shadow="harmless", argsrepr="lies", kwargsrepr="\x1b[31m", origin="\u202ehost")
    )["headers"]
    assert made["argsrepr"] == r"['/v\n\x1b[2J']"
    assert made["kwargsrepr"] == "{}"
    assert made["origin"] == r"\u202ehost"
    assert "shadow" not in made


def test_unknown_headers_do_not_become_fields_of_the_running_task() -> None:
    made = passed(message("/v", is_eager=True, called_directly=True, delivery_info={}, hostname="other", stamps=[7]))
    assert made["headers"].keys() <= {*GOOD_HEADERS, "redelivered"}
    assert not {"is_eager", "called_directly", "hostname", "stamps"} & made["headers"].keys()


def test_three_thousand_messages_spoilt_at_random() -> None:
    """Whatever comes out is a message of the known form; whatever does not is refused, and nothing else is raised."""
    chance = random.Random(13)
    refused = 0
    for _ in range(3000):
        try:
            made = json.loads(checked(spoilt(chance), "yolo", QUEUES))
        except Refused:
            refused += 1
        else:
            assert isinstance(made["headers"]["id"], str)
            assert len(made["headers"]["timelimit"]) == 2
            assert len(body_of(made)) == 3
    assert 1000 < refused < 3000
