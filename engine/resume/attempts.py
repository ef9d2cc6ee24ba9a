"""Attempts at a video: who may write where, and whose result stands.

    <output>/.yolo-engine/<name>-<hash>/     all attempts at one video
        new-4f1c.../                         an attempt without a number yet
        7/                                   attempt 7: nobody else ever writes into it
            ticket | committed | aside       exactly one of them, or none: it was revoked
            journal.json, *.part, *.new      its unfinished files
            verdict.json                     its result, before it commits

An attempt creates its folder with a ticket in it and renames it to the next free number, which only one attempt can
get. Then it revokes all earlier attempts by removing their tickets. It commits by renaming its own ticket, which fails
once the ticket has been revoked; if an earlier ticket can't be removed because it was renamed, that attempt has
committed. So a single atomic operation of the file system decides between any two attempts, however long either was
suspended between any two steps. No attempt revokes a later one, because it only looks at numbers below its own.

Anyone can finish the work after a commit: each output is renamed from the attempt's folder to its final name, which can
happen only once. Locks and leases (sole_writer, those of the job system) only save work; nothing depends on them.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path, PurePath, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple, cast

from engine.errors import LeaseLost, OutputError, SinkError, VideoError, describe_os_error
from engine.files.folders import GONE, Folder, opened
from engine.output_folder.corrections import are_corrected, kept_as, make_room
from engine.output_folder.own_files import STATE_FOLDER, foreign, is_own_in
from engine.resume import steps
from engine.resume.journal import LARGEST, CarriedJson, Damaged, Journal, MadeFile, Verdict, Written, packed, unpacked

if TYPE_CHECKING:
    from engine.summary import FileJson

log = logging.getLogger(__name__)

PART, SPARE = ".part", ".new"

_TICKET, _COMMITTED, _ASIDE = "ticket", "committed", "aside"
_JOURNAL, _VERDICT = "journal.json", "verdict.json"
_NEW, _DEAD = "new-", "dead-"
_PARTIAL = ".partial"  # in an attempt's folder: finished, to be published under a `.partial` name
_NUMBER = re.compile(r"[1-9][0-9]{0,8}")
_TRIES = 50
_TAKEN = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR)
_LOST = "another attempt has taken over this video"


class Earlier(NamedTuple):
    """An earlier attempt to continue from. `parts` maps an output's path, relative to the output folder, to the path of
    its part; it is valid until the attempt that found this one is closed. `number` 0: written by the previous version.
    """

    number: int
    journal: Journal
    parts: Callable[[str], Path]


class Attempt:
    """One attempt at one video. `begin` it, then `commit` and `publish`, or `set_aside`; `close` it in any case.

    `earlier` are attempts that left a journal, the furthest last. `verdict` is that of an earlier attempt: then all
    that is left to do is to `publish` it. `damaged` says why a journal could not be read.
    """

    def __init__(
        self,
        output: Path,
        stem: PurePath,
        *,
        job: str = "",
        fence: Callable[[], None] = lambda: None,
        replaces: bool = True,
        overwrite: bool = False,
        place: Folder | None = None,
    ) -> None:
        """Prepare an attempt. Those with the same `job` share a result. `fence` raises LeaseLost if a later attempt is
        known. `replaces`: published outputs replace those of an earlier run; otherwise their names must be free.
        `overwrite`: they also replace files that this program did not write. `place` is the output folder if it is
        already open, so that a link placed there since is not followed."""
        self.output = output
        self._place = place
        self.job = job
        self.number = 0
        self.earlier: list[Earlier] = []
        self.verdict: Verdict | None = None
        self.damaged: str | None = None
        self._begun = False
        self._stem = stem
        self._fence = fence
        self._replaces = replaces
        self._overwrite = overwrite
        self.notes: list[str] = []  # for the user, about its outputs
        self._made_before: dict[str, int] = {}  # sizes of the last verdict's outputs, by path
        self._root: Folder | None = None
        self._all: Folder | None = None
        self._own: Folder | None = None
        self._winner: Folder | None = None
        # Kept open, so that a later folder of the same number can be distinguished from it.
        self._revoked: dict[int, Folder] = {}
        self._taken: set[int] = set()  # numbers in use that a listing did not show

    # -- its beginning ------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Take a number, revoke earlier attempts and find what they left. Raises LeaseLost, SinkError and OutputError.

        The order matters: the number is taken before the fence is checked. So an attempt that passes the fence has a
        lower number than its successor there, and can't revoke it, however late it continues from here.
        """
        try:
            self._claim()
            steps.reached("claimed")
            try:
                self._fence()
            except BaseException:
                self._leave()
                raise
            steps.reached("fence passed")
            self._revoke()
            steps.reached("others revoked")
            self._begun = True
            self._look()
        except OSError as error:
            raise self._error(error) from error

    def _claim(self) -> None:
        self._root = Folder.at(self.output) if self._place is None else self._place.again()
        for _ in range(_TRIES):
            # Another process that cleans up may have removed the folder that was just created, as it was still empty.
            with contextlib.suppress(FileNotFoundError):
                if self._numbered():
                    return
        raise SinkError(f"{STATE_FOLDER}/{label(self._stem)} can't be written: it disappears again and again")

    def _numbered(self) -> bool:
        assert self._root is not None
        token = secrets.token_hex(16)
        made = f"{_NEW}{token}"
        with self._root.sub(STATE_FOLDER, make=True) as state:
            found = state.sub(label(self._stem), make=True)
        try:
            steps.reached("claim begun")
            with found.sub(made, make=True) as folder, folder.create(_TICKET) as file:
                file.write(packed({"token": token, "job": self.job}))  # not durable: void after a crash
            number = 0
            while not number:
                number = max({*attempt_numbers(found), *self._taken}, default=0) + 1
                if not _NUMBER.fullmatch(str(number)):
                    raise SinkError(f"{found.shown} is damaged: its numbers are used up. Remove it.")
                try:
                    found.rename(made, str(number))
                except OSError as error:
                    if error.errno not in _TAKEN:
                        raise
                    self._taken.add(number)
                    number = 0
            own = found.sub(str(number))
            try:
                mine = _values(own, _TICKET).get("token") == token
            except Damaged:  # revoked meanwhile
                mine = False
            if not mine:
                own.close()
                raise LeaseLost(_LOST)
            # On a network share a listing may be stale, but not one made after the own rename. If it shows a higher
            # number, take another number and folder, because this attempt may be revoked at any moment.
            if max(attempt_numbers(found), default=0) > number:
                with own:
                    own.empty()
                with found, contextlib.suppress(OSError):  # not empty: it belongs to another attempt now
                    os.rmdir(str(number), dir_fd=found.descriptor)
                return False
        except BaseException:
            found.remove_folder(made)
            found.close()
            raise
        self._all, self._own, self.number = found, own, number
        return True

    def _revoke(self) -> None:
        """Remove the tickets of all earlier attempts, and their unpublished partial outputs if they never committed."""
        assert self._all is not None
        for number in sorted(attempt_numbers(self._all)):
            if number >= self.number:
                break
            with contextlib.suppress(FileNotFoundError):  # it has ended
                folder = self._revoked[number] = self._all.sub(str(number))
                folder.remove(_TICKET)
                folder.remove(_ASIDE)
                for name in folder.names():
                    if name.endswith(_PARTIAL):
                        folder.remove(name)

    def _look(self) -> None:
        """Find the latest verdict, and the attempts that left a checkpoint."""
        assert self._root is not None
        if (old := _of_before(self._root, self._stem)) is not None:
            self._note(0, old, lambda path: Path(f"{self.output / path}{PART}"))
            if self.earlier and "done" in self.earlier[0].journal:
                self.verdict = _as_verdict(self.earlier[0].journal)
        for number, folder in self._revoked.items():
            if folder.facts(_COMMITTED) is not None:
                if folder.facts(_VERDICT) is not None:  # otherwise someone was killed in `_emptied`
                    self._judged(folder)
            else:
                self._note(number, partial(_read, folder, _JOURNAL), _parts(folder))
        self.earlier.sort(key=lambda found: _kept_frames(found.journal, -1))
        if self.verdict is not None:
            self._made_before = {each["path"]: each["size"] for each in self.verdict["made"].values()}

    def _judged(self, folder: Folder) -> None:
        try:
            self.verdict, self._winner = _verdict(folder), folder
        except Damaged as error:
            self.damaged = str(error)

    def _note(self, number: int, read: Callable[[], bytes | None], parts: Callable[[str], Path]) -> None:
        try:
            text = read()
            if text is not None:
                self.earlier.append(Earlier(number, unpacked(text), parts))
        except ValueError as error:  # includes Damaged
            self.damaged = str(error)

    def disregard(self) -> None:
        """Ignore the verdict found, because it does not apply: the video is processed again."""
        self.verdict, self._winner = None, None

    # -- unfinished files ---------------------------------------------------------------------------------------------

    @property
    def begun(self) -> bool:
        """Whether it has a number and all earlier attempts are revoked."""
        return self._begun

    def part(self, path: Path) -> Path:
        """Return the path of an output's part."""
        return self.folder.path(path.name + PART)

    @property
    def folder(self) -> Folder:
        """The attempt's own folder."""
        assert self._own is not None
        return self._own

    def keep(self, journal: Journal) -> None:
        """Write the journal atomically and durably. Raises SinkError, and LeaseLost if the folder was removed."""
        self._fence()
        steps.reached("journal")
        self._write(_JOURNAL, {**journal, "job": self.job})

    def make_way(self, path: Path) -> None:
        """Create the folder of an output, and check that the output will not replace a foreign file. Raises SinkError
        and OutputError."""
        assert self._root is not None
        relative = path.relative_to(self.output)
        try:
            with self._root.below(relative.parent, make=True) as folder:
                facts = folder.facts(relative.name)
                if facts is not None and stat.S_ISDIR(facts.st_mode):
                    raise SinkError(f"{path} can't be written: is a directory")
                if os.fstat(folder.descriptor).st_dev != os.fstat(self.folder.descriptor).st_dev:
                    raise SinkError(f"{path} can't be written: it is on another file system than {self.output}")
                may_go = self._overwrite or self._is_of_before(relative, facts)
                if self._replaces and not may_go and not is_own_in(folder, relative.name):
                    raise OutputError(foreign(path))
                if are_corrected(folder, relative.name):
                    kept = kept_as(folder, relative.name)
                    self.notes.append(f"its tracks had been corrected by hand: they are kept as {kept}")
        except FileExistsError as error:
            raise SinkError(f"{path.parent} can't be made: {describe_os_error(error)}") from error
        except OSError as error:
            raise SinkError(f"{path.parent} can't be made: {describe_os_error(error)}") from error

    def sweep(self) -> None:
        """Remove what earlier attempts left, once none of it is needed any more. Never raises."""
        assert self._all is not None
        assert self._root is not None
        old: bytes | None = None
        with contextlib.suppress(OSError, ValueError, OutputError):
            if (read := _of_before(self._root, self._stem)) is not None and (old := read()) is not None:
                self._forget_old(unpacked(old))
        with contextlib.suppress(OSError):
            for number, folder in self._revoked.items():
                if folder is not self._winner:
                    self._remove(number, folder)
            _remove_unnumbered(self._all)

    def _forget_old(self, values: Written) -> None:
        assert self._root is not None
        for path in values.get("outputs", {}).values():
            relative = PurePosixPath(path)
            with contextlib.suppress(OSError, OutputError), self._root.below(relative.parent) as folder:
                for name in (relative.name + PART, relative.name + SPARE):
                    folder.remove(name)
        _remove_old(self._root, self._stem)

    # -- its end ------------------------------------------------------------------------------------------------------

    def commit(self, verdict: Verdict) -> None:
        """Make this attempt the one whose result stands. `made` in the verdict names finished files in the attempt's
        folder. Raises LeaseLost if another attempt has taken over the video, and SinkError."""
        self._write(_VERDICT, {**verdict, "job": self.job})
        steps.reached("verdict written")
        self._fence()
        steps.reached("fence passed again")
        self._check_place()
        self._turn(_COMMITTED)
        self.verdict, self._winner = verdict, self.folder
        steps.reached("committed")

    def set_aside(self, made: dict[str, tuple[str, Path]]) -> None:
        """End without a verdict, and publish finished files of the attempt's folder, kind -> (name, path); if another
        attempt takes over meanwhile, possibly only some. Raises LeaseLost and SinkError."""
        assert self._root is not None
        waiting = {kind: f"{kind}{_PARTIAL}" for kind in made}
        try:
            for kind, (name, _) in made.items():
                self.folder.rename(name, waiting[kind])
            self._fence()
            self._turn(_ASIDE)
            steps.reached("set aside")
            for kind, (_, path) in made.items():
                self._appear(self.folder, waiting[kind], path.relative_to(self.output))
                steps.reached("a partial output appeared")
            self._sync_folders_of(path.relative_to(self.output) for _, path in made.values())
            if self.folder.facts(_ASIDE) is None:
                raise LeaseLost(_LOST)
            self._check_place()
        except FileNotFoundError as error:
            raise self._lost() from error
        except OSError as error:
            raise self._error(error) from error

    def publish(self) -> dict[str, Path]:
        """Publish the outputs of the verdict as far as needed, and return their paths by kind. Anyone may repeat this.
        Raises SinkError, and LeaseLost if the verdict has been superseded."""
        assert self.verdict is not None
        try:
            if (winner := self._winner) is not None:
                for each in self.verdict["made"].values():
                    self._appear(winner, each["name"], PurePosixPath(each["path"]), replaces=self._replaces)
                    steps.reached("an output appeared")
                self._sync_folders_of(PurePosixPath(each["path"]) for each in self.verdict["made"].values())
            self._check_place()
        except OSError as error:
            raise self._error(error) from error
        if not self.stands:
            raise LeaseLost(_LOST)
        return {kind: self.output / each["path"] for kind, each in self.verdict["made"].items()}

    @property
    def stands(self) -> bool:
        """Whether its verdict, or the one it adopted, is still the latest."""
        if self.verdict is None:
            return False
        with contextlib.suppress(OSError):
            return self._winner is None or self._winner.facts(_COMMITTED) is not None
        return False

    def leave(self) -> None:
        """End after adopting the verdict of another attempt, leaving nothing behind. Never raises."""
        self.sweep()
        with contextlib.suppress(OSError):
            for name in self.folder.names():
                if name != _TICKET:
                    self.folder.remove(name)

    def retire(self) -> None:
        """Remove everything that this attempt made; it has no verdict. Never raises."""
        if self.begun:
            self._leave()

    def tidy(self) -> None:
        """Remove files that were needed only until the verdict. Never raises."""
        with contextlib.suppress(OSError):
            for name in self.folder.names():
                if name not in (_COMMITTED, _VERDICT):
                    self.folder.remove(name)

    def take_away(self, path: Path) -> None:
        """Remove an output that this attempt has made obsolete, if it exists. Never raises."""
        assert self._root is not None
        relative = path.relative_to(self.output)
        with contextlib.suppress(OSError, OutputError), self._root.below(relative.parent) as folder:
            if is_own_in(folder, relative.name):
                folder.remove(relative.name)

    def close(self) -> None:
        for folder in (*self._revoked.values(), self._own, self._all, self._root):
            if folder is not None:
                folder.close()

    def _leave(self) -> None:
        """Remove the attempt's folder, and parent folders that are empty then."""
        assert self._root is not None
        self._remove(self.number, self.folder)
        _remove_empty(self._root, self._stem)

    def _remove(self, number: int, folder: Folder) -> None:
        """Remove an attempt's empty folder; if the number has been reused, that folder is not empty and stays."""
        assert self._all is not None
        _emptied(folder)
        with contextlib.suppress(OSError):
            os.rmdir(str(number), dir_fd=self._all.descriptor)

    def _turn(self, state: str) -> None:
        """Rename the ticket to another state atomically. Raises LeaseLost if it is gone."""
        try:
            self.folder.rename(_TICKET, state)
        except OSError as error:
            # If a file server's answer was lost and the request was repeated, there is no ticket either.
            if error.errno not in GONE or self.folder.facts(state) is None:
                raise (self._lost() if error.errno in GONE else self._error(error)) from error
        with contextlib.suppress(OSError):  # the state has been decided
            self.folder.sync()

    def _write(self, name: str, values: Mapping[str, object]) -> None:
        try:
            self.folder.write(name, packed(values))
        except OSError as error:
            raise (self._lost() if error.errno in GONE else self._error(error)) from error

    def _appear(self, folder: Folder, name: str, path: PurePath, *, replaces: bool = True) -> None:
        assert self._root is not None
        with self._root.below(path.parent, make=True) as target:
            try:
                if replaces:
                    if folder.facts(name) is None:
                        return  # already published
                    may_go = self._overwrite or self._is_of_before(path, target.facts(path.name))
                    if (kept := make_room(target, path.name, overwrite=may_go)) is not None:
                        log.warning("%s: the previous file is kept as %s", self.output / path, kept)
                    folder.rename(name, path.name, target)
                else:
                    folder.rename_to_new(name, path.name, target)
            except FileNotFoundError:
                return  # already published
            except OSError as error:
                reason = describe_os_error(error)
                raise SinkError(f"{path.name} can't be written: {reason}") from error

    def _sync_folders_of(self, paths: Iterable[PurePath]) -> None:
        """Make the names of outputs durable: each folder once, however many are in it. Raises OSError."""
        assert self._root is not None
        for parent in {path.parent for path in paths}:
            with self._root.below(parent) as folder:
                folder.sync()

    def _is_of_before(self, path: PurePath, facts: os.stat_result | None) -> bool:
        """Return whether a file without a mark was made by the previous verdict."""
        return facts is not None and self._made_before.get(str(PurePosixPath(path))) == facts.st_size

    def _check_place(self) -> None:
        """Raise SinkError if the output folder has been moved: outputs would not appear under the reported paths."""
        assert self._root is not None
        try:
            there = self._root.is_at(self.output)
        except OSError as error:
            raise self._error(error) from error
        if not there:
            raise SinkError(f"the output folder {self.output} was removed, or moved away, while it was written to")

    def _lost(self) -> VideoError:
        """Return the error for a missing attempt folder; usually another attempt has removed it."""
        try:
            self._check_place()
        except SinkError as error:
            return error
        return LeaseLost(_LOST)

    def _error(self, error: OSError) -> SinkError:
        return SinkError(f"{STATE_FOLDER}/{label(self._stem)} can't be written: {describe_os_error(error)}")


