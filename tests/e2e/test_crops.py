"""The best crop of each track: what is in the archive, and that it is the same whatever happened on the way."""

import json
import zipfile
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from engine.records import Detections, Frame, Tracks
from engine.sinks import crops
from engine.sinks.crops import INDEX, Crops
from tests.e2e.runs import clip, fake_engine, left_over

KEYS = "track_id file class_id class frame pts time_s score box_xyxy crop_xyxy size_wh worth".split()


def unpacked(path):
    """The index by track id, and the JPEGs, decoded, RGB."""
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        index = [json.loads(line) for line in archive.read(INDEX).decode().splitlines()]
        assert archive.namelist() == [INDEX, *(each["file"] for each in index)]
        assert all(entry.compress_type == zipfile.ZIP_STORED for entry in archive.infolist())
        images = {}
        for each in index:
            decoder = av.CodecContext.create("mjpeg", "r")
            (frame,) = decoder.decode(av.Packet(archive.read(each["file"])))
            assert [frame.width, frame.height] == each["size_wh"]
            images[each["track_id"]] = frame.to_ndarray(format="rgb24")
    return {each["track_id"]: each for each in index}, images


def pictures(width, height, count, pixel_format="yuv420p"):
    """Frames with a red square of 40 pixels on blue, which has stripes in the ninth."""
    for number in range(count):
        image = np.zeros((height, width, 3), np.uint8)
        image[..., 2] = 200
        image[20:60, 30:70] = (220, 30, 30)
        if number == 8:
            image[24:56:4, 34:66] = 250
        yield av.VideoFrame.from_ndarray(image, "rgb24").reformat(format=pixel_format)


def fed(path, images, box=(30.0, 20.0, 70.0, 60.0), scores=None):
    sink = Crops(path, ["person"])
    sink.open(None)
    for number, image in enumerate(images):
        frame = Frame(0, number, number, 1, Fraction(1, 25), image)
        score = 0.9 if scores is None else scores[number]
        columns = np.array([7]), np.zeros(1, np.int32), np.array([score], np.float32)
        sink.write(Tracks(frame, np.array([box]), *columns, Detections()))
    sink.commit(None, path)
    return unpacked(path)


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuvj420p", "nv12", "rgb24", "bgr24", "gray"])
def test_the_sharpest_is_taken_in_its_colours(tmp_path, pixel_format):
    path = tmp_path / "a.crops.zip"
    index, images = fed(path, pictures(96, 80, 9, pixel_format))
    assert list(index) == [7]
    found = index[7]
    assert list(found) == KEYS
    assert (found["frame"], found["pts"], found["time_s"], found["class"]) == (8, 8, 0.32, "person")
    left, top, right, bottom = found["crop_xyxy"]
    assert left <= 27 <= 73 <= right + 1
    assert top <= 17 <= 63 <= bottom + 1
    border = images[7][1, 1].astype(int)
    wanted = [23, 23, 23] if pixel_format == "gray" else [0, 0, 200]
    assert np.abs(border - wanted).max() < 30, border
    assert left_over(tmp_path) == []


def test_one_that_comes_nearer_is_replaced_and_one_at_the_edge_is_not_taken(tmp_path):
    sink = Crops(tmp_path / "a.crops.zip", ["person"])
    sink.open(None)
    image = next(pictures(200, 160, 1))
    for number in range(40):
        grown = 20.0 + number
        box = [10.0, 10.0, 10.0 + grown, 10.0 + 2 * grown] if number < 36 else [0.0, 0.0, 120.0, 150.0]
        columns = np.array([1]), np.zeros(1, np.int32), np.array([0.5], np.float32)
        frame = Frame(0, number, number, 1, Fraction(1, 25), image)
        sink.write(Tracks(frame, np.array([box]), *columns, Detections()))
    sink.commit(None, tmp_path / "a.crops.zip")
    index, images = unpacked(tmp_path / "a.crops.zip")
    assert 20 <= index[1]["frame"] < 36
    assert max(images[1].shape[:2]) <= 320


def test_large_ones_are_scaled_down_and_odd_ones_are_whole(tmp_path):
    index, _ = fed(tmp_path / "a.crops.zip", pictures(1201, 901, 2), box=(3.0, 3.0, 1190.0, 895.0))
    assert max(index[7]["size_wh"]) == 320
    assert abs(index[7]["size_wh"][0] / index[7]["size_wh"][1] - 1190 / 895) < 0.05
    index, _ = fed(tmp_path / "b.crops.zip", pictures(97, 81, 2), box=(90.5, 70.5, 140.0, 120.0))
    assert index[7]["crop_xyxy"] == [80, 64, 97, 81]
    index, _ = fed(tmp_path / "c.crops.zip", pictures(97, 81, 2), box=(-50.0, -50.0, -10.0, -10.0))
    assert index == {}


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize(
    ("matrix", "said", "size"),
    [(5, 5, (96, 80)), (1, 1, (97, 81)), (9, 9, (96, 80)), (1, 2, (1280, 720)), (5, 2, (1280, 718))],
)
def test_the_colours_are_those_that_the_frames_own_matrix_gives(tmp_path, size, matrix, said, full_range):
    """A JPEG has one matrix and one range: a crop of a frame with others is calculated anew. Where a frame does not say
    its matrix, its own height tells it, not that of the crop."""
    colours = {"dst_colorspace": matrix, "dst_color_range": 2 if full_range else 1}
    rgb = np.zeros((size[1], size[0], 3), np.uint8)
    rgb[:, :48], rgb[:, 48:] = (200, 40, 90), (20, 160, 60)
    image = av.VideoFrame.from_ndarray(rgb, "rgb24").reformat(format="yuv420p", **colours)
    image.colorspace, image.color_range = said, 2 if full_range else 1
    _, images = fed(tmp_path / "a.crops.zip", [image], box=(0.0, 0.0, 96.0, 80.0))
    for column in (10, 80):
        assert np.abs(images[7][40, column].astype(int) - rgb[40, column]).max() <= 6


