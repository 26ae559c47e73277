"""Pictures in and out: every kind of file comes back as it was, or is refused in plain words."""

import io
import re
import struct
import zlib
from contextlib import nullcontext

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image, ImageCms

from srkit.image.colour import to_y, with_y
from srkit.image.io import (
    Picture,
    as_image,
    like,
    read_image,
    read_picture,
    write_image,
    write_picture,
)
from srkit.image.tensors import check_image, modcrop, round_8bit, shave, to_8bit

SIZE = (9, 13)  # height, width: odd, unequal
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
GREY_PROFILE = SRGB[:16] + b"GRAY" + SRGB[20:]  # only the field that says which colours it is of


def noise(channels, dtype=np.uint8, seed=0):
    """(H, W, C) over the whole range of the type."""
    top = np.iinfo(dtype).max
    generator = np.random.default_rng(seed)
    return generator.integers(0, top, (*SIZE, channels), dtype, endpoint=True)


def tensor(pixels):
    """(H, W, C) whole numbers -> (C, H, W) floats, straight from the definition."""
    scaled = pixels.astype(np.float64) / np.iinfo(pixels.dtype).max
    return torch.from_numpy(scaled).permute(2, 0, 1).float()


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(header, rows, extra=b""):
    body = chunk(b"IHDR", struct.pack(">IIBBBBB", *header)) + extra
    body += chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def png16(pixels, colour_type, extra=b""):
    """A 16-bit PNG file by hand, independent of the writer under test (no row filter)."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    return png((pixels.shape[1], pixels.shape[0], 16, colour_type, 0, 0, 0), rows, extra)


def tiff(pixels, **options):
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, **options)
    return file.getvalue()


# ------------------------------------------------------------------- awkward files


@pytest.fixture
def awkward(tmp_path):
    """name -> (path, what it must read as: rgb, alpha, bits, grey); all of it lossless."""
    g, ga, c, ca = (noise(n) for n in (1, 2, 3, 4))
    G, GA, C, CA = (noise(n, np.uint16) for n in (1, 2, 3, 4))
    bits = g > 127
    index = noise(1) % 4
    palette = noise(3)[0, :4]  # four colours
    paletted = Image.fromarray(index[..., 0])
    paletted.putpalette(palette.tobytes())
    clear = np.array([255, 0, 128, 255], np.uint8)  # alpha of each of the four colours
    files = {}

    def add(name, save, rgb, alpha=None, depth=8, grey=False):
        path = tmp_path / name
        save(path)
        rgb = tensor(rgb).expand(3, -1, -1)
        files[name] = path, rgb, None if alpha is None else tensor(alpha), depth, grey

    def pillow(pixels, **options):
        return lambda path: Image.fromarray(pixels.squeeze()).save(path, **options)

    def raw(data):
        return lambda path: path.write_bytes(data)

    add("rgb.png", pillow(c), c)
    add("rgb.bmp", pillow(c), c)
    add("rgb.tif", pillow(c, compression="tiff_lzw"), c)
    add("rgb.webp", pillow(c, lossless=True), c)
    add("rgba.png", pillow(ca), ca[..., :3], ca[..., 3:])
    add("grey.png", pillow(g), g, grey=True)
    add("grey.tif", pillow(g), g, grey=True)
    add("one_bit.png", pillow(bits), bits * np.uint8(255), grey=True)
    add("grey_alpha.png", pillow(ga), ga[..., :1], ga[..., 1:], grey=True)
    add("grey_key.png", pillow(g, transparency=int(g[0, 0, 0])), g,
        (g != g[0, 0]) * np.uint8(255), grey=True)  # fmt: skip
    add("palette.png", paletted.save, palette[index[..., 0]])
    add("palette_clear.png", lambda path: paletted.save(path, transparency=clear.tobytes()),
        palette[index[..., 0]], clear[index])  # fmt: skip
    add("grey16.png", raw(png16(G, 0)), G, depth=16, grey=True)
    add("grey16_alpha.png", raw(png16(GA, 4)), GA[..., :1], GA[..., 1:], 16, True)
    add("rgb16.png", raw(png16(C, 2)), C, depth=16)
    add("rgb16_key.png", raw(png16(C, 2, chunk(b"tRNS", C[2, 3].astype(">u2").tobytes()))), C,
        (C[2, 3] != C).any(-1, keepdims=True) * np.uint16(65535), 16)  # fmt: skip
    add("rgba16.png", raw(png16(CA, 6)), CA[..., :3], CA[..., 3:], 16)
    add("grey16.tif", raw(tiff(G[..., 0], photometric="minisblack")), G, depth=16, grey=True)
    add("grey16_white_is_zero.tif", raw(tiff(65535 - G[..., 0], photometric="miniswhite")), G,
        depth=16, grey=True)  # fmt: skip
    add("rgb16.tif", raw(tiff(C, photometric="rgb", byteorder=">")), C, depth=16)
    add("rgb16_tiled.tif", raw(tiff(C, photometric="rgb", tile=(16, 16))), C, depth=16)
    add("rgba16.tif", raw(tiff(CA, photometric="rgb", extrasamples=["unassalpha"])),
        CA[..., :3], CA[..., 3:], 16)  # fmt: skip
    return files


def same(picture, rgb, alpha, bits, grey):
    assert picture.rgb.dtype == torch.float32
    assert picture.rgb.is_contiguous()
    assert torch.equal(picture.rgb, rgb)
    assert (picture.alpha is None) == (alpha is None)
    assert alpha is None or torch.equal(picture.alpha, alpha)
    assert (picture.bits, picture.grey) == (bits, grey)


def test_awkward_files_are_read_exactly(awkward):
    """Every sample of every kind, transparency, depth and greyness, against the array written."""
    for path, *expected in awkward.values():
        same(read_picture(path), *expected)
        assert torch.equal(read_image(path), expected[0])
        assert read_picture(path).path == path


def test_awkward_files_survive_the_round_trip(awkward, tmp_path):
    """Read and written again: same samples, as the same kind of file (no 8-bit or RGB copy)."""
    for path, *expected in awkward.values():
        again = tmp_path / f"again_{path.name}"
        write_picture(read_picture(path), again, quality=100)  # 100: WebP without loss
        same(read_picture(again), *expected)


def test_16_bit_files_are_what_other_programs_read(tmp_path):
    """Pillow, which takes 16-bit grey, and tifffile read what was written."""
    pixels = noise(1, np.uint16)
    picture = Picture(tensor(pixels).expand(3, -1, -1), bits=16, grey=True)
    write_picture(picture, tmp_path / "a.png")
    write_picture(picture, tmp_path / "a.tif")
    assert np.array_equal(np.array(Image.open(tmp_path / "a.png")), pixels[..., 0])
    assert np.array_equal(tifffile.imread(tmp_path / "a.tif"), pixels[..., 0])
    assert torch.equal(as_image(Image.open(tmp_path / "a.png")), picture.rgb)


def test_grey_with_alpha_survives_as_colour_where_the_format_has_no_grey(tmp_path):
    """16-bit TIFF and WebP hold it as three equal channels and alpha."""
    pixels = noise(2, np.uint16)
    rgb, alpha = tensor(pixels[..., :1]).expand(3, -1, -1), tensor(pixels[..., 1:])
    write_picture(Picture(rgb, alpha, 16, grey=True), tmp_path / "a.tif")
    same(read_picture(tmp_path / "a.tif"), rgb, alpha, 16, False)
    write_picture(Picture(rgb, alpha, 8, True, icc=GREY_PROFILE), tmp_path / "a.webp", quality=100)
    picture = read_picture(tmp_path / "a.webp")
    same(picture, round_8bit(rgb), round_8bit(alpha), 8, False)
    assert picture.icc is None  # a grey profile would not fit


@pytest.mark.parametrize(("channels", "colour_type"), [(1, 0), (2, 4), (3, 2), (4, 6)])
def test_interlaced_16_bit_png(channels, colour_type, tmp_path):
    """Adam7 of 2 x 2 pixels: the first and the second of the upper row, then the lower row."""
    pixels = noise(channels, np.uint16)[:2, :2]
    first, second, lower = (p.astype(">u2").tobytes() for p in (*pixels[0], pixels[1]))
    rows = b"\0" + first + b"\0" + second + b"\0" + lower
    (tmp_path / "a.png").write_bytes(png((2, 2, 16, colour_type, 0, 0, 1), rows))
    picture = read_picture(tmp_path / "a.png")
    colours = channels - (channels in (2, 4))
    assert torch.equal(picture.rgb, tensor(pixels[..., :colours]).expand(3, -1, -1))
    if channels > colours:
        assert torch.equal(picture.alpha, tensor(pixels[..., colours:]))


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_once(suffix, orientation, tmp_path):
    """The upright picture of Pillow's exif_transpose, and no orientation left in what is kept."""
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = orientation, "a description"
    stored, path = Image.fromarray(noise(3)), tmp_path / f"a.{suffix}"
    stored.save(path, exif=exif)
    with Image.open(path) as image:
        expected = np.array(ImageOps.exif_transpose(image))
    picture = read_picture(path)
    assert torch.equal(picture.rgb, tensor(expected))
    if suffix == "tif":
        return
    again = tmp_path / f"again.{suffix}"
    write_picture(picture, again)
    with Image.open(again) as image:
        assert dict(image.getexif()) == {0x010E: "a description"}
    with Image.open(path) as image:  # reading a Pillow image leaves it as it was
        assert torch.equal(as_image(image), as_image(image))
        assert torch.equal(as_image(image), picture.rgb)


