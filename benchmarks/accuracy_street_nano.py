"""street-nano, the bundled model, compared with YOLOX-nano, its teacher.

Through the engine, each model at its own size, with the NMS overlap of 0.65 that COCO's figures are taken with. Four
questions:

* AP50 of each class on 128 labelled images of COCO val2017, which were not trained on.
* Agreement on videos: of the objects that YOLOX-nano is at least 0.4 sure of, in every frame, how many does street-nano
  find (recall), and how many of its own are among them (precision), at an overlap of 0.5, class by class put together.
* False tracks on videos, with the settings of a run as they are: tracks of whose boxes fewer than half overlap, by 0.3,
  an object of that class of which YOLOv8n at 640 is at least 0.1 sure.
* Time of one inference on one core, on the tensor of these videos, the two models in turn.

    python -m benchmarks.accuracy_street_nano [--model PATH] [--every N] [--json FILE]
"""

import argparse
import json
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy_detection import CONF, MAX_DETECTIONS, NMS_IOU, Image, images_of
from benchmarks.coco_ap import Boxes, iou, match_image, summarise
from benchmarks.machine import asset, described, heading
from engine import Engine, EngineConfig
from engine.inference.model import load_model
from models.coco import COCO80
from models.registry import get_manifest

CLASSES = get_manifest("street-nano").classes
VIDEOS = ("videos/people.mp4", "videos/vtest.avi")
TRACKED = ("videos/vtest.avi", "videos/bottle-detection.mp4")
REFERENCE_SCORE = 0.4
WITNESS_SCORE, WITNESS_IOU = 0.1, 0.3
THRESHOLDS = (0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5)


def of_our_classes(found: Boxes, names: tuple[str, ...]) -> Boxes:
    """Convert class ids from `names` to `CLASSES`; boxes of other classes are left out."""
    ids = np.array([CLASSES.index(name) if name in CLASSES else -1 for name in names])[found.class_ids]
    return Boxes(found.boxes_xyxy[ids >= 0], ids[ids >= 0], found.scores[ids >= 0])


class Detector:
    """Return a model's detections through the engine with class ids of `CLASSES`; others are left out."""

    def __init__(self, model: str, conf: float) -> None:
        self.config = EngineConfig(model=model, conf=conf, nms_iou=NMS_IOU, max_detections=MAX_DETECTIONS)
        loaded = load_model(self.config, workers=1)
        self._engine = Engine(self.config, model=loaded)
        self.backend, self.shape = loaded.backend, loaded.shape
        self._names = loaded.manifest.classes

    def __call__(self, image_rgb: Image) -> Boxes:
        found = self._engine.detect(image_rgb)
        return of_our_classes(Boxes(found.boxes_xyxy, found.class_ids, found.scores), self._names)


def ap50(detector: Detector, images: list[Image], labels: list[Boxes]) -> dict[str, float]:
    """Return AP50 by class name, for the classes in the labels, and `mean`."""
    rows = [match_image(detector(np.ascontiguousarray(im[:, :, ::-1])), truth)
            for im, truth in zip(images, labels, strict=True)]  # fmt: skip
    present = sorted({int(i) for truth in labels for i in truth.class_ids})
    found = summarise(rows)
    return {CLASSES[i]: float(at50) for i, at50 in zip(present, found.by_class[:, 0], strict=True)} | {
        "mean": found.map50
    }


