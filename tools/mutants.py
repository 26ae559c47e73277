"""Do the tests notice a wrong character? python tools/mutants.py --count 200 --seed 0

A mutant is srkit with one place changed: an operator turned (+ to -, * to /, and to or), the edge
of a comparison moved (< to <=, == to !=), a number made one larger. It is caught if a test fails.
What survives is printed with its line, and is a test to write, or a line that could go.

Each test file is first run once under coverage, in the processes that it starts as well: so it is
known which tests reach which line, and how long they take. A mutant then runs the tests that reach
its line, the quickest first; one in what is computed at import (a table, a default value) runs
those that reach its file first, then the others. The tests of its module come first, then those of
its room, then those that lie beside the rooms. Nothing reaches the line: it survived. What was
measured stays in _build/mutants until srkit or the test file changes. Everything runs in forks of
one process that has torch imported, so this needs Linux or macOS.

Two kinds of places are left alone. Type annotations, since Python does not read them (what stands
in `Annotated` is read, and is changed). The text of an error or a warning, since it is for people.
"""

from __future__ import annotations

import argparse
import ast
import gc
import importlib
import os
import pkgutil
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import coverage
import pytest

ROOT = Path(__file__).parents[1]
MEASURED = ROOT / "_build/mutants"
TESTS, SECONDS = 40, 40  # of a file, at most as many tests as this, and as long as this
MEMORY = 8 << 30  # bytes that a mutant may take: one that asks for more is caught
WARM = (  # what srkit and its tests import, and what takes its time to
    "torch", "torchvision", "accelerate", "lpips", "scipy.stats", "skimage", "typer", "tifffile",
    "hypothesis",
)  # fmt: skip
PLAIN = ("-q", "-p", "no:cacheprovider", "-p", "no:unraisableexception")  # the last one is slow
TURNED = {
    ast.Add: ("+", "-"), ast.Sub: ("-", "+"), ast.Mult: ("*", "/"), ast.Div: ("/", "*"),
    ast.FloorDiv: ("//", "/"), ast.Mod: ("%", "*"), ast.And: ("and", "or"), ast.Or: ("or", "and"),
    ast.Lt: ("<", "<="), ast.LtE: ("<=", "<"), ast.Gt: (">", ">="), ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="), ast.NotEq: ("!=", "=="),
}  # fmt: skip


# ---- mutants


@dataclass(frozen=True)
class Mutant:
    """One changed place: bytes `start` to `end` of a file of srkit become `new`."""

    path: Path
    line: int
    statement: range  # the lines of the statement, without the block that it may head
    start: int
    end: int
    old: str
    new: str

    def __str__(self) -> str:
        text = self.path.read_text().splitlines()[self.line - 1].strip()
        return f"{self.path.relative_to(ROOT)}:{self.line}: {self.old} to {self.new} in: {text}"


def name_of(node: ast.AST) -> str:
    """The last word of a name: `Annotated` of `typing.Annotated`."""
    return getattr(node, "attr", getattr(node, "id", ""))


def left_alone(tree: ast.Module) -> set[ast.AST]:
    """Nodes that are not changed: annotations, and the text of errors and warnings."""
    roots: list[ast.AST] = []
    for node in ast.walk(tree):
        notes = [getattr(node, "annotation", None), getattr(node, "returns", None)]
        roots += [n for n in notes if n and not any(name_of(m) == "Annotated" for m in ast.walk(n))]
        if isinstance(node, ast.Raise) or (
            isinstance(node, ast.Call) and name_of(node.func) in ("warn", "warn_once")
        ):
            roots += [n for n in ast.walk(node) if isinstance(n, ast.JoinedStr)]
    return {node for root in roots for node in ast.walk(root)}


