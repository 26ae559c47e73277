"""Perceptual losses compare what a trained network, the trunk, sees in two pictures.

    content("esrgan")                                        # the paper's layers, weights and trunk
    content("esrgan", extractor=vgg19("oxford"))             # another trunk, in comparable units
    content("esrgan", extractor="random")                    # without a trunk's file
    Content(vgg19(), {"conv3_4": 0.5, "conv5_4": 1}, criterion="l1")     # layers of your own

Content loss: Johnson et al., ECCV 2016, and SRGAN, CVPR 2017. Transferal loss: TTSR, CVPR 2020.
LPIPS: Zhang et al., CVPR 2018, as CIPLab trains with it (NTIRE 2020, x16).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srkit.losses.terms import Features, FeatureTerm, Term, feature_mean
from srkit.metrics.features import Extractor, random_tanh, vgg19
from srkit.metrics.lpips import lpips_distance, lpips_network

Unit = float | Tensor  # (B, 1, 1, 1)
CRITERIA = {"l1": "mean |sr - hr|", "mse": "mean (sr - hr)²"}


class Layers(FeatureTerm):
    """sum_j w_j distance(phi_j(sr) / unit_j, phi_j(hr) / unit_j), phi_j the features of layer j.

    A subclass gives `distance`. weights: w_j by layer. unit: what features are divided by first:

    - a number: 1 leaves them as they are, 12.75 is SRGAN's;
    - "mean": their mean magnitude in each picture (EnhanceNet's "mean of one");
    - "rms": their root mean square on one fixed picture, so that a weight means much the same with
      every trunk. It is 50 for Oxford's conv5_4, about 1 for a random network.

    Raises ValueError for a layer that the extractor has not, or an unknown unit.
    """

    def __init__(self, extractor: Extractor, weights: Mapping[str, float], unit: float | str):
        super().__init__()
        if isinstance(unit, str) and unit not in ("mean", "rms"):
            raise ValueError(f"unit {unit!r} is unknown: a number, 'mean' or 'rms'")
        self.look_through(extractor, weights)
        if extractor.name.startswith("random"):
            self.label += " (random)"
        self.weights = dict(weights)
        self.units: dict[str, float] | None = None  # None: each picture's own, unit="mean"
        if unit == "rms":
            self.units = rms(extractor, self.layers)
        elif unit != "mean":
            self.units = dict.fromkeys(self.layers, float(unit))

    def distance(self, sr: Tensor, hr: Tensor, of_sr: Unit, of_hr: Unit) -> Tensor:
        """The distance of features sr / of_sr and hr / of_hr, (B, C, h, w) each."""
        raise NotImplementedError(f"{type(self).__name__} has no distance(sr, hr, of_sr, of_hr)")

    def compare(self, sr: Features, hr: Features) -> Tensor:
        total = torch.zeros(())
        for layer, weight in self.weights.items():
            a, b = sr[layer], hr[layer]
            distance = self.distance(a, b, self.unit(a, layer), self.unit(b, layer))
            total = total + weight * distance
        return total

    def unit(self, features: Tensor, layer: str) -> Unit:
        """What these features of a layer are divided by."""
        if self.units is not None:
            return self.units[layer]
        size = features[0].numel()
        return (features.abs().sum((1, 2, 3), keepdim=True) / size).clamp_min(1e-6)  # (B, 1, 1, 1)

    def where(self) -> str:
        """The end of a formula: at which layers, in which units, of which trunk."""
        terms = []
        for layer, weight in self.weights.items():
            unit = "/mean" if self.units is None else f"/{self.units[layer]:.4g}"
            times = "" if weight == 1 else f"{weight:g} "
            terms.append(times + layer + (unit if unit != "/1" else ""))
        return f"at {', '.join(terms)} of {self.trunk}"


def rms(extractor: Extractor, layers: Sequence[str]) -> dict[str, float]:
    """Root mean square of each layer's features on one grey picture, always the same.

    The picture is noise whose spectrum falls like 1/f, as that of photographs does. In all layers
    of Oxford's VGG-19 up to conv5_4 its rms is within a third of that of photographs.
    """
    size = 128
    noise = torch.randn(size, size, generator=torch.Generator().manual_seed(0), device="cpu")
    f = torch.fft.fftfreq(size, device="cpu")
    f = torch.hypot(f[:, None], f).clamp_min(1 / size)
    grey = torch.fft.ifft2(torch.fft.fft2(noise) / f).real
    grey = (0.5 + 0.25 * (grey - grey.mean()) / grey.std()).clamp(0, 1)
    with torch.no_grad():
        seen = extractor(grey.expand(1, 3, -1, -1).to(extractor.mean.device), layers)
    return {layer: features.square().mean().sqrt().item() for layer, features in seen.items()}


class Content(Layers):
    """sum_j w_j mean |d_j| ("l1") or mean d_j² ("mse"), d_j the difference at layer j.

    weights: by layer, named `conv5_4` before the ReLU, `relu5_4` after it, `pool5` after pooling.
    unit: what features are divided by first, see `Layers`.

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
        return feature_mean(difference.abs() if self.criterion == "l1" else difference.square())


class Setup(NamedTuple):
    """A paper's perceptual loss: weights by layer of VGG-19, and which training of VGG it means."""

    weights: Mapping[str, float]
    criterion: str
    unit: float | str
    lineage: str


# SRGAN's unit, 12.75, suits Oxford's VGG-19, which is fed 0..255: it makes VGG54 about as large as
# the MSE. Papers written in PyTorch use torchvision's VGG-19, with weights that suit it.
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
    """The content loss of a paper, by name: a row of SETUPS.

    - "srgan_vgg22", "srgan_vgg54": after the ReLU, "phi_2,2" and "phi_5,4" of SRGAN (Sec. 2.2.1).
    - "srgan_vgg33": a variant in wide use, where VGG-16 is usually cut; not divided by
      12.75.
    - "esrgan", "sftgan": before the ReLU, L1.
    - "srfeat": the authors also clip sr, so that values outside [0, 1] get no gradient:
      `loss(sr.clamp(0, 1), hr)`.
    - "ttsr": its VGG term alone; the other part is `Transferal`.

    extractor: None takes the training of VGG-19 that the paper used. "random" takes
    `features.random_tanh()` at conv2, with the sum of the weights. Any other must have the layers
    of VGG-19, by their names.

    unit: what features are divided by, see `Layers`. None takes the paper's unit if the trunk is
    the paper's, or if the unit is "mean"; otherwise "rms", because the features of another trunk
    have another size, for which a published weight means nothing. The printed formula says which.

    Raises FileNotFoundError, with the way to get it, for a trunk that is not at hand; ValueError
    for an unknown name, unit or extractor.
    """
    if name not in SETUPS:
        raise ValueError(f"no content loss {name!r}: one of {', '.join(SETUPS)}")
    setup = SETUPS[name]
    trunk, weights, paper_unit = stand_in(extractor, setup)
    unit = paper_unit if unit is None else unit
    return Content(trunk, weights, criterion=setup.criterion, unit=unit)


def stand_in(
    extractor: Extractor | str | None, setup: Setup
) -> tuple[Extractor, Mapping[str, float], float | str]:
    """The extractor to look through, with weights of its layers and a unit: see `content`.

    Raises ValueError for an unknown word, FileNotFoundError for a trunk that is not at hand.
    """
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

    lte: TTSR's `model.LTE`, which gives a picture's textures at three scales. It is used as it is
    at each call, and learns nothing through sr.

    T, the input `transferred`, are the textures found in the reference, in the LTE's order:
    `(a.t1, a.t2, a.t3)` of TTSR's attention `a`. As in the authors' code they get gradients too.
    Detach them if no gradient should flow through them.
    """

    label = "transferal"
    formula = "mean over levels of mean (LTE(sr) - T)²"
    needs = {"transferred": "the textures that TTSR transferred: (a.t1, a.t2, a.t3) of attention a"}

    def __init__(self, lte: nn.Module):
        super().__init__()
        self.lte = (lte,)  # in a tuple: it belongs to the network, not to this module

    def value(self, sr: Tensor, hr: Tensor, transferred: Sequence[Tensor]) -> Tensor:
        (lte,) = self.lte
        frozen = {name: weight.detach() for name, weight in lte.named_parameters()}
        with torch.autocast(sr.device.type, enabled=False):
            textures = torch.func.functional_call(lte, frozen, (sr,))
            errors = [
                F.mse_loss(a, t.to(a.dtype)) for a, t in zip(textures, transferred, strict=True)
            ]
            return sum(errors, torch.zeros(())) / len(errors)


class LPIPS(FeatureTerm):
    """`srkit.lpips` as a loss: the mean over the batch, for sr that may leave [0, 1].

    net: "alex" (CIPLab, weight 1e-3), "squeeze" or "vgg". Do not report the LPIPS that a network
    was trained with: measure with another net.

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
        return lpips_distance(sr, hr, dict(self.heads.items())).mean()
