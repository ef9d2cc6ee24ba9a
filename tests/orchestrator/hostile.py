"""Messages as a stranger writes them."""

import base64
import json
import random
import uuid
from typing import Any

GOOD_HEADERS: dict[str, Any] = {
    "lang": "py",
    "task": "log_start_yolo",
    "id": "11111111-2222-3333-4444-555555555555",
    "shadow": None,
    "eta": None,
    "expires": None,
    "group": None,
    "group_index": None,
    "retries": 0,
    "timelimit": [None, None],
    "root_id": "11111111-2222-3333-4444-555555555555",
    "parent_id": None,
    "argsrepr": "('/v', None)",
    "kwargsrepr": "{}",
    "origin": "gen1@host",
    "ignore_result": False,
    "replaced_task_nesting": 0,
    "stamped_headers": None,
    "stamps": {},
}
NOTHING_FOLLOWS: dict[str, Any] = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


def message(*args: Any, embedded: Any = NOTHING_FOLLOWS, kwargs: Any = None, **headers: Any) -> dict[str, Any]:
    """One of the second protocol, as Celery writes it."""
    body = json.dumps([list(args), kwargs or {}, embedded]).encode()
    return {
        "body": base64.b64encode(body).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {**GOOD_HEADERS, **headers},
        "properties": {
            "correlation_id": "11111111-2222-3333-4444-555555555555",
            "reply_to": "22222222-2222-3333-4444-555555555555",
            "delivery_mode": 2,
            "delivery_info": {"exchange": "yolo-log", "routing_key": "yolo-log"},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": str(uuid.uuid4()),
        },
    }


def first_protocol(**fields: Any) -> dict[str, Any]:
    """Everything is in the body."""
    sent = message()
    body = {"task": "log_start_yolo", "id": "abc", "args": ["/v"], "kwargs": {}, "retries": 0, "utc": True, **fields}
    return {**sent, "headers": {}, "body": base64.b64encode(json.dumps(body).encode()).decode()}


def _with(value: dict[str, Any], **parts: Any) -> bytes:
    return json.dumps({key: part for key, part in {**value, **parts}.items() if part is not ...}).encode()


def _body(text: bytes) -> bytes:
    return _with(message(), body=base64.b64encode(text).decode())


def _headers(**headers: Any) -> bytes:
    sent = message()
    return _with(
        sent, headers={key: value for key, value in {**sent["headers"], **headers}.items() if value is not ...}
    )


def _properties(**properties: Any) -> bytes:
    sent = message()
    return _with(sent, properties={k: v for k, v in {**sent["properties"], **properties}.items() if v is not ...})


def _following(**signature: Any) -> bytes:
    given = {"task": "log_end_yolo", "args": [], "kwargs": {}, "options": {}, "subtask_type": None, "immutable": True}
    return json.dumps(message("/v", embedded={**NOTHING_FOLLOWS, "chain": [{**given, **signature}]})).encode()


_PICKLE = b"cposix\nsystem\n(S'touch /tmp/yolo-pickled'\ntR."

