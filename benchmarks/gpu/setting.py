"""The settings of a measurement: device, video, model and duration."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.context import Context
from benchmarks.peers.onnxruntime_gpu import providers_of
from engine import Engine, EngineConfig
from engine.errors import BackendError, ConfigError, ModelError

CONF, NMS_IOU = 0.25, 0.45
# The first available one is ours in a row; the others are for comparison.
BACKENDS = {"cuda": ("tensorrt", "onnxruntime"), "cpu": ("onnxruntime",)}


@dataclass(frozen=True)
class Setting:
    """`batches` are those of inference, `streams` how many videos run at the same time in the second row of the whole,
    `live_s` how long each try of live streams lasts, `most_streams` where the search for more of them ends."""

    context: Context
    device: str
    card: str
    video: Path
    model: str
    batches: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)
    streams: int = 8
    live_s: float = 5.0
    most_streams: int = 64

    @property
    def on_gpu(self) -> bool:
        return self.device != "cpu"

    @property
    def providers(self) -> list[Any]:
        """ONNX Runtime's execution providers for a plain session on this device."""
        return providers_of(self.device)

    def config(self, backend: str, **values: Any) -> EngineConfig:
        given = {"conf": CONF, "nms_iou": NMS_IOU, "visualize": False, "resume": False, **values}
        return EngineConfig(model=self.model, backend=backend, device=self.device, **given)

    @contextmanager
    def engines(self, **values: Any) -> Iterator[dict[str, Engine]]:
        """Open an engine for each available backend, by name; report the others on standard error."""
        found: dict[str, Engine] = {}
        with ExitStack() as stack:
            for backend in BACKENDS["cuda" if self.on_gpu else "cpu"]:
                try:
                    found[backend] = stack.enter_context(Engine(self.config(backend, **values)))
                except (BackendError, ModelError, ConfigError) as error:
                    print(f"  left out: {backend}: {error}", file=sys.stderr)
            if not found:
                raise SystemExit(f"No backend runs on {self.device} here: `yolo-engine doctor` says what is missing.")
            yield found

    def told(self, **parameters: Any) -> dict[str, Any]:
        """Return the parameters of a row."""
        return {"card": self.card, "device": self.device, "model": self.model, **parameters}
