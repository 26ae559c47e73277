"""How RLFN is trained, and the paper's arguments as experiments small enough to repeat.

The paper (Kong et al., 2022): three stages of 1000 epochs each on DIV2K, HR crops of 256, batch 64,
flips and turns, Adam at 5e-4 halved every 2e5 iterations, L1. Stages 2 and 3 start from the weights
of the stage before with a fresh optimiser (warm start); stage 3 adds the contrastive loss, by a
weight that is not known.
Differs: in all budgets but "paper" the last stage is short and has a quarter of the rate; in the
small ones the rate falls along half a cosine, which in a thousand steps gains a tenth of a decibel
over halving.

    srkit train rlfn                          the three stages, small
    srkit train rlfn --variant block-RFDB24   ladder: RFDB -> RFDBR -> RLFB at equal steps
    srkit reproduce rlfn                      everything below, and the cards
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from torch import Tensor, nn

from srkit.calls import Call
from srkit.image.resize import imresize
from srkit.losses import L1
from srkit.losses.contrastive import RANDOM_TANH, VGG_DEEP, VGG_SHALLOW, Contrastive
from srkit.metrics.features import random_tanh, vgg19
from srkit.models.edsr import EDSR
from srkit.models.rfdn import RFDN
from srkit.models.rlfn import RLFN
from srkit.recipes.base import LoopBudget, Recipe
from srkit.reports.claims import Claim
from srkit.training.enlargement import hand_through, with_factors
from srkit.training.loop import Batch
from srkit.training.schedules import Cosine, Halving, Schedule, Warmup
from srkit.training.stage import After, Continued, Loss, Prepared, Share, Stage, loss_of

SCALE = 4


@dataclass(frozen=True, kw_only=True)
class Budget(LoopBudget):
    """Sizes of RLFN's stages.

    channels, blocks, esa: RLFN's; ladder: the two widths of its blocks. The last stage has steps of
    its own, because VGG-19, for a contrastive loss, costs a hundred times the network.
    """

    last_steps: int
    last_rate: Schedule
    # about half the widths and two thirds of the depth (87,816 parameters); an EDSR of that class
    channels: int = 24
    blocks: int = 4
    esa: int = 8
    ladder: tuple[int, int] = (24, 28)
    edsr_channels: int = 24
    edsr_blocks: int = 4


def begin_as_enlargement(model: RLFN | RFDN | EDSR) -> None:
    """Let the network start as an enlargement: see `srkit.training.enlargement`."""
    if isinstance(model, EDSR):
        hand_through(model.head[0], [model.body[-1]], with_factors(model.tail))
    elif isinstance(model, RFDN):
        hand_through(model.fea_conv, [model.LR_conv], with_factors(model.upsampler))
    else:
        hand_through(model.conv_1, [model.conv_2], with_factors(model.upsampler))


ENLARGEMENT = Prepared(Call(begin_as_enlargement))

# After ENLARGEMENT the first steps at so high a rate would throw it away: hence the warm-up.
BUDGETS = {
    "smoke": Budget(
        data="procedural", tests=(), steps=4, last_steps=2, batch=2, patch=16,
        rate=Warmup(Cosine(2e-3), 0.03), last_rate=Warmup(Cosine(5e-4), 0.03), start=ENLARGEMENT,
    ),
    "laptop": Budget(
        data="BSDS400", steps=1000, last_steps=200, batch=16, patch=24,
        rate=Warmup(Cosine(2e-3), 0.03), last_rate=Warmup(Cosine(5e-4), 0.03), start=ENLARGEMENT,
    ),
    "gpu": Budget(
        data="DIV2K_train", steps=50_000, last_steps=5000, batch=64, patch=64,
        rate=Halving(5e-4, every=0.2), last_rate=Halving(1.25e-4, every=0.2), validate_every=2000,
        channels=52, blocks=6, esa=16, ladder=(48, 52), edsr_channels=64, edsr_blocks=16,
    ),
    "paper": Budget(
        data="DIV2K_train", steps=1_000_000, last_steps=1_000_000, batch=64, patch=64,
        rate=Halving(5e-4, every=0.2), last_rate=Halving(5e-4, every=0.2), validate_every=10_000,
        channels=52, blocks=6, esa=16, ladder=(48, 52), edsr_channels=64, edsr_blocks=16,
    ),
}  # fmt: skip

# Which features each contrastive loss compares, and the weights of their layers.
RANDOM = {"extractor": Call(random_tanh), "weights": RANDOM_TANH}
DEEP = {"extractor": Call(vgg19, lineage="oxford"), "weights": VGG_DEEP}
SHALLOW = {"extractor": Call(vgg19, lineage="oxford"), "weights": VGG_SHALLOW}


def rlfn(b: Budget) -> Call:
    return Call(RLFN, scale=SCALE, channels=b.channels, blocks=b.blocks, esa=b.esa)


def edsr(b: Budget) -> Call:
    return Call(EDSR, scale=SCALE, channels=b.edsr_channels, blocks=b.edsr_blocks)


def rung(b: Budget, block: str, *, wide: bool) -> Call:
    """RLFN's shape with another block. RFDN's ESA is a quarter as wide as the network is."""
    channels = b.ladder[wide]
    if block == "RFDB":
        return Call(RFDN, scale=SCALE, channels=channels, blocks=b.blocks, attention="esa")
    esa = b.esa if wide else channels // 4
    return Call(RLFN, scale=SCALE, channels=channels, blocks=b.blocks, esa=esa, block=block)


def pixel(b: Budget, network: Call) -> Stage:
    """L1, from the budget's start."""
    return b.stage("pixel", network, loss_of(L1), scale=SCALE)


