"""LPIPS: how different two pictures look to a trained network."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from srkit.devices import keep_tensors
from srkit.metrics import features
from srkit.metrics.protocols import answer, check_pair

LPIPS_LAYERS = {
    "alex": ("relu1", "relu2", "relu3", "relu4", "relu5"),
    "squeeze": ("relu1", "fire3", "fire5", "fire6", "fire7", "fire8", "fire9"),
    "vgg": ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3"),
}


def lpips(sr: Tensor, hr: Tensor, *, net: str = "alex") -> float | Tensor:
    """Learned perceptual distance, version 0.1 (Zhang et al., CVPR 2018): 0 for equal, about 0..1.

    sum over layers of mean over pixels of w . (phi(sr) - phi(hr))², phi of unit length a pixel

    Pictures are RGB in [0, 1] (the authors' package wants [-1, 1]); a batch is differentiable.
    net: "alex" (the usual one to report) | "squeeze" | "vgg". The linear heads w come with the
    lpips package, the networks from `srkit.metrics.features`.

    Raises TypeError for what is no float tensor; ValueError for values outside [0, 1], sizes that
    differ, an unknown net; FileNotFoundError, with the way to get it, where the network's weights
    are not at hand.
    """
    check_pair(sr, hr)
    extractor, heads = lpips_parts(net, sr.device)
    return answer(lpips_distance(extractor(sr, heads), extractor(hr, heads), heads))


def lpips_distance(
    of_sr: Mapping[str, Tensor], of_hr: Mapping[str, Tensor], heads: Mapping[str, Tensor]
) -> Tensor:
    """LPIPS from features by layer: one value a picture. What the metric and the loss share."""
    total = torch.zeros(())
    for layer, head in heads.items():
        a, b = (F.normalize(f[layer], dim=-3, eps=1e-10) for f in (of_sr, of_hr))
        weighted = (head * (a - b).square()).sum(dim=-3)  # (..., C, h, w) -> (..., h, w)
        total = total + weighted.mean(dim=(-2, -1))
    return total


def lpips_network(net: str) -> tuple[features.Extractor, dict[str, Tensor]]:
    """The frozen network that LPIPS compares features of, and its linear heads (C, 1, 1) by layer.

    Raises ValueError for an unknown net, FileNotFoundError where its weights are not at hand.
    """
    if net not in LPIPS_LAYERS:
        raise ValueError(f"net {net!r} is unknown: one of {', '.join(LPIPS_LAYERS)}.")
    build = {"alex": features.alexnet, "squeeze": features.squeezenet, "vgg": features.vgg16}[net]
    spec = find_spec("lpips")  # importing it would load half of SciPy
    assert spec
    assert spec.origin
    package = Path(spec.origin).parent
    heads = torch.load(package / f"weights/v0.1/{net}.pth", map_location="cpu", weights_only=True)
    return build(), {
        layer: heads[f"lin{i}.model.1.weight"][0] for i, layer in enumerate(LPIPS_LAYERS[net])
    }


@keep_tensors(8)
def lpips_parts(net: str, device: torch.device) -> tuple[features.Extractor, dict[str, Tensor]]:
    """`lpips_network` on a device, loaded once."""
    extractor, heads = lpips_network(net)
    return extractor.to(device), {layer: head.to(device) for layer, head in heads.items()}