SETTINGS = {"crops": True, "formats": ("tracks",), "visualize": True}


def test_a_run_gives_a_crop_of_each_track(tmp_path):
    video = clip(tmp_path / 'a "b" <i>.mp4', 60)
    summary = fake_engine(**SETTINGS).run([video], tmp_path / "out")
    (entry,) = summary["videos"]
    index, images = unpacked(entry["outputs"]["crops"])
    assert Path(entry["outputs"]["crops"]).name == 'a "b" <i>.crops.zip'
    ids = {json.loads(line)["track_id"] for line in Path(entry["outputs"]["tracks"]).read_text().splitlines()}
    assert set(index) == ids
    for image in images.values():  # the white square, without what is drawn on it
        assert image.mean() > 60
        assert np.ptp(image, axis=2).max() < 16
    for each in index.values():
        row = next(
            row
            for row in map(json.loads, Path(entry["outputs"]["tracks"]).read_text().splitlines())
            if (row["frame"], row["track_id"]) == (each["frame"], each["track_id"])
        )
        assert {key: row[key] for key in ("pts", "time_s", "class", "score", "box_xyxy")} == {
            key: each[key] for key in ("pts", "time_s", "class", "score", "box_xyxy")
        }
    assert left_over(tmp_path / "out") == []


@pytest.mark.parametrize("after", [30, 75, 110])
def test_killed_and_continued_it_is_the_same_archive(tmp_path, after):
    video = clip(tmp_path / "a.mp4", 160)
    whole = fake_engine(**SETTINGS, workers=1).run([video], tmp_path / "whole")["videos"][0]
    broken = fake_engine(**SETTINGS, workers=1, fail_after=after, checkpoint_s=0.03, delay_s=0.004)
    assert "told to fail" in broken.run([video], tmp_path / "out")["videos"][0]["error"]
    entry = fake_engine(**SETTINGS, workers=1).run([video], tmp_path / "out")["videos"][0]
    assert entry["resumed_from"] > 0
    assert Path(entry["outputs"]["crops"]).read_bytes() == Path(whole["outputs"]["crops"]).read_bytes()


def test_an_interrupted_run_leaves_a_valid_archive(tmp_path):
    video = clip(tmp_path / "a.mp4", 200)
    engine = fake_engine(**SETTINGS, workers=1, delay_s=0.01)
    engine.run([video], tmp_path / "out", progress=lambda found: found and found[0].frames > 40 and engine.stop())
    index, _ = unpacked(tmp_path / "out" / "a.partial.crops.zip")
    assert index
    fake_engine(**SETTINGS, workers=1).run([video], tmp_path / "out")
    assert not (tmp_path / "out" / "a.partial.crops.zip").exists()
    fake_engine(**SETTINGS, workers=1).run([video], tmp_path / "whole")
    assert (tmp_path / "out" / "a.crops.zip").read_bytes() == (tmp_path / "whole" / "a.crops.zip").read_bytes()


def test_an_archive_that_is_made_in_memory_is_the_one_that_zipfile_writes(tmp_path, monkeypatch):
    path = tmp_path / "a.crops.zip"
    sink = Crops(path, ['a "name"', "\u00fc"])
    sink.open(None)
    image = next(pictures(200, 160, 1))
    for number in range(9):
        box = np.array([[10.0 + number, 10, 40, 90.125], [60, 20.005, 100, 120]])
        columns = np.array([number, 7 + number]), np.array([0, 1], np.int32), np.array([0.5, 1 / 3], np.float32)
        sink.write(Tracks(Frame(0, number, number, 1, Fraction(1, 25), image), box, *columns, Detections()))
        sink.mark()()
    sink.complete(None)
    found = []
    for small in (1 << 24, 0):
        monkeypatch.setattr(crops, "SMALL_LOG", small)
        crops.make_archive(tmp_path / "a.crops.zip.part", path)
        found.append(path.read_bytes())
    assert found[0] == found[1]
    with zipfile.ZipFile(path) as archive:
        for line in archive.read(INDEX).decode().splitlines():
            assert json.dumps(json.loads(line)) == line


def test_a_damaged_state_starts_over(tmp_path):
    sink = Crops(tmp_path / "a.crops.zip", ["person"])
    right = {"offset": 0, "frames": 0, "alive": []}
    for state in ({"offset": 0}, {**right, "offset": -1}, {**right, "frames": "x"}, {**right, "alive": [[1]]}):
        with pytest.raises(Exception, match="contains no state of the crops"):
            sink.resume(None, state, tmp_path / "none")
