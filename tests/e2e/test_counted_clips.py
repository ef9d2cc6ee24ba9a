"""Counts on a real clip, beside what people counted by eye."""

import json

import pytest

from engine import Engine, EngineConfig
from engine.analytics.analysis import EventKind
from tests.assets import require_asset
from tests.e2e.test_answers import table

CLIP = "Testvideo_Cars-Cyclist_FR20_2020-01-01_00-00-00.mp4"


@pytest.mark.slow
def test_cars_and_a_cyclist(tmp_path):
    truth = json.loads(require_asset("videos2/videos_truth.json").read_text())["videos"][CLIP]
    lines = [
        {
            "name": line["id"],
            "points": [line["p"], line["q"]],
            "in": "neg_to_pos",
            "out": "pos_to_neg",
            # A cyclist is a person, too: who counts vehicles names them.
            "classes": ["car", "bicycle", "motorcycle"],
        }
        for line in truth["lines"]
    ]
    config = EngineConfig(model=str(require_asset("models/yolox_nano.onnx")), visualize=False, scene={"line": lines})
    with Engine(config) as engine:
        engine.run([require_asset(f"videos2/{CLIP}")], tmp_path)
    found = [row for row in table(tmp_path, "events") if row["kind"] == EventKind.CROSSING.value]
    for line in truth["lines"]:
        counted = sorted((float(row["frame"]), row["direction"]) for row in found if row["place"] == line["id"])
        expected = sorted((event["frame"], event["direction"]) for event in line["events"])
        assert [way for _, way in counted] == [way for _, way in expected]
        assert [frame for frame, _ in counted] == pytest.approx([frame for frame, _ in expected], abs=3)
    assert found[0]["time"].startswith("2020-01-01T00:00:00.")


@pytest.mark.slow
def test_nobody_is_nobody(tmp_path):
    """The light of a street drifts and jumps, and a parked car is seen in it: nothing crosses any line."""
    clip = require_asset("videos2/street_brightness.avi")
    lines = [
        {"name": "upright", "points": [[0.5, 0.0], [0.5, 1.0]]},
        {"name": "level", "points": [[0.0, 0.5], [1.0, 0.5]]},
        {"name": "slant", "points": [[0.0, 0.0], [0.8, 0.6], [1.0, 1.0]]},
    ]
    config = EngineConfig(model=str(require_asset("models/yolox_nano.onnx")), visualize=False, scene={"line": lines})
    with Engine(config) as engine:
        summary = engine.run([clip], tmp_path)
    assert summary["videos"][0]["tracks"] > 0, "or this would say nothing"
    assert [row for row in table(tmp_path, "events") if row["kind"] == EventKind.CROSSING.value] == []
    assert {row["count"] for row in table(tmp_path, "counts")} == {"0"}
