"""How MemNet is trained: every memory block's picture is learned, at three scales at once.

The paper (Tai et al., 2017): 291 pictures (T91 and 200 of Berkeley's), turned, flipped and scaled;
their Y alone; patches of 31 pixels of the enlarged pictures, x2, x3 and x4 mixed in a batch of 64;
SGD with momentum 0.9 and weight decay 1e-4, biases at a tenth of the rate; rate 0.1, divided by 10
every 20 epochs (in their solver every 200,000 steps, of 32 patches); the gradient's norm clipped at
0.01 / rate. The loss is half the squared error, summed over the patch, of the picture of each
memory block and of their weighted sum, all M + 1 weighed alike.
Differs: crops are enlarged after they are cut, and are 36 pixels; Berkeley's pictures alone, not
scaled; four rates (how many is not known). All budgets but "paper" use Adam; the small ones start
near the bicubic picture, and warm up.

    srkit train memnet                        80 layers in the paper, 23 here
    srkit train memnet --variant single       the last memory block's picture alone
    srkit train memnet --variant no-long-term
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from srkit.calls import Call
from srkit.datasets.patches import Patches, share
from srkit.datasets.pictures import patches
from srkit.image.colour import to_y
from srkit.image.resize import imresize
from srkit.losses import Term
from srkit.models.memnet import MemNet
from srkit.recipes.base import LoopBudget, Recipe
from srkit.reports.claims import Claim
from srkit.training.enlargement import hush
from srkit.training.loop import Batch, adam
from srkit.training.schedules import Constant, Halving, Warmup
from srkit.training.stage import Continued, Prepared, Stage, loss_of

SCALES = (2, 3, 4)
SCALE = SCALES[-1]  # what is validated


@dataclass(frozen=True, kw_only=True)
class Budget(LoopBudget):
    """Sizes of MemNet's stages.

    steps: of each stage. patch: side of a crop at x4, in LR pixels. weight: what the loss is
    multiplied by. later_rates: the rates of the stages after the first one.
    """

    network: Call
    optimizer: Call = Call(adam)
    weight: float = 1.0
    later_rates: tuple[float, ...] = ()


class Supervision(Term):
    """The sum over all pictures of mean (y_m - y)², y the Y of hr: of one picture or of M + 1."""

    label = "supervision"
    formula = "sum over m of mean (y_m - y)², y = Y of hr"
    needs = {"pictures": "the Y of every supervised picture, (B, M + 1, H, W)"}

    def value(self, sr: Tensor, hr: Tensor, pictures: Tensor) -> Tensor:
        return (pictures - to_y(hr)).square().mean((0, 2, 3)).sum()


class Mixed:
    """Batches that hold x2, x3 and x4 in turn, so that batch norm sees all three, as in the paper.

    Each crop is enlarged by bicubic to one size, r times `size` for the largest scale r; that is
    what "lr" holds, of the same size as "hr".
    """

    def __init__(self, crops: Patches):
        self.crops = crops

    @property
    def pictures(self) -> Sequence[Tensor]:
        """The HR pictures that crops are cut from, uint8 (3, H, W)."""
        return self.crops.pictures

    def batch(
        self, count: int, size: int, rng: torch.Generator, part: tuple[int, int] = (0, 1)
    ) -> dict[str, Tensor]:
        """A random batch, see `Patches.batch`.

        Raises ValueError for a size that cannot be divided by each scale after it is enlarged.
        """
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


def mixed(data: str, scale: tuple[int, ...], device: str | None) -> Mixed:
    """Crops of the pictures that `data` names, all scales in each batch."""
    return Mixed(patches(data, scale, device))


def every_picture(network: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
    """The forward on enlarged pictures: sr, and for the loss the picture of every memory block."""
    sr, pictures = network(batch["lr"], 1, return_pictures=True)
    return sr, {"pictures": torch.cat(pictures, 1)}


def begin_as_bicubic(model: MemNet) -> None:
    """Let little be added to the bicubic picture: what `out` reads has variance 1 by batch norm."""
    hush(model.out, quiet=0.01)


def sgd(model: nn.Module) -> torch.optim.SGD:
    """The paper's optimiser; biases learn at a tenth of the rate."""
    named = list(model.named_parameters())
    groups = [
        {"params": [p for name, p in named if not name.endswith("bias")]},
        {"params": [p for name, p in named if name.endswith("bias")], "share": 0.1},
    ]
    return torch.optim.SGD(groups, momentum=0.9, weight_decay=1e-4)


