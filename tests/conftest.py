"""What every test leaves as it was."""

import logging

import pytest


@pytest.fixture(autouse=True)
def root_logger_as_it_was():
    """The command line sets up logging, to a stream that is gone after its test."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
