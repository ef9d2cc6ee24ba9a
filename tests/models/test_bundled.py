"""The model that comes with the package: its file, what it says of itself, and an installation that is damaged."""

import os
import subprocess
import sys
import tomllib

import pytest
from setuptools import Distribution, find_packages

from models import registry
from models.errors import HashError
from models.files import sha256_of
from models.metadata import declared_parts
from models.onnx_meta import read_meta
from models.registry import DEFAULT_MODEL, find, get_manifest, list_models, pull, require, smallest_that_knows
from models.resolution import resolve
from tests.assets import ROOT

BUNDLED = [manifest for manifest in list_models() if manifest.bundled]
WEIGHTS = ROOT / "models" / "weights"


def test_the_default_is_bundled():
    assert get_manifest(DEFAULT_MODEL) in BUNDLED


@pytest.mark.parametrize("manifest", BUNDLED, ids=lambda manifest: manifest.name)
def test_the_manifest_is_that_of_the_file(manifest):
    """Whoever replaces the file replaces these two lines of the manifest."""
    path = WEIGHTS / manifest.file
    assert f'sha256 = "{sha256_of(path)}"' == f'sha256 = "{manifest.sha256}"'
    assert f"size_bytes = {path.stat().st_size}" == f"size_bytes = {manifest.size_bytes}"


@pytest.mark.parametrize("manifest", BUNDLED, ids=lambda manifest: manifest.name)
def test_the_file_says_the_same_of_itself(manifest, tmp_path):
    """A copy under another name, with other bytes, needs no manifest and no side-car."""
    meta = read_meta(WEIGHTS / manifest.file)
    assert meta.inputs[0].dims == ("batch", 3, "height", "width")
    assert meta.outputs[0].dims[2] == 5 + len(manifest.classes)
    declared = declared_parts(meta, manifest.file)
    spec = declared.pop("input")
    assert {key: getattr(manifest, key) for key in declared} == declared
    assert {key: getattr(manifest.input, key) for key in spec} == spec
    assert {"name", "licence", "layout", "strides", "classes"} <= set(declared)
    assert {"height", "width", "channel_order", "scale", "pad", "pad_value", "stride"} <= set(spec)


def test_every_file_of_the_folder_is_some_model_s_and_is_packaged(monkeypatch):
    """`data_files` of setuptools is what goes into a wheel, and with it into a source distribution."""
    monkeypatch.chdir(ROOT)
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    told["packages"] = find_packages(include=told["packages"]["find"]["include"])
    command = Distribution({key.replace("-", "_"): value for key, value in told.items()}).get_command_obj("build_py")
    command.ensure_finalized()
    packaged = {name for package, _, _, names in command.data_files if package == "models" for name in names}
    files = {path.name for path in WEIGHTS.iterdir()}
    assert files == {manifest.file for manifest in BUNDLED}
    assert {f"weights/{name}" for name in files} <= packaged
    assert {f"zoo/{path.name}" for path in (ROOT / "models" / "zoo").iterdir()} <= packaged


@pytest.mark.parametrize("mirrored", [None, b"", b"something else"])
def test_it_is_found_with_no_download_whatever_a_mirror_holds(cache, tmp_path, monkeypatch, mirrored):
    manifest = get_manifest(DEFAULT_MODEL)
    monkeypatch.setenv("YOLO_ENGINE_MODELS", str(tmp_path / "mirror"))
    for folder in (tmp_path / "mirror", cache):
        if mirrored is not None:
            folder.mkdir(parents=True)
            (folder / manifest.file).write_bytes(mirrored)
    for function in (find, require, pull):
        assert function(DEFAULT_MODEL) == WEIGHTS / manifest.file
    resolved = resolve(DEFAULT_MODEL)
    assert (resolved.path, resolved.manifest) == (WEIGHTS / manifest.file, manifest)
    assert mirrored is not None or not cache.exists()


@pytest.mark.parametrize("content", [None, b"", b"something else"])
def test_a_damaged_installation_is_told_with_its_repair(tmp_path, monkeypatch, content):
    manifest = get_manifest(DEFAULT_MODEL)
    monkeypatch.setattr(registry, "WEIGHTS", tmp_path)
    if content is not None:
        (tmp_path / manifest.file).write_bytes(content)
    for function in (find, require, pull, resolve):
        with pytest.raises(HashError) as caught:
            function(DEFAULT_MODEL)
        for part in (str(tmp_path / manifest.file), "is damaged", manifest.sha256, "git restore", "--force-reinstall"):
            assert part in str(caught.value)
        assert "pull" not in str(caught.value)


def test_a_copy_is_recognised_by_its_hash(tmp_path):
    manifest = get_manifest(DEFAULT_MODEL)
    copy = tmp_path / "mine.onnx"
    copy.write_bytes((WEIGHTS / manifest.file).read_bytes())
    assert resolve(copy).manifest == manifest._replace(file="mine.onnx")


@pytest.mark.parametrize(
    ("classes", "name"),
    [
        (["person", "truck"], "street-nano"),
        (["dog"], "yolox-nano"),  # of those with 80 classes the smallest
        (["person", "dog"], "yolox-nano"),
        (["person", "dragon"], None),
    ],
)
def test_who_knows_a_class(classes, name):
    found = smallest_that_knows(classes)
    assert (found and found.name) == name


def test_onnx_runtime_reports_to_nobody(tmp_path):
    """Its releases since 1.29 note a device id in the user's cache and send it with every session."""
    detect = "import numpy as np, engine; engine.Engine(engine.EngineConfig()).detect(np.zeros((64, 64, 3), np.uint8))"
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ORT_")}
    environment |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path), "CI": ""}
    subprocess.run([sys.executable, "-c", detect], env=environment, check=True, cwd=ROOT)
    assert [path for path in tmp_path.rglob("*") if "icrosoft" in path.name or path.name == "deviceid"] == []