def mutants(path: Path) -> Iterator[Mutant]:
    """Every place of a file that can be changed."""
    data = path.read_bytes()
    tree = ast.parse(data)
    alone = left_alone(tree)
    begins = [0]
    for line in data.splitlines(keepends=True):
        begins.append(begins[-1] + len(line))

    def first(node: ast.expr) -> int:
        return begins[node.lineno - 1] + node.col_offset

    def last(node: ast.expr) -> int:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return begins[node.end_lineno - 1] + node.end_col_offset

    statement: dict[int, range] = {}  # of each line, the innermost: ast.walk goes inwards
    for node in ast.walk(tree):
        if isinstance(node, ast.stmt):
            block = getattr(node, "body", None)
            lines = range(node.lineno, block[0].lineno if block else (node.end_lineno or 0) + 1)
            statement.update(dict.fromkeys(lines, lines))

    for node in ast.walk(tree):
        if node in alone:
            continue
        places: list[tuple[int, int, str, str]] = []
        between: list[tuple[ast.AST, ast.expr, ast.expr]] = []
        if isinstance(node, ast.BinOp):
            between = [(node.op, node.left, node.right)]
        elif isinstance(node, ast.BoolOp):
            between = [(node.op, a, b) for a, b in zip(node.values, node.values[1:], strict=False)]
        elif isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            between = list(zip(node.ops, sides, sides[1:], strict=False))
        elif isinstance(node, ast.Constant) and type(node.value) in (int, float):
            old = data[first(node) : last(node)].decode()
            places = [(first(node), last(node), old, repr(node.value + 1))]
        for kind, left, right in between:
            if type(kind) in TURNED:
                old, new = TURNED[type(kind)]
                at = data.find(old.encode(), last(left), first(right))
                places += [(at, at + len(old), old, new)] if at >= 0 else []
        for start, end, old, new in places:
            line = 1 + data.count(b"\n", 0, start)
            yield Mutant(
                path, line, statement.get(line, range(line, line + 1)), start, end, old, new
            )


def copied(tree: Path, mutant: Mutant | None = None) -> None:
    """Fills a folder with the repository: srkit as a copy with the change, the rest as links."""
    for path in ROOT.iterdir():
        if path.name not in ("srkit", ".git", "_build"):
            (tree / path.name).symlink_to(path)
    shutil.copytree(ROOT / "srkit", tree / "srkit")
    if mutant:
        target = tree / mutant.path.relative_to(ROOT)
        data = target.read_bytes()
        target.write_bytes(data[: mutant.start] + mutant.new.encode() + data[mutant.end :])


# ---- tests in a fork


class Chosen:
    """A pytest plugin: runs these tests alone, in this order, and notes how they end.

    A test that takes ten times its usual time, and half a minute more, ends the process.
    """

    def __init__(self, usual: dict[str, float] | None, watch: coverage.Coverage | None = None):
        self.usual, self.watch = usual, watch
        self.seconds: dict[str, float] = {}
        self.failed: set[str] = set()
        self.skipped: set[str] = set()

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items):
        if self.usual is not None:
            order = {test: number for number, test in enumerate(self.usual)}
            items[:] = sorted(
                (i for i in items if i.nodeid in order), key=lambda i: order[i.nodeid]
            )

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item):
        if self.usual is not None:
            signal.alarm(30 + int(10 * self.usual[item.nodeid]))
        if self.watch:
            self.watch.switch_context(item.nodeid)

    def pytest_runtest_logreport(self, report):
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0) + report.duration
        if not report.passed:
            (self.skipped if report.skipped else self.failed).add(report.nodeid)


def forked(work: Callable[[], int], tree: Path) -> int:
    """The exit status of `work` in a process of its own, inside a copy of the repository.

    Nothing that it starts is left, and its temporary files lie in the copy.
    """
    child = os.fork()
    if not child:
        status = 1
        try:
            os.setsid()
            resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
            nothing = os.open(os.devnull, os.O_RDWR)
            for stream in range(3):
                os.dup2(nothing, stream)
            os.chdir(tree)
            sys.path.insert(0, str(tree))
            (tree / "tmp").mkdir()
            os.environ |= {"PYTHONPATH": str(tree), "TMPDIR": str(tree / "tmp")}
            os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
            tempfile.tempdir = None
            signal.alarm(600)
            status = work()
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    return status


