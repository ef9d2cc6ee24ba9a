"""Verdicts of a review: what is rejected counts for nothing, and what fits nothing is told."""

import csv
import json

import pytest
from click.testing import CliRunner

from engine.analytics.verdicts import read_verdicts
from engine.cli.group import commands
from engine.errors import ConfigError
from tests.engine.report.handmade import Film, output_folder


def table(folder, name):
    with open(folder / f"{name}.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def analyze(*arguments):
    result = CliRunner().invoke(commands, ["analyze", *map(str, arguments)], standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return result.output


def judged(event, verdict="rejected", **changes):
    return {
        "verdict": verdict,
        "camera": event["camera"],
        "track_id": int(event["track_id"]),
        "kind": event["kind"],
        "place": event["place"],
        "direction": event["direction"],
        "video": event["video"],
        "pts": int(event["pts"]),
        **changes,
    }


@pytest.fixture
def out(tmp_path):
    output_folder(tmp_path / "out", [Film("a", tracks=8), Film("b", tracks=4)])
    analyze(tmp_path / "out")
    return tmp_path / "out"


def review(out, *verdicts):
    path = out.parent / "verdicts.json"
    path.write_text(json.dumps({"schema": 1, "report": "x", "verdicts": verdicts}))
    told = json.loads(analyze(out, "-o", out.parent / "again", "--verdicts", path, "--json"))
    return out.parent / "again", told


def of_kind(events, kind):
    return [event for event in events if event["kind"] == kind]


def test_a_rejected_crossing_is_in_no_table(out):
    before = table(out, "events")
    first, second, *_ = of_kind(before, "crossing")
    again, told = review(out, judged(first), judged(second, "confirmed"))
    after = table(again, "events")
    assert after == [event for event in before if event != first]
    counts = [sum(int(row["count"]) for row in table(folder, "counts")) for folder in (out, again)]
    assert counts == [12, 11]
    assert [camera["reviewed"] for camera in told["cameras"]] == [
        {"confirmed": 1, "rejected": 1, "unknown": 0},
        {"confirmed": 0, "rejected": 0, "unknown": 0},
    ]
    assert len(table(again, "tracks")) == 12


def test_a_rejected_stay_goes_with_its_enter_and_leave(out):
    before = table(out, "events")
    stay = of_kind(before, "stay")[0]
    again, _ = review(out, judged(stay))
    gone = [event for event in before if event not in table(again, "events")]
    assert {event["kind"] for event in gone} <= {"enter", "leave", "stay"}
    assert {(event["track_id"], event["camera"]) for event in gone} == {(stay["track_id"], stay["camera"])}
    ends = 2 - int(stay["born_inside"]) - int(stay["ended_inside"])
    assert len(gone) == 1 + ends


@pytest.mark.parametrize("known_as", [None, "."])
def test_verdicts_on_a_camera_called_after_its_folder(out, known_as):
    """Older versions called it "."."""
    (first, *_) = (event for event in table(out, "events") if event["kind"] == "crossing")
    analyze(out, "--camera", "folder")
    named = next(
        event for event in table(out, "events") if event["video"] == first["video"] and event["pts"] == first["pts"]
    )
    assert named["camera"] not in (".", first["camera"])
    path = out.parent / "verdicts.json"
    verdict = judged(named, camera=known_as or named["camera"])
    path.write_text(json.dumps({"schema": 1, "report": "x", "verdicts": [verdict]}))
    options = ("--camera", "folder", "--verdicts", path, "--json")
    told = json.loads(analyze(out, "-o", out.parent / "again", *options))
    assert [camera["reviewed"]["rejected"] for camera in told["cameras"]] == [1]


def test_a_rejected_track_was_never_there(out):
    verdict = {"verdict": "rejected", "camera": "a", "track_id": 3, "kind": "track"}
    again, told = review(out, verdict)
    assert {row["track_id"] for row in table(again, "tracks") if row["camera"] == "a"} == set("1245678")
    assert not [event for event in table(again, "events") if (event["camera"], event["track_id"]) == ("a", "3")]
    assert told["cameras"][0]["ids"] == 7
    assert told["cameras"][1]["ids"] == 4


@pytest.mark.parametrize(
    "change", [{"pts": 12345}, {"camera": "elsewhere"}, {"track_id": 99}, {"direction": "up"}, {"place": "gone"}]
)
def test_what_fits_nothing_is_told_and_counts_for_nothing(out, change):
    before = table(out, "events")
    path = out.parent / "v.json"
    path.write_text(json.dumps({"schema": 1, "verdicts": [judged(of_kind(before, "crossing")[0], **change)]}))
    said = analyze(out, "-o", out.parent / "again", "--verdicts", path)
    assert table(out.parent / "again", "events") == before
    assert "Verdicts: 0 confirmed, 0 rejected, 1 on events that do not exist" in said


def test_no_verdicts_change_nothing(out):
    again, _ = review(out)
    for name in ("tracks", "events", "counts", "od", "travel_times"):
        assert (again / f"{name}.csv").read_bytes() == (out / f"{name}.csv").read_bytes()


EVENT = {"verdict": "rejected", "camera": "a", "track_id": 1, "kind": "crossing"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "invalid JSON"),
        ("[]", "input should be an object"),
        ('{"schema": 2, "verdicts": []}', "schema: input should be 1"),
        ('{"schema": 1}', "verdicts: field required"),
        (json.dumps({"schema": 1, "verdicts": [EVENT]}), r"verdicts\[1\]: a verdict on a crossing needs place"),
        (json.dumps({"schema": 1, "verdicts": [{**EVENT, "verdict": "maybe"}]}), r"verdicts\[1\]\.verdict"),
        (json.dumps({"schema": 1, "verdicts": [{**EVENT, "track_id": "1"}]}), r"verdicts\[1\]\.track_id"),
        ("[" * 100_000, "invalid JSON"),
    ],
)
def test_a_file_that_is_none(tmp_path, content, said):
    path = tmp_path / "v.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match=f"Verdicts .*v.json: .*{said}"):
        read_verdicts(path)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match="can't be read: no such file"):
        read_verdicts(tmp_path / "none.json")


def test_the_report_leaves_out_what_was_rejected(out):
    crossing = of_kind(table(out, "events"), "crossing")[0]
    path = out.parent / "v.json"
    path.write_text(json.dumps({"schema": 1, "verdicts": [judged(crossing)]}))
    result = CliRunner().invoke(commands, ["report", str(out), "--verdicts", str(path)], standalone_mode=False)
    assert result.exception is None
    assert "1 were rejected and are not counted" in (out / "report.html").read_text(encoding="utf-8")
