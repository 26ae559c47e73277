"""The toy of bars: one LR picture, many HR pictures, and what the best answers score."""

import pytest
import torch
import torch.nn.functional as F

from srkit.chapter.toys import BARS, bars, bars_lr


@pytest.mark.parametrize("positions", [2, 4])
def test_many_pictures_have_one_lr_picture(positions):
    lr = bars_lr(3, 10, seed=5)
    several = [bars(lr, positions=positions, seed=seed) for seed in range(3)]
    for hr in several:
        assert hr.shape == (3, 3, 20, 20)
        assert torch.equal(F.avg_pool2d(hr, 2), lr)
        assert hr.unique().tolist() == [0, 1]
    assert not torch.equal(several[0], several[1])
    assert torch.equal(several[0], bars(lr, positions=positions, seed=0))


@pytest.mark.parametrize("positions", [2, 4])
def test_every_allowed_bar_is_as_likely_and_no_other_occurs(positions):
    lr = bars_lr(20, 20, density=1)
    cells = bars(lr, positions=positions)[:, 0].unfold(1, 2, 2).unfold(2, 2, 2)  # (B, h, w, 2, 2)
    share = [(cells == bar).all(-1).all(-1).float().mean().item() for bar in BARS]
    assert sum(share) == pytest.approx(1)
    assert share[:positions] == pytest.approx([1 / positions] * positions, abs=0.02)


@pytest.mark.parametrize(("positions", "best"), [(2, 1 / 8), (4, 1 / 4)])
def test_the_mean_is_best_and_a_guess_costs_three_decibels(positions, best):
    """MSE in cells with a bar, of the exact mean and of another picture, against 8000 bars."""
    lr = bars_lr(20, 20, density=1)
    truth, guess = (bars(lr, positions=positions, seed=seed) for seed in (0, 1))
    mean = BARS[:positions].mean(0).tile(20, 20)
    assert F.mse_loss(mean.expand_as(truth), truth).item() == pytest.approx(best, rel=0.02)
    assert F.mse_loss(guess, truth).item() == pytest.approx(2 * best, rel=0.04)


def test_density_is_the_share_of_cells_with_a_bar():
    assert (bars_lr(20, 20, density=0.2) > 0).float().mean().item() == pytest.approx(0.2, abs=0.02)
    assert bars_lr(1, 4, density=0).eq(0).all()
    assert bars_lr(1, 4, density=1).eq(0.5).all()


def test_what_is_no_toy_is_refused_in_words():
    with pytest.raises(ValueError, match=r"positions 3: 2 .above, left. or 4"):
        bars(bars_lr(1), positions=3)
    with pytest.raises(ValueError, match=r"density 1.5: the share of cells"):
        bars_lr(1, density=1.5)
    with pytest.raises(ValueError, match=r"other than 0 .no bar. and 1/2"):
        bars(torch.rand(1, 3, 4, 4))
