"""`yolo-engine run`."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NamedTuple

import click
import numpy  # noqa: F401 - before pydantic, which replaces a function of typing's by a slower one

from engine.analytics.settings import AnswerSettings
from engine.cli.answers_table import print_answers
from engine.cli.console import screen
from engine.cli.follow_up_lines import follow_up_lines
from engine.cli.idle import Rule, of_engine, refuse_idle
from engine.cli.progress import ProgressBars, print_summary
from engine.cli.repeats import Repeats
from engine.cli.statuses import FAILED, INTERRUPTED
from engine.config import EngineConfig, load_config, note_on_default
from engine.engine import Engine
from engine.media.source import LIVE_SCHEMES, scheme
from engine.storage.urls import place_of, store_of
from engine.summary import SummaryJson
from engine.text.say import say
from engine.verification.faster import worth_telling

if TYPE_CHECKING:
    from engine.alarms import AlarmSettings
    from engine.analytics import Scene
    from engine.storage.outputs import StoredOutput


class _Asked(NamedTuple):
    inputs: tuple[str, ...]
    on_event: tuple[str, ...]
    gated: bool
    scanned: bool

    @property
    def all_live(self) -> bool:
        return all(scheme(name) in LIVE_SCHEMES for name in self.inputs)


_OF_RUN: tuple[Rule[_Asked], ...] = (
    Rule(
        ("event_kinds", "event_loiter_s"), lambda asked: asked.on_event, "goes with --on-event, which names receivers"
    ),
    Rule(("segment",), lambda asked: any(map(scheme, asked.inputs)), "applies to live sources, and no input is a URL"),
    Rule(
        ("gate",),
        lambda asked: not (asked.gated and asked.all_live),
        "applies to files, and every frame of a live source is inferred",
    ),
    Rule(
        ("scan",),
        lambda asked: not (asked.scanned and all(map(scheme, asked.inputs))),
        "reads a file twice, and a URL is read once, as it comes: save it to a file first",
    ),
)

_Handler = Callable[[int, FrameType | None], Any] | int | None


def run(
    inputs: tuple[str, ...],
    output: Path | None,
    as_json: bool,
    stats: bool,
    metrics: str | None,
    on_event: tuple[str, ...],
    event_kinds: str | None,
    event_loiter_s: float | None,
    config_file: Path | None,
    **options: object,
) -> int:
    """Run the engine over the inputs and print the summary. `options` are configuration keys."""
    console = screen(stderr=True)
    alarms = _alarms(on_event, event_kinds, event_loiter_s)
    config = configuration(config_file, {**options, "output_folder": output})
    storing = _storing(config)
    refuse_idle(of_engine(report=False), config)
    refuse_idle(_OF_RUN, _Asked(inputs, on_event, config.gate != "off", config.scan))
    if alarms is not None:
        _check_kinds(alarms, AnswerSettings.of(config).scenes)
    serve = _serving(metrics)
    with storing as stored, Engine(_writing_to(config, stored), stats=stats, alarms=alarms) as engine, serve(engine):
        bars = ProgressBars(console, engine.total)
        previous = _stop_on_signals(engine, bars.say)
        try:
            with bars as tick:
                begun = None if as_json else lambda: tell_model(engine.config, bars.say)
                summary = engine.run(inputs, progress=tick, begun=begun, stored=stored)
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
        interrupted = engine.interrupted
    if stats:
        from engine.cli.bottleneck_table import print_verdict

        print_verdict(console, summary["verdict"])
    if as_json:
        click.echo(json.dumps(summary))  # escaped: a file name may contain text that the output can't encode
    else:
        print_summary(screen(), summary)
        if (answers := summary.get("answers")) is not None:
            print_answers(screen(), answers)
        if (line := _faster(engine, summary)) is not None:
            say(line)
        for line in follow_up_lines(summary):
            say(line)
        if "report" in summary:
            say(f"Report: {summary['report']}")
    if "error" in summary:
        say(f"Error: {summary['error']}", err=True)
    if interrupted:
        say(how_to_go_on(engine.config, summary), err=True)
        return INTERRUPTED
    return 0 if summary["success"] else FAILED


def _storing(config: EngineConfig) -> contextlib.AbstractContextManager[StoredOutput | None]:
    """Return the place in storage that outputs go to, to be held for the run; of nothing where they go to a folder."""
    place = place_of(config.output_folder)
    if place is None:
        return contextlib.nullcontext()
    store_of(place)  # what is missing for it is told first
    from engine.storage.outputs import StoredOutput

    return StoredOutput(place, overwrite=config.overwrite, keeps_videos=config.blur is not None)


def _writing_to(config: EngineConfig, stored: StoredOutput | None) -> EngineConfig:
    """Return the configuration of a run into the folder from which outputs are sent, where all is the run's own."""
    return config if stored is None else config.updated(output_folder=stored.folder, overwrite=True)


