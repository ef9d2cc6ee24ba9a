"""The command line: exit statuses, messages, and what a program reads from it."""

import json
import os
import signal
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from engine.cli.commands import doctor, models
from engine.cli.commands.run import how_to_go_on
from engine.cli.doctor import Finding, examine
from engine.cli.group import commands as engine_commands
from engine.cli.run import run as run_command
from engine.config import EngineConfig
from models import registry
from tests.assets import ROOT
from tests.e2e.runs import is_there
from tests.engine.conftest import write_clip
from tests.engine.test_report import VIDEO_KEYS
from tests.waiting import until

FAKE = ("--backend", "fake", "--no-visualize")


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["run"], ["Usage: yolo-engine run [OPTIONS] INPUT..."]),
        ([], ["Usage: yolo-engine [OPTIONS] COMMAND"]),
        (["models"], ["Usage: yolo-engine models"]),
        (["models", "info"], ["Missing argument 'NAME|PATH'"]),
        (["verify"], ["Missing argument 'INPUT'"]),
        (["frob"], ["No such command 'frob'"]),
        (["run", "{clip}", "--bacth", "2"], ["No such option '--bacth'", "--batch"]),
        (["run", "{clip}", "--batch", "x"], ["'--batch': 'x' is not a valid integer"]),
        (["run", "{clip}", "--shape", "round"], ["'--shape'", "'auto', 'square', 'rect'"]),
        (["run", "{clip}", "--batch", "0"], ["Error: batch must be at least 1. Got 0."]),
        (["run", "{clip}", "--conf", "1.5"], ["Error: conf must be at most 1. Got 1.5."]),
        (["run", "{clip}", "--skip-frames", "x"], ["Error: skip_frames must be true, false or a whole number"]),
        (["run", "{clip}", "--input-size", "416"], ["input_size must be two numbers, height and width. Got '416'."]),
        (["run", "{clip}", "--formats", "csv"], ["formats must be one of 'tracks', 'mot' or 'detections'. Got 'csv'."]),
        (["run", "{clip}", "--device", "gpu"], ["device must be auto, cpu, cuda or cuda:N. Got 'gpu'."]),
        (["run", "{clip}", "--model", "yolox-nan"], ["'yolox-nan'", "did you mean yolox-nano"]),
        (["run", "{clip}", "--model", "none.onnx"], ["none.onnx", "no such file"]),
        (["run", "{clip}", "--model", "yolox-nano"], ["yolo-engine models pull yolox-nano", "YOLO_ENGINE_MODELS"]),
        (["run", "none.mp4", *FAKE], ["Error: none.mp4 does not exist."]),
        (["run", "{tmp}", *FAKE], ["Error: No video in {tmp}."]),
        (["run", "*.none", *FAKE], ["Error: Nothing matches '*.none'."]),
        (["run", "{clip}", *FAKE, "--classes", "sqare"], ["Got 'sqare'. Did you mean 'square'?"]),
        (["run", "{clip}", *FAKE, "--device", "cuda"], ["--device cuda was requested"]),
        (["run", "{clip}", "--device", "cuda"], ["--device cuda was requested", "onnxruntime-gpu", "--device cpu"]),
        (["run", "{clip}", "--device", "cuda:1"], ["--device cuda:1 was requested", "onnxruntime-gpu"]),
        (
            ["run", "{clip}", "--backend", "tensorrt"],
            ["tensorrt was requested", "`yolo-engine build-trt street-nano`", "or leave --backend out, which runs on"],
        ),
        (["run", "{clip}", "--backend", "onnxruntime-tensorrt"], ["run without --backend and with --device cpu."]),
        (
            ["run", "{clip}", "--backend", "onnxruntime-tensorrt", "--device", "cpu"],
            ["it needs a GPU, and --device is cpu"],
        ),
        (["run", "{clip}", "--model", "no.plan"], ["no.plan: there is no such file", "build-trt"]),
        (["run", "{clip}", "--model", "no.plan", "--backend", "onnxruntime"], ["no.plan"]),
        (["run", "{clip}", "--backend", "tensorrt", "--device", "cuda"], ["or leave --backend and --device out"]),
        (
            ["run", "{clip}", "--backend", "tensorrt", "--device", "cpu"],
            ["needs a GPU, and --device is cpu. Leave --device out, or leave --backend out, which runs on the CPU."],
        ),
        (["verify", "{clip}", "--backend", "tensorrt"], ["--backend tensorrt was requested"]),
        (["run", "{clip}", *FAKE, "--config", "none.toml"], ["Configuration none.toml can't be read: no such file"]),
        (["run", "{clip}", *FAKE, "-o", "{file}"], ["Output folder {file} can't be written"]),
        (["run", "", "--backend", "fake"], ["An input is empty. Name a video file, a folder"]),
        (["verify", "", "--backend", "fake"], ["An input is empty."]),
        (["run", "{clip}", "-o", "", "--backend", "fake"], ["Invalid value for '-o'", "a path that is not empty."]),
        (["verify", "none.mp4", "--backend", "fake"], ["none.mp4 does not exist."]),
        (["verify", "rtsp://me:secret@camera/1", "--backend", "fake"], ["takes a file. Got rtsp://***@camera/1."]),
        (["models", "info", "yolox-nan"], ["did you mean yolox-nano"]),
        (["models", "info", "{file}"], ["is not an ONNX model"]),
        (["models", "pull", "yolox-nan"], ["did you mean yolox-nano"]),
    ],
)
def test_wrong_usage(run, clip, tmp_path, monkeypatch, arguments, parts):
    monkeypatch.chdir(tmp_path)
    folder, file = tmp_path / "empty", tmp_path / "file"
    folder.mkdir()
    file.write_text("text")
    places = {"clip": clip, "tmp": folder, "file": file}
    done = run(*[argument.format(**places) for argument in arguments])
    assert done.status == 2
    assert done.out == ""
    assert "Traceback" not in done.err
    for part in parts:
        assert part.format(**places) in done.err
    assert not (tmp_path / "output_videos").exists()


