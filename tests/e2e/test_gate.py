"""With the gate on: what is inferred, and that nothing else ever changes what comes of it."""

from __future__ import annotations

import json
import random
import signal
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import av
import numpy as np
import pytest

from engine import Engine, EngineConfig
from engine.inference.backends.fake import FakeBackend, fake_manifest
from engine.inference.layouts import get_layout
from engine.inference.model import LoadedModel
from engine.inference.tensor_shape import TensorShape
from engine.pipeline import pipeline as pipeline_module
from engine.pipeline.channel import Handoff
from engine.pipeline.facts import gate_note
from engine.records import Agreements
from engine.resume.attempts import peek
from engine.sinks.memory import Counters
from tests.e2e.runs import cli, ended, rows
from tests.waiting import until

pytestmark = pytest.mark.timeout(120)

SIZE = (640, 480)
FORMATS = ("tracks", "mot", "detections")
GATED: dict[str, Any] = {"gate": "motion", "formats": FORMATS, "visualize": False, "min_hits": 1, "store_conf": 0.1}


def place(index: int) -> tuple[int, int] | None:
    """Where the square is in a frame: it waits, crosses, waits, is away, and stands somewhere else."""
    if index < 20:
        return 100, 100
    if index < 60:
        return 100 + 6 * (index - 20), 100 + 2 * (index - 20)
    if index < 90:
        return 340, 180
    return None if index < 110 else (40, 300)


def blinking(index: int) -> tuple[int, int] | None:
    """The square is there in every second frame only, which the gate is sure to miss."""
    return None if index % 2 else place(index % 60)


def pacing(index: int) -> tuple[int, int]:
    """The square goes steadily from side to side."""
    return abs(3 * index % 1000 - 500), 100


def film(
    path: Path,
    frames: int = 150,
    rate: int = 25,
    *,
    bright: int = 60,
    pan: bool = False,
    way: Callable[[int], tuple[int, int] | None] = place,
) -> Path:
    """A clip of a white square of 60 pixels on a textured ground, which may move as a whole. `way` says where the
    square is in a frame."""
    ground = np.random.default_rng(5).integers(bright - 40, bright + 40, (30, 60)).repeat(16, 0).repeat(16, 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=rate)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        stream.options = {"preset": "ultrafast", "qp": "12", "g": "25"}
        for index in range(frames):
            left = 4 * index % 300 if pan else 0
            image = np.repeat(ground[: SIZE[1], left : left + SIZE[0], None], 3, 2).astype(np.uint8)
            at = way(index)
            if at is not None:
                image[at[1] : at[1] + 60, at[0] : at[0] + 60] = 255
            output.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        output.mux(stream.encode(None))
    return path


def engine(
    *, checkpoint_s: float = 5.0, delay_s: float = 0.0, fail_after: int | None = None, **settings: Any
) -> Engine:
    """An engine with the gate on, whose model is large enough for parts to pay."""
    backend = FakeBackend(delay_s=delay_s, fail_after=fail_after)
    shape = TensorShape((640, 640), 32, rect=True)
    model = LoadedModel(fake_manifest(640, 640), backend, get_layout("end2end"), shape, "")
    config = EngineConfig(**{"backend": "fake", "input_size": (640, 640), **GATED, **settings})
    return Engine(config, model=model, checkpoint_s=checkpoint_s)


def files(output: Path) -> dict[str, bytes]:
    kinds = ("*.tracks.jsonl", "*.mot.txt", "*.detections.jsonl", "*.detections.bin")
    return {path.name: path.read_bytes() for kind in kinds for path in sorted(output.glob(kind))}


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    film(folder / "a.mp4")
    film(folder / "b.mp4", 61, 30)
    film(folder / "c.mp4", 3)
    return folder


