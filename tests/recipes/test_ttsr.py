"""TTSR's recipe: all variants run, learn what they should, and are measured by reference."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from srkit import psnr
from srkit.image.io import write_image
from srkit.image.resize import imresize
from srkit.models.ttsr import LTE, TTSR, enlarged
from srkit.recipes import train, ttsr
from srkit.recipes.run import RecipeRun
from srkit.recipes.ttsr import RECIPE
from srkit.training.loop import adam
from srkit.training.stage import After
from srkit.weights.load import load_checkpoint

SMOKE = RECIPE.budgets["smoke"]
RUN = SimpleNamespace(budget=SMOKE)
ALL_LOSSES = ("ttsr", "no-transferal", "no-adversarial")


@pytest.fixture(autouse=True)
def few_examples(monkeypatch):
    monkeypatch.setattr(ttsr, "EXAMPLES", 4)
    ttsr.examples.cache_clear()


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def records(out):
    return {v: train("ttsr", v, budget="smoke", out=out, device="cpu") for v in RECIPE.variants}


def build(variant: str = "rec") -> TTSR:
    torch.manual_seed(0)
    return RECIPE.stages(variant, "smoke")[0].network()


def learned(out, variant):
    file = out / "ttsr" / "smoke" / f"{variant}-seed0" / "model.safetensors"
    return load_checkpoint(file).state_dict()


def parameters(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def terms(stage) -> dict:
    """The weight and the arguments of each term of a stage's loss, by what makes it."""
    return {call.function.__name__: (w, call.arguments) for w, call in stage.loss.terms}


def test_every_variant_runs_from_nothing_but_code(records):
    for variant, record in records.items():
        (stage,) = record.plan["stages"]
        assert stage["crops"]["turned"] is (variant == "turned")
        assert stage["crops"]["level"] == "L1"
        assert record.data["name"] == "procedural"
        assert [stage.steps for stage in record.stages] == [2]


def test_all_losses_start_from_rec_and_have_the_terms_that_the_variants_name_says(records):
    for variant, record in records.items():
        assert record.builds_on == (("rec",) if variant in ALL_LOSSES else ())
        found = {line.split()[0] for line in record.stages[0].loss[1:]}
        wanted = {"L1"}
        if variant in ALL_LOSSES:
            wanted |= {"content", "transferal", "adversarial"} - {variant.removeprefix("no-")}
        assert found == wanted


def test_l1_is_that_of_pictures_from_minus_one_to_one(records):
    assert records["rec"].stages[0].loss[0] == "2 L1"


def test_the_wide_network_without_integration_has_as_many_parameters(records):
    """So that it is the exchange between the scales that counts; the paper's has 96 channels."""
    sizes = {
        (budget, variant): parameters(RECIPE.stages(variant, budget)[0].network())
        for budget in ("laptop", "paper")
        for variant in ("lte-wide", "rec")
    }
    assert sizes["paper", "lte-wide"] == 9_097_327
    assert sizes["laptop", "lte-wide"] == pytest.approx(sizes["laptop", "rec"], rel=0.06)
    assert records["lte-wide"].parameters > records["lte"].parameters


def test_the_discriminator_has_wgan_gps_settings():
    """Two steps for one, slopes for pictures that span 2, and the authors' momenta."""
    (stage,) = RECIPE.stages("ttsr", "smoke")
    _, arguments = terms(stage)["Adversarial"]
    objective = arguments["objective"]
    assert (objective.discriminator_steps, objective.span, objective.penalty) == (2, 2, 10)
    assert isinstance(arguments["rng"].but(seed=0)(), torch.Generator)
    optimizer = stage.discriminator_optimizer(arguments["discriminator"]())
    assert optimizer.defaults["betas"] == (0.0, 0.9)


@pytest.mark.parametrize(("budget", "share"), [("laptop", 1.0), ("gpu", 0.1)])
def test_an_lte_that_knows_something_learns_at_a_tenth(budget, share):
    (stage,) = RECIPE.stages("rec", budget)
    assert stage.start.by.arguments["vgg"] == (None if share == 1 else "oxford")
    model = build()
    main, slow = stage.optimizer(model).param_groups
    assert main.get("share", 1) == 1
    assert slow["share"] == share
    assert sum(p.numel() for p in slow["params"]) == parameters(model.LTE)
    assert sum(p.numel() for p in main["params"]) == parameters(model.MainNet)


