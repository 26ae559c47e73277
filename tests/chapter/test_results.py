"""What chapters ask of networks and records."""

from functools import partial
from statistics import mean, stdev

import pytest
import torch

import srkit
from srkit import chapter
from srkit.image.degrade import make_lr
from srkit.reports.records import Records


def nearest(lr):
    return lr.repeat_interleave(4, -1).repeat_interleave(4, -2)


def test_enlarge_starts_from_what_bicubic_leaves(rng):
    hr = torch.rand(3, 34, 41, generator=rng)  # cut to 32 x 40
    found = chapter.enlarge({"nearest": nearest, "net": srkit.create_model("rlfn_tiny_x4")}, hr)
    assert list(found) == ["bicubic", "nearest", "net"]
    lr = make_lr(hr[:, :32, :40], 4)
    assert torch.equal(found["nearest"], nearest(lr))
    assert torch.equal(found["bicubic"], srkit.imresize(lr, 4).clamp(0, 1))
    assert {tuple(sr.shape) for sr in found.values()} == {(3, 32, 40)}


def test_scores_are_evaluates_means(assets, monkeypatch):
    assets("benchmarks/Set5/HR/baby.png")
    assets("backbones/lpips_alex.safetensors")
    monkeypatch.setenv("SRKIT_BUDGET", "laptop")
    found = chapter.scores({"bicubic": "bicubic", "nearest": nearest}, "Set5", limit=1)
    expected = srkit.evaluate("bicubic", "Set5", scale=4, limit=1, lpips="alex").means
    assert found["bicubic"] == {m: expected[m] for m in ("psnr", "ssim", "lpips")}
    assert found["nearest"]["psnr"] < expected["psnr"]


def test_spots_are_squares_of_the_samples():
    found = chapter.spots(64)
    assert {tuple(square.shape) for square in found.values()} == {(3, 64, 64)}
    assert torch.equal(found["cup"], srkit.samples()["coffee"][:, 200:264, 180:244])


def test_a_plane_of_records_has_their_seeds_and_refuses_what_was_not_run():
    runs = Records.of("esrgan").budget("laptop")
    figure = chapter.plane_of(runs, ["psnr", "esrgan"], "Set14", alt="a trade")
    assert "PSNR, Set14 (dB)" in figure.html
    with pytest.raises(ValueError, match="no record of nothing has PSNR and LPIPS of Set14"):
        chapter.plane_of(runs, ["nothing"], "Set14", alt="a")


def test_an_ablation_shows_recorded_seeds_under_names_of_the_pages_choice():
    names = {"carn": "CARN", "neither": "no cascades"}
    runs = Records.of("carn").budget("laptop")
    found = list(runs.values("neither", "Set14", "psnr").values())
    figure = chapter.ablation("carn", names, test="Set14", alt="two variants")
    assert [word in figure.html for word in ("no cascades", "PSNR (dB), Set14")] == [True] * 2
    shown = str(chapter.runs_table("carn", names, tests=["Set14"]))
    assert f"{mean(found):.2f} ± {stdev(found):.2f}" in shown
    assert f"{runs.variant('neither')[0].parameters:,}" in shown
    for make in (partial(chapter.ablation, alt="a"), chapter.runs_table):
        with pytest.raises(ValueError, match="no record of carn, nothing, laptop"):
            make("carn", {"nothing": "x"})


def test_a_vote_is_between_two():
    with pytest.raises(ValueError, match=r"a vote is between two methods, got \['a'\]"):
        chapter.blind_vote({"a": nearest}, name="x")
    figure = chapter.blind_vote({"nearest": nearest, "same": nearest}, name="x")
    assert "Which looks more like a photograph?" in figure.html


def test_a_training_of_the_smoke_budget_leaves_nothing(monkeypatch, tmp_path):
    monkeypatch.setenv("SRKIT_BUDGET", "smoke")
    monkeypatch.chdir(tmp_path)
    assert chapter.train_here("rlfn", "one-stage").budget == "smoke"
    assert list(tmp_path.iterdir()) == []
