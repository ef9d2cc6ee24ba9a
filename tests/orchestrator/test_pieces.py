"""Which piece of a long video a worker takes, and what two workers make of one video, whatever becomes of one."""

import os
import signal
from dataclasses import replace

import pytest

from engine import EngineConfig
from orchestrator.client.snapshot import Reader
from orchestrator.job.jobdir import PIECES, Job
from orchestrator.job.leases import Lease, take
from orchestrator.job.pieces import Pieces, forget_pieces, is_split
from orchestrator.job.records import How, Progress, Stage, VideoFacts, VideoProgress
from orchestrator.settings import Settings
from orchestrator.worker import steps as jobs
from tests.orchestrator import handmade as made
from tests.orchestrator.two_workers import FRAMES, Two
from tests.waiting import until

SPLIT = EngineConfig(split_s=10)
LONG = VideoFacts(0, "long.mp4", "long", 1, frames=2500, duration_s=100.0)


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings(state_dir=tmp_path / "state")


@pytest.fixture
def job(tmp_path, settings) -> Job:
    job = made.make_job(tmp_path, settings, config={"split_s": 10})
    (tmp_path / "videos" / "long.mp4").touch()
    return job


def seen_by(job: Job, settings: Settings, node: str = "helper@here", config: EngineConfig = SPLIT, **more) -> Pieces:
    video = replace(LONG, path=f"{job.spec.inputs[0]}/long.mp4")
    return Pieces(job, [video], config, made.owner(node), settings, **more)


def tell(job: Job, frames: int, elapsed_s: float) -> None:
    """How far the tracker is."""
    video = VideoProgress(0, 1, "long.mp4", frames, 2500, None, elapsed_s, "long")
    job.tell_progress(Progress("process-1", "tracker@here", Stage.PROCESSING, 0.0, "", (video,)))


def tracked(job: Job) -> None:
    made.hold(job, job.video_base(0))


def done(pieces: Pieces, claim) -> None:
    claim.piece.file.write_bytes(b"")
    pieces.release(claim, How.DONE)


# -- which ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "duration_s", "split"),
    [
        ({"split_s": 10}, 10.5, True),
        ({"split_s": "1m"}, 61, True),
        ({"split_s": 10}, 10, False),
        ({"split_s": 10}, None, False),
        ({}, 1e6, False),
        ({"split_s": 10, "gate": "motion"}, 100, False),
        ({"split_s": 10, "scan": True}, 100, False),
        ({"split_s": 10, "skip_frames": 2}, 100, False),
    ],
)
def test_what_is_split(config, duration_s, split):
    assert is_split(EngineConfig(**config), replace(LONG, duration_s=duration_s)) is split


def test_the_first_piece_is_the_trackers(job, settings):
    tracked(job)
    pieces = seen_by(job, settings)
    claim = pieces.next()
    assert (claim.number, claim.piece.start_s, claim.piece.end_s) == (1, 10.0, 20.0)
    assert claim.piece.file == job.folder / PIECES / "0000-00001.bin"
    assert pieces.full
    assert pieces.next() is None


def test_a_video_that_nobody_tracks_is_a_video_to_take(job, settings):
    pieces = seen_by(job, settings)
    assert pieces.next() is None
    take(job.video_base(0), made.dead_owner(), 30)
    assert pieces.next() is None


def test_a_video_that_is_done_is_left_alone(job, settings):
    tracked(job)
    made.finish(job, 0)
    assert seen_by(job, settings).next() is None


def test_of_two_each_has_another_one(job, settings):
    tracked(job)
    first, second = seen_by(job, settings), seen_by(job, settings, "other@here")
    assert (first.next().number, second.next().number) == (1, 2)


def test_pieces_that_the_tracker_comes_to_first_are_left_to_it(job, settings):
    """It takes 10 s for a piece, is in the midst of the first one, and this worker takes as long."""
    tracked(job)
    tell(job, 125, 5.0)
    pieces = seen_by(job, settings)
    assert pieces.next().number == 2, "5 s are left of the first one, and 10 of the next"


def test_pieces_that_are_found_are_soon_passed(job, settings):
    tracked(job)
    pieces = seen_by(job, settings)
    done(pieces, pieces.next())
    tell(job, 125, 5.0)
    pieces.took_s = 10.0
    assert pieces.next().number == 3, "5 s, and 2 for the one that is there: the next one is the tracker's"


def test_a_worker_that_is_faster_takes_the_next_one(job, settings):
    tracked(job)
    pieces = seen_by(job, settings)
    done(pieces, pieces.next())
    tell(job, 125, 5.0)
    pieces.took_s = 6.0
    assert pieces.next().number == 2


