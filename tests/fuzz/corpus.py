"""The files that are damaged: small ones of every format and depth, made by code when asked for."""

from __future__ import annotations

import io
import json
import struct
import tarfile
import tempfile
import zipfile
import zlib
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import tifffile
import torch
from image.test_faults import SRGB, chunk, exif, png, saved, tiff
from PIL import Image
from toy import Crops, record, train
from weights.test_foreign import caffe, ncnn, object_npz, tensorflow

from srkit.image.io import Picture, write_picture
from srkit.models.esrgan import RRDBNet
from srkit.models.rlfn import RLFN
from srkit.weights.load import create_model
from srkit.weights.save import save

ALL = ((0, 2**62),)


@dataclass(frozen=True)
class Sample:
    """A whole file.

    sealed: ranges of bytes over which the format has a checksum, or ALL of them.
    beside: files that belong to it, by suffix.
    """

    name: str
    suffix: str
    data: bytes
    sealed: tuple[tuple[int, int], ...] = ()
    beside: dict[str, bytes] = field(default_factory=dict)

    def shows(self, damaged: bytes) -> bool:
        """Whether a checksum tells that this is not the file as it was made."""
        if self.sealed == ALL:
            return True
        if len(damaged) != len(self.data):
            return False
        a, b = (np.frombuffer(x, np.uint8) for x in (self.data, damaged))
        (places,) = np.nonzero(a != b)
        return any(start <= places[0] and places[-1] < stop for start, stop in self.sealed)


def drawn(channels: int, dtype=np.uint8, size=(19, 23), top: int | None = None) -> np.ndarray:
    """(H, W, C): a slope with noise, so that compression has something to do."""
    rng = np.random.default_rng(7)
    top = int(np.iinfo(dtype).max) if top is None else top
    slope = np.linspace(0, 0.8, size[0] * size[1] * channels).reshape(*size, channels)
    return ((slope + 0.2 * rng.random(slope.shape)) * top).round().astype(dtype)


def _pngs() -> dict[str, bytes]:
    made = {}
    for kind, channels, depths in (
        (0, 1, (1, 2, 4, 8, 16)),
        (2, 3, (8, 16)),
        (4, 2, (8, 16)),
        (6, 4, (8, 16)),
    ):
        for bits in depths:
            dtype = np.uint16 if bits == 16 else np.uint8
            pixels = drawn(channels, dtype, top=2**bits - 1)
            made[f"png kind {kind}, {bits} bits"] = png(pixels, bits, kind)
    palette = chunk(b"PLTE", drawn(3)[0, :16].tobytes()) + chunk(b"tRNS", bytes(range(0, 160, 10)))
    for bits in (1, 4, 8):
        made[f"png palette, {bits} bits"] = png(
            drawn(1, top=min(15, 2**bits - 1)), bits, 3, palette
        )
    tags = chunk(b"gAMA", b"\0\0\xb1\x8f") + chunk(b"iCCP", b"x\0\0" + zlib.compress(SRGB))
    tags += chunk(b"eXIf", exif((0x112, 3, 1, b"\1\0"), (0x10E, 2, 4, b"abc\0"))[6:])
    tags += chunk(b"pHYs", b"\0\0\x0b\x13\0\0\x0b\x13\1") + chunk(b"tEXt", b"Comment\0hello")
    made["png with tags"] = png(drawn(3), 8, 2, tags)
    rows = b"".join(b"\0" + row.tobytes() for row in drawn(3, size=(40, 40)))
    parts = zlib.compress(rows, 0)  # stored: whatever the order of its chunks, it unpacks
    body = chunk(b"IHDR", b"\0\0\0\x28\0\0\0\x28\x08\x02\0\0\0")
    body += b"".join(chunk(b"IDAT", parts[at : at + 500]) for at in range(0, len(parts), 500))
    made["png in parts"] = b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")
    return made


