"""Which networks of the zoo stay finite in float16: the table of `srkit.models.half`.

    python benchmarks/half.py "rlfn*"        (all networks without a pattern; hours on a CPU)

Needs the networks' weights and Set5. Prints each network's largest value between layers in float32,
whether float16 (autocast) is finite, and its largest change in grey levels of 255.
"""

from __future__ import annotations

import sys

import torch
from torch import Tensor, nn

from srkit.datasets.catalog import pictures
from srkit.image.io import read_image
from srkit.image.resize import imresize
from srkit.image.tensors import modcrop
from srkit.models.network import Network
from srkit.models.zoo import list_models, model_info
from srkit.weights.load import create_model

SIDE = 40  # LR pixels


def inputs(scale: int) -> list[Tensor]:
    """Crops of the first two pictures of Set5, made smaller, and a magenta square."""
    lrs = [imresize(modcrop(read_image(p), scale), 1 / scale) for p in pictures("Set5")[:2]]
    magenta = torch.tensor([1.0, 0.0, 1.0]).view(3, 1, 1).expand(3, 24, 24)
    return [x[None, :, :SIDE, :SIDE].clamp(0, 1) for x in (*lrs, magenta)]


def measure(model: Network, lrs: list[Tensor]) -> tuple[float, bool, float]:
    """The largest value inside, whether float16 is finite, the change in grey levels."""
    values = [0.0]

    def look(layer: nn.Module, given: tuple, made: object) -> None:
        tensors = [x for x in (*given, made) if isinstance(x, Tensor)]
        values.extend(float(x.abs().max()) for x in tensors)

    with torch.no_grad():
        hooks = [layer.register_forward_hook(look) for layer in model.modules()]
        whole = [model(x).clamp(0, 1) for x in lrs]
        for hook in hooks:
            hook.remove()
        with torch.autocast("cpu", torch.float16):
            half = [model(x).float().clamp(0, 1) for x in lrs]
    change = max(float((a - b).abs().max()) for a, b in zip(half, whole, strict=True))
    return max(values), all(bool(x.isfinite().all()) for x in half), 255 * change


def main(pattern: str = "*") -> None:
    for name in list_models(pattern):
        entry = model_info(name)
        for kind in entry.weights:
            try:
                model = create_model(name, weights=kind)
            except OSError as error:
                print(f"{name} {kind}: {str(error).splitlines()[0]}", flush=True)
                continue
            largest, finite, change = measure(model, inputs(entry.scale))
            print(f"{name} {kind}: {largest:.0f}, finite {finite}, {change:.1f}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
