"""What a training leaves: records that are complete, once, and of what was asked for."""

from __future__ import annotations

import importlib.util
import json
import signal
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from filelock import FileLock
from safetensors import safe_open
from toy import KILL_AT, STEPS, Crops, Discriminator, Enlarger, assert_same

import srkit
from srkit import ledger, recipes
from srkit.calls import Call, as_json
from srkit.datasets.patches import Patches
from srkit.files import data_path, sha256
from srkit.losses import L1
from srkit.losses.adversarial import Adversarial
from srkit.losses.objectives import Standard
from srkit.models.zoo import model_info
from srkit.recipes import base
from srkit.reports.records import Records
from srkit.training import checkpoints
from srkit.training.record import (
    Record,
    code_version,
    data_facts,
    forget_peaks,
    read_record,
    write_json,
)
from srkit.training.run import Run, find_runs
from srkit.training.schedules import Halving
from srkit.training.stage import After, Continued, Loss, Share, Stage, loss_of
from srkit.weights.load import load_checkpoint, load_weights

PIXEL = Stage(
    name="pixel", network=Call(Enlarger, drop=0.2), loss=loss_of(L1), data="noise", scale=2,
    steps=STEPS, batch=2, patch=8, rate=Halving(5e-3, 0.4), ema=0.9, validate_every=6,
)  # fmt: skip
JUDGED = Call(Adversarial, discriminator=Call(Discriminator), objective=Standard())
ADVERSARIAL = replace(
    PIXEL, name="adversarial", start=Continued(), series=1, ema=None, clip=1.0, from_scratch=True,
    loss=Loss(((1.0, Call(L1)), (0.1, JUDGED))),
)  # fmt: skip
ASKED = {"recipe": "toy", "variant": "two", "budget": "smoke"}


def crops_of(data, scale, device, level):
    """Crops of one grey picture."""
    return Patches([torch.full((3, 32, 32), int(255 * level), dtype=torch.uint8)], scale)


class OfGivenCrops(Run):
    """A run whose stages draw from crops that the test made."""

    given: tuple[Crops, ...] = ()

    def crops(self, stage):
        self.data = data_facts("noise", self.given[len(self.results)].pictures)
        return self.given[len(self.results)]


def two_stages(folder, *, crops=(None, None), seed=2, tensorboard=False):
    """L1, then L1 and a discriminator; returns the run and the network."""
    plan = {"tests": [], "lpips": False, "stages": [as_json(PIXEL), as_json(ADVERSARIAL)]}
    asked = ASKED | {"plan": plan}
    run = OfGivenCrops(folder, asked, seed=seed, device="cpu", tensorboard=tensorboard)
    run.given = tuple(each or Crops() for each in crops)
    model = PIXEL.train(run, None)
    ADVERSARIAL.train(run, model)
    run.finish(
        model,
        measure=lambda m: {"ours": {"psnr": 30.5}},
        samples={"grey": lambda m: m(torch.full((1, 3, 8, 8), 0.5))[0]},
        paper={"metrics": {}, "stages": []},
    )
    return run, model


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    return two_stages(tmp_path_factory.mktemp("runs") / "done")


# a run of two stages


def test_the_record_says_how_its_numbers_came_to_be(done):
    run, model = done
    record = run.record()
    assert (record.seed, record.recipe, record.metrics) == (2, "toy", {"ours": {"psnr": 30.5}})
    assert record.parameters == sum(p.numel() for p in model.parameters())
    assert record.machine.keys() >= {"processor", "threads", "gpu", "torch", "srkit"}
    assert record.peak_memory_mib > 50  # torch alone is more
    assert record.code == code_version()
    assert record.data == data_facts("noise", Crops().pictures)
    first, second = record.stages
    assert first.steps == second.steps == STEPS
    assert first.loss == ("L1: mean |sr - hr|",)
    assert second.loss[0] == "L1 + 0.1 adversarial"
    assert [row["step"] for row in first.history] == [6, 12, 18, 24]
    for clock in ("minutes", "cpu_minutes"):
        spent = [getattr(stage, clock) for stage in (first, second)]
        assert getattr(record, clock) == pytest.approx(sum(spent))
        assert min(spent) > 0
    assert first.steps_per_second * 60 * first.minutes == pytest.approx(STEPS)