def test_16_bit_files_are_turned_too(tmp_path):
    """Orientation 6 (a quarter turn clockwise) in the TIFF tag and in the PNG chunk."""
    pixels = noise(3, np.uint16)
    upright = tensor(np.rot90(pixels, -1).copy())
    tag = [(0x0112, "H", 1, 6, True)]
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", extratags=tag)
    assert torch.equal(read_image(tmp_path / "a.tif"), upright)
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a description"
    write_picture(Picture(tensor(pixels), bits=16, exif=exif.tobytes()), tmp_path / "a.png")
    picture = read_picture(tmp_path / "a.png")
    assert torch.equal(picture.rgb, upright)
    write_picture(picture, tmp_path / "b.png")
    with Image.open(tmp_path / "b.png") as image:
        assert dict(image.getexif()) == {0x010E: "a description"}


@pytest.mark.parametrize(
    ("suffix", "bits"), [("png", 8), ("png", 16), ("tif", 8), ("tif", 16), ("jpg", 8), ("webp", 8)]
)
def test_icc_profile_goes_along(suffix, bits, tmp_path):
    """Byte for byte."""
    path = tmp_path / f"a.{suffix}"
    write_picture(Picture(tensor(noise(3)), bits=bits, icc=SRGB), path)
    assert read_picture(path).icc == SRGB


