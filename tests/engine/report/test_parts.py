"""The parts of a report: paths, charts, stills, words, the data island."""

import io
import json
import re
import string
from datetime import UTC, datetime
from importlib.resources import files
from xml.etree import ElementTree

import av
import numpy as np
import pytest
from PIL import Image

from engine.analytics import Bin, Count
from engine.analytics.paths import simplified
from engine.config import EngineConfig
from engine.report.charts import bars_of, chart, moment
from engine.report.island import link, safe_json
from engine.report.shapes import font_of, line_shape, zone_shapes
from engine.report.stills import jpeg_of, median_still
from engine.report.template import with_code
from engine.report.words import WORDS, Words
from tests.e2e.runs import clip


def test_both_languages_say_the_same_things():
    for key, texts in WORDS.items():
        english, spanish = ({field for _, field, _, _ in string.Formatter().parse(text) if field} for text in texts)
        assert english == spanish, key
        assert all(texts), key


def test_every_word_of_the_pages_is_there_and_used():
    room = files("engine.report")
    texts = [path.read_text() for part in ("templates", "static", ".") for path in room.joinpath(part).iterdir()
             if path.name.endswith((".html", ".js", ".py")) and path.name != "words.py"]  # fmt: skip
    named = {key for text in texts for key in re.findall(r"\b(?:t|words)\(\s*\"([\w ]+)\"", text)}
    assert named <= WORDS.keys()
    everything = "\n".join(texts)
    computed = ("status_", "clock_", "thinned_paths_", "count_")
    bare = {key: key[2:] if key[1] == "_" else key for key in WORDS if not key.startswith(computed)}
    unused = [key for key, short in bare.items() if f'"{short}"' not in everything and key not in everything]
    assert unused == []


@pytest.mark.parametrize(
    ("value", "decimals", "english", "spanish"),
    [(1234.5, 1, "1,234.5", "1.234,5"), (0, 0, "0", "0"), (1e6, 0, "1,000,000", "1.000.000")],
)
def test_numbers(value, decimals, english, spanish):
    assert Words("en").number(value, decimals) == english
    assert Words("es").number(value, decimals) == spanish


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (2.5, "2.5 s"),
        (59, "59 s"),
        (60, "1 min"),
        (61, "1 min 01 s"),
        (3600, "1 h 00 min"),
        (9e4, "25 h 00 min"),
    ],
)
def test_durations(seconds, text):
    assert Words("en").duration(seconds) == text


@pytest.mark.parametrize(
    ("points", "kept"),
    [
        ([(0, 0), (5, 0), (10, 0)], [(0, 0), (10, 0)]),  # straight
        ([(0, 0), (5, 3), (10, 0)], [(0, 0), (10, 0)]),  # within the tolerance
        ([(0, 0), (5, 9), (10, 0)], [(0, 0), (5, 9), (10, 0)]),
        ([(0, 0), (9, 0), (0, 0)], [(0, 0), (9, 0), (0, 0)]),  # there and back
        ([(1, 1), (1, 1)], [(1, 1), (1, 1)]),
    ],
)
def test_simplified(points, kept):
    assert simplified(points, 4.0) == kept


def test_the_island_closes_no_element():
    text = "</script><!--<script>&amp;\u2028\udcff"
    made = safe_json({"a": text})
    assert not re.search("[<>&\x7f-\U0010ffff]", made)
    assert json.loads(made) == {"a": text}


def test_links_are_of_the_names_bytes():
    assert link("a b/c#?%.mp4") == "a%20b/c%23%3F%25.mp4"
    assert link("\udcff.mp4") == "%FF.mp4"


def bins(count, examined=True):
    return [Bin(60.0 * n, 60.0 * (n + 1), None, None, 60.0 if examined else 0.0) for n in range(count)]


def test_bars_add_up_bins_and_keep_what_was_not_examined():
    some = bins(5)
    counts = [Count(each, "l", way, "car", 1) for each in some for way in ("in", "out")]
    drawn = bars_of(some, counts, "l", "in", "out", 2)
    assert [(bar.start_s, bar.end_s, bar.up["car"], bar.down["car"]) for bar in drawn] == [
        (0, 180, 3, 3),
        (180, 300, 2, 2),
    ]
    assert bars_of([], [], "l", "in", "out", 9) == []
    (unseen,) = bars_of(bins(1, examined=False), [], "l", "in", "out", 9)
    assert not unseen.examined
    assert "not examined" in chart([unseen], [], "in", "out", "said", Words("en"))


def test_a_chart_is_well_formed_and_says_what_it_shows():
    some = bins(3)
    counts = [Count(some[1], "l", "<in>", "a&b", 1200)]
    made = chart(bars_of(some, counts, "l", "<in>", "out", 9), ["a&b"], "<in>", "out", 'said "so"', Words("en"))
    svg = ElementTree.fromstring(made)
    assert svg.get("aria-label") == 'said "so"'
    assert [title.text for title in svg.iter("title")] == ["0:01:00–0:02:00, <in>: 1,200 a&b"]


def test_moments():
    at = datetime(2024, 5, 1, 8, 0, 5, tzinfo=UTC)
    assert (moment(at, 0), moment(at.replace(second=0), 0), moment(None, 3661)) == ("08:00:05", "08:00", "1:01:01")