def pytest_with(plugin: Chosen, files: Iterable[str], *options: str) -> int:
    return int(pytest.main([*PLAIN, *options, *files], [plugin]))


def failing(usual: dict[str, float], mutant: Mutant | None, *options: str) -> tuple[bool, set[str]]:
    """Whether these tests fail on a mutant (None: on srkit as it is), and which of them did."""
    with tempfile.TemporaryDirectory() as folder:
        tree, note = Path(folder), Path(folder, "failed")
        copied(tree, mutant)
        note.touch()

        def work() -> int:
            plugin = Chosen(usual)
            status = pytest_with(plugin, sorted({t.split("::")[0] for t in usual}), *options)
            note.write_text("\n".join(plugin.failed))
            return status

        none_ran = pytest.ExitCode.NO_TESTS_COLLECTED
        return forked(work, tree) not in (0, none_ran), set(note.read_text().splitlines())


# ---- which tests reach which lines


def beneath(file: Path) -> Path:
    """Where what was measured of a test file lies, but for the suffix."""
    return MEASURED / file.relative_to(ROOT / "tests").as_posix().replace("/", ".")


def measure(file: Path) -> None:
    """Runs a test file under coverage; each context of the data is the name of a test.

    It leaves three files: .tests (seconds and names of those that pass), .bare (what their own
    process reaches) and .whole (with the processes that they start, which find the name of the test
    in a variable that pytest sets).
    """
    into = beneath(file)
    bare, whole = into.with_suffix(".bare"), into.with_suffix(".whole")
    bare.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        tree, note = Path(folder), Path(folder, "failed")
        copied(tree)
        settings = str(tree / "coverage.ini")
        Path(settings).write_text(
            f"[run]\nsource = {tree}/srkit\nrelative_files = true\ncore = ctrace\n"
            f"parallel = true\ndata_file = {tree}/part\ncontext = ${{PYTEST_CURRENT_TEST}}\n"
        )

        def work() -> int:
            watch = coverage.Coverage(bare, data_suffix=False, config_file=settings)
            watch.start()
            for module in pkgutil.walk_packages([str(tree / "srkit")], "srkit."):
                if not module.name.endswith("__main__"):
                    importlib.import_module(module.name)
            os.environ["COVERAGE_PROCESS_START"] = settings
            plugin = Chosen(None, watch)
            signal.alarm(0)
            pytest_with(plugin, [str(file.relative_to(ROOT))])
            watch.stop()
            watch.save()
            passed = plugin.seconds.keys() - plugin.failed - plugin.skipped
            rows = [f"{plugin.seconds[test]:.3f} {test}\n" for test in passed]
            into.with_suffix(".tests").write_text("".join(rows))
            note.write_text("\n".join(plugin.failed))
            return 0

        if forked(work, tree):
            raise SystemExit(f"{file.relative_to(ROOT)} could not be run under coverage.")
        for test in note.read_text().splitlines():
            print(f"{test} fails without a mutant: it is not asked")
        everything = coverage.CoverageData(str(whole))
        everything.erase()
        for part in (bare, *tree.glob("part.*")):
            data = coverage.CoverageData(str(part))
            data.read()
            everything.update(data)
        everything.write()


def tests_for(path: Path) -> list[Path]:
    """Test files: of the module, then of its room, then beside the rooms; the shortest first."""
    tests = ROOT / "tests"
    room = tests / path.relative_to(ROOT / "srkit").parent
    found: dict[Path, None] = {}
    for pattern in (room / f"test_{path.stem}*.py", room / "test_*.py", tests / "test_*.py"):
        files = pattern.parent.glob(pattern.name)
        found |= dict.fromkeys(sorted(files, key=lambda file: (file.stat().st_size, file)))
    return list(found)


