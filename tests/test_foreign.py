"""Files of Caffe and TensorFlow 1: read without them, refused in words when damaged."""

from __future__ import annotations

import random
import struct

import numpy as np
import pytest
import torch

from srkit import foreign
from srkit.weights import load_checkpoint


def varint(value):
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def field(number, value):
    """One field of a protocol buffer: an int, or bytes."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def caffe(layers, old_dims=False):
    """A NetParameter {layer name: [array, ...]}, with fields in between that no reader needs."""
    out = field(1, b"net")
    for name, arrays in layers.items():
        layer = field(1, name.encode()) + field(2, b"Convolution")
        for array in arrays:
            if old_dims:
                sides = (1,) * (4 - array.ndim) + array.shape
                shape = b"".join(field(n, side) for n, side in enumerate(sides, 1))
            else:
                shape = field(7, field(1, b"".join(map(varint, array.shape))))
            values = field(5, array.astype("<f4").tobytes())
            layer += field(7, values + shape)
        layer += varint(9 << 3 | 5) + struct.pack("<f", 0.1)  # fields of 4 and 8 bytes
        layer += varint(10 << 3 | 1) + struct.pack("<d", 0.1)
        out += field(100, layer)
    return out


def block(entries, compression=0):
    """LevelDB's block: keys as what differs from the one before, restart array, trailer."""
    out, before = b"", b""
    for key, value in entries:
        shared = next((i for i, (a, b) in enumerate(zip(key, before, strict=False)) if a != b), 0)
        out += varint(shared) + varint(len(key) - shared) + varint(len(value))
        out += key[shared:] + value
        before = key
    return out + struct.pack("<II", 0, 1) + bytes([compression]) + b"\0\0\0\0"


def tensorflow(arrays, compression=0):
    """A V1 checkpoint: one block of metadata and data, an empty meta index, the index."""
    meta, entries = b"", []
    for name, array in sorted(arrays.items()):
        shape = b"".join(field(2, field(1, side)) for side in array.shape)
        kind = 1 if array.dtype == np.float32 else 9
        meta += field(1, field(1, name.encode()) + field(2, shape) + field(3, kind))
        tensor = field(1, kind) + field(5 if kind == 1 else 10, array.tobytes())
        saved = field(1, name.encode()) + field(2, b"") + field(3, tensor)
        entries.append((b"\0" + name.encode(), field(2, saved)))
    parts = [block([(b"", field(1, meta)), *entries], compression), block([])]
    sizes = [len(part) - 5 for part in parts]
    index = block([(b"\xff", varint(0) + varint(sizes[0]))])
    at = [0, len(parts[0]), len(parts[0]) + len(parts[1])]
    footer = varint(at[1]) + varint(sizes[1]) + varint(at[2]) + varint(len(index) - 5)
    return b"".join(parts) + index + footer.ljust(40, b"\0") + foreign.TABLE_MAGIC


@pytest.fixture
def arrays():
    draw = np.random.default_rng(0).standard_normal
    return {
        "net/conv/weights": draw((3, 3, 2, 4)).astype(np.float32),
        "net/conv/biases": draw(4).astype(np.float32),
        "net/gain": np.array(0.5, np.float32),
        "step": np.array(7, np.int64),  # not a float: left out
    }


def test_a_caffemodel_comes_back(tmp_path, arrays):
    w, b = arrays["net/conv/weights"], arrays["net/conv/biases"]
    path = tmp_path / "a.caffemodel"
    path.write_bytes(caffe({"data": [], "conv1": [w, b], "bn": [b, b, b[:1]]}))
    state = foreign.read_caffemodel(path)
    assert list(state) == ["conv1.weight", "conv1.bias", "bn.weight", "bn.bias", "bn.2"]
    assert np.array_equal(state["conv1.weight"], w)
    assert np.array_equal(state["conv1.bias"], b)


def test_an_old_caffemodel_has_four_sides(tmp_path, arrays):
    path = tmp_path / "a.caffemodel"
    path.write_bytes(caffe({"conv1": [arrays["net/conv/biases"]]}, old_dims=True))
    assert foreign.read_caffemodel(path)["conv1.weight"].shape == (1, 1, 1, 4)


