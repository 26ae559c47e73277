"""Weights in the formats of Caffe, TensorFlow 1, NumPy and ncnn; nothing in a file is run.

Caffe and TensorFlow, which are not needed, keep their numbers in protocol buffers: fields of a
number, a type and a value, one after the other.
https://protobuf.dev/programming-guides/encoding/. TensorFlow's V1 checkpoint puts them into
LevelDB's table of sorted keys. https://github.com/google/leveldb/blob/main/doc/table_format.md

NumPy's .npz is a zip of arrays. TensorLayer, for TensorFlow, saved a list of arrays as one array of
objects, which is a pickle: of that, numbers are read and nothing is called.

ncnn keeps a network in two files: .param lists its layers as text, .bin holds their numbers in the
same order. https://github.com/Tencent/ncnn/wiki/param-and-model-file-structure. A convolution's
weights (out, in, height, width) follow a word of four bytes, 0 for float32 and 0x01306B47 for
float16, and fill multiples of four bytes; its biases are float32 without such a word.

Torch7's .t7 is not read. RDN's authors published theirs so (RDN_BIX2, X3, X4): convolutions in the
order SFENet1, SFENet2, for each block RDBs.d.convs.0 to 7 and RDBs.d.LFF, then GFF.0, GFF.1, and
those of UPNet, by the names of `srkit.models.rdn`; they subtract DIV2K's mean first, ours do not.
"""

from __future__ import annotations

import io
import math
import pickle
import zipfile
from collections.abc import Callable, Iterator
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from srkit.files import Damaged

TABLE_MAGIC = 0xDB4775248B80FB57.to_bytes(8, "little")
FOOTER = 48  # bytes: two handles of blocks, padding, the magic number
NCNN_MAGIC = "7767517"  # the first line of a .param
NCNN_TYPES = {0: "<f4", 0x01306B47: "<f2"}  # by the word before the weights
NCNN_BARE = {"Input", "Split", "Concat", "Eltwise", "BinaryOp", "Interp", "ReLU"}  # no weights


def read_caffemodel(path: str | PathLike) -> dict[str, Tensor]:
    """The tensors of a .caffemodel: LAYER.weight and LAYER.bias (a third blob is LAYER.2, ...).

    Caffe's layouts of (transposed) convolutions are PyTorch's. Raises ValueError for what is not
    a whole file in the present format of Caffe (a NetParameter with entries named `layer`).
    """
    state = {}
    try:
        for field, layer in _fields(Path(path).read_bytes()):
            if field != 100 or not isinstance(layer, bytes):  # NetParameter.layer
                continue
            parts = _fields_by_number(layer)
            for i, blob in enumerate(parts.get(7, [])):  # LayerParameter.blobs
                part = ("weight", "bias")[i] if i < 2 else str(i)
                state[f"{parts[1][0].decode()}.{part}"] = _blob(blob)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Damaged(f"{path} is no whole Caffe model ({error}): fetch it again.") from error
    if not state:
        raise ValueError(f"{path} is no Caffe model with weights: there are no layers in it.")
    return state


