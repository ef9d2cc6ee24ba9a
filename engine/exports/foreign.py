"""Reads corrections written by other tools: CVAT for video 1.1 and MOTChallenge, as archives or unpacked.

What a file says about its video (name, size, length) is kept with its boxes, so that it can be compared with the video
it is imported into.
"""

from __future__ import annotations

import configparser
import lzma
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise, zip_longest
from pathlib import Path
from xml.parsers import expat

import numpy as np

from engine.analytics import wrong_row
from engine.errors import InputError, describe_os_error
from engine.text.counted import counted
from engine.text.printable import printable

MAX_FRAMES = 1 << 26
_LARGEST = 1 << 30
_LARGEST_BESIDE = 1 << 20
_MAX_BOXES = 1 << 24  # including interpolated ones: a day with eight at a time
_LONGEST_TEXT = 4096
# The fields that are read from CVAT's header.
_HEAD = ("name", "source", "size", "frame_filter", "original_size/width", "original_size/height")
_EXPECTED = (
    'Give what CVAT exports as "CVAT for video 1.1" or "MOT 1.1", as an archive or unpacked, or rows of MOTChallenge '
    "(frame,id,left,top,width,height)."
)
_XML, _ROWS, _LABELS, _SEQUENCE = "annotations.xml", "gt/gt.txt", "gt/labels.txt", "seqinfo.ini"


@dataclass(frozen=True)
class Box:
    """A box in pixels of the upright frame; frames count from 0."""

    frame: int
    track_id: int
    class_name: str
    box_xyxy: tuple[float, float, float, float]


@dataclass(frozen=True)
class Claims:
    """What a file says about its video: names, frame size, number of frames; None or empty if it does not say."""

    names: tuple[str, ...] = ()
    size_wh: tuple[int, int] | None = None
    frames: int | None = None


@dataclass(frozen=True)
class Corrections:
    """The boxes of a file; `shown` is its name for messages."""

    shown: str
    boxes: Sequence[Box]
    claims: Claims = field(default_factory=Claims)


def read_corrections(path: Path) -> Corrections:
    """Read a file, an archive exported by CVAT, or a folder with an unpacked one. Raises InputError for anything else,
    and for boxes that would make invalid rows."""
    try:
        if path.is_dir():
            found = _read_folder(path)
        elif zipfile.is_zipfile(path):
            found = _read_archive(path)
        else:
            found = _read_file(path)
    except OSError as error:
        raise InputError(f"{path} can't be read: {describe_os_error(error)}.") from error
    _check(found)
    return found


def _check(found: Corrections) -> None:
    """Raise InputError for the first box that would make an invalid row."""
    frames = np.array([box.frame for box in found.boxes], np.float64)
    boxes = np.array([box.box_xyxy for box in found.boxes], np.float64).reshape(-1, 4)
    # Compared as Python ints: a number too large for float64 is far beyond the largest id.
    ids = np.array([min(max(box.track_id, -1), 1 << 62) for box in found.boxes], np.float64)
    wrong = wrong_row(frames, ids, boxes)
    turned = np.flatnonzero((boxes[:, 2] < boxes[:, 0]) | (boxes[:, 3] < boxes[:, 1]))
    if wrong is None and len(turned):
        wrong = int(turned[0]), "its right side is left of its left one, or its lower side above its upper one"
    if wrong is not None:
        box = found.boxes[wrong[0]]
        raise InputError(f"{found.shown}: the box of track {box.track_id} in frame {box.frame} is invalid: {wrong[1]}.")


def _read_file(path: Path) -> Corrections:
    labels = _beside(path.with_name("labels.txt"))
    found = _corrections(_content(path), str(path), labels)
    if path.name == "gt.txt":  # in an unpacked archive
        found = replace(found, claims=_claims(_beside(path.parent.parent / _SEQUENCE)))
    return found


def _read_folder(path: Path) -> Corrections:
    """Read an unpacked archive: the folder itself, or the `gt` in it."""
    if (path / _XML).is_file():
        return _read_file(path / _XML)
    for rows in (path / _ROWS, path / "gt.txt"):
        if rows.is_file():
            return _read_file(rows)
    several = sorted(rows.parent.parent for rows in path.rglob(_ROWS))
    if several:
        raise InputError(
            f"{path} holds {counted(len(several), 'video')}: name the folder of one, such as {several[0]}."
        )
    raise InputError(
        f"{path} contains neither {_XML} nor {_ROWS}: it is neither a CVAT export nor one of ours. {_EXPECTED}"
    )


def _content(path: Path) -> bytes:
    if path.stat().st_size > _LARGEST:
        raise InputError(f"{path} is larger than {_LARGEST:,} bytes.")
    return path.read_bytes()