def made_file(file: Path, path: PurePath) -> MadeFile:
    """Describe a finished file of an attempt's folder, and its final path, for a verdict. It is read for its hash,
    mostly from the page cache, as it has just been written. Raises SinkError."""
    try:
        with open(file, "rb") as made:
            digest, size = hashlib.file_digest(made, "sha256"), os.fstat(made.fileno()).st_size
    except OSError as error:
        raise SinkError(f"{path.name} can't be read: {describe_os_error(error)}") from error
    return {"name": file.name, "path": str(path), "size": size, "sha256": digest.hexdigest()}


def identities(made: Mapping[str, MadeFile]) -> dict[str, FileJson]:
    """Return the size and hash of each file of a verdict, as in a summary."""
    return {
        kind: {"size_bytes": each["size"], "sha256": each["sha256"]} for kind, each in made.items() if "sha256" in each
    }


def label(stem: PurePath) -> str:
    """Return the folder name for a video's attempts: flat, unique, and short enough for any file system."""
    name = re.sub(r"[^\w.-]", "_", stem.name, flags=re.ASCII)[:80]
    return f"{name}-{hashlib.sha256(os.fsencode(str(PurePosixPath(stem)))).hexdigest()[:16]}"


def peek(output: Path, stem: PurePath) -> int:
    """Return the number of frames that the next attempt at the video `stem` need not repeat: those of its last
    checkpoint, or all if it is done; 0 if there is none or it is damaged. Reads only."""
    frames = 0
    with opened(output) as root:
        if root is None:
            return 0
        with contextlib.suppress(OSError, ValueError, OutputError):
            if (read := _of_before(root, stem)) is not None and (text := read()) is not None:
                frames = _frames(unpacked(text))
    with opened(output, STATE_FOLDER, label(stem)) as found:
        for number in sorted(attempt_numbers(found)) if found is not None else ():
            assert found is not None
            with contextlib.suppress(OSError, ValueError, OutputError), found.sub(str(number)) as folder:
                name = _VERDICT if folder.facts(_COMMITTED) is not None else _JOURNAL
                frames = max(frames, _frames(_values(folder, name)))
    return frames


