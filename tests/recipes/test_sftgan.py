"""SFTGAN's recipe: pictures with maps, SFT put into a trunk, and every variant."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from srkit import imresize
from srkit.datasets.priors import TEXTURES, Priors, profile, textures
from srkit.models.sftgan import CLASSES
from srkit.recipes import sftgan, train
from srkit.recipes.run import RecipeRun
from srkit.recipes.sftgan import RECIPE
from srkit.training.stage import After, Continued
from srkit.weights.load import load_checkpoint

SMOKE = RECIPE.budgets["smoke"]


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def records(out):
    return {v: train("sftgan", v, budget="smoke", out=out, device="cpu") for v in RECIPE.variants}


def terms(stage) -> dict:
    """The weight of each term of a stage's loss, by what makes it."""
    return {call.function.__name__: weight for weight, call in stage.loss.terms}


@pytest.mark.parametrize("kind", TEXTURES[1:])
def test_waves_of_all_textures_have_one_mean_and_one_fundamental(kind):
    """By numerical integration over a period; only the harmonics are left to tell them apart."""
    phase = (np.arange(100_000) + 0.5) * 2 * np.pi / 100_000
    wave = profile(kind, phase)
    assert wave.mean() == pytest.approx(0, abs=1e-3)
    assert 2 * (wave * np.cos(phase)).mean() == pytest.approx(1, abs=1e-3)
    assert 2 * (wave * np.sin(phase)).mean() == pytest.approx(0, abs=1e-3)


def test_kinds_lie_nearer_to_one_another_in_small_pictures():
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
    stage = RECIPE.stages(by, "smoke")[0]
    trunk, model = RECIPE.stages("trunk", "smoke")[0].network(), stage.network()
    stage.start.insert(model, trunk)
    lr, _, prior = sftgan.held_out("told right")
    lr, prior = lr[:2, :, :16, :16], prior[:2, :, :64, :64]
    with torch.no_grad():
        plain, told = trunk(lr, prior), model(lr, prior)
    assert (told - plain).abs().max() < 0.2 * plain.std()
    shares = [group.get("share", 1) for group in stage.optimizer(model).param_groups]
    assert shares == ([1] if by == "concat" else [1, 5])


def test_a_network_that_is_not_told_cannot_know(records, out):
    """After training it gives the same answer with any map; one that is told does not."""
    lr, _, right = sftgan.held_out("told right")
    wrong = sftgan.held_out("told wrong")[2]
    assert not torch.equal(right, wrong)
    for variant in ("trunk", "none", "none-gan", "sft"):
        model = load_checkpoint(out / f"sftgan/smoke/{variant}-seed0/model.safetensors")
        with torch.no_grad():
            assert torch.equal(model(lr, right), model(lr, wrong)) is (variant != "sft")


def test_told_wrong_every_texture_is_another():
    right, wrong = (sftgan.held_out(test)[2].argmax(1) for test in sftgan.TESTS[:2])
    assert torch.equal(right == wrong, right == 0)
    assert torch.equal(wrong == 0, right == 0)


def test_frozen_steps_leave_the_trunk_alone():
    """With a step of the frozen stage the new layers alone change; after it all learn."""
    torch.manual_seed(0)
    frozen, all_learn = RECIPE.stages("sft", "smoke")
    model = frozen.network()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    frozen.freeze(model)
    optimizer = frozen.optimizer(model)
    lr, hr, prior = sftgan.held_out("told right")
    sr, _ = frozen.forward(model, {"lr": lr, "prior": prior})
    (sr - hr).abs().mean().backward()
    optimizer.step()
    changed = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert changed
    assert all("SFT_" in name or "CondNet" in name for name in changed)
    assert all_learn.start == Continued()
    all_learn.freeze(model)
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("variant", RECIPE.variants)
def test_a_variant_trains(variant, records):
    record = records[variant]
    for stage in record.stages:
        assert all(math.isfinite(row["loss"]) for row in stage.history)
    steps = {"trunk": [4], "sft": [1, 2], "film": [1, 2], "concat": [3], "none": [3]}
    assert [s.steps for s in record.stages] == steps.get(variant, [2])
    before = {"trunk": (), "sftgan": ("sft",)} | {v: ("trunk",) for v in steps if v != "trunk"}
    assert record.builds_on == before.get(variant, (variant.removesuffix("-gan"),))


