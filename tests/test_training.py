"""The loop and what it leaves: it learns, repeats itself, restarts as told, and stops in time."""

import json

import pytest
import torch
from torch import nn

from srkit.datasets.patches import Patches
from srkit.recipes import rlfn as recipe
from srkit.training.fit import adam, fit
from srkit.training.runs import pictures_hash, recording


class OneByOne(nn.Module):
    """sr = nearest-neighbour enlargement times a learned number: one parameter, known optimum."""

    def __init__(self, start=0.0):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(start))

    def forward(self, x):
        return self.gain * x.repeat_interleave(2, -1).repeat_interleave(2, -2)


@pytest.fixture(scope="module")
def flat():
    """Flat grey pictures: a gain of exactly 1 makes the loss zero."""
    return Patches([torch.full((3, 32, 32), value, dtype=torch.uint8) for value in (90, 200)], 2)


def train(model, patches, **how):
    how = {"steps": 40, "batch": 2, "patch": 8, "lr": 0.1, "halve_every": 10} | how
    return fit(model, patches, rng=torch.Generator().manual_seed(0), **how)


def test_fit_finds_the_known_optimum(flat):
    model = OneByOne()
    history = train(model, flat, steps=120, lr=0.05, halve_every=20)
    assert abs(model.gain.item() - 1) < 0.02
    assert history[-1]["step"] == 120


def test_the_learning_rate_is_halved_on_time(flat):
    history = train(OneByOne(), flat, validate_every=10)
    assert [row["lr"] for row in history] == [0.1, 0.05, 0.025, 0.0125]


def test_the_same_seed_gives_the_same_weights_bit_for_bit(flat):
    first, second = OneByOne(0.3), OneByOne(0.3)
    train(first, flat)
    train(second, flat)
    assert torch.equal(first.gain, second.gain)


def test_an_optimiser_that_is_handed_on_keeps_its_moments(flat):
    """The whole difference between a cyclic schedule and a warm start."""
    kept, fresh = OneByOne(0.3), OneByOne(0.3)
    memory = adam(kept)
    train(kept, flat, optimizer=memory)
    train(fresh, flat)
    assert torch.equal(kept.gain, fresh.gain)  # the first stage is the same
    train(kept, flat, optimizer=memory, steps=1)
    train(fresh, flat, steps=1)
    assert memory.state[kept.gain]["step"] == 41
    assert not torch.equal(kept.gain, fresh.gain)


def test_the_model_is_left_in_eval_mode_and_validated_in_it(flat):
    seen = []
    model = OneByOne()
    train(model, flat, validate=lambda m: seen.append(m.training) or 1.0, validate_every=20)
    assert seen == [False, False]
    assert not model.training


def test_a_loss_that_is_not_finite_stops_the_run(flat):
    with pytest.raises(FloatingPointError, match=r"loss is nan at step 1 \(learning rate 0.1\)"):
        train(OneByOne(), flat, loss=lambda sr, hr, lr: sr.mean() * float("nan"))


def test_a_record_is_written_when_the_run_ends_well(tmp_path):
    with recording(tmp_path / "runs" / "a.json", recipe="x", seed=3) as record:
        record["metrics"] = {"psnr": 30.0}
    written = json.loads((tmp_path / "runs" / "a.json").read_text())
    assert written["seed"] == 3
    assert written["metrics"] == {"psnr": 30.0}
    assert {"machine", "wall_minutes", "cpu_minutes", "peak_memory_mib"} <= set(written)


def test_a_run_that_fails_leaves_no_record(tmp_path):
    with pytest.raises(KeyboardInterrupt), recording(tmp_path / "a.json"):
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


def test_the_hash_of_the_pictures_sees_pixels_shapes_and_order():
    a, b = torch.zeros(3, 4, 6, dtype=torch.uint8), torch.ones(3, 4, 6, dtype=torch.uint8)
    hashes = [pictures_hash(p) for p in ([a, b], [b, a], [a], [a.view(3, 6, 4), b])]
    assert len(set(hashes)) == 4


@pytest.mark.parametrize("experiment", ["ladder", "schedule", "edsr"])
def test_every_experiment_of_rlfn_runs_from_nothing_but_code(experiment, tmp_path):
    """The smoke budget needs no file: pictures made by code, a random extractor, no benchmark."""
    recipe.run(experiment, budget="smoke", out=tmp_path)
    records = [json.loads(path.read_text()) for path in tmp_path.glob("*.json")]
    assert all(r["data"]["name"] == "procedural" and r["stages"] for r in records)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    recipe.run(experiment, budget="smoke", out=tmp_path)
    assert times == {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}  # all was done


def test_warm_start_cyclic_and_long_share_their_first_stage_or_not(tmp_path):
    recipe.run("schedule", budget="smoke", out=tmp_path)
    runs = {
        path.stem.split("-")[1]: json.loads(path.read_text()) for path in tmp_path.glob("*.json")
    }
    first = runs["one_stage"]["stages"][0]
    assert runs["warm_start"]["stages"][0] == runs["cyclic"]["stages"][0] == first
    assert [s["steps"] for s in runs["warm_start"]["stages"]] == [first["steps"]] * 2
    assert runs["long"]["stages"][0]["steps"] == 2 * first["steps"]
    assert runs["warm_start"]["stages"][1] != runs["cyclic"]["stages"][1]


def test_the_ladder_has_the_counts_of_its_blocks():
    counts = {name: sum(p.numel() for p in build().parameters()) for name, build in
              recipe.LADDER.items()}  # fmt: skip
    assert counts["RFDB24"] == 106_560
    assert counts["RFDBR24"] < counts["RLFB28"] < counts["RFDBR28"]
    assert sum(p.numel() for p in recipe.rlfn_tiny().parameters()) == 87_816
