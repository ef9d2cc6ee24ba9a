"""With `scan`: only what moves is examined, what is not is stated, and nothing else changes a result."""

from __future__ import annotations

import csv
import json
import signal
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import av
import numpy as np
import pytest

from engine.pipeline.held_sound import HeldSound
from engine.resume.attempts import peek
from tests.e2e.runs import cli, ended, fake_engine, rows
from tests.waiting import until

pytestmark = pytest.mark.timeout(120)

SIZE = (160, 96)
RATE, GROUP = 10, 10
SAMPLES = 16_000
FRAMES = 400
# When the square is there and moves, in frames; the second time it comes and goes between two key frames.
MOVES = ((113, 148), (262, 268))
FORMATS = ("tracks", "mot", "detections")
SCANNED: dict[str, Any] = {"scan": True, "formats": FORMATS, "store_conf": 0.1}
GAPS = [[1.0, 11.0], [15.0, 26.0], [27.0, 39.0]]


def film(path: Path, options: dict[str, str] | None = None, *, sound: bool = False) -> Path:
    """Forty seconds of a ground, on which a white square moves twice, in groups of ten pictures."""
    ground = np.random.default_rng(5).integers(20, 100, (SIZE[1] // 8, SIZE[0] // 8)).repeat(8, 0).repeat(8, 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        group = {"g": str(GROUP), "keyint_min": str(GROUP), "sc_threshold": "0"}
        stream.options = {"preset": "ultrafast", "qp": "12", **group, **(options or {})}
        audio = output.add_stream("aac", rate=SAMPLES, layout="mono") if sound else None
        for index in range(FRAMES):
            image = np.repeat(ground[..., None], 3, 2).astype(np.uint8)
            for first, last in MOVES:
                if first <= index < last:
                    left = 10 + 3 * (index - first)
                    image[40:60, left : left + 20] = 255
            output.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
            if audio is not None:
                tone = np.full((1, SAMPLES // RATE), index % 7 / 10, np.float32)
                heard = av.AudioFrame.from_ndarray(tone, "fltp", "mono")
                heard.sample_rate = SAMPLES
                output.mux(audio.encode(heard))
        output.mux(stream.encode(None))
        if audio is not None:
            output.mux(audio.encode(None))
    return path


OPEN_GROUPS = {"preset": "medium", "bf": "3", "x264-params": "open-gop=1:b-adapt=0"}


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    film(folder / "closed.mp4")
    film(folder / "open.mkv", OPEN_GROUPS)
    return folder


def files(output: Path) -> dict[str, bytes]:
    kinds = ("*.tracks.jsonl", "*.mot.txt", "*.detections.jsonl", "*.detections.bin")
    return {path.name: path.read_bytes() for kind in kinds for path in sorted(output.glob(kind))}


@pytest.fixture(scope="module")
def alone(films: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    output = tmp_path_factory.mktemp("alone")
    for path in sorted(films.iterdir()):
        fake_engine(**SCANNED, batch=1, workers=1, streams=1, window=1).run([path], output)
    return files(output)


@pytest.mark.parametrize("name", ["closed.mp4", "open.mkv"])
def test_what_moves_is_found_as_if_all_were_examined(films: Path, tmp_path: Path, name: str) -> None:
    (whole,) = fake_engine(formats=FORMATS).run([films / name], tmp_path / "whole")["videos"]
    (entry,) = fake_engine(**SCANNED).run([films / name], tmp_path / "scanned")["videos"]
    assert (entry["status"], entry["error"]) == ("ok", None)
    assert (entry["frames"], entry["inferred_frames"], whole["frames"]) == (70, 70, FRAMES)
    assert (entry["media"]["examined_s"], entry["media"]["not_examined_s"]) == ([0.0, 40.0], GAPS)
    assert "not_examined_s" not in whole["media"]
    assert [note for note in entry["notes"] if "33 seconds were not examined, in 3 intervals" in note]
    full, found = (rows(Path(each["outputs"]["detections"])) for each in (whole, entry))
    assert len(found) == sum(last - first for first, last in MOVES)
    assert found == full
    assert entry["tracks"] == whole["tracks"] == 2


def test_sound_of_a_long_interval_waits_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory stays bounded while nothing is examined, and the annotated video is the same to the last byte."""
    source = film(tmp_path / "heard.mp4", sound=True)

    def annotated(output: Path) -> bytes:
        (entry,) = fake_engine(**SCANNED, visualize=True).run([source], output)["videos"]
        assert (entry["status"], entry["error"]) == ("ok", None)
        return Path(entry["outputs"]["video"]).read_bytes()

    in_memory = annotated(tmp_path / "in memory")
    monkeypatch.setattr("engine.pipeline.reader.HeldSound", partial(HeldSound, max_bytes=4096))
    assert annotated(tmp_path / "in a file") == in_memory
    with av.open(str(source)) as given, av.open(str(tmp_path / "in a file" / "heard.mp4")) as made:
        sound = [[bytes(packet) for packet in each.demux(audio=0) if packet.size] for each in (given, made)]
    assert sound[0] == sound[1]


@pytest.mark.parametrize(("batch", "workers", "streams", "window"), [(3, 2, 1, 2), (8, 4, 3, 64)])
def test_neighbours_never_change_a_result(
    films: Path, alone: dict[str, bytes], tmp_path: Path, batch: int, workers: int, streams: int, window: int
) -> None:
    assert fake_engine(**SCANNED, batch=batch, workers=workers, streams=streams, window=window).run([films], tmp_path)[
        "success"
    ]
    assert files(tmp_path) == alone


@pytest.mark.parametrize("gate", ["off", "motion"])
@pytest.mark.parametrize("name", ["closed.mp4", "open.mkv"])
def test_broken_off_several_times(films: Path, tmp_path: Path, name: str, gate: str) -> None:
    """Also at the edges of what is examined."""
    settings = {**SCANNED, "gate": gate, "full_every_s": 0.4}
    (fresh,) = fake_engine(**settings).run([films / name], tmp_path / "fresh")["videos"]
    reached, stem = [0], PurePosixPath(name).with_suffix("")
    for after in (9, 7, 8, 6):
        broken = fake_engine(**settings, checkpoint_s=0.0, delay_s=0.002, fail_after=after, workers=1)
        assert not broken.run([films / name], tmp_path / "out")["success"]
        reached.append(peek(tmp_path / "out", stem))
    assert reached == sorted(reached)
    assert reached[-1] > 0
    (entry,) = fake_engine(**settings).run([films / name], tmp_path / "out")["videos"]
    assert (entry["status"], entry["resumed_from"]) == ("ok", reached[-1])
    assert files(tmp_path / "out") == files(tmp_path / "fresh")
    keys = ("frames", "inferred_frames", "media", "tracks")
    assert [entry[key] for key in keys] == [fresh[key] for key in keys]


def test_killed_at_any_moment(films: Path, tmp_path: Path) -> None:
    """SIGKILL, in a process of its own."""
    config = tmp_path / "config.json"
    settings = {**SCANNED, "backend": "fake", "visualize": False, "min_hits": 1, "input_size": [128, 128]}
    config.write_text(json.dumps(settings))
    output, whole = tmp_path / "out", tmp_path / "whole"
    arguments = [films / "closed.mp4", "--config", config, "--json"]
    process = cli("run", *arguments, "-o", output, delay_s=0.05, checkpoint_s=0.05)
    until(lambda: peek(output, PurePosixPath("closed")) > 112, about=lambda: "no checkpoint behind the first gap")
    process.kill()
    assert ended(process)[0] == -signal.SIGKILL
    status, out, errors = ended(cli("run", *arguments, "-o", output))
    assert status == 0, errors
    assert json.loads(out.splitlines()[-1])["videos"][0]["resumed_from"] > 112
    assert ended(cli("run", *arguments, "-o", whole))[0] == 0
    assert files(output) == files(whole)


@pytest.mark.parametrize(
    ("part", "gaps", "frames"),
    [
        ({"start_s": 12.5, "end_s": 24.0}, [[15.0, 24.0]], 25),
        ({"end_s": 13.25}, [[1.0, 11.0]], 10 + 23),
        ({"start_s": 30.0}, [[31.0, 39.0]], 10 + 10),
    ],
)
def test_a_part_of_a_video(
    films: Path, tmp_path: Path, part: dict[str, float], gaps: list[list[float]], frames: int
) -> None:
    (entry,) = fake_engine(**SCANNED, **part).run([films / "closed.mp4"], tmp_path)["videos"]
    assert (entry["status"], entry["frames"], entry["media"]["not_examined_s"]) == ("ok", frames, gaps)
    (whole,) = fake_engine(formats=FORMATS, **part).run([films / "closed.mp4"], tmp_path / "whole")["videos"]
    full, found = (rows(Path(each["outputs"]["detections"])) for each in (whole, entry))
    assert found == full


def test_tables_and_pages_leave_what_was_not_examined_empty(films: Path, tmp_path: Path) -> None:
    scene = {"line": [{"name": "down", "points": [[0.3, 0.0], [0.3, 1.0]]}]}
    engine = fake_engine(**SCANNED, scene=[scene], tables=("csv",), bin_s=5.0, report=True)
    engine.run([films / "closed.mp4"], tmp_path)
    with open(tmp_path / "counts.csv", encoding="utf-8", newline="") as file:
        found = [row for row in csv.DictReader(file) if row["direction"] == "out"]
    assert [row["count"] for row in found] == ["0", "", "1", "", "", "0", "", "0"]
    assert [float(row["examined_s"]) for row in found] == [1, 0, 4, 0, 0, 1, 0, 1]
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Only groups of pictures in which something moves were examined" in page
    manifest = json.loads((tmp_path / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["videos"][0]["media"]["not_examined_s"] == GAPS


def test_what_can_not_be_surveyed_is_examined_and_says_so(tmp_path: Path) -> None:
    film(tmp_path / "a.avi")
    (entry,) = fake_engine(**SCANNED).run([tmp_path / "a.avi"], tmp_path / "out")["videos"]
    assert (entry["status"], entry["frames"]) == ("ok", FRAMES)
    assert [note for note in entry["notes"] if note.startswith("scan: nothing was left out, because its container")]
    assert "not_examined_s" not in entry["media"]


def test_a_file_cut_short_is_examined_as_far_as_it_goes(films: Path, tmp_path: Path) -> None:
    data = (films / "open.mkv").read_bytes()
    (tmp_path / "cut.mkv").write_bytes(data[: len(data) * 2 // 3])
    (entry,) = fake_engine(**SCANNED).run([tmp_path / "cut.mkv"], tmp_path / "out")["videos"]
    assert entry["status"] in ("ok", "partial")
    assert entry["frames"] < 100
    (whole,) = fake_engine(formats=FORMATS).run([tmp_path / "cut.mkv"], tmp_path / "whole")["videos"]
    full, found = (rows(Path(each["outputs"]["detections"])) for each in (whole, entry))
    assert found == full
    assert entry["media"]["examined_s"] == whole["media"]["examined_s"]


def test_an_annotated_video_holds_its_picture(films: Path, tmp_path: Path) -> None:
    (entry,) = fake_engine(**SCANNED, visualize=True).run([films / "closed.mp4"], tmp_path)["videos"]
    with av.open(entry["outputs"]["video"]) as container:
        times = [float(frame.pts * frame.time_base) for frame in container.decode(video=0)]
    assert len(times) == 70
    assert times[10] == pytest.approx(11.0)
