"""What the manifest says of a video's images and times, so that its rows can be read without it."""

from __future__ import annotations

from engine.records import EndOfStream, Ratio, StreamInfo
from engine.sinks.memory import Counters
from engine.stages.confidence import FEWEST_WINDOWS, interval
from engine.summary import MediaJson
from engine.text.counted import counted


def gate_note(tally: Counters) -> str | None:
    """Return what a gated video cost, in words; None without a gate."""
    if not (frames := tally.looks.total()):
        return None
    told = f"gate: {tally.inferred_share / frames:.0%} inferred"
    if (seen := tally.agreements) is None:
        return f"{told}; too short for an audit of what that costs"
    windows = counted(seen.boxes.windows, "window")
    if not seen.boxes.whole:
        return f"{told}; no boxes in the {windows} of the audit, which tells nothing of what that costs"
    told += f"; {seen.boxes.value:.3f} of boxes agree with whole frames"
    if seen.boxes.windows < FEWEST_WINDOWS:
        told += f" in {windows}: too few to state an interval for the whole video"
    else:
        told += f" {_between(seen.boxes)}"
        if seen.ids.whole:
            told += f", {seen.ids.value:.3f} of ids {_between(seen.ids)}"
        if seen.counts.whole:
            told += f", {seen.counts.value:.3f} of their numbers {_between(seen.counts)}"
        told += f", in {windows}"
    if seen.opened_at:
        told += f"; below gate_target, it opened behind frame {', '.join(map(str, seen.opened_at))}"
    if seen.closed_at:
        told += f", and closed by a step behind frame {', '.join(map(str, seen.closed_at))}"
    return told


def _between(ratio: Ratio) -> str:
    low, high = interval(ratio)
    return f"[{low:.2f} .. {high:.2f}]"


def media_facts(info: StreamInfo, tally: Counters, end: EndOfStream) -> MediaJson | None:
    """Return the size of a video's upright frames, its time base, the nominal seconds between two frames, its creation
    time, the container's time of its first frame, from when to when its frames were looked at, and the intervals that
    were left out. None if no frame was looked at."""
    if tally.first_pts_s is None or tally.size_wh is None:
        return None
    first_s = tally.first_pts_s if end.first_pts is None else float(end.first_pts * info.time_base)
    # A frame without a duration lasts as long as the rate says.
    last_s = tally.last_duration_s or (float(1 / info.frame_rate) if info.frame_rate else 0.0)
    end_s = tally.last_pts_s + last_s
    if end.left_out:
        end_s = max(end_s, float(end.left_out[-1][1] * info.time_base))
    facts: MediaJson = {
        "size_wh": list(tally.size_wh),
        "time_base": str(info.time_base),
        "step_s": None if info.step_s is None else str(info.step_s),
        "first_s": round(first_s, 6),
        "examined_s": [round(tally.first_pts_s, 6), round(end_s, 6)],
    }
    if end.left_out:
        facts["not_examined_s"] = [[round(float(at * info.time_base), 6) for at in gap] for gap in end.left_out]
    if info.creation_time:
        facts["creation_time"] = info.creation_time[:100]
    return facts
