"""A machine with a GPU, all of it fake but for the engine: a driver, a TensorRT, a plan on the disk, kernels."""

import hashlib
from dataclasses import replace

import numpy as np

from engine.inference.backends.tensorrt import TensorRtBackend
from engine.inference.gpu.kernels import CudaKernels
from engine.inference.trt.flavors import FLAVORS, Flavor
from engine.inference.trt.profile import Profile
from engine.inference.trt.sidecar import Tensor, write_plan
from tests.engine.gpu.fakecuda import FakeDriver, FakeGraphs
from tests.engine.gpu.faketrt import make_trt
from tests.engine.trt.conftest import RECORD

PROFILE = Profile((1, 3, 32, 32), (4, 3, 64, 64), (4, 3, 64, 96))


def mean_of_cells(tensor):
    """(B, 3, H, W) -> (B, A, 7) float32: something of each 32 x 32 cell, in yolov5's layout with two classes."""
    batch, _, height, width = tensor.shape
    cells = tensor.astype(np.float64).reshape(batch, 3, height // 32, 32, width // 32, 32).mean(axis=(3, 5))
    flat = cells.reshape(batch, 3, -1).transpose(0, 2, 1)
    return np.concatenate([10 + flat, 20 + flat[..., :1], np.clip(flat / 2, 0, 1)], axis=2).astype(np.float32)


class FakeMachine:
    """`make` gives a backend; `check` that nothing is left of it."""

    def __init__(self, folder, *, rtx=True, compute=mean_of_cells, memory=1 << 30, kernels=False, **record):
        data = b"plan" + bytes(60)
        flavor = "rtx" if rtx else "tensorrt"
        defaults = {
            "plan_sha256": hashlib.sha256(data).hexdigest(),
            "plan_bytes": len(data),
            "flavor": flavor,
            "gpu": None if rtx else "Fake 3080",
            "layout": "yolov5",
            "profile": PROFILE,
            "inputs": (Tensor("images", "float32", (-1, 3, -1, -1)),),
            "outputs": (Tensor("output", "float32", (-1, -1, 7)),),
        }
        self.record = replace(RECORD, **defaults | record)
        self.plan = folder / "fake.plan"
        write_plan(self.plan, data, self.record)
        self.driver = FakeDriver(memory)
        self.trt = make_trt(self.driver, self.record, compute, version=self.record.version, rtx=rtx)
        self.flavor = Flavor(FLAVORS[flavor], self.trt)
        self.graphs = FakeGraphs(self.driver)
        self.compute = compute
        self._kernels = kernels

    def load_kernels(self, driver, capability):
        from engine.errors import BackendMissing

        if not self._kernels:
            raise BackendMissing("no compiler here")
        assert capability == "8.6"
        return CudaKernels(driver, {"letterbox": b"cubin", "heads": b"cubin"})

    def make(self, **options):
        given = {
            "driver": self.driver,
            "flavor": self.flavor,
            "load_kernels": self.load_kernels,
            "graphs": lambda: self.graphs,
        }
        return TensorRtBackend(self.plan, **given | options)

    def check(self):
        leaks = self.driver.leaks()
        assert not leaks, leaks


def tensor_of(seed, batch=2, height=64, width=96, dtype="float32"):
    return np.random.default_rng(seed).random((batch, 3, height, width)).astype(dtype)
