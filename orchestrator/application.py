"""The Celery application: `app` for the worker, Beat and Flower; clients make theirs with `client_app`."""

from __future__ import annotations

import contextlib
from typing import Any, ClassVar

from celery import Celery
from celery.loaders.app import AppLoader

from orchestrator.broker import folder_results, transport
from orchestrator.broker.resolve import resolved_settings
from orchestrator.settings import Role, celery_settings


class Loader(AppLoader):  # type: ignore[misc]
    """Unlike Celery's own, looks for no modules in the current folder, which may be one of videos, and a stranger's."""

    override_backends: ClassVar = {"file": "orchestrator.broker.folder_backend:Backend"}

    def import_from_cwd(self, module: str, imp: Any = None, package: str | None = None) -> Any:
        return self.import_module(module, package=package)


def make_app(role: Role) -> Celery:
    """Make an application with the one configuration that all processes share. Raises SettingsError."""
    given = resolved_settings()
    made = Celery("yolo", loader=Loader, include=["orchestrator.worker.tasks"], set_as_current=role == "worker")
    made.conf.update(celery_settings(given, role))
    if folder_results.is_folder(given.results_url):
        with contextlib.suppress(OSError):  # told where results are written, and by the health check
            folder_results.make_folder(given.results_url)
    return made


def client_app() -> Celery:
    """Make an application for processes that submit and ask: it gives up quickly where the broker is away."""
    return make_app("client")


transport.install()
app = make_app("worker")
