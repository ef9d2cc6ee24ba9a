"""The surgery on real exports, judged by their boxes on a real photograph."""

import av
import numpy as np
import onnxruntime
import pytest

from engine import Engine, EngineConfig
from engine.inference.letterbox import Letterboxes
from engine_ext.letterbox import Letterbox
from models.dynamic_axes import freed_model
from models.resolution import resolve
from models.verify_dynamic_axes import check_freed
from tests.assets import require_asset
from tests.reference import decode_heads as reference

Image = pytest.importorskip("PIL.Image")

pytestmark = pytest.mark.slow

# file, the wide shape of a 5:3 video, and whether a batch is safe
MODELS = [
    ("yolox_nano.onnx", (256, 416), True),
    ("yolov5n_fp16.onnx", (384, 640), True),
    ("yolov8n_int8.onnx", (384, 640), False),  # quantized over the whole tensor
]


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    return tmp_path_factory.mktemp("freed")


def session(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize(("file", "rectangle", "safe"), MODELS)
def test_it_is_freed_and_answers_as_before(file, rectangle, safe, kept, capfd):
    model = resolve(require_asset(f"models/{file}"))
    found = freed_model(model, kept)
    assert (found.dynamic, found.batch_safe, found.reason) == (True, safe, None)
    report = check_freed(
        model.path, found.path, layout=model.manifest.layout, peak=255 * model.manifest.input.scale, batches=(2,)
    )
    assert report.same_shape < 1e-4  # 0.0, bit for bit, where this was written
    assert (report.in_batch is not None) == safe
    assert report.centres == (model.manifest.layout != "yolox")
    session(found.path)
    assert capfd.readouterr().err == ""  # ONNX Runtime has nothing to warn of


def letterboxed(photo, canvas, spec):
    """The photograph, shrunk to the canvas's width at its top left, as the model wants to be fed."""
    height, width = canvas
    tall = round(photo.height * width / photo.width)
    pixels = np.full((height, width, 3), spec.pad_value, np.float32)
    shrunk = np.asarray(photo.resize((width, tall), Image.Resampling.BILINEAR), np.float32)[:height]
    pixels[: len(shrunk)] = shrunk
    if spec.channel_order == "bgr":
        pixels = pixels[:, :, ::-1]
    return np.ascontiguousarray((pixels * spec.scale).transpose(2, 0, 1)[None]).astype(spec.dtype)


def boxes(answer, layout, canvas, strides):
    """`(N, 6)` of one picture: x1 y1 x2 y2 score class, one a cell and anchor, score above 0.3."""
    rows = (answer[0].T if layout == "yolov8" else answer[0]).astype(np.float64)
    centre, size = rows[:, :2].copy(), rows[:, 2:4].copy()
    if layout == "yolox":
        cells, scale = [], []
        for stride in strides:
            y, x = np.mgrid[0 : canvas[0] // stride, 0 : canvas[1] // stride]
            cells.append(np.stack([x.ravel(), y.ravel()], 1))
            scale.append(np.full((x.size, 1), stride))
        scale = np.concatenate(scale)
        centre, size = (centre + np.concatenate(cells)) * scale, np.exp(size) * scale
    scores = rows[:, 4:] if layout == "yolov8" else rows[:, 4:5] * rows[:, 5:]
    found = np.column_stack([centre - size / 2, centre + size / 2, scores.max(1), scores.argmax(1)])
    return found[found[:, 4] > 0.3]


def iou(box, others):
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:4], others[:, 2:4])
    shared = np.clip(high - low, 0, None).prod(1)
    areas = (others[:, 2:4] - others[:, :2]).prod(1)
    return shared / (areas + (box[2:4] - box[:2]).prod() - shared)


@pytest.mark.parametrize(("file", "rectangle", "safe"), MODELS)
def test_a_wide_run_finds_what_the_padded_square_finds(file, rectangle, safe, kept):
    """A wide photograph, once padded to the square and once without: the same boxes, to what the missing padding
    changes. A grid of the wrong width would put them elsewhere altogether."""
    model = resolve(require_asset(f"models/{file}"))
    spec, layout, strides = model.manifest.input, model.manifest.layout, model.manifest.strides
    run = session(freed_model(model, kept).path)
    square = (spec.height, spec.width)
    compared, matched = 0, 0
    for name in sorted(require_asset("images/coco-val").glob("*.jpg")):
        with Image.open(name) as opened:
            photo = opened.convert("RGB")
        if photo.width * rectangle[0] < photo.height * rectangle[1]:  # too tall for the rectangle
            continue
        both = []
        for canvas in (square, rectangle):
            answer = run.run(None, {run.get_inputs()[0].name: letterboxed(photo, canvas, spec)})[0]
            both.append(boxes(answer, layout, canvas, strides))
        sure = both[0][both[0][:, 4] > 0.6]
        for box in sure:
            same = both[1][both[1][:, 5] == box[5]]
            compared += 1
            matched += bool(len(same)) and bool(iou(box, same).max() > 0.8)
        if compared >= 60:
            break
    assert compared >= 20
    assert matched / compared > 0.9, f"{matched} of {compared}"


