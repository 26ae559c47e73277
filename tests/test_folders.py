"""Folders of pictures: what is taken, what is left out and said, what a second run finds."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import shutil
import subprocess
import sys
import tarfile
import warnings
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from srkit import files, inference
from srkit.datasets import patches as pictures_read
from srkit.datasets.patches import Patches, Unreadable
from srkit.datasets.pictures import patches, training_pictures
from srkit.image.folder import find_pictures
from srkit.image.io import Picture, read_image, read_picture, write_image
from srkit.image.resize import imresize
from srkit.inference import upscale, upscale_folder
from srkit.metrics.evaluate import evaluate
from srkit.models.edsr import EDSR
from srkit.models.network import Network


class Nearest(Network):
    """Repeats pixels."""

    name, scale = "nearest", 2

    def forward(self, x):
        return F.interpolate(x, scale_factor=2, mode="nearest")


GREY = torch.full((3, 24, 24), 0.5)


@pytest.fixture
def folder(tmp_path):
    """One of everything that lies in people's folders."""
    here = tmp_path / "mine"
    write_image(GREY, here / "a.png")
    for name in ("b.JPG", "c.jfif", "d.jpe"):
        Image.new("RGB", (24, 24), (9, 99, 199)).save(here / name, "JPEG")
    Image.new("RGB", (24, 24), (9, 99, 199)).save(here / "e.ppm")
    Image.new("L", (24, 24), 99).save(here / "f.pgm")
    (here / "link.png").symlink_to(here / "a.png")
    (here / "lost.png").symlink_to(here / "nowhere.png")
    (here / "x.png").mkdir()
    (here / "._a.png").write_bytes(b"\0\5\x16\7")
    write_image(GREY, here / ".hidden.png")
    write_image(GREY, here / "__MACOSX" / "m.png")
    (here / "notes.txt").write_text("where I took them")
    Image.new("RGB", (24, 24)).save(here / "g.gif")
    return here


TAKEN = ["a.png", "b.JPG", "c.jfif", "d.jpe", "e.ppm", "f.pgm", "link.png"]
LEFT = {"g.gif", "notes.txt", "lost.png", "x.png"}


def test_one_rule_says_what_is_a_picture(folder):
    found = find_pictures(folder)
    assert [path.name for path in found.pictures] == TAKEN
    assert {path.name for path in found.left_out} == LEFT
    text = str(found)
    assert "7 pictures; left out 4: " in text
    assert "g.gif, notes.txt (no picture format that srkit reads)" in text
    assert "lost.png (a link that leads nowhere)" in text
    assert "x.png (a folder)" in text


def test_every_command_takes_the_same_pictures(folder, tmp_path):
    with pytest.warns(UserWarning, match="left out 4"):
        assert [Path(p).name for p in training_pictures(str(folder))] == TAKEN
    with pytest.warns(UserWarning, match="left out 4"):
        assert [row["image"] for row in evaluate("bicubic", folder, scale=2).rows] == [
            Path(name).stem for name in TAKEN
        ]
    report = upscale_folder(Nearest(), folder, tmp_path / "out")
    assert [path.name for path in report.done] == TAKEN
    assert {path.name for path in report.left_out} == LEFT
    assert not report.failed
    made = {path.name for path in (tmp_path / "out").iterdir()}
    assert made == {"a.png", "b.JPG", "c.jpg", "d.jpg", "e.png", "f.png", "link.png", ".srkit.json"}


def test_subfolders_are_followed_through_links_and_no_loop_is(tmp_path):
    write_image(GREY, tmp_path / "elsewhere" / "far.png")
    write_image(GREY, tmp_path / "mine" / "deep" / "near.png")
    (tmp_path / "mine" / "there").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "mine" / "deep" / "back").symlink_to(tmp_path / "mine")
    found = find_pictures(tmp_path / "mine", deep=True).pictures
    assert [path.name for path in found] == ["near.png", "far.png"]
    with pytest.raises(FileNotFoundError, match="there are some in deep, there below it: name"):
        find_pictures(tmp_path / "mine")


