"""Events told to others while a run is under way: a command, a URL, an MQTT broker.

    settings = AlarmSettings(targets=("https://host/hook",), secret=b"...")
    with Engine(config, alarms=settings) as engine:
        engine.run(["rtsp://camera/stream"])

`watch` finds events in a stream as its tracks come, `receivers` are whom they can be told to, `sending` does it: behind
a bounded queue each, with retries, so that no receiver ever delays or fails a run, `kept` keeps those of live sources
over a kill. Targets are the operator's own: what
comes with a job can't name one.
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
