"""Exports detectors of DETR kinds with random weights from their packages, and writes what the packages' own
post-processing makes of the exported model's answers.

    python detr_packages.py KIND FOLDER IMAGE...

Runs in an environment of its own (`make test-detr`) and imports nothing of the project. Writes FOLDER/model.onnx, what
the package writes beside it, and FOLDER/answers.npz: for image i what the package fed as fed_i, and what it found as
labels_i, scores_i and boxes_i, best first.
"""

import importlib.metadata
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime
import torch
from PIL import Image

CLASSES = 80
SIDE = 256


def spread(model):
    """Make random weights that carry an image through: those that packages begin with give all anchors one score."""
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.Conv2d):
                torch.nn.init.kaiming_normal_(module.weight)
            elif isinstance(module, torch.nn.Linear):
                torch.nn.init.xavier_normal_(module.weight)
    return model.eval()


class Two(torch.nn.Module):
    """Logits and boxes alone."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, pixel_values):
        found = self.model(pixel_values)
        return found.logits, found.pred_boxes


def export(module, folder, size, inputs, outputs):
    torch.onnx.export(
        module, (torch.zeros(1, 3, size, size),), str(folder / "model.onnx"), input_names=inputs, output_names=outputs,
        opset_version=17, dynamo=False,
    )  # fmt: skip


def transformers_kind(kind, folder, images):
    """Yield what was fed and what was found."""
    import transformers

    decoder = {"num_labels": CLASSES, "num_queries": 50, "decoder_layers": 2, "num_denoising": 0}
    residual = transformers.RTDetrResNetConfig(
        embedding_size=16, hidden_sizes=[16, 32, 64, 128], depths=[1, 1, 1, 1], layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip
    small = {"backbone_config": residual, "encoder_in_channels": [32, 64, 128]}
    config, build = {
        "rt_detr": (transformers.RTDetrConfig(**decoder, **small), transformers.RTDetrForObjectDetection),
        "rt_detr_v2": (transformers.RTDetrV2Config(**decoder, **small), transformers.RTDetrV2ForObjectDetection),
        "d_fine": (transformers.DFineConfig(**decoder), transformers.DFineForObjectDetection),
    }[kind]
    model = spread(build(config))
    processor = transformers.RTDetrImageProcessorPil(size={"height": SIDE, "width": SIDE})
    model.config.save_pretrained(folder)
    processor.save_pretrained(folder)
    export(Two(model), folder, SIDE, ["pixel_values"], ["logits", "pred_boxes"])
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    for image in images:
        fed = processor(images=image, return_tensors="pt")["pixel_values"]
        logits, boxes = map(torch.from_numpy, session.run(None, {"pixel_values": fed.numpy()}))
        answer = SimpleNamespace(logits=logits, pred_boxes=boxes)
        sizes = [(image.height, image.width)]
        yield fed, processor.post_process_object_detection(answer, threshold=0.0, target_sizes=sizes)[0]


def without_compiled_operators():
    """Let torchvision be imported where its wheel is for another build of PyTorch: its Python code is enough here, but
    describes operators that only its library defines."""
    if "+" in torch.__version__ and "+" not in importlib.metadata.version("torchvision"):
        for name in ("nms", "qnms"):
            torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


def rfdetr_kind(folder, images):
    import rfdetr
    from rfdetr.export._runtime.preprocess import preprocess_to_nchw
    from rfdetr.models.postprocess import PostProcess

    model = rfdetr.RFDETRNano(pretrain_weights=None, device="cpu")
    spread(model.model.model)
    model.export(output_dir=str(folder), verbose=False)
    (written,) = folder.glob("*.onnx")
    session = onnxruntime.InferenceSession(str(written.rename(folder / "model.onnx")))
    side = session.get_inputs()[0].shape[2]
    for image in images:
        fed = preprocess_to_nchw(image, side, side)
        boxes, logits = map(torch.from_numpy, session.run(["dets", "labels"], {session.get_inputs()[0].name: fed}))
        sizes = torch.tensor([[image.height, image.width]])
        yield torch.from_numpy(fed), PostProcess()({"pred_logits": logits, "pred_boxes": boxes}, sizes)[0]


def libreyolo_kind(folder, images):
    from libreyolo.models.dfine.model import LibreDFINE
    from libreyolo.models.dfine.utils import preprocess_image
    from libreyolo.postprocess.dfine import postprocess

    model = LibreDFINE(None, "n", device="cpu")
    spread(model.model)
    model.export(format="onnx", output_path=str(folder / "model.onnx"))
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"))
    entry = session.get_inputs()[0]
    names = [each.name for each in session.get_outputs()]
    for image in images:
        fed = preprocess_image(image, entry.shape[2])[0]
        answer = dict(zip(names, map(torch.from_numpy, session.run(None, {entry.name: fed.numpy()})), strict=True))
        found = postprocess(answer, conf_thres=0.0, original_size=image.size)
        yield fed, {"scores": found["scores"], "labels": found["classes"], "boxes": found["boxes"]}


def main():
    kind, folder, *paths = sys.argv[1:]
    torch.manual_seed(1)
    target = Path(folder)
    images = [Image.open(path).convert("RGB") for path in paths]
    answers = {}
    without_compiled_operators()
    kinds = {"rf_detr": rfdetr_kind, "libreyolo": libreyolo_kind}
    made = kinds[kind](target, images) if kind in kinds else transformers_kind(kind, target, images)
    for i, (fed, found) in enumerate(made):
        answers[f"fed_{i}"] = fed.numpy()
        found = {name: torch.as_tensor(values) for name, values in found.items()}
        order = torch.argsort(found["scores"], descending=True)
        for name in ("labels", "scores", "boxes"):
            answers[f"{name}_{i}"] = found[name][order].numpy()
    np.savez(target / "answers.npz", **answers)


if __name__ == "__main__":
    main()
