"""SRGAN's, EnhanceNet's and ESRGAN's recipes: all variants run, and differ in what they say."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from srkit.calls import Build, Call
from srkit.losses import style
from srkit.models.esrgan import RRDBNet
from srkit.models.srresnet import MSRResNet
from srkit.recipes import (
    collect,
    enhancenet,
    esrgan,
    recipe,
    recorded,
    recorded_loss,
    srgan,
    train,
)
from srkit.reports.records import Records
from srkit.training.record import write_json
from srkit.training.schedules import Halving, Multistep
from srkit.training.stage import After, Stage
from srkit.weights.load import load_checkpoint
from srkit.weights.save import save_tensors

NAMES = ("srgan", "enhancenet", "esrgan")
ALL = [(name, variant) for name in NAMES for variant in recipe(name).variants]
START = {"srgan": "mse", "enhancenet": "e", "esrgan": "psnr"}


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


def stage(name: str, variant: str, budget: str) -> Stage:
    """The one stage that each variant of these recipes has."""
    (only,) = recipe(name).stages(variant, budget)
    assert isinstance(only, Stage)
    return only


def terms(of: Stage) -> dict[str, float]:
    """The weights of a stage's loss, by the functions that make its terms."""
    return {call.function.__name__: weight for weight, call in of.loss.terms}


def judges(of: Stage) -> nn.Module:
    """The discriminator of a stage's loss."""
    calls = [call.arguments["discriminator"] for _, call in of.loss.terms
             if "discriminator" in call.arguments]  # fmt: skip
    return Build(seed=0).value(calls[0])


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(("name", "variant"), ALL)
def test_every_variant_runs_from_nothing_but_code(name, variant, out):
    """The smoke budget needs no file: pictures made by code, a random trunk, no benchmark."""
    record = train(name, variant, budget="smoke", out=out)
    assert record.data["name"] == "procedural"
    assert len(record.stages) == 1
    start = stage(name, variant, "smoke").start
    assert record.builds_on == ((start.variant,) if isinstance(start, After) else ())
    folder = out / name / "smoke" / f"{variant}-seed0"
    again = load_checkpoint(folder / "model.safetensors")  # built from what the file says
    assert (count(again), again.arguments) == (
        record.parameters, stage(name, variant, "smoke").network().arguments
    )  # fmt: skip


@pytest.mark.parametrize("budget", ["smoke", "laptop", "gpu", "paper"])
@pytest.mark.parametrize("name", NAMES)
def test_all_second_stages_go_on_from_one_start_on_the_same_crops(name, budget):
    found = [stage(name, variant, budget) for variant in recipe(name).variants]
    second = [s for s in found if isinstance(s.start, After) and s.start.variant == START[name]]
    assert len(second) >= 4
    # of one seed and one size, the crops are the same
    assert len({(s.batch, s.patch, s.steps, s.series, str(s.rate)) for s in second}) == 1
    judged = [s for s in found if "Adversarial" in terms(s)]
    assert judged
    assert all(isinstance(s.start, After) for s in judged)


def test_collect_gathers_records_and_the_weights_that_are_named(out, tmp_path, monkeypatch):
    """What srkit ships of a run: its record beside those from before, its network in float16."""
    first = train("esrgan", "psnr", budget="smoke", out=out)
    plan = recipe("esrgan").plan("after", "laptop")
    older = [
        replace(first, variant="after", budget="laptop", plan=plan),
        replace(first, minutes=-1),
    ]
    write_json([record.to_json() for record in older], tmp_path / "runs/esrgan.json")
    runs = shutil.copytree(out / "esrgan" / "smoke", tmp_path / "runs-of-mine")
    written = collect(runs, tmp_path, weights=["psnr"])
    weights = tmp_path / "weights/esrgan-smoke-psnr_x4.safetensors"
    assert written == [tmp_path / "runs/esrgan.json", weights]
    records = Records.read(written[0])
    assert [*records.variant("psnr")] == [first]  # the newer one of the two
    assert [*records.budget("laptop")] == older[:1]
    order = list(recipe("esrgan").variants)
    places = [order.index(record.variant) for record in records]
    assert places == sorted(places)

    monkeypatch.setattr("srkit.recipes.data_path", tmp_path.joinpath)
    shipped = recorded("esrgan", "psnr", budget="smoke").state_dict()
    trained = load_checkpoint(runs / "psnr-seed0/model.safetensors").state_dict()
    for name, tensor in trained.items():
        assert torch.equal(shipped[name], tensor.half().float())
    with safe_open(weights, "pt") as file:
        assert json.loads(file.metadata()["provenance"])["variant"] == "psnr"
    with pytest.raises(ValueError, match="no finished run of espcn, seed 0, under"):
        collect(runs, tmp_path, weights=["espcn"])


