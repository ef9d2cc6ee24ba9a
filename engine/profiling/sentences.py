"""The verdict on a run in words: what binds it, and what a change would give."""

from __future__ import annotations

from engine.profiling.bottleneck import ChangeJson, VerdictJson

_WHO = {
    "decode": "decoders",
    "worker": "workers",
    "sink": "sinks",
    "cores": "the cores",
    "streams": "streams",
}
_BARELY = 0.85

_SHOWN = {"tally": "counting"}
"""Names of stages for people, where they differ."""


def shown(stage: str) -> str:
    """Return the name of a stage for people."""
    return _SHOWN.get(stage, stage)


def sentences(verdict: VerdictJson) -> list[str]:
    """Say what binds, then what a change would give."""
    lowest, cores = verdict["limits"][0], verdict["cores"]
    if lowest["of"] == "cores":
        binds = f"Verdict: the cores are the limit, and {shown(verdict['stage'])} takes most of them"
    else:
        binds = f"Verdict: {shown(verdict['stage'])} is the limit"
    lines = [
        f"{binds}. {_first_up(_WHO[lowest['of']])} can do {lowest['fps']:.1f} fps; this run did {verdict['fps']:.1f}."
    ]
    if verdict["explained"] < _BARELY:
        lines.append(
            f"Only {verdict['explained']:.0%} of that was reached: unmeasured limits (Python's lock, uneven frames, "
            "too little work) apply too."
        )
    had = {stage["stage"]: stage["frames"] for threads in verdict["threads"] for stage in threads["stages"]}
    if "gate" in had:
        inferred = had.get("infer", 0)
        lines.append(
            f"The gate had {inferred:,} of {had['gate']:,} frames inferred, whole or in parts, its audit included."
        )
    used = f"Cores: {cores['used']:.1f} of {cores['count']:g} used"
    lines.append(used + (f", {cores['others']:.1f} by other programs." if cores["others"] >= 0.1 else "."))
    lines += [f"- {_told(change)}" for change in _worth_telling(verdict)]
    return lines


def _worth_telling(verdict: VerdictJson) -> list[ChangeJson]:
    """Return the best repair, whole and half, and what more threads or cores would give."""
    best = verdict["next"]["of"] if verdict["next"] else None
    return [change for change in verdict["changes"] if change["of"] == best or change["change"] == "doubled"]


def _told(change: ChangeJson) -> str:
    of = shown(change["of"])
    more = "workers" if of == "worker" else of
    what = {
        "without": f"If {of} cost nothing",
        "halved": f"If {of} cost half",
        "doubled": f"With twice the {more}",
    }[change["change"]]
    then = "the cores" if change["then"] == "cores" else shown(change["then"])
    return f"{what}: {change['fps']:.1f} fps, limited by {then}."


def _first_up(text: str) -> str:
    return text[0].upper() + text[1:]
