"""The output folder of a finished run or job as records, for everything that processes it further.

    run = FinishedRun.load(Path("out"))
    tracks = {video.name: video.tracks for video in run.videos}

The manifest, which others may have written, is validated here once; nothing else is opened.
"""

from engine.finished import happenings
from engine.finished.folder import FinishedRun, FinishedVideo
from engine.finished.happenings import Happening, Selection, happenings_of
from engine.finished.names import file_word, fresh_name

__all__ = [
    "FinishedRun",
    "FinishedVideo",
    "Happening",
    "Selection",
    "file_word",
    "fresh_name",
    "happenings",
    "happenings_of",
]
