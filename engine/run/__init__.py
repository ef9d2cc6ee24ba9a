"""One use of an engine: its state and how it is stopped (`run`), its inputs' identities (`identities`), the manifest of
live sources while they are recorded (`recorded`), and the work on its tracks once its videos are done (`follow_up`).

The facade, engine/engine.py, creates a run; the pipeline does its work. The follow-up work is imported on demand.
"""

__all__ = ["follow_up", "identities", "recorded", "run"]
