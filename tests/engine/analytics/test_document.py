"""docs/answers.md against the program: keys, columns, and an example that runs."""

import json
import re

import pytest

from engine.analytics.scene import Scene, SceneIgnore, SceneLine, SceneMap, SceneZone
from engine.analytics.tables import COLUMNS
from tests.assets import ROOT

TEXT = (ROOT / "docs" / "answers.md").read_text(encoding="utf-8")


def block(language):
    return re.search(rf"```{language}\n(.*?)```", TEXT, re.S)[1]


def test_every_key_of_a_scene_is_there_with_its_default():
    expected = {}
    parts = {"line": SceneLine, "zone": SceneZone, "ignore": SceneIgnore, "map": SceneMap}
    for name, field in Scene.model_fields.items():
        if (field.alias or name) not in parts:
            expected[field.alias or name] = field
    for prefix, model in parts.items():
        expected |= {f"{prefix}.{field.alias or name}": field for name, field in model.model_fields.items()}
    section = TEXT.partition("## The scene file")[2].partition("\n## ")[0]
    told = dict(re.findall(r"^\| `([a-z._]+)` \|([^|]*)\|", section, re.M))
    assert sorted(told) == sorted(expected)
    for key, field in expected.items():
        shown = {"none": None, "all": None, "": ...}.get(told[key].strip(), told[key].strip().strip("`"))
        if field.is_required():
            assert shown is ..., key
        else:
            assert shown == field.default or shown == str(field.default), key


def test_the_example_is_a_scene(tmp_path):
    (tmp_path / "scene.toml").write_text(block("toml"))
    scene = Scene.load(tmp_path / "scene.toml")
    assert scene.lines[0].into == "to centre"
    assert Scene.of_table(json.loads(json.dumps(scene.table()))) == scene


def test_every_column_is_there():
    for name, columns in COLUMNS.items():
        row = re.search(rf"^\| `{name}` \| [^|]* \| (.*) \|$", TEXT, re.M)[1]
        assert tuple(re.findall(r"`(\w+)`", row)) == columns


def test_the_python_example_runs(tmp_path, monkeypatch, capsys):
    pytest.importorskip("pandas")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "north.toml").write_text(block("toml").replace('"cam1/**"', '"**"'))
    (tmp_path / "out").mkdir()
    with open(tmp_path / "out" / "a.tracks.jsonl", "w") as file:
        for frame in range(50):
            y = 400 + 10 * frame
            row = {"frame": frame, "pts": frame, "time_s": frame / 25, "track_id": 1, "class_id": 2, "class": "car"}
            file.write(json.dumps({**row, "score": 0.9, "box_xyxy": [900, y - 100, 1000, y]}) + "\n")
    exec(compile(block("python"), "answers.md", "exec"), {})
    assert re.search(r"north\s+from centre\s+0\s+to centre\s+1", capsys.readouterr().out)
