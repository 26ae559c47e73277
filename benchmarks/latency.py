"""Which count predicts the time of an efficient network? The ladder of RLFN, measured.

    python benchmarks/latency.py [--rounds 9]

Every network enlarges one LR picture of 320x180 to 1280x720, float32, one thread, each in its own
faster layout. The networks take turns, so that a busy machine slows all alike; a network's time is
the median of its processor times, given as a ratio to RLFN's in the same round.
Writes data/runs/latency.json, which chapter 15 reads.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import asdict
from pathlib import Path

import torch

import srkit
from srkit.training.record import machine, write_json

NETWORKS = (
    "rfdb48_x4", "rfdbr48_x4", "rfdbr52_x4", "rlfn_x4", "rlfn_s_x4", "rlfn_ntire_x4", "rfdn_aim_x4",
    "imdn_x4",
)  # fmt: skip
HEIGHT, WIDTH = 180, 320


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    lr = torch.rand(1, 3, HEIGHT, WIDTH)
    models = {name: srkit.create_model(name) for name in NETWORKS}
    times = {name: [] for name in NETWORKS}
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
            **asdict(srkit.count(model, lr_size=(HEIGHT, WIDTH))),
            "seconds": round(statistics.median(times[name]), 4),
            "ratio_to_rlfn": round(statistics.median(ratios), 3),
            "ratio_spread": [round(min(ratios), 3), round(max(ratios), 3)],
        })  # fmt: skip
        print(f"{name:16}{rows[-1]['seconds']:8.3f} s{rows[-1]['ratio_to_rlfn']:8.3f}", flush=True)
    record = {"lr": [HEIGHT, WIDTH], "rounds": rounds, "machine": machine(), "rows": rows}
    write_json(record, Path(__file__).parents[1] / "data/runs/latency.json")


if __name__ == "__main__":
    main()
