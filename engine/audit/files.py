"""Sizes and hashes: of the outputs, of the sources, and of the manifest itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from engine.audit.claims import RETRACKED, Claim
from engine.audit.findings import Finding, Kind
from engine.errors import VideoError, describe_os_error
from engine.files.objects import open_input
from engine.output_folder.hashes import SEAL, identity, seal_of
from engine.results import file_identity
from engine.summary import FileJson

_OF_THE_RUN = ("schema", "success", "videos", "totals", "model", "backend")


def check_manifest(manifest: Mapping[str, Any], folder: Path) -> Iterator[Finding]:
    """Compare a manifest with its own hash, and with what a job keeps of it elsewhere."""
    if SEAL in manifest and seal_of(manifest) != manifest[SEAL]:
        yield Finding(Kind.MANIFEST, "", "manifest.json", "its content is not that which its own hash is of")
    if (job := manifest.get("job")) is None:
        return
    for path, key in (
        (folder / ".yolo-jobs" / str(job) / "manifest.json", None),
        (folder / f"celery_result_{job}.json", "processing_result"),
    ):
        shown = str(path.relative_to(folder))
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            told = kept if key is None else kept[key]
            others = [name for name in _OF_THE_RUN if told[name] != manifest[name]]
        except OSError as error:
            yield Finding(Kind.MISSING, "", shown, describe_os_error(error))
        except (ValueError, KeyError, TypeError, RecursionError):
            yield Finding(Kind.CHANGED, "", shown, "it is damaged")
        else:
            if others:
                detail = f"it says something else than manifest.json of {', '.join(others)}"
                yield Finding(Kind.MANIFEST, "", shown, detail)


def check_outputs(claim: Claim, folder: Path, tick: Callable[[], None]) -> Iterator[Finding]:
    """Compare the outputs of a video with their hashes. An output of which none is kept must be there."""
    for kind, path in claim.outputs.items():
        again = kind in ("tracks", "mot") and (folder / RETRACKED).exists()
        yield from _check(path, claim.files.get(kind), claim.name, claim.shown(kind), tick, again=again)
    for kind in claim.files.keys() - claim.outputs.keys():
        yield Finding(Kind.MANIFEST, claim.name, "manifest.json", f"it has a hash of {kind}, and names no such output")


def check_files(files: Mapping[str, FileJson], folder: Path, tick: Callable[[], None]) -> Iterator[Finding]:
    """Compare what the run made besides its videos' outputs."""
    for shown, claimed in files.items():
        yield from _check(folder / shown, claimed, "", shown, tick)


def check_source(claim: Claim) -> Iterator[Finding]:
    """Compare a source with what it was when it was read."""
    if claim.source is None or claim.input is None:
        return
    try:
        with open_input(str(claim.source)) as file:
            found = file_identity(file)
    except VideoError as error:
        yield Finding(Kind.SOURCE, claim.name, "", f"{claim.source} {error}: --source DIR says where it lies now")
        return
    if found != claim.input:
        yield Finding(Kind.SOURCE, claim.name, "", f"it has changed since: {_difference(found, claim.input)}")


def _check(
    path: Path, claimed: FileJson | None, video: str, shown: str, tick: Callable[[], None], *, again: bool = False
) -> Iterator[Finding]:
    try:
        if path.is_symlink() or not path.is_file():
            what = "is not a regular file" if path.is_symlink() or path.exists() else "is not there"
            yield Finding(Kind.MISSING, video, shown, what)
            return
        found = identity(path, tick) if claimed is not None else None
    except OSError as error:
        yield Finding(Kind.MISSING, video, shown, describe_os_error(error))
        return
    if found != claimed:
        why = f"; {RETRACKED} says that `retrack` has written it" if again else ""
        yield Finding(Kind.CHANGED, video, shown, f"{_difference(found, claimed)}{why}")


def _difference(found: Any, claimed: Any) -> str:
    if found is None:
        return "it can't be read"
    if found["size_bytes"] != claimed["size_bytes"]:
        return f"{found['size_bytes']:,} bytes instead of {claimed['size_bytes']:,}"
    if "etag" in found or "etag" in claimed:
        return f"its etag is {found.get('etag')}, not {claimed.get('etag')}"
    return f"its SHA-256 is {found['sha256'][:12]}..., not {str(claimed['sha256'])[:12]}..."
