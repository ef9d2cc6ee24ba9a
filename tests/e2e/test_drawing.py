"""An annotated video that several draw: what comes of its pieces, whoever draws them and whatever becomes of them."""

from dataclasses import replace
from pathlib import Path

import pytest

from engine.media.inputs import Video
from engine.pipeline.assignment import Assignment, DrawingAssignment, PiecesOf
from engine.pipeline.drawing import PieceVideo, is_drawn
from engine.sinks.packet_log import state_bytes
from engine.summary import VideoStatus
from tests.e2e.clips import make
from tests.e2e.runs import fake_engine, left_over
from tests.e2e.test_pieces import CLIPS, FORMATS, FRAMES, PIECE_S, STEM, Ran, find, track
from tests.e2e.videos import same_video

SCENE = """
[[line]]
name = "middle"
points = [[0.5, 0], [0.5, 1]]
"""

# Without loss, what is drawn can be compared to the byte.
CONFIG = {"formats": FORMATS, "visualize": True, "max_age": 3, "video_crf": 0}


@pytest.fixture
def pieces(tmp_path) -> PiecesOf:
    return PiecesOf(tmp_path / "pieces" / "0000", PIECE_S, drawn=True)


def draw(video: Path, folder: Path, numbers, pieces: PiecesOf, **settings) -> dict[str, tuple[VideoStatus, str | None]]:
    """Has pieces drawn, as by another worker, and tells how each ended."""
    ended = {}
    given = [DrawingAssignment(Video(str(video), STEM / str(n)), pieces.drawing(n), STEM) for n in numbers]
    with fake_engine(**{**CONFIG, **settings}) as engine:
        engine.work(
            given,
            folder,
            done=lambda *_: pytest.fail("no video was given"),
            piece_done=lambda piece, end: ended.update({piece.video.stem.name: (end.status, end.error)}),
        )
    return ended


@pytest.mark.parametrize("kind", CLIPS)
def test_the_video_is_that_of_one(tmp_path, pieces, kind):
    video = make(tmp_path, CLIPS[kind]).path
    whole = track(video, tmp_path / "whole", **CONFIG)
    find(video, tmp_path / "out", (1, 2), pieces, **CONFIG)
    split = track(video, tmp_path / "out", pieces, **CONFIG)
    assert split.rows() == whole.rows()
    told = ("frames", "duration_s", "status", "error", "media", "notes", "video_offset_s")
    assert {key: split.entry.get(key) for key in told} == {key: whole.entry.get(key) for key in told}
    same_video(split.folder / "clip.mp4", whole.folder / "clip.mp4")
    assert is_drawn(pieces.drawing(0))
    assert left_over(tmp_path, ".*.drawn.*", ".*.notes.*") == []


@pytest.fixture
def noted(tmp_path, pieces) -> tuple[Path, Ran]:
    """A video whose pieces are found, noted and not drawn, and what comes of it in one go."""
    video = make(tmp_path, CLIPS["closed"]).path
    whole = track(video, tmp_path / "whole", **CONFIG)
    find(video, tmp_path / "before", PIECES, pieces, **CONFIG)
    track(video, tmp_path / "before", pieces, **CONFIG)
    for number in PIECES:
        pieces.drawing(number).file.unlink()
    return video, whole


PIECES = range(4)


def files(pieces: PiecesOf) -> list[int]:
    """The inode of each piece that is drawn, 0 where there is none."""
    paths = [pieces.drawing(number).file for number in PIECES]
    return [path.stat().st_ino if path.exists() else 0 for path in paths]


def test_pieces_of_others_are_taken_as_they_are(tmp_path, pieces, noted):
    video, whole = noted
    ended = draw(video, tmp_path / "out", (3, 1), pieces)
    assert VideoStatus.FAILED not in {status for status, _ in ended.values()}
    found = files(pieces)
    assert [bool(each) for each in found] == [False, True, False, True]
    split = track(video, tmp_path / "out", pieces, **CONFIG)
    assert [files(pieces)[number] for number in (1, 3)] == [found[1], found[3]]
    same_video(split.folder / "clip.mp4", whole.folder / "clip.mp4")


def damage(path: Path, what: str) -> None:
    body = path.read_bytes()
    if what == "cut short":
        path.write_bytes(body[:-10])
    elif what == "frames are missing":
        path.write_bytes(body[-state_bytes(64) :])
    elif what == "of other notes":
        path.write_bytes(body[:-64] + b"0" * 64)
    elif what == "empty":
        path.write_bytes(b"")
    elif what == "a folder":
        path.unlink()
        path.mkdir()
    else:
        path.unlink()
        path.symlink_to("elsewhere")


@pytest.mark.parametrize("what", ["cut short", "of other notes", "empty", "a link"])
def test_a_piece_that_is_of_no_use_is_drawn_again(tmp_path, pieces, noted, what):
    video, whole = noted
    draw(video, tmp_path / "out", (1, 2), pieces)
    damage(pieces.drawing(1).file, what)
    split = track(video, tmp_path / "out", pieces, **CONFIG)
    same_video(split.folder / "clip.mp4", whole.folder / "clip.mp4")


@pytest.mark.parametrize("what", ["frames are missing", "a folder"])
def test_a_piece_that_nobody_can_use_or_replace_is_an_error(tmp_path, pieces, noted, what):
    video, _ = noted
    draw(video, tmp_path / "out", (1,), pieces)
    damage(pieces.drawing(1).file, what)
    ran = track(video, tmp_path / "out", pieces, **CONFIG)
    assert ran.entry["status"] in ("failed", "partial")
    assert not (ran.folder / "clip.mp4").exists()


