"""How RLFN is trained, and the paper's arguments as experiments small enough to repeat.

The paper (Kong et al., 2022): three stages of 1000 epochs each on DIV2K, HR crops of 256, batch 64,
flips and turns, Adam at 5e-4 halved every 2e5 iterations, L1. Stages 2 and 3 start from the weights
of the stage before with a fresh optimiser (warm start); stage 3 adds the contrastive loss.
Differs: but for `paper`, stage 3 is short and has a quarter of the rate; in the small budgets the
rate falls along half a cosine, which in a thousand steps gains a tenth of a decibel over halving.

    srkit train rlfn                          the three stages, small
    srkit train rlfn --variant block-RFDB24   ladder: RFDB -> RFDBR -> RLFB at equal steps
    srkit reproduce rlfn                      everything below, and the card
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from srkit.image.resize import imresize
from srkit.losses import L1
from srkit.losses.contrastive import RANDOM_TANH, VGG_DEEP, VGG_SHALLOW, Contrastive
from srkit.metrics import features
from srkit.models.edsr import EDSR
from srkit.models.rfdn import RFDN
from srkit.models.rlfn import RLFN
from srkit.recipes import RecipeRun
from srkit.reports.claims import Claim
from srkit.training.loop import adam
from srkit.training.schedules import Cosine, Halving, Schedule, Warmup
from srkit.training.starts import hand_through, with_factors

SCALE = 4
Make = Callable[[RecipeRun], nn.Module]  # a network of the sizes that the plan says

# One stage is `steps` long. A stage with the contrastive loss has its own length, because VGG-19
# costs a hundred times the network. start "picture": see `srkit.training.starts`; the first steps
# at so high a rate would throw it away, so stages of the small budgets warm up for a share of them.
# Sizes: "network" is RLFN's, "ladder" the two widths of its blocks, "edsr" EDSR's; a plan that says
# nothing of one has it from TINY.
BUDGETS = {
    "smoke": {
        "data": "procedural", "tests": (), "steps": 4, "batch": 2, "patch": 16, "rate": 2e-3,
        "fall": "cosine", "warmup": 0.03, "start": "picture", "contrast_steps": 2,
    },
    "laptop": {
        "data": "BSDS400", "tests": ("Set5", "Set14", "BSD100"), "steps": 1000, "batch": 16,
        "patch": 24, "rate": 2e-3, "fall": "cosine", "warmup": 0.03, "start": "picture",
        "contrast_steps": 200,
    },
    "gpu": {
        "data": "DIV2K_train", "tests": ("Set5", "Set14", "BSD100"), "steps": 50_000, "batch": 64,
        "patch": 64, "rate": 5e-4, "warmup": 0, "start": "random", "contrast_steps": 5000,
        "validate_every": 2000, "network": {"channels": 52, "blocks": 6, "esa": 16},
        "ladder": (48, 52), "edsr": {"channels": 64, "blocks": 16},
    },
    "paper": {
        "data": "DIV2K_train", "tests": ("Set5", "Set14", "BSD100"), "steps": 1_000_000,
        "batch": 64, "patch": 64, "rate": 5e-4, "warmup": 0, "start": "random",
        "contrast_steps": 1_000_000, "contrast_rate": 5e-4, "validate_every": 10_000,
        "network": {"channels": 52, "blocks": 6, "esa": 16},
        "ladder": (48, 52), "edsr": {"channels": 64, "blocks": 16},
    },
}  # fmt: skip

# About half the widths and two thirds of the depth (87,816 parameters); an EDSR of that class.
TINY = {
    "network": {"channels": 24, "blocks": 4, "esa": 8},
    "ladder": (24, 28),
    "edsr": {"channels": 24, "blocks": 4},
}

# Kong et al., Table 1 (quoted second-hand), of the full network after its three stages.
PAPER = {"rlfn": {"Set5": {"psnr": 32.24}, "Set14": {"psnr": 28.62}, "BSD100": {"psnr": 27.60}}}

# Extractor and layer weights of each contrastive loss; RLFN's own is the first.
CONTRASTS: dict[str, tuple[Callable[[], features.Extractor], dict[str, float]]] = {
    "random-tanh": (features.random_tanh, RANDOM_TANH),
    "vgg-deep": (lambda: features.vgg19("oxford"), VGG_DEEP),
    "vgg-shallow": (lambda: features.vgg19("oxford"), VGG_SHALLOW),
}
CONTRAST_SHARE = 0.1  # of L1, when the stage begins; the paper's own weight is not known


def network(run: RecipeRun) -> RLFN:
    return RLFN(SCALE, **(TINY | run.plan)["network"])


def edsr(run: RecipeRun) -> EDSR:
    return EDSR(SCALE, **(TINY | run.plan)["edsr"])


def rung(run: RecipeRun, block: str, *, wide: bool) -> nn.Module:
    """RLFN's shape with another block. RFDN's ESA is a quarter as wide as the network is."""
    sizes = TINY | run.plan
    channels, how = sizes["ladder"][wide], sizes["network"]
    if block == "RFDB":
        return RFDN(SCALE, channels=channels, blocks=how["blocks"], attention="esa")
    esa = how["esa"] if wide else channels // 4
    return RLFN(SCALE, channels=channels, blocks=how["blocks"], esa=esa, block=block)


# The paper's ladder (its Table 3): RFDB and RFDBR of 48 channels, RFDBR and RLFB of 52. Recorded
# runs go by these names, of TINY's widths; the widths are the plan's.
LADDER: dict[str, Make] = {
    "RFDB24": partial(rung, block="RFDB", wide=False),
    "RFDBR24": partial(rung, block="RFDBR", wide=False),
    "RFDBR28": partial(rung, block="RFDBR", wide=True),
    "RLFB28": partial(rung, block="RLFB", wide=True),
}


def rlfn(run: RecipeRun) -> nn.Module:
    """The three stages (Sec. 4.1): L1, L1 from its weights, L1 and the contrastive loss."""
    model = run.trained("warm-start", network(run))
    return contrast_stage(run, model, *CONTRASTS["random-tanh"])


def fresh(run: RecipeRun, make: Make) -> nn.Module:
    """A network with random weights, or one that starts as an enlargement (see the budgets)."""
    model = run.build(partial(make, run))
    if run.plan["start"] == "picture":
        if isinstance(model, EDSR):
            hand_through(model.head[0], [model.body[-1]], with_factors(model.tail))
        elif isinstance(model, RFDN):
            hand_through(model.fea_conv, [model.LR_conv], with_factors(model.upsampler))
        else:
            hand_through(model.conv_1, [model.conv_2], with_factors(model.upsampler))
    return model


def one_stage(run: RecipeRun, make: Make) -> nn.Module:
    """The schedule once; for the ladder, with every block (Sec. 4: what is each part worth?)."""
    model = fresh(run, make)
    pixel_stage(run, model)
    return model


def long(run: RecipeRun, make: Make) -> nn.Module:
    """Never restarted: twice the steps, each learning rate held twice as long (Sec. 3.4)."""
    model = fresh(run, make)
    pixel_stage(run, model, steps=2 * run.plan["steps"])
    return model


def cyclic(run: RecipeRun, make: Make) -> nn.Module:
    """The schedule twice, Adam keeping its moments."""
    model = fresh(run, make)
    optimizer = adam(model)
    pixel_stage(run, model, optimizer=optimizer)
    pixel_stage(run, model, optimizer=optimizer)
    return model


def warm_start(run: RecipeRun, start: str, make: Make) -> nn.Module:
    """The schedule once more, from the weights alone, with a fresh optimiser."""
    model = run.trained(start, make(run))
    pixel_stage(run, model, series=1)
    return model


def last_stage(run: RecipeRun, start: str, make: Make, contrast: str | None) -> nn.Module:
    """A short stage more from trained weights: with L1 alone, or with a contrastive loss."""
    model = run.trained(start, make(run))
    if contrast is not None:
        return contrast_stage(run, model, *CONTRASTS[contrast])
    pixel_stage(run, model, stage="contrast", rate=contrast_rate(run), series=2)
    return model


def pixel_stage(run: RecipeRun, model: nn.Module, *, rate: float | None = None, **how) -> None:
    """L1."""
    run.fit(model, L1(), run.crops(SCALE), rate=schedule(run, rate or run.plan["rate"]), **how)


def contrast_rate(run: RecipeRun) -> float:
    """The last stage's; a quarter of the first's, where the plan has none."""
    return run.plan.get("contrast_rate", run.plan["rate"] / 4)


def schedule(run: RecipeRun, rate: float) -> Schedule:
    """The rate, halved after each fifth of a stage or along a cosine, behind the plan's warm-up."""
    fall = Cosine(rate) if run.plan.get("fall") == "cosine" else Halving(rate, every=0.2)
    return Warmup(fall, run.plan["warmup"])


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
    first = {k: v.cpu() if isinstance(v, Tensor) else v for k, v in first.items()}  # as the model
    with torch.inference_mode():
        sr, inputs = forward(model, first)
        parts = loss.parts(sr, first["hr"], **inputs)
    weight = CONTRAST_SHARE * (parts["L1"] / parts["contrastive"]).item()
    run.fit(
        model,
        L1() + weight * contrast,
        crops,
        forward=forward,
        stage="contrast",
        series=2,
        rate=schedule(run, contrast_rate(run)),
    )
    return model


