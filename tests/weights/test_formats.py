"""A file is what its bytes say, whatever it is called; what holds no plain weights says so."""

from __future__ import annotations

import json
import struct
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from small import same

from srkit.models.carn import CARN
from srkit.weights.formats import _begins_like_onnx, format_of
from srkit.weights.load import create_model, load_checkpoint, load_weights, read
from srkit.weights.save import save


def written(path, state, *, how):
    """The file of `state` in one of the formats, at a path with any suffix."""
    if how == "safetensors":
        from safetensors.torch import save_file

        save_file(state, path)
    elif how == "npz":
        np.savez(open(path, "wb"), **{k: v.numpy() for k, v in state.items()})  # noqa: SIM115
    else:
        torch.save(state, path, _use_new_zipfile_serialization=how == "pytorch")
    return path


@pytest.mark.parametrize("how", ["safetensors", "pytorch", "old pytorch", "npz"])
@pytest.mark.parametrize(
    "suffix", [".pth", ".safetensors", ".bin", ".ckpt", "", ".npz", ".caffemodel"]
)
def test_a_format_is_recognised_under_any_name(tmp_path, tiny, how, suffix):
    path = written(tmp_path / f"weights{suffix}", tiny.state_dict(), how=how)
    assert format_of(path) == how.removeprefix("old ")
    load_weights(other := create_model("rlfn_tiny_x4"), path)
    assert same(other, tiny)


def torchscript(path):
    torch.jit.save(torch.jit.trace(torch.nn.Conv2d(3, 3, 1), torch.zeros(1, 3, 2, 2)), path)


def onnx(path):
    field = b"\x08\x0a\x12\x07pytorch\x1a\x032.0"  # ir_version, producer, its version
    path.write_bytes(field + b"\x3a\x04\x0a\x02\x0a\x00")


def tar(path):
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("weights.pth"))


def packed(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("net/weights.pth", b"x")


def bytes_of(data):
    return lambda path: path.write_bytes(data)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (torchscript, r"is TorchScript, a program .*torch\.jit\.load\(path\)\.state_dict\(\)"),
        (onnx, r"is a model in ONNX, .*: srkit reads the weights of PyTorch"),
        (tar, "is a tar archive: unpack it"),
        (packed, r"is a zip archive with net/weights\.pth: unpack it"),
        (
            bytes_of(b"\x89HDF\r\n\x1a\n" + bytes(99)),
            r"is an HDF5 file .*: srkit reads the weights",
        ),
        (bytes_of(b"\x1f\x8b\x08" + bytes(99)), "is compressed by gzip: unpack it first"),
        (bytes_of(b"GGUF\3\0\0\0" + bytes(99)), "is a GGUF file"),
        (bytes_of(b"\x1c\0\0\0TFL3" + bytes(99)), "is a model of TensorFlow Lite"),
        (
            bytes_of(struct.pack("<iii", 4, 1, 3) + b"V 1" + bytes(9)),
            "is a file of Torch7: srkit",
        ),
        (bytes_of(b"<!doctype html>"), "is a web page or an XML file, not weights"),
        (bytes_of(b"\n<?xml version='1.0'?>"), "is a web page or an XML file, not weights"),
        (
            bytes_of(b"version https://git-lfs.github.com/spec/v1\n"),
            "Git LFS pointer.*lfs pull",
        ),
        (bytes_of(b"\x89PNG\r\n\x1a\n"), "is a PNG picture: srkit reads the weights of"),
        (bytes_of(b"\x93NUMPY\1\0"), "is a single array of NumPy: np.savez"),
        (bytes_of(b""), "is empty: fetch it again"),
        (bytes_of(b"PK\3\4 and no more"), "is broken, cut off, or not a file of weights"),
        (bytes_of(b"hello"), "is broken, cut off, or not a file of weights"),
    ],
)
@pytest.mark.parametrize("suffix", [".pth", ".caffemodel"])
@pytest.mark.filterwarnings("ignore:.*deprecated")
def test_what_holds_no_plain_weights_is_called_what_it_is(tmp_path, make, words, suffix):
    make(path := tmp_path / f"net{suffix}")
    with pytest.raises(ValueError, match=words) as refusal:
        load_checkpoint(path)
    assert "\n" not in str(refusal.value)


def test_a_checksum_in_a_pth_is_read(tmp_path, tiny):
    """PyTorch's own reader leaves it out: one changed bit of a value went unseen."""
    path = tmp_path / "a.pth"
    torch.save(tiny.state_dict(), path)
    whole, value = path.read_bytes(), next(iter(tiny.state_dict().values())).numpy().tobytes()
    at = whole.index(value) + 5
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
    torch.load(path, weights_only=True)
    with pytest.raises(ValueError, match=r"a\.pth is damaged: .*/data/\d+ in it does not have its"):
        load_checkpoint(path)


