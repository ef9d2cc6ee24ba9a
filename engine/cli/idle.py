"""Refuses options that have no effect in combination with the others, because their user expected one.

    refuse_idle(ANNOTATED, config)

A rule names options, says when they have an effect, and has the message for when they don't. Only options on the
command line are refused: a settings file may contain more keys than one run uses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

import click

if TYPE_CHECKING:
    from engine.config import EngineConfig

Asked = TypeVar("Asked")


@dataclass(frozen=True)
class Rule(Generic[Asked]):
    """The `options`, by parameter name, have an effect only if `works(request)` is true; `only` expresses that in words
    that follow "it"."""

    options: tuple[str, ...]
    works: Callable[[Asked], object]
    only: str


def refuse_idle(rules: Iterable[Rule[Asked]], asked: Asked) -> None:
    """Raise UsageError for the first option on the current command line that has no effect. Options that switch
    something off are exempt."""
    context = click.get_current_context()
    for rule in rules:
        given = next((name for name in rule.options if _is_given(context, name)), None)
        if given is not None and not rule.works(asked):
            raise click.UsageError(f"{_flag(context, given)} does nothing here: it {rule.only}.", context)


def _is_given(context: click.Context, name: str) -> bool:
    return (
        bool(context.params.get(name)) and context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
    )


def _flag(context: click.Context, name: str) -> str:
    return next(param.opts[-1] for param in context.command.params if param.name == name)


_LOOK = ("label", "colour_by", "line_width", "label_size", "trail_s")

OF_DRAWN: tuple[Rule[EngineConfig], ...] = (
    Rule(
        _LOOK,
        lambda config: not config.only_blur,
        "applies to what is drawn, and with only_blur nothing is",
    ),
    Rule(("label_size",), lambda config: config.label, "applies to labels, and --label none draws none"),
)
"""Rules for options about what is drawn on a video."""

OF_VIDEO: tuple[Rule[EngineConfig], ...] = (
    Rule(_LOOK, lambda config: config.visualize, "applies to annotated videos, and none is written"),
    *OF_DRAWN,
    Rule(("blur_style",), lambda config: config.blur, "goes with --blur, which names what is hidden"),
)
"""Rules for options about the look of annotated videos."""


def of_engine(*, report: bool) -> tuple[Rule[EngineConfig], ...]:
    """Return the rules for the options of a run or a job; `report` says whether it writes a report by default."""

    def reports(config: EngineConfig) -> bool:
        return report if config.report is None else config.report

    return (
        *OF_VIDEO,
        Rule(
            ("fill",),
            lambda config: config.skip_frames or config.fill == "predict",
            "applies to the frames between two inferences: add --skip-frames",
        ),
        Rule(
            ("full_every_s", "gate_scale", "gate_target"),
            lambda config: config.gate != "off",
            "applies to the gate: add --gate motion",
        ),
        Rule(("report_language",), reports, "applies to the report, and none is written: add --report"),
        Rule(
            ("bin_s",),
            lambda config: config.writes_tables or reports(config),
            "applies to counts, and none are made: add --scene, --tables or --report",
        ),
    )
