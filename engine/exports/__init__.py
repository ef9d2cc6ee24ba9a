"""Export tracks to annotation and training tools, and import corrections.

In the order of the data: `boxes` (a video's tracks as arrays), `key_frames` (frames from which the others can be
interpolated), `formats/` (one file per format), `images` (frames as JPEG), `exporting` (everything together),
`corrected` (turns a person's corrections into rows again).
"""

from engine.exports import formats, images
from engine.exports.corrected import Imported, import_corrected
from engine.exports.exporting import Export, ExportSettings, export_json, export_run

__all__ = [
    "Export",
    "ExportSettings",
    "Imported",
    "export_json",
    "export_run",
    "formats",
    "images",
    "import_corrected",
]