def labels(output: Path | Folder) -> list[str]:
    """Return the labels of the videos that have attempts."""
    with opened(output, STATE_FOLDER) as state, contextlib.suppress(OSError):
        return sorted(state.names()) if state is not None else []
    return []


def left(output: Path | Folder, name: str) -> Iterator[tuple[str, Written]]:
    """Yield what the attempts at the video of a label left: the job, and the journal or verdict; "" and {} if there is
    none or it can't be read. Reads only."""
    with opened(output, STATE_FOLDER, name) as found, contextlib.suppress(OSError):
        for number in sorted(attempt_numbers(found)) if found is not None else ():
            assert found is not None
            with contextlib.suppress(OSError, OutputError), found.sub(str(number)) as folder:
                yield _state(folder)[1] or "", _last_word(folder)


def _last_word(folder: Folder) -> Written:
    for name in (_VERDICT, _JOURNAL):
        with contextlib.suppress(OSError, ValueError):
            return _values(folder, name)
    return {}


def verdict_of(output: Path | Folder, stem: PurePath) -> Verdict | None:
    """Return the latest verdict on a video; None if there is none. Reads only."""
    with opened(output, STATE_FOLDER, label(stem)) as found:
        for number in sorted(attempt_numbers(found), reverse=True) if found is not None else ():
            assert found is not None
            with contextlib.suppress(OSError, ValueError, OutputError), found.sub(str(number)) as folder:
                if folder.facts(_COMMITTED) is not None:
                    return _verdict(folder)
    with opened(output) as root, contextlib.suppress(OSError, ValueError, OutputError):
        if root is not None and (read := _of_before(root, stem)) is not None and (text := read()) is not None:
            values = unpacked(text)
            if "done" in values:
                return _as_verdict(values)
    return None


