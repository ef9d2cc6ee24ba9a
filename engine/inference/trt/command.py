"""What `yolo-engine build-trt` is told of a model, as options on its command line."""

from __future__ import annotations

from typing import Protocol


class Described(Protocol):
    """What may be said of a model beside its file; None: not given."""

    @property
    def layout(self) -> str | None: ...
    @property
    def class_names(self) -> tuple[str, ...] | str | None: ...
    @property
    def input_size(self) -> tuple[int, int] | None: ...
    @property
    def input_scale(self) -> float | tuple[float, float, float] | None: ...
    @property
    def input_mean(self) -> float | tuple[float, float, float] | None: ...
    @property
    def channel_order(self) -> str | None: ...


def description(model: Described) -> dict[str, str | None]:
    """Return the options that describe a model, with their values; None: left out."""
    names = model.class_names
    return {
        "--layout": model.layout,
        "--class-names": ",".join(names) if isinstance(names, tuple) else names,
        "--input-size": _listed(model.input_size),
        "--input-scale": _listed(model.input_scale),
        "--input-mean": _listed(model.input_mean),
        "--channel-order": model.channel_order,
    }


def _listed(value: float | tuple[float, ...] | None) -> str | None:
    return ",".join(map(repr, value)) if isinstance(value, tuple) else None if value is None else repr(value)
