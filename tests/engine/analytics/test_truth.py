"""Crossings and stays on ground truth, against events computed twice elsewhere: with fractions and with floats."""

import functools
import json
from operator import itemgetter

import pytest

from engine.analytics.crossings import Crossings
from engine.analytics.geometry import Polygon, PolyLine
from engine.analytics.samples import read_mot
from engine.analytics.stays import Stays
from tests.assets import ASSETS, require_asset

SEQUENCES = ["mot17-02", "mot17-05", "mot17-09", "mot17-10", "mot17-11", "TUD-Campus", "TUD-Stadtmitte"]


@functools.cache
def trajectories(sequence, path):
    """The rows of each person: those that count, and in MOT17 those of class 1."""
    (samples,) = read_mot(path, 30, ground_truth=True)
    if sequence.startswith("mot17"):
        rows = [line.split(",") for line in path.read_text().splitlines()]
        people = {(int(row[0]), int(row[1])) for row in rows if row[7] == "1"}
        keys = zip(samples.frames.tolist(), samples.track_ids.tolist(), strict=True)
        samples = samples.take([index for index, key in enumerate(keys) if key in people])
    return list(samples.by_track())


def pieces(sequence, path, size):
    """The tracks in pieces of `size` samples, as a long file would give them, and whether it is the last."""
    for track_id, track in trajectories(sequence, path):
        for start in range(0, len(track), size):
            yield track_id, track.take(slice(start, start + size)), start + size >= len(track)


@pytest.mark.parametrize(
    ("sequence", "piece"), [("TUD-Stadtmitte", 1), ("mot17-05", 3), *((sequence, 10_000) for sequence in SEQUENCES)]
)
def test_every_event_is_the_true_one(sequence, piece):
    truth = json.loads(require_asset("trackers/counts/counts_truth.json").read_text())[sequence]
    scene = json.loads(require_asset(f"trackers/counts/{sequence}/scene.json").read_text())
    path = (ASSETS / "trackers" / truth["gt"]).resolve()
    width_height = tuple(scene["reference_size"])
    for line in scene["lines"]:
        shape = PolyLine((tuple(line["p"]), tuple(line["q"])), width_height, "bottom", 0.01)
        crossings, found = Crossings(shape), []
        for track_id, samples, last in pieces(sequence, path, piece):
            found += crossings.feed(samples.by_track())
            found += crossings.end(track_id) if last else []
        expected = [(e["track"], e["direction"], e["frame"]) for e in truth["lines"][line["id"]]["events"]]
        got = [(c.track_id, "neg_to_pos" if c.positive else "pos_to_neg", c.at.frame) for c in found]
        assert sorted(e[:2] for e in expected) == sorted(g[:2] for g in got), line["id"]
        for want, have in zip(sorted(expected), sorted(got), strict=True):
            assert have[2] == pytest.approx(want[2], abs=0.01)
    for zone in scene["polygons"]:
        shape = Polygon(tuple(tuple(point) for point in zone["points"]), width_height, "bottom", 0.01)
        stays, found = Stays(shape), []
        for track_id, samples, last in pieces(sequence, path, piece):
            found += stays.feed(samples.by_track())
            found += stays.end(track_id) if last else []
        got = [
            {
                "track": stay.track_id,
                "first": stay.first.frame,
                "last": stay.last.frame,
                "dwell": stay.last.frame - stay.first.frame + 1,
                "began": "born_inside" if stay.born_inside else "entered",
                "ended": "ended_inside" if stay.ended_inside else "exited",
            }
            for stay in found
        ]
        by_time = itemgetter("track", "first")
        assert sorted(got, key=by_time) == sorted(truth["polygons"][zone["id"]]["events"], key=by_time), zone["id"]
