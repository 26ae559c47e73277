"""The reference: every module of srkit stands once, on the page of its room."""

from __future__ import annotations

import re
import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tools"))
PAGES = {page.stem: page.read_text() for page in (ROOT / "book/api").glob("*.md")}
SHOWN = {
    name: re.findall(r"^\.\. auto\w+:: (\S+)$", text, re.MULTILINE) for name, text in PAGES.items()
}
ROOMS = {path.parent.name for path in (ROOT / "srkit").glob("*/__init__.py")}
# Loose modules, and the pages that they stand on; the command's page is written by hand.
LOOSE = {
    "cards": "viz",
    "checks": "training",
    "devices": "inference",
    "doctor": "inference",
    "inference": "inference",
    "ledger": "ledger",
    "files": "datasets",
    "calls": "training",
    "processes": "training",
    "progress": "inference",
}


@pytest.mark.parametrize("name", sorted(PAGES))
def test_what_a_page_shows_exists(name):
    """Sphinx would only warn in a build that is minutes away."""
    for module in SHOWN[name]:
        import_module(module)


def test_every_module_stands_once_on_the_page_of_its_room():
    wanted = {f"srkit.{module}": page for module, page in LOOSE.items()}
    for path in (ROOT / "srkit").glob("*/*.py"):
        room = path.parent.name
        if path.stem != "__init__":
            wanted[f"srkit.{room}.{path.stem}"] = room
    wanted["srkit.recipes"] = "recipes"  # its __init__ has functions of its own
    found = [(module, page) for page, modules in SHOWN.items() for module in modules]
    assert set(wanted.items()) - set(found) == set(), "a module goes on book/api/ROOM.md"
    assert sorted(found) == sorted(wanted.items())
    assert {"__init__", "__main__", "cli", *LOOSE} == {
        path.stem for path in (ROOT / "srkit").glob("*.py")
    }


def test_every_page_is_in_the_table_of_contents():
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    listed = {page["file"] for part in toc["parts"] for page in part["chapters"]}
    assert {f"book/api/{name}" for name in PAGES} == {f for f in listed if "/api/" in f}
    assert PAGES.keys() >= ROOMS | {"inference", "ledger", "cli"}


def test_indented_lines_of_a_docstring_are_code():
    """After an empty line; those that continue a `name: meaning` line are not."""
    book_ext = pytest.importorskip("book_ext")

    def f(size): ...

    lines = ["Doubles.", "", "    f(2)  # *4*", "", "size: one", "    or several", ""]
    book_ext.from_plain_text(None, "function", "f", f, None, lines)
    text = "\n".join(lines)
    assert "::\n\n    f(2)  # *4*\n" in text
    assert ":param size: one \n    " in text
    assert text.count("::") == 1


def test_a_formula_that_cannot_be_converted_ends_the_build_with_its_name():
    book_ext = pytest.importorskip("book_ext")
    nodes, errors = pytest.importorskip("docutils.nodes"), pytest.importorskip("sphinx.errors")
    page = SimpleNamespace(builder=SimpleNamespace(current_docname="book/99-none"))

    def convert(tex):
        return book_ext.mathml(page, nodes.math_block(tex, tex, label="eq-none"), display=True)

    assert convert(r"\tfrac{1}{2}").startswith("<math")
    assert "(1)" not in convert(r"\begin{align} a &= b \end{align}"), "Sphinx numbers it"
    with pytest.raises(errors.ExtensionError, match=r"book/99-none: .*eq-none.*nonsense"):
        convert(r"\nonsense{x}")
