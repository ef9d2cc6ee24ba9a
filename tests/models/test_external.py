"""Weights beside the model: a part of what it is, and read only where they may lie."""

import os
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from models.dynamic_axes import freed_model
from models.errors import ModelError, OnnxFileError
from models.files import sha256_of
from models.onnx_meta import load_onnx
from models.resolution import resolve
from tests.models import builders

FED = {"layout": "yolox", "channel_order": "bgr", "scale": 1.0}


def outside(folder: Path, location: str = "m.onnx.data", name: str = "m.onnx") -> Path:
    """A model in `folder` whose weights are in the file that it calls `location`."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    onnx.save(
        builders.yolox(), str(path), save_as_external_data=True, location="m.onnx.data", size_threshold=100
    )  # fmt: skip
    if location != "m.onnx.data":
        rename(path, location)
    return path


def rename(path: Path, location: str) -> None:
    model = onnx.load(str(path), load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    path.write_bytes(model.SerializeToString())


def test_the_identity_covers_the_weights(tmp_path):
    path = outside(tmp_path)
    first = resolve(path, **FED)
    assert first.sha256 not in ("", sha256_of(path))
    assert first.manifest.sha256 == sha256_of(path)  # of the file itself, as its side-car names it
    data = tmp_path / "m.onnx.data"
    content = bytearray(data.read_bytes())
    content[5] ^= 1
    data.write_bytes(content)  # the same size
    second = resolve(path, **FED)
    assert second.manifest.sha256 == first.manifest.sha256
    assert second.sha256 != first.sha256


def test_a_model_in_one_file_is_its_hash(tmp_path):
    path = builders.save(builders.yolox(), tmp_path / "m.onnx")
    assert resolve(path, **FED).sha256 == sha256_of(path)


def test_it_is_freed_with_its_weights(tmp_path):
    resolved = resolve(outside(tmp_path), **FED)
    freed = freed_model(resolved, tmp_path / "kept")
    assert freed.dynamic, freed.reason
    plain = onnxruntime.InferenceSession(builders.yolox().SerializeToString())
    alone = onnxruntime.InferenceSession(freed.path.read_bytes())  # nothing beside it is needed
    picture = np.random.default_rng(0).random((1, 3, 64, 64)).astype(np.float32)
    np.testing.assert_array_equal(*(each.run(None, {"images": picture})[0] for each in (plain, alone)))
    content = bytearray((tmp_path / "m.onnx.data").read_bytes())
    content[-1] ^= 1
    (tmp_path / "m.onnx.data").write_bytes(content)
    assert freed_model(resolve(resolved.path, **FED), tmp_path / "kept").path != freed.path


@pytest.mark.parametrize(
    "location", ["/etc/passwd", "../secret", "below/../../secret", "..", "", "a\\..\\secret", "x\0y", "."]
)
def test_a_place_that_is_not_below_the_model_is_refused(tmp_path, location):
    (tmp_path / "secret").write_bytes(b"\0" * 4096)
    path = outside(tmp_path / "in")
    rename(path, location)
    for read in (lambda: resolve(path, **FED), lambda: load_onnx(path)):
        with pytest.raises(OnnxFileError) as caught:
            read()
        assert "must lie in the model's own folder" in str(caught.value)
        assert str(caught.value).isprintable()


def link_the_file(folder: Path) -> None:
    (folder / "m.onnx.data").rename(folder.parent / "secret")
    (folder / "m.onnx.data").symlink_to(folder.parent / "secret")


def link_the_folder(folder: Path) -> None:
    (folder.parent / "other").mkdir()
    (folder / "m.onnx.data").rename(folder.parent / "other" / "m.onnx.data")
    (folder / "below").symlink_to(folder.parent / "other")
    rename(folder / "m.onnx", "below/m.onnx.data")


def replaced(make) -> object:
    def change(folder: Path) -> None:
        (folder / "m.onnx.data").unlink()
        make(folder / "m.onnx.data")

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (link_the_file, "is a link, or lies behind one"),
        (link_the_folder, "is a link, or lies behind one"),
        (replaced(os.mkfifo), "is not a regular file, but a pipe"),  # opening it would wait for its writer
        (replaced(lambda path: path.symlink_to("/dev/zero")), "is a link"),
        (replaced(Path.mkdir), "is not a regular file, but a folder"),
        (replaced(lambda path: None), "No such file"),
    ],
)
def test_what_is_no_file_of_its_own_is_refused(tmp_path, change, reason):
    path = outside(tmp_path / "in")
    change(path.parent)
    with pytest.raises(OnnxFileError, match=reason):
        resolve(path, **FED)
    with pytest.raises(OnnxFileError, match=reason):
        load_onnx(path)


@pytest.mark.parametrize(("key", "value"), [("offset", "9999999"), ("length", "9999999"), ("length", "-1"),
                                            ("offset", "1e3"), ("length", "9" * 30)])  # fmt: skip
def test_a_piece_that_is_not_there_is_refused(tmp_path, key, value):
    path = outside(tmp_path)
    model = onnx.load(str(path), load_external_data=False)
    for entry in model.graph.initializer[0].external_data:
        if entry.key == key:
            entry.value = value
    path.write_bytes(model.SerializeToString())
    with pytest.raises(OnnxFileError, match=r"of its weights|of weights from byte"):
        load_onnx(path)


def test_weights_below_the_folder_and_in_a_constant(tmp_path):
    path = outside(tmp_path)
    (tmp_path / "below").mkdir()
    (tmp_path / "m.onnx.data").rename(tmp_path / "below" / "w")
    rename(path, "below/w")
    before = resolve(path, **FED).sha256
    model = onnx.load(str(path), load_external_data=False)
    tensor = onnx.numpy_helper.from_array(np.ones(4, np.float32), "more")
    tensor.ClearField("raw_data")
    tensor.data_location = tensor.EXTERNAL
    tensor.external_data.add(key="location", value="more")
    model.graph.node.insert(0, helper.make_node("Constant", [], ["more"], value=tensor))
    path.write_bytes(model.SerializeToString())
    with pytest.raises(OnnxFileError, match=r"more: the weights of m\.onnx cannot be read"):
        resolve(path, **FED)
    (tmp_path / "more").write_bytes(b"\0" * 16)
    assert resolve(path, **FED).sha256 != before


def test_a_model_that_changes_while_it_is_read_is_not_kept(tmp_path):
    """The entry of a cache has the first model's hash for its name."""
    path = builders.save(builders.yolox(classes=2), tmp_path / "m.onnx")
    resolved = resolve(path, **FED)
    builders.save(builders.yolox(classes=2, size=(96, 96)), path)
    with pytest.raises(ModelError, match="has changed while it was read"):
        freed_model(resolved, tmp_path / "kept")
    assert not list((tmp_path / "kept").glob("*.onnx"))


def test_a_link_to_a_model_with_weights_beside_it_is_refused(tmp_path):
    """Beside the link may lie other weights than beside the file."""
    path = outside(tmp_path / "real")
    outside(tmp_path / "here", name="other.onnx")
    (tmp_path / "here" / "m.onnx").symlink_to(path)
    with pytest.raises(OnnxFileError, match=rf"is a link, .* Name that: {path}"):
        resolve(tmp_path / "here" / "m.onnx", **FED)
