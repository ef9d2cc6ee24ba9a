"""The report as files: what it says, what it must not do, and how it stays small."""

import base64
import json
import re
import zipfile
from html.parser import HTMLParser
from importlib import metadata
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner

from engine.analytics.run_answers import config_for_answers
from engine.analytics.settings import AnswerSettings
from engine.cli.group import commands
from engine.errors import ConfigError, InputError, OutputError
from engine.report import write_report
from tests.engine.report.handmade import SCENE, Film, Folder, output_folder
from tests.hostile_text import EVIL, assert_harmless

NASTY = "a\"'<b>&amp;</script><script>alert(1)</script>\u202e😀\x1b[31m"


class Page(HTMLParser):
    """The elements of a page with their texts, and its data islands."""

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.html = path.read_text(encoding="utf-8")
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.islands: list[dict] = []
        self.crops: list[dict] = []
        self.data: dict = {}
        self.text = ""
        self._script: dict[str, str | None] | None = None
        self._open = ""
        self.feed(self.html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._open = tag
        if tag == "script":
            self._script = dict(attrs)

    def handle_endtag(self, tag):
        self._open = ""
        if tag == "script":
            self._script = None

    def handle_data(self, data):
        if self._script is None:
            self.text += data if self._open != "style" else ""
        elif self._script.get("class") == "camera":
            self.islands.append(json.loads(data))
        elif self._script.get("class") == "crops":
            self.crops.append(json.loads(data))
        elif self._script.get("id") == "page":
            self.data = json.loads(data)

    def named(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


def report(folder: Folder, **options):
    settings = AnswerSettings.of(config_for_answers(folder.manifest["config"], {}))
    return write_report(folder.path, folder.manifest, settings, **options)


def page(folder: Folder, **options) -> Page:
    return Page(report(folder, **options).report)


def test_problems_come_first_and_say_why(tmp_path):
    folder = output_folder(
        tmp_path,
        [
            Film("whole"),
            Film("cut", status="partial", error="ends early: 3 of 9 s"),
            Film("none", status="failed", error="can't be opened", tracks=0),
            Film("noted", notes=("the clock steps",)),
        ],
        left_out=(("notes.txt", "not a video"),),
    )
    found = page(folder)
    places = [found.text.index(text) for text in ("none.mp4", "cut.mp4", "notes.txt", "Totals", "Events and tracks")]
    assert places == sorted(places)
    for text in ("can't be opened", "ends early: 3 of 9 s", "not a video", "1 failed, 1 cut", "the clock steps"):
        assert text in found.text
    assert "every video was read whole" in page(output_folder(tmp_path / "well", [Film("a")])).text


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"duration_s": 5.0}, "up to 5 s"),
        ({"end_s": 5.0}, "up to 5 s"),
        ({"start_s": 90.0}, "from 1 min 30 s on"),
        ({"start_s": 1.5, "duration_s": 2.0}, "from 1.5 s to 3.5 s"),
    ],
)
def test_a_part_of_a_video_is_not_the_whole(tmp_path, asked, said):
    """With --start and --duration nothing was read whole, and no second outside counts as examined."""
    folder = output_folder(tmp_path, [Film("a", duration_s=4.0, notes=("no sound",))], config=asked)
    folder.manifest["videos"][0]["duration_s"] = 60.0  # of the container
    shown = page(folder)
    assert f"the part that was requested, {said}, was read whole" in shown.text
    assert f"Only a part of each video was examined: {said}." in shown.text
    assert "every video was read whole" not in shown.text
    assert "read whole, with a note" in shown.text
    assert "part read whole, with a note" in shown.text
    assert "4 s examined of 1 min" in shown.text
    assert "the part asked for, whole" in shown.text
    totals = shown.text[shown.text.index("Totals") :]
    assert totals.index("examined4 s") < 200, "the part, not the container's length"
    assert said.split()[-1] in page(folder, language="es").text


