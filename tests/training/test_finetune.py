"""Fine-tuning on pictures of one's own: what it promises, on networks that learn in a second."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn
from toy import Discriminator, Enlarger, assert_same, ended
from typer.testing import CliRunner

import srkit
from srkit.cli import app
from srkit.image.degrade import (
    Blur,
    Degradation,
    Gaussian,
    KernelFile,
    Shrink,
    bicubic,
    generator_of,
    make_lr,
    real,
)
from srkit.image.io import read_image, write_image
from srkit.image.tensors import round_8bit
from srkit.losses import L1
from srkit.losses.adversarial import Adversarial
from srkit.losses.objectives import Standard
from srkit.reports.gain import Gain, gain
from srkit.reports.summary import summary
from srkit.training.finetune import DISCRIMINATORS, Tuning, finetune, loss_of_weights
from srkit.training.record import read_record
from srkit.training.run import unfinished_runs
from srkit.training.schedules import Constant
from srkit.weights.load import load_weights

HOW = {"steps": 6, "batch": 2, "patch": 8, "validate_every": 2, "rate": Constant(2e-3)}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Twelve pictures of 48x60, and LR of the same names beside them; two more to measure on."""
    folder, cat = tmp_path_factory.mktemp("own"), srkit.samples()["chelsea"]
    for k in range(14):
        hr = round_8bit(cat[:, 15 * k : 15 * k + 48, 20 * k : 20 * k + 60])
        kind = "photos" if k < 12 else "val"
        write_image(hr, folder / kind / f"p{k:02}.png")
        write_image(make_lr(hr, 2), folder / f"{kind}-lr" / f"p{k:02}.png")
    return folder


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Four pictures of 80x96."""
    folder, cat = tmp_path_factory.mktemp("large") / "photos", srkit.samples()["chelsea"]
    for k in range(4):
        write_image(cat[:, 30 * k : 30 * k + 80, 40 * k : 40 * k + 96], folder / f"p{k:02}.png")
    return folder


def toy() -> Enlarger:
    torch.manual_seed(0)
    return Enlarger()


def tune(photos, out, model=None, **how):
    model = toy() if model is None else model
    if not {"hr", "pairs"} & how.keys():
        how = {"hr": photos / "photos"} | how
    return finetune(model, **(HOW | {"out": out, "device": "cpu"} | how)), model


@pytest.fixture(scope="module")
def done(photos, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    record, model = tune(photos, out)
    return record, model, out / "finetune/toy/photos-seed0"


# ------------------------------------------------------------------ what it leaves


def test_the_record_says_what_was_asked_and_what_came_of_it(done, photos):
    record, _, folder = done
    assert record == read_record(folder / "run.json")
    assert (record.recipe, record.variant, record.budget) == ("finetune", "toy", "photos")
    (stage,) = record.plan["stages"]
    assert (stage["batch"], stage["patch"], stage["steps"]) == (2, 8, 6)
    assert record.plan["keep"] == "best"
    assert record.plan["validation"]["pictures"] == 2  # every tenth of twelve
    assert [name[-7:] for name in stage["crops"]["held_out"]] == ["p00.png", "p10.png"]
    assert record.data["pictures"] == 10
    assert record.data["name"] == str(photos / "photos")
    assert len(record.start["sha256"]) == 64
    assert record.pictures["start"].keys() == record.pictures["end"].keys() == {"p00", "p10"}
    assert record.baselines["val"].keys() == {"start", "bicubic"}
    start = record.baselines["val"]["start"]["psnr"]
    assert start == pytest.approx(sum(record.pictures["start"].values()) / 2)
    assert record.kept_step in (0, 2, 4, 6)
    assert sorted(p.name for p in (folder / "samples").iterdir()) == ["p00.png", "p10.png"]


def test_the_network_in_hand_is_the_one_that_was_saved(done):
    record, model, folder = done
    fresh = toy()
    load_weights(fresh, folder / "model.safetensors")
    assert_same(fresh.state_dict(), model.state_dict())
    best = max(row["psnr"] for row in record.stages[0].history)
    assert record.metrics["val"]["psnr"] == pytest.approx(
        max(best, record.baselines["val"]["start"]["psnr"]), abs=1e-4
    )


def test_a_list_of_runs_has_it(done):
    assert "finetune/photos/toy" in str(summary([done[0]]))


def test_what_is_finished_is_read_not_done_again(done, photos, monkeypatch):
    record, model, folder = done
    monkeypatch.setattr(Tuning, "_train", None)  # calling it would fail
    again, other = tune(photos, folder.parents[2])
    assert again == record
    assert_same(other.state_dict(), model.state_dict())


def test_an_untouched_start_has_one_hash_and_another_start_is_refused(done, photos):
    torch.manual_seed(1)
    with pytest.raises(ValueError, match=r"differs: start\.sha256\): take another folder"):
        tune(photos, done[2].parents[2], model=Enlarger())


# ------------------------------------------------------------------ stop, go on, extend


def stopped(photos, out, monkeypatch, at, **how):
    """The same training, stopped in its `at`-th validation by an error, then gone on with."""
    looks, validated = [], Tuning.validated

    def failing(self, model):
        looks.append(1)
        if len(looks) == at:
            raise OSError("the disk went away")
        return validated(self, model)

    monkeypatch.setattr(Tuning, "validated", failing)
    with pytest.raises(OSError, match="the disk went away"):
        tune(photos, out, **how)
    assert unfinished_runs(out)
    return tune(photos, out, **how)


@pytest.mark.parametrize(
    "how", [{}, {"degrade": real(2), "ema": 0.8, "accumulate": 2}], ids=["plain", "degraded"]
)
def test_a_run_that_was_stopped_ends_with_the_same_bits(photos, tmp_path, monkeypatch, how):
    whole, model = tune(photos, tmp_path / "whole", **how)
    record, other = stopped(photos, tmp_path / "stopped", monkeypatch, 2, **how)
    assert_same(other.state_dict(), model.state_dict())
    assert record.pictures == whole.pictures
    rows = [[row["loss"] for row in r.stages[0].history] for r in (whole, record)]
    assert rows[0] == rows[1]


def test_against_a_discriminator_it_goes_on_with_the_same_bits(photos, tmp_path, monkeypatch):
    def how():
        torch.manual_seed(3)
        return {"loss": L1() + 0.1 * Adversarial(Discriminator(), Standard()), "keep": "last",
                "from_scratch": True}  # fmt: skip

    whole, model = tune(photos, tmp_path / "whole", **how())
    looks, validated = [], Tuning.validated

    def failing(self, model):
        looks.append(1)
        if len(looks) == 2:
            raise OSError("stop")
        return validated(self, model)

    monkeypatch.setattr(Tuning, "validated", failing)
    with pytest.raises(OSError, match="stop"):
        tune(photos, tmp_path / "stopped", **how())
    _, other = tune(photos, tmp_path / "stopped", **how())
    assert_same(other.state_dict(), model.state_dict())
    assert (tmp_path / "stopped/finetune/toy/photos-seed0/discriminators.safetensors").exists()
    assert whole.stages[0].loss[0] == "L1 + 0.1 adversarial"


def test_a_finished_run_is_extended_as_if_it_had_been_longer(photos, tmp_path):
    """At a constant rate, 4 steps and then 4 more are 8 steps, to the last bit."""
    long, model = tune(photos, tmp_path / "long", steps=8, keep="last")
    tune(photos, tmp_path / "short", steps=4, keep="last")
    record, other = tune(photos, tmp_path / "short", steps=8, keep="last")
    assert_same(other.state_dict(), model.state_dict())
    assert [row["step"] for row in record.stages[0].history] == [2, 4, 6, 8]
    assert record.pictures == long.pictures
    folder = tmp_path / "short/finetune/toy/photos-seed0"
    assert read_record(folder / "run-4-steps.json").stages[0].steps == 4
    with pytest.raises(ValueError, match="holds a run of 8 steps, 4 steps are asked for: it can"):
        tune(photos, tmp_path / "short", steps=4, keep="last")
    with pytest.raises(ValueError, match="holds a run of 8 steps, 1 minutes are asked for"):
        tune(photos, tmp_path / "short", steps=None, minutes=1.0, keep="last")


def test_other_settings_are_refused_with_both_values(done, photos):
    with pytest.raises(
        ValueError, match=r"differs: plan\.stages\.0\.batch \(2 then, 4 now\)\): take another"
    ):
        tune(photos, done[2].parents[2], batch=4)


def test_another_folder_of_the_same_name_is_refused(done, photos, tmp_path):
    cat = srkit.samples()["chelsea"]
    for k in range(12):
        write_image(cat[:, k : k + 48, :60], tmp_path / "photos" / f"p{k:02}.png")
    with pytest.raises(ValueError, match="holds a run that was asked for otherwise"):
        tune(photos, done[2].parents[2], hr=tmp_path / "photos")


def words_of(large, out, steps):
    """The command's words of a fine-tuning of RLFN-tiny, and its run's folder."""
    torch.manual_seed(0)
    srkit.save(srkit.create_model("rlfn_tiny_x4"), out / "tiny.safetensors")
    words = [
        "-m", "srkit", "finetune", out / "tiny.safetensors", "--hr", large, "--steps", steps,
        "--batch", 2, "--patch", 16, "--validate-every", 5, "--keep", "last", "--device", "cpu",
        "--precision", "float32", "--degrade", "real", "--out", out,
    ]  # fmt: skip
    return [*map(str, words)], out / "finetune/rlfn_tiny_x4/photos-seed0"


def in_this_process(words):
    done = CliRunner().invoke(app, words[2:])
    assert done.exit_code == 0, done.output


def begun(command):
    """Another process, with one thread and this package."""
    root = str(Path(srkit.__file__).parents[1])
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]),
    }
    return subprocess.Popen([sys.executable, *command], env=environment)


def test_a_killed_process_is_gone_on_with_by_another_with_the_same_bits(large, tmp_path):
    words, folder = words_of(large, tmp_path, 60)
    process = begun(words)
    try:
        for _ in range(2400):
            if list(folder.glob("stage-0/checkpoint-*.pt")) or process.poll() is not None:
                break
            time.sleep(0.05)
        process.kill()
        assert process.wait() < 0, "it ended before it could be killed"
    finally:
        process.kill()
    assert not (folder / "run.json").exists()
    in_this_process(words)
    (tmp_path / "whole").mkdir()
    whole, other = words_of(large, tmp_path / "whole", 60)
    in_this_process(whole)
    names = [f"{each}/model.safetensors" for each in (folder, other)]
    assert_same(*(srkit.load_checkpoint(name).state_dict() for name in names))


def test_two_processes_learn_what_one_learns(large, tmp_path):
    words, folder = words_of(large, tmp_path, 4)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    assert ended(begun([*launcher, *words]), 600) == 0
    (tmp_path / "alone").mkdir()
    alone, other = words_of(large, tmp_path / "alone", 4)
    in_this_process(alone)
    assert read_record(folder / "run.json").stages[0].processes == 2
    together = srkit.load_checkpoint(folder / "model.safetensors").state_dict()
    for name, value in srkit.load_checkpoint(other / "model.safetensors").state_dict().items():
        torch.testing.assert_close(together[name], value, atol=2e-5, rtol=0, msg=name)


# ------------------------------------------------------------------ what it learns from


def test_pictures_to_measure_on_are_never_learned_from(photos, tmp_path):
    for k in (0, 1, 5):
        picture = read_image(photos / "photos" / f"p{k:02}.png")
        write_image(picture, tmp_path / ("hr" if k == 1 else "hr/val") / f"{k}.png")
    with pytest.warns(UserWarning, match=r"2 pictures of .* are in val, too: they are not learned"):
        record, _ = tune(photos, tmp_path, hr=tmp_path / "hr", val=tmp_path / "hr/val", steps=1)
    assert record.data["pictures"] == 1
    assert record.plan["validation"]["pictures"] == 2


def test_pairs_of_files_are_learned_and_measured(photos, tmp_path):
    record, _ = tune(
        photos, tmp_path, steps=2,
        pairs=(photos / "photos", photos / "photos-lr"), val=(photos / "val", photos / "val-lr"),
    )  # fmt: skip
    assert record.data["pictures"] == 24  # HR and LR are hashed
    assert record.pictures["start"].keys() == {"p12", "p13"}
    held, _ = tune(photos, tmp_path / "b", steps=2, pairs=(photos / "photos", photos / "photos-lr"))
    assert held.data["pictures"] == 20
    assert held.pictures["start"].keys() == {"p00", "p10"}


def test_shifted_pairs_are_refused_before_any_work(photos, tmp_path):
    cat = srkit.samples()["chelsea"]
    for k in range(4):
        hr = cat[:, 60 + k : 200 + k, 100 + k : 260 + k]
        write_image(hr, tmp_path / "hr" / f"{k}.png")
        write_image(hr[:, ::2, ::2], tmp_path / "lr" / f"{k}.png")
    pairs = (tmp_path / "hr", tmp_path / "lr")
    with pytest.raises(ValueError, match=r"LR is shifted against HR in 4 of 4 .* \+0\.2\d pixels"):
        tune(photos, tmp_path, pairs=pairs)
    assert not (tmp_path / "finetune").exists()
    with pytest.warns(UserWarning, match="LR is shifted against HR"):
        record, _ = tune(photos, tmp_path, pairs=pairs, steps=1, allow_misaligned=True)
    assert record.stages[0].steps == 1


def test_a_degradation_is_the_same_for_training_and_measuring(photos, tmp_path):
    record, _ = tune(photos, tmp_path, degrade="real", steps=2)
    folder = tmp_path / "finetune/toy/photos-seed0/val"
    hr = read_image(folder / "HR/p00.png")
    assert torch.equal(hr, read_image(photos / "photos/p00.png"))
    expected = real(2)(hr, generator_of(0, "p00"))
    assert torch.equal(read_image(folder / "LR/p00.png"), expected)
    assert record.plan["stages"][0]["crops"]["degrade"]["call"].endswith("degrade:Degradation")


def test_the_files_of_a_degradation_are_hashed(photos, tmp_path):
    kernel = Gaussian(1.0).make()
    write_image((kernel / kernel.max()).expand(3, -1, -1), tmp_path / "k.png")
    degrade = Degradation(2, (Blur(KernelFile(str(tmp_path / "k.png"))), Shrink()))
    record, _ = tune(photos, tmp_path, degrade=degrade, steps=1)
    assert record.plan["files"].keys() == {str(tmp_path / "k.png")}


def test_damaged_and_small_pictures_are_named_and_left_out(photos, tmp_path):
    for k in range(6):
        write_image(read_image(photos / "photos" / f"p{k:02}.png"), tmp_path / "hr" / f"{k}.png")
    (tmp_path / "hr" / "3.png").write_bytes(b"no picture")
    write_image(torch.rand(3, 1, 1), tmp_path / "hr" / "dot.png")
    with pytest.warns(UserWarning, match="damaged or no picture") as told:
        record, _ = tune(photos, tmp_path, hr=tmp_path / "hr", steps=1)
    said = " ".join(str(each.message) for each in told)
    assert "dot.png (smaller than the scale 2)" in said
    assert "3.png (damaged or no picture)" in said
    assert record.data["pictures"] == 4


def test_a_single_picture_is_learned_and_nothing_is_claimed(photos, tmp_path):
    with pytest.warns(UserWarning, match="no picture is left to measure on: nothing tells"):
        record, _ = tune(photos, tmp_path, hr=photos / "photos/p03.png", steps=1)
    assert record.metrics == {}
    assert str(gain(record)).startswith("nothing was measured")


# ------------------------------------------------------------------ which network, which loss


class Mine(nn.Module):
    """Somebody's own module."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(3, 12, 3, padding=1)

    def forward(self, x):
        return torch.pixel_shuffle(self.layer(x), 2)