def test_at_the_end_the_last_one_is_taken_all_the_same(job, settings):
    tracked(job)
    tell(job, 2125, 85.0)
    pieces = seen_by(job, settings)
    claim = pieces.next()
    assert claim.number == 9, "the tracker is in piece 8"
    pieces.release(claim, How.HANDED_BACK)
    tell(job, 2300, 92.0)
    assert pieces.next() is None, "it has come to the last one"


def test_a_part_that_is_asked_for_bounds_them(job, settings):
    tracked(job)
    pieces = seen_by(job, settings, config=EngineConfig(split_s=10, start_s=35, end_s=55), at_once=9)
    assert [claim.number for claim in iter(pieces.next, None)] == [4, 5]


@pytest.mark.parametrize(
    ("how", "again"),
    [(How.HANDED_BACK, True), (How.CANCELLED, True), (How.FAILED, False), (How.CRASHED, False), (How.STALLED, False)],
)
def test_what_was_given_back_is_taken_again_and_what_failed_is_not(job, settings, how, again):
    tracked(job)
    pieces = seen_by(job, settings)
    claim = pieces.next()
    pieces.release(claim, how, error="why")
    assert (seen_by(job, settings, "other@here").next().number == 1) is again
    if not again:
        assert pieces.next() is None, "this worker has had enough of the video"


def test_of_a_worker_that_died_it_is_taken_again_once(job, settings):
    tracked(job)
    base = job.folder / PIECES / "0000-00001"
    base.parent.mkdir()
    take(base, made.dead_owner(), 30)
    assert seen_by(job, settings).next().number == 1
    Lease(base, 2).path.write_text(Lease(base, 1).path.read_text())
    assert seen_by(job, settings).next().number == 2, "twice is enough"


def test_names_of_others_are_passed_over(job, settings):
    tracked(job)
    folder = job.folder / PIECES
    folder.mkdir()
    for name in ("0000-1.bin", "x", "0000-00001.bin.tmp", ".0000-00001.bin.0f", "0000-00001.0.json"):
        (folder / name).touch()
    assert seen_by(job, settings).next().number == 1


def test_a_folder_that_is_a_link_is_not_followed(tmp_path, job, settings):
    tracked(job)
    (tmp_path / "elsewhere").mkdir()
    (job.folder / PIECES).symlink_to(tmp_path / "elsewhere")
    assert seen_by(job, settings).next() is None
    assert list((tmp_path / "elsewhere").iterdir()) == []
    with pytest.raises(jobs.PathRefused):
        jobs.job_at(str(job.folder), settings)


def test_what_a_video_needs_no_more_is_removed(job, settings):
    tracked(job)
    pieces = seen_by(job, settings, at_once=2)
    claims = [pieces.next(), pieces.next()]
    other = job.folder / PIECES / "0001-00001.bin"
    other.touch()
    for claim in claims:
        claim.piece.file.touch()
    forget_pieces(job, 0)
    assert [path.name for path in (job.folder / PIECES).glob("*.bin")] == ["0001-00001.bin"]
    forget_pieces(job)
    assert not (job.folder / PIECES).exists()
    pieces.release_all(How.HANDED_BACK)  # nowhere to note it
    assert pieces.held == {}


def test_a_piece_that_comes_too_late_goes(job, settings):
    tracked(job)
    pieces = seen_by(job, settings)
    claim = pieces.next()
    assert not pieces.are_of_no_use
    made.finish(job, 0)
    assert pieces.are_of_no_use
    done(pieces, claim)
    assert not claim.piece.file.exists()
    assert not pieces.are_of_no_use


# -- which to draw ----------------------------------------------------------------------------------------------------


@pytest.fixture
def drawn_job(tmp_path, settings) -> Job:
    """A job of two workers, of whose video the first three pieces are tracked, and the tracker is in the last one."""
    job = made.make_job(tmp_path, settings, config={"split_s": 10}, workers=2)
    (tmp_path / "videos" / "long.mp4").touch()
    (job.folder / PIECES).mkdir()
    for number in range(3):
        (job.folder / PIECES / f"0000-0000{number}.notes").touch()
    tracked(job)
    tell(job, 2300, 92.0)
    return job


DRAWN = EngineConfig(split_s=10, visualize=True)


def test_of_what_is_tracked_the_last_piece_is_drawn_first(drawn_job, settings):
    pieces = seen_by(drawn_job, settings, config=DRAWN, at_once=9)
    claims = list(iter(pieces.next, None))
    assert [(claim.number, claim.stem) for claim in claims] == [
        (2, "long.drawing-2"),
        (1, "long.drawing-1"),
        (0, "long.drawing-0"),
    ]
    assert claims[0].drawing.file == drawn_job.folder / PIECES / "0000-00002.drawn"
    assert pieces.waits
    pieces.release(claims[0], How.HANDED_BACK)
    other = seen_by(drawn_job, settings, "other@here", config=DRAWN, at_once=9)
    assert [claim.number for claim in iter(other.next, None)] == [2]
    claims[1].drawing.file.touch()
    pieces.release(claims[1], How.DONE)
    pieces.release(claims[2], How.FAILED, error="why")
    assert (pieces.next(), pieces.waits) == (None, False), "this worker has had enough of the video"
    assert (other.next(), other.waits) == (None, True)


