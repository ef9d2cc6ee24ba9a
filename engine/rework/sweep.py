"""Files of tracks and of ground truth that belong together, and parameter sets tried over stored detections."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.analytics.evaluation import Prepared, Scores, prepare, read_boxes, score
from engine.choices.formats import STORE_SUFFIX
from engine.config import EngineConfig
from engine.errors import ConfigError, InputError
from engine.rework.retrack import changed, follow, stores_in
from engine.sinks.store import Store
from engine.trackers.registry import TRACKERS, Parameter, parameters_of

MOT = ".mot.txt"
_MAX_SETS = 10_000


@dataclass(frozen=True)
class Trial:
    """One parameter set and its scores over all sequences."""

    tracker: str
    parameters: Mapping[str, Parameter]
    scores: Scores


def pairs(tracks: Path, truth: Path, suffix: str = MOT) -> dict[str, tuple[Path, Path]]:
    """Return tracks and ground truth by the name of the sequence: of two files, or of all files in two folders.

    The truth of NAME.mot.txt in a folder is NAME/gt/gt.txt, as MOTChallenge has it, NAME/gt.txt, NAME.txt or
    NAME.mot.txt. Raises InputError if there is nothing to compare, or tracks have no truth.
    """
    if tracks.is_file() and truth.is_file():
        return {_name(tracks, suffix): (tracks, truth)}
    files = [tracks] if tracks.is_file() else sorted(tracks.rglob(f"*{suffix}")) if tracks.is_dir() else []
    if not files:
        raise InputError(f"{tracks} contains no tracks (*{suffix}).")
    found: dict[str, tuple[Path, Path]] = {}
    for file in files:
        name = _name(file, suffix)
        places = (
            truth / name / "gt" / "gt.txt",
            truth / name / "gt.txt",
            truth / f"{name}.txt",
            truth / f"{name}{MOT}",
        )
        right = next((place for place in places if place.is_file()), None)
        if right is None:
            raise InputError(f"{file} has no ground truth: looked for {', '.join(map(str, places))}.")
        found[name] = (file, right)
    return found


def evaluate(tracks: Path, truth: Path, *, distractors: bool = True) -> tuple[dict[str, Scores], Scores]:
    """Return the scores of each sequence and of all together. Raises InputError."""
    prepared = {
        name: prepare(read_boxes(file), read_boxes(right), distractors=distractors)
        for name, (file, right) in pairs(tracks, truth).items()
    }
    return score(prepared)


def parameter_sets(ranges: Sequence[str]) -> list[dict[str, str]]:
    """Return every combination of ranges such as "max_age=10,30" that one tracker takes, without what is twice.

    "tracker=sort,bytetrack" tries several. Raises ConfigError for a range that is none, and where nothing fits.
    """
    values: dict[str, list[str]] = {}
    for text in ranges:
        key, separator, listed = text.partition("=")
        key = key.strip().replace("-", "_")
        parts = [part.strip() for part in listed.split(",") if part.strip()]
        if not separator or not parts:
            raise ConfigError(f"A range is KEY=VALUE,VALUE, as in max_age=10,30. Got {text!r}.")
        if key not in EngineConfig.model_fields:
            raise ConfigError(f"Unknown key {key!r}. Of a tracker are: {', '.join(EngineConfig.model_fields)}.")
        values[key] = parts
    trackers = values.pop("tracker", None)
    sets: list[dict[str, str]] = []
    names: list[str | None] = list(trackers) if trackers else [None]
    for tracker in names:
        if tracker is not None and tracker not in TRACKERS:
            raise ConfigError(f"tracker must be one of {', '.join(TRACKERS)}. Got {tracker!r}.")
        mine = {
            key: parts
            for key, parts in values.items()
            if tracker is None
            or key in TRACKERS[tracker].defaults
            or not any(key in k.defaults for k in TRACKERS.values())
        }
        for combination in itertools.product(*mine.values()):
            sets.append({**({"tracker": tracker} if tracker else {}), **dict(zip(mine, combination, strict=True))})
            if len(sets) > _MAX_SETS:
                raise ConfigError(f"These ranges make more than {_MAX_SETS} parameter sets: give fewer values.")
    unused = [key for key in values if not any(key in each for each in sets)]
    if unused:
        raise ConfigError(f"{unused[0]} is a parameter of none of these trackers: {', '.join(trackers or [])}.")
    return sets


def sweep(
    stores: Path,
    truth: Path,
    sets: Sequence[Mapping[str, str]],
    *,
    distractors: bool = True,
    tick: Callable[[int, Trial], None] = lambda number, trial: None,
) -> list[Trial]:
    """Try parameter sets over stored detections, best HOTA first. `tick` is told each one, and how many were tried.
    Raises ConfigError, before the first is tried, and InputError."""
    stores_in(stores)
    files = pairs(stores, truth, STORE_SUFFIX)
    truths = {name: read_boxes(right) for name, (_, right) in files.items()}
    for file, _ in files.values():
        with Store(file) as store:
            for values in sets:
                changed(store.header.config, values)
    trials: list[Trial] = []
    for values in sets:
        prepared: dict[str, Prepared] = {}
        for name, (file, _) in files.items():
            with Store(file) as store:
                config = changed(store.header.config, values)
                prepared[name] = prepare(_boxes(store, config), truths[name], distractors=distractors)
        parameters = parameters_of(config.tracker, config.model_dump())
        trials.append(Trial(config.tracker, parameters, score(prepared)[1]))
        tick(len(trials), trials[-1])
    return sorted(trials, key=lambda trial: -trial.scores.hota)


def _boxes(store: Store, config: EngineConfig) -> NDArray[np.float64]:
    """Return the tracks as `read_boxes` gives those of a file."""

    def rows() -> Iterator[NDArray[np.float64]]:
        for tracks in follow(store, config):
            table = np.full((len(tracks), 9), -1.0)
            table[:, 0], table[:, 1] = tracks.frame.index + 1, tracks.track_ids
            table[:, 2:4] = tracks.boxes_xyxy[:, :2]
            table[:, 4:6] = tracks.boxes_xyxy[:, 2:] - tracks.boxes_xyxy[:, :2]
            table[:, 6] = tracks.scores
            yield table

    return np.concatenate([np.empty((0, 9)), *rows()])


def _name(path: Path, suffix: str) -> str:
    return path.name.removesuffix(suffix) if path.name.endswith(suffix) else path.stem
