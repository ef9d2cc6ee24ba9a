"""Both READMEs against the program: what they say of configuration, settings, summaries and commands must be so."""

import json
import re
from pathlib import Path

import click
import pytest

from engine import EngineConfig
from engine.cli.main import commands as engine_command
from engine.config import note_on_default
from engine.trackers.registry import DEFAULT, KEYS, TRACKERS
from orchestrator.client.submit_cli import submit
from orchestrator.settings import Settings, Watch
from orchestrator.worker.server_cli import server
from tests.assets import ROOT

READMES = {name: (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.es.md")}
DOCUMENTS = {
    **READMES,
    **{
        name: (ROOT / name).read_text(encoding="utf-8")
        for name in ("docs/operations.md", "docs/gpu.md", "docs/trackers.md", "ARCHITECTURE.md")
    },
}
# Headings of the two tables of keys, in each language.
TABLES = {
    "README.md": {EngineConfig: "### Configuration", Settings: "### Settings"},
    "README.es.md": {EngineConfig: "### Configuración", Settings: "### Ajustes"},
}
# Parameters of trackers other than the default: docs/trackers.md has them (tests/engine/test_tracker_choice.py).
ELSEWHERE = {*KEYS} - {*TRACKERS[DEFAULT].defaults}
CASES = [(name, model) for name, tables in TABLES.items() for model in tables]


def rows(name, model):
    section = READMES[name].split(f"\n{TABLES[name][model]}\n")[1].split("\n### ")[0]
    return dict(re.findall(r"^\| `(\w+)` \| ([^|]*) \|", section, re.M))


def shown(default):
    if isinstance(default, tuple):
        return ", ".join(map(str, default)) or "none"
    if isinstance(default, bool | int | float):
        return json.dumps(default)
    return "none" if default is None else str(default)


@pytest.mark.parametrize(("name", "model"), CASES)
def test_every_key_is_there(name, model):
    assert list(rows(name, model)) == [key for key in model.model_fields if key not in ELSEWHERE]


@pytest.mark.parametrize(("name", "model"), CASES)
def test_defaults(name, model):
    told = {key: value.strip() for key, value in rows(name, model).items()}
    assert told == {key: shown(field.default) for key, field in model.model_fields.items() if key not in ELSEWHERE}


@pytest.mark.parametrize("name", READMES)
def test_keys_of_a_watched_folder(name):
    (line,) = re.findall(r"^\| `watch` \|.*$", READMES[name], re.M)
    told = re.findall(r"`(\w+)`(?: \((\d+)\))?", line)[1:]
    assert [key for key, _ in told] == list(Watch.model_fields)
    for key, default in told:
        if default:
            assert float(default) == Watch.model_fields[key].default


@pytest.mark.parametrize("name", READMES)
def test_the_line_about_the_default_model(name):
    assert f"\n{note_on_default(EngineConfig())}\n" in READMES[name]


def test_summary_example_has_the_programs_keys():
    blocks = re.findall(r"```json\n(.*?)```", READMES["README.md"], re.S)
    summary = json.loads(blocks[-1])
    assert set(summary) == {"schema", "success", "videos", "totals", "model", "backend"}
    assert json.loads(blocks[0])["class"] == "person"


def test_both_languages_show_the_same_commands():
    """Of the blocks, all but comments and the words in capitals that stand for something of the reader's."""

    def commands(text):
        blocks = "\n".join(re.findall(r"```console\n(.*?)```", text, re.S))
        return [line.partition(" # ")[0].rstrip() for line in blocks.splitlines()]

    assert commands(READMES["README.md"]) == commands(READMES["README.es.md"])


def test_both_languages_name_the_same_messages_and_keys():
    """What stands in backquotes in the first column of a table is the program's, in both."""

    def first_columns(text):
        return re.findall(r"^\| (`[^|]*`)", text, re.M)

    assert first_columns(READMES["README.md"]) == first_columns(READMES["README.es.md"])


def options_of(command):
    found = {"--help", "-h"}
    for parameter in command.params:
        found |= {*parameter.opts, *parameter.secondary_opts}
    if isinstance(command, click.Group):
        for sub in command.commands.values():
            found |= options_of(sub)
    return found


OPTIONS = {
    "yolo-engine": options_of(engine_command),
    "yolo-server": options_of(server),
    "yolo-submit": options_of(submit),
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_options_exist(name):
    """Behind a command of ours, each option is that command's; anywhere else in the text, one of some command's."""
    text = DOCUMENTS[name]
    for command, rest in re.findall(r"(?<![\w/])(yolo-(?:engine|server|submit)) ([^`\n#|]*)", text):
        unknown = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", rest)) - OPTIONS[command]
        assert not unknown, f"{command} {rest}: {unknown}"
    alone = set(re.findall(r"`(--[a-z][a-z-]*)", text))
    foreign = {"--profile"}
    assert alone <= set().union(*OPTIONS.values()) | foreign


@pytest.mark.parametrize("name", [*DOCUMENTS, "CHANGELOG.md"])
def test_relative_links_resolve(name):
    path = ROOT / name
    for target in re.findall(r"\]\(([^)]+)\)", path.read_text(encoding="utf-8")):
        if target.startswith(("http://", "https://")):
            continue
        file, _, anchor = target.partition("#")
        there = path.parent / file if file else path
        assert there.exists(), f"{name}: {target}"
        if anchor:
            assert anchor in anchors(there), f"{name}: {target}"


def anchors(path: Path):
    """The anchors that GitHub makes of a file's headings."""
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.S)
    headings = re.findall(r"^#+ (.*)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}
