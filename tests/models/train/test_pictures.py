"""Samples, views and the teacher: the half of the training that needs no PyTorch."""

import cv2
import numpy as np
import pytest

from engine import Engine, EngineConfig
from models.train import COCO_IDS, samples
from models.train.pseudo import annotate
from models.train.samples import Sample
from models.train.teacher import Teacher, cell_grid
from models.train.views import SMALLEST_SHARE, Views, repeat_weights
from tests.assets import demo_video, require_asset


def sample(name="s", size=(120, 200), boxes=(), classes=()):
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    scores = np.eye(6, dtype=np.float32)[list(classes)]
    return Sample(name, np.full((*size, 3), 128, np.uint8), boxes, scores)


def test_labelled_reads_shares_and_leaves_other_classes_out(tmp_path):
    (tmp_path / "labels").mkdir()
    cv2.imwrite(str(tmp_path / "a.jpg"), np.zeros((100, 200, 3), np.uint8))
    cv2.imwrite(str(tmp_path / "b.jpg"), np.zeros((50, 50, 3), np.uint8))
    # A car, a dog (16) and a truck.
    (tmp_path / "labels" / "a.txt").write_text("2 0.5 0.5 0.2 0.4\n16 0.5 0.5 1 1\n7 0.1 0.1 0.2 0.2\n")
    (tmp_path / "labels" / "b.txt").write_text("")
    a, b = samples.labelled(tmp_path)
    assert a.picture.shape == (100, 200, 3)
    np.testing.assert_allclose(a.boxes, [[80, 30, 120, 70], [0, 0, 40, 20]], atol=1e-4)
    assert a.scores.tolist() == [[0, 0, 1, 0, 0, 0], [0, 0, 0, 0, 0, 1]]
    assert b.boxes.shape == (0, 4)
    assert b.scores.shape == (0, 6)


def test_a_picture_that_is_none_is_named(tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    with pytest.raises(OSError, match=r"broken\.jpg"):
        list(samples.pictures(tmp_path))


def test_frames_are_taken_at_their_distance():
    names = [name for name, _ in samples.frames(demo_video(), 2.0)]
    assert names == [f"bikes-{t:.2f}" for t in (0, 2, 4, 6, 8)]


@pytest.mark.parametrize("mosaics", [0.0, 1.0])
def test_boxes_of_views_lie_on_what_they_frame(monkeypatch, mosaics):
    """One bright rectangle on black, drawn into many views: the box is the rectangle that can be seen."""
    monkeypatch.setattr("models.train.views.MOSAIC_SHARE", mosaics)
    picture = np.zeros((300, 400, 3), np.uint8)
    picture[100:200, 150:220] = 255
    views = Views([Sample("s", picture, np.array([[150, 100, 220, 200]], np.float32), np.eye(6, dtype=np.float32)[:1])])
    rng = np.random.default_rng(3)
    checked = 0
    for _ in range(150):
        view = views.draw(rng, 192, 256)
        assert view.picture.shape == (192, 256, 3)
        for x1, y1, x2, y2 in view.boxes:
            part = view.picture[int(y1) : int(np.ceil(y2)), int(x1) : int(np.ceil(x2))]
            if min(x2 - x1, y2 - y1) < 12:  # all edge: blurred
                continue
            assert np.median(part) > 0.9 * view.picture.max()
            around = view.picture[max(int(y1) - 10, 0) : max(int(y1) - 6, 0), int(x1) : int(x2)]
            if not mosaics and around.size:  # black, or the grey of what no picture covers; in a mosaic, anything
                assert around.min() < 0.7 * np.median(part)
            checked += 1
    assert checked > 50


def test_boxes_have_the_centre_of_what_they_frame(monkeypatch):
    """To a fraction of a pixel, flipped or not: OpenCV counts from the centres of pixels, boxes from their edges."""
    monkeypatch.setattr("models.train.views.MOSAIC_SHARE", 0.0)
    monkeypatch.setattr("models.train.views.recoloured", lambda rng, picture: picture)
    monkeypatch.setattr("models.train.views.PAD", 0)
    picture = np.zeros((300, 400, 3), np.uint8)
    picture[100:200, 150:220] = 255
    views = Views([Sample("s", picture, np.array([[150, 100, 220, 200]], np.float32), np.eye(6, dtype=np.float32)[:1])])
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:192, :256] + 0.5
    off = []
    for _ in range(300):
        view = views.draw(rng, 192, 256)
        bright = view.picture[..., 0].astype(float)
        for x1, y1, x2, y2 in view.boxes:
            if min(x1, y1) > 8 and x2 < 248 and y2 < 184:
                centre = (bright * columns).sum() / bright.sum(), (bright * rows).sum() / bright.sum()
                off.append((centre[0] - (x1 + x2) / 2, centre[1] - (y1 + y2) / 2))
    assert len(off) > 50
    assert np.abs(off).max() < 0.25


def test_a_label_that_is_none_is_named(tmp_path):
    path = tmp_path / "a.txt"
    for bad in (
        "0 0.5 0.5 0.1",
        "0 0.5 0.5 0.1 0.1 0.9",
        "0 nan 0.5 0.1 0.1",
        "0 50 0.5 0.1 0.1",
        "0 0.5 0.5 0.1 0",
        "cat",
    ):
        path.write_text(f"1 0.5 0.5 0.2 0.2\n\n{bad}\n")
        with pytest.raises(ValueError, match=r"a\.txt, line 3"):
            samples.read_labels(path)


