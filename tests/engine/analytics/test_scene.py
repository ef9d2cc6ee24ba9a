"""The scene file: what it takes, and how it says what is wrong."""

import pytest

from engine.analytics.scene import Scene
from engine.errors import ConfigError, InputError

GOOD = """\
camera = "cam1/**"
size = [1920, 1080]

[[line]]
name = "north"
points = [[0.10, 0.55], [0.90, 0.55]]
in = "to centre"
out = "from centre"

[[zone]]
name = "bus stop"
polygon = [[0.2, 0.6], [0.4, 0.6], [0.4, 0.9]]
classes = ["person"]

[[ignore]]
polygon = [[0, 0], [1, 0], [1, 0.1]]

[map]
image = [[0, 0], [1, 0], [1, 1], [0, 1]]
metres = [[0, 0], [20, 0], [20, 10], [0, 10]]
"""


def load(tmp_path, text):
    path = tmp_path / "scene.toml"
    path.write_text(text)
    return Scene.load(path)


def test_a_whole_scene(tmp_path):
    scene = load(tmp_path, GOOD)
    assert (scene.lines[0].into, scene.lines[0].out, scene.lines[0].anchor) == ("to centre", "from centre", "bottom")
    assert scene.zones[0].classes == ("person",)
    assert scene.map.metres[2] == (20, 10)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "[0.90, 0.55]",
            "[1.90, 0.55]",
            "line 6: line[1].points[2][1]: it must be at most 1, for coordinates are shares of the frame's width",
        ),
        (", [0.90, 0.55]", "", "line 6: line[1].points: it needs 2 or more"),
        ("[0.90, 0.55]", "[0.10, 0.55]", r"line 6: line[1].points: points that differ .* Got [0.1, 0.55] twice"),
        ('in = "to', 'inn = "to', "line 7: line[1].inn: there is no such key"),
        ('"from centre"', '"to centre"', "line 4: line[1]: in and out must differ. Got 'to centre' for both"),
        ('"bus stop"', '"north"', "line 11: zone[1].name: names of lines and zones must differ. Got 'north' twice"),
        ('"bus stop"', '"a\\u001bb"', "line 11: zone[1].name: it must not contain control characters"),
        (", [0.4, 0.9]]", "]", "line 12: zone[1].polygon: it needs 3 or more. Got [[0.2, 0.6], "),
        (", [0, 10]]", "]", "line 20: map.metres: it needs 4 or more"),
        ("size = [1920, 1080]", "size = [0, 1080]", "line 2: size[1]: it must be at least 1. Got 0"),
        ('name = "north"', 'nmae = "north"', "line 5: line[1].nmae: there is no such key, and name is missing."),
        ('name = "north"\n', "", "line 4: line[1].name: it is missing."),
        ("image =", "img =", "line 19: map.img: there is no such key, and image is missing."),
        ("[map]", "[map", "is not TOML"),
        ("size =", "sise =", "line 2: sise: there is no such key"),
    ],
)
def test_faults_name_line_and_key(tmp_path, old, new, message):
    with pytest.raises(ConfigError) as error:
        load(tmp_path, GOOD.replace(old, new, 1))
    parts = message.split(" .* ")
    assert all(part in str(error.value) for part in parts), str(error.value)


FLAT, NO_CAMERA = "points that are not all on one line", "no camera sees these points of a plane like this"


@pytest.mark.parametrize(
    ("number", "key", "rule", "old", "new"),
    [
        (12, "zone[1].polygon", FLAT, "[0.4, 0.6], [0.4, 0.9]]", "[0.3, 0.6], [0.4, 0.6]]"),
        (13, "zone[1].classes", "it needs 1 or more", '["person"]', "[]"),
        (13, "zone[1].classes", "it must be a list. Got person", '["person"]', '"person"'),
        (15, "ignore", "it must be written [[ignore]], in two brackets", "[[ignore]]", "[ignore]"),
        (16, "ignore[1].polygon", FLAT, "[[0, 0], [1, 0], [1, 0.1]]", "[[0, 0], [0, 0], [0, 0]]"),
        (18, "map", "it must be a table", "[map]", "[[map]]"),
        (18, "map", NO_CAMERA, "[[0, 0], [20, 0]", "[[20, 0], [0, 0]"),
        (18, "map", NO_CAMERA, "[1, 0], [1, 1], [0, 1]", "[0.5, 0], [1, 0], [0, 1]"),
        (20, "map.metres[3][1]", "", "[20, 10]", "[nan, 10]"),
    ],
)
def test_faults_of_sense(tmp_path, number, key, rule, old, new):
    with pytest.raises(ConfigError) as error:
        load(tmp_path, GOOD.replace(old, new, 1))
    assert f"scene.toml, line {number}: {key}: {rule}" in str(error.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match=r"Scene .*none.toml can't be read: no such file"):
        Scene.load(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("camera", "path", "matches"),
    [
        ("cam1/**", "cam1/a.mp4", True),
        ("cam1/**", "cam1/day/a.mp4", True),
        ("cam1/**", "cam10/a.mp4", False),
        ("cam1/*.mp4", "cam1/day/a.mp4", False),
        ("**/cam1/*", "site/cam1/a.mp4", True),
        ("**/cam1/*", "cam1/a.mp4", True),
        ("cam?-*.mp4", "cam1-x.mp4", True),
        ("a[1].mp4", "a[1].mp4", True),
        ("**", "anything.avi", True),
        ("**", "two\nlines.avi", True),
    ],
)
def test_matching(camera, path, matches):
    assert Scene(camera=camera).matches(path) is matches


def test_another_aspect_is_refused():
    scene = Scene(size=(1920, 1080))
    scene.check_aspect((1280, 720), "a.mp4")
    scene.check_aspect((854, 480), "a.mp4")
    with pytest.raises(InputError, match=r"a\.mp4 is 640x480, but its scene was drawn on 1920x1080: another aspect"):
        scene.check_aspect((640, 480), "a.mp4")
