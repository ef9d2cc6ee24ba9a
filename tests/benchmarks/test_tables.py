"""The tables of models: what their rows say, and how a model without doubles is read by the plain peer."""

import numpy as np
import pytest

from benchmarks import model_table, pipeline_table
from benchmarks.reference_detector import FAMILIES, read_end2end
from engine.records import Detections


def seen(*boxes):
    table = np.array(boxes, np.float32).reshape(-1, 6)
    return Detections(table[:, :4].copy(), table[:, 4].copy(), table[:, 5].astype(np.int32))


def test_agreement_is_that_of_sure_boxes():
    ours = [seen((0, 0, 10, 10, 0.9, 1), (20, 20, 30, 30, 0.1, 1))]
    theirs = [seen((0, 0, 10, 10, 0.8, 1), (50, 50, 60, 60, 0.7, 1))]
    assert model_table.agreement(ours, ours) == 1.0
    assert model_table.agreement(ours, theirs) == pytest.approx(2 / 3)


def test_a_row_of_the_table_of_models():
    row = model_table.Row("m", "int8", (256, 416), "openvino", 1.0, None, 2.0, 0.5, 0.4, 0.6, 0.3, 0.01, 0.95, 3)
    (_, _, line) = model_table.markdown([row]).splitlines()
    assert line == (
        "| m | int8 (3 in float) | 416x256 | openvino | 1.0 |  | 2.0 | 0.50 [0.40 .. 0.60] | 0.300 | +0.010 | 0.950 |"
    )


def test_a_row_with_random_weights_says_so():
    row = model_table.Row("m", "f32", (8, 8), "native", 1.0, 2.0, 2.0, 0.5, 0.4, 0.6, None, 0.0, None, apart=1.5e-6)
    (_, _, line) = model_table.markdown([row]).splitlines()
    assert line.endswith("| 0.50 [0.40 .. 0.60] | random weights |  | outputs 1.5e-06 apart |")


def test_a_row_of_the_table_of_pipelines():
    row = pipeline_table.Row("m", "bf16", "v.mp4", 9, "openvino", 10.0, 20.0, 90.4, 45.0, 2.0, 1.9, 2.1, 0.97)
    (_, _, line) = pipeline_table.markdown([row]).splitlines()
    assert line == "| m | bf16 | v.mp4 | openvino | 10.0 | 20.0 | 90 | 45 | 2.00 [1.90 .. 2.10] | 0.970 |"


def test_each_model_of_the_pipelines_can_be_had_and_read():
    assert set(pipeline_table.FAMILIES) <= set(model_table.MODELS)
    assert set(pipeline_table.FAMILIES.values()) <= set(FAMILIES)


def test_a_model_without_doubles_is_read_as_it_is():
    rows = np.array([[1, 2, 3, 4, 0.9, 5], [0, 0, 1, 1, 0.1, 0]], np.float32)
    boxes, scores, class_ids = read_end2end(rows, 0.25)
    assert boxes.tolist() == [[1, 2, 3, 4]]
    assert scores.tolist() == [pytest.approx(0.9)]
    assert class_ids.tolist() == [5]
