"""Peak memory of the heavy ones: a large picture enlarged, TTSR with references, training.

    python benchmarks/memory.py [--only ttsr memnet ...] [--out FILE]

Each case runs in a process of its own on the CPU, whose peak resident size (with PyTorch's own,
about 0.3 GiB) is taken. From file to file a picture is enlarged, and in another process one of
32x32 pixels: the difference is what the pixels of the result cost. TTSR runs whole. A training step
(forward, backward, Adam) runs with two small batches of the paper's crops; memory grows by the same
amount for each crop, so the line through both gives that of the paper's batch. (DBPN x8 is the one
that wants more than 24 GiB so.)
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

import srkit
from srkit.files import data_path
from srkit.image.io import Picture, write_picture
from srkit.inference import upscale_file
from srkit.models.ttsr import stitch
from srkit.training.record import machine, write_json

# name: (weights that srkit ships, side of the LR picture, bits, format)
FILES = {
    "file-12-megapixels": ("rlfn-minutes_x4", 866, 8, "png"),
    "file-100-megapixels": ("rlfn-minutes_x4", 2500, 8, "png"),
    "file-100-megapixels-16-bit": ("rlfn-minutes_x4", 2500, 16, "png"),
}
# name: (LR height, LR width), size of each of five references
ENLARGE = {
    "ttsr": ((125, 83), (500, 333)),  # CUFED5: pictures of 500x333, to be restored from a quarter
    "ttsr-padded": ((125, 83), (500, 500)),  # as the authors stitch them
    "ttsr-large": ((333, 500), (333, 500)),
}
# name: (network, LR crop, batch of the paper, two small ones)
TRAIN = {
    "memnet": ("memnet_x2", 16, 64, (4, 8)),  # its crop: 31x31 of the enlarged picture
    "ddbpn_x2": ("ddbpn_x2", 32, 20, (2, 4)),
    "ddbpn_x4": ("ddbpn_x4", 32, 20, (1, 3)),
    "ddbpn_x8": ("ddbpn_x8", 32, 20, (2, 5)),
    "ddbpn_x8-checkpointing": ("ddbpn_x8", 32, 20, (2, 5)),
}


def from_file_to_file(name: str, side: int) -> None:
    weights, _, bits, suffix = FILES[name]
    model = srkit.load_checkpoint(data_path(f"weights/{weights}.safetensors"))
    with TemporaryDirectory() as folder:
        source, target = Path(folder, "in.png"), Path(folder, f"out.{suffix}")
        # A process of its own makes the picture, or its peak would be counted.
        words = [sys.executable, __file__, "--make", str(source), str(side), str(bits)]
        subprocess.run(words, check=True)
        upscale_file(model, source, target, check_color=True, precision="float32")


def make(path: str, side: int, bits: int) -> None:
    """A picture of waves and some noise."""
    generator = torch.Generator().manual_seed(0)
    y, x = torch.meshgrid(*[torch.arange(side) / 40] * 2, indexing="ij")
    waves = torch.stack([torch.sin(x + k) + torch.cos(y - k) for k in range(3)]) / 5 + 0.5
    noise = 0.02 * torch.randn(waves.shape, generator=generator)
    write_picture(Picture((waves + noise).clamp(0, 1), bits=bits), path)


def enlarge(name: str) -> None:
    (h, w), size = ENLARGE[name]
    references = stitch([torch.rand(1, 3, *size) for _ in range(5)])
    with torch.inference_mode():
        srkit.create_model("ttsr_x4")(torch.rand(1, 3, h, w), references)


def train(name: str, batch: int) -> None:
    network, crop, *_ = TRAIN[name]
    model = srkit.create_model(network).train()
    model.checkpointing = name.endswith("-checkpointing")  # of DBPN; the others don't look at it
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.rand(batch, 3, crop, crop)).abs().mean().backward()
    optimizer.step()


def peak(name: str, size: int = 0) -> float:
    """GiB, of a process that does nothing else; size: of the batch, or the side of the picture."""
    command = [sys.executable, __file__, "--child", name, "--size", str(size)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=[*FILES, *ENLARGE, *TRAIN])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--make", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.make:
        path, side, bits = options.make
        make(path, int(side), int(bits))
        return
    if name := options.child:
        torch.set_num_threads(1)
        if name in FILES:
            from_file_to_file(name, options.size)
        else:
            enlarge(name) if name in ENLARGE else train(name, options.size)
        kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(round(kilobytes / 2**20, 3))
        return

    rows = []
    for name in options.only or [*FILES, *ENLARGE, *TRAIN]:
        if name in FILES:
            _, side, bits, suffix = FILES[name]
            small, large, pixels = peak(name, 32), peak(name, side), (4 * side) ** 2
            each = round((large - small) * 2**30 / pixels, 1)
            row = {"case": name, "bits": bits, "format": suffix, "megapixels": pixels / 1e6}
            row |= {"GiB": large, "process": small, "bytes a pixel": each}
        elif name in ENLARGE:
            lr, reference = ENLARGE[name]
            row = {"case": name, "lr": lr, "references": [5, *reference], "GiB": peak(name)}
        else:
            _, crop, batch, (few, more) = TRAIN[name]
            measured = {few: peak(name, few), more: peak(name, more)}
            each = (measured[more] - measured[few]) / (more - few)
            whole = measured[few] + each * (batch - few)
            row = {"case": name, "crop": crop, "batch": batch, "GiB": round(whole, 2)}
            row["measured"] = measured
        rows.append(row)
        print(row, flush=True)
    if options.out:
        write_json({"machine": machine(), "rows": rows}, options.out)


if __name__ == "__main__":
    main()
