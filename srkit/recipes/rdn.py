"""How RDN is trained: contiguous memory, local residuals and global fusion, each on and off.

The paper (Zhang et al., CVPR 2018), x2: DIV2K, flipped and turned; LR crops of 32 pixels, batch 16;
Adam at 1e-4, halved every 2e5 of 1e6 steps; L1 on 0..255. x3 and x4 start from x2's
weights, all but the upsampler. The ablation, as remembered: 20 blocks of 6 layers, growth 32 (the
configuration A of EDSR's PyTorch code), for 2e5 steps.
Differs: their Torch code skips batches whose loss is three times the last epoch's mean; the small
budgets start "picture", see `srkit.training.starts`, and warm up.

    srkit train rdn
    srkit train rdn --variant CM+LRL+GFF      the cube's corners: none, CM, LRL, GFF, CM+LRL ...
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn

from srkit.losses import L1
from srkit.models.rdn import RDN
from srkit.recipes import RecipeRun
from srkit.reports.claims import Claim
from srkit.training.schedules import Halving, Warmup
from srkit.training.starts import hand_through, with_factors

SCALE = 2

# `ablation`: the corners' network, and for how many steps. The laptop's is thin, to be deep:
# a short block can do without its residual.
BUDGETS = {
    "smoke": {
        "data": "procedural", "tests": (), "steps": 2, "batch": 2, "patch": 8, "rate": 1e-3,
        "network": {"channels": 8, "growth": 4, "blocks": 2, "layers": 2},
        "ablation": {"channels": 4, "growth": 4, "blocks": 2, "layers": 2}, "ablation_steps": 2,
        "warmup": 0.03, "start": "picture",
    },
    "laptop": {
        "data": "BSDS400", "tests": ("Set5", "Set14", "BSD100"), "steps": 1500, "batch": 16,
        "patch": 24, "rate": 2e-3,
        "network": {"channels": 32, "growth": 16, "blocks": 4, "layers": 3},
        "ablation": {"channels": 16, "growth": 8, "blocks": 8, "layers": 3},
        "ablation_steps": 1500,
        "warmup": 0.03, "start": "picture",
    },
    "gpu": {
        "data": "DIV2K_train", "tests": ("Set5", "Set14", "BSD100"), "steps": 40_000, "batch": 16,
        "patch": 32, "rate": 1e-4, "network": {},
        "ablation": {"growth": 32, "blocks": 20, "layers": 6}, "ablation_steps": 40_000,
        "validate_every": 2000,
        "warmup": 0, "start": "random",
    },
    "paper": {
        "data": "DIV2K_train", "tests": ("Set5", "Set14", "BSD100"), "steps": 1_000_000,
        "batch": 16, "patch": 32, "rate": 1e-4, "validate_every": 10_000,
        "network": {"channels": 64, "growth": 64, "blocks": 16, "layers": 8},
        "ablation": {"channels": 64, "growth": 32, "blocks": 20, "layers": 6},
        "ablation_steps": 200_000,
        "warmup": 0, "start": "random",
    },
}  # fmt: skip

PAPER = {
    "rdn": {
        "Set5": {"psnr": 38.24, "ssim": 0.9614},
        "Set14": {"psnr": 34.01, "ssim": 0.9212},
        "BSD100": {"psnr": 32.34, "ssim": 0.9017},
    }
}


def rdn(run: RecipeRun) -> nn.Module:
    return train(run, run.plan["network"])


def corner(run: RecipeRun, parts: str) -> nn.Module:
    """The ablation's network with those of CM, LRL and GFF that `parts` names."""
    on = {
        "contiguous": "CM" in parts,
        "local_residual": "LRL" in parts,
        "global_fusion": "GFF" in parts,
    }
    whole = run.plan["steps"] / run.plan["ablation_steps"]  # the rate falls as in a whole run
    return train(run, run.plan["ablation"] | on, every=0.2 * whole, stage="ablation")


def train(run: RecipeRun, network: dict, every: float = 0.2, stage: str = "") -> nn.Module:
    model = run.build(lambda: RDN(SCALE, **network))
    if run.plan["start"] == "picture":
        begin_as_enlargement(model)
    rate = Warmup(Halving(run.plan["rate"], every), run.plan["warmup"])
    run.fit(model, L1(), run.crops(SCALE), rate=rate, stage=stage)
    return model


def begin_as_enlargement(model: RDN) -> None:
    """The start "picture", through the sum with the first features."""
    hand_through(model.SFENet1, [model.GFF[1]], with_factors(model.UPNet))


CORNERS = ("none", "CM", "LRL", "GFF", "CM+LRL", "CM+GFF", "LRL+GFF", "CM+LRL+GFF")

VARIANTS: dict[str, Callable[[RecipeRun], nn.Module]] = {
    "rdn": rdn,
    **{parts: partial(corner, parts=parts) for parts in CORNERS},
}

# The corners are compared with each other only: their network is not RDN's own.
CLAIMS = (
    Claim("contiguous memory helps", "CM", "none"),
    Claim("local residuals help", "LRL", "none"),
    Claim("global fusion helps", "GFF", "none"),
    Claim("contiguous memory adds to the two others", "CM+LRL+GFF", "LRL+GFF"),
    Claim("local residuals add to the two others", "CM+LRL+GFF", "CM+GFF"),
    Claim("global fusion adds to the two others", "CM+LRL+GFF", "CM+LRL"),
    Claim("all three beat none", "CM+LRL+GFF", "none"),
)
