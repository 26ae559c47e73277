"""`make fuzz`: many damaged inputs and killed processes, and a table of what came of them.

    python -m fuzz --seed 7 --inputs 10000 --kills 100      (in the folder tests)
    python -m fuzz --seed 7 --replay picture/123            one input again

Inputs are tried in a process of their own, so that one that ends it is known and the others go on.
The files of a fault are kept in the folder `fuzz-failures`. Exit code 1 if there is any fault.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

from fuzz.kills import COLUMNS, killed

KINDS = ("taken", "refused", "undocumented", "silent", "partial", "hang", "memory", "died")
PATIENCE = 600  # seconds without a word, after which a process counts as hanging
FORKS = multiprocessing.get_context("forkserver")


def work(pipe: Connection, target: str, seed: int, numbers: Sequence[int], folder: Path) -> None:
    """In a process of its own: each input, announced before it is tried."""
    import torch
    from fuzz.targets import tried

    torch.set_num_threads(1)
    os.dup2(os.open(folder / "said", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)  # libtiff talks
    for number in numbers:
        pipe.send((number, None, "", {}))
        said, this, took = tried(target, seed, number, folder / f"{target}-{seed}-{number}")
        pipe.send((number, said, this.made, took))
    pipe.close()


def results(
    target: str, seed: int, count: int, folder: Path
) -> Iterator[tuple[int, str, str, dict]]:
    """Number, outcome, how it was made and what it took, of each input of a target."""
    first = 0
    while first < count:
        ours, theirs = FORKS.Pipe()
        numbers = range(first, count)
        process = FORKS.Process(target=work, args=(theirs, target, seed, numbers, folder))
        process.start()
        theirs.close()
        number, said, made, took = first, None, "", {}
        try:
            while ours.poll(PATIENCE):
                number, said, made, took = ours.recv()
                if said is not None:
                    yield number, said, made, took
            process.kill()  # it has said nothing for too long
        except EOFError:
            pass
        process.join()
        if said is None:
            kind = "hang" if process.exitcode == -9 else "died"
            last = (folder / "said").read_text(errors="replace")[-500:]
            yield number, f"fault: {kind}: exit code {process.exitcode}: {last}", made, took
        first = number + 1


def files(seed: int, inputs: int, kept: Path) -> tuple[Counter, list[str]]:
    """All targets of files: the counts by target and kind, and the faults."""
    from fuzz.targets import TARGETS, shared

    counts, faults = Counter(), []
    with tempfile.TemporaryDirectory(prefix="srkit-fuzz-") as work_in:
        for target in TARGETS:
            count = shared(inputs)[target]
            longest = largest = 0.0
            for number, said, made, took in results(target, seed, count, Path(work_in)):
                kind = said.split(": ")[1] if said.startswith("fault") else said
                counts[target, kind] += 1
                longest = max(longest, took.get("seconds", 0))
                largest = max(largest, took.get("MiB", 0))
                if said.startswith("fault"):
                    name = f"{target}-{seed}-{number}"
                    shutil.rmtree(kept / name, ignore_errors=True)
                    shutil.copytree(Path(work_in) / name, kept / name)
                    faults.append(f"{target}/{number}  {said}  ({made})\n    {kept / name}")
                    print(faults[-1], flush=True)
            print(
                f"{target}: {count} inputs, {longest:.1f} s and {largest:.0f} MiB at most",
                flush=True,
            )
    return counts, faults


def numbers(seed: int, inputs: int) -> tuple[Counter, list[str]]:
    """The properties of resizing, metrics and tiles: the counts and the faults, as of `files`."""
    from fuzz.properties import PROPERTIES, check
    from fuzz.targets import shared

    counts, faults = Counter(), []
    for group, found in PROPERTIES.items():
        for one in found:
            examples = -(-shared(inputs)[group] // len(found))
            try:
                counts[group, "taken"] += check(one, examples, seed)
            except Exception:
                counts[group, "silent"] += 1
                faults.append(f"{group}, {one[0].__name__}\n{traceback.format_exc()}")
                print(faults[-1], flush=True)
    return counts, faults


def table(counts: Counter, columns: Sequence[str], total: str = "") -> str:
    """Counts by row and column; total: the name of a column with each row's sum."""
    rows = [*dict.fromkeys(name for name, _ in counts), "all"]
    lines = [f"{'':<12}" + f"{total:>9}" * bool(total) + "".join(f"{c:>13}" for c in columns)]
    for row in rows:
        values = [
            sum(n for (name, c), n in counts.items() if c == column and row in (name, "all"))
            for column in columns
        ]
        cells = "".join(f"{n:>13,}" for n in values)
        lines.append(f"{row:<12}" + f"{sum(values):>9,}" * bool(total) + cells)
    return "\n".join(lines)


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__.split("\n")[0])
    options.add_argument("--seed", type=int, default=random.randrange(10**6))
    options.add_argument("--inputs", type=int, default=10_000)
    options.add_argument("--kills", type=int, default=100)
    options.add_argument("--kept", type=Path, default=Path("fuzz-failures"))
    options.add_argument("--replay", help="one input: picture/123")
    asked = options.parse_args()
    warnings.simplefilter("ignore")
    os.environ |= {"TQDM_DISABLE": "1", "PYTHONWARNINGS": "ignore"}  # of all processes
    cache = tempfile.TemporaryDirectory(prefix="srkit-fuzz-cache-")
    os.environ["SRKIT_CACHE"] = cache.name
    print(f"seed {asked.seed} (--seed {asked.seed} repeats all of it)", flush=True)
    if asked.replay:
        from fuzz.targets import tried

        target, number = asked.replay.split("/")
        said, this, took = tried(target, asked.seed, int(number), asked.kept / "replayed")
        print(f"{asked.replay}: {said}\n{this.made}\n{took}\n{this.folder}")
        sys.exit(said.startswith("fault"))
    FORKS.set_forkserver_preload(["fuzz.targets", "test_inference", "srkit.recipes", "accelerate"])
    counts, faults = files(asked.seed, asked.inputs, asked.kept)
    more, others = numbers(asked.seed, asked.inputs)
    with tempfile.TemporaryDirectory(prefix="srkit-fuzz-") as work_in:
        kills, left = killed(asked.seed, asked.kills, Path(work_in), asked.kept)
    print(f"\n{table(counts + more, KINDS, 'inputs')}\n\n{table(kills, COLUMNS)}")
    found = faults + others + left
    print(f"\nseed {asked.seed}: {len(found)} faults" + "".join(f"\n{each}" for each in found))
    sys.exit(bool(found))
