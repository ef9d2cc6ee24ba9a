"""Reads an export with the format's own reader and prints its boxes as JSON: [name, frame from 0, track or null, class,
x1, y1, x2, y2]. Run by the Python of an environment that has the readers:

    python readers.py FORMAT FOLDER
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

warnings.filterwarnings("ignore")


def datumaro_boxes(folder, form):
    import datumaro

    data = datumaro.Dataset.import_from(str(folder), form)
    labels = data.categories()[datumaro.AnnotationType.label]
    for item in data:
        for box in item.annotations:
            if box.attributes.get("outside"):
                continue
            x1, y1, x2, y2 = map(float, box.points)
            yield item, box, labels[box.label].name, (x1, y1, x2, y2)


def coco(folder):
    from pycocotools.coco import COCO

    sys.stdout, kept = sys.stderr, sys.stdout
    data = COCO(str(folder / "annotations" / "instances_default.json"))
    sys.stdout = kept
    videos = {video["id"]: video["name"] for video in data.dataset["videos"]}
    names = {category["id"]: category["name"] for category in data.loadCats(data.getCatIds())}
    for image_id in data.getImgIds():
        (image,) = data.loadImgs([image_id])
        for box in data.loadAnns(data.getAnnIds([image_id])):
            x, y, w, h = box["bbox"]
            where = (videos[image["video_id"]], image["frame_index"], box["track_id"], names[box["category_id"]])
            yield [*where, x, y, x + w, y + h]
    there = sum(1 for _ in datumaro_boxes(folder, "coco_instances"))
    assert there == len(data.anns), (there, len(data.anns))


def mot(folder):
    import motmetrics

    for text in sorted(folder.glob("**/gt/gt.txt")):
        name = text.parents[1].relative_to(folder).as_posix()
        labels = (text.parent / "labels.txt").read_text().splitlines()
        table = motmetrics.io.loadtxt(str(text), fmt="mot15-2D")  # counts pixels from 0, files from 1
        seen = {}
        for item, box, label, corners in datumaro_boxes(text.parents[1], "mot_seq"):
            seen[int(item.id) - 1, box.attributes["track_id"]] = label, corners
        for (frame, track), row in table.iterrows():
            label, corners = seen[frame - 1, track]
            assert label == labels[int(row.ClassId) - 1]
            own = (row.X + 1, row.Y + 1, row.X + 1 + row.Width, row.Y + 1 + row.Height)
            assert max(abs(a - b) for a, b in zip(own, corners, strict=True)) < 0.02, (own, corners)
            yield [name, int(frame) - 1, int(track), label, *map(float, own)]


def cvat(folder):
    for item, box, label, corners in datumaro_boxes(folder, "cvat"):
        yield [str(item.subset), int(item.attributes["frame"]), int(box.attributes["track_id"]), label, *corners]


def yolo(folder):
    for item, _, label, corners in datumaro_boxes(folder, "yolo"):
        name, _, frame = Path(item.id).name.rpartition("_")
        yield [name, int(frame), None, label, *corners]


def fiftyone(folder):
    import eta.core.datasets as datasets
    import eta.core.video as video

    index = json.loads((folder / "manifest.json").read_text())
    data = datasets.LabeledVideoDataset(str(folder / "manifest.json"))
    assert len(list(data.iter_data_paths())) == len(index["index"])
    for path in data.iter_labels_paths():
        labels = video.VideoLabels.from_json(path)
        for frame in labels.frames:
            for found in labels[frame].objects:
                box = found.bounding_box
                (x1, y1), (x2, y2) = box.top_left.to_tuple(), box.bottom_right.to_tuple()
                yield [Path(path).stem, frame - 1, found.index, found.label, x1, y1, x2, y2]


if __name__ == "__main__":
    read = {"coco": coco, "mot": mot, "cvat": cvat, "yolo": yolo, "fiftyone": fiftyone}[sys.argv[1]]
    sys.stdout.write(json.dumps(list(read(Path(sys.argv[2])))) + "\n")
