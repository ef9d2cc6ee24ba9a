"""One use of an engine: its state and how it is stopped (`run`), what its inputs are (`identities`), what of live
sources is there while it goes on (`recorded`), and what is made of its tracks once its videos are done (`follow_up`).

The facade, engine/engine.py, makes a run; the pipeline does its work. What follows up is imported where it is wanted.
"""

__all__ = ["follow_up", "identities", "recorded", "run"]