# What must be dropped, and why.
POISON: dict[str, bytes] = {
    "not JSON": b"notjson",
    "empty": b"",
    "a number": b"7",
    "null": b"null",
    "a list": b"[]",
    "no object within": b"{}",
    "a part of JSON": json.dumps(message()).encode()[:200],
    "no UTF-8": b"\xff\xfe\x00",
    "NaN": b'{"body": NaN}',
    "a huge number": b'{"body": ' + b"9" * 100_000 + b"}",
    "a deep list": b"[" * 100_000 + b"]" * 100_000,
    "a deep header": _headers(task="x")[:-1] + b', "z": ' + b"[" * 5000 + b"]" * 5000 + b"}",
    "two megabytes": _headers(argsrepr="a" * (2 << 20)),
    # the envelope
    "no headers": _with(message(), headers=...),
    "headers null": _with(message(), headers=None),
    "headers a list": _with(message(), headers=[1]),
    "headers a text": _with(message(), headers="task"),
    "no properties": _with(message(), properties=...),
    "properties a list": _with(message(), properties=[]),
    "no delivery tag": _properties(delivery_tag=...),
    "the tag a list": _properties(delivery_tag=[1]),
    "the tag a dictionary": _properties(delivery_tag={"a": 1}),
    "delivery info a number": _properties(delivery_info=7),
    "an unknown encoding of the body": _properties(body_encoding="rot13"),
    "the encoding a list": _properties(body_encoding=["base64"]),
    "the priority a word": _properties(priority="high"),
    "the priority endless": _properties(priority=10**30),
    "reply_to a dictionary": _properties(reply_to={}),
    "correlation_id a list": _properties(correlation_id=[]),
    "no content type": _with(message(), **{"content-type": ...}),
    "pickle": _with(message(), **{"content-type": "application/x-python-serialize", "content-encoding": "binary"}),
    "pickle that runs": _with(
        message(),
        body=base64.b64encode(_PICKLE).decode(),
        **{"content-type": "application/x-python-serialize", "content-encoding": "binary"},
    ),
    "yaml": _with(message(), **{"content-type": "application/x-yaml"}),
    "an unknown content type": _with(message(), **{"content-type": "\x1b[31m"}),
    "the content type a list": _with(message(), **{"content-type": []}),
    "an unknown charset": _with(message(), **{"content-encoding": "klingon"}),
    "utf-7": _with(message(), **{"content-encoding": "utf-7"}),
    "compressed": _headers(compression="application/x-gzip"),
    "unknown compression": _headers(compression="x"),
    "compression a list": _headers(compression=[]),
    # the body
    "no body": _with(message(), body=...),
    "body null": _with(message(), body=None),
    "body 7": _with(message(), body=7),
    "body a list": _with(message(), body=[[], {}, {}]),
    "body empty": _with(message(), body=""),
    "body not base64": _with(message(), body="%%%"),
    "body not JSON": _body(b"notjson"),
    "body is 7": _body(b"7"),
    "body is null": _body(b"null"),
    "body is a text": _body(b'"args"'),
    "body of two": _body(b"[[], {}]"),
    "body of four": _body(b"[[], {}, {}, {}]"),
    "args a dictionary": _body(b"[{}, {}, {}]"),
    "args the word": _body(b'["args", {}, {}]'),
    "kwargs a list": _body(b"[[], [], {}]"),
    "deep arguments": _body(b"[" * 50_000 + b"]" * 50_000),
    "rather deep arguments": _body(b"[[" + b"[" * 60 + b"]" * 60 + b"], {}, {}]"),
    "NaN within": _body(b"[[NaN], {}, {}]"),
    "Infinity within": _body(b'[["/v", {"max_age": Infinity}], {}, {}]'),
    "a number of 10,000 digits": _body(b"[[" + b"9" * 10_000 + b"], {}, {}]"),
    "no UTF-8 within": _body(b'[["\xff"], {}, {}]'),
    # headers
    "no task": _headers(task=...),
    "task null": _headers(task=None),
    "task a list": _headers(task=["log_start_yolo"]),
    "task a dictionary": _headers(task={}),
    "task a line with colours": _headers(task="log\x1b[31m\nERROR"),
    "a task of Celery's": _headers(task="celery.chord_unlock"),
    "another task of Celery's": _headers(task="celery.backend_cleanup"),
    "no id": _headers(id=...),
    "id null": _headers(id=None),
    "id a list": _headers(id=[1, 2]),
    "id a dictionary": _headers(id={"a": 1}),
    "id a number": _headers(id=7),
    "id empty": _headers(id=""),
    "id of two lines": _headers(id="a\nERROR all is lost"),
    "id a path": _headers(id="../../../etc/passwd"),
    "id endless": _headers(id="a" * 100_000),
    "timelimit a word": _headers(timelimit="soon"),
    "timelimit words": _headers(timelimit=["a", "b"]),
    "timelimit of one": _headers(timelimit=[1]),
    "timelimit a number": _headers(timelimit=7),
    "timelimit below zero": _headers(timelimit=[-1, -1]),
    "timelimit endless": _headers(timelimit=[1e300, None]),
    "retries a word": _headers(retries="many"),
    "retries a list": _headers(retries=[1]),
    "eta a word": _headers(eta="tomorrow"),
    "eta a number": _headers(eta=7),
    "eta a list": _headers(eta=[]),
    "eta in the year 1": _headers(eta="0001-01-01T00:00:00+14:00"),
    "eta in the year 9999": _headers(eta="9999-12-31T23:59:59-14:00"),
    "eta in a hundred years": _headers(eta="2126-01-01T00:00:00+00:00"),
    "eta in a hundred years, without a zone": _headers(eta="2126-01-01T00:00:00"),
    "expires a word": _headers(expires="never"),
    "expires a dictionary": _headers(expires={}),
    "root_id a list": _headers(root_id=[]),
    "parent_id a dictionary": _headers(parent_id={}),
    "group a list": _headers(group=[1]),
    "group_index a word": _headers(group_index="first"),
    "ignore_result a word": _headers(ignore_result="yes"),
    "redelivered a list": _headers(redelivered=[]),
    # what follows
    "what follows a list": json.dumps(message(embedded=[1])).encode(),
    "a chord": json.dumps(message(embedded={**NOTHING_FOLLOWS, "chord": {"task": "log_end_yolo"}})).encode(),
    "a field of the running task": json.dumps(message(embedded={**NOTHING_FOLLOWS, "is_eager": True})).encode(),
    "a chain of words": json.dumps(message(embedded={**NOTHING_FOLLOWS, "chain": ["log_end_yolo"]})).encode(),
    "callbacks a number": json.dumps(message(embedded={**NOTHING_FOLLOWS, "callbacks": 7})).encode(),
    "a follower of Celery's": _following(task="celery.starmap"),
    "a follower to the workers' commands": _following(options={"exchange": "celery.pidbox", "routing_key": ""}),
    "a follower to a queue of nobody's": _following(options={"queue": "mallory"}),
    "a follower in pickle": _following(options={"serializer": "pickle"}),
    "a follower by another broker": _following(options={"connection": "redis://evil"}),
    "a follower with followers": _following(options={"link": []}),
    "a follower that is a group": _following(subtask_type="group"),
    # the first protocol
    "protocol 1: id a list": json.dumps(first_protocol(id=[])).encode(),
    "protocol 1: task a number": json.dumps(first_protocol(task=7)).encode(),
    "protocol 1: args a text": json.dumps(first_protocol(args="args")).encode(),
    "protocol 1: kwargs a list": json.dumps(first_protocol(kwargs=[])).encode(),
    "protocol 1: timelimit a word": json.dumps(first_protocol(timelimit="x")).encode(),
    "protocol 1: callbacks a text": json.dumps(first_protocol(callbacks="x")).encode(),
}


