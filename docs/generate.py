"""Write docs/configuration.md from the configuration and settings models: `make docs`."""

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

from engine.cli.run import run
from engine.config import EngineConfig
from orchestrator.settings import Settings, Watch

TARGET = Path(__file__).with_name("configuration.md")

# Rules in validators, which a JSON schema can't express.
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
    "jobs_dir": "YOLO_JOBS_DIR",
}

HEAD = """\
# Configuration

Generated from the program's own models by `make docs`: don't edit.

* [Engine](#engine): what a run or a job does. Keys of `--config FILE` (JSON or TOML), of `EngineConfig(...)` in Python,
  and of a job's configuration.
* [Job system](#job-system): settings shared by workers, Beat, Flower and `yolo-submit`. Keys of the TOML file named by
  `YOLO_SETTINGS`.
* [Watched folders](#watched-folders): the `[[watch]]` tables of that file.

An unknown key or a value out of range is an error that names the key, the rule and the actual value. `none` means that
no value is set.

## Engine

Command-line options override the file. `yolo-submit` takes the same options, except that its `--workers` is the number
of workers that share the job. Keys of the original program keep their names and defaults
([migration.md](migration.md#keys-of-the-configuration)).

"""
SETTINGS = """
## Job system

The environment overrides the file; separate folders in a variable with `:`. Every process must have the same settings.

"""
WATCH = """
## Watched folders

`yolo-server --beat` sweeps these folders: the new, complete videos in a folder become a job. See
[jobs.md](jobs.md#watched-folders) for an example.

"""


def documents(model: type[BaseModel]) -> dict[str, str]:
    """Return each key's docstring, its own or inherited; or else the help of the option of that name."""
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
    """Return the help of the options of `yolo-engine run`, by key, without their defaults."""
    options = (param for param in run.params if isinstance(param, click.Option))
    return {str(option.name): re.sub(r"  \[.*\]$", "", option.help or "") for option in options}


def accepts(rule: dict[str, Any]) -> str:
    """Describe in words which values a JSON schema accepts."""
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
    """Format a default as in JSON or TOML; `none` if there is none."""
    if default in (None, ()):
        return "none"
    if isinstance(default, tuple):
        return ", ".join(map(str, default))
    if isinstance(default, bool | int | float | dict):
        return json.dumps(default)
    return str(default)


def table(model: type[BaseModel], heading: str = "", beside: dict[str, str] | None = None) -> str:
    """Return a table with a row per key. `beside` has the contents of the column `heading`, by key."""
    columns = ["key", "default", "values", *([heading] if heading else []), "meaning"]
    lines = [columns, ["---"] * len(columns)]
    told, schema = documents(model), model.model_json_schema()["properties"]
    for key, field in model.model_fields.items():
        default = "required" if field.is_required() else shown(field.default)
        assert key in told, f"{model.__name__}.{key} has no docstring"
        values = (ACCEPTS.get(key) if model is EngineConfig else None) or accepts(schema[key])
        lines.append([f"`{key}`", default, values, *([beside.get(key, "")] if beside else []), told[key]])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def options() -> dict[str, str]:
    """Return the options of `yolo-engine run`, by the key that they set."""
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
