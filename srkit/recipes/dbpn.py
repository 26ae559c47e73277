"""How DBPN is trained: is error feedback worth it, and more of it worth more?

The paper (Haris et al., CVPR 2018), x4: DIV2K, Flickr and ImageNet (their code flips and turns); LR
crops of 32 pixels, batch 20; Adam at 1e-4, a tenth after half of 1e6 steps; L1. Its ablation: S, M
and L, 2, 4 and 6 stages of 32 channels, plain, on Y; then D-DBPN, 7 dense stages of 64 on RGB.
Differs: DIV2K alone. Weight decay 1e-4 stands beside a loss that their Caffe sums over all pixels;
beside a mean it would be 2e-10, and is left out, as in their PyTorch code. The small budgets start
"picture", see `srkit.training.starts`, warm up, and halve the rate after each fifth.

    srkit train dbpn                          dense, RGB
    srkit train dbpn --variant no-feedback    the same layers, the error not subtracted
    srkit train dbpn --variant last-only      of all maps of full size the last alone read
    srkit train dbpn --variant S              the ladder: S, M, L, L-dense
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn

from srkit.losses import L1
from srkit.models.dbpn import DBPN, Unit
from srkit.recipes import RecipeRun
from srkit.reports.claims import Claim
from srkit.training.loop import enlarge, enlarge_y
from srkit.training.schedules import Halving, Multistep, Warmup
from srkit.training.starts import carry, hush

SCALE = 4

# `network` is D-DBPN's; `ladder` and `stages` are those of S, M and L.
BUDGETS = {
    "smoke": {
        "data": "procedural", "tests": (), "steps": 2, "batch": 2, "patch": 8, "rate": 5e-4,
        "network": {"channels": 4, "features": 8, "stages": 3},
        "ladder": {"channels": 4, "features": 8}, "stages": {"S": 1, "M": 2, "L": 3},
        "warmup": 0.03, "start": "picture",
    },
    "laptop": {
        "data": "BSDS400", "tests": ("Set5", "Set14", "BSD100"), "steps": 1200, "batch": 8,
        "patch": 16, "rate": 1e-3, "network": {"channels": 18, "features": 64, "stages": 3},
        "ladder": {"channels": 18, "features": 64}, "stages": {"S": 1, "M": 2, "L": 3},
        "warmup": 0.03, "start": "picture",
    },
    "gpu": {
        "data": "DIV2K_train", "tests": ("Set5", "Set14", "BSD100"), "steps": 30_000, "batch": 20,
        "patch": 32, "rate": 1e-4, "network": {},
        "ladder": {"channels": 32, "features": 128}, "stages": {"S": 2, "M": 4, "L": 6},
        "validate_every": 2000,
        "drop_at": 0.5, "warmup": 0, "start": "random",
    },
    "paper": {
        "data": "DIV2K_train", "tests": ("Set5", "Set14", "BSD100"), "steps": 1_000_000,
        "batch": 20, "patch": 32, "rate": 1e-4,
        "network": {"channels": 64, "features": 256, "stages": 7},
        "ladder": {"channels": 32, "features": 128}, "stages": {"S": 2, "M": 4, "L": 6},
        "validate_every": 10_000,
        "drop_at": 0.5, "warmup": 0, "start": "random",
    },
}  # fmt: skip

# Haris et al.; L as a review of the paper quotes it.
PAPER = {
    "dbpn": {
        "Set5": {"psnr": 32.47, "ssim": 0.898},
        "Set14": {"psnr": 28.82, "ssim": 0.786},
        "BSD100": {"psnr": 27.72, "ssim": 0.740},
    },
    "L": {"Set5": {"psnr": 31.86}},
}


def dbpn(run: RecipeRun, **ablation: bool) -> nn.Module:
    return train(run, run.plan["network"] | ablation)


def ladder(run: RecipeRun, size: str, **ablation: bool) -> nn.Module:
    """S, M or L: plain units on Y."""
    own = {"stages": run.plan["stages"][size], "dense": False, "colours": 1}
    return train(run, run.plan["ladder"] | own | ablation)


def train(run: RecipeRun, network: dict) -> nn.Module:
    model = run.build(lambda: DBPN(SCALE, **network))
    if run.plan["start"] == "picture":
        begin_as_enlargement(model)
    forward = enlarge if model.colours == 3 else enlarge_y
    rate = Halving(run.plan["rate"], every=0.2)
    if "drop_at" in run.plan:
        rate = Multistep(run.plan["rate"], at=(run.plan["drop_at"],), factor=0.1)
    rate = Warmup(rate, run.plan["warmup"])
    run.fit(model, L1(), run.crops(SCALE), rate=rate, forward=forward)
    return model


def begin_as_enlargement(model: DBPN) -> None:
    """The start "picture": the first channels carry it through all units.

    Their way back carries it too, so that the error which is fed back begins as one (the picture's
    detail, or nothing), not as noise as large as the picture.
    """
    units = [layer for layer in model.modules() if isinstance(layer, Unit)]
    output = model.output_conv.conv
    hush(output)
    ways = [model.feat0.conv, model.feat1.conv, output]
    for unit in units:
        there, back, again = (layer[0] for name, layer in unit.named_children() if name != "conv")
        hush(again, quiet=0.03)
        ways += [there, back, *([unit.conv.conv] if hasattr(unit, "conv") else [])]
    for way in ways:
        carry(way, channels=model.colours, others=float(way is output))


VARIANTS: dict[str, Callable[[RecipeRun], nn.Module]] = {
    "dbpn": dbpn,
    "no-feedback": partial(dbpn, feedback=False),
    "last-only": partial(dbpn, last_only=True),
    "S": partial(ladder, size="S"),
    "M": partial(ladder, size="M"),
    "L": partial(ladder, size="L"),
    "L-no-feedback": partial(ladder, size="L", feedback=False),
    "L-dense": partial(ladder, size="L", dense=True),
}

CLAIMS = (
    Claim("error feedback helps", "dbpn", "no-feedback"),
    Claim("error feedback helps without dense units, too", "L", "L-no-feedback"),
    Claim("M's stages beat S's", "M", "S"),
    Claim("L's stages beat M's", "L", "M"),
    Claim("dense units beat plain ones", "L-dense", "L", paper=0.13),
    Claim("reading all maps beats reading the last alone", "dbpn", "last-only"),
)
