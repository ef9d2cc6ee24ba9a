"""Tracks for the tools in which people correct and learn from them, and back.

In the order of the data: `boxes` (a video's tracks as arrays), `key_frames` (those from which the rest follows),
`formats/` (one file a format), `images` (frames as pictures), `exporting` (all of it), `corrected` (what a person has
mended becomes rows again).
"""

from engine.exports import formats, images
from engine.exports.corrected import Imported, import_corrected
from engine.exports.exporting import Export, ExportSettings, export_run, told

__all__ = [
    "Export",
    "ExportSettings",
    "Imported",
    "export_run",
    "formats",
    "images",
    "import_corrected",
    "told",
]