def test_jpeg_keeps_colours():
    image = np.zeros((32, 48, 3), np.uint8)
    image[:, :24] = (200, 30, 30)
    image[:, 24:] = (30, 30, 200)
    read = np.asarray(Image.open(io.BytesIO(jpeg_of(image))).convert("RGB")).astype(int)
    assert abs(read[16, 6] - image[16, 6]).max() < 12
    assert abs(read[16, 42] - image[16, 42]).max() < 12


@pytest.mark.parametrize("container", ["mp4", "mkv", "avi", "ts"])
def test_still_leaves_out_who_passes(tmp_path, container):
    path = clip(tmp_path / f"a.{container}", 60, (64, 48), codec="libx264" if container != "avi" else "mpeg4")
    still = median_still([path], EngineConfig())
    assert still is not None
    assert still.size_wh == (64, 48)
    picture = np.asarray(Image.open(io.BytesIO(still.jpeg)).convert("L"))
    assert picture.mean() < 40  # the white square of the clip moves on


def test_still_of_what_can_not_be_read(tmp_path):
    bad, good = tmp_path / "bad.mp4", clip(tmp_path / "good.mp4", 5)
    bad.write_bytes(b"nothing")
    assert median_still([bad, tmp_path / "none.mp4"], EngineConfig()) is None
    assert median_still([], EngineConfig()) is None
    assert median_still([bad, good], EngineConfig()) is not None
    assert median_still([good], EngineConfig(max_pixels=10)) is None
    assert median_still([good], EngineConfig(), roots=[tmp_path / "elsewhere"]) is None


def test_still_is_upright_and_not_wider_than_asked(tmp_path):
    path = tmp_path / "turned.mp4"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 160, "yuv420p"
        stream.options = {"preset": "ultrafast"}
        image = np.zeros((160, 320, 3), np.uint8)
        for _ in range(5):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        output.mux(stream.encode(None))
    still = median_still([path], EngineConfig(), max_width=100)
    assert still.size_wh == (320, 160)
    assert Image.open(io.BytesIO(still.jpeg)).size == (100, 50)


def overlaps(one, other):
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def word(text, x, y, font, anchor="middle"):
    width = 0.6 * font * len(text)
    left = {"start": x, "middle": x - width / 2, "end": x - width}[anchor]
    return left, y - 0.8 * font, left + width, y + 0.2 * font


def test_names_of_zones_cover_no_words_of_lines_and_no_other_name():
    size_wh = (960, 540)
    font = font_of(size_wh)
    whole = [(0.1, 0.1), (0.9, 0.1), (0.9, 0.9), (0.1, 0.9)]
    # Its arrow leads to the middle of the zones.
    line = line_shape([(0.3, 0.42), (0.7, 0.42)], "kerb", "to the centre", size_wh, font)
    names = ["bus stop", "crossing", "kerb side"]
    zones = zone_shapes([(whole, name) for name in names], [line], size_wh, font)
    words = [word(line.name, line.x, line.y, font, line.side), word(line.into, line.to_x, line.to_y, font)]
    words += [word(zone.name, zone.x, zone.y, font) for zone in zones]
    covered = [(a, b) for a in range(len(words)) for b in range(a) if overlaps(words[a], words[b])]
    assert covered == []
    assert all(0 < zone.y < size_wh[1] for zone in zones)
    (alone,) = zone_shapes([(whole, "bus stop")], [], size_wh, font)
    assert (alone.x, alone.y) == (480, 270)  # in its middle, where nothing is in the way
    crowd = zone_shapes([(whole, "a")] * 60, [line], size_wh, font)  # more than there is room for: one upon the other
    assert len(crowd) == 60


def test_the_name_of_a_zone_at_the_edge_is_whole_and_in_no_other_zone():
    """It is wider than its zone, and beside that is another one: above or below both, nobody takes it for that one's
    name."""
    size_wh = (960, 540)
    font = font_of(size_wh)
    road = [(0.6, 0.3), (0.93, 0.3), (0.93, 0.7), (0.6, 0.7)]
    kerb = [(0.93, 0.3), (1.0, 0.3), (1.0, 0.7), (0.93, 0.7)]
    first = [(0.0, 0.3), (0.05, 0.3), (0.05, 0.7), (0.0, 0.7)]
    named = [(road, "road"), (kerb, "bus stop north"), (first, "left of all")]
    found = {zone.name: zone for zone in zone_shapes(named, [], size_wh, font)}
    boxes = {name: word(name, zone.x, zone.y, font) for name, zone in found.items()}
    assert all(left >= 0 and right <= size_wh[0] for left, _, right, _ in boxes.values())
    assert not overlaps(boxes["bus stop north"], (0.6 * 960, 0.3 * 540, 0.93 * 960, 0.7 * 540))
    assert found["road"].y == pytest.approx(270, abs=1)


def test_commands_are_shown_as_code():
    assert with_code("Run `a <b>`, then `c`.") == "Run <code>a &lt;b&gt;</code>, then <code>c</code>."
    assert with_code("a ` alone\x1b") == "a ` alone\\x1b"


@pytest.mark.parametrize(
    ("text", "spanish"), [("0.25", "0,25"), ("7", "7"), ("person, car", "person, car"), ("1.2.3", "1.2.3")]
)
def test_numbers_in_texts(text, spanish):
    assert Words("es").digits(text) == spanish
    assert Words("en").digits(text) == text
