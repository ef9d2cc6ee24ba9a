"""Files that strangers make, and names in them: nothing endless is read, nothing waits, no terminal obeys."""

import hashlib
import http.server
import os
import threading

import pytest

from models.dynamic_axes import freed_model
from models.errors import HashError, ManifestError, ModelError, OnnxFileError
from models.files import accepted_hash, read_regular, sha256_of
from models.manifest import from_toml, read_parts
from models.registry import find, get_manifest, pull
from models.resolution import resolve
from tests.models import builders
from tests.models.builders import save

FED = {"layout": "yolox", "channel_order": "bgr", "scale": 1.0}
ESCAPE = "\x1b]0;owned\x07\x1b[2J\u202e\n"


@pytest.mark.parametrize("name", ["m.onnx", "m"])
def test_an_endless_device_is_no_model(tmp_path, name):
    (tmp_path / name).symlink_to("/dev/zero")
    with pytest.raises(ModelError, match="is not a regular file, but a device"):
        resolve(tmp_path / name, **FED)


def test_a_pipe_is_no_model(tmp_path):
    os.mkfifo(tmp_path / "m.onnx")
    with pytest.raises(OnnxFileError, match="is not a regular file, but a pipe"):
        resolve(tmp_path / "m.onnx", **FED)
    with pytest.raises(ModelError, match="but a pipe"):
        sha256_of(tmp_path / "m.onnx")


def test_a_model_has_a_largest_size(tmp_path):
    path = tmp_path / "m.onnx"
    path.touch()
    os.truncate(path, 1 << 40)  # takes no room
    with pytest.raises(OnnxFileError, match=r"is too large: 1,099,511,627,776 bytes"):
        resolve(path, **FED)
    with pytest.raises(ModelError, match="is too large"):
        read_regular(path, 1 << 20)


@pytest.mark.parametrize("name", ["yolox-nano", "yolox-s"])
def test_a_file_of_the_zoo_is_not_read_without_end(tmp_path, name, monkeypatch):
    """To find by its hash that it is another one: 30 GB, which take no room, took minutes."""
    path = tmp_path / get_manifest(name).file
    path.touch()
    os.truncate(path, 30 << 30)
    monkeypatch.setenv("YOLO_ENGINE_MODELS", str(tmp_path))
    monkeypatch.setattr("models.files.sha256_of_stream", lambda *_: pytest.fail("it is read"))
    for act in (find, pull):
        with pytest.raises(HashError, match=rf"32,212,254,720 bytes.*be verified as {name}: remove or repair it"):
            act(name)


@pytest.mark.parametrize("name", ["Conv", "images"])
def test_names_that_are_no_text(tmp_path, name):
    """Protobuf gives them as bytes, which is nobody's type."""
    path = save(builders.yolox(), tmp_path / "m.onnx")
    content = path.read_bytes()
    damaged = content.replace(name.encode(), b"\xff" + name.encode()[1:])
    assert damaged != content
    path.write_bytes(damaged)
    with pytest.raises(OnnxFileError, match=r"is damaged: .* is not UTF-8|is not an ONNX model"):
        resolve(path, **FED)


def test_a_link_to_a_model_is_a_model(tmp_path):
    (tmp_path / "link.onnx").symlink_to(save(builders.yolox(), tmp_path / "m.onnx"))
    assert resolve(tmp_path / "link.onnx", **FED).manifest.layout == "yolox"


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (os.mkfifo, "is not a regular file, but a pipe"),
        (lambda path: path.symlink_to("/dev/zero"), "is not a regular file, but a device"),
        (lambda path: path.mkdir(), "is not a regular file, but a folder"),
        (lambda path: path.symlink_to(path.with_name("nowhere")), "No such file"),
        (lambda path: (path.touch(), os.truncate(path, 1 << 30)), "is too large"),
        (lambda path: path.write_bytes(b"\xff\xfe"), "not UTF-8 text"),
        (lambda path: path.write_text("a = [" * 50_000), "cannot be read as TOML"),
        (lambda path: path.write_text("a = " + "9" * 50_000), "cannot be read as TOML"),
        (lambda path: path.write_text('layout = "\\u001b[2J"'), "layout must be yolox"),
        (lambda path: path.write_text('"\\u001b[2J" = 1'), "is not a known key"),
    ],
)
def test_a_strangers_side_car_in_a_mirror(tmp_path, monkeypatch, make, reason):
    """An error, at once, that names the TOML."""
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    save(builders.yolox(), mirror / "theirs.onnx")
    make(mirror / "theirs.toml")
    monkeypatch.setenv("YOLO_ENGINE_MODELS", str(mirror))
    with pytest.raises(ManifestError, match=reason) as caught:
        resolve("theirs.onnx", **FED)
    assert str(caught.value).startswith(str(mirror / "theirs.toml"))
    assert str(caught.value).isprintable()
    for read in (read_parts, from_toml):
        with pytest.raises(ManifestError):
            read(mirror / "theirs.toml")


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero"), lambda path: path.mkdir()])
def test_a_record_of_a_hash_that_is_no_file_counts_as_none(tmp_path, make):
    make(tmp_path / "m.onnx.sha256")
    assert accepted_hash(tmp_path / "m.onnx") == ""


