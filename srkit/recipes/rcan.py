"""How RCAN is trained: long skip, short skips and channel attention, each on and off.

The paper (Zhang et al., ECCV 2018), x2: DIV2K, flipped and turned; LR crops of 48 pixels, batch 16;
Adam at 1e-4, halved every 2e5 of 1e6 steps; L1 on 0..255. x3, x4 and x8 start
from x2's weights. The ablation is that of the paper's table; its 5e4 steps are as remembered.
The small budgets warm up, clip gradients, and start "picture", see `srkit.training.starts`: all but
the ablation, since without the long skip nothing hands it through.

    srkit train rcan
    srkit train rcan --variant CA+LSC+SSC     the cube's corners: none, CA, LSC, SSC, CA+LSC ...
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn

from srkit.losses import L1
from srkit.models.rcan import RCAN
from srkit.recipes import RecipeRun
from srkit.reports.claims import Claim
from srkit.training.schedules import Halving, Warmup
from srkit.training.starts import hand_through, with_factors

SCALE = 2

# `ablation`: the corners' network, and for how many steps. The laptop's is thin, to be deep:
# a short trunk can do without skips.
BUDGETS = {
    "smoke": {
        "data": "procedural", "tests": (), "steps": 2, "batch": 2, "patch": 8, "rate": 1e-3,
        "network": {"channels": 8, "groups": 1, "blocks": 2, "reduction": 2},
        "ablation": {"channels": 4, "groups": 2, "blocks": 1, "reduction": 2}, "ablation_steps": 2,
        "warmup": 0.03, "clip": 0.1, "start": "picture",
    },
    "laptop": {
        "data": "BSDS400", "tests": ("Set5", "Set14", "BSD100"), "steps": 1500, "batch": 16,
        "patch": 24, "rate": 2e-3,
        "network": {"channels": 32, "groups": 2, "blocks": 4, "reduction": 8},
        "ablation": {"channels": 16, "groups": 5, "blocks": 6, "reduction": 4},
        "ablation_steps": 1000,
        "warmup": 0.03, "clip": 0.1, "start": "picture",
    },
    "gpu": {
        "data": "DIV2K_train", "tests": ("Set5", "Set14", "BSD100"), "steps": 50_000, "batch": 16,
        "patch": 48, "rate": 1e-4, "network": {}, "ablation": {}, "ablation_steps": 50_000,
        "validate_every": 2000,
        "warmup": 0, "start": "random",
    },
    "paper": {
        "data": "DIV2K_train", "tests": ("Set5", "Set14", "BSD100"), "steps": 1_000_000,
        "batch": 16, "patch": 48, "rate": 1e-4,
        "network": {"channels": 64, "groups": 10, "blocks": 20, "reduction": 16},
        "ablation": {"channels": 64, "groups": 10, "blocks": 20, "reduction": 16},
        "ablation_steps": 50_000, "validate_every": 10_000,
        "warmup": 0, "start": "random",
    },
}  # fmt: skip

# Zhang et al.; of the corners the best while they were trained.
PAPER = {
    "rcan": {
        "Set5": {"psnr": 38.27, "ssim": 0.9614},
        "Set14": {"psnr": 34.12, "ssim": 0.9216},
        "BSD100": {"psnr": 32.41, "ssim": 0.9027},
    },
    "none": {"Set5": {"psnr": 37.45}},
    "LSC": {"Set5": {"psnr": 37.77}},
    "SSC": {"Set5": {"psnr": 37.81}},
    "LSC+SSC": {"Set5": {"psnr": 37.87}},
    "CA": {"Set5": {"psnr": 37.52}},
    "CA+LSC": {"Set5": {"psnr": 37.85}},
    "CA+SSC": {"Set5": {"psnr": 37.86}},
    "CA+LSC+SSC": {"Set5": {"psnr": 37.90}},
}


def rcan(run: RecipeRun, attention: bool = True) -> nn.Module:
    network = {**run.plan["network"], "attention": attention}
    return train(run, network, start=run.plan["start"])


def corner(run: RecipeRun, parts: str) -> nn.Module:
    """The ablation's network with those of CA, LSC and SSC that `parts` names."""
    on = {"attention": "CA" in parts, "long_skip": "LSC" in parts, "short_skip": "SSC" in parts}
    whole = run.plan["steps"] / run.plan["ablation_steps"]  # the rate falls as in a whole run
    return train(run, run.plan["ablation"] | on, every=0.2 * whole, stage="ablation")


def train(
    run: RecipeRun, network: dict, *, every: float = 0.2, stage: str = "", start: str = "random"
) -> nn.Module:
    model = run.build(lambda: RCAN(SCALE, **network))
    if start == "picture":
        begin_as_enlargement(model)
    rate = Warmup(Halving(run.plan["rate"], every), run.plan["warmup"])
    run.fit(model, L1(), run.crops(SCALE), rate=rate, stage=stage)
    return model


def begin_as_enlargement(model: RCAN) -> None:
    """The start "picture", through the long skip."""
    hand_through(model.head[0], [model.body[-1]], with_factors(model.tail))


CORNERS = ("none", "LSC", "SSC", "LSC+SSC", "CA", "CA+LSC", "CA+SSC", "CA+LSC+SSC")

VARIANTS: dict[str, Callable[[RecipeRun], nn.Module]] = {
    "rcan": rcan,
    "no-attention": partial(rcan, attention=False),
    **{parts: partial(corner, parts=parts) for parts in CORNERS},
}

CLAIMS = (
    Claim("the long skip helps", "LSC", "none"),
    Claim("short skips help", "SSC", "none"),
    Claim("long and short skips beat neither", "LSC+SSC", "none"),
    Claim("attention helps without skips", "CA", "none"),
    Claim("skips help beside attention", "CA+LSC+SSC", "CA"),
    Claim("attention adds to skips", "CA+LSC+SSC", "LSC+SSC"),
    Claim("attention adds to skips in a wider network", "rcan", "no-attention"),
)
