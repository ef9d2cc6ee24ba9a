"""The commands in messages: as the README has them, and such that a clone that runs as it lies there stays one."""

import pytest

from engine import install


@pytest.mark.parametrize(
    ("clone", "how"), [(True, "-c constraints.txt -e '.[{}]' in a clone"), (False, "'.[{}]' in a clone")]
)
def test_commands(tmp_path, monkeypatch, clone, how):
    monkeypatch.setattr(install, "CLONE", tmp_path)
    if clone:
        (tmp_path / "constraints.txt").write_text("")
    assert install.extra("rtx") == f"pip install {how.format('rtx')}"
    assert install.onnxruntime_gpu() == (
        f"pip uninstall -y onnxruntime onnxruntime-gpu, then YOLO_ENGINE_ORT=gpu pip install {how.format('gpu')}"
    )