def black_ink_profile():
    """A CMYK profile (ICC.1, lut8Type) in which only K is seen: L* = 100 (1 - K)."""
    ramp = bytes(range(256))
    identity = struct.pack(">9i", *(65536 * (i % 4 == 0) for i in range(9)))
    lut = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + identity
    lut += ramp * 4 + bytes([255, 128, 128, 0, 128, 128]) * 2**3 + ramp * 3  # L*, a*, b* by K
    tags = struct.pack(">I4sII", 1, b"A2B0", 144, len(lut))
    header = struct.pack(
        ">I4sI4s4s4s", 144 + len(lut), bytes(4), 0x02400000, b"prtr", b"CMYK", b"Lab "
    )
    header += bytes(12) + b"acsp" + bytes(28)
    header += struct.pack(">3i", 63190, 65536, 54061)  # the D50 white
    return header.ljust(128, b"\0") + tags + lut


def test_cmyk_goes_through_its_profile_or_by_complement(tmp_path):
    """Without a profile (1 - C)(1 - K); with one, what it says, and sRGB from there on."""
    ink = Image.fromarray(np.full((16, 16, 4), (40, 200, 90, 30), np.uint8), "CMYK")
    path = tmp_path / "a.jpg"
    ink.save(path, quality=100)
    plain = (1 - np.array([40, 200, 90]) / 255) * (1 - 30 / 255)
    assert np.allclose(read_image(path)[:, 8, 8], plain, atol=3 / 255)

    ink.save(path, quality=100, icc_profile=black_ink_profile())
    picture = read_picture(path)
    luminance = ((100 * (1 - 30 / 255) + 16) / 116) ** 3
    grey = 1.055 * luminance ** (1 / 2.4) - 0.055  # of sRGB
    assert torch.allclose(picture.rgb, torch.tensor(grey), atol=3 / 255)
    assert picture.icc is None

    ink.save(path, quality=100, icc_profile=SRGB)  # of another colour space
    with pytest.warns(
        UserWarning, match=r"a\.jpg: its ICC profile is not of CMYK and was left out"
    ):
        assert np.allclose(read_image(path)[:, 8, 8], plain, atol=3 / 255)