METADATA = [
    {"names": f"{{0: 'a{ESCAPE}'}}", "stride": "32"},
    {"author": "Ultralytics", "task": ESCAPE * 9999, "names": "{0: 'a'}"},
    {"yolo_engine." + ESCAPE: "1"},
    {"yolo_engine.layout": ESCAPE},
    {"yolo_engine.input.a": "1", "yolo_engine.input": "5"},
    {"yolo_engine.input": "5", "yolo_engine.input.a": "1"},
    {"yolo_engine.strides": "[" * 100_000},
    {"yolo_engine.strides": "9" * 100_000},
    {"yolo_engine.name": ESCAPE, "yolo_engine.classes": f'["a", "{ESCAPE!r}"]', "yolo_engine.layout": "yolox"},
]


@pytest.mark.parametrize("metadata", METADATA, ids=range(len(METADATA)))
def test_metadata_is_no_message_to_a_terminal(tmp_path, metadata):
    path = save(builders.yolox(classes=1, metadata=metadata), tmp_path / "m.onnx")
    said: list[str] = []
    try:
        manifest = resolve(path, **FED).manifest
        said += [manifest.name, manifest.description, manifest.licence, *manifest.classes]
    except ModelError as error:
        said.append(str(error))
    assert "".join(said).isprintable()
    assert max(map(len, said)) <= 2000


def test_names_of_tensors_and_operators_are_written_as_text(tmp_path):
    model = builders.yolox()
    model.graph.output[0].name = model.graph.node[-1].output[0] = ESCAPE
    for _ in range(2):
        model.graph.output.append(model.graph.output[0])
    with pytest.raises(OnnxFileError) as caught:
        resolve(save(model, tmp_path / "m.onnx"), **FED)
    assert str(caught.value).isprintable()
    model = builders.yolox()
    model.graph.node[0].op_type = "Odd" + ESCAPE
    freed = freed_model(resolve(save(model, tmp_path / "n.onnx"), **FED), tmp_path / "kept")
    assert not freed.dynamic
    assert freed.reason is not None
    assert freed.reason.isprintable()


def test_a_lock_that_is_a_link_is_not_followed(tmp_path):
    resolved = resolve(save(builders.yolox(), tmp_path / "m.onnx"), **FED)
    kept, precious = tmp_path / "kept", tmp_path / "precious"
    lock = freed_model(resolved, kept).path.with_suffix(".lock")
    precious.write_text("all of it")
    lock.unlink()
    lock.symlink_to(precious)
    with pytest.raises(ModelError, match="cannot be written"):
        freed_model(resolved, kept)
    assert precious.read_text() == "all of it"


@pytest.mark.parametrize("kind", ["a link", "a dangling link", "a pipe", "a link for its folder's part"])
def test_a_link_where_a_pulled_model_goes(tmp_path, cache, kind):
    """What the link names is left as it is; the model takes the link's place."""
    content = b"the model"
    (tmp_path / "www").mkdir()
    (tmp_path / "www" / "m.onnx").write_bytes(content)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args, **options):
            super().__init__(*args, directory=str(tmp_path / "www"), **options)

        def log_message(self, *args):
            pass

    precious = tmp_path / "precious"
    precious.write_bytes(b"all of it")
    manifest = get_manifest("yolox-tiny")
    cache.mkdir(parents=True)
    target = cache / manifest.file
    if kind == "a link":
        target.symlink_to(precious)
    elif kind == "a dangling link":
        target.symlink_to(tmp_path / "made by nobody")
    elif kind == "a pipe":
        os.mkfifo(target)
    else:
        (cache / f".{manifest.file}.x.part").symlink_to(precious)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        url, sha256 = f"http://127.0.0.1:{server.server_port}/m.onnx", hashlib.sha256(content).hexdigest()
        path = pull(manifest._replace(url=url, other_sha256=(), sha256=sha256))
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert precious.read_bytes() == b"all of it"
    assert not (tmp_path / "made by nobody").exists()
    assert path == target
    assert not path.is_symlink()
    assert path.read_bytes() == content


@pytest.mark.parametrize("name", ["a\0b", "a\0b.onnx", "a" * 5000, "a" * 5000 + ".onnx", "\udcff.onnx"])
def test_names_that_no_file_can_have(name):
    with pytest.raises(ModelError) as caught:
        resolve(name, **FED)
    assert str(caught.value).isprintable()


def test_a_mirror_that_can_not_be_searched_is_passed_over(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("YOLO_ENGINE_MODELS", f"{tmp_path / 'file'}:{'a' * 5000}:{tmp_path / 'none'}")
    with pytest.raises(ModelError, match="there is no such file"):
        resolve("theirs.onnx", **FED)


def test_two_billion_classes(tmp_path):
    model = builders.yolox()
    model.graph.output[0].type.tensor_type.shape.dim[2].dim_value = 2**31
    with pytest.raises(OnnxFileError, match="its output has 2,147,483,643 classes"):
        resolve(save(model, tmp_path / "m.onnx"), **FED)
