"""How the house stands: imports go down, the public face is whole and light."""

from __future__ import annotations

import ast
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import srkit

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "srkit"
SOURCES = sorted(PACKAGE.rglob("*.py"))

# A module imports from lower floors only; within a package its own files may know each other.
FLOORS = (
    ("cards", "progress"),
    ("calls", "checks", "devices", "processes"),
    ("files",),
    ("image",),
    ("models",),
    ("datasets", "viz", "inference"),
    ("weights", "metrics"),
    ("losses",),
    ("training",),
    ("reports",),
    ("recipes",),
    ("ledger", "doctor"),
    ("chapter", "cli"),
    ("__main__",),
)
FLOOR = {name: number for number, names in enumerate(FLOORS) for name in names}
UNDER_IO = ("metadata", "picture", "png", "jpeg", "webp", "bmp", "tiff", "netpbm")
HEAVY = "torchvision lpips matplotlib PIL skimage scipy IPython ipywidgets platformdirs typer tqdm"


def imports(path: Path) -> set[str]:
    """The srkit modules that a file imports anywhere: `models.zoo`, `images`, ..."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = list(package[: len(package) - node.level + 1]) if node.level else []
            base += [node.module] if node.module else []
            names = [".".join([*base, alias.name]) for alias in node.names]
        else:
            continue
        found |= {name.removeprefix("srkit.") for name in names if name.startswith("srkit.")}
    return {name for name in found if name.split(".")[0] in FLOOR}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down_only(path):
    module = path.relative_to(PACKAGE).with_suffix("").parts
    if module[0] == "__init__":
        return
    assert module[0] in FLOOR, f"{module[0]} stands on no floor: give it one in FLOORS"
    used = imports(path)
    if module == ("models", "zoo"):
        # for type checkers alone; for notebooks; to read what shipped files of weights say
        allowed = {"models.network.Network", "cards.card", "files"}
        assert used <= allowed, "zoo.py is a table of strings and numbers"
    elif module[0] == "models" and module[1] != "__init__":
        siblings = {
            n
            for n in used
            if n.startswith("models") and n.split(".")[1:2] not in (["layers"], ["network"])
        }
        assert siblings == set(), "one paper, one file: what papers share is in srkit.models.layers"
    elif module[0] == "image" and module[1] in UNDER_IO:
        assert [name for name in used if name.startswith("image.io")] == [], (
            "image/io.py calls the readers of the formats, and none of them calls it"
        )
    for name in used:
        other = name.split(".")[0]
        lower = FLOOR[other] < FLOOR[module[0]]
        assert lower or other == module[0], (
            f"srkit.{'.'.join(module)} (floor {FLOOR[module[0]]}) imports srkit.{name} "
            f"(floor {FLOOR[other]})"
        )


def test_the_floor_test_sees_every_form_of_import(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    file = tmp_path / "srkit" / "models" / "x.py"
    file.parent.mkdir(parents=True)
    file.write_text(
        "import srkit.cli\nfrom srkit import weights\nfrom srkit.image import to_y\n"
        "def f():\n    from ..training import fit\n    from . import zoo\n    import torch\n"
    )
    assert {name.split(".")[0] for name in imports(file)} == {
        "cli",
        "weights",
        "image",
        "training",
        "models",
    }


@pytest.mark.parametrize("name", srkit.__all__)
def test_every_public_name_is_there(name):
    assert getattr(srkit, name) is not None


def test_import_srkit_loads_nothing_heavy():
    code = f"import sys, srkit; print(sorted(set({HEAVY.split()!r}) & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True)
    assert loaded.stdout.decode().strip() == "[]"


def other_resizing(path: Path) -> list[str]:
    """Calls that interpolate with another bicubic: `x.resize(...)`, `mode="bicubic"`, `BICUBIC`."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            values = [*node.args, *(keyword.value for keyword in node.keywords)]
            constants = [value.value for value in values if isinstance(value, ast.Constant)]
            name = getattr(node.func, "attr", None)
            shown = "viz" in path.parts  # thumbnails, not measured
            wrong = name == "resize" and not shown
            wrong |= name == "interpolate" and "bicubic" in constants
        else:
            wrong = getattr(node, "attr", None) == "BICUBIC"
        if wrong:
            found.append(f"{path}:{node.lineno}")
    return found


def test_resize_is_the_only_home_of_bicubic():
    """A second bicubic is a wrong number waiting: everything goes through imresize."""
    assert [
        line for path in SOURCES if path.name != "resize.py" for line in other_resizing(path)
    ] == []


def test_another_bicubic_is_found(tmp_path):
    file = tmp_path / "x.py"
    file.write_text(
        "F.interpolate(x, mode='bicubic')\nimage.resize((4, 4))\nImage.BICUBIC\n"
        "F.interpolate(x, mode='bilinear')\n"
    )
    assert sorted(other_resizing(file)) == [f"{file}:{line}" for line in (1, 2, 3)]


def test_no_file_names_one_machine():
    """Paths of a workplace; only .ci/run may know of a folder beside the repository."""
    if not shutil.which("git") or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: the list of tracked files is unknown")
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    names = {ROOT / name for name in listed.stdout.split("\0") if name}
    machine = re.compile(rb"/work/|\.\./shared|/root/")
    known = {ROOT / ".ci" / "run", Path(__file__)}
    found = [str(p.relative_to(ROOT)) for p in names - known if machine.search(p.read_bytes())]
    assert found == []


def test_the_version_stands_in_one_place():
    """pyproject.toml's; what is installed tells it, and the citation repeats it."""
    pattern = re.compile(r'^version(?: =|:) "?([\w.]+)"?$', re.MULTILINE)
    written = {name: pattern.findall((ROOT / name).read_text()) for name in
               ("pyproject.toml", "CITATION.cff")}  # fmt: skip
    assert len(written["pyproject.toml"]) == 1
    assert written["CITATION.cff"] == written["pyproject.toml"]


def documented_commands() -> list[str]:
    pages = [ROOT / "README.md", *(ROOT / "book").rglob("*.md")]
    text = "\n".join(page.read_text() for page in pages)
    return sorted(set(re.findall(r"^srkit (?!VERB).+$", text, re.MULTILINE)))


@pytest.mark.parametrize("line", documented_commands())
def test_a_documented_command_parses(line):
    """Verbs and options that README and book show exist."""
    import typer

    from srkit.cli import app

    group = typer.main.get_command(app)
    verb, *arguments = shlex.split(line)[1:]
    context = group.make_context("srkit", [verb, *arguments])
    command = group.get_command(context, verb)
    assert command is not None
    command.make_context(verb, arguments)
