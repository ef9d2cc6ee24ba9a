"""What a stage takes and gives, and whether two stages fit. Checked once, before the first frame."""

from __future__ import annotations

from dataclasses import dataclass, fields

from engine.errors import LinkError

# Pixel formats that the letterbox kernel reads as they are. Everything else is converted by the decode stage.
PIXEL_FORMATS = frozenset({"yuv420p", "yuvj420p", "nv12", "rgb24", "bgr24", "gray"})


@dataclass(frozen=True)
class Spec:
    """Facts about a record. A field that is None is open: it fits anything."""

    record: str
    pixel_formats: frozenset[str] | None = None
    dtype: str | None = None
    channels: int | None = None
    tensor_hw: tuple[int, int] | None = None
    layout: str | None = None

    def mismatch(self, other: Spec) -> str | None:
        """The first field in which the two can't agree, in words; None when they fit."""
        for item in fields(self):
            ours, theirs = getattr(self, item.name), getattr(other, item.name)
            if ours is None or theirs is None or ours == theirs:
                continue
            if isinstance(ours, frozenset) and ours & theirs:
                continue
            return f"{item.name} {_words(ours)} against {_words(theirs)}"
        return None


def check_link(producer: str, produces: Spec, consumer: str, accepts: Spec) -> None:
    """Raises LinkError unless what `producer` gives is something `consumer` takes."""
    if mismatch := produces.mismatch(accepts):
        raise LinkError(f"{producer} can't feed {consumer}: {mismatch}.")


def _words(value: object) -> str:
    return ", ".join(sorted(value)) if isinstance(value, frozenset) else str(value)
