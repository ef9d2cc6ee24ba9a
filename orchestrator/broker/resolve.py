"""Which broker this process uses: the configured one; otherwise the one that `yolo-server --worker --embedded` runs on
this machine; otherwise the default."""

from __future__ import annotations

from orchestrator.broker.local_server import find_embedded
from orchestrator.settings import Settings, settings

_last: list[tuple[Settings, Settings]] = []


def resolve(given: Settings) -> Settings:
    """Return the settings with the URL of the broker in use. An embedded broker is looked up once per process, because
    the answer must not change while it runs."""
    if not (_last and _last[0][0] is given):
        _last[:] = [(given, _resolved(given))]
    return _last[0][1]


def resolved_settings() -> Settings:
    """Return the settings of this process, with the URL of the broker in use. Raises SettingsError."""
    return resolve(settings())


def _resolved(given: Settings) -> Settings:
    if "broker_url" in given.model_fields_set:
        return given
    embedded = find_embedded(given.broker_state)
    return given if embedded is None else given.model_copy(update={"broker_url": embedded})
