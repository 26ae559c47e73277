"""Trainings small enough to be run many times: what the tests of the engine train.

As a program, `python tests/toy.py KIND FOLDER [option=value ...]` trains one of them: a process
that a test can kill, or one of several that torchrun starts.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srkit import files
from srkit.datasets.patches import Patches
from srkit.losses import L1, GradientBalance, RelativisticAverage, Uncertainty
from srkit.losses.adversarial import Adversarial, class_loss
from srkit.losses.contrastive import RANDOM_TANH, Contrastive
from srkit.losses.objectives import Standard, Wasserstein
from srkit.metrics.features import random_tanh
from srkit.models.network import Network
from srkit.training import checkpoints
from srkit.training.loop import adam, fit
from srkit.training.record import Record, StageResult
from srkit.training.schedules import Halving, Warmup

STEPS = 24
# A moment of this run's own; a failure tells it, SRKIT_TEST_SEED repeats it.
SEED = int(os.environ.get("SRKIT_TEST_SEED", random.randrange(10**6)))
KILL_AT = random.Random(SEED).randrange(4, STEPS)


class Enlarger(Network):
    """Nearest neighbours and what two layers add. With `drop` every step takes random numbers."""

    scale, name = 2, "toy"

    def __init__(self, drop: float = 0.0):
        super().__init__()
        self.head, self.tail = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 12, 3, padding=1)
        self.drop = nn.Dropout(drop)
        nn.init.normal_(self.tail.weight, std=0.01)  # almost nearest neighbours, not quite

    def forward(self, x: Tensor) -> Tensor:
        more = F.pixel_shuffle(self.tail(self.drop(F.relu(self.head(x)))), 2)
        return x.repeat_interleave(2, -1).repeat_interleave(2, -2) + more


class Discriminator(nn.Module):
    """Two layers, mean: (B, 3, H, W) -> (B, 1); no batch norm, so that samples are on their own."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 4, stride=2), nn.LeakyReLU(0.2), nn.Conv2d(8, 1, 4, stride=2)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x).mean((1, 2, 3))[:, None]


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), f"{name} differs (SRKIT_TEST_SEED={SEED})"


def record(seed: int = 0, psnr: float = 30.0, **changed: Any) -> Record:
    """A record as a test wants it: RLFN's variant "long", of two validations."""
    history = [{"step": 1500, "psnr": 29.0}, {"step": 3000, "psnr": psnr}]
    known = {
        "recipe": "rlfn", "variant": "long", "budget": "laptop", "seed": seed, "code": "0",
        "plan": {"stages": []}, "paper": {"metrics": {"Set5": {"psnr": 32.24}}, "stages": []},
        "parameters": 87_816, "minutes": 4.25, "cpu_minutes": 4.0, "peak_memory_mib": 1200,
        "machine": {"gpu": None, "threads": 1, "capability": "AVX2", "torch": "2.14.1"},
        "metrics": {"Set5": {"psnr": psnr, "ssim": 0.85}, "Set14": {"psnr": psnr - 3}},
        "stages": (StageResult(steps=3000, minutes=4.25, history=history),),
    }  # fmt: skip
    return Record(**known | changed)


def steps_of(folder: Path) -> list[int]:
    return [int(path.stem.removeprefix("checkpoint-")) for path in checkpoints.found(folder)]


# one file


def ended(process: subprocess.Popen, seconds: float = 120) -> int:
    """Its exit status, and never a process that stays behind."""
    try:
        process.communicate(timeout=seconds)
        return process.returncode
    finally:
        process.kill()


def noise(count: int = 3, side: int = 40, seed: int = 5) -> list[Tensor]:
    """uint8 pictures of noise, smooth enough to be learned from."""
    rng = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, side // 4, side // 4, generator=rng)
    fine = F.interpolate(coarse, size=(side, side), mode="bilinear")
    return list((255 * fine).round().to(torch.uint8))


class Crops(Patches):
    """Crops that do something as the n-th batch is asked for: `at={n: action}`; 1 is the first."""

    def __init__(self, at: dict | None = None, delay: float = 0.0):
        super().__init__(noise(), 2)
        self.at, self.delay, self.asked = at or {}, delay, 0

    def batch(self, *args, **named) -> dict:
        self.asked += 1
        self.at.get(self.asked, lambda: None)()
        time.sleep(self.delay)
        return super().batch(*args, **named)


def pixel(drop: float) -> tuple[nn.Module, dict]:
    return Enlarger(drop), {"loss": L1(), "ema": 0.9, "clip": 0.5}


