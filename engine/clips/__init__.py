"""Clips of what happened, cut from the sources of a finished run.

In the order of the data: `plan` (which parts of which videos), `packets` (what a file holds, and where it can be cut),
`writing` (a clip that grows), `joining` (a part to the frame, its middle as it is), `copying` (parts of a file in one
reading), `encoding` (a part to the frame, all of it anew), `cutting` (all of it), `lists` (clips.csv, and empty.txt for
the videos in which nothing was found).

A clip holds every frame of the events that it is for. Packets are copied only where the frames they decode to are
those that the rows number; else the part is encoded anew.
"""

from engine.clips.cutting import Clip, Cut, cut_clips
from engine.clips.lists import told
from engine.clips.plan import ClipSettings

__all__ = ["Clip", "ClipSettings", "Cut", "cut_clips", "told"]