def test_views_depend_on_their_seed_alone():
    views = Views([sample(boxes=[[10, 10, 60, 90]], classes=[0]), sample("t", (90, 90))])
    first, again = (views.draw(np.random.default_rng(7), 128, 160) for _ in range(2))
    other = views.draw(np.random.default_rng(8), 128, 160)
    np.testing.assert_array_equal(first.picture, again.picture)
    np.testing.assert_array_equal(first.boxes, again.boxes)
    assert not np.array_equal(first.picture, other.picture)


def test_a_box_that_is_mostly_cut_off_is_dropped(monkeypatch):
    monkeypatch.setattr("models.train.views.OBJECT_SHARE", 0.0)
    assert 0 < SMALLEST_SHARE < 1
    wide = sample(size=(100, 1000), boxes=[[0, 0, 1000, 100]], classes=[2])
    rng = np.random.default_rng(0)
    drawn = [Views([wide]).draw(rng, 100, 100) for _ in range(60)]
    assert sum(len(view.boxes) for view in drawn) < 10  # a tenth of it fits where it covers the view


def test_rare_classes_are_drawn_more_often():
    crowd = [sample(str(i), boxes=[[0, 0, 9, 9]], classes=[0]) for i in range(99)]
    weights = repeat_weights([*crowd, sample("bus", boxes=[[0, 0, 50, 50]], classes=[4])])
    assert weights.sum() == pytest.approx(1)
    assert weights[99] > 3 * weights[0]


def test_half_the_places_go_to_objects_and_each_class_gets_its_share():
    """A hundred people in ten pictures and one bus: the bus is in as many of those places as the people are."""
    people = [[10 * i, 10, 10 * i + 8, 60] for i in range(10)]
    crowd = [sample(str(i), boxes=people, classes=[0] * 10) for i in range(10)]
    views = Views([*crowd, sample("bus", boxes=[[20, 20, 120, 90]], classes=[4])])
    rng = np.random.default_rng(1)
    drawn = [views.draw(rng, 128, 160) for _ in range(200)]
    with_bus = sum((view.scores.argmax(1) == 4).any() for view in drawn if len(view.scores))
    assert with_bus > 60
    sides = np.concatenate([view.boxes[view.scores.argmax(1) == 4] for view in drawn if len(view.scores)])
    widths = sides[:, 2] - sides[:, 0]
    assert widths.min() < 30
    assert widths.max() > 120


def test_no_picture_is_an_error():
    with pytest.raises(ValueError, match="no picture"):
        Views([])


def test_cells_are_listed_level_by_level_row_by_row():
    corners, strides = cell_grid(64, 96)
    assert len(corners) == 8 * 12 + 4 * 6 + 2 * 3
    assert corners[:3].tolist() == [[0, 0], [1, 0], [2, 0]]
    assert corners[12].tolist() == [0, 1]
    assert strides[[0, 96, 120], 0].tolist() == [8, 16, 32]


def test_the_teacher_says_what_the_engine_finds():
    path = require_asset("models/yolox_nano.onnx")
    image = cv2.imread(str(require_asset("images/coco-val/000000000139.jpg")))
    padded = np.full((416, 416, 3), 114, np.uint8)
    padded[:288] = cv2.resize(image, (416, 288))
    answer = Teacher(path)(padded.transpose(2, 0, 1)[None].astype(np.float32))
    assert [feature.shape[1:] for feature in answer.features[::2]] == [(64, 52, 52), (64, 26, 26), (64, 13, 13)]
    with Engine(EngineConfig(model=str(path), conf=0.4)) as engine:
        found = engine.detect(np.ascontiguousarray(padded[:, :, ::-1]))
    ours = np.isin(found.class_ids, COCO_IDS)
    assert ours.any()
    for box, score, class_id in zip(found.boxes_xyxy[ours], found.scores[ours], found.class_ids[ours], strict=True):
        said = answer.scores[0, :, COCO_IDS.index(class_id)]
        best = np.abs(said - score).argmin()
        assert said[best] == pytest.approx(score, abs=1e-3)
        np.testing.assert_allclose(answer.boxes[0, best].clip(0, 416), box, atol=0.5)


def test_pseudo_labels_find_more_small_people_than_one_look():
    path = require_asset("models/yolox_nano.onnx")
    picture = cv2.imread(str(require_asset("train/unlabelled/street_0167.jpg")))
    found = annotate("street", picture, Teacher(path))
    with Engine(EngineConfig(model=str(path), conf=0.2)) as engine:
        once = engine.detect(np.ascontiguousarray(picture[:, :, ::-1]))
    people = found.scores.argmax(1) == 0
    assert people.sum() > 1.3 * (once.class_ids == 0).sum() > 0
    assert (found.boxes >= 0).all()
    assert (found.boxes <= np.tile(picture.shape[1::-1], 2)).all()
    assert ((found.scores >= 0) & (found.scores <= 1)).all()
