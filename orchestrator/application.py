"""The Celery application: for the worker, Beat and Flower as `app`, for clients by `client_app`."""

from __future__ import annotations

from typing import Any

from celery import Celery
from celery.loaders.app import AppLoader

from orchestrator.broker import transport
from orchestrator.broker.resolve import resolved_settings
from orchestrator.settings import Role, celery_settings


class Loader(AppLoader):  # type: ignore[misc]
    """Celery's looks for modules in the current folder first, which may be one of videos, and a stranger's."""

    def import_from_cwd(self, module: str, imp: Any = None, package: str | None = None) -> Any:
        return self.import_module(module, package=package)


def make_app(role: Role) -> Celery:
    """An application with the one configuration that all processes share. Raises SettingsError."""
    made = Celery("yolo", loader=Loader, include=["orchestrator.worker.tasks"], set_as_current=role == "worker")
    made.conf.update(celery_settings(resolved_settings(), role))
    return made


def client_app() -> Celery:
    """For processes that submit and ask: gives up quickly where the broker is away."""
    return make_app("client")


transport.install()
app = make_app("worker")
