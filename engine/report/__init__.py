"""Pages to look at: the report of a run or a job, and the page on which a scene is drawn.

A page is one HTML file that opens from disk and reaches for nothing: styles, scripts, pictures and data are in it, and
its Content-Security-Policy allows no other. The annotated videos are the exception: they lie beside it, by their
relative path.

In the order of the data: `gather` makes `records` from a manifest, the tracks and the videos (`stills`: the frame
without those who pass); `charts` draws counts; `island` lays the data into the page; `pages` renders `templates/` with
the words of `words`, and writes. `editor` is the page for scenes. What is in `static/` is put into the pages as it
stands.

Whatever a stranger may have written (names of files, messages, classes) reaches a page as text: Jinja2 escapes it, the
data island contains no `<`, and scripts set texts, never HTML.
"""

from engine.report.editor import write_scene_page
from engine.report.pages import Written, write_report

__all__ = ["Written", "write_report", "write_scene_page"]