@pytest.mark.parametrize(
    ("name", "content", "part"),
    [
        ("a.json", "{", "a.json is not JSON: "),
        ("a.toml", "batch =", "a.toml is not TOML: "),
        ("a.json", "[]", "a.json must hold keys and values. Got []."),
        ("a.toml", "batc = 2", "Unknown key 'batc' in the configuration. Did you mean batch?"),
        ("a.json", '{"max_age": true}', "max_age must be a number, not true or false. Got True."),
    ],
)
def test_bad_configuration_file(run, clip, tmp_path, name, content, part):
    (tmp_path / name).write_text(content)
    done = run("run", clip, *FAKE, "--config", tmp_path / name)
    assert done.status == 2
    assert part in done.err


def test_options_go_before_the_file(run, clip, tmp_path):
    (tmp_path / "a.toml").write_text('formats = ["mot"]\nskip_frames = 2\nvisualize = false\nbackend = "fake"\n')
    options = ("--config", tmp_path / "a.toml", "-o", tmp_path / "out", "--json")
    (video,) = json.loads(run("run", clip, *options).out)["videos"]
    assert (set(video["outputs"]), video["inferred_frames"]) == ({"mot"}, 4)
    (video,) = json.loads(run("run", clip, *options, "--skip-frames", "false").out)["videos"]
    assert (set(video["outputs"]), video["inferred_frames"]) == ({"mot"}, 12)


