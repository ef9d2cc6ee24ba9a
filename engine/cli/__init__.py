"""The command line `yolo-engine`: one file per command, and how results look to people.

What may enter: arguments, reading them into an `EngineConfig`, exit statuses, tables and progress bars. What computes
lives elsewhere and prints nothing. A command's options are declared in a file here that imports nothing heavy, so that
`--help` answers at once; what it does is in `commands`, and loaded when it is run.
Others use: `main.run` (its options are those of a job as well), `progress.print_summary`, `repeats`.
"""

__all__ = ["main", "progress", "repeats"]
