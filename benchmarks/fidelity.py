"""The authors' weights in srkit's networks, against the figures measured with the authors' code.

    python benchmarks/fidelity.py [--sets Set5 Set14] [--only rlfn_x4 bicubic_x4] [--force]

Every file of weights at hand, each as its paper measured (SETUPS). The references were measured
independently of srkit, with the authors' networks and code; a row agrees when it is within 0.001 dB
and 0.0001 SSIM of the printed digits. Rows without a reference are measured all the same.

Then the networks that others than the papers' authors trained (OTHERS), by the protocol "classic":
they have rows of their own, under "others". "machine" is the one that measured last.

The result goes to data/runs/official.json after every row. A row that is there already, from the
same file of weights, is kept; --force measures it again, as a change of a network asks for. All
rows take an hour of one core. SRKIT_HOME or the cache must hold the sets and the weights.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from itertools import zip_longest
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn

import srkit
from srkit.datasets.catalog import Pair, pairs
from srkit.metrics.evaluate import evaluate
from srkit.metrics.protocols import PROTOCOLS
from srkit.models.zoo import model_info
from srkit.training.record import machine, write_json

SETS = ("Set5", "Set14", "BSD100")
SETUPS = {
    "classic": {"protocol": "classic", "lr": "files", "output": "rounded"},
    "truncated": {"protocol": "classic", "lr": "files", "output": "truncated"},
    "lanczos": {"protocol": "classic", "lr": "Lanczos", "output": "rounded"},
    "yplane": {"protocol": "yplane", "lr": "float", "output": "rounded"},
}
# name, setup: PSNR and SSIM on Set5, Set14, BSD100, where measured with the authors' code
REFERENCE: dict[tuple[str, str], tuple[tuple[float, float], ...]] = {
    ("bicubic_x2", "classic"): ((33.679, 0.9304), (30.329, 0.8700), (29.563, 0.8435)),
    ("bicubic_x2", "yplane"): ((33.662, 0.9299),),
    ("bicubic_x3", "classic"): ((30.406, 0.8690), (27.635, 0.7760), (27.210, 0.7391)),
    ("bicubic_x3", "yplane"): ((30.394, 0.8682),),
    ("bicubic_x4", "classic"): ((28.432, 0.8113), (26.093, 0.7049), (25.963, 0.6682)),
    ("bicubic_x4", "yplane"): ((28.422, 0.8104),),
    ("vdsr_x2", "yplane"): (),
    ("vdsr_x3", "yplane"): (),
    ("vdsr_x4", "classic"): (),
    ("vdsr_x4", "yplane"): (),
    ("lapsrn_x4", "classic"): (),
    ("lapsrn_x4", "yplane"): (),
    ("idn_x2", "yplane"): ((37.830, 0.9600),),
    ("idn_x3", "yplane"): ((34.114, 0.9253),),
    ("idn_x4", "classic"): (),
    ("idn_x4", "yplane"): ((31.810, 0.8902),),
    ("enhancenet_pat_x4", "classic"): (),
    ("enhancenet_pat_x4", "lanczos"): ((28.573, 0.8103), (25.775, 0.6782)),
    ("carn_x2", "classic"): (),
    ("carn_x2", "truncated"): (),
    ("carn_m_x2", "classic"): ((37.682, 0.9595), (33.309, 0.9152)),
    ("carn_m_x2", "truncated"): (),
    ("carn_m_x3", "classic"): ((34.061, 0.9248), (30.105, 0.8377)),
    ("carn_m_x3", "truncated"): (),
    ("carn_m_x4", "classic"): ((31.885, 0.8910), (28.422, 0.7772), (27.453, 0.7315)),
    ("carn_m_x4", "truncated"): (),
    ("imdn_x2", "classic"): ((37.997, 0.9605), (33.632, 0.9177), (32.189, 0.8996)),
    ("imdn_x4", "classic"): ((32.211, 0.8948), (28.587, 0.7811), (27.561, 0.7353)),
    ("rfdn_aim_x4", "classic"): ((32.161, 0.8946), (28.650, 0.7825), (27.608, 0.7370)),
    ("rlfn_ntire_x4", "classic"): ((32.098, 0.8939), (28.603, 0.7815)),
    ("rlfn_s_x4", "classic"): ((32.241, 0.8954), (28.627, 0.7817), (27.583, 0.7360)),
    ("rlfn_x2", "classic"): ((38.067, 0.9607), (33.726, 0.9193), (32.242, 0.9004)),
    ("rlfn_x4", "classic"): ((32.240, 0.8953), (28.624, 0.7815), (27.607, 0.7364)),
}
# Trained by others than the papers' authors: names and kinds of weights. On Set5 and Set14.
OTHERS = (
    ("srresnet8_x4", "tutorial"),
    ("srgan_port_x4", "leftthomas"),
    ("srgan_port_x2", "leftthomas"),
    ("pcarn_m_x4", "l1"),
    ("pcarn_m_x4", "gan"),
    ("pcarn_m_x2", "l1"),
    ("pcarn_m_x2", "gan"),
    ("pcarn_m_x3", "l1"),
    ("pcarn_m_x3", "gan"),
    ("rdn_small_x2", "idealo"),
    ("esrgan_x4", "realsr"),
)


def lanczos_pairs(data: str, scale: int, folder: Path) -> list[Pair]:
    """EnhanceNet's LR pictures, made in `folder`."""
    made = []
    for pair in pairs(data, scale):
        with Image.open(pair.hr) as hr:
            w, h = hr.width // scale, hr.height // scale
            lr = hr.crop((0, 0, scale * w, scale * h)).resize((w, h), Image.Resampling.LANCZOS)
        lr.save(folder / f"{pair.name}.png")
        made.append(Pair(pair.name, pair.hr, folder / f"{pair.name}.png"))
    return made


