"""A Celery application with the settings of the job system and one task that needs nothing: for tests of the broker."""

import os

from celery import Celery

from orchestrator.settings import Settings, celery_settings

app = Celery("tiny", set_as_current=False)
app.conf.update(celery_settings(Settings(broker_url=os.environ.get("CELERY_BROKER_URL", "memory://")), "worker"))


@app.task(name="add")
def add(x: int, y: int) -> int:
    return x + y
