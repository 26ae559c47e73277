"""What a training leaves: records that are complete, once, and of what was asked for."""

from __future__ import annotations

import importlib.util
import json
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from filelock import FileLock
from safetensors import safe_open
from test_checkpoints import KILL_AT, assert_same
from torch import nn
from toy import STEPS, Crops, Discriminator, Enlarger

import srkit
from srkit import ledger, recipes
from srkit.files import sha256
from srkit.losses import L1
from srkit.losses.adversarial import Adversarial
from srkit.losses.objectives import Standard
from srkit.models.zoo import model_info
from srkit.recipes import rlfn
from srkit.training.run import (
    Run,
    code_version,
    find_runs,
    forget_peaks,
    pictures_hash,
    read_runs,
    write_json,
)
from srkit.training.schedules import Halving


def two_stages(folder, *, crops=(None, None), seed=2, finish=True, **asked):
    """L1, then L1 and a discriminator; returns the run and the network."""
    run = Run(folder, seed=seed, device="cpu", **asked)
    model, discriminator = run.build(lambda: Enlarger(0.2)), run.build(Discriminator)
    how = {
        "batch": 2, "patch": 8, "steps": STEPS, "validate_every": 6, "save_every": 3,
        "rate": Halving(5e-3, 0.4),
    }  # fmt: skip
    run.fit(model, L1(), crops[0] or Crops(), ema=0.9, **how)
    loss = L1() + 0.1 * Adversarial(discriminator, Standard())
    run.fit(model, loss, crops[1] or Crops(), from_scratch=True, clip=1.0, **how)
    if finish:
        run.finish(
            model,
            measure=lambda m: {"ours": {"psnr": 30.5}},
            samples={"grey": lambda m: m(torch.full((1, 3, 8, 8), 0.5))[0]},
            remark="by the test",
        )
    return run, model


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    return two_stages(tmp_path_factory.mktemp("runs") / "done", recipe="toy")


# a run of two stages


def test_the_record_says_how_its_numbers_came_to_be(done):
    run, model = done
    record = run.record()
    assert record["seed"] == 2
    assert record["recipe"] == "toy"
    assert record["remark"] == "by the test"
    assert record["metrics"] == {"ours": {"psnr": 30.5}}
    assert record["parameters"] == sum(p.numel() for p in model.parameters())
    assert record["machine"].keys() >= {"processor", "threads", "gpu", "torch", "srkit"}
    assert record["peak_memory_mib"] > 50  # torch alone is more
    assert record["code"] == code_version()
    first, second = record["stages"]
    assert first["steps"] == second["steps"] == STEPS
    assert first["loss"] == ["L1: mean |sr - hr|"]
    assert second["loss"][0] == "L1 + 0.1 adversarial"
    assert first["rate"] == "Halving(rate=0.005, every=0.4)"
    assert (first["ema"], second["clip"], second["from_scratch"]) == (0.9, 1.0, True)
    assert [row["step"] for row in first["history"]] == [6, 12, 18, 24]
    for clock in ("minutes", "cpu_minutes"):
        assert record[clock] == pytest.approx(first[clock] + second[clock])
        assert first[clock] > 0
    speed = first["steps_per_second"] * 60 * first["minutes"]
    assert speed == pytest.approx(STEPS)


def test_the_code_is_that_which_the_run_began_with(tmp_path, monkeypatch):
    """A file of srkit that changes while it trains is not what trained."""
    package = tmp_path / "package"
    package.mkdir()
    (package / "loop.py").write_text("steps = 1")
    monkeypatch.setattr(srkit, "__file__", str(package / "__init__.py"))
    code_version.cache_clear()
    try:
        run = Run(tmp_path / "run", device="cpu")
        began = code_version()
        (package / "loop.py").write_text("steps = 2")
        run.finish(Enlarger(), measure=lambda m: {}, samples={})
        assert run.record()["code"] == began
    finally:
        code_version.cache_clear()