def carried_by(output: Path | Folder, *stems: PurePath) -> CarriedJson | None:
    """Return what the first of some finished videos that left something left to the next one of its camera; None if
    there is nothing. Reads only."""
    for stem in stems:
        verdict = verdict_of(output, stem)
        if verdict is not None and (carried := verdict.get("carried")):
            return carried
    return None


def has_made(output: Path | Folder, stem: PurePath, path: PurePath) -> bool:
    """Return whether the latest verdict on a video names a file, by its path below the output folder, with its present
    size. This recognises files of a run that was killed before it wrote its manifest."""
    verdict = verdict_of(output, stem)
    sizes = {each["path"]: each["size"] for each in verdict["made"].values()} if verdict is not None else {}
    with opened(output, *path.parent.parts) as folder:
        facts = folder.facts(path.name) if folder is not None else None
    return facts is not None and sizes.get(str(path)) == facts.st_size


def _as_verdict(values: Journal) -> Verdict:
    """Convert what the previous version wrote about a completed video to a verdict."""
    sizes, outputs = values["done"]["sizes"], values.get("outputs", {})
    made: dict[str, MadeFile] = {
        kind: {"name": "", "path": outputs[kind], "size": size} for kind, size in sizes.items() if kind in outputs
    }
    return cast("Verdict", {**values, "entry": values["done"]["entry"], "made": made})


