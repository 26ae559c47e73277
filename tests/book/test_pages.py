"""The rendered book in a browser, on a desk and on a phone, light and dark."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml

from srkit.chapter.study import read_study

ROOT = Path(__file__).parents[2]
HTML = ROOT / "_build/html"
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text())
PAGES = [TOC["root"]] + [page["file"] for part in TOC["parts"] for page in part["chapters"]]
CHAPTERS = [page for page in PAGES if (ROOT / f"{page}.ipynb").exists()]
VENDORED = (HTML / "_static/vendor/mathjax").is_dir()  # themes have a vendor/ too
needs_vendor = pytest.mark.skipif(
    not VENDORED, reason="built without site/vendor (make vendor): the browser code is elsewhere"
)
# The theme says this on a first visit.
KNOWN = "Got invalid theme mode"


def dragged(page, handle, pixels: int) -> None:
    """The left mouse button pressed on the middle of `handle` and moved to the right."""
    handle.scroll_into_view_if_needed()
    box = handle.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + pixels, y, steps=5)
    page.mouse.up()


EMPTY = """[...document.querySelectorAll('.cell_output > *')].filter(e => {
  const shown = e.cloneNode(true);
  if (shown.querySelector('img, svg, canvas, script[type*=widget-view]')) return false;
  shown.querySelectorAll('style, script').forEach(e => e.remove());
  return !shown.textContent.trim();
}).map(e => e.outerHTML.slice(0, 200))"""


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", PAGES)
def test_a_page_stands_in_light_and_dark(site, open_page, name, width):
    page = open_page(f"{site}/{name}.html", width=width)
    assert page.failed == []
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        page.wait_for_function(f"document.documentElement.dataset.theme == '{theme}'")
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= width, f"wider than the window, {theme}"
    bad = "[...document.images].filter(i => !i.naturalWidth || !i.hasAttribute('alt')).length"
    assert page.evaluate(bad) == 0, "pictures that do not show, or have no alt text"
    assert page.evaluate(EMPTY) == [], "outputs with neither text nor picture"
    if VENDORED:
        assert page.outside == [], "requests that leave the machine"
        assert [error for error in page.errors if KNOWN not in error] == []


@needs_vendor
def test_pages_need_no_other_machine():
    """Says that, without site/vendor, outside requests and console errors went unchecked."""
    assert (HTML / "_static/vendor/mathjax/tex-mml-chtml.js").exists()


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_chapter_shows_something_and_its_number(site, open_page, name):
    """Its file's number; pages without one, such as the measured weights, have none."""
    page = open_page(f"{site}/{name}.html")
    assert page.locator(".cell_output :is(img, table)").count() > 0
    number = page.locator("h1 .section-number")
    if name[5:7].isdigit():
        assert number.inner_text().strip() == f"{int(name[5:7])}."
    else:
        assert number.count() == 0


# What a figure shows: the visible pictures and where they are cut, or the words in their place.
SHOWN = """figure => [...figure.querySelectorAll('img, .shown')]
  .filter(e => e.checkVisibility({visibilityProperty: true}))
  .map(e => (e.src ?? e.innerText) + getComputedStyle(e).clipPath).join()"""


@pytest.mark.parametrize("name", CHAPTERS)
def test_every_control_changes_a_picture(site, open_page, name):
    """Sliders by a drag of their handle and by a key, menus by a choice."""
    page = open_page(f"{site}/{name}.html")
    page.evaluate("document.querySelectorAll('details').forEach(e => e.open = true)")
    figures = page.locator(".srkit-compare, .srkit-mixer").all()
    for number, figure in enumerate(figures, 1):
        own = ":scope > :is(.stage, .controls, figcaption) :is(input, select, label *):enabled"
        controls = figure.locator(own).all()
        assert controls, f"figure {number} has nothing to move"
        for control in controls:
            if not control.is_visible():
                continue  # of a comparison within a state that is not shown
            seen = [figure.evaluate(SHOWN)]
            if control.evaluate("e => e.tagName") == "SELECT":
                others = "e => [...e.options].map(o => o.index).filter(k => k != e.selectedIndex)"
                control.select_option(index=control.evaluate(others)[0])
                seen.append(figure.evaluate(SHOWN))
            else:
                drag(page, control)
                seen.append(figure.evaluate(SHOWN))
                at_the_left = control.evaluate("e => +e.value == +e.min")
                control.press("ArrowRight" if at_the_left else "ArrowLeft")
                seen.append(figure.evaluate(SHOWN))
            label = control.evaluate("e => e.ariaLabel ?? e.parentElement.innerText")
            moved = all(before != after for before, after in pairwise(seen))
            assert moved, f"figure {number}: {label} changes nothing"