VARIANTS: dict[str, Callable[[RecipeRun], nn.Module]] = {
    "rlfn": rlfn,
    **{f"block-{name}": partial(one_stage, make=make) for name, make in LADDER.items()},
    "one-stage": partial(one_stage, make=network),
    "long": partial(long, make=network),
    "cyclic": partial(cyclic, make=network),
    "warm-start": partial(warm_start, start="one-stage", make=network),
    "last-L1": partial(last_stage, start="warm-start", make=network, contrast=None),
    **{
        f"last-{name}": partial(last_stage, start="warm-start", make=network, contrast=name)
        for name in ("vgg-deep", "vgg-shallow")  # with the random network it is "rlfn"
    },
    "edsr-one-stage": partial(one_stage, make=edsr),
    "edsr-long": partial(long, make=edsr),
    "edsr-warm-start": partial(warm_start, start="edsr-one-stage", make=edsr),
    "edsr-last-L1": partial(last_stage, start="edsr-warm-start", make=edsr, contrast=None),
    "edsr-last-random-tanh": partial(
        last_stage, start="edsr-warm-start", make=edsr, contrast="random-tanh"
    ),
}

CLAIMS = (
    Claim("warm start beats one long run", "warm-start", "long"),
    Claim("warm start beats a schedule run twice", "warm-start", "cyclic"),
    Claim("a contrastive last stage beats one of L1 alone", "rlfn", "last-L1"),
    Claim("random tanh features beat VGG-19's deep ones", "rlfn", "last-vgg-deep"),
    Claim("shallow features of VGG-19 beat deep ones", "last-vgg-shallow", "last-vgg-deep"),
    Claim("RFDB without its branches is no worse", "block-RFDBR24", "block-RFDB24", sign=0),
    Claim("RLFB is no worse than RFDBR at one width", "block-RLFB28", "block-RFDBR28", sign=0),
    Claim("warm start helps EDSR too", "edsr-warm-start", "edsr-long"),
)
