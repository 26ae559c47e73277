"""How RLFN is trained, and the paper's arguments as experiments small enough to repeat.

The paper (Kong et al., 2022): three stages of 1000 epochs each on DIV2K, HR crops of 256, batch 64,
flips and turns, Adam at 5e-4 halved every 2e5 iterations, L1. Stages 2 and 3 start from the weights
of the stage before with a fresh optimiser (warm start); stage 3 adds the contrastive loss.

    srkit train rlfn                          the three stages, small
    srkit train rlfn --variant block-RFDB24   ladder: RFDB -> RFDBR -> RLFB at equal steps
    srkit reproduce rlfn                      everything below, and the card
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from srkit import features
from srkit.losses import L1
from srkit.losses.contrastive import RANDOM_TANH, VGG_DEEP, VGG_SHALLOW, Contrastive
from srkit.models.edsr import EDSR
from srkit.models.rfdn import RFDN
from srkit.models.rlfn import RLFN
from srkit.recipes import RecipeRun
from srkit.resize import imresize
from srkit.training.claims import Claim
from srkit.training.fit import adam
from srkit.training.schedules import Halving, Schedule, Warmup
from srkit.training.starts import hand_through

SCALE = 4

# One stage is `steps` long. A stage with the contrastive loss has its own length, because VGG-19
# costs a hundred times the network. start "picture": see `srkit.training.starts`; the first steps
# at so high a rate would throw it away, so stages of the small budgets warm up for a share of them.
BUDGETS = {
    "smoke": {
        "data": "procedural", "tests": (), "steps": 4, "batch": 2, "patch": 16, "rate": 5e-3,
        "warmup": 0.03, "start": "picture", "contrast_steps": 2,
    },
    "laptop": {
        "data": "BSDS400", "tests": ("Set5", "Set14", "BSD100"), "steps": 1000, "batch": 16,
        "patch": 24, "rate": 5e-3, "warmup": 0.03, "start": "picture", "contrast_steps": 200,
    },
    "gpu": {
        "data": "DIV2K_train", "tests": ("Set5", "Set14", "BSD100"), "steps": 50_000, "batch": 64,
        "patch": 64, "rate": 5e-4, "warmup": 0, "start": "random", "contrast_steps": 50_000,
    },
    "paper": {
        "data": "DIV2K_train", "tests": ("Set5", "Set14", "BSD100"), "steps": 1_000_000,
        "batch": 64, "patch": 64, "rate": 5e-4, "warmup": 0, "start": "random",
        "contrast_steps": 1_000_000,
    },
}  # fmt: skip

# Kong et al., Table 1 (quoted second-hand), of the full network after its three stages.
PAPER = {"rlfn": {"Set5": {"psnr": 32.24}, "Set14": {"psnr": 28.62}, "BSD100": {"psnr": 27.60}}}

# The paper's ladder (its Table 3) at half the width: 24 for its 48 channels, 28 for its 52.
LADDER: dict[str, Callable[[], nn.Module]] = {
    "RFDB24": lambda: RFDN(SCALE, channels=24, blocks=4, attention="esa"),
    "RFDBR24": lambda: RLFN(SCALE, channels=24, blocks=4, esa=6, block="RFDBR"),
    "RFDBR28": lambda: RLFN(SCALE, channels=28, blocks=4, esa=8, block="RFDBR"),
    "RLFB28": lambda: RLFN(SCALE, channels=28, blocks=4, esa=8),
}

# Extractor and layer weights of each contrastive loss; RLFN's own is the first.
CONTRASTS: dict[str, tuple[Callable[[], features.Extractor], dict[str, float]]] = {
    "random-tanh": (features.random_tanh, RANDOM_TANH),
    "vgg-deep": (lambda: features.vgg19("oxford"), VGG_DEEP),
    "vgg-shallow": (lambda: features.vgg19("oxford"), VGG_SHALLOW),
}
CONTRAST_SHARE = 0.1  # of L1, when the stage begins; the paper's own weight is not known


def rlfn_tiny() -> RLFN:
    """RLFN at less than half the width and two thirds of the depth: 87,816 parameters."""
    return RLFN(SCALE, channels=24, blocks=4, esa=8)


def edsr_tiny() -> EDSR:
    """An EDSR of RLFN-tiny's weight class: 4 blocks of 24 channels."""
    return EDSR(SCALE, channels=24, blocks=4)


def rlfn(run: RecipeRun) -> nn.Module:
    """The three stages (Sec. 4.1): L1, L1 from its weights, L1 and the contrastive loss."""
    model = run.trained("warm-start", rlfn_tiny())
    return contrast_stage(run, model, *CONTRASTS["random-tanh"])


def fresh(run: RecipeRun, make: Callable[[], nn.Module]) -> nn.Module:
    """A network with random weights, or one that starts as an enlargement (see the budgets)."""
    model = run.build(make)
    if run.plan["start"] == "picture":
        if isinstance(model, EDSR):
            ups, last = model.tail
            shuffled = [(layer, 2) for layer in ups if isinstance(layer, nn.Conv2d)]
            hand_through(model.head[0], model.body[-1], [*shuffled, (last, 1)])
        elif isinstance(model, RFDN):
            hand_through(model.fea_conv, model.LR_conv, [(model.upsampler[0], SCALE)])
        else:
            hand_through(model.conv_1, model.conv_2, [(model.upsampler[0], SCALE)])
    return model


