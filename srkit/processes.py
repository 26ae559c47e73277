"""Several processes that train together: statistics of a batch of which each has a share.

Gradients averaged over processes make the step of one process only where a loss is a mean over
samples. Batch norm and a relativistic discriminator look at the batch as a whole; their means are
taken over all processes here, and gradients flow back to all. With one process nothing is done.
"""

from __future__ import annotations

import os

import torch
import torch.distributed as dist
from torch import Tensor, nn


def part() -> tuple[int, int]:
    """(i, n): this process, of how many that train together."""
    if not (dist.is_available() and dist.is_initialized()):
        return 0, 1
    return dist.get_rank(), dist.get_world_size()


def launched() -> int:
    """How many processes torchrun launched together; 1 without it. Unlike `part` it tells before
    they have found each other."""
    return int(os.environ.get("WORLD_SIZE", 1))


def spread(module: nn.Module) -> None:
    """The first process's parameters and buffers, for all."""
    if part()[1] > 1:
        for tensor in module.state_dict().values():
            dist.broadcast(tensor, 0)


class _Mean(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        total = x.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total / dist.get_world_size()

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return _Mean.apply(gradient)


def mean(x: Tensor) -> Tensor:
    """x averaged over the processes; a gradient reaches the x of each."""
    return _Mean.apply(x) if part()[1] > 1 else x


class _BatchNorm2d(nn.BatchNorm2d):
    """Mean and variance of the whole batch. (torch's SyncBatchNorm is for GPUs alone.)"""

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W)
        processes = part()[1]
        if processes == 1 or not self.training:
            return super().forward(x)
        count = processes * x.numel() / x.shape[1]
        wide = x.float()
        middle = mean(wide.mean((0, 2, 3), keepdim=True))
        off = wide - middle
        variance = mean(off.square().mean((0, 2, 3), keepdim=True))
        if self.track_running_stats:
            self.num_batches_tracked += 1
            share = 1 / self.num_batches_tracked if self.momentum is None else self.momentum
            unbiased = variance * count / (count - 1)
            with torch.no_grad():
                self.running_mean.lerp_(middle.flatten(), share)
                self.running_var.lerp_(unbiased.flatten(), share)
        y = off * (variance + self.eps).rsqrt()
        if self.affine:
            y = y * self.weight[:, None, None] + self.bias[:, None, None]
        return y.to(x.dtype)


def share_batch_norm(module: nn.Module) -> None:
    """Let the batch norms of a network or a discriminator see the whole batch, if there are
    processes."""
    for layer in module.modules() if part()[1] > 1 else ():
        if type(layer) is nn.BatchNorm2d:
            layer.__class__ = _BatchNorm2d
