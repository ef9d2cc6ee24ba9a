"""Send events to others while a run is under way: to a command, a URL or an MQTT broker.

    settings = AlarmSettings(targets=("https://host/hook",), secret=b"...")
    with Engine(config, alarms=settings) as engine:
        engine.run(["rtsp://camera/stream"])

`watch` detects events in a stream as its tracks arrive, `receivers` are the kinds of targets, `sending` delivers events
from a bounded queue per target, with retries, so that no receiver ever delays or fails a run, and `kept` saves the
events of live sources across a kill. Targets are set by the operator: a job can't name one.
"""

from engine.alarms.kept import Kept
from engine.alarms.receivers import check_target
from engine.alarms.sending import SECRET, Alarms, AlarmSettings, Notice
from engine.alarms.watch import KINDS, StreamWatch, WatchSettings

__all__ = [
    "KINDS",
    "SECRET",
    "AlarmSettings",
    "Alarms",
    "Kept",
    "Notice",
    "StreamWatch",
    "WatchSettings",
    "check_target",
]
