"""`yolo-engine audit` on a real run, as it is and as somebody has changed it, who may make the hashes anew."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import pytest
from click.testing import CliRunner

from engine import Engine, EngineConfig
from engine.audit import ALL, Audit, Kind, audit
from engine.cli.group import commands
from engine.errors import InputError
from engine.output_folder.hashes import made_of, sealed
from tests.assets import demo_video, require_asset
from tests.e2e.rtsp_server import Camera, Play
from tests.e2e.runs import clip, fake_engine

FRAMES = 45
NAMES_OF_ONE_CAMERA = ("cam_20240501_080000.mp4", "cam_20240501_080001.mp4")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source `in/bikes.mp4` and its run `out`, which holds all that a run can leave."""
    root = tmp_path_factory.mktemp("finished")
    (root / "in").mkdir()
    shutil.copy(demo_video(), root / "in" / "bikes.mp4")
    config = EngineConfig(
        formats=("tracks", "mot", "detections"), store_conf=0.05, end_s=FRAMES / 25, tables=("csv",), report=True
    )
    with Engine(config) as engine:
        assert engine.run([root / "in"], root / "out")["success"]
    return root


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of the run, to be changed; and of its source."""
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    change(tmp_path / "out", lambda manifest: manifest["videos"][0].update(path=str(tmp_path / "in" / "bikes.mp4")))
    return tmp_path / "out"


def change(out: Path, how: Callable[[dict], object] = lambda manifest: None) -> None:
    """Changes the manifest, and makes all hashes in it anew: nothing but the content can tell."""
    manifest = json.loads((out / "manifest.json").read_text())
    how(manifest)
    for entry in manifest["videos"]:
        paths = {kind: out / os.path.basename(path) for kind, path in entry["outputs"].items()}
        found = made_of(out, {"answers": {"tables": {kind: str(path) for kind, path in paths.items()}}})
        entry["files"] = {kind: found[path.name] for kind, path in paths.items()}
    manifest["files"] = {name: found for name in manifest["files"] for found in made_of(
        out, {"report": str(out / name)}).values()}  # fmt: skip
    (out / "manifest.json").write_text(json.dumps(sealed(manifest)))


def flip(path: Path) -> None:
    """Changes one byte in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def rewrite(out: Path, how: Callable[[list[dict]], list[dict]], *names: str) -> None:
    """Changes the rows of tracks and mot, or of the files named, all in the same way."""
    for name in names or ("bikes.tracks.jsonl", "bikes.mot.txt"):
        path = out / name
        lines = path.read_text().splitlines(keepends=True)
        if name.endswith("mot.txt"):
            rows = [{"frame": int(line.split(",")[0]) - 1, "track_id": int(line.split(",")[1]), "line": line}
                    for line in lines]  # fmt: skip
        else:
            rows = [{**json.loads(line), "line": line} for line in lines]
        path.write_text("".join(row["line"] for row in how(rows)))


def found(result: Audit) -> list[tuple[Kind, str]]:
    return [(each.kind, each.file) for each in result.findings]


def busiest(out: Path) -> tuple[int, int]:
    """A frame behind the first ones with many rows, and a track that has rows in it, before it and behind it."""
    rows = [json.loads(line) for line in (out / "bikes.tracks.jsonl").read_text().splitlines()]
    frames: dict[int, set[int]] = {}
    for row in rows:
        frames.setdefault(row["frame"], set()).add(row["track_id"])
    return max(
        ((frame, track_id) for frame, ids in frames.items() if 15 <= frame < FRAMES - 1
         for track_id in ids & frames.get(frame - 1, set()) & frames.get(frame + 1, set())),
        key=lambda each: (len(frames[each[0]]), each),
    )  # fmt: skip


def test_as_it_is(finished):
    result = audit(finished / "out", frames=10)
    assert result.passed, result.findings
    assert (result.videos[0].frames, result.left_out) == (10, ())
    assert result.videos[0].boxes > 10
    assert result.files == 5 + len(list((finished / "out").glob("*.csv"))) + 1


def test_as_it_is_to_the_last_row(finished):
    result = audit(finished / "out", frames=ALL)
    assert result.passed, result.findings
    assert result.videos[0].frames == FRAMES


def test_a_seed_takes_the_same_frames(finished):
    boxes = [audit(finished / "out", frames=3, seed=seed).videos[0].boxes for seed in (1, 1, 2, 3, 4)]
    assert boxes[0] == boxes[1]
    assert len(set(boxes)) > 1


