"""The recipes of MemNet, DBPN, IDN, RDN, RCAN, MSRN and CARN: each variant trains, as it says."""

from __future__ import annotations

import math
from dataclasses import fields, replace

import pytest
import torch

from srkit import recipes
from srkit.calls import Build
from srkit.datasets import procedural
from srkit.datasets.patches import Patches
from srkit.datasets.pictures import training_pictures
from srkit.image.colour import to_y
from srkit.image.io import write_image
from srkit.image.tensors import to_8bit
from srkit.losses import L1, MSE
from srkit.models.carn import CARN
from srkit.models.idn import IDN
from srkit.models.memnet import MemNet
from srkit.recipes import carn, memnet, recipe
from srkit.recipes.run import RecipeRun
from srkit.reports.card import changes
from srkit.training.loop import enlarge_y, fit
from srkit.training.record import data_facts, read_record
from srkit.training.schedules import Constant, Warmup
from srkit.training.stage import Continued

NAMES = ("memnet", "dbpn", "idn", "rdn", "rcan", "msrn", "carn")
ALL = [(name, variant) for name in NAMES for variant in recipe(name).variants]


@pytest.fixture(scope="module")
def pictures():
    return [to_8bit(image) for image in procedural.pictures(2, 64, seed=0)]


def parameters(model):
    return sum(p.numel() for p in model.parameters())


def network(name, variant, budget):
    """What the variant trains, untrained."""
    return Build(seed=0)(recipe(name).stages(variant, budget)[0].network)


@pytest.mark.parametrize(("name", "variant"), ALL, ids=[f"{n}-{v}" for n, v in ALL])
def test_a_variant_trains_from_beginning_to_end(name, variant, tmp_path):
    record = recipes.train(name, variant, budget="smoke", out=tmp_path, device="cpu")
    for stage in record.stages:
        assert stage.steps == 2
        assert all(math.isfinite(row["loss"]) for row in stage.history)
    papers = recipe(name).stages(variant, "paper")
    assert [stage["steps"] for stage in record.paper["stages"]] == [s.steps for s in papers]
    assert min(stage.steps for stage in papers) >= 20_000


@pytest.mark.parametrize("budget", ["overnight", "gpu", "paper"])
@pytest.mark.parametrize("name", NAMES)
def test_what_awaits_a_gpu_runs_when_it_is_made_small(name, budget, tmp_path, monkeypatch):
    """The same stages, rates, starts and optimisers, with smoke's networks, crops and steps."""
    budgets = recipe(name).budgets
    schedule = {"rate", "ablation_rate", "mse_rate", "later_rates", "clip", "start",
                "optimizer", "weight", "slow", "validate_every"}  # fmt: skip
    kept = {field.name: getattr(budgets["smoke"], field.name)
            for field in fields(budgets["smoke"]) if field.name not in schedule}  # fmt: skip
    monkeypatch.setitem(budgets, "smoke", replace(budgets[budget], **kept))
    record = recipes.train(name, budget="smoke", out=tmp_path, device="cpu")
    assert len(record.stages) == (4 if (name, budget) == ("memnet", "paper") else 1)
    assert record.builds_on == (("L1",) if name == "idn" else ())


@pytest.fixture
def folder(pictures, tmp_path):
    """A reader's own pictures, in folders as they come, and a note."""
    for k, image in enumerate(pictures):
        write_image(image / 255, tmp_path / f"mine/{'ab'[k]}/picture.png")
    (tmp_path / "mine/note.txt").write_text("of last summer")
    return tmp_path / "mine"


