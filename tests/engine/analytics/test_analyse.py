"""From rows to tables: sequences of recordings, bins on the clock, and tables that agree."""

import csv
import io
import json
from datetime import UTC, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from engine.analytics import (
    Clock,
    ClockOrigin,
    EventKind,
    Recording,
    Scene,
    analyse,
    answering,
    bins_of,
    counts_of,
    read_tracks,
)
from engine.analytics.ground import Ground, speed_m_s
from engine.analytics.naming import cameras_of
from engine.analytics.samples import read_mot
from engine.analytics.settings import AnswerSettings
from engine.analytics.tables import COLUMNS, csv_of, rows_of, tables_of, to_csv
from engine.choices.formats import TABLES
from engine.errors import ConfigError, InputError

SCENE = Scene.model_validate(
    {
        "line": [
            {"name": "west", "points": [[0.3, 0], [0.3, 1]], "in": "left", "out": "right"},
            {"name": "east", "points": [[0.7, 0], [0.7, 1]], "in": "left", "out": "right"},
        ],
        "zone": [{"name": "middle", "polygon": [[0.4, 0], [0.6, 0], [0.6, 1], [0.4, 1]]}],
    }
)
SIZE = (1000, 500)


def row(frame, track, x, name="car", score=0.8, fps=10, y=300):
    class_id = {"car": 2, "truck": 7, "person": 0}[name]
    box = [x - 20, y - 50, x + 20, y]
    head = {"frame": frame, "pts": frame * 512, "time_s": frame / fps, "track_id": track, "class_id": class_id}
    return {**head, "class": name, "score": score, "box_xyxy": box}


def walks(tracks):
    """Rows by frame of tracks {id: (first frame, x of each frame)}."""
    rows = [row(first + i, track, x) for track, (first, xs) in tracks.items() for i, x in enumerate(xs)]
    return sorted(rows, key=lambda value: (value["frame"], value["track_id"]))


def written(path, rows):
    path.write_text("".join(json.dumps(value) + "\n" for value in rows))
    return path


def recording(path, rows, seconds=None, offset=0.0, name="a.mp4"):
    examined = None if seconds is None else (offset, offset + seconds)
    return Recording(name, SIZE, read_tracks(written(path, rows)), examined, offset)


EASTWARDS = [*range(100, 901, 40)]


def test_events_of_one_walk(tmp_path):
    answers = analyse([recording(tmp_path / "a", walks({5: (0, EASTWARDS)}), 2.1)], SCENE, camera="c")
    assert [(e.kind.value, e.place, e.direction, round(e.at.frame, 2)) for e in answers.events] == [
        ("crossing", "west", "right", 5.0),
        ("enter", "middle", "", 8.0),
        ("stay", "middle", "", 8.0),
        ("leave", "middle", "", 12.0),
        ("crossing", "east", "right", 15.0),
    ]
    assert answers.events[2].dwell_s == pytest.approx(0.4)
    track = answers.tracks[0]
    assert (track.class_name, track.rows, track.path_px, track.first_frame, track.last_frame) == ("car", 21, 800, 0, 20)


def test_a_stay_of_one_moment_ends_after_it_is_told(tmp_path):
    answers = analyse([recording(tmp_path / "a", walks({5: (0, [100, 300, 500, 800, 900])}))], SCENE)
    zone = [event for event in answers.events if event.place == "middle"]
    assert [event.kind.value for event in zone] == ["enter", "stay", "leave"]
    assert len({event.at.time_s for event in zone}) == 1


def test_class_is_the_vote_of_scores(tmp_path):
    rows = [row(i, 1, 100 + i, "truck", 0.9) for i in range(3)] + [row(i, 1, 100 + i, "car", 0.5) for i in range(3, 9)]
    track = analyse([recording(tmp_path / "a", rows, 1)]).tracks[0]
    assert track.class_name == "car"
    assert track.votes == pytest.approx({"car": 3.0, "truck": 2.7})


