"""The zoo: from a name to a manifest and a verified file on this machine.

The file of a bundled model is in this package, in `weights/`, and only there. Others are searched by their manifest's
file name, first in the mirror folders of `YOLO_ENGINE_MODELS` (separated as in `PATH`), then in the user's cache. The
hash of a file is always checked before its path is returned.
"""

import difflib
import functools
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from models.errors import DownloadError, HashError, MissingModelError, ModelError, UnknownModelError
from models.files import accept, accepted_hash, cache_dir, sha256_of
from models.foreign import bare, how_to_get
from models.manifest import ModelManifest, from_toml

if TYPE_CHECKING:
    from models.download import Progress

# No export of a model is this many times larger than another, and none exceeds protobuf's limit. A larger file is not
# hashed, because it must be something else.
_LARGEST_EXPORT = 16
_LARGEST_ONNX = 2**31 - 1

MIRRORS_VARIABLE = "YOLO_ENGINE_MODELS"

# The model that runs if none is named: bundled, so that nothing must be downloaded first.
DEFAULT_MODEL = "street-nano"

_ZOO = Path(__file__).parent / "zoo"
WEIGHTS = Path(__file__).parent / "weights"


@functools.cache
def zoo() -> dict[str, ModelManifest]:
    """Return all models of the zoo by name, read once."""
    manifests = (from_toml(path, f"models/zoo/{path.name}") for path in sorted(_ZOO.glob("*.toml")))
    return {manifest.name: manifest for manifest in manifests}


def list_models() -> tuple[ModelManifest, ...]:
    """Return all models of the zoo, by name."""
    return tuple(zoo().values())


def get_manifest(name: str) -> ModelManifest:
    """Return the manifest of a zoo model. Raises UnknownModelError, which lists similar and available names."""
    try:
        return zoo()[name]
    except KeyError:
        raise UnknownModelError(f"{name!r} is not a model of the zoo{names_hint(name)}") from None


def names_hint(name: str) -> str:
    """Return the end of a message about an unknown model name: how to get it, or similar names; then all of them."""
    same = [known for known in zoo() if bare(known) == bare(name)]
    if not same and (way := how_to_get(name)) is not None:
        return f". {way} Available: {', '.join(zoo())}."
    close = same or difflib.get_close_matches(name.lower().replace("_", "-"), zoo(), n=2)
    did_you_mean = f"; did you mean {' or '.join(close)}?" if close else "."
    return f"{did_you_mean} Available: {', '.join(zoo())}."


def by_hash(sha256: str) -> ModelManifest | None:
    """Return the zoo model that has a known export with this hash, if any."""
    return next((manifest for manifest in list_models() if sha256 in manifest.hashes), None)


def smallest_that_knows(classes: Iterable[str]) -> ModelManifest | None:
    """Return the smallest model of the zoo that knows all these classes; None if none does. An unknown size counts as
    large."""
    wanted = set(classes)
    able = [manifest for manifest in list_models() if wanted <= set(manifest.classes)]
    return min(able, key=lambda manifest: manifest.size_bytes or math.inf, default=None)


def models_cache() -> Path:
    """Return the folder that `pull` fills."""
    return cache_dir("models")


def _mirrors() -> list[Path]:
    return [Path(entry) for entry in os.environ.get(MIRRORS_VARIABLE, "").split(os.pathsep) if entry]


def in_mirrors(name: str) -> Path | None:
    """Return the file with this name in the first mirror folder that has one; `.onnx` may be omitted."""
    names = [name] if Path(name).suffix else [name, f"{name}.onnx"]
    return next((path for folder in _mirrors() for each in names if os.path.isfile(path := folder / each)), None)


def _known_hashes(manifest: ModelManifest, path: Path) -> tuple[str, ...]:
    """Return the published hashes, else the accepted one: on record beside the file, or, as a mirror may be read-only,
    in the cache."""
    accepted = accepted_hash(path) or accepted_hash(models_cache() / manifest.file)
    return manifest.hashes or ((accepted,) if accepted else ())


def _hash_of(manifest: ModelManifest, path: Path) -> str:
    try:
        return sha256_of(path, _LARGEST_EXPORT * manifest.size_bytes or _LARGEST_ONNX)
    except ModelError as error:
        raise HashError(f"{error} Its content can't be verified as {manifest.name}: remove or repair it.") from error


def check_file(manifest: ModelManifest, path: Path) -> str:
    """Raise HashError unless `path` is a known export of `manifest`; return its hash.

    If the manifest has no hash, the accepted one counts.
    """
    got = _hash_of(manifest, path)
    known = _known_hashes(manifest, path)
    if not known:
        raise HashError(
            f"{path}: no published hash of {manifest.name} is known, and none was accepted yet. "
            f"It has SHA-256 {got}. If you trust it: `yolo-engine models pull {manifest.name} --sha256 {got}`."
        )
    if got not in known:
        raise HashError(
            f"{path}: this is not {manifest.name}: SHA-256 {known[0]} expected, {got} found. "
            f"Remove the file, then `yolo-engine models pull {manifest.name}`."
        )
    return got