def test_the_lte_is_kept_where_the_ladder_says_so(records, out):
    model = build("soft")
    RECIPE.stages("soft", "smoke")[0].start.by(model)
    before = model.state_dict()
    for variant, learns in (("soft", False), ("lte", True)):
        after = learned(out, variant)
        for name in before:
            if name.startswith("LTE.slice"):
                assert torch.equal(before[name], after[name]) is not learns
        frozen = "LTE.sub_mean.weight"
        assert torch.equal(before[frozen], after[frozen])
        assert not torch.equal(before["MainNet.conv12.weight"], after["MainNet.conv12.weight"])


@pytest.mark.parametrize("variant", ["base", "soft", "rec"])
def test_it_begins_as_an_enlargement_by_repeated_pixels(variant, rng):
    """Near enough: what is added on the way is small, and gone with its weights."""
    model, lr = build(variant), torch.rand(1, 3, 12, 12, generator=rng)
    hr = lr.repeat_interleave(4, -1).repeat_interleave(4, -2)
    ttsr.begin_as_enlargement(model.MainNet)
    with torch.no_grad():
        near = psnr(model(lr), hr, on="rgb", shave=0).item()
        for name, weight in model.MainNet.named_parameters():
            if weight.ndim == 4 and "RB" not in name:
                weight[weight.abs() != 1] = 0
        exact = model(lr)
    assert near > 15
    torch.testing.assert_close(exact, hr, atol=1e-5, rtol=0)


def test_an_lte_from_oxfords_vgg_sees_the_same_in_other_units(assets, rng):
    """Each level is VGG's features times one number; at relu3_1 all five layers took part."""
    assets("backbones/vgg19_oxford.npz")
    from srkit.metrics.features import vgg19

    lte, x = LTE(), torch.rand(1, 3, 32, 32, generator=rng)
    ttsr.begin_as_vgg(lte, "oxford")
    seen = vgg19("oxford")(x, ("relu1_1", "relu2_1", "relu3_1"))
    for own, theirs in zip(lte(x), seen.values(), strict=True):
        unit = own.norm() / theirs.norm()
        torch.testing.assert_close(own, unit * theirs, atol=1e-4, rtol=1e-3)
        assert 0.1 < own.square().mean().sqrt() < 10


def test_an_lte_that_starts_by_edges_tells_pictures_apart():
    """Features of a crop and of another one: alike where brightness decides, less by edges."""
    rng = torch.Generator().manual_seed(0)
    batch = ttsr.references("procedural", 4, None, level="L4", turned=False).batch(8, 16, rng)
    alike = {}
    for start in (None, ttsr.begin_by_edges):
        model = build()
        if start:
            start(model.LTE)
        with torch.no_grad():
            _, found = model(batch["lr"], batch["ref"], return_attention=True)
        alike[start] = found.soft.mean()
    assert alike[ttsr.begin_by_edges] < alike[None] - 0.02


def test_examples_are_the_same_crops_at_every_level():
    by_level = {level: ttsr.examples(f"procedural {level}", 16) for level in ("L1", "L4", "LR")}
    for (lr, hr, ref), (lr4, hr4, ref4), (lr0, hr0, ref0) in zip(*by_level.values(), strict=True):
        assert torch.equal(lr, lr4)
        assert torch.equal(hr, hr4)
        assert torch.equal(hr, hr0)
        assert ref.shape == ref4.shape == hr.shape
        assert not torch.equal(ref, ref4)
        torch.testing.assert_close(ref0, enlarged(lr0[None])[0])


def test_scores_are_means_over_the_examples_by_the_classic_rule():
    model = build()
    scores = ttsr.measure(RUN, model, "procedural L4")
    one = []
    for lr, hr, ref in ttsr.examples("procedural L4", SMOKE.patch):
        with torch.no_grad():
            sr = (model(lr[None], ref[None])[0] * 255).add(0.5).floor().div(255)
        one.append(psnr(sr, hr, on="y", shave=4))
    assert set(scores) == {"psnr", "ssim"}
    assert scores["psnr"] == pytest.approx(sum(one) / len(one), abs=1e-3)
    assert len(one) == 4


def test_only_base_is_blind_to_the_reference():
    for variant in ("base", "rec"):
        model = build(variant)
        levels = [ttsr.measure(RUN, model, f"procedural {level}") for level in ("L1", "LR")]
        assert (levels[0] == levels[1]) is (variant == "base")


