"""Texture losses: which features occur together, wherever they are.

A Gram matrix forgets places. Taken over a whole picture it mixes the texture of sky and grass;
taken patch by patch it keeps each where it belongs (EnhanceNet, Sajjadi et al., ICCV 2017, Sec.
4.2.3, after Gatys et al., CVPR 2016).

    content("enhancenet") + style("enhancenet")      # the pictures pass the trunk once for both
"""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor

from srkit.losses.perceptual import Layers, Setup, Unit, stand_in
from srkit.metrics.features import Extractor


def gram(features: Tensor, *, patch: int | None = None, normalise: bool = False) -> Tensor:
    """Fᵀ F, F the features as a list of pixels (h w, C): (B, C, h, w) -> (B, 1, C, C).

    patch: one Gram matrix for each `patch` x `patch` pixels without overlap, (B, n, C, C); the rows
    and columns beyond a multiple are left out.
    normalise: divide by C and by the number of pixels; a Gram matrix then depends on no size.

    Raises ValueError for features smaller than a patch.
    """
    b, c, h, w = features.shape
    ph, pw = (h, w) if patch is None else (patch, patch)
    if h < ph or w < pw:
        raise ValueError(
            f"features of {h}x{w} pixels hold no patch of {ph}x{pw}: use larger crops, a smaller "
            "patch or patch=None"
        )
    rows, columns = h // ph, w // pw
    f = features[..., : rows * ph, : columns * pw].reshape(b, c, rows, ph, columns, pw)
    f = f.permute(0, 2, 4, 3, 5, 1).reshape(b, rows * columns, ph * pw, c)
    matrices = f.mT @ f  # (B, n, C, C)
    return matrices / (c * ph * pw) if normalise else matrices


class Style(Layers):
    """sum_j w_j mean (Gram_j(sr) - Gram_j(hr))², the mean over patches and entries.

    patch: side of a patch, in pixels of the layer's features; None for the whole picture, where the
    Gram matrix grows with the picture if it is not normalised. unit: what features are divided by
    beforehand (`perceptual.Layers`). weights: of layers; those of papers belong to one of both
    kinds of Gram: normalised matrices of 16x16 patches of 64 channels are 16384 times smaller.

    Raises ValueError for a layer that the extractor has not, or features smaller than a patch.
    """

    label = "style"

    def __init__(
        self,
        extractor: Extractor,
        weights: Mapping[str, float],
        *,
        patch: int | None = 16,
        normalise: bool = False,
        unit: float | str = "mean",
    ):
        super().__init__(extractor, weights, unit)
        self.patch, self.normalise = patch, normalise
        kind = "FᵀF/size" if normalise else "FᵀF"
        of = "" if patch is None else f" of {patch}x{patch} patches"
        self.formula = f"mean difference² of {kind}{of}, {self.where()}"

    def distance(self, sr: Tensor, hr: Tensor, of_sr: Unit, of_hr: Unit) -> Tensor:
        a, b = (gram(f, patch=self.patch, normalise=self.normalise) for f in (sr, hr))
        return F.mse_loss(a / of_sr**2, b / of_hr**2)  # cheaper than dividing the features


# "conv1_1" in the paper's Table 2: in Caffe, where ReLU works in place, that is after it.
SETUPS = {
    "enhancenet": Setup(
        {"relu1_1": 3e-7, "relu2_1": 1e-6, "relu3_1": 1e-6}, "mse", "mean", "oxford"
    )
}


def style(
    name: str,
    extractor: Extractor | str | None = None,
    *,
    patch: int | None = 16,
    unit: float | str | None = None,
) -> Style:
    """A paper's texture loss: "enhancenet", Gram matrices of 16x16 patches, not normalised.

    extractor, unit and errors are those of `content`. Features of relu3_1 are a quarter as large
    as the picture: crops need 64 pixels.
    """
    if name not in SETUPS:
        raise ValueError(f"no texture loss {name!r}: one of {', '.join(SETUPS)}")
    extractor, weights, paper_unit = stand_in(extractor, SETUPS[name])
    return Style(extractor, weights, patch=patch, unit=paper_unit if unit is None else unit)
