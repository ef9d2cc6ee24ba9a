"""One file per format: `write(videos, classes, folder, settings)` makes a folder that the tool's own importer reads."""

from engine.exports.formats import base, coco, cvat, fiftyone, labelstudio, mot, yolo

__all__ = ["base", "coco", "cvat", "fiftyone", "labelstudio", "mot", "yolo"]
