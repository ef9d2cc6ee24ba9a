"""A real browser over pages on disk, offline: `make test-browser`. Playwright drives the system's Chromium.

All requests and console messages of a page are recorded. A page that requests anything but files beside it, or reports
an error, fails its test.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.assets import ROOT

SHOTS = ROOT / "build" / "browser" / "screenshots"
FIGURES = ROOT / "build" / "browser" / "figures.txt"
DESK, PHONE = (1280, 900), (390, 844)
_NAMES = ("chromium", "chromium-browser", "google-chrome")


def _missing(what: str) -> None:
    if os.environ.get("YOLO_ENGINE_REQUIRE_BROWSER") == "1":
        pytest.fail(f"{what} is not here")
    pytest.skip(f"{what} is not here: make test-browser")


@dataclass
class Opened:
    """A page in the browser. `asked` are the URLs that it requested, `said` the messages on its console."""

    page: Any
    asked: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    may_fail: bool = False
    """A file that the page names is missing on purpose: Chromium says so."""


Open = Callable[..., Opened]


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        _missing("Playwright")
    path = os.environ.get("YOLO_ENGINE_CHROMIUM") or next(filter(None, map(shutil.which, _NAMES)), None)
    if path is None:
        _missing("Chromium (apt-get install chromium)")
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=path, args=["--no-sandbox"] if os.geteuid() == 0 else [])
        yield chromium
        chromium.close()


@pytest.fixture
def show(browser: Any) -> Iterator[Open]:
    opened: list[Opened] = []
    contexts = []

    def _show(path: Path, *, size: tuple[int, int] = DESK, dark: bool = False, **options: Any) -> Opened:
        context = browser.new_context(
            viewport={"width": size[0], "height": size[1]},
            color_scheme="dark" if dark else "light",
            accept_downloads=True,
            offline=True,
            **options,
        )
        contexts.append(context)
        found = Opened(context.new_page())
        opened.append(found)
        found.page.on("request", lambda request: found.asked.append(request.url))
        found.page.on("console", lambda message: found.said.append(f"{message.type}: {message.text}"))
        found.page.on("pageerror", lambda error: found.said.append(f"error: {error}"))
        found.page.on("dialog", lambda dialog: found.said.append(f"dialog: {dialog.message}") or dialog.dismiss())
        found.page.goto(path.as_uri())
        return found

    yield _show
    for context in contexts:
        context.close()
    for found in opened:
        assert [url for url in found.asked if not url.startswith(("file:", "data:", "blob:"))] == []
        assert found.may_fail or found.said == []


def until(page: Any, expression: str, timeout_s: float = 30.0) -> None:
    """Wait until an expression of the page's is true. Playwright's own way of waiting is forbidden by the page's
    Content-Security-Policy."""
    deadline = time.monotonic() + timeout_s
    while not page.evaluate(expression):
        assert time.monotonic() < deadline, f"never true: {expression}"
        page.wait_for_timeout(20)


def shot(page: Any, name: str, *, whole: bool = True) -> Path:
    """Save a screenshot."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    path = SHOTS / f"{name}.png"
    page.screenshot(path=str(path), full_page=whole)
    return path


def note(line: str) -> None:
    """Save a figure."""
    FIGURES.parent.mkdir(parents=True, exist_ok=True)
    with FIGURES.open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def complaints(page: Any) -> list[str]:
    """Return what axe-core finds wrong with the present page: rules, and where they are violated. WCAG 2.2 AA and good
    practice."""
    try:
        from axe_playwright_python.sync_playwright import Axe
    except ImportError:
        _missing("axe-playwright-python")
    broken = Axe().run(page).response["violations"]
    return [f"{rule['id']}: {', '.join(str(node['target']) for node in rule['nodes'][:5])}" for rule in broken]


# Controls that are smaller than a thumb needs (WCAG 2.5.5). A checkbox counts with the label around it.
TOO_SMALL = """() => [...document.querySelectorAll("button, select, input, textarea, summary, .button, .kinds span")]
  .filter((each) => each.checkVisibility() && !each.matches("input[type=radio], input[type=file]"))
  .map((each) => (each.type === "checkbox" ? each.closest("label") : each))
  .map((each) => [each.name || each.id || each.textContent.trim(), each.getBoundingClientRect().height])
  .filter(([, height]) => height < 44)"""


# Visible texts whose contrast with their background, by the relative luminance of WCAG 2.2, is below that of AA.
TOO_FAINT = """() => {
  const channel = (v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const parse = (text) => {
    const found = text.match(/[\\d.]+/g).map(Number);
    return { rgb: found.slice(0, 3), a: found[3] ?? 1 };
  };
  const apart = "script, style, noscript, .stage, option, [hidden], :disabled";
  const light = (rgb) => 0.2126 * channel(rgb[0]) + 0.7152 * channel(rgb[1]) + 0.0722 * channel(rgb[2]);
  const under = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const { rgb, a } = parse(getComputedStyle(at).backgroundColor);
      if (a > 0.99) return rgb;
    }
    return [255, 255, 255];
  };
  const faint = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const node = walk.currentNode, element = node.parentElement;
    if (!node.data.trim() || !element.checkVisibility() || element.closest(apart)) continue;
    const style = getComputedStyle(element);
    const ink = parse(element.closest("svg") ? style.fill : style.color).rgb;
    const [a, b] = [light(ink), light(under(element))].sort((x, y) => y - x);
    const contrast = (a + 0.05) / (b + 0.05);
    const size = parseFloat(style.fontSize), large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    if (contrast < (large ? 3 : 4.5)) faint.push(`${contrast.toFixed(2)} ${node.data.trim().slice(0, 40)}`);
  }
  return faint;
}"""
