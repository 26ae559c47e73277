"""Network interpolation (ESRGAN, Wang et al., ECCVW 2018, Sec. 3.4): weights between two trainings.

Between a network trained for PSNR and one trained against a discriminator lies a whole range of
networks, from smooth to sharp, at no cost of training.
"""

from __future__ import annotations

from copy import deepcopy
from os import PathLike

import torch
from torch import nn

from srkit.models.network import Network, check_network
from srkit.weights.load import load_checkpoint


def network_interpolation(
    a: Network | str | PathLike, b: Network | str | PathLike, alpha: float
) -> Network:
    """A new network with the weights (1 - alpha) a + alpha b; a and b stay as they are.

    a, b: networks of one architecture, or files of their weights (read by `load_checkpoint`).
    alpha: 0 gives a, 1 gives b.
    Batch norm's running statistics are mixed as well, its counters are a's. Two trainings that did
    not start from the same weights share no path: mixtures of such a pair are usually worse than
    both.

    Raises TypeError for what is no `Network` (see `srkit.as_model`); ValueError for an alpha
    outside [0, 1] and for networks that do not match; what `load_checkpoint` raises.
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha {alpha}: choose from 0 (the first network) to 1 (the second)")
    a, b = (
        check_network(load_checkpoint(m) if isinstance(m, str | PathLike) else m) for m in (a, b)
    )
    if difference := _difference(a, b):
        raise ValueError(
            f"{a.name} and {b.name} are not of one architecture: {difference}. "
            "Interpolate two trainings of the same network."
        )
    mixed = deepcopy(a)
    mixed.loaded = f"{1 - alpha:g} times {a.loaded}, {alpha:g} times {b.loaded}"
    state, end = mixed.state_dict(), b.state_dict()  # state shares the memory of `mixed`
    with torch.no_grad():
        for name, tensor in state.items():
            if tensor.is_floating_point():
                tensor.lerp_(end[name].to(tensor), alpha)
    return mixed


def _difference(a: nn.Module, b: nn.Module) -> str:
    """The first thing in which two networks differ, other than the values of their tensors."""
    if type(a) is not type(b):
        return f"one is a {type(a).__name__}, the other a {type(b).__name__}"
    one, other = _facts(a), _facts(b)
    for name in one | other:
        if one.get(name) != other.get(name):
            return f"{name} is {one.get(name, 'missing')} and {other.get(name, 'missing')}"
    return ""


def _facts(model: nn.Module) -> dict[str, object]:
    """Shapes of tensors, kinds of layers, and settings that neither shows (rgb_range, slopes)."""
    facts: dict[str, object] = {n: tuple(t.shape) for n, t in model.state_dict().items()}
    for path, module in model.named_modules():
        facts[path] = type(module).__name__
        for key, value in vars(module).items():
            if isinstance(value, (int, float, str)) and key not in ("name", "loaded", "training"):
                facts[f"{path}.{key}".lstrip(".")] = value
    return facts
