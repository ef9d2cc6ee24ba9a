"""Makes FFmpeg's libraries quiet: what a clip lacks is the point of its test."""

import av
import pytest


@pytest.fixture(autouse=True, scope="session")
def _quiet_ffmpeg() -> None:
    av.logging.set_level(av.logging.PANIC)