def _pillows() -> dict[str, bytes]:
    rgb, grey = Image.fromarray(drawn(3)), Image.fromarray(drawn(1)[..., 0])
    rgba, large = Image.fromarray(drawn(4)), Image.fromarray(drawn(3, size=(70, 90)))
    block = exif((0x112, 3, 1, b"\6\0"), (0x11A, 5, 1, b"\x32\0\0\0"), (0x10E, 2, 4, b"abc\0"))
    return {
        "jpg": saved(large, "JPEG"),
        "jpg grey": saved(grey, "JPEG"),
        "jpg progressive": saved(large, "JPEG", progressive=True),
        "jpg restarts": saved(large, "JPEG", restart_marker_blocks=2, subsampling=0),
        "jpg cmyk": saved(large.convert("CMYK"), "JPEG"),
        "jpg with tags": saved(rgb, "JPEG", exif=block, icc_profile=SRGB, dpi=(72, 72)),
        "webp": saved(large, "WEBP"),
        "webp lossless": saved(rgb, "WEBP", lossless=True),
        "webp alpha": saved(rgba, "WEBP", exif=block, icc_profile=SRGB),
        "bmp": saved(rgb, "BMP"),
        "bmp palette": saved(rgb.convert("P"), "BMP"),
        "bmp one bit": saved(rgb.convert("1"), "BMP"),
        "bmp alpha": saved(rgba, "BMP"),
        "ppm": saved(rgb, "PPM"),
        "pgm": saved(grey, "PPM"),
        "pgm 16": b"P5 23 19 65535\n" + drawn(1, np.uint16).astype(">u2").tobytes(),
        "tif lzw": saved(rgb, "TIFF", compression="tiff_lzw"),
        "tif packbits": saved(rgb, "TIFF", compression="packbits"),
        "tif jpeg": saved(large, "TIFF", compression="jpeg"),
        "tif fax": saved(rgb.convert("1"), "TIFF", compression="group4"),
        "tif palette": saved(rgb.convert("P"), "TIFF"),
        "tif zstd": saved(rgba, "TIFF", compression="zstd"),
        "tif tags": saved(rgb, "TIFF", exif=block, icc_profile=SRGB, dpi=(72, 72)),
    }


def _tiffs() -> dict[str, bytes]:
    made = {}
    for dtype in (np.uint8, np.uint16):
        bits = np.iinfo(dtype).bits
        for name, options in (
            ("plain", {"rowsperstrip": 5}),
            ("deflate", {"compression": "zlib", "predictor": True, "rowsperstrip": 7}),
            ("tiles", {"compression": "zlib", "tile": (16, 16), "byteorder": ">"}),
            ("big", {"compression": "zlib", "bigtiff": True, "planarconfig": "separate"}),
        ):
            pixels = drawn(3, dtype)
            if options.get("planarconfig"):
                pixels = np.moveaxis(pixels, -1, 0)
            data = tiff(pixels, photometric="rgb", metadata=None, **options)
            made[f"tif {name}, {bits} bits"] = data
        made[f"tif cmyk, {bits} bits"] = tiff(drawn(4, dtype), photometric="separated")
        made[f"tif alpha, {bits} bits"] = tiff(
            drawn(4, dtype), photometric="rgb", extrasamples=["unassalpha"], compression="zlib"
        )
    return made


def _own() -> dict[str, bytes]:
    """As srkit writes them."""
    rgb = torch.from_numpy(drawn(3).astype(np.float32) / 255).permute(2, 0, 1)
    made = {}
    with tempfile.TemporaryDirectory() as folder:
        for suffix in ("png", "jpg", "webp", "tif", "bmp"):
            for bits in (8, 16) if suffix in ("png", "tif") else (8,):
                path = Path(folder) / f"a.{suffix}"
                write_picture(Picture(rgb, bits=bits, dpi=(300, 300)), path)
                made[f"{suffix} of srkit, {bits} bits"] = path.read_bytes()
    return made


@cache
def pictures() -> list[Sample]:
    """In every format and depth that srkit reads."""
    found = []
    for name, data in (_pngs() | _pillows() | _tiffs() | _own()).items():
        sealed: tuple[tuple[int, int], ...] = ()
        if name.startswith("png"):
            sealed = ALL
        elif data[:2] in (b"II", b"MM"):
            sealed = _deflated(data)
        found.append(Sample(name, f".{name.split()[0]}", data, sealed))
    return found


