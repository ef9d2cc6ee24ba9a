"""README against the program: what it says of the configuration must be so."""

import json
import re

import pytest

from engine import EngineConfig
from tests.assets import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
ROWS = dict(
    re.findall(r"^\| `(\w+)` \| ([^|]*) \|", README.split("### Configuration")[1].split("### Results")[0], re.M)
)


def test_every_key_is_there():
    assert list(ROWS) == list(EngineConfig.model_fields)


@pytest.mark.parametrize("key", EngineConfig.model_fields)
def test_default(key):
    default = EngineConfig.model_fields[key].default
    if isinstance(default, tuple):
        shown = ", ".join(default)
    elif isinstance(default, bool | int | float):
        shown = json.dumps(default)
    else:
        shown = "none" if default is None else str(default)
    assert ROWS[key].strip() == shown


def test_summary_example_has_the_programs_keys():
    blocks = re.findall(r"```json\n(.*?)```", README, re.S)
    summary = json.loads(blocks[-1])
    assert set(summary) == {"schema", "success", "videos", "totals", "model", "backend"}
    assert json.loads(blocks[0])["class"] == "person"
