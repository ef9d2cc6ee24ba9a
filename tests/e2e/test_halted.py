"""An attempt that is halted between two steps, and wakes when another has taken over: the core of the matrix that
`make chaos` plays whole."""

from __future__ import annotations

import errno
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.media.inputs import Video
from engine.pipeline.assignment import Assignment
from engine.resume import steps
from tests.chaos.halted import MOMENTS, OUTPUTS, SETTINGS, STEM, WAYS, Actor, Case, Place, cases, play
from tests.e2e.runs import fake_engine

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("halted"))


def _core() -> Iterator[Case]:
    """Each step once, and the moments in turn; without leases every third of them."""
    moments = list(MOMENTS)
    for number, case in enumerate(cases()):
        turn = number // len(moments)
        if case.moment == moments[turn % len(moments)] and (case.lease or not turn % 3):
            yield case


@pytest.mark.parametrize("case", list(_core()), ids=str)
def test_halted_and_woken(place: Place, tmp_path: Path, case: Case) -> None:
    play(place, case, tmp_path)


# What was found once, in the words in which it was found.
FOUND = {
    "in its first seconds of a video": Case("fresh", "frame 1", "over"),
    "while it opens the video": Case("fresh", "opened", "at work"),
    "while a resumed attempt passes over frames": Case("resumed", "passed 3", "over"),
    "between the fence's check and the last output": Case("fresh", "an output appeared#4", "over"),
    "before muxing": Case("fresh", "last frame", "at work"),
    "between the check and the first output": Case("fresh", "fence passed again", "at work"),
}


@pytest.mark.parametrize("words", FOUND)
def test_halted_as_it_was_found(place: Place, tmp_path: Path, words: str) -> None:
    play(place, FOUND[words], tmp_path)


@pytest.mark.parametrize("step", ["frame 5", "fence passed again", "an output appeared#2", "published"])
def test_two_runs_where_there_are_no_locks(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Two `yolo-engine run` over one folder of a file system that knows no locks: the loser says so."""

    def no_locks(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    def run() -> list[dict[str, Any]]:
        return [fake_engine(delay_s=0.001, workers=1, **SETTINGS).run([place.video], tmp_path / "out")]

    monkeypatch.setattr("fcntl.flock", no_locks)
    actors: list[Actor] = []
    try:
        for name, halt_at in (("first", step), ("second", None)):
            actors.append(Actor(run, halt_at, tmp_path / f"{name}.json"))
            actors[-1].wait()
        assert [actor.over for actor in actors] == [False, True]
        kept = {path: (path.stat().st_ino, path.read_bytes()) for path in (tmp_path / "out").glob("[am]*.*")}
        actors[0].wake()
    finally:
        for actor in actors:
            actor.kill()
    first, second = (actor.entry for actor in actors)
    assert second["success"]
    assert not first["success"]
    if step != "published":  # else it was true when it was told
        assert "another attempt has taken over this video" in first["videos"][0]["error"]
    assert "its manifest.json is kept" in first["error"]
    assert {path: (path.stat().st_ino, path.read_bytes()) for path in (tmp_path / "out").glob("[am]*.*")} == kept
    assert {name: (tmp_path / "out" / name).read_bytes() for name in OUTPUTS} == place.right


def test_every_step_is_in_the_matrix(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever adds a step is reminded to halt there, too."""
    counts: Counter[str] = Counter()
    monkeypatch.setattr(steps, "reached", lambda step: counts.update([step]))
    shutil.copytree(place.folder / "begun", tmp_path / "out")
    for output in (tmp_path / "out", tmp_path / "new"):
        engine = fake_engine(**SETTINGS)
        engine.work([Assignment(Video(str(place.video), STEM))], output, done=lambda *_: None)
    engine = fake_engine(delay_s=0.01, **SETTINGS)
    engine.run([place.video], tmp_path / "stopped", progress=lambda streams: engine.stop() if streams else None)
    known = {step.partition("#")[0] for reached in WAYS.values() for step in reached}
    assert set(counts) <= known
    assert {"parts copied", "committed"} <= set(counts)