def test_jpeg_and_webp_lose_little(tmp_path):
    """A smooth picture, saturated colours included, stays within 3 levels on average."""
    y, x = np.mgrid[0:48, 0:64]
    image = tensor(np.stack([x * 4, y * 5, 255 - x * 3], -1).astype(np.uint8))
    for name in ("a.jpg", "a.JPEG", "a.webp"):
        write_image(image, tmp_path / name)
        assert (read_image(tmp_path / name) - image).abs().mean() < 3 / 255, name


def test_jpeg_keeps_full_colour_resolution(tmp_path):
    """Red and blue columns in turn: halved chroma would mix them."""
    image = torch.zeros(3, 16, 16)
    image[0, :, ::2] = image[2, :, 1::2] = 1
    write_image(image, tmp_path / "a.jpg")
    assert (read_image(tmp_path / "a.jpg") - image).abs().max() < 0.1


def test_grey_that_a_network_coloured_is_written_as_luma(tmp_path):
    image = torch.rand(3, *SIZE, generator=torch.Generator().manual_seed(0))
    write_picture(Picture(image, grey=True), tmp_path / "a.png")
    r, g, b = image.double()
    luma = torch.floor((0.299 * r + 0.587 * g + 0.114 * b) * 255 + 0.5)
    with Image.open(tmp_path / "a.png") as file:
        assert file.mode == "L"
        assert np.array_equal(np.array(file), luma.numpy())


# ------------------------------------------------------------------- refused files


