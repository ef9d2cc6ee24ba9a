"""One RabbitMQ for all tests of this folder, which `make test-rabbitmq` runs, because its start takes ten seconds."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.settings import Settings
from tests.orchestrator.rabbit import MISSING, PROGRAMS, RabbitMq


@pytest.fixture(scope="session")
def node() -> Iterator[RabbitMq]:
    if not os.environ.get("YOLO_ENGINE_REQUIRE_RABBITMQ"):
        pytest.skip("`make test-rabbitmq` runs it")
    if PROGRAMS is None:
        pytest.fail(MISSING)
    folder = Path(tempfile.mkdtemp(prefix="yolo-rabbit-"))
    server = RabbitMq(folder, consumer_timeout_ms=4000)
    try:
        with server:
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def given(node, tmp_path) -> Iterator[Settings]:
    """Settings for the node, whose queues are gone afterwards."""
    settings = Settings(broker_url=node.url, state_dir=tmp_path / "state")
    yield settings
    node.forget()
