"""Losses of a U-Net discriminator, which judges the picture as a whole and each of its pixels.

    adversarial = UNetAdversarial(discriminator, rng=rng)
    loss = Huber(0.01) + 1e-3 * adversarial + 1.0 * Matching(discriminator)   # one pass for both
    adversarial.discriminator_loss(sr, hr)

The discriminator gives a `srkit.models.ciplab.Verdict`: `encoder` logits, `decoder` logits
(B, 1, H, W), and `maps`, its features. From CIPLab (Jo et al., CVPRW 2020), after U-Net GAN
(Schönfeld et al., CVPR 2020).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srkit.losses.adversarial import Adversarial, frozen, wide
from srkit.losses.objectives import Hinge
from srkit.losses.terms import FeatureTerm
from srkit.models.ciplab import Verdict

HINGE = Hinge()


def verdict(discriminator: nn.Module, image: Tensor) -> Verdict:
    """What the discriminator says of a picture, in float32 at least."""
    encoder, decoder, maps = discriminator(wide(image))
    return Verdict(wide(encoder), wide(decoder), [wide(m) for m in maps])


class DiscriminatorView:
    """A frozen discriminator as an extractor: in a sum, terms that look through it share a pass."""

    layers = Verdict._fields

    def __init__(self, discriminator: nn.Module):
        self.discriminator, self.name = discriminator, type(discriminator).__name__

    @property
    def sha256(self) -> str:
        """Not a hash, as the weights change: the number of this very object."""
        return f"{id(self.discriminator):#x}"

    def __call__(self, image: Tensor, layers: Iterable[str]) -> dict[str, Tensor | list[Tensor]]:
        with frozen(self.discriminator):
            seen = verdict(self.discriminator, image)._asdict()
        return {layer: seen[layer] for layer in layers}


class UNetAdversarial(FeatureTerm, Adversarial):
    """The hinge max(0, 1 - C(sr)), the mean of the encoder's and the decoder's.

    cutmix: how the discriminator learns from pictures that are partly HR, see `discriminator_loss`.
    - "code": as in the authors' code, the whole mixed picture is called fake.
    - "mask": as in U-Net GAN, the decoder is told which pixels are HR's.
    - None: there are no mixed pictures.

    rng: a CPU generator that draws them; None takes torch's own. Its state belongs into a run's
    checkpoints.

    Raises ValueError for another cutmix.
    """

    label = "adversarial"

    def __init__(
        self,
        discriminator: nn.Module,
        *,
        cutmix: Literal["code", "mask"] | None = "code",
        rng: torch.Generator | None = None,
    ):
        if cutmix not in ("code", "mask", None):
            raise ValueError(f"cutmix {cutmix!r} is unknown: 'code', 'mask' or None")
        super().__init__(discriminator, HINGE, rng=rng)
        self.look_through(DiscriminatorView(discriminator), ("encoder", "decoder"))
        self.cutmix = cutmix
        self.formula = "(max(0, 1 - C_enc(sr)) + max(0, 1 - C_dec(sr))) / 2"

    def compare(self, sr: Mapping[str, Tensor], hr: Mapping[str, Tensor]) -> Tensor:
        return (HINGE.generator(sr["encoder"]) + HINGE.generator(sr["decoder"])) / 2

    def discriminator_loss(self, sr: Tensor, hr: Tensor) -> Tensor:
        """What the discriminator minimises: the hinge of encoder and of decoder.

        With probability 1/2 a `cutmix` of both pictures takes SR's place. The decoder should say
        of it what it says of SR and of HR, mixed alike: their MSE is added (consistency). U-Net GAN
        leaves out HR's own terms in such a step. (CIPLab's probability, min(step / 100000, 1/2),
        also counts its 75000 steps of pretraining: it is 1/2 wherever there is a discriminator.)
        """
        sr, hr = sr.detach(), hr.detach()
        fake, real = verdict(self.discriminator, sr), verdict(self.discriminator, hr)
        if self.cutmix is None or uniform(self.rng) >= 0.5:
            encoder = HINGE.discriminator(fake.encoder, real.encoder)
            return encoder + HINGE.discriminator(fake.decoder, real.decoder)
        picture, mask = cutmix(sr, hr, self.rng)
        mixed = verdict(self.discriminator, picture)
        margin = -mixed.decoder  # all of it is called fake
        if self.cutmix == "mask":
            margin = torch.where(mask, mixed.decoder, margin)  # but for HR's box
        decoder = F.relu(1 - real.decoder).mean() + F.relu(1 - margin).mean()
        consistency = F.mse_loss(mixed.decoder, torch.where(mask, real.decoder, fake.decoder))
        return HINGE.discriminator(mixed.encoder, real.encoder) + decoder + consistency


class Matching(FeatureTerm):
    """mean over the discriminator's maps of Huber_delta(map(sr) - map(hr)).

    It holds back what the adversarial term invents (CIPLab). Huber: e^2 / 2 up to |e| = delta, then
    delta (|e| - delta / 2). Only sr gets gradients.
    """

    label = "matching"

    def __init__(self, discriminator: nn.Module, delta: float = 0.01):
        super().__init__()
        self.look_through(DiscriminatorView(discriminator), ("maps",))
        self.delta = delta
        self.formula = f"mean of Huber_{delta:g}(sr, hr) over the discriminator's maps"

    def compare(self, sr: Mapping[str, list[Tensor]], hr: Mapping[str, list[Tensor]]) -> Tensor:
        pairs = list(zip(sr["maps"], hr["maps"], strict=True))
        total = sum((F.huber_loss(a, b, delta=self.delta) for a, b in pairs), torch.zeros(()))
        return total / len(pairs)


def cutmix(sr: Tensor, hr: Tensor, rng: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
    """SR with a random box of HR: the pictures (B, 3, H, W) and the mask (1, 1, H, W), True in HR.

    The box's sides are sqrt(1 - lam) of the picture's, with lam ~ U(0, 1). Its centre is anywhere;
    what would lie outside the picture is cut off. One box for the whole batch (CutMix: Yun et al.,
    ICCV 2019).
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
    return torch.rand((), generator=rng, device="cpu").item()
