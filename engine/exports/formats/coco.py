"""COCO instances: one data set of all videos, ids from 1, a category for each class.

Writes `annotations/instances_default.json`; images are frames, `<video>_<frame>.jpg`, numbered from 0 as in the file.
An image has `video_id` and `frame_index`, an annotation has `track_id`, which COCO allows and trackers need; CVAT and
Datumaro look for it in `attributes`.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryFile

from engine.exports.boxes import VideoBoxes
from engine.exports.formats.base import ExportSettings, image_name
from engine.text.printable import printable

_CHUNK = 1 << 16


def write(videos: Sequence[VideoBoxes], classes: Sequence[str], folder: Path, settings: ExportSettings) -> None:
    """Write the data set. Boxes are streamed to the file, so they are never in memory twice."""
    target = folder / "annotations" / "instances_default.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    numbers = {name: number for number, name in enumerate(classes, 1)}
    shown = [{"id": number, "name": str(video.stem)} for number, video in enumerate(videos, 1)]
    categories = [{"id": number, "name": printable(name), "supercategory": ""} for name, number in numbers.items()]
    with TemporaryFile("w+", encoding="utf-8") as boxes, target.open("w", encoding="utf-8") as file:
        head = {"info": {"description": "tracks of yolo-engine"}, "licenses": [], "videos": shown}
        file.write(json.dumps(head)[:-1] + f', "categories": {json.dumps(categories)}, "images": [')
        image_id = annotation_id = 0
        for video_id, video in enumerate(videos, 1):
            at = _by_frame(video)
            stem = video.stem
            for frame in range(0, video.frames, settings.every):
                file.write((", " if image_id else "") + "\n")
                image_id += 1
                image = {
                    "id": image_id,
                    "file_name": f"{image_name(stem, frame)}.jpg",
                    "width": video.size_wh[0],
                    "height": video.size_wh[1],
                    "video_id": video_id,
                    "frame_index": frame,
                }
                file.write(json.dumps(image))
                for track_id, name, score, (x1, y1, x2, y2) in at.get(frame, ()):
                    boxes.write((", " if annotation_id else "") + "\n")
                    annotation_id += 1
                    width, height = round(x2 - x1, 2), round(y2 - y1, 2)
                    annotation = {
                        "id": annotation_id,
                        "image_id": image_id,
                        "category_id": numbers[name],
                        "bbox": [round(x1, 2), round(y1, 2), width, height],
                        "area": round(width * height, 2),
                        "iscrowd": 0,
                        "segmentation": [],
                        "track_id": track_id,
                        "attributes": {"track_id": track_id},
                        "score": round(score, 4),
                    }
                    boxes.write(json.dumps(annotation))
        file.write('\n], "annotations": [')
        boxes.seek(0)
        for chunk in _chunks(boxes):
            file.write(chunk)
        file.write("\n]}\n")


def _chunks(file: object) -> Iterator[str]:
    read = getattr(file, "read")  # noqa: B009 - a text file, whatever tempfile calls it
    while chunk := read(_CHUNK):
        yield chunk


Box = tuple[float, float, float, float]


def _by_frame(video: VideoBoxes) -> dict[int, list[tuple[int, str, float, Box]]]:
    found: defaultdict[int, list[tuple[int, str, float, Box]]] = defaultdict(list)
    for track in video.tracks:
        for frame, score, box in zip(
            track.frames.tolist(), track.scores.tolist(), track.boxes_xyxy.tolist(), strict=True
        ):
            found[frame].append((track.track_id, track.class_name, score, (box[0], box[1], box[2], box[3])))
    return found
