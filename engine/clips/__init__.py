"""Clips of events, cut from the sources of a finished run.

In the order of the data: `plan` (which parts of which videos), `packets` (a file's packets, and where it can be cut),
`writing` (a growing clip), `joining` (an exact part whose middle is copied), `copying` (parts of a file in one pass),
`encoding` (an exact part, fully re-encoded), `cut` (what was cut), `cutting` (everything together), `lists` (clips.csv,
and empty.txt for the videos in which nothing was found).

A clip contains every frame of its events. Packets are copied only if they decode to exactly the frames that the rows
number; otherwise the part is re-encoded.
"""

from engine.clips.cut import Clip, Cut
from engine.clips.cutting import cut_clips
from engine.clips.lists import clips_json
from engine.clips.plan import ClipSettings

__all__ = ["Clip", "ClipSettings", "Cut", "clips_json", "cut_clips"]
