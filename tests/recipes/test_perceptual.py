"""SRGAN's, EnhanceNet's and ESRGAN's recipes: all variants run, and differ in what they say."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors import safe_open

from srkit.losses import style
from srkit.models.layers import RDB
from srkit.models.srresnet import MSRResNet
from srkit.recipes import collect, enhancenet, esrgan, recipe, recorded, srgan, train
from srkit.training.run import write_json
from srkit.weights.load import create_model, save_weights

NAMES = ("srgan", "enhancenet", "esrgan")
ALL = [(name, variant) for name in NAMES for variant in recipe(name).VARIANTS]
START = {"srgan": "mse", "enhancenet": "e", "esrgan": "psnr"}


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


def stages(name, variant, out):
    return train(name, variant, budget="smoke", out=out)["stages"]


@pytest.mark.parametrize(("name", "variant"), ALL)
def test_every_variant_runs_from_nothing_but_code(name, variant, out):
    """The smoke budget needs no file: pictures made by code, a random trunk, no benchmark."""
    record = train(name, variant, budget="smoke", out=out)
    assert record["data"]["name"] == "procedural"
    assert len(record["stages"]) == 1
    assert (out / name / "smoke" / f"{variant}-seed0" / "model.safetensors").exists()


@pytest.mark.parametrize("name", NAMES)
def test_all_second_stages_go_on_from_one_start_on_the_same_crops(name, out):
    records = [train(name, v, budget="smoke", out=out) for n, v in ALL if n == name]
    second = [r for r in records if r.get("builds_on") == [START[name]]]
    assert len(second) >= 4
    seen = {(r["stages"][0]["batch"], r["stages"][0]["patch"], r["stages"][0]["steps"]) for r in
            second}  # fmt: skip
    assert len(seen) == 1  # of one seed and one size, the crops are the same
    assert not any("adversarial" in r["stages"][0]["loss"][0] for r in records if r not in second
                   and r["variant"] != "standard-after-bn")  # fmt: skip


def test_collect_gathers_records_and_the_weights_that_are_named(out, tmp_path, monkeypatch):
    """What srkit ships of a run: its record beside those from before, its network in float16."""
    first = train("esrgan", "psnr", budget="smoke", out=out)
    plan = json.loads(json.dumps(esrgan.BUDGETS["laptop"]))
    other = {"variant": "after", "budget": "laptop", "plan": plan}
    older = [first | other, first | {"minutes": -1}]
    write_json(older, tmp_path / "runs/esrgan.json")
    runs = Path(shutil.copytree(out / "esrgan" / "smoke", tmp_path / "runs-of-mine"))
    network = create_model("rlfn_tiny_x4")  # smoke's own networks are too small for the zoo
    save_weights(network, runs / "psnr-seed0/model.safetensors")
    written = collect(runs, tmp_path, weights=["psnr"])
    weights = tmp_path / "weights/esrgan-smoke-psnr_x4.safetensors"
    assert written == [tmp_path / "runs/esrgan.json", weights]
    records = json.loads(written[0].read_text())
    assert [r for r in records if r["variant"] == "psnr"] == [first]  # the newer one of the two
    assert {"after", "laptop"} <= {r[key] for r in records for key in ("variant", "budget")}
    order = list(recipe("esrgan").VARIANTS)
    places = [order.index(r["variant"]) for r in records]
    assert places == sorted(places)

    monkeypatch.setattr("srkit.recipes.data_path", tmp_path.joinpath)
    shipped = recorded("esrgan", "psnr", budget="smoke").state_dict()
    for name, tensor in network.state_dict().items():
        assert torch.equal(shipped[name], tensor.half().float())
    with safe_open(weights, "pt") as file:
        assert json.loads(file.metadata()["provenance"])["variant"] == "psnr"
    with pytest.raises(ValueError, match="no finished run of espcn, seed 0, under"):
        collect(runs, tmp_path, weights=["espcn"])


@pytest.mark.parametrize("name", NAMES)
def test_plans_of_all_budgets_have_the_same_keys(name):
    """The recipe reads a plan by key; what a budget may lack has a default."""
    optional = {"validate_every", "lpips", "from_scratch", "losses", "halved_every"}
    plans = recipe(name).BUDGETS.values()
    assert len({frozenset(plan.keys() - optional) for plan in plans}) == 1


@pytest.mark.parametrize("network", [esrgan.rrdb, esrgan.srresnet])
def test_esrgans_first_stage_starts_as_an_enlargement(network):
    """In training mode, too, where batch norm undoes what convolutions scale."""
    torch.manual_seed(0)
    model = network(SimpleNamespace(plan=esrgan.BUDGETS["laptop"]))
    lr = torch.rand(2, 3, 12, 12)
    pixels = lr.repeat_interleave(4, 2).repeat_interleave(4, 3)
    before = (model(lr) - pixels).abs().mean()
    esrgan.begin_as_enlargement(model)
    assert (model(lr) - pixels).abs().mean() < 0.05 < 0.25 < before


def test_the_small_networks_have_the_sizes_that_the_text_gives():
    counted = {}
    for module, make in ((srgan, srgan.network), (enhancenet, enhancenet.network),
                         (esrgan, esrgan.rrdb), (esrgan, esrgan.srresnet)):  # fmt: skip
        for budget in ("laptop", "paper"):
            model = make(SimpleNamespace(plan=module.BUDGETS[budget]))
            count = sum(p.numel() for p in model.parameters())
            counted.setdefault(budget, []).append(count)
    assert counted["laptop"][:3] == [195_971, 103_491, 190_451]
    assert counted["paper"][:3] == [1_549_462, 852_867, 16_697_987]


@pytest.mark.parametrize("balance", ["uncertainty", "average", "gradient"])
def test_the_history_of_adaptive_weights_has_their_factors(balance, out):
    (stage,) = stages("srgan", f"three-{balance}", out)
    factors = [{k: v for k, v in row.items() if k.startswith("factor of")} for row in
               stage["history"]]  # fmt: skip
    assert len(factors) == stage["steps"]
    labels = (
        {"adversarial"} if balance == "gradient" else {"MSE", "content (random)", "adversarial"}
    )
    assert set(factors[0]) == {f"factor of {label}" for label in labels}
    if balance != "average":  # which waits for two periods
        assert factors[-1] != dict.fromkeys(factors[-1], 1.0)


def test_the_network_for_gradient_balance_is_asked_at_its_last_layer():
    model = MSRResNet(4, channels=8, blocks=1)
    (last,) = srgan.gradient(SimpleNamespace(plan={}), ["adversarial"], model).last
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
    run = SimpleNamespace(plan={"trunk": "oxford"})
    before, after = (esrgan.perceptual(run, layer) for layer in ("conv5_4", "relu5_4"))
    assert (before.layers, after.layers) == (("conv5_4",), ("relu5_4",))
    assert before.units["conv5_4"] > after.units["relu5_4"] > 1


def test_a_rescaled_block_adds_that_much_of_its_residual(rng):
    """0.2 changes nothing; 1 gives x + 5 (block(x) - x)."""
    block, x = RDB(8, 4), torch.rand(1, 8, 6, 6, generator=rng)
    plain = block(x)
    for scaling in (0.2, 1.0):
        hook = block.register_forward_hook(lambda *a, s=scaling: esrgan.rescale(s, *a))
        torch.testing.assert_close(block(x) - x, scaling / 0.2 * (plain - x))
        hook.remove()


def test_a_recorded_network_is_shipped_and_what_is_not_says_how_to_get_it():
    model = recorded("esrgan", "psnr")
    assert (type(model).__name__, model.scale) == ("RRDBNet", 4)
    with pytest.raises(FileNotFoundError, match="srkit train esrgan --variant start-1-scaling-1"):
        recorded("esrgan", "start-1-scaling-1")
