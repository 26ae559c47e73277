"""The loop that trains a network on pairs of crops, written out."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from srkit.datasets.patches import Patches

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def l1(sr: Tensor, hr: Tensor, lr: Tensor) -> Tensor:
    """Mean absolute error of pictures in [0, 1]; the low-resolution input is not looked at."""
    return (sr - hr).abs().mean()


def adam(model: nn.Module) -> torch.optim.Adam:
    """Adam with the defaults that the super-resolution papers use; `fit` sets the learning rate."""
    return torch.optim.Adam(model.parameters(), betas=(0.9, 0.999), eps=1e-8, fused=True)


def fit(
    model: nn.Module,
    patches: Patches,
    *,
    steps: int,
    batch: int,
    patch: int,
    lr: float,
    halve_every: int,
    rng: torch.Generator,
    loss: Loss = l1,
    optimizer: torch.optim.Optimizer | None = None,
    validate: Callable[[nn.Module], float] | None = None,
    validate_every: int = 250,
    on_step: Callable[[int, float], None] | None = None,
) -> list[dict]:
    """Train `model` in place for `steps`; return the history, one row a validation.

    `lr` is halved every `halve_every` steps. Give the `optimizer` of an earlier call to keep its
    moments (a cyclic schedule); without one they start from zero (a warm start). `patch` counts LR
    pixels; `loss(sr, hr, lr)` gets pictures in [0, 1]. Stops with FloatingPointError at the first
    loss that is not finite.
    """
    optimizer = optimizer or adam(model)
    history, running = [], []
    layout = getattr(model, "memory_format", torch.contiguous_format)
    model.to(memory_format=layout).train()
    for step in range(1, steps + 1):
        rate = lr * 0.5 ** ((step - 1) // halve_every)
        for group in optimizer.param_groups:
            group["lr"] = rate
        low, high = patches.batch(batch, patch, rng)
        value = loss(model(low.contiguous(memory_format=layout)), high, low)
        number = value.item()
        if not math.isfinite(number):
            raise FloatingPointError(
                f"the loss is {number} at step {step} (learning rate {rate:g}): "
                "lower lr, or look for a division by zero in the loss"
            )
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        optimizer.step()

        running.append(number)
        if on_step:
            on_step(step, number)
        if step % validate_every == 0 or step == steps:
            row = {"step": step, "lr": rate, "loss": sum(running) / len(running)}
            if validate:
                row["psnr"] = validate(model.eval())
                model.train()
            history.append(row)
            running = []
    model.eval()
    return history
