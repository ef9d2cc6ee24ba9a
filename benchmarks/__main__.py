"""The suite's command line: `python -m benchmarks [compare | report]`. `yolo-engine bench` is the same.

Exit status: 0 all well, 1 a stage failed or a regression was found, 2 wrong usage.
"""

import argparse
import os
import sys
from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    given = sys.argv[1:] if arguments is None else arguments
    commands = {"compare": compare, "report": report}
    try:
        if given and given[0] in commands:
            return commands[given[0]](given[1:])
        return measure(given)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("benchmarks", "engine", "engine_ext"):
            raise
        from engine.install import extra

        print(f"Error: {error.name} is not installed. Repair: {extra('bench')}", file=sys.stderr)
        return 2


def measure(given: list[str]) -> int:
    from benchmarks.context import PROFILES
    from benchmarks.suite import STAGES, run
    from benchmarks.targets import shown

    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure the engine beside its peers and its limit. Also: compare OLD NEW, report [FILE...].",
    )
    parser.add_argument("--profile", choices=list(PROFILES), default="quick", help="quick: under three minutes")
    parser.add_argument("--stage", nargs="+", action="extend", choices=STAGES, metavar="NAME", help=", ".join(STAGES))
    parser.add_argument("--out", type=Path, help="file of results (default: benchmarks/results/<time>-<commit>.jsonl)")
    parser.add_argument("--report", action="store_true", help="write RESULTS.md and the plots afterwards")
    options = parser.parse_args(given)
    path, rows, failed = run(options.profile, options.stage or STAGES, options.out)
    print(f"\n{shown(rows)}\n\n{path}")
    if options.report and rows:
        from benchmarks.report import write

        print(write(rows))
    return 1 if failed or not rows else 0


def compare(given: list[str]) -> int:
    from benchmarks.compare import MIN_CHANGE, compared
    from benchmarks.record import read_rows

    parser = argparse.ArgumentParser(
        prog="python -m benchmarks compare", description="Print what became worse from one file of results to another."
    )
    parser.add_argument("old", type=Path, help="file of results, benchmarks/results/<run>.jsonl")
    parser.add_argument("new", type=Path, help="another one")
    parser.add_argument(
        "--least", type=float, default=MIN_CHANGE, help=f"share below which nothing counts ({MIN_CHANGE})"
    )
    options = parser.parse_args(given)
    try:
        old, new = read_rows(options.old), read_rows(options.new)
    except (OSError, ValueError) as error:
        return wrong(error, "two .jsonl files of benchmarks/results")
    text, regressions = compared(old, new, options.least)
    print(text)
    return 1 if regressions else 0


def report(given: list[str]) -> int:
    from benchmarks.record import read_rows
    from benchmarks.report import last_run, merged, write

    parser = argparse.ArgumentParser(
        prog="python -m benchmarks report", description="Write benchmarks/RESULTS.md and the plots."
    )
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="later ones win; without, the last run")
    options = parser.parse_args(given)
    try:
        rows = merged([read_rows(path) for path in options.files or [last_run()]])
    except (OSError, ValueError) as error:
        return wrong(error, ".jsonl files of benchmarks/results")
    print(write(rows))
    return 0


def wrong(error: Exception, wanted: str) -> int:
    text = str(error)
    if isinstance(error, OSError) and error.filename is not None:
        missing = isinstance(error, FileNotFoundError)
        problem = "does not exist" if missing else f"can't be read: {(error.strerror or text).lower()}"
        text = f"{error.filename} {problem}; name {wanted}."
    print(f"Error: {text}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
