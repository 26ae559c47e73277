"""ZSSR's internal learning: fathers and sons, the learning rate's policy, the way out, the runs."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from srkit import imresize, psnr
from srkit.datasets import procedural
from srkit.datasets.catalog import Pair
from srkit.datasets.internal import Internal, Shrinking
from srkit.image.degrade import gaussian_kernel, make_lr
from srkit.image.io import read_image, write_image
from srkit.image.tensors import to_8bit
from srkit.models.zssr import ZSSR
from srkit.recipes import train
from srkit.recipes import zssr as recipe
from srkit.recipes.run import RecipeRun
from srkit.recipes.zssr import GRADUAL, RECIPE, enlarge, learn, level, motion_kernel, zssr
from srkit.training.record import data_facts

TINY = {"channels": 8, "depth": 3, "crop": 24, "device": "cpu"}


@pytest.fixture(scope="module")
def picture():
    return procedural.facades((36, 40), 3)


def test_plain_fathers_are_crops_in_eight_positions(picture, rng):
    """Without zoom, turn and shear every father stands in the picture, pixel for pixel."""
    pairs = Internal([picture], (2, 2), crop=16, spread=0, shear=0)
    windows = (
        picture.unfold(1, 16, 1).unfold(2, 16, 1).permute(1, 2, 0, 3, 4).reshape(-1, 3, 16, 16)
    )
    turned = torch.cat([windows, windows.mT])
    turned = torch.cat([turned.flip(axes) for axes in ([], [-1], [-2], [-1, -2])])
    found = 0
    for _ in range(40):
        father = pairs.father(rng)
        found += (turned - father).abs().amax((1, 2, 3)).min().item() < 0.5 / 255 + 1e-5
    assert 10 <= found <= 30  # half of 40


def test_fathers_that_are_not_turned_stand_upright_in_the_picture(picture, rng):
    """Without zoom all of them are crops as they are; none is mirrored."""
    pairs = Internal([picture], (2, 2), crop=16, turns=False, spread=0, shear=0, smallest=1)
    windows = (
        picture.unfold(1, 16, 1).unfold(2, 16, 1).permute(1, 2, 0, 3, 4).reshape(-1, 3, 16, 16)
    )
    for _ in range(40):
        father = pairs.father(rng)
        assert (windows - father).abs().amax((1, 2, 3)).min() < 0.5 / 255 + 1e-5


def test_a_zoomed_father_shows_more_of_the_picture(rng):
    """Half the size: what rises from 0 to 1 over the picture rises twice as fast in a father."""
    ramp = torch.linspace(0, 1, 65).expand(3, 65, 65)
    pairs = Internal([ramp], (2, 2), crop=24, turns=False, spread=0, shear=0, smallest=0.5)
    slopes = [(f[..., 23] - f[..., 0]).mean().item() / 23 for f in
              (pairs.father(rng) for _ in range(60))]  # fmt: skip
    assert min(slopes) == pytest.approx(1 / 64, rel=0.05)
    assert 1.6 / 64 < max(slopes) < 2.1 / 64


def test_sons_are_what_the_camera_would_make(picture, rng):
    kernel = gaussian_kernel(1.2)
    pairs = Internal([picture], (2, 2), Shrinking(kernel), crop=32)
    son = pairs.son(picture[:, :32, :32], rng)
    expected = make_lr(picture[:, :32, :32], 2, kernel=kernel)
    assert (son - expected).abs().max() < 1.5 / 255  # which is rounded to 8 bits twice
    noisy = Internal([picture], (2, 2), Shrinking(noise=10), crop=32)
    clean = Internal([picture], (2, 2), crop=32)
    grey = torch.full((3, 32, 32), 0.5)
    difference = noisy.son(grey, rng) - clean.son(grey, rng)
    assert difference.std().item() == pytest.approx(10 / 255, rel=0.1)


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("scale", [2, 3])
def test_a_kernel_shifts_nothing(antialias, scale):
    """A spot that is made small and bicubically large again stays where it was."""
    spot = torch.zeros(3, 48, 48)
    spot[:, 20, 27] = 1
    small = Shrinking(gaussian_kernel(2.0), antialias)(spot, (48 // scale, 48 // scale))
    back = imresize(small, scale)[0]
    n = torch.arange(48.0)
    assert (back.sum(1) @ n / back.sum()).item() == pytest.approx(20, abs=0.05)
    assert (back.sum(0) @ n / back.sum()).item() == pytest.approx(27, abs=0.05)


def test_only_kernels_that_look_alike_from_all_sides_let_pictures_be_turned():
    assert Shrinking().symmetric()
    assert Shrinking(gaussian_kernel(1.6)).symmetric()
    assert not Shrinking(gaussian_kernel(2, sigma_y=1)).symmetric()
    assert not Shrinking(gaussian_kernel(2, sigma_y=1, angle=45)).symmetric()
    assert not Shrinking(motion_kernel(9)).symmetric()


def test_level_is_decided_as_by_numpys_fit():
    """The slope and its deviation as np.polyfit has them, with the variance of 2018."""
    numbers = np.random.default_rng(0)
    seen = set()
    for fall in (0.0, 0.1, 1.0, 5.0):
        for _ in range(10):
            y = -fall * np.arange(5) + numbers.normal(0, 1, 5)
            (slope, _), covariance = np.polyfit(50 * np.arange(5), y, 1, cov=True)
            deviation = np.sqrt(covariance[0, 0] * 3)  # / (n - 2) there, / (n - 4) here
            assert level(y.tolist()) == (-1.5 * slope < deviation)
            seen.add(level(y.tolist()))
    assert seen == {True, False}


def test_the_rate_falls_at_300_600_900_when_nothing_gets_better(picture, monkeypatch, rng):
    monkeypatch.setattr(recipe, "level", lambda errors: True)
    pairs, history = Internal([picture], (2, 2), crop=8), []
    father = pairs.father(rng)  # always the same: it takes most of the time
    monkeypatch.setattr(pairs, "father", lambda rng: father)
    monkeypatch.setattr(pairs, "son", lambda father, rng: father[:, ::2, ::2])
    steps = learn(ZSSR(2, channels=1, depth=2), pairs, picture, rng, 3000, history)
    rates = {row["step"]: row["rate"] for row in history}
    assert steps == 900
    assert rates == pytest.approx(
        {n: 1e-3 if n <= 300 else 1e-4 if n <= 600 else 1e-5 for n in range(50, 901, 50)}
    )


def test_back_projection_brings_the_picture_back(picture):
    """What is enlarged, then made small, comes closer to the picture with each correction."""
    network = ZSSR(2, channels=8, depth=3)
    pairs = Internal([picture], (2, 2), Shrinking(gaussian_kernel(1.2)), crop=16)
    left = []
    for n in range(4):
        again = pairs.shrinking(enlarge(network, pairs, picture, 8, n), picture.shape[1:])
        left.append((again - picture).square().mean().item())
    assert left == sorted(left, reverse=True)
    assert left[3] < left[0] / 4


def test_the_median_of_eight_is_the_mean_of_the_middle_two(picture):
    class Marks(torch.nn.Module):
        """Adds 1, 2, 4, ... 128 thousandths, one a call."""

        calls = 0

        def refine(self, x):
            self.calls += 1
            return 0.25 + 0 * x + 2 ** (self.calls - 1) / 1000

    sr = enlarge(Marks(), Internal([picture], (2, 2), crop=16), picture, 8, 0)
    assert sr.shape == (3, 72, 80)
    assert torch.allclose(sr, torch.full_like(sr, 0.25 + (8 + 16) / 2 / 1000))


def test_symmetries_are_undone(picture):
    """A network that changes nothing gives bicubic from every side, also stretched one way."""
    network = ZSSR(2, channels=2, depth=2)
    torch.nn.init.zeros_(network.convs[-1].weight)
    for factor, count in (((2, 2), 8), ((1, 1.5), 4)):
        pairs = Internal([picture], factor, crop=16)
        sr = enlarge(network, pairs, picture, count, 0)
        size = (round(36 * factor[0]), round(40 * factor[1]))
        plain = imresize(picture, size=size, border="mirror").clamp(0, 1)
        assert torch.allclose(sr, plain, atol=1e-6)


def test_told_the_kernel_it_beats_bicubic_and_itself_untold():
    hr = procedural.facades(64, 5)
    kernel = gaussian_kernel(1.6)
    lr = make_lr(hr, 2, kernel=kernel)
    how = TINY | {"channels": 16, "depth": 4, "steps": 150}
    told, untold = zssr(lr, 2, kernel=kernel, **how), zssr(lr, 2, **how)
    scores = [psnr(x.clamp(0, 1), hr, on="y", shave=2)
              for x in (told.picture, untold.picture, imresize(lr, 2))]  # fmt: skip
    assert scores[0] > max(scores[1:]) + 0.5
    assert [row["step"] for row in told.history] == [50, 100, 150]


def test_gradual_steps_learn_from_what_they_made_and_runs_repeat(picture):
    first, again = (zssr(picture, 2, factors=GRADUAL, steps=50, **TINY) for _ in range(2))
    assert first.picture.shape == (3, 72, 80)
    assert [row["factor"] for row in first.history] == [
        [1, 1.5], [1.5, 1], [1.5, 1.5], [1.5, 2], [2, 1.5], [2, 2]
    ]  # fmt: skip
    assert torch.equal(first.picture, again.picture)


def test_refusals_say_what_would_do(picture):
    kernel = gaussian_kernel(1.6)
    with pytest.raises(ValueError, match=r"last of factors is \(1.5, 1.5\), and the scale is 2"):
        zssr(picture, 2, factors=(1.5,))
    with pytest.raises(ValueError, match="gradual factors do without"):
        zssr(picture, 2, kernel=kernel, factors=GRADUAL)
    with pytest.raises(ValueError, match="steps=0: expected a whole number from 1"):
        zssr(picture, 2, steps=0)
    with pytest.raises(ValueError, match="too small to learn from"):
        zssr(picture[:, :3, :3], 2)
    with pytest.raises(ValueError, match="give 1 or more"):
        Internal([picture], (0.5, 2))


@pytest.mark.parametrize("variant", [v for v in RECIPE.variants if v != "ideal-gradual"])
def test_a_variant_runs(variant, tmp_path):
    record = train("zssr", variant, budget="smoke", out=tmp_path, device="cpu")
    (stage,) = record.stages
    assert (stage.test, stage.image, stage.steps) == ("procedural", "facades", 50)
    assert stage.cpu_minutes > 0
    assert [row["step"] for row in stage.history] == [50]
    assert record.baselines["procedural"]["bicubic"]["psnr"] > 10
    assert record.builds_on == ()


def test_a_variant_is_the_camera_and_what_the_network_is_told_of_it():
    """A variant "-assumed" has the pictures of its twin, and its network is told nothing."""
    stages = {v: RECIPE.stages(v, "laptop")[0] for v in RECIPE.variants}
    for variant in ("mild", "slanted", "motion", "noisy"):
        told, assumed = stages[variant], stages[f"{variant}-assumed"]
        assert told.camera == told.told == assumed.camera
        assert told.camera != assumed.told == recipe.BICUBIC
    assert stages["zssr"].camera == stages["assumed"].camera == stages["zssr"].told
    for variant in ("ideal", "ideal-gradual", "ideal-uncorrected"):
        assert stages[variant].camera == stages[variant].told == recipe.BICUBIC
    assert stages["ideal-gradual"].factors == GRADUAL
    assert stages["ideal-uncorrected"].back_projections == 0
    shown = {row[2]: row[3] for row in RECIPE.described("assumed", "laptop")}
    assert shown["camera"] == "Camera(kernel=gaussian_kernel(sigma=1.6), noise=0)"
    assert shown["told"] == "Camera(kernel=None, noise=0)"


def test_the_run_enlarges_as_the_function_does(tmp_path):
    """The picture in the run's folder is `zssr`'s, told what the variant's network is told."""
    train("zssr", "zssr", budget="smoke", seed=3, out=tmp_path, device="cpu")
    folder = tmp_path / "zssr/smoke/zssr-seed3"
    low = read_image(folder / "lr/procedural/facades.png")
    hr = read_image(folder / "procedural.png")
    assert torch.equal(low, make_lr(hr, 2, kernel=gaussian_kernel(1.6)))
    own = zssr(low, 2, kernel=gaussian_kernel(1.6), steps=50, seed=3, **TINY).picture
    kept = read_image(folder / "pictures/procedural/facades.png")
    assert torch.equal(to_8bit(kept), to_8bit(own))