def test_the_folder_holds_the_record_and_no_leftovers(done):
    run, _ = done
    names = {str(path.relative_to(run.folder)) for path in run.folder.rglob("*") if path.is_file()}
    assert names == {
        "asked.json", "run.json", "history.jsonl", "model.safetensors", "samples/grey.png",
    }  # fmt: skip
    rows = [json.loads(line) for line in (run.folder / "history.jsonl").read_text().splitlines()]
    assert [(row["stage"], row["step"]) for row in rows] == [
        (stage, step) for stage in (0, 1) for step in (6, 12, 18, 24)
    ]


def test_the_weights_are_kept_with_their_origin(done):
    run, model = done
    again = run.load(Enlarger())
    assert_same(again.state_dict(), model.state_dict())
    with safe_open(run.folder / "model.safetensors", "pt") as file:
        assert "toy" in str(file.metadata())


@pytest.mark.parametrize("stage", [0, 1])
def test_a_run_that_is_stopped_in_any_stage_ends_with_the_same_weights(stage, done, tmp_path):
    crops = [None, None]
    crops[stage] = Crops({KILL_AT: lambda: signal.raise_signal(signal.SIGTERM)})
    with pytest.raises(SystemExit) as caught:
        two_stages(tmp_path, crops=crops, recipe="toy")
    assert caught.value.code == 128 + signal.SIGTERM
    assert not (tmp_path / "run.json").exists()
    again = Crops(), Crops()
    run, model = two_stages(tmp_path, crops=again, recipe="toy")
    assert_same(model.state_dict(), done[1].state_dict())
    assert again[0].asked == (STEPS - KILL_AT if stage == 0 else 0)  # what was done, was done
    for ours, theirs in zip(run.record()["stages"], done[0].record()["stages"], strict=True):
        losses = [[row["loss"] for row in record["history"]] for record in (ours, theirs)]
        assert losses[0] == losses[1]
        spent = [row["cpu_minutes"] for row in ours["history"]]
        assert spent == sorted(spent)  # before the stop and after it


class Log:
    """In TensorBoard's place: its writers, what they got, and whether they were closed."""

    made: list[Log] = []

    def __init__(self, folder: str):
        self.folder, self.closed, self.got = folder, False, []
        self.made.append(self)

    def add_scalar(self, name: str, value: float, step: int) -> None:
        assert not self.closed
        self.got.append((name, value, step))

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *error: object) -> None:
        self.closed = True


def test_tensorboard_gets_each_row_and_is_closed_after_a_stop_too(tmp_path, monkeypatch):
    """A log a stage; the steps of the second count on from the first's."""
    monkeypatch.setattr(Log, "made", [])
    module = SimpleNamespace(SummaryWriter=Log)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    stop = Crops({KILL_AT: lambda: signal.raise_signal(signal.SIGTERM)})
    with pytest.raises(SystemExit):
        two_stages(tmp_path, crops=(None, stop), tensorboard=True)
    run, _ = two_stages(tmp_path, tensorboard=True)
    first, second = run.record()["stages"]
    assert {log.folder for log in Log.made} == {str(tmp_path / "tensorboard")}
    assert all(log.closed for log in Log.made)
    got = {(name, step): value for log in Log.made for name, value, step in log.got}
    for before, stage in ((0, first), (STEPS, second)):
        for row in stage["history"]:
            assert got[("loss", before + row["step"])] == row["loss"]
    assert len([name for name, _ in got if name == "loss"]) == 8


