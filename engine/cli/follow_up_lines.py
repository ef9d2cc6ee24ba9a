"""What a summary says of clips and the like, as lines for people."""

from __future__ import annotations

from collections.abc import Iterator

from engine.summary import SummaryJson


def follow_up_lines(summary: SummaryJson) -> Iterator[str]:
    """Give a line for each thing that was made of the tracks."""
    clips, exports = summary.get("clips"), summary.get("exports")
    if clips is not None and "error" not in clips:
        copied = sum(each["mode"] == "copy" for each in clips["clips"])
        yield f"{len(clips['clips'])} clips in {clips.get('folder', '')}, {copied} of them copied as they are."
        for name, why in clips["failed"].items():
            yield f"{name}: no clips: {why}"
    for each in exports["exports"] if exports is not None else ():
        yield f"{each['folder']}: {each['tracks']:,} tracks, {each['boxes']:,} boxes for {each['format']}."
    for line in summary.get("alarms", ()):
        given_up = f", {line['given_up']:,} given up ({line.get('error', '')})" if line["given_up"] else ""
        yield f"{line['sent']:,} events sent to {line['target']}{given_up}."
