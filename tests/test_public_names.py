"""What is declared is there: __all__, and the stubs of the kernels."""

import ast
import importlib

import pytest

from tests.assets import ROOT

STUBS = sorted((ROOT / "engine_ext").glob("*.pyi"))


@pytest.mark.parametrize("package", ["engine", "engine.inference.layouts", "models"])
def test_all_is_importable(package):
    module = importlib.import_module(package)
    assert module.__all__
    assert len(set(module.__all__)) == len(module.__all__)
    for name in module.__all__:
        assert getattr(module, name) is not None


def test_every_kernel_has_a_stub():
    kernels = {path.stem for path in (ROOT / "engine_ext").glob("*.pyx")}
    assert kernels
    assert {path.stem for path in STUBS} == kernels


def declared(tree):
    """Names of a stub that exist when the program runs: all but type aliases and imports."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.AnnAssign) and ast.unparse(node.annotation) != "TypeAlias":
            yield node.target.id


@pytest.mark.parametrize("stub", STUBS, ids=lambda path: path.stem)
def test_stub(stub):
    module = importlib.import_module(f"engine_ext.{stub.stem}")
    tree = ast.parse(stub.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), "a stub says what its module is for"
    names = set(declared(tree))
    assert names
    assert names <= set(vars(module))
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef | ast.ClassDef):
            continue
        assert ast.get_docstring(node) or isinstance(node, ast.ClassDef), node.name
        if isinstance(node, ast.ClassDef):
            members = {item.name for item in node.body if isinstance(item, ast.FunctionDef)}
            assert members <= set(dir(getattr(module, node.name))), node.name
