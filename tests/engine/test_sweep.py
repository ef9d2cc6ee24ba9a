"""`yolo-engine eval`: files and their ground truth, parameter sets over stored detections."""

import json

import numpy as np
import pytest

from engine.errors import ConfigError, InputError
from engine.rework.retrack import retrack
from engine.rework.sweep import evaluate, pairs, parameter_sets, sweep
from tests.engine.test_retrack import run as run_engine


@pytest.mark.parametrize(
    ("ranges", "sets"),
    [
        (["max_age=10,30"], [{"max_age": "10"}, {"max_age": "30"}]),
        (["max-age=10"], [{"max_age": "10"}]),
        (
            ["tracker=sort,bytetrack", "max_age=1,2", "track_thresh=0.4", "conf=0.2"],
            [
                {"tracker": "sort", "max_age": "1", "conf": "0.2"},
                {"tracker": "sort", "max_age": "2", "conf": "0.2"},
                {"tracker": "bytetrack", "track_thresh": "0.4", "conf": "0.2"},
            ],
        ),
    ],
)
def test_parameter_sets(ranges, sets):
    assert parameter_sets(ranges) == sets


@pytest.mark.parametrize(
    ("ranges", "said"),
    [
        (["max_age"], "A range is KEY=VALUE,VALUE"),
        (["max_age="], "A range is KEY=VALUE,VALUE"),
        (["maxage=3"], "Unknown key 'maxage'"),
        (["tracker=deepsort"], "tracker must be one of sort, bytetrack, ocsort, cbiou. Got 'deepsort'"),
        (["tracker=bytetrack", "max_age=3"], "max_age is a parameter of none of these trackers: bytetrack"),
        (["conf=" + ",".join(map(str, range(200))), "max_age=" + ",".join(map(str, range(200)))], "more than 10000"),
    ],
)
def test_ranges_that_are_none(ranges, said):
    with pytest.raises(ConfigError, match=said):
        parameter_sets(ranges)


def test_where_the_truth_is_looked_for(tmp_path):
    tracks, truth = tmp_path / "out", tmp_path / "truth"
    for folder in (tracks / "sub", truth / "a" / "gt", truth / "b"):
        folder.mkdir(parents=True)
    places = {"a": truth / "a/gt/gt.txt", "b": truth / "b/gt.txt", "c": truth / "c.txt", "d": truth / "d.mot.txt"}
    for place in places.values():
        place.touch()
    for name in places:
        (tracks / "sub" / f"{name}.mot.txt").touch()
    assert {name: right for name, (_, right) in pairs(tracks, truth).items()} == places
    assert pairs(tracks / "sub/a.mot.txt", truth / "c.txt") == {"a": (tracks / "sub/a.mot.txt", truth / "c.txt")}
    (tracks / "e.mot.txt").touch()
    with pytest.raises(InputError, match=r"e\.mot\.txt has no ground truth: looked for"):
        pairs(tracks, truth)
    with pytest.raises(InputError, match="contains no tracks"):
        pairs(truth / "b", truth)
    with pytest.raises(InputError, match="contains no tracks"):
        pairs(tmp_path / "none", truth)


def test_sweep_and_eval(tmp_path, run):
    pytest.importorskip("trackeval", reason="trackeval is not here: pip install '.[eval]'")
    out = run_engine(tmp_path, store_conf=0.1, min_hits=0)
    truth = tmp_path / "truth"
    truth.mkdir()
    (truth / "a.txt").write_bytes((out / "a.mot.txt").read_bytes())
    each, whole = evaluate(out, truth)
    assert list(each) == ["a"]
    assert (whole.hota, whole.idf1, whole.ids) == (pytest.approx(100), pytest.approx(100), 1)
    trials = sweep(out, truth, parameter_sets(["iou_threshold=1.0,0.3"]))
    assert [trial.parameters["iou_threshold"] for trial in trials] == [0.3, 1.0]  # the best first
    assert trials[0].scores.hota == pytest.approx(100, abs=0.1)
    assert trials[1].scores.hota < 99
    # What a sweep says of a set is what retrack and eval say of it.
    retrack(out, tmp_path / "again", {"iou_threshold": "1.0"})
    _, again = evaluate(tmp_path / "again", truth)
    np.testing.assert_allclose(again.hota, trials[1].scores.hota, atol=0.1)

    table = run("eval", out, truth)
    assert table.status == 0, table.err
    assert "HOTA" in table.out
    assert table.out.splitlines()[-1].split()[:2] == ["whole", "100.00"]
    swept = json.loads(run("eval", out, truth, "--sweep", "tracker=sort,cbiou", "--json").out)["trials"]
    assert {trial["tracker"] for trial in swept} == {"sort", "cbiou"}
    told = run("eval", out, truth, "--sweep", "tracker=sort,cbiou", "--sweep", "max_age=3").out
    assert "sort max_age=3" in told
    assert run("eval", tmp_path / "none", truth).status == 2