def test_without_tensorboard_that_is_said_before_the_training(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    crops = Crops()
    with pytest.raises(RuntimeError, match="TensorBoard is not here: pip install tensorboard, or"):
        two_stages(tmp_path, crops=(crops, crops), tensorboard=True)
    assert crops.asked == 0


def test_what_was_asked_for_otherwise_is_refused(tmp_path):
    Run(tmp_path, seed=1, plan={"steps": 4, "tests": ("Set5",)})
    Run(tmp_path, seed=1, plan={"steps": 4, "tests": ("Set5",)})
    with pytest.raises(ValueError, match=r"asked for otherwise \(differs: plan, seed\): take an"):
        Run(tmp_path, seed=2, plan={"steps": 5, "tests": ("Set5",)})


def test_two_processes_do_not_train_in_one_folder(tmp_path):
    """A lock of the system: it is gone with the process, however that ends."""
    with (
        FileLock(tmp_path / "run/lock"),
        pytest.raises(RuntimeError, match=r"another process trains in .*run: wait for it, or take"),
    ):
        two_stages(tmp_path / "run")
    two_stages(tmp_path / "run")


def test_on_a_machine_with_an_idle_gpu_the_peaks_are_forgotten_without_an_error(monkeypatch):
    """CUDA is asked for its peaks only once it is in use; before that it raises."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    forget_peaks()


# recipes


@pytest.fixture
def toy_recipe(monkeypatch):
    """Two variants, the second built on the first; how often each was trained."""
    trained = []

    def pixel(run):
        trained.append("pixel")
        model = run.build(Enlarger)
        run.fit(model, L1(), run.crops(2), rate=Halving(1e-3, 0.5))
        return model

    def gan(run):
        trained.append("gan")
        model = run.trained("pixel", Enlarger())
        loss = L1() + 0.1 * Adversarial(run.build(Discriminator), Standard())
        how = {"stage": "gan", "rate": Halving(1e-3, 0.5), "from_scratch": True}
        run.fit(model, loss, run.crops(2), **how)
        return model

    plan = {"data": "procedural", "tests": (), "steps": 2, "batch": 2, "patch": 8, "gan_steps": 3}
    module = SimpleNamespace(
        VARIANTS={"pixel": pixel, "gan": gan},
        BUDGETS={"smoke": plan, "paper": plan | {"steps": 10**6}},
        PAPER={"gan": {"Set5": {"psnr": 30.0}}},
    )
    monkeypatch.setattr(recipes, "recipe", lambda name: module)
    return trained


def test_a_variant_comes_after_those_it_builds_on(toy_recipe, tmp_path):
    record = srkit.train("toy", "gan", budget="smoke", out=tmp_path)
    assert toy_recipe == ["gan", "pixel"]
    assert record["builds_on"] == ["pixel"]
    assert record["data"]["name"] == "procedural"
    assert record["paper"]["metrics"] == {"Set5": {"psnr": 30.0}}
    assert record["paper"]["plan"]["steps"] == 10**6
    found = find_runs(tmp_path)
    assert [r["variant"] for r in found] == ["gan", "pixel"]
    stages = [(r["stages"][0]["plan"], r["stages"][0]["steps"]) for r in found]
    assert stages == [("gan_", 3), ("", 2)]  # each with its own sizes of the plan
    assert found[0] == record


def test_what_is_done_is_not_done_again(toy_recipe, tmp_path):
    first = srkit.train("toy", "gan", budget="smoke", out=tmp_path)
    hashes = {path: sha256(path) for path in tmp_path.rglob("*.*") if path.is_file()}
    assert srkit.train("toy", "gan", budget="smoke", out=tmp_path) == first
    srkit.train("toy", "pixel", budget="smoke", out=tmp_path)
    assert toy_recipe == ["gan", "pixel"]
    assert hashes == {path: sha256(path) for path in tmp_path.rglob("*.*") if path.is_file()}
    other = srkit.train("toy", "pixel", budget="smoke", out=tmp_path, seed=1)
    assert other["seed"] == 1
    assert toy_recipe == ["gan", "pixel", "pixel"]


def test_minutes_take_the_place_of_steps(toy_recipe, tmp_path):
    record = srkit.train("toy", "pixel", budget="smoke", out=tmp_path, minutes=0.001)
    (stage,) = record["stages"]
    assert stage["minutes"] >= 0.001
    assert record["minutes_a_stage"] == 0.001
    with pytest.raises(ValueError, match="differs: minutes_a_stage"):
        srkit.train("toy", "pixel", budget="smoke", out=tmp_path)


def test_reproduce_in_used_folders_is_refused_before_it_trains(toy_recipe, tmp_path):
    """Not in those that it has itself begun: "gan" trains "pixel" on its way."""
    how = {"budget": "smoke", "out": tmp_path, "resume": "never"}
    cards = recipes.reproduce("toy", variants=("gan", "pixel"), **how)
    assert len(cards) == 2
    assert toy_recipe == ["gan", "pixel"]
    with pytest.raises(ValueError, match="pixel-seed0 holds a run already: resume auto goes on"):
        recipes.reproduce("toy", variants=("pixel",), seeds=(1, 0), **how)
    assert toy_recipe == ["gan", "pixel"]
    with pytest.raises(ValueError, match="resume 'sometimes': auto or never"):
        recipes.reproduce("toy", budget="smoke", out=tmp_path, resume="sometimes")


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"name": "nothing"}, "there is no recipe 'nothing': one of .*rlfn"),
        ({"variant": "nothing"}, "rlfn has no variant 'nothing': one of rlfn, block-RFDB24"),
        ({"budget": "big"}, "budget 'big': one of smoke, laptop, gpu, paper"),
    ],
)
def test_unknown_names_are_told_with_the_known_ones(how, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        srkit.train(**{"name": "rlfn", "budget": "smoke", "out": tmp_path} | how)
    assert not list(tmp_path.iterdir())


def test_rlfn_cyclic_warm_start_and_long_share_their_first_stage_or_not(tmp_path):
    """The comparison of the paper's Sec. 3.4, from nothing but code."""
    records = {
        name: srkit.train("rlfn", name, budget="smoke", out=tmp_path)
        for name in ("one-stage", "long", "cyclic", "warm-start")
    }
    stages = {name: record["stages"] for name, record in records.items()}
    losses = {
        name: [[row["loss"] for row in stage["history"]] for stage in each]
        for name, each in stages.items()
    }
    assert losses["one-stage"] == losses["cyclic"][:1]
    assert records["warm-start"]["builds_on"] == ["one-stage"]
    assert losses["cyclic"][1] != losses["warm-start"][0]
    assert [stage["steps"] for stage in stages["long"]] == [8]
    assert [stage["steps"] for stage in stages["cyclic"]] == [4, 4]


def test_rlfn_ends_with_the_contrastive_loss(tmp_path):
    record = srkit.train("rlfn", budget="smoke", out=tmp_path)
    assert record["builds_on"] == ["warm-start"]
    (stage,) = record["stages"]
    assert stage["loss"][0].endswith("contrastive")


class Far(torch.Tensor):
    """As if on another device: it can be brought here, and nothing else."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func is not torch.Tensor.cpu:
            raise RuntimeError("on another device")
        with torch._C.DisableTorchFunctionSubclass():
            return args[0].as_subclass(torch.Tensor)


def test_rlfn_weighs_the_contrastive_loss_wherever_the_crops_lie(monkeypatch):
    """Crops on a GPU meet a network that is not there yet: the first batch comes to it."""
    near = recipes.training_pictures("procedural")[0][None] / 255
    far = {"lr": near[..., ::4, ::4].as_subclass(Far), "hr": near.as_subclass(Far), "scale": 4}
    stages = []
    run = SimpleNamespace(
        plan=rlfn.BUDGETS["smoke"], seed=0,
        crops=lambda scale: SimpleNamespace(batch=lambda *a: far),
        fit=lambda model, loss, crops, **how: stages.append(loss),
    )  # fmt: skip
    rlfn.contrast_stage(run, rlfn.network(run), *rlfn.CONTRASTS["random-tanh"])
    assert stages[0].weights["contrastive"] > 0


@pytest.mark.parametrize(
    ("budget", "ladder", "own", "edsr"),
    [
        ("laptop", [106_560, 87_912, 119_836, 115_164], 87_816, 89_883),
        ("gpu", [581_952, 470_736, 571_580, 543_740], 543_740, 1_517_595),
        ("paper", [581_952, 470_736, 571_580, 543_740], 543_740, 1_517_595),
    ],
)
def test_rlfn_s_networks_are_those_of_its_records_and_of_the_paper(budget, ladder, own, edsr):
    """The small ones as recorded runs have them; RLFN's ablation and EDSR's baseline."""
    run = SimpleNamespace(plan=rlfn.BUDGETS[budget])
    makers = [*rlfn.LADDER.values(), rlfn.network, rlfn.edsr]
    counts = [sum(p.numel() for p in make(run).parameters()) for make in makers]
    assert counts == [*ladder, own, edsr]


@pytest.mark.parametrize("budget", ["gpu", "paper"])
@pytest.mark.parametrize("name", recipes.RECIPES)
def test_large_budgets_are_proven_with_what_is_at_hand(name, budget):
    """By benchmarks/recipes.py: no stage that a plan has not, nothing that must be fetched."""
    path = Path(__file__).parents[2] / "benchmarks/recipes.py"
    spec = importlib.util.spec_from_file_location("benchmarks_recipes", path)
    spec.loader.exec_module(benchmark := importlib.util.module_from_spec(spec))
    plan = recipes.recipe(name).BUDGETS[budget]
    short = benchmark.shortened(plan)
    assert short.keys() >= plan.keys() - {"validate_every"}
    assert not {"torchvision", "given"} & {v for v in short.values() if isinstance(v, str)}
    for key, steps in plan.items():
        if key.endswith("steps"):
            assert short[key] == min(steps, 2)
    assert short.get("pictures", (20, 0))[0] == 20


# small things


def test_the_hash_of_the_pictures_sees_pixels_shapes_and_order():
    a, b = torch.zeros(3, 4, 6, dtype=torch.uint8), torch.ones(3, 4, 6, dtype=torch.uint8)
    hashes = [pictures_hash(p) for p in ([a, b], [b, a], [a], [a.view(3, 6, 4), b])]
    assert len(set(hashes)) == 4


def test_a_network_is_built_from_the_seed_whatever_came_before(tmp_path):
    def weights(seed, folder):
        torch.rand(seed + 3)
        return Run(tmp_path / folder, seed=seed).build(lambda: nn.Linear(3, 3)).weight

    assert torch.equal(weights(1, "a"), weights(1, "b"))
    assert not torch.equal(weights(1, "a"), weights(2, "c"))


def test_json_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "deep" / "a.json"
    write_json({"a": [1.5, None]}, path)
    with pytest.raises(TypeError):
        write_json({"a": object()}, path)
    assert json.loads(path.read_text()) == {"a": [1.5, None]}
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_the_recorded_runs_followed_the_plan_that_their_budget_has_now(name):
    """Or the ledger would compare runs of two plans as one experiment."""
    assert [r["variant"] for r in ledger.records(name) if not recipes.follows_plan(r)] == []


def test_minutes_of_two_cores_reach_what_they_should():
    """RLFN-tiny on Set5, by the protocol classic; the later record's network is the zoo's."""
    few, more = read_runs("minutes")
    assert (few["minutes_a_stage"], more["minutes_a_stage"]) == (5, 15)
    assert [few["machine"]["threads"], more["machine"]["threads"]] == [2, 2]
    assert few["metrics"]["Set5"]["psnr"] > 31.15
    assert more["metrics"]["Set5"]["psnr"] > 31.4
    said = model_info("rlfn_tiny_x4").weights["srkit"].psnr
    assert said == {test: round(m["psnr"], 2) for test, m in more["metrics"].items()}


def test_gathering_runs_leaves_those_of_an_older_plan_behind(toy_recipe, tmp_path):
    recipes.train("toy", budget="smoke", out=tmp_path / "runs", device="cpu")
    recipes.collect(tmp_path / "runs", tmp_path / "data")
    path = tmp_path / "data/runs/toy.json"
    records = json.loads(path.read_text())
    write_json([r | {"seed": 1, "plan": r["plan"] | {"steps": 99}} for r in records], path)
    recipes.collect(tmp_path / "runs", tmp_path / "data")
    assert json.loads(path.read_text()) == records


def test_recorded_runs_that_are_not_shipped_are_told():
    with pytest.raises(FileNotFoundError, match=r"ships no 'runs/nothing\.json'"):
        read_runs("nothing")
