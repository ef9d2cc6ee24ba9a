"""How a model is fed, where its file does not say."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Fed:
    """A model's input options that its file does not state: `scale` and `mean` of pixels, `channel_order`; None: not
    given."""

    scale: float | tuple[float, float, float] | None = None
    mean: tuple[float, float, float] | None = None
    channel_order: str | None = None

    def over(self, other: Fed) -> Fed:
        """Return these options, with missing ones taken from `other`."""
        return Fed(
            other.scale if self.scale is None else self.scale,
            other.mean if self.mean is None else self.mean,
            other.channel_order if self.channel_order is None else self.channel_order,
        )