@pytest.mark.parametrize(
    "name", ["bikes.tracks.jsonl", "bikes.mot.txt", "bikes.detections.bin", "bikes.mp4", "report.html", "counts.csv"]
)
def test_a_byte(run, name):
    flip(run / name)
    result = audit(run, frames=0)
    assert (Kind.CHANGED, name) in found(result)
    assert {file for _, file in found(result)} <= {name, "bikes.tracks.jsonl"}  # which mot is compared with


def test_a_byte_of_the_manifest(run):
    text = (run / "manifest.json").read_text()
    (run / "manifest.json").write_text(text.replace('"elapsed_s": ', '"elapsed_s": 1', 1))
    assert found(audit(run, frames=0)) == [(Kind.MANIFEST, "manifest.json")]
    (run / "manifest.json").write_text(text[:-40])
    assert found(audit(run, frames=0)) == [(Kind.MANIFEST, "manifest.json")]


def test_an_output_is_gone(run):
    (run / "bikes.mot.txt").unlink()
    assert found(audit(run, frames=0)) == [(Kind.MISSING, "bikes.mot.txt")]


def test_another_source(run):
    with open(run.parent / "in" / "bikes.mp4", "ab") as file:
        file.write(b"\0")
    result = audit(run, frames=5)
    assert found(result) == [(Kind.SOURCE, "")]
    assert "bytes instead of" in result.findings[0].detail
    (run.parent / "in" / "bikes.mp4").unlink()
    assert found(audit(run, frames=5)) == [(Kind.SOURCE, "")]
    assert audit(run, frames=5, sources=demo_video().parent).passed


def test_a_row_that_one_file_lost(run):
    """The other one names it, without a look at the video."""
    frame, track_id = busiest(run)
    rewrite(run, lambda rows: [row for row in rows if (row["frame"], row["track_id"]) != (frame, track_id)],
            "bikes.tracks.jsonl")  # fmt: skip
    change(run)
    result = audit(run, frames=0)
    assert found(result) == [(Kind.ROW, "bikes.tracks.jsonl")]
    assert f"frame {frame}: track {track_id} at" in result.findings[0].detail


def test_a_row_that_both_lost(run):
    frame, track_id = busiest(run)
    rewrite(run, lambda rows: [row for row in rows if (row["frame"], row["track_id"]) != (frame, track_id)])
    change(run)
    assert audit(run, frames=0).passed
    sampled = audit(run, frames=FRAMES)
    assert found(sampled) == [(Kind.BOXES, "bikes.tracks.jsonl")]
    assert f"frame {frame}, missing: track {track_id}" in sampled.findings[0].detail
    whole = audit(run, frames=ALL)
    assert (Kind.ROW, "bikes.tracks.jsonl") in found(whole)
    assert (Kind.ROW, "bikes.mot.txt") in found(whole)


def test_a_row_too_many(run):
    frame, track_id = busiest(run)

    def more(rows):
        for row in rows:
            yield row
            if (row["frame"], row["track_id"]) == (frame, track_id):
                box = '"box_xyxy": [1.0, 1.0, 9.0, 9.0]}\n'
                other = row["line"].replace(f'"track_id": {track_id},', '"track_id": 9999,').partition('"box')[0] + box
                yield {**row, "line": other if "box" in row["line"] else f"{frame + 1},9999,1,1,8,8,0.5,-1,-1,-1\n"}

    rewrite(run, lambda rows: list(more(rows)))
    change(run, lambda manifest: manifest["videos"][0].update(tracks=manifest["videos"][0]["tracks"] + 1))
    result = audit(run, frames=FRAMES)
    assert (Kind.BOXES, "bikes.tracks.jsonl") in found(result)
    told = next(each for each in result.findings if each.kind is Kind.BOXES)
    assert f"frame {frame}, not the model's: track 9999 at 1, 1, 9, 9" in told.detail


def test_a_frame_without_its_rows(run):
    frame, _ = busiest(run)
    rewrite(run, lambda rows: [row for row in rows if row["frame"] != frame])
    change(run)
    assert (Kind.BOXES, "bikes.tracks.jsonl") in found(audit(run, frames=FRAMES))
    result = audit(run, frames=ALL)
    assert (Kind.FRAME, "bikes.tracks.jsonl") in found(result)
    assert any(each.kind is Kind.FRAME and f"frame {frame} (" in each.detail for each in result.findings)