def test_a_cut_recording_is_the_whole(tmp_path):
    rows = walks({1: (0, EASTWARDS), 2: (7, EASTWARDS[::-1]), 9: (12, [450] * 20)})
    whole = analyse([recording(tmp_path / "whole", rows, 3.2)], SCENE)
    parts = []
    for number, (start, stop) in enumerate([(0, 4), (4, 12), (12, 15), (15, 40)]):
        part = [
            {**r, "frame": r["frame"] - start, "time_s": r["time_s"] - start / 10}
            for r in rows
            if start <= r["frame"] < stop
        ]
        parts.append(recording(tmp_path / str(number), part, (stop - start) / 10, start / 10, f"{number}.mp4"))
    cut = analyse(parts, SCENE)

    def what(answers):
        return [(e.kind, e.place, e.direction, e.track_id, round(e.at.time_s, 6), e.at.x) for e in answers.events]

    assert what(cut) == what(whole)
    assert [t.path_px for t in cut.tracks] == pytest.approx([t.path_px for t in whole.tracks])
    crossing = next(e for e in cut.events if e.track_id == 1 and e.place == "east")
    assert (crossing.at.video, round(crossing.at.frame, 3)) == ("3.mp4", 0.0)


def test_tables_agree(tmp_path):
    rng = np.random.default_rng(0)
    tracks = {
        i: (int(rng.integers(0, 900)), (500 + np.cumsum(rng.normal(0, 60, 60))).round(2).tolist()) for i in range(40)
    }
    answers = analyse([recording(tmp_path / "a", walks(tracks), 96)], SCENE)
    tables = tables_of(answers, bin_s=10)
    assert tuple(tables) == tuple(COLUMNS) == TABLES
    crossings = [e for e in tables["events"] if e["kind"] == "crossing"]
    assert len(crossings) > 50
    assert sum(c["count"] for c in tables["counts"]) == len(crossings)
    for line in ("west", "east"):
        for direction in ("left", "right"):
            chosen = [c["count"] for c in tables["counts"] if (c["line"], c["direction"]) == (line, direction)]
            assert len(chosen) == 10
            assert sum(chosen) == sum((e["place"], e["direction"]) == (line, direction) for e in crossings)
    assert {e["track_id"] for e in tables["events"]} <= {t["track_id"] for t in tables["tracks"]}
    assert all(t["entered_from"] for t in tables["tracks"] if t["track_id"] in {e["track_id"] for e in crossings})
    for name, rows in tables.items():
        read = list(csv.DictReader(io.StringIO(to_csv(name, rows))))
        assert len(read) == len(rows)
        assert tuple(read[0]) == COLUMNS[name]


def test_where_tracks_came_from_and_went_to(tmp_path):
    """A line within a zone: the zone is last for who ends in it, and for who crosses the line and then leaves it."""
    area = {"name": "area", "polygon": [[0.4, 0], [0.8, 0], [0.8, 1], [0.4, 1]]}
    scene = Scene.model_validate({"line": [{"name": "gate", "points": [[0.6, 0], [0.6, 1]]}], "zone": [area]})
    there = [*range(300, 781, 40)]
    tracks = {1: (0, there), 2: (0, [*there, 820, 900]), 3: (0, there[::-1]), 4: (0, [700, 500])}
    found = tables_of(analyse([recording(tmp_path / "a", walks(tracks), 2)], scene))
    ways = [(t["track_id"], t["entered_from"], t["left_to"]) for t in found["tracks"]]
    assert ways == [(track, "area", "area") for track in (1, 2, 3, 4)]
    assert [(o["from"], o["to"], o["tracks"]) for o in found["od"]] == [("area", "area", 4)]


def test_zero_and_unexamined_bins(tmp_path):
    clock = Clock(datetime(2026, 11, 30, 9, 50, tzinfo=ZoneInfo("Europe/Berlin")), ClockOrigin.NAME)
    parts = [
        recording(tmp_path / "a", walks({1: (0, EASTWARDS)}), 600),
        Recording("broken.mp4", SIZE, [], None, 600.0),
        recording(tmp_path / "b", walks({2: (0, EASTWARDS)}), 600, offset=3600.0, name="b.mp4"),
    ]
    counts = [c for c in counts_of(analyse(parts, SCENE, clock)) if (c.line, c.direction) == ("west", "right")]
    shown = [(c.bin.starts.strftime("%H:%M"), c.count, c.bin.examined_s) for c in counts]
    assert shown == [("09:45", 1, 600), ("10:00", None, 0), ("10:15", None, 0), ("10:30", None, 0), ("10:45", 1, 600)]
    assert [c["count"] for c in tables_of(analyse(parts[1:2], SCENE, clock))["counts"]] == []


