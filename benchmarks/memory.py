"""Peak memory of the heavy ones: TTSR with references, MemNet and DBPN in training.

    python benchmarks/memory.py [--only ttsr memnet ...] [--out FILE]

Each case runs in a process of its own on the CPU, whose peak resident size (with PyTorch's own,
about 0.3 GiB) is taken. TTSR runs whole. A training step (forward, backward, Adam) runs with two
small batches of the paper's crops; memory grows by the same amount for each crop, so the line
through both gives that of the paper's batch. (DBPN x8 is the one that wants more than 24 GiB so.)
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path

import torch

import srkit
from srkit.models.ttsr import stitch
from srkit.training.record import machine, write_json

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


def peak(name: str, batch: int = 0) -> float:
    """GiB, of a process that does nothing else."""
    command = [sys.executable, __file__, "--child", name, "--batch", str(batch)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=[*ENLARGE, *TRAIN])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--batch", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if name := options.child:
        torch.set_num_threads(1)
        enlarge(name) if name in ENLARGE else train(name, options.batch)
        kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(round(kilobytes / 2**20, 3))
        return

    rows = []
    for name in options.only or [*ENLARGE, *TRAIN]:
        if name in ENLARGE:
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
