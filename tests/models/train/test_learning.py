"""Targets, losses, network and loop. They need PyTorch, which only the extra `train` brings."""

from dataclasses import replace

import numpy as np
import onnxruntime
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not here: make test-train brings it")

from torch.multiprocessing import start_processes  # noqa: E402

from models.resolution import resolve  # noqa: E402
from models.train import CLASSES, loop  # noqa: E402
from models.train.assign import assign, overlaps  # noqa: E402
from models.train.export import Deployed, exported, halved  # noqa: E402
from models.train.loss import giou, losses  # noqa: E402
from models.train.network import StreetNano  # noqa: E402
from models.train.profiles import PROFILES  # noqa: E402
from models.train.samples import Sample  # noqa: E402
from models.train.targets import Grid, Target, merge  # noqa: E402
from models.train.teacher import cell_grid  # noqa: E402
from tests.assets import require_asset  # noqa: E402

SMOKE = PROFILES["smoke"]


@pytest.fixture
def grid():
    return Grid(*(torch.from_numpy(each) for each in cell_grid(64, 64)))


def raw_for(boxes, grid):
    """Raw predictions (cells, 11) that decode to `boxes` (cells, 4), with logits of 0."""
    centre, size = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    sides = (size / grid.strides).log()
    return torch.cat([centre / grid.strides - grid.corners, sides, torch.zeros(len(boxes), 1 + len(CLASSES))], 1)


def test_overlaps():
    a = torch.tensor([[0.0, 0, 10, 10], [5, 5, 15, 15]])
    b = torch.tensor([[0.0, 0, 10, 10], [10, 10, 20, 20], [0, 0, 5, 10]])
    expected = [[1, 0, 0.5], [25 / 175, 25 / 175, 0]]
    np.testing.assert_allclose(overlaps(a, b), expected, atol=1e-6)


def test_giou_of_distant_boxes_is_negative():
    a = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10]])
    b = torch.tensor([[0.0, 0, 10, 10], [10, 0, 20, 10]])
    np.testing.assert_allclose(giou(a, b), [1, 0], atol=1e-6)
    assert giou(a[:1], torch.tensor([[90.0, 0, 100, 10]])).item() == pytest.approx(-0.8)


def test_decode_undoes_the_raw_form(grid):
    boxes = torch.tensor([[4.0, 6, 40, 50]]).repeat(len(grid.corners), 1)
    np.testing.assert_allclose(grid.decode(raw_for(boxes, grid)), boxes, atol=1e-4)


def test_a_box_gets_cells_near_its_centre_and_a_contested_cell_goes_to_the_better_box(grid):
    boxes = torch.tensor([[8.0, 8, 56, 56], [24, 24, 40, 40]])
    centres = (grid.corners + 0.5) * grid.strides
    predicted = torch.cat([centres - grid.strides, centres + grid.strides], 1)  # 16 pixels a side at the finest level
    scores = torch.full((len(centres), len(CLASSES)), 0.1)
    given = assign(boxes, torch.tensor([0, 2]), predicted, scores, centres, grid.strides)
    assert set(given.box_of.tolist()) == {0, 1}
    assert len(given.cells.unique()) == len(given.cells)
    offset = (centres[given.cells] - 32).abs().amax(1)
    assert (offset < 2.5 * grid.strides[given.cells, 0]).all()
    sides = predicted[given.cells, 2] - predicted[given.cells, 0]
    assert sides[given.box_of == 0].min() >= 32  # the large box takes coarse cells
    assert sides[given.box_of == 1].max() <= 32


def test_labels_raise_the_teachers_answer_and_never_lower_it(grid):
    cells = len(grid.corners)
    box = torch.tensor([[16.0, 16, 48, 48]])
    predicted = box.repeat(cells, 1)[None]
    raw = raw_for(predicted[0], grid)[None]
    teacher = Target(torch.zeros(1, cells, len(CLASSES)), torch.zeros(1, cells, 4))
    score = torch.zeros(1, len(CLASSES))
    score[0, 1] = 0.8
    merged = merge(teacher, [(box, score)], raw, predicted, grid)
    taught = merged.scores[0].amax(1) > 0
    assert 1 <= taught.sum() <= 10
    np.testing.assert_allclose(merged.scores[0, taught, 1], 0.8, atol=1e-5)  # the prediction fits already
    np.testing.assert_allclose(merged.boxes[0, taught], box.repeat(int(taught.sum()), 1))
    surer = Target(torch.full((1, cells, len(CLASSES)), 0.9), torch.ones(1, cells, 4))
    kept = merge(surer, [(box, score)], raw, predicted, grid)
    assert torch.equal(kept.scores, surer.scores)
    assert torch.equal(kept.boxes, surer.boxes)