def test_a_recipe_learns_from_a_folder_as_from_the_same_pictures_in_memory(
    folder, pictures, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    record = recipes.train("rlfn", "warm-start", budget="smoke", data="mine", device="cpu")
    assert [stage["data"] for stage in record.plan["stages"]] == ["mine"]
    assert record.data == data_facts("mine", pictures)
    start = read_record(tmp_path / "runs/rlfn/smoke/one-stage-seed0/run.json")
    assert start.data == record.data  # what it builds on learns from them, too
    with pytest.raises(ValueError, match=r"asked for otherwise \(differs: plan\)"):
        recipes.train("rlfn", "warm-start", budget="smoke", device="cpu")


def test_sets_and_folders_are_joined_by_plus(folder, tmp_path, monkeypatch):
    """In their order; a folder that has a plus in its name is that folder."""
    monkeypatch.chdir(tmp_path)
    a, b = sorted((tmp_path / "mine").rglob("*.png"))
    assert training_pictures(f"{b.parent}+{a.parent}") == [b, a]
    with pytest.raises(ValueError, match="unknown data set 'ours'"):
        training_pictures("mine+ours")
    (tmp_path / "mine").rename("mine+yours")
    assert len(training_pictures("mine+yours")) == 2


def test_pictures_larger_than_memory_are_laid_out_in_a_file(
    folder, pictures, tmp_path, monkeypatch
):
    def no_room(nbytes, device):
        raise MemoryError

    monkeypatch.setenv("SRKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("srkit.datasets.patches._check_room", no_room)
    how = {"budget": "smoke", "data": folder, "out": tmp_path, "device": "cpu"}
    record = recipes.train("rlfn", "one-stage", **how)
    assert record.data["sha256"] == data_facts("mine", pictures)["sha256"]
    (store,) = (tmp_path / "cache").rglob("*.pixels")
    assert store.stat().st_size > sum(image.numel() for image in pictures)


@pytest.mark.parametrize("room", ["cuda", "cpu", "file"])
def test_crops_lie_as_near_to_the_network_as_there_is_room(room, folder, tmp_path, monkeypatch):
    """On the process's own GPU; else in memory; else in a file."""
    tried = []

    def patches(pictures, scale, device="cpu", store=None):
        tried.append("file" if store else str(device))
        if not tried[-1].startswith(room):
            raise MemoryError
        return Patches(pictures, scale)

    monkeypatch.setenv("SRKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("LOCAL_RANK", "3")
    monkeypatch.setattr("srkit.datasets.pictures.Patches", patches)
    monkeypatch.setattr("srkit.datasets.pictures.best_device", lambda: torch.device("cuda"))
    monkeypatch.setattr(RecipeRun, "_check_data", lambda *_: None)  # asks all processes
    order = ["cuda:3", "cpu", "file"]
    run = RecipeRun(
        "rlfn", recipe("rlfn"), "one-stage", budget="smoke", data=str(folder), out=tmp_path
    )
    run.crops(run.stages[0])
    assert tried == order[: [place.split(":")[0] for place in order].index(room) + 1]
    tried.clear()
    run.device = "cpu"
    if room != "cuda":
        run.crops(run.stages[0])
        assert tried == order[1 : order.index(tried[-1]) + 1]


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        (
            "rlfn",
            "ImageNet",
            r"unknown data set 'ImageNet': .* to train, a folder of pictures does",
        ),
        ("rlfn", ".", "no picture in"),
        ("zssr", "Set5", "ZSSR learns from the picture that it enlarges: it takes no data"),
        ("sftgan", "Set5", "SFTGAN learns from textures made with their maps: it takes no data"),
    ],
)
def test_data_that_does_not_fit_is_told_so(name, data, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        recipes.train(name, budget="smoke", data=data, device="cpu")


@pytest.mark.parametrize(
    ("name", "variant", "laptop", "paper"),
    [
        ("memnet", "memnet", 73_862, 695_497),
        ("memnet", "single", None, 694_851),
        ("dbpn", "dbpn", None, 10_426_358),
        ("dbpn", "S", None, 595_596),
        ("dbpn", "M", None, 1_382_488),
        ("dbpn", "L", None, 2_169_380),
        ("dbpn", "L-dense", None, 2_198_316),
        ("idn", "idn", 112_249, 552_769),
        ("rdn", "rdn", 154_883, 22_123_395),
        ("rdn", "CM+LRL+GFF", None, 5_616_515),
        ("rcan", "rcan", 216_827, 15_444_667),
        ("rcan", "CA+LSC+SSC", 167_747, 15_444_667),
        ("msrn", "msrn", 192_427, 5_930_331),
        ("carn", "carn", 225_483, 1_591_963),
        ("carn", "carn-m", None, 414_811),
        ("carn", "neither", None, 1_443_739),
        ("carn", "x4-alone", 157_779, 1_111_899),
    ],
)
def test_networks_are_as_large_as_the_papers(name, variant, laptop, paper):
    assert parameters(network(name, variant, "paper")) == paper
    assert laptop in (None, parameters(network(name, variant, "laptop")))


# Steps, batch, LR pixels of a crop, loss, and {step: rate} of the paper or the authors' code.
HALVED = {0: 1e-4, 199_999: 1e-4, 200_000: 5e-5, 400_000: 2.5e-5, 999_999: 6.25e-6}
TENTH = {0: 1e-4, 499_999: 1e-4, 500_000: 1e-5, 999_999: 1e-5}
FACTS = [
    ("dbpn", "dbpn", 1_000_000, 20, 32, "L1()", TENTH),
    ("dbpn", "L", 1_000_000, 20, 32, "L1()", TENTH),
    ("idn", "L1", 600_000, 64, 29, "L1()", {249_999: 1e-4, 250_000: 1e-5, 500_000: 1e-6}),
    ("idn", "idn", 20_000, 64, 39, "MSE()", {}),
    ("rdn", "rdn", 1_000_000, 16, 32, "L1()", HALVED),
    ("rcan", "rcan", 1_000_000, 16, 48, "L1()", HALVED),
    ("msrn", "msrn", 1_000_000, 16, 48, "L1()", HALVED),
    ("carn", "carn", 600_000, 64, 64, "L1()", {0: 1e-4, 399_999: 1e-4, 400_000: 5e-5}),
]


@pytest.mark.parametrize("facts", FACTS, ids=[f"{name}-{variant}" for name, variant, *_ in FACTS])
def test_the_papers_stage_has_the_papers_numbers(facts):
    name, variant, steps, batch, patch, loss, rates = facts
    (stage,) = recipe(name).stages(variant, "paper")
    assert (stage.steps, stage.batch, stage.patch) == (steps, batch, patch)
    assert str(stage.loss) == loss
    for step, rate in rates.items():
        assert stage.rate(step / steps) == pytest.approx(rate)
    if name in ("rdn", "rcan", "msrn"):
        assert stage.network().rgb_range == 255
    (group, *_) = stage.optimizer(torch.nn.Linear(1, 1)).param_groups
    assert (group["betas"], group["eps"], group["weight_decay"]) == ((0.9, 0.999), 1e-8, 0)
    assert stage.clip == (10 if name == "carn" else None)


@pytest.mark.parametrize("budget", recipes.base.BUDGETS)
@pytest.mark.parametrize(("name", "corner"), [("rdn", "CM+LRL+GFF"), ("rcan", "CA+LSC+SSC")])
def test_in_an_ablation_the_rate_falls_when_it_does_in_a_whole_run(name, corner, budget):
    """After as many steps, whatever the share of the stage; warm-ups are each stage's own."""
    (whole,), (short,) = (recipe(name).stages(v, budget) for v in (name, corner))
    rates = [s.rate.then if isinstance(s.rate, Warmup) else s.rate for s in (whole, short)]
    for step in range(0, short.steps, max(1, short.steps // 100)):
        assert rates[0](step / whole.steps) == rates[1](step / short.steps)


def test_dbpns_ladder_is_compared_with_the_papers_ladder(tmp_path):
    """Not with D-DBPN, which has 64 channels and RGB."""
    record = recipes.train("dbpn", "L", budget="smoke", out=tmp_path, device="cpu")
    found = {str(change) for change in changes(record)}
    assert {"network's channels 4 for 32", "network's stages 3 for 6"} <= found
    assert not any("colours" in text or "dense" in text for text in found)


def test_msrns_controls_are_compared_with_controls_of_the_papers_size(tmp_path):
    channels = {"two-3x3": "5 for 86", "residual": "8 for 64"}
    for variant, text in channels.items():
        record = recipes.train("msrn", variant, budget="smoke", out=tmp_path, device="cpu")
        assert f"network's channels {text}" in {str(change) for change in changes(record)}


@pytest.mark.parametrize("budget", ["laptop", "overnight", "gpu", "paper"])
@pytest.mark.parametrize("control", ["two-3x3", "residual"])
def test_msrns_controls_are_as_large_as_msrn(control, budget):
    own, other = (parameters(network("msrn", v, budget)) for v in ("msrn", control))
    assert abs(other / own - 1) < 0.02


@pytest.mark.parametrize("budget", recipes.base.BUDGETS)
def test_carn_learns_the_scales_that_it_has_heads_for(budget):
    for variant in recipe("carn").variants:
        (stage,) = recipe("carn").stages(variant, budget)
        assert stage.scale == ((4,) if variant == "x4-alone" else (2, 3, 4))
        assert set(stage.network().upsample) == {f"up{r}" for r in stage.scale}


@pytest.mark.parametrize("name", NAMES)
def test_no_two_variants_are_the_same_experiment(name):
    """They differ in layers, in wiring (same weights, another answer), or in how they train."""
    seen = []
    for variant in recipe(name).variants:
        model = network(name, variant, "smoke")
        with torch.no_grad():
            for number, p in enumerate(model.parameters()):
                values = torch.randn(p.shape, generator=torch.Generator().manual_seed(number))
                p.copy_(values / math.sqrt(max(p[0].numel(), 1)))
        answer = model.eval()(torch.full((1, 3, 9, 9), 0.5).cumsum(-1) / 9)
        stages = recipe(name).stages(variant, "smoke")
        how = [(stage.clip, str(stage.loss), str(stage.rate)) for stage in stages]
        seen.append((parameters(model), tuple(how), round(answer.sum().item(), 2)))
    if name in ("rdn", "rcan"):  # their own network, again in the ablation's size or steps
        seen = seen[1:]
    assert len(set(seen)) == len(seen)


@pytest.mark.parametrize(("loss", "factor"), [(L1(), 255 / 219), (MSE(), (255 / 219) ** 2)])
def test_networks_of_y_are_judged_by_y_alone(loss, factor, rng):
    """An RGB loss of their answer is that of Y, from its definition, times the range's factor."""
    model = IDN(2, channels=8, keep=2, step=2, blocks=1, groups=2)
    lr, hr = torch.rand(2, 3, 8, 8, generator=rng), torch.rand(2, 3, 16, 16, generator=rng)
    sr, inputs = enlarge_y(model, {"lr": lr, "hr": hr})
    weights = torch.tensor([65.481, 128.553, 24.966], dtype=torch.float64) / 255
    error = torch.einsum("c,bchw->bhw", weights, model(lr).double() - hr.double())
    wanted = (error.abs() if isinstance(loss, L1) else error**2).mean() * factor
    assert loss(sr, hr, **inputs).item() == pytest.approx(wanted.item(), rel=1e-4)


def test_memnet_supervises_every_picture_and_its_answer(pictures, rng):
    model = MemNet(4, channels=4, blocks=3, recursions=1)
    data = memnet.Mixed(Patches(pictures, (2, 3, 4))).batch(2, 6, rng)
    sr, inputs = memnet.every_picture(model, data)
    pictures, truth = inputs["pictures"].double(), to_y(data["hr"]).double()
    assert pictures.shape == (2, 4, *data["hr"].shape[-2:])
    assert torch.allclose(to_y(sr), inputs["pictures"][:, -1:], atol=1e-5)
    loss = memnet.Supervision()(sr, data["hr"], **inputs)
    wanted = sum(((pictures[:, m] - truth[:, 0]) ** 2).mean() for m in range(4))
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-5)
    loss.backward()
    assert all(bn.weight.grad.abs().max() > 0 for bn in model.out_bn)
    assert model.ensemble.grad.abs().min() > 0


def test_memnets_batches_hold_all_scales_and_are_shared_like_any_other(pictures):
    crops = memnet.Mixed(Patches(pictures, (2, 3, 4)))

    def batch(part=(0, 1)):
        return crops.batch(60, 6, torch.Generator().manual_seed(1), part)

    whole, halves = batch(), [batch((i, 2)) for i in range(2)]
    for name in ("lr", "hr"):
        together = torch.cat([half[name] for half in halves])
        assert together.shape == whole[name].shape == (60, 3, 24, 24)
        sums = [batch.sum((1, 2, 3)).sort().values for batch in (together, whole[name])]
        assert torch.equal(*sums)
    error = (whole["lr"] - whole["hr"]).square().mean((1, 2, 3)).view(3, 20).mean(1)
    assert error[0] < error[1] < error[2]  # as x2, x3 and x4 are
    with pytest.raises(ValueError, match="crops of 8 px are 32 px at x4, not so at x3"):
        crops.batch(6, 8, torch.Generator())
    with pytest.raises(ValueError, match="6 crops cannot be shared by 4: take a multiple of 4"):
        crops.batch(6, 6, torch.Generator(), (0, 4))


@pytest.mark.parametrize("variant", recipe("dbpn").variants)
def test_of_dbpns_networks_those_of_y_learn_y(variant):
    (stage,) = recipe("dbpn").stages(variant, "paper")
    on_y = stage.network().colours == 1
    assert (stage.forward.function is enlarge_y) == on_y == (variant[0] in "SML")


def test_a_plan_says_where_gradients_are_clipped():
    """In the small budgets alone, but for a control that takes it back; in CARN's paper at 10."""

    def clip(name, variant, budget):
        plan = recipe(name).plan(variant, budget)
        return plan["stages"][0]["clip"]

    assert [clip("msrn", v, "smoke") for v in ("msrn", "residual-unclipped")] == [0.1, None]
    assert clip("dbpn", "dbpn", "laptop") is None
    assert [clip("carn", "carn", budget) for budget in ("laptop", "paper")] == [0.1, 10.0]


def test_memnets_paper_has_four_rates_of_sgd_and_clips_at_a_hundredth_of_one_over_each():
    stages = recipe("memnet").stages("memnet", "paper")
    assert [stage.rate(0) for stage in stages] == [0.1, 0.01, 0.001, 0.0001]
    assert [stage.clip * stage.rate(0) for stage in stages] == pytest.approx([0.01] * 4)
    assert {(stage.steps, stage.batch, stage.series) for stage in stages} == {
        (200_000, 64, k) for k in range(4)
    }
    assert {stage.start for stage in stages[1:]} == {Continued(optimizer=True)}  # momentum goes on
    (half,) = {str(stage.loss) for stage in stages}
    assert half == "480.5 Supervision()"  # half the squared error, summed over 31 x 31 pixels
    optimizer = stages[0].optimizer(MemNet(channels=4, blocks=2, recursions=1))
    assert [group.get("share", 1) for group in optimizer.param_groups] == [1, 0.1]
    assert {(g["momentum"], g["weight_decay"]) for g in optimizer.param_groups} == {(0.9, 1e-4)}


@pytest.mark.parametrize("variant", ["L1", "idn"])
def test_idns_paper_slows_biases_and_the_transposed_convolution(variant):
    (stage,) = recipe("idn").stages(variant, "paper")
    model = stage.network()
    fast, slow = stage.optimizer(model).param_groups
    biases = sum(p.numel() for n, p in model.named_parameters() if n.endswith("bias"))
    assert slow["share"] == 0.1
    assert sum(p.numel() for p in slow["params"]) == biases + 64 * 17 * 17
    assert sum(p.numel() for p in fast["params"] + slow["params"]) == 552_769


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_carn_trains_the_head_of_the_batchs_scale_alone(scale, pictures):
    model = CARN(4, heads=(2, 3, 4), channels=8)
    before = {name: p.clone() for name, p in model.named_parameters()}
    only = Patches(pictures, scale)
    fit(model, L1(), only, batch=2, patch=8, steps=1, rate=Constant(1e-3), forward=carn.at_scale,
        device="cpu")  # fmt: skip
    moved = {n.split(".")[1] for n, p in model.named_parameters()
             if n.startswith("upsample") and not torch.equal(p, before[n])}  # fmt: skip
    assert moved == {f"up{scale}"}
    assert not torch.equal(model.entry.weight, before["entry.weight"])
