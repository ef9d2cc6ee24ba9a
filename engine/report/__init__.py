"""HTML pages: the report of a run or a job, and the scene editor.

A page is one HTML file that opens from disk and loads nothing else: styles, scripts, images and data are in it, and its
Content-Security-Policy allows no other. The annotated videos are the exception: they are beside it, linked by relative
path.

In the order of the data: `gather` builds `records` from a manifest, the tracks and the videos (`stills`: the frame
without moving objects); `charts` draws counts; `island` embeds the data in the page; `pages` renders `templates/` with
the texts of `words`, and writes. `editor` is the page for scenes. The files in `static/` are embedded unchanged.

Everything a stranger may have written (file names, messages, classes) reaches a page as text: Jinja2 escapes it, the
data island contains no `<`, and scripts set text, never HTML.
"""

from engine.report.editor import write_scene_page
from engine.report.pages import Written, write_report

__all__ = ["Written", "write_report", "write_scene_page"]