def forget(output: Path | Folder, stem: PurePath, *jobs: str) -> None:
    """Remove the attempts of some jobs at a video, and earlier ones that have ended. Never raises."""
    with opened(output) as root, opened(output, STATE_FOLDER, label(stem)) as found:
        if root is None:
            return
        if found is not None:
            numbers, last = sorted(attempt_numbers(found), reverse=True), 0
            for number in numbers:
                with contextlib.suppress(OSError, OutputError), found.sub(str(number)) as folder:
                    live, job = _state(folder)
                    if job in jobs:
                        last = max(last, number)
                    if job in jobs or (not live and number < last):
                        _emptied(folder)
                with contextlib.suppress(OSError):  # not empty
                    os.rmdir(str(number), dir_fd=found.descriptor)
        _remove_old(root, stem)
        _remove_empty(root, stem)


def _emptied(folder: Folder) -> None:
    """Remove the files of an attempt that is no longer needed: first those that another attempt would continue from,
    last the mark that it was committed, so that a kill half-way leaves nothing that looks unfinished. Never raises."""
    last = (_TICKET, _COMMITTED, _ASIDE)
    with contextlib.suppress(OSError):
        for name in sorted(folder.names(), key=lambda name: (name in last, name != _JOURNAL)):
            with contextlib.suppress(OSError):
                folder.remove(name)