def drag(page, slider) -> None:
    """A native slider, by its handle, to the right end, or to the left end from there."""
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    value, top = slider.evaluate("e => [+e.value, +e.max]")
    inner = box["width"] - 16  # the handle's middle stays a radius away from the ends
    x, y = box["x"] + 8 + inner * value / top, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(box["x"] + 8 + inner * (0.98 if value < top else 0.02), y, steps=5)
    page.mouse.up()


@needs_vendor
@pytest.mark.parametrize("name", CHAPTERS)
def test_every_stepper_moves_a_picture_without_a_kernel(site, open_page, name):
    page = open_page(f"{site}/{name}.html")
    views = page.locator('script[type="application/vnd.jupyter.widget-view+json"]').count()
    if not views:
        pytest.skip(f"{name} has no widget")
    page.locator(".widget-slider .noUi-handle").first.wait_for()
    boxes = page.locator(".widget-vbox:has(.noUi-handle)").all()
    assert len(boxes) == views
    for box in boxes:
        handle, picture = box.locator(".noUi-handle"), box.locator("img:visible").first
        seen = [picture.get_attribute("src")]
        handle.press("ArrowRight")
        seen.append(picture.get_attribute("src"))
        only_two = float(handle.get_attribute("aria-valuemax")) == 1
        dragged(page, handle, -300 if only_two else 300)
        seen.append(picture.get_attribute("src"))
        moved = all(before != after for before, after in pairwise(seen))
        assert moved, "key and mouse each show another picture"


STUDIES = [name for name in CHAPTERS if "srkit-study" in (ROOT / f"{name}.ipynb").read_text()]


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_is_answered_to_its_end_and_kept(site, open_page, name, tmp_path):
    """Blind, always the left one: the page and the file then say what stood there."""
    page = open_page(f"{site}/{name}.html")
    for number in range(page.locator(".srkit-study").count()):
        figure = page.locator(".srkit-study").nth(number)
        asked = json.loads(figure.get_attribute("data-study"))
        trials, left = len(asked["pairs"]), []
        for trial in range(trials):
            assert not re.search("|".join(map(re.escape, asked["methods"])), figure.inner_text())
            shown = figure.locator(".pair img").first.get_attribute("src")
            (pair,) = (pair for pair in asked["pairs"] if shown in pair["pictures"])
            left.append((pair["name"], asked["methods"][pair["pictures"].index(shown)]))
            figure.locator(".pair button").first.click()
            if trial == trials // 2:
                page.reload(wait_until="networkidle")
        with page.expect_download() as download:
            figure.get_by_role("button", name="Download answers").click()
        download.value.save_as(tmp_path / "answers.json")
        answers = json.loads((tmp_path / "answers.json").read_text())["trials"]
        assert [(answer["pair"], answer["chosen"]) for answer in answers] == left
        result, first = read_study(tmp_path / "answers.json"), asked["methods"][0]
        assert abs(2 * result.wins - trials) <= 1, "each method was on the left equally often"
        low, high = (f"{100 * share:.0f} %" for share in result.interval)
        page.reload(wait_until="networkidle")
        text = figure.inner_text()
        assert f"{first} was chosen in {result.wins} of {trials} pairs" in text
        assert f"95 % interval {low} to {high}" in text


class Links(HTMLParser):
    """The addresses and the anchors of a page."""

    def __init__(self, path: Path):
        super().__init__()
        self.addresses, self.anchors = set(), {"", "top"}
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.anchors |= {attrs[key] for key in ("id", "name") if attrs.get(key)}
        self.addresses |= {attrs[key] for key in ("href", "src") if attrs.get(key)}


def test_internal_links_lead_somewhere(site):
    """Files and anchors, of every page that was built."""
    pages = {path: Links(path) for path in HTML.rglob("*.html") if "_static" not in path.parts}
    broken = []
    for path, page in pages.items():
        for address in page.addresses:
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.is_file():
                broken.append(f"{path.relative_to(HTML)}: {address}, no such file")
            elif target in pages and unquote(parts.fragment) not in pages[target].anchors:
                broken.append(f"{path.relative_to(HTML)}: {address}, no such anchor")
    assert broken == []


def test_the_site_is_light_enough_to_be_copied(site):
    size = sum(path.stat().st_size for path in HTML.rglob("*") if path.is_file())
    assert size <= 60_000_000, f"{size:,} bytes"


def test_the_search_finds_a_chinese_term(site, open_page):
    page = open_page(f"{site}/search.html?q=亚像素卷积")
    page.locator("#search-results li").first.wait_for()
    assert "Glossary" in page.locator("#search-results").inner_text()
