"""The verdict for people: a row for each stage, and in words what binds and what would help."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.table import Table

from engine.profiling.bottleneck import ChangeJson, VerdictJson

# In the order the data moves.
_ORDER = ("open", "source", "decode", "preprocess", "infer", "postprocess", "track", "sink", "tally", "finish")

_WHO = {
    "decode": "decoders",
    "worker": "workers",
    "track": "the tracker",
    "sink": "sinks",
    "cores": "the cores",
    "streams": "streams",
}
_BARELY = 0.85


def print_verdict(console: Console, verdict: VerdictJson | None) -> None:
    """Show the verdict of a summary."""
    if verdict is None:
        console.print("No verdict: no frame was done.")
        return
    table = Table(box=None, pad_edge=False)
    for name in ("threads", "stage"):
        table.add_column(name, no_wrap=True)
    for name in ("frames", "ms each", "CPU", "no core", "time", "max fps"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in _rows(verdict):
        table.add_row(*row)
    console.print(table, markup=False, highlight=False)
    for line in sentences(verdict):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _rows(verdict: VerdictJson) -> Iterator[list[str]]:
    """Of each kind of threads its stages, and what they wait for where it is 1 % of their time or more."""
    most = {limit["of"]: f"{limit['fps']:,.0f}" for limit in verdict["limits"]}
    for threads in verdict["threads"]:
        first, last = f"{threads['count']} {threads['of']}", most.get(threads["of"], "")
        for stage in sorted(threads["stages"], key=lambda stage: _ORDER.index(stage["stage"].split()[0])):
            times = [f"{spent:.2f}" for spent in (stage["wall_ms"], stage["cpu_ms"], stage["queued_ms"])]
            frames = f"{stage['frames']:,}" if stage["frames"] else ""
            yield [first, stage["stage"], frames, *times, f"{stage['busy']:.0%}", last]
            first = last = ""
        waits = {"no frames": threads["waits_input"], "no room": threads["waits_room"], "the end": threads["waits_end"]}
        for what, share in waits.items():
            if share >= 0.01:
                yield ["", f"- {what}", "", "", "", "", f"{share:.0%}", ""]


def sentences(verdict: VerdictJson) -> list[str]:
    """Say what binds, then what a change would give."""
    lowest, cores = verdict["limits"][0], verdict["cores"]
    if lowest["of"] == "cores":
        binds = f"Verdict: the cores bind, and {verdict['stage']} takes most of them"
    else:
        binds = f"Verdict: {verdict['stage']} binds"
    lines = [
        f"{binds}. {_first_up(_WHO[lowest['of']])} can do {lowest['fps']:.1f} fps; this run did {verdict['fps']:.1f}."
    ]
    if verdict["explained"] < _BARELY:
        lines.append(
            f"Only {verdict['explained']:.0%} of that was reached: what is not measured (Python's lock, frames that "
            "differ, little work) binds too."
        )
    used = f"Cores: {cores['used']:.1f} of {cores['count']:g} used"
    lines.append(used + (f", {cores['others']:.1f} by other programs." if cores["others"] >= 0.1 else "."))
    lines += [f"- {_told(change)}" for change in _worth_telling(verdict)]
    return lines


def _worth_telling(verdict: VerdictJson) -> list[ChangeJson]:
    """The best repair, whole and half, and what more threads or cores would give."""
    best = verdict["next"]["of"] if verdict["next"] else None
    return [change for change in verdict["changes"] if change["of"] == best or change["change"] == "doubled"]


def _told(change: ChangeJson) -> str:
    more = "workers" if change["of"] == "worker" else change["of"]
    what = {
        "without": f"If {change['of']} cost nothing",
        "halved": f"If {change['of']} cost half",
        "doubled": f"With twice the {more}",
    }[change["change"]]
    then = "the cores" if change["then"] == "cores" else change["then"]
    return f"{what}: {change['fps']:.1f} fps, bound by {then}."


def _first_up(text: str) -> str:
    return text[0].upper() + text[1:]
