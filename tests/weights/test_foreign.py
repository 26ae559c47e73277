"""Files of Caffe, TensorFlow 1, NumPy and ncnn: nothing is run, refused in words when damaged."""

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
from torch import nn

from srkit.models.esrgan import RRDBNet, rename_keys
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
    out += struct.pack("<II", 0, 1) + bytes([compression])
    crc = castagnoli(out)
    return out + struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def castagnoli(data):
    """CRC-32C bit by bit, as its definition has it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def tensorflow(arrays, compression=0, times=1):
    """A V1 checkpoint: one block of metadata and data, an empty meta index, the index.

    times: how often the index names the block.
    """
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
    handle = varint(0) + varint(sizes[0])
    index = block([(b"\xff%04d" % k, handle) for k in range(times)])
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


@pytest.mark.parametrize("size", [0, 1, 2, 9, 255, 256, 1000, 4097])
def test_the_checksum_of_leveldb_is_castagnolis(size):
    data = random.Random(size).randbytes(size)
    assert foreign.crc32c(data) == castagnoli(data)
    assert foreign.crc32c(b"123456789") == 0xE3069283  # the check value of the standard


def test_a_block_of_leveldb_may_be_empty_and_its_end_is_looked_at():
    """A key is what differs from the one before: two keys, no key, and more restarts than bytes."""
    restarts = bytes(4) + (1).to_bytes(4, "little")
    block = b"\0\2\1ab" + b"1" + b"\1\1\1" + b"c" + b"2" + restarts
    assert list(foreign._entries(block)) == [(b"ab", b"1"), (b"ac", b"2")]
    assert list(foreign._entries(bytes(4))) == []
    with pytest.raises(ValueError, match="a block's end is damaged"):
        list(foreign._entries(b"\1\0\0\0"))
    with pytest.raises(ValueError, match="an entry goes beyond its block"):
        list(foreign._entries(b"\0\2\2ab" + b"1" + restarts))


def test_a_changed_bit_of_a_tensorflow_checkpoint_is_seen(tmp_path, arrays):
    """In a value, where no structure would show it."""
    whole, path = tensorflow(arrays), tmp_path / "weights"
    at = whole.index(arrays["net/conv/weights"].tobytes()) + 7
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    with pytest.raises(ValueError, match=r"does not have its checksum.*fetch it again"):
        foreign.read_tensorflow(path)


def test_a_block_that_an_index_names_again_and_again_is_not_read_again(tmp_path, arrays):
    """Three thousand times took 90 seconds."""
    path = tmp_path / "weights"
    path.write_bytes(tensorflow(arrays, times=3000))
    with pytest.raises(ValueError, match="names a block more than once"):
        foreign.read_tensorflow(path)


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
    with pytest.raises(ValueError, match=r"a\.caffemodel is a web page or an XML file"):
        load_checkpoint(path)


def test_values_that_are_not_finite_are_refused(tmp_path, arrays):
    arrays["net/conv/biases"][1] = np.nan
    path = tmp_path / "weights"
    path.write_bytes(tensorflow(arrays))
    with pytest.raises(ValueError, match=r"net/conv/biases of .*weights is damaged.*NaN"):
        load_checkpoint(path)


def ncnn(model, word=0x01306B47):
    """The .param and the .bin of an RRDBNet, as ncnn's converter and optimiser write them.

    word: how the weights are kept, float16 (0x01306B47) or float32 (0).
    """
    weights = list(rename_keys(model.state_dict(), "ncnn").items())
    numbers, layers, last = b"", ["Input input.1 0 1 data"], "data"

    def layer(kind, inputs, settings):
        nonlocal last
        last = str(len(layers))
        names = " ".join(inputs)
        layers.append(f"{kind:<24} {kind}_{last} {len(inputs)} 1 {names} {last} {settings}")

    def convolution(activation=" 9=2 -23310=1,0.2"):
        nonlocal numbers
        (_, weight), (_, bias) = weights.pop(0), weights.pop(0)
        values = weight.numpy().astype("<f2" if word else "<f4").tobytes()
        numbers += struct.pack("<I", word) + values + bytes(-len(values) % 4)
        numbers += bias.numpy().astype("<f4").tobytes()
        settings = f"0={len(bias)} 1=3 4=1 5=1 6={weight.numel()}"
        layer("Convolution", [last], settings + activation)

    convolution("")
    first = last
    for _ in range(model.arguments["blocks"]):
        begin = last
        for _ in range(3):
            maps = [last]
            for _ in range(4):
                convolution()
                maps.append(last)
                layer("Concat", maps, "")
            convolution("")
            layer("Eltwise", [last, maps[0]], "0=1 -23301=2,0.2,1.0")
        layer("Eltwise", [last, begin], "0=1 -23301=2,0.2,1.0")
    convolution("")
    layer("BinaryOp", [first, last], "")
    for _ in range(2):
        layer("Interp", [last], "0=1 1=2.0 2=2.0")
        convolution()
    convolution()
    convolution("")
    assert not weights
    return "\n".join(["7767517", f"{len(layers)} {len(layers)}", *layers, ""]), numbers


def write_ncnn(folder, param, numbers):
    (folder / "x4.param").write_text(param)
    (folder / "x4.bin").write_bytes(numbers)


@pytest.fixture
def rrdbnet():
    """With an odd number of weights in its first convolution, so that float16 is padded."""
    torch.manual_seed(0)
    model = RRDBNet(channels=5, blocks=2, growth=3).eval()
    for bias in (p for name, p in model.named_parameters() if name.endswith("bias")):
        nn.init.normal_(bias)
    return model


@pytest.mark.filterwarnings("ignore:.* does not say how its network was made")
@pytest.mark.parametrize(
    ("word", "cast"), [(0, torch.Tensor.float), (0x01306B47, torch.Tensor.half)]
)
@pytest.mark.parametrize("suffix", [".param", ".bin"])
def test_a_network_of_ncnn_comes_back(tmp_path, rng, rrdbnet, word, cast, suffix):
    write_ncnn(tmp_path, *ncnn(rrdbnet, word))
    loaded = load_checkpoint(tmp_path / f"x4{suffix}")
    wanted = {n: t if t.dim() == 1 else cast(t).float() for n, t in rrdbnet.state_dict().items()}
    assert loaded.arguments == rrdbnet.arguments
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in loaded.state_dict().items())
    rrdbnet.load_state_dict(wanted)
    lr = torch.rand(1, 3, 6, 7, generator=rng)
    with torch.no_grad():
        assert torch.equal(loaded(lr), rrdbnet(lr))


@pytest.mark.parametrize(("word", "size"), [(0, 66_793_352), (0x01306B47, 33_424_520)])
def test_esrgan_s_network_has_the_size_of_the_released_files(tmp_path, word, size):
    """The bytes of realesrgan-x4plus.bin with weights in float32 and in float16."""
    model = RRDBNet()
    param, numbers = ncnn(model, word)
    assert len(numbers) == size
    write_ncnn(tmp_path, param, numbers)
    loaded = create_model("esrgan_x4", weights=tmp_path / "x4.param")
    assert torch.equal(loaded.conv_last.bias, model.conv_last.bias)
    assert torch.equal(
        loaded.conv_last.weight, model.conv_last.weight.to(torch.half if word else torch.float)
    )


def test_realsr_s_network_is_the_same_by_way_of_ncnn(assets, tmp_path):
    assets("weights/ESRGAN/realsr_df2k_x4.safetensors")
    ours = create_model("esrgan_x4", weights="realsr")
    write_ncnn(tmp_path, *ncnn(ours))
    theirs = create_model("esrgan_x4", weights=tmp_path / "x4.bin").state_dict()
    assert all(torch.equal(theirs[name], tensor) for name, tensor in ours.state_dict().items())


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda p, n: (p, n[:-10]), "it breaks off in Convolution_.*, 10 bytes are missing"),
        (lambda p, n: (p, n + b"1234"), r"4 bytes of x4\.bin are left over"),
        (lambda p, n: (p, b"\x38\x4b\x0d\0" + n[4:]), "kind 0x000d4b38; srkit reads 0 .float32"),
        (lambda p, n: (p, b""), "it breaks off in Convolution_1"),
        (
            lambda p, n: (p.replace("Interp ", "PReLU ", 1), n),
            r"layer Interp_\d+ is a PReLU; srkit ",
        ),
        (lambda p, n: (p.replace(" 6=135", "", 1), n), "a layer has no '6'="),
        (lambda p, n: (p.replace(" 6=135", " 6=134", 1), n), "invalid for input of size 134"),
        (lambda p, n: (p.replace("6=135", "6=many", 1), n), "'many'"),
        (lambda p, n: ("\n".join(p.splitlines()[:-3]), n), "layers are listed, .* are announced"),
        (lambda p, n: (p.replace("7767517", "7767518"), n), "first line is '7767518', not 7767517"),
        (lambda p, n: (p.replace("6=135", "6=0", 1), n), "Convolution_1 should have 0 weights"),
        (lambda p, n: ("", n), "first line is '', not 7767517"),
    ],
)
def test_a_broken_network_of_ncnn_is_refused_in_one_sentence(tmp_path, rrdbnet, spoil, words):
    write_ncnn(tmp_path, *spoil(*ncnn(rrdbnet)))
    with pytest.raises(ValueError, match=words) as refusal:
        load_checkpoint(tmp_path / "x4.param")
    assert "x4.param and x4.bin are no whole network of ncnn that srkit reads" in str(refusal.value)


@pytest.mark.parametrize(("given", "missing"), [("x4.param", "x4.bin"), ("x4.bin", "x4.param")])
def test_half_a_network_of_ncnn_names_the_other_half(tmp_path, rrdbnet, given, missing):
    write_ncnn(tmp_path, *ncnn(rrdbnet))
    (tmp_path / missing).unlink()
    with pytest.raises(FileNotFoundError, match=rf"{given} needs {missing} beside it"):
        load_checkpoint(tmp_path / given)


@pytest.mark.filterwarnings("ignore:.* does not say how its network was made")
def test_a_bin_of_pytorch_is_none_of_ncnn(tmp_path, rrdbnet):
    torch.save(rrdbnet.state_dict(), tmp_path / "pytorch_model.bin")
    assert load_checkpoint(tmp_path / "pytorch_model.bin").arguments == rrdbnet.arguments