def test_what_was_not_examined_has_no_numbers(tmp_path):
    films = [Film("whole", duration_s=4.0), Film("none", status="failed", error="can't be opened", tracks=0)]
    folder = output_folder(tmp_path, films)
    folder.manifest["videos"][1]["duration_s"] = 60.0  # what its header claims
    shown = page(folder)
    cells = shown.text[shown.text.index("SHA-256") :]
    assert re.search(r"none\.mp4\s*failed\s*–\s*1 min", cells)
    assert "examined4 s" in shown.text


@pytest.mark.parametrize(
    ("failed", "partial", "english", "spanish"),
    [
        (1, 0, "1 failed", "1 fallido"),
        (2, 1, "2 failed, 1 cut", "2 fallidos, 1 cortado"),
        (0, 2, "2 cut", "2 cortados"),
        (0, 0, "", ""),
    ],
)
def test_how_many_failed(tmp_path, failed, partial, english, spanish):
    films = [Film("whole")]
    films += [Film(f"f{n}", status="failed", error="x", tracks=0) for n in range(failed)]
    films += [Film(f"p{n}", status="partial", error="x") for n in range(partial)]
    folder = output_folder(tmp_path, films)
    for language, told in (("en", english), ("es", spanish)):
        text = " ".join(page(folder, language=language).text.split())
        word, after = {"en": ("videos", "examined"), "es": ("vídeos", "examinados")}[language]
        assert f"{word}{len(films)} {told}".rstrip() + f" {after}" in text


def test_a_hole_in_the_timeline_is_told(tmp_path):
    starts = {"cam/a.mp4": "2024-05-01T08:00:00", "cam/b.mp4": "2024-05-01T08:10:00"}
    config = {"camera": "folder", "start": starts}
    folder = output_folder(tmp_path, [Film("cam/a"), Film("cam/b")], config=config)
    assert "no recording from 08:00:04 to 08:10" in page(folder).text


def test_counts_totals_and_rows_agree(tmp_path):
    found = page(output_folder(tmp_path, [Film("a", tracks=20), Film("b", tracks=11)]))
    crossings = [event for island in found.islands for event in island["events"] if event[0] == 0]
    assert len(crossings) == 31
    assert [len(island["tracks"]) for island in found.islands] == [20, 11]
    assert re.search(r"line crossings\s*31", found.text)
    drawn = [int(match) for match in re.findall(r": (\d+) (?:person|car)</title>", found.html)]
    assert sum(drawn) == 31


def test_island_leads_to_the_second_of_the_annotated_video(tmp_path):
    (island,) = page(output_folder(tmp_path, [Film("north side/a b#1", film=True)])).islands
    (video,) = island["videos"]
    assert video["src"] == "north%20side/a%20b%231.mp4"
    assert video["offset"] == video["at"] == 0
    event = next(event for event in island["events"] if event[0] == 0)
    assert 0 < event[8] < 4
    assert event[8] * 25 == pytest.approx(event[9], abs=1)


@pytest.mark.parametrize("name", [NASTY.replace("/", "∕"), EVIL.replace("/", "∕")])
def test_strangers_texts_stay_texts(tmp_path, name):
    scene = json.loads(json.dumps(SCENE))
    plain = re.sub(r"[\x00-\x1f\x7f]", "?", name)[:80].encode("utf-8", "replace").decode()
    scene["line"][0].update({"name": f"L{plain}", "in": f"I{plain}", "out": f"O{plain}"})
    film = Film("clip", error=name, notes=(name,), classes=(name, "car"), status="partial")
    folder = output_folder(tmp_path, [film], config={"scene": (scene,)}, left_out=((name, name),))
    folder.manifest["videos"][0]["path"] = f"/videos/{name}.mp4"
    folder.manifest["error"] = name
    found = page(folder)
    scripts = found.named("script")
    assert [(each.get("id"), each.get("class")) for each in scripts] == [
        ("page", None),
        (None, "camera"),
        (None, "crops"),
        (None, None),
    ]
    assert not found.named("b") or all(not attrs for attrs in found.named("b"))
    assert not [attrs for _, attrs in found.tags if any(key.startswith("on") or key == "style" for key in attrs)]
    (island,) = found.islands
    shown = [island["camera"], *found.data["classes"], *(video["name"] for video in island["videos"])]
    for each in island["lines"] + island["zones"]:
        shown += [value for value in each.values() if isinstance(value, str)]
    for text in (*shown, found.text):
        assert_harmless(text)
    assert found.islands[0]["lines"][0]["name"].startswith("L")


