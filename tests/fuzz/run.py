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
from collections import Counter
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

KINDS = ("taken", "refused", "undocumented", "silent", "partial", "hang", "memory", "died")
PATIENCE = 600  # seconds without a word, after which a process counts as hanging
FORKS = multiprocessing.get_context("forkserver")


def work(pipe: Connection, target: str, seed: int, numbers: Sequence[int], folder: Path) -> None:
    """In a process of its own: each input, announced before it is tried."""
    import torch
    from fuzz.targets import tried

    torch.set_num_threads(1)
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
            yield number, f"fault: {kind}: exit code {process.exitcode}", made, took
        first = number + 1


def files(seed: int, inputs: int, kept: Path) -> tuple[Counter, list[str]]:
    """All targets of files: the counts by target and kind, and the faults."""
    from fuzz.targets import shared

    counts, faults = Counter(), []
    with tempfile.TemporaryDirectory(prefix="srkit-fuzz-") as work_in:
        for target, count in shared(inputs).items():
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


def table(counts: Counter) -> str:
    targets = list(dict.fromkeys(target for target, _ in counts))
    lines = [f"{'':<12}{'inputs':>8}" + "".join(f"{kind:>14}" for kind in KINDS)]
    for target in [*targets, "all"]:
        row = [
            sum(n for (t, k), n in counts.items() if k == kind and target in (t, "all"))
            for kind in KINDS
        ]
        lines.append(f"{target:<12}{sum(row):>8,}" + "".join(f"{n:>14,}" for n in row))
    return "\n".join(lines)


def main() -> None:
    options = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__.split("\n")[0])
    options.add_argument("--seed", type=int, default=random.randrange(10**6))
    options.add_argument("--inputs", type=int, default=10_000)
    options.add_argument("--kills", type=int, default=100)
    options.add_argument("--kept", type=Path, default=Path("fuzz-failures"))
    options.add_argument("--replay", help="one input: picture/123")
    asked = options.parse_args()
    os.environ.setdefault("TQDM_DISABLE", "1")
    cache = tempfile.TemporaryDirectory(prefix="srkit-fuzz-cache-")
    os.environ["SRKIT_CACHE"] = cache.name
    print(f"seed {asked.seed} (--seed {asked.seed} repeats all of it)", flush=True)
    if asked.replay:
        from fuzz.targets import tried

        target, number = asked.replay.split("/")
        said, this, took = tried(target, asked.seed, int(number), asked.kept / "replayed")
        print(f"{asked.replay}: {said}\n{this.made}\n{took}\n{this.folder}")
        sys.exit(said.startswith("fault"))
    FORKS.set_forkserver_preload(["fuzz.targets"])
    counts, faults = files(asked.seed, asked.inputs, asked.kept)
    print("\n" + table(counts))
    sys.exit(bool(faults))
