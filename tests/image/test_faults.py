"""Bad days of picture files: odd samples, broken tags, missing pixels, colours that are not sRGB.

Files are made here in a few lines, by hand or by Pillow and tifffile, and the right pixels are
known. No file may give wrong pixels without a word.
"""

import io
import random
import struct
import warnings
import zlib

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image, ImageCms, ImageFile

from srkit.datasets.patches import Patches
from srkit.image import jpeg
from srkit.image.io import Picture, as_image, read_image, read_picture, write_picture

SIZE = HEIGHT, WIDTH = 37, 53
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def noise(channels, dtype=np.uint8, top=None, size=SIZE):
    """(H, W, C) over the whole range of the type, or up to `top`."""
    top = np.iinfo(dtype).max if top is None else top
    return np.random.default_rng(0).integers(0, top, (*size, channels), dtype, endpoint=True)


def tensor(pixels):
    """(H, W, C) whole numbers -> (3, H, W) floats, straight from the definition."""
    scaled = pixels.astype(np.float64) / np.iinfo(pixels.dtype).max
    return torch.from_numpy(scaled).permute(2, 0, 1).float().expand(3 if len(scaled) else 0, -1, -1)


def saved(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def tiff(pixels, **options):
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, **options)
    return file.getvalue()


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(pixels, bits, colour_type, extra=b""):
    """A PNG by hand, of samples of any depth; `extra`: chunks before its pixels."""
    height, width, _ = pixels.shape
    digits = (pixels[..., None] >> np.arange(bits)[::-1]) & 1  # of each sample, the highest first
    rows = np.packbits(digits.reshape(height, -1).astype(np.uint8), axis=1)
    body = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0))
    body += extra + chunk(b"IDAT", zlib.compress(b"".join(b"\0" + r.tobytes() for r in rows)))
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")


def jpeg_with(segment, marker=0xE1, image=None):
    data = saved(image or Image.fromarray(noise(3)), "JPEG")
    return data[:2] + struct.pack(">BBH", 0xFF, marker, len(segment) + 2) + segment + data[2:]


def exif(*entries, order="<", after=b""):
    """EXIF by hand. entries: tag, type, count and the four bytes of the value."""
    head = struct.pack(f"{order}2sHIH", b"II" if order == "<" else b"MM", 42, 8, len(entries))
    body = b"".join(struct.pack(f"{order}HHI", *e[:3]) + e[3].ljust(4, b"\0") for e in entries)
    return b"Exif\0\0" + head + body + bytes(4) + after


@pytest.fixture
def read(tmp_path):
    """Bytes -> the Picture and its only warning ("" if there is none), or the words of refusal."""
    path = tmp_path / "a.bin"
    path.touch()

    def read(data):
        with warnings.catch_warnings(record=True) as caught, pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(path), "read_bytes", lambda path: data)  # no disk: it is slow
            warnings.simplefilter("always")
            try:
                picture = read_picture(path)
            except ValueError as error:
                refusal = str(error)
                assert str(path) in refusal
                assert "\n" not in refusal
                return refusal
        words = [str(w.message) for w in caught if w.category is UserWarning]
        assert len(words) < 2  # one sentence a file
        assert all(str(path) in w for w in words)
        return picture, "".join(words)

    return read


def right(result, rgb, alpha=None, bits=8, tolerance=0.0):
    """The pixels are these, and nothing was lost."""
    picture, lost = result
    assert not lost
    assert (picture.rgb - tensor(rgb)).abs().max() <= tolerance
    assert (picture.alpha is None) == (alpha is None)
    assert alpha is None or torch.equal(picture.alpha, tensor(alpha)[:1])
    assert picture.bits == bits


# ------------------------------------------------------------------- samples

