"""Perceptual losses: two pictures compared by what a trained network sees in them.

    content("esrgan")                                        # the paper's layers, weights and trunk
    content("esrgan", extractor=vgg19("oxford"))             # another trunk, in comparable units
    content("esrgan", extractor="random")                    # no trunk at hand
    Content(vgg19(), {"conv3_4": 0.5, "conv5_4": 1}, criterion="l1")     # your own

Content loss: Johnson et al., ECCV 2016, and SRGAN, CVPR 2017. Transferal loss: TTSR, CVPR 2020.
LPIPS: Zhang et al., CVPR 2018, as CIPLab trains with it (NTIRE 2020, x16).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srkit.losses.terms import Features, FeatureTerm, Term, mean
from srkit.metrics.features import Extractor, random_tanh, vgg19
from srkit.metrics.lpips import lpips_distance, lpips_network

Unit = float | Tensor  # (B, 1, 1, 1)
CRITERIA = {"l1": "mean |sr - hr|", "mse": "mean (sr - hr)²"}


class Layers(FeatureTerm):
    """sum_j w_j distance(phi_j(sr) / unit_j, phi_j(hr) / unit_j), phi_j the features of layer j.

    unit, what features are divided by before they are compared:

    - a number: 1 leaves them as they are, 12.75 is SRGAN's;
    - "mean": their mean magnitude in each picture (EnhanceNet's "mean of one");
    - "rms": their root mean square on one fixed picture, so that weights mean much the same with
      every trunk: Oxford's conv5_4 has 50, a random network 1 or so.

    A subclass gives `distance`.
    """

    def __init__(self, extractor: Extractor, weights: Mapping[str, float], unit: float | str):
        super().__init__()
        if isinstance(unit, str) and unit not in ("mean", "rms"):
            raise ValueError(f"unit {unit!r} is unknown: a number, 'mean' or 'rms'")
        self.look_through(extractor, weights)
        if extractor.name.startswith("random"):
            self.label += " (random)"
        self.weights, self.units = dict(weights), None
        if unit == "rms":
            self.units = rms(extractor, self.layers)
        elif unit != "mean":
            self.units = dict.fromkeys(self.layers, float(unit))

    def distance(self, sr: Tensor, hr: Tensor, of_sr: Unit, of_hr: Unit) -> Tensor:
        """Between features sr / of_sr and hr / of_hr, whose units may be of each picture."""
        raise NotImplementedError(f"{type(self).__name__} has no distance(sr, hr, of_sr, of_hr)")

    def compare(self, sr: Features, hr: Features) -> Tensor:
        total = 0
        for layer, weight in self.weights.items():
            a, b = sr[layer], hr[layer]
            distance = self.distance(a, b, self.unit(a, layer), self.unit(b, layer))
            total = total + weight * distance
        return total

    def unit(self, features: Tensor, layer: str) -> Unit:
        if self.units is not None:
            return self.units[layer]
        size = features[0].numel()
        return (features.abs().sum((1, 2, 3), keepdim=True) / size).clamp_min(1e-6)  # (B, 1, 1, 1)

    def where(self) -> str:
        """At which layers of which trunk, in which units: the end of a formula."""
        terms = []
        for layer, weight in self.weights.items():
            unit = "/mean" if self.units is None else f"/{self.units[layer]:.4g}"
            times = "" if weight == 1 else f"{weight:g} "
            terms.append(times + layer + (unit if unit != "/1" else ""))
        return f"at {', '.join(terms)} of {self.trunk}"


def rms(extractor: Extractor, layers: Sequence[str]) -> dict[str, float]:
    """Root mean square of each layer's features on one grey picture, the same everywhere.

    It is noise whose spectrum falls like 1/f, as that of photographs does; up to conv5_4 of
    Oxford's VGG-19 its rms is within a third of theirs.
    """
    size = 128
    noise = torch.randn(size, size, generator=torch.Generator().manual_seed(0))
    f = torch.fft.fftfreq(size)
    f = torch.hypot(f[:, None], f).clamp_min(1 / size)
    grey = torch.fft.ifft2(torch.fft.fft2(noise) / f).real
    grey = (0.5 + 0.25 * (grey - grey.mean()) / grey.std()).clamp(0, 1)
    with torch.no_grad():
        seen = extractor(grey.expand(1, 3, -1, -1).to(extractor.mean.device), layers)
    return {layer: features.square().mean().sqrt().item() for layer, features in seen.items()}


class Content(Layers):
    """sum_j w_j mean |d_j| ("l1") or mean d_j² ("mse"), d_j the difference at layer j.

    weights: by layer, `conv5_4` before the ReLU, `relu5_4` after it, `pool5` after the pooling.
    unit: what features are divided by, see `Layers`.

    Raises ValueError for a layer that the extractor has not, an unknown criterion or unit.
    """

    label = "content"

    def __init__(
        self,
        extractor: Extractor,
        weights: Mapping[str, float],
        *,
        criterion: str = "mse",
        unit: float | str = 1.0,
    ):
        if criterion not in CRITERIA:
            raise ValueError(f"criterion {criterion!r} is unknown: one of {', '.join(CRITERIA)}")
        super().__init__(extractor, weights, unit)
        self.criterion = criterion
        self.formula = f"{CRITERIA[criterion]} {self.where()}"

    def distance(self, sr: Tensor, hr: Tensor, of_sr: Unit, of_hr: Unit) -> Tensor:
        difference = sr / of_sr - hr / of_hr
        return mean(difference.abs() if self.criterion == "l1" else difference.square())


class Setup(NamedTuple):
    """What a paper compares: VGG-19's layers and their weights, how, in which training of VGG."""

    weights: Mapping[str, float]
    criterion: str
    unit: float | str
    lineage: str


# SRGAN's factor, 1/12.75, suits features fed 0..255, which are Oxford's: VGG54 is then of the order
# of the MSE. Papers written in PyTorch take torchvision's VGG, and weights that suit it.
SETUPS = {
    "srgan_vgg22": Setup({"relu2_2": 1.0}, "mse", 12.75, "oxford"),
    "srgan_vgg33": Setup({"relu3_3": 1.0}, "mse", 1.0, "torchvision"),
    "srgan_vgg54": Setup({"relu5_4": 1.0}, "mse", 12.75, "oxford"),
    "enhancenet": Setup({"pool2": 0.2, "pool5": 0.02}, "mse", "mean", "oxford"),
    "sftgan": Setup({"conv5_4": 1.0}, "l1", 1.0, "torchvision"),
    "srfeat": Setup({"relu5_4": 1.0}, "mse", 12.75, "oxford"),
    "esrgan": Setup({"conv5_4": 1.0}, "l1", 1.0, "torchvision"),
    "ttsr": Setup({"relu5_1": 1.0}, "mse", 1.0, "torchvision"),
}


def content(
    name: str, extractor: Extractor | str | None = None, *, unit: float | str | None = None
) -> Content:
    """A paper's content loss, by name: a row of SETUPS.

    "srgan_vgg22", "srgan_vgg54": after the ReLU, "phi_2,2" and "phi_5,4" of SRGAN (Sec. 2.2.1).
    "srgan_vgg33": a variant in wide use, cut where VGG-16 usually is; without SRGAN's 1/12.75.
    "esrgan", "sftgan": before the ReLU, L1. "srfeat": the authors also clip sr to [0, 1], after
    which values outside have no gradient: `loss(sr.clamp(0, 1), hr)`. "ttsr": its VGG term alone.

    extractor: None takes the training of VGG-19 that the paper used. "random" takes
    `features.random_tanh()` at conv2, weighed by the sum of the weights. Any other stands in for
    VGG-19 and needs its layers' names.

    unit: what features are divided by (`Layers`). None takes the paper's with the paper's trunk or
    where it is a mean, and else "rms": magnitudes of another trunk are others, and a weight as
    published would mean nothing. The formula, as printed, says which.

    Raises FileNotFoundError, with the way to get it, for a trunk that is not at hand; ValueError
    for an unknown name.
    """
    if name not in SETUPS:
        raise ValueError(f"no content loss {name!r}: one of {', '.join(SETUPS)}")
    setup = SETUPS[name]
    extractor, weights, paper_unit = stand_in(extractor, setup)
    unit = paper_unit if unit is None else unit
    return Content(extractor, weights, criterion=setup.criterion, unit=unit)


def stand_in(
    extractor: Extractor | str | None, setup: Setup
) -> tuple[Extractor, Mapping[str, float], float | str]:
    """The extractor to look through, the weights of its layers and the unit to take with it."""
    if extractor is None:
        extractor = vgg19(setup.lineage)
    elif extractor == "random":
        return random_tanh(), {"conv2": sum(setup.weights.values())}, "rms"
    elif isinstance(extractor, str):
        raise ValueError(
            f"extractor {extractor!r}: an Extractor such as vgg19('oxford'), 'random' or None"
        )
    own = extractor.name == f"vgg19-{setup.lineage}" or setup.unit == "mean"
    return extractor, setup.weights, setup.unit if own else "rms"


class Transferal(Term):
    """mean over the three levels of mean (LTE(sr) - T)²: TTSR's transferal perceptual loss.

    lte: a picture in [0, 1] -> its textures at three scales; TTSR's `model.LTE`, as it is at each
    call. It learns nothing through sr. T, `transferred`, are the textures found in the reference,
    in the LTE's order: `(a.t1, a.t2, a.t3)` of TTSR's attention `a`. As in the authors' code they
    are a target with gradients of its own; detach them if they shall be none.
    """

    label = "transferal"
    formula = "mean over levels of mean (LTE(sr) - T)²"
    needs = {"transferred": "the textures that TTSR transferred: (a.t1, a.t2, a.t3) of attention a"}

    def __init__(self, lte: nn.Module):
        super().__init__()
        self.lte = (lte,)  # the network's, not a part of this module

    def value(self, sr: Tensor, hr: Tensor, transferred: Sequence[Tensor]) -> Tensor:
        (lte,) = self.lte
        frozen = {name: weight.detach() for name, weight in lte.named_parameters()}
        with torch.autocast(sr.device.type, enabled=False):
            textures = torch.func.functional_call(lte, frozen, (sr,))
            pairs = list(zip(textures, transferred, strict=True))
            return sum(F.mse_loss(a, t.to(a.dtype)) for a, t in pairs) / len(pairs)


class LPIPS(FeatureTerm):
    """`srkit.lpips` as a loss: mean over the batch, gradients to sr, which may leave [0, 1].

    net: "alex" (CIPLab, weight 1e-3), "squeeze" or "vgg". Who trains with it should not report it:
    measure with another net.

    Raises ValueError for an unknown net, FileNotFoundError where its trunk is not at hand.
    """

    label = "LPIPS"

    def __init__(self, net: str = "alex"):
        super().__init__()
        extractor, heads = lpips_network(net)
        self.look_through(extractor, heads)
        self.heads = nn.ParameterDict(heads).requires_grad_(False)
        self.formula = (
            "sum of w (sr - hr)² of unit length a pixel, "
            f"at {', '.join(self.layers)} of {self.trunk}"
        )

    def compare(self, sr: Features, hr: Features) -> Tensor:
        return lpips_distance(sr, hr, self.heads).mean()
