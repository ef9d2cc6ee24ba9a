"""A run's answers: what its configuration asks for, made from the rows that are in its output folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from engine.analytics.answering import CameraAnswers, answer, films_of, told
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
"""The keys of a configuration that answers depend on."""

_HEATMAP = "heatmap.json"


@dataclass(frozen=True)
class Counted:
    """What was counted in a run: as a summary says it, and of each camera; of none where something went wrong."""

    told: AnswersJson
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
    """Write the tables that `config` asks for into `folder` and return what was counted; None if none are asked for.
    What went wrong is its `error`: the videos are done all the same. `tick` is called while it continues. `reported`: a
    report is written from it."""
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
        return Counted({"cameras": told(cameras), "tables": written}, tuple(cameras))
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
    """Return what a run's configuration as its manifest `kept` it, and over it the keys that are `given`, say of
    answers. Raises ConfigError."""
    asked = {key: kept[key] for key in ANSWER_KEYS if kept.get(key) is not None} | dict(given)
    return EngineConfig(**{key: value for key, value in asked.items() if key in ANSWER_KEYS})