def test_detections_that_are_needed_come_before_drawings(drawn_job, settings):
    tell(drawn_job, 300, 12.0)
    pieces = seen_by(drawn_job, settings, config=DRAWN)
    assert pieces.next().drawing is None


@pytest.mark.parametrize(
    "changes", [{"visualize": False}, {"blur": ("person",)}, {"crops": True}, {"start_s": 5}, {"resume": False}]
)
def test_what_is_not_drawn_in_pieces(drawn_job, settings, changes):
    pieces = seen_by(drawn_job, settings, config=EngineConfig(**{"split_s": 10, "visualize": True, **changes}))
    assert (pieces.next(), pieces.waits) == (None, False)


def test_drawings_are_forgotten_with_the_video(drawn_job, settings):
    (drawn_job.folder / PIECES / "0000-00002.drawn").touch()
    (claim,) = [seen_by(drawn_job, settings, config=DRAWN).next()]
    forget_pieces(drawn_job, 0)
    assert [path.name for path in (drawn_job.folder / PIECES).iterdir()] == [claim.lease.path.name]


# -- two workers ------------------------------------------------------------------------------------------------------


def test_two_work_on_one_video(tmp_path, monkeypatch):
    """One tracks it and draws from its beginning, the other finds what is in pieces, and draws from its end."""
    two = Two(tmp_path, monkeypatch)
    drawn = two.both_until_one_draws(helper_s=0.005)
    two.held.unlink()
    two.judge()
    assert two.hows == {"process-1": How.EXHAUSTED, "process-2": How.EXHAUSTED}
    ended = two.events("piece ended")
    assert ended
    assert {each["worker"] for each in ended} == {"process-2@here"}
    assert {each["worker"] for each in drawn} == {"process-2@here"}
    (known,) = two.events("known ahead")
    assert 0 < known["frames"] <= FRAMES - 25
    assert jobs.end(two.job, two.context("process-1")).success
    assert not (two.job.folder / PIECES).exists()
    assert two.job.end_record().result.summary.videos[0].attempts == 1


def test_both_engines_are_killed(tmp_path, monkeypatch):
    """Whoever takes the video goes on at its checkpoint, with what was found meanwhile; the helper has had enough."""
    two = Two(tmp_path, monkeypatch)
    two.both(helper_s=0.01)
    helper = two.helper()
    until(lambda: two.events("piece ended"), 30, two.tail)
    os.kill(helper, signal.SIGKILL)
    until(lambda: two.events("crashed"), 10, two.tail)
    os.kill(two.tracker, signal.SIGKILL)
    two.judge()
    assert two.job.done(0).attempt == 2
    assert len(two.events("crashed")) == 2


def test_both_engines_are_killed_while_they_draw(tmp_path, monkeypatch):
    two = Two(tmp_path, monkeypatch)
    two.both_until_one_draws(helper_s=0.005)
    for engine in two.engines():
        os.kill(engine, signal.SIGKILL)
    two.held.unlink()
    two.judge()
    assert two.job.done(0).attempt == 2
    assert len(two.events("crashed")) == 2


def test_a_helper_is_told_of_and_a_cancel_ends_both(tmp_path, monkeypatch):
    two = Two(tmp_path, monkeypatch)
    two.both(helper_s=0.3)
    two.helper()
    until(lambda: any(each.stage == Stage.PIECES for each in two.job.progress()), 20, two.tail)
    rows = Reader(two.job, 30).read().working
    assert {(row.index, row.worker, row.stage) for row in rows} == {
        (0, "process-1@here", "processing"),
        (None, "process-2@here", "pieces of a long video"),
    }
    two.job.cancel("me")
    two.end()
    assert two.hows == {"process-1": How.CANCELLED, "process-2": How.CANCELLED}
    assert two.in_hand() == []
    assert two.job.done(0).status == "partial"
    assert not jobs.end(two.job, two.context("process-1")).success
    assert not (two.job.folder / PIECES).exists()


def test_a_helper_does_not_outlast_the_video(tmp_path, monkeypatch):
    """The video is done before its piece is: it stops there."""
    two = Two(tmp_path, monkeypatch)
    two.both(helper_s=30.0, tracker_s=0.03)
    two.judge()
    assert two.hows["process-2"] == How.EXHAUSTED
    assert two.events("piece ended") == []
    assert two.in_hand() == []
