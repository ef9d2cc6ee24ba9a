"""Where metrics are served."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from engine.errors import ConfigError

_LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Address:
    """A host and a port; port 0: one that is free."""

    host: str
    port: int

    @classmethod
    def of(cls, text: str) -> Self:
        """Read PORT, which is on this machine alone, or ADDRESS:PORT, with an IPv6 address in brackets. Raises
        ConfigError."""
        host, colon, port = text.strip().rpartition(":")
        bare = host.startswith("[") and host.endswith("]")
        if not port.isascii() or not port.isdecimal() or int(port) > 65535 or (colon and not host) or (
            ":" in host and not bare
        ):  # fmt: skip
            raise ConfigError(f"--metrics must be PORT or ADDRESS:PORT, such as 9100 or 0.0.0.0:9100. Got {text!r}.")
        return cls(host.strip("[]") or _LOOPBACK, int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