def is_tensorflow(path: str | PathLike) -> bool:
    """Whether the file ends as a V1 checkpoint of TensorFlow does."""
    with open(path, "rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - len(TABLE_MAGIC)))
        return file.read() == TABLE_MAGIC


def read_tensorflow(path: str | PathLike) -> dict[str, Tensor]:
    """The float32 tensors of a V1 checkpoint, by TensorFlow's names and in its layouts.

    Raises Damaged for what is not a whole file of that format, for compressed blocks and for
    variables that are stored in slices.
    """
    data = Path(path).read_bytes()
    try:
        if len(data) < FOOTER or not data.endswith(TABLE_MAGIC):
            raise ValueError("its end is missing")
        footer = data[-FOOTER:]
        _, at = _handle(footer, 0)  # of the meta index, not used
        index, _ = _handle(footer, at)
        shapes, values, read = {}, {}, 0
        for _, entry in _entries(_block(data, index)):
            handle, _ = _handle(entry, 0)
            read += handle[1]
            if read > len(data):
                raise ValueError("its index names a block more than once")
            for key, record in _entries(_block(data, handle)):
                message = _fields_by_number(record)  # SavedTensorSlices
                if not key:
                    shapes = _shapes(message[1][0])
                else:
                    saved = _fields_by_number(message[2][0])  # 1 name, 2 slice, 3 tensor
                    floats = _fields_by_number(saved[3][0]).get(5, [])  # TensorProto.float_val
                    values[saved[1][0].decode()] = b"".join(floats)
        return {name: _tensor(values[name], shape) for name, shape in shapes.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Damaged(
            f"{path} is no whole TensorFlow V1 checkpoint ({error}): fetch it again."
        ) from error


def read_npz(path: str | PathLike) -> dict[str, Tensor]:
    """The arrays of an .npz as float32, by name; those of a list by their numbers: "0", "1", ...

    Lists are arrays that were saved without names (arr_0, arr_1, ...) and arrays of arrays
    (TensorLayer's `params`). Raises Damaged for what is not a whole file of numbers, ValueError for
    one that would run code.
    """
    state = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.namelist():
                value = _npy(archive.read(member))
                name = member.removesuffix(".npy").removeprefix("arr_")
                named = enumerate(value) if isinstance(value, list) else [(name, value)]
                # a copy: in this machine's byte order, and PyTorch may write to it
                state |= {str(n): torch.from_numpy(np.array(x, np.float32)) for n, x in named}
    except _Refused as error:
        raise ValueError(
            f"{path} is refused: to load it would run {error}, and weights are arrays only. If you "
            "trust the file, open it where it was made and save them by np.savez(path, *arrays)."
        ) from error
    except Exception as error:  # a broken zip or pickle shows as any of a dozen kinds
        raise Damaged(f"{path} is no whole .npz of numbers ({error}): fetch it again.") from error
    return state


def is_ncnn(path: str | PathLike) -> bool:
    """Whether the file is one of ncnn's two: a .param, or a .bin with a .param or ncnn's word."""
    path = Path(path)
    if path.suffix != ".bin" or path.with_suffix(".param").is_file():
        return path.suffix in (".param", ".bin")
    with open(path, "rb") as file:  # PyTorch's may be named so, too
        return int.from_bytes(file.read(4).ljust(4, b"?"), "little") in NCNN_TYPES


def read_ncnn(path: str | PathLike) -> dict[str, Tensor]:
    """The convolutions of a network of ncnn as float32: 0.weight, 0.bias, 1.weight, ... in order.

    path: the .param or the .bin; the other one has the same name and lies beside it. How the layers
    are connected is not read. Raises FileNotFoundError where one of the two is missing; Damaged
    for files that are not whole, for layers with weights other than plain convolutions, and for
    numbers other than float32 and float16.
    """
    param, weights = (Path(path).with_suffix(suffix) for suffix in (".param", ".bin"))
    for file in (param, weights):
        if not file.is_file():
            raise FileNotFoundError(
                f"{path} needs {file.name} beside it: ncnn keeps a network's layers in .param and "
                "its numbers in .bin."
            )
    data, at, state = weights.read_bytes(), 0, {}
    try:
        for number, (name, facts) in enumerate(_ncnn_convolutions(param.read_text("utf-8"))):
            wide, count, size = (int(facts[key]) for key in ("1", "0", "6"))
            shape = (count, -1, int(facts.get("11", wide)), wide)
            word = int.from_bytes(data[at : at + 4], "little")
            if word not in NCNN_TYPES:
                raise ValueError(
                    f"the weights of {name} are of the kind {word:#010x}; srkit reads 0 (float32) "
                    "and 0x01306b47 (float16)"
                )
            part, at = _ncnn_numbers(data, at + 4, size, NCNN_TYPES[word], name)
            state[f"{number}.weight"] = part.reshape(shape)
            if facts.get("5") == "1":
                state[f"{number}.bias"], at = _ncnn_numbers(data, at, count, "<f4", name)
        if at != len(data):
            raise ValueError(f"{len(data) - at} bytes of {weights.name} are left over")
    except (ValueError, KeyError, IndexError, RuntimeError) as error:
        what = f"a layer has no {error}=" if isinstance(error, KeyError) else error
        raise Damaged(
            f"{param} and {weights.name} are no whole network of ncnn that srkit reads: {what}."
        ) from error
    return state


def _ncnn_convolutions(text: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Name and settings (0 channels, 1 width, 11 height, 5 bias, 6 weights) of each convolution."""
    magic, counts, *layers = [line for line in text.splitlines() if line.strip()] or ["", ""]
    if magic.strip() != NCNN_MAGIC:
        raise ValueError(f"the first line is {magic[:20]!r}, not {NCNN_MAGIC}")
    if len(layers) != int(counts.split()[0]):
        raise ValueError(f"{len(layers)} layers are listed, {counts.split()[0]} are announced")
    for layer in layers:
        kind, name, *rest = layer.split()
        if kind == "Convolution":
            yield name, dict(part.split("=", 1) for part in rest if "=" in part)
        elif kind not in NCNN_BARE:
            raise ValueError(
                f"layer {name} is a {kind}; srkit reads Convolution, and around it "
                f"{', '.join(sorted(NCNN_BARE))}"
            )


def _ncnn_numbers(data: bytes, at: int, count: int, kind: str, name: str) -> tuple[Tensor, int]:
    """`count` numbers from byte `at` on as float32, and where they end: at a multiple of four."""
    if count < 1:
        raise ValueError(f"{name} should have {count} weights or biases")
    size = count * np.dtype(kind).itemsize
    end = at + size + -size % 4
    if end > len(data):
        raise ValueError(f"it breaks off in {name}, {end - len(data)} bytes are missing")
    values = np.frombuffer(data[at : at + size], kind).astype(np.float32)
    return torch.from_numpy(values), end


def _npy(data: bytes) -> np.ndarray | list[np.ndarray]:
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    v1, v2 = np.lib.format.read_array_header_1_0, np.lib.format.read_array_header_2_0
    *_, dtype = (v1 if version == (1, 0) else v2)(file)
    if dtype.hasobject:
        return [item.value for item in _Numbers(file, encoding="latin1").load().value]
    file.seek(0)
    return np.lib.format.read_array(file, allow_pickle=False)


class _Refused(pickle.UnpicklingError):
    """The pickle wants something to be called; the message says what."""


class _Numbers(pickle.Unpickler):
    """Reads pickled arrays with the two classes below in place of everything that NumPy names.

    (NumPy's own are no safe choice: a forged dtype would have it take bytes for objects.)
    """

    def find_class(self, module: str, name: str) -> Callable | None:
        if (module, name) == ("_codecs", "encode"):  # of bytes in older pickles
            return str.encode
        known = {"_reconstruct": _Array, "dtype": _Type, "ndarray": None}
        if module.split(".")[0] != "numpy" or name not in known:
            raise _Refused(f"{module}.{name}")
        return known[name]


class _Type:
    def __init__(self, code: str, *_: object):
        self.code = code

    def __setstate__(self, state: tuple) -> None:
        self.code = state[1] + self.code  # byte order


class _Array:
    value: np.ndarray | list  # a list, of an array of objects

    def __init__(self, *_: object):
        """All that counts comes with the state."""

    def __setstate__(self, state: tuple) -> None:
        _, shape, kind, fortran, values = state
        if not isinstance(values, list):
            values = values.encode("latin1") if isinstance(values, str) else values  # of Python 2
            values = np.frombuffer(values, kind.code).reshape(shape, order="F" if fortran else "C")
        self.value = values


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number in base 128, low digits first, and where it ends."""
    value = 0
    for i, byte in enumerate(data[at : at + 10]):
        value |= (byte & 127) << (7 * i)
        if byte < 128:
            return value, at + i + 1
    raise ValueError(f"no number at byte {at}")


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a message: (number, value), the value an int or bytes."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        kind = tag & 7
        if kind == 0:
            value, at = _varint(data, at)
        elif kind in (1, 2, 5):
            size, at = _varint(data, at) if kind == 2 else ({1: 8, 5: 4}[kind], at)
            value, at = data[at : at + size], at + size
            if at > len(data):
                raise ValueError(f"it breaks off: {at - len(data)} bytes are missing")
        else:
            raise ValueError(f"no field of a message ends at byte {at}")
        yield tag >> 3, value


def _fields_by_number(data: bytes) -> dict[int, list]:
    found = {}
    for number, value in _fields(data):
        found.setdefault(number, []).append(value)
    return found


def _tensor(floats: bytes, shape: tuple[int, ...]) -> Tensor:
    if len(floats) != 4 * math.prod(shape) or not floats:
        raise ValueError(f"{len(floats)} bytes of values for a float32 tensor {shape}")
    return torch.from_numpy(np.frombuffer(floats, "<f4").astype(np.float32)).reshape(shape)


def _blob(data: bytes) -> Tensor:
    """Caffe's BlobProto: 7 shape {1 packed dims}, in older files 1 to 4 the sides; 5 floats."""
    blob = _fields_by_number(data)
    if 7 in blob:
        packed, shape, at = b"".join(_fields_by_number(blob[7][0]).get(1, [])), [], 0
        while at < len(packed):
            side, at = _varint(packed, at)
            shape.append(side)
    else:
        shape = [blob[n][0] for n in (1, 2, 3, 4)]
    return _tensor(b"".join(blob.get(5, [])), tuple(shape))


def _handle(data: bytes, at: int) -> tuple[tuple[int, int], int]:
    """Offset and size of a block, and where the handle ends."""
    offset, at = _varint(data, at)
    size, at = _varint(data, at)
    return (offset, size), at


def _block(data: bytes, handle: tuple[int, int]) -> bytes:
    """A block without its trailer (one byte of compression, four of a checksum)."""
    offset, size = handle
    if offset + size + 5 > len(data):
        raise ValueError("a block lies outside the file")
    if data[offset + size]:
        raise ValueError("its blocks are compressed, which srkit does not read")
    crc = crc32c(data[offset : offset + size + 1])
    masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF  # so LevelDB stores it
    if masked != int.from_bytes(data[offset + size + 1 : offset + size + 5], "little"):
        raise ValueError("a block does not have its checksum, the file is damaged")
    return data[offset : offset + size]


def crc32c(data: bytes) -> int:
    """The checksum CRC-32C (Castagnoli) of `data`, which zlib does not have.

    Lanes of equal length go through the table side by side; then each one's remainder is carried
    past those behind it, by repeated squaring of "one zero bit more" as a matrix over two numbers.
    """
    if not data:
        return 0
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, table >> 1 ^ np.uint32(0x82F63B78), table >> 1)
    length = max(1, math.isqrt(len(data)))
    front = np.frombuffer(data[: len(data) % length], np.uint8)
    lanes = np.frombuffer(data[len(front) :], np.uint8).reshape(-1, length)
    crc = np.uint32(0xFFFFFFFF)
    for byte in front:
        crc = table[(crc ^ byte) & 0xFF] ^ crc >> np.uint32(8)
    rests = np.zeros(len(lanes), np.uint32)
    rests[0] = crc
    for column in lanes.T:
        rests = table[(rests ^ column) & 0xFF] ^ rests >> np.uint32(8)
    carry = [int(table[1 << bit]) if bit < 8 else 1 << (bit - 8) for bit in range(32)]  # 1 byte
    step = [1 << bit for bit in range(32)]
    while length:
        if length & 1:
            step = [_times(carry, column) for column in step]
        carry = [_times(carry, column) for column in carry]
        length >>= 1
    whole = 0
    for rest in rests.tolist():
        whole = _times(step, whole) ^ rest
    return whole ^ 0xFFFFFFFF


def _times(matrix: list[int], vector: int) -> int:
    """A product of 32 bits, the matrix given by its columns; sums are exclusive ors."""
    product = 0
    for column in matrix:
        if vector & 1:
            product ^= column
        vector >>= 1
        if not vector:
            break
    return product


def _entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values; a key is kept as what differs from the one before."""
    restarts = int.from_bytes(block[-4:], "little")  # places where a search may begin: not needed
    end, at, key = len(block) - 4 * (restarts + 1), 0, b""
    if end < 0:
        raise ValueError("a block's end is damaged")
    while at < end:
        shared, at = _varint(block, at)
        own, at = _varint(block, at)
        size, at = _varint(block, at)
        if at + own + size > end:
            raise ValueError("an entry goes beyond its block")
        key = key[:shared] + block[at : at + own]
        yield key, block[at + own : at + own + size]
        at += own + size


def _shapes(meta: bytes) -> dict[str, tuple[int, ...]]:
    """Of the float32 variables: SavedTensorSliceMeta {1 variable {1 name, 2 shape, 3 type}}."""
    shapes = {}
    for variable in map(_fields_by_number, _fields_by_number(meta).get(1, [])):
        if variable[3] == [1]:  # DT_FLOAT
            sides = _fields_by_number(variable[2][0]).get(2, [])  # none: a scalar
            shape = tuple(_fields_by_number(side)[1][0] for side in sides)
            shapes[variable[1][0].decode()] = shape
    return shapes
