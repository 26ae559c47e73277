"""Trained networks by one protocol: PSNR, SSIM and LPIPS on Set5 and Set14.

    python benchmarks/side_by_side.py [--only srgan rlfn_x2] [--force]

Those trained here (data/weights, x2 and x4; of a run it is seed 0), and at x2 bicubic and the
authors' networks, of which data/runs/official.json has no LPIPS. What that file has is not measured
again: benchmarks/fidelity.py made it, by the same protocol ("classic"), LPIPS (AlexNet) and
precision (float32). Chapter 17 puts both together.

The result goes to data/runs/side_by_side.json after every network. A row that is there already,
from the same file of weights, is kept; --force measures it again. All rows take about half an hour
of one core. SRKIT_HOME or the cache must hold the sets, LPIPS and the authors' weights; weights
that are missing are named and left out. --only: beginnings of names.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import srkit
from srkit import files
from srkit.metrics.evaluate import evaluate
from srkit.metrics.protocols import PROTOCOLS
from srkit.models.network import Network
from srkit.models.zoo import ZOO
from srkit.training.record import code_version, machine, write_json

DATA = Path(__file__).parents[1] / "data"
SETS = ("Set5", "Set14")
SCALES = (2, 4)


def found() -> Iterator[tuple[str, str, int, Path | None]]:
    """Name, kind of weights, scale and file of each network to measure."""
    yield "bicubic_x2", "", 2, None
    for entry in ZOO:
        for kind, weights in entry.weights.items():
            if entry.scale == 2 and kind == "official":
                if path := files.find(weights.path):
                    yield entry.name, kind, 2, path
                else:
                    print(f"{entry.name}: {weights.path} is not on this machine", flush=True)
    for path in sorted((DATA / "weights").glob("*_x*.safetensors")):
        scale = int(path.stem.rsplit("_x", 1)[1])
        if scale in SCALES:
            yield path.stem, "srkit", scale, path


def network(name: str, kind: str, path: Path | None) -> Network | str:
    if path is None:
        return "bicubic"
    if kind == "srkit":
        return srkit.load_checkpoint(path)
    return srkit.create_model(name, weights=kind)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", default=[""], metavar="NAME", help="beginnings")
    parser.add_argument("--force", action="store_true", help="measure rows again that are there")
    parser.add_argument("--out", type=Path, default=DATA / "runs/side_by_side.json")
    options = parser.parse_args()
    before = json.loads(options.out.read_text())["rows"] if options.out.exists() else []
    rows = {row["network"]: row for row in before}
    wanted = list(found())
    for name, kind, scale, path in wanted:
        if not name.startswith(tuple(options.only)):
            continue
        sha256 = path and files.sha256(path)
        if not options.force and name in rows and rows[name]["sha256"] == sha256:
            continue
        model, scores = network(name, kind, path), {}
        for data in SETS:
            of = scale if isinstance(model, str) else None
            means = evaluate(model, data, scale=of, protocol="classic", lpips="alex").means
            scores[data] = {key: round(x, 5) for key, x in means.items() if key != "seconds"}
        counted = None if isinstance(model, str) else srkit.count(model, (45, 80))
        rows[name] = {
            "network": name, "weights": kind, "scale": scale, "sha256": sha256,
            "parameters": counted and counted.parameters, "macs": counted and counted.macs,
            "code": code_version(), "metrics": scores,
        }  # fmt: skip
        record = {
            "protocol": PROTOCOLS["classic"].text, "precision": "float32", "lpips": "alex",
            "counted_at": [45, 80], "machine": machine(),
            "rows": [rows[n] for n, *_ in wanted if n in rows],
        }  # fmt: skip
        write_json(record, options.out)
        shown = "  ".join(f"{d} {s['psnr']:.3f} {s['lpips']:.4f}" for d, s in scores.items())
        print(f"{name:36}{shown}", flush=True)


if __name__ == "__main__":
    main()