def gan(drop: float) -> tuple[nn.Module, dict]:
    model = Enlarger(drop)
    loss = L1() + 0.1 * Adversarial(Discriminator(), Standard())
    return model, {
        "loss": loss,
        "from_scratch": True,
        "discriminator_rate": Warmup(Halving(2e-3, 0.3)),
    }


def penalty(drop: float) -> tuple[nn.Module, dict]:
    """Its discriminator draws the points of a gradient penalty, from a generator of its own."""
    model = Enlarger(drop)
    objective = Wasserstein(discriminator_steps=2)
    term = Adversarial(Discriminator(), objective, rng=torch.Generator().manual_seed(8))
    return model, {"loss": L1() + 0.01 * term, "from_scratch": True}


def balanced(drop: float) -> tuple[nn.Module, dict]:
    """Two terms whose weights are learned with the network, and an optimiser of the caller's."""
    model, loss = Enlarger(drop), L1() + 0.1 * Adversarial(Discriminator(), Standard())
    loss = loss.balanced(Uncertainty(loss.terms))
    optimizer = adam(nn.ModuleList([model, loss.balance]), betas=(0.8, 0.99))
    return model, {"loss": loss, "from_scratch": True, "optimizer": optimizer, "ema": 0.8}


def batch(drop: float) -> tuple[nn.Module, dict]:
    """All that looks at the batch as a whole: batch norm in both networks, a relativistic
    discriminator, a balance by the gradients of the batch; and a layer without a gradient."""
    model, discriminator = Enlarger(drop), Discriminator()
    model.drop = nn.Sequential(nn.BatchNorm2d(8), model.drop)
    for k in (0, 2):  # a batch norm and a difference take them out: gradients of mere rounding
        discriminator.layers[k].register_parameter("bias", None)
    discriminator.layers.insert(1, nn.BatchNorm2d(8))
    model.unused, model.idle = nn.Linear(1, 1), True
    loss = L1() + 0.1 * Adversarial(discriminator, RelativisticAverage())
    loss = loss.balanced(GradientBalance("adversarial", model.tail.weight))
    return model, {"loss": loss, "from_scratch": True}


KINDS = {"pixel": pixel, "gan": gan, "penalty": penalty, "balanced": balanced, "batch": batch}


def train(
    kind: str, folder: Path | None = None, crops: Patches | None = None, drop=0.3, **how
) -> dict[str, Tensor]:
    """Train it and return all that was learned: the network's weights, the loss's."""
    torch.manual_seed(1)
    model, own = KINDS[kind](drop)
    loss = own.pop("loss")
    how = {
        "steps": STEPS, "batch": 4, "patch": 8, "rate": Halving(5e-3, 0.4), "validate_every": 6,
        "save_every": 3, "device": "cpu",
    } | own | how  # fmt: skip
    fit(model, loss, crops or Crops(), folder=folder, **how)
    learned = {"model": model, "loss": 1.0 * loss}
    return {f"{k}.{n}": v for k, m in learned.items() for n, v in m.state_dict().items()}


def gradients(i: int = 0, n: int = 1) -> dict[str, Tensor]:
    """At SR and at logits, of losses that are no means over samples: from the i-th of n shares."""
    rng = torch.Generator().manual_seed(3)
    sr, hr, negative = torch.rand(3, 4, 3, 16, 16, generator=rng)[:, i::n]
    said, category = torch.randn(4, 3, generator=rng)[i::n], torch.tensor([0, 1, 0, 2])[i::n]
    sr, said = sr.clone().requires_grad_(), said.clone().requires_grad_()
    contrast = Contrastive(random_tanh(), RANDOM_TANH)
    (contrast(sr, hr, negative=negative) + class_loss(said, category)).backward()
    return {"sr": sr.grad / n, "logits": said.grad / n}


def die_while_writing(number: int) -> None:
    """The process is gone as it is about to put its `number`-th checkpoint in place."""
    replace, left = os.replace, [number]

    def killed(source, target):
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)

    files.os.replace = killed


def main(kind: str, folder: str, *options: str) -> None:
    torch.set_num_threads(1)
    given = dict(option.split("=") for option in options)
    hang, delay = int(given.get("hang", 0)), float(given.get("delay", 0))
    if writing := int(given.get("die_while_writing", 0)):
        die_while_writing(writing)
    train(kind, Path(folder), Crops({hang: lambda: time.sleep(600)}, delay))


if __name__ == "__main__":
    main(*sys.argv[1:])