LAYOUTS = [
    {},
    {"rowsperstrip": 5},
    {"tile": (16, 32)},
    {"compression": "zlib", "predictor": True, "rowsperstrip": 7},
    {"compression": "zlib", "tile": (32, 16), "predictor": True},
    {"compression": "lzma"},
    {"bigtiff": True},
]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_tiff_in_every_layout(read, dtype, planar, order):
    """Grey, RGB, CMYK, with alpha or a spare channel, in every order of bytes and blocks."""
    bits, top = np.iinfo(dtype).bits, np.iinfo(dtype).max
    for options in LAYOUTS:

        def stored(x, options=options, **more):
            x = np.moveaxis(x, -1, 0) if planar == "separate" else x
            return tiff(x, planarconfig=planar, byteorder=order, **options, **more)

        grey, rgb, rgba = noise(2, dtype), noise(3, dtype), noise(4, dtype)
        plain = {"photometric": "rgb", "extrasamples": ["unassalpha"]}
        right(read(stored(rgb, photometric="rgb")), rgb, bits=bits)
        right(read(stored(rgba, **plain)), rgba[..., :3], rgba[..., 3:], bits)
        black = read(stored(grey, photometric="minisblack", extrasamples=["unassalpha"]))
        right(black, grey[..., :1], grey[..., 1:], bits)
        assert black[0].grey
        spare = read(stored(rgba, photometric="rgb", extrasamples=["unspecified"]))
        assert torch.equal(spare[0].rgb, tensor(rgba[..., :3]))
        assert "1 of its 4 channels were left out" in spare[1]
        ink = rgba / top
        paper = np.floor((1 - ink[..., :3]) * (1 - ink[..., 3:]) * top + 0.5).astype(dtype)
        right(read(stored(rgba, photometric="separated")), paper, bits=bits, tolerance=1.01 / top)
        one = tiff(grey[..., 0], photometric="miniswhite", byteorder=order, **options)
        right(read(one), top - grey[..., :1], bits=bits)


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"planarconfig": "separate"}])
def test_ycbcr_tiff(read, options):
    """BT.601 over the full range, 8 bits; other kinds of it are refused by their name."""
    x = noise(3)
    y, cb, cr = np.moveaxis(x.astype(float) - (0, 128, 128), -1, 0)
    rgb = np.stack([y + 1.402 * cr, y - (0.114 * 1.772 * cb + 0.299 * 1.402 * cr) / 0.587,
                    y + 1.772 * cb], -1).clip(0, 255).round().astype(np.uint8)  # fmt: skip

    def stored(x, **more):
        x = np.moveaxis(x, -1, 0) if "planarconfig" in options else x
        return tiff(x, photometric="ycbcr", **options, **more)

    whole = [(530, 3, 2, (1, 1), True)]  # Cb and Cr are not smaller than Y
    right(read(stored(x, extratags=whole)), rgb, tolerance=1.01 / 255)
    if not options:
        right(read(stored(x)), rgb, tolerance=1.01 / 255)
    weights = (529, 5, 3, (2126, 10000, 7152, 10000, 722, 10000), True)  # of BT.709
    refused = read(stored(x, extratags=[*whole, weights]))
    assert "its samples are YCbCr, unsigned, 8 bits a channel, in a layout that is" in refused
    refused = read(stored(noise(3, np.uint16), extratags=whole))
    assert "its samples are YCbCr, unsigned, 16 bits a channel, in a layout that is" in refused


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_premultiplied_alpha_is_divided_out(read, dtype, planar):
    """Of 16 bits as of 8: the colours come back, where alpha leaves anything of them."""
    top = int(np.iinfo(dtype).max)
    rgb, alpha = noise(3, dtype).astype(float), noise(1, dtype, top // 2) + top // 2
    stored = np.concatenate([(rgb * alpha / top).round(), alpha], -1).astype(dtype)
    stored = np.moveaxis(stored, -1, 0) if planar == "separate" else stored
    data = tiff(stored, photometric="rgb", extrasamples=["assocalpha"], planarconfig=planar)
    right(read(data), rgb.astype(dtype), alpha.astype(dtype), np.iinfo(dtype).bits, 2.01 / top)


@pytest.mark.parametrize("compression", ["tiff_lzw", "packbits", "zstd", "lzma", "tiff_deflate"])
def test_tiff_of_libtiffs_compressions(read, compression):
    for channels, mode in ((1, "L"), (3, "RGB"), (4, "RGBA")):
        for predictor in (1, 2) if compression != "packbits" else (1,):
            pixels = noise(channels)
            image = Image.fromarray(pixels.squeeze())
            assert image.mode == mode
            data = saved(image, "TIFF", compression=compression, tiffinfo={317: predictor})
            right(read(data), pixels[..., :3], pixels[..., 3:] if channels == 4 else None)
    deep = noise(1, np.uint16)
    data = saved(Image.fromarray(deep[..., 0]), "TIFF", compression=compression)
    right(read(data), deep, bits=16)


@pytest.mark.parametrize(
    ("dtype", "words"),
    [
        (np.int8, "signed, 8 bits"),
        (np.int16, "signed, 16 bits"),
        (np.int32, "signed, 32 bits"),
        (np.uint32, "unsigned, 32 bits"),
        (np.float16, "float, 16 bits"),
        (np.float32, "float, 32 bits"),
        (np.float64, "float, 64 bits"),
        (np.complex64, "complex float, 64 bits"),
    ],
)
@pytest.mark.parametrize("photometric", ["minisblack", "rgb"])
def test_other_samples_are_named(read, dtype, words, photometric):
    shape = (*SIZE, 3) if photometric == "rgb" else SIZE
    for order in "<>":
        refused = read(tiff(np.zeros(shape, dtype), photometric=photometric, byteorder=order))
        assert f"its samples are {words} a channel; save it with 8 or 16, unsigned." in refused


def test_other_colours_are_named(read):
    for dtype, bits in ((np.uint8, 8), (np.uint16, 16)):
        for photometric, words in (("cielab", "CIELab"), ("icclab", "ICCLab")):
            refused = read(tiff(noise(3, dtype), photometric=photometric))
            assert f"its colours are {words}, {bits} bits a channel; save it as RGB" in refused
    profile = SRGB[:16] + b"CMYK" + SRGB[20:]
    refused = read(tiff(noise(4, np.uint16), photometric="separated", iccprofile=profile))
    assert "CMYK with an ICC profile, unsigned, 16 bits a channel; convert it to RGB" in refused
    jpeg = bytearray(saved(Image.fromarray(noise(3)), "JPEG"))
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 4] = 12
    assert "its samples are unsigned, 12 bits a channel; save it with 8" in read(bytes(jpeg))
    jpeg[frame + 1 : frame + 5] = b"\xc3" + jpeg[frame + 2 : frame + 4] + b"\x08"
    assert "a lossless JPEG (SOF3); save it as PNG" in read(bytes(jpeg))
    jpeg = bytearray(saved(Image.fromarray(noise(3)), "JPEG"))
    jpeg[frame + 9] = 2
    assert "a JPEG with 2 channels; save it as PNG" in read(bytes(jpeg))
    jpeg[frame + 5 : frame + 7] = bytes(2)
    assert "a JPEG with its height behind the pixels (DNL); save it as PNG" in read(bytes(jpeg))
    bmp = bytearray(saved(Image.fromarray(noise(3)), "BMP"))
    bmp[30] = 4
    assert "a BMP of 24 bits a pixel, compression 4; save it as PNG" in read(bytes(bmp))


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_png_keeps_one_transparent_colour_at_every_depth(read, bits):
    top = 2**bits - 1
    dtype = np.uint16 if bits == 16 else np.uint8
    peak = int(np.iinfo(dtype).max)
    for key in {0, 1, top // 2, top}:
        grey = noise(1, dtype, top)
        data = png(grey, bits, 0, chunk(b"tRNS", struct.pack(">H", key)))
        seen = ((grey != key) * peak).astype(dtype)
        right(read(data), grey * dtype(peak // top), seen, max(bits, 8))
        right(read(png(grey, bits, 0)), grey * dtype(peak // top), bits=max(bits, 8))
    if bits < 8:
        return
    rgb = noise(3, dtype)
    tag = chunk(b"tRNS", rgb[3, 4].astype(">u2").tobytes())
    seen = ((rgb != rgb[3, 4]).any(-1, keepdims=True) * peak).astype(dtype)
    right(read(png(rgb, bits, 2, tag)), rgb, seen, bits)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_png_palettes_keep_their_alphas(read, bits):
    colours, index = noise(3)[0, : 2**bits], noise(1, np.uint8, min(2**bits, WIDTH) - 1)
    alpha = np.array([0, 77], np.uint8)[: len(colours)]
    full = np.full(len(colours), 255, np.uint8)
    full[: len(alpha)] = alpha
    palette = chunk(b"PLTE", colours.tobytes())
    right(read(png(index, bits, 3, palette)), colours[index[..., 0]])
    data = png(index, bits, 3, palette + chunk(b"tRNS", alpha.tobytes()))
    right(read(data), colours[index[..., 0]], full[index])
    short = chunk(b"PLTE", colours[:1].tobytes())
    assert "colour 1 of a palette of 1" in read(png(index * 0 + 1, bits, 3, short))


# ------------------------------------------------------------------- tags


def test_the_fields_that_once_stopped_a_picture(read):
    """XResolution as text, ResolutionUnit as text, ImageWidth as a fraction, and their like."""
    fields = {
        "XResolution": (0x11A, 2, 3, b"72\0"),
        "ResolutionUnit": (0x128, 2, 2, b"2\0"),
        "ImageWidth": (0x100, 5, 1, struct.pack("<I", 1 << 30)),
        "Orientation": (0x112, 2, 2, b"6\0"),
        "Make": (0x10F, 2, 1000, struct.pack("<I", 20)),
        "ExifOffset": (0x8769, 4, 1, struct.pack("<I", 5_000_000)),
        "Software": (0x131, 99, 1, b""),
    }
    pixels = noise(3)
    for name, field in fields.items():
        block = exif(field, (0x10E, 2, 4, b"abc\0"))
        picture, lost = read(png(pixels, 8, 2, chunk(b"eXIf", block[6:])))
        assert f"its EXIF is damaged and lost {name}" in lost
        assert torch.equal(picture.rgb, tensor(pixels))
        again = Image.Exif()
        again.load(picture.exif)
        assert dict(again) == {0x10E: "abc"}  # the other field stays
        picture, lost = read(jpeg_with(block))
        assert f"lost {name}" in lost
        assert picture.rgb.shape == (3, *SIZE)


def test_an_orientation_that_is_text_turns_nothing(tmp_path):
    """In training as in reading."""
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg_with(exif((0x112, 2, 2, b"6\0"))))
    with pytest.warns(UserWarning, match="its EXIF is damaged and lost Orientation"):
        assert Patches([path], 2).picture(0).shape == (3, *SIZE)


def random_exif(rng):
    if rng.random() < 0.2:
        return b"Exif\0\0" + rng.randbytes(rng.randrange(200))
    order = rng.choice("<>")
    known = [
        0x100,
        0x101,
        0x112,
        0x11A,
        0x11B,
        0x128,
        0x8769,
        0x8825,
        0xA005,
        0xA002,
        0x10E,
        0x927C,
    ]
    entries = [
        (
            rng.choice([*known, rng.randrange(65536)]),
            rng.randrange(15),
            rng.choice([1, 1, 1, 2, 4, rng.randrange(2**32)]),
            rng.choice([rng.randbytes(4), struct.pack(f"{order}I", rng.randrange(300))]),
        )
        for _ in range(rng.randrange(12))
    ]
    block = bytearray(exif(*entries, order=order, after=rng.randbytes(rng.randrange(150))))
    if rng.random() < 0.3:
        block[rng.randrange(6, len(block))] = rng.randrange(256)
    return bytes(block)


def test_no_exif_stops_the_pixels(read, tmp_path):
    """100 random blocks in PNG and JPEG; what is kept can be written and read again."""
    rng, pixels = random.Random(0), noise(3, size=(8, 8))
    base = saved(Image.fromarray(pixels), "PNG")
    for trial in range(100):
        block = random_exif(rng)
        picture, _ = read(base[:33] + chunk(b"eXIf", block[6:]) + base[33:])
        values = (picture.rgb * 255).round().sort(dim=-1).values.sum()  # whichever way it is turned
        assert values == pixels.sum()
        picture, _ = read(jpeg_with(block, image=Image.fromarray(pixels)))
        if trial % 10 == 0:
            path = tmp_path / f"a.{('png', 'jpg', 'webp')[trial // 10 % 3]}"
            write_picture(picture, path)
            assert read_image(path).shape == (3, 8, 8)


def damaged(kind, data):
    return chunk(kind, data)[:-1] + bytes([chunk(kind, data)[-1] ^ 1])


@pytest.mark.parametrize(
    ("chunks", "words"),
    [
        (damaged(b"tEXt", b"Comment\0hello"), "its tEXt chunk is damaged and was left out"),
        (damaged(b"iCCP", b"x\0\0" + zlib.compress(SRGB)), "its iCCP chunk is damaged"),
        (damaged(b"tRNS", bytes(6)), "its tRNS chunk is damaged"),
        (chunk(b"tRNS", bytes(5)), "its tRNS chunk is damaged and its transparency was left out"),
        (damaged(b"acTL", struct.pack(">II", 3, 0)), "its acTL chunk is damaged"),
        (chunk(b"iCCP", b"x\0\0" + b"no deflate"), "its ICC profile is damaged and was left out"),
        (chunk(b"iCCP", b"x\0\0" + zlib.compress(SRGB[:400])), "its ICC profile is damaged"),
        (chunk(b"iCCP", b""), "its ICC profile is damaged"),
        (chunk(b"pHYs", b"abc"), "its pHYs chunk is damaged and was left out"),
        (chunk(b"eXIf", b"nothing"), "its EXIF is damaged and lost all of it"),
        (chunk(b"gAMA", b"ab") + chunk(b"cHRM", b"1") + chunk(b"cICP", b""), ""),
        (chunk(b"tIME", b"1") + chunk(b"sBIT", b"") + chunk(b"tEXt", b"no zero"), ""),
        (chunk(b"fcTL", b"1") + chunk(b"zTXt", b"") + chunk(b"iTXt", b"\xff\0") , ""),
        (chunk(b"zTXt", b"bomb\0\0" + zlib.compress(bytes(20_000_000))), ""),
        (chunk(b"abCd", bytes(3_000_000)), ""),
        (chunk(b"tEXt", b"Raw profile type exif\0\nexif\n 4\n"), "its EXIF, written as text by an"),
    ],
)  # fmt: skip
def test_no_optional_chunk_stops_a_png(read, chunks, words):
    pixels = noise(3)
    picture, lost = read(png(pixels, 8, 2, chunks))
    assert torch.equal(picture.rgb, tensor(pixels))
    assert picture.alpha is None
    assert words in lost
    assert bool(words) == bool(lost)


def big_profile():
    """Sound, 1.5 MB that do not pack, as profiles with tables are."""
    size = struct.pack(">I", 1_500_000)
    return (size + SRGB[4:] + random.Random(0).randbytes(1_500_000))[:1_500_000]


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp"])
@pytest.mark.parametrize("bits", [8, 16])
def test_a_large_profile_goes_through(read, suffix, bits, tmp_path):
    if bits == 16 and suffix not in ("png", "tif"):
        pytest.skip("8 bits only")
    path = tmp_path / f"a.{suffix}"
    write_picture(Picture(tensor(noise(3)), bits=bits, icc=big_profile()), path)
    picture, lost = read(path.read_bytes())
    assert picture.icc == big_profile()
    assert not lost


def test_no_segment_stops_a_jpeg(read):
    plain = read(saved(Image.fromarray(noise(3)), "JPEG"))[0].rgb
    for marker, segment, words in (
        (0xE2, b"ICC_PROFILE\0\x01\x02" + SRGB[:200], "its ICC profile is damaged"),
        (0xE2, b"ICC_PROFILE\0\x01\x01" + b"no profile", "its ICC profile is damaged"),
        (0xE0, b"JFIF", ""),
        (0xE1, b"", ""),
        (0xE1, b"Exif\0\0", ""),
        (0xE1, b"Exif\0\0MM", "its EXIF is damaged and lost all of it"),
        (0xE1, b"http://ns.adobe.com/xap/1.0/\0<x", ""),
        (0xED, b"Photoshop 3.0\x008BIM\x03\xed\0\0\0\0\xff\xff", ""),
        (0xEE, b"Adobe", ""),
        (0xE2, b"MPF\0II", ""),
        (0xFE, b"\xff" * 50, ""),
    ):
        picture, lost = read(jpeg_with(segment, marker))
        assert torch.equal(picture.rgb, plain)
        assert words in lost
        assert bool(words) == bool(lost)


def test_segments_of_a_jpeg_have_a_length_and_a_place(read):
    """An empty one is sound; a length below 2 covers no length, and in a scan nothing can begin."""
    plain = read(saved(PHOTO, "JPEG"))[0].rgb
    picture, lost = read(jpeg_with(b"", 0xFE, PHOTO))
    assert torch.equal(picture.rgb, plain)
    assert not lost
    data = saved(PHOTO, "JPEG")
    for length in (0, 1):
        bad = data[:2] + struct.pack(">BBH", 0xFF, 0xFE, length) + data[2:]
        assert "there is a marker FE where none can be" in read(bad)
    middle = data.index(b"\xff\xda") + 14
    for marker in (0x02, 0xBF, 0xD8):  # reserved, reserved, another beginning
        bad = data[:middle] + bytes((0xFF, marker, 0, 9)) + data[middle:]
        assert f"there is a marker {marker:02X} where none can be" in read(bad)
    assert "there is a marker D8 where none can be" in read(data[:2] + data)


def test_every_coefficient_of_a_progressive_jpeg_is_asked_for():
    """One of 64 that no scan has, or has not to its last bit, or not of a channel, is missing."""

    def scan(first, last, bits=0, named=(1, 2)):
        return bytes([len(named), *(n for c in named for n in (c, 0)), first, last, bits])

    whole = [scan(0, 0), scan(1, 5, named=(1,)), scan(6, 63, named=(1,)), scan(1, 63, named=(2,))]
    jpeg._check_scans(0xC2, [1, 2], whole)
    jpeg._check_scans(0xC0, [1, 2], [scan(0, 63, named=(1,)), scan(0, 63, named=(2,))])
    for scans in (
        whole[1:],
        [*whole[:2], scan(6, 62, named=(1,)), whole[3]],
        [whole[0], scan(1, 4, named=(1,)), *whole[2:]],
        [whole[0], whole[1], scan(7, 63, named=(1,)), whole[3]],
        [*whole[:3], scan(1, 63, bits=1, named=(2,))],
        whole[:3],
    ):
        with pytest.raises(ValueError, match="scans are missing at its end"):
            jpeg._check_scans(0xC2, [1, 2], scans)
    jpeg._check_scans(0xC2, [1, 2], [*whole[:3], scan(1, 63, bits=0x10, named=(2,))])


def test_tags_of_a_tiff_that_need_no_place(read):
    """A spare channel is told; of two extra samples the one that is alpha is taken."""
    pixels = noise(5)
    kept = read(tiff(pixels, photometric="rgb", extrasamples=["unspecified", "unassalpha"]))
    picture, lost = kept
    assert torch.equal(picture.rgb, tensor(pixels[..., :3]))
    assert torch.equal(picture.alpha, tensor(pixels[..., 4:])[:1])
    assert "1 of its 5 channels were left out" in lost
    picture, lost = read(tiff(pixels, photometric="rgb", extrasamples=["unspecified"] * 2))
    assert picture.alpha is None
    assert "2 of its 5 channels were left out" in lost


def test_no_tag_stops_a_tiff(read):
    """Any tag that is not of the pixels may hold anything."""
    pixels = noise(3, np.uint16)
    for tag in (
        (282, 2, 3, b"72\0", True),
        (296, 2, 2, b"2\0", True),
        (274, 2, 2, b"6\0", True),
        (34675, 1, 5, b"12345", True),
        (700, 1, 5, b"12345", True),
        (33723, 12, 1, 1.5, True),
        (34665, 4, 1, 4_000_000, True),
    ):
        code, kind, count, value, once = tag
        data = tiff(pixels, photometric="rgb", metadata=None, resolution=None,
                    extratags=[(code, kind, count, value, once)])  # fmt: skip
        picture, _ = read(data)
        assert torch.equal(picture.rgb, tensor(pixels)), code
    data = bytearray(tiff(pixels, photometric="rgb", description="x" * 100))
    place = data.index(struct.pack("<HHI", 270, 2, 101)) + 8
    data[place : place + 4] = struct.pack("<I", 2**31)  # text far beyond the end
    right(read(bytes(data)), pixels, bits=16)


def test_no_chunk_stops_a_webp(read):
    pixels = noise(4)
    whole = saved(Image.fromarray(pixels), "WEBP", lossless=True, exact=True, icc_profile=b"no",
                  exif=b"Exif\0\0MM")  # fmt: skip
    picture, lost = read(whole)
    assert torch.equal(picture.rgb, tensor(pixels[..., :3]))
    assert "its ICC profile is damaged and was left out" in lost
    assert "its EXIF is damaged" in lost
    for cut, words in ((1, "its EXIF chunk is cut short and was left out"), (4, "its end is cut")):
        picture, lost = read(whole[:-cut])
        assert torch.equal(picture.rgb, tensor(pixels[..., :3]))
        assert words in lost


def test_cmyk_with_a_profile_that_is_none_of_cmyk(read):
    ink = Image.fromarray(noise(4), "CMYK")
    plain = read(saved(ink, "JPEG"))[0].rgb
    broken = SRGB[:16] + b"CMYK" + SRGB[20:]
    for kind in ("JPEG", "TIFF"):
        plain = read(saved(ink, kind))[0].rgb
        for profile, words in (
            (SRGB, "is not of CMYK"),
            (broken, "is damaged"),
            (b"no profile" * 20, "is damaged"),
        ):
            picture, lost = read(saved(ink, kind, icc_profile=profile))
            assert f"its ICC profile {words} and was left out" in lost
            assert torch.equal(picture.rgb, plain)
            assert picture.icc is None
    ink.info["icc_profile"] = SRGB
    assert as_image(ink).shape == (3, *SIZE)


def test_a_pillow_image_with_damaged_exif():
    """Pillow cannot read the orientation; the picture is taken as upright."""
    pixels = noise(3)
    image = Image.open(io.BytesIO(jpeg_with(exif((0x112, 99, 1, b"")))))
    assert as_image(image).shape == (3, *SIZE)
    image = Image.open(io.BytesIO(saved(Image.fromarray(pixels), "PNG", exif=b"Exif\0\0II*\0")))
    assert torch.equal(as_image(image), tensor(pixels))


# ------------------------------------------------------------------- missing pixels


def test_no_flipped_bit_changes_a_png_in_silence(read):
    """180 single bits of IDAT, its length and its checksum."""
    rng, pixels = random.Random(0), noise(3)
    for data in (png(pixels, 8, 2), png(noise(4, np.uint16), 16, 6), saved(PHOTO, "PNG")):
        start, stop = data.index(b"IDAT") - 4, data.index(b"IEND") - 4
        for _ in range(60):
            bit = rng.randrange(8 * start, 8 * stop)
            flipped = bytearray(data)
            flipped[bit >> 3] ^= 1 << (bit & 7)
            refused = read(bytes(flipped))
            assert isinstance(refused, str)
            assert "cut short or damaged" in refused
    data = bytearray(png(pixels, 8, 2))
    data[data.index(b"IDAT") + 30] ^= 1
    assert "the checksum of its IDAT chunk does not fit" in read(bytes(data))


@pytest.mark.parametrize("interlace", [0, 1])
@pytest.mark.parametrize(
    ("bits", "kind", "channels"), [(8, 2, 3), (16, 0, 1), (1, 0, 1), (16, 6, 4)]
)
def test_a_png_that_promises_more_rows_than_it_holds(read, bits, kind, channels, interlace):
    row = b"\0" + bytes((WIDTH * bits * channels + 7) // 8)
    header = struct.pack(">IIBBBBB", WIDTH, 2000, bits, kind, 0, 0, interlace)
    for rows in (0, 1, 37, 1999):
        body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(row * rows))
        refused = read(b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b""))
        assert f"it holds {len(row) * rows} bytes of pixels and its header promises" in refused
        assert "it may be cut short or damaged" in refused


def test_chunks_of_a_png_in_another_order_are_seen(read):
    """Their own checksums fit, and stored data unpacks in any order: that of all pixels tells."""
    pixels = noise(3)
    packed = zlib.compress(b"".join(b"\0" + row.tobytes() for row in pixels), 0)
    parts = [packed[:100], packed[100:300], packed[300:500], packed[500:]]
    head = b"\x89PNG\r\n\x1a\n"
    head += chunk(b"IHDR", struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 2, 0, 0, 0))

    def made(order):
        return head + b"".join(chunk(b"IDAT", parts[k]) for k in order) + chunk(b"IEND", b"")

    right(read(made((0, 1, 2, 3))), pixels)
    for order in ((0, 2, 1, 3), (0, 1, 1, 2, 3), (0, 1, 3)):
        assert "cut short or damaged" in read(made(order)), order


def test_a_png_that_holds_more_rows_than_it_promises_says_so(read):
    pixels = noise(3)
    whole = png(pixels, 8, 2)
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT - 3, 8, 2, 0, 0, 0)
    picture, lost = read(whole[:8] + chunk(b"IHDR", header) + whole[33:])
    assert torch.equal(picture.rgb, tensor(pixels[:-3]))
    assert "it holds more rows than its header says, and those were left out" in lost


def test_critical_chunks_of_a_png(read):
    data = png(noise(3), 8, 2)
    idat = data.index(b"IDAT") - 4
    odd = data[:idat] + chunk(b"CgBI", bytes(4)) + data[idat:]
    assert "the unknown critical chunk CgBI; save it as plain PNG" in read(odd)
    assert "colour type 5" in read(png(noise(3), 8, 5))
    frames = png(noise(3), 8, 2, chunk(b"acTL", struct.pack(">II", 3, 0)))
    assert "3 frames or pages; save the one you want" in read(frames)
    picture, lost = read(data[:-12])
    assert torch.equal(picture.rgb, tensor(noise(3)))
    assert "its end is cut off or damaged" in lost


PHOTO = Image.fromarray(np.kron(noise(3, size=(8, 7)), np.ones((6, 8, 1), np.uint8)))
CUTS = {
    "jpeg": (saved(PHOTO, "JPEG"), 1),
    "noisy jpeg": (saved(Image.fromarray(noise(3)), "JPEG", subsampling=0), 1),
    "progressive": (saved(PHOTO, "JPEG", progressive=True), 1),
    "restarts": (saved(PHOTO, "JPEG", restart_marker_blocks=2), 1),
    "cmyk": (saved(PHOTO.convert("CMYK"), "JPEG"), 1),
    "webp": (saved(PHOTO, "WEBP"), 1),
    "lossless": (saved(PHOTO, "WEBP", lossless=True), 1),
    "bmp": (saved(PHOTO, "BMP"), 1),
    "bmp palette": (saved(PHOTO.convert("P"), "BMP"), 1),
    "tiff": (saved(PHOTO, "TIFF"), 1),
    "lzw": (saved(PHOTO, "TIFF", compression="tiff_lzw"), 1),
    "tiff jpeg": (saved(PHOTO, "TIFF", compression="jpeg"), 0),
    "tiff 16": (tiff(noise(3, np.uint16), photometric="rgb", compression="zlib"), 0),
    "one bit": (saved(PHOTO.convert("1"), "TIFF"), 1),
}


@pytest.mark.parametrize("name", CUTS)
@pytest.mark.parametrize("allowed", [False, True])
def test_no_cut_file_is_read_as_a_picture(read, name, allowed, monkeypatch):
    """Wherever it ends, and whatever the process allows Pillow; 0: its last bytes are no pixels."""
    data, all_refused = CUTS[name]
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", allowed)
    whole = read(data)[0].rgb
    for length in {*range(1, len(data), max(1, len(data) // 25)), *range(len(data) - 4, len(data))}:
        result = read(data[:length])
        if isinstance(result, str):
            assert "cut short or damaged" in result or "not a picture" in result
        else:
            assert not all_refused
            assert torch.equal(result[0].rgb, whole)
    assert ImageFile.LOAD_TRUNCATED_IMAGES is allowed


@pytest.mark.parametrize("name", ["jpeg", "noisy jpeg", "progressive", "restarts", "cmyk"])
def test_a_cut_jpeg_with_an_end_put_behind_it(read, name):
    """As some programs mend them: without a check the rest of the picture is grey."""
    data, _ = CUTS[name]
    start = data.index(b"\xff\xda")
    for length in np.linspace(start + 20, start + 0.7 * (len(data) - start), 25).astype(int):
        refused = read(data[:length] + b"\xff\xd9")
        assert isinstance(refused, str), length
        assert "cut short or damaged" in refused


def set_rows(data, tag, rows):
    """The height (257) or the rows of a strip (278) in the header of a TIFF."""
    place = max(data.find(struct.pack("<HHI", tag, kind, 1)) for kind in (3, 4))
    data[place + 8 : place + 10] = struct.pack("<H", rows)


def test_headers_that_promise_more(read):
    """The size is changed in the header, and nothing else."""
    bmp = bytearray(saved(PHOTO, "BMP"))
    bmp[22:26] = struct.pack("<I", 480)
    assert "and its header promises 80694" in read(bytes(bmp))
    for pixels, options in ((noise(3), {}), (noise(3, np.uint16), {"compression": "zlib"})):
        data = bytearray(tiff(pixels, photometric="rgb", rowsperstrip=5, **options))
        set_rows(data, 257, 400)
        assert "it holds 8 of 80 blocks of rows" in read(bytes(data))
    one = bytearray(tiff(noise(1)[..., 0], photometric="minisblack", compression="zlib"))
    set_rows(one, 257, 400)
    set_rows(one, 278, 400)
    assert "a block of 400 rows holds" in read(bytes(one))


def test_a_flipped_bit_in_a_deflated_tiff(read):
    rng = random.Random(0)
    pixels = noise(3, np.uint16)
    data = tiff(pixels, photometric="rgb", compression="zlib", metadata=None)
    start = data.index(zlib.compress(pixels.tobytes(), 6)[:6])
    for _ in range(60):
        bit = rng.randrange(8 * start, 8 * len(data))
        flipped = bytearray(data)
        flipped[bit >> 3] ^= 1 << (bit & 7)
        result = read(bytes(flipped))
        assert isinstance(result, str)
        assert "cut short or damaged" in result


def test_a_deflated_tiff_whose_stream_goes_on_is_compared_with_its_checksum(read):
    """Three bytes in its middle made the stream longer, and its checksum was never reached."""
    pixels = noise(3)
    for level in (0, 6):
        packed = zlib.compress(pixels.tobytes(), level)
        data = tiff(pixels, photometric="rgb", compression="zlib", compressionargs={"level": level})
        assert packed in data
        for more in (b"", b"and on"):
            stream = zlib.compressobj(level)
            other = stream.compress(pixels[::-1].tobytes() + more) + stream.flush(zlib.Z_SYNC_FLUSH)
            other = (other + packed[-4:])[: len(packed)].ljust(len(packed), b"\0")
            assert "cut short or damaged" in read(data.replace(packed, other))


def test_a_file_that_may_not_be_read_is_not_called_damaged(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(png(noise(3), 8, 2))

    def forbidden(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(path), "read_bytes", forbidden)  # root may read everything
    with pytest.raises(PermissionError, match=r"a\.png may not be read by this user: allow it"):
        read_picture(path)


@pytest.mark.parametrize(
    ("bits", "suffix"),
    [(8, ".png"), (8, ".jpg"), (8, ".webp"), (8, ".tif"), (8, ".bmp"), (16, ".png"), (16, ".tif")],
)
def test_a_disk_that_fills_up_while_a_picture_is_written_is_told(bits, suffix, tmp_path):
    """By the system's limit on a file, which the encoders meet in the middle of the pixels."""
    resource = pytest.importorskip("resource")  # not on Windows
    path, before = tmp_path / f"a{suffix}", resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(OSError, match=rf"larger than .*allows.*Make room.*a\{suffix}'"):
            write_picture(Picture(torch.rand(3, 200, 200), bits=bits), path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not any(tmp_path.iterdir())


# ------------------------------------------------------------------- the meaning of colours


@pytest.mark.parametrize(("shift", "told"), [(0, False), (0.009, False), (0.011, True)])
def test_the_primaries_of_a_tiff_are_compared_with_srgbs(read, shift, told):
    """White 318, then red, green and blue 319, as fractions; a hundredth is still the same."""
    pixels, numbers = noise(3), [3127, 3290, 6400, 3300, 3000, 6000, 1500, 600]
    numbers[6] += round(shift * 10000)
    white, colours = ([v for n in part for v in (n, 10000)] for part in (numbers[:2], numbers[2:]))
    tags = [(318, 5, 2, white, True), (319, 5, 6, colours, True)]
    picture, lost = read(tiff(pixels, photometric="rgb", metadata=None, extratags=tags))
    assert torch.equal(picture.rgb, tensor(pixels))
    assert ("PrimaryChromaticities" in lost) == told
    assert ("0.161" in lost) == told


def test_fractions_over_0_are_none(read):
    pixels = noise(3)
    tags = [(318, 5, 2, (3127, 0, 3290, 10000), True)]
    picture, lost = read(tiff(pixels, photometric="rgb", metadata=None, extratags=tags))
    assert torch.equal(picture.rgb, tensor(pixels))
    assert "its WhitePoint could not be read and was left out" in lost


def test_frames_of_a_webp_are_counted(read):
    one, two = (
        saved(PHOTO, "WEBP", save_all=True, append_images=[PHOTO.rotate(90)] * n) for n in (0, 1)
    )
    assert (read(one)[0].rgb - tensor(np.array(PHOTO))).abs().mean() < 0.05
    assert "2 frames or pages; save the one you want by itself" in read(two)


@pytest.mark.parametrize(
    ("chunks", "words"),
    [
        (chunk(b"gAMA", struct.pack(">I", 100000)), "its gAMA chunk says 1, and sRGB is about"),
        (chunk(b"gAMA", struct.pack(">I", 55556)), "its gAMA chunk says 0.55556"),
        (chunk(b"gAMA", struct.pack(">I", 45455)), ""),
        (chunk(b"gAMA", struct.pack(">I", 45000)), ""),
        (chunk(b"gAMA", struct.pack(">I", 100000)) + chunk(b"sRGB", b"\0"), ""),
        (chunk(b"cICP", bytes((12, 13, 0, 1))), "colours 12/13/0/1, and sRGB is 1/13/0/1"),
        (chunk(b"cICP", bytes((9, 16, 0, 1))), "colours 9/16/0/1"),
        (chunk(b"cICP", bytes((1, 13, 0, 1))), ""),
        (chunk(b"cHRM", struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)),
         "its cHRM chunk says other primaries than sRGB's (0.3127, 0.329, 0.68"),
        (chunk(b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)),
         ""),
        (chunk(b"gAMA", bytes(4)), "its gAMA chunk says 0"),
    ],
)  # fmt: skip
def test_colours_that_are_not_srgb_are_told(read, chunks, words):
    picture, lost = read(png(noise(3), 8, 2, chunks))
    assert torch.equal(picture.rgb, tensor(noise(3)))
    assert words in lost
    assert bool(words) == bool(lost)
    assert not words or "the pixels are taken as sRGB" in lost
    profile = chunk(b"iCCP", b"x\0\0" + zlib.compress(SRGB))
    if b"cICP" not in chunks:  # a profile goes along and overrules them
        assert read(png(noise(3), 8, 2, profile + chunks))[1] == ""


@pytest.mark.parametrize(("bits", "suffixes"), [(8, "png jpg tif bmp webp"), (16, "png tif")])
def test_the_resolution_goes_along(read, bits, suffixes, tmp_path):
    for suffix in suffixes.split():
        path = tmp_path / f"a.{suffix}"
        write_picture(Picture(tensor(noise(3)), bits=bits, dpi=(300, 300)), path)
        picture, lost = read(path.read_bytes())
        assert picture.dpi == pytest.approx((300, 300), rel=1e-4)
        assert not lost
        with Image.open(path) as image:  # what others see
            seen = image.info.get("dpi") or (image.getexif()[0x11A],) * 2
            assert tuple(map(float, seen)) == pytest.approx((300, 300), rel=1e-4)


def test_the_resolution_of_others(read):
    metre = chunk(b"pHYs", struct.pack(">IIB", 2835, 2835, 1))
    assert read(png(noise(3), 8, 2, metre))[0].dpi == pytest.approx((72.009, 72.009))
    ratio = chunk(b"pHYs", struct.pack(">IIB", 2, 1, 0))
    picture, lost = read(png(noise(3), 8, 2, ratio))
    assert "its pixels are not square (resolution 2 x 1) and are taken as square" in lost
    assert picture.dpi is None
    jpeg = bytearray(saved(PHOTO, "JPEG", dpi=(100, 100)))
    jpeg[jpeg.index(b"JFIF\0") + 7] = 2  # per centimetre
    assert read(bytes(jpeg))[0].dpi == pytest.approx((254, 254))
    data = tiff(noise(3), photometric="rgb", resolution=(100, 100), resolutionunit="CENTIMETER")
    assert read(data)[0].dpi == pytest.approx((254, 254))
    assert read(saved(PHOTO, "JPEG"))[0].dpi is None
    huge = chunk(b"pHYs", struct.pack(">IIB", 2**32 - 1, 2**32 - 1, 1))
    assert "pixels an inch and was left out" in read(png(noise(3), 8, 2, huge))[1]


@pytest.mark.parametrize("order", ["<", ">"])
def test_exif_has_the_new_size(read, order, tmp_path):
    """ImageWidth, PixelXDimension and their heights, after an enlargement and a quarter turn."""
    inner = struct.pack(f"{order}HHHIHxxHHII", 2, 0xA002, 3, 1, WIDTH, 0xA003, 4, 1, HEIGHT)
    short, long = struct.pack(f"{order}H", WIDTH), struct.pack(f"{order}I", HEIGHT)
    entries = [
        (0x100, 3, 1, short),
        (0x101, 4, 1, long),
        (0x112, 3, 1, struct.pack(f"{order}H", 6)),
    ]
    at = struct.pack(f"{order}I", 8 + 2 + 12 * 4 + 4)
    block = exif(*entries, (0x8769, 4, 1, at), order=order, after=inner + bytes(4))
    picture, lost = read(jpeg_with(block))
    assert not lost
    picture.rgb = picture.rgb.repeat(1, 2, 2)
    for suffix in ("png", "jpg", "webp"):
        write_picture(picture, tmp_path / f"a.{suffix}")
        with Image.open(tmp_path / f"a.{suffix}") as image:
            assert image.size == (2 * HEIGHT, 2 * WIDTH)
            found = image.getexif()
            assert (found[0x100], found[0x101]) == image.size
            inner_found = found.get_ifd(0x8769)
            assert (inner_found[0xA002], inner_found[0xA003]) == image.size
            assert 0x112 not in found


def test_what_cannot_be_written_is_told(tmp_path):
    rgb = tensor(noise(3))
    named = Picture(rgb, exif=exif((0x10E, 2, 4, b"abc\0")))
    for suffix, kind in (("tif", "TIFF"), ("bmp", "BMP")):
        with pytest.warns(UserWarning, match=f"EXIF is not written into a {kind}"):
            write_picture(named, tmp_path / f"a.{suffix}")
    named.exif = exif((0x10E, 2, 4, b"abc\0"), after=bytes(70_000))
    with pytest.warns(UserWarning, match="the EXIF has 700.* bytes, a JPEG takes 65533"):
        write_picture(named, tmp_path / "a.jpg")
    other = SRGB.replace(b"s\0R\0G\0B", b"o\0t\0h\0r").replace(b"sRGB", b"othr")
    with pytest.warns(UserWarning, match="the ICC profile does not fit into a BMP and was left"):
        write_picture(Picture(rgb, icc=other), tmp_path / "a.bmp")
    with pytest.warns(UserWarning, match="the ICC profile does not fit into a grey picture"):
        write_picture(Picture(rgb, grey=True, icc=other), tmp_path / "a.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_picture(Picture(rgb, icc=SRGB), tmp_path / "a.bmp")  # pixels are sRGB without it


def test_a_bmp_of_os2_has_a_header_of_12_bytes(read):
    """Sides of 16 bits, rows from the bottom up, three bytes a pixel, rows of whole words."""
    pixels = noise(3, size=(5, 6))
    rows = b"".join(row.tobytes() + bytes(-len(row.tobytes()) % 4) for row in pixels[::-1, :, ::-1])
    head = struct.pack("<IHHHH", 12, 6, 5, 1, 24)
    data = b"BM" + struct.pack("<IHHI", 26 + len(rows), 0, 0, 26) + head + rows
    right(read(data), pixels)
    assert read(data)[0].dpi is None


def test_a_bmp_that_links_its_profile_says_so(read):
    data = bytearray(saved(PHOTO, "BMP"))
    start, header = struct.unpack_from("<II", data, 10)
    data[14 + header : 14 + header] = bytes(124 - header)
    struct.pack_into("<II", data, 10, start + 124 - header, 124)
    data[70:74] = b"KNIL"
    picture, lost = read(bytes(data))
    assert torch.equal(picture.rgb, tensor(np.array(PHOTO)))
    assert "its ICC profile is in another file and was left out" in lost


@pytest.mark.parametrize(
    "dpi", [(float("nan"), 72), (72, float("inf")), (0, 0), (-72, -72), (1e12, 72)]
)
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_a_resolution_that_is_none_stops_no_picture(suffix, dpi, tmp_path):
    path = tmp_path / f"a{suffix}"
    with pytest.warns(UserWarning, match=r"a resolution of .* pixels an inch was left out"):
        write_picture(Picture(torch.rand(3, 8, 8), dpi=dpi), path)
    assert read_picture(path).dpi is None


@pytest.mark.parametrize("quality", [-5, 101, 50.5, None, "95", float("nan")])
@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".png"])
def test_a_quality_is_a_whole_number_to_100(suffix, quality, tmp_path):
    with pytest.raises(ValueError, match=f"quality={quality!r}: expected a whole number from 0"):
        write_picture(Picture(torch.rand(3, 8, 8)), tmp_path / f"a{suffix}", quality=quality)
    assert not any(tmp_path.iterdir())


def test_a_bmp_keeps_its_profile(read):
    """A header of version 5 with a profile behind the pixels, and one with a gamma."""
    plain = saved(Image.fromarray(noise(3)), "BMP")
    pixels = plain[54:]
    head = struct.pack("<IiiHHIIiiII", 124, WIDTH, HEIGHT, 1, 24, 0, len(pixels), 0, 0, 0, 0)
    rest = bytearray(124 - len(head))
    rest[16:20] = b"DEBM"
    rest[72:80] = struct.pack("<II", 124 + len(pixels), len(SRGB))
    start = struct.pack("<2sIII", b"BM", 138 + len(pixels), 0, 138)
    picture, lost = read(start + head + bytes(rest) + pixels + SRGB)
    assert torch.equal(picture.rgb, tensor(noise(3)))
    assert picture.icc == SRGB
    assert not lost
    rest[16:20] = bytes(4)
    rest[56:68] = struct.pack("<3I", *[1 << 16] * 3)
    lost = read(start + head + bytes(rest) + pixels)[1]
    assert "its header says gamma 1, and sRGB is about 2.2" in lost
