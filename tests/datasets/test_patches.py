"""Crops for training: aligned, turned together, exact, and the same for the same seed."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from torch import Tensor

from srkit.datasets import patches as module
from srkit.datasets.patches import DegradedPatches, Patches
from srkit.image.degrade import Blur, Degradation, Gaussian, Shrink, bicubic, real
from srkit.image.io import read_image, write_image
from srkit.image.resize import imresize
from srkit.image.tensors import modcrop, to_8bit


@pytest.fixture(scope="module")
def pictures():
    rng = torch.Generator().manual_seed(1)
    return [
        torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=rng)
        for height, width in ((50, 61), (48, 49))
    ]


@pytest.fixture
def paths(pictures, tmp_path):
    names = [tmp_path / "in" / f"{number}.png" for number in range(len(pictures))]
    names[0].parent.mkdir()
    for picture, name in zip(pictures, names, strict=True):
        write_image(picture / 255, name)
    return names


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def dihedral(x: Tensor, symmetry: int) -> Tensor:
    """The square's symmetries by flips: what the strides of a crop must amount to."""
    x = x.flip(-2) if symmetry & 1 else x
    x = x.flip(-1) if symmetry & 2 else x
    return x.transpose(-2, -1) if symmetry & 4 else x


def assert_same(one, other):
    assert one.keys() == other.keys()
    assert one["scale"] == other["scale"]
    for name in ("lr", "hr"):
        assert torch.equal(one[name], other[name].cpu())


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_crops_are_what_plain_slices_and_flips_give(pictures, scale):
    """LR crops are cut from the one LR picture: reduce, then crop, as a test set does."""
    patches = Patches(pictures, scale)
    found = patches.batch(64, 9, seeded(0))
    _, draws = patches.draw(64, 9, seeded(0))
    assert {draw.symmetry for draw in draws} == set(range(8))
    assert {draw.picture for draw in draws} == {0, 1}
    for number, (k, top, left, symmetry) in enumerate(draws):
        high = modcrop(pictures[k], scale)
        low = imresize(high, 1 / scale)
        for name, picture, r in (("lr", low, 1), ("hr", high, scale)):
            crop = picture[:, r * top : r * (top + 9), r * left : r * (left + 9)]
            assert torch.equal(found[name][number], dihedral(crop, symmetry).float() / 255)


