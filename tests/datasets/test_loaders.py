"""PyTorch's DataLoader serves crops of Patches, and `fit` takes its batches, or says why not."""

from __future__ import annotations

from itertools import islice

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset
from toy import Enlarger, noise

from srkit.datasets.loaders import Loaded, Stream
from srkit.datasets.patches import Patches
from srkit.losses import L1
from srkit.training.loop import fit
from srkit.training.schedules import Constant

ROWS = [{"lr": torch.rand(3, 8, 8), "hr": torch.rand(3, 16, 16), "name": str(k)} for k in range(6)]


def taken(loader, count=3):
    return list(islice(loader, count))


def test_patches_are_a_dataset_for_a_dataloader():
    patches = Patches(noise(), 2)
    stream = Stream(patches, 4, 8, seed=7)
    assert isinstance(stream, IterableDataset)
    rng = torch.Generator().manual_seed(7)
    for data in taken(DataLoader(stream, batch_size=None)):
        expected = patches.batch(4, 8, rng)
        assert torch.equal(data["lr"], expected["lr"])
        assert torch.equal(data["hr"], expected["hr"])
        assert data["scale"] == 2


def test_workers_draw_different_crops_and_the_same_again():
    stream = Stream(Patches(noise(), 2), 4, 8)
    first, again = (taken(DataLoader(stream, batch_size=None, num_workers=2), 2) for _ in range(2))
    assert not torch.equal(first[0]["lr"], first[1]["lr"])
    for a, b in zip(first, again, strict=True):
        assert torch.equal(a["hr"], b["hr"])


@pytest.mark.parametrize("given", [{"count": 0, "size": 8}, {"count": 4, "size": 0}])
def test_a_stream_of_nothing_is_refused(given):
    with pytest.raises(ValueError, match="=0: expected a whole number from 1"):
        Stream(Patches(noise(), 2), **given)


def learned(loader, **how):
    torch.manual_seed(0)
    model = Enlarger()
    how = {"steps": 5, "rate": Constant(1e-2), "device": "cpu", "precision": "float32"} | how
    history = fit(model, L1(), loader, **how)
    return model, history


def test_fit_takes_a_dataloader_over_several_epochs():
    """Two batches an epoch, five steps; and the network learns what fit's own crops teach it."""
    patches, size = Patches(noise(), 2), {"batch": 4, "patch": 8}
    by_fit, _ = learned(patches, **size)
    by_loader, _ = learned(DataLoader(Stream(patches, 4, 8, seed=0), batch_size=None))
    assert torch.equal(by_fit.head.weight, by_loader.head.weight)
    _, history = learned(DataLoader(ROWS, 3))
    assert history[-1]["step"] == 5


def test_batches_come_epoch_after_epoch_and_are_shared():
    loaded = Loaded(DataLoader(ROWS, 4))
    rng = torch.Generator()
    sizes = [len(loaded.batch(0, 0, rng)["lr"]) for _ in range(4)]
    assert sizes == [4, 2, 4, 2]
    halves = [Loaded(DataLoader(ROWS, 4)).batch(0, 0, rng, (i, 2)) for i in (0, 1)]
    assert torch.equal(halves[1]["lr"], torch.stack([ROWS[1]["lr"], ROWS[3]["lr"]]))
    assert halves[0]["scale"] == 2
    with pytest.raises(ValueError, match="4 crops cannot be shared by 3"):
        Loaded(DataLoader(ROWS, 4)).batch(0, 0, rng, (0, 3))


LR = torch.rand(2, 3, 8, 8)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([LR], r"gave <class 'torch.Tensor'>: a dictionary with 'lr' .* is expected"),
        ([{"image": LR}], "gave keys image: a dictionary with 'lr'"),
        ([{"lr": LR, "hr": (255 * LR).byte()}], r"'hr' .* torch.uint8 .* x\.float\(\) / 255"),
        ([{"lr": LR[0], "hr": LR}], r"'lr' .* is torch.float32 \(3, 8, 8\): floats \(B, 3, h, w\)"),
        ([{"lr": LR, "hr": torch.rand(2, 3, 16, 17)}], r"'hr' .*\(2, 3, 16, 17\) beside 'lr' \(2,"),
        ([], "the DataLoader is empty: is drop_last on"),
    ],
)
def test_other_batches_are_refused_in_words(rows, words):
    with pytest.raises((TypeError, ValueError), match=words):
        learned(DataLoader(rows, batch_size=None))


def test_the_size_of_batches_is_said_once():
    with pytest.raises(ValueError, match="a DataLoader's batches have their own size, leave both"):
        learned(DataLoader(ROWS, 3), batch=3)
    with pytest.raises(ValueError, match=r"batch=None, patch=8: .* are needed, as batch=16"):
        learned(Patches(noise(), 2), patch=8)