def test_a_tensorflow_checkpoint_comes_back(tmp_path, arrays):
    path = tmp_path / "weights"
    path.write_bytes(tensorflow(arrays))
    assert foreign.is_tensorflow(path)
    state = foreign.read_tensorflow(path)
    assert set(state) == set(arrays) - {"step"}
    for name, tensor in state.items():
        assert tensor.dtype == torch.float32
        assert np.array_equal(tensor, arrays[name])


def test_other_files_are_not_taken_for_tensorflows(tmp_path):
    for content in (b"", b"short", b"x" * 100):
        (tmp_path / "a").write_bytes(content)
        assert not foreign.is_tensorflow(tmp_path / "a")


def test_the_authors_files_hold_what_their_networks_need(assets):
    caffe_net = foreign.read_caffemodel(assets("weights/IDN/IDN_x3.caffemodel"))
    assert sum(t.numel() for t in caffe_net.values()) == 552_769
    assert caffe_net["conv3_2.weight"].shape == (32, 12, 3, 3)
    assert caffe_net["upsample.weight"].shape == (64, 1, 17, 17)
    generator = foreign.read_tensorflow(assets("weights/EnhanceNet/weights"))
    assert len(generator) == 50
    assert sum(t.numel() for t in generator.values()) == 852_867
    assert generator["generator/Conv_24/weights"].shape == (3, 3, 64, 3)


@pytest.mark.parametrize(
    ("make", "read", "words"),
    [
        (
            lambda a: caffe({"conv": [a["net/conv/weights"]]}),
            foreign.read_caffemodel,
            "no whole Caf",
        ),
        (tensorflow, foreign.read_tensorflow, "no whole TensorFlow V1 checkpoint"),
    ],
    ids=["caffe", "tensorflow"],
)
def test_a_file_cut_anywhere_is_refused_in_words(tmp_path, arrays, make, read, words):
    path, whole = tmp_path / "a.caffemodel", make(arrays)
    for length in range(len(whole) - 1, 12, -7):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=rf"a\.caffemodel is {words}.*fetch it again"):
            read(path)


@pytest.mark.parametrize(
    ("make", "read"),
    [
        (lambda a: caffe({"conv": [a["net/conv/weights"]]}), foreign.read_caffemodel),
        (tensorflow, foreign.read_tensorflow),
    ],
    ids=["caffe", "tensorflow"],
)
def test_damage_never_ends_in_another_error(tmp_path, arrays, make, read):
    """Bytes changed at random: read (a value changed) or refused, nothing else."""
    path, whole, dice = tmp_path / "a", make(arrays), random.Random(0)
    refused = 0
    for _ in range(400):
        damaged = bytearray(whole)
        for _ in range(3):
            damaged[dice.randrange(len(damaged))] = dice.randrange(256)
        path.write_bytes(damaged)
        try:
            read(path)
        except ValueError:
            refused += 1
    assert refused > 50


def test_what_is_not_supported_is_said(tmp_path, arrays):
    path = tmp_path / "weights"
    path.write_bytes(tensorflow(arrays, compression=1))
    with pytest.raises(ValueError, match="its blocks are compressed"):
        load_checkpoint(path)
    path = tmp_path / "a.caffemodel"
    path.write_bytes(field(1, b"net"))
    with pytest.raises(ValueError, match="no Caffe model with weights: there are no layers"):
        load_checkpoint(path)
    path.write_bytes(b"<!DOCTYPE html><title>404</title>")
    with pytest.raises(ValueError, match=r"a\.caffemodel is no whole Caffe model.*fetch it again"):
        load_checkpoint(path)


def test_values_that_are_not_finite_are_refused(tmp_path, arrays):
    arrays["net/conv/biases"][1] = np.nan
    path = tmp_path / "weights"
    path.write_bytes(tensorflow(arrays))
    with pytest.raises(ValueError, match=r"net/conv/biases of .*weights is damaged.*NaN"):
        load_checkpoint(path)
