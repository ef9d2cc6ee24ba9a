"""The heatmap that is added up while videos are tracked: the bytes that their rows give, whatever happens meanwhile."""

import json
import random
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from engine.analytics import read_tracks
from engine.analytics.answering import answer, films_of
from engine.analytics.heatmap import Heatmap, read_file, to_file
from engine.analytics.settings import AnswerSettings
from engine.errors import CheckpointMismatch
from engine.records import Detections, Frame, Tracks
from engine.sinks.heatmap import HeatmapSink
from engine.sinks.jsonl import TracksJsonl
from engine.sinks.rows import RowFile
from tests.e2e.runs import clip, fake_engine, left_over
from tests.e2e.test_answers import analyze
from tests.e2e.test_sequences import cut_in_five, whole  # noqa: F401 - a fixture

NAMES = ("car", "person")
SETTINGS = {"heatmap": True, "formats": ("tracks",), "visualize": False, "workers": 1}


def by_rows(folder):
    """What `analyze` makes of a run's rows."""
    analyze(folder, "-o", folder / "again", "--heatmap")
    return (folder / "again" / "heatmap.json").read_bytes()


@pytest.mark.parametrize("settings", [{}, {"skip_frames": 2}, {"max_age": 4, "min_hits": 1}])
def test_it_is_that_of_the_rows(tmp_path, settings):
    video = clip(tmp_path / "a.mp4", 90)
    summary = fake_engine(**SETTINGS, **settings).run([video], tmp_path / "out")
    entry = summary["videos"][0]
    assert Path(entry["outputs"]["heatmap"]) == tmp_path / "out" / "a.heatmap.json"
    assert Path(summary["answers"]["tables"]["heatmap.json"]).read_bytes() == by_rows(tmp_path / "out")
    assert json.loads((tmp_path / "out" / "heatmap.json").read_text())["cameras"]["a"]["classes"]["square"]
    assert left_over(tmp_path / "out") == []


def test_what_was_just_added_up_is_taken_as_it_is_and_rows_are_asked_where_it_is_not_to_be_had(tmp_path):
    summary = fake_engine(**SETTINGS).run([clip(tmp_path / "a.mp4", 60)], tmp_path / "out")
    right, settings = json.loads((tmp_path / "out" / "heatmap.json").read_text())["cameras"]["a"], AnswerSettings()

    def found(content, **keys):
        (tmp_path / "out" / "a.heatmap.json").write_text(content)
        (camera,) = answer(films_of(summary["videos"], tmp_path / "out", settings, **keys), settings, heatmap=True)
        return camera.heatmap.table()

    other = json.dumps({**right, "classes": {}})
    assert found(other, just_tracked=True) == {**right, "classes": {}}
    assert found(other) == right, "rows may have been changed since"
    cell = [[0, 10_000, 1, 0.1]]
    for damaged in (
        "",
        "{}",
        "[]",
        json.dumps({**right, "size_wh": [9, 9]}),
        json.dumps({**right, "classes": {"a": cell}}),
    ):
        assert found(damaged, just_tracked=True) == right