def test_the_discriminators_of_a_run_are_kept_and_shipped_with_its_network(
    out, tmp_path, monkeypatch
):
    """As it ended, in float16: what a chapter asks for its verdicts is what the run trained."""
    train("ciplab", budget="smoke", out=out)
    runs = out / "ciplab" / "smoke"
    trained = load_file(runs / "ciplab-seed0/discriminators.safetensors")
    assert all(name.startswith("terms.adversarial.discriminator.") for name in trained)
    assert not (runs / "pretrained-seed0/discriminators.safetensors").exists()
    collect(runs, tmp_path, weights=["ciplab"])
    with pytest.raises(FileNotFoundError, match="ships no weights/ciplab-smoke-ciplab_discrim"):
        recorded_loss("ciplab", "ciplab", budget="smoke")
    monkeypatch.setattr("srkit.recipes.data_path", tmp_path.joinpath)
    loss = recorded_loss("ciplab", "ciplab", budget="smoke")
    for name, tensor in loss.discriminators().items():
        assert torch.equal(tensor, trained[name].half().float())
    assert not any(p.requires_grad for p in loss.parameters())

    weights = tmp_path / "weights/ciplab-smoke-ciplab_discriminators.safetensors"
    save_tensors({"terms.L1.weight": torch.ones(1)}, weights)
    with pytest.raises(ValueError, match="is not of the loss that ciplab, ciplab has now"):
        recorded_loss("ciplab", "ciplab", budget="smoke")


@pytest.mark.parametrize("network", [esrgan.rrdb, esrgan.srresnet])
def test_esrgans_first_stage_starts_as_an_enlargement(network):
    """In training mode, too, where batch norm undoes what convolutions scale."""
    torch.manual_seed(0)
    model = network(esrgan.BUDGETS["laptop"])()
    lr = torch.rand(2, 3, 12, 12)
    pixels = lr.repeat_interleave(4, 2).repeat_interleave(4, 3)
    before = (model(lr) - pixels).abs().mean()
    esrgan.begin_as_enlargement(model)
    assert (model(lr) - pixels).abs().mean() < 0.05 < 0.25 < before


@pytest.mark.parametrize(
    ("name", "variant", "laptop", "paper"),
    [
        ("srgan", "srgan", 195_971, 1_549_462),
        ("enhancenet", "pat", 103_491, 852_867),
        ("esrgan", "esrgan", 190_451, 16_697_987),
    ],
)
def test_the_networks_have_the_sizes_that_the_text_gives(name, variant, laptop, paper):
    counts = [count(stage(name, variant, budget).network()) for budget in ("laptop", "paper")]
    assert counts == [laptop, paper]


@pytest.mark.parametrize("balance", ["uncertainty", "average", "gradient"])
def test_the_history_of_adaptive_weights_has_their_factors(balance, out):
    (done,) = train("srgan", f"three-{balance}", budget="smoke", out=out).stages
    factors = [{k: v for k, v in row.items() if k.startswith("factor of")}
               for row in done.history]  # fmt: skip
    assert len(factors) == done.steps
    labels = (
        {"adversarial"} if balance == "gradient" else {"MSE", "content (random)", "adversarial"}
    )
    assert set(factors[0]) == {f"factor of {label}" for label in labels}
    if balance != "average":  # which waits for two periods
        assert factors[-1] != dict.fromkeys(factors[-1], 1.0)


def test_uncertainty_learns_its_factors_at_50_times_the_networks_rate(out):
    """Adam's first step is as long as the rate: each s_k has moved by so much at the second."""
    (done,) = train("srgan", "three-uncertainty", budget="smoke", out=out).stages
    first, second = done.history
    assert second["factor of MSE"] != first["factor of MSE"] == 1.0
    for name in ("MSE", "content (random)", "adversarial"):
        moved = abs(math.log(second[f"factor of {name}"]))
        assert moved == pytest.approx(50 * srgan.BUDGETS["smoke"].second_rate(0), rel=1e-3)


def test_the_network_for_gradient_balance_is_asked_at_its_last_layer():
    model = MSRResNet(4, channels=8, blocks=1)
    (last,) = srgan.balanced_at_last_layer(["adversarial"], model).last
    assert last is model.conv_last.weight


def test_texture_in_patches_of_16_is_the_papers(rng):
    sr, hr = torch.rand(2, 3, 32, 32, generator=rng), torch.rand(2, 3, 32, 32, generator=rng)
    torch.testing.assert_close(
        enhancenet.texture("random", 16)(sr, hr), style("enhancenet", "random")(sr, hr)
    )


def test_texture_counts_as_much_in_patches_of_any_size():
    """Of flat pictures all patches have the same statistics (but for the padded border)."""
    sr, hr = torch.full((1, 3, 64, 64), 0.3), torch.full((1, 3, 64, 64), 0.6)
    values = [enhancenet.texture("random", patch)(sr, hr).item() for patch in (4, 8, 16, None)]
    for value in values:
        assert value == pytest.approx(values[2], rel=0.2)


def test_features_before_and_after_activation(assets):
    """The two differ in the layer alone, each in units of its own size."""
    assets("backbones/vgg19_oxford.npz")
    before, after = (Build().value(stage("esrgan", variant, "laptop").loss.terms[0][1])
                     for variant in ("esrgan", "after"))  # fmt: skip
    assert (before.layers, after.layers) == (("conv5_4",), ("relu5_4",))
    assert before.units["conv5_4"] > after.units["relu5_4"] > 1


