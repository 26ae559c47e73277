"""Trainings on a bad day: what was asked wrongly is refused first, what was learned is kept."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import nn
from toy import Crops, Discriminator, Enlarger, assert_same

import srkit
from srkit import recipes
from srkit.calls import Call
from srkit.datasets.patches import Patches
from srkit.losses import L1
from srkit.losses.adversarial import Adversarial
from srkit.losses.objectives import Standard, Wasserstein
from srkit.losses.terms import Sum
from srkit.metrics.features import Extractor
from srkit.training import checkpoints
from srkit.training.loop import fit
from srkit.training.run import Run, find_runs, unfinished_runs
from srkit.training.schedules import Constant, Cosine, Halving, Multistep, Warmup
from srkit.training.stage import Loss, Stage, loss_of

HOW = {"rate": Constant(1e-3), "batch": 2, "patch": 8, "steps": 2}
SMOKE = {"budget": "smoke", "device": "cpu"}


def grey(value: int = 99, side: int = 64) -> torch.Tensor:
    return torch.full((3, side, side), value, dtype=torch.uint8)


# ------------------------------------------------------------------ numbers and kinds


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"steps": -3}, "steps=-3: expected a whole number from 1"),
        ({"steps": 0}, "steps=0: expected a whole number from 1"),
        ({"steps": 2.5}, "steps=2.5: expected a whole number from 1"),
        ({"steps": True}, "steps=True: expected a whole number from 1"),
        ({"steps": None, "minutes": -1}, "minutes=-1: expected a finite number above 0"),
        ({"steps": None, "minutes": 0}, "minutes=0: expected a finite number above 0"),
        ({"steps": None, "minutes": float("nan")}, "minutes=nan: expected a finite number"),
        ({"steps": None}, "a budget is steps or minutes: got steps=None, minutes=None"),
        ({"minutes": 1}, "a budget is steps or minutes: got steps=2, minutes=1"),
        ({"batch": 0}, "batch=0: expected a whole number from 1"),
        ({"patch": 0}, "patch=0: expected a whole number from 1"),
        ({"patch": 99}, "crops of 99 px are larger than every LR picture"),
        ({"validate_every": 0}, "validate_every=0: expected a whole number from 1"),
        ({"save_every": -1}, "save_every=-1: expected a whole number from 1"),
        ({"seed": -1}, "seed=-1: expected a whole number from 0"),
        ({"seed": 10**20}, "seed=100000000000000000000: expected a number below 4.29497e+09"),
        ({"seed": 1.0}, "seed=1.0: expected a whole number from 0"),
        ({"clip": 0}, "clip=0: expected a finite number above 0"),
        ({"clip": float("inf")}, "clip=inf: expected a finite number above 0"),
        ({"ema": 1.0}, "ema=1.0: expected a number below 1"),
        ({"ema": -0.5}, "ema=-0.5: expected a finite number above 0"),
        ({"precision": "fp16"}, "precision 'fp16': choose auto, float32 or bfloat16"),
        ({"rate": lambda done: float("nan")}, "rate at 0=nan: expected a number from 0"),
        ({"rate": lambda done: -done}, "rate at 0.5=-0.5: expected a number from 0"),
        ({"rate": lambda done: "fast"}, "rate at 0='fast': expected a number from 0"),
    ],
)
def test_a_number_out_of_range_is_refused_before_the_first_crop(wrong, words):
    crops = Crops()
    with pytest.raises(ValueError, match=re.escape(words)):
        fit(Enlarger(), L1(), crops, **{**HOW, **wrong})
    assert crops.asked <= (wrong == {"patch": 99})


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"rate": 1e-3}, r"rate=0\.001: a function .* Constant\(0\.001\) of srkit\.training"),
        ({"discriminator_rate": 1}, r"discriminator_rate=1: a function .*Constant\(1\)"),
        ({"loss": nn.L1Loss()}, r"loss is a L1Loss: a srkit loss is expected, as L1\(\)"),
        ({"loss": None}, "loss is a NoneType: a srkit loss is expected"),
        ({"crops": [grey()]}, r"crops is a list: Patches\(pictures, scale\) is expected"),
        ({"model": nn.Conv2d(3, 3, 1)}, r"Conv2d does not say what it enlarges by: wrap it"),
        ({"forward": lambda net, batch: net(batch["lr"])}, r"forward returned a Tensor: \(sr, in"),
        ({"forward": lambda net, batch: None}, r"forward returned a NoneType: \(sr, inputs\)"),
        (
            {"forward": lambda net, batch: (net(batch["lr"]), [])},
            r"forward returned a tuple: \(sr,",
        ),
        (
            {"forward": lambda net, batch: ([net(batch["lr"])], {})},
            "the network returned a list",
        ),
        ({"optimizer": torch.optim.Adam}, "optimizer is <class .*: one that steps by gradients al"),
        ({"optimizer": torch.optim.LBFGS(Enlarger().parameters())}, "optimizer is LBFGS"),
        ({"validate": {"psnr": 30.0}}, "validate is a dict: a function is expected"),
        ({"report": []}, "report is a list: a function is expected"),
        ({"validate": lambda net: None}, "validate returned a NoneType: a dictionary of numbers"),
        ({"validate": lambda net: 30.0}, "validate returned a float: a dictionary of numbers"),
        ({"validate": lambda net: {"psnr": "x"}}, "validate returned 'psnr': 'x', where a number"),
    ],
    ids=lambda x: ", ".join(x) if isinstance(x, dict) else "",
)
def test_another_kind_of_thing_is_refused_in_a_sentence(wrong, words):
    given = {"model": Enlarger(), "loss": L1(), "crops": Crops()} | HOW | wrong
    with pytest.raises(TypeError, match=words):
        fit(given.pop("model"), given.pop("loss"), given.pop("crops"), **given)


@pytest.mark.parametrize("name", ["step", "loss", "L1", "minutes"])
def test_what_is_measured_does_not_take_the_place_of_what_every_row_has(name, tmp_path):
    """A record whose step was a measured number could not be read again."""
    with pytest.raises(ValueError, match=f"validate returned {name!r}, which every row of the his"):
        fit(Enlarger(), L1(), Crops(), **HOW, validate=lambda net: {name: 7.5}, validate_every=1)


def frozen() -> Enlarger:
    return Enlarger().requires_grad_(False)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model": frozen()}, "has no parameter that learns: model.requires_grad_(True) lets all"),
        (
            {"optimizer": torch.optim.Adam(Enlarger().parameters())},
            "the optimizer has no param",
        ),
        ({"loss": Sum([])}, "loss has no term: there is nothing to learn from"),
    ],
    ids=["frozen", "of another network", "no loss"],
)
def test_a_training_that_would_change_nothing_is_refused(change, words):
    """With the optimizer of another network it went on to the end, and nothing was learned."""
    crops = Crops()
    given = {"model": Enlarger(), "loss": L1()} | HOW | change
    with pytest.raises(ValueError, match=re.escape(words)):
        fit(given.pop("model"), given.pop("loss"), crops, **given)
    assert crops.asked == 0


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Constant(-1e-3), "rate=-0.001: expected a number from 0"),
        (lambda: Constant(float("inf")), "rate=inf: expected a finite number from 0"),
        (lambda: Constant(None), "rate=None: expected a finite number from 0"),
        (lambda: Halving(1e-3, every=0), "every=0: expected a finite number above 0"),
        (lambda: Halving(1e-3, every=-0.2), "every=-0.2: expected a finite number above 0"),
        (lambda: Halving(1e-3, every=200_000), "every=200000: a share of the stage is expected"),
        (lambda: Multistep(1e-3, at=(0.5, 250_000)), "at=250000: a share of the stage is expected"),
        (lambda: Multistep(1e-3, at=(float("nan"),)), "at=nan: expected a number from 0"),
        (lambda: Multistep(1e-3, at=(0.5,), factor=-1), "factor=-1: expected a number from 0"),
        (lambda: Cosine(1e-3, floor=-1e-5), "floor=-1e-05: expected a number from 0"),
        (lambda: Cosine(1e-3, periods=0), "periods=0: expected a whole number from 1"),
        (lambda: Cosine(1e-3, periods=1.5), "periods=1.5: expected a whole number from 1"),
        (lambda: Warmup(Constant(1e-3), share=500), "share=500: a share of the stage is expected"),
        (lambda: Warmup(Constant(1e-3), share=None), "share=None: expected a finite number"),
    ],
)
def test_a_schedule_of_steps_or_of_nothing_is_refused(make, words):
    """A drop at step 250,000 never came; halved after less than nothing, the rate grew."""
    with pytest.raises(ValueError, match=re.escape(words)):
        make()


def test_a_schedule_is_made_of_schedules_and_shares():
    with pytest.raises(TypeError, match=r"then=0\.001: a schedule is expected, as Constant\(1e"):
        Warmup(1e-3)  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match=r"at=0\.5: a tuple of shares is expected, as \(0\.5"):
        Multistep(1e-3, at=0.5)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("count", "size", "part", "words"),
    [
        (0, 8, (0, 1), "count=0: expected a whole number from 1"),
        (-1, 8, (0, 1), "count=-1: expected a whole number from 1"),
        (2, 0, (0, 1), "size=0: expected a whole number from 1"),
        (2, 8.0, (0, 1), "size=8.0: expected a whole number from 1"),
        (4, 8, (2, 2), "part=(2, 2): expected (i, n), the i-th of n, with i from 0 to n - 1"),
        (4, 8, (-1, 2), "part=(-1, 2): expected (i, n)"),
    ],
)
def test_a_batch_of_nothing_is_refused(count, size, part, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        Patches([grey()], 2).batch(count, size, torch.Generator(), part)


def test_a_folder_that_is_a_file_is_refused_before_the_first_crop(tmp_path):
    (tmp_path / "file").touch()
    crops = Crops()
    with pytest.raises(ValueError, match="file is a file, no folder: choose another place"):
        fit(Enlarger(), L1(), crops, **HOW, folder=tmp_path / "file")
    assert crops.asked == 0


@pytest.mark.parametrize(
    ("pictures", "scale", "words"),
    [
        ([], 4, "0 pictures, 1 scales: nothing to cut"),
        ([grey()], (), "1 pictures, 0 scales: nothing to cut"),
        ([grey()], 0, "scale=0: expected a whole number from 1"),
        ([grey()], (2, -2), "scale=-2: expected a whole number from 1"),
        ([grey()], 2.0, r"scale=2\.0: expected a whole number from 1"),
        ([grey().float()], 2, r"a picture is torch\.float32 \(3, 64, 64\), expected uint8"),
    ],
)
def test_crops_of_nothing_are_refused(pictures, scale, words):
    with pytest.raises(ValueError, match=words):
        Patches(pictures, scale)


def test_minutes_that_are_up_before_the_first_step_are_one_step():
    """As 0.001 minutes are on a machine that is busy with other work."""
    history = fit(Enlarger(), L1(), Crops(), **{**HOW, "steps": None}, minutes=1e-9)
    assert [row["step"] for row in history] == [1]


def test_a_folder_may_be_a_text(tmp_path):
    history = fit(Enlarger(), L1(), Crops(), **HOW, folder=str(tmp_path / "a"))
    assert history[-1]["step"] == 2
    assert checkpoints.found(tmp_path / "a")


# ------------------------------------------------------------------ what was learned is kept


def test_what_a_checkpoint_could_not_give_back_is_refused_at_the_first(tmp_path):
    class Odd(torch.optim.SGD):
        def state_dict(self):
            return super().state_dict() | {"note": Path("a")}

    model = Enlarger()
    with pytest.raises(TypeError, match=r"could not be read back .*may hold tensors, numbers and"):
        fit(model, L1(), Crops(), **HOW, optimizer=Odd(model.parameters()), folder=tmp_path)
    assert not list(tmp_path.iterdir())


def test_numbers_of_any_kind_come_out_of_a_checkpoint(tmp_path):
    odd = {"a": np.float32(0.5), "b": torch.tensor(0.25), "c": True, "d": np.int64(3)}
    fit(Enlarger(), L1(), Crops(), **HOW, validate=lambda net: odd, folder=tmp_path)
    (row,) = checkpoints.load_latest(tmp_path)["history"]
    assert [row[name] for name in "abcd"] == [0.5, 0.25, 1.0, 3.0]


def test_a_validation_that_fails_loses_no_step(tmp_path):
    """The next call begins where it failed, and ends as if nothing had happened."""
    how = HOW | {"steps": 6, "validate_every": 2, "seed": 3}

    def trained(folder, validate):
        torch.manual_seed(0)
        model = Enlarger(0.2)
        return model, fit(model, L1(), Crops(), **how, validate=validate, folder=folder)

    looks = []

    def fails(net):
        looks.append(net)
        if len(looks) == 2:
            raise FileNotFoundError("the test set went away")
        return {"psnr": 30.0}

    model, history = trained(tmp_path / "a", lambda net: {"psnr": 30.0})
    with pytest.raises(FileNotFoundError, match="went away"):
        trained(tmp_path / "b", fails)
    assert checkpoints.load_latest(tmp_path / "b")["step"] == 4
    again, rows = trained(tmp_path / "b", fails)
    assert_same(again.state_dict(), model.state_dict())
    assert [row["step"] for row in rows] == [row["step"] for row in history] == [2, 4, 6]


class Changed(Enlarger):
    def __init__(self):
        super().__init__()
        self.more = nn.Parameter(torch.full((1,), torch.nan))


@pytest.mark.parametrize("network", [Changed], ids=lambda n: n.__name__)
def test_a_network_that_cannot_be_saved_is_refused_before_it_is_trained(network, tmp_path):
    crops = Crops()
    stage = Stage(
        name="pixel", network=Call(network), loss=loss_of(L1), data="noise", scale=2, steps=2,
        batch=2, patch=8, rate=Constant(1e-3), crops=Call(lambda data, scale, device: crops),
    )  # fmt: skip
    run = Run(tmp_path, {"recipe": "toy", "variant": "x", "budget": "smoke"}, device="cpu")
    with pytest.raises(ValueError, match="more cannot be saved: it holds NaN"):
        stage.train(run, None)
    assert crops.asked == 0


# ------------------------------------------------------------------ looked for first


def test_a_missing_test_set_is_noticed_before_the_training(tmp_path, monkeypatch):
    monkeypatch.setenv("SRKIT_HOME", str(tmp_path / "nothing"))
    monkeypatch.setenv("SRKIT_CACHE", str(tmp_path / "cache"))
    data = tmp_path / "mine"
    srkit.write_image(torch.rand(3, 200, 200), data / "a.png")
    with pytest.raises(FileNotFoundError, match="Set5"):
        recipes.train("rlfn", "one-stage", budget="laptop", data=data, out=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_a_missing_extractor_is_noticed_before_the_stages_that_come_first():
    def gone(**named):
        raise FileNotFoundError("VGG-19 is not at hand")

    stage = Stage(
        name="second", network=Call(Enlarger), loss=Loss(((1.0, Call(gone)),)), data="procedural",
        scale=2, steps=2, batch=2, patch=8, rate=Constant(1e-3),
    )  # fmt: skip
    with pytest.raises(FileNotFoundError, match="VGG-19 is not at hand"):
        stage.look_first()


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_every_stage_can_be_looked_at_without_training(name):
    for variant in recipes.recipe(name).variants:
        for stage in recipes.recipe(name).stages(variant, "smoke"):
            if isinstance(stage, Stage):
                before = torch.get_rng_state()
                with suppress(FileNotFoundError):  # a trunk that is not on this machine
                    stage.look_first()
                assert torch.equal(torch.get_rng_state(), before)


# ------------------------------------------------------------------ a failed start, another path


def test_a_start_that_failed_does_not_bind_its_folder(tmp_path):
    for wrong in ("fp16", "half"):
        with pytest.raises(ValueError, match="choose auto, float32 or bfloat16"):
            recipes.train("rlfn", "one-stage", out=tmp_path, precision=wrong, **SMOKE)
    record = recipes.train("rlfn", "one-stage", out=tmp_path, **SMOKE)
    assert record.stages
    with pytest.raises(ValueError, match=r'\(differs: precision \("auto" then, "float32" now\)\)'):
        recipes.train("rlfn", "one-stage", out=tmp_path, precision="float32", **SMOKE)


def test_a_start_that_failed_is_no_run_to_go_on_with(tmp_path, monkeypatch):
    """`resume never` refused the folder for good."""

    def full(*_, **__):
        raise RuntimeError("out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(Patches, "batch", full)
        with pytest.raises(RuntimeError, match="out of memory"):
            recipes.train("rlfn", "one-stage", out=tmp_path, **SMOKE)
    assert recipes.train("rlfn", "one-stage", out=tmp_path, resume="never", **SMOKE)
    with pytest.raises(ValueError, match="holds a run already: resume auto goes on with it"):
        recipes.train("rlfn", "one-stage", out=tmp_path, resume="never", **SMOKE)


def test_pictures_smaller_than_the_crops_of_any_stage_are_noticed_first(tmp_path, monkeypatch):
    """Those of the last stage were noticed after the training of the first."""
    (tmp_path / "p").mkdir()
    srkit.write_image(torch.rand(3, 3, 3), tmp_path / "p" / "dot.png")
    (tmp_path / "p" / "bad.png").write_bytes(b"no picture")
    monkeypatch.setattr(Stage, "train", pytest.fail)
    with pytest.raises(ValueError, match=r"crops of \d+ px are larger than every LR picture \(the"):
        recipes.train("rlfn", "one-stage", data=str(tmp_path / "p"), out=tmp_path / "r", **SMOKE)
    assert not (tmp_path / "r").exists()


def test_weights_that_are_gone_are_told_as_those_of_a_finished_run(tmp_path):
    recipes.train("idn", "idn", out=tmp_path, **SMOKE)
    (weights,) = tmp_path.glob("idn/smoke/L1-seed0/model.safetensors")
    weights.unlink()
    shutil.rmtree(tmp_path / "idn" / "smoke" / "idn-seed0")
    with pytest.raises(FileNotFoundError, match=r"L1-seed0 is finished, and its model\.saf"):
        recipes.train("idn", "idn", out=tmp_path, **SMOKE)


def test_a_folder_with_a_slash_behind_it_is_the_same_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("d", "e"):
        srkit.write_image(torch.rand(3, 200, 200), Path(name) / "a.png")
    first = recipes.train("rlfn", "one-stage", data="d/+e", **SMOKE)
    assert recipes.train("rlfn", "one-stage", data="d + e/", **SMOKE) == first


# ------------------------------------------------------------------ lists of runs


def test_one_damaged_record_hides_no_other_and_what_is_not_finished_is_told(tmp_path):
    recipes.train("rlfn", "one-stage", out=tmp_path, **SMOKE)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "run.json").write_text("{")
    stopped = tmp_path / "b" / "stage-1"
    stopped.mkdir(parents=True)
    (tmp_path / "b" / "asked.json").write_text("{}")
    checkpoints.save(stopped, 1500, {"step": 1500})
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "asked.json").write_text("{}")
    with pytest.warns(UserWarning, match=r"a/run\.json is damaged"):
        assert [record.variant for record in find_runs(tmp_path)] == ["one-stage"]
    assert unfinished_runs(tmp_path) == {
        tmp_path / "b": "stage 1 at step 1,500",
        tmp_path / "c": "no checkpoint yet",
    }


def test_runs_are_found_through_links_and_copies_of_checkpoints_are_passed_over(tmp_path):
    """As where the runs lie on another disk, and a checkpoint was put aside by hand."""
    recipes.train("rlfn", "one-stage", out=tmp_path / "elsewhere", **SMOKE)
    stopped = tmp_path / "elsewhere" / "b" / "stage-0"
    stopped.mkdir(parents=True)
    (stopped.parent / "asked.json").write_text("{}")
    for step in (100_000_000, 99_999_999):
        (stopped / f"checkpoint-{step}.pt").touch()
    (stopped / "checkpoint-100000001 (copy).pt").touch()
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "mine").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "runs" / "again").symlink_to(tmp_path / "runs")
    assert len(find_runs(tmp_path / "runs")) == 1
    (how_far,) = unfinished_runs(tmp_path / "runs").values()
    assert how_far == "stage 0 at step 100,000,000"


GATHER = """
import sys
from srkit import recipes
recipes.collect(sys.argv[1], sys.argv[2])
"""


def test_of_several_that_gather_at_once_none_loses_what_another_wrote(tmp_path, monkeypatch):
    for name in ("a", "b"):
        seed = "ab".index(name)
        recipes.train("rlfn", "one-stage", out=tmp_path / name, seed=seed, **SMOKE)
    recipes.train("rlfn", "one-stage", out=tmp_path / "c", **SMOKE)
    (tmp_path / "both").mkdir()
    for name in ("a", "c"):
        (tmp_path / "both" / name).symlink_to(tmp_path / name)
    with pytest.raises(ValueError, match=r"are both rlfn/smoke/one-stage, seed 0: move one away"):
        recipes.collect(tmp_path / "both", tmp_path / "data")
    read = recipes.Records.read

    def slowly(path):  # while this one has read and not written, the other one comes
        found = read(path)
        other.append(subprocess.Popen([sys.executable, "-c", GATHER, tmp_path / "b", data]))
        with suppress(subprocess.TimeoutExpired):
            other[0].wait(timeout=8)
        return found

    other, data = [], tmp_path / "data"
    (data / "runs").mkdir(parents=True)
    (data / "runs" / "rlfn.json").write_text("[]")
    monkeypatch.setattr(recipes.Records, "read", slowly)
    recipes.collect(tmp_path / "a", data)
    assert other[0].wait(timeout=120) == 0
    assert [record.seed for record in read(data / "runs" / "rlfn.json")] == [0, 1]


# ------------------------------------------------------------------ two at once

TWICE = """
import sys
from srkit import recipes
try:
    recipes.train("rlfn", "one-stage", budget="smoke", device="cpu", out=sys.argv[1])
