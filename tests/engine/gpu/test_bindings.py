"""The names of the real bindings that the engine uses, where they are installed. No card is needed to look."""

import importlib
import importlib.util

import pytest

NAMES = {
    "Runtime": "deserialize_cuda_engine",
    "ICudaEngine": "create_execution_context",
    "IExecutionContext": "set_input_shape set_tensor_address get_tensor_shape execute_async_v3",
    "ILogger": "Severity log",
}
RTX = {
    "ICudaEngine": "create_runtime_config",
    "IRuntimeConfig": "create_runtime_cache set_runtime_cache cuda_graph_strategy "
    "dynamic_shapes_kernel_specialization_strategy",
    "IRuntimeCache": "serialize deserialize",
    "CudaGraphStrategy": "WHOLE_GRAPH_CAPTURE",
    "DynamicShapesKernelSpecializationStrategy": "EAGER",
}
ARGUMENTS = {
    ("Runtime", "deserialize_cuda_engine"): "serialized_engine",
    ("ICudaEngine", "create_execution_context"): "runtime_config",
    ("IExecutionContext", "set_input_shape"): "shape: tuple",
    ("IExecutionContext", "set_tensor_address"): "memory",
    ("IExecutionContext", "execute_async_v3"): "stream_handle",
}


@pytest.fixture(params=["tensorrt", "tensorrt_rtx"])
def trt(request):
    if importlib.util.find_spec(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    return importlib.import_module(request.param)


def test_every_name_is_there(trt):
    wanted = [NAMES] + [RTX] * (trt.__name__ == "tensorrt_rtx")
    missing = [
        f"{kind}.{name}"
        for names in wanted
        for kind, listed in names.items()
        for name in listed.split()
        if not hasattr(getattr(trt, kind, None), name)
    ]
    assert missing == []


def test_arguments(trt):
    for (kind, name), argument in ARGUMENTS.items():
        if argument == "runtime_config" and trt.__name__ != "tensorrt_rtx":
            continue
        assert argument in getattr(getattr(trt, kind), name).__doc__, (kind, name)