def test_photographs_come_with_their_own_references(tmp_path, monkeypatch, rng):
    """By number, of all groups or of one; "self" is the picture; what isn't there is no example."""
    pictures = {
        n: torch.rand(3, 34, 41, generator=rng) for n in ("a_0", "a_1", "a_2", "b_0", "b_1")
    }
    (tmp_path / "ref_sr" / "Pairs").mkdir(parents=True)
    for name, picture in pictures.items():
        write_image(picture, tmp_path / "ref_sr" / "Pairs" / f"{name}.png")
    monkeypatch.setenv("SRKIT_HOME", str(tmp_path))
    assert len(ttsr.examples("Pairs 1", 16)) == 2
    ((lr, hr, ref),) = ttsr.examples("Pairs/a 2", 16)
    assert hr.shape == (3, 32, 40)
    torch.testing.assert_close(ref, pictures["a_2"], atol=1 / 500, rtol=0)
    torch.testing.assert_close(lr, imresize(hr, 0.25), atol=1 / 250, rtol=0)  # 8 bits, twice
    ((_, _, own),) = ttsr.examples("Pairs/a self", 16)
    torch.testing.assert_close(own, enlarged(lr[None])[0])
    assert ttsr.examples("Absent 1", 16) == []
    assert ttsr.measure(RUN, build(), "Absent 1") == {}
    sizes = SimpleNamespace(tests=("Pairs/a 2", "Absent 1"), patch=16)
    pictures = ttsr.samples(SimpleNamespace(budget=sizes), 4)
    assert list(pictures) == ["Pairs-a-2"]
    assert pictures["Pairs-a-2"](build()).shape == hr.shape


def test_a_data_set_with_references_of_its_own_is_asked_for_by_name():
    with pytest.raises(FileNotFoundError, match="ref_sr/CUFED, with pictures of the same names"):
        ttsr.references("CUFED", 4, None, level="given", turned=True)


def test_networks_of_all_budgets_are_those_of_the_card():
    sizes, discriminators = {}, {}
    for budget in ("laptop", "gpu", "paper"):
        stage = RECIPE.stages("ttsr", budget)[-1]
        _, arguments = terms(stage)["Adversarial"]
        judge = arguments["discriminator"]
        assert judge.arguments["size"] == 4 * stage.patch
        sizes[budget], discriminators[budget] = parameters(stage.network()), parameters(judge())
    assert sizes["laptop"] == 327_723 + 35_152 + 12
    assert sizes["gpu"] == sizes["paper"] == 6_729_615
    assert discriminators["paper"] == 17_821_473


def test_the_papers_stages_are_the_authors():
    """11,871 pairs, nine a step: 2 epochs of L1 and 50 of all losses; "rec" is 200 of L1."""
    epoch = 11_871 // 9
    (rec,) = RECIPE.stages("rec", "paper")
    warm_up, adversarial = RECIPE.stages("ttsr", "paper")
    assert [s.steps for s in (rec, warm_up, adversarial)] == [200 * epoch, 2 * epoch, 50 * epoch]
    for stage in (rec, warm_up, adversarial):
        assert (stage.data, stage.batch, stage.patch) == ("CUFED", 9, 40)
        assert stage.crops.arguments == {"level": "given", "turned": True}
        assert stage.rate(0) == stage.rate(0.999) == 1e-4
        assert stage.optimizer.arguments == {"lte": 0.1}
    assert rec.start == warm_up.start
    assert rec.start.by.arguments == {"enlargement": False, "vgg": "torchvision"}
    assert terms(rec).keys() == terms(warm_up).keys() == {"L1"}
    weights = {name: weight for name, (weight, _) in terms(adversarial).items()}
    assert weights == {"L1": 2, "content": 1e-2, "transferal": 1e-2, "Adversarial": 1e-3}
    assert terms(adversarial)["content"][1]["extractor"].arguments == {"lineage": "torchvision"}
    assert adversarial.discriminator_rate(0) == adversarial.discriminator_rate(0.999) == 1e-4
    assert adversarial.discriminator_optimizer.arguments == {"betas": (0.0, 0.9)}
    assert adversarial.discriminator_optimizer.function is adam


def test_the_authors_order_of_stages_runs(tmp_path):
    """L1 for a while, then all losses with the same network, on crops that follow."""
    sizes = replace(SMOKE, warm_up_steps=1)
    recipe = replace(RECIPE, budgets={**RECIPE.budgets, "smoke": sizes})
    run = RecipeRun("ttsr", recipe, "ttsr", budget="smoke", out=tmp_path, device="cpu")
    record = run.go()
    assert [stage.steps for stage in record.stages] == [1, 2]
    assert [stage["series"] for stage in record.plan["stages"]] == [0, 1]
    assert record.builds_on == ()


def test_the_other_budgets_start_all_losses_from_rec():
    for budget in ("smoke", "laptop", "gpu"):
        for variant in ALL_LOSSES:
            (stage,) = RECIPE.stages(variant, budget)
            assert stage.start == After("rec")