def test_a_network_of_ones_own_is_tuned(photos, tmp_path):
    record, model = tune(photos, tmp_path, model=srkit.as_model(Mine(), scale=2), steps=2)
    assert record.variant == "Mine"
    assert record.plan["stages"][0]["network"]["of"].endswith("Mine")
    fresh = Mine()
    load_weights(fresh, tmp_path / "finetune/Mine/photos-seed0/model.safetensors")
    assert_same(fresh.state_dict(), model.net.state_dict())


def test_a_network_of_the_zoo_by_a_file_of_weights(large, tmp_path):
    torch.manual_seed(0)
    srkit.save(srkit.create_model("rlfn_tiny_x4"), tmp_path / "tiny.safetensors")
    record, _ = tune(None, tmp_path, tmp_path / "tiny.safetensors", hr=large, patch=16, steps=1)
    assert record.variant == "rlfn_tiny_x4"
    assert record.start["weights"] == str(tmp_path / "tiny.safetensors")
    assert record.plan["stages"][0]["network"]["call"] == "srkit.models.rlfn:RLFN"


def test_a_training_that_harms_gives_the_start_back_and_says_no(photos, tmp_path):
    record, model = tune(photos, tmp_path, rate=Constant(0.5))
    assert record.kept_step == 0
    assert_same(model.state_dict(), toy().state_dict())
    assert gain(record).verdict == "no"
    assert "It does not help: no validation beat the start" in str(gain(record))
    last, other = tune(photos, tmp_path / "last", rate=Constant(0.5), keep="last")
    assert last.kept_step == 6
    assert gain(last).mean < 0
    assert not torch.equal(other.head.weight, toy().head.weight)