def test_the_record_tells_what_was_learned_from(tmp_path):
    """The hash is of the LR pictures that stand in the run's folder: other ones with the blur."""
    seen = set()
    for variant in ("ideal", "mild", "mild-assumed"):
        record = train("zssr", variant, budget="smoke", out=tmp_path, device="cpu")
        path = tmp_path / f"zssr/smoke/{variant}-seed0/lr/procedural/facades.png"
        assert record.data == data_facts("procedural", [to_8bit(read_image(path))])
        seen.add(record.data["sha256"])
    assert len(seen) == 2


def test_a_picture_that_is_finished_is_not_done_again(tmp_path):
    train("zssr", "ideal", budget="smoke", out=tmp_path, device="cpu")
    folder = tmp_path / "zssr/smoke/ideal-seed0"
    (folder / "run.json").unlink()
    path = folder / "pictures/procedural/facades.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"psnr": 99}))
    record = train("zssr", "ideal", budget="smoke", out=tmp_path, device="cpu")
    assert record.stages[0].psnr == 99


def test_the_figures_are_the_means_over_a_tests_pictures(tmp_path, monkeypatch):
    """Of two drawn pictures in the place of Set5; those of other tests do not count."""
    files = []
    for k in range(2):
        files.append(tmp_path / f"{k}.png")
        write_image(procedural.facades(32, k), files[-1])
    monkeypatch.setattr(
        recipe.catalog, "pairs", lambda name, scale: [Pair(f.stem, f, None) for f in files]
    )
    sizes = replace(RECIPE.budgets["smoke"], tests=("Set5", "Set14"), steps=1)
    budgets = {**RECIPE.budgets, "smoke": sizes}
    run = RecipeRun(
        "zssr", replace(RECIPE, budgets=budgets), "ideal", budget="smoke", out=tmp_path / "runs",
        device="cpu",
    )  # fmt: skip
    record = run.go()
    assert [(s.test, s.image) for s in record.stages] == [
        (test, image) for test in ("Set5", "Set14") for image in ("0", "1")
    ]
    for key in ("psnr", "ssim"):
        values = [getattr(s, key) for s in record.stages[:2]]
        assert record.metrics["Set5"][key] == pytest.approx(sum(values) / 2)


