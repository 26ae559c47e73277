"""Do the tests notice a wrong character? python tools/mutants.py --count 200 --seed 0

A mutant is srkit with one place changed: an operator turned (+ to -, * to /, and to or), the edge
of a comparison moved (< to <=, == to !=), a number made one larger. Each is a copy of the package
in a temporary folder, and is caught if a test fails: those of its module first, then those of its
room, then those that lie beside the rooms. What survives is printed with its line, and is a test
to write, or a line that could go.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
SECONDS = 900  # a mutant that computes for longer is caught: a test would have to be stopped
TURNED = {
    ast.Add: ("+", "-"), ast.Sub: ("-", "+"), ast.Mult: ("*", "/"), ast.Div: ("/", "*"),
    ast.FloorDiv: ("//", "/"), ast.Mod: ("%", "*"), ast.And: ("and", "or"), ast.Or: ("or", "and"),
    ast.Lt: ("<", "<="), ast.LtE: ("<=", "<"), ast.Gt: (">", ">="), ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="), ast.NotEq: ("!=", "=="),
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """One changed place: bytes `start` to `end` of a file of srkit become `new`."""

    path: Path
    line: int
    start: int
    end: int
    old: str
    new: str

    def __str__(self) -> str:
        text = self.path.read_text().splitlines()[self.line - 1].strip()
        return f"{self.path.relative_to(ROOT)}:{self.line}: {self.old} to {self.new} in: {text}"


def mutants(path: Path) -> Iterator[Mutant]:
    """Every place of a file that can be changed."""
    data = path.read_bytes()
    begins = [0]
    for line in data.splitlines(keepends=True):
        begins.append(begins[-1] + len(line))

    def first(node: ast.expr) -> int:
        return begins[node.lineno - 1] + node.col_offset

    def last(node: ast.expr) -> int:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return begins[node.end_lineno - 1] + node.end_col_offset

    for node in ast.walk(ast.parse(data)):
        between: list[tuple[ast.AST, ast.expr, ast.expr]] = []
        if isinstance(node, ast.BinOp):
            between = [(node.op, node.left, node.right)]
        elif isinstance(node, ast.BoolOp):
            between = [(node.op, a, b) for a, b in zip(node.values, node.values[1:], strict=False)]
        elif isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            between = list(zip(node.ops, sides, sides[1:], strict=False))
        elif isinstance(node, ast.Constant) and type(node.value) in (int, float):
            new = repr(node.value + 1)
            old = data[first(node) : last(node)].decode()
            yield Mutant(path, node.lineno, first(node), last(node), old, new)
        for kind, left, right in between:
            if type(kind) not in TURNED:
                continue
            old, new = TURNED[type(kind)]
            at = data.find(old.encode(), last(left), first(right))
            if at >= 0:
                line = 1 + data.count(b"\n", 0, at)
                yield Mutant(path, line, at, at + len(old), old, new)


def tests_for(path: Path) -> list[list[str]]:
    """Groups of test files, to be run one after another until one fails."""
    inside = path.relative_to(ROOT / "srkit")
    tests = ROOT / "tests"
    room = tests / inside.parent
    own = sorted(room.glob(f"test_{path.stem}*.py"))
    rest = sorted(set(room.glob("test_*.py")) - set(own)) if room != tests else []
    beside = sorted(set(tests.glob("test_*.py")) - set(own))
    return [[str(p.relative_to(ROOT)) for p in group] for group in (own, rest, beside) if group]


def caught(mutant: Mutant) -> bool:
    """Whether a test fails on the mutant."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        for path in ROOT.iterdir():
            if path.name not in ("srkit", ".git", "_build"):
                (tree / path.name).symlink_to(path)
        shutil.copytree(ROOT / "srkit", tree / "srkit")
        target = tree / mutant.path.relative_to(ROOT)
        data = target.read_bytes()
        target.write_bytes(data[: mutant.start] + mutant.new.encode() + data[mutant.end :])
        for group in tests_for(mutant.path):
            words = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *group]
            how = {"cwd": tree, "env": os.environ | {"PYTHONPATH": folder}}
            try:
                ended = subprocess.run(words, capture_output=True, timeout=SECONDS, **how)
            except subprocess.TimeoutExpired:
                return True
            if ended.returncode:
                return True
    return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="**/*.py", help="a pattern under srkit/: image/*.py")
    asked = parser.parse_args()
    found = [m for path in sorted((ROOT / "srkit").glob(asked.only)) for m in mutants(path)]
    chosen = random.Random(asked.seed).sample(found, min(asked.count, len(found)))
    survived = 0
    for number, mutant in enumerate(chosen, 1):
        if not caught(mutant):
            survived += 1
            print(f"survived: {mutant}", flush=True)
        print(f"{number - survived} of {number} caught", end="\r", file=sys.stderr, flush=True)
    share = (len(chosen) - survived) / max(len(chosen), 1)
    print(f"{len(chosen)} mutants of {len(found)} places: {share:.1%} caught, {survived} survived")


if __name__ == "__main__":
    main()