BICUBIC = Prepared(Call(begin_as_bicubic))
M6R6 = Call(MemNet, scale=SCALE, channels=64, blocks=6, recursions=6)

BUDGETS = {
    "smoke": Budget(
        data="procedural", tests=(), steps=2, batch=2, patch=9,
        network=Call(MemNet, scale=SCALE, channels=4, blocks=2, recursions=2),
        rate=Warmup(Halving(1e-3, every=0.2), 0.03), clip=1.0, start=BICUBIC,
    ),
    "laptop": Budget(
        data="BSDS400", tests=("Set5", "Set14"), steps=800, batch=8, patch=9,
        network=Call(MemNet, scale=SCALE, channels=32, blocks=3, recursions=3),
        rate=Warmup(Halving(4e-3, every=0.2), 0.03), clip=1.0, start=BICUBIC, validate_every=400,
    ),
    "overnight": Budget(  # the paper's 80 layers, a quarter of its channels
        data="BSDS400", steps=8000, batch=8, patch=9,
        network=Call(MemNet, scale=SCALE, channels=16, blocks=6, recursions=6),
        rate=Warmup(Halving(2e-3, every=0.2), 0.03), clip=1.0, start=BICUBIC, validate_every=1000,
    ),
    "gpu": Budget(
        data="BSDS400", steps=30_000, batch=64, patch=9, network=M6R6,
        rate=Halving(1e-3, every=0.2), clip=1.0, validate_every=2000,
    ),
    "paper": Budget(
        data="BSDS400", steps=200_000, batch=64, patch=9, network=M6R6,
        rate=Constant(0.1), clip=0.01 / 0.1, later_rates=(1e-2, 1e-3, 1e-4),
        optimizer=Call(sgd), weight=31**2 / 2, validate_every=5000,
    ),
}  # fmt: skip


def supervised(b: Budget, network: Call) -> list[Stage]:
    """One network for all scales, a stage for each rate; the optimiser keeps its moments."""
    first = replace(
        b.stage("pixel", network, loss_of(Supervision, b.weight), scale=SCALES),
        crops=Call(mixed), forward=Call(every_picture), optimizer=b.optimizer,
    )  # fmt: skip
    later = [
        replace(
            first, name=f"pixel, rate {k + 1}", start=Continued(optimizer=True), series=k,
            rate=Constant(rate), clip=0.01 / rate,
        )
        for k, rate in enumerate(b.later_rates, 1)
    ]  # fmt: skip
    return [first, *later]


RECIPE = Recipe(
    label="MemNet",
    scale=SCALE,
    budgets=BUDGETS,
    variants={
        "memnet": lambda b: supervised(b, b.network),
        "single": lambda b: supervised(b, b.network.but(supervised=False)),
        # the paper's MemNet-NL and MemNet-NS
        "no-long-term": lambda b: supervised(b, b.network.but(long_term=False)),
        "no-short-term": lambda b: supervised(b, b.network.but(short_term=False)),
        # each recursion with convolutions of its own
        "unshared": lambda b: supervised(b, b.network.but(shared=False)),
        # one memory block, so one picture
        "blocks-1": lambda b: supervised(b, b.network.but(blocks=1, supervised=False)),
    },
    published={  # Tai et al., x4, as quoted by RDN's table
        "memnet": {
            "Set5": {"psnr": 31.74, "ssim": 0.8893},
            "Set14": {"psnr": 28.26, "ssim": 0.7723},
            "BSD100": {"psnr": 27.40, "ssim": 0.7281},
        }
    },
    claims=(
        Claim("long-term links help", "memnet", "no-long-term"),
        Claim("short-term links help", "memnet", "no-short-term"),
        Claim("long-term links are worth more", "no-short-term", "no-long-term"),
        Claim("supervising every memory beats the last alone", "memnet", "single"),
        Claim("more memories are better", "memnet", "blocks-1"),
        Claim("recursions that share their weights lose nothing", "memnet", "unshared", sign=0),
    ),
)
