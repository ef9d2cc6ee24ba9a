"""Options that do nothing beside others are refused: who gave one had something in mind.

    refuse_idle(ANNOTATED, config)

A rule names options, says where they do something, and what to tell who gave one where it does not. Only what stands on
the command line is refused: a file of settings may hold more than one run has use for.
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
    """`options`, by the names of their parameters, do something where `works` is true of what is asked for; `only` says
    so in words, as what follows "it"."""

    options: tuple[str, ...]
    works: Callable[[Asked], object]
    only: str


def refuse_idle(rules: Iterable[Rule[Asked]], asked: Asked) -> None:
    """Raise UsageError for the first option on the command line under way that does nothing. An option that switches
    something off never does."""
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
        "is of what is drawn, and with only_blur nothing is",
    ),
    Rule(("label_size",), lambda config: config.label, "is of labels, and --label none draws none"),
)
"""Of what is drawn into a video."""

OF_VIDEO: tuple[Rule[EngineConfig], ...] = (
    Rule(_LOOK, lambda config: config.visualize, "is of annotated videos, and none is written"),
    *OF_DRAWN,
    Rule(("blur_style",), lambda config: config.blur, "goes with --blur, which names what is hidden"),
)
"""Of what annotated videos look like."""


def of_engine(*, report: bool) -> tuple[Rule[EngineConfig], ...]:
    """Return the rules of a run's or a job's options; `report` says whether it writes a page unasked."""

    def reports(config: EngineConfig) -> bool:
        return report if config.report is None else config.report

    return (
        *OF_VIDEO,
        Rule(
            ("fill",),
            lambda config: config.skip_frames or config.fill == "predict",
            "is of frames between two inferences: add --skip-frames",
        ),
        Rule(("report_language",), reports, "is of the report, and none is written: add --report"),
        Rule(
            ("bin_s",),
            lambda config: config.writes_tables or reports(config),
            "is of counts, and none are made: add --scene, --tables or --report",
        ),
    )
