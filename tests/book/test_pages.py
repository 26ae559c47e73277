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
EMPTY = """[...document.querySelectorAll('.cell_output > *')].filter(e => {
  const shown = e.cloneNode(true);
  if (shown.querySelector('img, svg, canvas, math')) return false;
  shown.querySelectorAll('style, script').forEach(e => e.remove());
  return !shown.textContent.trim();
}).map(e => e.outerHTML.slice(0, 200))"""


# What is wrong in a page as it stands now; each entry is a list that should be empty. Everything is
# measured as it is drawn: rectangles, scroll widths, computed colours.
WRONG = r"""() => {
  const width = innerWidth, found = {}, pages = document.querySelector('.bd-container');
  const named = e =>
    `${e.tagName}.${e.getAttribute('class') ?? ''}: ${e.textContent.trim().slice(0, 60)}`;
  const shown = e => e.checkVisibility({visibilityProperty: true}) && e.getClientRects().length;
  const note = (kind, elements) => { if (elements.length) found[kind] = elements.slice(0, 5); };
  const all = selector => [...pages.querySelectorAll(selector)].filter(shown);
  const scrolls = e => ['auto', 'scroll'].includes(getComputedStyle(e).overflowX);
  const scroller = e => {  // the nearest one that is not a part of the page's own frame
    for (e = e.parentElement; !e.matches('article'); e = e.parentElement) if (scrolls(e)) return e;
  };
  if (document.documentElement.scrollWidth > width) found['page'] = ['wider than the window'];
  note('beyond the edge', all('article *').filter(e => {
    const box = e.getBoundingClientRect();
    return box.width > 1 && (box.right > width + 1 || box.left < -1)
      && !e.closest('svg *, math *') && !scroller(e) && getComputedStyle(e).position != 'absolute';
  }).map(named));

  // A word, a number, a number with its spread: what no blank or dash divides.
  const range = document.createRange(), broken = [];
  for (const cell of all('td, th')) {
    const walk = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT);
    for (let text = walk.nextNode(); text; text = walk.nextNode()) {
      if (text.parentElement.closest('style, script, pre, math, svg')) continue;
      for (const word of text.data.matchAll(/[^ \t\r\n\-–—\/]+/g)) {
        range.setStart(text, word.index);
        range.setEnd(text, word.index + word[0].length);
        const lines = new Set([...range.getClientRects()].map(box => Math.round(box.top / 4)));
        if (lines.size > 1) broken.push(`${word[0]} in ${named(cell)}`);
      }
    }
    if (/\d ± ?\d|\d ?± \d/.test(cell.innerText)) broken.push(`loose ± in ${named(cell)}`);
  }
  note('broken in a cell', broken);

  const prose = pages.cloneNode(true);
  prose.querySelectorAll('pre, code, script, style').forEach(e => e.remove());
  const tex = /\\[(\[)\]]|\$\$|\\[a-z]+\{|\\(frac|sum|ell|phi|left)\b/g;
  note('raw TeX', prose.textContent.match(tex) ?? []);

  note('narrow sliders', all('input[type=range]')
    .filter(e => e.getBoundingClientRect().width < 100).map(named));

  note('code that is cut', all('pre').filter(e => {
    const columns = Math.max(...e.textContent.split('\n').map(line => line.length));
    const inside = scrolls(e) ? e : scroller(e) ?? e;
    const over = inside.scrollWidth > inside.clientWidth + 1;
    return over && (!scrolls(inside) || (columns <= 72 && width >= 1280));
  }).map(named));

  const light = colour => {
    const [r, g, b, a = 1] = colour.match(/[\d.]+/g).map(Number);
    return a > 0.5 && 0.3 * r + 0.6 * g + 0.1 * b > 150;
  };
  if (document.documentElement.dataset.theme == 'dark')
    note('light slabs', [...pages.querySelectorAll('*')].filter(e => {
      const box = e.getBoundingClientRect();
      return shown(e) && box.width > 100 && box.height > 40 && e.tagName != 'IMG'
        && light(getComputedStyle(e).backgroundColor);
    }).map(named));
  return found;
}"""
# On paper: what is folded on the screen stands there, and nothing ends at the paper's edge.
UNPRINTED = r"""() => {
  const named = e =>
    `${e.tagName}.${e.getAttribute('class') ?? ''}: ${e.textContent.trim().slice(0, 60)}`;
  const options = {visibilityProperty: true, opacityProperty: true};
  const folded = [...document.querySelectorAll('article details > :not(summary)'),
    ...document.querySelectorAll('article .admonition.toggle-hidden > :not(.admonition-title)')];
  const hidden = folded.filter(e => !e.matches('button, style, script') && e.textContent.trim()
    && !(e.checkVisibility(options) && e.getBoundingClientRect().height > 1));
  const cut = [...document.querySelectorAll('article :is(pre, table, img, svg, math)')].filter(e =>
    e.checkVisibility(options) && e.getBoundingClientRect().right > innerWidth + 1);
  const found = [...hidden.map(e => `hidden ${named(e)}`), ...cut.map(e => `cut ${named(e)}`)];
  return found.slice(0, 8);
}"""
PICTURES = """[...document.images]
  .filter(i => !i.complete || !i.naturalWidth || !i.hasAttribute('alt'))
  .map(i => i.outerHTML.slice(0, 80))"""
