"""From ONNX to TensorRT's network, and TensorRT's messages about it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from engine.errors import BackendMissing, PlanError
from engine.inference.trt.flavors import Flavor
from engine.inference.trt.sidecar import Tensor

log = logging.getLogger(__name__)


def make_logger(trt: Any, say: Callable[[str], None] | None = None) -> Any:
    """Return a TensorRT ILogger: errors are collected in `errors`, `say` receives everything from INFO on."""
    severity = trt.ILogger.Severity

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, level: Any, message: str) -> None:
            if level in (severity.ERROR, severity.INTERNAL_ERROR):
                self.errors.append(message)
            if say is not None and level != severity.VERBOSE:
                say(f"{level.name.lower()}: {message}")
            log.debug("%s", message)

    return Log()


def make_builder(flavor: Flavor, logger: Any) -> Any:
    try:
        builder = flavor.trt.Builder(logger)
    except (TypeError, RuntimeError) as error:  # how pybind11 reports a null pointer: no driver, or one that is too old
        said = logger.errors[-1] if logger.errors else str(error)
        raise BackendMissing(f"{flavor.info.title} {flavor.version} can't start here: {said}") from error
    if builder is None:
        raise BackendMissing(f"{flavor.info.title} {flavor.version} can't start here: {'; '.join(logger.errors)}")
    return builder


def parse(flavor: Flavor, builder: Any, logger: Any, onnx_bytes: bytes, about: str) -> Any:
    """Return the network of an ONNX model. Raises PlanError, which names the node, if TensorRT can't read it."""
    trt = flavor.trt
    typed = trt.NetworkDefinitionCreationFlag.__members__.get("STRONGLY_TYPED")  # where all are, it may be gone
    network = builder.create_network(1 << int(typed) if typed is not None else 0)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(onnx_bytes):
        raise PlanError(f"{flavor.info.title} {flavor.version} can't read {about}: {_first_error(parser)}.")
    return network


def _first_error(parser: Any) -> str:
    if not parser.num_errors:
        return "it gives no reason"
    error = parser.get_error(0)
    node = f"node {error.node()} " if error.node() >= 0 else ""
    operator = getattr(error, "node_operator", None)
    name = getattr(error, "node_name", None)
    label = f"{name()} ({operator()}): " if name is not None and operator is not None and name() else node
    return label + " ".join(error.desc().split()).rstrip(".")


def tensors_of(trt: Any, network: Any) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Return inputs and outputs."""

    def described(tensor: Any) -> Tensor:
        return Tensor(tensor.name, dtype_name(trt, tensor.dtype), tuple(tensor.shape))

    return (
        tuple(described(network.get_input(i)) for i in range(network.num_inputs)),
        tuple(described(network.get_output(i)) for i in range(network.num_outputs)),
    )


def dtype_name(trt: Any, dtype: Any) -> str:
    kinds = trt.DataType
    names = {kinds.FLOAT: "float32", kinds.HALF: "float16", kinds.UINT8: "uint8", kinds.INT32: "int32"}
    names |= {kinds.INT64: "int64", kinds.INT8: "int8", kinds.BOOL: "bool", kinds.BF16: "bfloat16"}
    return names.get(dtype, str(dtype))
