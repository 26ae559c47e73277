"""How CARN is trained: one network for three scales, a scale a step.

The paper (Ahn et al., ECCV 2018, and the authors' README): DIV2K, flipped and turned; each step
draws x2, x3 or x4 and trains the trunk and that scale's head on LR crops of 64 pixels, batch 64;
Adam at 1e-4, halved after 400,000 of 600,000 steps; L1; gradients clipped to a norm of 10.
The small budgets start "picture", see `srkit.training.starts`, warm up, clip at 0.1, and halve the
rate after each fifth.

    srkit train carn                          three heads
    srkit train carn --variant x4-alone       one head
    srkit train carn --variant neither        no cascade; no-local and no-global keep one of two
    srkit train carn --variant carn-m         groups of convolutions, blocks shared
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor, nn

from srkit.losses import L1
from srkit.models.carn import CARN, Residual
from srkit.recipes import RecipeRun
from srkit.reports.claims import Claim
from srkit.training.schedules import Halving, Multistep, Warmup
from srkit.training.starts import carry, hand_through, with_factors

SCALES = (2, 3, 4)
SCALE = SCALES[-1]  # what is validated

BUDGETS = {
    "smoke": {
        "data": "procedural", "tests": (), "steps": 2, "batch": 2, "patch": 8, "rate": 1e-3,
        "channels": 8,
        "warmup": 0.03, "clip": 0.1, "start": "picture",
    },
    "laptop": {
        "data": "BSDS400", "tests": ("Set5", "Set14", "BSD100"), "steps": 1500, "batch": 8,
        "patch": 24, "rate": 2e-3, "channels": 24,
        "warmup": 0.03, "clip": 0.1, "start": "picture",
    },
    "gpu": {
        "data": "DIV2K_train", "tests": ("Set5", "Set14", "BSD100"), "steps": 50_000, "batch": 64,
        "patch": 64, "rate": 2e-4, "channels": 64, "validate_every": 2000,
        "drop_at": 2 / 3, "warmup": 0, "start": "random",
    },
    "paper": {
        "data": "DIV2K_train", "tests": ("Set5", "Set14", "BSD100"), "steps": 600_000,
        "batch": 64, "patch": 64, "rate": 1e-4, "channels": 64, "validate_every": 10_000,
        "drop_at": 2 / 3, "warmup": 0, "start": "random",
    },
}  # fmt: skip

# Ahn et al., x4.
PAPER = {
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
}


def at_scale(network: nn.Module, data: dict) -> tuple[Tensor, dict]:
    """The batch's scale decides which head answers, and learns."""
    return network(data["lr"], data["scale"]), {}


def train(run: RecipeRun, heads: Sequence[int] = SCALES, **network: object) -> nn.Module:
    """x4 is what is validated; of the other heads Set5's PSNR goes into the record."""
    channels = run.plan["channels"]
    model = run.build(lambda: CARN(heads[-1], heads=heads, channels=channels, **network))
    if run.plan["start"] == "picture":
        begin_as_enlargement(model)
    rate = Halving(run.plan["rate"], every=0.2)
    if "drop_at" in run.plan:
        rate = Multistep(run.plan["rate"], at=(run.plan["drop_at"],))
    rate = Warmup(rate, run.plan["warmup"])
    clip = run.plan.get("clip", 10.0)
    run.fit(model, L1(), run.crops(heads), rate=rate, clip=clip, forward=at_scale)
    run.validate_at(model, heads)
    return model


def begin_as_enlargement(model: CARN) -> None:
    """The start "picture", through the first input of each fuse; the other weights are as large as
    He's, for with PyTorch's own what the blocks find fades from fuse to fuse."""
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    added = [layer.body[-1] for layer in model.modules() if isinstance(layer, Residual)]
    for name, layer in model.named_modules():
        if name[-2:] in ("c1", "c2", "c3"):
            carry(layer.body[0])
    tail = [*with_factors(model.upsample), (model.exit, 1)]
    hand_through(model.entry, added, tail, lift=0.5)


VARIANTS: dict[str, Callable[[RecipeRun], nn.Module]] = {
    "carn": train,
    "x4-alone": partial(train, heads=(4,)),
    "no-local": partial(train, local=False),
    "no-global": partial(train, across=False),
    "neither": partial(train, local=False, across=False),
    "carn-m": partial(train, mobile=True, groups=4),
    **{f"carn-m-groups-{g}": partial(train, mobile=True, groups=g) for g in (1, 2, 8)},
}

# Cascades are tested on Set14, as far as remembered the paper's set for them.
CLAIMS = (
    Claim("cascades on both levels beat none", "carn", "neither", test="Set14"),
    Claim("the cascade inside the blocks helps", "carn", "no-local", test="Set14"),
    Claim("the cascade of the blocks helps", "carn", "no-global", test="Set14"),
    Claim("sharing and groups cost PSNR", "carn-m", "carn", sign=-1),
    Claim("four groups cost PSNR", "carn-m", "carn-m-groups-1", sign=-1),
    Claim("eight groups cost PSNR", "carn-m-groups-8", "carn-m-groups-1", sign=-1),
)
