"""models, engine_ext <- engine <- orchestrator; nothing of the product imports tests or benchmarks."""

import ast
import re

import pytest

from tests.assets import ROOT

PROJECT = {"models", "engine_ext", "engine", "orchestrator", "tests", "benchmarks"}
MAY_IMPORT = {
    "models": {"models"},
    "engine_ext": {"engine_ext"},
    "engine": {"engine", "engine_ext", "models"},
    "orchestrator": {"orchestrator", "engine", "engine_ext", "models"},
}


def imported(tree):
    """Every module named by an import, wherever it stands; a relative one stays in its package."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "import_module" and node.args:
            first = node.args[0]
            if isinstance(first, ast.Constant):
                yield first.value


def sources(package):
    return sorted((ROOT / package).rglob("*.py")) + sorted((ROOT / package).rglob("*.pyi"))


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_python(package):
    files = sources(package)
    assert files
    wrong = []
    for path in files:
        names = {name.partition(".")[0] for name in imported(ast.parse(path.read_text(encoding="utf-8")))}
        wrong += [f"{path.relative_to(ROOT)} imports {name}" for name in (names & PROJECT) - MAY_IMPORT[package]]
    assert wrong == []


def test_only_the_training_imports_the_training():
    wrong = []
    for path in (path for package in MAY_IMPORT for path in sources(package)):
        if path.parent.name == "train":
            continue
        names = imported(ast.parse(path.read_text(encoding="utf-8")))
        wrong += [f"{path.relative_to(ROOT)} imports {n}" for n in names if n.startswith(("models.train", "torch"))]
    assert wrong == []


def test_kernels():
    files = [*(ROOT / "engine_ext").glob("*.pyx"), *(ROOT / "engine_ext").glob("*.pxd")]
    assert files
    for path in files:
        found = re.findall(r"^\s*(?:from|cimport|import)\s+([\w.]+)", path.read_text(encoding="utf-8"), re.MULTILINE)
        assert {name.partition(".")[0] for name in found} & PROJECT <= {"engine_ext"}, path.name


def test_every_package_is_looked_at_here_and_shipped():
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests", "benchmarks"}
    assert packages == set(MAY_IMPORT)


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("import engine.config", "engine.config"),
        ("from engine import Engine", "engine"),
        ("def f():\n    import tests.assets as a", "tests.assets"),  # late
        ("if TYPE_CHECKING:\n    from orchestrator.application import app", "orchestrator.application"),
        ("importlib.import_module('engine.cli.main')", "engine.cli.main"),
    ],
)
def test_the_walk_sees(line, name):
    assert list(imported(ast.parse(line))) == [name]
