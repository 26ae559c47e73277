"""What a notebook shows of srkit's objects, and what a terminal prints."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn
from toy import Enlarger, record

import srkit
from srkit.image.io import Picture, write_image
from srkit.inference import FolderReport
from srkit.models.rlfn import RLFN
from srkit.models.zoo import model_info
from srkit.weights.load import load_checkpoint
from srkit.weights.save import save


def test_a_network_has_a_card(tmp_path):
    model = RLFN(4, channels=8, blocks=1, esa=4)
    shown = model._repr_html_()
    parameters = f"{sum(p.numel() for p in model.parameters()):,}"
    for fact in ("rlfn", "CVPRW 2022", parameters, "from 15x15", "random", "4h", "not quite"):
        assert fact in shown, fact
    save(model, tmp_path / "mine.safetensors")
    assert "mine.safetensors" in load_checkpoint(tmp_path / "mine.safetensors")._repr_html_()
    wrapped = srkit.as_model(nn.Upsample(scale_factor=2), scale=2, name="a <b>")
    assert "a &lt;b&gt;" in wrapped._repr_html_()


@pytest.mark.parametrize(
    ("thing", "facts"),
    [
        (srkit.count(Enlarger(), (8, 8)), ["multiply-adds", "8x8"]),
        (model_info("rlfn_x4"), ["CVPRW 2022", "543,740", "32.24 dB"]),
        (record(psnr=30.5), ["rlfn/laptop/long, seed 0", "87,816", "psnr 30.5", "3,000 steps"]),
        (FolderReport(failed={Path("a.png"): "it is cut"}), ["1 failed", "a.png: it is cut"]),
    ],
)
def test_what_is_counted_recorded_and_done_has_one_too(thing, facts):
    shown = thing._repr_html_()
    assert shown.startswith("<table")
    for fact in facts:
        assert fact in shown, fact


def test_samples_are_a_contact_sheet():
    samples = srkit.samples()
    assert repr(samples).startswith("<10 sample pictures: astronaut, chelsea,")
    sheet = Image.open(BytesIO(samples._repr_jpeg_()))
    assert sheet.size == (5 * 168 + 8, 2 * 184 + 8)


def test_show_takes_a_picture_in_every_form(tmp_path, rng):
    x = torch.rand(3, 40, 60, generator=rng)
    write_image(x, tmp_path / "a.png")
    figures = [srkit.show(x), srkit.show(tmp_path / "a.png"), srkit.show(Picture(x))]
    for figure in figures:
        still = Image.open(BytesIO(figure.still))
        assert still.size == (60, 40)
        assert 'width="240"' in figure.html  # four times as large, by a whole number
    assert repr(figures[1]) == "<Figure: a.png, 60 x 40 pixels>"
    assert srkit.show(x, alt="noise").alt == "noise"
    several = srkit.show([tmp_path / "a.png", x])
    assert repr(several) == "<Figure: 2 pictures: a.png, 1>"
    assert Image.open(BytesIO(several.still)).width == 2 * 168 + 8
    assert srkit.show(torch.stack([x, x])).alt == "2 pictures: 0, 1"
    assert srkit.show({"HR": x, "SR": x}).alt == "2 pictures: HR, SR"
    assert srkit.show([tmp_path / "a.png"] * 2).alt == "2 pictures: 0 a.png, 1 a.png"


@pytest.mark.parametrize(
    ("what", "words"), [([], "no pictures"), (torch.rand(3, 4, 4) * 99, "divide it by 255")]
)
def test_show_refuses_in_words(what, words):
    with pytest.raises(ValueError, match=words):
        srkit.show(what)
