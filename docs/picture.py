"""Makes docs/images/report.png, the image of a report in the README: a street that is drawn here, its report, and
what Chromium shows of it. Nobody is seen in it, and nobody's video is used.

    PYTHONPATH=.:build/browser/site python docs/image.py        # after `make test-browser`
"""

from __future__ import annotations

import io
import json
import math
import os
import random
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageDraw

from engine.analytics.run_answers import config_for_answers
from engine.analytics.settings import AnswerSettings
from engine.output_folder.manifest import read_manifest
from engine.report import write_report
from tests.engine.report.handmade import Film, output_folder

TARGET = Path(__file__).parent / "images" / "report.png"
SIZE = WIDTH, HEIGHT = 960, 540
RATE, SECONDS = 10, 240
SCENE = {
    "line": [
        {"name": "crossing", "points": [[0.5, 0.36], [0.5, 0.78]], "in": "west", "out": "east", "anchor": "centre"},
    ],
    "zone": [{"name": "bus stop", "polygon": [[0.66, 0.8], [0.94, 0.8], [0.96, 0.98], [0.64, 0.98]]}],
}


@dataclass(frozen=True)
class Mover:
    """Somebody or something on a straight way, at so many pixels a second."""

    kind: str
    begins_s: float
    speed: float
    y: float
    colour: tuple[int, int, int]
    rests_s: float = 0.0

    @property
    def size(self) -> tuple[int, int]:
        return {"car": (96, 40), "person": (16, 38), "bicycle": (40, 36)}[self.kind]

    def x(self, seconds: float) -> float | None:
        """Where its left edge is; None if it is not in sight. Who rests does so before the bus stop's end."""
        gone = (seconds - self.begins_s) * abs(self.speed)
        stop = 0.76 * WIDTH
        if self.rests_s and gone > stop:
            gone = max(stop, gone - self.rests_s * abs(self.speed))
        if not 0 <= gone <= WIDTH - self.size[0]:
            return None
        return gone if self.speed > 0 else WIDTH - self.size[0] - gone


def movers() -> list[Mover]:
    chance = random.Random(4)
    found = []
    for kind, count, lanes, speeds in (
        ("car", 44, (0.45, 0.62), (110, 190)),
        ("person", 34, (0.23, 0.86), (22, 40)),
        ("bicycle", 12, (0.36, 0.75), (60, 90)),
    ):
        for _ in range(count):
            place = chance.randrange(2)
            way = 1 if place else -1
            y = (lanes[place] + chance.uniform(-0.02, 0.02)) * HEIGHT
            shade = tuple(chance.randrange(60, 230) for _ in range(3))
            rests = chance.uniform(5, 30) if kind == "person" and place and chance.random() < 0.5 else 0.0
            begins = chance.triangular(-5, SECONDS, SECONDS * 0.6)
            found.append(Mover(kind, begins, way * chance.uniform(*speeds), y, shade, rests))
    return found


def street() -> Image.Image:
    picture = Image.new("RGB", SIZE, (122, 148, 104))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 0.17 * HEIGHT, WIDTH, 0.98 * HEIGHT), fill=(188, 184, 176))
    draw.rectangle((0, 0.36 * HEIGHT, WIDTH, 0.78 * HEIGHT), fill=(92, 95, 100))
    for x in range(0, WIDTH, 60):
        draw.line((x, 0.17 * HEIGHT, x, 0.36 * HEIGHT), fill=(176, 172, 164))
        draw.line((x, 0.78 * HEIGHT, x, 0.98 * HEIGHT), fill=(176, 172, 164))
        draw.rectangle((x + 10, 0.567 * HEIGHT, x + 40, 0.575 * HEIGHT), fill=(222, 222, 214))
    for y in range(round(0.38 * HEIGHT), round(0.77 * HEIGHT), 22):
        draw.rectangle((452, y, 508, y + 10), fill=(226, 226, 220))
    draw.rectangle((0.68 * WIDTH, 0.79 * HEIGHT, 0.92 * WIDTH, 0.81 * HEIGHT), fill=(56, 92, 120))
    for x in range(40, WIDTH, 150):
        draw.ellipse((x, -30, x + 90, 60), fill=(74, 112, 66))
    return picture


