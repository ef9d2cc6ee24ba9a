"""An ended job as a trace in OTLP's JSON: spans of the job, its steps and each attempt at a video.

Nothing is recorded for it during the job, because the job's directory has who did what and when. So the trace shows
kills and repeated deliveries as they happened, and its ids, which are hashes, are the same whoever builds it. Times of
leases have a resolution of one second.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NotRequired, TypedDict

from engine.versions import own_version
from orchestrator.job.jobdir import Job
from orchestrator.job.leases import Lease
from orchestrator.job.records import EndRecord, EntryStatus, How, JobState

_INTERNAL = 1
_OK, _ERROR = 1, 2
_BAD = {How.CRASHED, How.STALLED, How.FAILED, How.BROKE_OFF}
_Value = str | int | float | bool


class ValueJson(TypedDict, total=False):
    """A value in OTLP's JSON: one of these keys. 64-bit integers are strings there."""

    boolValue: bool
    intValue: str
    doubleValue: float
    stringValue: str


class AttributeJson(TypedDict):
    """An attribute of a span or a resource."""

    key: str
    value: ValueJson


class StatusJson(TypedDict):
    """How a span ended; `message` only after a failure."""

    code: int
    message: NotRequired[str]


class _Parent(TypedDict, total=False):
    parentSpanId: str


class SpanJson(_Parent):
    """A span in OTLP's JSON: ids as hexadecimal digits, times as strings of nanoseconds since 1970."""

    traceId: str
    spanId: str
    name: str
    kind: int
    startTimeUnixNano: str
    endTimeUnixNano: str
    attributes: list[AttributeJson]
    status: StatusJson


class ScopeSpansJson(TypedDict):
    """Spans by instrumentation scope."""

    scope: dict[str, str]
    spans: list[SpanJson]


class ResourceSpansJson(TypedDict):
    """Spans by resource."""

    resource: dict[str, list[AttributeJson]]
    scopeSpans: list[ScopeSpansJson]


class RequestJson(TypedDict):
    """The body of an OTLP request for traces."""

    resourceSpans: list[ResourceSpansJson]


@dataclass(frozen=True)
class Span:
    """A span. Times are in seconds since 1970; `parent` is the `key` of another span, "" for the root; `error` is None
    without a failure."""

    key: str
    parent: str
    name: str
    begins_s: float
    ends_s: float
    error: str | None = None
    attributes: Mapping[str, _Value] = field(default_factory=dict)


def spans_of(job: Job, end: EndRecord) -> list[Span]:
    """Return the spans of an ended job, the root first."""
    begins_s, ends_s = _seconds(job.spec.created_at), _seconds(end.ended_at)
    totals = end.result.summary.totals
    facts: dict[str, _Value] = {
        "yolo.job": job.id,
        "yolo.task": job.spec.task,
        "yolo.state": end.state.value,
        "yolo.video_folder": job.spec.video_folder,
        "yolo.videos": totals.videos,
        "yolo.frames": totals.frames,
        **({} if totals.cpu_s is None else {"yolo.cpu_s": totals.cpu_s}),
    }
    error = None if end.state is JobState.COMPLETED else end.result.message
    steps = list(_steps(job))
    return [
        Span("job", "", f"job {job.spec.task}", begins_s, max(begins_s, ends_s), error, facts),
        *steps,
        *_videos(job, steps),
        *_end(steps, begins_s, ends_s),
    ]


def _steps(job: Job) -> Iterator[Span]:
    for key, last in sorted(job.leases("tasks").items()):
        for number in range(1, last.number + 1):
            yield _of_lease(Lease(last.base, number), f"{key}.{number}", "job", key, {"yolo.step": key})


