"""What training costs: python benchmarks/training.py [--networks rlfn_s ...] [--batch 16 ...]

Pictures from SRKIT_HOME (train/BSDS400, train/hires). Processor seconds of one thread, the ways of
one case in turn, medians; ratios are of the same round. With a GPU: seconds of the clock.

- Crops a second: `Patches` against a reader of files, as BasicSR's and others' data sets are: two
  PNGs decoded for each crop, cropped, flipped and turned, made floats, collated. HR crops of 192.
  Goals: 15 times on 481x321 pictures, 200 times on 2K ones.
- A step of `fit`, with averaged weights, clipping and history, against loops on the same model and
  batch. "files": plain float32 eager, fed by that reader; goals where the processor multiplies
  bfloat16: 3.3 times for rlfn_s and the small RRDB, 5 for edsr (its baseline), 4.5 for the small
  RCAN, else 1.3. "2K": the same, from 2K pictures, as DIV2K's are. "bare": forward, backward and
  optimiser in fit's precision and layout, on one batch that is there; goal on a GPU: fit at 0.95
  of its speed.
- Shares of that step: loader below 2 %; average, clipping and history below 3 %.
- Peak memory, each way in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from srkit import files
from srkit.datasets.patches import Patches
from srkit.devices import best_device, has_bfloat16
from srkit.image.io import read_image, write_image
from srkit.image.resize import imresize
from srkit.image.tensors import modcrop, to_8bit
from srkit.losses import L1
from srkit.models.edsr import EDSR
from srkit.models.esrgan import RRDBNet
from srkit.models.rcan import RCAN
from srkit.models.rlfn import RLFN
from srkit.training import loop as engine
from srkit.training import record
from srkit.training.loop import adam, fit
from srkit.training.schedules import Constant
from srkit.training.state import State

SCALE = 4
BATCH, PATCH = 4, 32  # unless told: the papers' 16 and 48 take nine times as long
ROUNDS, STEPS = 3, 5
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "rlfn_s": lambda: RLFN(SCALE, channels=48, blocks=6),
    "rrdb": lambda: RRDBNet(SCALE, channels=32, blocks=4, growth=16),
    "edsr": lambda: EDSR(SCALE),
    "rcan": lambda: RCAN(SCALE, groups=3, blocks=5),
}
WAYS = ("files", "2K", "bare", "fit")
PEAKS = ("files", "bare", "fit")
DEVICE = best_device()


def now() -> float:
    """Processor seconds; with a GPU, seconds at which all that was asked of it is done."""
    if DEVICE.type == "cpu":
        return time.process_time()
    torch.accelerator.synchronize()
    return time.perf_counter()


class FileReader:
    """A file for each picture: what a crop costs when nothing is kept in memory."""

    def __init__(self, folder: Path):
        self.paths = sorted((folder / "HR").iterdir())
        self.folder = folder

    def crop(self, size: int) -> tuple[Tensor, Tensor]:
        path = random.choice(self.paths)
        hr, lr = (np.asarray(Image.open(p)) for p in (path, self.folder / "LR" / path.name))
        top = random.randint(0, lr.shape[0] - size)
        left = random.randint(0, lr.shape[1] - size)
        flips = [random.random() < 0.5 for _ in range(3)]
        pair = []
        for picture, r in ((lr, 1), (hr, SCALE)):
            cut = picture[r * top : r * (top + size), r * left : r * (left + size)]
            cut = cut[::-1] if flips[0] else cut
            cut = cut[:, ::-1] if flips[1] else cut
            cut = cut.transpose(1, 0, 2) if flips[2] else cut
            cut = np.ascontiguousarray(cut.transpose(2, 0, 1)).astype(np.float32) / 255
            pair.append(torch.from_numpy(cut))
        return pair[0], pair[1]

    def batch(self, count: int, size: int) -> tuple[Tensor, Tensor]:
        lr, hr = zip(*(self.crop(size) for _ in range(count)), strict=True)
        return torch.stack(lr), torch.stack(hr)


class Watched:
    """Crops that note when each batch is asked for and, if `closely`, how long it takes."""

    def __init__(self, crops: Patches, closely: bool):
        self.crops, self.closely, self.asked, self.loading = crops, closely, [], 0.0

    def batch(self, *args) -> dict:
        self.asked.append(now())
        data = self.crops.batch(*args)
        if self.closely:
            self.loading += now() - self.asked[-1]
        return data


def files_steps(model: nn.Module, reader: FileReader) -> list[float]:
    """The loop that everyone writes first."""
    model.to(DEVICE, memory_format=torch.contiguous_format).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    times = [now()]
    for _ in range(STEPS):
        lr, hr = (x.to(DEVICE) for x in reader.batch(BATCH, PATCH))
        loss = F.l1_loss(model(lr), hr)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()
        times.append(now())
    return differences(times)


def bare_steps(model: nn.Module, data: dict[str, Tensor]) -> list[float]:
    """What no loop can do without: forward, backward, optimiser, on one batch."""
    layout = getattr(model, "memory_format", torch.contiguous_format)
    model.to(DEVICE, memory_format=layout).train()
    lr, hr = (data[name].to(DEVICE, memory_format=layout) for name in ("lr", "hr"))
    optimizer = adam(model)
    times = [now()]
    for _ in range(STEPS):
        with torch.autocast(DEVICE.type, torch.bfloat16, enabled=has_bfloat16(DEVICE)):
            loss = F.l1_loss(model(lr).float(), hr)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        times.append(now())
    return differences(times)


def fit_steps(model: nn.Module, crops: Patches, shares: dict[str, list[float]]) -> list[float]:
    """Its steps, and then once more for the shares: a GPU stands still wherever it is timed."""

    def run(closely: bool) -> Watched:
        watched = Watched(crops, closely)
        fit(
            model, L1(), watched, batch=BATCH, patch=PATCH, rate=Constant(1e-4), steps=STEPS + 1,
            ema=0.999, clip=1.0, validate_every=STEPS + 1,
        )  # fmt: skip
        return watched

    times, spent = differences(run(closely=False).asked), {"around": 0.0}
    with (
        added_up(State, "count", spent),  # average, history
        added_up(engine.nn.utils, "get_total_norm", spent),
        added_up(engine.nn.utils, "clip_grads_with_norm_", spent),
    ):
        watched = run(closely=True)
    steps = differences(watched.asked)
    whole = sum(steps) / len(steps) * (STEPS + 1)
    shares["loader"].append(watched.loading / whole)
    shares["average, clipping, history"].append(spent["around"] / whole)
    return times


@contextmanager
def added_up(owner: object, name: str, spent: dict[str, float]) -> Iterator[None]:
    """The time that calls of owner.name take, added to spent["around"]."""
    original = getattr(owner, name)

    def timed(*args, **named):
        start = now()
        try:
            return original(*args, **named)
        finally:
            spent["around"] += now() - start

    setattr(owner, name, timed)
    try:
        yield
    finally:
        setattr(owner, name, original)


def differences(times: list[float]) -> list[float]:
    """Without the first step, in which buffers and Adam's moments are made."""
    return [b - a for a, b in pairwise(times)][1:]


