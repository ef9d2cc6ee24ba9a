"""Logging of the command line: lines for people, or one JSON object per line for programs. Always on standard error."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from types import TracebackType

from engine.text.printable import json_text, printable

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


_LONGEST = 4000

_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class TextFormatter(logging.Formatter):
    """One line per message, whatever its text holds; lines of a traceback are indented, so that none begins another."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - of logging
        record.message = printable(record.message, _LONGEST)
        return super().formatMessage(record)

    def formatException(self, ei: _ExcInfo) -> str:  # noqa: N802 - of logging
        return "\n".join(f"  {printable(line, _LONGEST)}" for line in super().formatException(ei).splitlines())


class JsonFormatter(logging.Formatter):
    """{"time", "level", "logger", "message"} and whatever was given as `extra` under other names."""

    def format(self, record: logging.LogRecord) -> str:
        extra = {key: value for key, value in vars(record).items() if key not in _STANDARD}
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json_text({**entry, **extra, **entry}, default=str)


def set_up_logging(level: str, form: str) -> None:
    """`level` debug, info, warning or error; `form` text or json."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter("%(levelname)s %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
