"""Pairs: matched by name, checked by size, their alignment measured to a fraction of a pixel."""

import json
import math
import re
import warnings

import pytest
import torch
from typer.testing import CliRunner

import srkit
from srkit.cli import app
from srkit.datasets.catalog import Pair
from srkit.datasets.pairs import (
    Alignment,
    Paired,
    checked,
    match,
    measure_alignment,
    measured,
)
from srkit.image.degrade import Blur, Degradation, Gaussian, Jpeg, Noise, Shrink, bicubic, make_lr
from srkit.image.io import read_image, write_image
from srkit.image.tensors import round_8bit


@pytest.fixture(scope="module")
def photo():
    """A photograph, (3, 300, 451)."""
    return srkit.samples()["chelsea"]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


BICUBIC = (Shrink(),)


def placed(photo, down, right, scale, steps=BICUBIC):
    """HR, and LR of the same scene whose content lies lower and further right by HR pixels."""
    hr = photo[:, 32:272, 32:416]
    moved = photo[:, 32 - down : 272 - down, 32 - right : 416 - right]
    return Degradation(scale, steps)(moved, seeded()), hr


LIKE_NEW = {
    "plain": (Shrink(),),
    "blurred": (Blur(Gaussian(2.0)), Shrink()),
    "noisy": (Shrink(), Noise(15)),
    "JPEG": (Shrink(), Jpeg(40)),
    "all": (Blur(Gaussian(2.0)), Shrink(), Noise(10), Jpeg(50)),
}


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("kind", LIKE_NEW)
def test_aligned_pairs_are_found_aligned_however_bad_lr_is(photo, kind, scale):
    found = measure_alignment(*placed(photo, 0, 0, scale, LIKE_NEW[kind]), scale)
    assert found.shift < 0.08
    assert max(map(abs, found.brightness)) < 1
    assert found.contrast == pytest.approx(1, abs=0.04)
    assert found.likeness > 0.95


@pytest.mark.parametrize("kind", LIKE_NEW)
@pytest.mark.parametrize(
    ("down", "right", "scale"),
    [(1, 0, 4), (0, -1, 4), (1, 1, 4), (2, -3, 4), (1, 0, 2), (4, 8, 4), (-28, 20, 4), (9, 30, 2)],
)
def test_a_shift_of_a_quarter_of_a_pixel_and_more_is_found(photo, kind, down, right, scale):
    """One HR pixel at x4 is a quarter of an LR pixel; both axes, both signs, whole pixels too."""
    found = measure_alignment(*placed(photo, down, right, scale, LIKE_NEW[kind]), scale)
    assert found.down == pytest.approx(down / scale, abs=0.08)
    assert found.right == pytest.approx(right / scale, abs=0.08)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_every_rth_pixel_is_a_shifted_lr(photo, scale):
    """hr[::r, ::r], a usual mistake: its content lies (r - 1) / 2r pixels lower and right."""
    hr = photo[:, :240, :360]
    found = measure_alignment(hr[:, ::scale, ::scale], hr, scale)
    expected = (scale - 1) / (2 * scale)
    assert found.down == pytest.approx(expected, abs=0.05)
    assert found.right == pytest.approx(expected, abs=0.05)


def test_brightness_and_contrast_are_those_that_were_changed(photo):
    lr, hr = placed(photo, 0, 0, 4)
    mean = lr.mean((1, 2), keepdim=True)
    shift = torch.tensor([8.0, 0.0, -4.0]).view(3, 1, 1) / 255
    changed = (mean + 0.8 * (lr - mean) + shift).clamp(0, 1)
    found = measure_alignment(changed, hr, 4)
    assert found.brightness == pytest.approx((8, 0, -4), abs=0.5)
    assert found.contrast == pytest.approx(0.8, abs=0.01)
    assert found.shift < 0.02