def pictures_of(name: str, count: int, folder: Path) -> list[Tensor]:
    """The first pictures of a folder of SRKIT_HOME, and PNG pairs of them for the reader."""
    found = files.find(f"train/{name}")
    if found is None:
        sys.exit(f"needs train/{name} under SRKIT_HOME")
    paths = [p for p in sorted(found.rglob("*")) if p.suffix in (".jpg", ".png")][:count]
    pictures = [modcrop(to_8bit(read_image(path)), SCALE) for path in paths]
    for number, picture in enumerate(pictures):
        write_image(picture / 255, folder / "HR" / f"{number}.png")
        write_image(imresize(picture, 1 / SCALE) / 255, folder / "LR" / f"{number}.png")
    return pictures


def crops_a_second(pictures: list[Tensor], reader: FileReader, count: int = 16) -> list[float]:
    patches, rng = Patches(pictures, SCALE), torch.Generator().manual_seed(0)
    rates = []
    for _ in range(5):
        start = time.process_time()
        reader.batch(count, 48)
        middle = time.process_time()
        for _ in range(10):
            patches.batch(count, 48, rng)
        rates.append((count / (middle - start), 10 * count / (time.process_time() - middle)))
    return [median(column) for column in zip(*rates, strict=True)] + [
        median(ours / theirs for theirs, ours in rates)
    ]


