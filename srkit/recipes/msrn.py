"""How MSRN is trained: are two kernel sizes, and all blocks' outputs, worth their parameters?

The authors' re-training of 2019 (Li et al., ECCV 2018, and their repository), x2: DIV2K, flipped
and turned; RGB; LR crops of 48 pixels, batch 16; Adam at 1e-4, halved every 2e5 of 1e6 steps; L1 on
0..255. The paper of 2018 learned Y, from HR crops of 64 and their copies at 0.7 and 0.5.
The small budgets start "picture", see `srkit.training.starts`, warm up, and clip gradients: at so
high a rate one bad step can cost a run a decibel.

    srkit train msrn
    srkit train msrn --variant two-3x3        both paths 3x3, wider: as many parameters
    srkit train msrn --variant residual       EDSR's block, as many parameters
    srkit train msrn --variant residual-unclipped --seed 1      that step
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn

from srkit.losses import L1
from srkit.models.edsr import EDSR
from srkit.models.msrn import MSRN
from srkit.recipes import RecipeRun
from srkit.reports.claims import Claim
from srkit.training.schedules import Halving, Warmup
from srkit.training.starts import hand_through, with_factors

SCALE = 2

# `two-3x3` and `residual`: controls as large as `network`, to 2 %.
BUDGETS = {
    "smoke": {
        "data": "procedural", "tests": (), "steps": 2, "batch": 2, "patch": 8, "rate": 1e-3,
        "network": {"channels": 4, "blocks": 2}, "two-3x3": {"channels": 5, "blocks": 2},
        "residual": {"channels": 8, "blocks": 2},
        "warmup": 0.03, "clip": 0.1, "start": "picture",
    },
    "laptop": {
        "data": "BSDS400", "tests": ("Set5", "Set14", "BSD100"), "steps": 2000, "batch": 16,
        "patch": 24, "rate": 2e-3, "network": {"channels": 16, "blocks": 4},
        "two-3x3": {"channels": 21, "blocks": 4}, "residual": {"channels": 32, "blocks": 8},
        "warmup": 0.03, "clip": 0.1, "start": "picture",
    },
    "gpu": {
        "data": "DIV2K_train", "tests": ("Set5", "Set14", "BSD100"), "steps": 60_000, "batch": 16,
        "patch": 48, "rate": 1e-4, "network": {"channels": 64, "blocks": 8},
        "two-3x3": {"channels": 86, "blocks": 8}, "residual": {"channels": 64, "blocks": 78},
        "validate_every": 2000,
        "warmup": 0, "start": "random",
    },
    "paper": {
        "data": "DIV2K_train", "tests": ("Set5", "Set14", "BSD100"), "steps": 1_000_000,
        "batch": 16, "patch": 48, "rate": 1e-4, "network": {"channels": 64, "blocks": 8},
        "two-3x3": {"channels": 86, "blocks": 8}, "residual": {"channels": 64, "blocks": 78},
        "validate_every": 10_000,
        "warmup": 0, "start": "random",
    },
}  # fmt: skip

# The authors' repository, of the re-training.
PAPER = {
    "msrn": {
        "Set5": {"psnr": 38.07, "ssim": 0.9608},
        "Set14": {"psnr": 33.68, "ssim": 0.9184},
        "BSD100": {"psnr": 32.22, "ssim": 0.9002},
    }
}


def train(run: RecipeRun, make: Callable[[dict], nn.Module], **how: float | None) -> nn.Module:
    """`make` gets the plan. how: `run.fit`'s, in place of the plan's."""
    plan, model = run.plan, run.build(lambda: make(run.plan))
    if plan["start"] == "picture":
        begin_as_enlargement(model)
    rate = Warmup(Halving(plan["rate"], every=0.2), plan["warmup"])
    run.fit(model, L1(), run.crops(SCALE), rate=rate, **how)
    return model


def begin_as_enlargement(model: MSRN | EDSR) -> None:
    """The start "picture", for both networks."""
    body = model.body
    added = [block.confusion for block in body] if isinstance(model, MSRN) else [body[-1]]
    hand_through(model.head[0], added, with_factors(model.tail))


NETWORKS: dict[str, Callable[[dict], nn.Module]] = {
    "msrn": lambda plan: MSRN(SCALE, **plan["network"]),
    "two-3x3": lambda plan: MSRN(SCALE, **plan["two-3x3"], wide=3),
    "residual": lambda plan: EDSR(SCALE, **plan["residual"]),
    "no-fusion": lambda plan: MSRN(SCALE, **plan["network"], fusion=False),
    "half": lambda plan: MSRN(
        SCALE, channels=plan["network"]["channels"], blocks=plan["network"]["blocks"] // 2
    ),
}

VARIANTS = {name: partial(train, make=make) for name, make in NETWORKS.items()}
VARIANTS["residual-unclipped"] = partial(train, make=NETWORKS["residual"], clip=None)

CLAIMS = (
    Claim("two kernel sizes beat one, parameters being equal", "msrn", "two-3x3"),
    Claim("the block beats EDSR's, parameters being equal", "msrn", "residual"),
    Claim("joining all blocks' outputs helps", "msrn", "no-fusion"),
    Claim("more blocks are better", "msrn", "half"),
)
