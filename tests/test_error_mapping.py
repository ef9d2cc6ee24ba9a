"""Foreign errors become the engine's own at the border, and reach a user as a sentence, never as a traceback."""

import sys

import av
import av.error
import pytest

from engine import errors
from engine.cli import main as cli
from engine.cli.commands import models
from engine.config import EngineConfig
from engine.inference import model
from engine.inference.model import load_model
from engine.media.source import Source
from models import errors as model_errors


def classes_of(module, root):
    return sorted(
        (value for value in vars(module).values() if isinstance(value, type) and issubclass(value, root)),
        key=lambda kind: kind.__name__,
    )


MODEL_ERRORS = classes_of(model_errors, model_errors.ModelError)
ENGINE_ERRORS = classes_of(errors, errors.EngineError)

# As drawn at the top of errors.py.
USAGE = {"BackendMissing", "ConfigError", "InputError", "LaterVersion", "ModelError", "OutputError", "PlanError"}


def raising(error):
    def fail(*_, **__):
        raise error

    return fail


def run(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["yolo-engine", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    captured = capsys.readouterr()
    assert captured.out == ""
    return caught.value.code, captured.err


def test_the_trees_are_the_ones_drawn_on_top():
    for module, classes in ((model_errors, MODEL_ERRORS), (errors, ENGINE_ERRORS)):
        assert len(classes) > 5
        for kind in classes:
            assert f"{kind.__name__} " in module.__doc__ or f"{kind.__name__}\n" in module.__doc__


@pytest.mark.parametrize(
    ("kind", "parent"),
    [
        (errors.BackendMissing, errors.BackendError),
        (errors.SourceError, errors.VideoError),
        (errors.DecodeError, errors.VideoError),
        (errors.SinkError, errors.VideoError),
        (errors.ConfigError, ValueError),  # for who knows nothing of this program
    ],
)
def test_whoever_catches_the_parent_catches_the_child(kind, parent):
    assert issubclass(kind, parent)
    assert issubclass(kind, errors.EngineError)


@pytest.mark.parametrize("kind", MODEL_ERRORS)
def test_errors_of_models_become_the_engine_s(monkeypatch, kind):
    foreign = kind("the file is odd. Mend it.")
    monkeypatch.setattr(model, "resolve", raising(foreign))
    with pytest.raises(errors.ModelError) as caught:
        load_model(EngineConfig(), 1)
    assert str(caught.value) == "the file is odd. Mend it."
    assert caught.value.__cause__ is foreign


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        (command, kind)
        for command in (("models", "list"), ("models", "pull", "yolox-nano"), ("run", __file__))
        for kind in MODEL_ERRORS
        if (command[1], kind) != ("list", model_errors.HashError)  # in the table, as damaged
    ],
)
def test_errors_of_models_are_a_sentence(monkeypatch, capsys, kind, command):
    error = kind("the file is odd. Mend it.")
    for module, name in ((models, "find"), (models, "pull_model"), (model, "resolve")):
        monkeypatch.setattr(module, name, raising(error))
    assert run(monkeypatch, capsys, *command) == (2, "Error: the file is odd. Mend it.\n")


@pytest.mark.parametrize("kind", ENGINE_ERRORS)
def test_errors_of_the_engine_are_a_sentence(monkeypatch, capsys, kind):
    import engine.engine

    monkeypatch.setattr(engine.engine, "load_model", raising(kind("it is odd")))
    status = 2 if kind.__name__ in USAGE else 1
    assert run(monkeypatch, capsys, "run", __file__) == (status, "Error: it is odd\n")


AV_ERRORS = sorted(av.error.classes.items(), key=lambda item: item[0])


def test_there_are_errors_of_pyav():
    assert len(AV_ERRORS) > 50


@pytest.mark.parametrize(("code", "kind"), AV_ERRORS, ids=[f"{kind.__name__}{code}" for code, kind in AV_ERRORS])
def test_errors_of_pyav(monkeypatch, tmp_path, code, kind):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"x")
    foreign = kind(code, "went wrong", str(path))
    monkeypatch.setattr(av, "open", raising(foreign))
    with pytest.raises(errors.SourceError, match=r"^can't be opened: .") as caught:
        Source(str(path)).open()
    assert caught.value.__cause__ is foreign
    assert str(path) not in str(caught.value)  # the video's name is beside it

    class Broken:
        demux = raising(foreign)

    source = Source(str(path))
    source._container = Broken
    with pytest.raises(errors.SourceError, match=r"^reading stopped: .") as caught:
        next(source.packets())
    assert caught.value.__cause__ is foreign
