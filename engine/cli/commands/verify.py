"""`yolo-engine verify`."""

from __future__ import annotations

from pathlib import Path

from engine.cli.commands.run import configuration, tell_model
from engine.cli.console import screen, tell_on
from engine.cli.idle import Rule, refuse_idle
from engine.cli.statuses import FAILED
from engine.config import EngineConfig
from engine.text.say import say
from engine.verification.verify import verify_invariance
from engine.verification.verify_precision import verify_precision

_OF_VERIFY: tuple[Rule[EngineConfig], ...] = (
    Rule(("batch", "workers", "streams"), lambda config: config.precision != "f32", "is varied by verify itself"),
    Rule(
        ("others",),
        lambda config: config.precision == "f32",
        "applies to --precision f32",
    ),
    Rule(("against",), lambda config: config.precision != "f32", "is for --precision bf16 or int8"),
)


def verify(
    video: str, others: tuple[str, ...], against: str | None, config_file: Path | None, **options: object
) -> int:  # fmt: skip
    """Compare the tracks of a video across batch sizes and workers, alone and mixed with other videos; or, in another
    precision, with those in f32."""
    tell = tell_on(screen(stderr=True))
    config = configuration(config_file, options)
    refuse_idle(_OF_VERIFY, config)
    if config.precision != "f32":
        verify_precision(config, video, against, say, begun=lambda: tell_model(config, tell))
        return 0
    same = verify_invariance(config, video, others, say, begun=lambda: tell_model(config, tell))
    return 0 if same else FAILED
