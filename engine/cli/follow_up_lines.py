"""A summary's clips, exports and events, as lines of text."""

from __future__ import annotations

from collections.abc import Iterator

from engine.summary import SummaryJson
from engine.text.counted import counted


def follow_up_lines(summary: SummaryJson) -> Iterator[str]:
    """Yield a line for each thing made from the tracks."""
    clips, exports = summary.get("clips"), summary.get("exports")
    if clips is not None and "error" not in clips:
        copied = sum(each["mode"] == "copy" for each in clips["clips"])
        made = counted(len(clips["clips"]), "clip")
        yield f"{made} in {clips.get('folder', '')}, {copied:,} copied without encoding."
        for name, why in clips["failed"].items():
            yield f"{name}: no clips: {why}"
    for each in exports["exports"] if exports is not None else ():
        tracks, boxes = counted(each["tracks"], "track"), counted(each["boxes"], "box", "boxes")
        yield f"{each['folder']}: {tracks}, {boxes} for {each['format']}."
    for line in summary.get("alarms", ()):
        given_up = f", {line['given_up']:,} given up ({line.get('error', '')})" if line["given_up"] else ""
        yield f"{counted(line['sent'], 'event')} sent to {line['target']}{given_up}."
