"""The adversarial step, written out: the discriminator's turn, after the generator's in `fit`."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from srkit.image.resize import imresize
from srkit.losses.adversarial import Adversarial
from srkit.processes import mean_over_processes

if TYPE_CHECKING:
    from accelerate import Accelerator


def discriminator_step(
    term: Adversarial,
    sr: Tensor,
    hr: Tensor,
    inputs: Mapping[str, Tensor],
    optimizer: torch.optim.Optimizer,
    accelerator: Accelerator,
    mixed: AbstractContextManager,
    clip: float | None = None,
) -> Tensor:
    """The discriminator's turn: it learns to tell `sr`, the network's last pictures, from `hr`.

    The network is not touched: `sr` comes without its graph. The discriminator takes
    `term.discriminator_steps` steps (WGAN-GP takes several); a gate (EnhanceNet's) may skip them.

    inputs: what the loss got beside the pictures; the term takes what it needs. mixed: the
    precision of the forward pass. It is left before each step, since until then autocast keeps the
    weights as it has rounded them. Returns the discriminator's last loss.
    """
    sr, inputs = sr.detach(), {name: inputs[name] for name in term.needs}
    if term.gate is not None:
        with mixed, torch.no_grad():
            verdicts = term.judge(sr, hr)
            fake, real = (cast(Tensor, accelerator.gather(each)) for each in verdicts)
            if not term.gate.opens(fake, real):
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
    """Average the gradients over all processes; the network itself is wrapped to do so."""
    for parameter in module.parameters():
        if parameter.grad is not None:
            parameter.grad.copy_(mean_over_processes(parameter.grad))


def refuse_untrained(sr: Tensor, hr: Tensor, lr: Tensor) -> None:
    """Refuse to begin an adversarial stage with a network that is no better than bicubic.

    Raises ValueError that says both PSNRs.
    """
    plain = imresize(lr.float(), size=hr.shape[-2:])
    own, bar = (-10 * (x.detach().float() - hr).square().mean().log10() for x in (sr, plain))
    if not own > bar:
        raise ValueError(
            f"this generator is not trained: {own:.1f} dB on its first batch, where bicubic gives "
            f"{bar:.1f}. Train it with a pixel loss first; from_scratch=True does without"
        )
