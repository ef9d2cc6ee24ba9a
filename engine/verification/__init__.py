"""Checks on a user's own videos and images: that batching never changes a result (`verify`), how well another precision
agrees with float32 and how much faster it is (`verify_precision`, `agreement`, `faster`), a model quantized to 8-bit
integers and compared with its original (`quantize`), and which settings reach a target (`planning`).

It uses an engine as any caller does; nothing in the engine imports it.
"""

__all__ = ["agreement", "faster", "planning", "quantize", "verify", "verify_precision"]
