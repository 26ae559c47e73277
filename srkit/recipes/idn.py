"""How IDN is trained: L1, then a little MSE on larger crops; is setting channels aside worth it?

The paper (Hui et al., 2018), x2: 291 pictures (T91 and 200 of Berkeley's), turned, flipped and
scaled to 0.6 ... 1; Y; LR crops of 29 pixels, batch 64; Adam at 1e-4, a tenth after each 250,000 of
600,000 steps, biases and the transposed convolution at a tenth of the rate; L1; then about 20,000
steps of MSE on crops of 39. x3 and x4 start from another scale's weights, which all fit.
Differs: Berkeley's pictures alone and not scaled, LR in 8 bits. The rate of the MSE stage is not
known: here it is a tenth of the first. The weight decay of 1e-4 in their Caffe files stands beside
a loss that is summed over the patch; beside a mean it would be 3e-8, so it is left out. In all
budgets but "paper" all parameters learn at one rate. In the small ones the network starts as an
enlargement, see `srkit.training.enlargement`; gradients are clipped, and the rate warms up, and is
halved after each fifth of the steps.

    srkit train idn                           L1, then MSE
    srkit train idn --variant plain           nothing set aside (compare with --variant L1)
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import nn

from srkit.calls import Call
from srkit.losses import L1, MSE
from srkit.models.idn import IDN, DBlock
from srkit.recipes.base import LoopBudget, Recipe
from srkit.reports.claims import Claim
from srkit.training.enlargement import carry, hush
from srkit.training.loop import enlarge_y
from srkit.training.schedules import Constant, Halving, Multistep, Schedule, Warmup
from srkit.training.stage import After, Prepared, Stage, loss_of

SCALE = 2


@dataclass(frozen=True, kw_only=True)
class Budget(LoopBudget):
    """Sizes of IDN's stages; those of the second one begin with `mse_`.

    slow: the share of the rate that biases and the transposed convolution learn at.
    """

    network: Call
    mse_steps: int
    mse_patch: int
    mse_rate: Schedule
    slow: float = 1.0


@torch.no_grad()
def begin_as_enlargement(model: IDN) -> None:
    """Let the network start as bicubic, or as repeated pixels where it makes all of the picture."""
    hush(model.upsample)
    if model.bicubic:
        return
    blocks = [layer for layer in model.modules() if isinstance(layer, DBlock)]
    hush(*(block.enhance.conv6 for block in blocks))
    for way in (model.conv1, model.conv2, *(block.down for block in blocks)):
        carry(way, channels=1)
    last = int(model.upsample.padding[0]) + 1
    model.upsample.weight[0, 0, last - SCALE : last, last - SCALE : last] = 1


def adam(model: nn.Module, slow: float) -> torch.optim.Adam:
    """Adam with `slow` times the rate for biases and the transposed convolution."""
    groups = ([], [])
    for name, parameter in model.named_parameters():
        groups[name.startswith("upsample") or name.endswith("bias")].append(parameter)
    return torch.optim.Adam(
        [{"params": groups[0]}, {"params": groups[1], "share": slow}], fused=True
    )


ENLARGEMENT = Prepared(Call(begin_as_enlargement))
FULL_SIZE = Call(IDN, scale=SCALE, channels=64, keep=16, step=16, blocks=4)

BUDGETS = {
    "smoke": Budget(
        data="procedural", tests=(), steps=2, batch=2, patch=8, mse_steps=2, mse_patch=10,
        network=Call(IDN, scale=SCALE, channels=8, keep=2, step=2, blocks=1, groups=2),
        rate=Warmup(Halving(1e-3, every=0.2), 0.03), mse_rate=Constant(1e-4), clip=0.1,
        start=ENLARGEMENT,
    ),
    "laptop": Budget(
        data="BSDS400", steps=2000, batch=8, patch=29, mse_steps=300, mse_patch=39,
        network=Call(IDN, scale=SCALE, channels=32, keep=8, step=8, blocks=3),
        rate=Warmup(Halving(1e-3, every=0.2), 0.03), mse_rate=Constant(1e-4), clip=0.1,
        start=ENLARGEMENT,
    ),
    "overnight": Budget(  # the paper's network
        data="BSDS400", steps=20_000, batch=8, patch=29, mse_steps=1000, mse_patch=39,
        network=FULL_SIZE, rate=Warmup(Halving(1e-3, every=0.2), 0.03), mse_rate=Constant(1e-4),
        clip=0.1, start=ENLARGEMENT, validate_every=2000,
    ),
    "gpu": Budget(
        data="BSDS400", steps=60_000, batch=64, patch=29, mse_steps=3000, mse_patch=39,
        network=FULL_SIZE, rate=Multistep(5e-4, at=(5 / 12, 10 / 12), factor=0.1),
        mse_rate=Constant(5e-5), validate_every=2000,
    ),
    "paper": Budget(
        data="BSDS400", steps=600_000, batch=64, patch=29, mse_steps=20_000, mse_patch=39,
        network=FULL_SIZE, rate=Multistep(1e-4, at=(5 / 12, 10 / 12), factor=0.1),
        mse_rate=Constant(1e-5), slow=0.1, validate_every=5000,
    ),
}  # fmt: skip


def l1(b: Budget, network: Call) -> Stage:
    """The first stage: L1, from the budget's start."""
    stage = b.stage("L1", network, loss_of(L1), scale=SCALE)
    return replace(stage, forward=Call(enlarge_y), optimizer=Call(adam, slow=b.slow))


def mse(b: Budget, network: Call) -> Stage:
    """The second stage: MSE on larger crops, from the weights that the variant "L1" ends with."""
    return replace(
        l1(b, network), name="MSE", loss=loss_of(MSE), steps=b.mse_steps, patch=b.mse_patch,
        rate=b.mse_rate, start=After("L1"),
    )  # fmt: skip


RECIPE = Recipe(
    label="IDN",
    scale=SCALE,
    budgets=BUDGETS,
    variants={
        "idn": lambda b: [mse(b, b.network)],
        "L1": lambda b: [l1(b, b.network)],
        "plain": lambda b: [l1(b, b.network.but(keep=0))],
        "groups-1": lambda b: [l1(b, b.network.but(groups=1))],
        "no-bicubic": lambda b: [l1(b, b.network.but(bicubic=False))],
    },
    published={  # Hui et al., x2
        "idn": {
            "Set5": {"psnr": 37.83, "ssim": 0.9600},
            "Set14": {"psnr": 33.30, "ssim": 0.9148},
            "BSD100": {"psnr": 32.08, "ssim": 0.8985},
        }
    },
    claims=(
        Claim("setting channels aside beats a plain residual block", "L1", "plain"),
        Claim("convolutions in four groups are no worse than whole ones", "L1", "groups-1", sign=0),
        Claim("adding to the bicubic picture beats making all of it", "L1", "no-bicubic"),
        Claim("a last stage of MSE on larger crops helps", "idn", "L1"),
    ),
)
