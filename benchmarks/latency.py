"""How long networks take: on this machine, one after the other, on one thread.

    python benchmarks/latency.py            # which count predicts the time? The ladder of RLFN
    python benchmarks/latency.py --all      # chapter 17's networks, on your machine

Every network enlarges one LR picture by four (of 320x180, with --all of 80x45), float32, one
thread, in its own faster layout. The networks take turns, so that a busy machine slows all alike; a
network's time is the median of its processor times, also given as a ratio to RLFN's in the same
round. Weights don't matter here: a network takes the same time with any.

The first writes data/runs/latency.json, which chapter 15 reads. The second writes
runs/latency.json, which chapter 17 prefers to the recorded data/runs/latency_all.json; it takes
about ten minutes.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch

import srkit
from srkit.models.network import Network
from srkit.training.record import machine, write_json

ROOT = Path(__file__).parents[1]
LADDER = (
    "rfdb48_x4", "rfdbr48_x4", "rfdbr52_x4", "rlfn_x4", "rlfn_s_x4", "rlfn_ntire_x4", "rfdn_aim_x4",
    "imdn_x4",
)  # fmt: skip
# Whole networks of the papers, and of those that they are measured against.
PAPERS = (
    "srcnn_x4", "vdsr_x4", "lapsrn_x4", "srresnet_x4", "enhancenet_x4", "memnet_x4", "ddbpn_x4",
    "idn_x4", "rdn_x4", "rcan_x4", "msrn_x4", "carn_x4", "carn_m_x4", "zssr_x4", "sftgan_x4",
    "srfeat_x4", "esrgan_x4", "ttsr_x4", "edsr_baseline_x4", "srresnet8_x4", "srgan_port_x4",
    "imdn_x4", "rfdn_aim_x4", "rlfn_ntire_x4", "rlfn_s_x4", "rlfn_x4",
)  # fmt: skip
# Trained here, one run of each recipe: files of data/weights.
OURS = (
    "srgan-laptop-srgan", "enhancenet-laptop-pat", "memnet-laptop-memnet", "dbpn-laptop-dbpn",
    "carn-laptop-carn", "sftgan-laptop-sftgan", "srfeat-laptop-srfeat", "esrgan-laptop-esrgan",
    "ttsr-laptop-ttsr", "rlfn-minutes",
)  # fmt: skip


def measure(models: Mapping[str, Network], lr_size: tuple[int, int], rounds: int) -> list[dict]:
    """A row for each network: what it costs by count, and its processor seconds."""
    lr = torch.rand(1, 3, *lr_size)
    times = {name: [] for name in models}
    with torch.inference_mode():
        for turn in range(rounds + 1):  # the first warms up
            for name, model in models.items():
                model.to(memory_format=model.memory_format)
                x = lr.to(memory_format=model.memory_format)
                start = time.process_time()
                model(x)
                if turn:
                    times[name].append(time.process_time() - start)
    rows = []
    for name, model in models.items():
        ratios = [a / b for a, b in zip(times[name], times["rlfn_x4"], strict=True)]
        rows.append({
            "network": name,
            **asdict(srkit.count(model, lr_size=lr_size)),
            "seconds": round(statistics.median(times[name]), 4),
            "ratio_to_rlfn": round(statistics.median(ratios), 3),
            "ratio_spread": [round(min(ratios), 3), round(max(ratios), 3)],
        })  # fmt: skip
        print(f"{name:24}{rows[-1]['seconds']:8.3f} s{rows[-1]['ratio_to_rlfn']:8.3f}", flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--all", action="store_true", help="chapter 17's networks")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--out", type=Path, help="the file to write")
    options = parser.parse_args()
    torch.set_num_threads(1)
    models = {name: srkit.create_model(name) for name in (PAPERS if options.all else LADDER)}
    lr_size, out = (180, 320), ROOT / "data/runs/latency.json"
    if options.all:
        lr_size, out = (45, 80), ROOT / "runs/latency.json"
        for name in OURS:
            file = ROOT / f"data/weights/{name}_x4.safetensors"
            models[f"{name}_x4"] = srkit.load_checkpoint(file)
    rows = measure(models, lr_size, options.rounds)
    record = {"lr": lr_size, "rounds": options.rounds, "machine": machine(), "rows": rows}
    out = options.out or out
    out.parent.mkdir(parents=True, exist_ok=True)
    write_json(record, out)
    print(out)


if __name__ == "__main__":
    main()
