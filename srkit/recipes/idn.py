"""How IDN is trained: L1, then a little MSE on larger crops; what setting channels aside is worth.

The paper (Hui et al., 2018), x2: 291 pictures (T91 and 200 of Berkeley's), turned, flipped and
scaled to 0.6 ... 1; Y; LR crops of 29 pixels, batch 64; Adam at 1e-4, a tenth after each 250,000 of
600,000 steps, biases and the transposed convolution at a tenth of the rate; L1; then about 20,000
steps of MSE on crops of 39. x3 and x4 start from another scale's weights, which all fit.
Differs: Berkeley's pictures alone and not scaled, LR in 8 bits. The rate of the MSE stage is not
known: here a tenth of the first. Weight decay 1e-4 stands beside a loss that their Caffe sums over
the patch; beside a mean it would be 3e-8, and is left out. The small budgets start "picture", see
`srkit.training.starts`, warm up, clip gradients, and halve the rate after each fifth; but for
`paper`, all parameters learn at one rate.

    srkit train idn                           L1, then MSE
    srkit train idn --variant plain           nothing set aside (compare with --variant L1)
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from srkit.losses import L1, MSE
from srkit.models.idn import IDN
from srkit.recipes import RecipeRun
from srkit.reports.claims import Claim
from srkit.training.loop import enlarge_y
from srkit.training.schedules import Constant, Halving, Multistep, Warmup
from srkit.training.starts import carry, hush

SCALE = 2

# `share`: of the rate, for biases and the transposed convolution; the last stage is `tune_...`.
BUDGETS = {
    "smoke": {
        "data": "procedural", "tests": (), "steps": 2, "batch": 2, "patch": 8, "rate": 1e-3,
        "share": 1, "tune_steps": 2, "tune_patch": 10,
        "network": {"channels": 8, "keep": 2, "step": 2, "blocks": 1, "groups": 2},
        "warmup": 0.03, "clip": 0.1, "start": "picture",
    },
    "laptop": {
        "data": "BSDS400", "tests": ("Set5", "Set14", "BSD100"), "steps": 2000, "batch": 8,
        "patch": 29, "rate": 1e-3, "share": 1, "tune_steps": 300, "tune_patch": 39,
        "network": {"channels": 32, "keep": 8, "step": 8, "blocks": 3},
        "warmup": 0.03, "clip": 0.1, "start": "picture",
    },
    "gpu": {
        "data": "BSDS400", "tests": ("Set5", "Set14", "BSD100"), "steps": 60_000, "batch": 64,
        "patch": 29, "rate": 5e-4, "share": 1, "tune_steps": 3000, "tune_patch": 39,
        "network": {}, "validate_every": 2000,
        "drop_at": (5 / 12, 10 / 12), "warmup": 0, "start": "random",
    },
    "paper": {
        "data": "BSDS400", "tests": ("Set5", "Set14", "BSD100"), "steps": 600_000, "batch": 64,
        "patch": 29, "rate": 1e-4, "share": 0.1, "tune_steps": 20_000, "tune_patch": 39,
        "network": {"channels": 64, "keep": 16, "step": 16, "blocks": 4}, "validate_every": 5000,
        "drop_at": (5 / 12, 10 / 12), "warmup": 0, "start": "random",
    },
}  # fmt: skip

PAPER = {
    "idn": {
        "Set5": {"psnr": 37.83, "ssim": 0.9600},
        "Set14": {"psnr": 33.30, "ssim": 0.9148},
        "BSD100": {"psnr": 32.08, "ssim": 0.8985},
    }
}


def idn(run: RecipeRun) -> nn.Module:
    """Both stages."""
    model = run.trained("L1", IDN(SCALE, **run.plan["network"]))
    run.fit(
        model,
        MSE(),
        run.crops(SCALE),
        stage="tune",
        rate=Constant(run.plan["rate"] / 10),
        forward=enlarge_y,
        optimizer=adam(model, run.plan["share"]),
    )
    return model


def first_stage(run: RecipeRun, **ablation: int) -> nn.Module:
    """L1."""
    model = run.build(lambda: IDN(SCALE, **run.plan["network"] | ablation))
    if run.plan["start"] == "picture":
        begin_as_enlargement(model)
    rate = Halving(run.plan["rate"], every=0.2)
    if "drop_at" in run.plan:
        rate = Multistep(run.plan["rate"], at=run.plan["drop_at"], factor=0.1)
    run.fit(
        model,
        L1(),
        run.crops(SCALE),
        rate=Warmup(rate, run.plan["warmup"]),
        forward=enlarge_y,
        optimizer=adam(model, run.plan["share"]),
    )
    return model


@torch.no_grad()
def begin_as_enlargement(model: IDN) -> None:
    """The start "picture": bicubic's, or repeated pixels where the network makes all of it."""
    hush(model.upsample)
    if model.bicubic:
        return
    hush(*(block.enhance.conv6 for block in model.blocks))
    for way in (model.conv1, model.conv2, *(block.down for block in model.blocks)):
        carry(way, channels=1)
    last = model.upsample.padding[0] + 1
    model.upsample.weight[0, 0, last - SCALE : last, last - SCALE : last] = 1


def adam(model: IDN, share: float) -> torch.optim.Adam:
    """Adam with `share` of the rate for biases and the transposed convolution."""
    groups = ([], [])
    for name, parameter in model.named_parameters():
        groups[name.startswith("upsample") or name.endswith("bias")].append(parameter)
    return torch.optim.Adam(
        [{"params": groups[0]}, {"params": groups[1], "share": share}], fused=True
    )


VARIANTS: dict[str, Callable[[RecipeRun], nn.Module]] = {
    "idn": idn,
    "L1": first_stage,
    "plain": partial(first_stage, keep=0),
    "groups-1": partial(first_stage, groups=1),
    "no-bicubic": partial(first_stage, bicubic=False),
}

CLAIMS = (
    Claim("setting channels aside beats a plain residual block", "L1", "plain"),
    Claim("convolutions in four groups are no worse than whole ones", "L1", "groups-1", sign=0),
    Claim("adding to the bicubic picture beats making all of it", "L1", "no-bicubic"),
    Claim("a last stage of MSE on larger crops helps", "idn", "L1"),
)