@pytest.mark.parametrize("after", [30, 75, 110])
def test_killed_and_continued_it_is_the_same(tmp_path, after):
    video = clip(tmp_path / "a.mp4", 160)
    fake_engine(**SETTINGS).run([video], tmp_path / "whole")
    broken = fake_engine(**SETTINGS, fail_after=after, checkpoint_s=0.03, delay_s=0.004)
    assert "told to fail" in broken.run([video], tmp_path / "out")["videos"][0]["error"]
    assert fake_engine(**SETTINGS).run([video], tmp_path / "out")["videos"][0]["resumed_from"] > 0
    for name in ("heatmap.json", "a.heatmap.json"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert (tmp_path / "out" / "heatmap.json").read_bytes() == by_rows(tmp_path / "out")


@pytest.mark.parametrize("settings", [{"own_clock": False}, {"own_clock": False, "overlap_s": 1}, {"own_clock": True}])
def test_a_sequence_has_one(tmp_path, whole, settings):  # noqa: F811
    """A track that goes on from file to file counts once in a cell."""
    cut_in_five(whole, tmp_path / "cam", **settings)
    keys = {**SETTINGS, "camera": "folder", "max_age": 5}
    with fake_engine(**keys) as engine:
        summary = engine.run([tmp_path / "cam"], tmp_path / "out")
        engine.run([whole], tmp_path / "whole")
    assert all("heatmap" in video["outputs"] for video in summary["videos"])
    made = (tmp_path / "out" / "heatmap.json").read_bytes()
    assert made == by_rows(tmp_path / "out")
    (camera,), (of_whole,) = (
        json.loads(text)["cameras"].values() for text in (made, (tmp_path / "whole" / "heatmap.json").read_bytes())
    )
    assert [cell[:3] for cell in camera["classes"]["square"]] == [cell[:3] for cell in of_whole["classes"]["square"]]
    cells, tracks = camera["classes"]["square"], [read_file(path) for path in (tmp_path / "out").glob("part*.json")]
    assert sum(cell[2] for cell in cells) == sum(n for each in tracks for _, n, _ in each.cells["square"])


def test_asked_for_later_it_costs_no_work_that_was_done(tmp_path):
    """What a run without it has left is gone on with, and it is made of the rows."""
    video = clip(tmp_path / "a.mp4", 160)
    plain = {**SETTINGS, "heatmap": False}
    broken = fake_engine(**plain, fail_after=110, checkpoint_s=0.03, delay_s=0.004)
    broken.run([video], tmp_path / "out")
    summary = fake_engine(**SETTINGS).run([video], tmp_path / "out")
    assert summary["videos"][0]["resumed_from"] > 0
    assert "heatmap" not in summary["videos"][0]["outputs"]
    assert (tmp_path / "out" / "heatmap.json").read_bytes() == by_rows(tmp_path / "out")
    fake_engine(**SETTINGS).run([video], tmp_path / "whole")
    assert (tmp_path / "out" / "heatmap.json").read_bytes() == (tmp_path / "whole" / "heatmap.json").read_bytes()


def test_an_interrupted_run_leaves_no_part_of_it(tmp_path):
    video = clip(tmp_path / "a.mp4", 200)
    engine = fake_engine(**SETTINGS, delay_s=0.01)
    engine.run([video], tmp_path / "out", progress=lambda found: found and found[0].frames > 40 and engine.stop())
    assert (tmp_path / "out" / "a.partial.tracks.jsonl").exists()
    assert not list((tmp_path / "out").glob("*heatmap*"))
    fake_engine(**SETTINGS).run([video], tmp_path / "out")
    assert (tmp_path / "out" / "heatmap.json").read_bytes() == by_rows(tmp_path / "out")


# -- the sink alone ---------------------------------------------------------------------------------------------------


def street(seed, frames):
    """Tracks that come, stop, are lost for a while, change their class and go; every third frame was not inferred."""
    at = random.Random(seed)
    image = av.VideoFrame(320, 180, "gray")
    alive, highest, pts = {}, 0, 0
    for number in range(frames):
        pts += at.choice([1, 1, 1, 2, 40])
        if at.random() < 0.2:
            highest += 1
            alive[highest] = [at.uniform(-20, 340), at.uniform(-20, 200), at.uniform(-4, 4), at.uniform(-3, 3)]
        for track_id in [track_id for track_id in alive if at.random() < 0.02]:
            del alive[track_id]
        for place in alive.values():
            place[0], place[1] = place[0] + place[2], place[1] + place[3]
        seen = [track_id for track_id in alive if at.random() < 0.9]
        boxes = np.array([[x - 5.004, y - 9.995, x + 5, y] for x, y, *_ in (alive[each] for each in seen)])
        kinds = np.array([at.random() < 0.1 for _ in seen], np.int32)
        frame = Frame(0, number, pts, 1, Fraction(1, 30), image)
        found = None if number % 3 == 2 else Detections()
        columns = np.array(seen, np.int64), kinds, np.ones(len(seen), np.float32)
        may_return = np.array(sorted(alive), np.int64) if number % 64 == 63 else None
        yield Tracks(frame, boxes.reshape(-1, 4), *columns, found, alive=may_return)


@pytest.mark.parametrize("seed", range(6))
def test_the_sink_gives_what_the_rows_give_from_any_checkpoint(tmp_path, seed):
    at, path = random.Random(seed), tmp_path / "a.heatmap.json"
    sink = HeatmapSink(path, NAMES)
    rows = TracksJsonl(RowFile(tmp_path / "a.tracks.jsonl", limit=10, intermediate=True), NAMES)
    sink.open(None)
    rows.open(None)
    for tracks in street(seed, 400):
        sink.write(tracks)
        rows.write(tracks)
        if at.random() < 0.05:
            state = json.loads(json.dumps(sink.mark()()))
            sink = HeatmapSink(path, NAMES)
            sink.resume(None, state, tmp_path / "none")
    sink.commit(None, path)
    rows.commit(None, tmp_path / "a.tracks.jsonl")
    expected = Heatmap((320, 180))
    for samples in read_tracks(tmp_path / "a.tracks.jsonl"):
        expected.feed(samples)
    assert path.read_bytes() == to_file(expected)
    assert Heatmap.of(read_file(path)).table() == expected.table()
    assert sum(map(len, expected.table()["classes"].values())) > 300


def one_at_a_time(ids):
    """A track per frame, in one of 300 places; track 0 may return at any time."""
    image = av.VideoFrame(320, 180, "gray")
    for number, track_id in enumerate(ids):
        frame = Frame(0, number, number, 1, Fraction(1, 25), image)
        box = np.array([[track_id % 300, 50.0, track_id % 300 + 9, 90.0]])
        columns = np.array([track_id], np.int64), np.zeros(1, np.int32), np.ones(1, np.float32)
        alive = np.array([0, track_id], np.int64) if number % 64 == 63 else None
        yield Tracks(frame, box, *columns, Detections(), alive=alive)


def test_memory_is_that_of_the_tracks_alive():
    sink = HeatmapSink(Path("a.heatmap.json"), NAMES)
    for tracks in one_at_a_time(range(4000)):
        sink.write(tracks)
    state = sink.mark()()
    assert len(state["heatmap"]["cells"]["tracks"]) < 100
    assert len(json.dumps(state)) < 50_000
    assert sum(tracks for _, tracks, _ in state["heatmap"]["cells"]["cells"]["car"]) == 4000


def test_a_track_that_a_tracker_holds_unseen_for_long_counts_once():
    """However long it was not seen, and however many others came and went meanwhile."""
    sink = HeatmapSink(Path("a.heatmap.json"), NAMES)
    for tracks in one_at_a_time([*range(0, 9000, 3), 0]):
        sink.write(tracks)
    assert sum(tracks for _, tracks, _ in sink.mark()()["heatmap"]["cells"]["cells"]["car"]) == 3000


def test_a_damaged_state_starts_over(tmp_path):
    sink = HeatmapSink(tmp_path / "a.heatmap.json", NAMES)
    cells = {"size_wh": [320, 180], "cells": {"car": [[0, 1, 2]]}, "tracks": []}
    right = {"cells": cells}
    sink.resume(None, {"offset": 0, "heatmap": {"frames": 1, "steps": 1.0, "seen": [[1, 0.0]], **right}}, tmp_path)
    sink.resume(None, {"offset": 0, "heatmap": right}, tmp_path / "none")
    for wrong in (
        None,
        {},
        {**right, "cells": {**cells, "cells": {"car": [[0, -1, 2]]}}},
        {**right, "cells": {**cells, "cells": {"car": [[64 * 36, 1, 2]]}}},
        {**right, "cells": {**cells, "size_wh": [0, 1]}},
    ):
        with pytest.raises(CheckpointMismatch, match="contains no state of a heatmap"):
            sink.resume(None, {"offset": 0, "heatmap": wrong}, tmp_path / "none")