def _videos(job: Job, steps: list[Span]) -> Iterator[Span]:
    """Yield each attempt at a video, with its worker's step at that time as parent."""
    start = job.start_record()
    names = {f"{video.index:04d}": video for video in (start.videos if start is not None else ())}
    for base, last in sorted(job.leases("videos").items()):
        if (video := names.get(base)) is None:
            continue
        done = job.done(video.index)
        for number in range(1, last.number + 1):
            lease = Lease(last.base, number)
            facts: dict[str, _Value] = {"yolo.video": video.path, "yolo.attempt": number}
            if done is not None and done.attempt == number:
                facts |= {"yolo.status": done.status.value, "yolo.frames": done.entry.frames}
            span = _of_lease(lease, f"{base}.{number}", "job", f"video {video.stem}", facts)
            failed = done is not None and done.attempt == number and done.status is EntryStatus.FAILED
            error = span.error or (done.entry.error if failed and done is not None else None)
            parent = next((step.key for step in steps if _holds(step, span)), "job")
            yield Span(span.key, parent, span.name, span.begins_s, span.ends_s, error, span.attributes)


def _holds(step: Span, video: Span) -> bool:
    """Return whether a step was running on the same worker when an attempt began, within a second."""
    same = step.attributes.get("yolo.worker") == video.attributes.get("yolo.worker")
    return same and step.name.startswith("process") and step.begins_s - 1 <= video.begins_s <= step.ends_s + 1


def _end(steps: list[Span], begins_s: float, ends_s: float) -> Iterator[Span]:
    """Yield the last step, which has no lease: the time after the others."""
    since = max((step.ends_s for step in steps), default=begins_s)
    if ends_s > since:
        yield Span("end", "job", "end", since, ends_s, attributes={"yolo.step": "end"})


def _of_lease(lease: Lease, key: str, parent: str, name: str, facts: dict[str, _Value]) -> Span:
    """Return the span of a lease, until its release or, if its owner died, the owner's last sign of life."""
    record, ending = lease.record(), lease.ending()
    begins_s, ends_s = _seconds(record.at), lease.last_touched_s()
    told: dict[str, _Value] = {**facts, "yolo.how": "died" if ending is None else ending.how}
    if record.owner is not None:
        told["yolo.worker"] = record.owner.node
    error = "its worker died" if ending is None else (ending.error or ending.how if ending.how in _BAD else None)
    return Span(key, parent, name, begins_s or ends_s, max(begins_s, ends_s), error, told)


def request_of(job: Job, end: EndRecord) -> RequestJson:
    """Return the body of an OTLP request as JSON."""
    trace = hashlib.sha256(job.id.encode()).hexdigest()[:32]
    service: dict[str, _Value] = {"service.name": "yolo-engine", "service.version": own_version()}
    spans = [_otlp(span, trace, job.id) for span in spans_of(job, end)]
    scope: ScopeSpansJson = {"scope": {"name": "yolo-engine"}, "spans": spans}
    return {"resourceSpans": [{"resource": {"attributes": _attributes(service)}, "scopeSpans": [scope]}]}


def _otlp(span: Span, trace: str, job_id: str) -> SpanJson:
    status: StatusJson = {"code": _OK} if span.error is None else {"code": _ERROR, "message": span.error[:1000]}
    parent: _Parent = {"parentSpanId": _span_id(job_id, span.parent)} if span.parent else {}
    return {
        "traceId": trace,
        "spanId": _span_id(job_id, span.key),
        **parent,
        "name": span.name,
        "kind": _INTERNAL,
        "startTimeUnixNano": str(round(span.begins_s * 1e9)),
        "endTimeUnixNano": str(round(span.ends_s * 1e9)),
        "attributes": _attributes(span.attributes),
        "status": status,
    }


def _span_id(job_id: str, key: str) -> str:
    return hashlib.sha256(f"{job_id} {key}".encode()).hexdigest()[:16]


def _attributes(values: Mapping[str, _Value]) -> list[AttributeJson]:
    return [{"key": key, "value": _value(value)} for key, value in values.items()]


def _value(value: _Value) -> ValueJson:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    return {"doubleValue": value} if isinstance(value, float) else {"stringValue": value}


def _seconds(text: str) -> float:
    """Parse a time of a record; 0 if invalid."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return 0.0
