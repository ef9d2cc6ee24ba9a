"""The overlay's font: Roboto Medium, rasterised at the sizes that labels have.

`roboto-medium.npz` beside this file is made by make_font.py, which says where the font is from and under which licence.
A face is one size of it: 96 glyphs, printable ASCII and, in the place of DEL, the hollow box that stands for every
character it lacks.
"""

import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FILE = "roboto-medium.npz"
FIRST = 0x20
MISSING = 0x7F
# Pixels per em. Smaller ones can't be read.
SIZES = (
    7,
    8,
    9,
    10,
    11,
    12,
    13,
    14,
    15,
    16,
    17,
    18,
    19,
    20,
    21,
    22,
    23,
    24,
    26,
    28,
    30,
    32,
    34,
    36,
    40,
    44,
    48,
    56,
    64,
)
# Rows of glyphs are padded to a multiple of so many bytes, which the kernel moves at once.
CHUNK = 16

# Letters that Unicode does not take apart into a base letter and an accent.
_FOLDED = str.maketrans(
    {"ß": "ss", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "đ": "d", "Đ": "D"}
    | {"ð": "d", "Ð": "D", "þ": "th", "Þ": "Th", "ı": "i", "‘": "'", "’": "'", "“": '"', "”": '"', "–": "-", "—": "-"}
)


@dataclass(frozen=True, slots=True)
class Face:
    """glyphs    (96, rows, stride) uint8, how much of each pixel is covered: 255 all of it
    advances  (96,) int32, columns from one character's place to the next one's
    chunks    (96,) int32, how many times CHUNK columns of it are not empty
    narrowest, broadest   of the advances
    left      columns of a glyph in front of its place
    size      pixels per em
    """

    glyphs: NDArray[np.uint8]
    advances: NDArray[np.int32]
    chunks: NDArray[np.int32]
    narrowest: int
    broadest: int
    left: int
    size: int


@lru_cache
def face(size: int) -> Face:
    """Return the largest face of at most `size` pixels per em, or the smallest one."""
    found = max((each for each in SIZES if each <= size), default=SIZES[0])
    with np.load(Path(__file__).with_name(FILE)) as stored:
        glyphs, advances = stored[f"glyphs_{found}"], stored[f"advances_{found}"]
        left = int(stored[f"left_{found}"])
    columns = np.where(glyphs.any(axis=1), np.arange(glyphs.shape[2]) + 1, 0).max(axis=1)
    chunks = (-(-columns // CHUNK)).astype(np.int32)
    return Face(glyphs, advances, chunks, int(advances.min()), int(advances.max()), left, found)


def fold(text: str) -> bytes:
    """Return the text as character codes of this font, FIRST to MISSING.

    Accented Latin letters lose their accents; every other character that is not printable ASCII becomes MISSING.
    """
    if not text.isascii():
        apart = unicodedata.normalize("NFKD", text.translate(_FOLDED))
        bare = "".join(char for char in apart if not unicodedata.category(char).startswith("M"))
        text = unicodedata.normalize("NFC", bare)
    if text.isascii() and text.isprintable():
        return text.encode()
    return bytes(code if FIRST <= code < MISSING else MISSING for code in map(ord, text))