def test_a_frame_that_the_annotated_video_lost(run):
    """Cut out with its packet, so that the video still plays."""
    whole, shorter = run / "bikes.mp4", run / "shorter.mp4"
    with av.open(str(whole)) as source, av.open(str(shorter), "w") as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        packets = [packet for packet in source.demux(stream) if packet.pts is not None]
        gone = sorted(packet.pts for packet in packets)[20]
        for packet in packets:
            if packet.pts != gone:
                packet.stream = copy
                target.mux(packet)
    shorter.replace(whole)
    change(run)
    result = audit(run, frames=1)
    assert found(result) == [(Kind.FRAME, "bikes.mp4")]
    assert "Missing: frame 20 (" in result.findings[0].detail


def test_another_model_than_claimed(run):
    """The manifest claims one that finds other boxes."""
    model = require_asset("models/yolox_nano.onnx")
    with Engine(EngineConfig(model=str(model))) as engine:
        facts = {"name": engine.model.manifest.name, "sha256": engine.model.sha256}
    change(run, lambda manifest: (manifest["config"].update(model=str(model)), manifest.update(model=facts)))
    assert audit(run, frames=0).passed
    kinds = {kind for kind, _ in found(audit(run, frames=10))}
    assert Kind.MODEL in kinds


def test_another_file_of_the_model(run):
    change(run, lambda manifest: manifest["model"].update(sha256="0" * 64))
    result = audit(run, frames=2)
    assert found(result) == [(Kind.MODEL, "manifest.json")]


def test_another_precision_than_claimed(run):
    change(run, lambda manifest: manifest["backend"].update(precision="bf16"))
    assert (Kind.PRECISION, "manifest.json") in found(audit(run, frames=2))


def test_boxes_of_a_coarser_precision(run):
    """As bfloat16 would give them: 8 bits of mantissa."""

    def coarse(value: float) -> float:
        exponent = 2.0 ** (len(bin(int(abs(value)))) - 2 - 8) if abs(value) >= 1 else 2.0**-7
        return round(value / exponent) * exponent + 3 * exponent * (value > 1)

    def all_of(rows):
        for row in rows:
            line = json.loads(row["line"])
            line["score"], line["box_xyxy"] = coarse(line["score"]), [coarse(side) for side in line["box_xyxy"]]
            yield {**row, "line": json.dumps(line) + "\n"}

    rewrite(run, lambda rows: list(all_of(rows)), "bikes.detections.jsonl")
    change(run)
    result = audit(run, frames=10)
    assert found(result) == [(Kind.PRECISION, "bikes.detections.jsonl")]
    assert "in f32: another precision?" in result.findings[0].detail


def test_skipped_frames_and_other_trackers(tmp_path):
    config = EngineConfig(tracker="bytetrack", skip_frames=2, start_s=1.0, end_s=4.0, visualize=False)
    with Engine(config) as engine:
        assert engine.run([demo_video()], tmp_path / "out")["success"]
    result = audit(tmp_path / "out", frames=ALL)
    assert result.passed, result.findings
    assert result.videos[0].frames == 25


def test_a_run_that_inferred_only_what_had_changed(tmp_path):
    """A frame alone does not tell what its boxes should be; the whole does."""
    with Engine(EngineConfig(gate="motion", end_s=1.5, visualize=False)) as engine:
        assert engine.run([demo_video()], tmp_path / "out")["success"]
    result = audit(tmp_path / "out", frames=5)
    assert result.passed, result.findings
    assert "--frames all" in result.videos[0].left_out
    result = audit(tmp_path / "out", frames=ALL)
    assert result.passed, result.findings
    assert "all rows are compared instead" in result.videos[0].left_out
    assert result.videos[0].rows > 0
    for frames, said in (("5", "no frame inferred again"), ("all", f"{result.videos[0].rows:,} rows compared with")):
        told = CliRunner().invoke(commands, ["audit", str(tmp_path / "out"), "--frames", frames], standalone_mode=False)
        assert (told.exception, told.return_value) == (None, 0)
        assert said in told.stdout.splitlines()[-1]