def test_every_place_can_be_drawn(pictures):
    """The first and the last row and column too."""
    draws = Patches(pictures[:1], 4).draw(2000, 10, seeded(0))[1]
    assert {draw.top for draw in draws} == set(range(50 // 4 - 10 + 1))
    assert {draw.left for draw in draws} == set(range(61 // 4 - 10 + 1))


def test_lr_and_hr_crops_show_the_same_place():
    """A picture whose pixels tell their own coordinates: both crops must name the same corner."""
    rows = torch.arange(48)[:, None].expand(48, 48) * 4
    columns = torch.arange(48)[None, :].expand(48, 48) * 4
    picture = torch.stack([rows, columns, rows]).to(torch.uint8)
    crops = Patches([picture], 4).batch(16, 5, seeded(2))
    block_mean = crops["hr"].unfold(2, 4, 4).unfold(3, 4, 4).mean((-1, -2))
    # cubic against box: equal up to the borders
    assert (crops["lr"] - block_mean).abs().max() < 6 / 255


def test_the_generator_alone_decides(pictures):
    patches = Patches(pictures, 2)
    first = patches.batch(4, 8, seeded(3))
    torch.manual_seed(99)
    assert_same(patches.batch(4, 8, seeded(3)), first)
    assert not torch.equal(first["lr"], patches.batch(4, 8, seeded(4))["lr"])


def test_shares_together_are_the_whole_batch(pictures):
    patches = Patches(pictures, (2, 3))
    whole = patches.batch(6, 8, seeded(5))
    parts = [patches.batch(6, 8, seeded(5), (i, 3)) for i in range(3)]
    assert {part["scale"] for part in parts} == {whole["scale"]}
    for name in ("lr", "hr"):
        assert torch.equal(
            torch.stack([part[name] for part in parts], 1).flatten(0, 1), whole[name]
        )
    with pytest.raises(ValueError, match="6 crops cannot be shared by 4: take a multiple of 4"):
        patches.batch(6, 8, seeded(5), (0, 4))


def test_a_gather_gives_what_copies_give(pictures):
    """The path of a GPU, here on the processor's own tensor."""
    copied, gathered = Patches(pictures, (2, 3, 4)), Patches(pictures, (2, 3, 4))
    gathered.pixels = torch.from_numpy(gathered.pixels)
    for seed in range(6):
        assert_same(gathered.batch(16, 7, seeded(seed)), copied.batch(16, 7, seeded(seed)))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_store_on_the_gpu_gives_the_same_crops(pictures):
    batch = Patches(pictures, 4, device="cuda").batch(16, 9, seeded(0))
    assert batch["hr"].is_cuda
    assert_same(Patches(pictures, 4).batch(16, 9, seeded(0)), batch)


def test_of_several_scales_each_batch_has_one(pictures):
    patches = Patches(pictures, (2, 3, 4))
    rng, seen = seeded(0), set()
    for _ in range(20):
        batch = patches.batch(2, 6, rng)
        r = batch["scale"]
        assert batch["hr"].shape == (2, 3, 6 * r, 6 * r)
        seen.add(r)
    assert seen == {2, 3, 4}


def test_a_picture_comes_back_as_it_was(pictures):
    patches = Patches(pictures, (2, 4))
    assert all(torch.equal(patches.picture(k), pictures[k]) for k in (0, 1))


# memory


def test_memory_is_told_and_one_store_serves_all_scales(pictures):
    shapes = [(50, 61), (48, 49)]
    pixels = sum(3 * h * w + sum(3 * (h // r) * (w // r) for r in (2, 3, 4)) for h, w in shapes)
    patches = Patches(pictures, (2, 3, 4))
    assert patches.nbytes == patches.pixels.nbytes == pixels


def test_too_little_memory_is_told_before_anything_is_read(monkeypatch, tmp_path):
    """A picture of which only the header is ever looked at."""
    path = tmp_path / "large.png"
    Image.new("1", (8000, 8000)).save(path)
    monkeypatch.setattr(module, "read_image", None)
    with pytest.raises(MemoryError, match=r"are 380\.0 GiB, and .*: give store=, a file"):
        Patches([path] * 2000, 4)


@pytest.mark.parametrize(
    ("gpu", "memory", "words"),
    [
        (2.1, 1, None),
        (1.9, 1, 'and .* GiB are half of the GPU.s free memory: leave it in memory, device="cpu"'),
        (9, 0.9, "and .* GiB of memory are free: give store=, a file to keep it in"),
    ],
    ids=["room", "a full GPU", "full memory"],
)
def test_a_gpu_is_filled_to_a_half_and_by_way_of_memory(gpu, memory, words, monkeypatch):
    """Free memory in units of the store."""
    info = SimpleNamespace(available=memory * 1000)
    monkeypatch.setattr("psutil.virtual_memory", lambda: info)
    monkeypatch.setattr(module, "free_memory", lambda device: int(gpu * 1000))
    refused = pytest.raises(MemoryError, match=words) if words else nullcontext()
    with refused:
        module._check_room(1000, torch.device("cuda"))


def test_a_store_on_disk_gives_the_same_crops(paths, pictures, tmp_path):
    store = tmp_path / "new" / "pixels"
    kept = Patches(paths, (2, 4), store=store)
    assert_same(kept.batch(8, 9, seeded(0)), Patches(pictures, (2, 4)).batch(8, 9, seeded(0)))
    assert store.stat().st_size == kept.nbytes + 32
    assert torch.equal(kept.picture(1), pictures[1])


def test_a_store_is_made_once_for_the_same_pictures(paths, pictures, tmp_path, monkeypatch):
    store = tmp_path / "pixels"
    expected = Patches(paths, 4, store=store).batch(8, 9, seeded(0))
    with monkeypatch.context() as patched:
        patched.setattr(module, "read_image", None)  # nothing is decoded
        assert_same(Patches(paths, 4, store=store).batch(8, 9, seeded(0)), expected)
    write_image(pictures[0] / 255, paths[1])
    changed = Patches(paths, 4, store=store)
    assert torch.equal(changed.picture(1), pictures[0])
    changed = Patches(paths, 2, store=store).batch(8, 9, seeded(0))
    assert_same(changed, Patches(paths, 2).batch(8, 9, seeded(0)))


@pytest.mark.parametrize("harm", ["cut", "emptied"])
def test_a_store_that_is_not_whole_is_made_again(paths, tmp_path, harm):
    store = tmp_path / "pixels"
    expected = Patches(paths, 4, store=store).batch(8, 9, seeded(0))
    store.write_bytes(store.read_bytes()[:1000] if harm == "cut" else b"")
    assert_same(Patches(paths, 4, store=store).batch(8, 9, seeded(0)), expected)


def test_a_store_is_whole_or_not_there(paths, tmp_path):
    paths[1].write_bytes(paths[1].read_bytes()[:-200])
    store = tmp_path / "new" / "pixels"
    with pytest.raises(ValueError, match=r"1\.png"):
        Patches(paths, 4, store=store)
    assert [path.name for path in store.parent.iterdir()] == ["pixels.lock"]


# what goes in


@pytest.mark.parametrize("kind", ["jpg", "png"])
def test_files_are_read_upright(tmp_path, kind):
    """A camera held sideways: the size in the header is not that of the picture."""
    path = tmp_path / f"sideways.{kind}"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.effect_noise((40, 24), 60).convert("RGB").save(path, exif=exif)
    assert torch.equal(Patches([path], 2).picture(0), to_8bit(read_image(path)))


def test_a_header_that_tells_another_size_is_refused(paths, monkeypatch):
    """Rather than to fill the store with pixels in the wrong order."""
    monkeypatch.setattr(module, "read_image", lambda path: read_image(path).transpose(1, 2))
    with pytest.raises(ValueError, match=r"0\.png is \(61, 50\) and its header says \(50, 61\)"):
        Patches(paths, 2)


def test_a_crop_larger_than_every_picture_is_refused(pictures):
    with pytest.raises(ValueError, match=r"crops of \d+ px .* every LR picture \(the largest is"):
        Patches(pictures, 4).batch(1, 10_000, torch.Generator())


def test_a_crop_may_be_as_large_as_the_picture(recwarn):
    """Crops of the smallest picture's size leave nothing out; one pixel more leaves that out."""
    sizes = ((24, 30), (22, 40))
    small = Patches([torch.zeros(3, *size, dtype=torch.uint8) for size in sizes], 2)
    assert small.smallest == {2: 11}
    assert {draw.picture for draw in small.draw(50, 11, seeded(0))[1]} == {0, 1}
    assert not recwarn
    with pytest.warns(UserWarning, match=r"left out 1 of 2 pictures.*crops of 12 px: picture 1$"):
        assert {draw.picture for draw in small.draw(50, 12, seeded(0))[1]} == {0}
    with pytest.raises(ValueError, match=r"crops of 13 px .*the largest is 12 px"):
        small.draw(1, 13, seeded(0))


def test_the_warning_stands_where_the_batch_is_taken():
    patches = Patches([torch.zeros(3, n, n, dtype=torch.uint8) for n in (20, 24)], 2)
    with pytest.warns(UserWarning, match="left out 1 of 2") as told:
        patches.batch(1, 12, seeded(0))
    assert told[0].filename == __file__


@pytest.mark.parametrize(
    "picture",
    [torch.zeros(3, 8, 8), torch.zeros(1, 8, 8, dtype=torch.uint8)],
    ids=["floats", "one channel"],
)
def test_pictures_that_are_none_are_refused(picture):
    with pytest.raises(ValueError, match=r"a picture is .*, expected uint8 \(3, H, W\)"):
        Patches([picture], 2)


def test_degraded_crops_are_what_the_degradation_makes_of_their_place(pictures):
    """Away from borders: a blur sees the pixels around the crop, as in the middle of a picture."""
    degrade = Degradation(2, (Blur(Gaussian(1.0)), Shrink()))
    whole = [degrade(picture / 255) for picture in pictures]
    patches = DegradedPatches(pictures, degrade, margin=4)
    found = 0
    for seed in range(40):
        _, (draw,) = patches.draw(1, 8, seeded(seed))
        data = patches.batch(1, 8, seeded(seed))
        _, height, width = patches.lr[2][draw.picture]
        top, left = (min(max(at, 4), n - 12) for at, n in ((draw.top, height), (draw.left, width)))
        hr = pictures[draw.picture][:, 2 * top : 2 * top + 16, 2 * left : 2 * left + 16] / 255
        assert torch.equal(data["hr"][0], dihedral(hr, draw.symmetry))
        if draw.symmetry == 0 and 4 < top < height - 12 and 4 < left < width - 12:
            lr = whole[draw.picture][:, top : top + 8, left : left + 8]
            assert (data["lr"][0] - lr).abs().max() < 1.01 / 255  # rounded before or after a sum
            found += 1
    assert found, "no crop of this test was upright"


def test_degraded_crops_are_decided_by_the_generator(pictures):
    patches = DegradedPatches(pictures, real(2))
    first, again = (patches.batch(4, 12, seeded(3)) for _ in range(2))
    assert first["lr"].shape == (4, 3, 12, 12)
    assert first["hr"].shape == (4, 3, 24, 24)
    assert torch.equal(first["lr"], again["lr"])
    shares = [patches.batch(4, 12, seeded(3), part=(i, 2))["lr"] for i in (0, 1)]
    assert torch.equal(torch.stack(shares, 1).flatten(0, 1), first["lr"])
    assert not torch.equal(first["lr"], patches.batch(4, 12, seeded(4))["lr"])


def test_a_picture_as_small_as_the_crop_is_degraded_without_a_margin(pictures):
    patches = DegradedPatches(pictures, bicubic(2))
    assert patches.batch(3, 24, seeded(0))["lr"].shape == (3, 3, 24, 24)
    with pytest.raises(ValueError, match="crops of 26 px are larger than every LR picture"):
        patches.batch(3, 26, seeded(0))


def test_degraded_patches_refuse_what_is_no_degradation(pictures):
    with pytest.raises(TypeError, match="degrade is a str: a Degradation is expected"):
        DegradedPatches(pictures, "real")
    with pytest.raises(ValueError, match="margin=-1: expected a whole number from 0"):
        DegradedPatches(pictures, real(2), margin=-1)