_VALUES: list[Any] = [
    *(None, True, 0, -1, 1.5, 10**40, 1e300, "", "x", "\ud800", "\x1b[0m", "../..", "2026-01-01T00:00:00", "a" * 999),
    *([], [[]], [None, None], [1, "x"], {}, {"a": {}}, {"__type__": "uuid", "__value__": 7}),
]


def spoilt(chance: random.Random) -> bytes:
    """A message with one to three parts of it replaced, and sometimes a byte."""
    sent: Any = message("/v", {"max_age": 1}) if chance.random() < 0.8 else first_protocol()
    parts = [part for part in (sent, sent["headers"], sent["properties"], sent["properties"]["delivery_info"]) if part]
    for _ in range(chance.randint(1, 3)):
        part = chance.choice(parts)
        part[chance.choice([*part, "stamps", "compression", "redelivered", "chord"])] = chance.choice(_VALUES)
    if chance.random() < 0.3:
        triple = json.loads(base64.b64decode(message("/v", {})["body"]))
        triple[chance.randrange(3)] = chance.choice(_VALUES)
        sent["body"] = base64.b64encode(json.dumps(triple).encode()).decode()
    raw = bytearray(json.dumps(sent).encode())
    if chance.random() < 0.2:
        raw[chance.randrange(len(raw))] = chance.randrange(256)
    return bytes(raw)
