"""Paths that do not exist, and what was meant."""

from pathlib import Path

import pytest

from engine.errors import InputError
from engine.media.inputs import find_videos
from engine.text.did_you_mean import near


@pytest.mark.parametrize(
    ("given", "folders_only", "meant"),
    [
        ("vidoes", False, "videos"),
        ("vidoes", True, "videos"),
        ("./vidoes", False, "videos"),
        ("vidoes/", False, "videos"),
        ("videos/cam2.mp4", False, "videos/cam1.mp4"),
        ("videos/cam2.mp4", True, None),
        ("qqqq", False, None),
        ("none/cam1.mp4", False, None),  # no such folder
        ("videos/cam1.mp4/x", False, None),
    ],
)
def test_near(tmp_path, monkeypatch, given, folders_only, meant):
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "cam1.mp4").touch()
    monkeypatch.chdir(tmp_path)
    assert near(Path(given), folders_only=folders_only) == (None if meant is None else Path(meant))
    with pytest.raises(InputError) as caught:
        find_videos([given], tmp_path / "out")
    if not folders_only:
        assert str(caught.value) == f"{given} does not exist." + (f" Did you mean {meant!r}?" if meant else "")
