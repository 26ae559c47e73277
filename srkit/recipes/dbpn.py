"""How DBPN is trained: is error feedback worth it, and more of it worth more?

The paper (Haris et al., CVPR 2018), x4: DIV2K, Flickr and ImageNet (their code flips and turns); LR
crops of 32 pixels, batch 20; Adam at 1e-4, a tenth after half of 1e6 steps; L1. Its ablation: S, M
and L, of 2, 4 and 6 plain stages of 32 channels, on Y; then D-DBPN, 7 dense stages of 64 on RGB.
Differs: DIV2K alone. The weight decay of 1e-4 in their Caffe files stands beside a loss that is
summed over all pixels; beside a mean it would be 2e-10, so it is left out, as in their PyTorch
code. In the small budgets the network starts as an enlargement, see `srkit.training.enlargement`;
the rate warms up, and is halved after each fifth of the steps.

    srkit train dbpn                          dense, RGB
    srkit train dbpn --variant no-feedback    the same layers, the error not subtracted
    srkit train dbpn --variant last-only      of all maps of full size only the last is read
    srkit train dbpn --variant x8             the same at eight times
    srkit train dbpn --variant S              the ladder: S, M, L, L-dense
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import nn

from srkit.calls import Call
from srkit.losses import L1
from srkit.models.dbpn import DBPN, Unit
from srkit.recipes.base import LoopBudget, Recipe
from srkit.reports.claims import Claim
from srkit.training.enlargement import carry, hush
from srkit.training.loop import enlarge_y
from srkit.training.schedules import Halving, Multistep, Warmup
from srkit.training.stage import Prepared, Stage, loss_of

SCALE = 4


@dataclass(frozen=True, kw_only=True)
class Budget(LoopBudget):
    """Sizes of DBPN's stage.

    network: D-DBPN. x8_patch: side of a crop at x8, in LR pixels; half of x4's, except in the
    paper, makes HR crops of one size. S, M, L: the networks of the ablation.
    """

    network: Call
    x8_patch: int
    S: Call
    M: Call
    L: Call


def begin_as_enlargement(model: DBPN) -> None:
    """Let the first channels carry the picture through all units: see `srkit.training.enlargement`.

    Each unit's way back carries it too, so that the error which is fed back begins as one (the
    picture's detail, or nothing), not as noise as large as the picture.
    """
    output = model.output_conv[0]
    hush(output)
    carry(output, channels=model.colours, others=1.0)
    ways = [model.feat0[0], model.feat1[0]]
    for unit in model.modules():
        if isinstance(unit, Unit):  # 1x1 first if it reads several maps, then three
            *mix, there, back, again = filter(is_convolution, unit.modules())
            hush(again, quiet=0.03)
            ways += [*mix, there, back]
    for way in ways:
        carry(way, channels=model.colours)


def is_convolution(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)


def plain(channels: int, features: int, stages: int) -> Call:
    """A network of the ablation: plain units, on Y."""
    return Call(
        DBPN, scale=SCALE, channels=channels, features=features, stages=stages, dense=False,
        colours=1,
    )  # fmt: skip


ENLARGEMENT = Prepared(Call(begin_as_enlargement))
D_DBPN = Call(DBPN, scale=SCALE, channels=64, features=256, stages=7)

BUDGETS = {
    "smoke": Budget(
        data="procedural", tests=(), steps=2, batch=2, patch=8, x8_patch=4,
        network=Call(DBPN, scale=SCALE, channels=4, features=8, stages=3),
        S=plain(4, 8, 1), M=plain(4, 8, 2), L=plain(4, 8, 3),
        rate=Warmup(Halving(5e-4, every=0.2), 0.03), start=ENLARGEMENT,
    ),
    "laptop": Budget(
        data="BSDS400", steps=1200, batch=8, patch=16, x8_patch=8,
        network=Call(DBPN, scale=SCALE, channels=18, features=64, stages=3),
        S=plain(18, 64, 1), M=plain(18, 64, 2), L=plain(18, 64, 3),
        rate=Warmup(Halving(1e-3, every=0.2), 0.03), start=ENLARGEMENT,
    ),
    "overnight": Budget(
        data="BSDS400", steps=12_000, batch=8, patch=16, x8_patch=8,
        network=Call(DBPN, scale=SCALE, channels=24, features=96, stages=5),
        S=plain(18, 64, 2), M=plain(18, 64, 4), L=plain(18, 64, 6),
        rate=Warmup(Halving(1e-3, every=0.2), 0.03), start=ENLARGEMENT, validate_every=2000,
    ),
    "gpu": Budget(
        data="DIV2K_train", steps=30_000, batch=20, patch=32, x8_patch=16, network=D_DBPN,
        S=plain(32, 128, 2), M=plain(32, 128, 4), L=plain(32, 128, 6),
        rate=Multistep(1e-4, at=(0.5,), factor=0.1), validate_every=2000,
    ),
    "paper": Budget(
        data="DIV2K_train", steps=1_000_000, batch=20, patch=32, x8_patch=32, network=D_DBPN,
        S=plain(32, 128, 2), M=plain(32, 128, 4), L=plain(32, 128, 6),
        rate=Multistep(1e-4, at=(0.5,), factor=0.1), validate_every=10_000,
    ),
}  # fmt: skip


def on_rgb(b: Budget, network: Call) -> Stage:
    """L1 of a network of RGB."""
    return b.stage("pixel", network, loss_of(L1), scale=SCALE)


def at_x8(b: Budget, network: Call) -> Stage:
    """The same at eight times, where the paper gains most."""
    return replace(on_rgb(b, network.but(scale=8)), scale=8, patch=b.x8_patch)


def on_y(b: Budget, network: Call) -> Stage:
    """L1 of a network of Y."""
    return replace(on_rgb(b, network), forward=Call(enlarge_y))


RECIPE = Recipe(
    label="DBPN",
    scale=SCALE,
    budgets=BUDGETS,
    variants={
        "dbpn": lambda b: [on_rgb(b, b.network)],
        "no-feedback": lambda b: [on_rgb(b, b.network.but(feedback=False))],
        "last-only": lambda b: [on_rgb(b, b.network.but(last_only=True))],
        "x8": lambda b: [at_x8(b, b.network)],
        "x8-no-feedback": lambda b: [at_x8(b, b.network.but(feedback=False))],
        "S": lambda b: [on_y(b, b.S)],
        "M": lambda b: [on_y(b, b.M)],
        "L": lambda b: [on_y(b, b.L)],
        "L-no-feedback": lambda b: [on_y(b, b.L.but(feedback=False))],
        "L-dense": lambda b: [on_y(b, b.L.but(dense=True))],
    },
    published={  # Haris et al.; L as a review of the paper quotes it
        "dbpn": {
            "Set5": {"psnr": 32.47, "ssim": 0.898},
            "Set14": {"psnr": 28.82, "ssim": 0.786},
            "BSD100": {"psnr": 27.72, "ssim": 0.740},
        },
        "L": {"Set5": {"psnr": 31.86}},
        "x8": {
            "Set5": {"psnr": 27.21, "ssim": 0.784},
            "Set14": {"psnr": 25.13, "ssim": 0.648},
            "BSD100": {"psnr": 24.88, "ssim": 0.601},
        },
    },
    claims=(
        Claim("error feedback helps", "dbpn", "no-feedback"),
        Claim("error feedback helps at eight times, too", "x8", "x8-no-feedback"),
        Claim("error feedback helps without dense units, too", "L", "L-no-feedback"),
        Claim("M's stages beat S's", "M", "S"),
        Claim("L's stages beat M's", "L", "M"),
        Claim("dense units beat plain ones", "L-dense", "L", paper=0.13),
        Claim("reading all maps beats reading only the last", "dbpn", "last-only"),
    ),
)
