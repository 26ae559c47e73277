"""What the package asks of a network, in one place, and how a network of your own gets it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from inspect import signature
from os import PathLike
from typing import Any, Literal

import torch
from torch import Tensor, nn

from srkit.cards import card


def _remembering(init: Callable[..., None]) -> Callable[..., None]:
    """`init` that also stores its arguments in `self.arguments`."""

    @wraps(init)
    def remembering(self: Network, *args: Any, **kwargs: Any) -> None:
        bound = signature(init).bind(self, *args, **kwargs)
        init(self, *args, **kwargs)
        bound.apply_defaults()
        _, *names = bound.arguments
        self.arguments = {name: bound.arguments[name] for name in names}

    return remembering


class Network(nn.Module):
    """A network that enlarges: LR (B, 3, h, w) in [0, 1] -> SR (B, 3, rh, rw), not clipped.

    - name: what tables and messages call it.
    - scale: the factor r.
    - tiling: "exact" if tiles with enough overlap give what the whole picture gives, "approximate"
      if none do, because the network looks at the whole picture or at a grid.
    - min_size: the smallest side of LR that it takes, in pixels.
    - memory_format: the layout of tensors that it is fastest in.
    - idle: True if some of its parameters get no gradient in a training step.
    - loaded: where its weights come from, for a reader: a file, or a training.
    - arguments: what its constructor was called with, defaults too; set by itself. `srkit.save`
      writes them down, and `srkit.load_checkpoint` builds the network from them.
    """

    name: str
    scale: int
    tiling: Literal["exact", "approximate"] = "exact"
    min_size: int = 1
    memory_format: torch.memory_format = torch.channels_last
    idle: bool = False
    loaded: str = "random, as it was built"
    arguments: dict[str, Any]

    __call__: Callable[..., Any]

    def __init__(self):
        super().__init__()
        self.arguments = {}

    def __init_subclass__(cls, **how: Any):
        super().__init_subclass__(**how)
        if "__init__" in vars(cls):
            cls.__init__ = _remembering(cls.__init__)

    def _repr_html_(self) -> str:
        """What a notebook shows beside the layers: a card."""
        about = (sys.modules[type(self).__module__].__doc__ or "").strip().split("\n")[0]
        place = next((p.device for p in self.parameters()), "cpu")
        side = f", from {self.min_size}x{self.min_size}" * (self.min_size > 1)
        facts = {
            "class": type(self).__qualname__,
            "paper": about if type(self).__module__.startswith("srkit.models.") else None,
            "parameters": f"{sum(p.numel() for p in self.parameters()):,}",
            "weights": self.loaded,
            "takes": f"(B, 3, h, w) in [0, 1]{side}, on {place}; gives (B, 3, "
            f"{self.scale}h, {self.scale}w)",
            "tiles": "as the whole" if self.tiling == "exact" else "not quite as the whole",
        }
        return card(self.name, facts)

    @staticmethod
    def from_authors(state: dict[str, Tensor], scale: int) -> dict[str, Tensor]:
        """The authors' tensors by srkit's names; as they are, unless the network says otherwise."""
        return state


class Wrapped(Network):
    """A module of your own as a `Network`: see `as_model`. The module itself is `net`."""

    memory_format = torch.contiguous_format

    def __init__(self, net: nn.Module, scale: int):
        super().__init__()
        self.net, self.scale, self.name = net, scale, type(net).__name__

    def forward(self, lr: Tensor) -> Tensor:
        return self.net(lr)


def as_model(
    net: nn.Module,
    *,
    scale: int,
    name: str | None = None,
    tiling: Literal["exact", "approximate"] = "exact",
    min_size: int = 1,
) -> Network:
    """A module of your own with what srkit must know of it, for upscaling, measuring and training.

    net: takes LR (B, 3, h, w) RGB in [0, 1] and gives SR (B, 3, scale h, scale w). It is not
    copied, and stays at hand as `.net`.
    name: what tables call it; its class's name unless given.
    tiling, min_size: see `Network`.

    Raises TypeError for what is no module, ValueError for a scale that is no whole number from 1 or
    is not that of a `Network`, which comes back as it is.
    """
    if not isinstance(net, nn.Module):
        raise TypeError(f"as_model: {type(net).__name__} is no torch.nn.Module")
    if not isinstance(scale, int) or scale < 1:
        raise ValueError(f"as_model: scale {scale!r}, expected a whole number from 1")
    if isinstance(net, Network):
        if net.scale != scale:
            raise ValueError(f"as_model: {net.name} enlarges by {net.scale}, not by {scale}")
        return net
    model = Wrapped(net, scale)
    model.name, model.tiling, model.min_size = name or model.name, tiling, min_size
    return model


def check_network(model: object) -> Network:
    """`model`, if it is a `Network`; what is in it, if PyTorch spreads one over several GPUs by it
    (DataParallel, DistributedDataParallel). All functions that take a network call this first.

    Raises TypeError for anything else; for a module of your own it names the way in.
    """
    if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
        return check_network(model.module)
    if isinstance(model, Network):
        try:
            _ = model.scale, model.name
        except AttributeError as error:
            raise TypeError(f"{error}: a Network sets it in its constructor") from None
        return model
    if isinstance(model, nn.Module):
        raise TypeError(
            f"{type(model).__name__} does not say what it enlarges by: "
            "wrap it, srkit.as_model(net, scale=4)"
        )
    if isinstance(model, str | PathLike):
        way = f"create_model({str(model)!r}, weights='official') builds one by name, and "
        raise TypeError(
            f"a network is expected, not {str(model)!r}: srkit.{way}srkit.load_checkpoint(path) "
            "from a file"
        )
    raise TypeError(f"a network is expected, not a {type(model).__name__}: srkit.create_model(...)")
