"""A job's configuration, parsed once by a client or a worker and passed on as a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from engine.config import EngineConfig
from engine.errors import ConfigError
from orchestrator.errors import RequestError
from orchestrator.settings import Settings


@dataclass(frozen=True)
class JobConfig:
    """`given` has the keys that were given, on top of the defaults of the settings; `engine` is the parsed result."""

    given: Mapping[str, object]
    engine: EngineConfig

    @classmethod
    def parse(cls, config: object, settings: Settings | None = None) -> Self:
        """Validate a configuration, on top of the defaults of the settings if given. Raises RequestError that names the
        key, the rule and the value found."""
        config = config or {}
        if not isinstance(config, dict):
            raise RequestError(f"The configuration must be a dictionary. Got {str(config)[:200]!r}.")
        given = {**(settings.config if settings else {}), **config}
        try:
            return cls(given, EngineConfig(**given))
        except (ConfigError, TypeError) as error:
            raise RequestError(f"{error} `yolo-engine run --help` and docs/configuration.md list the keys.") from error

    def kept(self) -> dict[str, object]:
        """Return the given keys with their validated values, as stored in a job's file."""
        return {key: value for key, value in self.engine.model_dump(mode="json").items() if key in self.given}
