import json
import logging
import sys

import pytest

from engine.logs import JsonFormatter, set_up_logging


def formatted(message="opened %s", args=("a.mp4",), extra=None, exc_info=None):
    logger = logging.getLogger("engine.test")
    record = logger.makeRecord("engine.test", logging.WARNING, __file__, 1, message, args, exc_info, extra=extra)
    line = JsonFormatter().format(record)
    assert "\n" not in line
    return json.loads(line)


def test_an_object_a_line():
    entry = formatted()
    assert list(entry) == ["time", "level", "logger", "message"]
    assert (entry["level"], entry["logger"], entry["message"]) == ("warning", "engine.test", "opened a.mp4")
    assert entry["time"].endswith("+00:00")


@pytest.mark.parametrize(
    ("extra", "shown"),
    [
        ({"stream": "a.mp4", "frame": 3}, {"stream": "a.mp4", "frame": 3}),
        ({"path": ValueError("odd")}, {"path": "odd"}),  # what is no JSON is its text
        ({"level": 3, "logger": "mine", "time": 0}, {}),  # never instead of the line's own
        ({"note": 'two\nlines and a "quote"'}, {"note": 'two\nlines and a "quote"'}),
    ],
)
def test_extras(extra, shown):
    entry = formatted(extra=extra)
    assert entry == formatted() | shown | {"time": entry["time"]}


def test_exception():
    try:
        raise KeyError("gone")
    except KeyError:
        entry = formatted(exc_info=sys.exc_info())
    assert entry["exception"].startswith("Traceback")
    assert entry["exception"].endswith("KeyError: 'gone'")


@pytest.mark.parametrize(
    ("level", "form", "lines"),
    [
        ("warning", "text", ["WARNING careful"]),
        ("info", "text", ["INFO going on", "WARNING careful"]),
        ("error", "text", []),
    ],
)
def test_levels(capsys, level, form, lines):
    set_up_logging(level, form)
    logging.getLogger("engine.x").info("going on")
    logging.getLogger("engine.x").warning("careful")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == lines


def test_json_form_and_set_up_twice(capsys):
    set_up_logging("info", "text")
    set_up_logging("info", "json")
    logging.getLogger("engine.x").info("going on")
    assert [json.loads(line)["message"] for line in capsys.readouterr().err.splitlines()] == ["going on"]
