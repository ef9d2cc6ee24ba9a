"""Validates each message that a worker takes from a queue before Celery sees it, and rebuilds it from its valid parts.

Anyone who may submit can put any bytes on a queue, and Celery trusts what it finds there: a header of the wrong type
ends the worker, an envelope names the queue that a message returns to, headers and the third part of the body become
fields of the running task, links and chains are sent with the worker's permissions, and compressed bodies can grow
without bound. So a message is parsed here with a fixed schema, and only what fits is passed on: unknown headers are
dropped, display fields are rebuilt, and a rejected message returns to the queue it came from.

Both of Celery's protocols are accepted; the output is the second.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from engine.text.printable import printable
from orchestrator.job.atomic_json import parse_json

MAX_BYTES = 1 << 20
"""Maximum bytes of a message. Ours have a few hundred: a path and a configuration."""

MAX_AHEAD = timedelta(days=1)
"""The longest delay a message may request; until then it takes memory of the worker and of the broker."""

_MAX_DEPTH = 32
_SHOWN = 300


class Refused(ValueError):
    """A message that must not be processed; says why in one printable line."""


def _near_time(text: str) -> str:
    """Check a time as written by Celery. Extreme ones overflow in conversions between zones."""
    if not 2000 <= datetime.fromisoformat(text).year < 3000:
        raise ValueError("it must be a time of this millennium")
    return text


def _soon(text: str) -> str:
    """Check a time as written by Celery; without a zone it is UTC."""
    time = datetime.fromisoformat(_near_time(text))
    if (time if time.tzinfo else time.replace(tzinfo=UTC)) - datetime.now(UTC) > MAX_AHEAD:
        raise ValueError(f"it must be at most {MAX_AHEAD.days} day ahead")
    return text


def _not_celery_s(name: str) -> str:
    """Refuse Celery's own tasks, which run others or wait for them indefinitely."""
    if name.startswith("celery."):
        raise ValueError("tasks of Celery itself are not run")
    return name


Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:@-]{1,200}$")]
TaskName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,200}$"), AfterValidator(_not_celery_s)]
Time = Annotated[str, Field(max_length=40), AfterValidator(_near_time)]
Soon = Annotated[str, Field(max_length=40), AfterValidator(_soon)]
Limit = Annotated[float, Field(gt=0, le=30 * 86_400, allow_inf_nan=False)]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


class _Headers(_Strict):
    id: Id
    task: TaskName
    root_id: Id | None = None
    parent_id: Id | None = None
    group: Id | None = None
    group_index: Annotated[int, Field(ge=0, le=10**6)] | None = None
    retries: Annotated[int, Field(ge=0, le=1000)] | None = None
    eta: Soon | None = None
    expires: Time | None = None
    timelimit: Annotated[list[Limit | None], Field(min_length=2, max_length=2)] | None = None
    ignore_result: bool | None = None
    redelivered: bool = False
    compression: None = None
    """Compression is refused: a few bytes could become a gigabyte."""


class _Delivery(_Strict):
    redelivered: bool = False


class _Properties(_Strict):
    delivery_tag: Id
    body_encoding: Literal["base64", "utf-8"] | None = None
    correlation_id: Id | None = None
    reply_to: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:@-]{0,200}$")] | None = None
    priority: Annotated[int, Field(ge=0, le=9)] | None = None
    delivery_info: _Delivery = _Delivery()


class _Envelope(_Strict):
    body: str
    headers: dict[str, object] | None = None
    properties: _Properties
    content_type: Literal["application/json"] = Field(alias="content-type")
    content_encoding: Literal["utf-8", "utf8", "UTF-8"] = Field(alias="content-encoding")


class _Options(BaseModel):
    """Options of a follower; none that affects how it is sent or that bypasses checks."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    task_id: Id | None = None
    root_id: Id | None = None
    parent_id: Id | None = None
    reply_to: Id | None = None
    queue: str | None = None
    priority: Annotated[int, Field(ge=0, le=9)] | None = None


class _Follower(BaseModel):
    """A task that is sent when another has ended, as in Celery's signatures."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    task: TaskName
    args: list[object] = []
    kwargs: dict[str, object] = {}
    options: _Options = _Options()
    subtask_type: None = None
    immutable: bool = False
    chord_size: None = None


