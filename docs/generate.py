"""Writes docs/configuration.md from the models of the configuration and of the settings: `make docs`."""

from __future__ import annotations

import ast
import inspect
import json
import re
import textwrap
from pathlib import Path
from typing import Any

import click
from pydantic import BaseModel

from engine.cli.main import run
from engine.config import EngineConfig
from orchestrator.settings import Settings, Watch

TARGET = Path(__file__).with_name("configuration.md")

# Rules that stand in a validator, where a schema has no words for them.
ACCEPTS = {
    "skip_frames": "true, false, or a whole number from 0 to 1000",
    "input_size": "two multiples of 32, from 32 to 4096",
    "device": "`auto`, `cpu`, `cuda`, `cuda:N`",
    **dict.fromkeys(("start_s", "end_s", "duration_s"), "seconds, or a text such as `1:02:30`"),
}
ENVIRONMENT = {
    "broker_url": "CELERY_BROKER_URL",
    "result_backend": "CELERY_RESULT_BACKEND",
    "video_roots": "YOLO_VIDEO_ROOTS",
    "output_roots": "YOLO_OUTPUT_ROOTS",
    "state_dir": "YOLO_STATE_DIR",
    "board": "YOLO_BOARD",
}

HEAD = """\
# Configuration

Generated from the program's own models by `make docs`: don't edit.

* [Engine](#engine): what a run or a job does. Keys of `--config FILE` (JSON or TOML), of `EngineConfig(...)` in Python,
  and of the configuration of a job.
* [Job system](#job-system): what workers, Beat, Flower and `yolo-submit` share. Keys of the TOML file that
  `YOLO_SETTINGS` names.
* [Watched folders](#watched-folders): the tables `[[watch]]` of that file.

An unknown key or a value out of range is an error that names the key, the rule and what was found. `none` means that
nothing is given.

## Engine

An option of the command line wins over the file. `yolo-submit` takes the same options, but for `--workers`, which there
is the number of workers that share the job. Keys of the original program keep their names and defaults
([migration.md](migration.md#keys-of-the-configuration)).

"""
SETTINGS = """
## Job system

The environment wins over the file; folders in a variable are separated by `:`. Every process must have the same
settings.

"""
WATCH = """
## Watched folders

`yolo-server --beat` sweeps them: the new and complete videos of a folder become a job. An example is in
[jobs.md](jobs.md#watched-folders).

"""


def documents(model: type[BaseModel]) -> dict[str, str]:
    """Return what the text below each field says, by key, or that of a class it inherits from; else what the option of
    that name says."""
    found = helps() if model is EngineConfig else {}
    for cls in reversed(model.__mro__):
        if not issubclass(cls, BaseModel) or cls is BaseModel:
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
        assert isinstance(body, ast.ClassDef)
        for field, text in zip(body.body, body.body[1:], strict=False):
            match field, text:
                case ast.AnnAssign(target=ast.Name(id=key)), ast.Expr(value=ast.Constant(value=str(words))):
                    found[key] = re.sub(r"\bNone\b", "none", " ".join(words.split())).replace("|", "\\|")
    return found


def helps() -> dict[str, str]:
    """Return what the options of `yolo-engine run` say, by key, without their defaults."""
    options = (param for param in run.params if isinstance(param, click.Option))
    return {str(option.name): re.sub(r"  \[.*\]$", "", option.help or "") for option in options}


def accepts(rule: dict[str, Any]) -> str:
    """Say in words which values a JSON schema takes."""
    if "anyOf" in rule:
        return ", or ".join(accepts(one) for one in rule["anyOf"] if one.get("type") != "null")
    if "enum" in rule:
        return ", ".join(f"`{value}`" for value in rule["enum"])
    if "const" in rule:
        return f"`{rule['const']}`"
    if "prefixItems" in rule:
        return f"{len(rule['prefixItems'])} {accepts(rule['prefixItems'][0])}s"
    if rule.get("type") == "array":
        inner = rule["items"]
        return f"list of {accepts(inner)}" if "enum" in inner else "list"
    if "$ref" in rule or rule.get("type") == "object":
        return "table"
    if rule.get("type") == "boolean":
        return "true, false"
    if rule.get("type") == "string":
        return "path" if rule.get("format") == "path" else "text"
    if rule.get("type") not in ("integer", "number"):
        return "any"
    lowest, highest = rule.get("ge", rule.get("minimum")), rule.get("le", rule.get("maximum"))
    above = rule.get("gt", rule.get("exclusiveMinimum"))
    words = "whole number" if rule["type"] == "integer" else "number"
    if above is not None:
        words += f" above {above:g}"
        return words if highest is None else f"{words}, at most {highest}"
    if lowest is not None:
        words += f", at least {lowest}" if highest is None else f" from {lowest} to {highest}"
    return words


def shown(default: object) -> str:
    """Write a default as JSON or TOML would have it, `none` where nothing is given."""
    if default in (None, ()):
        return "none"
    if isinstance(default, tuple):
        return ", ".join(map(str, default))
    if isinstance(default, bool | int | float | dict):
        return json.dumps(default)
    return str(default)


def table(model: type[BaseModel], heading: str = "", beside: dict[str, str] | None = None) -> str:
    """Return a table with a row per key. `beside` has, by key, what stands in the column `heading`."""
    columns = ["key", "default", "values", *([heading] if heading else []), "meaning"]
    lines = [columns, ["---"] * len(columns)]
    told, schema = documents(model), model.model_json_schema()["properties"]
    for key, field in model.model_fields.items():
        default = "required" if field.is_required() else shown(field.default)
        assert key in told, f"{model.__name__}.{key} has no text below it that says what it is"
        values = (ACCEPTS.get(key) if model is EngineConfig else None) or accepts(schema[key])
        lines.append([f"`{key}`", default, values, *([beside.get(key, "")] if beside else []), told[key]])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def options() -> dict[str, str]:
    """Return the options of `yolo-engine run` by the key that they set."""
    found = {}
    for param in run.params:
        if isinstance(param, click.Option):
            key = "output_folder" if param.name == "output" else str(param.name)
            found[key] = ", ".join(f"`{option}`" for option in (param.opts[-1], *param.secondary_opts))
    return found


def document() -> str:
    """Return the whole document."""
    variables = {key: f"`{name}`" for key, name in ENVIRONMENT.items()}
    engine = table(EngineConfig, "option", options())
    return HEAD + engine + SETTINGS + table(Settings, "variable", variables) + WATCH + table(Watch)


if __name__ == "__main__":
    TARGET.write_text(document(), encoding="utf-8")
