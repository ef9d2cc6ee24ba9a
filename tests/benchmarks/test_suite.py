"""A run: rows are kept as they come, and one bad stage stops no other. And the two command lines."""

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest

from benchmarks import __main__ as program
from benchmarks import suite
from benchmarks.context import PROFILES, Context
from benchmarks.record import checked, read_rows
from engine.cli import bench as cli_bench
from engine.cli import main as cli
from tests.assets import ROOT
from tests.benchmarks.conftest import ANSWER


def row_of(context, case, answer=ANSWER):
    figures = {"ours": [1.0] * 5, "peer": [2.0] * 5}
    return context.row(
        "sort", case, figures=figures, unit="us", better="lower", ours="ours", input="none", answer=answer
    )


def good(context):
    yield row_of(context, "good")


def wrong(context):
    yield row_of(context, "before")
    yield row_of(context, "wrong", checked(False, "NumPy", "other boxes", max_error=3.0))


def raises(context):
    raise SystemExit("people.mp4 is not there")
    yield


@pytest.fixture
def stages(monkeypatch):
    """Three stages of our own in the suite's place."""
    for name, measure in {"good": good, "wrong": wrong, "raises": raises}.items():
        monkeypatch.setitem(sys.modules, f"benchmarks.stages.{name}", SimpleNamespace(measure=measure))
    names = ("wrong", "raises", "absent", "good")
    monkeypatch.setattr(suite, "STAGES", names)
    return names


def test_a_bad_stage_stops_no_other(stages, tmp_path, capsys):
    path, rows, failed = suite.run("quick", stages, tmp_path / "new" / "run.jsonl")
    told = capsys.readouterr().out
    assert failed == 3
    assert [row.case for row in rows] == ["before", "good"]
    assert read_rows(path) == rows
    assert "FAILED: WrongAnswer: compared with NumPy: other boxes" in told
    assert "FAILED: SystemExit: people.mp4 is not there" in told
    assert "FAILED: ModuleNotFoundError" in told
    assert "good: ours 1 [1 .. 1] us\n    peer 2 [2 .. 2]: 2 [2 .. 2] times better" in told


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["--stage", "good"], 0),
        (["--stage", "good", "wrong"], 1),
        ([], 1),
        (["--stage", "frob"], 2),
        (["--profile", "frob"], 2),
        (["compare", "none.jsonl", "none.jsonl"], 2),
        (["report", "none.jsonl"], 2),
    ],
)
def test_exit_status(stages, tmp_path, arguments, status):
    if "--stage" in arguments or not arguments:
        arguments = [*arguments, "--out", str(tmp_path / "run.jsonl")]
    try:
        found = program.main(arguments)
    except SystemExit as ended:
        found = ended.code
    assert found == status


def test_a_run_can_be_reported(stages, tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr("benchmarks.report.write", lambda rows: written.append(len(rows)))
    assert program.main(["--stage", "good", "--report", "--out", str(tmp_path / "run.jsonl")]) == 0
    assert program.main(["report", str(tmp_path / "run.jsonl")]) == 0
    assert written == [1, 1]


def test_what_is_not_installed_is_named(monkeypatch, capsys):
    def absent(_):
        raise ModuleNotFoundError("No module named 'cv2'", name="cv2")

    monkeypatch.setattr(program, "measure", absent)
    assert program.main([]) == 2
    repair = "pip install -c constraints.txt -e '.[bench]' in a clone"
    assert f"cv2 is not installed. Repair: {repair}" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["compare", "report"])
