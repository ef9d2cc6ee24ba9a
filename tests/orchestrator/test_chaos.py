"""The chaos suite in short: every scenario once, with one strike. `make chaos` strikes more often, and tabulates."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from tests.chaos.scenarios import SCENARIOS


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")
@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario(name: str, tmp_path: Path) -> None:
    try:
        remark = SCENARIOS[name](tmp_path / "f", Random(f"1 {name}"), 1)
    except PermissionError as error:  # a small disk is a mount
        pytest.skip(str(error))
    print(remark)  # noqa: T201 - shown with a failure of another kind, and by pytest -s
