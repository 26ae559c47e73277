"""The multiply-adds of every network that has a name: python benchmarks/costs.py

Counted by `srkit.count` for an LR picture of 64x64; nothing is timed. Writes data/runs/costs.json,
from which `srkit models` has its column. Needs no weights.
"""

from __future__ import annotations

from pathlib import Path

import torch

import srkit
from srkit.models.zoo import Entry
from srkit.training.record import write_json

LR = (64, 64)


def macs(entry: Entry) -> int:
    """Of one network, without the time that random weights take."""
    with torch.device("meta"):
        model = entry.build()
    return srkit.count(model.to_empty(device="cpu"), LR).macs


def main() -> None:
    found = {name: macs(srkit.model_info(name)) for name in srkit.list_models()}
    write_json({"lr": LR, "macs": found}, Path(__file__).parents[1] / "data/runs/costs.json")


if __name__ == "__main__":
    main()
