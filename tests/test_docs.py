"""docs/ against the program: files that are shipped must be what their readers take them for."""

import configparser
import importlib
import importlib.util
import json
import re
import tomllib

import pytest

from engine import EngineConfig
from orchestrator.broker.heartbeats import EXPIRES_S
from orchestrator.broker.keys import HEARTBEATS
from orchestrator.settings import GPU_QUEUE, LOG_QUEUE, QUEUE, Settings, Watch
from tests.assets import ROOT
from tests.e2e.runs import clip

OPERATIONS = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
UNITS = sorted((ROOT / "docs/systemd").glob("*.service"))
EVERYTHING = [
    *ROOT.glob("*.md"),
    *(path for path in (ROOT / "docs").rglob("*") if path.is_file() and path.suffix not in (".pyc", ".png")),
]

# Messages that the troubleshooting tables quote, cut where a name or a number stands in them -> where they are made.
MESSAGES = {
    "refused: nothing listens there": "orchestrator/broker/preflight.py",
    "authentication required: the URL contains no password": "orchestrator/broker/preflight.py",
    "wrong user or password": "orchestrator/broker/preflight.py",
    "No worker is alive for queue": "orchestrator/client/monitor.py",
    "does not exist. ": "orchestrator/client/submission.py",
    "none of them a video": "orchestrator/client/submission.py",
    "can't be read: permission denied": "orchestrator/client/submission.py",
    "is not set, and the broker is reached over the network": "orchestrator/job/paths.py",
    "is not below": "orchestrator/job/paths.py",
    "The outputs need about": "orchestrator/job/resources.py",
    "as well and has not ended: this one waits for it": "orchestrator/client/commands_submit.py",
    "gave up after": "orchestrator/job/claims.py",
    "is known on this machine": "orchestrator/job/registry.py",
}
MESSAGES_OF_THE_ENGINE = {
    "Name a video file, a folder that holds some, or a URL.": "engine/media/inputs.py",
    "in the configuration.": "engine/config.py",
    "is neither a model of the zoo nor a file": "models/resolution.py",
    "not a video, or its header is damaged or missing": "engine/media/source.py",
    "ends early: ": "engine/pipeline/missing.py",
}


def unit(path):
    read = configparser.ConfigParser(strict=False, interpolation=None, delimiters="=", comment_prefixes="#")
    read.optionxform = str
    read.read(path, encoding="utf-8")
    return read


def said(file):
    """The text of a source, with strings joined that go on in the next line."""
    return re.sub(r'"\s*\n?\s*f?"', "", (ROOT / file).read_text(encoding="utf-8"))


@pytest.mark.parametrize("document", ["docs/troubleshooting.md", "docs/es/troubleshooting.md"])
@pytest.mark.parametrize("message", MESSAGES)
def test_quoted_messages_are_the_programs(document, message):
    assert message in (ROOT / document).read_text(encoding="utf-8")
    assert message in said(MESSAGES[message])


@pytest.mark.parametrize("message", MESSAGES_OF_THE_ENGINE)
def test_quoted_messages_are_the_engines(message):
    assert message in (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
    assert message in said(MESSAGES_OF_THE_ENGINE[message])


# -- configuration.md ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def generator():
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs/generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_configuration_is_current(generator):
    assert generator.TARGET.read_text(encoding="utf-8") == generator.document(), "run `make docs`"


@pytest.mark.parametrize("model", [EngineConfig, Settings, Watch])
def test_every_key_says_what_it_is(generator, model):
    told = generator.documents(model)
    assert [key for key in model.model_fields if not told.get(key)] == []


def test_every_option_of_a_run_is_a_key_or_known_to_be_none(generator):
    others = {"config_file", "as_json", "stats", "metrics", "on_event", "event_kinds", "event_loiter_s"}
    assert generator.options().keys() - others <= EngineConfig.model_fields.keys()


def test_keys_of_the_original_program_keep_their_defaults():
    text = (ROOT / "docs/migration.md").read_text(encoding="utf-8").split("## Keys of the configuration")[1]
    told = re.findall(r"^\| `(\w+)` \| (\S+) \|", text, re.M)
    assert len(told) == 8
    for key, default in told:
        value = EngineConfig.model_fields[key].default
        assert default == (str(value).lower() if isinstance(value, bool) else str(value))


# -- examples --------------------------------------------------------------------------------------------------------


def blocks(document, language):
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / document).read_text(encoding="utf-8"), re.S)


