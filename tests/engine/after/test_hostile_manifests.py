"""A manifest of which any leaf is anything: every command that reads one ends with a status and a line, never a trace.

Where the reader refuses a value, all commands get its error; what it lets pass goes through all of them.
"""

import contextlib
import io
import json
import math
import os
import sys

import pytest

from engine.cli import main as cli
from engine.errors import InputError
from engine.output_folder.manifest import checked, read_manifest
from tests.engine.after.finished_runs import Life, finished, frames_of
from tests.engine.conftest import write_clip

GONE = object()
VALUES = [GONE, None, "", -1, 1e308, math.nan, 2**70, [], {}, True, "x" * 10_000]
# Keys that no command reads.
UNREAD = {"answers", "success", "report"}
SCENE = {
    "line": [{"name": "mid", "points": [[0.5, 0], [0.5, 1]], "classes": ["square"]}],
    "zone": [{"name": "left", "polygon": [[0, 0], [0.5, 0], [0.5, 1]]}],
}


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """The folder of a run with everything that a manifest may tell of."""
    folder = tmp_path_factory.mktemp("hostile")
    clip = write_clip(folder / "a_2024-05-01_08-00-00.mp4", frames=4)
    shown = frames_of(clip)
    settings = {"scene": [SCENE], "visualize": True, "crops": True, "store_conf": 0.1, "formats": "tracks,mot"}
    return finished(
        folder / "out",
        {clip: (shown, [Life(0, 1, class_name="square"), Life(2, 3, 1, (90, 8, 110, 28), "square")])},
        **settings,
    )


def leaves(value, path=()):
    """Give the path of each leaf, and of each table and list."""
    if path:
        yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield from leaves(each, (*path, key))


def changed(manifest, path, value):
    """Give a copy that shares what is not on the path."""
    key, *rest = path
    found = manifest.copy()
    if rest:
        found[key] = changed(found[key], rest, value)
    elif value is GONE:
        del found[key]
    else:
        found[key] = value
    return found


def commands(out):
    """What reads a manifest. A file of corrections is read before it, so it must be one."""
    mot = out.parent / "gt.txt"
    mot.write_text("1,1,8,8,20,20,1,1,1\n")
    return [
        ["clips", out],
        ["export", out, "--to", "cvat"],
        ["export", out, "--to", "coco", "--images"],
        ["export", out, "--to", "fiftyone"],
        ["import", out, mot],
        ["report", out],
        ["analyze", out],
        ["render", out],
        ["retrack", out, "-o", out.parent / "again"],
        ["audit", out, "--frames", "0"],
        ["scene", out.parent, "--tracks", out, "-o", out.parent / "scene.html"],
        ["find", out],
    ]


def status_of(arguments, monkeypatch):
    """Run the console script's entry point; what it does not handle is raised here."""
    monkeypatch.setattr(sys, "argv", ["yolo-engine", *map(str, arguments)])
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said), pytest.raises(SystemExit) as caught:
        cli.main()
    return caught.value.code, said.getvalue()


def survivors(out):
    """Give what the reader lets pass of everything that each leaf might be; of the rest, look at its errors."""
    path = out / "manifest.json"
    manifest = json.loads(path.read_text())
    refused = []
    for leaf in leaves(manifest):
        if leaf[0] in UNREAD:
            continue
        for value in VALUES:
            text = json.dumps(changed(manifest, leaf, value))
            try:
                checked(json.loads(text), path)  # as it is read, without the file
            except InputError as error:
                refused.append((leaf, str(error)))
            else:
                yield f"{leaf} = {'gone' if value is GONE else repr(value)[:20]}", text
    assert len(refused) > 1000
    for leaf, error in refused:
        assert str(path) in error
        assert str(leaf[0]) in error, "the file alone does not say where"
        assert len(error) < 1000


