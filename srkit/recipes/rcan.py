"""How RCAN is trained: long skip, short skips and channel attention, each on and off.

The paper (Zhang et al., ECCV 2018), x2: DIV2K, flipped and turned; LR crops of 48 pixels, batch 16;
Adam at 1e-4, halved every 2e5 of 1e6 steps; L1 on 0..255. x3, x4 and x8 start from x2's weights.
The ablation is that of the paper's table; its 5e4 steps are as remembered.
In the small budgets the rate warms up, gradients are clipped, and the network starts as an
enlargement, see `srkit.training.enlargement`. The ablation starts from random weights: without the
long skip nothing would hand the picture through.

    srkit train rcan
    srkit train rcan --variant CA+LSC+SSC     the cube's corners: none, CA, LSC, SSC, CA+LSC ...
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from srkit.calls import Call
from srkit.losses import L1
from srkit.models.rcan import RCAN
from srkit.recipes.base import LoopBudget, Recipe
from srkit.reports.claims import Claim
from srkit.training.enlargement import hand_through, with_factors
from srkit.training.schedules import Halving, Schedule, Warmup
from srkit.training.stage import Prepared, Random, Stage, loss_of

SCALE = 2


@dataclass(frozen=True, kw_only=True)
class Budget(LoopBudget):
    """Sizes of RCAN's stage.

    The ablation has a network and a number of steps of its own, and its rate falls after as many
    steps as `rate` does.
    """

    network: Call
    ablation_network: Call
    ablation_steps: int
    ablation_rate: Schedule


def begin_as_enlargement(model: RCAN) -> None:
    """Let the long skip carry the picture: see `srkit.training.enlargement`."""
    hand_through(model.head[0], [model.body[-1]], with_factors(model.tail))


ENLARGEMENT = Prepared(Call(begin_as_enlargement))
FULL_SIZE = Call(RCAN, scale=SCALE, channels=64, groups=10, blocks=20, reduction=16)

# The laptop's network for the ablation is thin, to be deep: a short trunk can do without skips.
BUDGETS = {
    "smoke": Budget(
        data="procedural", tests=(), steps=2, batch=2, patch=8, ablation_steps=2,
        network=Call(RCAN, scale=SCALE, channels=8, groups=1, blocks=2, reduction=2),
        ablation_network=Call(RCAN, scale=SCALE, channels=4, groups=2, blocks=1, reduction=2),
        rate=Warmup(Halving(1e-3, every=0.2), 0.03),
        ablation_rate=Warmup(Halving(1e-3, every=0.2), 0.03), clip=0.1, start=ENLARGEMENT,
    ),
    "laptop": Budget(
        data="BSDS400", steps=1500, batch=16, patch=24, ablation_steps=1000,
        network=Call(RCAN, scale=SCALE, channels=32, groups=2, blocks=4, reduction=8),
        ablation_network=Call(RCAN, scale=SCALE, channels=16, groups=5, blocks=6, reduction=4),
        rate=Warmup(Halving(2e-3, every=0.2), 0.03),
        ablation_rate=Warmup(Halving(2e-3, every=0.2 * 1.5), 0.03), clip=0.1, start=ENLARGEMENT,
    ),
    "overnight": Budget(
        data="BSDS400", steps=12_000, batch=16, patch=24, ablation_steps=12_000,
        network=Call(RCAN, scale=SCALE, channels=32, groups=5, blocks=6, reduction=8),
        ablation_network=Call(RCAN, scale=SCALE, channels=16, groups=5, blocks=10, reduction=4),
        rate=Warmup(Halving(1e-3, every=0.2), 0.03),
        ablation_rate=Warmup(Halving(1e-3, every=0.2), 0.03), clip=0.1, start=ENLARGEMENT,
        validate_every=2000,
    ),
    "gpu": Budget(
        data="DIV2K_train", steps=50_000, batch=16, patch=48, ablation_steps=50_000,
        network=FULL_SIZE, ablation_network=FULL_SIZE, rate=Halving(1e-4, every=0.2),
        ablation_rate=Halving(1e-4, every=0.2), validate_every=2000,
    ),
    "paper": Budget(
        data="DIV2K_train", steps=1_000_000, batch=16, patch=48, ablation_steps=50_000,
        network=FULL_SIZE, ablation_network=FULL_SIZE, rate=Halving(1e-4, every=0.2),
        ablation_rate=Halving(1e-4, every=4.0), validate_every=10_000,
    ),
}  # fmt: skip


def rcan(b: Budget, network: Call) -> Stage:
    """L1, from the budget's start."""
    return b.stage("pixel", network, loss_of(L1), scale=SCALE)


def corner(
    b: Budget, *, attention: bool = False, long_skip: bool = False, short_skip: bool = False
) -> Stage:
    """The ablation's network with some of channel attention (CA), LSC and SSC."""
    network = b.ablation_network.but(
        attention=attention, long_skip=long_skip, short_skip=short_skip
    )
    return replace(rcan(b, network), steps=b.ablation_steps, rate=b.ablation_rate, start=Random())


RECIPE = Recipe(
    label="RCAN",
    scale=SCALE,
    budgets=BUDGETS,
    variants={
        "rcan": lambda b: [rcan(b, b.network)],
        "no-attention": lambda b: [rcan(b, b.network.but(attention=False))],
        "none": lambda b: [corner(b)],
        "LSC": lambda b: [corner(b, long_skip=True)],
        "SSC": lambda b: [corner(b, short_skip=True)],
        "LSC+SSC": lambda b: [corner(b, long_skip=True, short_skip=True)],
        "CA": lambda b: [corner(b, attention=True)],
        "CA+LSC": lambda b: [corner(b, attention=True, long_skip=True)],
        "CA+SSC": lambda b: [corner(b, attention=True, short_skip=True)],
        "CA+LSC+SSC": lambda b: [corner(b, attention=True, long_skip=True, short_skip=True)],
    },
    published={  # Zhang et al., x2; of the corners the best while they were trained
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
    },
    claims=(
        Claim("the long skip helps", "LSC", "none"),
        Claim("short skips help", "SSC", "none"),
        Claim("long and short skips beat neither", "LSC+SSC", "none"),
        Claim("attention helps without skips", "CA", "none"),
        Claim("skips help beside attention", "CA+LSC+SSC", "CA"),
        Claim("attention adds to skips", "CA+LSC+SSC", "LSC+SSC"),
        Claim("attention adds to skips in a wider network", "rcan", "no-attention"),
    ),
)