def one_stage(run: RecipeRun, make: Callable[[], nn.Module]) -> nn.Module:
    """The schedule once; for the ladder, with every block (Sec. 4: what is each part worth?)."""
    model = fresh(run, make)
    pixel_stage(run, model)
    return model


def long(run: RecipeRun, make: Callable[[], nn.Module]) -> nn.Module:
    """Never restarted: twice the steps, each learning rate held twice as long (Sec. 3.4)."""
    model = fresh(run, make)
    pixel_stage(run, model, steps=2 * run.plan["steps"])
    return model


def cyclic(run: RecipeRun, make: Callable[[], nn.Module]) -> nn.Module:
    """The schedule twice, Adam keeping its moments."""
    model = fresh(run, make)
    optimizer = adam(model)
    pixel_stage(run, model, optimizer=optimizer)
    pixel_stage(run, model, optimizer=optimizer)
    return model


def warm_start(run: RecipeRun, start: str, make: Callable[[], nn.Module]) -> nn.Module:
    """The schedule once more, from the weights alone, with a fresh optimiser."""
    model = run.trained(start, make())
    pixel_stage(run, model)
    return model


def last_stage(
    run: RecipeRun, start: str, make: Callable[[], nn.Module], contrast: str | None
) -> nn.Module:
    """A short stage more from trained weights: with L1 alone, or with a contrastive loss."""
    model = run.trained(start, make())
    if contrast is not None:
        return contrast_stage(run, model, *CONTRASTS[contrast])
    pixel_stage(run, model, steps=run.plan["contrast_steps"], rate=run.plan["rate"] / 4)
    return model


def pixel_stage(run: RecipeRun, model: nn.Module, *, rate: float | None = None, **how) -> None:
    """L1."""
    run.fit(model, L1(), run.crops(SCALE), rate=schedule(run, rate or run.plan["rate"]), **how)


def schedule(run: RecipeRun, rate: float) -> Schedule:
    """The rate halved after each fifth of the stage, behind the plan's warm-up."""
    return Warmup(Halving(rate, every=0.2), run.plan["warmup"])


def contrast_stage(
    run: RecipeRun,
    model: nn.Module,
    make_extractor: Callable[[], features.Extractor],
    weights: dict[str, float],
) -> nn.Module:
    """L1 and the contrastive loss, which begins at CONTRAST_SHARE of L1 on the first crops."""

    def forward(network: nn.Module, data: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        return network(data["lr"]), {"negative": imresize(data["lr"], SCALE).clamp(0, 1)}

    crops, contrast = run.crops(SCALE), Contrastive(make_extractor(), weights)
    loss = L1() + contrast
    first = crops.batch(4, run.plan["patch"], torch.Generator().manual_seed(run.seed))
    with torch.inference_mode():
        sr, inputs = forward(model, first)
        parts = loss.parts(sr, first["hr"], **inputs)
    weight = CONTRAST_SHARE * (parts["L1"] / parts["contrastive"]).item()
    run.fit(
        model,
        L1() + weight * contrast,
        crops,
        forward=forward,
        steps=run.plan["contrast_steps"],
        rate=schedule(run, run.plan["rate"] / 4),
    )
    return model


VARIANTS: dict[str, Callable[[RecipeRun], nn.Module]] = {
    "rlfn": rlfn,
    **{f"block-{name}": partial(one_stage, make=make) for name, make in LADDER.items()},
    "one-stage": partial(one_stage, make=rlfn_tiny),
    "long": partial(long, make=rlfn_tiny),
    "cyclic": partial(cyclic, make=rlfn_tiny),
    "warm-start": partial(warm_start, start="one-stage", make=rlfn_tiny),
    "last-L1": partial(last_stage, start="warm-start", make=rlfn_tiny, contrast=None),
    **{
        f"last-{name}": partial(last_stage, start="warm-start", make=rlfn_tiny, contrast=name)
        for name in CONTRASTS
    },
    "edsr-one-stage": partial(one_stage, make=edsr_tiny),
    "edsr-long": partial(long, make=edsr_tiny),
    "edsr-warm-start": partial(warm_start, start="edsr-one-stage", make=edsr_tiny),
    "edsr-last-L1": partial(last_stage, start="edsr-warm-start", make=edsr_tiny, contrast=None),
    "edsr-last-random-tanh": partial(
        last_stage, start="edsr-warm-start", make=edsr_tiny, contrast="random-tanh"
    ),
}

CLAIMS = (
    Claim("warm start beats one long run", "warm-start", "long"),
    Claim("warm start beats a schedule run twice", "warm-start", "cyclic"),
    Claim("a contrastive last stage beats one of L1 alone", "rlfn", "last-L1"),
    Claim("random tanh features beat VGG-19's deep ones", "rlfn", "last-vgg-deep"),
    Claim("shallow features of VGG-19 beat deep ones", "last-vgg-shallow", "last-vgg-deep"),
    Claim("RFDB's branches are worth little", "block-RFDBR24", "block-RFDB24", sign=0),
    Claim("RLFB is worth RFDBR at one width", "block-RLFB28", "block-RFDBR28", sign=0),
    Claim("warm start helps EDSR too", "edsr-warm-start", "edsr-long"),
)
