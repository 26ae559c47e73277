"""CIPLab's recipe at x16: all variants run, and differ in what they say."""

from __future__ import annotations

import pytest
import torch

from srkit import psnr
from srkit.calls import Build, Given
from srkit.models.ciplab import RRDBNetx4x4
from srkit.recipes import ciplab, train
from srkit.recipes.ciplab import RECIPE
from srkit.training.stage import After

SECOND = [v for v in RECIPE.variants if v != "pretrained"]


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    return {v: train("ciplab", v, budget="smoke", out=out, device="cpu") for v in RECIPE.variants}


def loss_of(variant, budget):
    """The loss of a variant's stage, as a run makes it."""
    (stage,) = RECIPE.stages(variant, budget)
    return stage.loss.made(Build(seed=0, given={Given.SEED: 0}), lambda loss, count: {})


def test_every_variant_runs_from_nothing_but_code(records):
    for variant, record in records.items():
        assert record.data["name"] == "procedural"
        assert [stage.steps for stage in record.stages] == [2]
        assert record.builds_on == (() if variant == "pretrained" else ("pretrained",))


def test_both_networks_are_clipped_in_every_stage():
    for variant in RECIPE.variants:
        for budget in RECIPE.budgets:
            assert [stage.clip for stage in RECIPE.stages(variant, budget)] == [0.1]


def test_the_first_stage_is_huber_alone(records):
    (loss,) = records["pretrained"].stages[0].loss
    assert loss.startswith("Huber: ")
    assert "beyond 0.01" in loss


def test_variants_differ_in_cutmix_and_matching():
    losses = {v: loss_of(v, "smoke") for v in SECOND}
    cutmix = {v: loss.terms["adversarial"].cutmix for v, loss in losses.items()}
    kinds = dict.fromkeys(SECOND, "code") | {"cutmix-mask": "mask", "no-cutmix": None}
    assert cutmix == kinds
    silent = {v for v, loss in losses.items() if "matching" not in loss.terms}
    assert silent == {"adv-vgg", "no-matching"}
    for loss in losses.values():
        assert isinstance(loss.terms["adversarial"].rng, torch.Generator)


def test_matching_looks_at_the_discriminator_that_learns():
    loss = loss_of("ciplab", "smoke")
    assert loss.terms["matching"].extractor.discriminator is loss.terms["adversarial"].discriminator


def test_weights_are_the_papers_and_vgg_takes_the_place_of_lpips(assets):
    assets("backbones/lpips_alex.safetensors")
    assets("backbones/vgg19_oxford.npz")
    own, other = (loss_of(v, "laptop") for v in ("ciplab", "adv-vgg"))
    assert own.weights == {"Huber": 1, "LPIPS": 1e-3, "adversarial": 1e-3, "matching": 1}
    assert other.weights == {"Huber": 1, "content": 5e-3, "adversarial": 1e-3}
    assert list(other.terms["content"].units) == ["conv5_4"]
    assert other.terms["content"].units["conv5_4"] > 10  # of Oxford's, not 1


def test_it_begins_as_an_enlargement_by_repeated_pixels(rng):
    """Near enough: what is added on the way is small, and gone with its weights."""
    torch.manual_seed(0)
    model, lr = RRDBNetx4x4(channels=8, blocks=1, growth=4), torch.rand(1, 3, 6, 6, generator=rng)
    hr = lr.repeat_interleave(16, -1).repeat_interleave(16, -2)
    ciplab.begin_as_enlargement(model)
    with torch.no_grad():
        near = psnr(model(lr).clamp(0, 1), hr, on="rgb", shave=0).item()
        for name, weight in model.named_parameters():
            if weight.ndim == 4 and "trunk" not in name:
                weight[weight.abs() != 1] = 0
        model.trunk_conv.weight.zero_()
        model.trunk_conv2.weight.zero_()
        exact = model(lr)
    assert near > 15
    torch.testing.assert_close(exact, hr, atol=1e-5, rtol=0)


def test_measured_by_a_trunk_that_no_loss_has_seen(assets, monkeypatch):
    """Repeated pixels on Set5, made x16: PSNR by its definition, and both LPIPS."""
    for name in ("lpips_alex", "lpips_squeeze"):
        assets(f"backbones/{name}.safetensors")
    assets("benchmarks/Set5")
    pairs = ciplab.catalog.pairs("Set5", 16)[2:3]
    monkeypatch.setattr(ciplab.catalog, "pairs", lambda name, scale: pairs)
    model = RRDBNetx4x4(channels=4, blocks=1, growth=2)
    scores = ciplab.measure(None, model, "Set5")
    assert set(scores) == {"psnr", "ssim", "lpips", "lpips-squeeze"}
    lr, hr = ciplab.load_pair(pairs[0], 16)
    with torch.no_grad():
        sr = (model(lr[None])[0].clamp(0, 1) * 255).add(0.5).floor().div(255)
    y = torch.tensor([65.481, 128.553, 24.966], dtype=torch.float64).view(3, 1, 1) / 255
    error = ((sr.double() - hr.double()) * y).sum(0)[16:-16, 16:-16]
    assert scores["psnr"] == pytest.approx(-10 * error.square().mean().log10().item(), abs=1e-3)
    assert scores["lpips"] != pytest.approx(scores["lpips-squeeze"], abs=1e-3)


def test_networks_of_all_budgets_are_those_of_the_card():
    def count(model):
        return sum(p.numel() for p in model.parameters())

    sizes = {}
    for budget in RECIPE.budgets:
        (stage,) = RECIPE.stages("ciplab", budget)
        judge = stage.loss.terms[-1][1].arguments["discriminator"]
        with torch.device("meta"):
            discriminator = judge()
            sizes[budget] = count(stage.network()), count(discriminator)
        assert 16 * stage.patch % 2**discriminator.levels == 0
    assert sizes["laptop"] == (289_875, 114_194)
    assert sizes["gpu"] == sizes["paper"] == (33_392_451, 6_681_538)


def test_the_papers_stages_are_the_authors():
    (first,), (second,) = (RECIPE.stages(v, "paper") for v in ("pretrained", "ciplab"))
    assert (first.steps, first.batch) == (50_000, 3)
    assert (second.steps, second.batch, second.start) == (60_000, 2, After("pretrained"))
    for stage in (first, second):
        assert (stage.data, stage.patch, stage.scale * stage.patch) == ("DIV8K", 24, 384)
        assert stage.rate(0) == stage.rate(0.999) == 1e-5
        assert stage.discriminator_rate is None  # the same for both networks
    terms = {call.function.__name__: (w, call.arguments) for w, call in second.loss.terms}
    weights = {name: weight for name, (weight, _) in terms.items()}
    assert weights == {"Huber": 1, "LPIPS": 1e-3, "UNetAdversarial": 1e-3, "Matching": 1}
    assert terms["Huber"][1] == {"delta": 0.01}
    assert terms["LPIPS"][1] == {"net": "alex"}
    assert terms["UNetAdversarial"][1]["cutmix"] == "code"