def test_of_hr_and_lr_side_by_side_hr_is_trained_on(tmp_path):
    for name in ("HR", "LR", "LR_bicubic"):
        write_image(GREY, tmp_path / "set" / name / "a.png")
    with pytest.warns(UserWarning, match=r"left out 2: .*\(LR beside HR\)"):
        found = training_pictures(str(tmp_path / "set"))
    assert found == [tmp_path / "set" / "HR" / "a.png"]
    only_low = tmp_path / "set" / "LR"  # asked for by its name it is taken
    assert training_pictures(str(only_low)) == [only_low / "a.png"]


def test_words_that_mean_pictures(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    write_image(GREY, Path("my photos/a.png"))
    write_image(GREY, Path("b/c.png"))
    write_image(GREY, Path("plus+sign/d.png"))
    a, c = Path("my photos/a.png"), Path("b/c.png")
    assert training_pictures("my photos + b") == [a, c]
    assert training_pictures("b/c.png") == [c]
    assert training_pictures("b+b/c.png") == [c]  # none twice
    assert training_pictures("~/b") == [tmp_path / c]
    assert training_pictures("plus+sign") == [Path("plus+sign/d.png")]
    for nothing in ("", " ", "b + ", "b+procedural"):
        with pytest.raises(ValueError, match="is no set of files: name a set of the catalogue, a"):
            training_pictures(nothing)
    with pytest.raises(FileNotFoundError, match=r"there is no folder or picture \./nowhere"):
        training_pictures("./nowhere")


def test_a_name_of_the_catalogue_is_told_from_a_folder_and_a_benchmark_is_said(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("SRKIT_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    write_image(GREY, Path("Set5/mine.png"))
    for k in range(5):
        write_image(GREY, tmp_path / "home" / "benchmarks" / "Set5" / "HR" / f"{k}.png")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = training_pictures("Set5")
    assert [path.name for path in found if isinstance(path, Path)] == [f"{k}.png" for k in range(5)]
    said = [str(w.message) for w in told]
    assert "Set5 is the catalogue's set here: write ./Set5 for the folder" in said
    assert "Set5 is a benchmark: what is trained on it must not be measured on it" in said
    assert training_pictures("./Set5") == [Path("Set5/mine.png")]
    with pytest.warns(UserWarning, match=r"write \./Set5 for the folder"):
        assert len(evaluate("bicubic", "Set5", scale=2).rows) == 5
    assert len(evaluate("bicubic", "./Set5", scale=2).rows) == 1
    there = tmp_path / "home" / "benchmarks" / "Set5"
    with pytest.warns(UserWarning, match="is a benchmark"):
        training_pictures(str(there))


# ------------------------------------------------------------------ one file stops nothing


def spoilt(path: Path, how: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if how == "no picture":
        path.write_bytes(b"no picture")
    elif how == "cut":
        write_image(torch.rand(3, 64, 64), path)
        path.write_bytes(path.read_bytes()[:-400])
    elif how == "empty":
        path.touch()
    elif how == "damaged pixels":
        write_image(torch.rand(3, 64, 64), path)
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    return path


@pytest.mark.parametrize("how", ["no picture", "cut", "empty", "damaged pixels"])
def test_a_damaged_picture_is_named_and_left_out(how, tmp_path):
    bad = spoilt(tmp_path / "mine" / "bad.png", how)
    write_image(GREY, tmp_path / "mine" / "good.png")
    with pytest.raises(Unreadable, match=r"bad\.png"):
        Patches([bad], 2)
    with pytest.warns(UserWarning, match=r"left out 1: bad\.png \(damaged or no picture\)"):
        assert patches(str(tmp_path / "mine"), 2, "cpu").names == ["good.png"]
    scores = evaluate("bicubic", tmp_path / "mine", scale=2)
    assert [row["image"] for row in scores.rows] == ["good"]
    assert "bad.png" in scores.left_out["bad.png"]
    assert "left out bad.png: " in str(scores)
    (tmp_path / "mine" / "good.png").unlink()
    with pytest.raises(ValueError, match=r"none of 1 pictures can be taken: left out 1: bad\.png"):
        patches(str(tmp_path / "mine"), 2, "cpu")
    with pytest.raises(ValueError, match=r"none of 1 pictures can be measured"):
        evaluate("bicubic", tmp_path / "mine", scale=2)


def test_a_picture_too_small_for_the_scale_or_for_a_measure_stops_nothing(tmp_path):
    """A thumbnail of three pixels ended both a training and a measurement, unnamed."""
    write_image(GREY[:, :3, :3], tmp_path / "mine" / "dot.png")
    write_image(GREY[:, :12, :12], tmp_path / "mine" / "icon.png")
    write_image(GREY, tmp_path / "mine" / "good.png")
    spoilt(tmp_path / "mine" / "bad.png", "cut")
    said = r"left out 2: bad\.png \(damaged or no picture\); dot\.png \(smaller than the scale\)"
    with pytest.warns(UserWarning, match=said):
        assert patches(str(tmp_path / "mine"), 4, "cpu").names == ["good.png", "icon.png"]
    with pytest.raises(
        Unreadable, match=r"dot\.png has 3 x 3 pixels, too few for x4: leave it out"
    ):
        Patches([tmp_path / "mine" / "dot.png"], (2, 4))
    with pytest.raises(
        ValueError, match="picture 1 has 4 x 2 pixels, too few for x3: leave it out"
    ):
        Patches([torch.zeros(3, 9, 9).byte(), torch.zeros(3, 4, 2).byte()], 3)
    scores = evaluate("bicubic", tmp_path / "mine", scale=3)
    assert [row["image"] for row in scores.rows] == ["good"]
    why = "icon has 12 x 12 pixels; without a border of 3 fewer than SSIM's 11 a side are left"
    assert scores.left_out["icon.png"].startswith(why)
    with pytest.raises(ValueError, match="icon has 12 x 12 pixels; without a border of 3 fewer"):
        evaluate("bicubic", tmp_path / "mine" / "icon.png", scale=3)


def test_many_damaged_pictures_are_looked_at_twice_at_most(tmp_path, monkeypatch):
    for k in range(8):
        spoilt(tmp_path / "mine" / f"{k}.png", "damaged pixels")
    write_image(GREY, tmp_path / "mine" / "good.png")
    looked, read = [], pictures_read.read_image
    monkeypatch.setattr(pictures_read, "read_image", lambda path: looked.append(path) or read(path))
    with pytest.warns(UserWarning, match="left out 8: 0.png, 1.png, 2.png and 5 more"):
        patches(str(tmp_path / "mine"), 2, "cpu")
    assert len(looked) <= 2 * 9


def test_of_a_benchmark_a_damaged_picture_is_an_error(tmp_path):
    for k in range(5):
        write_image(GREY, tmp_path / "HR" / f"{k}.png")
    spoilt(tmp_path / "HR" / "3.png", "cut")
    with pytest.raises(ValueError, match=r"3\.png"):
        evaluate("bicubic", "Set5", scale=2, root=tmp_path)


def test_pictures_smaller_than_a_crop_are_left_out_and_said_once():
    pictures = [torch.zeros(3, side, side, dtype=torch.uint8) for side in (16, 64, 48, 20)]
    pictures[1] += 1
    pictures[2] += 2
    crops, rng = Patches(pictures, 2), torch.Generator().manual_seed(0)
    with pytest.warns(UserWarning, match=r"left out 2 of 4 pictures, .*: picture 0, picture 3"):
        first = crops.batch(8, 20, rng)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        second = crops.batch(64, 20, rng)
    values = torch.cat([first["hr"], second["hr"]]).mul(255).round().unique().tolist()
    assert values == [1, 2]


# ------------------------------------------------------------------ a folder job run again


def test_results_of_another_network_are_not_already_there(tmp_path):
    class Twice(Nearest):
        name = "twice"

    write_image(GREY, tmp_path / "in" / "a.png")
    upscale_folder(Nearest(), tmp_path / "in", tmp_path / "out")
    again = upscale_folder(Nearest(), tmp_path / "in", tmp_path / "out")
    assert [path.name for path in again.skipped] == ["a.png"]
    with pytest.raises(ValueError, match=r"holds results of nearest .* this is twice .*overwrite"):
        upscale_folder(Twice(), tmp_path / "in", tmp_path / "out")
    with pytest.raises(ValueError, match=r"self-ensemble False\), and this is nearest .*True"):
        upscale_folder(Nearest(), tmp_path / "in", tmp_path / "out", self_ensemble=True)
    assert upscale_folder(Twice(), tmp_path / "in", tmp_path / "out", overwrite=True).done
    assert json.loads((tmp_path / "out" / ".srkit.json").read_text())["network"] == "twice"


@pytest.mark.parametrize("how", ["stopped", "killed", "failed"])
def test_where_results_were_partly_replaced_none_is_already_there(how, tmp_path, monkeypatch):
    """The old network's were taken for the new one's by the next run."""

    class Twice(Nearest):
        name = "twice"

    class Killed(BaseException):
        """As if the process were gone."""

    for name in ("a", "b", "c"):
        write_image(GREY, tmp_path / "in" / f"{name}.png")
    folders = tmp_path / "in", tmp_path / "out"
    upscale_folder(Nearest(), *folders)
    real, ends = inference.upscale_file, {"stopped": KeyboardInterrupt, "killed": Killed}

    def second(*given, **how_):
        if given[2].name == "b.png":
            raise ends.get(how, OSError)
        return real(*given, **how_)

    with monkeypatch.context() as patch:
        patch.setattr(inference, "upscale_file", second)
        with suppress(Killed):
            upscale_folder(Twice(), *folders, overwrite=True)
    words = r"out holds results of two networks, because replacing those of nearest was stopped or"
    for network in (Twice(), Nearest()):
        with pytest.raises(ValueError, match=words):
            upscale_folder(network, *folders)
    assert len(upscale_folder(Twice(), *folders, overwrite=True).done) == 3
    assert len(upscale_folder(Twice(), *folders).skipped) == 3


def test_a_folder_whose_sign_is_damaged_says_so(tmp_path):
    write_image(GREY, tmp_path / "in" / "a.png")
    upscale_folder(Nearest(), tmp_path / "in", tmp_path / "out")
    (tmp_path / "out" / ".srkit.json").write_text("{")
    with pytest.raises(files.Damaged, match=r"out/\.srkit\.json is damaged"):
        upscale_folder(Nearest(), tmp_path / "in", tmp_path / "out")
    assert upscale_folder(Nearest(), tmp_path / "in", tmp_path / "out", overwrite=True).done
    assert upscale_folder(Nearest(), tmp_path / "in", tmp_path / "out").skipped


def test_a_network_of_any_precision_fills_a_folder(tmp_path):
    write_image(GREY, tmp_path / "in" / "a.png")
    network = EDSR(scale=2, channels=4, blocks=1).bfloat16()
    assert upscale_folder(network, tmp_path / "in", tmp_path / "out").done


@pytest.mark.parametrize("size", [(96, 96), (24, 24), None])
def test_a_file_of_another_size_is_not_already_there(size, tmp_path):
    write_image(GREY, tmp_path / "in" / "a.png")
    out = tmp_path / "out" / "a.png"
    if size is None:
        spoilt(out, "no picture")
    else:
        write_image(torch.rand(3, *size), out)
    before = out.read_bytes()
    report = upscale_folder(Nearest(), tmp_path / "in", tmp_path / "out")
    (why,) = report.failed.values()
    what = "is no picture" if size is None else f"has {size[0]} x {size[1]} pixels"
    assert f"a.png is there and {what}, the result would have 48 x 48: overwrite it, or" in why
    assert out.read_bytes() == before


KILLED = """
import os, signal, sys
from srkit.files import write_whole
with write_whole(sys.argv[1]) as file:
    file.write(b"half")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_kill_left_is_removed_and_what_is_being_written_is_not(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    subprocess.run([sys.executable, "-c", KILLED, out / "a.png"], check=False)
    (stale,) = out.iterdir()
    assert stale.name.endswith(".tmp")
    write_image(GREY, tmp_path / "in" / "a.png")
    with files.write_whole(out / "other.png") as file:
        file.write(b"not yet")
        upscale_folder(Nearest(), tmp_path / "in", out)
        assert not stale.exists()
    assert {path.name for path in out.iterdir()} == {"a.png", "other.png", ".srkit.json"}


# ------------------------------------------------------------------ refused before the work


class Counting(Nearest):
    """It counts what it computes."""

    def forward(self, x):
        type(self).calls += 1
        return super().forward(x)

    calls = 0


def deep(path: Path) -> None:
    Image.fromarray(np.full((24, 24), 999, np.uint16)).save(path)


def clear(path: Path) -> None:
    Image.new("RGBA", (24, 24), (1, 2, 3, 99)).save(path)


@pytest.mark.parametrize(
    ("make", "suffix", "words"),
    [
        (deep, ".jpg", r"16 bits; JPEG has 8 here, PNG and TIFF 8 or 16"),
        (deep, ".webp", r"16 bits; WEBP has 8 here"),
        (clear, ".jpg", r"JPEG has no transparency: write PNG, WebP or TIFF"),
        (clear, ".bmp", r"BMP has no transparency"),
        (lambda path: write_image(torch.zeros(3, 1, 8200), path), ".webp", r"takes 16383 a side"),
        (lambda path: write_image(torch.zeros(3, 1, 32_800), path), ".jpg", r"takes 65535 a side"),
    ],
)
def test_what_the_format_does_not_take_is_known_before_the_work(make, suffix, words, tmp_path):
    (tmp_path / "in").mkdir()
    make(tmp_path / "in" / "a.png")
    Counting.calls = 0
    report = upscale_folder(Counting(), tmp_path / "in", tmp_path / "out", suffix=suffix)
    (why,) = report.failed.values()
    with pytest.raises(ValueError, match=words):
        raise ValueError(why)
    assert Counting.calls == 0


def test_a_disk_without_room_is_known_before_the_work(tmp_path, monkeypatch):
    write_image(torch.zeros(3, 500, 500), tmp_path / "in" / "a.png")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: os.statvfs_result((0,) * 10))
    usage = type("usage", (), {"free": 2**15})
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    Counting.calls = 0
    report = upscale_folder(Counting(), tmp_path / "in", tmp_path / "out")
    (why,) = report.failed.values()
    assert "has 0.0 MiB free, the picture takes 0.1 at least: make room, or choose" in why
    assert Counting.calls == 0


def test_where_nothing_may_be_written_is_known_before_the_work(tmp_path, monkeypatch):
    write_image(GREY, tmp_path / "in" / "a.png")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(PermissionError, match="is read-only for this user"):
        upscale_folder(Nearest(), tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists()


# ------------------------------------------------------------------ Netpbm


@pytest.mark.parametrize(
    ("data", "bits", "value"),
    [
        (b"P6 1 1 255\n\x33\x33\x33", 8, 0x33 / 255),
        (b"P6\n# a comment\n1\t1 # another\n255\n\x33\x33\x33", 8, 0x33 / 255),
        (b"P5 1 1 65535\n\x01\x02", 16, 0x102 / 65535),
        (b"P5 1 1 15\n\x05", 8, 5 / 15),
        (b"P5 1 1 1023\n\x01\x02", 16, 0x102 / 1023),
    ],
)
def test_netpbm_is_read(data, bits, value, tmp_path):
    (tmp_path / "a.ppm").write_bytes(data)
    picture = read_picture(tmp_path / "a.ppm")
    assert (picture.bits, tuple(picture.rgb.shape)) == (bits, (3, 1, 1))
    assert picture.rgb.flatten().tolist() == pytest.approx([value] * 3, abs=1 / 65535)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"P6 2 2 255\n\0\0\0", "holds 3 bytes of pixels and its header promises 12"),
        (b"P5 1 1 0\n\0", "its header says that white is 0"),
        (b"P5 1 1 70000\n\0\0", "white is 70000"),
        (b"P5 1 1 10\n\x0b", "a sample is 11, above its white, 10"),
        (b"P3 1 1 255\n1 2 3\n", "plain or of one bit"),
        (b"P4 8 1\n\0", "plain or of one bit"),
        (b"P5 1 1 255\n\0P5 1 1 255\n\0", "more than one picture"),
        (b"P6 99999 99999 255\n\0", "too large, perhaps a decompression bomb"),
        (b"P6 0 1 255\n", "0 x 1 pixels"),
    ],
)
def test_netpbm_that_is_none_is_refused(data, words, tmp_path):
    (tmp_path / "a.ppm").write_bytes(data)
    with pytest.raises(ValueError, match=words):
        read_image(tmp_path / "a.ppm")


# ------------------------------------------------------------------ too large, cut short


@pytest.mark.parametrize("scale", [1e-9, 1e9, 1e-8])
def test_a_scale_that_fills_the_memory_is_refused(scale):
    with pytest.raises(ValueError, match=r"more than memory holds\. The scale is .*its inverse\?"):
        imresize(torch.rand(3, 64, 64), scale)


def test_a_result_that_does_not_fit_is_told_as_that(monkeypatch):
    def full(*size, **where):
        if len(size) == 1:
            return torch.zeros(size)
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate")

    monkeypatch.setattr(torch, "empty", full)
    words = r"the result, 48 x 48 pixels, takes 0\.0 GiB by itself, and no tile makes it smaller"
    with pytest.raises(RuntimeError, match=words):
        upscale(Nearest(), GREY)


def test_more_memory_than_is_free_is_refused_before_it_is_taken(monkeypatch):
    """A system promises it all the same, and ends the process when it is used."""
    with pytest.raises(MemoryError, match=r"not enough memory: 1788\.1 GiB, and .* GiB are free"):
        imresize(torch.zeros(3, 400, 400), 1000)
    monkeypatch.setattr("psutil.virtual_memory", lambda: type("", (), {"available": 2**20}))
    words = (
        r"the result, 6000 x 6000 pixels, takes 0\.4 GiB by itself, and no tile makes it smaller"
    )
    with pytest.raises(RuntimeError, match=words):
        upscale(Nearest(), torch.zeros(3, 3000, 3000))


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_a_tar_that_is_cut_between_two_members_is_no_whole_one(pack, tmp_path):
    raw = BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        for name in "ab":
            member = tarfile.TarInfo(name)
            member.size = 512
            archive.addfile(member, BytesIO(name.encode() * 512))
    whole, cut = tmp_path / "whole.tar", tmp_path / "cut.tar"
    whole.write_bytes(pack(raw.getvalue()))
    cut.write_bytes(pack(raw.getvalue()[:1024]))  # the first header and its content
    assert {p.name for p in files.unpack(whole, tmp_path / "out").iterdir()} == {"a", "b"}
    with pytest.raises(ValueError, match=r"is broken .*without tar's mark of an end"):
        files.unpack(cut, tmp_path / "half")
    assert not (tmp_path / "half").exists()


@pytest.mark.parametrize("image", ["picture", "array"])
def test_sixteen_bits_are_computed_in_float32(image, monkeypatch):
    """Under "auto", where the machine would take bfloat16."""
    monkeypatch.setattr("srkit.devices.has_bfloat16", lambda device: True)
    seen = []
    monkeypatch.setattr(
        inference, "_run", lambda model, x, low: seen.append(low) or Nearest()(x[None])[0]
    )
    deep_ones = {
        "picture": Picture(GREY, bits=16), "array": np.full((24, 24, 3), 999, np.uint16)
    }  # fmt: skip
    upscale(Nearest(), deep_ones[image])
    upscale(Nearest(), Picture(GREY))
    upscale(Nearest(), deep_ones[image], precision="bfloat16")  # who asks for it gets it
    assert seen == [None, torch.bfloat16, torch.bfloat16]


def test_an_infinite_number_is_no_json(tmp_path):
    write_image(GREY, tmp_path / "a.png")

    def perfect(lr):
        return torch.full((3, 24, 24), 128 / 255)

    text = evaluate(perfect, tmp_path, scale=2).to_json()
    assert json.loads(text, parse_constant=pytest.fail)["means"]["psnr"] is None