def _deflated(data: bytes) -> tuple[tuple[int, int], ...]:
    """Where a TIFF keeps its blocks of Deflate, each with its checksum."""
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages[0]
        if page.compression not in (8, 32946):
            return ()
        blocks = zip(page.dataoffsets, page.databytecounts, strict=True)
        return tuple((at, at + size) for at, size in blocks)


@cache
def network() -> RLFN:
    """Small, and unlike any other of the zoo in its size."""
    torch.manual_seed(0)
    return create_model("rlfn_tiny_x4")


@cache
def weights() -> list[Sample]:
    """A network in every format; of the formats that hold any tensors also a few small ones."""
    model = network()
    state, few = model.state_dict(), {"a.weight": torch.ones(3, 3), "b": torch.arange(4.0)}
    arrays = {"net/w": np.ones((3, 3, 2, 4), np.float32), "net/b": np.arange(4, dtype=np.float32)}
    found = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.safetensors"
        save(model, path, provenance={"seed": 0})
        found.append(Sample("safetensors", ".safetensors", path.read_bytes()))
    for name, tensors in (("", state), (" of two", few)):
        found.append(Sample(f"pth{name}", ".pth", _pth(tensors), sealed=ALL))
        found.append(Sample(f"old pth{name}", ".pth", _pth(tensors, old=True)))
        named = {key: value.numpy() for key, value in tensors.items()}
        npz = io.BytesIO()
        np.savez(npz, **named)
        found.append(Sample(f"npz{name}", ".npz", npz.getvalue(), sealed=ALL))
    wrapped = {"params_ema": few, "params": few, "epoch": 3, "nested": {"a": [1, None, "x"]}}
    found.append(Sample("pth wrapped", ".pth", _pth(wrapped), sealed=ALL))
    pickled = object_npz([*arrays.values()], 2)
    found.append(Sample("npz pickled", ".npz", pickled, sealed=ALL))
    layers = {"conv1": [arrays["net/w"], arrays["net/b"]], "conv2": [arrays["net/w"]]}
    found.append(Sample("caffe", ".caffemodel", caffe(layers)))
    found.append(Sample("caffe old", ".caffemodel", caffe(layers, old_dims=True)))
    found.append(Sample("tensorflow", "", tensorflow(arrays), sealed=ALL))
    torch.manual_seed(0)
    param, numbers = ncnn(RRDBNet(channels=3, blocks=1, growth=2).eval())
    found.append(Sample("ncnn bin", ".bin", numbers, beside={".param": param.encode()}))
    found.append(Sample("ncnn param", ".param", param.encode(), beside={".bin": numbers}))
    return found


def _pth(content: object, *, old: bool = False) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=not old)
    return file.getvalue()


def packed_zeros(mebibytes: int) -> bytes:
    """A thousandth of what it unpacks to."""
    stream = zlib.compressobj()
    return b"".join(stream.compress(bytes(2**20)) for _ in range(mebibytes)) + stream.flush()


