"""Clips that are broken off: by a full disk, by Ctrl-C, by another that cuts into the same folder. None is half one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from engine.clips import ClipSettings, cut_clips
from engine.errors import OutputError
from engine.finished import FinishedRun
from tests.e2e.clips import Shot, make
from tests.e2e.runs import ROOT
from tests.engine.after.finished_runs import Life, finished, frames_of
from tests.engine.after.test_clips import pictures

LIVES = [Life(20 * k, 20 * k + 15, k + 1) for k in range(7)]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run over 150 frames with a key frame every 30, and seven tracks in it."""
    folder = tmp_path_factory.mktemp("run")
    options = {"g": "30", "bf": "3", "preset": "medium"}
    video = make(folder, Shot(frames=150, size_wh=(320, 240), options=options, patches=True, audio="aac")).path
    return finished(folder / "out", {video: (frames_of(video), LIVES)})


def settings(exact: bool) -> ClipSettings:
    return ClipSettings(exact=exact, pre_s=0.0, post_s=0.0, merge_gap_s=0.0)


# In a process of its own: PyAV keeps a file open whose head could not be written.
CUTS = """
import sys
from pathlib import Path
from engine.errors import OutputError
from engine.finished import FinishedRun
from tests.e2e.test_clips_stopped import settings
from engine.clips import cut_clips

try:
    cut_clips(FinishedRun.load(Path(sys.argv[1])), settings(sys.argv[3] == "True"), Path(sys.argv[2]))
except OutputError as error:
    print(error)
"""


@pytest.mark.parametrize("exact", [False, True], ids=["copy", "exact"])
@pytest.mark.parametrize("room_kb", [6, 40])
def test_a_full_disk_is_named_and_leaves_no_half_clip(out: Path, small_disk: Path, exact: bool, room_kb: int) -> None:
    filler, folder = small_disk / "filler", small_disk / "clips"
    filler.write_bytes(bytes((256 - room_kb) * 1024))
    command = [sys.executable, "-c", CUTS, str(out), str(folder), str(exact)]
    told = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout.strip()
    assert told == f"{folder} can't be written: no space left on the disk."
    assert {path.suffix for path in folder.iterdir() if path.name != ".listed.part"} <= {".mp4"}
    for path in folder.glob("*.mp4"):
        pictures(path)
    filler.unlink()
    assert len(cut_clips(FinishedRun.load(out), settings(exact), folder).clips) == len(LIVES)


@pytest.mark.parametrize("exact", [False, True], ids=["copy", "exact"])
@pytest.mark.parametrize("after", [1, 2, 60, 200, 330])
def test_who_interrupts_leaves_no_rest_and_can_go_on(out: Path, tmp_path: Path, exact: bool, after: int) -> None:
    """At any step of it; what is whole by then may stay, and is made again."""
    ticks = 0

    def tick() -> None:
        nonlocal ticks
        ticks += 1
        if ticks == after:
            raise KeyboardInterrupt

    folder = tmp_path / "clips"
    try:
        cut_clips(FinishedRun.load(out), settings(exact), folder, tick=tick)
    except KeyboardInterrupt:
        # .listed.part tells the next one what had appeared.
        assert {path.suffix for path in folder.iterdir() if path.name != ".listed.part"} <= {".mp4"}
    else:
        assert ticks < after
    cut = cut_clips(FinishedRun.load(out), settings(exact), folder)
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        [*(str(clip.name) for clip in cut.clips), "clips.csv", "empty.txt"]
    )


def test_of_two_at_once_one_is_refused(out: Path, tmp_path: Path) -> None:
    refused: list[str] = []

    def tick() -> None:
        if not refused:
            with pytest.raises(OutputError, match="Another run is writing to") as caught:
                cut_clips(FinishedRun.load(out), settings(False), tmp_path / "clips")
            refused.append(str(caught.value))

    assert len(cut_clips(FinishedRun.load(out), settings(False), tmp_path / "clips", tick=tick).clips) == len(LIVES)
    assert refused
