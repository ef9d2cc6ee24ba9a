"""What a backend is: a loaded model that turns a tensor into raw outputs."""

from __future__ import annotations

from typing import Any, Protocol

from numpy.typing import NDArray


class Backend(Protocol):
    """A loaded model. `run` may be called by several threads at once; none of them waits for another.

    name         of the backend, as in the configuration
    provider     what really computes, e.g. CPUExecutionProvider
    on_gpu       whether frames are worth batching
    input_dtype  NumPy name of the tensor's dtype
    batch_safe   false where a model computes over the whole batch, so that images would change each other's results
    fixed_hw     the only (H, W) it takes; None where it is free
    """

    name: str
    provider: str
    on_gpu: bool
    input_dtype: str
    batch_safe: bool
    fixed_hw: tuple[int, int] | None

    def run(self, tensor: NDArray[Any]) -> NDArray[Any]:
        """(B, 3, H, W) -> the model's first output, (B, ...). Raises BackendError."""
        ...

    def close(self) -> None:
        """Frees the model."""
        ...
