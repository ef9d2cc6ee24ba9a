"""The READMEs and the documents against the program: commands, options, links and examples must be so."""

import re
from pathlib import Path

import click
import pytest

from engine import EngineConfig
from engine.cli.group import commands as engine_command
from engine.config import note_on_default
from orchestrator.client.submit_cli import submit
from orchestrator.worker.server_cli import server
from tests.assets import ROOT

# The same in two languages.
PAIRS = [
    ("README.md", "README.es.md"),
    ("docs/jobs.md", "docs/es/jobs.md"),
    ("docs/troubleshooting.md", "docs/es/troubleshooting.md"),
]
DOCUMENTS = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"))
}


def blocks(text, language):
    return re.findall(rf"```{language}\n(.*?)```", text, re.S)


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair[0])
def test_both_languages_show_the_same_commands(pair):
    """All but comments."""

    def commands(name):
        lines = "\n".join(blocks(DOCUMENTS[name], "console")).splitlines()
        return [line.partition(" # ")[0].rstrip() for line in lines]

    assert commands(pair[0]) == commands(pair[1])


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair[0])
def test_both_languages_name_the_same_things(pair):
    """What stands in backquotes in the first column of a table is the program's, in both."""

    def first_columns(name):
        return re.findall(r"^\| (`[^|]*`)", DOCUMENTS[name], re.M)

    assert first_columns(pair[0]) == first_columns(pair[1])


@pytest.mark.parametrize("name", ["README.md", "README.es.md"])
def test_the_readme_is_short(name):
    assert 8000 < len(DOCUMENTS[name].encode()) < 9216


@pytest.mark.parametrize("name", ["docs/jobs.md", "docs/es/jobs.md"])
def test_the_line_about_the_default_model(name):
    assert f"\n{note_on_default(EngineConfig())}\n" in DOCUMENTS[name]


def test_the_table_of_models_is_the_zoo():
    from models.registry import list_models

    zoo = sorted(manifest.name for manifest in list_models())
    assert sorted(re.findall(r"^\| `([\w-]+)` \| \d+ \|", DOCUMENTS["docs/models.md"], re.M)) == zoo
    for name in ("README.md", "README.es.md"):
        assert [model for model in zoo if not re.search(rf"\b{model}\b", DOCUMENTS[name])] == [], name


def options_of(command):
    found = {"--help", "-h"}
    for parameter in command.params:
        found |= {*parameter.opts, *parameter.secondary_opts}
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found |= options_of(command.get_command(context, name))
    return found


OPTIONS = {
    "yolo-engine": options_of(engine_command),
    "yolo-server": options_of(server),
    "yolo-submit": options_of(submit),
}
# Of other programs that the text speaks of.
FOREIGN = {"--precisions", "--profile", "--pool", "--decode", "--vfs-cache-mode"}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_options_exist(name):
    """Behind a command of ours, each option is that command's; anywhere else in the text, one of some command's."""
    text = DOCUMENTS[name]
    for command, rest in re.findall(r"(?<![\w/])(yolo-(?:engine|server|submit)) ([^`\n#|]*)", text):
        unknown = set(re.findall(r"(?<![\w-])--?[a-z][a-z0-9-]*", rest)) - OPTIONS[command]
        assert not unknown, f"{command} {rest}: {unknown}"
    alone = set(re.findall(r"`(--[a-z][a-z0-9-]*)", text))
    assert alone <= set().union(*OPTIONS.values()) | FOREIGN


@pytest.mark.parametrize("name", DOCUMENTS)
def test_relative_links_resolve(name):
    path = ROOT / name
    for target in re.findall(r"\]\(([^)]+)\)", DOCUMENTS[name]):
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


def test_every_document_is_in_the_list():
    """A document that no README names is not found."""
    listed = set(re.findall(r"\]\((docs/[\w-]+\.md)\)", DOCUMENTS["README.md"]))
    there = {name for name in DOCUMENTS if re.fullmatch(r"docs/[\w-]+\.md", name)}
    assert there <= listed
