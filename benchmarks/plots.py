"""Curves as SVG: rows that name a curve and an x, one file per stage and curve, with logarithmic axes."""

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from benchmarks.record import Row

# Text stays text and ids are stable, so plots only differ if their figures do.
STYLE = {"svg.fonttype": "none", "svg.hashsalt": "yolo-engine", "font.size": 9, "axes.grid": True, "grid.alpha": 0.3}


def curves_of(rows: Sequence[Row]) -> dict[tuple[str, str, str], list[Row]]:
    """Return (stage, curve, unit) -> rows by x, if there are two or more."""
    found = defaultdict(list)
    for row in rows:
        if "curve" in row.parameters and "x" in row.parameters:
            found[row.stage, str(row.parameters["curve"]), row.unit].append(row)
    return {key: sorted(group, key=x_of) for key, group in found.items() if len({x_of(row) for row in group}) > 1}


def x_of(row: Row) -> float:
    return float(row.parameters["x"])


def draw(rows: Sequence[Row], folder: Path) -> dict[str, list[Path]]:
    """Write the plots, and return the files by stage."""
    written = defaultdict(list)
    for (stage, curve, unit), group in curves_of(rows).items():
        path = folder / f"{slug(stage)}-{slug(curve)}-{slug(unit)}.svg"
        plot(group, f"{stage}: {unit} by {curve}", curve, unit, path)
        written[stage].append(path)
    return dict(written)


def plot(rows: Sequence[Row], title: str, curve: str, unit: str, path: Path) -> None:
    """Draw a line for each of those measured: medians, and a band from the lowest to the highest round."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator, ScalarFormatter

    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6, 4), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.subplots()
        axes.set(xscale="log", yscale="log", xlabel=curve, ylabel=unit, title=title)
        for name, points in lines_of(rows).items():
            xs = list(points)
            (line,) = axes.plot(xs, [points[x][0] for x in xs], marker="o", markersize=4, label=name)
            lows, highs = [points[x][1] for x in xs], [points[x][2] for x in xs]
            axes.fill_between(xs, lows, highs, alpha=0.15, color=line.get_color(), linewidth=0)
        axes.set_xticks(sorted({x_of(row) for row in rows}))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.legend()
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})


def lines_of(rows: Sequence[Row]) -> dict[str, dict[float, tuple[float, float, float]]]:
    """Return name -> x -> (median, lowest, highest)."""
    found: dict[str, dict[float, tuple[float, float, float]]] = {}
    for row in rows:
        for name, spread in row.spreads.items():
            found.setdefault(name, {})[x_of(row)] = (spread.median, spread.low, spread.high)
    return found


def slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
