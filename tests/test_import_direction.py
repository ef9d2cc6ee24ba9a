"""models, engine_ext <- engine <- orchestrator; nothing of the product imports tests or benchmarks.

Inside a package the rooms, its folders and the modules at its top, know each other in one direction, too, and use of
another room what its `__all__` lists.
"""

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

# Room -> the rooms it may import from. Whoever adds an arrow adds it here, and sees that no circle comes about.
ROOMS = {
    "engine": {
        # The bottom: words, errors, and what travels.
        "text": set(),
        "versions": set(),
        "install": set(),
        "records": set(),
        "errors": {"text"},
        "logs": {"text"},
        "storage": {"errors", "install", "text"},
        "files": {"errors", "storage"},
        "profiling": set(),
        "summary": {"profiling"},
        "choices": set(),
        "trackers": set(),
        "config": {"choices", "errors", "trackers"},
        # What knows of videos, of models, of results.
        "media": {"choices", "errors", "files", "records", "storage", "text", "trackers"},
        "output_folder": {"choices", "config", "errors", "files", "media", "storage", "summary", "text", "trackers"},
        "analytics": {"choices", "config", "errors", "files", "install", "output_folder", "records", "summary", "text"},
        "inference": {"choices", "config", "errors", "install", "media", "records", "text"},
        "sinks": {"analytics", "config", "errors", "files", "media", "records"},
        "stages": {"config", "errors", "inference", "media", "records", "text", "trackers"},
        "resume": {
            "analytics", "choices", "config", "errors", "files", "inference", "media", "output_folder", "records",
            "sinks", "summary", "versions",
        },
        "report": {
            "analytics", "config", "errors", "files", "media", "output_folder", "profiling", "records", "stages",
            "summary", "text", "versions",
        },
        # A run.
        "finished": {"analytics", "config", "output_folder", "storage"},
        "clips": {
            "analytics", "choices", "config", "errors", "files", "finished", "inference", "media", "output_folder",
            "pipeline", "profiling", "records", "results", "sinks", "stages", "summary", "text",
        },
        "exports": {
            "analytics", "choices", "config", "errors", "files", "finished", "inference", "media", "output_folder",
            "pipeline", "profiling", "results", "sinks", "stages", "summary", "text",
        },
        "find": {
            "analytics", "choices", "config", "errors", "exports", "files", "finished", "inference", "output_folder",
            "pipeline", "sinks", "text",
        },
        "pipeline": {
            "analytics", "choices", "config", "errors", "files", "inference", "media", "output_folder", "profiling",
            "records", "resume", "sinks", "stages", "summary", "text", "trackers",
        },
        "results": {
            "analytics", "config", "errors", "files", "inference", "pipeline", "records", "sinks", "stages", "summary",
            "text", "versions",
        },
        "alarms": {"analytics", "errors", "files", "records", "summary", "text"},
        "run": {
            "analytics", "clips", "config", "errors", "exports", "files", "finished", "media", "pipeline", "profiling",
            "results", "summary",
        },
        "engine": {
            "alarms", "analytics", "choices", "config", "errors", "files", "inference", "media", "output_folder",
            "pipeline", "profiling", "records", "report", "results", "resume", "run", "sinks", "stages", "storage",
            "summary", "text", "trackers",
        },
        # What uses an engine, or its results.
        "audit": {
            "analytics", "engine", "errors", "files", "finished", "inference", "media", "output_folder", "pipeline",
            "profiling", "records", "results", "resume", "sinks", "stages", "summary", "trackers",
        },
        "observe": {"engine", "errors", "install", "profiling"},
        "verification": {
            "choices", "config", "engine", "errors", "inference", "media", "records", "sinks", "stages", "storage",
            "summary", "text",
        },
        "rework": {
            "analytics", "choices", "config", "errors", "files", "finished", "inference", "media", "output_folder",
            "pipeline", "profiling", "records", "results", "sinks", "stages", "trackers",
        },
        "cli": {
            "alarms", "analytics", "audit", "choices", "clips", "config", "engine", "errors", "exports", "find",
            "finished", "inference", "install", "logs", "media", "observe", "output_folder", "pipeline", "profiling",
            "report", "rework", "storage", "summary", "text", "trackers", "verification",
        },
    },
}  # fmt: skip


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


def arrows(package):
    """(importer, imported module) between the modules of a package. `from room import name` is the module, where the
    name is one."""
    modules = {}
    for path in (ROOT / package).rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        modules[".".join(parts).removesuffix(".__init__")] = path
    for module, path in modules.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [name.name for name in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = {
                    inner if (inner := f"{node.module}.{name.name}") in modules else node.module for name in node.names
                }
            else:
                continue
            yield from ((module, path, name) for name in names if name in modules and name != package)


def room_of(module):
    return module.split(".")[1] if "." in module else None


@pytest.mark.parametrize("package", ROOMS)
def test_rooms_know_each_other_in_one_direction(package):
    rooms = ROOMS[package]
    wrong = {
        f"{module} imports {name}"
        for module, _, name in arrows(package)
        if (room := room_of(module)) is not None and room != room_of(name) and room_of(name) not in rooms[room]
    }
    assert not wrong
    left, done = dict(rooms), set()
    while ready := {room for room, below in left.items() if below <= done}:
        done |= ready
        left = {room: below for room, below in left.items() if room not in ready}
    assert not left, "these rooms form a circle, or stand above one"


@pytest.mark.parametrize("package", ROOMS)
def test_only_what_a_room_lists_is_used_by_others(package):
    listed = {}
    wrong = set()
    for module, path, name in arrows(package):
        own = module if path.name == "__init__.py" else module.rpartition(".")[0]
        parts = name.split(".")
        for length in range(2, len(parts)):
            room = ".".join(parts[:length])
            if f"{own}.".startswith(f"{room}."):
                continue
            if room not in listed:
                listed[room] = names_listed(ROOT.joinpath(*parts[:length], "__init__.py"))
            if parts[length] not in listed[room]:
                wrong.add(f"{module} imports {name}, which __all__ of {room} does not list")
    assert not wrong


def names_listed(path):
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            return ast.literal_eval(node.value)
    return []


def test_every_room_is_in_the_table():
    for package, rooms in ROOMS.items():
        there = {path.stem for path in (ROOT / package).glob("*.py")} - {"__init__"}
        there |= {path.parent.name for path in (ROOT / package).glob("*/__init__.py")}
        assert there == set(rooms)


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
