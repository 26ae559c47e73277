"""How RDN is trained: contiguous memory, local residuals and global fusion, each on and off.

The paper (Zhang et al., CVPR 2018), x2: DIV2K, flipped and turned; LR crops of 32 pixels, batch 16;
Adam at 1e-4, halved every 2e5 of 1e6 steps; L1 on 0..255. x3 and x4 start from x2's weights, all
but the upsampler's. The ablation, as remembered: 20 blocks of 6 layers, growth 32 (configuration A
of EDSR's PyTorch code), for 2e5 steps.
Differs: their Torch code skips batches whose loss is three times the last epoch's mean. In the
small budgets the network starts as an enlargement, see `srkit.training.enlargement`, and the rate
warms up.

    srkit train rdn
    srkit train rdn --variant CM+LRL+GFF      the cube's corners: none, CM, LRL, GFF, CM+LRL ...
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from srkit.calls import Call
from srkit.losses import L1
from srkit.models.rdn import RDN
from srkit.recipes.base import LoopBudget, Recipe
from srkit.reports.claims import Claim
from srkit.training.enlargement import hand_through, with_factors
from srkit.training.schedules import Halving, Schedule, Warmup
from srkit.training.stage import Prepared, Stage, loss_of

SCALE = 2


@dataclass(frozen=True, kw_only=True)
class Budget(LoopBudget):
    """Sizes of RDN's stage.

    The ablation has a network and a number of steps of its own, and its rate falls after as many
    steps as `rate` does.
    """

    network: Call
    ablation_network: Call
    ablation_steps: int
    ablation_rate: Schedule


def begin_as_enlargement(model: RDN) -> None:
    """Let the sum with the first features carry the picture: see `srkit.training.enlargement`."""
    hand_through(model.SFENet1, [model.GFF[1]], with_factors(model.UPNet))


ENLARGEMENT = Prepared(Call(begin_as_enlargement))
RDN_B = Call(RDN, scale=SCALE, channels=64, growth=64, blocks=16, layers=8)
RDN_A = Call(RDN, scale=SCALE, channels=64, growth=32, blocks=20, layers=6)

# The laptop's network for the ablation is thin, to be deep: a short block can do without its
# residual.
BUDGETS = {
    "smoke": Budget(
        data="procedural", tests=(), steps=2, batch=2, patch=8, ablation_steps=2,
        network=Call(RDN, scale=SCALE, channels=8, growth=4, blocks=2, layers=2),
        ablation_network=Call(RDN, scale=SCALE, channels=4, growth=4, blocks=2, layers=2),
        rate=Warmup(Halving(1e-3, every=0.2), 0.03),
        ablation_rate=Warmup(Halving(1e-3, every=0.2), 0.03), start=ENLARGEMENT,
    ),
    "laptop": Budget(
        data="BSDS400", steps=1500, batch=16, patch=24, ablation_steps=1500,
        network=Call(RDN, scale=SCALE, channels=32, growth=16, blocks=4, layers=3),
        ablation_network=Call(RDN, scale=SCALE, channels=16, growth=8, blocks=8, layers=3),
        rate=Warmup(Halving(2e-3, every=0.2), 0.03),
        ablation_rate=Warmup(Halving(2e-3, every=0.2), 0.03), start=ENLARGEMENT,
    ),
    "overnight": Budget(
        data="BSDS400", steps=12_000, batch=16, patch=24, ablation_steps=12_000,
        network=Call(RDN, scale=SCALE, channels=32, growth=16, blocks=8, layers=4),
        ablation_network=Call(RDN, scale=SCALE, channels=16, growth=8, blocks=16, layers=3),
        rate=Warmup(Halving(2e-3, every=0.2), 0.03),
        ablation_rate=Warmup(Halving(2e-3, every=0.2), 0.03), start=ENLARGEMENT,
        validate_every=2000,
    ),
    "gpu": Budget(
        data="DIV2K_train", steps=40_000, batch=16, patch=32, ablation_steps=40_000,
        network=RDN_B, ablation_network=RDN_A, rate=Halving(1e-4, every=0.2),
        ablation_rate=Halving(1e-4, every=0.2), validate_every=2000,
    ),
    "paper": Budget(
        data="DIV2K_train", steps=1_000_000, batch=16, patch=32, ablation_steps=200_000,
        network=RDN_B, ablation_network=RDN_A, rate=Halving(1e-4, every=0.2),
        ablation_rate=Halving(1e-4, every=1.0), validate_every=10_000,
    ),
}  # fmt: skip


def rdn(b: Budget) -> Stage:
    """L1, from the budget's start."""
    return b.stage("pixel", b.network, loss_of(L1), scale=SCALE)


def corner(
    b: Budget,
    *,
    contiguous: bool = False,
    local_residual: bool = False,
    global_fusion: bool = False,
) -> Stage:
    """The ablation's network with some of contiguous memory (CM), LRL and GFF."""
    network = b.ablation_network.but(
        contiguous=contiguous, local_residual=local_residual, global_fusion=global_fusion
    )
    return replace(rdn(b), network=network, steps=b.ablation_steps, rate=b.ablation_rate)


RECIPE = Recipe(
    label="RDN",
    scale=SCALE,
    budgets=BUDGETS,
    variants={
        "rdn": lambda b: [rdn(b)],
        "none": lambda b: [corner(b)],
        "CM": lambda b: [corner(b, contiguous=True)],
        "LRL": lambda b: [corner(b, local_residual=True)],
        "GFF": lambda b: [corner(b, global_fusion=True)],
        "CM+LRL": lambda b: [corner(b, contiguous=True, local_residual=True)],
        "CM+GFF": lambda b: [corner(b, contiguous=True, global_fusion=True)],
        "LRL+GFF": lambda b: [corner(b, local_residual=True, global_fusion=True)],
        "CM+LRL+GFF": lambda b: [
            corner(b, contiguous=True, local_residual=True, global_fusion=True)
        ],
    },
    published={  # Zhang et al., x2
        "rdn": {
            "Set5": {"psnr": 38.24, "ssim": 0.9614},
            "Set14": {"psnr": 34.01, "ssim": 0.9212},
            "BSD100": {"psnr": 32.34, "ssim": 0.9017},
        }
    },
    # The corners are compared with each other only: their network is not RDN's own.
    claims=(
        Claim("contiguous memory helps", "CM", "none"),
        Claim("local residuals help", "LRL", "none"),
        Claim("global fusion helps", "GFF", "none"),
        Claim("contiguous memory adds to the two others", "CM+LRL+GFF", "LRL+GFF"),
        Claim("local residuals add to the two others", "CM+LRL+GFF", "CM+GFF"),
        Claim("global fusion adds to the two others", "CM+LRL+GFF", "CM+LRL"),
        Claim("all three beat none", "CM+LRL+GFF", "none"),
    ),
)