def test_nothing_is_fetched_by_a_page(tmp_path):
    found = page(output_folder(tmp_path, [Film("a", film=True)]))
    policy = next(attrs["content"] for attrs in found.named("meta") if attrs.get("http-equiv"))
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    for _, attrs in found.tags:
        for key in ("src", "href"):
            assert not re.match(r"(?:https?:)?//", attrs.get(key) or "")


@pytest.mark.parametrize("language", ["en", "es"])
def test_structure_is_what_readers_of_the_screen_need(tmp_path, language):
    found = page(output_folder(tmp_path, [Film("a"), Film("b", status="failed", error="x")]), language=language)
    assert found.named("html") == [{"lang": language}]
    assert [name for name, _ in found.tags if name in ("header", "main", "footer")] == ["header", "main", "footer"]
    levels = [int(name[1]) for name, _ in found.tags if re.fullmatch("h[1-6]", name)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    ids = {attrs["id"] for _, attrs in found.tags if attrs.get("id")}
    assert ids >= {attrs["aria-labelledby"] for _, attrs in found.tags if attrs.get("aria-labelledby")}
    assert all(attrs.get("alt") for attrs in found.named("img"))
    assert all(attrs.get("aria-label") for attrs in found.named("svg") if attrs.get("role") == "img")


def test_a_spanish_page_has_spanish_names_of_classes(tmp_path):
    """In charts, lists and sentences; a name that only the model knows stays, and the tables keep the model's."""
    film = Film("a", classes=("person", "traffic light", "forklift"))
    folder = output_folder(tmp_path, [film], config={"classes": ["person", "traffic light"]})
    found = page(folder, language="es")
    assert sorted(found.data["classes"]) == ["forklift", "persona", "semáforo"]
    assert "Solo se buscaron estas clases: persona, semáforo." in found.text
    assert "left: forklift" in found.text
    assert "left: persona" in found.text
    assert re.search(r"<title>[^<]* semáforo</title>", found.html)
    assert sorted(page(folder).data["classes"]) == ["forklift", "person", "traffic light"]


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({}, "`yolo-engine run` measures it"),
        ({"verdict": None}, "This run processed no frame"),
        ({"job": "4f1c"}, "A job measures its CPU seconds as a whole."),
    ],
)
def test_why_there_is_no_verdict(tmp_path, keys, said):
    """A page written with --report does not advise --report, and a job's says what it does measure."""
    folder = output_folder(tmp_path, [Film("a")])
    folder.manifest.update(keys)
    assert said.replace("`", "") in page(folder).text


