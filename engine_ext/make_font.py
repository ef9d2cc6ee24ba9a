"""Make roboto-medium.npz, the overlay's font: `python -m engine_ext.make_font Roboto-Medium.ttf`, with Pillow.

Roboto is Christian Robertson's, Copyright 2011 Google Inc., under the Apache License 2.0 (LICENSE at the root of the
repository has its text). The atlas is a rasterised form of it: hinted and anti-aliased by FreeType at the sizes that
labels have. Debian's package fonts-roboto-unhinted has the file.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from engine_ext import font


def atlas(path: str, size: int) -> dict[str, np.ndarray]:
    """Return one size: what font.Face holds."""
    face = ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)
    ascent, descent = round(0.76 * size), math.ceil(0.21 * size)
    left = max(1, size // 10)  # some letters begin before their place
    codes = [*range(font.FIRST, font.MISSING), font.MISSING]
    advances = [round(face.getlength(chr(code))) for code in codes[:-1]]
    advances.append(max(3, round(0.6 * size)))
    stride = -(-(left + max(advances) + left) // font.CHUNK) * font.CHUNK
    glyphs = np.zeros((len(codes), ascent + descent, stride), np.uint8)
    for glyph, code, advance in zip(glyphs, codes, advances, strict=True):
        image = Image.new("L", (stride, ascent + descent))
        draw = ImageDraw.Draw(image)
        if code == font.MISSING:
            line = max(1, size // 12)
            draw.rectangle((left + 1, round(0.05 * size), left + advance - 2, ascent - 1), outline=255, width=line)
        else:
            draw.text((left, ascent), chr(code), font=face, fill=255, anchor="ls")
        glyph[:] = np.asarray(image)
    return {
        "glyphs": glyphs,
        "advances": spaced(glyphs, np.array(advances, np.int32), left),
        "left": np.array(left, np.int32),
    }


def spaced(glyphs: np.ndarray, advances: np.ndarray, left: int) -> np.ndarray:
    """Return advances with which no letter touches the next one.

    At the smallest sizes, hinting leaves stems no space beside them: "in" was read as "m". Letters then have an empty
    column behind what is drawn of them. Digits stay equally wide.
    """
    columns = glyphs.max(axis=1) >= 64  # less is hardly seen
    drawn = np.where(columns.any(axis=1), columns.shape[1] - columns[:, ::-1].argmax(axis=1) - left, 0)
    n = ord("n") - font.FIRST
    if not columns[n, left] or drawn[n] < advances[n]:
        return advances
    letters = np.array([chr(code).isalpha() for code in range(font.FIRST, font.MISSING + 1)])
    return np.where(letters, np.maximum(advances, drawn + 1), advances).astype(np.int32)


def main(path: str) -> None:
    made = {f"{name}_{size}": value for size in font.SIZES for name, value in atlas(path, size).items()}
    with open(Path(font.__file__).with_name(font.FILE), "wb") as file:
        np.savez_compressed(file, allow_pickle=False, **made)


if __name__ == "__main__":
    main(*sys.argv[1:])
