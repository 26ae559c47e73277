"""The rendered book in a browser, on a desk and on a phone, light and dark."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text())
PAGES = [TOC["root"]] + [page["file"] for part in TOC["parts"] for page in part["chapters"]]
CHAPTERS = [page for page in PAGES if (ROOT / f"{page}.ipynb").exists()]
VENDORED = (ROOT / "_build/html/_static/vendor/mathjax").is_dir()  # themes have a vendor/ too
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


@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (390, "dark")], ids=str)
@pytest.mark.parametrize("name", PAGES)
def test_a_page_stands(site, open_page, name, width, theme):
    page = open_page(f"{site}/{name}.html", width=width, theme=theme)
    assert page.failed == []
    page.wait_for_function(f"document.documentElement.dataset.theme == '{theme}'")
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "wider than the window"
    empty = "[...document.images].filter(i => !i.naturalWidth || !i.hasAttribute('alt')).length"
    assert page.evaluate(empty) == 0, "pictures that do not show, or have no alt text"
    if VENDORED:
        assert page.outside == [], "requests that leave the machine"
        assert [error for error in page.errors if KNOWN not in error] == []


@needs_vendor
def test_pages_need_no_other_machine():
    """Says that, without site/vendor, outside requests and console errors went unchecked."""
    assert (ROOT / "_build/html/_static/vendor/mathjax/tex-mml-chtml.js").exists()


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_chapter_shows_pictures_and_its_number(site, open_page, name):
    """Its file's number; pages without one, such as the measured weights, have none."""
    page = open_page(f"{site}/{name}.html")
    assert page.locator(".cell_output img").count() > 0
    number = page.locator("h1 .section-number")
    if name[5:7].isdigit():
        assert number.inner_text().strip() == f"{int(name[5:7])}."
    else:
        assert number.count() == 0


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_comparison_follows_mouse_and_keys(site, open_page, name):
    page = open_page(f"{site}/{name}.html")
    if not page.locator(".srkit-compare").count():
        pytest.skip(f"{name} has no comparison")
    figure = page.locator(".srkit-compare").first
    handle, left = figure.locator("input[type=range]"), figure.locator("img").first
    cut = [left.evaluate("e => getComputedStyle(e).clipPath")]
    dragged(page, handle, 60)
    cut.append(left.evaluate("e => getComputedStyle(e).clipPath"))
    handle.press("ArrowRight")
    cut.append(left.evaluate("e => getComputedStyle(e).clipPath"))
    assert len(set(cut)) == 3, cut


@needs_vendor
@pytest.mark.parametrize("name", CHAPTERS)
def test_a_stepper_moves_a_picture_without_a_kernel(site, open_page, name):
    page = open_page(f"{site}/{name}.html")
    if not page.locator('script[type="application/vnd.jupyter.widget-view+json"]').count():
        pytest.skip(f"{name} has no widget")
    handle = page.locator(".widget-slider .noUi-handle").first
    handle.wait_for()
    picture = page.locator(".widget-vbox:has(.noUi-handle) img:visible").first
    seen = [picture.get_attribute("src")]
    handle.press("ArrowRight")
    seen.append(picture.get_attribute("src"))
    dragged(page, handle, 300)
    seen.append(picture.get_attribute("src"))
    assert len(set(seen)) == 3, "key and mouse each show another picture"


def test_the_search_finds_a_chinese_term(site, open_page):
    page = open_page(f"{site}/search.html?q=亚像素卷积")
    page.locator("#search-results li").first.wait_for()
    assert "Glossary" in page.locator("#search-results").inner_text()
