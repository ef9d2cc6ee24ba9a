"""The command line `yolo-engine`: one file per command, and how results look to people.

What may enter: arguments, reading them into an `EngineConfig`, exit statuses, tables and progress bars. What computes
lives elsewhere and prints nothing. Nothing heavy is imported at the top of a file, so that `--help` answers at once.
Others use: `main.run` (its options are those of a job as well), `progress.print_summary`, `repeats`.
"""

__all__ = ["main", "progress", "repeats"]