def test_json_is_the_last_line_of_standard_output(run, clip, tmp_path):
    done = run("run", clip, *FAKE, "-o", tmp_path / "out", "--json", "--stats")
    assert done.status == 0
    summary = json.loads(done.out.splitlines()[-1])
    assert list(summary) == ["schema", "success", "videos", "totals", "model", "backend", "verdict"]
    assert list(summary["videos"][0]) == [*VIDEO_KEYS[:-1], "files", VIDEO_KEYS[-1], "objects", "media"]
    assert (summary["schema"], summary["success"], summary["totals"]["frames"]) == (1, True, 12)
    assert summary["model"] == {"name": "fake", "sha256": ""}
    assert summary["backend"] == {
        "name": "fake", "provider": "fake", "device": "cpu", "precision": "f32", "why": "--backend fake",
    }  # fmt: skip
    assert "infer" in done.err  # --stats is for people as well
    assert f"can do {summary['verdict']['ceiling_fps']:.1f} fps" in done.err
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert (manifest["totals"], manifest["verdict"]) == (summary["totals"], summary["verdict"])
    bare = run("run", clip, *FAKE, "-o", tmp_path / "out", "--json")
    assert "verdict" not in json.loads(bare.out.splitlines()[-1])


@pytest.mark.parametrize(
    ("options", "lines"),
    [
        ([], 1),
        (["--log-level", "info"], 1),  # nor a second one in the log
        (["--json"], 0),  # for a program
        (["--model", "street-nano"], 0),  # whoever names it knows it
        (FAKE, 0),
    ],
)
def test_who_named_no_model_is_told_which_one_runs(run, clip, tmp_path, options, lines):
    before, after = (options, []) if "--log-level" in options else ([], options)
    done = run(*before, "run", clip, "-o", tmp_path / "out", *after)
    assert done.status == 0
    assert done.err.count("street-nano") == lines
    assert (
        "Model: street-nano (bundled, 6 classes: people and vehicles). For better results and 80 classes: "
        "`yolo-engine models pull yolox-s`, then --model yolox-s.\n" in done.err
    ) == bool(lines)


@pytest.mark.parametrize("command", ["run", "verify"])
@pytest.mark.parametrize("wrong", ["none.mp4", "{tmp}", "{clip} --backend tensorrt"])
def test_the_model_is_not_told_before_a_mistake(run, clip, tmp_path, command, wrong):
    done = run(command, *wrong.format(tmp=tmp_path, clip=clip).split())
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith("Error: ")
    assert done.err.count("\n") == 1


def test_verify_tells_the_model(run, tmp_path):
    done = run("verify", write_clip(tmp_path / "short.mp4", frames=1))
    assert (done.status, done.err.count("Model: street-nano (bundled")) == (0, 1)


def test_some_failed(run, clip, tmp_path):
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"junk")
    done = run("run", clip, bad, *FAKE, "-o", tmp_path / "out")
    assert done.status == 1
    assert "2 videos (1 failed, 0 partial), 12 frames" in done.out
    assert "can't be opened" in done.out
    assert (tmp_path / "out" / "square.mot.txt").exists()


@pytest.mark.parametrize("name", ["vídeo [1].mp4", b"bad \xff.mp4"])
def test_odd_file_names(run, clip, tmp_path, name):
    path = os.path.join(os.fsencode(tmp_path), os.fsencode(name))
    with open(path, "wb") as file:
        file.write(clip.read_bytes())
    done = run("run", os.fsdecode(path), *FAKE, "-o", tmp_path / "out", "--json")
    (video,) = json.loads(done.out)["videos"]
    assert video["path"] == os.fsdecode(path)
    assert "Traceback" not in done.err
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["videos"][0]["path"] == os.fsdecode(path)
    table = run("run", os.fsdecode(path), *FAKE, "-o", tmp_path / "out")
    assert table.status == done.status
    if isinstance(name, str):
        assert done.status == 0
        assert "[1].mp4" in table.out


def members(group):
    if not isinstance(group, click.Group):
        return {}
    context = click.Context(group)
    return {name: group.get_command(context, name) for name in group.list_commands(context)}


def commands(group=engine_commands, path=()):
    yield path
    for name, command in members(group).items():
        yield from commands(command, (*path, name))


def test_the_commands():
    assert {" ".join(path) for path in commands()} >= {
        "", "run", "verify", "doctor", "models", "models list", "models info", "models pull",
    }  # fmt: skip