def _beside(path: Path) -> str:
    """Read a small text file beside the rows; "" if there is none."""
    if not path.is_file() or path.stat().st_size > _LARGEST_BESIDE:
        return ""
    return path.read_text(encoding="utf-8", errors="replace")


def _read_archive(path: Path) -> Corrections:
    try:
        with zipfile.ZipFile(path) as archive:
            found = {name: archive.getinfo(name) for name in archive.namelist()}
            name = _inside(found)
            if name is None:
                raise InputError(f"{path} contains neither {_XML} nor {_ROWS}: it is not a CVAT export. {_EXPECTED}")
            if found[name].file_size > _LARGEST:
                raise InputError(f"{path}: {name} is larger than {_LARGEST:,} bytes.")
            with archive.open(name) as file:
                content = file.read(_LARGEST)

            def beside(other: str) -> str:
                entry = found.get(name.removesuffix(_ROWS) + other)
                small = entry is not None and entry.file_size <= _LARGEST_BESIDE
                return archive.read(entry).decode("utf-8", "replace") if entry is not None and small else ""

            labels, sequence = beside(_LABELS), beside(_SEQUENCE)
    except (
        zipfile.BadZipFile,
        zlib.error,
        lzma.LZMAError,
        EOFError,
        NotImplementedError,
        RuntimeError,
        OSError,
    ) as error:
        raise InputError(f"{path} is a damaged archive: {error}.") from error
    corrections = _corrections(content, f"{path}: {name}", labels)
    return replace(corrections, claims=_claims(sequence)) if name.endswith(_ROWS) else corrections


def _inside(names: Iterable[str]) -> str | None:
    """Return the name of the file to read in an archive, whose content may be in a folder."""
    for wanted in (_XML, _ROWS):
        found = [name for name in names if name == wanted or name.endswith(f"/{wanted}")]
        if found and (len(found) == 1 or wanted in found):
            return wanted if wanted in found else found[0]
    return None


def _claims(sequence: str) -> Claims:
    """Parse a seqinfo.ini, ignoring what is invalid."""
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read_string(sequence)
        section = parser["Sequence"]
        name, width, height, frames = (section.get(key) for key in ("name", "imWidth", "imHeight", "seqLength"))
        return Claims(
            () if name is None else (name,),
            None if width is None or height is None else (int(width), int(height)),
            None if frames is None else int(frames),
        )
    except (configparser.Error, KeyError, ValueError):  # of some other tool; only the rows matter
        return Claims()


def _corrections(content: bytes, shown: str, labels: str) -> Corrections:
    head = content[:1000].lstrip(b"\xef\xbb\xbf \t\r\n")
    if b"\0" in head:
        raise InputError(f"{shown} contains no corrections: it is not a text file. {_EXPECTED}")
    if not content.strip() and not shown.endswith("gt.txt"):  # which is empty if there are no tracks
        raise InputError(f"{shown} is empty. {_EXPECTED}")
    if head.startswith(b"<") or shown.endswith(".xml"):
        return _Cvat(shown).read(content)
    names = [label.strip() for label in labels.splitlines() if label.strip()]
    return Corrections(shown, list(_read_mot(content, shown, names)))


def _read_mot(content: bytes, shown: str, labels: Sequence[str]) -> Iterator[Box]:
    """Yield a box per line: frame, id, left, top, width, height, flag, class; frames and classes count from 1. Lines
    with flag 0 are skipped."""
    for number, line in enumerate(content.decode("utf-8-sig", "replace").splitlines(), 1):
        if not line.strip():
            continue
        try:
            columns = [float(column) for column in line.split(",")]
            frame, track_id, left, top, width, height = columns[:6]
            flag = columns[6] if len(columns) > 6 else 1.0
            kind = int(columns[7]) if len(columns) > 7 else -1
            if not np.isfinite(columns).all() or not 1 <= frame < MAX_FRAMES or track_id < 0:
                raise ValueError("frames count from 1, ids from 0, and all is finite")
            if frame % 1 or track_id % 1:
                raise ValueError("frames and ids are whole numbers")
        except (ValueError, OverflowError) as error:
            raise InputError(
                f"{shown}, line {number}: not a MOTChallenge row ({printable(str(error), 200)}). {_EXPECTED}"
            ) from error
        if flag == 0:
            continue
        if labels and not 1 <= kind <= len(labels):
            raise InputError(f"{shown}, line {number}: class {kind} is not one of the {len(labels)} in labels.txt.")
        name = labels[kind - 1] if labels else "object" if kind < 1 else f"class {kind}"
        yield Box(int(frame) - 1, int(track_id), name, (left, top, left + width, top + height))


