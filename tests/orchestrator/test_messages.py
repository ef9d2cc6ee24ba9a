"""The messages between a worker and its engine process: what arrives is what was sent, or is refused."""

import json
from dataclasses import fields
from typing import get_args

import pytest

from engine.observe.snapshot import Snapshot, Stage
from orchestrator.engine_process.messages import (
    AlarmsTold,
    AllSent,
    AnyTask,
    Done,
    Event,
    Fatal,
    Finished,
    FollowedUp,
    FollowUp,
    Found,
    GiveDrawing,
    GivePiece,
    GiveVideo,
    Kept,
    LeftOut,
    Looked,
    Measured,
    ModelFound,
    Next,
    NoMoreVideos,
    Opening,
    Order,
    PieceDone,
    Probe,
    Progressed,
    Reading,
    Ready,
    Reported,
    Salvage,
    Salvaged,
    SendRest,
    Stop,
    StreamProgress,
    Work,
    WriteReport,
    event_of,
    order_of,
    task_of,
)
from orchestrator.job.records import BackendFacts, EngineFacts, EntryStatus, ModelFacts, VideoEntry, VideoFacts

ENTRY = VideoEntry.from_json(VideoEntry(path="a.mp4", status=EntryStatus.OK).to_json())
ROOTS = ("/videos",)

TASKS = [
    Probe(inputs=("a", "b"), output="out", config={"conf": 0.5}, skip=("c",), roots=ROOTS, log_level="info"),
    Probe(inputs=(), output="out", config={}, only=("a.mp4",)),
    Work(output="out", config={}, job="j", on_event=("http://x",), event_kinds=("stay",), event_loiter_s=3.0),
    Salvage(path="a.mp4", stem="a", output="out", job="j", successor="0000.2.json"),
    FollowUp(output="out", config={}, videos=({"path": "a.mp4"},), model=ModelFacts("m"), reported=True, made=True),
    SendRest(
        output="out",
        stored="s3://b/out",
        notes="n",
        jobs="d",
        job="j",
        name="r",
        result={},
        manifest={},
        overwrite=True,
        settled=True,
    ),
]
ORDERS = [
    GiveVideo(3, "a.mp4", "a", 2, "s", "e", ("b",), "pieces/0003", 60.0),
    GivePiece("a.mp4", "a.piece-2", 120.0, 180.0, "pieces/0003-00002.bin"),
    GiveDrawing("a.mp4", "a.drawing-2", "a", "pieces/0003-00002.notes", "pieces/0003-00002.drawn"),
    NoMoreVideos(),
    Kept(3),
    Stop(hand_over=True),
    WriteReport({"videos": []}),
]
EVENTS = [
    LeftOut(("x",)),
    Found(2),
    Opening("a.mp4"),
    Looked(VideoFacts(0, "a.mp4", "a", 10, duration_s=1.5)),
    ModelFound(ModelFacts("m", "abc")),
    Ready(EngineFacts(ModelFacts("m", "abc"), BackendFacts("native", "AVX-512"))),
    Next(),
    Progressed((StreamProgress("a", "a.mp4", 5, None, 0.5, 0), StreamProgress("b", "b.mp4", 5, 9, 1.0, 4, 2))),
    Measured(Snapshot(5, 2.5, 1, {"ok": 1}, 1.0, 100, (Stage("worker", "infer", 1.0, 0.5),), {"frames": 2})),
    Done(0, ENTRY, lost=True, known_ahead=7),
    PieceDone("a.piece-2", 25, "why", unfinished=True),
    AlarmsTold(({"target": "x", "sent": 1},)),
    Finished(),
    Fatal("why"),
    Salvaged({"tracks": "a.tracks.jsonl"}, ENTRY),
    Salvaged({}),
    Reading(),
    FollowedUp({"answers": {"cameras": [], "tables": {}}}, ({"origin": "none"}, None), "why"),
    FollowedUp(),
    AllSent(),
    Reported("report.html"),
]
ALL = [*((task_of, each) for each in TASKS), *((order_of, each) for each in ORDERS), *((event_of, e) for e in EVENTS)]


def test_none_is_left_out_here():
    for examples, union in ((TASKS, AnyTask), (ORDERS, Order), (EVENTS, Event)):
        assert {type(each) for each in examples} == set(get_args(union))


@pytest.mark.parametrize(("parse", "message"), ALL, ids=lambda value: type(value).__name__)
def test_what_arrives_is_what_was_sent(parse, message):
    assert parse(json.loads(json.dumps(message.to_json()))) == message


@pytest.mark.parametrize(("parse", "message"), ALL, ids=lambda value: type(value).__name__)
def test_a_value_of_another_type_is_refused_and_so_is_none_at_all(parse, message):
    value = message.to_json()
    for name in (each.name for each in fields(message)):
        wrong = "7" if isinstance(value[name], bool | int | float) else 7
        with pytest.raises(ValueError, match=r"must be|Got"):
            parse({**value, name: wrong})
        without = {key: of for key, of in value.items() if key != name}
        if value[name] is None or (message, name) in MAY_BE_ABSENT:
            parse(without)
        else:
            with pytest.raises(ValueError, match=f"{name} is missing"):
                parse(without)


MAY_BE_ABSENT = [
    (TASKS[1], "only"),
    (TASKS[2], "event_loiter_s"),
    *((each, "entry") for each in EVENTS if isinstance(each, Salvaged)),
    *((each, "error") for each in EVENTS if isinstance(each, FollowedUp | PieceDone)),
    (ORDERS[0], "pieces"),
]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({**Found(2).to_json(), "count": True}, "count must be of type int"),
        ({**LeftOut(()).to_json(), "lines": ["a", 1]}, "lines must be of type str"),
        ({**Salvaged({}).to_json(), "outputs": {"tracks": 1}}, "outputs must be of type str"),
        ({"kind": 3}, "kind must be of type str"),
        ({"kind": "follow up"}, "is not a message that is known here"),
    ],
)
def test_what_stands_deeper_is_looked_at_too(value, said):
    with pytest.raises(ValueError, match=said):
        event_of(value)