@pytest.mark.parametrize(("setting", "message"), [
    ({"minutes": 1}, "not after minutes"),
    ({"compiled": True}, "not compiled: give neither"),
    ({"precision": "bfloat16"}, "trains in float32"),
    ({"tensorboard": True}, "one a picture, in its record: leave out tensorboard"),
    ({"data": "procedural"}, "learns from the picture that it enlarges"),
])  # fmt: skip
def test_settings_that_it_does_not_take_are_refused_before_any_work(setting, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        train("zssr", budget="smoke", out=tmp_path, device="cpu", **setting)
    assert not list(tmp_path.iterdir())


def test_several_processes_are_refused_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="in one process: give no devices"):
        train("zssr", budget="smoke", out=tmp_path, device="cpu")
    assert not list(tmp_path.iterdir())


def test_the_papers_stage_is_the_authors():
    """Eight layers of 64 channels, fathers of 128, the end after 3000 iterations at the latest."""
    for variant in RECIPE.variants:
        (stage,) = RECIPE.stages(variant, "paper")
        assert sum(p.numel() for p in stage.network().parameters()) == 224_640
        assert (stage.network.arguments["depth"], stage.crop, stage.steps) == (8, 128, 3000)
    assert (recipe.RATE, recipe.LEAST) == (1e-3, 9e-6)
    assert (recipe.LOOK, recipe.CHECK, recipe.REST, recipe.POINTS) == (50, 60, 256, 5)
    assert GRADUAL == ((1, 1.5), (1.5, 1), 1.5, (1.5, 2), (2, 1.5), 2)
