"""Builds pages from templates, scripts and words."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from jinja2 import Environment, FunctionLoader, StrictUndefined, Template
from markupsafe import Markup, escape

from engine.report.island import safe_json
from engine.report.words import Words
from engine.text.printable import printable
from engine.versions import own_version

_STYLE = "page.css"

_CODE = re.compile(r"`([^`\n]+)`")


def page_of(name: str, script: str, words: Words, data: Mapping[str, object], **values: object) -> str:
    """Render a page: a template with a script of `static/`, the script's `data`, and the template's values."""
    code, style = asset(script), asset(_STYLE)
    return template(name).render(
        t=words,
        csp=policy(code, style),
        script=Markup(code),
        style=Markup(style),
        page=safe_json(data),
        version=own_version(),
        **values,
    )


def template(name: str) -> Template:
    """Return a file of `templates/`."""
    return _templates().get_template(name)


def policy(script: str, style: str) -> str:
    """Return the Content-Security-Policy of a page: its own script and style by hash, embedded images, files beside it,
    and nothing else."""
    return (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; img-src 'self' data:;"
        " media-src 'self'; base-uri 'none'; form-action 'none'"
    )


@cache
def asset(name: str) -> str:
    """Return a file of `static/`."""
    return files("engine.report").joinpath("static", name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@cache
def _templates() -> Environment:
    def load(name: str) -> str:
        return files("engine.report").joinpath("templates", name).read_text(encoding="utf-8")

    made = Environment(
        autoescape=True,
        loader=FunctionLoader(load),
        undefined=StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["code"] = with_code
    return made


def with_code(text: str) -> Markup:
    """Return a text in which parts between backticks are marked up as code."""
    pieces = _CODE.split(printable(text))
    return Markup("").join(
        Markup("<code>{}</code>").format(piece) if place % 2 else escape(piece) for place, piece in enumerate(pieces)
    )


def _printable(value: object) -> object:
    """Escape unprintable characters in text, which is untrusted unless it is our own markup."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def data_uri(jpeg: bytes) -> Markup:
    """Return an image as a data URL."""
    return Markup("data:image/jpeg;base64,") + Markup(base64.b64encode(jpeg).decode())