def put(draw: ImageDraw.ImageDraw, mover: Mover, x: float) -> tuple[float, float, float, float]:
    """Draw one, and return its box."""
    wide, high = mover.size
    y = mover.y - high / 2
    draw.ellipse((x - 3, y + high - 8, x + wide + 3, y + high + 5), fill=(60, 62, 66))
    if mover.kind == "car":
        draw.rounded_rectangle((x, y + 8, x + wide, y + high), 10, fill=mover.colour)
        draw.rounded_rectangle((x + 20, y, x + wide - 20, y + 22), 8, fill=(40, 48, 58))
        for wheel in (x + 14, x + wide - 32):
            draw.ellipse((wheel, y + high - 12, wheel + 18, y + high + 4), fill=(24, 24, 26))
    else:
        middle = x + wide / 2
        if mover.kind == "bicycle":
            for wheel in (x, x + wide - 18):
                draw.ellipse((wheel, y + high - 18, wheel + 18, y + high), outline=(24, 24, 26), width=3)
        draw.rounded_rectangle((middle - 7, y + 10, middle + 7, y + high - 6), 6, fill=mover.colour)
        draw.ellipse((middle - 6, y, middle + 6, y + 12), fill=(206, 160, 130))
    return x, y, x + wide, y + high


def film(folder: Path) -> None:
    """Write the annotated video and the tracks of the street."""
    everybody, ground = movers(), street()
    names = ("person", "bicycle", "car")
    shades = {"person": (90, 160, 255), "bicycle": (90, 210, 140), "car": (245, 165, 90)}
    rows = []
    with av.open(str(folder / "street.mp4"), "w") as output, av.open(str(folder / "source.mp4"), "w") as plain:
        streams = []
        for container in (output, plain):
            stream = container.add_stream("libx264", rate=RATE)
            stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
            stream.options = {"preset": "veryfast", "crf": "24", "g": "40"}
            streams.append((container, stream))
        for number in range(RATE * SECONDS):
            picture = ground.copy()
            draw = ImageDraw.Draw(picture)
            boxes = []
            for place, mover in sorted(enumerate(everybody), key=lambda each: each[1].y):
                x = mover.x(number / RATE)
                if x is not None:
                    boxes.append((place + 1, mover, put(draw, mover, x)))
            bare = picture.copy()
            for track, mover, box in boxes:
                draw.rectangle(box, outline=shades[mover.kind], width=3)
                draw.text((box[0], box[1] - 13), f"{mover.kind} {track}", fill=(255, 255, 255))
                score = 0.8 + 0.1 * math.sin(track)
                rows.append((number, track, names.index(mover.kind), mover.kind, score, box))
            for (container, stream), image in zip(streams, (picture, bare), strict=True):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(np.asarray(image), "rgb24")))
        for container, stream in streams:
            container.mux(stream.encode(None))
    with open(folder / "street.tracks.jsonl", "w", encoding="utf-8") as file:
        for number, track, kind, name, score, box in rows:
            row = {"frame": number, "pts": number, "time_s": number / RATE, "track_id": track, "class_id": kind}
            row |= {"class": name, "score": round(score, 4), "box_xyxy": [round(value, 2) for value in box]}
            file.write(json.dumps(row) + "\n")


def main() -> None:
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "Harbour Street"
        config = {"scene": (SCENE,), "bin_s": 20.0, "start": "2024-05-01T08:00:00"}
        films = [
            Film("street", tracks=3, duration_s=SECONDS),
            Film("gate", status="failed", error="ends early", tracks=0),
        ]
        made = output_folder(folder, films, config=config)
        film(folder)
        entry = made.manifest["videos"][0]
        entry |= {"path": str(folder / "source.mp4"), "tracks": len(movers()), "frames": RATE * SECONDS}
        entry["media"]["size_wh"] = list(SIZE)
        entry["outputs"]["video"] = "street.mp4"
        made.manifest["videos"][1]["error"] = "can't be opened: not a video, or its header is damaged or missing"
        made.manifest["totals"] |= {"frames": RATE * SECONDS}
        (folder / "manifest.json").write_text(json.dumps(made.manifest), encoding="utf-8")
        manifest = read_manifest(folder)
        page = write_report(folder, manifest, AnswerSettings.of(config_for_answers(manifest["config"], {}))).report
        with sync_playwright() as driver:
            path = shutil.which("chromium")
            browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"] if os.geteuid() == 0 else [])
            shown = browser.new_page(viewport={"width": 1180, "height": 1000})
            shown.goto(page.as_uri())
            shown.locator("#list").focus()
            for key in "jcjrjcjj":
                shown.keyboard.press(key)
            shown.wait_for_timeout(1500)
            shown.locator("#player").evaluate("player => player.pause()")
            shot = shown.screenshot(full_page=True)
            end = shown.locator("#keys").evaluate("keys => keys.getBoundingClientRect().top + scrollY")
            browser.close()
    picture = Image.open(io.BytesIO(shot)).convert("RGB")
    picture = picture.crop((0, 0, picture.width, round(end)))
    picture.quantize(200, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(TARGET, optimize=True)
    sys.stdout.write(f"{TARGET}: {TARGET.stat().st_size:,} bytes\n")


if __name__ == "__main__":
    main()
