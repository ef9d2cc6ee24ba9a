"""The frames of a file once more, numbered as its rows are: for what is made of a run's tracks afterwards."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from pathlib import PurePosixPath

from engine.files.opened import OpenedFile
from engine.media.inputs import Video
from engine.media.source import Source
from engine.pipeline.reader import ReaderSettings, StreamReader
from engine.pipeline.stream import StreamRun
from engine.profiling.metrics import Metrics
from engine.records import Frame
from engine.sinks.memory import Counters
from engine.stages.decode import never_begun


def frames_again(file: OpenedFile, settings: ReaderSettings) -> Generator[Frame, None, None]:
    """Give the frames of a file that is open, as a run with these settings reads them. Raises VideoError."""
    most = settings.max_frame_bytes
    with closing(Source(file.path, options={} if most is None else never_begun(most))) as source:
        source.file = file
        run = StreamRun(0, Video(file.path, PurePosixPath("again")), {}, Counters(), 8)
        reader = StreamReader(source, run, settings)
        reader.open()
        with Metrics().clock("decode") as clock:
            yield from reader.frames(clock.lap)