except RuntimeError as error:
    sys.exit(f"refused: {error}")
"""


@pytest.mark.parametrize("count", [2, 5])
def test_of_several_processes_in_one_folder_one_trains(count, tmp_path):
    """The others are refused, or find it finished; nothing is trained twice."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", TWICE, tmp_path], env=environment, stderr=subprocess.PIPE
        )
        for _ in range(count)
    ]
    said = [process.communicate(timeout=300)[1].decode() for process in started]
    codes = [process.returncode for process in started]
    assert 0 in codes
    for code, text in zip(codes, said, strict=True):
        assert code == 0 or "refused: another process trains in" in text, text
    (run,) = find_runs(tmp_path)
    assert not list(tmp_path.rglob("lock"))
    assert not list(tmp_path.rglob("*.tmp"))
    with safe_open(tmp_path / "rlfn/smoke/one-stage-seed0/model.safetensors", "pt") as file:
        assert json.loads(file.metadata()["provenance"])["variant"] == run.variant


# ------------------------------------------------------------------ the smallest picture


@pytest.mark.parametrize("name", ["alexnet", "squeezenet", "vgg16", "vgg19"])
def test_the_least_size_of_every_layer_is_told_and_right(name):
    """One pixel less leaves nothing."""
    bodies = {
        "vgg19": "vgg19", "vgg16": "vgg16", "alexnet": "alexnet", "squeezenet": "squeezenet1_1"
    }  # fmt: skip
    layers = small_extractor(bodies[name])
    for layer in layers.layers:
        least = layers.least_size(layer)
        assert layers(torch.rand(1, 3, least, least), layer)[layer].numel()
        if least > 1:
            said = rf"at least {least}x{least} pixels for .*, got {least - 1}x40: take larger"
            with pytest.raises(ValueError, match=said):
                layers(torch.rand(1, 3, least - 1, 40), layer)
            assert not leaves(layers, layer, least - 1)


def leaves(extractor: Extractor, layer: str, side: int) -> bool:
    """Whether a layer gives anything for a picture that is so low, asked of its modules."""
    x = torch.rand(1, 3, side, 40)
    try:
        for each in extractor.layers[: extractor.layers.index(layer) + 1]:
            x = extractor.body[each](x)
    except RuntimeError:
        return False
    return x.numel() > 0


def small_extractor(network):
    """The extractor's layers with random weights: only sizes are asked for."""
    import torchvision.models

    made = getattr(torchvision.models, network)(weights=None).features
    layers = {f"layer{k}": module for k, module in enumerate(made)}
    weights = nn.ModuleDict(layers).state_dict()
    return Extractor(
        layers, weights, name=network, sha256="0" * 64, mean=(0.5,) * 3, std=(0.5,) * 3
    )


def test_a_gradient_penalty_refuses_batch_norm():
    judge = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 1, 3))
    with pytest.raises(ValueError, match="has batch norm, which mixes the samples of a batch"):
        Adversarial(judge, Wasserstein())
    assert Adversarial(Discriminator(), Wasserstein())
    assert Adversarial(judge, Standard())
