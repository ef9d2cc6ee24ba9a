"""Training of street-nano, the detector that ships with yolo-engine. Needs the extra `train`; the engine never imports
this package.

`python -m models.train --help` trains, `python -m models.train.export` writes the ONNX file. The recipe in short:

* `samples`  images with boxes: labelled ones, and others whose boxes the teacher found at several scales (`pseudo`)
* `views`    mosaics, scales, flips and colours: what one training step sees
* `teacher`  YOLOX-nano, asked about the very same view: its scores, boxes and features of every cell
* `targets`  what the student should say in every cell: the teacher's answer, or a box's where that is surer (`assign`)
* `loss`     how far off it is
* `loop`     steps, schedule, moving average, checkpoints
"""

from models.coco import COCO80

CLASSES = ("person", "bicycle", "car", "motorcycle", "bus", "truck")
COCO_IDS = tuple(map(COCO80.index, CLASSES))
STRIDES = (8, 16, 32)
