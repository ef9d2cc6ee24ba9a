"""The page on which a scene is drawn, in a real browser; `analyze` takes what it gives."""

import itertools
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from engine.analytics import Scene
from engine.cli.group import commands
from tests.browser.conftest import DESK, PHONE, TOO_FAINT, TOO_SMALL, complaints, shot
from tests.e2e.runs import clip
from tests.engine.report.handmade import Film, output_folder

GIVEN = """
camera = "a.mp4"
size = [64, 48]
margin = 0.02
[[line]]
name = "north \\"quoted\\""
points = [[0.1, 0.5], [0.5, 0.6], [0.9, 0.5]]
in = "to centre"
out = "from centre"
anchor = "centre"
classes = ["car", "bus"]
[[zone]]
name = "stop"
polygon = [[0.2, 0.6], [0.4, 0.6], [0.4, 0.9]]
loiter_s = 12.5
[[ignore]]
polygon = [[0.0, 0.0], [1.0, 0.0], [1.0, 0.1]]
[map]
image = [[0.1, 0.9], [0.9, 0.9], [0.7, 0.3], [0.3, 0.3]]
metres = [[0.0, 0.0], [10.5, 0.0], [10.0, 40.0], [-1.0, 40.0]]
"""


def run(*arguments):
    result = CliRunner().invoke(commands, list(map(str, arguments)), standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return result.output


@pytest.fixture
def video(tmp_path):
    return clip(tmp_path / "in" / "a.mp4", 30, (64, 48), codec="libx264")


def scene_page(tmp_path, *arguments) -> Path:
    run("scene", *arguments, "-o", tmp_path / "scene.html")
    return tmp_path / "scene.html"


def click(page, x, y, **options):
    """Click at a place of the frame."""
    page.locator("#drawing").scroll_into_view_if_needed()
    box = page.locator("#drawing").bounding_box()
    page.mouse.click(box["x"] + x * box["width"], box["y"] + y * box["height"], **options)


def scene_of(page, folder) -> Scene:
    """The scene that the page gives, as the engine reads it."""
    path = folder / "drawn.toml"
    path.write_text(page.locator("#toml").input_value(), encoding="utf-8")
    return Scene.load(path)


def test_a_scene_given_with_one_video_is_edited(tmp_path, video, show):
    """Alone, the video has no folder by which the scene's `camera` would know it."""
    (tmp_path / "north.toml").write_text(
        'camera = "north/**"\n[[line]]\nname = "gate"\npoints = [[0, 0.5], [1, 0.5]]\n'
    )
    page = show(scene_page(tmp_path, video, "--scene", tmp_path / "north.toml")).page
    scene = scene_of(page, tmp_path)
    assert (scene.camera, [line.name for line in scene.lines]) == ("north/**", ["gate"])


def test_a_line_that_is_drawn_is_counted(tmp_path, video, show):
    opened = show(scene_page(tmp_path, video))
    page = opened.page
    click(page, 0.5, 0.02)
    click(page, 0.5, 0.98)
    page.get_by_role("button", name="Finish shape").click()
    field = page.locator("#shapes input").first
    field.fill('north "gate" \\ ñ😀')
    assert page.evaluate("document.activeElement === document.querySelector('#shapes input')")
    page.locator("#shapes input").nth(1).fill("left")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
    drawn = tmp_path / "drawn.toml"
    download.value.save_as(drawn)
    (line,) = Scene.load(drawn).lines
    assert (line.name, line.into, line.out) == ('north "gate" \\ ñ😀', "left", "out")
    assert [round(x, 1) for x, _ in line.points] == [0.5, 0.5]
    assert opened.asked == [(tmp_path / "scene.html").as_uri()]

    output_folder(tmp_path / "out", [Film("a", tracks=9)])
    told = json.loads(run("analyze", tmp_path / "out", "--scene", drawn, "--json"))
    counts = {row["direction"]: row["count"] for row in told["cameras"][0]["lines"]}
    assert sum(counts.values()) == 9
    assert counts.keys() == {"left", "out"}


def test_the_arrow_shows_where_in_leads(tmp_path, video, show):
    """From top to bottom, the right hand is to the left of the picture."""
    page = show(scene_page(tmp_path, video)).page
    click(page, 0.5, 0.1)
    click(page, 0.5, 0.9)
    page.get_by_role("button", name="Finish shape").click()
    start, tip = arrow(page)
    assert tip < start
    page.get_by_role("button", name="Turn round").click()
    start, tip = arrow(page)
    assert tip > start


def arrow(page):
    """Where an arrow begins and ends, from the left."""
    begin, end, *_ = page.locator(".arrow").get_attribute("d").removeprefix("M").split("L")
    return float(begin.split(",")[0]), float(end.split(",")[0])


def test_every_kind_is_drawn_and_moved_and_removed(tmp_path, video, show):
    page = show(scene_page(tmp_path, video)).page
    for kind, left in (("zone", 0.2), ("ignore", 0.25)):
        page.locator(f"[value={kind}] + span").click()
        for x, y in ((0.0, 0.2), (0.4, 0.2), (0.4, 0.6), (0.0, 0.6)):
            click(page, left + x, y)
        page.keyboard.press("Enter")
    flat = [value for point in scene_of(page, tmp_path).zones[0].polygon for value in point]
    assert flat == pytest.approx([0.2, 0.2, 0.6, 0.2, 0.6, 0.6, 0.2, 0.6], abs=0.002)
    page.locator("[value=map] + span").click()
    for number, (x, y) in enumerate(((0.1, 0.1), (0.9, 0.1), (0.9, 0.9))):
        click(page, x, y)
        assert "map needs 4 points" in page.locator("#faults").inner_text(), number
    click(page, 0.1, 0.9)
    assert page.locator("#faults").inner_text() == ""
    metres = page.locator("#shapes li").last.locator("input")
    for place, value in enumerate("0 0 10 0 10 20 0 20".split()):
        metres.nth(place).fill(value)
    scene = scene_of(page, tmp_path)
    assert len(scene.zones[0].polygon) == len(scene.ignore[0].polygon) == 4
    assert scene.map.metres == ((0, 0), (10, 0), (10, 20), (0, 20))

    page.locator("#drawing").scroll_into_view_if_needed()
    handle = page.locator(".zone .handle").first.bounding_box()
    box = page.locator("#drawing").bounding_box()
    page.mouse.move(handle["x"] + handle["width"] / 2, handle["y"] + handle["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.3 * box["height"], steps=4)
    page.mouse.up()
    moved = scene_of(page, tmp_path).zones[0].polygon
    assert any(abs(x - 0.3) < 0.01 and abs(y - 0.3) < 0.01 for x, y in moved)
    page.get_by_role("button", name="Remove: ignored region").click()
    assert scene_of(page, tmp_path).ignore == ()


def test_what_the_engine_would_refuse_is_said(tmp_path, video, show):
    page = show(scene_page(tmp_path, video)).page
    click(page, 0.2, 0.2)
    page.keyboard.press("Enter")
    assert page.locator("#said").inner_text() == "line needs 2 points or more."
    click(page, 0.8, 0.2)
    page.keyboard.press("Enter")
    page.locator("#shapes input").nth(1).fill("out")
    assert "must be words that differ" in page.locator("#faults").inner_text()
    page.locator("#shapes input").first.fill("")
    assert "1 to 100 characters" in page.locator("#faults").inner_text()


def test_a_scene_that_is_given_comes_back_as_it_was(tmp_path, video, show):
    given = tmp_path / "given.toml"
    given.write_text(GIVEN)
    page = show(scene_page(tmp_path, video, "--scene", given)).page
    assert scene_of(page, tmp_path) == Scene.load(given)


def test_drawn_by_key_alone(tmp_path, video, show):
    page = show(scene_page(tmp_path, video)).page
    page.locator("#drawing").focus()
    for key in ("Space", *["Shift+ArrowRight"] * 4, "Space", "Space", "Enter"):
        page.keyboard.press(key)
    (line,) = scene_of(page, tmp_path).lines
    assert line.points == ((0.5, 0.5), (0.7, 0.5))


def test_paths_of_an_earlier_run_lie_beneath(tmp_path, video, show):
    output_folder(tmp_path / "out", [Film("a", tracks=30)])
    page = show(scene_page(tmp_path, video, "--tracks", tmp_path / "out")).page
    drawn = """() => {
      const copy = new OffscreenCanvas(128, 96).getContext('2d', { willReadFrequently: true });
      copy.drawImage(document.querySelector('#below'), 0, 0, 128, 96);
      return copy.getImageData(0, 0, 128, 96).data.some((value) => value);
    }"""
    assert page.evaluate(drawn)
    page.get_by_label("Paths").uncheck()
    assert not page.evaluate(drawn)


def test_a_folder_of_cameras(tmp_path, show):
    for name in ("north/1", "north/2", "so'\"<b>uth/3"):
        clip(tmp_path / "in" / f"{name}.mp4", 10, (64, 48))
    (tmp_path / "in" / "broken.mp4").write_bytes(b"none")
    page = show(scene_page(tmp_path, tmp_path / "in", "--camera", "folder")).page
    assert page.locator("[name=video] option").count() == 2
    assert page.locator("[name=camera]").input_value() == "north/**"
    page.locator("[name=video]").select_option(index=1)
    click(page, 0.1, 0.5)
    click(page, 0.9, 0.5)
    page.keyboard.press("Enter")
    assert scene_of(page, tmp_path).matches("so'\"<b>uth/3.mp4")
    page.locator("[name=video]").select_option(index=0)
    assert scene_of(page, tmp_path).lines == ()


def test_no_name_is_cut_at_the_edge_and_none_covers_another(tmp_path, video, show):
    given = tmp_path / "given.toml"
    given.write_text(
        'camera = "a.mp4"\n[[line]]\nname = "a long name"\npoints = [[0.0, 0.5], [0.2, 0.5]]\n'
        'in = "to centre"\nout = "from centre"\n'
        '[[zone]]\nname = "another name"\npolygon = [[0.96, 0.1], [1.0, 0.1], [1.0, 0.3]]\n'
        '[[zone]]\nname = "one more"\npolygon = [[0.0, 0.55], [0.2, 0.55], [0.2, 0.75], [0.0, 0.75]]\n'
    )
    page = show(scene_page(tmp_path, video, "--scene", given)).page
    width, height = 64, 48
    boxes = page.evaluate(
        "() => [...document.querySelectorAll('#drawing .label')].map((each) => "
        "{ const { x, y, width, height } = each.getBBox(); return [x, y + height / 5, x + width, y + height]; })"
    )
    assert len(boxes) == 5
    assert all(left >= 0 and top >= 0 and right <= width and bottom <= height + 1 for left, top, right, bottom in boxes)
    for one, other in itertools.combinations(boxes, 2):
        assert one[0] >= other[2] or other[0] >= one[2] or one[1] >= other[3] or other[1] >= one[3]


def test_by_thumb(tmp_path, video, show):
    """Beside a point it is that point, unless a shape is being drawn: its next point may be close to another one."""
    given = tmp_path / "given.toml"
    given.write_text(GIVEN)
    page = show(scene_page(tmp_path, video, "--scene", given), size=PHONE, has_touch=True, is_mobile=True).page
    assert page.evaluate(TOO_SMALL) == []
    page.locator("#drawing").scroll_into_view_if_needed()
    box = page.locator("#drawing").bounding_box()
    x, y = box["x"] + 0.9 * box["width"], box["y"] + 0.5 * box["height"]
    page.mouse.move(x + 15, y - 10)
    page.mouse.down()
    page.mouse.move(x, y - 40, steps=3)
    page.mouse.up()
    (line,) = scene_of(page, tmp_path).lines
    assert line.points[-1] == pytest.approx((0.9, 0.5 - 40 / box["height"]), abs=0.01)
    page.mouse.click(x - 60, y + 60)
    page.mouse.click(x, y - 20)
    page.get_by_role("button", name="Finish shape").click()
    assert len(scene_of(page, tmp_path).lines) == 2
    assert scene_of(page, tmp_path).lines[0] == line


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_fits_and_can_be_read(tmp_path, video, show, dark, size):
    given = tmp_path / "given.toml"
    given.write_text(GIVEN)
    page = show(scene_page(tmp_path, video, "--scene", given, "--language", "es"), size=size, dark=dark).page
    assert page.evaluate("document.scrollingElement.scrollWidth") <= size[0]
    assert page.evaluate(TOO_FAINT) == []
    assert complaints(page) == []
    shot(page, f"scene-{'dark' if dark else 'light'}-{'phone' if size == PHONE else 'desk'}")
