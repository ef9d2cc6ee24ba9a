"""`yolo-engine quantize`."""

from __future__ import annotations

from pathlib import Path

from engine.config import EngineConfig
from engine.text.printable import printable
from engine.text.say import say
from engine.verification.quantize import AIM, quantize_model


def quantize(model: str, calib: Path, output: Path | None, aim: float | None, **options: object) -> None:
    """Quantize a model and print the outcome. `options` are configuration keys."""
    given = {key: value for key, value in options.items() if value is not None}
    target = output or Path(f"{Path(model).name.removesuffix('.onnx')}.int8.onnx")
    config = EngineConfig(model=model, **given)
    made = quantize_model(config, calib, target, aim=AIM if aim is None else aim, say=lambda line: say(line, err=True))
    say(
        f"{made.path}: {made.convolutions} convolutions in 8-bit integers. On {made.images} images it agrees with the "
        f"float model by {made.f1:.3f} (F1 at IoU 0.8)."
    )
    if made.in_float:
        say(f"Left in float32 for accuracy: {printable(', '.join(made.in_float), 2000)}.")
    say(f"Run it with --model {made.path} --precision int8")
