"""State of the process that every test finds unchanged."""

import logging
import os
import sys

import pytest

from engine.cli import leaving

# NumPy's threads for large matrices spin for 50 ms of computing time in each of the hundreds of processes that tests
# start. NumPy reads this when it is imported, which no test module has done yet.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def tests_go_on(monkeypatch):
    """A console script that is called in a test's process does not end it."""
    monkeypatch.setattr(leaving, "leave", sys.exit)


@pytest.fixture(autouse=True)
def root_logger_as_it_was():
    """The command line sets up logging, to a stream that is gone after its test."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


@pytest.fixture(autouse=True)
def priority_as_it_was():
    """A test process of real-time priority starves all others: see tests/scheduling.py."""
    before = os.sched_getscheduler(0)
    yield
    assert os.sched_getscheduler(0) == before, "the test changed the scheduling of its process"