def test_deimv2_gives_what_its_own_post_processing_gives():
    """On the same tensor as plain ONNX Runtime, box by box: the file is quantized dynamically, and a difference of a
    rounding in its input moves its answers more than that."""
    images = sorted(require_asset("images/coco-val").glob("*.jpg"))[:8]
    path = require_asset("models2/deimv2_atto_coco_int8.onnx")
    plain = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    config = EngineConfig(model=str(path), class_names="coco80", input_scale=1 / 255, conf=0.25, device="cpu")
    found = 0
    with Engine(config) as engine:
        assert engine.model.manifest.layout == "detr-post"
        assert engine.model.shape((640, 360)) == (320, 320)
        for image in images:
            rgb = np.asarray(Image.open(image).convert("RGB"))
            height, width = rgb.shape[:2]
            tensor = np.empty((1, 3, 320, 320), np.float32)
            letterbox = Letterbox((width, height), (320, 320), "rgb24", scale=1 / 255, pad="stretch")
            letterbox.apply([rgb.reshape(height, -1)], tensor[0])
            given = {"images": tensor, "orig_target_sizes": np.array([[width, height]])}
            labels, boxes, scores = (np.squeeze(each) for each in plain.run(["labels", "boxes", "scores"], given))
            detections = engine.detect(rgb)
            order = np.argsort(-scores, kind="stable")[: np.count_nonzero(scores >= 0.25)]
            np.testing.assert_array_equal(detections.class_ids, labels[order])
            np.testing.assert_array_equal(detections.scores, scores[order])
            clipped = np.clip(boxes[order], 0, [width, height] * 2)
            np.testing.assert_allclose(detections.boxes_xyxy, clipped, atol=1e-3)
            found += len(detections)
    assert found > 20


# file, layout, names of the image and of scores and sides by level, strides
DISTRIBUTED = [
    ("nanodet_m.onnx", "nanodet", "input.1", ("792", "814", "836", "795", "817", "839"), (8, 16, 32)),
    ("picodet_s_320_coco.onnx", "picodet", "image", tuple(f"save_infer_model/scale_{i}.tmp_1" for i in range(8)),
     (8, 16, 32, 64)),
]  # fmt: skip


@pytest.mark.parametrize(("file", "layout", "entry", "names", "strides"), DISTRIBUTED)
def test_distributions_are_decoded_from_the_joined_levels(file, layout, entry, names, strides):
    """Against plain ONNX Runtime on the same tensor, each level's outputs by name, and the NumPy twin."""
    images = sorted(require_asset("images/coco-val").glob("*.jpg"))[:6]
    path = require_asset(f"models2/{file}")
    plain = session(path)
    found = 0
    with Engine(EngineConfig(model=str(path), layout=layout, class_names="coco80", device="cpu")) as engine:
        spec = engine.model.manifest.input
        hw = (spec.height, spec.width)
        for image in images:
            tensor = np.empty((1, 3, *hw), np.float32)
            Letterboxes(spec, "float32").fill(av.VideoFrame.from_image(Image.open(image).convert("RGB")), tensor[0])
            levels = plain.run(list(names), {entry: tensor})
            scores, sides = (np.concatenate(part, axis=1) for part in (levels[: len(strides)], levels[len(strides) :]))
            rows = np.concatenate([scores, sides], axis=2)[0]
            expected = reference.decode_distributed(rows, hw, 0.3, strides=strides, centre=0.5)
            boxes, scores, class_ids = engine.model.layout.decode(engine.model.backend.run(tensor)[0], hw, 0.3)
            np.testing.assert_array_equal(class_ids, expected[2])
            np.testing.assert_allclose(scores, expected[1], atol=1e-5)
            np.testing.assert_allclose(boxes, expected[0], atol=0.01)
            found += len(boxes)
    assert found > 50
