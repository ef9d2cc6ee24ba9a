"""A run's answers: what its configuration asks for, made from the rows that stand in its output folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from engine.analytics.answering import CameraAnswers, answer, films_of, told
from engine.analytics.export import write_tables, write_whole
from engine.analytics.heatmap import to_json
from engine.analytics.settings import AnswerSettings
from engine.config import EngineConfig
from engine.errors import ConfigError, InputError, OutputError
from engine.summary import AnswersJson, VideoJson


def answers_of(
    entries: Iterable[VideoJson],
    folder: Path,
    config: EngineConfig,
    settings: AnswerSettings | None = None,
    tick: Callable[[], None] = lambda: None,
) -> AnswersJson | None:
    """Write the tables that `config` asks for into `folder` and return what a summary says of them; None where none are
    asked for. What went wrong is its `error`: the videos are done all the same. `tick` is called while it goes on."""
    if not config.writes_tables:
        return None
    try:
        settings = settings or AnswerSettings.of(config)
        cameras = answer(films_of(entries, folder, settings), settings, heatmap=config.heatmap, tick=tick)
        written = write_tables(folder, [each.answers for each in cameras], settings.bin_s, config.tables or ("csv",))
        if config.heatmap:
            written["heatmap.json"] = write_heatmap(folder, cameras)
        return {"cameras": told(cameras)["cameras"], "tables": written}
    except (ConfigError, InputError, OutputError) as error:
        return {"cameras": [], "tables": {}, "error": str(error)}


def write_heatmap(folder: Path, cameras: Iterable[CameraAnswers]) -> str:
    """Write heatmap.json into `folder` and return its path. Raises OutputError."""
    path = folder / "heatmap.json"
    found = {each.answers.camera: each.heatmap for each in cameras if each.heatmap is not None}
    write_whole(path, to_json(found).encode())
    return str(path)
