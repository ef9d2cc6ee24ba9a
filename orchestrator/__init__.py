"""The job system around the engine: Celery carries the jobs, a directory beside the outputs holds the truth.

`from orchestrator import app` gives the Celery application, and `celery -A orchestrator worker` finds it here.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class _Package(ModuleType):
    """Has the application as `app`, although a module of that name lies in it (orchestrator/app.py), which an import
    would put there. Made when asked for: `yolo-submit --help` must not wait for Celery."""

    @property
    def app(self) -> Any:
        from orchestrator.app import app

        return app

    @app.setter
    def app(self, module: ModuleType) -> None:
        """The import machinery's: modules are found in sys.modules."""

    @property
    def celery(self) -> Any:
        return self.app


sys.modules[__name__].__class__ = _Package
