"""The chaos suite in short: the scenarios that break most, with one strike each. `make chaos` runs them all."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from tests.chaos.scenarios import SCENARIOS

IN_SHORT = (
    "kill_9_of_a_worker",
    "sigterm_of_a_worker",
    "broker_loses_everything",
    "message_delivered_twice",
    "bad_videos_among_good",
    "full_disk",
    "two_pipelines_on_one_folder",
    "cancel_while_running",
    "cancel_after_its_worker_died",
    "deaf_worker",
)


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")
@pytest.mark.parametrize("name", IN_SHORT)
def test_scenario(name: str, tmp_path: Path) -> None:
    try:
        SCENARIOS[name](tmp_path / "f", Random(f"1 {name}"), 1)
    except PermissionError as error:  # a small disk is a mount
        pytest.skip(str(error))