def test_losses_fall_to_their_floor_when_the_student_says_the_target(grid):
    cells = len(grid.corners)
    boxes = torch.tensor([[16.0, 16, 48, 48]]).repeat(cells, 1)
    scores = torch.zeros(1, cells, len(CLASSES))
    scores[0, 5, 2] = 1.0
    target = Target(scores, boxes[None])
    right = raw_for(boxes, grid)[None]
    right[..., 4:] = -20
    right[0, 5, 4] = right[0, 5, 7] = 20
    feature = [torch.rand(1, 4, 3, 3)]
    best = losses(right, boxes[None], target, feature, [3 * feature[0] + 1])
    assert best.total(with_features=True).item() == pytest.approx(0, abs=1e-4)
    wrong = right.clone()
    wrong[0, 5, 4] = -20
    assert losses(wrong, boxes[None], target, feature, feature).objectness > 10
    assert losses(right, boxes[None] + 8, target, feature, feature).boxes > 0.3
    assert losses(right, boxes[None], target, feature, [-feature[0]]).features > 1.5


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    network = StreetNano(len(CLASSES))
    network.train()(torch.rand(2, 3, 64, 64) * 255)  # statistics of the normalisation other than 0 and 1
    return network.eval()


@pytest.mark.filterwarnings("ignore")  # PyTorch's exporter warns of itself
def test_the_exported_file_says_what_the_network_says_in_every_shape(network, tmp_path):
    model = exported(network)
    assert b"site-packages" not in model.SerializeToString()
    path = tmp_path / "street.onnx"
    path.write_bytes(model.SerializeToString())
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for shape in ((1, 3, 416, 416), (3, 3, 64, 160), (2, 3, 32, 32)):
        pictures = np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)
        (found,) = session.run(None, {"images": pictures})
        with torch.no_grad():
            expected = Deployed(network)(torch.from_numpy(pictures)).numpy()
        assert found.shape == expected.shape == (shape[0], 21 * shape[2] * shape[3] // 1024, 11)
        np.testing.assert_allclose(found, expected, atol=2e-4)
    manifest = resolve(path).manifest
    assert (manifest.layout, manifest.classes, manifest.strides) == ("yolox", CLASSES, (8, 16, 32))
    assert (manifest.input.height, manifest.input.channel_order, manifest.input.pad) == (416, "bgr", "topleft")
    half = tmp_path / "half.onnx"
    half.write_bytes(halved(model).SerializeToString())
    assert half.stat().st_size < 0.6 * path.stat().st_size
    assert manifest.name == "street-nano"
    assert resolve(half).manifest.input.dtype == "float16"


def pictures():
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 255, (160, 200, 3), dtype=np.uint8)
    return [Sample("s", picture, np.array([[20, 20, 120, 140]], np.float32), np.eye(6, dtype=np.float32)[:1])]


def run(tmp_path, profile, resume=False):
    checkpoint = tmp_path / "checkpoint.pt"
    meeting = tmp_path / f"meeting-{profile.steps}-{resume}"
    teacher = require_asset("models/yolox_nano.onnx")
    rest = (2, str(meeting), pictures(), teacher, profile, 1, checkpoint, resume, print)
    start_processes(loop.train, rest, nprocs=2, start_method="fork")
    return torch.load(checkpoint, weights_only=True)


@pytest.mark.slow
def test_a_training_that_was_stopped_goes_on_as_if_it_had_not(tmp_path, monkeypatch):
    profile = replace(SMOKE, steps=4, every=2, sizes=((64, 96), (96, 64)))
    (tmp_path / "whole").mkdir()
    (tmp_path / "parts").mkdir()
    whole = run(tmp_path / "whole", profile)
    real = loop.Training.learn

    def dies(self, batch):
        if self.step == 3:
            raise RuntimeError("power cut")
        return real(self, batch)

    monkeypatch.setattr(loop.Training, "learn", dies)
    with pytest.raises(Exception, match=r"power cut|closed|reset"):
        run(tmp_path / "parts", profile)
    monkeypatch.undo()
    assert torch.load(tmp_path / "parts" / "checkpoint.pt", weights_only=True)["step"] == 2
    parts = run(tmp_path / "parts", profile, resume=True)
    assert parts["step"] == whole["step"] == 4
    for name, value in whole["average"].items():
        assert torch.equal(value, parts["average"][name]), name


def test_rate_rises_then_falls():
    profile = replace(SMOKE, steps=100, warmup=10)
    rates = [loop.rate(step, profile) for step in range(100)]
    assert rates[9] == max(rates) == 1.0
    assert rates[:10] == sorted(rates[:10])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] < 0.02
