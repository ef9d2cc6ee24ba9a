"""The object names of COCO: 80 in the order in which COCO-trained YOLOs number them (0 = person), and by COCO's ids."""

from types import MappingProxyType

COCO80: tuple[str, ...] = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow",
    "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee",
    "skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard",
    "tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple",
    "sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch",
    "potted plant", "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard", "cell phone",
    "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors", "teddy bear",
    "hair drier", "toothbrush",
)  # fmt: skip

# COCO's category ids go up to 90 with ten gaps; 0 is unused. RF-DETR and some relatives of DETR use them as class ids.
_NO_CATEGORY = (0, 12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
_NAMES = iter(COCO80)
COCO91: tuple[str, ...] = tuple(f"none-{i}" if i in _NO_CATEGORY else next(_NAMES) for i in range(91))

NAME_LISTS = MappingProxyType({"coco80": COCO80, "coco91": COCO91})