@pytest.mark.parametrize("path", list(commands()), ids=" ".join)
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help(path, flag):
    done = CliRunner().invoke(engine_commands, [*path, flag], prog_name="yolo-engine", terminal_width=100)
    assert done.exit_code == 0
    assert done.output.startswith(f"Usage: {' '.join(['yolo-engine', *path])} ")
    assert "..." not in done.output.replace("INPUT...", "").replace("OUT...", "").replace("FILE...", "").replace(
        "A,B,...", ""
    ).replace("[ARGS]...", "")


def test_every_option_is_explained():
    for path in commands():
        command = engine_commands
        for name in path:
            command = members(command)[name]
        assert command.help, path
        assert [
            option.name for option in command.params if option.param_type_name == "option" and not option.help
        ] == [], path


def test_the_options_are_keys_of_the_configuration():
    from engine.config import EngineConfig

    own = {"inputs", "output", "config_file", "as_json", "stats", "metrics"}
    own |= {"on_event", "event_kinds", "event_loiter_s"}
    options = {option.name for option in run_command.params} - own
    assert options <= set(EngineConfig.model_fields)
    # The defaults that --help names are those of the configuration.
    for option in run_command.params:
        named = (getattr(option, "help", None) or "").rpartition("  [")[2].rstrip("]")
        if option.name in ("conf", "nms_iou", "max_detections", "max_age", "min_hits", "iou_threshold", "shape"):
            assert named == str(getattr(EngineConfig(), option.name))


def test_version(run):
    done = run("--version")
    assert done.status == 0
    assert done.out.startswith("yolo-engine, version ")