@pytest.mark.parametrize(
    ("start", "seconds", "bin_s", "expected"),
    [
        ("2026-10-25T01:00:00", 3 * 3600, 3600, ["01:00+0200", "02:00+0200", "02:00+0100"]),
        ("2026-03-29T01:00:00", 2 * 3600, 3600, ["01:00+0100", "03:00+0200"]),
        ("2026-10-24T12:00:00", 40 * 3600, 86400, ["00:00+0200", "00:00+0200", "00:00+0100"]),
        ("2026-03-28T12:00:00", 40 * 3600, 86400, ["00:00+0100", "00:00+0100", "00:00+0200"]),
        ("2026-11-30T10:07:03", 1000, 900, ["10:00+0100", "10:15+0100"]),
    ],
)
def test_bins_over_a_change_of_summer_time(start, seconds, bin_s, expected):
    clock = Clock(datetime.fromisoformat(start).replace(tzinfo=ZoneInfo("Europe/Berlin")), ClockOrigin.GIVEN)
    answers = analyse([Recording("a.mp4", SIZE, [], (0.0, float(seconds)))], SCENE, clock)
    bins = bins_of(answers, bin_s)
    assert [b.starts.strftime("%H:%M%z") for b in bins] == expected
    assert all(first.end_s == second.start_s for first, second in pairwise(bins))
    assert sum(b.examined_s for b in bins) == pytest.approx(seconds)


@pytest.mark.parametrize(("start", "bin_s"), [("2026-11-30T00:00:00", 1.1), ("2026-11-30T10:07:03.3", 0.1)])
def test_bins_of_fractions_of_a_second_have_an_end(start, bin_s):
    """3.3 // 1.1 is 2: a bin that begins there would begin again and again."""
    clock = Clock(datetime.fromisoformat(start).replace(tzinfo=UTC), ClockOrigin.GIVEN)
    bins = bins_of(analyse([Recording("a.mp4", SIZE, [], (0.0, 11.0))], SCENE, clock), bin_s)
    assert len(bins) == round(11 / bin_s)
    assert all(first.end_s == second.start_s for first, second in pairwise(bins))
    assert sum(b.examined_s for b in bins) == pytest.approx(11)


def test_what_is_examined_twice_counts_once():
    parts = [(40.0, 50.0), (0.0, 20.0), (15.0, 30.0), (5.0, 8.0), (50.0, 55.0), (61.0, 61.0)]
    answers = analyse([Recording(f"{n}", SIZE, [], part) for n, part in enumerate(parts)], SCENE)
    assert [round(b.examined_s, 3) for b in bins_of(answers, 10)] == [10, 10, 10, 0, 10, 5, 0]
    assert bins_of(answers, 10)[-1].examined_s > 0


def test_a_clock_that_is_years_off_is_reported_rather_than_filling_the_memory():
    answers = analyse([Recording("a", SIZE, [], (0.0, 60.0)), Recording("b", SIZE, [], (4e8, 4e8 + 60))], camera="yard")
    with pytest.raises(InputError, match=r"camera 'yard' span 4,630 days.*clock of one of them"):
        bins_of(answers, 60)


def test_without_a_clock_bins_are_relative():
    answers = analyse([Recording("a.mp4", SIZE, [], (0.0, 25.0))], SCENE)
    assert [(b.start_s, b.end_s, b.starts) for b in bins_of(answers, 10)] == [
        (0, 10, None),
        (10, 20, None),
        (20, 30, None),
    ]


def test_a_new_size_ends_what_was_under_way(tmp_path):
    first = recording(tmp_path / "a", walks({1: (0, [200, 250])}), 1)
    second = Recording(
        "b.mp4", (2000, 1000), read_tracks(written(tmp_path / "b", walks({1: (0, [1500, 1600])}))), (1.0, 2.0), 1.0
    )
    assert [e for e in analyse([first, second], SCENE).events if e.kind is EventKind.CROSSING] == []


