"""Crops for training: aligned, turned together, exact, and the same for the same seed."""

import pytest
import torch

from srkit.datasets.patches import Patches, dihedral
from srkit.images import modcrop
from srkit.resize import imresize


@pytest.fixture(scope="module")
def pictures():
    rng = torch.Generator().manual_seed(1)
    return [
        torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=rng)
        for height, width in ((50, 61), (48, 48))
    ]


def test_lr_crops_are_cut_from_the_one_lr_picture(pictures):
    """Reduce, then crop, as a test set does; the other order differs at the crop's border."""
    low, _ = Patches(pictures, 4).batch(8, 9, torch.Generator().manual_seed(0))
    whole = [imresize(modcrop(picture, 4), 1 / 4) for picture in pictures]
    windows = [w.unfold(1, 9, 1).unfold(2, 9, 1).permute(1, 2, 0, 3, 4) for w in whole]
    windows = torch.cat([w.reshape(-1, 3, 9, 9) for w in windows])
    every = torch.cat([dihedral(windows, symmetry) for symmetry in range(8)])
    for crop in (low * 255).round().to(torch.uint8):
        assert (every == crop).all(dim=(1, 2, 3)).any()


def test_lr_and_hr_crops_show_the_same_place(pictures):
    """A picture whose pixels tell their own coordinates: both crops must name the same corner."""
    rows = torch.arange(48)[:, None].expand(48, 48) * 4
    columns = torch.arange(48)[None, :].expand(48, 48) * 4
    picture = torch.stack([rows, columns, rows]).to(torch.uint8)
    low, high = Patches([picture], 4).batch(16, 5, torch.Generator().manual_seed(2))
    block_mean = high.unfold(2, 4, 4).unfold(3, 4, 4).mean((-1, -2))
    assert (low - block_mean).abs().max() < 6 / 255  # cubic against box: equal up to the borders


def test_the_eight_symmetries_differ():
    square = torch.arange(9).view(3, 3)
    assert len({tuple(dihedral(square, s).flatten().tolist()) for s in range(8)}) == 8


def test_the_generator_alone_decides(pictures):
    patches = Patches(pictures, 2)
    first = patches.batch(4, 8, torch.Generator().manual_seed(3))
    torch.manual_seed(99)
    again = patches.batch(4, 8, torch.Generator().manual_seed(3))
    other = patches.batch(4, 8, torch.Generator().manual_seed(4))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])


def test_a_crop_larger_than_the_smallest_picture_is_refused(pictures):
    with pytest.raises(ValueError, match=r"crops of 13 px .* smallest LR picture \(12 px\)"):
        Patches(pictures, 4).batch(1, 13, torch.Generator())
