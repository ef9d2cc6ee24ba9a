"""Imports inside functions: each is for a start that does not wait for it, or for a package that may not be there.

What is listed here may do so; whoever adds a module adds it here, and says why.
"""

import ast
import functools

from tests.assets import ROOT

PRODUCT = ("models", "engine_ext", "engine", "orchestrator")

AT_MOST = 80

# Packages of extras, or that only some machines have.
OPTIONAL = frozenset(
    "botocore cv2 duckdb onnxruntime openvino paho pyarrow pycuda scipy tensorrt tensorrt_rtx torch trackeval"
    " xlsxwriter".split()
)

# Modules, by what goes without them.
FOR_THE_START = {
    "of --help and of each other command": {
        "engine/cli/bench.py",
        "engine/cli/deferred.py",
        "engine/cli/lengths.py",
        "engine/cli/group.py",
        "engine/cli/main.py",
        "orchestrator/client/commands_jobs.py",
        "orchestrator/client/commands_submit.py",
        "orchestrator/client/monitor.py",
        "orchestrator/client/submission.py",
        "orchestrator/client/submit_cli.py",
        "orchestrator/settings.py",
        "orchestrator/worker/serve.py",
        "orchestrator/worker/server_cli.py",
    },
    "of a run without alarms, recordings, annotated videos, crops, tables, reports, metrics and verdicts": {
        "engine/analytics/settings.py",
        "engine/cli/commands/run.py",
        "engine/engine.py",
        "engine/pipeline/outputs.py",
        "engine/pipeline/sequence.py",
        "engine/resume/partial_outputs.py",
        "engine/run/follow_up.py",
        "engine/run/run.py",
    },
    "of a run whose model needs no such backend, precision, side-car or surgery": {
        "engine/inference/model.py",
        "engine/inference/trt/find.py",
        "engine/stages/infer.py",
        "models/dynamic_axes.py",
        "models/registry.py",
        "models/resolution.py",
    },
    "of a run over files on disk alone": {
        "engine/storage/urls.py",
    },
    "of a program whose results are in no database": {
        "orchestrator/broker/preflight.py",
    },
    "of a command that nobody watches on a terminal": {
        "engine/cli/console.py",
    },
    "of a worker and of an engine process that does something else": {
        "orchestrator/__init__.py",
        "orchestrator/engine_process/follow_up.py",
        "orchestrator/engine_process/main.py",
    },
}

# `doctor` tries each part by itself: what does not load is a finding.
TRIED = {"engine/cli/doctor.py"}


@functools.cache
def late_imports():
    """(file, module) of each import that stands in a function."""
    found = []
    for package in PRODUCT:
        for path in sorted((ROOT / package).rglob("*.py")):
            functions = filter(is_function, ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
            for node in {node for function in functions for node in ast.walk(function) if is_import(node)}:
                name = node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
                found.append((path.relative_to(ROOT).as_posix(), name))
    return found


def is_function(node):
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)


def is_import(node):
    return isinstance(node, ast.Import | ast.ImportFrom)


def test_imports_in_functions_have_a_reason():
    found = {file for file, name in late_imports() if name.partition(".")[0] not in OPTIONAL}
    assert found <= TRIED.union(*FOR_THE_START.values())


def test_they_stay_the_exception():
    assert len(late_imports()) <= AT_MOST
