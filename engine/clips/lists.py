"""clips.csv lists the contents of each clip; empty.txt the videos in which nothing was found, and how certain that
is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import chain
from typing import TYPE_CHECKING

from engine.analytics import read_tracks
from engine.analytics.tables import Row, csv_of, rows_of
from engine.choices.formats import CLIP_LISTS
from engine.clips.cut import Clip, Cut
from engine.config import EngineConfig
from engine.finished import FinishedRun, FinishedVideo
from engine.summary import ClipsJson
from engine.text.counted import counted
from engine.text.printable import printable

if TYPE_CHECKING:
    from engine.files.folders import Folder

COLUMNS = tuple(
    "clip mode camera video from_time to_time from_s to_s first_frame last_frame part kinds places directions classes"
    " track_ids event_first_s event_last_s lead_s encoded_frames note".split()
)


LIST, EMPTY = CLIP_LISTS
_LARGEST_LIST = 1 << 28


def clips_csv(clips: Sequence[Clip], kept: Iterable[Mapping[str, str]] = ()) -> str:
    """Return the list of clips as CSV, one row per clip. Seconds are the video's own; `lead_s` were copied before the
    requested part, back to a key frame; `encoded_frames` were re-encoded. `kept` are rows of an earlier list that are
    still valid."""
    rows: list[Row] = [*map(_row, clips)]
    rows += [{key: row.get(key, "") for key in COLUMNS} for row in kept]
    return csv_of(COLUMNS, rows)


def listed_before(folder: Folder) -> list[dict[str, str]]:
    """Return the rows of the list that an earlier run left in a folder; none if it is not a list. Raises OSError."""
    try:
        rows = rows_of(folder.read(LIST, _LARGEST_LIST).decode())
    except (FileNotFoundError, ValueError):
        return []
    return [row for row in rows if {"clip", "video"} <= row.keys()]


def clips_json(cut: Cut) -> ClipsJson:
    """Return the part of a summary about clips, as JSON values."""
    return {
        "folder": str(cut.folder),
        "clips": [
            {
                "clip": str(clip.path),
                "mode": clip.mode,
                "video": clip.video,
                "from_s": round(clip.begins_s, 6),
                "to_s": round(clip.ends_s, 6),
                "first_frame": clip.first_frame,
                "last_frame": clip.last_frame,
                "events": len(clip.part.happenings),
                "note": clip.note,
            }
            for clip in cut.clips
        ],
        "failed": dict(cut.failed),
    }


def _row(clip: Clip) -> Row:
    happenings = [happening for happening, _ in clip.part.happenings]
    spans = [span for _, span in clip.part.happenings]
    return {
        "clip": str(clip.name),
        "mode": clip.mode,
        "camera": happenings[0].camera,
        "video": clip.video,
        "from_time": _time(clip.begins_at),
        "to_time": _time(clip.ends_at),
        "from_s": round(clip.begins_s, 3),
        "to_s": round(clip.ends_s, 3),
        "first_frame": clip.first_frame,
        "last_frame": clip.last_frame,
        "part": f"{clip.part.number} of {clip.part.of}" if clip.part.of > 1 else "",
        "kinds": _several(each.kind for each in happenings),
        "places": _several(each.place for each in happenings),
        "directions": _several(each.direction for each in happenings),
        "classes": _several(each.class_name for each in happenings),
        "track_ids": _several(str(each.track_id) for each in happenings),
        "event_first_s": round(min(span.begins_s for span in spans), 3),
        "event_last_s": round(max(span.ends_s for span in spans), 3),
        "lead_s": round(clip.lead_s, 3),
        "encoded_frames": clip.encoded_frames,
        "note": clip.note,
    }


def empty_txt(run: FinishedRun) -> str:
    """Return the list of videos in which nothing was found, one per line: the name, a tab, and how many frames were
    examined. Videos that were not examined completely are listed separately, since they may contain something."""
    config = run.config
    made = [run.remade.get(str(video.stem)) for video in run.videos if video.tracks is not None]
    if made and (first := made[0]) is not None and all(each == first for each in made):
        config = EngineConfig(**first.over(config.model_dump()))
    classes = "all classes" if config.classes is None else "only " + ", ".join(config.classes)
    looked_at = f"model {run.model}" + (f" (SHA-256 {run.model_sha256[:12]}...)" if run.model_sha256 else "")
    head = (
        "# Videos in which no track was found. That is no proof that nothing is there:\n"
        f"# {printable(looked_at)}, {printable(classes)}, scores from {config.conf:g}, tracker {config.tracker}.\n"
    )
    if config.start_s or config.part_ends_s is not None:
        end = "its end" if config.part_ends_s is None else f"{config.part_ends_s:g} s"
        head += f"# Of each video only a part was examined: from {config.start_s:g} s to {end}.\n"
    if config.scan:
        head += "# Of each video only the groups of pictures in which something moves were examined (scan).\n"
    empty = [video for video in run.videos if not _has_tracks(run, video)]
    whole = [video for video in empty if video.examined and video.status == "ok"]
    unsure = [video for video in empty if video not in whole]
    lines = [_line(video) for video in whole]
    if unsure:
        lines += ["# Not examined to the end:", *(f"# {_line(video)}" for video in unsure)]
    return head + "".join(f"{line}\n" for line in lines)


def _has_tracks(run: FinishedRun, video: FinishedVideo) -> bool:
    """Return whether the video's file has a track row now: it may have been edited since the run."""
    if run.counted:  # just now, so it is up to date
        return bool(video.objects)
    return video.tracks is not None and video.tracks.is_file() and any(len(rows) for rows in read_tracks(video.tracks))


def _line(video: FinishedVideo) -> str:
    found = f"{video.examined:,} of {counted(video.frames, 'frame')} examined"
    if video.detections:
        found += f", {counted(video.detections, 'detection')} that made no track"
    why = f", {video.status}: {video.error}" if video.status != "ok" else ""
    return printable(video.name, 4000) + "\t" + printable(found + why)


def _several(words: Iterable[str]) -> str:
    return " ".join(dict.fromkeys(chain(word for word in words if word)))


def _time(moment: datetime | None) -> str:
    return "" if moment is None else moment.isoformat(timespec="milliseconds")
