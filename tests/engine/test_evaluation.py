"""Scores of tracks against ground truth: those of the benchmark's own program."""

import json

import numpy as np
import pytest

from engine.analytics.evaluation import prepare, read_boxes, score
from engine.errors import InputError
from tests.assets import require_asset

pytest.importorskip("trackeval", reason="trackeval is not here: pip install '.[eval]'")

SEQUENCES = ["mot17-02", "mot17-05", "mot17-09", "mot17-10", "mot17-11"]


def tracks_of(path):
    rows = [line.split(",") for line in path.read_text().splitlines() if line[0].isdigit()]
    table = np.array([[float(value) for value in row[:7]] for row in rows])
    sizes = table[:, 4:6] - table[:, 2:4]
    rest = np.full((len(table), 2), -1.0)
    return np.column_stack((table[:, :4], sizes, table[:, 6], rest))


@pytest.mark.parametrize(("distractors", "mode"), [(True, "preproc"), (False, "plain")])
def test_scores_are_those_of_the_benchmark(distractors, mode):
    name = "bytetrack_t0.6_m0.9_b30"
    expected = json.loads(require_asset("trackers/metrics.json").read_text())[mode][name]
    sequences = {
        sequence: prepare(
            tracks_of(require_asset(f"trackers/tracks/{sequence}/{name}.csv")),
            read_boxes(require_asset(f"trackers/detections/{sequence}/gt.txt")),
            distractors=distractors,
        )
        for sequence in SEQUENCES
    }
    each, whole = score(sequences)
    for found, truth in [*((each[name], expected[name]) for name in SEQUENCES), (whole, expected["combined"])]:
        assert (found.hota, found.mota, found.idf1) == pytest.approx(
            (truth["HOTA"], truth["MOTA"], truth["IDF1"]), abs=0.01
        )


BOXES = np.array(
    [[frame, track, 100.0 * track + frame, 50, 40, 80, 1, -1, -1] for frame in (1, 2, 3) for track in (1, 2)]
)


def test_the_truth_is_perfect():
    _, whole = score({"a": prepare(BOXES, BOXES)})
    assert (whole.hota, whole.mota, whole.idf1, whole.id_switches, whole.ids) == (100, 100, 100, 0, 2)


def test_ids_that_change():
    swapped = BOXES.copy()
    swapped[-2:, 1] = swapped[-2:, 1][::-1]
    _, whole = score({"a": prepare(swapped, BOXES)})
    assert whole.id_switches == 2
    assert whole.mota == pytest.approx(100 * (1 - 2 / 6))


@pytest.mark.parametrize("empty", ["tracks", "truth", "both"])
def test_nothing(empty):
    none = np.zeros((0, 9))
    tracks, truth = none if empty != "truth" else BOXES, none if empty != "tracks" else BOXES
    _, whole = score({"a": prepare(tracks, truth)})
    assert whole.false_negatives == len(truth)
    assert whole.false_positives == len(tracks)


def test_an_id_twice_in_a_frame():
    with pytest.raises(InputError, match="The tracks have an id twice in frame 1"):
        prepare(np.vstack((BOXES, BOXES[:1])), BOXES)


@pytest.mark.parametrize("line", ["1,2,3", "1,2,x,4,5,6", "nan,1,2,3,4,5"])
def test_a_file_that_is_none(tmp_path, line):
    path = tmp_path / "a.txt"
    path.write_text("1,1,0,0,10,10,1,-1,-1\n" + line + "\n")
    with pytest.raises(InputError, match=r"a\.txt, line 2: not a MOTChallenge row"):
        read_boxes(path)
