"""Texture losses compare which features occur together, not where they are.

They compare Gram matrices, which forget places (Gatys et al., CVPR 2016). The matrix of a whole
picture mixes the textures of sky and grass; one for each patch keeps them apart (EnhanceNet,
Sajjadi et al., ICCV 2017, Sec. 4.2.3).

    content("enhancenet") + style("enhancenet")      # the pictures pass the trunk once for both
"""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor

from srkit.losses.perceptual import Layers, Setup, Unit, stand_in
from srkit.metrics.features import Extractor


def gram(features: Tensor, *, patch: int | None = None, normalise: bool = False) -> Tensor:
    """The Gram matrix Fᵀ F of features, F (h w, C) their pixels: (B, C, h, w) -> (B, 1, C, C).

    patch: one matrix for each of the n patches of `patch` x `patch` pixels, without overlap,
    (B, n, C, C). Rows and columns that fill no patch are left out.
    normalise: divide by C and by the number of pixels, so that sizes do not matter.

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
    """sum_j w_j mean (Gram_j(sr) - Gram_j(hr))², the mean over patches and entries of layer j.

    patch, normalise: see `gram`. Sides of patches are in pixels of the layer's features; None takes
    the whole picture. unit: what features are divided by first, see `perceptual.Layers`.
    weights: by layer. They depend on `normalise`: it makes matrices of 16x16 patches of 64 channels
    16384 times smaller.

    Raises ValueError for a layer that the extractor has not and an unknown unit; when called, for
    features smaller than a patch.
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


# The paper's Table 2 says "conv1_1" where Caffe's ReLU, in place, has already worked: relu1_1.
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

    extractor, unit: see `content`. patch: see `Style`; with 16, pictures need sides of 64 pixels,
    because the features of relu3_1 are a quarter as wide.

    Raises what `content` and `Style` raise.
    """
    if name not in SETUPS:
        raise ValueError(f"no texture loss {name!r}: one of {', '.join(SETUPS)}")
    trunk, weights, paper_unit = stand_in(extractor, SETUPS[name])
    return Style(trunk, weights, patch=patch, unit=paper_unit if unit is None else unit)