PAPER = 718  # CSS pixels: A4 without its margins


@pytest.mark.parametrize("name", PAGES)
def test_a_page_stands_everywhere(site, visit, name):
    """From a desk to a phone, light, dark and printed; it asks no other machine for anything."""
    page = visit(f"{site}/{name}.html", width=1280)
    wrong = {"other machines": page.outside, "answers": page.failed, "console": page.errors}
    wrong |= {"pictures": page.evaluate(PICTURES), "empty outputs": page.evaluate(EMPTY)}
    page.evaluate("document.querySelectorAll('article details').forEach(e => e.open = true)")
    for width in (1280, 768, 390):
        page.set_viewport_size({"width": width, "height": 900})
        wrong |= {f"{width} px, {kind}": what for kind, what in page.evaluate(WRONG).items()}
    page.emulate_media(color_scheme="dark")
    page.wait_for_function("document.documentElement.dataset.theme == 'dark'")
    wrong |= {f"dark, {kind}": what for kind, what in page.evaluate(WRONG).items()}
    page.evaluate("document.querySelectorAll('article details').forEach(e => e.open = false)")
    page.set_viewport_size({"width": PAPER, "height": 900})
    page.emulate_media(color_scheme="light", media="print")
    wrong["printed"] = page.evaluate(UNPRINTED)
    assert {kind: what for kind, what in wrong.items() if what} == {}


def test_a_page_s_programs_and_styles_are_small(site, visit):
    """Without pictures and fonts: what a reader waits for."""
    for name in ("book/15-rlfn", "book/api/models"):
        page = visit(f"{site}/{name}.html")
        loaded = "performance.getEntriesByType('resource').map(e => [e.name, e.decodedBodySize])"
        code = {
            n: size for n, size in page.evaluate(loaded) if urlsplit(n).path[-3:] in (".js", "css")
        }
        assert len(code) > 5, "the page has styles and programs"
        assert sum(code.values()) < 1_000_000, sorted(code.items(), key=lambda item: -item[1])[:4]


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_chapter_weighs_little(site, name):
    size = (HTML / f"{name}.html").stat().st_size
    assert size <= 2_500_000, f"{size:,} bytes"


NUMBERED = [name for name in CHAPTERS if name[5:7].isdigit()]


@pytest.mark.parametrize("name", NUMBERED)
def test_a_chapter_opens_with_a_wide_picture_and_its_verdicts(site, visit, name):
    """The first thing after the first sentence spans the page; the table of claims follows it."""
    page = visit(f"{site}/{name}.html", width=1280)
    picture = page.locator(".cell_output :is(img, svg):visible").first.bounding_box()
    assert picture["width"] > 1200
    figure = page.locator(".cell_output .srkit-wide").first.bounding_box()
    table = page.locator("table.srkit-table:visible").first.bounding_box()
    assert 0 <= table["y"] - (figure["y"] + figure["height"]) < 200, "the verdicts stand below it"


def test_the_ledger_is_short(site, visit):
    page = visit(f"{site}/book/ledger.html", width=1280)
    assert page.evaluate("document.documentElement.scrollHeight") < 12_000


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_chapter_shows_something_and_its_number(site, visit, name):
    """Its file's number; pages without one, such as the measured weights, have none."""
    page = visit(f"{site}/{name}.html")
    assert page.locator(".cell_output :is(img, svg, table)").count() > 0
    number = page.locator("h1 .section-number")
    if name[5:7].isdigit():
        assert number.inner_text().strip() == f"{int(name[5:7])}."
    else:
        assert number.count() == 0


# What a figure shows: the visible pictures, how they are cut and drawn, the words in their place.
SHOWN = """control => [...control.closest('figure').querySelectorAll('img, svg, .shown')]
  .filter(e => e.checkVisibility({visibilityProperty: true}))
  .map(e => [e.src ?? (e.tagName == 'svg' ? e.outerHTML : e.innerText),
             getComputedStyle(e).clipPath, getComputedStyle(e).imageRendering]).join()"""