def test_models_list(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")  # of a terminal that this is not
    done = run("models", "list")
    assert done.status == 0
    lines = done.out.splitlines()
    assert len(lines) == 1 + len(registry.list_models())
    assert lines[0].split() == ["name", "input", "licence", "here", "description"]
    (nano,) = [line for line in lines if line.startswith("yolox-nano ")]
    assert nano.split()[1:4] == ["416x416", "Apache-2.0", "no"]
    (default,) = [line for line in lines if "The default." in line]
    assert default.split()[:4] == ["street-nano", "416x416", "Apache-2.0", "bundled"]
    assert default.rstrip().endswith(registry.get_manifest("street-nano").description)


def test_models_list_with_a_damaged_file(run, own_cache):
    own_cache.mkdir(parents=True)
    (own_cache / registry.get_manifest("yolox-nano").file).write_bytes(b"damaged")
    done = run("models", "list")
    assert done.status == 0
    assert [line.split()[3] for line in done.out.splitlines() if line.startswith(("yolox-nano ", "yolox-s "))] == [
        "damaged",
        "no",
    ]
    info = run("models", "info", "yolox-nano")
    assert info.status == 2
    assert "SHA-256" in info.err


def test_models_info(run):
    done = run("models", "info", "yolox-nano")
    assert done.status == 0
    rows = dict(line.split(None, 1) for line in done.out.splitlines())
    assert rows["file"] == "not on this machine"
    assert (rows["layout"], rows["classes"].split()[0]) == ("yolox", "80:")
    assert rows["input"] == "416x416 float32 bgr, scale 1, padded topleft"


def test_models_pull_of_a_bundled_model(run, monkeypatch, own_cache):
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    done = run("models", "pull", "street-nano")
    assert done.status == 0
    assert done.out == f"{registry.find('street-nano')}\n"
    assert done.err == "street-nano is bundled: nothing had to be downloaded.\n"
    assert not own_cache.exists()


def test_a_bundled_model_that_is_damaged(run, clip, tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "WEIGHTS", tmp_path)
    assert "damaged" in run("models", "list").out
    for arguments in (["models", "info", "street-nano"], ["models", "pull", "street-nano"], ["run", clip]):
        done = run(*arguments)
        assert (done.status, done.out) == (2, "")
        assert "the bundled model street-nano is damaged" in done.err
        assert "--force-reinstall" in done.err
    assert run("doctor").status == 1


def test_models_pull_without_a_network(run, monkeypatch, own_cache):
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nobody listens on the port of discard
    done = run("models", "pull", "yolox-nano")
    assert done.status == 2
    assert done.out == ""
    for part in ("cannot be reached", "Without a network", "YOLO_ENGINE_MODELS", str(own_cache)):
        assert part in done.err
    assert not own_cache.exists() or os.listdir(own_cache) == []


def test_doctor(run):
    done = run("doctor")
    assert done.status in (0, 1)
    lines = done.out.splitlines()
    assert len(lines) == len(examine())  # a line each, however long
    assert "kernels" in done.out
    assert done.status == int("broken" in done.out)


def test_doctor_says_by_its_status_that_something_is_broken(run, monkeypatch):
    monkeypatch.setattr(doctor, "examine", lambda: [Finding("x", "broken", "repair it")])
    assert run("doctor").status == 1
    monkeypatch.setattr(doctor, "examine", lambda: [Finding("x", "absent", "an extra")])
    assert run("doctor").status == 0


def test_verify(run, clip):
    done = run("verify", clip, "--backend", "fake")
    lines = done.out.splitlines()
    assert done.status == 0
    assert lines[-1] == "Results are identical."
    same = [line.split()[:4] for line in lines if line.startswith("same")]
    assert len(same) == 12
    assert len({tuple(line) for line in same}) == 1  # one hash, 12 frames in each
    assert same[0][2:] == ["12", "frames"]


def test_verify_says_which_of_many_it_is_mixed_with(run, clip, tmp_path):
    (tmp_path / "others").mkdir()
    others = [write_clip(tmp_path / "others" / f"{name}.mp4", frames=1) for name in "abcde"]
    given = [word for path in others for word in ("--with", path)]
    done = run("verify", clip, "--backend", "fake", *given)
    assert done.status == 0, done.err
    named, _, more = done.out.splitlines()[0].partition("; ")
    assert named == f"mixed with {', '.join(map(str, others[:3]))}"
    assert more == "2 more of --with are left out, as it mixes with 3 at most"


def test_verify_finds_a_difference(run, clip, monkeypatch):
    from engine.verification.verify import Digest

    numbers = iter(range(100))
    monkeypatch.setattr(Digest, "hex", property(lambda self: str(next(numbers))))
    done = run("verify", clip, "--backend", "fake")
    assert done.status == 1
    assert "DIFFERENT" in done.out
    assert done.out.splitlines()[-1].startswith("Results differ")


def test_any_other_operating_system_error_is_a_sentence(run, monkeypatch):
    def denied(name):
        raise PermissionError(13, "Permission denied", "/models/yolox.onnx")

    monkeypatch.setattr(models, "find", denied)
    done = run("models", "list")
    assert done.status == 1
    assert done.err == "Error: /models/yolox.onnx: permission denied.\n"


# -- as a process of its own -------------------------------------------------------------------------------------------


def start(*arguments, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "engine.cli.main", *map(str, arguments)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["run", "{clip}", *FAKE, "-o", "{out}", "--json"], 0),
        (["run", "{clip}", "{bad}", *FAKE, "-o", "{out}", "--json"], 1),
        (["run", "{clip}", "--no-such"], 2),
        (["run", "none.mp4", *FAKE], 2),
        (["--help"], 0),
    ],
)
def test_exit_status(clip, tmp_path, arguments, status):
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"junk")
    places = {"clip": clip, "bad": bad, "out": tmp_path / "out"}
    process = start(*[argument.format(**places) for argument in arguments])
    out, err = process.communicate(timeout=60)
    assert process.returncode == status
    assert "Traceback" not in err
    if "--json" in arguments:
        assert json.loads(out.splitlines()[-1])["success"] is (status == 0)
        assert "\x1b" not in err  # no bars where there is no terminal