def test_the_record_names_what_was_asked_for_whole(done):
    """Optimisers, forward, the discriminator's rate and all constants, field by field."""
    pixel, judged = done[0].record().plan["stages"]
    assert pixel["network"]["drop"] == 0.2
    assert pixel["rate"] == {
        "call": "srkit.training.schedules:Halving", "rate": 5e-3, "every": 0.4,
    }  # fmt: skip
    assert pixel["optimizer"] == {"call": "srkit.training.loop:adam", "betas": [0.9, 0.999]}
    assert pixel["forward"] == {"call": "srkit.training.loop:enlarge"}
    assert (pixel["ema"], judged["clip"], judged["from_scratch"]) == (0.9, 1.0, True)
    assert judged["discriminator_rate"] is None
    assert judged["loss"]["terms"][1][0] == 0.1
    assert judged["loss"]["terms"][1][1]["objective"]["call"].endswith(":Standard")


def test_a_record_is_the_same_after_reading(done):
    record = done[0].record()
    assert Record.from_json(json.loads(json.dumps(record.to_json()))) == record


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"colour": "red"}, "Record has no field colour"),
        ({"machine": ...}, "Record lacks machine"),
        ({"stages": 3}, "no record of a run: it has no list of stages"),
        ({"stages": [{"steps": 1}]}, "StageResult lacks history, minutes"),
        ({"stages": [3]}, "3 is no StageResult"),
        ({"stages": [{"steps": 1, "minutes": 1, "history": [{}]}]}, "history has no step"),
        ({"seed": "0"}, "Record.seed is '0', which is no int"),
        ({"seed": True}, "Record.seed is True, which is no int"),
        ({"metrics": {"Set5": {"psnr": None}}}, "Record.metrics is .*, which is no Scores"),
        ({"builds_on": "long"}, "Record.builds_on is 'long', which is no tuple"),
    ],
)
def test_a_record_of_another_kind_is_refused(change, words, done, tmp_path):
    told = {k: v for k, v in (done[0].record().to_json() | change).items() if v is not ...}
    write_json(told, tmp_path / "run.json")
    with pytest.raises(ValueError, match=rf"run\.json.*{words}"):
        read_record(tmp_path / "run.json")


