"""Several processes that train together, each with a share of every batch.

Averaging the gradients of all processes gives the step of one process only if the loss is a mean
over samples. Batch norm and a relativistic discriminator use statistics of the whole batch: those
are averaged over the processes here, and gradients flow back to all of them. In a single process
the functions below change nothing.
"""

from __future__ import annotations

import os

import torch
import torch.distributed as dist
from torch import Tensor, nn


def part() -> tuple[int, int]:
    """(i, n): this is process i of the n that train together, counted from 0."""
    if not (dist.is_available() and dist.is_initialized()):
        return 0, 1
    return dist.get_rank(), dist.get_world_size()


def launched() -> int:
    """The number of processes that torchrun started together, 1 without torchrun.

    Unlike `part`, it is right before the processes are connected.
    """
    return int(os.environ.get("WORLD_SIZE", 1))


def broadcast(module: nn.Module) -> None:
    """Copy the first process's parameters and buffers into the module of every process."""
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
    def backward(ctx, *gradients: Tensor) -> Tensor:
        return _Mean.apply(*gradients)


def mean_over_processes(x: Tensor) -> Tensor:
    """The mean of all processes' x, of x's shape. Its gradient flows back to the x of each."""
    return _Mean.apply(x) if part()[1] > 1 else x


class _BatchNorm2d(nn.BatchNorm2d):
    """Batch norm by the mean and variance of all processes' samples, on any device.

    (torch's SyncBatchNorm works on GPUs only.)
    """

    def forward(self, input: Tensor) -> Tensor:  # (B, C, H, W)
        processes = part()[1]
        if processes == 1 or not self.training:
            return super().forward(input)
        count = processes * input.numel() / input.shape[1]
        x = input.float()
        centre = mean_over_processes(x.mean((0, 2, 3), keepdim=True))
        off = x - centre
        variance = mean_over_processes(off.square().mean((0, 2, 3), keepdim=True))
        if self.track_running_stats:
            batches = self.get_buffer("num_batches_tracked").add_(1)
            share = 1 / batches if self.momentum is None else self.momentum
            unbiased = variance * count / (count - 1)
            with torch.no_grad():
                self.get_buffer("running_mean").lerp_(centre.flatten(), share)
                self.get_buffer("running_var").lerp_(unbiased.flatten(), share)
        y = off * (variance + self.eps).rsqrt()
        if self.affine:
            y = y * self.weight[:, None, None] + self.bias[:, None, None]
        return y.to(input.dtype)


def share_batch_norm(module: nn.Module) -> None:
    """Make every batch norm of a network use the batch of all processes. Alters it in place."""
    for layer in module.modules() if part()[1] > 1 else ():
        if type(layer) is nn.BatchNorm2d:
            layer.__class__ = _BatchNorm2d
