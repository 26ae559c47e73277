"""The catalog: complete lines, every folder layout, honest failures, and nothing from the net."""

import re
import shutil
import socket
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from srkit import files
from srkit.datasets import catalog
from srkit.datasets.catalog import CATALOG, Archive, Dataset, pairs, pictures, samples, verify

SET5 = ("baby", "bird", "butterfly", "head", "woman")


@pytest.fixture(autouse=True)
def no_net_and_an_empty_home(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setenv("SRKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SRKIT_HOME", raising=False)


def write(folder, *names, value=0):
    for name in names:
        path = Path(folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (12, 12), (value, 2 * value, 0)).save(path)


# The table


@pytest.mark.parametrize("data", CATALOG.values(), ids=str)
def test_each_line_says_what_it_is_where_it_goes_and_how_to_get_it(data):
    assert data.what
    assert data.terms
    assert data.count > 0
    assert re.fullmatch(r"(benchmarks|train|ref_sr)/\w+", data.folder)
    assert bool(data.archives) != bool(data.how), "an address, or words for where to ask"
    for archive in data.archives:
        assert all(url.startswith("https://") for url in archive.urls)
        assert archive.sha256 is None or re.fullmatch("[0-9a-f]{64}", archive.sha256)
        assert archive.md5 is None or re.fullmatch("[0-9a-f]{32}", archive.md5)


def test_what_cannot_be_checked_is_marked_unverified():
    unverified = {data.name for data in CATALOG.values() if not data.verified}
    assert {"Manga109", "Sun80", "T91", "General100", "CUFED5"} <= unverified
    assert {"Set5", "Set14", "BSD100", "Urban100", "DIV2K_train"} & unverified == set()


def test_the_classic_sets_have_two_mirrors():
    for name in ("Set5", "Set14", "BSD100", "Urban100", "DIV2K_valid", "DIV2K_train", "BSDS400"):
        assert len({url for archive in CATALOG[name].archives for url in archive.urls}) >= 2


def test_the_hashes_cover_each_recorded_set_and_no_two_pictures_are_one():
    recorded = catalog.pixel_hashes()
    assert {name: len(hashes) for name, hashes in recorded.items()} == {
        name: CATALOG[name].count for name in ("Set5", "Set14", "BSD100")
    }
    values = [value for hashes in recorded.values() for value in hashes.values()]
    assert len(set(values)) == len(values)


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown data set 'Set6': expected one of Set5, "):
        pairs("Set6", 4)


def test_a_set_that_is_in_place_leaves_nothing_else_even_of_a_process_that_dies(
    tmp_path, monkeypatch
):
    """Killed as the pictures were put in place; no later call looks for what it left."""
    write(tmp_path / "packed", "Toy_HR/a.png", "Toy_HR/b.png")
    (tmp_path / "packed" / "Toy_HR" / "more.txt").write_text("notes")
    path = Path(shutil.make_archive(str(tmp_path / "toy"), "zip", tmp_path / "packed"))
    archive = Archive((path.as_uri(),), "Toy_HR/*", files.sha256(path))
    toy = Dataset("Toy", "two pictures", 2, "benchmarks/Toy", (archive,))
    monkeypatch.setitem(CATALOG, "Toy", toy)
    replace, seen = catalog.os.replace, []

    def placed(source, target):
        replace(source, target)
        if Path(target).name == "Toy":
            seen.extend(p for p in Path(source).parent.rglob("*"))

    monkeypatch.setattr(catalog.os, "replace", placed)
    assert len(pictures("Toy", fetch=True)) == 2
    assert seen == []


# The published files


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("name", ["Set5", "Set14", "BSD100"])
def test_the_benchmarks_come_in_order_with_lr_files_that_fit(assets, name, scale):
    found = pairs(name, scale, root=assets(f"benchmarks/{name}"))
    assert [pair.name for pair in found] == sorted(catalog.pixel_hashes()[name])
    for pair in found:
        with Image.open(pair.hr) as hr, Image.open(pair.lr) as lr:
            assert lr.size == (hr.width // scale, hr.height // scale)


def test_srkit_home_is_where_a_name_alone_is_looked_for(assets, monkeypatch):
    home = assets("benchmarks/Set5").parent.parent
    monkeypatch.setenv("SRKIT_HOME", str(home))
    assert pairs("set5", 4) == pairs("Set5", 4, root=home)
    assert len(pictures("BSDS400")) == 399
    with pytest.warns(UserWarning, match=r"45 of the 100 pictures of General100"):
        assert len(pictures("General100")) == 45


@pytest.mark.parametrize("name", ["Set5", "Set14", "BSD100"])
def test_the_published_pixels_verify(assets, name):
    assert verify(name, root=assets(f"benchmarks/{name}")) == []


def test_verify_tells_which_picture_differs_and_forgives_cropping(assets, tmp_path):
    for path in sorted((assets("benchmarks/Set5") / "HR").iterdir()):
        with Image.open(path) as image:
            image.crop((0, 0, image.width // 4 * 4, image.height // 3 * 3)).save(
                tmp_path / path.name
            )
    assert verify("Set5", root=tmp_path) == []
    with Image.open(tmp_path / "bird.png") as image:
        r, g, b = image.getpixel((5, 5))
        image.putpixel((5, 5), (r, g, b ^ 1))
        image.save(tmp_path / "bird.png")
    assert verify("Set5", root=tmp_path) == [
        "bird.png has the pixels of no picture of Set5",
        "no picture has the pixels of bird",
    ]
    (tmp_path / "bird.png").unlink()
    assert verify("Set5", root=tmp_path) == [
        "4 pictures, expected 5",
        "no picture has the pixels of bird",
    ]


# Folder layouts


@pytest.mark.parametrize(
    ("hr", "lr"),
    [
        ("HR/{}.png", "LR_bicubic/X3/{}x3.png"),
        ("benchmarks/Set5/HR/{}.bmp", "benchmarks/Set5/LR_bicubic/X3/{}x3.png"),
        ("Set5/Set5_HR/{}.png", "Set5/Set5_LR_bicubic/X3/{}x3.png"),
        ("GTmod12/{}.png", "LRbicx3/{}.png"),
        ("image_SRF_3/{}_SRF_3_HR.png", "image_SRF_3/{}_SRF_3_LR.png"),
        ("{}.JPG", None),
    ],
)
def test_each_common_layout_is_understood(tmp_path, hr, lr):
    write(tmp_path, *(hr.format(name) for name in SET5))
    if lr:
        write(tmp_path, *(lr.format(name) for name in SET5))
    write(tmp_path, "HR_old/x.png", "LR_bicubic/X2/babyx2.png")
    for pair, name in zip(pairs("Set5", 3, root=tmp_path), SET5, strict=True):
        assert pair.name == name
        assert pair.hr == tmp_path / hr.format(name)
        assert pair.lr == (tmp_path / lr.format(name) if lr else None)


def test_urban100_takes_the_full_pictures_of_selfexsr_at_every_scale(tmp_path):
    """Its image_SRF_2 holds half-size HR pictures beside the x4 LR ones."""
    for scale in (2, 4):
        for kind in ("HR", "LR"):
            write(
                tmp_path / f"image_SRF_{scale}",
                *(f"img_{i:03}_SRF_{scale}_{kind}.png" for i in range(1, 101)),
            )
    for scale, lr in ((2, None), (3, None), (4, "img_007_SRF_4_LR.png")):
        seventh = pairs("Urban100", scale, root=tmp_path)[6]
        assert seventh.name == "img_007"
        assert seventh.hr.name == "img_007_SRF_4_HR.png"
        assert (seventh.lr and seventh.lr.name) == lr


def test_an_incomplete_set_is_refused_for_measuring_and_told_for_training(tmp_path):
    write(tmp_path / "HR", "baby.png", "bird.png")
    with pytest.raises(ValueError, match=r"holds 2 HR pictures of Set5 x4, expected 5"):
        pairs("Set5", 4, root=tmp_path)
    with pytest.warns(UserWarning, match=r"holds 2 of the 5 pictures of Set5"):
        assert [path.name for path in pictures("Set5", root=tmp_path)] == ["baby.png", "bird.png"]
    write(tmp_path / "HR", *(f"{name}.png" for name in SET5))
    write(tmp_path / "LR_bicubic" / "X4", "babyx4.png")
    with pytest.raises(ValueError, match=r"lacks the x4 LR picture of bird, butterfly, head, wom"):
        pairs("Set5", 4, root=tmp_path)


def test_the_picture_that_leaks_into_set5_is_not_trained_on(tmp_path):
    write(tmp_path / "train", "302003.png", "1.png")
    write(tmp_path / "test", "2.png")
    with pytest.warns(UserWarning, match="2 of the 399"):
        found = pictures("BSDS400", root=tmp_path)
    assert [path.stem for path in found] == ["2", "1"]


def test_a_missing_set_is_answered_with_where_and_three_ways(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        pairs("Set5", 4)
    message = str(caught.value)
    assert str(tmp_path / "cache" / "benchmarks" / "Set5") in message
    for way in ("fetch=True", "`srkit fetch Set5`", "root=", "SRKIT_HOME"):
        assert way in message
    with pytest.raises(FileNotFoundError, match=r"(?s)elsewhere.*apply at http.*academic use only"):
        pairs("Manga109", 4, root=tmp_path / "elsewhere")


# Fetching, from archives on this disk


def archive(path, *names, value=0):
    folder = path.with_suffix("")
    write(folder, *names, value=value)
    with tarfile.open(path, "w:gz") as tar:
        tar.add(folder, "top")
    shutil.rmtree(folder)
    return path.as_uri()


def one_entry(monkeypatch, *archives):
    data = Dataset("Two", "a test", 2, "benchmarks/Two", archives)
    monkeypatch.setitem(CATALOG, "Two", data)


@pytest.mark.filterwarnings("ignore:.*unverified")
def test_fetch_installs_a_set_in_srkits_own_layout(tmp_path, monkeypatch):
    url = archive(tmp_path / "a.tgz", "hr/b.png", "hr/a.png", "hr/readme.txt.png", "lr/a.png")
    one_entry(monkeypatch, Archive((url,), "top/hr/?.png"))
    first = pairs("Two", 4, fetch=True)
    assert [pair.name for pair in first] == ["a", "b"]
    assert first[0].hr == tmp_path / "cache/benchmarks/Two/HR/a.png"
    Path(tmp_path / "a.tgz").unlink()
    assert pairs("Two", 4) == first, "the second time nothing is fetched"


@pytest.mark.filterwarnings("ignore:.*unverified")
def test_fetch_goes_on_to_the_next_source_when_one_is_broken_or_another_set(tmp_path, monkeypatch):
    gone = (tmp_path / "gone.tgz").as_uri()
    page = tmp_path / "page.tgz"
    page.write_text("<html>log in</html>")
    three = archive(tmp_path / "three.tgz", "a.png", "b.png", "c.png")
    other = archive(tmp_path / "other.tgz", "a.png", "b.png", value=1)
    right = archive(tmp_path / "right.tgz", "a.png", "b.png", value=2)
    pixels = torch.tensor([2, 4, 0]).view(3, 1, 1).expand(3, 12, 12) / 255
    monkeypatch.setattr(catalog, "pixel_hashes", lambda: {"Two": {"a": catalog.pixel_hash(pixels)}})
    bad = [Archive((url,), "top/*") for url in (gone, page.as_uri(), three, other)]
    bad.append(Archive((right,), "top/*", md5="0" * 32))
    one_entry(monkeypatch, *bad)
    with pytest.raises(RuntimeError) as caught:
        pairs("Two", 4, fetch=True)
    assert not (files.cache_folder() / "benchmarks").exists(), "all or nothing"
    for words in (
        "gone.tgz", "neither a zip nor a tar", "3 pictures, expected 2",
        "a.png has the pixels of no picture of Two", f"expected {'0' * 32}",
    ):  # fmt: skip
        assert words in str(caught.value)
    one_entry(monkeypatch, *bad, Archive((right,), "top/*"))
    assert len(pairs("Two", 4, fetch=True)) == 2


def test_a_set_that_must_be_asked_for_is_not_fetched():
    with pytest.raises(RuntimeError, match=r"cannot be downloaded by srkit: apply at http"):
        pairs("Manga109", 4, fetch=True)


# Samples


def test_samples_come_from_the_wheel_one_at_a_time(monkeypatch):
    skimage_data = pytest.importorskip("skimage.data")
    read = []
    real = catalog.read_image
    monkeypatch.setattr(catalog, "read_image", lambda path: read.append(path) or real(path))
    chelsea = samples()["chelsea"]
    assert len(read) == 1
    assert np.array_equal((255 * chelsea).round().byte().permute(1, 2, 0), skimage_data.chelsea())


def test_every_sample_is_an_image_and_the_grey_ones_have_equal_channels():
    for name, image in samples().items():
        assert image.dtype == torch.float32
        assert image.shape[0] == 3
        assert min(image.shape[1:]) >= 300
        assert 0 <= image.min() < image.max() <= 1
        grey = bool((image == image[:1]).all())
        assert grey == (name in ("brick", "grass", "gravel"))
    assert samples()["motorcycle"].shape == samples()["motorcycle_right"].shape
    with pytest.raises(KeyError, match="no sample 'eagle': expected one of astronaut"):
        samples()["eagle"]
