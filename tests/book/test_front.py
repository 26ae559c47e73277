"""README and the book's first page: their numbers, pictures and links are those of now."""

import json
import re
import sys
from pathlib import Path

import pytest
from PIL import Image

from srkit import ledger
from srkit.recipes import RECIPES, recipe

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import front  # noqa: E402
import paper_map  # noqa: E402

README, INTRO = ((ROOT / name).read_text() for name in ("README.md", "book/intro.md"))
AGAIN = "run tools/front.py"


def test_readme_s_table_is_what_the_records_say():
    assert front.with_table(README) == README, AGAIN


def test_the_table_counts_every_run_claim_and_figure():
    last = front.table().splitlines()[-1]
    cells = [cell.strip() for cell in last.strip("|").split("|")]
    runs = sum(len(ledger.records(name)) for name in RECIPES)
    findings = ledger.findings()
    figures = ledger.weights()
    assert cells[:2] == ["all", str(runs)]
    assert sum(int(cell or 0) for cell in cells[2:6]) == len(findings)
    assert cells[3] == str(sum(each.finding.verdict == "no" for each in findings) or "")
    assert cells[6] == f"{sum(abs(f.gap) <= 0.01 for f in figures)} of {len(figures)}"


def test_the_authors_weights_reach_most_of_their_papers_figures():
    """README says "most"; the number stands above its table, without bicubic's figures."""
    figures = [f for f in ledger.weights() if f.paper != "bicubic"]
    near = sum(abs(f.gap) <= 0.01 for f in figures)
    assert near > len(figures) / 2
    assert f"weights reach {near} of {len(figures)} of their papers' figures" in README, AGAIN


def test_the_first_page_links_the_chapters_that_exist():
    """All of them, in order, and nothing else."""
    table = re.findall(r"^\| (\d+) \| \[[^]]+\]\(([^)]+)\)", INTRO, re.MULTILINE)
    pages = front.chapters()
    assert pages.keys() >= set(range(len(RECIPES) + 1))
    assert [(int(k), link) for k, link in table] == [(k, p.stem) for k, p in pages.items()]


def markdown(page: Path) -> str:
    cells = json.loads(page.read_text())["cells"]
    return "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")


def test_the_map_is_the_one_of_now_and_names_every_paper():
    assert (front.PICTURES / "map.svg").read_text() == front.map_of_papers(), AGAIN
    assert ":file: pictures/map.svg" in INTRO
    assert {recipe(name).label for name in RECIPES} <= paper_map.TAKEN.keys()
    pages = front.chapters()
    links = re.findall(r'<a href="([^"]+)\.html">', front.map_of_papers())
    assert sorted(links) == sorted(pages[k].stem for k in range(1, len(RECIPES) + 1))


def test_on_the_map_nobody_takes_from_a_later_paper():
    places = paper_map.places()
    assert list(paper_map.YEARS.values()) == sorted(paper_map.YEARS.values())
    for name, taken in paper_map.TAKEN.items():
        for source, _ in taken:
            assert paper_map.YEARS[source] <= paper_map.YEARS[name]
            assert places[source] < places[name]


@pytest.mark.parametrize("number", range(1, len(RECIPES) + 1))
def test_what_the_map_says_was_taken_its_chapter_names(number):
    label = recipe(RECIPES[number - 1]).label
    said = markdown(front.chapters()[number])
    for source, _ in paper_map.TAKEN[label]:
        assert source.lower() in said.lower(), f"{label} from {source}"


def test_every_line_of_the_map_fits_its_width():
    """At 6.4 pixels a letter of 12.5 and 7.6 of 15: as wide as the usual fonts are."""
    for name, taken in paper_map.TAKEN.items():
        said = "; ".join(f"{source}: {what}" for source, what in taken)
        assert 6.4 * len(said) < paper_map.WIDTH - paper_map.TEXT, said
        assert 7.6 * len(paper_map.SHOWN.get(name, name)) < paper_map.WIDTH - paper_map.TEXT


@pytest.mark.parametrize("name", ["cat.webp", "trade.png", "account.png"])
def test_a_picture_is_small_and_described_in_both_places(name):
    path = front.PICTURES / name
    assert path.stat().st_size < 100_000
    assert re.search(rf"pictures/{name}\n:alt: \w.{{40}}", INTRO)
    assert re.search(
        rf'(!\[\w.{{40}}.*\]\(book/pictures/{name}\)|{name}"[^>]* alt="\w.{{40}})', README
    )


def test_the_picture_of_all_claims_is_of_the_records_of_now():
    tested = [each for each in ledger.findings() if each.finding.interval]
    made_of = Image.open(front.PICTURES / "account.png").text["made of"]
    assert made_of == front.fingerprint(tested), AGAIN


def test_the_picture_of_losses_shows_what_its_captions_say():
    """Three seeds of each loss; all have less PSNR and better LPIPS than squared error."""
    runs = ledger.records("srgan").budget("laptop")
    psnr, lpips = (
        {v: runs.mean(v, "Set14", metric) for v in front.LOSSES} for metric in ("psnr", "lpips")
    )
    assert len(front.LOSSES) == 5
    for variant in front.LOSSES:
        assert len(runs.values(variant, "Set14", "lpips")) == 3
        if variant != "mse":
            assert psnr[variant] < psnr["mse"]
            assert lpips[variant] < lpips["mse"]
    for judged, alone in (("gan", "mse"), ("srgan", "vgg54")):
        assert psnr[judged] < psnr[alone]
        assert lpips[judged] < lpips[alone]
