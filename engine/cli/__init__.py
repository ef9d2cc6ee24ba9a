"""The command line `yolo-engine`: one file per command, and how results are displayed.

What belongs here: arguments, turning them into an `EngineConfig`, exit statuses, tables and progress bars. Computation
belongs elsewhere and prints nothing. A file here declares a command's options and imports nothing heavy, so that
`--help` answers at once; the command's action is in `commands`, which is imported when it runs.
Other rooms use `leaving.leave`, `run.run` (jobs have the same options), `progress.print_summary` and `repeats`.
"""

__all__ = ["leaving", "progress", "repeats", "run"]
