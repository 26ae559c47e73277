"""Files of Caffe, TensorFlow 1 and NumPy: nothing is run, refused in words when damaged."""

from __future__ import annotations

import io
import os
import pickle
import random
import struct
import zipfile

import numpy as np
import pytest
import torch
from models.test_srfeat import as_tensorlayer

from srkit.weights import foreign
from srkit.weights.load import create_model, load_checkpoint, load_weights


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


def object_npz(content, protocol):
    """An .npz with `content` as TensorLayer's `params`: an array of objects, pickled."""
    npy = io.BytesIO()
    facts = {"descr": "|O", "fortran_order": False, "shape": (len(content),)}
    np.lib.format.write_array_header_1_0(npy, facts)
    objects = np.empty(len(content), object)
    objects[:] = content
    pickle.dump(objects, npy, protocol)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("params.npy", npy.getvalue())
    return out.getvalue()


def named_npz(arrays):
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


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


def test_an_npz_comes_back_by_name_or_number(tmp_path, arrays):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, **arrays)
    assert foreign.read_npz(path).keys() == arrays.keys()
    np.savez(path, *arrays.values())
    state = foreign.read_npz(path)
    assert list(state) == ["0", "1", "2", "3"]
    for tensor, array in zip(state.values(), arrays.values(), strict=True):
        assert tensor.dtype == torch.float32
        assert np.array_equal(tensor, array.astype(np.float32))


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_pickled_arrays_are_read_without_pickles_powers(tmp_path, arrays, protocol):
    """As NumPy wrote them through its history; in any order of axes and bytes."""
    content = [*arrays.values(), np.asfortranarray(np.arange(6.0).reshape(2, 3)), np.ones(2, ">f4")]
    (tmp_path / "a.npz").write_bytes(object_npz(content, protocol))
    state = foreign.read_npz(tmp_path / "a.npz")
    assert list(state) == [str(i) for i in range(6)]
    for tensor, array in zip(state.values(), content, strict=True):
        assert np.array_equal(tensor, array.astype(np.float32))


class Malicious:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def test_a_pickle_in_an_npz_runs_nothing(tmp_path):
    for other in (Malicious(tmp_path / "owned"), np.float32(1), np.dtype):  # no arrays
        (tmp_path / "a.npz").write_bytes(object_npz([np.ones(1), other], 4))
        with pytest.raises(
            ValueError, match=r"a\.npz is (refused.* would run .*np\.savez|no whole)"
        ):
            load_checkpoint(tmp_path / "a.npz")
    assert not (tmp_path / "owned").exists()


def test_srfeats_npz_is_recognised_and_gives_the_same_network(tmp_path):
    """The card's 183 arrays of the authors' .npz."""
    torch.manual_seed(0)
    model = create_model("srfeat_x4")
    for norm in (m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)):
        norm.running_mean.uniform_()
        norm.weight.data.uniform_()
    listed = [tensor.numpy() for tensor in as_tensorlayer(model)]
    (tmp_path / "params.npz").write_bytes(object_npz(listed, 2))
    np.savez(tmp_path / "list.npz", *listed)
    for path in (tmp_path / "params.npz", tmp_path / "list.npz"):
        with pytest.warns(
            UserWarning, match=r"taken for srfeat_x4, srkit\.models\.srfeat:SRFeat\("
        ):
            loaded = load_checkpoint(path)
        assert loaded.name == "srfeat_x4"
        for key, tensor in model.state_dict().items():
            assert torch.equal(loaded.state_dict()[key], tensor), key
    with pytest.raises(ValueError, match=r"does not fit rlfn_x4.*create_model\('srfeat', scale"):
        load_weights(create_model("rlfn_x4"), tmp_path / "list.npz")


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
        (named_npz, foreign.read_npz, r"no whole \.npz of numbers"),
    ],
    ids=["caffe", "tensorflow", "npz"],
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
        (named_npz, foreign.read_npz),
        (lambda a: object_npz(list(a.values()), 2), foreign.read_npz),
    ],
    ids=["caffe", "tensorflow", "npz", "pickled npz"],
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
