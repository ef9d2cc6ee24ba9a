"""The command line with a fake backend that takes FAKE_DELAY_S per call, and a checkpoint every CHECKPOINT_S:
`python -m tests.e2e.slow_cli run ...`."""

import os

from engine.cli.main import main
from engine.engine import Engine
from engine.inference.backends.fake import FakeBackend

if __name__ == "__main__":
    assert FakeBackend.__init__.__kwdefaults__ is not None
    assert Engine.__init__.__kwdefaults__ is not None
    FakeBackend.__init__.__kwdefaults__["delay_s"] = float(os.environ.get("FAKE_DELAY_S", "0"))
    Engine.__init__.__kwdefaults__["checkpoint_s"] = float(os.environ["CHECKPOINT_S"])
    main()
