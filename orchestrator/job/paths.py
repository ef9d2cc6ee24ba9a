"""The paths that a job may read and write. The client checks them for a quick answer, the worker because it trusts no
client.

Anyone who can write to the broker can request any path from a worker. So a worker whose broker is reachable by others
needs roots: folders below which all paths of a job must be, symbolic links resolved. With a broker that only this
machine reaches, none are needed, because a job can do no more than its user.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from engine.inference.trt.find import is_plan
from engine.storage.urls import Place, is_below, place_of
from orchestrator.errors import PathRefused, reason_of
from orchestrator.job.files import AnyPath
from orchestrator.job.stored_path import StoredPath
from orchestrator.settings import Settings, broker_folder

_MAX_PATH = 4096
_MAX_SCENE_BYTES = 1 << 20
_LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1", ""})


def video_folder(given: str, settings: Settings) -> Path:
    """Resolve the folder or file of videos that a job names; object storage is returned as a URL. Raises
    PathRefused."""
    if (place := _object(given)) is not None:
        return _stored_videos(place, settings)
    path = _resolved(given, "video folder")
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise PathRefused(
            f"Video folder {given[:200]} can't be read: {reason_of(error)}. Name a folder that exists on this machine "
            "and that its user may read."
        ) from error
    if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
        raise PathRefused(f"{given} is neither a folder nor a file, but {_kind(mode)}.")
    if stat.S_ISDIR(mode) and not os.access(path, os.R_OK | os.X_OK):
        raise PathRefused(f"Folder {given} can't be read: permission denied. Try `chmod -R u+rX {given}`.")
    return _below(path, settings.video_roots, settings, "Video folder", "YOLO_VIDEO_ROOTS")


def input_is_away(given: str, settings: Settings) -> str | None:
    """Return why a job's folder or file can't be reached any more, such as an unmounted disk or a revoked permission;
    None if it can, or if it is in object storage, where each video reports it. Raises PathRefused if it is outside the
    roots."""
    if (place := _object(given)) is not None:
        _stored_videos(place, settings)
        return None
    path = _resolved(given, "video folder")
    _below(path, settings.video_roots, settings, "Video folder", "YOLO_VIDEO_ROOTS")
    try:
        mode = path.stat().st_mode
    except OSError as error:
        return f"Video folder {given[:200]} can't be read any more: {reason_of(error)}."
    if stat.S_ISDIR(mode) and not os.access(path, os.R_OK | os.X_OK):
        return f"Video folder {given[:200]} can't be read any more: permission denied."
    return None


def home_of(given: str, settings: Settings) -> AnyPath:
    """Resolve where a job with this output keeps its directory: in its output folder, which need not exist yet. For
    results that go to storage, it is the folder from which they are sent, or a prefix below `jobs_dir`. Raises
    PathRefused."""
    if (place := stored_output(given, settings)) is None:
        return output_folder(given, settings)
    name = f"{place.bucket}-{hashlib.sha256(place.url.encode()).hexdigest()[:16]}"
    if settings.jobs_dir is not None:
        return stored_home(settings.jobs_dir, settings) / name
    return output_folder(str(_spool(place, settings) / name), settings)


def stored_home(given: str, settings: Settings) -> StoredPath:
    """Return the prefix in storage below which directories of jobs are. Raises PathRefused."""
    if (place := stored_output(given, settings)) is None:
        raise PathRefused(f"{given[:200]} is not the URL of a place in object storage.")
    return StoredPath(place)


def confined_output(output: Path, stem: str, settings: Settings, *, apart: bool) -> None:
    """Check the folder of a video's outputs below a job's, links resolved. `apart`: the job's folder is one of this
    machine's own, and below no root. Raises PathRefused."""
    folder = (output / stem).parent
    if not apart:
        output_folder(str(folder), settings)
    elif not _resolved(str(folder), "output folder").is_relative_to(os.path.realpath(output)):
        raise PathRefused(f"Output folder {folder} is not below {output}.")


def output_folder(given: str, settings: Settings) -> Path:
    """Resolve an output folder on disk, which need not exist yet. Raises PathRefused."""
    path = _resolved(given, "output folder")
    try:
        if not stat.S_ISDIR(path.stat().st_mode):
            raise PathRefused(f"Output folder {given} is not a folder.")
    except FileNotFoundError:
        pass
    except OSError as error:
        raise PathRefused(f"Output folder {given[:200]} can't be used: {reason_of(error)}.") from error
    return _below(path, settings.output_roots, settings, "Output folder", "YOLO_OUTPUT_ROOTS")