def truncated(model: nn.Module) -> Callable[[Tensor], Tensor]:
    return lambda lr: (255 * srkit.upscale(model, lr, precision="float32")).floor() / 255


def luma(model: nn.Module) -> Callable[[Tensor], Tensor]:
    return torch.inference_mode()(lambda y: model.luma(y[None])[0])


def measure(name: str, setup: str, data: str) -> dict[str, float]:
    """PSNR, SSIM, and LPIPS where all networks of one scale can be compared: x4, RGB."""
    family, scale = name.rsplit("_x", 1)
    if family == "bicubic":
        method = "bicubic"
    else:
        method = srkit.create_model(name, weights="official")
        method = {"truncated": truncated, "yplane": luma}.get(setup, lambda model: model)(method)
    protocol = SETUPS[setup]["protocol"]
    perceptual = scale == "4" and setup in ("classic", "lanczos")
    with tempfile.TemporaryDirectory() as folder:
        chosen = lanczos_pairs(data, int(scale), Path(folder)) if setup == "lanczos" else data
        scores = evaluate(
            method,
            chosen,
            protocol=protocol,
            scale=int(scale),
            lpips="alex" if perceptual else None,
        )
    return {what: round(mean, 5) for what, mean in scores.means.items() if what != "seconds"}


def measure_other(name: str, kind: str, data: str) -> dict[str, float]:
    """PSNR, SSIM and LPIPS of a network that others trained, by the protocol "classic"."""
    model = srkit.create_model(name, weights=kind)
    means = evaluate(model, data, protocol="classic", lpips="alex").means
    return {what: round(mean, 5) for what, mean in means.items() if what != "seconds"}


def judged(row: dict, reference: tuple[float, float] | None) -> dict:
    """The row, beside what the authors' code gives where that is known."""
    row = {
        key: row[key] for key in row if key not in ("reference_psnr", "reference_ssim", "agrees")
    }
    if reference is None:
        return row
    psnr, ssim = reference
    agrees = abs(row["psnr"] - psnr) < 0.0015 and abs(row["ssim"] - ssim) < 0.00015
    return row | {"reference_psnr": psnr, "reference_ssim": ssim, "agrees": agrees}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    parser.add_argument("--only", nargs="+", help="names such as rlfn_x4, bicubic_x2")
    parser.add_argument("--force", action="store_true", help="measure rows again that are there")
    out = Path(__file__).parents[1] / "data/runs/official.json"
    parser.add_argument("--out", type=Path, default=out)
    options = parser.parse_args()

    references = {
        (name, setup, data): reference
        for (name, setup), known in REFERENCE.items()
        for data, reference in zip_longest(SETS, known)
    }
    before = json.loads(options.out.read_text()) if options.out.exists() else {}
    rows = {(row["model"], row["setup"], row["data"]): row for row in before.get("rows", [])}
    elsewhere = before.get("others", {"machine": machine(), "rows": []})
    others = {(r["model"], r["weights"], r["data"]): r for r in elsewhere["rows"]}
    record = {
        "setups": SETUPS,
        "protocols": {name: PROTOCOLS[name].text for name in ("classic", "yplane")},
        "machine": before.get("machine", machine()),
        "precision": "float32",
        "rows": [judged(rows[k], references[k]) for k in references if k in rows],
        "others": elsewhere,
    }
    for key in references:
        name, setup, data = key
        weights = None if name.startswith("bicubic") else model_info(name).weights["official"]
        sha256 = weights and weights.sha256
        if data not in options.sets or (options.only and name not in options.only):
            continue
        if options.force or key not in rows or rows[key]["sha256"] != sha256:
            facts = {"model": name, "setup": setup, "data": data, "sha256": sha256}
            facts["protocol"] = SETUPS[setup]["protocol"]
            rows[key] = facts | measure(*key)
            record["machine"] = machine()
        record["rows"] = [judged(rows[k], references[k]) for k in references if k in rows]
        write_json(record, options.out)
        row = judged(rows[key], references[key])
        line = f"{name:<18}{setup:<11}{data:<8}{row['psnr']:8.3f}{row['ssim']:8.4f}"
        print(line + {True: "  agrees", False: "  NO", None: ""}[row.get("agrees")], flush=True)
    for name, kind, data in ((*pair, data) for pair in OTHERS for data in SETS[:2]):
        if data not in options.sets or (options.only and name not in options.only):
            continue
        key, sha256 = (name, kind, data), model_info(name).weights[kind].sha256
        if options.force or key not in others or others[key]["sha256"] != sha256:
            facts = {"model": name, "weights": kind, "data": data, "sha256": sha256}
            others[key] = facts | {"protocol": "classic"} | measure_other(*key)
            elsewhere["machine"] = machine()
        order = ((*pair, data) for pair in OTHERS for data in SETS[:2])
        elsewhere["rows"] = [others[k] for k in order if k in others]
        write_json(record, options.out)
        row = others[key]
        print(f"{name:<18}{kind:<11}{data:<8}{row['psnr']:8.3f}{row['lpips']:8.4f}", flush=True)
    if differ := [row for row in record["rows"] if not row.get("agrees", True)]:
        raise SystemExit(f"not as the authors' code has it: {differ}")


if __name__ == "__main__":
    main()