@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "{path} does not exist; name {two}.jsonl files of benchmarks/results."),
        ("folder", "{path} can't be read: is a directory; name {two}.jsonl files of benchmarks/results."),
        (b"", "{path} contains no row of a benchmark."),
        (b"\xff\xfe", "{path} is no file of results: it is not text."),
        (b"{", "{path}, line 1, is not a row of a benchmark: not a JSON object."),
        (b"{}", "{path}, line 1, is not a row of a benchmark: run: field required."),
        ("mixed", "{path}, line 2, is not a row of a benchmark: not a JSON object."),
    ],
)
def test_files_that_are_no_results(row, tmp_path, capsys, command, content, told):
    good, path = tmp_path / "good.jsonl", tmp_path / "a"
    good.write_text(row().model_dump_json() + "\n")
    if content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(good.read_bytes() + b"text\n" if content == "mixed" else content)
    assert program.main([command, str(good), str(path)]) == 2
    two = "two " if command == "compare" else ""
    assert capsys.readouterr().err == f"Error: {told.format(path=path, two=two)}\n"


def test_a_context_describes_where_it_is():
    context = Context.begin("full")
    assert context.profile == PROFILES["full"]
    assert context.run.endswith(context.machine.commit)
    assert context.machine.versions["numpy"]


@pytest.fixture
def yolo_engine(monkeypatch, capsys):
    """Runs `yolo-engine bench` as the console script does: its status, and what it said on standard error."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["yolo-engine", "bench", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        return caught.value.code, capsys.readouterr().err

    return call


@pytest.fixture
def calls(monkeypatch):
    """The suite's command lines, which are not run."""
    seen = []

    def run(command, env, check):
        assert env["PYTHONPATH"].split(":")[0] == str(ROOT)
        seen.append(command[1:])
        return subprocess.CompletedProcess(command, 1)

    monkeypatch.setattr(subprocess, "run", run)
    return seen


@pytest.mark.parametrize(
    ("given", "passed"),
    [
        ([], ["--profile", "quick"]),
        (["--profile", "full", "--report"], ["--profile", "full", "--report"]),
        (["--stage", "sort", "--stage", "infer"], ["--profile", "quick", "--stage", "sort", "infer"]),
        (["--out", "a.jsonl"], ["--profile", "quick", "--out", "a.jsonl"]),
        (["compare", "a", "b"], ["compare", "a", "b"]),
        (["compare", "a", "b", "--least", "0.2"], ["compare", "a", "b", "--least", "0.2"]),
        (["report"], ["report"]),
        (["report", "a", "b"], ["report", "a", "b"]),
    ],
)
def test_the_engines_command_passes_on(yolo_engine, calls, given, passed):
    status, _ = yolo_engine(*given)
    assert status == 1  # the suite's own
    assert calls == [["-m", "benchmarks", *passed]]


def test_outside_of_a_clone(yolo_engine, calls, tmp_path, monkeypatch):
    monkeypatch.setattr(cli_bench, "CLONE", tmp_path)
    status, said = yolo_engine()
    assert status == 2
    assert "The benchmark suite is not part of the installed package." in said
    assert calls == []


def test_both_command_lines_know_the_same():
    options = {option.name: option.type for option in cli_bench.bench.params}
    assert tuple(options["stages"].choices) == suite.STAGES
    assert tuple(options["profile"].choices) == tuple(PROFILES)


def test_compare_from_the_command_line_and_help_loads_nothing_heavy(row, tmp_path):
    slow = row(figures={"ours": [4.0] * 5, "peer": [8.0] * 5})
    for name, each in (("old", row()), ("new", slow)):
        (tmp_path / name).write_text(each.model_dump_json() + "\n")
    script = (
        "import contextlib, json, sys\n"
        "from engine.cli.group import commands\n"
        "with contextlib.suppress(SystemExit): commands(['bench', '--help'])\n"
        "assert not {'numpy', 'pydantic', 'benchmarks'} & set(sys.modules)\n"
        "sys.argv = ['yolo-engine', 'bench', 'compare', *json.loads(sys.argv[1])]\n"
        "from engine.cli.main import main\n"
        "main()\n"
    )
    for names, status in ((("old", "old"), 0), (("old", "new"), 1)):
        files = json.dumps([str(tmp_path / name) for name in names])
        done = subprocess.run(
            [sys.executable, "-c", script, files], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == status, done.stdout + done.stderr
    assert "times peer" in done.stdout