def stored_output(given: str, settings: Settings) -> Place | None:
    """Return the place in storage to which a job's results go; None for a folder. Raises PathRefused."""
    if (place := _object(given)) is None:
        return None
    place = place._replace(key=place.key.strip("/"))
    _stored(place, settings.output_roots, settings, "Output", "YOLO_OUTPUT_ROOTS")
    return place


def _spool(place: Place, settings: Settings) -> Path:
    """Return the folder that has a folder for each place in storage: below the first output root that is a folder;
    without roots, in this machine's state. Raises PathRefused if all roots are URLs."""
    folders = [root for root in settings.output_roots if _object(str(root)) is None]
    if folders:
        return folders[0] / ".yolo-stored"
    if settings.output_roots:
        shown = _shown(settings.output_roots)
        raise PathRefused(
            f"A job that writes to {place.url} keeps its records in a folder that all workers share, and "
            f"YOLO_OUTPUT_ROOTS ({shown}) names none. Add one: export YOLO_OUTPUT_ROOTS=/srv/jobs{os.pathsep}{shown}, "
            f"or keep the records in storage, too: export YOLO_JOBS_DIR={place.scheme}://{place.bucket}/jobs"
        )
    return settings.state_dir / "stored"


def confined_video(path: str, settings: Settings) -> str:
    """Check a video of a job's list before it is opened: it must be a regular file below a root, links resolved, or an
    object below a root that is a URL.

    Raises PathRefused.
    """
    if (place := _object(path)) is not None:
        _stored_videos(place, settings)
        return path
    resolved = _resolved(path, "video")
    try:
        mode = resolved.stat().st_mode
    except OSError as error:
        raise PathRefused(f"{path[:200]}: {reason_of(error)}") from error
    if not stat.S_ISREG(mode):
        raise PathRefused(f"{path} is not a file, but {_kind(mode)}")
    _below(resolved, settings.video_roots, settings, "Video", "YOLO_VIDEO_ROOTS")
    return path


def trusted_model(model: str, settings: Settings) -> None:
    """Refuse a TensorRT plan if others reach the broker: a plan contains code, so access to the broker alone must not
    be enough to name one. Raises PathRefused."""
    if is_plan(model) and not broker_is_local(settings.broker_url):
        raise PathRefused(
            f"The model {model[:200]} is a TensorRT plan, which contains code, and the broker is reached over the "
            "network. Build it into the cache of the worker's user (`yolo-engine build-trt` without -o) and name its "
            "model: the plan is then found without being named."
        )


Table = Mapping[str, object]
"""A scene as parsed from TOML; the engine validates it (`engine.analytics.scene`)."""


def scene_tables(given: Sequence[Path | Table], settings: Settings) -> list[Table]:
    """Return the scenes that a job names as tables. Files, and folders of `*.toml` files, below a root of videos are
    read now; the engine validates their content. Raises PathRefused."""
    tables: list[Table] = []
    for item in given:
        if not isinstance(item, Path):
            tables.append(item)
            continue
        path = _below(_resolved(str(item), "scene"), settings.video_roots, settings, "Scene", "YOLO_VIDEO_ROOTS")
        for file in sorted(path.glob("*.toml")) if path.is_dir() else [path]:
            if not file.is_file() or file.stat().st_size > _MAX_SCENE_BYTES:
                raise PathRefused(f"Scene {file} is not a scene file. Name a TOML file.")
            try:
                tables.append(tomllib.loads(file.read_text(encoding="utf-8-sig")))
            except OSError as error:
                raise PathRefused(f"Scene {file} can't be read: {reason_of(error)}.") from error
            except (ValueError, RecursionError) as error:
                raise PathRefused(f"Scene {file} is not TOML.") from error
    if not tables:
        raise PathRefused(f"There is no scene in {', '.join(map(str, given))}. Name a TOML file.")
    return tables


def broker_is_local(url: str) -> bool:
    """Return whether only this machine can reach the broker, judging by its URL."""
    return all(map(_is_local, url.split(";")))