# `checkVisibility` says yes for a transparent range over a picture, which is meant.
CONTROLS = "figure :is(input[type=range], input[type=checkbox], select):enabled"


@pytest.mark.parametrize("name", CHAPTERS)
def test_every_control_changes_a_picture(site, visit, name):
    """Sliders by mouse, finger and key; menus and switches by a choice."""
    page = visit(f"{site}/{name}.html", width=1280)
    page.evaluate("document.querySelectorAll('details').forEach(e => e.open = true)")
    for number, control in enumerate(page.locator(CONTROLS).all(), 1):
        if not control.is_visible():
            continue  # of a comparison within a state that is not shown
        seen = [control.evaluate(SHOWN)]
        kind = control.evaluate("e => e.type")
        if kind == "select-one":
            others = "e => [...e.options].map(o => o.index).filter(k => k != e.selectedIndex)"
            control.select_option(index=control.evaluate(others)[0])
        elif kind == "checkbox":
            control.click()
        else:
            drag(page, control)
            seen.append(control.evaluate(SHOWN))
            tap(page, control)
            seen.append(control.evaluate(SHOWN))
            at_the_left = control.evaluate("e => e.value - e.min < (e.max - e.min) / 2")
            control.press("ArrowRight" if at_the_left else "ArrowLeft")  # and stays off the ends
        seen.append(control.evaluate(SHOWN))
        label = control.evaluate("e => e.ariaLabel ?? e.closest('label, figure').innerText")
        moved = all(before != after for before, after in pairwise(seen))
        assert moved, f"control {number}, {label[:60]!r}, changes nothing"


def places(slider) -> tuple[float, float, float]:
    """Of a native slider: x of its handle, x of a place in the other half, y."""
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    share = slider.evaluate("e => (e.value - e.min) / (e.max - e.min)")
    left, inner = box["x"] + 8, box["width"] - 16  # the handle's middle: a radius from the ends
    other = left + inner * (0.1 if share > 0.5 else 0.9)
    return left + inner * share, other, box["y"] + box["height"] / 2


def drag(page, slider) -> None:
    """By its handle."""
    at, other, y = places(slider)
    page.mouse.move(at, y)
    page.mouse.down()
    page.mouse.move(other, y, steps=5)
    page.mouse.up()


def tap(page, slider) -> None:
    """A finger where the handle is not."""
    _, other, y = places(slider)
    page.touchscreen.tap(other, y)


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


EXPLORERS = [name for name in CHAPTERS if "srkit-explorer" in (ROOT / f"{name}.ipynb").read_text()]


@pytest.mark.parametrize("name", EXPLORERS)
def test_every_explorer_answers_clicks_fingers_and_keys(site, visit, name):
    page = visit(f"{site}/{name}.html", width=1280)
    for figure in page.locator(".srkit-explorer").all():
        pad, said = figure.locator(".stage").first, [figure.locator("output").inner_text()]
        pad.scroll_into_view_if_needed()
        box = pad.bounding_box()
        for act, share in ((page.mouse.click, 0.3), (page.touchscreen.tap, 0.7)):
            act(box["x"] + share * box["width"], box["y"] + share * box["height"])
            said.append(figure.locator("output").inner_text())
        pad.press("ArrowRight")
        said.append(figure.locator("output").inner_text())
        assert len(set(said)) == 4
        assert all("is answered by" in text for text in said)


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
    """Networks and the program that runs them are not counted: only one page loads them."""
    counted = (p for p in HTML.rglob("*") if p.is_file() and p.suffix not in (".onnx", ".wasm"))
    size = sum(path.stat().st_size for path in counted)
    assert size <= 80_000_000, f"{size:,} bytes"


def test_a_notebook_for_download_has_all_cells_and_no_outputs(site):
    """What it printed stands on the page; twice, it was half of the site."""
    for page in CHAPTERS:
        offered = json.loads((HTML / "_sources" / f"{page}.ipynb").read_text())["cells"]
        stored = json.loads((ROOT / f"{page}.ipynb").read_text())["cells"]
        assert [cell["source"] for cell in offered] == [cell["source"] for cell in stored]
        assert not any(cell.get("outputs") for cell in offered)


def test_the_search_finds_a_chinese_term(site, open_page):
    page = open_page(f"{site}/search.html?q=亚像素卷积")
    page.locator("#search-results li").first.wait_for()
    assert "Glossary" in page.locator("#search-results").inner_text()
