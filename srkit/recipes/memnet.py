"""How MemNet is trained: every memory supervised, one network for three scales.

The paper (Tai et al., 2017): 291 pictures (T91 and 200 of Berkeley's), turned, flipped and scaled;
Y; patches of 31 pixels of the enlarged pictures, x2, x3 and x4 mixed in a batch of 64; SGD with
momentum 0.9 and weight decay 1e-4, biases at a tenth of the rate; rate 0.1, divided by 10 every 20
epochs (in their solver after 200,000 steps of 32), the gradient's norm clipped at 0.01 / rate. The
loss is half the squared error, summed over the patch, of each memory's picture and of their
weighted sum, all M + 1 alike.
Differs: crops are enlarged after they are cut, and are 36 pixels; Berkeley's pictures alone, not
scaled; four rates (how many is not known). The small budgets start near bicubic, and warm up.

    srkit train memnet                        80 layers in the paper, 23 here
    srkit train memnet --variant single       the last memory's picture alone
    srkit train memnet --variant no-long-term
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from srkit.datasets.patches import Patches, share
from srkit.image.colour import to_y
from srkit.image.resize import imresize
from srkit.losses import Term
from srkit.models.memnet import MemNet
from srkit.recipes import RecipeRun
from srkit.reports.claims import Claim
from srkit.training.schedules import Constant, Halving, Warmup
from srkit.training.starts import hush

SCALES = (2, 3, 4)
SCALE = SCALES[-1]  # what is validated

# Adam at `rate`; where there are `rates`, the paper's SGD, an equal part of `steps` at each.
BUDGETS = {
    "smoke": {
        "data": "procedural", "tests": (), "steps": 2, "batch": 2, "patch": 9, "rate": 1e-3,
        "network": {"channels": 4, "blocks": 2, "recursions": 2},
        "warmup": 0.03, "start": "picture",
    },
    "laptop": {
        "data": "BSDS400", "tests": ("Set5", "Set14"), "steps": 800, "batch": 8, "patch": 9,
        "rate": 4e-3, "network": {"channels": 32, "blocks": 3, "recursions": 3},
        "validate_every": 400,
        "warmup": 0.03, "start": "picture",
    },
    "gpu": {
        "data": "BSDS400", "tests": ("Set5", "Set14", "BSD100"), "steps": 30_000, "batch": 64,
        "patch": 9, "rate": 1e-3, "network": {}, "validate_every": 2000,
        "warmup": 0, "start": "random",
    },
    "paper": {
        "data": "BSDS400", "tests": ("Set5", "Set14", "BSD100"), "steps": 800_000, "batch": 64,
        "patch": 9, "rates": (1e-1, 1e-2, 1e-3, 1e-4), "validate_every": 5000,
        "network": {"channels": 64, "blocks": 6, "recursions": 6},
        "warmup": 0, "start": "random",
    },
}  # fmt: skip

# Tai et al., x4, as quoted by RDN's table.
PAPER = {
    "memnet": {
        "Set5": {"psnr": 31.74, "ssim": 0.8893},
        "Set14": {"psnr": 28.26, "ssim": 0.7723},
        "BSD100": {"psnr": 27.40, "ssim": 0.7281},
    }
}


class Supervision(Term):
    """The sum over all pictures of mean (y_m - y)², y the Y of hr: of one picture or of M + 1."""

    label = "supervision"
    formula = "sum over m of mean (y_m - y)², y = Y of hr"
    needs = {"pictures": "the Y of every supervised picture, (B, M + 1, H, W)"}

    def value(self, sr: Tensor, hr: Tensor, pictures: Tensor) -> Tensor:
        return (pictures - to_y(hr)).square().mean((0, 2, 3)).sum()


class Mixed:
    """Batches of all scales at once, as the paper's: batch norm is to see what it will be told.

    Crops are x2, x3 and x4 in turn, enlarged by bicubic to one size, 4 times `size`; "lr" is what
    comes of it.
    """

    def __init__(self, crops: Patches):
        self.crops = crops

    def batch(
        self, count: int, size: int, rng: torch.Generator, part: tuple[int, int] = (0, 1)
    ) -> dict[str, Tensor]:
        side, cut = SCALE * size, []
        if any(side % r for r in SCALES):
            raise ValueError(
                f"crops of {size} px are {side} px at x4, not so at x3: take a multiple of 3"
            )
        scales = [SCALES[k % len(SCALES)] for k in range(count)]
        drawn = [(r, self.crops.draw(1, side // r, rng, scale=r)[1][0]) for r in scales]
        for r in SCALES:
            if own := [draw for scale, draw in share(drawn, part) if scale == r]:
                cut.append(self.crops.cut(own, side // r, r))
        enlarged = [imresize(data["lr"], data["scale"]) for data in cut]
        return {"lr": torch.cat(enlarged), "hr": torch.cat([data["hr"] for data in cut])}


def every_picture(network: nn.Module, data: dict) -> tuple[Tensor, dict[str, Tensor]]:
    """The answer to enlarged pictures, and all pictures for the loss."""
    sr, pictures = network(data["lr"], 1, return_pictures=True)
    return sr, {"pictures": torch.cat(pictures, 1)}


def train(run: RecipeRun, **ablation: int) -> nn.Module:
    """One network for all scales."""
    model = run.build(lambda: MemNet(SCALE, **run.plan["network"] | ablation))
    crops, loss = Mixed(run.crops(SCALES)), Supervision()
    if "rates" not in run.plan:
        if run.plan["start"] == "picture":
            begin_as_bicubic(model)
        rate = Warmup(Halving(run.plan["rate"], every=0.2), run.plan["warmup"])
        run.fit(model, loss, crops, rate=rate, clip=1.0, forward=every_picture)
    else:
        optimizer = sgd(model)
        for rate in run.plan["rates"]:
            how = {"rate": Constant(rate), "clip": 0.01 / rate, "optimizer": optimizer}
            how["steps"] = max(1, run.plan["steps"] // len(run.plan["rates"]))
            run.fit(model, 31**2 / 2 * loss, crops, forward=every_picture, **how)
    run.validate_at(model, SCALES)
    return model


def begin_as_bicubic(model: MemNet) -> None:
    """The start "picture": little is added. What `out` reads has variance 1, by its batch norm."""
    hush(model.out, quiet=0.01)


def sgd(model: nn.Module) -> torch.optim.SGD:
    named = list(model.named_parameters())
    groups = [
        {"params": [p for name, p in named if not name.endswith("bias")]},
        {"params": [p for name, p in named if name.endswith("bias")], "share": 0.1},
    ]
    return torch.optim.SGD(groups, momentum=0.9, weight_decay=1e-4)


VARIANTS: dict[str, Callable[[RecipeRun], nn.Module]] = {
    "memnet": train,
    "single": partial(train, supervised=False),
    "no-long-term": partial(train, long_term=False),  # the paper's MemNet-NL
    "no-short-term": partial(train, short_term=False),  # MemNet-NS
    "unshared": partial(train, shared=False),  # each recursion with convolutions of its own
    "blocks-1": partial(train, blocks=1, supervised=False),  # one memory, so one picture
}

CLAIMS = (
    Claim("long-term links help", "memnet", "no-long-term"),
    Claim("short-term links help", "memnet", "no-short-term"),
    Claim("long-term links are worth more", "no-short-term", "no-long-term"),
    Claim("supervising every memory beats the last alone", "memnet", "single"),
    Claim("more memories are better", "memnet", "blocks-1"),
)