def test_an_npz_with_a_changed_bit_is_refused(tmp_path, tiny):
    path = written(tmp_path / "a.npz", tiny.state_dict(), how="npz")
    whole, value = path.read_bytes(), next(iter(tiny.state_dict().values())).numpy().tobytes()
    at = whole.index(value) + 5
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
    with pytest.raises(ValueError, match=r"a\.npz is damaged: .* does not have its checksum"):
        load_checkpoint(path)


def test_a_single_member_without_its_checksum_is_damaged(tmp_path):
    """Where torch wrote no checksums several members lack theirs; one alone proves nothing."""
    path = tmp_path / "one.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("one/data.pkl", b"pickled")
    data = path.read_bytes()
    path.write_bytes(data.replace(b"pickled", b"pickleD"))
    with pytest.raises(ValueError, match=r"one/data\.pkl in it does not have its checksum"):
        format_of(path)


@pytest.mark.parametrize(("count", "held"), [(1, "a:"), (3, "a, b, c:"), (4, r"a, b, c, \.\.\.:")])
def test_an_archive_of_something_else_names_three_of_its_members(tmp_path, count, held):
    path = tmp_path / "other.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in "abcd"[:count]:
            archive.writestr(name, b"")
    with pytest.raises(ValueError, match=f"is a zip archive with {held} unpack it"):
        format_of(path)


@pytest.mark.parametrize(
    ("head", "onnx"),
    [
        ("08 0a 12", True),
        ("08 7f 3a", True),
        ("08 80 12", False),
        ("09 0a 12", False),
        ("08 0a 13", False),
    ],
)
def test_onnx_begins_with_a_small_version_and_a_field_that_it_has(head, onnx):
    assert _begins_like_onnx(bytes.fromhex(head)) == onnx


def test_a_file_that_was_saved_without_checksums_is_read(tmp_path, tiny):
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(tiny.state_dict(), tmp_path / "a.pth")
    finally:
        torch.serialization.set_crc32_options(before)
    load_weights(other := create_model("rlfn_tiny_x4"), tmp_path / "a.pth")
    assert same(other, tiny)


@pytest.mark.parametrize("name", ["zeros.npy", "a/data.pkl"])
def test_a_file_that_would_unpack_to_far_more_is_refused_before_it_does(tmp_path, name):
    """Three megabytes that unpack to three gigabytes: here 0.1 to 100, the rule is the same."""
    path = tmp_path / "bomb"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, bytes(100 * 2**20))
    with pytest.raises(ValueError, match=r"bytes would unpack to 104,857,600, and weights do not"):
        format_of(path)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: {"model_state_dict": s, "optimizer_state_dict": {"state": {0: {"m": s}}}},
        lambda s: {"generator": s, "discriminator": {"conv.weight": torch.ones(1)}, "epoch": 3},
        lambda s: {"G_state_dict": s, "D_state_dict": {"conv.weight": torch.ones(1)}},
        lambda s: {"ema": {"shadow": s}, "step": 7},
        lambda s: {"net_g": s},
        lambda s: {"netG": s},
        lambda s: {"checkpoint": {"inner": s}},  # no name that anybody knows, but the only one
        lambda s: {f"generator.{name}": tensor for name, tensor in s.items()},
        lambda s: {f"module.net.{name}": tensor for name, tensor in s.items()},
        lambda s: {"state_dict": {f"model.generator.{name}": t for name, t in s.items()}},
        lambda s: s | {"epoch": 3, "version": "1.2", "best": None},
    ],
)
def test_what_trainers_wrap_around_weights_is_taken_off(tmp_path, tiny, wrap):
    torch.save(wrap(tiny.state_dict()), path := tmp_path / "a.pth")
    with pytest.warns(UserWarning, match="does not say how its network was made"):
        assert same(load_checkpoint(path), tiny)
    load_weights(other := create_model("rlfn_tiny_x4"), path)
    assert same(other, tiny)


def test_one_network_of_several_in_a_file_is_found_and_the_rest_is_named(tmp_path, tiny):
    critic = {"discriminator.conv.weight": torch.ones(8, 3, 3, 3)}
    state = {f"generator.{name}": tensor for name, tensor in tiny.state_dict().items()} | critic
    torch.save(state, path := tmp_path / "a.pth")
    with pytest.warns(UserWarning, match=r"1 that do not begin with generator\. are left out"):
        assert same(load_checkpoint(path), tiny)