def _bundled(manifest: ModelManifest) -> Path:
    """Return the file in this package. Raises HashError with the remedy if it is damaged; it can't be missing."""
    path = WEIGHTS / manifest.file
    got = sha256_of(path) if path.is_file() else "no file"
    if got not in manifest.hashes:
        raise HashError(
            f"{path}: the bundled model {manifest.name} is damaged: SHA-256 {manifest.sha256} expected, {got} found. "
            "Repair: `git restore models/weights` in a checkout, else pip install --force-reinstall yolo-engine."
        )
    return path


def _candidates(manifest: ModelManifest) -> list[Path]:
    return [path for folder in [*_mirrors(), models_cache()] if os.path.isfile(path := folder / manifest.file)]


def find(name: str) -> Path | None:
    """Return the verified file of a zoo model; None if no searched folder has one. Raises HashError for a wrong
    file."""
    manifest = get_manifest(name)
    if manifest.bundled:
        return _bundled(manifest)
    paths = _candidates(manifest)
    if not paths:
        return None
    check_file(manifest, paths[0])
    return paths[0]


def offline_remedy(manifest: ModelManifest) -> str:
    """Return the remedy for a missing file without a network."""
    name = "" if manifest.url.endswith(f"/{manifest.file}") else f" as {manifest.file}"
    return (
        f"Without a network: get {manifest.url} elsewhere and put it{name} into {models_cache()}, "
        f"or into a folder of your own that {MIRRORS_VARIABLE} names."
    )


def require(name: str) -> Path:
    """Do what `find` does. Raises MissingModelError, which says how to get the file."""
    path = find(name)
    if path is None:
        manifest = get_manifest(name)
        raise MissingModelError(
            f"The file of model {name} ({manifest.file}) is not on this machine. "
            f"Run `yolo-engine models pull {name}`. {offline_remedy(manifest)}"
        )
    return path


def pull(
    name: str | ModelManifest,
    *,
    progress: "Progress | None" = None,
    sha256: str | None = None,
    accept_unverified: bool = False,
    timeout_s: float = 30.0,
) -> Path:
    """Ensure that the verified file of a zoo model is on this machine, and return its path.

    A bundled file, or a good one in a mirror folder or the cache, is used; otherwise the file is downloaded into the
    cache, where it only appears complete and verified. A cached file with the wrong hash is replaced.

    Without a published hash, the caller decides what to trust: `sha256` is the required hash, `accept_unverified`
    accepts any file. The accepted hash is recorded beside the file, and checked later.
    """
    from models.download import download  # loads urllib and ssl, which nothing else here needs

    manifest = get_manifest(name) if isinstance(name, str) else name
    trusted = sha256.lower() if sha256 is not None else None
    if trusted is not None and manifest.hashes and trusted not in manifest.hashes:
        raise HashError(f"--sha256 {sha256} is not the published hash of {manifest.name}, {manifest.sha256}.")
    if manifest.bundled:
        return _bundled(manifest)
    target = models_cache() / manifest.file
    for path in _candidates(manifest):
        if (present := _use(manifest, path, target, trusted, accept_unverified)) is not None:
            return present

    def verify(got: str) -> None:
        expected = manifest.hashes or ((trusted,) if trusted is not None else ())
        if expected and got not in expected:
            raise DownloadError(
                f"{manifest.url}: the file has SHA-256 {got} where {expected[0]} was expected; it was not kept. "
                f"{offline_remedy(manifest)}"
            )
        if not expected and not accept_unverified:
            raise HashError(
                f"No published hash of {manifest.name} is known. The file at {manifest.url} has SHA-256 {got}; it was "
                f"not kept. If you trust it, run `yolo-engine models pull {manifest.name} --sha256 {got}` "
                "(or `--accept-unverified`)."
            )

    got = download(
        manifest.url,
        target,
        verify=verify,
        remedy=offline_remedy(manifest),
        progress=progress,
        timeout_s=timeout_s,
    )
    if not manifest.hashes:
        accept(target, got)
    return target


def _use(manifest: ModelManifest, path: Path, target: Path, trusted: str | None, accept_any: bool) -> Path | None:
    """Return `path` if it is the verified file; None if a download must replace it (in the cache only)."""
    got = _hash_of(manifest, path)
    known = _known_hashes(manifest, path)
    if got in known and (manifest.hashes or trusted in (None, got)):
        return path
    if not known and (accept_any or trusted == got):
        accept(target, got)
        return path
    if path == target and (known or trusted is not None):
        return None
    if trusted is not None and not manifest.hashes:
        raise HashError(f"{path}: SHA-256 {trusted} was requested, {got} found. Remove the file, then pull again.")
    check_file(manifest, path)
    return path
