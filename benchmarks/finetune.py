"""What a fine-tuning gains: python benchmarks/finetune.py [--steps 600] [--json FILE]

RLFN-tiny, trained on photographs (the weights "srkit"), goes on learning from 24 pages of text,
drawn here by Pillow: fonts of 20 to 40 pixels, ink and paper of any colour. It is measured on eight
more pages, and on Set5, if that is at hand (SRKIT_HOME), for what it loses elsewhere. One thread.
Goal: "yes" on the pages, by the rule of `srkit.reports.gain`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from random import Random

import torch
from PIL import Image, ImageDraw, ImageFont

import srkit
from srkit import files
from srkit.reports.gain import gain, report
from srkit.training.finetune import folder_of

WORDS = Path(__file__).parents[1].joinpath("README.md").read_text().split()


def page(number: int, side: int = 256) -> Image.Image:
    """A page of text; its number decides words, size and colours."""
    rng = Random(number)
    dark, light = ([rng.randrange(*ends) for _ in range(3)] for ends in ((0, 110), (150, 256)))
    ink, paper = rng.choice(((dark, light), (light, dark)))
    image = Image.new("RGB", (side, side), tuple(paper))
    draw, size = ImageDraw.Draw(image), rng.randrange(20, 41)
    font, y = ImageFont.load_default(size), 4
    while y < side:
        line = " ".join(rng.choice(WORDS) for _ in range(12))
        draw.text((4, y), line, tuple(ink), font)
        y += round(1.3 * size)
    return image


def main(steps: int, to: Path | None) -> None:
    with tempfile.TemporaryDirectory() as work:
        for kind, numbers in (("pages", range(24)), ("val", range(100, 108))):
            (Path(work) / kind).mkdir()
            for number in numbers:
                page(number).save(Path(work) / kind / f"{number}.png")
        record = srkit.finetune(
            "rlfn_tiny_x4", weights="srkit", hr=f"{work}/pages", val=f"{work}/val", out=work,
            steps=steps, batch=8, patch=24, rate=1e-3, validate_every=150, device="cpu",
        )  # fmt: skip
        folder = folder_of(work, record.variant, record.budget, 0)
        print(report(record, folder))
        found = gain(record)
        row = {"before": found.before, "after": found.after, "verdict": found.verdict}
        row |= {"cpu_minutes": record.cpu_minutes, "steps": steps}
        if files.find("benchmarks/Set5"):
            for when, net in (
                ("before", srkit.create_model("rlfn_tiny_x4", weights="srkit")),
                ("after", srkit.load_checkpoint(folder / "model.safetensors")),
            ):
                row[f"Set5, {when}"] = srkit.evaluate(net, "Set5").means["psnr"]
            print("Set5: {:.2f} dB before, {:.2f} after".format(*list(row.values())[-2:]))
        print(f"{record.cpu_minutes:.1f} minutes of one processor core")
    if to is not None:
        to.write_text(json.dumps(row, indent=1) + "\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--json", type=Path, help="where to write the figures too")
    chosen = parser.parse_args()
    main(chosen.steps, chosen.json)
