"""Silences FFmpeg's libraries, since many clips are damaged on purpose, and provides a disk that is soon full."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import av
import pytest


@pytest.fixture(autouse=True, scope="session")
def _quiet_ffmpeg() -> None:
    av.logging.set_level(av.logging.PANIC)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB. Skipped where this user may not mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("a small disk can't be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)
