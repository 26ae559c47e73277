"""Losses of a U-Net discriminator, which judges the picture and each of its pixels.

    adversarial = UNetAdversarial(discriminator, rng=rng)
    loss = Huber(0.01) + 1e-3 * adversarial + 1.0 * Matching(discriminator)   # one pass for both
    adversarial.discriminator_loss(sr, hr)

The discriminator gives `encoder` logits, `decoder` logits (B, 1, H, W), and `maps`, its features.
From CIPLab (Jo et al., CVPRW 2020), after U-Net GAN (Schönfeld et al., CVPR 2020).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srkit.losses.adversarial import frozen, wide
from srkit.losses.objectives import Hinge
from srkit.losses.terms import FeatureTerm

HINGE = Hinge()


class Verdict(NamedTuple):
    encoder: Tensor
    decoder: Tensor  # (B, 1, H, W)
    maps: list[Tensor]


def judge(discriminator: nn.Module, image: Tensor) -> Verdict:
    encoder, decoder, maps = discriminator(wide(image))
    return Verdict(wide(encoder), wide(decoder), [wide(m) for m in maps])


class DiscriminatorView:
    """A frozen discriminator in the place of an extractor: in a sum, its terms share one pass."""

    layers = Verdict._fields

    def __init__(self, discriminator: nn.Module):
        self.discriminator, self.name = discriminator, type(discriminator).__name__

    def __call__(self, image: Tensor, layers: Iterable[str]) -> dict[str, Tensor | list[Tensor]]:
        with frozen(self.discriminator):
            verdict = judge(self.discriminator, image)
        return {layer: getattr(verdict, layer) for layer in layers}


class DiscriminatorTerm(FeatureTerm):
    """A term that looks through a discriminator."""

    def __init__(self, discriminator: nn.Module, layers: Iterable[str]):
        super().__init__()
        self.look_through(DiscriminatorView(discriminator), layers)

    @property
    def trunk(self) -> str:
        """Which discriminator: this very one, as its weights change."""
        return f"{self.extractor.name} {id(self.extractor.discriminator):#x}"


class UNetAdversarial(DiscriminatorTerm):
    """The mean of the hinge max(0, 1 - C(sr)) of encoder and of decoder; hr passes for `Matching`.

    cutmix: what the discriminator learns from pictures that are partly HR, see
    `discriminator_loss`.
    - "code": the authors', who call the whole mixed picture fake.
    - "mask": U-Net GAN's, where the decoder is told which pixels are HR's.
    - None: no mixed pictures.

    rng: a CPU generator that draws them; None is torch's own. Its state belongs into a run's
    checkpoints.
    """

    label = "adversarial"
    formula = "(max(0, 1 - C_enc(sr)) + max(0, 1 - C_dec(sr))) / 2"
    discriminator_steps = 1

    def __init__(
        self,
        discriminator: nn.Module,
        *,
        cutmix: str | None = "code",
        rng: torch.Generator | None = None,
    ):
        if cutmix not in ("code", "mask", None):
            raise ValueError(f"cutmix {cutmix!r} is unknown: 'code', 'mask' or None")
        super().__init__(discriminator, ("encoder", "decoder"))
        self.discriminator, self.cutmix, self.rng = discriminator, cutmix, rng

    def compare(self, sr: Mapping[str, Tensor], hr: Mapping[str, Tensor]) -> Tensor:
        return (HINGE.generator(sr["encoder"]) + HINGE.generator(sr["decoder"])) / 2

    def discriminator_loss(self, sr: Tensor, hr: Tensor) -> Tensor:
        """What the discriminator minimises: the hinge of encoder and of decoder.

        Every other time, at random, a `cutmix` of both pictures takes SR's place. Of it, the
        decoder should say what it says of SR and HR, mixed alike: + MSE (consistency). U-Net GAN
        leaves out HR's own terms in such a step. (CIPLab's probability min(step / 100000, 1/2)
        counts the 75000 steps of the pretraining, too: it is 1/2 wherever there is a
        discriminator.)
        """
        sr, hr = sr.detach(), hr.detach()
        fake, real = judge(self.discriminator, sr), judge(self.discriminator, hr)
        if self.cutmix is None or uniform(self.rng) >= 0.5:
            encoder = HINGE.discriminator(fake.encoder, real.encoder)
            return encoder + HINGE.discriminator(fake.decoder, real.decoder)
        picture, mask = cutmix(sr, hr, self.rng)
        mixed = judge(self.discriminator, picture)
        margin = -mixed.decoder  # all of it is called fake
        if self.cutmix == "mask":
            margin = torch.where(mask, mixed.decoder, margin)  # but for HR's box
        decoder = F.relu(1 - real.decoder).mean() + F.relu(1 - margin).mean()
        consistency = F.mse_loss(mixed.decoder, torch.where(mask, real.decoder, fake.decoder))
        return HINGE.discriminator(mixed.encoder, real.encoder) + decoder + consistency


class Matching(DiscriminatorTerm):
    """mean over the discriminator's maps of Huber_delta(map(sr) - map(hr)), hr's without gradient.

    It holds back what the adversarial term invents (CIPLab). Huber: e^2 / 2 up to delta, then
    delta (|e| - delta / 2).
    """

    label = "matching"

    def __init__(self, discriminator: nn.Module, delta: float = 0.01):
        super().__init__(discriminator, ("maps",))
        self.delta = delta
        self.formula = f"mean of Huber_{delta:g}(sr, hr) over the discriminator's maps"

    def compare(self, sr: Mapping[str, list[Tensor]], hr: Mapping[str, list[Tensor]]) -> Tensor:
        parts = [
            F.huber_loss(a, b, delta=self.delta)
            for a, b in zip(sr["maps"], hr["maps"], strict=True)
        ]
        return sum(parts) / len(parts)


def cutmix(sr: Tensor, hr: Tensor, rng: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
    """SR with a box of HR: the mixed pictures (B, 3, H, W) and the mask (1, 1, H, W), True in HR.

    The box has sides sqrt(1 - lam) of the picture's, lam ~ U(0, 1), any centre, and ends with the
    picture; it is the same for the batch (CutMix: Yun et al., ICCV 2019).
    """
    sides, ratio = hr.shape[-2:], (1 - uniform(rng)) ** 0.5
    inside = []
    for side in sides:
        centre, half = int(uniform(rng) * side), int(side * ratio) // 2
        place = torch.arange(side, device=hr.device)
        inside.append((place >= centre - half) & (place < centre + half))
    mask = (inside[0][:, None] & inside[1])[None, None]  # (H,), (W,) -> (1, 1, H, W)
    return torch.where(mask, hr, sr), mask


def uniform(rng: torch.Generator | None) -> float:
    return torch.rand((), generator=rng).item()
