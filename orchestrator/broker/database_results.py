"""Results in a database (extra `database`, which this module needs): the check of its URL. `database_backend.py` is
Celery's side.

    db+sqlite:////srv/yolo/results.sqlite3
    db+postgresql+psycopg://USER:PASSWORD@HOST/DATABASE
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator

from celery.backends.database import session_cleanup
from celery.backends.database.models import TaskExtended
from celery.backends.database.session import SessionManager
from sqlalchemy import create_engine
from sqlalchemy.exc import SQLAlchemyError

from orchestrator.broker.connection import without_password
from orchestrator.errors import BrokerUrlError
from orchestrator.settings import database_of


class DatabaseFailed(ConnectionError):
    """An error of the database, or of the way to it; the cause is SQLAlchemy's error."""


def asked(url: str) -> Iterator[None]:
    """Return an iterator that writes a result and reads it. Raises BrokerUrlError for an unusable URL; DatabaseFailed
    is raised during iteration."""
    shown, address = without_password(url), database_of(url)
    try:
        create_engine(address).dispose()
    except ImportError as error:
        raise BrokerUrlError(
            f"{shown}: the driver of this database is not installed: pip install {error.name}"
        ) from None
    except (SQLAlchemyError, ValueError):  # the cause might quote a part of the password
        raise BrokerUrlError(
            f"{shown}: this is not the URL of a database, like db+sqlite:////srv/yolo/results.sqlite3 or "
            "db+postgresql+psycopg://USER:PASSWORD@HOST/DATABASE."
        ) from None
    return _written_and_read(address)


def _written_and_read(address: str) -> Iterator[None]:
    name, value = f"yolo-probe-{secrets.token_hex(8)}", secrets.token_bytes(8)
    try:
        session = SessionManager().session_factory(address)
        with session_cleanup(session):
            row = TaskExtended(name)
            row.result = value
            session.add(row)
            session.flush()
            session.expire(row)
            found = session.query(TaskExtended).filter(TaskExtended.task_id == name).one().result
            session.rollback()
    except SQLAlchemyError as error:
        cause = getattr(error, "orig", None) or error
        raise DatabaseFailed(str(cause).partition("\n")[0]) from error
    if found != value:
        raise DatabaseFailed("a written value can't be read back")
    yield None