def _state(folder: Folder) -> tuple[bool, str | None]:
    """Return whether an attempt may still commit, and its job; None if that can't be read any more."""
    for name in (_TICKET, _COMMITTED, _ASIDE):
        with contextlib.suppress(OSError, ValueError):
            if (text := _read(folder, name)) is not None:
                return name == _TICKET, unpacked(text).get("job")
    return False, None


def clean(output: Path | Folder) -> None:
    """Remove what killed attempts left without a number, and empty folders. Running attempts are not disturbed. Never
    raises."""
    with opened(output) as root, opened(output, STATE_FOLDER) as state:
        if root is None or state is None:
            return
        with contextlib.suppress(OSError):
            for name in state.names():
                _clean_one(state, name)
        with contextlib.suppress(OSError):
            os.rmdir(STATE_FOLDER, dir_fd=root.descriptor)


def _clean_one(state: Folder, name: str, *, depth: int = 0) -> None:
    """Clean one folder of attempts; the previous version had nested folders, with journals."""
    if name.endswith(".tmp") and re.fullmatch(r".+\.json\.[0-9a-f]{8}\.tmp", name):
        with contextlib.suppress(OSError):
            state.remove(name)
        return
    with contextlib.suppress(OSError, OutputError), state.sub(name) as found:
        _remove_unnumbered(found)
        for inner in found.names() if depth < 40 else ():
            if not _NUMBER.fullmatch(inner):
                _clean_one(found, inner, depth=depth + 1)
                continue
            with contextlib.suppress(OSError):  # not empty
                os.rmdir(inner, dir_fd=found.descriptor)
    with contextlib.suppress(OSError):  # not empty
        os.rmdir(name, dir_fd=state.descriptor)