@pytest.fixture(scope="module")
def alone(films: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    output = tmp_path_factory.mktemp("alone")
    for path in sorted(films.iterdir()):
        engine(batch=1, workers=1, streams=1, window=1).run([path], output)
    return files(output)


def test_it_looks_at_what_changes_and_finds_the_same(films: Path, tmp_path: Path) -> None:
    (whole,) = engine(gate="off").run([films / "a.mp4"], tmp_path / "whole")["videos"]
    (gated,) = engine().run([films / "a.mp4"], tmp_path / "gated")["videos"]
    assert (gated["status"], gated["frames"], whole["inferred_frames"]) == ("ok", 150, 150)
    told = gated["gate"]
    assert "gate" not in whole
    assert sum(told[look] for look in ("whole", "parts", "same", "between")) == 150
    assert told["whole"] + told["parts"] == gated["inferred_frames"]
    assert told["inferred_share"] < 0.15
    assert min(told[look] for look in ("whole", "parts", "same", "between")) > 0
    full, found = (rows(Path(each["outputs"]["detections"])) for each in (whole, gated))
    by_frame = {row["frame"]: row["box_xyxy"] for row in full}
    assert {row["frame"] for row in found} == set(by_frame)
    for row in found:
        # It is thought to go on steadily where it starts and stops within an interval.
        assert row["box_xyxy"] == pytest.approx(by_frame[row["frame"]], abs=12.0), row
    assert {row.get("carried") for row in found} == {None, True}
    assert not any("carried" in row for row in full)


def test_what_is_parked_neither_ages_nor_flickers(films: Path, tmp_path: Path) -> None:
    (entry,) = engine(max_age=1, min_hits=3).run([films / "a.mp4"], tmp_path)["videos"]
    tracks = rows(Path(entry["outputs"]["tracks"]))
    assert [row["frame"] for row in tracks if row["track_id"] == 1] == list(range(90))
    assert {row["track_id"] for row in tracks} == {1, 2}


@pytest.mark.parametrize(("batch", "workers"), [(1, 1), (3, 2), (8, 4)])
@pytest.mark.parametrize(("streams", "window"), [(1, 1), (3, 2), (3, 64)])
def test_neighbours_never_change_a_result(
    films: Path, alone: dict[str, bytes], tmp_path: Path, batch: int, workers: int, streams: int, window: int
) -> None:
    summary = engine(batch=batch, workers=workers, streams=streams, window=window).run([films], tmp_path)
    assert summary["success"]
    assert files(tmp_path) == alone


def test_tiny_queues(films: Path, alone: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline_module, "Handoff", lambda name, _: Handoff(name, 1))
    engine(batch=3, workers=3, streams=3).run([films], tmp_path)
    assert files(tmp_path) == alone


def test_broken_off_several_times(films: Path, alone: dict[str, bytes], tmp_path: Path) -> None:
    """A mark is never on a frame whose boxes depend on later ones."""
    reached = 0
    for after in (9, 5, 5):
        broken = engine(checkpoint_s=0.0, delay_s=0.002, fail_after=after, workers=1)
        assert not broken.run([films / "a.mp4"], tmp_path)["success"]
        assert peek(tmp_path, PurePosixPath("a")) > reached
        reached = peek(tmp_path, PurePosixPath("a"))
    (entry,) = engine().run([films / "a.mp4"], tmp_path)["videos"]
    assert (entry["status"], entry["resumed_from"]) == ("ok", reached)
    made = files(tmp_path)
    assert made == {name: value for name, value in alone.items() if name in made}
    assert len(made) == 4
    (fresh,) = engine().run([films / "a.mp4"], tmp_path / "fresh")["videos"]
    assert (entry["gate"], entry["inferred_frames"]) == (fresh["gate"], fresh["inferred_frames"])


def test_stopped_and_gone_on(films: Path, alone: dict[str, bytes], tmp_path: Path) -> None:
    """The last frame before a stop bears a mark: what it is told is what an uninterrupted run has there."""
    stopped = engine(delay_s=0.01, workers=1)
    stopped.run(
        [films / "a.mp4"], tmp_path, progress=lambda all_: stopped.stop() if all_ and all_[0].frames > 30 else None
    )
    assert 30 < peek(tmp_path, PurePosixPath("a")) < 150
    (entry,) = engine().run([films / "a.mp4"], tmp_path)["videos"]
    assert entry["resumed_from"] > 30
    made = files(tmp_path)
    assert made == {name: value for name, value in alone.items() if name in made}


def test_killed_at_any_moment(films: Path, tmp_path: Path) -> None:
    """SIGKILL, in a process of its own, several times."""
    config = tmp_path / "config.json"
    config.write_text(json.dumps({**GATED, "backend": "fake", "input_size": [640, 640]}))
    output, whole = tmp_path / "out", tmp_path / "whole"
    arguments = [films / "a.mp4", "--config", config, "--json"]
    chance = random.Random(11)
    for _ in range(3):
        process = cli("run", *arguments, "-o", output, delay_s=0.05, checkpoint_s=0.05)
        wanted = peek(output, PurePosixPath("a")) + chance.randint(3, 20)
        until(lambda wanted=wanted: peek(output, PurePosixPath("a")) >= wanted, about=lambda: "no checkpoint")
        process.kill()
        assert ended(process)[0] == -signal.SIGKILL
    status, out, errors = ended(cli("run", *arguments, "-o", output))
    assert status == 0, errors
    assert json.loads(out.splitlines()[-1])["videos"][0]["resumed_from"] > 0
    assert ended(cli("run", *arguments, "-o", whole))[0] == 0
    assert files(output) == files(whole)


def test_a_camera_that_moves_is_inferred_whole(tmp_path: Path) -> None:
    (entry,) = engine().run([film(tmp_path / "pan.mp4", 40, pan=True)], tmp_path / "out")["videos"]
    assert entry["gate"]["whole"] >= 38


def test_other_light_is_a_whole_frame(tmp_path: Path) -> None:
    """Cut: the same scene, thirty levels brighter."""
    dark, bright = film(tmp_path / "dark.mp4", 15), film(tmp_path / "bright.mp4", 15, bright=90)
    with av.open(str(tmp_path / "cut.mp4"), "w") as output:
        stream = output.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        stream.options = {"qp": "12", "preset": "ultrafast"}
        for number, image in enumerate(
            image for path in (dark, bright) for image in av.open(str(path)).decode(video=0)
        ):
            fresh = av.VideoFrame.from_ndarray(image.to_ndarray(format="yuv420p"), "yuv420p")
            fresh.pts = number
            output.mux(stream.encode(fresh))
        output.mux(stream.encode(None))
    (entry,) = engine().run([tmp_path / "cut.mp4"], tmp_path / "out")["videos"]
    assert entry["gate"]["whole"] == 2
    assert entry["gate"]["same"] == 28


def test_a_region_to_ignore_costs_nothing(films: Path, tmp_path: Path) -> None:
    path = tmp_path / "scene.toml"
    path.write_text("[[ignore]]\npolygon = [[0, 0], [1, 0], [1, 1], [0, 1]]\n")
    (entry,) = engine(scene=[path], full_every_s=60).run([films / "a.mp4"], tmp_path / "out")["videos"]
    assert (entry["gate"]["whole"], entry["gate"]["same"], entry["detections"]) == (1, 149, 0)


def test_a_model_of_one_size_looks_at_whole_frames(films: Path, tmp_path: Path) -> None:
    (entry,) = engine(gate_scale=2.0).run([films / "b.mp4"], tmp_path / "fine")["videos"]
    assert entry["gate"]["parts"] > 0
    assert entry["gate"]["between"] == 0, "a frame between whole ones would show less than its parts"
    square = LoadedModel(
        fake_manifest(640, 640), FakeBackend(), get_layout("end2end"), TensorShape((640, 640), 32, rect=False), ""
    )
    config = EngineConfig(**{"backend": "fake", "input_size": (640, 640), **GATED})
    (entry,) = Engine(config, model=square).run([films / "b.mp4"], tmp_path / "square")["videos"]
    assert entry["gate"]["parts"] == 0
    assert entry["gate"]["between"] > 0


# -- the audit --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def blinks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return film(tmp_path_factory.mktemp("blinking") / "blinking.mp4", 330, way=blinking)


def test_the_audit_sees_what_the_gate_costs(blinks: Path, tmp_path: Path) -> None:
    (whole,) = engine(gate="off").run([blinks], tmp_path / "whole")["videos"]
    (gated,) = engine(gate_target=0.0).run([blinks], tmp_path / "gated")["videos"]
    told = gated["gate"]["audit"]
    assert (told["windows"], told["frames"], told["level"], told["opened_at"]) == (3, 18, 0, [])
    full, found = (rows(Path(each["outputs"]["detections"])) for each in (whole, gated))
    frames = {row["frame"] for row in full}
    agreeing = sum(row["frame"] in frames for row in found)
    true = 2 * agreeing / (len(full) + len(found))
    assert true < 0.8
    assert told["boxes"]["low"] <= true <= told["boxes"]["high"]
    assert told["boxes"]["value"] == pytest.approx(true, abs=0.15)
    assert any(note.startswith("gate: ") and "in 3 windows" in note for note in gated["notes"])


def test_below_its_target_it_opens(blinks: Path, tmp_path: Path) -> None:
    """Up to where it loses nothing: behind the first window no frame but one is between others, behind the second
    none."""
    (entry,) = engine().run([blinks], tmp_path)["videos"]
    told = entry["gate"]["audit"]
    assert told["level"] >= 2
    assert len(told["opened_at"]) == told["level"]
    assert any("below gate_target, it opened behind frame" in note for note in entry["notes"])
    marked = [row for row in rows(Path(entry["outputs"]["detections"])) if row["frame"] > told["opened_at"][1] + 64]
    assert marked
    assert all(row["frame"] % 2 == 0 for row in marked)


def test_a_gate_that_opens_goes_on_where_it_was(blinks: Path, tmp_path: Path) -> None:
    (whole,) = engine().run([blinks], tmp_path / "whole")["videos"]
    out, reached = tmp_path / "out", 0
    for after in (50, 30, 30):
        broken = engine(checkpoint_s=0.0, fail_after=after, workers=2, batch=2)
        assert not broken.run([blinks], out)["success"]
        assert peek(out, PurePosixPath("blinking")) > reached
        reached = peek(out, PurePosixPath("blinking"))
    (entry,) = engine(workers=3).run([blinks], out)["videos"]
    assert entry["resumed_from"] == reached > whole["gate"]["audit"]["opened_at"][0]
    assert files(out) == files(tmp_path / "whole")
    assert entry["gate"] == whole["gate"]


def test_what_moves_steadily_is_seldom_inferred(tmp_path: Path) -> None:
    """Every twelfth frame, and one every two seconds; the last one, too, or what moves would stand still behind it."""
    path = film(tmp_path / "pacing.mp4", 96, way=pacing)
    (entry,) = engine().run([path], tmp_path)["videos"]
    found = rows(Path(entry["outputs"]["detections"]))
    assert [row["frame"] for row in found if not row.get("carried")] == [0, 12, 24, 36, 48, 50, 62, 74, 86, 95]
    for row in found:
        left, top = pacing(row["frame"])
        assert row["box_xyxy"] == pytest.approx((left, top, left + 60, top + 60), abs=2.0), row


@pytest.mark.parametrize(("comes", "goes"), [(20, 26), (31, 40), (49, 53)])
def test_what_comes_and_goes_within_an_interval_is_found(tmp_path: Path, comes: int, goes: int) -> None:
    """The frames around are alike. What has changed in between tells that there is something to look for."""

    def passing(index: int) -> tuple[int, int] | None:
        return (300, 100 + 4 * (index - comes)) if comes <= index < goes else None

    (entry,) = engine().run([film(tmp_path / "passing.mp4", 70, way=passing)], tmp_path)["videos"]
    found = [row["frame"] for row in rows(Path(entry["outputs"]["detections"]))]
    assert found == list(range(comes, goes))
    assert entry["gate"]["inferred_share"] < 0.25


def test_a_clip_too_short_for_a_window_says_so(films: Path, tmp_path: Path) -> None:
    (entry,) = engine().run([films / "c.mp4"], tmp_path)["videos"]
    assert entry["gate"]["audit"] is None
    assert any("too short for an audit" in note for note in entry["notes"])


@pytest.mark.parametrize(
    ("windows", "boxes", "ids", "told"),
    [
        (1, 8, 4, "agree with whole frames in 1 window: too few to state an interval for the whole video"),
        (2, 8, 0, "agree with whole frames [0.34 .. 1.00], in 2 windows"),
        (
            2,
            8,
            4,
            "[0.34 .. 1.00], 1.000 of ids [0.21 .. 1.00], 1.000 of their numbers [0.21 .. 1.00], in 2 windows",
        ),
        (2, 0, 0, "no boxes in the 2 windows of the audit, which tells nothing of what that costs"),
    ],
)
def test_what_windows_tell_is_said_in_words(windows: int, boxes: int, ids: int, told: str) -> None:
    tally = Counters()
    tally.looks["whole"] = 8
    tally.agreements = Agreements()
    for _ in range(windows):
        tally.agreements.boxes.add(boxes, boxes)
        tally.agreements.ids.add(ids, ids)
        tally.agreements.counts.add(ids, ids)
    assert (gate_note(tally) or "").endswith(told)


def test_windows_are_the_inputs_own(films: Path, tmp_path: Path) -> None:
    """Of the same bytes elsewhere the same frames are audited."""
    copy = tmp_path / "elsewhere" / "other.mp4"
    copy.parent.mkdir()
    copy.write_bytes((films / "a.mp4").read_bytes())
    one, other = (engine().run([path], tmp_path / path.stem)["videos"][0] for path in (films / "a.mp4", copy))
    assert one["gate"] == other["gate"]
    assert one["gate"]["audit"]["windows"] >= 1
