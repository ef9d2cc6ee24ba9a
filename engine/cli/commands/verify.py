"""`yolo-engine verify`."""

from __future__ import annotations

from pathlib import Path

import click

from engine.cli.commands.run import configuration, tell_model
from engine.cli.console import screen, tell_on
from engine.cli.statuses import FAILED
from engine.text.say import say
from engine.verify import verify_invariance
from engine.verify_precision import verify_precision


def verify(
    video: str, others: tuple[str, ...], against: str | None, config_file: Path | None, **options: object
) -> int:  # fmt: skip
    """Compare the tracks of a video with other batch sizes and workers, alone and among other videos; in another
    precision, with those in f32."""
    tell = tell_on(screen(stderr=True))
    config = configuration(config_file, options)
    if config.precision != "f32":
        verify_precision(config, video, against, say, begun=lambda: tell_model(config, tell))
        return 0
    if against is not None:
        raise click.UsageError("--against is for --precision bf16 or int8.")
    same = verify_invariance(config, video, others, say, begun=lambda: tell_model(config, tell))
    return 0 if same else FAILED
