"""A long video in pieces: what others have found in them changes how long a run takes, and nothing that it writes."""

import hashlib
import itertools
import random
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path, PurePosixPath

import av
import pytest

from engine.media.inputs import Video
from engine.media.planes import planes_of
from engine.pipeline import reader, ways
from engine.pipeline.assignment import Assignment, PieceAssignment, PiecesOf
from engine.pipeline.pieces import key_of, made_with, read_piece
from engine.pipeline.stream import Outcome
from engine.stages.decode import Decoder
from engine.summary import VideoStatus
from tests.assets import require_asset
from tests.e2e.clips import Shot, make
from tests.e2e.runs import fake_engine
from tests.e2e.videos import times_in

FORMATS = ("tracks", "mot", "detections")
STEM = PurePosixPath("clip")
FRAMES = 90
PIECE_S = 1.0
OF_B_FRAMES = {"preset": "veryfast", "x264-params": "keyint=20:min-keyint=20:scenecut=0:bframes=3:b-adapt=0"}

CLIPS = {
    "closed": Shot(frames=FRAMES, options={"preset": "ultrafast", "g": "20"}, audio="aac"),
    "b frames": Shot(frames=FRAMES, options=OF_B_FRAMES),
    "open": Shot(frames=FRAMES, options={**OF_B_FRAMES, "x264-params": OF_B_FRAMES["x264-params"] + ":open-gop=1"}),
    "open hevc": Shot(
        frames=FRAMES,
        codec="libx265",
        options={"preset": "ultrafast", "x265-params": "keyint=20:min-keyint=20:open-gop=1:bframes=3:log-level=none"},
    ),
    "variable rate": Shot(
        frames=FRAMES,
        options=OF_B_FRAMES,
        time_base=Fraction(1, 1000),
        pts=list(itertools.accumulate(random.Random(7).choices((20, 33, 40, 90, 250), k=FRAMES), initial=500))[:FRAMES],
    ),
    "transport stream": Shot(".ts", frames=FRAMES, options=OF_B_FRAMES, audio="mp2"),
    "fragmented": Shot(
        frames=FRAMES, options=OF_B_FRAMES, muxer_options={"movflags": "frag_keyframe+empty_moov+default_base_moof"}
    ),
    "matroska": Shot(".mkv", frames=FRAMES, options=OF_B_FRAMES),
    "matroska, not indexed": Shot(".mkv", frames=FRAMES, options=OF_B_FRAMES, muxer_options={"live": "1"}),
    "avi": Shot(".avi", codec="mpeg4", frames=FRAMES, options={"g": "20"}),
    "one key frame": Shot(frames=FRAMES, options={"preset": "ultrafast", "g": "1000"}),
    "raw": Shot(".h264", frames=FRAMES, options=OF_B_FRAMES, muxer="h264"),
}
# Those in which nothing can be sought.
WHOLE = {"raw"}


@dataclass
class Ran:
    """What a run left of a video, and what it told of it."""

    folder: Path
    entry: dict

    def outputs(self) -> dict[str, str]:
        """Hash of each file of results."""
        return {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(self.folder.iterdir())
            if path.is_file() and not path.name.startswith(".")
        }

    def rows(self) -> dict[str, str]:
        """The same without the annotated video: it begins a new group of pictures where a run goes on."""
        return {name: digest for name, digest in self.outputs().items() if not name.endswith(".mp4")}

    @property
    def known(self) -> int:
        return self.entry.get("known_ahead", 0)


def track(video: Path, folder: Path, pieces: PiecesOf | None = None, **settings) -> Ran:
    entries = []
    with fake_engine(**{"formats": FORMATS, "visualize": True, "max_age": 3, **settings}) as engine:
        engine.work(
            [Assignment(Video(str(video), STEM), pieces=pieces)], folder, done=lambda _, entry: entries.append(entry)
        )
    return Ran(folder, entries[0])


def find(video: Path, folder: Path, numbers, pieces: PiecesOf, **settings) -> dict[str, Outcome]:
    """Has pieces found, and tells how each ended, by its stem."""
    pieces.base.parent.mkdir(parents=True, exist_ok=True)
    ended = {}
    given = [PieceAssignment(Video(str(video), STEM / str(number)), pieces.piece(number)) for number in numbers]
    with fake_engine(**{"formats": FORMATS, "visualize": True, "max_age": 3, **settings}) as engine:
        engine.work(
            given,
            folder,
            done=lambda *_: pytest.fail("no video was given"),
            piece_done=lambda piece, outcome: ended.update({piece.video.stem.name: outcome}),
        )
    return ended