def test_weights_by_name_make_the_loss(photos, tmp_path):
    record, _ = tune(
        photos, tmp_path, loss={"l1": 1, "content": 0.1}, extractor="random", steps=1, patch=16
    )
    assert record.stages[0].loss[0] == "L1 + 0.1 content (random)"


@pytest.mark.parametrize("name", [name for name in DISCRIMINATORS if name != "srfeat-features"])
def test_every_discriminator_judges_crops_of_its_size(name):
    loss = loss_of_weights({"adversarial": 1}, discriminator=name, size=64)
    ((_, call),) = loss.terms
    term = call()
    sr, hr = torch.rand(2, 2, 3, 64, 64)
    assert (1.0 * term)(sr, hr).isfinite()
    assert term.discriminator_loss(sr, hr).isfinite()


def test_an_untrained_network_is_refused_against_a_discriminator(photos, tmp_path):
    torch.manual_seed(0)
    model = srkit.as_model(Mine(), scale=2)
    loss = L1() + 0.1 * Adversarial(Discriminator(), Standard())
    with pytest.raises(ValueError, match=r"this generator is not trained: .* from_scratch=True"):
        tune(photos, tmp_path, model=model, loss=loss)


# ------------------------------------------------------------------ asked wrongly


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"steps": 0}, "steps=0: expected a whole number from 1"),
        ({"minutes": 1.0}, "a budget is steps or minutes: got steps=6, minutes=1.0"),
        ({"steps": None, "minutes": -1}, "minutes=-1: expected a finite number above 0"),
        ({"batch": 0}, "batch=0: expected a whole number from 1"),
        ({"patch": 0}, "patch=0: expected a whole number from 1"),
        ({"patch": 40}, "crops of 40 px are larger than every LR picture (the largest is 24 px"),
        ({"rate": 0}, "rate=0: expected a finite number above 0"),
        ({"rate": float("nan")}, "rate=nan: expected a finite number above 0"),
        ({"ema": 1}, "ema=1: expected a number below 1"),
        ({"clip": -1}, "clip=-1: expected a finite number above 0"),
        ({"accumulate": 3}, "batch=2 cannot be learned in accumulate=3 equal parts"),
        ({"seed": -1}, "seed=-1: expected a whole number from 0"),
        ({"keep": "first"}, "keep='first': best or last"),
        ({"resume": "yes"}, "resume 'yes': auto or never"),
        ({"scale": 4}, "scale=4, but toy enlarges by 2"),
        ({"weights": "official"}, "weights official beside a network that is made"),
        ({"degrade": "heavy"}, "no degradation 'heavy': one of bicubic, blind, real"),
        ({"degrade": bicubic(4)}, "degrade is for x4, toy enlarges by 2"),
        ({"rule": "{name}x2"}, "rule='{name}x2' is for pairs"),
        ({"loss": {"l3": 1}}, "there is no loss 'l3': one of l1, mse, charbonnier"),
        ({"loss": {"l1": -1}}, "l1=-1: expected a finite number above 0"),
        ({"loss": {}}, "a loss without terms: give weights"),
        (
            {"loss": {"adversarial": 1}, "discriminator": "none"},
            "there is no discriminator 'none': one of srgan, enhancenet",
        ),
        (
            {"loss": {"adversarial": 1}},  # of 16 pixels: ESRGAN's halves down to 4
            None,
        ),
        (
            {"loss": {"content": 1}, "extractor": "mine"},
            "extractor 'mine': None takes the paper's, 'random' needs no file",
        ),
        ({"hr": None, "pairs": None}, "what to learn from: hr=FOLDER, or pairs="),
        ({"device": "quantum"}, "quantum"),
        ({"precision": "fp16"}, "precision 'fp16': choose auto, float32 or bfloat16"),
    ],
)
def test_what_is_asked_wrongly_is_refused_before_any_work(photos, tmp_path, how, words):
    if words is None:
        how, words = how | {"patch": 12}, "size 24: the discriminator halves down to 4"
    with pytest.raises(ValueError, match=re.escape(words)):
        tune(photos, tmp_path, **how)
    assert not list(tmp_path.rglob("checkpoint-*"))
    assert not list(tmp_path.rglob("asked.json"))