def one_stage(b: Budget, network) -> list[Stage]:
    """The schedule once; for the ladder, with every block (Sec. 4: what is each part worth?)."""
    return [pixel(b, network(b))]


def long(b: Budget, network) -> list[Stage]:
    """Never restarted: twice the steps, each learning rate held twice as long (Sec. 3.4)."""
    return [replace(pixel(b, network(b)), steps=2 * b.steps)]


def cyclic(b: Budget, network) -> list[Stage]:
    """The schedule twice; Adam keeps its moments."""
    first = pixel(b, network(b))
    again = replace(first, name="pixel again", start=Continued(optimizer=True), series=1)
    return [first, again]


def warm_start(b: Budget, network, after: str) -> list[Stage]:
    """The schedule once more, from the weights alone, with a fresh optimiser (Sec. 3.4)."""
    return [replace(pixel(b, network(b)), name="pixel again", start=After(after), series=1)]


def last(b: Budget, network, after: str, contrast: dict | None) -> list[Stage]:
    """A short stage from trained weights: L1 alone, or with a contrastive loss (Sec. 3.3).

    The contrastive loss begins at a tenth of L1: the paper's own weight is not known.
    """
    stage = replace(
        pixel(b, network(b)), name="last", start=After(after), series=2, steps=b.last_steps,
        rate=b.last_rate,
    )  # fmt: skip
    if contrast is None:
        return [stage]
    loss = Loss(((1.0, Call(L1)), (Share(0.1), Call(Contrastive, **contrast))))
    return [replace(stage, loss=loss, forward=Call(with_negative))]


def with_negative(network: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
    """The forward of a contrastive loss, which also gets what SR should keep away from."""
    return network(batch["lr"]), {"negative": imresize(batch["lr"], SCALE).clamp(0, 1)}


RECIPE = Recipe(
    label="RLFN",
    scale=SCALE,
    budgets=BUDGETS,
    variants={
        "rlfn": partial(last, network=rlfn, after="warm-start", contrast=RANDOM),
        # The paper's ladder (its Table 3): RFDB and RFDBR of 48 channels, RFDBR and RLFB of 52. The
        # names are those of the small budgets' widths.
        "block-RFDB24": partial(one_stage, network=partial(rung, block="RFDB", wide=False)),
        "block-RFDBR24": partial(one_stage, network=partial(rung, block="RFDBR", wide=False)),
        "block-RFDBR28": partial(one_stage, network=partial(rung, block="RFDBR", wide=True)),
        "block-RLFB28": partial(one_stage, network=partial(rung, block="RLFB", wide=True)),
        "one-stage": partial(one_stage, network=rlfn),
        "long": partial(long, network=rlfn),
        "cyclic": partial(cyclic, network=rlfn),
        "warm-start": partial(warm_start, network=rlfn, after="one-stage"),
        "last-L1": partial(last, network=rlfn, after="warm-start", contrast=None),
        "last-vgg-deep": partial(last, network=rlfn, after="warm-start", contrast=DEEP),
        "last-vgg-shallow": partial(last, network=rlfn, after="warm-start", contrast=SHALLOW),
        "edsr-one-stage": partial(one_stage, network=edsr),
        "edsr-long": partial(long, network=edsr),
        "edsr-warm-start": partial(warm_start, network=edsr, after="edsr-one-stage"),
        "edsr-last-L1": partial(last, network=edsr, after="edsr-warm-start", contrast=None),
        "edsr-last-random-tanh": partial(
            last, network=edsr, after="edsr-warm-start", contrast=RANDOM
        ),
    },
    # Kong et al., Table 1 (quoted second-hand), of the full network after its three stages.
    published={
        "rlfn": {"Set5": {"psnr": 32.24}, "Set14": {"psnr": 28.62}, "BSD100": {"psnr": 27.60}}
    },
    claims=(
        Claim("warm start beats one long run", "warm-start", "long"),
        Claim("warm start beats a schedule run twice", "warm-start", "cyclic"),
        Claim("a contrastive last stage beats one of L1 alone", "rlfn", "last-L1"),
        Claim("random tanh features beat VGG-19's deep ones", "rlfn", "last-vgg-deep"),
        Claim("shallow features of VGG-19 beat deep ones", "last-vgg-shallow", "last-vgg-deep"),
        Claim("RFDB without its branches is no worse", "block-RFDBR24", "block-RFDB24", sign=0),
        Claim("RLFB is no worse than RFDBR at one width", "block-RLFB28", "block-RFDBR28", sign=0),
        Claim("warm start helps EDSR too", "edsr-warm-start", "edsr-long"),
    ),
)