def test_several_sets_without_a_known_name_are_listed(tmp_path, tiny):
    torch.save({"red": tiny.state_dict(), "blue": tiny.state_dict()}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match="holds tensors under red, blue: save the ones you want"):
        read(tmp_path / "a.pth")


def ring():
    content = {}
    content["params"] = {"state_dict": content}
    return content


STATE = {"a.weight": torch.ones(2, 2)}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (ring(), "a dictionary in it holds itself"),
        ({0: torch.ones(1)}, "no tensors by name alone.*there is a dict with a int"),
        ({(1, 2): torch.ones(1)}, "there is a dict with a tuple"),
        (STATE | {"list": [torch.ones(1)]}, "there is a dict with list"),
        (STATE | {"b": torch.ones(2, dtype=torch.int8)}, "b of .* is of the type int8: save it as"),
        (STATE | {"b": torch.ones(2, dtype=torch.bool)}, "b of .* is of the type bool"),
        (STATE | {"b": torch.ones(2, dtype=torch.complex64)}, "b of .* is of the type complex64"),
        (STATE | {"b": torch.ones(2).to(torch.float8_e4m3fn)}, "is of the type float8_e4m3fn"),
        (STATE | {"b": torch.ones(2, 2).to_sparse()}, "b of .* is a sparse_coo tensor"),
        (STATE | {"b": torch.ones(2, 2).to_sparse_csr()}, "b of .* is a sparse_csr tensor"),
        (
            STATE | {"b": torch.empty(2, device="meta")},
            "b of .* without values, on the device",
        ),
        (STATE | {"b": torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)}, "quantised"),
        (STATE | {"b": torch.tensor([1e200], dtype=torch.float64)}, "NaN or infinite values"),
        (STATE | {"b": torch.zeros(1).expand(2**20, 2**20)}, "of which it holds .*repeat them"),
        ({f"n{k}": None for k in range(100)}, r"dict with n0, n1, n2, n3, n4, \.\.\."),
        ({}, "there is a dict"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_tensors_that_no_network_has_are_refused_in_one_sentence(tmp_path, content, words):
    torch.save(content, path := tmp_path / "a.pth")
    with pytest.raises(ValueError, match=words) as refusal:
        load_checkpoint(path)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [2**62, 4], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [2**64], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]},
        {"dtype": "F32", "shape": [1], "data_offsets": [0, 2**63]},
        {"dtype": "Q7", "shape": [1], "data_offsets": [0, 4]},
        {"dtype": "F32"},
        {"dtype": "F32", "shape": "many", "data_offsets": [0, 4]},
    ],
)
def test_a_crafted_header_of_safetensors_is_refused(tmp_path, entry):
    text = json.dumps({"a": entry}).encode()
    (tmp_path / "a.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + bytes(4))
    with pytest.raises(ValueError, match="is broken, cut off, or not a file of weights"):
        read(tmp_path / "a.safetensors")


def test_a_scale_that_is_asked_for_is_the_scale_or_refused(tmp_path, tiny):
    """The file of CARN-M serves three; one option in one command must not be dropped."""
    save(tiny, ours := tmp_path / "ours.safetensors")
    torch.save(tiny.state_dict(), theirs := tmp_path / "theirs.pth")
    assert load_checkpoint(ours, scale=4).scale == 4
    with pytest.raises(ValueError, match=r"ours.* holds weights for x4, not for x2"):
        load_checkpoint(ours, scale=2)
    with pytest.raises(ValueError, match=r"theirs\.pth holds weights for x4, not for x2"):
        load_checkpoint(theirs, scale=2)
    carn = CARN(scale=2, heads=(2, 3, 4), groups=4, mobile=True)
    save(carn, ours)
    for scale in (2, 3, 4):
        assert load_checkpoint(ours, scale=scale).scale == scale
    torch.save(carn.state_dict(), theirs)
    with pytest.warns(UserWarning, match="taken for carn_m_x4"):
        assert load_checkpoint(theirs, scale=4).scale == 4


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_bytes_changed_at_random_never_end_in_another_error(tmp_path, tiny):
    """Of four formats, 300 each: read, or refused by ValueError."""
    dice, refused = np.random.default_rng(0), 0
    small = {"a.weight": torch.ones(3, 3), "b": torch.ones(4)}
    for how in ("safetensors", "pytorch", "old pytorch", "npz"):
        whole = written(tmp_path / "whole", small, how=how).read_bytes()
        for k in range(300):
            damaged = bytearray(whole)
            for _ in range(3):
                damaged[dice.integers(len(damaged))] = dice.integers(256)
            path = tmp_path / f"{how}{k}"
            path.write_bytes(damaged if k % 3 else damaged[: dice.integers(len(damaged))])
            try:
                read(path)
            except ValueError:
                refused += 1
    assert refused > 900