def test_a_page_is_made_from_sources_that_are_not_installed(tmp_path, monkeypatch):
    def not_installed(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", not_installed)
    assert "Made by yolo-engine unknown" in page(output_folder(tmp_path, [Film("a")])).text


def test_spanish(tmp_path):
    found = page(output_folder(tmp_path, [Film("a", duration_s=1500.5)]), language="es")
    assert "Fallidos, cortados o no examinados" in found.text
    assert found.data["words"]["j_confirm"] == "Confirmar"
    assert "Failed" not in found.text


def test_a_page_that_would_be_too_large_becomes_an_index(tmp_path):
    folder = output_folder(tmp_path, [Film(f"{name}/x", tracks=200) for name in "abc"])
    made = report(folder, max_bytes=130_000)
    assert [path.name for path in made.pages] == ["0001-a-x.html", "0002-b-x.html", "0003-c-x.html"]
    index = Page(made.report)
    links = [attrs["href"] for attrs in index.named("a") if "html" in (attrs.get("href") or "")]
    assert links == [f"report/{path.name}" for path in made.pages]
    assert not index.islands
    own = Page(made.pages[1])
    assert own.data["up"] == "../"
    assert len(own.islands) == 1
    assert {"href": "../report.html"} in own.named("a")
    # A smaller one later: what is not written again goes, and with it the folder.
    again = report(folder)
    assert again.pages == ()
    assert not (tmp_path / "report").exists()


def test_a_folder_of_pages_that_is_a_link_is_left_alone(tmp_path):
    folder = output_folder(tmp_path / "out", [Film(f"{name}/x", tracks=200) for name in "ab"])
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out" / "report").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputError, match="is a symbolic link"):
        report(folder, max_bytes=110_000)
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize(
    ("at_most", "scene", "told"),
    [
        (180_000, (SCENE,), ["There are too many paths to draw.", "Only the first", "events.csv and tracks.csv"]),
        (140_000, None, ["Paths are drawn with fewer points.", "shortest of 1,000 tracks", "tracks.csv has them all"]),
        (400_000, (SCENE,), []),
    ],
)
def test_one_camera_stays_within_its_bytes(tmp_path, at_most, scene, told):
    folder = output_folder(tmp_path, [Film("a", tracks=1000, duration_s=100)], config={"scene": scene})
    made = report(folder, max_bytes=at_most)
    assert made.pages == ()
    assert made.report.stat().st_size <= at_most
    found = Page(made.report)
    for text in told:
        assert text in found.text
    assert (len(found.islands[0]["tracks"]) < 1000) == bool(told)
    assert "1,000 track ids" in found.text


def crop_of(folder: Folder | Path, stem: str, track_id: int, **changes) -> dict:
    """The index entry of the crop that a run keeps of a track: of its first row, say."""
    place = folder.path if isinstance(folder, Folder) else folder
    lines = (place / f"{stem}.tracks.jsonl").read_text(encoding="utf-8").splitlines()
    row = next(row for row in map(json.loads, lines) if row["track_id"] == track_id)
    return {**row, "file": f"{track_id:06}.jpg", "worth": 1.0, **changes}


def renumbered(folder: Folder, stem: str, ids: dict[int, int], move: float = 0.0) -> None:
    """Give the tracks of a video other ids, as `retrack` does; ids that are not named go."""
    path = folder.path / f"{stem}.tracks.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    rows = [{**row, "track_id": ids[row["track_id"]]} for row in rows if row["track_id"] in ids]
    for row in rows:
        row["box_xyxy"] = [value + move for value in row["box_xyxy"]]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def test_crops_are_those_of_the_tracks_as_they_are_now(tmp_path):
    """After `retrack` or `import` ids are others: a crop goes with its object, or is nobody's."""
    folder = output_folder(tmp_path, [Film("a", tracks=3)])
    folder.manifest["videos"][0]["outputs"]["crops"] = "a.crops.zip"
    jpegs = {f"{number:06}.jpg": b"\xff\xd8\xff" + bytes([number]) for number in (1, 2, 3)}
    with zipfile.ZipFile(tmp_path / "a.crops.zip", "w") as made:
        made.writestr("index.jsonl", "".join(json.dumps(crop_of(folder, "a", number)) + "\n" for number in (1, 2, 3)))
        for name, jpeg in jpegs.items():
            made.writestr(name, jpeg)

    def shown():
        (crops,) = page(folder).crops
        return {int(track_id): base64.b64decode(jpeg)[-1] for track_id, jpeg in crops.items()}

    assert shown() == {1: 1, 2: 2, 3: 3}
    renumbered(folder, "a", {1: 2, 2: 1}, move=0.5)  # another tracker's boxes
    assert shown() == {2: 1, 1: 2}
    renumbered(folder, "a", {1: 9, 2: 9})  # fragments joined: one crop
    assert shown().keys() == {9}
    renumbered(folder, "a", {9: 9}, move=20)  # an object that is somewhere else
    assert shown() == {}


def archive(path: Path, rows: list[dict], jpeg: bytes) -> None:
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("index.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        for row in rows:
            made.writestr(row.get("file", "other"), jpeg)


def test_crops_are_on_the_page_as_far_as_there_is_room(tmp_path):
    folder = output_folder(tmp_path, [Film("cam/a", tracks=30)])
    folder.manifest["videos"][0]["outputs"]["crops"] = "/elsewhere/cam/a.crops.zip"
    jpeg = b"\xff\xd8\xff" + bytes(3000)
    rows = [crop_of(folder, "cam/a", number) for number in range(1, 31)]
    archive(tmp_path / "cam" / "a.crops.zip", rows, jpeg)
    (crops,) = page(folder).crops
    assert crops.keys() == {str(number) for number in range(1, 31)}
    assert base64.b64decode(crops["7"]) == jpeg
    made = report(folder, max_bytes=140_000)
    assert made.pages == ()
    assert made.report.stat().st_size < 140_000
    assert 0 < len(Page(made.report).crops[0]) < 30


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b"no archive"),
        lambda path: archive(path, [{"track_id": 1}], b""),
        lambda path: archive(path, [crop_of(path.parent, "a", 1)], b"<script>alert(1)</script>"),
        lambda path: archive(path, [crop_of(path.parent, "a", 1)], b"\xff\xd8\xff" + bytes(1 << 20)),
        lambda path: archive(path, [{**crop_of(path.parent, "a", 1), "box_xyxy": [0, 0, "x", 1]}], b"\xff\xd8\xff"),
        lambda path: path.write_bytes(b""),
    ],
    ids=["none", "index", "no picture", "large", "box", "empty"],
)
def test_crops_that_are_none_are_left_out(tmp_path, damage):
    folder = output_folder(tmp_path, [Film("a")])
    folder.manifest["videos"][0]["outputs"]["crops"] = "a.crops.zip"
    damage(tmp_path / "a.crops.zip")
    assert page(folder).crops == [{}]


