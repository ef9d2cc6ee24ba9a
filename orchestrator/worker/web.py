"""Flower, as `yolo-server --flower` runs it: everything that it shows is behind its password.

Flower itself answers /metrics and /healthcheck to everybody, and fails over credentials that are not ASCII.
"""

from __future__ import annotations

from typing import Any

from celery.__main__ import main as celery
from flower.views import BaseHandler
from tornado.web import HTTPError

from orchestrator.application import app  # before Celery looks for it in the current folder

__all__ = ["app", "require_password"]


def require_password() -> None:
    """Have every page ask for the password, including those that Flower leaves open; only its style sheets are not
    pages."""
    user_of = BaseHandler.get_current_user

    def get_current_user(handler: Any) -> Any:
        try:
            return user_of(handler)
        except TypeError as error:
            raise HTTPError(401) from error

    def prepare(handler: Any) -> None:
        if not handler.current_user:
            raise HTTPError(401)

    BaseHandler.get_current_user = get_current_user
    BaseHandler.prepare = prepare


if __name__ == "__main__":
    require_password()
    celery()
