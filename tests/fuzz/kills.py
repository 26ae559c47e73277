"""Processes that are killed at any moment and begun again: in the end nothing tells of it.

A kind of work fills a folder. It is done once undisturbed; then again and again, killed by SIGKILL
after a random time, or as one of its files is about to be put in place or has just been; and begun
anew until it ends. The folder must then hold the same files, bit for bit, but for clocks.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import threading
import time
import warnings
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random

FORKS = multiprocessing.get_context("forkserver")
PATIENCE = 900  # seconds for what takes a few: after that, something blocks
COLUMNS = ("killed", "equal", "differ", "partial", "blocked")
CLOCKS = ("minutes", "cpu_minutes", "steps_per_second", "peak_memory_mib")
SET, FILE = "set.zip", "weights.bin"


# ------------------------------------------------------------------ the work, in its own process


def training(folder: Path, shared: Path, url: str) -> None:
    """A generator and a discriminator, by `fit`, with checkpoints."""
    import torch
    from toy import train

    torch.save(train("gan", folder / "fit"), folder / "learned.pt")


def recipe(folder: Path, shared: Path, url: str) -> None:
    """Two runs of a recipe: a variant, and first the one that it begins with."""
    from srkit import recipes

    recipes.train("rlfn", "warm-start", budget="smoke", device="cpu", out=folder)


def pictures(folder: Path, shared: Path, url: str) -> None:
    """A folder job."""
    from test_inference import Plain

    from srkit.inference import upscale_folder

    report = upscale_folder(Plain(), shared / "pictures", folder / "out")
    assert not report.failed, report


def fetch(folder: Path, shared: Path, url: str) -> None:
    """A download into the cache, resumed where it broke off."""
    from srkit import files

    os.environ["SRKIT_CACHE"] = str(folder)
    files.fetch([f"{url}/{FILE}"], f"weights/{FILE}", files.sha256(shared / FILE))


def dataset(folder: Path, shared: Path, url: str) -> None:
    """A set of the catalogue: downloaded, unpacked, counted and put in place."""
    from srkit.datasets import catalog

    os.environ["SRKIT_CACHE"] = str(folder)
    archive = catalog.Archive((f"{url}/{SET}",), "Toy_HR/*", _sha256(shared / SET))
    toy = catalog.Dataset("Toy", "pictures", 4, "benchmarks/Toy", (archive,))
    catalog.CATALOG["Toy"] = toy
    assert len(catalog.pictures("Toy", fetch=True)) == 4


WORK = {f.__name__: f for f in (training, recipe, pictures, fetch, dataset)}


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def work(pipe: Connection, kind: str, folder: Path, shared: Path, url: str, dies: tuple) -> None:
    """dies: ("before" or "after", n): killed there, of the n-th file that is put in place."""
    import torch

    from srkit import files

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    os.environ.pop("SRKIT_HOME", None)
    replace, done = os.replace, [0]

    def killed(source: object, target: object) -> None:
        done[0] += 1
        if dies == ("before", done[0]):
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)
        if dies == ("after", done[0]):
            os.kill(os.getpid(), signal.SIGKILL)

    files.os.replace = killed
    pipe.send("begun")
    WORK[kind](folder, shared, url)
    pipe.send(done[0])


# ------------------------------------------------------------------ around it


class Slowly(BaseHTTPRequestHandler):
    """Serves the files of `folder`, from any byte on, in small pieces."""

    folder: Path

    def do_GET(self) -> None:
        data = (self.folder / Path(self.path).name).read_bytes()
        asked = self.headers.get("Range")
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        if start >= len(data):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        try:
            for at in range(start, len(data), 1 << 13):
                self.wfile.write(data[at : min(at + (1 << 13), len(data))])
                time.sleep(0.01)
        except (BrokenPipeError, ConnectionResetError):  # killed
            pass

    def log_message(self, *_: object) -> None:
        """Nothing: a table is printed in the end."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    handler = type("Handler", (Slowly,), {"folder": folder})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05}).start()
        try:
            yield f"http://127.0.0.1:{http.server_port}"
        finally:
            http.shutdown()