@pytest.fixture
def pieces(tmp_path) -> PiecesOf:
    return PiecesOf(tmp_path / "pieces" / "0000", PIECE_S)


@pytest.mark.parametrize("kind", CLIPS)
def test_the_results_are_those_of_one(tmp_path, pieces, kind):
    video = make(tmp_path, CLIPS[kind]).path
    whole = track(video, tmp_path / "whole")
    assert whole.entry["status"] == "ok"
    assert whole.entry["frames"] == FRAMES
    find(video, tmp_path / "out", (1, 2, 3), pieces)
    split = track(video, tmp_path / "out", pieces)
    assert split.outputs() == whole.outputs()
    assert split.entry["inferred_frames"] == whole.entry["inferred_frames"]
    if kind == "variable rate":
        assert split.known == sum(1 <= at < 4 for at in since_first(CLIPS[kind]))
    else:
        assert split.known == (0 if kind in WHOLE else FRAMES - 25)


def since_first(shot: Shot) -> list[Fraction]:
    """The seconds from its first frame to each."""
    return [(tick - shot.pts[0]) * shot.time_base for tick in shot.pts]


@pytest.fixture
def left_out(monkeypatch) -> list[int]:
    """The times of the frames that were not decoded."""
    times, noted = [], Decoder.pass_over

    def note(decoder: Decoder, pts: int, *, at_key_frame: bool) -> None:
        times.append(pts)
        noted(decoder, pts, at_key_frame=at_key_frame)

    monkeypatch.setattr(Decoder, "pass_over", note)
    return times


# In these, groups begin at every twentieth frame. Pieces begin at frames 50 and 100: frames 60 to 99 and 120 to 139 lie
# in groups that are whole in their piece, behind a frame of it that was decoded.
LEFT_OUT = dict.fromkeys(("closed", "b frames", "fragmented", "matroska", "matroska, not indexed"), 60)


@pytest.mark.parametrize("kind", CLIPS)
def test_groups_are_not_decoded_where_no_image_is_needed(tmp_path, kind, left_out):
    shot, pieces = CLIPS[kind], PiecesOf(tmp_path / "pieces" / "0000", 2.0)
    video = make(tmp_path, shot if shot.pts else replace(shot, frames=160)).path
    whole = track(video, tmp_path / "whole", visualize=False)
    assert left_out == []
    find(video, tmp_path / "out", (1, 2), pieces, visualize=False)
    split = track(video, tmp_path / "out", pieces, visualize=False)
    assert split.outputs() == whole.outputs()
    told = ("frames", "inferred_frames", "duration_s", "tracks", "detections", "status", "error", "media", "notes")
    assert {key: split.entry.get(key) for key in told} == {key: whole.entry.get(key) for key in told}
    assert len(left_out) == (20 if kind == "variable rate" else LEFT_OUT.get(kind, 0))
    assert split.known >= len(left_out)


@pytest.fixture
def half_found(tmp_path) -> tuple[Path, PiecesOf]:
    """A video of 8 s with groups of 20 frames, and its pieces, of which the one from frame 50 on was found."""
    pieces = PiecesOf(tmp_path / "pieces" / "0000", 2.0)
    video = make(tmp_path, replace(CLIPS["b frames"], frames=160)).path
    find(video, tmp_path / "out", [1], pieces, visualize=False)
    return video, pieces