class Reach:
    """Which tests reach which line of srkit, and how long each takes. Measured when it is asked."""

    def __init__(self):
        MEASURED.mkdir(parents=True, exist_ok=True)
        self.newest = max(path.stat().st_mtime for path in (ROOT / "srkit").rglob("*.py"))
        self.seconds: dict[Path, dict[str, float]] = {}  # of each test of a file
        self.lines: dict[Path, coverage.CoverageData] = {}

    def add(self, file: Path) -> None:
        into = beneath(file)
        whole = into.with_suffix(".whole")
        if not whole.exists() or whole.stat().st_mtime < max(self.newest, file.stat().st_mtime):
            print(f"measuring {file.relative_to(ROOT)}", file=sys.stderr)
            measure(file)
        rows = (row.split(" ", 1) for row in into.with_suffix(".tests").read_text().splitlines())
        self.seconds[file] = {test: float(seconds) for seconds, test in rows}
        self.lines[file] = coverage.CoverageData(str(whole))
        self.lines[file].read()

    def tests(self, mutant: Mutant, file: Path) -> dict[str, float]:
        """Tests of this file that can notice the mutant, the quickest first."""
        if file not in self.seconds:
            self.add(file)
        seconds, lines = self.seconds[file], defaultdict(set)
        inside = mutant.path.relative_to(ROOT).as_posix()
        for path in self.lines[file].measured_files():
            if path.endswith(inside):  # a process that starts elsewhere tells the whole path
                for line, tests in self.lines[file].contexts_by_lineno(path).items():
                    lines[line] |= {re.sub(r" \((setup|call|teardown)\)$", "", t) for t in tests}
        reached = lines.get(mutant.line) or {t for n in mutant.statement for t in lines.get(n, ())}
        first = names = reached & seconds.keys()
        if "" in reached:  # computed at import
            first, names = {test for tests in lines.values() for test in tests}, set(seconds)
        chosen, total = {}, 0.0
        for test in sorted(names, key=lambda t: (t not in first, seconds[t]))[:TESTS]:
            total += seconds[test]
            if total <= SECONDS or not chosen:
                chosen[test] = seconds[test]
        return chosen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="**/*.py", help="image/*.py, or image/io.py:87: a line")
    asked = parser.parse_args()
    pattern, _, line = asked.only.partition(":")
    found = [m for path in sorted((ROOT / "srkit").glob(pattern)) for m in mutants(path)]
    found = [m for m in found if not line or m.line == int(line)]
    chosen = random.Random(asked.seed).sample(found, min(asked.count, len(found)))

    for package in WARM:
        importlib.import_module(package)
    gc.freeze()  # what is imported is no garbage, and need not be looked through in every fork
    reach, survived = Reach(), []
    killers: dict[str, float] = {}
    killed: dict[str, list[Mutant]] = {}
    for number, mutant in enumerate(chosen, 1):
        for file in tests_for(mutant.path):
            usual = reach.tests(mutant, file)
            fails, tests = failing(usual, mutant, "-x") if usual else (False, set())
            for test in tests:
                killers[test] = usual[test]
                killed.setdefault(test, []).append(mutant)
            if fails:
                by = " ".join(tests) or file.relative_to(ROOT)
                print(f"{number}/{len(chosen)} {mutant}\n  caught by {by}", file=sys.stderr)
                break
        else:
            survived.append(mutant)
            print(f"survived: {mutant}", flush=True)

    for test in failing(killers, None)[1] if killers else ():  # then its word counts for nothing
        print(f"{test} fails without a mutant, too")
        for mutant in killed[test]:
            survived.append(mutant)
            print(f"survived: {mutant}")
    share = (len(chosen) - len(survived)) / max(len(chosen), 1)
    places = f"{len(chosen)} mutants of {len(found)} places"
    print(f"{places}: {share:.1%} caught, {len(survived)} survived")


if __name__ == "__main__":
    main()