def step(network: str, way: str, pictures: list[Tensor], reader: FileReader, shares) -> float:
    """Median seconds of one step."""
    torch.manual_seed(0)
    model = NETWORKS[network]()
    crops = Patches(pictures, SCALE, device=DEVICE)
    if way in ("files", "2K"):
        return median(files_steps(model, reader))
    if way == "bare":
        data = crops.batch(BATCH, PATCH, torch.Generator().manual_seed(0))
        return median(bare_steps(model, data))
    return median(fit_steps(model, crops, shares))


def peak_memory(network: str, way: str, folder: Path) -> float:
    """MiB that a process of its own needs at most."""
    sizes = ["--batch", str(BATCH), "--patch", str(PATCH)]
    command = [sys.executable, __file__, *sizes, "--only", network, way, str(folder)]
    return float(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


def only(network: str, way: str, folder: str) -> None:
    reader = FileReader(Path(folder))
    pictures = [to_8bit(read_image(path)) for path in reader.paths]
    step(network, way, pictures, reader, {"loader": [], "average, clipping, history": []})
    print(record.peak_memory() if DEVICE.type == "cpu" else record.peak_gpu_memory(DEVICE))


def main(networks: list[str], to: Path | None) -> None:
    record: dict[str, dict] = {}
    with tempfile.TemporaryDirectory() as work:
        small, large = Path(work) / "small", Path(work) / "large"
        pictures = pictures_of("BSDS400", 40, small)
        print("crops a second          files  Patches  ratio")
        for title, some, folder in (
            ("481x321", pictures, small),
            ("2K", pictures_of("hires/GT", 3, large), large),
        ):
            theirs, ours, ratio = crops_a_second(some, FileReader(folder))
            record[f"crops, {title}"] = {"files": theirs, "patches": ours, "ratio": ratio}
            print(f"{title:<20}{theirs:9.1f}{ours:9.0f}{ratio:6.0f}x")
        print(f"\nstep: {BATCH} crops of {PATCH} LR px, {DEVICE}, bfloat16 {has_bfloat16(DEVICE)}")
        ratios = "".join(f"{f'{way}/fit':>10}" for way in WAYS[:-1])
        print("ms".rjust(12) + "".join(f"{way:>7}" for way in WAYS) + ratios + "   peak MiB")
        for network in networks:
            shares = {"loader": [], "average, clipping, history": []}
            readers = {way: FileReader(large if way == "2K" else small) for way in WAYS}
            rounds = [
                {way: step(network, way, pictures, readers[way], shares) for way in WAYS}
                for _ in range(ROUNDS)
            ]
            row = {way: median(r[way] for r in rounds) for way in WAYS}
            row |= {f"{w}/fit": median(r[w] / r["fit"] for r in rounds) for w in WAYS[:-1]}
            row |= {f"share of {name}": median(values) for name, values in shares.items()}
            row["peak_mib"] = {way: peak_memory(network, way, small) for way in PEAKS}
            record[network] = row
            print(
                network.ljust(12)
                + "".join(f"{1e3 * row[way]:7.0f}" for way in WAYS)
                + "".join(f"{row[f'{way}/fit']:9.2f}x" for way in WAYS[:-1])
                + "   "
                + ", ".join(f"{way} {mib:.0f}" for way, mib in row["peak_mib"].items())
            )
            print("".ljust(12) + ", ".join(f"{k}: {median(v):.2%}" for k, v in shares.items()))
    if to is not None:
        to.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--batch", type=int, default=BATCH)
    parser.add_argument("--patch", type=int, default=PATCH, help="LR pixels a side of a crop")
    parser.add_argument("--json", type=Path, help="where to write the figures too")
    parser.add_argument("--only", nargs=3, metavar=("NETWORK", "WAY", "FOLDER"))
    chosen = parser.parse_args()
    BATCH, PATCH = chosen.batch, chosen.patch
    if chosen.only:
        only(*chosen.only)
    else:
        main(chosen.networks, chosen.json)
