"""How MSRN is trained: are two kernel sizes, and all blocks' outputs, worth their parameters?

The authors' re-training of 2019 (Li et al., ECCV 2018, and their repository), x2: DIV2K, flipped
and turned; RGB; LR crops of 48 pixels, batch 16; Adam at 1e-4, halved every 2e5 of 1e6 steps; L1 on
0..255. The paper of 2018 learned Y, from HR crops of 64 and their copies at 0.7 and 0.5.
In the small budgets the network starts as an enlargement, see `srkit.training.enlargement`, the
rate warms up, and gradients are clipped: at so high a rate one bad step can cost a run a decibel.

    srkit train msrn
    srkit train msrn --variant two-3x3        both paths 3x3, wider: as many parameters
    srkit train msrn --variant residual       EDSR's block, as many parameters
    srkit train msrn --variant residual-unclipped --seed 1      that step
    srkit train msrn --variant msrn-slow      a quarter of the rate; residual-slow, too
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from srkit.calls import Call
from srkit.losses import L1
from srkit.models.edsr import EDSR
from srkit.models.msrn import MSRB, MSRN
from srkit.recipes.base import LoopBudget, Recipe
from srkit.reports.claims import Claim
from srkit.training.enlargement import hand_through, with_factors
from srkit.training.schedules import Halving, Warmup
from srkit.training.stage import Prepared, Stage, loss_of

SCALE = 2


@dataclass(frozen=True, kw_only=True)
class Budget(LoopBudget):
    """Sizes of the networks and of their stage.

    channels, blocks: MSRN's. channels_3x3: of MSRN with 3x3 kernels alone. edsr_channels,
    edsr_blocks: EDSR's. Both are controls with as many parameters as MSRN has, to 2 %.
    """

    channels: int
    blocks: int
    channels_3x3: int
    edsr_channels: int
    edsr_blocks: int


def begin_as_enlargement(model: MSRN | EDSR) -> None:
    """Let either network start as an enlargement: see `srkit.training.enlargement`."""
    if isinstance(model, MSRN):
        added = [block.confusion for block in model.modules() if isinstance(block, MSRB)]
    else:
        added = [model.body[-1]]
    hand_through(model.head[0], added, with_factors(model.tail))


ENLARGEMENT = Prepared(Call(begin_as_enlargement))

BUDGETS = {
    "smoke": Budget(
        data="procedural", tests=(), steps=2, batch=2, patch=8, channels=4, blocks=2,
        channels_3x3=5, edsr_channels=8, edsr_blocks=2,
        rate=Warmup(Halving(1e-3, every=0.2), 0.03), clip=0.1, start=ENLARGEMENT,
    ),
    "laptop": Budget(
        data="BSDS400", steps=2000, batch=16, patch=24, channels=16, blocks=4,
        channels_3x3=21, edsr_channels=32, edsr_blocks=8,
        rate=Warmup(Halving(2e-3, every=0.2), 0.03), clip=0.1, start=ENLARGEMENT,
    ),
    "overnight": Budget(
        data="BSDS400", steps=12_000, batch=16, patch=24, channels=32, blocks=4,
        channels_3x3=42, edsr_channels=48, edsr_blocks=16,
        rate=Warmup(Halving(1e-3, every=0.2), 0.03), clip=0.1, start=ENLARGEMENT,
        validate_every=2000,
    ),
    "gpu": Budget(
        data="DIV2K_train", steps=60_000, batch=16, patch=48, channels=64, blocks=8,
        channels_3x3=86, edsr_channels=64, edsr_blocks=78,
        rate=Halving(1e-4, every=0.2), validate_every=2000,
    ),
    "paper": Budget(
        data="DIV2K_train", steps=1_000_000, batch=16, patch=48, channels=64, blocks=8,
        channels_3x3=86, edsr_channels=64, edsr_blocks=78,
        rate=Halving(1e-4, every=0.2), validate_every=10_000,
    ),
}  # fmt: skip


def msrn(b: Budget) -> Call:
    return Call(MSRN, scale=SCALE, channels=b.channels, blocks=b.blocks)


def edsr(b: Budget) -> Call:
    return Call(EDSR, scale=SCALE, channels=b.edsr_channels, blocks=b.edsr_blocks)


def pixel(b: Budget, network: Call) -> Stage:
    """L1, from the budget's start."""
    return b.stage("pixel", network, loss_of(L1), scale=SCALE)


def slower(stage: Stage) -> Stage:
    """The same at a quarter of the rate: fewer of MSRN's units die in the first hundred steps."""
    warm = stage.rate
    assert isinstance(warm, Halving | Warmup)
    halving = warm.then if isinstance(warm, Warmup) else warm
    assert isinstance(halving, Halving)
    slow = replace(halving, rate=halving.rate / 4)
    return replace(stage, rate=replace(warm, then=slow) if isinstance(warm, Warmup) else slow)


RECIPE = Recipe(
    label="MSRN",
    scale=SCALE,
    budgets=BUDGETS,
    variants={
        "msrn": lambda b: [pixel(b, msrn(b))],
        "two-3x3": lambda b: [pixel(b, msrn(b).but(channels=b.channels_3x3, wide=3))],
        "residual": lambda b: [pixel(b, edsr(b))],
        "no-fusion": lambda b: [pixel(b, msrn(b).but(fusion=False))],
        "half": lambda b: [pixel(b, msrn(b).but(blocks=b.blocks // 2))],
        "residual-unclipped": lambda b: [replace(pixel(b, edsr(b)), clip=None)],
        "msrn-slow": lambda b: [slower(pixel(b, msrn(b)))],
        "residual-slow": lambda b: [slower(pixel(b, edsr(b)))],
    },
    published={  # the authors' repository, of the re-training
        "msrn": {
            "Set5": {"psnr": 38.07, "ssim": 0.9608},
            "Set14": {"psnr": 33.68, "ssim": 0.9184},
            "BSD100": {"psnr": 32.22, "ssim": 0.9002},
        }
    },
    claims=(
        Claim("two kernel sizes beat one, parameters being equal", "msrn", "two-3x3"),
        Claim("the block beats EDSR's, parameters being equal", "msrn", "residual"),
        Claim("the block beats EDSR's at a quarter of the rate", "msrn-slow", "residual-slow"),
        Claim("joining all blocks' outputs helps", "msrn", "no-fusion"),
        Claim("more blocks are better", "msrn", "half"),
    ),
)