@cache
def bombs() -> dict[str, list[Sample]]:
    """Small files that unpack to far more than they should, or to the same again and again."""
    zeros = packed_zeros(200)
    head = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", b"\0\0\0\x08\0\0\0\x08\x08\2\0\0\0")
    end = chunk(b"IEND", b"")
    rows = chunk(b"IDAT", zlib.compress(bytes(8 * 25))) + end
    progressive = saved(Image.new("L", (1000, 1000)), "JPEG", progressive=True)
    scan = progressive[progressive.rindex(b"\xff\xda") : -2]
    large = bytearray(saved(Image.new("L", (16, 16)), "JPEG"))
    frame = large.index(b"\xff\xc0") + 5
    large[frame : frame + 4] = b"\x05\0\x05\0"
    zipped, tarred, npz = io.BytesIO(), io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("Toy_HR/a.png", bytes(200 * 2**20))
    with tarfile.open(fileobj=tarred, mode="w:gz", format=tarfile.PAX_FORMAT) as archive:
        member = tarfile.TarInfo("a")
        member.pax_headers = {"comment": "a" * (100 * 2**20)}
        archive.addfile(member)
    with zipfile.ZipFile(npz, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", bytes(200 * 2**20))
    repeated = {f"a{k}": torch.zeros(1).expand(2**12, 2**12) for k in range(8)}
    return {
        "picture": [
            Sample("bomb in its pixels", ".png", head + chunk(b"IDAT", zeros) + end),
            Sample("bomb in its text", ".png", head + chunk(b"zTXt", b"x\0\0" + zeros) + rows),
            Sample("bomb in its profile", ".png", head + chunk(b"iCCP", b"x\0\0" + zeros) + rows),
            Sample("bomb of scans", ".jpg", progressive[:-2] + 1000 * scan + b"\xff\xd9"),
            Sample("bomb in its header", ".jpg", bytes(large)),
            Sample("bomb in a strip", ".tif", _strips(zeros, 19)),
            Sample("bomb of strips", ".tif", _strips(zeros, 1, times=5000)),
        ],
        "weights": [
            Sample("bomb", ".npz", npz.getvalue()),
            Sample("bomb of a number", ".pth", _pth(repeated)),
        ],
        "catalogue": [
            Sample("bomb", ".zip", zipped.getvalue()),
            Sample("bomb in a header", ".tar.gz", tarred.getvalue()),
        ],
    }  # fmt: skip


def _strips(packed: bytes, rows: int, times: int = 1) -> bytes:
    """A TIFF, 23 pixels wide, whose strips of so many rows are all the same packed bytes."""
    lists = np.array([[8] * times, [len(packed)] * times], "<u4").tobytes() if times > 1 else b""
    at = 8 + len(packed)
    places = (at, at + 4 * times) if times > 1 else (8, len(packed))
    entries = (
        (256, 1, 23), (257, 1, rows * times), (258, 1, 8), (259, 1, 8), (262, 1, 1),
        (273, times, places[0]), (277, 1, 1), (278, 1, rows), (279, times, places[1]),
    )  # fmt: skip
    tags = b"".join(struct.pack("<HHII", tag, 4, n, value) for tag, n, value in entries)
    body = packed + lists
    head = b"II*\0" + struct.pack("<I", 8 + len(body))
    return head + body + struct.pack("<H", len(entries)) + tags + bytes(4)


@cache
def records() -> list[dict]:
    """As a file of records has them."""
    data = {"name": "procedural", "pictures": 4, "sha256": "0" * 64}
    more = record(2, 31.0, data=data, builds_on=("short",), scales={"x2": {"psnr": 30.0}})
    return [record().to_json(), record(1, 30.5).to_json(), more.to_json()]


@cache
def checkpoints() -> dict[str, bytes]:
    """What a tiny training leaves that is stopped after 15 of its 24 steps."""

    def stop():
        raise InterruptedError

    with tempfile.TemporaryDirectory() as folder:
        try:
            train("pixel", Path(folder), Crops({17: stop}))
        except InterruptedError:
            return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir())}
    raise AssertionError("the training was not stopped")


@cache
def trained() -> dict[str, torch.Tensor]:
    """What that training learns when nothing happens to it."""
    return train("pixel")


@cache
def archives() -> list[Sample]:
    """Three pictures of a set, packed as sets are published."""
    members = {f"Toy_HR/{name}.png": _pngs()["png kind 2, 8 bits"] for name in "abc"}
    members["Toy_HR/readme.txt"] = b"three pictures"
    zipped, packed = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    import gzip

    return [
        Sample("zip", ".zip", zipped.getvalue(), ALL),
        Sample("tar", ".tar", packed.getvalue()),
        Sample("tar.gz", ".tar.gz", gzip.compress(packed.getvalue(), mtime=0), ALL),
    ]


def as_file(found: list[dict]) -> bytes:
    return json.dumps(found, indent=1).encode()