def test_python_examples_run(tmp_path, monkeypatch, capsys):
    """One after the other, as a reader would, with the bundled model."""
    clip(tmp_path / "videos" / "a.mp4", frames=6)
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {}
    for number, block in enumerate(blocks("docs/python.md", "python"), 1):
        exec(compile(block, f"python.md, example {number}", "exec"), namespace)
    assert "videos/a.mp4 ok 6" in capsys.readouterr().out
    assert namespace["tracks"].shape == (2, 5)


@pytest.mark.parametrize(
    "document", ["README.md", "README.es.md", "docs/jobs.md", "docs/es/jobs.md", "docs/extending.md"]
)
def test_python_examples_are_python(document):
    for block in blocks(document, "python"):
        compile(block, document, "exec")
        for module in re.findall(r"^from ([\w.]+) import (\w+)", block, re.M):
            assert hasattr(importlib.import_module(module[0]), module[1]), module


def test_the_summary_example_has_the_programs_keys():
    row, summary, crop = map(json.loads, blocks("docs/results.md", "json"))
    assert crop.keys() == json.loads((ROOT / "docs/schema/crops-row.json").read_text())["properties"].keys()
    assert summary.keys() == {"schema", "success", "videos", "totals", "model", "backend"}
    assert row["class"] == "person"


# -- units and containers --------------------------------------------------------------------------------------------


def test_there_are_three_units():
    assert [path.name for path in UNITS] == ["yolo-beat.service", "yolo-flower.service", "yolo-worker.service"]


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_units_run_our_commands_as_a_user_of_their_own(path):
    service = unit(path)["Service"]
    what = path.stem.removeprefix("yolo-")
    assert service["ExecStart"].startswith(f"/opt/yolo-engine/bin/yolo-server --{what}")
    assert service["User"] == "yolo"
    assert service["Restart"] == "always"
    assert service["NoNewPrivileges"] == "yes"


def test_a_worker_has_time_for_its_checkpoint():
    service = unit(ROOT / "docs/systemd/yolo-worker.service")["Service"]
    assert service["KillMode"] == "mixed"
    assert float(service["TimeoutStopSec"]) > Settings().grace_s + 30


def test_compose_gives_a_worker_the_same_time():
    text = (ROOT / "docs/compose.yaml").read_text(encoding="utf-8")
    (period,) = re.findall(r"stop_grace_period: (\d+)s", text)
    assert float(period) > Settings().grace_s + 30


def test_settings_in_the_compose_file_are_settings():
    text = (ROOT / "docs/compose.yaml").read_text(encoding="utf-8")
    block = re.search(r"content: \|\n((?: {6}.*\n|\n)+)", text)
    assert block is not None
    given = tomllib.loads(re.sub(r"^ {6}", "", block[1], flags=re.M))
    assert Settings(**given).watch == tuple(Watch(**watch) for watch in given["watch"])


@pytest.mark.parametrize("document", ["docs/jobs.md", "docs/es/jobs.md"])
def test_watch_example_is_valid(document):
    (example,) = [block for block in blocks(document, "toml") if "[[watch]]" in block]
    assert len(Settings(**tomllib.loads(example)).watch) == 1


def test_numbers_in_the_operations_manual_are_the_programs():
    given = Settings()
    assert f"`lease_s` is {given.lease_s:.0f} s" in OPERATIONS
    assert f"`visibility_timeout_s` {given.visibility_timeout_s:.0f} s" in OPERATIONS
    assert f"runs out after {EXPIRES_S:.0f} s" in " ".join(OPERATIONS.split())
    assert f"`{HEARTBEATS}<node>:<pid>`" in OPERATIONS
    for queue in (QUEUE, GPU_QUEUE, LOG_QUEUE):
        assert queue in OPERATIONS


@pytest.mark.parametrize("path", EVERYTHING, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_path_of_anybodys_machine(path):
    """Examples lie below /srv, /opt, /etc, /var; nothing of who wrote them."""
    assert not re.search(r"/(?:work|home|root|Users)/(?!yolo\b)", path.read_text(encoding="utf-8"))
