"""The recipes of MemNet, DBPN, IDN, RDN, RCAN, MSRN and CARN: each variant trains, as it says."""

from __future__ import annotations

import json
import math

import pytest
import torch

from srkit import recipes
from srkit.datasets import procedural
from srkit.datasets.patches import Patches
from srkit.image.colour import to_y
from srkit.image.io import write_image
from srkit.image.tensors import to_8bit
from srkit.losses import L1, MSE
from srkit.models.carn import CARN
from srkit.models.idn import IDN
from srkit.models.memnet import MemNet
from srkit.recipes import carn, dbpn, idn, memnet, msrn, rcan, rdn, recipe
from srkit.training.loop import fit
from srkit.training.run import data_facts, pictures_hash
from srkit.training.schedules import Constant

MODULES = {"memnet": memnet, "dbpn": dbpn, "idn": idn, "rdn": rdn, "rcan": rcan, "msrn": msrn,
           "carn": carn}  # fmt: skip
ALL = [(name, variant) for name, module in MODULES.items() for variant in module.VARIANTS]
SIZES = ("network", "ladder", "stages", "ablation", "two-3x3", "residual", "channels")


@pytest.fixture(scope="module")
def pictures():
    return [to_8bit(image) for image in procedural.pictures(2, 64, seed=0)]


def parameters(model):
    return sum(p.numel() for p in model.parameters())


class Dry:
    """Stands in for a `RecipeRun`: builds, but only notes what it was asked to train."""

    def __init__(self, plan):
        self.plan, self.asked = {**plan, "tests": ()}, []

    def build(self, make):
        return make()

    def trained(self, variant, model):
        self.asked.append({"after": variant})
        return model

    def crops(self, scale):
        return scale

    def fit(self, model, loss, crops, **how):
        self.asked.append({"loss": loss, "crops": crops, **how})

    def validate_at(self, model, scales):
        pass


def dry(module, variant, budget):
    run = Dry(module.BUDGETS[budget])
    return module.VARIANTS[variant](run), run.asked


@pytest.mark.parametrize(("name", "variant"), ALL, ids=[f"{n}-{v}" for n, v in ALL])
def test_a_variant_trains_from_beginning_to_end(name, variant, tmp_path):
    record = recipes.train(name, variant, budget="smoke", out=tmp_path, device="cpu")
    for stage in record["stages"]:
        assert stage["steps"] == 2
        assert all(math.isfinite(row["loss"]) for row in stage["history"])
    assert record["paper"]["plan"]["steps"] >= 200_000


@pytest.mark.parametrize("budget", ["gpu", "paper"])
@pytest.mark.parametrize("name", MODULES)
def test_what_awaits_a_gpu_runs_when_it_is_made_small(name, budget, tmp_path, monkeypatch):
    """The same stages and settings, with smoke's network, crops and steps."""
    budgets = recipe(name).BUDGETS
    kept = {"data", "tests", "steps", "batch", "patch", "ablation_steps", "tune_steps",
            "tune_patch", *SIZES}  # fmt: skip
    small = {key: value for key, value in budgets["smoke"].items() if key in kept}
    monkeypatch.setitem(budgets, "small", budgets[budget] | small)
    record = recipes.train(name, budget="small", out=tmp_path, device="cpu")
    assert len(record["stages"]) == (4 if (name, budget) == ("memnet", "paper") else 1)
    assert record.get("builds_on", []) == (["L1"] if name == "idn" else [])


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
    assert record["plan"]["data"] == "mine"
    assert record["data"] == data_facts("mine", pictures)
    start = json.loads((tmp_path / "runs/rlfn/smoke/one-stage-seed0/run.json").read_text())
    assert start["data"] == record["data"]  # what it builds on learns from them, too
    with pytest.raises(ValueError, match=r"asked for otherwise \(differs: plan\)"):
        recipes.train("rlfn", "warm-start", budget="smoke", device="cpu")


def test_sets_and_folders_are_joined_by_plus(folder, tmp_path, monkeypatch):
    """In their order; a folder that has a plus in its name is that folder."""
    monkeypatch.chdir(tmp_path)
    a, b = sorted((tmp_path / "mine").rglob("*.png"))
    assert recipes.training_pictures(f"{b.parent}+{a.parent}") == [b, a]
    with pytest.raises(ValueError, match="unknown data set 'ours'"):
        recipes.training_pictures("mine+ours")
    (tmp_path / "mine").rename("mine+yours")
    assert len(recipes.training_pictures("mine+yours")) == 2


