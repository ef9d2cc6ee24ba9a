"""Training of street-nano, the detector that ships with yolo-engine. Needs the extra `train`; the engine never imports
this package.

`python -m models.train --help` trains, `python -m models.train.export` writes the ONNX file. The recipe in short:

* `samples`  images with boxes: labelled ones, and others with boxes by the teacher at several scales (`pseudo`)
* `views`    augmentation: mosaics, scales, flips and colours
* `teacher`  YOLOX-nano on the same view: its scores, boxes and features of every cell
* `targets`  the target of every cell: the teacher's prediction, or an assigned box where that scores higher (`assign`)
* `loss`     the student's loss
* `loop`     steps, schedule, moving average, checkpoints
"""

from models.coco import COCO80

CLASSES = ("person", "bicycle", "car", "motorcycle", "bus", "truck")
COCO_IDS = tuple(map(COCO80.index, CLASSES))
STRIDES = (8, 16, 32)
