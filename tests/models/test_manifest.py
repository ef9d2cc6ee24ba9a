import subprocess
import sys
from pathlib import Path

import pytest

from models.coco import COCO80, COCO91
from models.errors import ManifestError, ModelError
from models.manifest import from_toml
from models.registry import list_models

GOOD = """
name = "m"
file = "m.onnx"
sha256 = ""
size_bytes = 0
url = "http://example.org/m.onnx"
licence = "MIT"
layout = "yolov8"
strides = [8, 16, 32]
classes = ["a", "b"]

[input]
height = 64
width = 96
dtype = "float32"
channel_order = "rgb"
scale = 0.5
mean = [0, 0, 0]
pad_value = 114
pad = "center"
stride = 32
"""


def load(tmp_path: Path, text: str):
    path = tmp_path / "m.toml"
    path.write_text(text)
    return from_toml(path, "models/zoo/m.toml")


def test_a_complete_manifest(tmp_path):
    manifest = load(tmp_path, GOOD)
    assert (manifest.classes, manifest.strides, manifest.hashes) == (("a", "b"), (8, 16, 32), ())
    assert (manifest.input.height, manifest.input.width, manifest.input.scale) == (64, 96, 0.5)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"rgb"', '"grb"', "input.channel_order must be rgb or bgr. Got 'grb'."),  # the order that is neither
        ("height = 64", "height = 65", "multiples of input.stride 32. Got 65 x 96."),  # no whole number of cells
        ("height = 64", "height = true", "input.height must be an int in [32, 8192]. Got True."),  # a bool is an int
        ("height = 64\n", "", "input.height is missing."),  # every key is needed in the zoo
        ('name = "m"\n', "", "name is missing."),
        ('pad = "center"', 'pad = "center"\npads = 1', "input.pads is not a known key."),  # a misspelt key
        ('name = "m"', 'name = "m"\nlicense = "MIT"', "license is not a known key."),  # the other spelling
        (
            'layout = "yolov8"',
            'layout = "yolo8"',
            "layout must be yolox, yolov5, yolov8, end2end, detr, detr-post, rtmdet, "
            "nanodet, nanodet-plus or picodet. Got 'yolo8'.",
        ),
        ("scale = 0.5", "scale = 0", "input.scale must be a number above 0"),  # zero means zero
        ("scale = 0.5", "scale = [1, 2]", "input.scale must be three numbers"),  # one a channel, or one for all
        ('name = "m"', 'name = "m"\nbundled = 1', "bundled must be true or false. Got 1."),
        ('sha256 = ""', 'sha256 = "abc"', "sha256 must be a SHA-256 in 64 small hexadecimal digits"),
        ("[8, 16, 32]", "[16, 8]", "strides must be a rising list"),
        ('["a", "b"]', "[]", 'classes must be a list of names, "coco80" or "coco91". Got [].'),
        ('["a", "b"]', '"coco"', 'classes must be a list of names, "coco80" or "coco91". Got \'coco\'.'),
        ("[input]", "[input", "cannot be read as TOML"),
    ],
)
def test_a_broken_manifest_is_named_with_rule_and_value(tmp_path, old, new, message):
    assert old in GOOD
    with pytest.raises(ManifestError) as caught:
        load(tmp_path, GOOD.replace(old, new))
    assert str(caught.value).startswith("models/zoo/m.toml: ")
    assert message in str(caught.value)


def test_three_scales_and_coco(tmp_path):
    manifest = load(tmp_path, GOOD.replace("scale = 0.5", "scale = [1, 2, 3]").replace('["a", "b"]', '"coco80"'))
    assert manifest.input.scale == (1.0, 2.0, 3.0)
    assert manifest.classes == COCO80


def test_the_zoo():
    manifests = {m.name: m for m in list_models()}
    assert list(manifests) == [
        "dfine-n", "dfine-s", "rfdetr-n", "street-nano", "yolox-m", "yolox-nano", "yolox-s", "yolox-tiny",
    ]  # fmt: skip
    assert [m.input.height for m in manifests.values()] == [640, 640, 384, 416, 640, 416, 640, 416]
    for manifest in manifests.values():
        assert manifest.licence == "Apache-2.0"
        assert manifest.bundled == (manifest.url == "")
        if manifest.layout == "detr":
            assert (manifest.input.pad, manifest.input.channel_order) == ("stretch", "rgb")
            assert manifest.classes == (COCO91 if manifest.name == "rfdetr-n" else COCO80)
            assert manifest.hashes
            assert "/resolve/main/" not in manifest.url  # a branch moves on, a commit doesn't
        else:
            assert manifest.layout == "yolox"
            assert manifest.bundled or (manifest.classes == COCO80 and manifest.url.endswith(manifest.file))
    assert len(set(COCO80)) == 80


def test_every_error_has_the_one_root():
    from models import errors

    found = [v for v in vars(errors).values() if isinstance(v, type) and issubclass(v, Exception)]
    assert len(found) > 5
    assert all(issubclass(kind, ModelError) for kind in found)


def test_importing_models_loads_no_heavy_library():
    heavy = ("numpy", "onnx", "onnxruntime", "urllib.request", "ssl")
    code = f"import models, sys; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