def test_another_file_is_not_drawn(tmp_path, pieces, noted):
    """As of a file that was replaced meanwhile, by one of the same times."""
    other = make(tmp_path, replace(CLIPS["closed"], patches=True), "other").path
    ended = draw(other, tmp_path / "out", (1,), pieces)
    assert ended == {"1": (VideoStatus.FAILED, "the frame at 1.000 s is not the one that was tracked")}
    assert files(pieces) == [0, 0, 0, 0]
    assert left_over(tmp_path, ".*.drawn.*") == []


def test_notes_that_are_gone_fail_their_piece_alone(tmp_path, pieces, noted):
    video, _ = noted
    pieces.drawing(1).notes.unlink()
    ended = draw(video, tmp_path / "out", (1, 2), pieces)
    assert ended["1"] == (VideoStatus.FAILED, "0000-00001.notes is damaged: 0000-00001.notes no longer exists")
    assert ended["2"][0] is not VideoStatus.FAILED


@pytest.mark.parametrize(
    "look",
    [{"trail_s": 2.0}, {"draw": ("clock",), "label_size": 9}, {"draw": ("lines", "counts"), "scene": "scene.toml"}],
    ids=["trails", "time", "counts"],
)
@pytest.mark.parametrize("size_wh", [(160, 120), (161, 121)], ids=["even", "odd"])
def test_what_is_drawn_continues_from_piece_to_piece(tmp_path, pieces, look, size_wh):
    if "scene" in look:
        (tmp_path / "scene.toml").write_text(SCENE)
        look = {**look, "scene": (str(tmp_path / "scene.toml"),)}
    video = make(tmp_path, replace(CLIPS["avi" if size_wh[0] % 2 else "b frames"], size_wh=size_wh)).path
    whole = track(video, tmp_path / "whole", **CONFIG, **look)
    find(video, tmp_path / "out", (1, 2), pieces, **CONFIG, **look)
    split = track(video, tmp_path / "out", pieces, **CONFIG, **look)
    same_video(split.folder / "clip.mp4", whole.folder / "clip.mp4")


def stopped_and_continued(video: Path, folder: Path, pieces: PiecesOf, stop) -> Ran:
    """What comes of a run that `stop`, given the engine, arranges to be stopped, and that is taken up again."""
    assignment, entries = Assignment(Video(str(video), STEM), pieces=pieces, job="job"), []
    with fake_engine(**CONFIG, delay_s=0.005, checkpoint_s=0.0) as engine:
        progress = stop(engine)
        engine.work([assignment], folder, done=lambda _, entry: entries.append(entry), progress=progress)
    assert entries[0]["unfinished"]
    with fake_engine(**CONFIG) as engine:
        engine.work([assignment], folder, done=lambda _, entry: entries.append(entry))
    return Ran(folder, entries[1])


def test_a_run_that_is_stopped_while_it_draws_continues(tmp_path, pieces, monkeypatch):
    video = make(tmp_path, CLIPS["closed"]).path
    whole = track(video, tmp_path / "whole", **CONFIG)
    find(video, tmp_path / "out", (1, 2), pieces, **CONFIG)
    ended, begun = PieceVideo.end, []

    def stop(engine):
        def end(piece: PieceVideo, file: Path, digest: str) -> None:
            ended(piece, file, digest)
            begun.append(int(file.stem.partition("-")[2]))
            if len(begun) == 3:
                engine.stop(hand_over=True)

        monkeypatch.setattr(PieceVideo, "end", end)

    split = stopped_and_continued(video, tmp_path / "out", pieces, stop)
    assert begun == [0, 3, 1, 2], "what had to be inferred at once, the rest when it was tracked, and none twice"
    assert (split.entry["status"], split.entry["resumed_from"]) == ("ok", FRAMES)
    assert split.rows() == whole.rows()
    same_video(split.folder / "clip.mp4", whole.folder / "clip.mp4")


def test_a_run_that_is_stopped_within_a_piece_continues(tmp_path, pieces):
    video = make(tmp_path, CLIPS["closed"]).path
    whole = track(video, tmp_path / "whole", **CONFIG)

    def stop(engine):
        return lambda streams: engine.stop(hand_over=True) if any(each.frames >= 10 for each in streams) else None

    split = stopped_and_continued(video, tmp_path / "out", pieces, stop)
    assert split.entry["status"] == "ok"
    assert 0 < split.entry["resumed_from"] < FRAMES
    assert split.rows() == whole.rows()
    same_video(split.folder / "clip.mp4", whole.folder / "clip.mp4")


@pytest.mark.parametrize("first", [True, False])
def test_a_video_in_one_go_and_one_in_pieces_don_t_continue_each_other(tmp_path, pieces, first):
    video, entries = make(tmp_path, CLIPS["closed"]).path, []
    whole = track(video, tmp_path / "whole", **CONFIG)
    for drawn in (first, not first):
        given = Assignment(Video(str(video), STEM), pieces=pieces._replace(drawn=drawn), job="job")
        with fake_engine(**CONFIG, delay_s=0.005, checkpoint_s=0.0) as engine:

            def stop(streams, engine=engine, drawn=drawn):
                if drawn is first and any(each.frames >= 10 for each in streams):
                    engine.stop(hand_over=True)

            engine.work([given], tmp_path / "out", done=lambda _, entry: entries.append(entry), progress=stop)
    assert entries[0]["unfinished"]
    assert (entries[1]["status"], entries[1]["resumed_from"]) == ("ok", 0)
    assert "in pieces before" in str(entries[1]["notes"])
    same_video(tmp_path / "out" / "clip.mp4", whole.folder / "clip.mp4")
