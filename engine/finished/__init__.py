"""What a run or a job left in its output folder, as records: for whatever goes on from there.

    run = FinishedRun.load(Path("out"))
    tracks = {video.name: video.tracks for video in run.videos}

What others say of a folder, its manifest, is checked here once; nothing is opened but the manifest.
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
