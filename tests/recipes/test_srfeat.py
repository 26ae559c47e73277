"""SRFeat's recipe: every variant trains, with the discriminators it says, and batch norm stays."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch

from srkit.recipes import srfeat, train

CRITICS = {
    "srfeat": ("image", "feature"), "perceptual": (), "image": ("image",),
    "feature": ("feature",), "three-phases": ("image", "feature"),
    "places": ("image", "places"), "lower": ("image", "lower"),
}  # fmt: skip


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.mark.parametrize("variant", srfeat.VARIANTS)
def test_a_variant_trains_with_its_discriminators(variant, out):
    record = train("srfeat", variant, budget="smoke", out=out, device="cpu")
    (stage,) = record["stages"]
    assert all(math.isfinite(row["loss"]) for row in stage["history"])
    if variant.startswith("mse"):
        assert "builds_on" not in record
        return
    row = stage["history"][-1]
    assert {key for key in row if key.endswith("discriminator")} == {
        f"{'' if name == 'image' else 'feature '}adversarial, discriminator"
        for name in CRITICS[variant]
    }
    assert record["builds_on"] == ["perceptual" if variant == "three-phases" else "mse"]


def test_batch_norm_is_left_as_the_first_stage_made_it(out):
    """Statistics, scales and shifts are the same, to the bit; the convolutions have moved."""
    before, after = (load(train("srfeat", v, budget="smoke", out=out, device="cpu"), out)
                     for v in ("mse", "srfeat"))  # fmt: skip
    norms = [name for name in before if ".bn" in name]
    assert len(norms) == 2 * 2 * 5
    assert all(torch.equal(before[name], after[name]) for name in norms)
    assert not any(torch.equal(before[n], after[n]) for n in before if n.endswith("conv1.weight"))


def load(record, out):
    from safetensors.torch import load_file

    return load_file(out / "srfeat/smoke" / f"{record['variant']}-seed0" / "model.safetensors")


@pytest.mark.parametrize(
    ("discriminator", "layer", "shape"),
    [("feature", "conv2", (1, 1)), ("places", "conv2", (1, 1, 16, 16)), ("lower", "act1", (1, 1))],
)
def test_discriminators_of_features_differ_in_what_they_see_and_say(discriminator, layer, shape):
    """A verdict on the whole or one on each place; of content's layer or of one before it."""
    run = SimpleNamespace(plan=srfeat.BUDGETS["smoke"], build=lambda make: make())
    *_, term = srfeat.total(run, (discriminator,)).terms.values()
    seen = term.extractor(torch.rand(1, 3, 64, 64), layer)[layer] / term.unit
    assert term.layer == layer
    assert seen.square().mean().sqrt().item() == pytest.approx(1, abs=0.5)
    assert term.discriminator(seen).shape == shape


def test_plans_of_all_budgets_have_the_same_keys():
    optional = {"validate_every", "lpips", "from_scratch", "drop_at"}
    assert len({frozenset(plan.keys() - optional) for plan in srfeat.BUDGETS.values()}) == 1


@pytest.mark.parametrize(("budget", "count"), [("laptop", 199_139), ("paper", 6_187_907)])
def test_the_network_has_its_size(budget, count):
    model = srfeat.network(SimpleNamespace(plan=srfeat.BUDGETS[budget]))
    assert sum(p.numel() for p in model.parameters()) == count


def test_content_and_discriminator_see_the_same_features_in_the_same_units(assets):
    assets("backbones/vgg19_oxford.npz")
    run = SimpleNamespace(plan=srfeat.BUDGETS["laptop"], build=lambda make: make())
    terms = list(srfeat.total(run, ("image", "feature")).terms.values())
    content, image, feature = terms
    assert content.extractor is feature.extractor
    assert content.units[feature.layer] == feature.unit
    assert (feature.discriminator.channels_in, feature.discriminator.size) == (512, 8)
    assert image.discriminator.size == 64
