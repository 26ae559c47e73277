"""The authors' weights in srkit's networks against the figures measured with the authors' code.

    python benchmarks/fidelity.py [--sets Set5 Set14] [--only rlfn_x4 bicubic_x4] [--out FILE]

REFERENCE was measured independently of srkit: the authors' networks and code, MATLAB's LR files,
protocol "classic"; "yplane" is how the bicubic row of the published tables was made. A row agrees
when it is within 0.001 dB and 0.0001 SSIM of the printed digits. SRKIT_HOME or the cache must hold
the sets. The result, with protocols and machine, goes to data/runs/official.json.
"""

import argparse
from pathlib import Path

import srkit
from srkit.evaluation import PROTOCOLS, evaluate
from srkit.training.runs import machine, write_json

SETS = ("Set5", "Set14", "BSD100")
# name, protocol: PSNR / SSIM on Set5, Set14, BSD100
REFERENCE = {
    ("bicubic_x2", "classic"): ((33.679, 0.9304), (30.329, 0.8700), (29.563, 0.8435)),
    ("bicubic_x3", "classic"): ((30.406, 0.8690), (27.635, 0.7760), (27.210, 0.7391)),
    ("bicubic_x4", "classic"): ((28.432, 0.8113), (26.093, 0.7049), (25.963, 0.6682)),
    ("bicubic_x2", "yplane"): ((33.662, 0.9299),),
    ("bicubic_x3", "yplane"): ((30.394, 0.8682),),
    ("bicubic_x4", "yplane"): ((28.422, 0.8104),),
    ("rlfn_x2", "classic"): ((38.067, 0.9607), (33.726, 0.9193), (32.242, 0.9004)),
    ("rlfn_x4", "classic"): ((32.240, 0.8953), (28.624, 0.7815), (27.607, 0.7364)),
    ("rlfn_s_x4", "classic"): ((32.241, 0.8954), (28.627, 0.7817), (27.583, 0.7360)),
    ("rlfn_ntire_x4", "classic"): ((32.098, 0.8939), (28.603, 0.7815)),
    ("rfdn_aim_x4", "classic"): ((32.161, 0.8946), (28.650, 0.7825), (27.608, 0.7370)),
    ("imdn_x2", "classic"): ((37.997, 0.9605), (33.632, 0.9177), (32.189, 0.8996)),
    ("imdn_x4", "classic"): ((32.211, 0.8948), (28.587, 0.7811), (27.561, 0.7353)),
    ("carn_m_x2", "classic"): ((37.682, 0.9595), (33.309, 0.9152)),
    ("carn_m_x3", "classic"): ((34.061, 0.9248), (30.105, 0.8377)),
    ("carn_m_x4", "classic"): ((31.885, 0.8910), (28.422, 0.7772), (27.453, 0.7315)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    parser.add_argument("--only", nargs="+", help="names such as rlfn_x4, bicubic_x2")
    parser.add_argument("--out", type=Path, default=Path("data/runs/official.json"))
    options = parser.parse_args()

    rows = []
    for (name, protocol), reference in REFERENCE.items():
        if options.only and name not in options.only:
            continue
        family, scale = name.rsplit("_x", 1)
        method = "bicubic" if family == "bicubic" else srkit.create_model(name, weights="official")
        for data, (psnr, ssim) in zip(SETS, reference, strict=False):
            if data not in options.sets:
                continue
            scores = evaluate(method, data, protocol=protocol, scale=int(scale))
            row = {"model": name, "data": data, "protocol": protocol} | scores.means
            row |= {"reference_psnr": psnr, "reference_ssim": ssim}
            row["agrees"] = abs(row["psnr"] - psnr) < 0.0015 and abs(row["ssim"] - ssim) < 0.00015
            rows.append(row)
            print(
                f"{name:<15}{data:<8}{protocol:<9}{row['psnr']:8.3f} ({row['psnr'] - psnr:+.4f})"
                f"{row['ssim']:8.4f} ({row['ssim'] - ssim:+.5f})  {'' if row['agrees'] else 'NO'}",
                flush=True,
            )
    record = {
        "protocols": {
            name: PROTOCOLS[name].text for name in sorted({row["protocol"] for row in rows})
        },
        "machine": machine(),
        "precision": "float32",
        "rows": rows,
    }
    write_json(record, options.out)
    if not all(row["agrees"] for row in rows):
        raise SystemExit("some rows differ")


if __name__ == "__main__":
    main()
