"""SRFeat's recipe: every variant trains, with the discriminators it says, and batch norm stays."""

from __future__ import annotations

import math

import pytest
import torch
from safetensors.torch import load_file

from srkit.calls import Build
from srkit.losses import Content, FeatureAdversarial
from srkit.losses.terms import Sum
from srkit.models.srfeat import FeatureDiscriminator
from srkit.recipes import recipe, train
from srkit.training.stage import After, Stage

RECIPE = recipe("srfeat")
DISCRIMINATORS = {
    "srfeat": ("image", "feature"), "perceptual": (), "image": ("image",),
    "feature": ("feature",), "three-phases": ("image", "feature"),
    "places": ("image", "places"), "lower": ("image", "lower"),
}  # fmt: skip


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


def stage(variant: str, budget: str) -> Stage:
    (only,) = RECIPE.stages(variant, budget)
    assert isinstance(only, Stage)
    return only


def loss(variant: str, budget: str) -> Sum:
    return stage(variant, budget).loss.made(Build(seed=0), measure=lambda loss, n: {})


@pytest.mark.parametrize("variant", RECIPE.variants)
def test_a_variant_trains_with_its_discriminators(variant, out):
    record = train("srfeat", variant, budget="smoke", out=out, device="cpu")
    (done,) = record.stages
    assert all(math.isfinite(row["loss"]) for row in done.history)
    if variant.startswith("mse"):
        assert record.builds_on == ()
        return
    row = done.history[-1]
    assert {key for key in row if key.endswith("discriminator")} == {
        f"{'' if name == 'image' else 'feature '}adversarial, discriminator"
        for name in DISCRIMINATORS[variant]
    }
    assert record.builds_on == ("perceptual" if variant == "three-phases" else "mse",)


def test_batch_norm_is_left_as_the_first_stage_made_it(out):
    """Statistics, scales and shifts are the same, to the bit; the convolutions have moved."""
    before, after = (weights(variant, out) for variant in ("mse", "srfeat"))
    norms = [name for name in before if ".bn" in name]
    assert len(norms) == 2 * 2 * 5
    assert all(torch.equal(before[name], after[name]) for name in norms)
    assert not any(torch.equal(before[n], after[n]) for n in before if n.endswith("conv1.weight"))


def weights(variant: str, out) -> dict[str, torch.Tensor]:
    train("srfeat", variant, budget="smoke", out=out, device="cpu")
    return load_file(out / "srfeat/smoke" / f"{variant}-seed0" / "model.safetensors")


@pytest.mark.parametrize(
    ("variant", "layer", "shape"),
    [("srfeat", "conv2", (1, 1)), ("places", "conv2", (1, 1, 16, 16)), ("lower", "act1", (1, 1))],
)
def test_discriminators_of_features_differ_in_what_they_see_and_say(variant, layer, shape):
    """A verdict on the whole or one on each place; of content's layer or of one before it."""
    *_, term = loss(variant, "smoke").terms.values()
    assert isinstance(term, FeatureAdversarial)
    seen = term.extractor(torch.rand(1, 3, 64, 64), layer)[layer] / term.unit
    assert term.layer == layer
    assert seen.square().mean().sqrt().item() == pytest.approx(1, abs=0.5)
    assert term.discriminator(seen).shape == shape


@pytest.mark.parametrize(("budget", "count"), [("laptop", 199_139), ("paper", 6_187_907)])
def test_the_network_has_its_size(budget, count):
    model = stage("srfeat", budget).network()
    assert sum(p.numel() for p in model.parameters()) == count


def test_content_and_discriminator_see_the_same_features_in_the_same_units(assets):
    assets("backbones/vgg19_oxford.npz")
    content, image, feature = loss("srfeat", "laptop").terms.values()
    assert isinstance(content, Content)
    assert isinstance(feature, FeatureAdversarial)
    assert content.extractor is feature.extractor
    assert content.units == {feature.layer: feature.unit}
    assert isinstance(feature.discriminator, FeatureDiscriminator)
    assert (feature.discriminator.channels_in, feature.discriminator.size) == (512, 8)
    assert image.discriminator.size == 64


def test_the_paper_budget_is_the_papers():
    """136,000 crops: 21 passes of the first stage, 5 of the second, 9 crops a step."""
    first, second = stage("mse", "paper"), stage("srfeat", "paper")
    assert (first.batch, 4 * first.patch) == (second.batch, 4 * second.patch) == (9, 296)
    assert first.steps == pytest.approx(21 * 136_000 / 9, rel=2e-3)
    assert second.steps == pytest.approx(5 * 136_000 / 9, rel=2e-3)
    assert [first.rate(done / 21) for done in (0, 16, 17)] == pytest.approx([1e-4, 1e-4, 1e-5])
    assert [second.rate(done / 5) for done in range(5)] == pytest.approx(
        [1e-4, 1e-4, 1e-5, 1e-5, 1e-6]
    )
    assert second.start == After("mse")
    assert [weight for weight, _ in second.loss.terms] == [1, 1e-3, 1e-3]
    content, image, feature = (call.arguments for _, call in second.loss.terms)
    assert content["weights"] == {feature["layer"]: 1} == {"relu5_4": 1}
    assert content["unit"] == feature["unit"] == 12.75
    with torch.device("meta"):  # 194 million parameters
        discriminator = image["discriminator"]()
    assert sum(p.numel() for p in discriminator.parameters()) == 193_959_105


def test_the_papers_discriminator_of_features_has_its_size(assets):
    assets("backbones/vgg19_oxford.npz")
    _, _, (_, feature) = stage("srfeat", "paper").loss.terms
    discriminator = feature.arguments["discriminator"]()
    assert sum(p.numel() for p in discriminator.parameters()) == 7_081_473