@pytest.mark.parametrize(("start", "scaling"), [(0.1, 0.2), (0.3, 0.5), (1, 1)])
def test_a_deep_trunk_begins_and_stays_as_its_name_says(start, scaling, out, tmp_path):
    """Weights at `start` times He's, residuals times `scaling`, also of a file that is read."""
    of = stage("esrgan", f"start-{start:g}-scaling-{scaling:g}", "smoke")
    usual, other = (Build(seed=0)(of.network) for _ in range(2))
    Build(seed=0)(of.start.by, other)
    for name, weight in usual.state_dict().items():
        trunk = name.startswith("RRDB_trunk") and name.endswith("weight")
        torch.testing.assert_close(
            other.state_dict()[name], weight * (start / 0.1 if trunk else 1.0)
        )
    record = train("esrgan", f"start-{start:g}-scaling-{scaling:g}", budget="smoke", out=out)
    again = load_checkpoint(out / "esrgan/smoke" / f"{record.variant}-seed0/model.safetensors")
    assert isinstance(again, RRDBNet)
    assert again.arguments["scaling"] == scaling
    block, x = again.RRDB_trunk[0].RDB1, torch.rand(1, 8, 6, 6)
    added = block(x) - x
    block.scaling = 2 * scaling
    torch.testing.assert_close(block(x) - x, 2 * added)


def test_a_recorded_network_is_shipped_and_what_is_not_says_how_to_get_it():
    model = recorded("esrgan", "psnr")
    assert (type(model).__name__, model.scale) == ("RRDBNet", 4)
    with pytest.raises(FileNotFoundError, match="srkit train esrgan --variant start-1-scaling-1"):
        recorded("esrgan", "start-1-scaling-1")


def rates(of: Stage, *shares: float) -> list[float]:
    return [of.rate(share) for share in shares]


def test_srgans_paper_budget_is_the_papers():
    first, second = stage("srgan", "mse", "paper"), stage("srgan", "srgan", "paper")
    assert (first.steps, first.batch, 4 * first.patch) == (1_000_000, 16, 96)
    assert rates(first, 0, 0.5, 0.999) == [1e-4] * 3
    assert (second.steps, second.batch, 4 * second.patch) == (200_000, 16, 96)
    assert rates(second, 0.499, 0.5) == pytest.approx([1e-4, 1e-5])
    assert second.start == After("mse")
    assert terms(second) == {"content": 1, "Adversarial": 1e-3}
    (_, content), *_ = second.loss.terms
    assert content.arguments["name"] == "srgan_vgg54"
    assert content.arguments["unit"] == 12.75
    assert count(judges(second)) == 23_565_505
    # squared error of pictures in [-1, 1]; TV of such ones, 2e-8 times its sum over a crop
    assert terms(stage("srgan", "gan", "paper")) == {"MSE": 2**2, "Adversarial": 1e-3}
    tv = terms(stage("srgan", "vgg22", "paper"))["TotalVariation"]
    assert tv == pytest.approx(2e-8 * 3 * 95**2 * 2**2.5, rel=0.05)


def test_enhancenets_paper_budget_is_the_papers():
    """The paper says neither batch nor length."""
    for variant in recipe("enhancenet").variants:
        of = stage("enhancenet", variant, "paper")
        assert (of.patch, 4 * of.patch) == (32, 128)
        assert rates(of, 0, 0.5, 0.999) == [1e-4] * 3
    assert terms(stage("enhancenet", "e", "paper")) == {"MSE": 1}
    assert terms(stage("enhancenet", "p", "paper")) == {"content": 1}
    assert terms(stage("enhancenet", "pa", "paper")) == {"content": 1, "Adversarial": 1}
    assert terms(stage("enhancenet", "ea", "paper")) == {"MSE": 1, "Adversarial": 1}
    pat = stage("enhancenet", "pat", "paper")
    assert terms(pat) == {"content": 1, "Adversarial": 2, "texture": 1}
    *_, (_, texture) = pat.loss.terms
    assert texture.arguments["patch"] == 16
    assert count(judges(pat)) == 13_102_881


def test_esrgans_paper_budget_is_the_papers():
    first, second = stage("esrgan", "psnr", "paper"), stage("esrgan", "esrgan", "paper")
    assert (first.steps, first.batch, 4 * first.patch) == (1_000_000, 16, 128)
    assert first.rate == Halving(2e-4, every=2e5 / 1e6)
    assert terms(first) == {"L1": 1}
    assert (second.steps, second.batch, 4 * second.patch) == (400_000, 16, 128)
    assert second.rate == Multistep(1e-4, at=tuple(k / 400 for k in (50, 100, 200, 300)))
    assert second.start == After("psnr")
    assert terms(second) == {"Content": 1, "Adversarial": 5e-3, "L1": 1e-2}
    (_, content), *_ = second.loss.terms
    assert content.arguments["weights"] == {"conv5_4": 1}
    assert content.arguments["criterion"] == "l1"
    assert content.arguments["unit"] == 1
    assert content.arguments["extractor"] == Call(esrgan.vgg19, lineage="torchvision")
    assert count(judges(second)) == 14_499_401
