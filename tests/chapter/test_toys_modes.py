"""The toy fences: what they hide from LR, and the errors that theory gives their guesses."""

from __future__ import annotations

import pytest
import torch

from srkit.chapter.toys import fences


def mse(guess, every):
    """Expected over all positions, which are equally likely."""
    return (guess[:, None] - every).square().mean().item()


@pytest.fixture
def lr(rng):
    return torch.empty(6, 3).uniform_(0.1, 0.7, generator=rng)


@pytest.mark.parametrize("positions", [1, 2, 4])
def test_all_fences_have_the_lr_and_differ(positions, lr):
    every = fences(lr, positions)
    assert every.shape == (6, positions, 24)
    cells = every.unflatten(-1, (3, 8))
    assert torch.allclose(cells.mean(-1), lr[:, None].expand(-1, positions, -1))
    assert torch.equal((cells > lr[:, None, :, None]).sum(-1).unique(), torch.tensor([2]))
    assert len(every[0].unique(dim=0)) == positions
    assert torch.equal(every, every.clamp(0, 1))


@pytest.mark.parametrize(("positions", "best"), [(2, 0.02), (4, 0.03)])
def test_guessing_a_fence_costs_twice_the_means_error(positions, best, lr):
    every = fences(lr, positions)
    assert mse(every.mean(1), every) == pytest.approx(best)
    for one in every.unbind(1):
        assert mse(one, every) == pytest.approx(2 * best)


def test_the_median_of_four_fences_has_no_pickets(lr):
    every = fences(lr, 4)
    ground = (lr - 0.1).repeat_interleave(8, 1)
    assert torch.allclose(every.median(1).values, ground)
    assert mse(ground, every) == pytest.approx(0.04)


def test_other_positions_are_refused_in_words(lr):
    with pytest.raises(ValueError, match="positions 3: 1, 2 or 4"):
        fences(lr, 3)