def test_what_a_picture_cannot_tell_is_not_told():
    grey = torch.full((3, 64, 64), 0.5)
    found = measure_alignment(grey[:, ::2, ::2], grey, 2)
    assert (found.down, found.right, found.contrast, found.shift) == (None, None, None, 0.0)
    stripes = (torch.arange(256) // 16 % 2).float().expand(3, 256, -1)  # the same in every row
    found = measure_alignment(make_lr(stripes, 2), stripes, 2)
    assert found.down is None
    assert found.right == pytest.approx(0, abs=0.02)


def test_a_size_that_does_not_fit_is_refused(photo):
    with pytest.raises(ValueError, match=r"lr is \(20, 20\), expected \(75, 112\), hr's sides / 4"):
        measure_alignment(torch.rand(3, 20, 20), photo, 4)


# ------------------------------------------------------------------ folders


@pytest.fixture
def folders(photo, tmp_path):
    """Four HR pictures and their LR ones of scale 2, NAMEx2.png."""
    for k in range(4):
        hr = photo[:, 40 * k : 40 * k + 121, 60 * k : 60 * k + 160]
        write_image(hr, tmp_path / "hr" / f"p{k}.png")
        write_image(make_lr(round_8bit(hr), 2), tmp_path / "lr" / f"p{k}x2.png")
    return tmp_path / "hr", tmp_path / "lr"


def test_pairs_are_found_by_the_rule_that_most_names_follow(folders):
    found = match(*folders, 2)
    assert found.rule == "{name}x2"
    assert [(p.name, p.lr.name) for p in found.pairs] == [
        (f"p{k}", f"p{k}x2.png") for k in range(4)
    ]
    assert match(*folders, 2, rule="{name}x2").pairs == found.pairs
    assert found.left_out == {}


def test_what_does_not_match_is_told_with_its_reason(folders, photo):
    hr, lr = folders
    write_image(photo[:, :50, :50], hr / "alone.png")
    write_image(photo[:, :50, :50], lr / "strayx2.png")
    write_image(photo[:, :50, :50], lr / "p1x2.png")
    write_image(photo[:, :50, :50], hr / "p2.bmp")
    (hr / "p3.png").write_bytes(b"no picture")
    found = match(hr, lr, 2)
    assert [pair.name for pair in found.pairs] == ["p0"]
    why = {path.name: reason for path, reason in found.left_out.items()}
    assert why["alone.png"] == "no LR picture of its name"
    assert why["strayx2.png"] == "no HR picture of its name"
    assert why["p1x2.png"] == "is 50x50, HR's 160x121 / 2 is 80x60"
    assert why["p2.bmp"] == why["p2.png"] == "two pictures have its name"
    assert "p3.png" in why["p3x2.png"]
    assert "left out" in str(found)


def test_no_pair_at_all_is_refused_with_the_reasons(folders):
    with pytest.raises(ValueError, match=r"no pair of .* fits x4: left out 4: p0x2\.png"):
        match(*folders, 4, rule="{name}x2")
    with pytest.raises(ValueError, match=re.escape("rule='x2': a name with {name} in it")):
        match(*folders, 2, rule="x2")
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        match(folders[0] / "none", folders[1], 2)
    with pytest.raises(ValueError, match="scale=0: expected a whole number from 1"):
        match(*folders, 0)


def test_aligned_pairs_pass_without_a_word(folders):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = checked(match(*folders, 2))
    assert len(found.alignments) == 4
    assert (found.shifted, found.refusal(), found.warnings()) == ({}, None, [])
    assert str(found).endswith("aligned: nothing that a network would learn wrongly was found")


def shift_lr(folders, photo, which, by=1):
    """LR of some pairs again, from a place that is `by` HR pixels further up and left."""
    for k in which:
        top, left = 40 * k - by, 60 * k - by
        hr = photo[:, max(top, 0) : max(top, 0) + 121, max(left, 0) : max(left, 0) + 160]
        hr = hr if k else torch.roll(hr, (by, by), (1, 2))
        write_image(make_lr(round_8bit(hr), 2), folders[1] / f"p{k}x2.png")


def test_shifted_pairs_are_refused_and_named(folders, photo):
    shift_lr(folders, photo, range(4))
    found = measured(match(*folders, 2))
    assert len(found.shifted) == 4
    with pytest.raises(
        ValueError,
        match=r"LR is shifted against HR in 4 of 4 measured pairs, by "
        r"\+0\.[45]\d pixels down and \+0\.[45]\d right in the median: a network",
    ):
        checked(found)
    with pytest.warns(UserWarning, match="LR is shifted against HR in 4 of 4"):
        checked(found, allow=True)
    assert "refused: LR is shifted" in str(found)


def test_a_single_shifted_pair_is_a_warning(folders, photo):
    shift_lr(folders, photo, [2])
    with pytest.warns(UserWarning, match=r"shifted against HR in some pairs, .*: p2 by 0\.7"):
        found = checked(match(*folders, 2))
    assert found.refusal() is None


def test_pictures_of_different_things_are_refused(folders, photo):
    for k in range(4):
        turned = photo[:, 40 * k : 40 * k + 121, 60 * k : 60 * k + 160].flip(1, 2)
        write_image(make_lr(round_8bit(turned), 2), folders[1] / f"p{k}x2.png")
    with pytest.raises(ValueError, match=r"LR and HR show different things in [34] of 4"):
        checked(match(*folders, 2))


def test_other_brightness_is_a_warning(folders):
    for path in folders[1].iterdir():
        write_image((read_image(path) + 10 / 255).clamp(0, 1), path)
    with pytest.warns(UserWarning, match=r"LR's brightness is not HR's: \+\d+\.\d, .* grey levels"):
        checked(match(*folders, 2))


def test_of_many_pairs_some_are_measured_spread_evenly(folders):
    found = match(*folders, 2)
    assert list(measured(found, most=2).alignments) == ["p0", "p2"]
    assert list(measured(found, most=None).alignments) == ["p0", "p1", "p2", "p3"]


def test_the_command_prints_what_fits_and_fails_where_a_training_would(folders, photo):
    words = ["pairs", *map(str, folders), "--scale", "2"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0
    assert "4 pairs, LR is named {name}x2" in done.stdout
    assert "aligned: nothing that a network would learn wrongly" in done.stdout
    shift_lr(folders, photo, range(4))
    failed = CliRunner().invoke(app, [*words, "--json"])
    assert failed.exit_code == 1
    told = json.loads(failed.stdout)
    assert "LR is shifted" in told["refused"]
    assert told["alignments"]["p3"]["down"] == pytest.approx(0.5, abs=0.05)


# ------------------------------------------------------------------ crops of pairs


def test_crops_of_pairs_are_the_files_own_pixels(folders):
    """LR is read: here one that no degradation made, so that made and read cannot be mixed up."""
    hr, lr = folders
    negative = 1 - read_image(lr / "p0x2.png")
    write_image(negative, lr / "p0x2.png")
    crops = Paired(match(hr, lr, 2).pairs[:1], 2)
    data = crops.batch(3, 60, seeded())
    assert data["lr"].shape == (3, 3, 60, 60)
    high = read_image(hr / "p0.png")
    _, draws = crops.draw(1, 8, seeded(1))
    found = crops.cut([draws[0]._replace(symmetry=0)], 8, 2)
    top, left = draws[0].top, draws[0].left
    torch.testing.assert_close(found["lr"][0], negative[:, top : top + 8, left : left + 8])
    expected = high[:, 2 * top : 2 * top + 16, 2 * left : 2 * left + 16]
    assert torch.equal(found["hr"][0], expected)


def test_the_hash_of_pairs_is_of_lr_too(folders):
    crops = Paired(match(*folders, 2).pairs, 2)
    assert [tuple(p.shape) for p in crops.pictures] == [(3, 121, 160)] * 4 + [(3, 60, 80)] * 4
    assert torch.equal(crops.pictures[4] / 255, read_image(folders[1] / "p0x2.png"))


def test_a_store_of_pairs_is_made_anew_when_an_lr_file_changed(folders, tmp_path):
    pairs = match(*folders, 2).pairs
    first = Paired(pairs, 2, store=tmp_path / "store")
    write_image(torch.zeros(3, 60, 80), folders[1] / "p0x2.png")
    again = Paired(pairs, 2, store=tmp_path / "store")
    assert first.pictures[4].any()
    assert not again.pictures[4].any()


def test_a_pair_that_does_not_fit_gives_no_crops(folders):
    with pytest.raises(ValueError, match="p0 has no LR file: give a pair"):
        Paired([Pair("p0", folders[0] / "p0.png", None)], 2)
    with pytest.raises(ValueError, match=r"p1x2\.png is 80x60, HR's 160x121 / 4 is 40x30"):
        Paired([Pair("p1", folders[0] / "p1.png", folders[1] / "p1x2.png")], 4)


def test_a_shift_is_the_length_of_both():
    assert Alignment(0.3, -0.4, (0, 0, 0), 1.0, 1.0).shift == pytest.approx(0.5)
    assert Alignment(None, 0.25, (0, 0, 0), None, 1.0).shift == 0.25
    assert math.isclose(Alignment(None, None, (0, 0, 0), None, 1.0).shift, 0)


def test_bicubic_lr_of_the_same_file_is_exactly_there(photo):
    found = measure_alignment(bicubic(3)(photo), photo[:, :300, :450], 3)
    assert found.shift < 0.01