def saved(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def float_tiff():
    return saved(Image.fromarray(np.zeros((4, 4), np.float32)), "TIFF")


def pages():
    frame = Image.fromarray(noise(3))
    return saved(frame, "GIF", save_all=True), saved(
        frame, "TIFF", save_all=True, append_images=[frame]
    )


PHOTO = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("empty.png", b"", r"is empty \(0 bytes\): fetch or copy it again"),
        ("text.png", b"hello, I am no picture", "is not a picture that srkit reads.*convert it"),
        ("a.gif", pages()[0], "is not a picture that srkit reads.*PNG, JPEG, WebP, TIFF or BMP"),
        ("pages.tif", pages()[1], "2 frames or pages; save the one you want"),
        (
            "bomb.png",
            png((60000, 60000, 8, 2, 0, 0, 0), bytes(1000)),
            "decompression bomb.*3600000000 pixels.*MAX_IMAGE_PIXELS",
        ),
        ("short.png", saved(PHOTO, "PNG")[:5000], "cannot be decoded, it may be cut short"),
        ("short.jpg", saved(PHOTO, "JPEG")[:1500], "cannot be decoded, it may be cut short"),
        ("short.webp", saved(PHOTO, "WEBP")[:500], "cannot be decoded|not a picture"),
        ("short.tif", saved(PHOTO, "TIFF")[:5000], "cannot be decoded|not a picture"),
        ("short16.png", png16(noise(3, np.uint16), 2)[:400], "cannot be decoded, it may be cut"),
        ("float.tif", float_tiff(), "32 bits a channel; save it with 8 or 16"),
        (
            "half.tif",
            tiff(np.zeros((4, 4), np.float16), photometric="minisblack"),
            "its samples are float, 16 bits a channel; save it with 8 or 16, unsigned",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and "." in value[:16] else "",
)
def test_a_bad_file_is_refused_in_one_sentence(name, data, words, tmp_path):
    """The words name the path, what is wrong and the fix; whatever the decoder raises inside."""
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(ValueError, match=words) as caught:
        read_picture(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_files_and_folders_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no\.png: there is no such file \(looked from"):
        read_image(tmp_path / "no.png")
    with pytest.raises(ValueError, match=r"is not a file but a folder.*pass one picture"):
        read_image(tmp_path)


@pytest.mark.filterwarnings("ignore:.*its end is cut off")
def test_every_cut_of_a_file_is_refused_or_read_whole(tmp_path):
    """No cut of a 16-bit PNG passes with made-up pixels, though torchvision would fill them in."""
    pixels = noise(3, np.uint16)
    data = png16(pixels, 2)
    path = tmp_path / "a.png"
    for length in range(1, len(data), 7):
        path.write_bytes(data[:length])
        try:
            image = read_image(path)
        except ValueError:
            continue
        assert torch.equal(image, tensor(pixels)), length


@pytest.mark.parametrize(
    ("picture", "name", "words"),
    [
        (Picture(torch.rand(3, 4, 5)), "a.gif", r"suffix must be one of \.png, \.jpg"),
        (Picture(torch.rand(3, 4, 5)), "a", "suffix must be one of"),
        (Picture(torch.rand(3, 4, 5), bits=16), "a.jpg", "16 bits; JPEG has 8 here, PNG and TIFF"),
        (Picture(torch.rand(3, 4, 5), bits=12), "a.png", "12 bits; PNG has 8"),
        (Picture(torch.rand(3, 4, 5), torch.rand(1, 4, 5)), "a.jpg", "JPEG has no transparency"),
        (Picture(torch.rand(3, 8, 10), torch.rand(1, 4, 5)), "a.png", "alpha.*resize it with the"),
        (Picture(torch.rand(3, 4, 5), torch.full((1, 4, 5), torch.nan)), "a.png", "alpha.*20|60"),
        (Picture(torch.full((3, 4, 5), torch.nan)), "a.png", "60 values that are NaN"),
        (Picture(torch.rand(1, 3, 4, 5)), "a.png", r"pass one picture of the batch, x\[0\]"),
    ],
)
def test_what_cannot_be_written_is_refused_and_leaves_no_file(picture, name, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        write_picture(picture, tmp_path / name)
    assert not any(tmp_path.iterdir())


def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    """The encoder fails after the file was opened."""

    def fails(image, file, *args, **how):
        file.write(b"half")
        raise OSError("encoder error -2")

    path = tmp_path / "a.webp"
    path.write_bytes(b"old")
    monkeypatch.setattr(Image.Image, "save", fails)
    with pytest.raises(OSError, match="encoder error -2"):
        write_image(torch.zeros(3, 1, 16), path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


# ------------------------------------------------------------------- kinds of images


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_whole_numbers_come_back_exactly(dtype):
    """Every level there is, through float32 and back."""
    levels = np.arange(np.iinfo(dtype).max + 1).astype(dtype)
    array = np.stack([levels, levels[::-1], levels], -1)[None]  # (1, levels, 3)
    image = as_image(array)
    assert image.shape == (3, 1, len(levels))
    assert image.dtype == torch.float32
    back = like(image, array)
    assert back.dtype == dtype
    assert np.array_equal(back, array)


def test_like_gives_back_the_kind_that_came(tmp_path):
    pixels = noise(3)
    image = tensor(pixels)
    for dtype in (np.float32, np.float64):
        array = np.asarray(image.permute(1, 2, 0), dtype)
        back = like(as_image(array), array)
        assert back.dtype == dtype
        assert np.array_equal(back, array)
    double = image.double().requires_grad_()
    assert as_image(double).dtype == torch.float32
    assert like(as_image(double), double).dtype == torch.float64

    pillow = Image.fromarray(pixels)
    pillow.save(tmp_path / "a.png")
    for source in (pillow, pillow.convert("RGBA"), tmp_path / "a.png", str(tmp_path / "a.png")):
        assert torch.equal(as_image(source), image)
        back = like(as_image(source), source)
        assert back.mode == "RGB"
        assert np.array_equal(np.array(back), pixels)


@pytest.mark.parametrize(
    ("x", "error", "words"),
    [
        (np.zeros((4, 5), np.uint8), ValueError, r"\(4, 5\), expected \(H, W, 3\).*np\.stack"),
        (np.zeros((4, 5, 4), np.uint8), ValueError, r"drop alpha with x\[\.\.\., :3\]"),
        (np.zeros((4, 5, 3), np.int64), TypeError, r"torch\.int64, expected floats"),
        (np.full((4, 5, 3), 255.0), ValueError, "255, expected .* divide it by 255"),
        (torch.zeros(3, 4, 5, dtype=torch.uint8), TypeError, r"torch\.uint8.*x\.float\(\) / 255"),
        (torch.zeros(2, 3, 4, 5), ValueError, r"\(2, 3, 4, 5\), expected \(3, H, W\): pass one"),
        ([[0.5]], TypeError, r"is a list, expected a tensor: use as_image"),
        (Image.new("F", (4, 4)), ValueError, "pixel mode F is not taken; convert it to RGB"),
    ],
)
def test_what_is_no_image_is_refused(x, error, words):
    with pytest.raises(error, match=words):
        as_image(x)


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (torch.rand(4, 5, 3), r"\(4, 5, 3\), expected .*x\.permute\(2, 0, 1\)"),
        (torch.rand(4, 5), "expected .*RGB channels first"),
        (torch.rand(4, 8, 8), r"drop alpha with x\[:3\]"),
        (torch.rand(1, 8, 8), r"repeat grey with x\.expand\(3, -1, -1\)"),
        (torch.rand(2, 1, 8, 8), r"expected \(3, H, W\) or \(B, 3, H, W\)"),
        (torch.rand(3, 0, 8), "there is no pixel in it"),
        (
            torch.tensor([0.0, torch.nan, torch.inf]).view(3, 1, 1),
            "the LR has 2 values that are NaN",
        ),
        (
            torch.tensor([0.0, 254, 255]).view(3, 1, 1),
            "from 0 to 255, expected .* divide it by 255",
        ),
        (torch.tensor([-1.0, 0, 1]).view(3, 1, 1), r"from -1 to 1.*use \(x \+ 1\) / 2"),
        (torch.tensor([-2.0, 0, 4]).view(3, 1, 1), r"from -2 to 4.*x\.clamp\(0, 1\)"),
    ],
)
def test_check_image_says_what_is_wrong_and_what_to_do(x, words):
    with pytest.raises(ValueError, match=words) as caught:
        check_image(x, "the LR")
    assert str(caught.value).startswith("the LR has ")


def test_check_image_allows_overshoot_unless_strict():
    x = torch.tensor([-0.1, 0.5, 1.1]).view(1, 3, 1, 1)
    check_image(x)
    with pytest.raises(ValueError, match=r"from -0\.1 to 1\.1, expected \[0, 1\]: use x\.clamp"):
        check_image(x, strict=True)
    check_image(x.clamp(0, 1), strict=True)


@pytest.mark.parametrize(
    ("low", "high", "hint"),
    [
        (0, 2.01, "divide it by 255"),
        (-0.01, 2.01, r"x\.clamp"),
        (0, 2, r"x\.clamp"),
        (-1, 1, r"use \(x \+ 1\) / 2"),
        (-0.51, 1, r"use \(x \+ 1\) / 2"),
        (-1.01, 1, r"x\.clamp"),
        (-1, 1.01, r"x\.clamp"),
        (-0.5, 1.5, None),
        (-0.5, 1.51, r"x\.clamp"),
    ],
)
def test_the_advice_changes_where_the_range_does(low, high, hint):
    """Overshoot passes up to a half, its edges too; beyond 2 it is taken for 8 bits."""
    x = torch.tensor([low, 0.5, high]).view(3, 1, 1)
    refused = pytest.raises(ValueError, match=hint) if hint else nullcontext()
    with refused:
        check_image(x)


# ------------------------------------------------------------------- colour, rounding, borders


def test_y_is_bt601(rng):
    """Against the sum in float64, at values known exactly, for any leading dimensions."""
    for shape in ((3, 6, 7), (2, 3, 6, 7), (2, 4, 3, 6, 7)):
        x = torch.rand(shape, generator=rng)
        rgb = np.moveaxis(x.double().numpy(), -3, -1)
        y = (16 + rgb @ [65.481, 128.553, 24.966]) / 255
        assert to_y(x).shape == (*shape[:-3], 1, *shape[-2:])
        assert np.abs(to_y(x.double()).numpy().squeeze(-3) - y).max() < 1e-15
        assert np.abs(to_y(x).numpy().squeeze(-3) - y).max() < 2e-7
        assert np.abs(to_y(x.double(), full=True).numpy().squeeze(-3)
                      - rgb @ [0.299, 0.587, 0.114]).max() < 1e-15  # fmt: skip
    white = torch.ones(3, 1, 1, dtype=torch.float64)
    assert to_y(0 * white).item() == 16 / 255
    assert to_y(white).item() == pytest.approx(235 / 255, abs=1e-15)
    assert to_y(white, full=True).item() == pytest.approx(1, abs=1e-15)


def test_y_equals_scikit_image(rng):
    """Its rgb2ycbcr is MATLAB's on doubles."""
    from skimage.color import rgb2ycbcr

    x = torch.rand(3, 6, 7, generator=rng).double()
    expected = rgb2ycbcr(x.permute(1, 2, 0).numpy())[..., 0] / 255
    assert np.abs(to_y(x)[0].numpy() - expected).max() < 1e-14


def test_y_has_the_gradient_of_its_weights():
    x = torch.rand(3, 2, 2, dtype=torch.float64, requires_grad=True)
    to_y(x).sum().backward()
    assert torch.allclose(x.grad[:, 0, 0] * 255, torch.tensor([65.481, 128.553, 24.966]).double())


def test_y_refuses_what_is_not_rgb_floats():
    with pytest.raises(
        ValueError, match=re.escape("shape (1, 8, 8), expected floats (..., 3, H, W)")
    ):
        to_y(torch.rand(1, 8, 8))


@pytest.mark.parametrize("take", [as_image, check_image, to_y, round_8bit, to_8bit])
def test_uint8_is_refused_in_the_same_words_everywhere(take):
    with pytest.raises(TypeError) as refusal:
        take(torch.zeros(3, 8, 8, dtype=torch.uint8))
    words = "image is torch.uint8, expected floats in [0, 1]: use x.float() / 255."
    assert str(refusal.value) == words


def test_round_8bit():
    """k / 255 stays, in every float type; halves go up; the rest is clamped."""
    k = torch.arange(256)
    for dtype in (torch.float64, torch.float32, torch.float16):
        assert torch.equal((round_8bit((k / 255).to(dtype)) * 255).round(), k.to(torch.float64))
    assert torch.equal(round_8bit(k / 255), k / 255)
    x = torch.tensor([-0.3, 0.499 / 255, 0.501 / 255, 1.2, 2.5 / 255], dtype=torch.float64)
    assert torch.equal(round_8bit(x) * 255, torch.tensor([0, 0, 1, 255, 3], dtype=torch.float64))
    with pytest.raises(TypeError, match=r"torch\.uint8, expected floats"):
        round_8bit(k.to(torch.uint8))


def test_shave_and_modcrop():
    x = torch.arange(2 * 7 * 9).view(2, 7, 9)
    assert torch.equal(shave(x, 2), x[:, 2:5, 2:7])
    assert torch.equal(shave(x, 0), x)
    assert torch.equal(modcrop(x, 4), x[:, :4, :8])
    assert torch.equal(modcrop(x, 1), x)
    with pytest.raises(ValueError, match="a border of 4 leaves nothing of 7 x 9 pixels"):
        shave(x, 4)
    with pytest.raises(ValueError, match=r"a border of -1.*or is negative"):
        shave(x, -1)
    with pytest.raises(ValueError, match="scale 8, expected 1 to 7, the short side"):
        modcrop(x, 8)
    with pytest.raises(ValueError, match="scale 0, expected 1"):
        modcrop(x, 0)


# ------------------------------------------------------------------- published files


def test_published_files_read_as_they_are(assets):
    """Set14's bridge has one channel, its man three equal ones; a BSD100 JPEG as Pillow decodes."""
    bridge = read_picture(assets("benchmarks/Set14/HR/bridge.png"))
    man = read_picture(assets("benchmarks/Set14/HR/man.png"))
    assert (bridge.grey, man.grey) == (True, False)
    for picture in (bridge, man):
        assert torch.equal(picture.rgb, picture.rgb[:1].expand(3, -1, -1))
    path = assets("benchmarks/BSD100/HR/101085.jpg")
    picture = read_picture(path)
    with Image.open(path) as image:
        assert torch.equal(picture.rgb, tensor(np.array(image)))
    assert sorted(picture.rgb.shape) == [3, 321, 481]


def test_with_y_sets_luma_and_nothing_else(rng):
    """The new Y is there, and so are the old colour differences, which make up Cb and Cr."""
    rgb = torch.rand(2, 3, 5, 6, dtype=torch.float64, generator=rng)
    y = torch.rand(2, 1, 5, 6, dtype=torch.float64, generator=rng)
    changed = with_y(rgb, y)
    torch.testing.assert_close(to_y(changed), y)
    torch.testing.assert_close(changed - changed[:, :1], rgb - rgb[:, :1])


def test_to_8bit_is_what_round_8bit_shows():
    x = torch.tensor([-0.2, 0.0, 0.5 / 255, 0.499 / 255, 1.0, 1.3]).expand(3, 1, -1)
    assert to_8bit(x)[0, 0].tolist() == [0, 0, 1, 0, 255, 255]
    assert torch.equal(to_8bit(x) / 255, round_8bit(x))