@pytest.mark.parametrize("clock", [None, Clock(datetime(2026, 11, 30, 9, 50, tzinfo=UTC), ClockOrigin.NAME)])
def test_what_happened_where_nobody_looked_is_in_a_bin_of_its_own(tmp_path, clock):
    """Rows that a person has added behind the end of what was examined, and before its beginning."""
    path = written(tmp_path / "a", walks({1: (0, EASTWARDS), 2: (320, EASTWARDS), 3: (2300, EASTWARDS)}))
    answers = analyse([Recording("a.mp4", SIZE, read_tracks(path), (30.0, 42.0))], SCENE, clock)
    counts = [c for c in counts_of(answers, 10) if (c.line, c.direction) == ("west", "right")]
    assert [(c.bin.start_s, c.bin.end_s, c.count, c.bin.examined_s) for c in counts] == [
        (0, 10, 1, 0),
        (30, 40, 1, 10),
        (40, 50, 0, 2),
        (230, 240, 1, 0),
    ]


def test_text_that_a_spreadsheet_would_run(tmp_path):
    answers = analyse([recording(tmp_path / "a", walks({1: (0, EASTWARDS)}), 2.1, name="=cmd()|x.mp4")], SCENE)
    assert "'=cmd()" in to_csv("events", tables_of(answers)["events"])


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("=1+1", "'=1+1"),
        ("-a", "'-a"),
        ("x;=1+1", "x;'=1+1"),  # spreadsheets of many countries divide a cell there
        ("x;@a;+1;b", "x;'@a;'+1;b"),
        ("a=b; =c", "a=b; =c"),
        ("it's;'x", "it's;'x"),
    ],
)
def test_names_that_a_spreadsheet_would_run(name, written):
    text = csv_of(["name"], [{"name": name}])
    assert text == f"name\r\n{written}\r\n"
    assert rows_of(text) == [{"name": name}]


@pytest.mark.parametrize(
    "line",
    ["nonsense", "{}", '{"frame": 1}', "[1, 2]", json.dumps(row(0, 1, 100) | {"box_xyxy": [1, 2]}), "null", "NaN"],
)
def test_rows_that_are_none(tmp_path, line):
    path = tmp_path / "a.tracks.jsonl"
    path.write_text(json.dumps(row(0, 1, 100)) + "\n" + line + "\n")
    with pytest.raises(InputError, match=r"a.tracks.jsonl, line 2: not a track row"):
        list(read_tracks(path))


def test_rows_of_a_file_that_is_read_in_blocks(tmp_path):
    """Class names make it long, one of them longer than a block. One row is JSON of another form, the last has no line
    end."""
    rows = [{**row(frame, 1, 100), "class": "c" * (5_000_000 if frame == 60 else 50_000)} for frame in range(130)]
    lines = [json.dumps(value) + "\n" for value in rows]
    lines[100] = "\n " + json.dumps(rows[100], separators=(",", ":")) + "\n"
    path = tmp_path / "a.tracks.jsonl"
    path.write_text("".join(lines).rstrip())
    found = list(read_tracks(path))
    assert len(found) > 1
    assert [frame for samples in found for frame in samples.frames.tolist()] == list(range(130))
    path.write_text("".join(lines) + "nonsense\n")
    with pytest.raises(InputError, match=r"line 132: not a track row"):
        list(read_tracks(path))


