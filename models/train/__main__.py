"""Command line of the training."""

import logging
import os
import pickle
import tempfile
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path

import click
from torch.multiprocessing import start_processes

from models.train import CLASSES, samples
from models.train.loop import train
from models.train.network import StreetNano
from models.train.profiles import PROFILES, Profile
from models.train.pseudo import annotate
from models.train.samples import Sample
from models.train.teacher import Teacher

FEWEST_VIEWS = 2  # per process: batch normalisation needs more than one

log = logging.getLogger("models.train")


def collect(
    data: Path, videos: tuple[Path, ...], extra: tuple[Path, ...], teacher: Path, profile: Profile
) -> list[Sample]:
    """Return the images of `data/labelled` with their labels, and those of `data/unlabelled`, `extra` and `videos`
    with labels by the teacher."""
    found = list(islice(samples.labelled(data / "labelled"), profile.limit))
    log.info("%d labelled pictures", len(found))
    judge = Teacher(teacher, threads=len(os.sched_getaffinity(0)))
    folders = [samples.pictures(folder) for folder in (data / "unlabelled", *extra)]
    clips = [samples.frames(video, profile.frame_every_s) for video in videos]
    others = chain.from_iterable(islice(each, profile.limit) for each in (*folders, *clips))
    found += [annotate(name, picture, judge) for name, picture in others]
    log.info("%d pictures with those that the teacher labelled", len(found))
    return found


def show(step: int, parts: dict[str, float], seconds: float) -> None:
    shown = "  ".join(f"{name} {value:.3f}" for name, value in parts.items())
    log.info("step %d  %s  %.2f s a step", step, shown, seconds)


@click.command()
@click.option("--profile", "profile_name", type=click.Choice(list(PROFILES)), default="full", show_default=True)
@click.option("--data", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True,
              help="Folder with labelled/*.jpg, labelled/labels/*.txt and unlabelled/*.jpg.")  # fmt: skip
@click.option("--extra", multiple=True, type=click.Path(exists=True, file_okay=False, path_type=Path),
              help="A further folder of *.jpg without labels.")  # fmt: skip
@click.option("--video", "videos", multiple=True, type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="A video to take frames from.")  # fmt: skip
@click.option("--teacher", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True,
              help="YOLOX-nano as ONNX.")  # fmt: skip
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder for checkpoints.")
@click.option("--samples", "kept", type=click.Path(dir_okay=False, path_type=Path),
              help="File that caches the images with their labels between runs.")  # fmt: skip
@click.option("--steps", type=click.IntRange(1), help="Steps, instead of the profile's.")
@click.option("--rate", type=click.FloatRange(0, min_open=True), help="Learning rate, instead of the profile's.")
@click.option("--dense/--no-dense", default=True, help="Ask the teacher about every cell of every view.")
@click.option("--features/--no-features", default=True, help="Learn the teacher's features, too.")
@click.option("--processes", type=click.IntRange(1), help="Processes that share the work; default: one a core.")
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--resume", is_flag=True, help="Go on from the checkpoint in --out.")
def main(
    profile_name: str, data: Path, extra: tuple[Path, ...], videos: tuple[Path, ...], teacher: Path, out: Path,
    kept: Path | None, steps: int | None, rate: float | None, dense: bool, features: bool, processes: int | None,
    seed: int, resume: bool,
) -> None:  # fmt: skip
    """Train street-nano."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    profile = PROFILES[profile_name]
    profile = replace(profile, steps=steps or profile.steps, rate=rate or profile.rate, dense=dense, features=features)
    out.mkdir(parents=True, exist_ok=True)
    checkpoint = out / "checkpoint.pt"
    if resume and not checkpoint.is_file():
        raise click.UsageError(f"{checkpoint} is not there: nothing to resume. Leave --resume away.")
    if not resume and checkpoint.is_file():
        raise click.UsageError(f"{checkpoint} is there: go on from it with --resume, or name another folder as --out.")
    reusable = kept is not None or resume
    kept = kept or out / "samples.pickle"
    if reusable and kept.is_file():
        found = pickle.loads(kept.read_bytes())
        log.info("%d pictures kept in %s", len(found), kept)
    else:
        found = collect(data, videos, extra, teacher, profile)
        partial = kept.with_suffix(".part")
        partial.write_bytes(pickle.dumps(found))
        partial.replace(kept)
    weights = sum(p.numel() for p in StreetNano(len(CLASSES), profile.shape).parameters())
    processes = min(processes or len(os.sched_getaffinity(0)), max(profile.batch // FEWEST_VIEWS, 1))
    about = (weights / 1e6, profile.steps, profile.batch, processes)
    log.info("%.3f million weights, %d steps of %d views in %d processes", *about)
    with tempfile.TemporaryDirectory() as folder:
        rest = (processes, f"{folder}/meeting", found, teacher, profile, seed, checkpoint, resume, show)
        start_processes(train, rest, nprocs=processes, start_method="fork")


if __name__ == "__main__":
    main()
