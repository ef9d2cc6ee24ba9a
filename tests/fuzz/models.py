"""Damaged models: flipped, truncated, and with fields of their graph made wrong on purpose."""

from __future__ import annotations

import contextlib
import zlib
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import onnx

from engine import EngineConfig
from engine.errors import EngineError
from engine.inference.model import load_model
from models.errors import ModelError
from tests.fuzz.mutate import damaged
from tests.models import builders

MAX_BYTES = 1_500_000_000

_DIMENSIONS = (-1, 0, 1, 3, 65_536, 2**31, 2**62)
_VALUES = (
    "{" * 5000, "{0: 'a\x1b[2J'}", "{0: 'a', 0: 'b'}", "[" * 100_000, "__import__('os')", "{99999999999: 'a'}", "1e999",
)  # fmt: skip
_TEXTS = ("", "x", "../x", "\x1b[31m", "a" * 10_000, "Loop", "If", "Conv", "Resize", "output", "images")


def prepare(folder: Path) -> None:
    onnx.save(builders.yolox(), folder / "yolox.onnx")
    onnx.save(builders.yolov8(), folder / "yolov8.onnx")


def case(chance: Random, folder: Path) -> tuple[bytes, str]:
    good = sorted(folder.glob("*.onnx"))
    one, other = chance.choice(good), chance.choice(good)
    if chance.random() < 0.5:
        return damaged(one.read_bytes(), other.read_bytes(), chance), f".{one.stem}.onnx"
    model = onnx.load(one)
    for _ in range(chance.choice((1, 2, 5))):
        _crafted(model, chance)
    return model.SerializeToString(), f".{one.stem}.onnx"


def _crafted(model: Any, chance: Random) -> None:
    graph, how = model.graph, chance.randrange(9)
    node = chance.choice(graph.node)
    weight = chance.choice(graph.initializer)
    value = chance.choice((*graph.input, *graph.output)).type.tensor_type
    if how == 0 and value.shape.dim:
        chance.choice(value.shape.dim).dim_value = chance.choice(_DIMENSIONS)
    elif how == 1:
        node.op_type = chance.choice(_TEXTS)
    elif how == 2 and node.attribute:
        attribute = chance.choice(node.attribute)
        attribute.i = chance.choice(_DIMENSIONS)
        attribute.ints[:] = [chance.choice(_DIMENSIONS) for _ in attribute.ints]
    elif how == 3:
        weight.dims[:] = [chance.choice(_DIMENSIONS) for _ in weight.dims]
    elif how == 4:  # weights that lie elsewhere
        weight.data_location = onnx.TensorProto.EXTERNAL
        del weight.external_data[:]
        weight.external_data.add(key="location", value=chance.choice(("/etc/passwd", "../../x", "/dev/zero", "x")))
        weight.external_data.add(key="length", value=chance.choice(("9" * 20, "-1", "x", "1000000000000")))
        weight.ClearField("raw_data")
    elif how == 5 and node.input:
        node.input[chance.randrange(len(node.input))] = chance.choice((*_TEXTS, node.output[0]))
    elif how == 6:
        model.metadata_props.add(key=chance.choice(("names", "stride", "imgsz", "task")), value=chance.choice(
            _VALUES
        ))  # fmt: skip
    elif how == 7:
        weight.data_type = chance.randrange(0, 30)
    else:
        graph.output[0].type.tensor_type.elem_type = chance.randrange(0, 30)


def attempt(path: Path, folder: Path) -> None:
    """The suffix names the layout; every second case goes to ONNX Runtime even where our own executor would take it."""
    layout = path.suffixes[0].removeprefix(".")
    backend = ("auto", "onnxruntime")[zlib.crc32(path.name.encode()) % 2]
    named = {"layout": layout, "class_names": ["a", "b"], "backend": backend}
    with contextlib.suppress(EngineError, ModelError):
        model = load_model(EngineConfig(model=str(path), device="cpu", workers=1, **named), 1)
        try:
            height, width = model.shape((64, 64))
            model.backend.run(np.zeros((1, 3, height, width), model.backend.input_dtype))
        finally:
            model.backend.close()