def test_files_of_one_camera(tmp_path):
    """The tracker goes on from one file to the next, and so does the audit."""
    first = demo_video()
    with av.open(str(first)) as source:
        rate = Fraction(source.streams.video[0].average_rate)
    for number, name in enumerate(NAMES_OF_ONE_CAMERA):
        with av.open(str(first)) as source, av.open(str(tmp_path / name), "w") as target:
            stream = target.add_stream("libx264", rate=rate)
            images = list(source.decode(video=0))[number * 20 : number * 20 + 20]
            stream.width, stream.height, stream.pix_fmt = images[0].width, images[0].height, "yuv420p"
            for place, image in enumerate(images):
                image.pts, image.time_base = place, 1 / rate
                target.mux(stream.encode(image))
            target.mux(stream.encode(None))
    config = EngineConfig(camera="(cam)", visualize=False, max_gap_s=5.0)
    with Engine(config) as engine:
        summary = engine.run([tmp_path / name for name in NAMES_OF_ONE_CAMERA], tmp_path / "out")
    assert [video["sequence"]["joined"] for video in summary["videos"]] == [False, True]
    result = audit(tmp_path / "out", frames=ALL)
    assert result.passed, result.findings


def test_a_run_of_a_version_without_hashes(run):
    manifest = json.loads((run / "manifest.json").read_text())
    for entry in manifest["videos"]:
        del entry["files"]
    del manifest["files"], manifest["manifest_sha256"]
    (run / "manifest.json").write_text(json.dumps(manifest))
    result = audit(run, frames=2)
    assert result.passed, result.findings
    assert result.left_out == ("the run kept no hashes of its outputs, so their content was not compared",)


def test_what_failed_or_was_interrupted_is_told(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "none.mp4").write_bytes(b"nothing of the kind")
    clip(tmp_path / "in" / "a.mp4")
    with fake_engine() as engine:
        engine.run([tmp_path / "in"], tmp_path / "out")
    result = audit(tmp_path / "out", frames=2)
    assert result.passed, result.findings
    assert {Path(each.video).name: bool(each.left_out) for each in result.videos} == {"a.mp4": False, "none.mp4": True}


@pytest.mark.timeout(60)
def test_a_live_recording(tmp_path):
    """Its source is gone; each of its segments has hashes and rows."""
    source = clip(tmp_path / "a.ts", 50, codec="libx264")
    live = {"open_timeout_s": 5.0, "read_timeout_s": 3.0, "reconnect_attempts": 0, "window": 200, "segment": 2}
    with Camera(source, Play(130)) as camera, fake_engine(visualize=True, **live) as engine:
        summary = engine.run([camera.url], tmp_path / "out")
    segments = summary["videos"][0]["segments"]
    assert len(segments) == 3
    result = audit(tmp_path / "out", frames=5)
    assert result.passed, result.findings
    assert result.files == 3 * len(segments[0]["outputs"])
    second = Path(segments[1]["outputs"]["tracks"])
    flip(second)
    flip(Path(segments[2]["outputs"]["video"]))
    names = {name for _, name in found(audit(tmp_path / "out", frames=5))}
    assert names == {second.name, Path(segments[2]["outputs"]["video"]).name}


def test_the_command(run):
    def call(*options: str) -> tuple[int, str]:
        result = CliRunner().invoke(commands, ["audit", str(run), *options], standalone_mode=False)
        assert result.exception is None, result.exception
        return result.return_value, result.stdout

    status, output = call("--frames", "2")
    assert (status, "all is as claimed." in output) == (0, True)
    flip(run / "bikes.mp4")
    status, output = call("--frames", "0")
    assert status == 1
    assert "changed  " in output
    assert "1 finding." in output
    status, output = call("--frames", "0", "--json")
    value = json.loads(output)
    assert (status, value["passed"], value["findings"][0]["kind"]) == (1, False, "changed")


def test_a_folder_that_is_none(tmp_path):
    with pytest.raises(InputError, match=r"contains no manifest\.json"):
        audit(tmp_path, frames=0)
    (tmp_path / "a.mp4").touch()
    with pytest.raises(InputError, match=r"a\.mp4 is not a folder\. Name the output folder of a run"):
        audit(tmp_path / "a.mp4", frames=0)
    (tmp_path / ".yolo-engine").mkdir()
    with pytest.raises(InputError, match="the run there has not ended"):
        audit(tmp_path, frames=0)
    result = CliRunner().invoke(commands, ["audit", str(tmp_path), "--frames", "some"])
    assert (result.exit_code, "a count, or all. Got 'some'." in result.output) == (2, True)
