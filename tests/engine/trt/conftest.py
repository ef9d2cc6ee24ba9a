"""The real TensorRT for RTX, if it is installed, and models to build."""

import importlib.util
import os
from dataclasses import replace
from pathlib import Path

import pytest

from engine.inference.trt.flavors import Flavor, load_flavor
from engine.inference.trt.profile import Profile
from engine.inference.trt.sidecar import PlanRecord, Tensor
from tests.assets import require_asset
from tests.models import builders

REQUIRE = "YOLO_ENGINE_REQUIRE_RTX"


@pytest.fixture(scope="session")
def rtx() -> Flavor:
    """TensorRT for RTX itself. Skips where it is not installed; under `make test-trt` that is a failure."""
    if importlib.util.find_spec("tensorrt_rtx") is None:
        reason = "TensorRT for RTX is not here: make test-trt brings it"
        if os.environ.get(REQUIRE) == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return load_flavor("rtx")


@pytest.fixture(scope="session")
def pictures(tmp_path_factory) -> Path:
    """A few photographs to calibrate on, linked from the assets."""
    folder = tmp_path_factory.mktemp("pictures")
    for path in sorted(require_asset("images/coco-val").glob("*.jpg"))[:4]:
        (folder / path.name).symlink_to(path)
    return folder


@pytest.fixture
def end2end(tmp_path) -> Path:
    return builders.save(builders.end2end(), tmp_path / "end2end.onnx")


RECORD = PlanRecord(
    model="yolox-nano",
    layout="yolox",
    onnx_sha256="a" * 64,
    plan_sha256="0" * 64,
    plan_bytes=0,
    flavor="rtx",
    version="1.7.1.116",
    gpu=None,
    compute_capability="8.6",
    precision="fp16",
    profile=Profile((1, 3, 32, 32), (8, 3, 256, 416), (8, 3, 416, 416)),
    batch_safe=True,
    inputs=(Tensor("images", "float16", (-1, 3, -1, -1)),),
    outputs=(Tensor("output", "float32", (-1, -1, 85)),),
    calibration=None,
    options={"workspace_mib": None, "conversions": 1},
    built_at="2026-01-01T00:00:00+00:00",
    build_s=1.5,
    command="yolo-engine build-trt yolox-nano --flavor rtx -o y.plan --compute-capability 8.6 --precision fp16",
)


def record_with(**changes) -> PlanRecord:
    return replace(RECORD, **changes)