def test_other_packets_are_decoded(tmp_path, half_found, left_out):
    """As of a file that was replaced meanwhile, by one with the same times and a single other byte."""
    video, pieces = half_found
    data = bytearray(video.read_bytes())
    with av.open(str(video)) as container:
        packet = next(each for each in container.demux(video=0) if each.pts == 70 * 512)
        assert packet.pos is not None
        data[packet.pos + packet.size - 2] ^= 1
    video.write_bytes(data)
    whole = track(video, tmp_path / "whole", visualize=False)
    split = track(video, tmp_path / "out", pieces, visualize=False)
    assert split.outputs() == whole.outputs()
    assert {pts // 512 for pts in left_out} == set(range(80, 100))


def test_who_decodes_other_images_decodes_them_all(tmp_path, half_found, left_out, monkeypatch):
    """As where a piece was found by a decoder that a setting from before its first packet had not reached."""
    video, pieces = half_found
    whole = track(video, tmp_path / "whole", visualize=False)
    monkeypatch.setattr(ways, "key_of", lambda image: b"another" + key_of(image))
    split = track(video, tmp_path / "out", pieces, visualize=False)
    assert split.outputs() == whole.outputs()
    assert left_out == []


@pytest.mark.parametrize("needs", [{"crops": True}, {"max_decode_s": 60.0}], ids=["crops", "a limit on decoding"])
def test_all_is_decoded_where_something_depends_on_it(tmp_path, half_found, left_out, needs):
    video, pieces = half_found
    find(video, tmp_path / "out", [1], pieces, visualize=False, **needs)
    whole = track(video, tmp_path / "whole", visualize=False, **needs)
    split = track(video, tmp_path / "out", pieces, visualize=False, **needs)
    assert split.outputs() == whole.outputs()
    assert left_out == []
    assert split.known > 0


def test_a_run_without_images_goes_on_after_a_stop(tmp_path, half_found, left_out):
    video, pieces = half_found
    whole, out = track(video, tmp_path / "whole", visualize=False), tmp_path / "out"
    assignment = Assignment(Video(str(video), STEM), pieces=pieces, job="job")
    config = {"formats": FORMATS, "visualize": False, "max_age": 3}

    def stop(streams):
        if any(stream.frames >= 75 for stream in streams):
            engine.stop(hand_over=True)

    with fake_engine(**config, delay_s=0.01, checkpoint_s=0.0) as engine:
        engine.work([assignment], out, done=lambda *_: None, progress=stop)
    entries = []
    with fake_engine(**config) as engine:
        engine.work([assignment], out, done=lambda _, entry: entries.append(entry))
    assert 0 < entries[0]["resumed_from"] < 160
    assert left_out
    assert Ran(out, entries[0]).outputs() == whole.outputs()


@pytest.mark.parametrize("name", ["vtest.avi", "bottle-detection.mp4"])
def test_real_videos_of_more_than_twenty_seconds(tmp_path, name):
    video, pieces = require_asset(f"videos/{name}"), PiecesOf(tmp_path / "pieces" / "0000", 20.0)
    whole = track(video, tmp_path / "whole", visualize=False)
    find(video, tmp_path / "out", [1], pieces, visualize=False)
    split = track(video, tmp_path / "out", pieces, visualize=False)
    assert split.outputs() == whole.outputs()
    rate = whole.entry["frames"] / whole.entry["duration_s"]
    assert split.known == pytest.approx(min(20.0, whole.entry["duration_s"] - 20) * rate, abs=2)


@pytest.fixture
def found(tmp_path, pieces):
    """A video of which pieces 1 and 2 were found."""
    video = make(tmp_path, CLIPS["b frames"]).path
    ended = find(video, tmp_path / "out", (1, 2), pieces)
    assert {outcome.status for outcome in ended.values()} == {VideoStatus.OK}
    return video


def test_a_piece_leaves_its_detections_and_nothing_else(tmp_path, pieces, found):
    assert [path.name for path in sorted(pieces.base.parent.iterdir())] == [f"0000-0000{n}.bin" for n in (1, 2)]
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("what", ["missing", "empty", "cut short", "a bit flipped", "another's", "a folder", "a link"])
def test_what_is_of_no_use_is_inferred(tmp_path, pieces, found, what):
    whole = track(found, tmp_path / "whole")
    file = pieces.piece(2).file
    body = file.read_bytes()
    if what == "another's":
        find(found, tmp_path / "out", [2], pieces, conf=0.9)
    else:
        file.unlink()
    if what == "a folder":
        file.mkdir()
    elif what == "a link":
        file.symlink_to(pieces.piece(1).file)
    elif what in ("empty", "cut short", "a bit flipped"):
        cut = {"empty": 0, "cut short": len(body) - 40}.get(what, len(body))
        changed = bytearray(body[:cut])
        if what == "a bit flipped":
            changed[len(body) // 2] ^= 1
        file.write_bytes(changed)
    split = track(found, tmp_path / "out", pieces)
    assert split.outputs() == whole.outputs()
    assert split.known == 25


def test_detections_of_other_pictures_are_not_taken(tmp_path, pieces, found):
    """As of a file that was replaced meanwhile by one of the same times."""
    other = make(tmp_path, Shot(frames=FRAMES, options=OF_B_FRAMES, patches=True), "other").path
    whole = track(other, tmp_path / "whole")
    split = track(other, tmp_path / "out", pieces)
    assert split.outputs() == whole.outputs()
    assert split.known == 0


def test_a_run_that_was_stopped_goes_on_with_what_others_have_found(tmp_path, pieces, found):
    whole, out = track(found, tmp_path / "whole"), tmp_path / "out"
    assignment = Assignment(Video(str(found), STEM), pieces=pieces, job="job")
    with fake_engine(formats=FORMATS, visualize=True, max_age=3, delay_s=0.01, checkpoint_s=0.0) as engine:

        def stop(streams):
            if any(stream.frames >= 10 for stream in streams):
                engine.stop(hand_over=True)

        engine.work([assignment], out, done=lambda *_: None, progress=stop)
    entries = []
    with fake_engine(formats=FORMATS, visualize=True, max_age=3) as engine:
        engine.work([assignment], out, done=lambda _, entry: entries.append(entry))
    assert 0 < entries[0]["resumed_from"] < FRAMES
    assert entries[0]["known_ahead"] > 0
    split = Ran(out, entries[0])
    assert split.rows() == whole.rows()
    assert times_in(out / "clip.mp4") == times_in(whole.folder / "clip.mp4")


def test_a_piece_that_is_stopped_leaves_nothing(tmp_path, pieces):
    video = make(tmp_path, CLIPS["closed"]).path
    pieces.base.parent.mkdir()
    told = []
    with fake_engine(delay_s=0.05) as engine:
        engine.work(
            [PieceAssignment(Video(str(video), STEM / "1"), pieces.piece(1))],
            tmp_path / "out",
            done=lambda *_: None,
            piece_done=lambda _, outcome: told.append(outcome),
            progress=lambda streams: engine.stop() if any(stream.frames for stream in streams) else None,
        )
    assert told[0].unfinished
    assert list(pieces.base.parent.iterdir()) == []


def test_a_piece_without_a_key_frame_near_is_not_worth_it(tmp_path, pieces, monkeypatch):
    monkeypatch.setattr(reader, "LENGTHS", 1)
    monkeypatch.setattr(reader, "NEAR_S", 0.5)
    video = make(tmp_path, CLIPS["one key frame"]).path
    ended = find(video, tmp_path / "out", (1, 3), pieces)
    assert ended["1"].status is VideoStatus.OK
    assert (ended["3"].status, ended["3"].error) == (
        VideoStatus.FAILED,
        "has no key frame to begin at shortly before 3 s",
    )


def test_a_file_that_is_gone_fails_its_piece_alone(tmp_path, pieces):
    video = make(tmp_path, CLIPS["closed"]).path
    pieces.base.parent.mkdir()
    told = {}
    with fake_engine() as engine:
        engine.work(
            [
                PieceAssignment(Video(str(tmp_path / "gone.mp4"), STEM / "1"), pieces.piece(1)),
                PieceAssignment(Video(str(video), STEM / "2"), pieces.piece(2)),
            ],
            tmp_path / "out",
            done=lambda *_: None,
            piece_done=lambda piece, outcome: told.update({piece.video.stem.name: (outcome.status, outcome.error)}),
        )
    assert told == {"1": (VideoStatus.FAILED, "does not exist"), "2": (VideoStatus.OK, None)}


@pytest.mark.parametrize("kind", ["yuv420p", "yuvj420p", "nv12", "rgb24", "bgr24", "gray"])
def test_a_picture_is_known_by_all_its_bytes_and_no_others(kind):
    width, height = 70, 46  # rows are padded, and the last bytes make no word
    seen = set()
    picture = av.VideoFrame(width, height, kind)
    for plane in planes_of(picture):
        plane[:] = 7
    key = key_of(picture)
    assert len(key) == 40
    for number, plane in enumerate(planes_of(picture)):
        rows, columns = (height, width) if number == 0 else (height // 2, width // 2)
        columns *= 2 if kind == "nv12" and number else 3 if kind in ("rgb24", "bgr24") else 1
        for at in ((0, 0), (0, columns - 1), (rows - 1, 0), (rows - 1, columns - 1), (rows // 2, columns // 2)):
            plane[at] = 8
            seen.add(key_of(picture))
            plane[at] = 7
        if plane.shape[1] > columns:
            plane[:, columns:] = 9
    assert key_of(picture) == key
    seen.add(key)
    assert len(seen) == 1 + 5 * len(picture.planes)
    assert key_of(av.VideoFrame(width + 2, height, kind)) not in seen
    picture.color_range = 1 if kind == "yuvj420p" else 2
    assert (key_of(picture) in seen) is (kind == "yuvj420p"), "its format says so"


def test_what_was_made_with_other_keys_differs():
    assert made_with({"configuration": {"conf": 0.5}}) != made_with({"configuration": {"conf": 0.4}})
    assert len(made_with({})) == 32


def test_there_is_no_such_piece(tmp_path):
    assert read_piece(tmp_path / "none", b"0" * 32, 80) is None
