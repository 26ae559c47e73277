"""Two indexes that are made when the book is built: ```{claims-index}``` and ```{figures-index}```.

- Claims: every claim of the ledger, with its answer, and a link to the section of its chapter that
  puts it to the test: the first one below the verdicts whose cells name both variants, else the
  first that names the one, else the chapter.
- Figures: what every figure shows (its alt text), with a link to the section where it stands.
"""

import json
import re
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from srkit import ledger
from srkit.recipes import RECIPES, recipe

BOOK = Path(__file__).parents[1] / "book"
HEADING = re.compile(r"^#{1,4} (.+)$", re.MULTILINE)


@dataclass
class Section:
    """A heading of a chapter and what stands below it. The first one of a page is its title."""

    page: str
    title: str
    anchor: str
    text: str = ""
    figures: list[str] = field(default_factory=list)

    @property
    def link(self) -> str:
        return f"{self.page}.html#{self.anchor}"


def sections(path: Path) -> list[Section]:
    found = []
    for cell in json.loads(path.read_text())["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            for title in HEADING.findall(re.sub(r"```.*?```", "", source, flags=re.DOTALL)):
                plain = re.sub(r"\{\w+\}|[*`$]", "", title)
                found.append(Section(path.stem, plain, nodes.make_id(plain)))
        elif found:
            found[-1].text += source
            for output in cell["outputs"]:
                text = "".join(output.get("data", {}).get("text/plain", ""))
                found[-1].figures += re.findall(r"<Figure: (.+?)>$", text, re.MULTILINE)
    titles = [section.anchor for section in found]
    for section in found:  # a second heading of one name has another anchor
        if titles.count(section.anchor) > 1:
            section.anchor = ""
    return found


def chapters() -> list[list[Section]]:
    """The sections of each chapter that has a number."""
    return [sections(path) for path in sorted(BOOK.glob("[0-9][0-9]-*.ipynb"))]


def place(tested: ledger.Tested, chapter: list[Section]) -> Section:
    """The section that puts a claim to the test."""
    both = [f'"{name}"' for name in (tested.claim.of, tested.claim.against)]
    for names in (both, both[:1]):
        for section in chapter[1:]:
            if all(name in section.text for name in names):
                return section
    return chapter[0]


def claims_index() -> str:
    body = ""
    numbered = {int(chapter[0].page[:2]): chapter for chapter in chapters()}
    for number, name in enumerate(RECIPES, 1):
        chapter = numbered[number]
        title = f"{number}. {recipe(name).label}"
        link = f'<a href="{chapter[0].page}.html">{escape(title)}</a>'
        body += f'<tr><th colspan="3">{link}</th></tr>'
        for each in ledger.findings([name]):
            where = place(each, chapter)
            unit = "dB" if each.claim.metric == "psnr" else "LPIPS"
            ours = f"{each.ours} {unit}" if each.ours else ""
            ours = ours.replace(" ", "\N{NO-BREAK SPACE}")
            body += (
                f'<tr><td><a href="{where.link}" title="{escape(where.title)}">'
                f"{escape(each.claim.says)}</a></td><td>{each.finding.verdict}</td>"
                f'<td class="number">{ours}</td></tr>'
            )
    head = "<th>claim</th><th>answer</th><th>ours</th>"
    return f'<table class="table"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def figures_index() -> str:
    body = ""
    for chapter in chapters():
        items = "".join(
            f'<li><a href="{section.link}">{escape(figure)}</a></li>'
            for section in chapter
            for figure in section.figures
        )
        number = int(chapter[0].page[:2])
        body += f"<p><b>{number}. {escape(chapter[0].title)}</b></p><ul>{items}</ul>"
    return body


class ClaimsIndex(SphinxDirective):
    def run(self):
        return [nodes.raw("", claims_index(), format="html")]


class FiguresIndex(SphinxDirective):
    def run(self):
        return [nodes.raw("", figures_index(), format="html")]


def setup(app):
    app.add_directive("claims-index", ClaimsIndex)
    app.add_directive("figures-index", FiguresIndex)
    # A changed chapter or record changes this page, so it is read in every build.
    app.connect("env-get-outdated", lambda app, env, *_: ["book/index"])
    return {"parallel_read_safe": True, "parallel_write_safe": True}