def test_a_damaged_record_is_named(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/run.json").write_text('{"recipe": ')
    with pytest.warns(UserWarning, match=r"a/run\.json is damaged .*: remove it, or make it again"):
        assert find_runs(tmp_path) == []


def test_the_code_is_that_which_the_run_began_with(tmp_path, monkeypatch):
    """A file of srkit that changes while it trains is not what trained."""
    package = tmp_path / "package"
    package.mkdir()
    (package / "loop.py").write_text("steps = 1")
    monkeypatch.setattr(srkit, "__file__", str(package / "__init__.py"))
    code_version.cache_clear()
    try:
        run = Run(tmp_path / "run", ASKED | {"plan": {}}, device="cpu")
        began = code_version()
        (package / "loop.py").write_text("steps = 2")
        paper = {"metrics": {}, "stages": []}
        run.finish(Enlarger(), measure=lambda m: {}, samples={}, paper=paper)
        assert run.record().code == began
    finally:
        code_version.cache_clear()


def test_the_folder_holds_the_record_and_no_leftovers(done):
    run, _ = done
    names = {str(path.relative_to(run.folder)) for path in run.folder.rglob("*") if path.is_file()}
    assert names == {
        "asked.json", "run.json", "history.jsonl", "model.safetensors",
        "discriminators.safetensors", "samples/grey.png",
    }  # fmt: skip
    rows = [json.loads(line) for line in (run.folder / "history.jsonl").read_text().splitlines()]
    assert [(row["stage"], row["step"]) for row in rows] == [
        (stage, step) for stage in (0, 1) for step in (6, 12, 18, 24)
    ]


def test_the_weights_are_kept_with_their_origin(done):
    run, model = done
    again = Enlarger()
    load_weights(again, run.weights)
    assert_same(again.state_dict(), model.state_dict())
    with safe_open(run.weights, "pt") as file:
        assert "toy" in str(file.metadata())


@pytest.mark.parametrize("stage", [0, 1])
def test_a_run_that_is_stopped_in_any_stage_ends_with_the_same_weights(stage, done, tmp_path):
    crops = [None, None]
    crops[stage] = Crops({KILL_AT: lambda: signal.raise_signal(signal.SIGTERM)})
    with pytest.raises(SystemExit) as caught:
        two_stages(tmp_path, crops=crops)
    assert caught.value.code == 128 + signal.SIGTERM
    assert not (tmp_path / "run.json").exists()
    again = Crops(), Crops()
    run, model = two_stages(tmp_path, crops=again)
    assert_same(model.state_dict(), done[1].state_dict())
    assert again[0].asked == (STEPS - KILL_AT if stage == 0 else 0)  # what was done, was done
    for ours, theirs in zip(run.record().stages, done[0].record().stages, strict=True):
        losses = [[row["loss"] for row in result.history] for result in (ours, theirs)]
        assert losses[0] == losses[1]
        spent = [row["cpu_minutes"] for row in ours.history]
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
    first, second = run.record().stages
    assert {log.folder for log in Log.made} == {str(tmp_path / "tensorboard")}
    assert all(log.closed for log in Log.made)
    got = {(name, step): value for log in Log.made for name, value, step in log.got}
    for before, stage in ((0, first), (STEPS, second)):
        for row in stage.history:
            assert got[("loss", before + row["step"])] == row["loss"]
    assert len([name for name, _ in got if name == "loss"]) == 8


def test_without_tensorboard_that_is_said_before_the_training(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    crops = Crops()
    with pytest.raises(RuntimeError, match="TensorBoard is not here: pip install tensorboard, or"):
        two_stages(tmp_path, crops=(crops, crops), tensorboard=True)
    assert crops.asked == 0


def test_what_was_asked_for_otherwise_is_refused(tmp_path):
    plan = {"plan": {"stages": [as_json(PIXEL)]}}
    with Run(tmp_path, plan, seed=1).alone():
        (tmp_path / "stage-0").mkdir()
        checkpoints.save(tmp_path / "stage-0", 1, {"step": 1})
    Run(tmp_path, plan, seed=1)
    other = {"plan": {"stages": [as_json(replace(PIXEL, clip=0.1))]}}
    with pytest.raises(ValueError, match=r"\(differs: plan, seed \(1 then, 2 now\)\): take an"):
        Run(tmp_path, other, seed=2)


def test_a_run_does_not_go_on_with_other_pictures(tmp_path):
    stage = replace(PIXEL, crops=Call(crops_of, level=0.2))
    run = Run(tmp_path, {}, device="cpu")
    other = replace(PIXEL, crops=Call(crops_of, level=0.3))
    run.crops(other)  # nothing is learned from these: it can still be others
    Run(tmp_path, {}, device="cpu").crops(stage)
    (tmp_path / "stage-0").mkdir()
    checkpoints.save(tmp_path / "stage-0", 1, {"step": 1})
    Run(tmp_path, {}, device="cpu").crops(stage)
    words = r"was begun with 1 pictures of .* \(SHA-256 \w{12}\); there are 1 now .*put them back"
    with pytest.raises(ValueError, match=words):
        Run(tmp_path, {}, device="cpu").crops(other)


def test_a_misspelt_setting_of_a_run_or_a_stage_is_an_error(tmp_path):
    with pytest.raises(TypeError, match="sede"):
        Run(tmp_path, {}, sede=3)
    with pytest.raises(TypeError, match="cilp"):
        replace(PIXEL, cilp=0.1)
    with pytest.raises(TypeError, match=r"Enlarger: .*dorp.*; it takes drop"):
        replace(PIXEL, network=Call(Enlarger, dorp=0.1))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"steps": 0}, "steps=0: expected a whole number from 1"),
        ({"batch": -1}, "batch=-1: expected a whole number from 1"),
        ({"patch": 2.5}, r"patch=2\.5: expected a whole number from 1"),
        ({"series": -1}, "series=-1: expected a whole number from 0"),
        ({"clip": 0.0}, r"clip=0\.0: expected a finite number above 0"),
        ({"ema": float("nan")}, "ema=nan: expected a finite number above 0"),
    ],
)
def test_numbers_out_of_range_are_refused_as_a_stage_is_written_down(change, words):
    with pytest.raises(ValueError, match=words):
        replace(PIXEL, **change)


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


