"""The work after the videos of a run are done: its answers, clips and exports.

The code for clips and exports is loaded only if requested: loading it takes longer than counting.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from engine.analytics.answering import CameraAnswers
from engine.analytics.run_answers import answers_of
from engine.analytics.settings import AnswerSettings
from engine.config import EngineConfig
from engine.errors import ConfigError, InputError, OutputError, VideoError
from engine.summary import FollowUpJson, VideoJson


class Followed(NamedTuple):
    """The outcome: as the summary has it, and the answers of each camera."""

    made: FollowUpJson
    cameras: tuple[CameraAnswers, ...] = ()

    @property
    def error(self) -> str | None:
        """The first error, if any."""
        parts = (self.made.get("answers"), self.made.get("clips"), self.made.get("exports"))
        return next((each["error"] for each in parts if each is not None and "error" in each), None)


def follow_up(
    entries: Sequence[VideoJson],
    folder: Path,
    config: EngineConfig,
    model: Mapping[str, object],
    *,
    settings: AnswerSettings | None = None,
    reported: bool = False,
    roots: Sequence[Path] = (),
    tick: Callable[[], None] = lambda: None,
) -> Followed:
    """Do the work that `config` requests on the tracks in `folder`.

    That is "answers", "clips" and "exports", each only if requested. A failure is returned as the "error" of its part;
    the videos are done all the same, and the other parts continue. `reported`: the answers will also be used for a
    report, so that rows are read only once. With `roots`, only sources below one of them are opened. `tick` is called
    during the work.
    """
    settings = settings or AnswerSettings.of(config)
    found: FollowUpJson = {}
    counted = answers_of(entries, folder, config, settings, tick, reported=reported)
    if counted is not None:
        found["answers"] = counted.summary
    cameras = counted.cameras if counted is not None else ()
    if config.clips is not None or config.export:
        found |= _made(entries, folder, config, model, settings, cameras, roots, tick)
    return Followed(found, cameras)


def _made(
    entries: Sequence[VideoJson],
    folder: Path,
    config: EngineConfig,
    model: Mapping[str, object],
    settings: AnswerSettings,
    cameras: Sequence[CameraAnswers],
    roots: Sequence[Path],
    tick: Callable[[], None],
) -> FollowUpJson:
    """Cut the clips and write the exports."""
    from engine.clips import ClipSettings, clips_json, cut_clips
    from engine.exports import export_json, export_run
    from engine.finished import FinishedRun

    found: FollowUpJson = {}
    if config.clips is not None:
        try:
            run = FinishedRun.of(entries, folder, config, model, settings=settings, counted=cameras)
            cut = cut_clips(run, ClipSettings.of(config.clips), roots=roots, tick=tick, overwrite=config.overwrite)
            found["clips"] = clips_json(cut)
        except (ConfigError, InputError, OutputError, VideoError) as error:
            found["clips"] = {"clips": [], "failed": {}, "error": str(error)}
    if config.export:
        try:
            run = FinishedRun.of(entries, folder, config, model, settings=settings)
            made = [export_run(run, form, roots=roots, tick=tick) for form in dict.fromkeys(config.export)]
            found["exports"] = {"exports": [export_json(each) for each in made]}
        except (ConfigError, InputError, OutputError, VideoError) as error:
            found["exports"] = {"exports": [], "error": str(error)}
    return found
