"""SFTGAN's recipe: pictures with maps, SFT put into a trunk, and every variant."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from srkit import imresize
from srkit.datasets.priors import TEXTURES, Priors, profile, textures
from srkit.recipes import sftgan, train

SMOKE = SimpleNamespace(plan=sftgan.BUDGETS["smoke"])


@pytest.mark.parametrize("kind", TEXTURES[1:])
def test_waves_of_all_textures_have_one_mean_and_one_fundamental(kind):
    """By numerical integration over a period; only the harmonics are left to tell them apart."""
    phase = (np.arange(100_000) + 0.5) * 2 * np.pi / 100_000
    wave = profile(kind, phase)
    assert wave.mean() == pytest.approx(0, abs=1e-3)
    assert 2 * (wave * np.cos(phase)).mean() == pytest.approx(1, abs=1e-3)
    assert 2 * (wave * np.sin(phase)).mean() == pytest.approx(0, abs=1e-3)


def test_small_pictures_do_not_tell_the_textures_apart():
    """Waves of two kinds differ much less, for their size, in LR than in HR."""
    n = torch.arange(512).double() / 2
    first, second = (torch.from_numpy(profile(k, (n * 2 * math.pi / 10).numpy())).float()
                     for k in ("blades", "joints"))  # fmt: skip
    high = torch.stack([first, second])[:, None].expand(-1, 8, -1)
    low = imresize(high, size=(8, 64))[..., 4:-4]
    ratio = [(x[0] - x[1]).square().mean() / x[0].var() for x in (high, low)]
    assert ratio[1] < 0.25 * ratio[0]


def test_textures_repeat_and_have_a_label_for_each_pixel():
    picture, labels = textures((40, 48), (0, 1))
    again, _ = textures((40, 48), (0, 1))
    assert torch.equal(picture, again)
    assert (picture.dtype, picture.shape, labels.shape) == (torch.uint8, (3, 40, 48), (40, 48))
    assert len(labels.unique()) <= 3
    assert labels.max() < len(TEXTURES)


def test_maps_are_cut_and_turned_with_the_pictures(rng):
    """Pictures that show their own labels: every crop's prior says what the crop shows."""
    labels = [textures(64, k)[1] for k in range(3)]
    pictures = [(40 * each).expand(3, -1, -1) for each in labels]
    data = Priors(pictures, labels, classes=5).batch(16, 10, rng)
    shown = data["hr"][:, 0].mul(255 / 40).round().long()
    assert data["prior"].shape == (16, 5, 40, 40)
    assert torch.equal(data["prior"].argmax(1), shown)
    assert torch.equal(data["prior"].sum(1), torch.ones(16, 40, 40))
    counts = data["prior"].sum((2, 3))
    assert torch.equal(counts.gather(1, data["category"][:, None])[:, 0], counts.amax(1))


def test_labels_that_do_not_fit_are_refused():
    picture, labels = textures(32, 0)
    with pytest.raises(ValueError, match="of its size"):
        Priors([picture], [labels[:16]], classes=5)
    with pytest.raises(ValueError, match=f"a label is {labels.max()}, and the classes are 0 to 0"):
        Priors([picture], [labels], classes=1)


@pytest.mark.parametrize("by", ["sft", "film", "concat"])
def test_what_is_told_goes_into_the_trunk(by):
    """The trunk's answer is hardly changed by what is put in, which then learns faster."""
    torch.manual_seed(0)
    trunk, model = sftgan.network(SMOKE, "none"), sftgan.network(SMOKE, by)
    sftgan.insert(model, trunk)
    lr, _, prior = sftgan.held_out("told right")
    lr, prior = lr[:2, :, :16, :16], prior[:2, :, :64, :64]
    with torch.no_grad():
        plain, told = trunk(lr, prior), model(lr, prior)
    assert (told - plain).abs().max() < 0.2 * plain.std()
    shares = [group.get("share", 1) for group in sftgan.optimizer(model).param_groups]
    assert shares == ([1] if by == "concat" else [1, 5])


def test_who_is_not_told_cannot_know(tmp_path):
    """The same answer with any map, after training too."""
    run = SimpleNamespace(
        plan=SMOKE.plan, facts={}, build=lambda make: make(),
        fit=lambda model, *a, **how: fit_one(model, how["forward"]),
    )  # fmt: skip

    def fit_one(model, forward):
        lr, hr, prior = (x[:2, :, :16, :16] if x.shape[-1] == 32 else x[:2, :, :64, :64]
                         for x in sftgan.held_out("told right"))  # fmt: skip
        optimizer = torch.optim.Adam(model.parameters(), 0.01)
        sr, _ = forward(model, {"lr": lr, "prior": prior})
        (sr - hr).abs().mean().backward()
        optimizer.step()

    model = sftgan.trunk(run)
    lr, _, right = sftgan.held_out("told right")
    wrong = sftgan.held_out("told wrong")[2]
    assert not torch.equal(right, wrong)
    with torch.no_grad():
        assert torch.equal(model(lr, right), model(lr, wrong))


def test_told_wrong_every_texture_is_another():
    right, wrong = (sftgan.held_out(test)[2].argmax(1) for test in sftgan.TESTS[:2])
    assert torch.equal(right == wrong, right == 0)
    assert torch.equal(wrong == 0, right == 0)


def test_frozen_steps_leave_the_trunk_alone(tmp_path):
    """A told network after its frozen stage has the trunk's convolutions, and its own SFT."""
    seen = []

    class Run(SimpleNamespace):
        def fit(self, model, *a, **how):
            seen.append({n: p.requires_grad for n, p in model.named_parameters()})

    run = Run(plan=SMOKE.plan, facts={}, build=lambda make: make(), trained=lambda v, model: model)
    sftgan.told(run, "sft")
    frozen, free = seen
    assert {name for name, trains in frozen.items() if trains} == {
        name for name in frozen if "SFT_" in name or "CondNet" in name
    }
    assert all(free.values())


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.mark.parametrize("variant", sftgan.VARIANTS)
def test_a_variant_trains(variant, out):
    record = train("sftgan", variant, budget="smoke", out=out, device="cpu")
    for stage in record["stages"]:
        assert all(math.isfinite(row["loss"]) for row in stage["history"])
    told = variant in ("sft", "film")
    assert [s["steps"] for s in record["stages"]] == (
        [1, 2] if told else [3] if variant in ("concat", "none") else [4] if variant == "trunk"
        else [2]
    )  # fmt: skip


@pytest.mark.parametrize(("budget", "by", "count"), [
    ("laptop", "sft", 133_715), ("laptop", "none", 114_179), ("paper", "sft", 1_606_051),
])  # fmt: skip
def test_networks_have_their_sizes(budget, by, count):
    """The paper's has 1,612,195 with 8 classes: 2,048 weights of CondNet a class."""
    model = sftgan.network(SimpleNamespace(plan=sftgan.BUDGETS[budget]), by)
    assert sum(p.numel() for p in model.parameters()) == count