def _remove_unnumbered(found: Folder) -> None:
    """Remove what attempts left that were killed before they had a number. A live one has its number by then, or finds
    its folder gone and creates another; it never loses data. Raises OSError."""
    for name in found.names():
        if name.startswith(_NEW):
            with contextlib.suppress(FileNotFoundError):
                found.rename(name, f"{_DEAD}{name}")
        if name.startswith((_NEW, _DEAD)):
            found.remove_folder(f"{_DEAD}{name}" if name.startswith(_NEW) else name)


def attempt_numbers(folder: Folder) -> list[int]:
    """Return the numbers of the attempts in a folder, unordered."""
    return [int(name) for name in folder.names() if _NUMBER.fullmatch(name)]


def _parts(folder: Folder) -> Callable[[str], Path]:
    return lambda path: folder.path(PurePosixPath(path).name + PART)


def _read(folder: Folder, name: str) -> bytes | None:
    try:
        return folder.read(name, LARGEST)
    except FileNotFoundError:
        return None


def _values(folder: Folder, name: str) -> Written:
    """Read and check a file. Raises Damaged, also if there is no such file, and OSError."""
    try:
        text = _read(folder, name)
    except ValueError as error:
        raise Damaged(str(error)) from error
    if text is None:
        raise Damaged(f"there is no {name}")
    return unpacked(text)


def _verdict(folder: Folder) -> Verdict:
    """Read the verdict in an attempt's folder. Raises Damaged and OSError."""
    values = _values(folder, _VERDICT)
    if "entry" not in values or "made" not in values:
        raise Damaged("no verdict")
    return cast("Verdict", values)


def _frames(values: Written) -> int:
    """Return the number of frames of a verdict, or of a journal's checkpoint."""
    entry = values.get("entry")
    return entry["frames"] if entry else _kept_frames(values, 0)


def _kept_frames(journal: Journal, default: int) -> int:
    checkpoint = journal.get("checkpoint")
    return checkpoint["frames"] if checkpoint else default


# -- files of the previous version: `.yolo-engine/<stem>.json`, with parts beside the results ------------------------


def _of_before(root: Folder, stem: PurePath) -> Callable[[], bytes | None] | None:
    """Return a reader of the previous version's journal; None if there is none."""
    try:
        folder = root.sub(STATE_FOLDER)
        with folder as state:
            folder = state.below(stem.parent)
    except (FileNotFoundError, NotADirectoryError, OutputError):
        return None
    with folder:
        if folder.facts(f"{stem.name}.json") is None:
            return None

    def read() -> bytes | None:
        with root.sub(STATE_FOLDER) as state, state.below(stem.parent) as inner:
            return _read(inner, f"{stem.name}.json")

    return read


def _remove_old(root: Folder, stem: PurePath) -> None:
    with contextlib.suppress(OSError, OutputError), root.sub(STATE_FOLDER) as state:
        with state.below(stem.parent) as inner:
            inner.remove(f"{stem.name}.json")
        for parent in (path for path in stem.parents if path.parts):
            os.rmdir(str(parent), dir_fd=state.descriptor)


def _remove_empty(root: Folder, stem: PurePath) -> None:
    with contextlib.suppress(OSError, OutputError):
        with root.sub(STATE_FOLDER) as state, contextlib.suppress(OSError):
            os.rmdir(label(stem), dir_fd=state.descriptor)
        os.rmdir(STATE_FOLDER, dir_fd=root.descriptor)
