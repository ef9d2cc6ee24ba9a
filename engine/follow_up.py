"""What follows when the videos of a run are done: its answers, and what is made of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from engine.analytics.settings import AnswerSettings
from engine.answers import answers_of
from engine.clips import ClipSettings, cut_clips
from engine.clips import told as clips_told
from engine.config import EngineConfig
from engine.errors import ConfigError, InputError, OutputError, VideoError
from engine.exports import export_run
from engine.exports import told as export_told
from engine.finished import FinishedRun
from engine.summary import FollowUpJson, VideoJson


def follow_up(
    entries: Sequence[VideoJson],
    folder: Path,
    config: EngineConfig,
    model: Mapping[str, str],
    *,
    settings: AnswerSettings | None = None,
    roots: Sequence[Path] = (),
    tick: Callable[[], None] = lambda: None,
) -> FollowUpJson:
    """Make what `config` asks for of the tracks in `folder`, and return what a summary says of it.

    That is "answers", "clips" and "exports", each only where it is asked for. What went wrong is the "error" of each:
    the videos are done all the same, and the rest is made. With `roots`, only sources below one of them are opened.
    `tick` is called while it goes on.
    """
    settings = settings or AnswerSettings.of(config)
    found: FollowUpJson = {}
    answers = answers_of(entries, folder, config, settings, tick)
    if answers is not None:
        found["answers"] = answers
    if config.clips is not None:
        try:
            run = FinishedRun.of(entries, folder, config, model, settings=settings)
            cut = cut_clips(run, ClipSettings.of(config.clips), roots=roots, tick=tick, overwrite=config.overwrite)
            found["clips"] = clips_told(cut)
        except (ConfigError, InputError, OutputError, VideoError) as error:
            found["clips"] = {"clips": [], "failed": {}, "error": str(error)}
    if config.export:
        try:
            run = FinishedRun.of(entries, folder, config, model, settings=settings)
            made = [export_run(run, form, roots=roots, tick=tick) for form in dict.fromkeys(config.export)]
            found["exports"] = {"exports": [export_told(each) for each in made]}
        except (ConfigError, InputError, OutputError, VideoError) as error:
            found["exports"] = {"exports": [], "error": str(error)}
    return found


def error_in(found: FollowUpJson) -> str | None:
    """Return the first error of what followed; None where all went well."""
    parts = (found.get("answers"), found.get("clips"), found.get("exports"))
    return next((each["error"] for each in parts if each is not None and "error" in each), None)
