"""`yolo-engine analyze`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from engine.analytics import read_mot, read_tracks
from engine.analytics.answering import CameraAnswers, answer, cameras_json, film_of_rows, films_of
from engine.analytics.export import write_tables
from engine.analytics.naming import camera_of
from engine.analytics.reviewed import Reviewed
from engine.analytics.run_answers import config_for_answers, write_heatmap
from engine.analytics.samples import classes_in
from engine.analytics.settings import AnswerSettings, check_formats
from engine.analytics.timeline import Film
from engine.analytics.verdicts import Judged, read_verdicts
from engine.analytics.vocabulary import check_places
from engine.cli.answers_table import print_answers
from engine.cli.console import screen
from engine.cli.idle import Rule, refuse_idle
from engine.config import EngineConfig, load_config
from engine.errors import InputError, OutputError, describe_os_error
from engine.output_folder.manifest import is_of_a_run, read_manifest
from engine.output_folder.remade import read_remade
from engine.storage.results import results_at
from engine.summary import AnswersJson, ManifestJson
from engine.text.say import say

# Marks of people reach beyond the edge; in MOT17, up to 5 % of them with their centres.
_MANY_OUTSIDE = 0.1
_RULES: tuple[Rule[tuple[Path, ...]], ...] = (
    Rule(
        ("size", "fps"),
        lambda outputs: any(given.is_file() for given in outputs),
        "applies to a file of rows; a folder has a manifest that states it",
    ),
)


def analyze(
    outputs: tuple[Path, ...],
    output: Path | None,
    config_file: Path | None,
    size: str | None,
    fps: float | None,
    verdicts: Path | None,
    overwrite: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Analyse existing tracks and print the counts. `options` are configuration keys."""
    refuse_idle(_RULES, outputs)
    values = load_config(config_file) if config_file is not None else {}
    EngineConfig(**values)  # also validates keys of the file that have no effect here
    values |= {key: value for key, value in options.items() if value not in (None, ())}
    judged = read_verdicts(verdicts) if verdicts is not None else None
    with ExitStack() as stack:
        results = {given: stack.enter_context(results_at(given)) for given in dict.fromkeys(outputs)}
        folders = [results[given].folder for given in outputs]
        cameras, tables = _analyzed(folders, output, values, _size(size), fps, judged, overwrite=overwrite)
    answers: AnswersJson = {
        "cameras": cameras_json(cameras),
        "tables": {name: results[outputs[0]].named(path) for name, path in tables.items()},
    }
    if as_json:
        click.echo(json.dumps(answers))
    else:
        print_answers(screen(), answers)
        if judged is not None:
            say(_of_review(cameras, judged))
    return 0


def _analyzed(
    outputs: Sequence[Path],
    output: Path | None,
    values: dict[str, Any],
    size_wh: tuple[int, int] | None,
    fps: float | None,
    judged: Sequence[Judged] | None,
    *,
    overwrite: bool,
) -> tuple[Sequence[CameraAnswers], dict[str, str]]:
    """Return the answers, and the paths of their tables by name. `values` are configuration keys that were given."""
    films: list[Film] = []
    rates: dict[Path, float] = {}
    settings = formats = None
    heatmap = False
    noted: set[str] | None = set()  # the models' classes; None unless all manifests have them
    for number, given in enumerate(outputs):
        manifest = _manifest(given)
        config = config_for_answers(manifest.get("config", {}) if manifest else {}, values)
        own = AnswerSettings.of(config)
        if not number:
            settings, formats, heatmap = own, config.tables or ("csv",), config.heatmap
        elif own._replace(scenes=()) != (settings or own)._replace(scenes=()):
            raise click.UsageError(f"{given} was made with other clocks, cameras or bins: name them here, or take one.")
        else:
            assert settings is not None
            more = tuple(scene for scene in own.scenes if scene not in settings.scenes)
            settings = settings._replace(scenes=settings.scenes + more)
        films += _films(given, manifest, own, size_wh, fps, rates)
        more_classes = None if manifest is None else manifest.get("classes")
        noted = None if noted is None or more_classes is None else noted | set(more_classes)
    assert settings is not None
    assert formats is not None
    check_formats(formats)
    films = _distinct(films)
    if "scene" in values:
        if (unused := settings.check_videos([film.known_as for film in films])) is not None:
            say(f"Warning: {unused}", err=True)
        rows = [film.tracks for film in films if film.tracks is not None and film.tracks not in rates]
        check_places(settings.classes_named(), noted, lambda: classes_in(rows))
    cameras = answer(
        films,
        settings,
        heatmap=heatmap,
        verdicts=judged,
        read=lambda path: read_mot(path, rates[path]) if path in rates else read_tracks(path),
    )
    folder = output or (outputs[0] if outputs[0].is_dir() else outputs[0].parent)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"Output folder {folder} can't be made: {describe_os_error(error)}.") from error
    tables = write_tables(folder, [each.answers for each in cameras], settings.bin_s, formats, overwrite=overwrite)
    if heatmap:
        tables["heatmap.json"] = write_heatmap(folder, cameras, overwrite=overwrite)
    return cameras, tables


def _of_review(cameras: Sequence[CameraAnswers], judged: Sequence[Judged]) -> str:
    """Describe the effect of verdicts in words."""
    met = sum((each.reviewed for each in cameras if each.reviewed is not None), Reviewed())
    unknown = len({(each.camera, each.key) for each in judged}) - met.confirmed - met.rejected
    text = f"Verdicts: {met.confirmed:,} confirmed, {met.rejected:,} rejected"
    if not unknown:
        return f"{text}."
    return f"{text}, {unknown:,} on events that do not exist: they were given for other tracks, or with another scene."


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise click.BadParameter(f"a size such as 1920x1080. Got {text!r}.", param_hint="--size")
    return int(width), int(height)


def _manifest(given: Path) -> ManifestJson | None:
    """Read the manifest of an output folder; None for a file. Raises InputError."""
    if given.is_file():
        return None
    try:
        return read_manifest(given)
    except InputError as error:
        if is_of_a_run(given):  # but its manifest is missing or invalid
            raise
        raise InputError(f"{error} A file of another program's tracks needs --size and --fps.") from error


def _films(
    given: Path,
    manifest: ManifestJson | None,
    settings: AnswerSettings,
    size_wh: tuple[int, int] | None,
    fps: float | None,
    rates: dict[Path, float],
) -> list[Film]:
    if manifest is not None:
        return films_of(manifest["videos"], given, settings, remade=read_remade(given, manifest))
    if size_wh is None or fps is None:
        raise InputError(f"{given} does not describe its video: give its frame size and rate with --size WxH --fps N.")
    if given.suffix != ".jsonl":
        rates[given] = fps
    film, outside = film_of_rows(given, settings, size_wh, fps)
    if outside > _MANY_OUTSIDE:
        shown = "x".join(map(str, size_wh))
        say(f"Warning: {outside:.0%} of the boxes in {given} are outside {shown}: is --size right?", err=True)
    return [film]


def _distinct(films: list[Film]) -> list[Film]:
    """Prefix videos of several folders that share a name with their folder's name."""
    names = Counter(film.name for film in films)
    taken: set[str] = set()
    found = []
    for film in films:
        name = film.name
        if names[name] > 1 and film.tracks is not None:
            name = f"{film.tracks.parent.name}/{name}"
        number = 1
        while name in taken:
            number += 1
            name = f"{film.name} ({number})"
        taken.add(name)
        # A video that is its own camera stays one.
        alone = name != film.name and film.camera == camera_of(film.name, None)
        found.append(film._replace(name=name, camera=camera_of(name, None) if alone else film.camera))
    return found
