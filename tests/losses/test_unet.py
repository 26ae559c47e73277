"""Losses of a U-Net discriminator against their equations, on CIPLab's discriminator in small and
by hand."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from srkit.losses.pixel import Huber
from srkit.losses.unet import Matching, UNetAdversarial, cutmix
from srkit.models.ciplab import UNetDiscriminator, Verdict


def seeded(seed):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def discriminator():
    torch.manual_seed(0)
    return UNetDiscriminator((4, 6, 8))


@pytest.fixture
def pair(rng):
    return torch.rand(2, 2, 3, 16, 24, generator=rng)


class Pixels(nn.Module):
    """A discriminator whose decoder logit is a pixel's red, times `scale`; its encoder's, their
    mean."""

    def __init__(self, scale=1.0):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, x):
        decoder = self.scale * x[:, :1]
        return Verdict(decoder.mean((2, 3), keepdim=True), decoder, [x, decoder])


def test_a_box_of_hr_with_the_area_that_was_drawn():
    """Of 300 boxes all are rectangles, and those not cut off have (1 - lam) of the area but for
    the rounding of each side to an even number of pixels."""
    sr, hr = torch.zeros(1, 3, 96, 64), torch.ones(1, 3, 96, 64)
    whole = 0
    for seed in range(300):
        mixed, mask = cutmix(sr, hr, seeded(seed))
        assert mask.shape == (1, 1, 96, 64)
        assert torch.equal(mixed, mask.expand(1, 3, -1, -1).float())
        rows, columns = mask[0, 0].any(1), mask[0, 0].any(0)
        assert torch.equal(mask[0, 0], rows[:, None] & columns)
        lam = torch.rand((), generator=seeded(seed)).item()
        sides = [side * (1 - lam) ** 0.5 for side in (96, 64)]
        found = [int(rows.sum()), int(columns.sum())]
        assert all(f <= s for f, s in zip(found, sides, strict=True))
        if not (rows[0] or rows[-1] or columns[0] or columns[-1]) and min(found) > 0:
            whole += 1
            assert all(s - 2 < f for f, s in zip(found, sides, strict=True))
    assert whole > 30


def test_boxes_repeat_with_the_seed_and_differ_without(pair):
    masks = [cutmix(*pair, seeded(seed))[1] for seed in (3, 3, 4)]
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])


def test_a_box_may_lie_anywhere():
    """Each pixel is HR in some of 200 draws and SR in others, and the corners less often."""
    sr, hr = torch.zeros(1, 3, 16, 16), torch.ones(1, 3, 16, 16)
    often = sum(cutmix(sr, hr, seeded(s))[1][0, 0].double() for s in range(200)) / 200
    assert 0 < often.min() < often.max() < 1
    assert often[0, 0] < often[8, 8]


def test_the_generators_hinge_of_encoder_and_decoder(pair):
    sr, hr = pair
    expected = (1 - sr[:, 0].mean((1, 2))).mean() / 2 + (1 - sr[:, 0]).mean() / 2
    torch.testing.assert_close(UNetAdversarial(Pixels())(sr, hr), expected)
    sure = UNetAdversarial(Pixels(50.0))
    certain = (0.5 + sr / 2).requires_grad_()
    sure(certain, hr).backward()
    assert certain.grad.abs().max() == 0  # all logits are above 1


def test_the_discriminators_hinge_without_mixed_pictures(discriminator, pair):
    sr, hr = pair
    seed = next(s for s in range(99) if torch.rand((), generator=seeded(s)) >= 0.5)
    fake, real = discriminator(sr), discriminator(hr)
    expected = sum(
        F.relu(1 - getattr(real, part)).mean() + F.relu(1 + getattr(fake, part)).mean()
        for part in ("encoder", "decoder")
    )
    for term in (
        UNetAdversarial(discriminator, cutmix=None),
        UNetAdversarial(discriminator, rng=seeded(seed)),
    ):
        torch.testing.assert_close(term.discriminator_loss(sr, hr), expected)


@pytest.mark.parametrize("kind", ["code", "mask"])
def test_the_discriminators_loss_on_mixed_pictures(kind, pair):
    """By hand on a discriminator of pixels: it answers to a pixel alone, so the consistency is
    0."""
    sr, hr = pair
    seed = next(s for s in range(99) if torch.rand((), generator=seeded(s)) < 0.5)
    drawn = seeded(seed)
    torch.rand((), generator=drawn)  # mixed or not
    mixed, mask = cutmix(sr, hr, drawn)
    red, real = mixed[:, 0], hr[:, 0]
    expected = (1 - real.mean((1, 2))).mean() + (1 + red.mean((1, 2))).mean() + (1 - real).mean()
    as_labelled = torch.where(mask[:, 0] & (kind == "mask"), 1 - red, 1 + red)
    expected = expected + as_labelled.mean()
    term = UNetAdversarial(Pixels(), cutmix=kind, rng=seeded(seed))
    torch.testing.assert_close(term.discriminator_loss(sr, hr), expected)


def test_consistency_is_the_error_between_mixing_before_and_after(discriminator, pair):
    """What CutMix adds to the hinges; with gradients through all three passes; 0 for S = H."""
    sr, hr = pair
    seed = next(s for s in range(99) if torch.rand((), generator=seeded(s)) < 0.5)

    def parts(sr, hr):
        drawn = seeded(seed)
        torch.rand((), generator=drawn)
        picture, mask = cutmix(sr, hr, drawn)
        fake, real, mixed = (discriminator(x) for x in (sr, hr, picture))
        hinges = F.relu(1 - real.encoder).mean() + F.relu(1 + mixed.encoder).mean()
        hinges = hinges + F.relu(1 - real.decoder).mean() + F.relu(1 + mixed.decoder).mean()
        mix = real.decoder * mask + fake.decoder * ~mask
        return hinges, (mixed.decoder - mix).square().mean()

    def discriminator_loss(sr, hr):
        return UNetAdversarial(discriminator, rng=seeded(seed)).discriminator_loss(sr, hr)

    hinges, consistency = parts(sr, hr)
    assert consistency > 1e-4
    value = discriminator_loss(sr, hr)
    torch.testing.assert_close(value, hinges + consistency)
    weight = discriminator.dec_b1.conv1.weight
    expected = torch.autograd.grad(hinges + consistency, weight)
    torch.testing.assert_close(torch.autograd.grad(value, weight), expected)
    hinges, consistency = parts(hr, hr)
    assert consistency == 0
    torch.testing.assert_close(discriminator_loss(hr, hr), hinges)


def test_how_often_pictures_are_mixed(pair):
    """Every other time: three passes of the discriminator where they are, else two."""
    discriminator, passes, n = Pixels(), [], 300
    discriminator.register_forward_hook(lambda *_: passes.append(1))
    term = UNetAdversarial(discriminator, rng=seeded(0))
    for _ in range(n):
        term.discriminator_loss(*pair)
    assert len(passes) / n - 2 == pytest.approx(0.5, abs=0.08)


def test_matching_by_hand(pair):
    """Huber with delta 0.01, the mean over maps: a map as large as another counts no more."""
    sr, hr = pair

    def huber(e):
        return torch.where(e.abs() <= 0.01, e**2 / 2, 0.01 * (e.abs() - 0.005)).mean()

    expected = (huber(sr - hr) + huber(sr[:, :1] - hr[:, :1])) / 2
    torch.testing.assert_close(Matching(Pixels())(sr, hr), expected)
    assert Matching(Pixels())(hr, hr) == 0


def test_one_pass_for_all_terms_of_one_discriminator(discriminator, pair):
    """Values as alone, from one look at each picture; another discriminator looks for itself."""
    passes = []
    discriminator.eval().register_forward_hook(lambda *_: passes.append(1))
    loss = Huber(0.01) + 1e-3 * UNetAdversarial(discriminator) + 1.0 * Matching(discriminator)
    parts = loss.parts(*pair)
    assert len(passes) == 2
    assert list(parts) == [next(iter(parts)), "adversarial", "matching"]
    torch.testing.assert_close(parts["adversarial"], UNetAdversarial(discriminator)(*pair))
    torch.testing.assert_close(parts["matching"], Matching(discriminator)(*pair))
    other = UNetDiscriminator((4, 6, 8)).eval()
    both = (Matching(discriminator) + Matching(other)).parts(*pair)
    torch.testing.assert_close(both["matching (2)"], Matching(other)(*pair))
    assert both["matching"] != both["matching (2)"]


@pytest.mark.parametrize("kind", ["code", "mask", None])
def test_each_turn_teaches_its_own_network(discriminator, pair, kind):
    """Generator's turn: only it gets gradients. Discriminator's turn: only the discriminator."""
    lr, hr = pair
    generator = nn.Conv2d(3, 3, 3, padding=1)
    term = UNetAdversarial(discriminator, cutmix=kind, rng=seeded(0))
    for loss in (1.0 * term, 1.0 * Matching(discriminator)):
        generator.weight.grad = None
        loss(generator(lr), hr).backward()
        assert generator.weight.grad.abs().max() > 0
        assert all(p.grad is None and p.requires_grad for p in discriminator.parameters())
    generator.weight.grad = None
    sr = generator(lr)
    for _ in range(3):  # mixed and not
        term.discriminator_loss(sr, hr).backward()
    assert generator.weight.grad is None
    assert all(p.grad.isfinite().all() for p in discriminator.parameters())
    assert term.discriminator is discriminator
    assert len(
        [k for k in (term + Matching(discriminator)).state_dict() if "discriminator" in k]
    ) == len(discriminator.state_dict())


def test_half_precision_stays_in_the_discriminator(discriminator, pair):
    sr, hr = pair
    term = UNetAdversarial(discriminator, rng=seeded(0))
    with torch.autocast("cpu", torch.bfloat16):
        parts = (term + Matching(discriminator)).parts(sr.bfloat16(), hr)
        values = [*parts.values(), *(term.discriminator_loss(sr.bfloat16(), hr) for _ in range(3))]
    assert all(v.dtype == torch.float32 and v.isfinite() for v in values)


def test_larger_batches_have_the_same_losses(discriminator, pair):
    discriminator.eval()  # batch norm would see another batch
    double = [x.repeat(2, 1, 1, 1) for x in pair]
    for term in (UNetAdversarial(discriminator), Matching(discriminator)):
        torch.testing.assert_close(term(*double), term(*pair))
    values = [
        UNetAdversarial(discriminator, rng=seeded(1)).discriminator_loss(*p) for p in (pair, double)
    ]
    torch.testing.assert_close(*values)


def test_an_unknown_cutmix_is_named():
    with pytest.raises(ValueError, match="cutmix 'box' is unknown: 'code', 'mask' or None"):
        UNetAdversarial(SimpleNamespace(), cutmix="box")