class _Cvat:
    """Reads the tracks of CVAT for video 1.1, and interpolates between their key boxes as CVAT does."""

    def __init__(self, shown: str) -> None:
        self._shown = shown
        self._boxes: list[Box] = []
        self._track: tuple[int, str] | None = None
        self._given: dict[int, tuple[bool, tuple[float, float, float, float]]] = {}
        self._taken: set[int] = set()
        self._parser = expat.ParserCreate()
        self._parser.buffer_text = True
        self._open: list[str] = []
        self._text = ""
        # Metadata of a task or a job, by the path of the element below it.
        self._said: dict[str, list[str]] = {}

    def read(self, content: bytes) -> Corrections:
        """Return the boxes of all frames. Raises InputError."""
        parser = self._parser
        parser.StartElementHandler, parser.EndElementHandler = self._start, self._end
        parser.StartDoctypeDeclHandler, parser.CharacterDataHandler = self._doctype, self._characters
        try:
            parser.Parse(content, True)
        except expat.ExpatError as error:
            raise InputError(f"{self._shown} is not XML: {error}. {_EXPECTED}") from error
        except (KeyError, ValueError, OverflowError) as error:
            line = parser.CurrentLineNumber
            raise InputError(
                f"{self._shown}, line {line}: not a track of CVAT for video 1.1 ({printable(repr(error), 200)})."
            ) from error
        return Corrections(self._shown, self._boxes, self._claims())

    def _claims(self) -> Claims:
        """Return the claims in the header; none for a project with several tasks, where the task is unknown."""
        said = self._said
        if any(len(found) > 1 for found in said.values()):
            return Claims()
        name, source, size, chosen, width, height = ((said.get(key) or [""])[0] for key in _HEAD)
        return Claims(
            tuple(dict.fromkeys(text for text in (source, name) if text)),
            (int(width), int(height)) if width.isdecimal() and height.isdecimal() else None,
            int(size) if size.isdecimal() and not chosen else None,  # with every nth frame, not the video's length
        )

    def _doctype(self, *_: object) -> None:
        raise InputError(f"{self._shown} declares a document type, which CVAT never does: it is not read.")

    def _characters(self, text: str) -> None:
        if len(self._text) < _LONGEST_TEXT:
            self._text += text

    def _start(self, name: str, given: dict[str, str]) -> None:
        if not self._open and name != "annotations":
            raise InputError(
                f"{self._shown} is not an export of CVAT: it begins with <{printable(name, 100)}>. {_EXPECTED}"
            )
        self._open.append(name)
        self._text = ""
        if name == "image":
            raise InputError(f"{self._shown} is CVAT for images: export it as CVAT for video 1.1.")
        if name == "track":
            number = int(given["id"])
            while number in self._taken:  # two jobs in one file
                number += 1
            self._taken.add(number)
            self._track, self._given = (number, given["label"]), {}
        elif name == "box" and self._track is not None:
            frame = int(given["frame"])
            if not 0 <= frame < MAX_FRAMES:
                raise ValueError(f"frame {frame}")
            box = tuple(float(given[key]) for key in ("xtl", "ytl", "xbr", "ybr"))
            if not np.isfinite(box).all():
                raise ValueError("a side that is not a number")
            self._given[frame] = given.get("outside") == "1", (box[0], box[1], box[2], box[3])

    def _end(self, name: str) -> None:
        if self._open[1:2] == ["meta"]:
            self._note()
        self._open.pop()
        self._text = ""
        if name == "track" and self._track is not None:
            if sum(b - a for a, b in pairwise(sorted(self._given))) + len(self._boxes) > _MAX_BOXES:
                raise ValueError(f"more than {_MAX_BOXES} boxes")
            self._boxes += self._interpolated(*self._track)
            self._track = None

    def _note(self) -> None:
        """Store the text of a header element: in <meta>, below <task>, <job>, or <project><tasks><task>."""
        path = [part for part in self._open[2:] if part not in ("project", "tasks")]
        if path[:1] in (["task"], ["job"]) and (key := "/".join(path[1:])) in _HEAD:
            self._said.setdefault(key, []).append(self._text.strip()[:_LONGEST_TEXT])

    def _interpolated(self, track_id: int, label: str) -> Iterator[Box]:
        frames = sorted(self._given)
        for frame, after in zip_longest(frames, frames[1:]):
            outside, box = self._given[frame]
            if outside:
                continue
            yield Box(frame, track_id, label, box)
            if after is None:
                continue
            ends_outside, following = self._given[after]
            target = box if ends_outside else following  # before an end the box does not move
            for between in range(frame + 1, after):
                share = (between - frame) / (after - frame)
                x1, y1, x2, y2 = (a + share * (b - a) for a, b in zip(box, target, strict=True))
                yield Box(between, track_id, label, (x1, y1, x2, y2))
