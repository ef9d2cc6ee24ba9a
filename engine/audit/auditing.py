"""The audit of a run or a job, from its manifest to its boxes."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from engine.audit.again import compare, do_again
from engine.audit.claims import Claim, claims_of
from engine.audit.files import check_files, check_manifest, check_outputs, check_source
from engine.audit.findings import Audit, AuditedVideo, Finding, Kind
from engine.audit.frames import look_again
from engine.audit.rows import check_rows
from engine.engine import Engine
from engine.errors import ConfigError, InputError, LaterVersion
from engine.finished import FinishedRun
from engine.output_folder.manifest import read_manifest
from engine.summary import ManifestJson

ALL: Final = -1
"""Instead of a number of frames: whole videos are done again, and all their rows compared."""

_ROWS = ("tracks", "mot", "detections")
_GATED = (
    "most boxes of a gated run (key gate) are carried over from other frames, so that no frame tells by itself what "
    "its boxes should be; all rows are compared instead"
)


def audit(
    folder: Path,
    *,
    frames: int,
    seed: int = 0,
    sources: Path | None = None,
    changes: Mapping[str, object] | None = None,
    begun: Callable[[str], None] = lambda what: None,
    tick: Callable[[], None] = lambda: None,
) -> Audit:
    """Compare what is in the output folder of a run or a job with what its manifest says.

    All hashes are compared, and `frames` frames of each video are inferred again with the model and precision that are
    claimed: 0 for none, ALL for whole videos. The same `seed` takes the same frames. `sources` is where the videos lie
    now, if not where they lay; `changes` are keys of the configuration that say where and with what file to compute
    here. `begun` is told what is looked at, `tick` is called while it continues. Raises InputError if there is no
    manifest, or one of a later version, and ConfigError, ModelError or BackendMissing if the model can't be run
    here.
    """
    if not (folder / "manifest.json").is_file():
        read_manifest(folder)  # says why there is none
    try:
        manifest = read_manifest(folder)
        run = FinishedRun.load(folder, sources=sources, counts=False)
        claims = claims_of(manifest, run)
    except LaterVersion:  # nothing is wrong with it
        raise
    except (InputError, ConfigError) as error:
        return Audit((Finding(Kind.MANIFEST, "", "manifest.json", str(error)),))
    engine = _engine(run, changes or {}) if frames and any(_has_frames(claim) for claim in claims) else None
    findings = [*check_manifest(manifest, folder), *check_files(manifest.get("files", {}), folder, tick)]
    if engine is not None:
        with engine:
            findings += _of_the_model(manifest, run, engine)
            videos = _videos(claims, run, engine, frames, seed, findings, begun, tick)
    else:
        videos = _videos(claims, run, None, 0, seed, findings, begun, tick)
    hashed = sum(len(claim.files) for claim in claims) + len(manifest.get("files", {}))
    left_out = ("the run kept no hashes of its outputs: what they are was not compared",) if not hashed else ()
    return Audit(tuple(findings), tuple(videos), hashed, left_out)


def _engine(run: FinishedRun, changes: Mapping[str, object]) -> Engine:
    return Engine(run.config.updated(
        visualize=False, crops=False, clips=None, export=None,
        tables=None, heatmap=False, report=False, build_plan=False, **changes,
    ))  # fmt: skip


def _has_frames(claim: Claim) -> bool:
    return claim.source is not None and not claim.unfinished and claim.frames > 0


def _of_the_model(manifest: ManifestJson, run: FinishedRun, engine: Engine) -> Iterator[Finding]:
    """Compare model and precision with those that would be taken now."""
    model = engine.model
    if run.model_sha256 and model.sha256 != run.model_sha256:
        claimed, here = run.model_sha256[:12], model.sha256[:12]
        detail = f"the file of {run.model} here is {here}..., and the run claims {claimed}..."
        yield Finding(Kind.MODEL, "", "manifest.json", detail)
    precision = manifest["backend"].get("precision")
    if precision and precision != model.precision:
        detail = f"the run claims to have computed in {precision}, and its configuration asks for {model.precision}"
        yield Finding(Kind.PRECISION, "", "manifest.json", detail)


def _videos(
    claims: Sequence[Claim],
    run: FinishedRun,
    engine: Engine | None,
    frames: int,
    seed: int,
    findings: list[Finding],
    begun: Callable[[str], None],
    tick: Callable[[], None],
) -> list[AuditedVideo]:
    """Audit each video, add what is found to `findings`, and return what was looked at."""
    videos: list[AuditedVideo] = []
    whole: dict[int, Claim] = {}  # by its place among `videos`
    for claim in claims:
        begun(claim.name)
        if claim.unfinished:
            videos.append(AuditedVideo(claim.name, left_out=claim.unfinished))
            continue
        findings += [*check_outputs(claim, run.folder, tick), *check_rows(claim)]
        wrong = list(check_source(claim))
        findings += wrong
        if engine is None or not _has_frames(claim):
            why = "its source is gone" if claim.source is None else "no frames were asked for"
            videos.append(AuditedVideo(claim.name, left_out=why))
        elif wrong:  # its frames are others
            videos.append(AuditedVideo(claim.name, left_out="its source is not what it was"))
        else:
            looked, found = look_again(claim, engine, claim.frames if frames == ALL else frames, seed, tick)
            if frames == ALL and engine.config.gate != "off" and any(kind in claim.outputs for kind in _ROWS):
                looked = replace(looked, left_out=_GATED)
            whole[len(videos)] = claim
            videos.append(looked)
            findings += found
    if engine is not None and frames == ALL:
        for place, (rows, found) in zip(whole, _again(list(whole.values()), engine, begun), strict=True):
            videos[place] = replace(videos[place], rows=rows)
            findings += found
    return videos


def _again(claims: Sequence[Claim], engine: Engine, begun: Callable[[str], None]) -> list[tuple[int, list[Finding]]]:
    """Do videos again, and return of each how many rows were compared and what was found."""
    begun("all rows")
    kinds = [kind for kind in _ROWS if any(kind in claim.outputs for claim in claims)]
    if not kinds:
        return [(0, []) for _ in claims]
    with tempfile.TemporaryDirectory(prefix="yolo-audit-") as folder:
        # What a file leaves to the next one of its camera is kept where checkpoints are.
        config = engine.config.updated(
            formats=tuple(kinds), store_conf=None, resume=True, save_intermediate_results=True
        )
        rows_only = Engine(config, model=engine.model)
        entries = do_again(rows_only, claims, Path(folder))
        return [compare(claim, entries[str(claim.stem)]) for claim in claims]
