"""What minutes buy: python benchmarks/minutes.py [--minutes 5 15]

RLFN-tiny (87,816 parameters) x4 by its recipe's first stage, whose rate falls over the minutes
instead of the laptop budget's steps, on all cores; each time is a training of its own. Pictures of
SRKIT_HOME: BSDS400, and those of General100 that are there. The network of the last training is
kept in float16, as `create_model("rlfn_tiny_x4", weights="srkit")` has it.
Goals on two cores: 31.15 dB on Set5 after 5 minutes, 31.4 dB after 15. Let nothing else run beside
it: minutes are the clock's.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from srkit.recipes import keep_weights, train
from srkit.training.record import write_json

DATA = "BSDS400+General100"
HOME = Path(__file__).parents[1] / "data"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", nargs="+", type=float, default=[5, 15])
    parser.add_argument("--out", type=Path, default=HOME, help="a data folder")
    arguments = parser.parse_args()
    records = []
    for minutes in arguments.minutes:
        with tempfile.TemporaryDirectory() as scratch:
            record = train("rlfn", "one-stage", data=DATA, minutes=minutes, out=scratch)
            (run,) = Path(scratch).rglob("run.json")
            keep_weights(record, run.parent, arguments.out / "weights/rlfn-minutes_x4.safetensors")
        records.append(record)
        write_json(records, arguments.out / "runs/minutes.json")
        scores = ", ".join(f"{test} {m['psnr']:.2f} dB" for test, m in record["metrics"].items())
        steps = record["stages"][0]["steps"]
        print(f"{minutes:g} minutes, {steps:,} steps: {scores}", flush=True)


if __name__ == "__main__":
    main()
