"""Dwell and tracks of each cell, whatever pieces the rows come in."""

import numpy as np
import pytest

from engine.analytics.heatmap import COLUMNS, Heatmap
from engine.analytics.samples import Samples


def samples(rows):
    """Rows (time, track, class, x, y of the lower edge's middle)."""
    table = np.array(rows, float)
    x, y = table[:, 3], table[:, 4]
    boxes = np.column_stack((x - 1, y - 2, x + 1, y))
    frames, ids, kinds = np.arange(len(rows)), table[:, 1].astype(int), table[:, 2].astype(int)
    return Samples(frames, frames, table[:, 0], ids, kinds, np.ones(len(rows)), boxes, {0: "car", 1: "person"})


def heatmap(*pieces):
    found = Heatmap((640, 320))
    for piece in pieces:
        found.feed(samples(piece))
    return found.table()


WALK = [(i / 10, 1, 0, 5 + 10 * (i // 5), 315) for i in range(20)]


def test_a_walk_is_where_it_was():
    table = heatmap(WALK)
    assert table["cells"] == [COLUMNS, 32]
    assert [(column, row, tracks) for column, row, tracks, _ in table["classes"]["car"]] == [
        (i, 31, 1) for i in range(4)
    ]
    assert [seconds for *_, seconds in table["classes"]["car"]] == pytest.approx([0.5, 0.5, 0.5, 0.4])


def test_pieces_make_no_difference():
    rows = sorted(WALK + [(i / 10, 2, 1, 300, 100 + i) for i in range(20)])
    whole = heatmap(rows)
    for at in (1, 7, 20, 39):
        assert heatmap(rows[:at], rows[at:]) == whole


def test_a_hole_is_no_dwell_and_coming_back_no_second_track():
    there = [(0.0, 1, 0, 5, 5), (0.5, 1, 0, 5, 5), (60.0, 1, 0, 5, 5)]
    assert heatmap(there)["classes"]["car"] == [[0, 0, 1, 0.5]]


def test_beyond_the_frame_counts_at_its_edge():
    assert heatmap([(0, 1, 0, 2000, -5)])["classes"]["car"] == [[COLUMNS - 1, 0, 1, 0.0]]


@pytest.mark.parametrize("most", [5, 1 << 16, 1 << 40])
@pytest.mark.parametrize("count", [0, 1, 500])
def test_rows_are_grouped_by_track_in_the_order_of_the_first_ones(count, most):
    ids = np.random.default_rng(count).integers(0, most, count)
    rows = np.arange(count)
    found = Samples(rows, rows, rows / 10, ids, 0 * ids, 0.5 * ids, np.zeros((count, 4))).by_track()
    assert found.ids == list(dict.fromkeys(ids.tolist()))
    groups = [found.samples.frames[start:stop].tolist() for _, start, stop in found.spans]
    assert groups == [np.flatnonzero(ids == each).tolist() for each in found.ids]


@pytest.mark.parametrize("decimals", [3, 6])
def test_times_are_rounded_as_python_rounds_them(decimals):
    times = np.concatenate((np.arange(0, 20_000, 250), np.random.default_rng(1).integers(0, 1 << 40, 2000)))
    table = Heatmap((64, 64))
    table.of_class("car").dwell_us[: len(times)] = times
    cells = table.table(decimals)["classes"]["car"]
    assert [each[3] for each in cells] == [round(time / 1e6, decimals) for time in times.tolist() if time]
