"""What the page of symptoms says of recorded runs and of mechanisms still holds."""

import json

import pytest
import torch

import srkit
from srkit import chapter, ledger
from srkit.files import data_path
from srkit.image.degrade import make_lr
from srkit.models.enhancenet import Discriminator
from srkit.models.ttsr import LTE, hard_attention
from srkit.recipes import recorded
from srkit.reports.records import Records

BICUBIC = 28.43  # dB, Set5 at x4, protocol classic


def test_a_healthy_network_is_above_bicubic_at_the_first_look():
    runs = Records.of("rlfn").budget("laptop").variant("one-stage")
    assert len(runs) >= 3
    for run in runs:
        step, psnr = run.curve()[0]
        assert step <= 300
        assert psnr > BICUBIC + 1


def test_without_clipping_two_seeds_of_three_end_a_decibel_lower():
    runs = Records.of("msrn").budget("laptop")
    clipped, free = (runs.values(v, "Set5", "psnr") for v in ("residual", "residual-unclipped"))
    lower = [seed for seed in (0, 1, 2) if free[seed] < clipped[seed] - 1]
    assert len(lower) == 2
    assert runs.variant("residual")[0].plan["stages"][0]["clip"] == 0.1


@pytest.mark.parametrize(
    ("name", "of", "against"),
    [("srgan", "srgan", "mse"), ("enhancenet", "pat", "e"), ("esrgan", "esrgan", "psnr")],
)
def test_with_a_discriminator_psnr_and_lpips_fall_with_every_seed(name, of, against):
    runs = Records.of(name).budget("laptop")
    for metric in ("psnr", "lpips"):
        ours, theirs = (runs.values(v, "Set14", metric) for v in (of, against))
        assert len(ours) >= 3
        assert all(ours[seed] < theirs[seed] for seed in ours)


def test_with_or_without_adam_s_moments_a_second_stage_ends_alike():
    (tested,) = [
        each
        for each in ledger.findings(["rlfn"])
        if (each.claim.of, each.claim.against) == ("warm-start", "cyclic")
        and each.budget == "laptop"
    ]
    low, high = tested.finding.interval
    assert len(tested.finding.seeds) >= 3
    assert -0.1 < low < 0 < high < 0.1


def test_msrn_is_slower_in_the_other_layout():
    rows = json.loads(data_path("runs/networks.json").read_text())["rows"]
    (msrn,) = [row for row in rows if row["network"] == "msrn_x4"]
    assert msrn["memory_format"] == "contiguous"
    assert msrn["layout"] > 1


@pytest.mark.parametrize("name", ["brick", "astronaut", "coffee", "chelsea"])
def test_attention_does_not_find_the_patches_of_a_turned_copy(name):
    """Upright it finds all of them; turned, hardly one in a hundred at its place."""
    torch.manual_seed(0)
    picture = srkit.samples()[name][None, :, 100:196, 100:196]
    extractor = LTE()
    with torch.no_grad():
        own, turned = (extractor(x)[-1] for x in (picture, picture.rot90(1, (2, 3))))
    here = torch.arange(own[0, 0].numel()).view(own.shape[-2:])
    assert torch.equal(hard_attention(own, own)[0], here)
    there = here.rot90(1, (0, 1)).flatten()[hard_attention(own, turned)[0]]
    assert (there == here).float().mean() < 0.02


def test_without_batch_norm_pytorch_s_first_weights_hide_what_differs():
    """Of EnhanceNet's discriminator: its answers to a cat and to bricks, by both first weights."""
    samples = srkit.samples()
    cat, bricks = (samples[name][None, :, :128, :128] for name in ("chelsea", "brick"))
    apart = {}
    for first_weights in ("He et al.", "PyTorch"):
        torch.manual_seed(0)
        discriminator = Discriminator()
        if first_weights == "PyTorch":
            for layer in discriminator.modules():
                if isinstance(layer, torch.nn.Conv2d | torch.nn.Linear):
                    layer.reset_parameters()
        with torch.no_grad():
            apart[first_weights] = abs(discriminator(cat) - discriminator(bricks)).item()
    assert apart["PyTorch"] < 1e-4
    assert apart["He et al."] > 100 * apart["PyTorch"]


def test_a_reduced_result_does_not_show_what_was_invented():
    """Chapter 1's measure: how well results fit the LR picture that they were made from."""
    places = list(chapter.spots(160).values())[:4]
    fits = {}
    for variant in ("mse-on", "gan", "srgan"):
        network = recorded("srgan", variant)
        results = [chapter.enlarge({variant: network}, hr)[variant] for hr in places]
        pairs = zip(results, places, strict=True)
        back = [srkit.psnr(make_lr(sr, 4), make_lr(hr, 4), on="rgb", shave=1) for sr, hr in pairs]
        fits[variant] = sum(back) / 4
    assert all(35 <= fits[variant] < fits["mse-on"] for variant in ("gan", "srgan"))