def check(out, runs, monkeypatch):
    """Run commands over manifests: (what is in it, its text, the commands)."""
    path = out / "manifest.json"
    problems = []
    for about, text, wanted in runs:
        for arguments in wanted:
            path.write_text(text)
            try:
                status, said = status_of(arguments, monkeypatch)
            except BaseException as error:  # noqa: BLE001 - whatever it is, a user would see its trace
                problems.append(f"{about}: {arguments[0]}: {error!r:.300}")
                continue
            if status not in (0, 1, 2) or (status and not said.strip()):
                problems.append(f"{about}: {arguments[0]}: status {status}: {said:.300}")
    assert not problems, "\n".join(problems[:50])


def test_every_leaf_as_everything(out, monkeypatch, tmp_path):
    """Each manifest that passes goes through one command, in turn; with `YOLO_FUZZ=all`, through all."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    whole = (out / "manifest.json").read_text()
    every = commands(out)
    try:
        passed = list(survivors(out))
        one = lambda number: [every[number % len(every)]]  # noqa: E731
        runs = [
            (*each, every if os.environ.get("YOLO_FUZZ") == "all" else one(number))
            for number, each in enumerate(passed)
        ]
        check(out, runs, monkeypatch)
    finally:
        (out / "manifest.json").write_text(whole)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{",
        "1e999",
        "[" * 100_000,
        '{"videos": ' + "[" * 900 + "]" * 900 + "}",
        "\0",
        "9" * 5000,
        "\ufeff{}",
    ],
)
def test_what_is_no_manifest_at_all(out, monkeypatch, text, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    whole = (out / "manifest.json").read_text()
    try:
        check(out, [(text[:20], text, commands(out))], monkeypatch)
        with pytest.raises(InputError, match=r"manifest\.json"):
            read_manifest(out)
    finally:
        (out / "manifest.json").write_text(whole)


def test_a_manifest_of_a_later_version_is_refused_by_all(out, monkeypatch, tmp_path):
    """Its keys may mean something else: nothing is made of it, and nothing is said to be wrong with it. `find` leaves
    it out, and says so."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = out / "manifest.json"
    whole = path.read_text()
    before = {each: each.read_bytes() for each in out.rglob("*") if each.is_file() and each != path}
    try:
        path.write_text(json.dumps({**json.loads(whole), "schema": 2, "videos": [{"another": "form"}]}))
        for arguments in commands(out):
            if arguments[0] == "retrack":  # what it goes by stands in the stores
                continue
            status, said = status_of(arguments, monkeypatch)
            assert status == (0 if arguments[0] == "find" else 2), (arguments, said)
            assert "was written by a later version of yolo-engine: its schema is 2" in said, arguments
            assert "pip install --upgrade yolo-engine" in said, arguments
        assert {each: each.read_bytes() for each in out.rglob("*") if each.is_file() and each != path} == before
    finally:
        path.write_text(whole)


def test_names_that_are_no_text_go_through_all(monkeypatch, tmp_path):
    """Linux takes any bytes; a manifest has them as Python does. And a source whose name is that of an unfinished
    result is one all the same."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "in").mkdir()
    shown, videos = None, {}
    for name in ("\udcff\udcfe.mp4", "a.partial.mp4"):
        clip = tmp_path / "in" / name
        os.rename(write_clip(tmp_path / "plain.mp4", frames=4), clip)
        shown = shown or frames_of(clip)
        videos[clip] = (shown, [Life(0, 3, class_name="square")])
    out = finished(tmp_path / "out", videos, scene=[SCENE], visualize=True, store_conf=0.1)
    for arguments in commands(out):
        if arguments[0] == "import":
            arguments += ["--video", "a.partial.mp4"]
        status, said = status_of(arguments, monkeypatch)
        assert status == (1 if arguments[0] == "audit" else 0), (arguments, said)  # its rows are others by now
        assert "left out" not in said
        assert "not checked: ok" not in said
    _, said = status_of(["find", out, "--json"], monkeypatch)
    names = {row["video"] for row in json.loads(said.splitlines()[0])["found"]}
    assert names == {"\\udcff\\udcfe.mp4", "a.partial.mp4"}
    _, said = status_of(["audit", out, "--frames", "2"], monkeypatch)
    assert "4 frames with" in said