def pictures(path: Path, every: int) -> Iterator[Image]:
    with av.open(str(path)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number % every == 0:
                yield frame.to_ndarray(format="rgb24")


def agreed(found: Boxes, reference: Boxes) -> int:
    """Match objects of the same class with an IoU of 0.5, one to one, best scores first."""
    return int(sum(each.right[0].sum() for each in match_image(found, reference).values()))


def above(boxes: Boxes, score: float) -> Boxes:
    keep = boxes.scores >= score
    return Boxes(boxes.boxes_xyxy[keep], boxes.class_ids[keep], boxes.scores[keep])


def agreement(ours: Detector, teacher: Detector, path: Path, every: int) -> dict[str, dict[str, float]]:
    """Return precision, recall and F1 for each threshold of street-nano."""
    counts = {threshold: np.zeros(3) for threshold in THRESHOLDS}
    for picture in pictures(path, every):
        reference, found = above(teacher(picture), REFERENCE_SCORE), ours(picture)
        for threshold, count in counts.items():
            kept = above(found, threshold)
            count += agreed(kept, reference), len(kept.scores), len(reference.scores)
    return {f"{threshold:g}": _shares(*count) for threshold, count in counts.items()}


def false_tracks(model: str, witness: Detector, path: Path) -> dict[str, int]:
    """Return the tracks of a run, and how many of them `witness` knows nothing of in most frames."""
    shown, seen = Counter[int](), Counter[int]()
    with Engine(EngineConfig(model=model)) as engine:
        for tracks, picture in zip(engine.stream(path), pictures(path, 1), strict=True):
            others = witness(picture)
            overlaps = iou(tracks.boxes_xyxy, others.boxes_xyxy)
            overlaps[tracks.class_ids[:, None] != others.class_ids[None, :]] = 0
            shown.update(tracks.track_ids.tolist())
            seen.update(tracks.track_ids[overlaps.max(axis=1, initial=0) >= WITNESS_IOU].tolist())
    return {"tracks": len(shown), "false": sum(2 * seen[each] < count for each, count in shown.items())}


def _shares(right: float, found: float, wanted: float) -> dict[str, float]:
    precision, recall = right / max(found, 1), right / max(wanted, 1)
    return {"precision": precision, "recall": recall, "f1": 2 * right / max(found + wanted, 1)}


def milliseconds(detectors: dict[str, Detector], size_wh: tuple[int, int], rounds: int = 60) -> dict[str, float]:
    """Return the median time of an inference on one core, measured with the models in turn."""
    times: dict[str, list[float]] = {name: [] for name in detectors}
    for _ in range(rounds):
        for name, detector in detectors.items():
            tensor: NDArray[Any] = np.full((1, 3, *detector.shape(size_wh)), 90, detector.backend.input_dtype)
            start = time.perf_counter()
            detector.backend.run(tensor)
            times[name].append(time.perf_counter() - start)
    return {name: float(np.median(each[5:])) * 1e3 for name, each in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="street-nano", help="the file to judge (default: the one that ships)")
    parser.add_argument("--every", type=int, default=1, help="only every so many frames of the videos")
    parser.add_argument("--videos", nargs="*", type=Path, default=None, help="other videos to compare on")
    parser.add_argument("--json", type=Path, help="append the results to this file")
    arguments = parser.parse_args()
    machine = described("onnxruntime", "numpy", "av")
    print(heading(machine))
    teacher_file = str(asset("models/yolox_nano.onnx"))
    names = {"street-nano": arguments.model, "yolox-nano": teacher_file}
    images, labels = images_of(asset("images/coco-val"), None)
    labels = [of_our_classes(each, COCO80) for each in labels]
    detectors = {name: Detector(model, CONF) for name, model in names.items()}
    rows = {name: ap50(detector, images, labels) for name, detector in detectors.items()}
    print(f"\nAP50 on {len(images)} images   " + " ".join(f"{name:>10}" for name in rows["yolox-nano"]))
    for name, row in rows.items():
        print(f"  {name:22} " + " ".join(f"{value:10.3f}" for value in row.values()))
    person = rows["street-nano"]["person"] / rows["yolox-nano"]["person"]
    print(f"  person, share of YOLOX-nano's: {person:.2f}")
    result: dict[str, Any] = {"ap50": rows, "agreement": {}, "ms": {}}
    for path in arguments.videos or [asset(video) for video in VIDEOS]:
        scores = agreement(
            Detector(arguments.model, THRESHOLDS[0]), Detector(teacher_file, REFERENCE_SCORE), path, arguments.every
        )
        print(f"\n{path.name}: agreement with YOLOX-nano's detections of score >= {REFERENCE_SCORE}")
        print("  threshold  precision  recall     F1")
        for threshold, row in scores.items():
            print(f"  {threshold:>9} {row['precision']:10.3f} {row['recall']:7.3f} {row['f1']:6.3f}")
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            timed = milliseconds(detectors, (stream.width, stream.height))
        print("  one inference: " + ", ".join(f"{name} {value:.1f} ms" for name, value in timed.items())
              + f", ratio {timed['street-nano'] / timed['yolox-nano']:.2f}")  # fmt: skip
        result["agreement"][path.name], result["ms"][path.name] = scores, timed
    witness = Detector(str(asset("models/yolov8n_int8.onnx")), WITNESS_SCORE)
    result["tracks"] = {}
    for path in arguments.videos or [asset(video) for video in TRACKED]:
        result["tracks"][path.name] = counted = false_tracks(arguments.model, witness, path)
        print(f"\n{path.name}: {counted['tracks']} tracks, {counted['false']} of them false")
    if arguments.json:
        with arguments.json.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"benchmark": "accuracy_street_nano", "machine": machine, **result}) + "\n")


if __name__ == "__main__":
    main()
