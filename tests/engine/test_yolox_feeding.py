"""YOLOX is fed as its authors feed it: judged by the boxes of their own preprocessing, with ONNX Runtime and OpenCV."""

import cv2
import numpy as np
import onnxruntime
import pytest

from engine import Engine, EngineConfig
from engine.inference.model import load_model
from engine_ext.geometry import iou_matrix
from tests.assets import require_asset

pytestmark = pytest.mark.slow

SIDE, CONF, NMS_IOU, PICTURES = 416, 0.25, 0.45, 48


def run_plainly(session, picture_rgb, *, legacy):
    """YOLOX's `preproc`, its network and its decoding, in plain code: boxes (N, 4), scores, classes before NMS."""
    bgr = np.ascontiguousarray(picture_rgb[:, :, ::-1])
    height, width = bgr.shape[:2]
    ratio = min(SIDE / height, SIDE / width)
    canvas = np.full((SIDE, SIDE, 3), 114, np.uint8)
    small = cv2.resize(bgr, (int(width * ratio), int(height * ratio)), interpolation=cv2.INTER_LINEAR)
    canvas[: small.shape[0], : small.shape[1]] = small
    fed = canvas.astype(np.float32)
    if legacy:
        fed = (fed[:, :, ::-1] / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    tensor = np.ascontiguousarray(fed.transpose(2, 0, 1)[None], np.float32)
    (rows,) = session.run(None, {session.get_inputs()[0].name: tensor})[0]
    grids, strides = [], []
    for stride in (8, 16, 32):
        y, x = np.mgrid[: SIDE // stride, : SIDE // stride]
        grids.append(np.stack([x.ravel(), y.ravel()], 1))
        strides.append(np.full((x.size, 1), stride))
    grid, stride = np.concatenate(grids), np.concatenate(strides)
    centre, size = (rows[:, :2] + grid) * stride, np.exp(rows[:, 2:4]) * stride
    scores = rows[:, 4:5] * rows[:, 5:]
    passed = scores.max(1) >= CONF
    boxes = np.concatenate([centre - size / 2, centre + size / 2], 1)[passed] / ratio
    return boxes, scores.max(1)[passed], scores.argmax(1)[passed], (width, height)


def kept(boxes, scores, classes, size_wh):
    """Greedy NMS, class by class, then clipped to the picture."""
    overlaps, chosen = iou_matrix(*[np.ascontiguousarray(boxes, np.float64)] * 2), []
    for i in np.argsort(-scores, kind="stable"):
        if all(classes[i] != classes[j] or overlaps[i, j] <= NMS_IOU for j in chosen):
            chosen.append(i)
    return np.clip(boxes[chosen], 0, [*size_wh, *size_wh]), classes[chosen]


def f1(expected, found):
    """F1 of boxes with the same class and IoU of at least 0.8."""
    matched = total = 0
    for (boxes, classes), detections in zip(expected, found, strict=True):
        total += len(boxes) + len(detections)
        if not len(boxes) or not len(detections):
            continue
        pairs = iou_matrix(np.ascontiguousarray(detections.boxes_xyxy, np.float64), np.ascontiguousarray(boxes))
        pairs[detections.class_ids[:, None] != classes[None]] = 0
        while pairs.max(initial=0) >= 0.8:
            i, j = np.unravel_index(pairs.argmax(), pairs.shape)
            pairs[i], pairs[:, j] = 0, 0
            matched += 1
    return 2 * matched / total


@pytest.fixture(scope="module")
def pictures():
    paths = sorted(require_asset("images/coco-val").glob("*.jpg"))[:PICTURES]
    return [np.ascontiguousarray(cv2.imread(str(path))[:, :, ::-1]) for path in paths]


def plain(path, pictures, *, legacy=False):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return [kept(*run_plainly(session, picture, legacy=legacy)) for picture in pictures]


def ours(path, pictures, *, rounding=None, **options):
    config = EngineConfig(model=str(path), shape="square", conf=CONF, nms_iou=NMS_IOU, device="cpu", **options)
    model = load_model(config, 1)
    if rounding is not None:
        spec = model.manifest.input._replace(rounding=rounding)
        model = model._replace(manifest=model.manifest._replace(input=spec))
    with Engine(config, model=model) as engine:
        return [engine.detect(picture) for picture in pictures]


def test_its_own_rounding_gives_its_own_boxes(pictures):
    path = require_asset("models/yolox_nano.onnx")
    expected = plain(path, pictures)
    as_declared = f1(expected, ours(path, pictures))
    rounded = f1(expected, ours(path, pictures, rounding="nearest"))
    assert as_declared > 0.985
    assert as_declared > rounded + 0.01


def test_the_older_export_is_read_as_it_was_trained(pictures):
    """RGB from 0 to 1, less ImageNet's mean, by its deviation: given with the options."""
    path = require_asset("models2/yolox_nano_deftruth.onnx")
    expected = plain(path, pictures, legacy=True)
    found = ours(
        path,
        pictures,
        layout="yolox",
        channel_order="rgb",
        input_scale="0.01712475,0.01750700,0.01742919",
        input_mean="123.675,116.28,103.53",
        class_names="coco80",
    )
    assert f1(expected, found) > 0.98