# stages


def test_a_stage_cannot_continue_what_was_not_begun(tmp_path):
    run = OfGivenCrops(tmp_path, ASKED)
    with pytest.raises(ValueError, match="'adversarial' continues, but no stage comes before it"):
        ADVERSARIAL.train(run, None)


@pytest.mark.parametrize("keep", [True, False])
def test_an_optimiser_is_handed_on_if_the_stage_says_so(keep, tmp_path):
    """Adam's count of steps goes on, or starts anew."""
    run = OfGivenCrops(tmp_path, ASKED, device="cpu")
    run.given = Crops(), Crops()
    model = replace(PIXEL, ema=None).train(run, None)
    again = replace(PIXEL, ema=None, start=Continued(optimizer=keep), series=1)
    again.train(run, model)
    (count,) = {int(state["step"]) for state in run.optimizer.state.values()}
    assert count == (2 if keep else 1) * STEPS


def test_a_series_of_crops_is_of_the_run_and_the_stage(tmp_path):
    """Stages that are compared draw different crops, the same ones in every run of that seed."""
    losses = {}
    for name, series in (("a", 0), ("b", 0), ("c", 1)):
        run = OfGivenCrops(tmp_path / name, ASKED, device="cpu")
        run.given = (Crops(),)
        replace(PIXEL, series=series).train(run, None)
        losses[name] = run.results[0].history[0]["loss"]
    assert losses["a"] == losses["b"] != losses["c"]