@pytest.fixture(scope="session")
def long_clip(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("long") / "long.mp4", frames=6000, size_wh=(64, 96))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted(long_clip, tmp_path, number):
    out = tmp_path / "out"
    (tmp_path / "often.json").write_text('{"max_detections_in_memory": 1}')
    arguments = [*FAKE, "-o", out, "--json", "--streams", 1, "--workers", 1, "--no-resume"]
    arguments += ["--config", tmp_path / "often.json"]
    process = start("run", long_clip, *arguments)
    try:
        until(lambda: process.poll() is not None or is_there(out, "*.part"))
        process.send_signal(number)
        text, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130
    assert err.splitlines() == [
        "Stopping: finishing the frames in flight. Press Ctrl-C again to stop at once.",
        "Unfinished videos are kept as NAME.partial.*.",
    ]
    assert "Traceback" not in err
    (video,) = json.loads(text.splitlines()[-1])["videos"]
    assert video["status"] == "partial"
    assert 0 < video["frames"] < 6000
    assert not [path for path in out.iterdir() if path.name.endswith(".part") or path.name.startswith(".")]


@pytest.mark.parametrize(
    ("outputs", "settings", "told"),
    [
        (
            {"mot": "a.partial.mot.txt"},
            {},
            "Unfinished videos are kept as NAME.partial.*; the same command continues them, --no-resume starts over.",
        ),
        ({}, {}, "The same command continues, --no-resume starts over."),
        ({"mot": "a.partial.mot.txt"}, {"resume": False}, "Unfinished videos are kept as NAME.partial.*."),
        ({}, {"save_intermediate_results": False}, "Unfinished videos are not kept."),
    ],
)
def test_how_to_go_on(outputs, settings, told):
    videos = [{"status": "ok", "outputs": {"mot": "b.mot.txt"}}, {"status": "partial", "outputs": outputs}]
    assert how_to_go_on(EngineConfig(**settings), {"videos": videos}) == told


def test_a_reader_that_leaves():
    """`yolo-engine run --help | head -0` is no error worth a traceback."""
    with start("run", "--help") as process:
        process.stdout.close()
        err = process.stderr.read()
        assert process.wait(30) in (0, 1)
    assert "Traceback" not in err


def test_the_collector_rests_while_a_command_is_loaded(tmp_path):
    """What is loaded stays to the end: looking through it takes a tenth of the start."""
    told = "return (ENABLED, gc.isenabled(), gc.get_freeze_count() > 0)"
    (tmp_path / "told.py").write_text(f"import gc\nENABLED = gc.isenabled()\ndef answer(): {told}\n")
    code = (
        "import engine.cli.commands as c, sys; from engine.cli.deferred import deferred\n"
        f"c.__path__.append({str(tmp_path)!r}); print(deferred('told:answer')(lambda: None)())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip() == "(False, True, True)"


@pytest.mark.parametrize(
    ("given", "loaded_with"),
    [({}, "1"), ({"OPENBLAS_NUM_THREADS": "3"}, "3"), ({"OMP_NUM_THREADS": "2"}, "None")],
)
def test_a_command_is_loaded_without_threads_for_matrices(given, loaded_with, tmp_path):
    """But the processes that it starts find the environment of the user."""
    read = "os.environ.get('OPENBLAS_NUM_THREADS')"
    (tmp_path / "told.py").write_text(f"import os\nLOADED = {read}\ndef answer(): return LOADED, {read}\n")
    code = (
        "import engine.cli.commands as c; from engine.cli.deferred import deferred\n"
        f"c.__path__.append({str(tmp_path)!r}); print(*deferred('told:answer')(lambda: None)())"
    )
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
        env=environment | given,
    )
    assert done.stdout.split() == [loaded_with, str(given.get("OPENBLAS_NUM_THREADS"))]


@pytest.mark.parametrize("loading", ["click", "engine.errors", "engine.cli.run"])
def test_ctrl_c_while_the_command_line_itself_loads(loading):
    """It comes when a part of it is imported, on whose behalf this raises what the signal would."""
    script = (
        "import sys\n"
        "class Interrupted:\n"
        "    def find_spec(self, name, path, target=None):\n"
        f"        if name == {loading!r}: raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupted())\n"
        "sys.argv = ['yolo-engine', 'run', '--help']\n"
        "from engine.cli.main import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr.strip()) == (130, "", "")
