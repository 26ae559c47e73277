"""The index of claims and figures: complete, and each line leads to a heading that is there."""

import json
import re
import sys
from pathlib import Path

import pytest

from srkit import ledger

pytest.importorskip("sphinx")
ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import book_index  # noqa: E402


def notebook(path, *cells):
    """A chapter of cells: Markdown as text, code as (source, alt texts of its figures)."""
    made = []
    for cell in cells:
        if isinstance(cell, str):
            made.append({"cell_type": "markdown", "source": [cell]})
        else:
            source, alts = cell
            shown = [{"data": {"text/plain": [f"<Figure: {alt}>"]}} for alt in alts]
            made.append({"cell_type": "code", "source": [source], "outputs": shown})
    path.write_text(json.dumps({"cells": made}))
    return path


def test_sections_have_their_anchors_code_and_figures(tmp_path):
    path = notebook(
        tmp_path / "15-rlfn.ipynb",
        "# RLFN: *fast*?\n\nText.",
        ('verdicts("a", "b")', ["a cat"]),
        "## The `block`\n```bash\n# no heading\n```\n### Again\n",
        ('runs("a")', []),
        "## Again",
        ('runs("a", "b")', ["x > y", "z"]),
    )
    title, block, again, other = book_index.sections(path)
    assert (title.title, title.link) == ("RLFN: fast?", "15-rlfn.html#rlfn-fast")
    assert (block.anchor, block.text) == ("the-block", "")
    assert (again.anchor, other.anchor) == ("", ""), "which of the two is not known"
    assert title.figures == ["a cat"]
    assert other.figures == ["x > y", "z"]


def test_a_claim_leads_to_the_section_that_names_both_variants():
    claim = ledger.findings(["rlfn"])[0]  # warm-start against long
    sections = [
        book_index.Section("p", "title", "title", '"warm-start" "long"'),
        book_index.Section("p", "one", "one", '"warm-start"'),
        book_index.Section("p", "both", "both", '"warm-start", "long"'),
    ]
    assert (claim.claim.of, claim.claim.against) == ("warm-start", "long")
    assert book_index.place(claim, sections).title == "both"
    assert book_index.place(claim, sections[:2]).title == "one"
    sections[1].text = "nothing"
    assert book_index.place(claim, sections[:2]).title == "title"


def test_every_claim_and_every_figure_of_a_chapter_stands_in_the_index():
    html = book_index.claims_index()
    assert html.count("<tr><td>") == len(ledger.findings())
    stored = [
        alt
        for path in (ROOT / "book").glob("[0-9][0-9]-*.ipynb")
        for alt in re.findall(r'"<Figure: ', path.read_text())
    ]
    assert book_index.figures_index().count("<li>") == len(stored) > 100