def _is_local(url: str) -> bool:
    if (folder := broker_folder(url)) is not None:
        return _is_own(folder)
    try:
        parts = urlsplit(url)
        if parts.scheme in ("redis", "rediss", "amqp", "amqps"):
            return (parts.hostname or "") in _LOCAL_HOSTS
        if parts.scheme == "sqs":  # without a host it is AWS
            return parts.hostname is not None and parts.hostname in _LOCAL_HOSTS
    except ValueError:
        return False
    return parts.scheme in ("redis+socket", "unix", "memory")


def _is_own(folder: Path) -> bool:
    """Return whether no other user can write to a folder. A missing one is created with such permissions."""
    try:
        found = folder.stat()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return found.st_uid == os.geteuid() and not found.st_mode & 0o022


def _resolved(given: str, what: str) -> Path:
    if not isinstance(given, str) or not given:
        raise PathRefused(f"The {what} must be a path. Got {given!r}.")
    if "\0" in given:
        raise PathRefused(f"The {what} must be a path without NUL characters. Got {given[:80]!r}.")
    try:
        if len(os.fsencode(given)) > _MAX_PATH:
            raise PathRefused(f"The {what} must be a path of at most {_MAX_PATH} bytes. Got {given[:80]!r}...")
        return Path(os.path.realpath(given))
    except UnicodeEncodeError as error:
        raise PathRefused(f"The {what} {given[:200]!r} is not a valid path: it contains half a character.") from error
    except OSError as error:
        raise PathRefused(f"The {what} {given[:200]!r} is not a valid path: {reason_of(error)}.") from error


def _object(given: object) -> Place | None:
    """Return the place in object storage that a text names; None for anything else."""
    return place_of(given) if isinstance(given, str) else None


def _stored_videos(place: Place, settings: Settings) -> Path:
    """Return the URL of videos that a job may read. Raises PathRefused."""
    return _stored(place, settings.video_roots, settings, "Video folder", "YOLO_VIDEO_ROOTS")


def _stored(place: Place, roots: tuple[Path, ...], settings: Settings, what: str, variable: str) -> Path:
    """Return the URL of objects that a job may use. Raises PathRefused."""
    if not roots:
        bucket = f"{place.scheme}://{place.bucket}"
        example = bucket if variable == "YOLO_VIDEO_ROOTS" else f"/srv/jobs{os.pathsep}{bucket}"
        return _below(Path(place.url), roots, settings, what, variable, example)
    if not any(is_below(place, root) for root in roots):
        shown = _shown(roots)
        raise PathRefused(
            f"{place.url} is not below {variable} ({shown}). Add its bucket or a prefix: "
            f"export {variable}={shown}{os.pathsep}{place.scheme}://{place.bucket}"
        )
    return Path(place.url)


def _below(
    path: Path, roots: tuple[Path, ...], settings: Settings, what: str, variable: str, example: str = ""
) -> Path:
    if not roots:
        if broker_is_local(settings.broker_url):
            return path
        reached = (
            f"{variable} is not set, and other users can write to the broker's folder"
            if broker_folder(settings.broker_url) is not None
            else f"{variable} is not set, and the broker is reached over the network"
        )
        raise PathRefused(
            f"{reached}: whoever can write to it could name any path. Set {variable} to the folders that jobs may use, "
            f"e.g. export {variable}={example or path.parent}"
        )
    for root in roots:
        if path.is_relative_to(os.path.realpath(root)):
            return path
    shown = _shown(roots)
    raise PathRefused(
        f"{what} {path} is not below {variable} ({shown}). Move it there, or add its folder: "
        f"export {variable}={shown}{os.pathsep}{path if path.is_dir() else path.parent}"
    )


def _shown(roots: tuple[Path, ...]) -> str:
    """Return roots as in their variable."""
    places = [(root, place_of(root)) for root in roots]
    return os.pathsep.join(str(root) if place is None else place.url.rstrip("/") for root, place in places)


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFIFO: "a FIFO",
        stat.S_IFCHR: "a character device",
        stat.S_IFBLK: "a block device",
        stat.S_IFSOCK: "a socket",
        stat.S_IFDIR: "a folder",
    }
    return kinds.get(stat.S_IFMT(mode), "something else")