def prepared(folder: Path) -> None:
    """What the work reads: pictures, an archive of a set, a file of weights."""
    from fuzz import corpus

    (folder / "pictures").mkdir(parents=True)
    for number, sample in enumerate(Random(0).sample(corpus.pictures(), 12)):
        (folder / "pictures" / f"{number}{sample.suffix}").write_bytes(sample.data)
    with zipfile.ZipFile(folder / SET, "w") as archive:
        for name in "abcd":
            picture = corpus.pictures()[0].data
            archive.writestr(f"Toy_HR/{name}.png", picture)
        archive.writestr("Toy_HR/more.txt", Random(0).randbytes(400_000))
    (folder / FILE).write_bytes(Random(1).randbytes(600_000))


def contents(folder: Path) -> dict[str, object]:
    """What a folder holds, by name: bytes, or JSON without clocks. The cache's locks left out."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_dir() or path.parent.name == "locks":
            continue
        if path.suffix in (".json", ".jsonl"):
            lines = path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
            found[name] = [_without_clocks(json.loads(line)) for line in lines]
        elif path.name.startswith("checkpoint-"):
            found[name] = "a checkpoint: it holds clocks"
        else:
            found[name] = path.read_bytes()
    return found


def _without_clocks(value: object) -> object:
    if isinstance(value, dict):
        return {k: _without_clocks(v) for k, v in value.items() if k not in CLOCKS}
    return [_without_clocks(v) for v in value] if isinstance(value, list) else value


class Worker:
    """A process that does a kind of work in a folder; it has begun when this is made."""

    def __init__(self, kind: str, folder: Path, shared: Path, url: str, dies: tuple = ()):
        folder.mkdir(parents=True, exist_ok=True)
        self.pipe, theirs = FORKS.Pipe()
        self.process = FORKS.Process(target=work, args=(theirs, kind, folder, shared, url, dies))
        self.process.start()
        theirs.close()
        self.began = self.pipe.poll(PATIENCE) and self.pipe.recv() == "begun"

    def end(self, seconds: float = PATIENCE) -> int | None:
        """Kill it if it takes longer; its exit code."""
        self.process.join(seconds)
        self.process.kill()
        self.process.join()
        return self.process.exitcode


def killed(seed: int, kills: int, work_in: Path, kept: Path) -> tuple[Counter, list[str]]:
    """Kill so many processes: the counts by kind and column, and the faults in words."""
    shared, rng = work_in / "shared", Random(f"kills {seed}")
    prepared(shared)
    counts, faults = Counter(), []
    with served(shared) as url:
        right, seconds, written = {}, {}, {}
        for kind in WORK:
            worker, start = Worker(kind, work_in / kind, shared, url), time.monotonic()
            assert worker.end() == 0, f"{kind} fails undisturbed"
            right[kind], seconds[kind] = contents(work_in / kind), time.monotonic() - start
            written[kind] = worker.pipe.recv()  # how many files were put in place

        trial = done = 0
        while done < kills:
            kind = list(WORK)[trial % len(WORK)]
            folder, trial = work_in / f"kill-{seed}-{trial}-{kind}", trial + 1
            for _ in range(rng.choice((1, 1, 2))):
                dies = rng.choice(("before", "after")), rng.randrange(1, written[kind] + 1)
                if rng.random() < 0.5:
                    code = Worker(kind, folder, shared, url, dies).end()
                else:
                    code = Worker(kind, folder, shared, url).end(rng.random() * seconds[kind])
                counts[kind, "killed"] += code == -signal.SIGKILL
                done += code == -signal.SIGKILL
            code = Worker(kind, folder, shared, url).end()
            found = contents(folder)
            if code == 0 and found == right[kind]:
                counts[kind, "equal"] += 1
                shutil.rmtree(folder)
            else:
                more = sorted(found.keys() - right[kind].keys())
                other = sorted(n for n, x in right[kind].items() if found.get(n) != x)
                what = "blocked" if code else "partial" if more else "differ"
                counts[kind, what] += 1
                shutil.copytree(folder, kept / folder.name, dirs_exist_ok=True)
                words = f"exit code {code}, left: {more}, other: {other}"
                faults.append(f"kill of {kind}: {what}: {words}\n    {kept / folder.name}")
                print(faults[-1], flush=True)
            if trial % 10 == 0:
                print(f"killed {done} of {kills}", flush=True)
    return counts, faults