def test_a_mot_file_in_any_order(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("2,1,290.1,0,40,100.2,0.9,-1,-1,-1\n1,1,200,0,40,100,0.9,-1,-1,-1\n")
    (samples,) = read_mot(path, fps=5)
    assert samples.frames.tolist() == [1, 2]
    assert samples.times_s.tolist() == [0, 0.2]
    assert samples.boxes_xyxy[1].tolist() == [290.1, 0, 330.1, 100.2]


def test_speed_on_the_ground(tmp_path):
    scene = Scene.model_validate(
        {"map": {"image": [[0, 0], [1, 0], [1, 1], [0, 1]], "metres": [[0, 0], [100, 0], [100, 50], [0, 50]]}}
    )
    rows = walks({1: (0, [*range(100, 901, 4)])})
    rows[50]["box_xyxy"] = [10, 250, 50, 300]  # one wild box moves no median
    answers = analyse([recording(tmp_path / "a", rows, 20)], scene)
    assert answers.tracks[0].speed_kmh == pytest.approx(4 * 10 / 10 * 3.6, rel=0.02)
    assert answers.ground_residual_m == pytest.approx(0, abs=1e-6)


def test_a_map_on_one_line_is_refused():
    with pytest.raises(ConfigError, match="no three are on one line"):
        Ground.fit([(0, 0), (0.1, 0.1), (0.2, 0.2), (0.3, 0.3)], [(0, 0), (1, 1), (2, 2), (3, 3)], SIZE)


def test_what_is_above_the_horizon_is_nowhere(tmp_path):
    """The sides of a road meet at the frame's upper edge, where it is endlessly far away."""
    road = {"image": [[0.1, 0.9], [0.9, 0.9], [0.7, 0.45], [0.3, 0.45]], "metres": [[0, 0], [8, 0], [8, 9], [0, 9]]}
    rows = [row(frame, 1, 500, y=y) for frame, y in enumerate([450, 225, 0, -10])]
    rows += [row(frame, 2, 500, y=0) for frame in range(3)]
    tracks = analyse([recording(tmp_path / "a", rows, 1)], Scene.model_validate({"map": road})).tracks
    assert [track.path_m and round(track.path_m, 6) for track in tracks] == [9, None]


def test_a_speed_needs_three_moments():
    assert speed_m_s(np.array([0.0, 1.0]), np.array([[0.0, 0], [1, 0]])) is None


SEQUENCE = AnswerSettings(scenes=(SCENE,), camera="folder", zone=ZoneInfo("Europe/Berlin"), bin_s=900)


def of_a_sequence(tmp_path, *entries):
    """Bins and counts at a line, of files as in a manifest: (name, how many seconds were examined or None, length)."""
    found = []
    for name, examined_s, duration_s in entries:
        (tmp_path / f"{name}.tracks.jsonl").write_text("")
        media = {"size_wh": SIZE, "first_s": 0.0, "examined_s": [0.0, examined_s]} if examined_s else None
        found.append(
            {
                "path": f"{name}.mp4",
                "stem": name,
                "status": "ok" if examined_s else "failed",
                "duration_s": duration_s,
                "media": media,
                "outputs": {"tracks": f"{name}.tracks.jsonl"} if examined_s else {},
            }
        )
    (camera,) = answering.answer(answering.films_of(found, tmp_path, SEQUENCE), SEQUENCE)
    counts = [count for count in counts_of(camera.answers) if (count.line, count.direction) == ("west", "right")]
    return [(count.bin.starts.strftime("%H:%M"), count.count) for count in counts]


@pytest.mark.parametrize(
    ("why", "files", "expected"),
    [
        (
            "at the start",
            [("20240501_091000", None, 0), ("20240501_095000", 600, 600)],
            [("09:00", None), ("09:15", None), ("09:30", None), ("09:45", 0)],
        ),
        (
            "at the end, of known length",
            [("20240501_095000", 600, 600), ("20240501_100000", None, 1800)],
            [("09:45", 0), ("10:00", None), ("10:15", None)],
        ),
        (
            "at the end, of unknown length: its beginning alone is known",
            [("20240501_095000", 600, 600), ("20240501_101000", None, 0)],
            [("09:45", 0), ("10:00", None)],
        ),
        ("all of them", [("20240501_095000", None, 1200)], [("09:45", None), ("10:00", None)]),
        (
            "one without a clock takes nothing from the others",
            [("20240501_100000", 60, 60), ("broken", None, 60)],
            [("10:00", 0)],
        ),
        ("its clock is decades off", [("19700101_100000", None, 60), ("20240501_100000", 60, 60)], [("10:00", 0)]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_failed_file_has_empty_bins_where_its_place_is_known(tmp_path, why, files, expected):
    assert of_a_sequence(tmp_path, *files) == expected


@pytest.mark.parametrize(
    ("why", "videos", "expected"),
    [
        ("called after their folder", [("a", "/in/gate/a.mp4"), ("b", "/in/gate/b.mp4")], ["gate", "gate"]),
        ("beside folders", [("a", "gate/a.mp4"), ("x/b", "gate/x/b.mp4")], ["gate", "x"]),
        ("whose name is taken", [("a", "gate/a.mp4"), ("gate/b", "gate/gate/b.mp4")], [".", "gate"]),
        ("of several folders", [("a", "gate/a.mp4"), ("b", "door/b.mp4")], [".", "."]),
        ("the path has no folder", [("a", "a.mp4")], ["."]),
        ("an object in storage", [("a", "s3://bucket/gate/a.mp4")], ["gate"]),
        ("a live source", [("live", "rtsp://user:***@gate/live")], ["gate"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_videos_in_no_folder_are_of_a_camera_with_a_name(why, videos, expected):
    assert cameras_of(videos, "folder") == expected
    assert cameras_of(videos, r"^.*$") == [name for name, _ in videos]
