"""Search over all runs and jobs in a tree of output folders: which object, where, when, for how long.

In the order of the data: `index` (a DuckDB file per tree, kept current from tracks.csv and events.csv), `query` (the
search), `crops` (images of the results). DuckDB comes with the extra `find`.
"""

from engine.find.crops import cut_crops
from engine.find.index import Index
from engine.find.query import Found, Question, ask

__all__ = ["Found", "Index", "Question", "ask", "cut_crops"]
