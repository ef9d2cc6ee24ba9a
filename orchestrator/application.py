"""The Celery application: `app` for worker, Beat and Flower; clients create theirs with `client_app`."""

from __future__ import annotations

import contextlib
from typing import Any, ClassVar

from celery import Celery
from celery.loaders.app import AppLoader

from orchestrator.broker import folder_results, transport
from orchestrator.broker.resolve import resolved_settings
from orchestrator.settings import Role, celery_settings


class Loader(AppLoader):  # type: ignore[misc]
    """Unlike Celery's own loader, ignores modules in the current folder, which may contain videos, or a stranger's
    files."""

    override_backends: ClassVar = {
        "file": "orchestrator.broker.folder_backend:Backend",
        "db": "orchestrator.broker.database_backend:Backend",
    }

    def import_from_cwd(self, module: str, imp: Any = None, package: str | None = None) -> Any:
        return self.import_module(module, package=package)


def make_app(role: Role) -> Celery:
    """Create an application with the one configuration that all processes share. Raises SettingsError."""
    given = resolved_settings()
    made = Celery("yolo", loader=Loader, include=["orchestrator.worker.tasks"], set_as_current=role == "worker")
    made.conf.update(celery_settings(given, role))
    if folder_results.is_folder(given.results_url):
        with contextlib.suppress(OSError):  # told where results are written, and by the health check
            folder_results.make_folder(given.results_url)
    return made


def client_app() -> Celery:
    """Create an application for clients, which gives up quickly if the broker is unreachable."""
    return make_app("client")


transport.install()
app = make_app("worker")