@pytest.mark.parametrize(("budget", "variant", "count"), [
    ("laptop", "sft", 133_715), ("laptop", "none", 114_179), ("paper", "sft", 1_612_195),
])  # fmt: skip
def test_networks_have_their_sizes(budget, variant, count):
    model = RECIPE.stages(variant, budget)[0].network()
    assert sum(p.numel() for p in model.parameters()) == count


def test_no_other_pictures_are_taken(tmp_path):
    with pytest.raises(ValueError, match="learns from textures made with their maps"):
        train("sftgan", budget="smoke", data="procedural", out=tmp_path)
    with pytest.raises(ValueError, match="'OutdoorScene': that set has no home that stays"):
        RECIPE.stages("trunk", "paper")[0].crops("OutdoorScene", 4, None)


def test_the_papers_stages_are_the_authors():
    """600,000 steps with all losses; for 20,000 of them the new layers learn alone."""
    (frozen,) = RECIPE.stages("sft", "paper")
    (adversarial,) = RECIPE.stages("sftgan", "paper")
    assert (frozen.steps, adversarial.steps) == (20_000, 580_000)
    assert (frozen.start.variant, adversarial.start) == ("trunk", After("sft"))
    assert frozen.freeze.function is sftgan.only_new_learns
    halved = [50_000, 100_000, 150_000, 200_000]
    for stage in (frozen, adversarial):
        assert (stage.data, stage.scale * stage.patch, stage.batch) == ("OutdoorScene", 96, 16)
        assert terms(stage) == {"content": 1, "ClassAdversarial": 5e-3}
        assert stage.rate(0) == 1e-4  # of the trunk and the discriminator, whose rate is the same
        assert stage.optimizer.arguments["new"] * 1e-4 == pytest.approx(5e-4)
        assert stage.discriminator_rate is None
        assert stage.network.arguments["classes"] == len(CLASSES)
    for k, step in enumerate(halved):
        done = (step - 20_000) / 580_000
        assert adversarial.rate(done - 1e-6) == pytest.approx(1e-4 / 2**k)
        assert adversarial.rate(done) == pytest.approx(1e-4 / 2 ** (k + 1))
    extractor = frozen.loss.terms[0][1].arguments["extractor"]
    assert extractor.arguments == {"lineage": "torchvision"}


def test_new_layers_learn_by_all_losses_where_l1_has_no_steps(tmp_path):
    """As the authors' do: the stage runs, with content and the discriminator's terms."""
    sizes = replace(SMOKE, told_steps=0)
    recipe = replace(RECIPE, budgets={**RECIPE.budgets, "smoke": sizes})
    run = RecipeRun("sftgan", recipe, "sft", budget="smoke", out=tmp_path, device="cpu")
    (stage,) = run.go().stages
    assert stage.steps == SMOKE.frozen_steps
    assert stage.loss[0] == "content (random) + 0.15 adversarial + L1"


def test_with_our_trunk_l1_stands_beside_content():
    for variant in ("sftgan", "concat-gan", "film-gan", "none-gan"):
        (stage,) = RECIPE.stages(variant, "laptop")
        assert terms(stage) == {"content": 1, "ClassAdversarial": 0.15, "L1": 1}


def test_without_new_layers_there_is_one_stage_of_as_many_steps():
    for budget in ("smoke", "laptop", "gpu"):
        sizes = RECIPE.budgets[budget]
        for variant in ("concat", "none"):
            (stage,) = RECIPE.stages(variant, budget)
            told = RECIPE.stages("sft", budget)
            assert (
                stage.steps == sum(s.steps for s in told) == sizes.frozen_steps + sizes.told_steps
            )
            assert stage.rate == told[1].rate
            assert stage.freeze is None


def test_pictures_that_are_measured_are_of_other_seeds():
    learned, _ = sftgan.textured(12, 128, seed=0)
    _, measured, _ = sftgan.held_out("told right")
    assert not any(torch.equal(a / 255, b) for a in learned for b in measured)


def test_scores_are_means_of_each_way_to_be_told():
    """Of a network that is told nothing all three are equal; LPIPS is left out unless asked for."""
    torch.manual_seed(0)
    run = SimpleNamespace(budget=replace(SMOKE, tests=sftgan.TESTS))
    model = RECIPE.stages("trunk", "smoke")[0].network()
    right, wrong, none = (sftgan.measure(run, model, test) for test in sftgan.TESTS)
    assert right == wrong == none
    assert set(right) == {"psnr", "ssim"}
    assert list(sftgan.samples(run, 4)) == ["told-right", "told-wrong", "not-told"]
