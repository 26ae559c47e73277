"""How CARN is trained: one network for three scales, of which each step trains one.

The paper (Ahn et al., ECCV 2018, and the authors' README): DIV2K, flipped and turned; each step
draws x2, x3 or x4 and trains the trunk and that scale's head on LR crops of 64 pixels, batch 64;
Adam at 1e-4, halved after 400,000 of 600,000 steps; L1; gradients clipped to a norm of 10.
In the small budgets the network starts as an enlargement, see `srkit.training.enlargement`;
gradients are clipped to 0.1, and the rate warms up, and is halved after each fifth of the steps.

    srkit train carn                          three heads
    srkit train carn --variant x4-alone       one head
    srkit train carn --variant neither        no cascade; no-local and no-global keep one of two
    srkit train carn --variant carn-m         groups of convolutions, blocks shared
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor, nn

from srkit.calls import Call
from srkit.losses import L1
from srkit.models.carn import CARN, Residual
from srkit.recipes.base import LoopBudget, Recipe
from srkit.reports.claims import Claim
from srkit.training.enlargement import carry, hand_through, with_factors
from srkit.training.loop import Batch
from srkit.training.schedules import Halving, Multistep, Warmup
from srkit.training.stage import Prepared, Stage, loss_of

SCALES = (2, 3, 4)
SCALE = SCALES[-1]  # what is validated


@dataclass(frozen=True, kw_only=True)
class Budget(LoopBudget):
    """Sizes of CARN and of its stage."""

    channels: int


def begin_as_enlargement(model: CARN) -> None:
    """Let the first input of each fuse carry the picture: see `srkit.training.enlargement`.

    The other weights are drawn anew, as large as He's: with PyTorch's own, what the blocks find
    fades from fuse to fuse.
    """
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    cascades = [block for block in (model.b1, model.b2, model.b3) if block.cascading]
    for cascade in [*cascades, model] if model.across else cascades:
        for fuse in (cascade.c1, cascade.c2, cascade.c3):
            carry(fuse.body[0])
    added = [layer.body[-1] for layer in model.modules() if isinstance(layer, Residual)]
    hand_through(model.entry, added, [*with_factors(model.upsample), (model.exit, 1)], lift=0.5)


def at_scale(network: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
    """The forward by the head of the batch's scale, which so is the one that learns."""
    return network(batch["lr"], batch["scale"]), {}


ENLARGEMENT = Prepared(Call(begin_as_enlargement))

BUDGETS = {
    "smoke": Budget(
        data="procedural", tests=(), steps=2, batch=2, patch=8, channels=8,
        rate=Warmup(Halving(1e-3, every=0.2), 0.03), clip=0.1, start=ENLARGEMENT,
    ),
    "laptop": Budget(
        data="BSDS400", steps=1500, batch=8, patch=24, channels=24,
        rate=Warmup(Halving(2e-3, every=0.2), 0.03), clip=0.1, start=ENLARGEMENT,
    ),
    "overnight": Budget(
        data="BSDS400", steps=18_000, batch=8, patch=24, channels=48,
        rate=Warmup(Halving(1e-3, every=0.2), 0.03), clip=0.1, start=ENLARGEMENT,
        validate_every=2000,
    ),
    "gpu": Budget(
        data="DIV2K_train", steps=50_000, batch=64, patch=64, channels=64,
        rate=Multistep(2e-4, at=(2 / 3,)), clip=10.0, validate_every=2000,
    ),
    "paper": Budget(
        data="DIV2K_train", steps=600_000, batch=64, patch=64, channels=64,
        rate=Multistep(1e-4, at=(2 / 3,)), clip=10.0, validate_every=10_000,
    ),
}  # fmt: skip


def carn(b: Budget) -> Call:
    return Call(CARN, scale=SCALE, heads=SCALES, channels=b.channels)


def mobile(b: Budget, groups: int) -> Call:
    return carn(b).but(mobile=True, groups=groups)


def pixel(b: Budget, network: Call) -> Stage:
    """L1, a scale a step. x4 is validated while it trains, the other heads at the end."""
    stage = b.stage("pixel", network, loss_of(L1), scale=SCALES)
    return replace(stage, forward=Call(at_scale))


RECIPE = Recipe(
    label="CARN",
    scale=SCALE,
    budgets=BUDGETS,
    variants={
        "carn": lambda b: [pixel(b, carn(b))],
        "x4-alone": lambda b: [replace(pixel(b, carn(b).but(heads=(4,))), scale=(4,))],
        "no-local": lambda b: [pixel(b, carn(b).but(local=False))],
        "no-global": lambda b: [pixel(b, carn(b).but(across=False))],
        "neither": lambda b: [pixel(b, carn(b).but(local=False, across=False))],
        "carn-m": lambda b: [pixel(b, mobile(b, groups=4))],
        "carn-m-groups-1": lambda b: [pixel(b, mobile(b, groups=1))],
        "carn-m-groups-2": lambda b: [pixel(b, mobile(b, groups=2))],
        "carn-m-groups-8": lambda b: [pixel(b, mobile(b, groups=8))],
    },
    published={  # Ahn et al., x4
        "carn": {
            "Set5": {"psnr": 32.13, "ssim": 0.8937},
            "Set14": {"psnr": 28.60, "ssim": 0.7806},
            "BSD100": {"psnr": 27.58, "ssim": 0.7349},
        },
        "carn-m": {
            "Set5": {"psnr": 31.92, "ssim": 0.8903},
            "Set14": {"psnr": 28.42, "ssim": 0.7762},
            "BSD100": {"psnr": 27.44, "ssim": 0.7304},
        },
    },
    # Cascades are tested on Set14, as far as remembered the paper's set for them.
    claims=(
        Claim("cascades on both levels beat none", "carn", "neither", test="Set14"),
        Claim("the cascade inside the blocks helps", "carn", "no-local", test="Set14"),
        Claim("the cascade of the blocks helps", "carn", "no-global", test="Set14"),
        Claim("sharing and groups cost PSNR", "carn-m", "carn", sign=-1),
        Claim("four groups cost PSNR", "carn-m", "carn-m-groups-1", sign=-1),
        Claim("eight groups cost PSNR", "carn-m-groups-8", "carn-m-groups-1", sign=-1),
    ),
)
