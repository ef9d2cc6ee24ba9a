"""The manifest of live sources while a run over them continues.

Such a run may last for weeks, and may be killed. The manifest is rewritten after every complete segment, so that the
recordings can be analysed, cut and searched meanwhile, and after a kill.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence

from engine.errors import OutputError
from engine.pipeline.stream import StreamRun
from engine.summary import (
    BackendJson,
    RunSummary,
    SegmentJson,
    SummaryJson,
    Totals,
    VideoJson,
    VideoResult,
    VideoStatus,
)

log = logging.getLogger(__name__)

UNFINISHED = "the run was not over when this was written: it goes on, or was killed"


class Recorded:
    """The live sources of one run. `put` receives the summary so far, of these sources only, with the segments of
    earlier runs. Not thread-safe."""

    def __init__(
        self, model: Mapping[str, str], backend: Callable[[], BackendJson], put: Callable[[SummaryJson], None]
    ) -> None:
        self._model, self._backend, self._put = dict(model), backend, put
        self._streams: list[StreamRun] = []
        self._written = 0
        self._began_s = time.perf_counter()

    def add(self, stream: StreamRun) -> None:
        """Add a stream that may turn out to be live."""
        if stream.recording is not None:
            self._streams.append(stream)

    def with_earlier(self, videos: Sequence[VideoJson]) -> list[VideoJson]:
        """Return the entries of a summary, those of live sources with the segments of earlier runs into the same
        folder, too, also where a source could not be opened this time."""
        earlier = {str(each.video.stem): _earlier(each) for each in self._streams}
        found: list[VideoJson] = []
        for video in videos:
            # Without the size of their images, which older versions noted for the source alone, they can't be read.
            before = [
                each for each in earlier.get(video["stem"], ()) if each.get("media") or video.get("media") is not None
            ]
            found.append({**video, "segments": [*before, *video.get("segments", [])]} if before else video)
        return found

    def look(self) -> None:
        """Have the summary written if a segment has been completed since. An OutputError is only logged: the summary is
        written again at the end of the run."""
        complete = sum(stream.recording.complete for stream in self._streams if stream.recording is not None)
        if complete <= self._written:
            return
        found = [(stream, _segments(stream)) for stream in self._streams]
        if sum(len(segments) for _, segments in found) < complete:  # one is just being listed
            return
        self._written = complete
        videos = tuple(_entry(stream, segments) for stream, segments in found if segments or _earlier(stream))
        elapsed_s = time.perf_counter() - self._began_s
        totals = Totals.over(videos, sum(video.frames for video in videos), elapsed_s)
        summary = RunSummary(videos=videos, totals=totals, model=self._model, backend=self._backend()).to_json()
        try:
            self._put({**summary, "videos": self.with_earlier(summary["videos"]), "error": UNFINISHED})
        except OutputError as error:
            log.warning("the manifest of the recordings so far can't be written: %s", error)


def _segments(stream: StreamRun) -> list[SegmentJson]:
    return stream.recording.entries() if stream.recording is not None else []


def _earlier(stream: StreamRun) -> list[SegmentJson]:
    return stream.recording.earlier() if stream.recording is not None else []


def _entry(stream: StreamRun, segments: Sequence[SegmentJson]) -> VideoResult:
    """Return a source's result from its segments. A track that continues from one to the next counts in each."""
    duration_s = sum(segment["duration_s"] for segment in segments)
    return VideoResult(
        path=stream.video.shown,
        status=VideoStatus.PARTIAL,
        error=UNFINISHED,
        frames=sum(segment["frames"] for segment in segments),
        detections=sum(segment["detections"] for segment in segments),
        tracks=sum(segment["tracks"] for segment in segments),
        duration_s=round(duration_s, 3),
        outputs=segments[-1]["outputs"] if segments else {},
        stem=str(stream.video.stem),
        media=stream.media_so_far,
        segments=list(segments),
    )
