"""A run's answers, as its configuration requests them, computed from the rows in its output folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from engine.analytics.answering import CameraAnswers, answer, cameras_json, films_of
from engine.analytics.export import write_tables, write_whole
from engine.analytics.heatmap import to_json
from engine.analytics.settings import AnswerSettings
from engine.config import EngineConfig
from engine.errors import ConfigError, InputError, OutputError
from engine.output_folder.own_files import refuse_foreign
from engine.summary import AnswersJson, VideoJson

ANSWER_KEYS = frozenset(
    "scene tables heatmap report_language bin_s zone start clock_patterns camera max_gap_s max_overlap_s".split()
)
"""The configuration keys that answers depend on."""

_HEATMAP = "heatmap.json"


class Counted(NamedTuple):
    """The counts of a run: as the summary has them, and per camera (none after an error)."""

    summary: AnswersJson
    cameras: tuple[CameraAnswers, ...] = ()


def answers_of(
    entries: Iterable[VideoJson],
    folder: Path,
    config: EngineConfig,
    settings: AnswerSettings | None = None,
    tick: Callable[[], None] = lambda: None,
    *,
    reported: bool = False,
) -> Counted | None:
    """Write the tables that `config` requests into `folder` and return the counts; None if it requests none. A failure
    is returned as their `error`, because the videos are done all the same. `tick` is called during the work.
    `reported`: a report will be written from the result."""
    if not config.writes_tables:
        return None
    try:
        settings = settings or AnswerSettings.of(config)
        films = films_of(entries, folder, settings, just_tracked=True)
        heatmap = config.heatmap or reported
        cameras = answer(films, settings, heatmap=heatmap, paths=reported, tick=tick)
        made, formats = [each.answers for each in cameras], config.tables or ("csv",)
        beside = {_HEATMAP: _heatmap(cameras)} if config.heatmap else {}
        written = write_tables(folder, made, settings.bin_s, formats, overwrite=config.overwrite, beside=beside)
        return Counted({"cameras": cameras_json(cameras), "tables": written}, tuple(cameras))
    except (ConfigError, InputError, OutputError) as error:
        return Counted({"cameras": [], "tables": {}, "error": str(error)})


def write_heatmap(folder: Path, cameras: Iterable[CameraAnswers], *, overwrite: bool = False) -> str:
    """Write heatmap.json into `folder` and return its path. Raises OutputError, as `write_tables` does."""
    path = folder / _HEATMAP
    refuse_foreign(path, overwrite=overwrite)
    write_whole(path, _heatmap(cameras))
    return str(path)


def _heatmap(cameras: Iterable[CameraAnswers]) -> bytes:
    found = {each.answers.camera: each.heatmap for each in cameras if each.heatmap is not None}
    return to_json(found).encode()


def config_for_answers(kept: Mapping[str, object], given: Mapping[str, object]) -> EngineConfig:
    """Return the configuration for answers: the run's own, as `kept` in its manifest, overridden by the keys `given`.
    Raises ConfigError."""
    asked = {key: kept[key] for key in ANSWER_KEYS if kept.get(key) is not None} | dict(given)
    return EngineConfig(**{key: value for key, value in asked.items() if key in ANSWER_KEYS})
