"""`yolo-engine plan`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from engine.cli.commands.run import configuration, tell_model
from engine.cli.console import screen, tell_on
from engine.cli.idle import Rule, refuse_idle
from engine.cli.statuses import FAILED
from engine.config import EngineConfig
from engine.text.counted import counted
from engine.text.printable import printable
from engine.text.say import say
from engine.verification.planning import PROBE_S, Planned, Probed
from engine.verification.planning import plan as planned_for

_OF_PLAN: tuple[Rule[EngineConfig], ...] = (
    Rule(
        ("gate", "full_every_s", "gate_scale", "gate_target", "skip_frames", "fill", "precision"),
        lambda config: False,
        "is varied by plan itself, or left off",
    ),
)


def plan(
    video: str,
    target: float,
    others: tuple[str, ...],
    probe_s: float | None,
    as_json: bool,
    config_file: Path | None,
    **options: object,
) -> int:
    """Probe a video and print which settings reach the target. `options` are configuration keys."""
    tell = tell_on(screen(stderr=True))
    config = configuration(config_file, options)
    refuse_idle(_OF_PLAN, config)
    show = (lambda probed: None) if as_json else _show
    found = planned_for(
        config,
        video,
        target,
        others=others,
        probe_s=PROBE_S if probe_s is None else probe_s,
        tell=show,
        begun=lambda: None if as_json else tell_model(config, tell),
    )
    if as_json:
        click.echo(json.dumps(_as_json(found)))
    else:
        _conclude(found)
    return FAILED if found.best is None else 0


def _show(probed: Probed) -> None:
    setting = probed.setting
    size = "x".join(map(str, setting.input_hw))
    gate = "every frame" if setting.full_every_s is None else f"gate, {setting.full_every_s:g} s"
    f1 = f"{probed.f1:.3f} [{probed.low:.2f} .. {probed.high:.2f}]"
    name = printable(setting.model, 200)
    say(f"{name:<24} {size:<10} {setting.precision:<5} {gate:<12} F1 {f1}  {probed.fps:6.1f} fps")


def _conclude(found: Planned) -> None:
    strongest, best, nearest = found.strongest, found.best, found.nearest
    say(
        f"Measured on {counted(found.frames, 'frame')}, {found.seconds:.0f} s of {printable(found.video, 200)}. "
        "F1 compares the boxes with those of the first line, at IoU 0.5; brackets have the 95 % interval for the whole "
        "video."
    )
    for line in found.left_out:
        say(f"Not tried: {printable(line, 1000)}")
    if best is not None:
        say(
            f"Reaches {found.target:g}: {printable(best.setting.options, 500)}  (F1 {best.f1:.3f}, {best.fps:.0f} fps, "
            f"{best.fps / strongest.fps:.1f} times as fast)"
        )
        if best.low < found.target:
            say(f"The whole video may fall below the target: --probe {3 * found.seconds:.0f}s narrows the interval.")
        return
    falls = ""
    if nearest is not None:
        falls = (
            f" The nearest is {printable(nearest.setting.options, 500)}: F1 {nearest.f1:.3f}, "
            f"{found.target - nearest.f1:.3f} short, {nearest.fps:.0f} fps."
        )
    say(f"No faster setting reaches {found.target:g}; the first line runs at {strongest.fps:.0f} fps.{falls}")


def _as_json(found: Planned) -> dict[str, object]:
    best = found.best
    return {
        **asdict(found),
        "schema": 1,
        "best": None if best is None else {**asdict(best), "options": best.setting.options},
    }