def test_what_is_no_network_no_loss_or_not_there_is_refused(photos, tmp_path):
    with pytest.raises(TypeError, match="does not say what it enlarges by: wrap it"):
        tune(photos, tmp_path, model=Mine())
    with pytest.raises(TypeError, match="loss is a L1Loss: weights by name are expected"):
        tune(photos, tmp_path, loss=nn.L1Loss())
    with pytest.raises(FileNotFoundError, match="there is no folder or picture /nowhere/at/all"):
        tune(photos, tmp_path, hr="/nowhere/at/all")
    both = (photos / "photos", photos / "photos-lr")
    with pytest.raises(ValueError, match=r"with pairs it is two, .HR FOLDER, LR FOLDER."):
        tune(photos, tmp_path, pairs=both, val=photos / "val")
    with pytest.raises(ValueError, match="pairs have their LR pictures: leave degrade out"):
        tune(photos, tmp_path, pairs=both, degrade="real")
    with pytest.raises(ValueError, match=r"no picture of .* is left to learn from"):
        tune(photos, tmp_path, val=photos / "photos")
    assert not (tmp_path / "finetune").exists()


def test_a_network_that_needs_more_than_lr_is_refused_in_a_sentence(photos, tmp_path):
    class Needy(Mine):
        def forward(self, x, reference):
            return x

    with pytest.raises(ValueError, match=r"Needy cannot learn from crops of 8 LR pixels by this"):
        tune(photos, tmp_path, model=srkit.as_model(Needy(), scale=2))


