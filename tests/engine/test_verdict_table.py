"""The verdict as people see it."""

import io
import json

import pytest
from rich.console import Console

from engine.cli.bottleneck_table import print_verdict
from engine.profiling.bottleneck import verdict_of
from engine.profiling.sentences import sentences
from tests.engine.pipeline_sim import simulate
from tests.engine.test_verdict import CASES, ONE, TWO, USUAL


def shown(verdict, width=100):
    console = Console(file=io.StringIO(), width=width)
    print_verdict(console, verdict)
    return console.file.getvalue()


def told(costs, **run):
    return verdict_of(simulate({**USUAL, **costs}, **run)).to_json()


def test_table():
    lines = shown(told({"infer": (0.040, 0.0)}, **ONE), 80).splitlines()
    assert lines[0].split() == "threads stage frames ms each CPU no core time max fps".split()
    stages = [line[10:22].strip() for line in lines[1 : lines.index(next(x for x in lines if "Verdict" in x))]]
    assert stages == [
        "open", "decode", "finish", "- no room", "- the end", "preprocess", "infer", "postprocess", "track",
        "sink video", "- no frames",
    ]  # fmt: skip
    infer = next(line for line in lines if "infer" in line)
    assert infer.split() == ["infer", "150", "40.00", "0.00", "0.00", "97%"]


@pytest.mark.parametrize(
    ("costs", "run", "expected"),
    [
        (
            {"infer": (0.040, 0.0)},
            ONE,
            [
                "Verdict: infer is the limit. Workers can do 24.3 fps; this run did 24.3.",
                "Cores: 0.1 of 2 used.",
                "- If infer cost nothing: 267.9 fps, limited by sink video.",
                "- With twice the workers: 48.0 fps, limited by infer.",
                "- If infer cost half: 47.4 fps, limited by infer.",
            ],
        ),
    ],
)
def test_words(costs, run, expected):
    assert sentences(told(costs, **run)) == expected


def test_words_of_a_gate():
    verdict = told({"infer": (0.040, 0.0)}, **ONE)
    stages = next(threads["stages"] for threads in verdict["threads"] if threads["of"] == "decode")
    decode = next(stage for stage in stages if stage["stage"] == "decode")
    stages.append({**decode, "stage": "gate", "frames": 1394})
    assert sentences(verdict)[1] == (
        "The gate had 150 of 1,394 frames inferred, whole or in parts, its audit included."
    )


def test_words_where_the_cores_bind():
    lines = sentences(told({"infer": (0.0, 0.040)}, **TWO))
    assert lines[0].startswith("Verdict: the cores are the limit, and infer takes most of them. The cores can do ")
    assert lines[1] == "Cores: 2.0 of 2 used."
    assert [line.partition(":")[0] for line in lines[2:]] == [
        "- If infer cost nothing",
        "- With twice the cores",
        "- If infer cost half",
    ]


def test_words_where_others_compute_and_little_is_explained():
    verdict = told({"infer": (0.040, 0.0)}, **ONE)
    verdict["cores"]["others"], verdict["explained"] = 0.74, 0.5
    lines = sentences(verdict)
    assert lines[1].startswith("Only 50% of that was reached: ")
    assert lines[2] == "Cores: 0.1 of 2 used, 0.7 by other programs."


def test_no_stage_has_the_name_it_has_in_the_code():
    verdict = told({"infer": (0.002, 0.0), "sink video": (0.050, 0.0)}, **ONE)
    text = shown(json.loads(json.dumps(verdict).replace("sink video", "tally")))
    assert "Verdict: counting is the limit" in text
    assert "If counting cost nothing" in text
    assert "limited by counting" in text
    assert "tally" not in text


def test_no_repair_is_no_line():
    verdict = told({"infer": (0.040, 0.0)}, **ONE) | {"next": None, "changes": []}
    assert len(sentences(verdict)) == 2


@pytest.mark.parametrize("case", CASES)
def test_every_verdict_can_be_told(case):
    stage, slow, run, _ = CASES[case]
    text = shown(told({stage: slow}, **run))
    assert f"{stage} is the limit" in text or f"the cores are the limit, and {stage} takes" in text
    assert f"- If {stage} cost nothing: " in text


def test_without_a_frame():
    assert shown(None) == "No verdict: no frame was processed.\n"