def test_videos_without_tracks_are_told(tmp_path):
    folder = output_folder(tmp_path, [Film("a"), Film("b")])
    del folder.manifest["videos"][1]["outputs"]["tracks"]
    found = page(folder)
    assert "Without tracks, so not in the lists: b.mp4" in found.text
    assert len(found.islands) == 1


def test_where_the_time_went(tmp_path):
    verdict = {
        "fps": 80.0, "binding": "infer", "stage": "infer", "ceiling_fps": 90.0, "explained": 0.9, "next": None,
        "changes": [], "limits": [{"of": "worker", "stage": "infer", "fps": 90.0}], "threads": [],
        "cores": {"count": 2.0, "used": 1.5, "others": 0.0, "left": 2.0},
    }  # fmt: skip
    assert "Verdict: infer is the limit." in page(output_folder(tmp_path, [Film("a")], verdict=verdict)).text


def command(*arguments):
    result = CliRunner().invoke(commands, ["report", *map(str, arguments)], standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return result.output


def test_command(tmp_path):
    folder = output_folder(tmp_path / "out", [Film("a")])
    assert command(folder.path) == f"Report: {folder.path / 'report.html'}\n"
    assert json.loads(command(folder.path, "--json", "--language", "es")) == {
        "report": str(folder.path / "report.html"),
        "pages": [],
    }
    assert Page(folder.path / "report.html").named("html") == [{"lang": "es"}]
    assert not list(folder.path.glob("*.part"))


def test_command_names_what_is_missing(tmp_path):
    with pytest.raises(InputError, match=r"does not exist\. Name the output folder of a run or a job"):
        command(tmp_path / "none")
    (tmp_path / "manifest.json").write_text('{"videos": [1]}')
    with pytest.raises(InputError, match=r"is not the manifest of a run: videos\[0\] must be a table. Got 1"):
        command(tmp_path)
    folder = output_folder(tmp_path / "out", [Film("a")], config={"scene": ("gone.toml",)})
    with pytest.raises(ConfigError, match=r"gone\.toml can't be read"):
        command(folder.path)
    (folder.path / "a.tracks.jsonl").write_text("nonsense\n")
    (tmp_path / "s.toml").write_text("")
    with pytest.raises(InputError, match=r"a\.tracks\.jsonl, line 1"):
        command(folder.path, "--scene", tmp_path / "s.toml")
