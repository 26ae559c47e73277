"""The adversarial step, written out: the discriminator's turn, after the generator's in `fit`."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from srkit.image.resize import imresize
from srkit.losses.terms import Term
from srkit.processes import mean

if TYPE_CHECKING:
    from accelerate import Accelerator


def discriminator_step(
    term: Term,
    sr: Tensor,
    hr: Tensor,
    inputs: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
    accelerator: Accelerator,
    mixed: AbstractContextManager,
    clip: float | None = None,
) -> Tensor:
    """The discriminator's turn: it learns to tell `sr`, the generator's last pictures, from `hr`.

    The generator is not touched: `sr` comes without its graph. `term.discriminator_steps` times a
    turn (WGAN-GP takes several). `inputs` are what the loss got beside the pictures; the term takes
    what it needs. `mixed` is the precision of the forward pass; it is left before each step, since
    until then autocast keeps the weights as it has rounded them. A gate (EnhanceNet's) may skip the
    turn. Returns the discriminator's last loss.
    """
    sr, inputs = sr.detach(), {name: inputs[name] for name in term.needs}
    gate = getattr(term, "gate", None)
    if gate is not None:
        with mixed, torch.no_grad():
            verdicts = term.judge(sr, hr)
            if not gate.opens(*map(accelerator.gather, verdicts)):
                return term.objective.discriminator(*verdicts)
    for _ in range(term.discriminator_steps):
        with mixed:
            value = term.discriminator_loss(sr, hr, **inputs)
        optimizer.zero_grad(set_to_none=True)
        accelerator.backward(value)
        average_gradients(term.discriminator)
        if clip:
            nn.utils.clip_grad_norm_(term.discriminator.parameters(), clip)
        optimizer.step()
    return value


def average_gradients(module: nn.Module) -> None:
    """Over processes, for what is not wrapped to do so by itself (the generator is)."""
    for parameter in module.parameters():
        if parameter.grad is not None:
            parameter.grad.copy_(mean(parameter.grad))


def refuse_untrained(sr: Tensor, hr: Tensor, lr: Tensor) -> None:
    """An adversarial stage starts from a trained generator: better, at least, than no network."""
    plain = imresize(lr.float(), size=hr.shape[-2:])
    own, bar = (-10 * (x.detach().float() - hr).square().mean().log10() for x in (sr, plain))
    if not own > bar:
        raise ValueError(
            f"this generator is not trained: {own:.1f} dB on its first batch, where bicubic gives "
            f"{bar:.1f}. Train it with a pixel loss first; from_scratch=True does without"
        )
