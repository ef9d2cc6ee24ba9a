"""Exports a checkpoint as the ONNX file that is shipped.

It has the weights of the moving average, with batch normalisation folded into the convolutions, dynamic axes for batch,
height and width, and in its metadata what the engine must know: layout, strides, classes, input.
"""

import hashlib
import json
from pathlib import Path

import click
import onnx
import torch
from onnxconverter_common import float16
from torch import Tensor, nn
from torch.export import Dim

from models.train import CLASSES, STRIDES
from models.train.network import Shape, StreetNano

SIDE = 416
COARSEST = max(STRIDES)
DESCRIPTIONS = {
    "street-nano": "People and vehicles, made for CPUs. Trained for this project.",
    "street-nano-fp16": "street-nano in half precision, for GPUs; a CPU runs it slower.",
}
DECLARED = {
    "layout": "yolox",
    "strides": list(STRIDES),
    "classes": list(CLASSES),
    "licence": "Apache-2.0",
    "input.height": SIDE,
    "input.width": SIDE,
    "input.channel_order": "bgr",
    "input.scale": 1,
    "input.pad": "topleft",
    "input.pad_value": 114,
    "input.stride": COARSEST,
    "input.rounding": "nearest",
}


class Deployed(nn.Module):
    """The network with probabilities instead of logits, as layout "yolox" requires."""

    def __init__(self, network: StreetNano) -> None:
        super().__init__()
        self.network = network

    def forward(self, pictures: Tensor) -> Tensor:
        raw, _ = self.network(pictures)
        return torch.cat([raw[..., :4], raw[..., 4:].sigmoid()], -1)


def load(checkpoint: Path) -> StreetNano:
    """Return the averaged network of a checkpoint in evaluation mode."""
    state = torch.load(checkpoint, weights_only=True)
    network = StreetNano(len(CLASSES), Shape(**state["shape"]))
    network.load_state_dict(state["average"])
    network.eval()
    return network


def exported(network: StreetNano, name: str = "street-nano") -> onnx.ModelProto:
    """Return the network as an ONNX model called `name`, with dynamic axes for batch, height and width."""
    batch, rows, columns = (Dim(name, min=1, max=1024) for name in ("batch", "rows", "columns"))
    free = {0: batch, 2: rows * COARSEST, 3: columns * COARSEST}
    example = torch.zeros(2, 3, SIDE, SIDE - COARSEST)  # all sides differ, so that the exporter does not equate any
    program = torch.onnx.export(
        Deployed(network).eval(), (example,), dynamo=True, input_names=["images"], output_names=["output"],
        dynamic_shapes={"pictures": free}, opset_version=18, verbose=False,
    )  # fmt: skip
    if program is None:
        raise RuntimeError("torch.onnx.export gave no program.")
    model = program.model_proto
    _forget_sources(model.graph)
    for axis, side in ((2, "height"), (3, "width")):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = side
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_param = "cells"
    for key, value in {"name": name, "description": DESCRIPTIONS[name], **DECLARED}.items():
        model.metadata_props.add(key=f"yolo_engine.{key}", value=json.dumps(value))
    onnx.checker.check_model(model, full_check=True)
    return model


def _forget_sources(graph: onnx.GraphProto) -> None:
    """Remove the source locations that PyTorch records for every node and value: half a megabyte of paths."""
    for part in (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del part.metadata_props[:]
    del graph.metadata_props[:]
    del graph.value_info[:]


def halved(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the same model with float16 input, weights and output."""
    half: onnx.ModelProto = float16.convert_float_to_float16(model)
    onnx.checker.check_model(half, full_check=True)
    return half


@click.command()
@click.argument("checkpoint", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("target", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--half", is_flag=True, help="float16 instead of float32.")
def main(checkpoint: Path, target: Path, half: bool) -> None:
    """Write CHECKPOINT as ONNX file TARGET and print its size and SHA-256, which the manifest in models/zoo needs."""
    network = load(checkpoint)
    model = halved(exported(network, "street-nano-fp16")) if half else exported(network)
    data = model.SerializeToString()
    target.write_bytes(data)
    click.echo(f'sha256 = "{hashlib.sha256(data).hexdigest()}"\nsize_bytes = {len(data)}')


if __name__ == "__main__":
    main()