def test_pictures_larger_than_memory_are_laid_out_in_a_file(
    folder, pictures, tmp_path, monkeypatch
):
    def no_room(nbytes, device):
        raise MemoryError

    monkeypatch.setenv("SRKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("srkit.datasets.patches._check_room", no_room)
    how = {"budget": "smoke", "data": folder, "out": tmp_path, "device": "cpu"}
    record = recipes.train("rlfn", "one-stage", **how)
    assert record["data"]["sha256"] == pictures_hash(pictures)
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
    monkeypatch.setattr("srkit.recipes.Patches", patches)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    order = ["cuda:3", "cpu", "file"]
    run = recipes.RecipeRun("rlfn", None, budget="smoke", data=folder, out=tmp_path)
    run.crops(4)
    assert tried == order[: [place.split(":")[0] for place in order].index(room) + 1]
    tried.clear()
    run.device = "cpu"
    if room != "cuda":
        run.crops(4)
        assert tried == order[1 : order.index(tried[-1]) + 1]


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        (
            "rlfn",
            "ImageNet",
            r"unknown data set 'ImageNet': .* to train, a folder of pictures does",
        ),
        ("rlfn", ".", "no picture under .: of .png"),
        ("zssr", "Set5", "zssr learns from the picture that it enlarges: it takes no data"),
        ("sftgan", "Set5", "sftgan learns from textures made with their maps: it takes no data"),
    ],
)
def test_data_that_does_not_fit_is_told_so(name, data, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        recipes.train(name, budget="smoke", data=data, device="cpu")


@pytest.mark.parametrize(
    ("module", "variant", "laptop", "paper"),
    [
        (memnet, "memnet", 73_862, 695_497),
        (memnet, "single", None, 694_851),
        (dbpn, "dbpn", None, 10_426_358),
        (dbpn, "S", None, 595_596),
        (idn, "idn", 112_249, 552_769),
        (rdn, "rdn", 154_883, 22_123_395),
        (rdn, "CM+LRL+GFF", None, 5_616_515),
        (rcan, "rcan", 216_827, 15_444_667),
        (rcan, "CA+LSC+SSC", 167_747, 15_444_667),
        (msrn, "msrn", 192_427, 5_930_331),
        (carn, "carn", 225_483, 1_591_963),
        (carn, "carn-m", None, 414_811),
        (carn, "neither", None, 1_443_739),
        (carn, "x4-alone", 157_779, 1_111_899),
    ],
)
def test_networks_are_as_large_as_the_papers(module, variant, laptop, paper):
    assert parameters(dry(module, variant, "paper")[0]) == paper
    assert laptop in (None, parameters(dry(module, variant, "laptop")[0]))


@pytest.mark.parametrize("budget", ["laptop", "gpu", "paper"])
@pytest.mark.parametrize("control", ["two-3x3", "residual"])
def test_msrns_controls_are_as_large_as_msrn(control, budget):
    own, other = (parameters(dry(msrn, v, budget)[0]) for v in ("msrn", control))
    assert abs(other / own - 1) < 0.02


@pytest.mark.parametrize("name", MODULES)
def test_no_two_variants_are_the_same_experiment(name):
    """They differ in layers, in wiring (same weights, another answer), or in how they train."""
    seen = []
    for variant in MODULES[name].VARIANTS:
        model, asked = dry(MODULES[name], variant, "smoke")
        with torch.no_grad():
            for number, p in enumerate(model.parameters()):
                values = torch.randn(p.shape, generator=torch.Generator().manual_seed(number))
                p.copy_(values / math.sqrt(max(p[0].numel(), 1)))
        answer = model.eval()(torch.full((1, 3, 9, 9), 0.5).cumsum(-1) / 9)
        clips = tuple(how.get("clip", "as planned") for how in asked)
        seen.append((parameters(model), clips, round(answer.sum().item(), 2)))
    if name in ("rdn", "rcan"):  # their own network, again in the ablation's size or steps
        seen = seen[1:]
    assert len(set(seen)) == len(seen)


@pytest.mark.parametrize("module", [idn, dbpn])
@pytest.mark.parametrize(("loss", "factor"), [(L1(), 255 / 219), (MSE(), (255 / 219) ** 2)])
def test_networks_of_y_are_judged_by_y_alone(module, loss, factor, rng):
    """An RGB loss of their answer is that of Y, from its definition, times the range's factor."""
    model = IDN(2, channels=8, keep=2, step=2, blocks=1, groups=2)
    lr, hr = torch.rand(2, 3, 8, 8, generator=rng), torch.rand(2, 3, 16, 16, generator=rng)
    sr, inputs = module.enlarge_y(model, {"lr": lr, "hr": hr})
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


def test_a_plan_says_where_gradients_are_clipped(tmp_path):
    """The small budgets' alone, a control that takes it back, and CARN's paper, at 10."""

    def clips(name, *variant):
        record = recipes.train(name, *variant, budget="smoke", out=tmp_path, device="cpu")
        return record["stages"][0].get("clip", "not a word")

    assert [clips("msrn"), clips("msrn", "residual-unclipped")] == [0.1, None]
    assert clips("dbpn") == "not a word"
    (small,), (paper,) = (dry(carn, "carn", budget)[1] for budget in ("laptop", "paper"))
    assert (small["clip"], paper["clip"]) == (0.1, 10.0)


def test_memnets_paper_clips_at_a_hundredth_of_one_over_the_rate():
    _, stages = dry(memnet, "memnet", "paper")
    assert [how["clip"] * how["rate"](0) for how in stages] == pytest.approx([0.01] * 4)
    optimizer = stages[0]["optimizer"]
    assert all(how["optimizer"] is optimizer for how in stages)  # momentum goes on
    assert [group.get("share", 1) for group in optimizer.param_groups] == [1, 0.1]


def test_idns_paper_slows_biases_and_the_transposed_convolution():
    model = IDN(2)
    fast, slow = idn.adam(model, 0.1).param_groups
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
