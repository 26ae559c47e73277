"""PyTorch's DataLoader, both ways: crops of `Patches` for one, and its batches for `fit`.

DataLoader(Stream(patches, 16, 48), batch_size=None, num_workers=4)    # endless batches of crops
fit(model, L1(), DataLoader(pairs, 16, shuffle=True), ...)             # batches of your own pairs
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from srkit.checks import at_least
from srkit.datasets.patches import Patches, share


class Stream(IterableDataset):
    """Endless batches of random crops, each as `patches.batch(count, size, rng)` makes it.

    The batches are whole, so a DataLoader gets `batch_size=None`. Each of its workers draws crops
    of its own; the same seed and number of workers give the same batches.

    Raises ValueError for a count or size below 1.
    """

    def __init__(self, patches: Patches, count: int, size: int, *, seed: int = 0):
        at_least(1, count=count, size=size)
        at_least(0, seed=seed)
        self.patches, self.count, self.size, self.seed = patches, count, size, seed

    def __iter__(self) -> Iterator[dict[str, Any]]:
        worker = get_worker_info()
        number = 0 if worker is None else worker.id
        rng = torch.Generator().manual_seed((self.seed + 0x9E3779B9 * number) % 2**32)
        while True:
            yield self.patches.batch(self.count, self.size, rng)


class Loaded:
    """The batches of a DataLoader, epoch after epoch, as `fit` asks for them.

    Each is a dictionary with "lr" (B, 3, h, w) and "hr" (B, 3, rh, rw), floats in [0, 1]; what else
    is in it comes along, and "scale" is r. The loader decides on size and order.

    Raises ValueError and TypeError for batches of another kind, in words.
    """

    pictures: tuple[Tensor, ...] = ()  # it does not say which

    def __init__(self, loader: DataLoader):
        self.loader, self.left = loader, iter(())

    def batch(
        self, count: int, size: int, rng: torch.Generator, part: tuple[int, int] = (0, 1)
    ) -> dict[str, Any]:
        """The next batch; count, size and rng are the loader's affair. part: (i, n), its i-th of n
        equal shares."""
        found = next(self.left, None)
        if found is None:
            self.left = iter(self.loader)
            found = next(self.left, None)
        if found is None:
            raise ValueError("the DataLoader is empty: is drop_last on with few pictures?")
        data: dict[str, Any] = {"scale": _scale(found), **found}
        many = len(data["lr"])
        mine = list(share(range(many), part))
        return {
            name: value[mine] if isinstance(value, Tensor) and len(value) == many else value
            for name, value in data.items()
        }


def _scale(data: object) -> int:
    """What the pictures of a batch are enlarged by; refuses what is no such batch."""
    if not isinstance(data, Mapping) or not {"lr", "hr"} <= data.keys():
        kind = f"keys {', '.join(map(str, data))}" if isinstance(data, Mapping) else type(data)
        raise TypeError(
            f"the DataLoader gave {kind}: a dictionary with 'lr' (B, 3, h, w) and 'hr' "
            "(B, 3, rh, rw) is expected"
        )
    for name in ("lr", "hr"):
        x = data[name]
        if not isinstance(x, Tensor) or not x.is_floating_point() or x.ndim != 4:
            got = f"{x.dtype} {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
            raise TypeError(
                f"{name!r} of the DataLoader's batch is {got}: floats (B, 3, h, w) in [0, 1] are "
                "expected (of uint8: x.float() / 255)"
            )
    lr, hr = data["lr"], data["hr"]
    (b, c, h, w), r = lr.shape, max(1, hr.shape[-1] // max(1, lr.shape[-1]))
    if hr.shape != (b, c, r * h, r * w):
        raise ValueError(
            f"'hr' of the DataLoader's batch is {tuple(hr.shape)} beside 'lr' {tuple(lr.shape)}: "
            "a whole number of times as large on both sides is expected"
        )
    return r