class _Embedded(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    callbacks: list[_Follower] | None = None
    errbacks: list[_Follower] | None = None
    chain: list[_Follower] | None = None
    chord: None = None


class _Body(_Strict):
    args: list[object]
    kwargs: dict[str, object]
    embedded: _Embedded


def checked(raw: bytes, queue: str, queues: Collection[str]) -> str:
    """Return the validated message as JSON. `queue` is where it was taken from, `queues` are the permitted queues of
    followers. Raises Refused."""
    try:
        return json.dumps(_made_anew(raw, queue, queues))
    except Refused:
        raise
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise Refused(printable(f"{place}: {first['msg']}. Got {first['input']!r:.100}", _SHOWN)) from None
    except (ValueError, TypeError, RecursionError) as error:
        raise Refused(printable(f"{type(error).__name__}: {error}", _SHOWN)) from None


def _made_anew(raw: bytes, queue: str, queues: Collection[str]) -> dict[str, object]:
    if len(raw) > MAX_BYTES:
        raise Refused(f"it has {len(raw)} bytes, more than {MAX_BYTES}")
    envelope = _Envelope.model_validate(_parsed(raw, "it"))
    properties = envelope.properties
    given, parts = _headers_and_body(envelope.headers or {}, _decoded(envelope.body, properties.body_encoding))
    headers = _Headers.model_validate(given)
    body = _Body.model_validate(parts)
    for follower in (*(body.embedded.callbacks or ()), *(body.embedded.errbacks or ()), *(body.embedded.chain or ())):
        if follower.options.queue is not None and follower.options.queue not in queues:
            raise Refused(printable(f"a task that follows goes to queue {follower.options.queue!r:.100}", _SHOWN))
    embedded = body.embedded.model_dump(exclude_unset=True)
    return {
        "body": base64.b64encode(json.dumps([body.args, body.kwargs, embedded]).encode()).decode(),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {
            **headers.model_dump(exclude={"compression"}),
            "lang": "py",
            "retries": headers.retries or 0,
            "timelimit": headers.timelimit or [None, None],
            "argsrepr": printable(repr(body.args)),
            "kwargsrepr": printable(repr(body.kwargs)),
            "origin": printable(str(given.get("origin") or ""), 100),
        },
        "properties": {
            "delivery_tag": properties.delivery_tag,
            "body_encoding": "base64",
            "delivery_mode": 2,
            # Without an exchange it can only return to the queue of this name.
            "delivery_info": {
                "exchange": "",
                "routing_key": queue,
                "redelivered": properties.delivery_info.redelivered,
            },
            "correlation_id": properties.correlation_id or headers.id,
            "reply_to": properties.reply_to or "",
            "priority": properties.priority or 0,
        },
    }


def _decoded(body: str, encoding: str | None) -> object:
    """Parse the body as JSON. Raises Refused."""
    try:
        data = base64.b64decode(body, validate=True) if encoding == "base64" else body.encode()
    except binascii.Error as error:
        raise Refused(f"the body is not base64: {error}") from None
    return _parsed(data, "the body")


def _parsed(data: bytes, what: str) -> object:
    """Parse JSON. Raises Refused if it is nested deeply: the parser's own limit differs between versions of Python."""
    value = parse_json(data)
    if _depth_beyond(value, _MAX_DEPTH):
        raise Refused(f"{what} is nested more than {_MAX_DEPTH} deep")
    return value


def _headers_and_body(headers: Mapping[str, object], body: object) -> tuple[Mapping[str, object], Mapping[str, object]]:
    """Return headers and body, converted to protocol 2; protocol 1 has everything in the body."""
    if "task" in headers:
        if not isinstance(body, list) or len(body) != 3:
            raise Refused("the body must be a list of arguments, keywords and what follows")
        args, kwargs, embedded = body
        return headers, {"args": args, "kwargs": kwargs, "embedded": {} if embedded is None else embedded}
    if not isinstance(body, dict):
        raise Refused("it names no task")
    follow = {key: body.get(key) for key in ("callbacks", "errbacks", "chord")}
    first = {"group": body.get("taskset"), **body, "compression": headers.get("compression")}
    return first, {"args": body.get("args", []), "kwargs": body.get("kwargs", {}), "embedded": follow}


def _depth_beyond(value: object, deepest: int) -> bool:
    """Return whether a value is nested deeper than `deepest`; iterative, so that no depth can overflow the stack."""
    level = [value]
    for _ in range(deepest):
        level = [
            inner
            for outer in level
            if isinstance(outer, list | dict)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return False
    return True