def configuration(config_file: Path | None, options: Mapping[str, object]) -> EngineConfig:
    """Return the configuration: the keys of the file, overridden by the given options. Raises ConfigError."""
    values = load_config(config_file) if config_file is not None else {}
    values |= {key: value for key, value in options.items() if value not in (None, ())}
    return EngineConfig(**values)


def _serving(asked: str | None) -> Callable[[Engine], contextlib.AbstractContextManager[object]]:
    """Return a function whose context manager serves an engine's metrics if requested. Raises ConfigError at once if
    that is impossible."""
    if asked is None:
        return lambda engine: contextlib.nullcontext()
    from engine.cli.metrics import serving  # needs the extra `metrics`

    return serving(asked)


def _faster(engine: Engine, summary: SummaryJson) -> str | None:
    """Return one line, only once, if `verify --precision` has measured that this model is faster here in another
    precision."""
    model = engine.model
    able = summary["success"] and model.precision == "f32" and model.device == "cpu" and model.sha256
    return worth_telling(model.sha256) if able else None


def _alarms(targets: tuple[str, ...], kinds: str | None, loiter_s: float | None) -> AlarmSettings | None:
    """Return the settings for sending events, with the secret from the environment."""
    if not targets:
        return None
    from engine.alarms import KINDS, SECRET, AlarmSettings

    wanted = tuple(kind.strip() for kind in (kinds or "").split(",") if kind.strip())
    if unknown := sorted(set(wanted) - set(KINDS)):
        raise click.BadParameter(f"{', '.join(KINDS)}. Got {unknown[0]!r}.", param_hint="--event-kinds")
    if loiter_s == 0:
        raise click.BadParameter("more than 0 seconds.", param_hint="--loiter")
    return AlarmSettings(targets, wanted, loiter_s, os.environ.get(SECRET, "").encode() or None)


def _check_kinds(alarms: AlarmSettings, scenes: Sequence[Scene]) -> None:
    """Raise BadParameter for a kind of event that can't occur in these scenes."""
    zones = [zone for scene in scenes for zone in scene.zones]
    possible = {"track"}
    if any(scene.lines for scene in scenes):
        possible.add("crossing")
    if zones:
        possible |= {"enter", "stay"}
        if alarms.loiter_s is not None or any(zone.loiter_s is not None for zone in zones):
            possible.add("loiter")
    if never := sorted(set(alarms.kinds) - possible):
        rule = "Only lines have crossings, only zones enter, stay and loiter; loiter needs loiter_s or --loiter"
        message = f"kinds that the scene can give: {', '.join(sorted(possible))}. Got {never[0]!r}. {rule}."
        raise click.BadParameter(message, param_hint="--event-kinds")
    if alarms.loiter_s is not None and "loiter" not in (alarms.kinds or possible):
        raise click.BadParameter("for zones, with loiter among the --event-kinds.", param_hint="--loiter")


def tell_model(config: EngineConfig, tell: Callable[[str], object]) -> None:
    """Print one line if no model was named."""
    if (note := note_on_default(config)) is not None:
        tell(note)


def how_to_go_on(config: EngineConfig, summary: SummaryJson) -> str:
    """Return the message after an interrupted run."""
    if all("segments" in video for video in summary["videos"]):
        return "What was recorded is complete; the same command continues with new segments."
    kept = any(video["outputs"] for video in summary["videos"] if video["status"] == "partial")
    goes_on = config.resume and config.save_intermediate_results
    if kept and goes_on:
        return "Unfinished videos are kept as NAME.partial.*; the same command continues them, --no-resume starts over."
    if kept:
        return "Unfinished videos are kept as NAME.partial.*."
    return "The same command continues, --no-resume starts over." if goes_on else "Unfinished videos are not kept."


def _stop_on_signals(engine: Engine, say: Callable[[str], None]) -> dict[int, _Handler]:
    """Install handlers and return the previous ones. The first Ctrl-C or SIGTERM ends the run and keeps what is
    complete; a second one, unless it is the first delivered twice, ends the process at once."""
    repeats = Repeats()

    def second(number: int, _: FrameType | None) -> None:
        if not repeats.seen():
            os._exit(INTERRUPTED)

    def first(number: int, _: FrameType | None) -> None:
        repeats.seen()
        for each in previous:
            signal.signal(each, second)
        begun = engine.last_run is not None
        engine.stop()
        if not begun:  # nothing to finish; if a library swallows this, the run ends as soon as it begins
            raise KeyboardInterrupt
        say("Stopping: finishing the frames in flight. Press Ctrl-C again to stop at once.")

    previous: dict[int, _Handler] = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        previous[number] = signal.signal(number, first)
    return previous