# ------------------------------------------------------------------ the verdict, the command


@pytest.mark.parametrize(
    ("differences", "kept", "verdict"),
    [
        ((0.3, 0.4, 0.35), 5, "yes"),
        ((0.01, 0.02, 0.01), 5, "no"),
        ((1.0, -0.6, 0.4), 5, "cannot tell"),
        ((0.5,), 5, "cannot tell"),
        ((-0.4, -0.5, -0.3), 5, "no"),
        ((0.0, 0.0), 0, "no"),
        ((), None, "not run"),
    ],
)
def test_the_verdict_is_by_the_pictures(differences, kept, verdict):
    before = {str(k): 30.0 for k in range(len(differences))}
    after = {str(k): 30.0 + d for k, d in enumerate(differences)}
    assert Gain(before, after, kept).verdict == verdict


def test_the_command_tells_whether_it_helped(large, tmp_path):
    torch.manual_seed(0)
    srkit.save(srkit.create_model("rlfn_tiny_x4"), tmp_path / "tiny.safetensors")
    words = [
        "finetune", tmp_path / "tiny.safetensors", "--hr", large, "--steps", 2,
        "--batch", 2, "--patch", 16, "--l1", 1, "--tv", 0.1, "--out", tmp_path, "--device", "cpu",
        "--name", "cats",
    ]  # fmt: skip
    done = CliRunner().invoke(app, [*map(str, words)])
    assert done.exit_code == 0, done.output
    assert "PSNR on 1 held-out pictures:" in done.stdout
    record = read_record(tmp_path / "finetune/rlfn_tiny_x4/cats-seed0/run.json")
    assert record.stages[0].loss[0] == "L1 + 0.1 TV"
    wrong = CliRunner().invoke(app, [*map(str, words), "--keep", "first"])
    assert wrong.exit_code == 2
    assert "keep='first': best or last" in wrong.stderr
    both = CliRunner().invoke(app, [*map(str, words), "--pairs", "a", "b"])
    assert both.exit_code == 2
    assert "one of the two" in both.stderr


def test_what_was_asked_is_plain_json(done):
    asked = json.loads((done[2] / "asked.json").read_text())
    assert asked["start"]["network"] == "toy"