def test_a_share_is_measured_when_the_stage_begins(tmp_path):
    """The second term then begins at that share of the first, on the run's own first crops."""
    loss = Loss(((1.0, Call(L1)), (Share(0.1), JUDGED)))
    run = OfGivenCrops(tmp_path, ASKED, device="cpu")
    run.given = (Crops(),)
    still = Call(Enlarger)  # without dropout
    stage = replace(PIXEL, network=still, loss=loss, from_scratch=True, steps=6)
    stage.train(run, None)
    batch = Crops().batch(4, 8, torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    model = Enlarger()
    torch.manual_seed(0)
    term = Adversarial(Discriminator(), Standard())
    with torch.inference_mode():
        parts = (L1() + term).parts(model(batch["lr"]), batch["hr"])
    weight = 0.1 * (parts["L1"] / parts["adversarial"]).item()
    assert run.results[0].loss[0] == f"L1 + {weight:g} adversarial"


# recipes


@dataclass(frozen=True, kw_only=True)
class Budget(base.Budget):
    steps: int = 2
    last_steps: int = 3


def pixel(b: Budget) -> list[Stage]:
    how = {"rate": Halving(1e-3, 0.5), "data": b.data, "ema": None, "network": Call(Enlarger)}
    return [replace(PIXEL, steps=b.steps, **how)]


def gan(b: Budget) -> list[Stage]:
    return [replace(ADVERSARIAL, steps=b.last_steps, data=b.data, start=After("pixel"))]


@pytest.fixture
def toy_recipe(monkeypatch):
    """Two variants, the second built on the first; which stages were trained."""
    trained = []
    sizes = Budget(data="procedural", tests=())
    toy = base.Recipe(
        label="Toy", scale=2, variants={"pixel": pixel, "gan": gan},
        budgets=dict.fromkeys(("smoke", "laptop", "gpu"), sizes)
        | {"paper": replace(sizes, steps=10**6)},
        published={"gan": {"Set5": {"psnr": 30.0}}},
    )  # fmt: skip
    fit = Run.fit

    def counted(run, stage, *args, **how):
        trained.append(stage.name)
        fit(run, stage, *args, **how)

    monkeypatch.setattr(Run, "fit", counted)
    monkeypatch.setattr(recipes, "recipe", lambda name: toy)
    return trained


def test_a_variant_comes_after_those_it_builds_on(toy_recipe, tmp_path):
    record = srkit.train("toy", "gan", budget="smoke", out=tmp_path)
    assert toy_recipe == ["pixel", "adversarial"]
    assert record.builds_on == ("pixel",)
    assert record.data["name"] == "procedural"
    assert record.paper["metrics"] == {"Set5": {"psnr": 30.0}}
    assert record.paper["stages"][0]["steps"] == 3
    found = find_runs(tmp_path)
    assert [(r.variant, r.stages[0].steps) for r in found] == [("gan", 3), ("pixel", 2)]
    assert found[1].paper["stages"][0]["steps"] == 10**6
    assert found[0] == record


def test_what_is_done_is_not_done_again(toy_recipe, tmp_path):
    first = srkit.train("toy", "gan", budget="smoke", out=tmp_path)
    hashes = {path: sha256(path) for path in tmp_path.rglob("*.*") if path.is_file()}
    assert srkit.train("toy", "gan", budget="smoke", out=tmp_path) == first
    srkit.train("toy", "pixel", budget="smoke", out=tmp_path)
    assert toy_recipe == ["pixel", "adversarial"]
    assert hashes == {path: sha256(path) for path in tmp_path.rglob("*.*") if path.is_file()}
    other = srkit.train("toy", "pixel", budget="smoke", out=tmp_path, seed=1)
    assert other.seed == 1
    assert toy_recipe == ["pixel", "adversarial", "pixel"]


def test_minutes_take_the_place_of_steps(toy_recipe, tmp_path):
    record = srkit.train("toy", "pixel", budget="smoke", out=tmp_path, minutes=0.001)
    (stage,) = record.stages
    assert stage.minutes >= 0.001
    assert record.minutes_a_stage == 0.001
    with pytest.raises(ValueError, match="differs: minutes_a_stage"):
        srkit.train("toy", "pixel", budget="smoke", out=tmp_path)


def test_reproduce_in_used_folders_is_refused_before_it_trains(toy_recipe, tmp_path):
    """Not in those that it has itself begun: "gan" trains "pixel" on its way."""
    how = {"budget": "smoke", "out": tmp_path, "resume": "never"}
    found = recipes.reproduce("toy", variants=("gan", "pixel"), **how)
    assert [[r.variant for r in records] for records in found] == [["gan"], ["pixel"]]
    assert toy_recipe == ["pixel", "adversarial"]
    with pytest.raises(ValueError, match="pixel-seed0 holds a run already: resume auto goes on"):
        recipes.reproduce("toy", variants=("pixel",), seeds=(1, 0), **how)
    assert toy_recipe == ["pixel", "adversarial"]
    with pytest.raises(ValueError, match="resume 'sometimes': auto or never"):
        recipes.reproduce("toy", budget="smoke", out=tmp_path, resume="sometimes")


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"name": "nothing"}, "there is no recipe 'nothing': one of .*rlfn"),
        ({"variant": "nothing"}, "RLFN has no variant 'nothing': one of rlfn, block-RFDB24"),
        ({"budget": "big"}, "RLFN has no budget 'big': one of smoke, laptop, gpu, paper"),
        ({"minutes": 0}, "minutes=0: expected a finite number above 0"),
        ({"minutes": float("nan")}, "minutes=nan: expected a finite number above 0"),
        ({"seed": -1}, "seed=-1: expected a whole number from 0"),
    ],
)
def test_settings_that_do_not_fit_are_told_before_any_work(how, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        srkit.train(**{"name": "rlfn", "budget": "smoke", "out": tmp_path} | how)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_the_recorded_runs_followed_the_plan_that_their_budget_has_now(name):
    """Field by field, or the ledger would compare runs of two plans as one experiment."""
    found = ledger.records(name)
    assert len(found) > 0
    assert [r.name for r in found if not recipes.follows_plan(r)] == []


def test_a_plan_is_all_that_was_asked_for(toy_recipe, tmp_path, monkeypatch):
    """Another loss, optimiser, network or constant is another plan, however small."""
    record = srkit.train("toy", "pixel", budget="smoke", out=tmp_path)
    assert recipes.follows_plan(record)
    (stage,) = pixel(Budget(data="procedural", tests=()))
    others = {
        "loss": loss_of(L1, weight=2.0), "network": Call(Enlarger, drop=0.1), "clip": 3.0,
        "optimizer": Call(torch.optim.SGD), "series": 1, "discriminator_rate": Halving(1e-3, 0.1),
    }  # fmt: skip
    for field, value in others.items():
        other = replace(stage, **{field: value})
        toy = replace(
            recipes.recipe("toy"), variants={"pixel": lambda b, o=other: [o]}, published={}
        )
        with monkeypatch.context() as changed:
            changed.setattr(recipes, "recipe", lambda name, toy=toy: toy)
            assert not recipes.follows_plan(record), field


def test_minutes_of_two_cores_reach_what_they_should():
    """RLFN-tiny on Set5, by the protocol classic; the later record's network is the zoo's."""
    few, more = Records.of("minutes")
    assert (few.minutes_a_stage, more.minutes_a_stage) == (5, 15)
    assert [few.machine["threads"], more.machine["threads"]] == [2, 2]
    assert few.metrics["Set5"]["psnr"] > 31.15
    assert more.metrics["Set5"]["psnr"] > 31.4
    said = model_info("rlfn_tiny_x4").weights["srkit"].psnr
    assert said == {test: round(m["psnr"], 2) for test, m in more.metrics.items()}


def test_gathering_runs_leaves_those_of_an_older_plan_behind(toy_recipe, tmp_path):
    recipes.train("toy", budget="smoke", out=tmp_path / "runs", device="cpu")
    recipes.collect(tmp_path / "runs", tmp_path / "data")
    path = tmp_path / "data/runs/toy.json"
    records = json.loads(path.read_text())
    old = [r | {"seed": 1, "plan": r["plan"] | {"tests": ["Set5"]}} for r in records]
    write_json(old, path)
    recipes.collect(tmp_path / "runs", tmp_path / "data")
    assert json.loads(path.read_text()) == records


@pytest.mark.parametrize("name", recipes.RECIPES)
@pytest.mark.parametrize("budget", ["laptop", "paper"])
def test_every_variant_comes_back_from_its_file_as_it_went_in(name, budget, tmp_path):
    """Built by its stage, saved, and rebuilt from the file alone: the same output to the bit."""
    from srkit.weights.save import save

    own = recipes.recipe(name)
    networks = {}
    for variant in own.variants:
        call = own.stages(variant, budget)[-1].network
        networks[json.dumps(as_json(call))] = variant, call
    for k, (variant, call) in enumerate(networks.values()):
        torch.manual_seed(k)
        model = call().eval()
        if sum(p.numel() for p in model.parameters()) > 3e6:
            continue  # the laptop's networks have the same code, and are small
        path = tmp_path / f"{k}.safetensors"
        save(model, path)
        again = load_checkpoint(path)
        assert type(again) is type(model), variant
        assert as_json(again.arguments) == as_json(model.arguments), variant
        lr = torch.rand(1, 3, 24, 20, generator=torch.Generator().manual_seed(1))
        with torch.inference_mode():
            assert torch.equal(again(lr), model(lr)), variant


def test_a_recorded_run_trained_again_tells_equal_from_unequal(toy_recipe, tmp_path, monkeypatch):
    from srkit.reports.reproduction import Reproduction

    record = srkit.train("toy", "pixel", budget="smoke", out=tmp_path / "a", device="cpu")
    record = replace(record, metrics={"Set5": {"psnr": 30.0}})
    same = Reproduction(record, record)
    assert same.equal
    assert same.reasons == []
    assert str(same).startswith("toy/smoke/pixel, seed 0: equal to the last digit")
    machine = record.machine | {"capability": "OTHER"}
    other = replace(record, metrics={"Set5": {"psnr": 30.25}}, machine=machine)
    differs = Reproduction(record, other)
    assert not differs.equal
    assert differs.differences == {("Set5", "psnr"): 0.25}
    here = record.machine["capability"]
    assert differs.reasons == [f"the machine's capability: {here} then, OTHER now"]
    assert "+2.50e-01" in str(differs)
    elsewhere = Reproduction(record, replace(record, data=(record.data or {}) | {"sha256": "f0"}))
    then = (record.data or {}).get("sha256")
    assert elsewhere.reasons == [f"the training pictures (hash): {then} then, f0 now"]


def test_a_shipped_record_is_trained_again_as_it_says(toy_recipe, tmp_path, monkeypatch):
    """Precision and threads are the record's; the figures of the same machine are the same."""
    record = srkit.train(
        "toy", "pixel", budget="smoke", out=tmp_path / "a", device="cpu", precision="float32"
    )
    monkeypatch.setattr(Records, "of", classmethod(lambda cls, name: Records([record])))
    again = recipes.reproduce_recorded("toy", "pixel", budget="smoke", out=tmp_path / "b")
    assert again.equal
    assert again.again.precision == "float32"
    assert again.again.stages[0].history[0]["loss"] == record.stages[0].history[0]["loss"]
    old = replace(record, plan=record.plan | {"tests": ["Set5"]})
    monkeypatch.setattr(Records, "of", classmethod(lambda cls, name: Records([old])))
    with pytest.raises(ValueError, match="followed another plan than the recipe has now"):
        recipes.reproduce_recorded("toy", "pixel", budget="smoke", out=tmp_path / "c")


# RLFN's


def test_rlfn_cyclic_warm_start_and_long_share_their_first_stage_or_not(tmp_path):
    """The comparison of the paper's Sec. 3.4, from nothing but code."""
    records = {
        name: srkit.train("rlfn", name, budget="smoke", out=tmp_path)
        for name in ("one-stage", "long", "cyclic", "warm-start")
    }
    losses = {
        name: [[row["loss"] for row in stage.history] for stage in record.stages]
        for name, record in records.items()
    }
    assert losses["one-stage"] == losses["cyclic"][:1]
    assert records["warm-start"].builds_on == ("one-stage",)
    assert losses["cyclic"][1] != losses["warm-start"][0]
    assert [stage.steps for stage in records["long"].stages] == [8]
    assert [stage.steps for stage in records["cyclic"].stages] == [4, 4]


@pytest.mark.parametrize("budget", recipes.recipe("rlfn").budgets)
def test_rlfn_s_restarted_schedules_see_the_crops_that_a_long_one_goes_on_to(budget):
    """Stages along what a variant builds on draw series 0, 1, 2 of the run's crops."""
    own = recipes.recipe("rlfn")
    for variant in own.variants:
        chain = [s for each in own.chain(variant, budget) for s in own.stages(each, budget)]
        assert [stage.series for stage in chain] == list(range(len(chain))), variant


def test_rlfn_ends_with_the_contrastive_loss(tmp_path):
    record = srkit.train("rlfn", budget="smoke", out=tmp_path)
    assert record.builds_on == ("warm-start",)
    (stage,) = record.stages
    assert stage.loss[0].endswith("contrastive")


class Far(torch.Tensor):
    """As if on another device: it can be brought here, and nothing else."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func is not torch.Tensor.cpu:
            raise RuntimeError("on another device")
        with torch._C.DisableTorchFunctionSubclass():
            return args[0].as_subclass(torch.Tensor)


def test_a_share_is_measured_wherever_the_crops_lie():
    """Crops on a GPU meet a network that is not there yet: the first batch comes to it."""
    near = Crops().batch(2, 8, torch.Generator().manual_seed(0))
    far = {k: near[k].as_subclass(Far) for k in ("lr", "hr")} | {"scale": 2}
    losses = []
    run = SimpleNamespace(
        seed=0,
        crops=lambda stage: SimpleNamespace(batch=lambda *a: far),
        fit=lambda stage, model, loss, crops, **how: losses.append(loss),
    )
    stage = replace(PIXEL, loss=Loss(((1.0, Call(L1)), (Share(0.1), JUDGED))))
    stage.train(run, None)
    assert losses[0].weights["adversarial"] > 0


@pytest.mark.parametrize(
    ("budget", "counts"),
    [
        ("laptop", [106_560, 87_912, 119_836, 115_164, 87_816, 89_883]),
        ("gpu", [581_952, 470_736, 571_580, 543_740, 543_740, 1_517_595]),
        ("paper", [581_952, 470_736, 571_580, 543_740, 543_740, 1_517_595]),
    ],
)
def test_rlfn_s_networks_are_those_of_its_records_and_of_the_paper(budget, counts):
    """The small ones as recorded runs have them; RLFN's ablation and EDSR's baseline."""
    blocks = ("RFDB24", "RFDBR24", "RFDBR28", "RLFB28")
    variants = [*(f"block-{block}" for block in blocks), "one-stage", "edsr-one-stage"]
    stages = [recipes.recipe("rlfn").stages(variant, budget)[0] for variant in variants]
    assert [sum(p.numel() for p in s.network().parameters()) for s in stages] == counts


@pytest.mark.parametrize("budget", ["gpu", "paper"])
@pytest.mark.parametrize("name", recipes.RECIPES)
def test_large_budgets_are_proven_with_what_is_at_hand(name, budget):
    """By benchmarks/recipes.py: the same stages, made short, with nothing that must be fetched."""
    path = Path(__file__).parents[2] / "benchmarks/recipes.py"
    spec = importlib.util.spec_from_file_location("benchmarks_recipes", path)
    spec.loader.exec_module(benchmark := importlib.util.module_from_spec(spec))
    own = recipes.recipe(name)
    for variant in own.chain(own.first, budget):
        whole = own.stages(variant, budget)
        short = [benchmark.shortened(stage) for stage in whole]
        assert [stage.steps for stage in short] == [min(2, stage.steps) for stage in whole]
        assert [stage.network for stage in short] == [stage.network for stage in whole]
        assert "torchvision" not in json.dumps([as_json(stage) for stage in short])


# small things


def test_the_hash_of_the_pictures_sees_pixels_shapes_and_order():
    a, b = torch.zeros(3, 4, 6, dtype=torch.uint8), torch.ones(3, 4, 6, dtype=torch.uint8)
    lists = ([a, b], [b, a], [a], [a.view(3, 6, 4), b])
    assert len({data_facts("", pictures)["sha256"] for pictures in lists}) == 4


def test_json_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "deep" / "a.json"
    write_json({"a": [1.5, None]}, path)
    with pytest.raises(TypeError):
        write_json({"a": object()}, path)
    assert json.loads(path.read_text()) == {"a": [1.5, None]}
    assert list(path.parent.iterdir()) == [path]


def test_recorded_runs_that_are_not_shipped_are_told():
    with pytest.raises(FileNotFoundError, match=r"ships no 'runs/nothing\.json'"):
        Records.of("nothing")
    assert data_path("runs/rlfn.json").exists()
