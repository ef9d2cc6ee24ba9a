"""The command line with a fake backend that takes FAKE_DELAY_S a call: `python -m tests.e2e.slow_cli run ...`."""

import os

from engine.backends.fake import FakeBackend
from engine.cli import main

if __name__ == "__main__":
    assert FakeBackend.__init__.__kwdefaults__ is not None
    FakeBackend.__init__.__kwdefaults__["delay_s"] = float(os.environ.get("FAKE_DELAY_S", "0"))
    main()
