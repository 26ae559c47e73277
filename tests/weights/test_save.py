"""What is saved comes back as the network it was, or says why it cannot."""

from __future__ import annotations

import errno
import json
import os
import sys
from inspect import signature

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from small import SMALL, SWITCHED, same
from torch import Tensor, nn

import srkit
from srkit import files
from srkit.calls import Call, as_json
from srkit.models.carn import CARN
from srkit.models.memnet import MemNet
from srkit.models.network import as_model
from srkit.models.rlfn import RLFN
from srkit.models.srcnn import SRCNN
from srkit.models.ttsr import TTSR
from srkit.models.zoo import ZOO, model_info
from srkit.weights.load import create_model, load_checkpoint, load_weights
from srkit.weights.save import convert, origin, save

MADE = SMALL + SWITCHED


def header(path):
    with safe_open(path, "pt") as file:
        return file.metadata()


def forge(path, **changed):
    """The file anew with another header; None leaves an entry out."""
    facts = header(path) | changed
    save_file(load_file(path), path, {k: v for k, v in facts.items() if v is not None})


def built(call):
    """With running statistics of batch norms that are not those of a new network."""
    torch.manual_seed(0)
    model = call()
    for name, tensor in model.state_dict().items():
        if "running_" in name:
            tensor.uniform_(0.5, 1)
    return model.eval()


@pytest.mark.parametrize("dtype", [None, torch.float16], ids=["float32", "float16"])
@pytest.mark.parametrize("call", MADE, ids=str)
def test_every_network_comes_back_to_the_last_bit(tmp_path, recwarn, rng, call, dtype):
    """Its class, arguments, name, scale, tensors and answer, from the header alone."""
    model, path = built(call), tmp_path / "a.safetensors"
    save(model, path, dtype=dtype)
    loaded = load_checkpoint(path)
    assert type(loaded) is type(model)
    assert as_json(loaded.arguments) == as_json(model.arguments)
    assert call.arguments.items() <= model.arguments.items()
    assert (loaded.name, loaded.scale, loaded.training) == (model.name, model.scale, False)
    for tensor in model.state_dict().values():
        if dtype is not None and tensor.is_floating_point():
            tensor.copy_(tensor.to(dtype))
    assert same(loaded, model)
    lr = torch.rand(1, 3, 16, 17, generator=rng)
    with torch.no_grad():
        assert torch.equal(loaded(lr), model(lr))
    assert not recwarn.list


def test_that_covers_every_class_and_every_argument():
    assert {e.network for e in ZOO} == {call.function for call in SMALL}
    assert len(SMALL) == len({call.function for call in SMALL})
    one_scale = {("scale", c) for c in ("SRResNet", "SRFeat", "RRDBNetx4x4", "SFTGAN", "TTSR")}
    for network in {call.function for call in SMALL}:
        for name, parameter in signature(network).parameters.items():
            given = [
                c.arguments.get(name, parameter.default) for c in MADE if c.function is network
            ]
            moved = any(value != parameter.default for value in given)
            assert moved != ((name, network.__name__) in one_scale), f"{network.__name__}: {name}"


@pytest.mark.parametrize(
    ("network", "arguments"),
    [
        (TTSR, {"channels": 8, "blocks": (1, 2, 1, 1), "textures": (4, 8, 8)}),
        (CARN, {"heads": (2, 3, 4), "channels": 8}),
        (SRCNN, {"kernels": (9, 1, 5)}),
    ],
)
def test_a_list_makes_what_a_tuple_makes(network, arguments, rng):
    """JSON has no tuples, so lists are what comes back."""
    lists = {name: list(v) if isinstance(v, tuple) else v for name, v in arguments.items()}
    assert lists != arguments
    one, other = built(Call(network, **arguments)), built(Call(network, **lists))
    lr = torch.rand(1, 3, 8, 9, generator=rng)
    with torch.no_grad():
        assert torch.equal(one(lr), other(lr))


@pytest.mark.parametrize(
    "call",
    [Call(CARN, heads=(2, 3, 4), channels=8), Call(MemNet, channels=4, blocks=2, recursions=2)],
    ids=str,
)
def test_name_and_scale_are_those_that_it_had_when_it_was_saved(tmp_path, rng, call):
    model = built(call)
    lr = torch.rand(1, 3, 8, 9, generator=rng)
    for scale in (2, 3, 4):
        model.scale, model.name = scale, f"mine, x{scale}"
        save(model, tmp_path / "a.safetensors")
        loaded = load_checkpoint(tmp_path / "a.safetensors")
        assert (loaded.name, loaded.scale) == (f"mine, x{scale}", scale)
        with torch.no_grad():
            assert torch.equal(loaded(lr), model(lr))


def test_the_header_has_a_fixed_order(tmp_path, tiny):
    save(tiny, tmp_path / "a.safetensors", provenance={"seed": 7, "means": (1.5, None)})
    data = (tmp_path / "a.safetensors").read_bytes()
    size = int.from_bytes(data[:8], "little")
    assert size % 8 == 0
    text = json.loads(data[8 : 8 + size])
    assert next(iter(text)) == "__metadata__"
    assert list(text["__metadata__"].items()) == [
        ("format", "pt"),
        ("name", "rlfn_tiny_x4"),
        ("scale", "4"),
        ("constructor", "srkit.models.rlfn:RLFN"),
        (
            "arguments",
            '{"scale": 4, "channels": 24, "mid": null, "blocks": 4, "esa": 8, "block": "RLFB", '
            '"rgb_range": 255.0}',
        ),
        ("provenance", '{"seed": 7, "means": [1.5, null]}'),
    ]


def test_the_same_network_gives_the_same_bytes(tmp_path, tiny):
    """Also when it was loaded, and in another layout of memory. safetensors' own writer differs."""
    tiny.to(memory_format=torch.channels_last)
    for k in range(5):
        save(tiny, tmp_path / f"{k}.safetensors", provenance={"a": 1, "b": 2})
        tiny = load_checkpoint(tmp_path / f"{k}.safetensors")
    assert len({(tmp_path / f"{k}.safetensors").read_bytes() for k in range(5)}) == 1


def test_saving_takes_no_random_numbers(tmp_path, tiny):
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    save(tiny, tmp_path / "a.safetensors")
    assert torch.equal(torch.rand(3), wanted)


class Net(nn.Module):
    """Somebody's own: shared weights, a name that trainers use, statistics without a counter."""

    def __init__(self):
        super().__init__()
        self.module = nn.Sequential(nn.Conv2d(3, 12, 3, padding=1), nn.PixelShuffle(2))
        self.module.add_module("again", self.module[0])
        self.module.register_buffer("running_mean", torch.ones(2))

    def forward(self, lr: Tensor) -> Tensor:
        return self.module[1](self.module[0](lr))


class Mine(RLFN):
    """A change of srkit's that srkit does not know."""

    def forward(self, lr: Tensor) -> Tensor:
        return super().forward(lr.flip(1))


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: as_model(Net(), scale=2, name="theirs"), "test_save:Net"),
        (lambda: Mine(2, channels=8, blocks=1, esa=4), "test_save:Mine"),
    ],
    ids=["wrapped", "subclass"],
)
def test_a_class_of_your_own_keeps_its_tensors_and_says_so(tmp_path, make, name):
    torch.manual_seed(0)
    model, path = make(), tmp_path / "a.safetensors"
    save(model, path, provenance={"seed": 1})
    facts = header(path)
    assert facts.keys() == {"format", "name", "scale", "own_class", "provenance"}
    assert (facts["name"], facts["scale"]) == (model.name, "2")
    assert facts["own_class"].endswith(name)
    words = rf"a\.safetensors holds weights of a class of your own, \S*{name}: build your network"
    with pytest.raises(ValueError, match=words + r" and use srkit\.weights\.load\.load_weights\("):
        load_checkpoint(path)
    with pytest.raises(ValueError, match=words):
        convert(path, tmp_path / "b.safetensors")
    other = make()
    assert not same(other, model)
    load_weights(other, path)
    assert same(other, model)


def test_weights_of_a_wrapped_module_fit_the_module_itself(tmp_path):
    net, bare = Net(), Net()
    save(as_model(net, scale=2), tmp_path / "a.safetensors")
    load_weights(bare, tmp_path / "a.safetensors")
    assert same(bare, net)
    with pytest.raises(ValueError, match=r"does not fit Linear\. 2 tensors are missing"):
        load_weights(nn.Linear(2, 2), tmp_path / "a.safetensors")


def test_what_cannot_come_back_is_not_saved(tmp_path, tiny):
    """Nothing is written, and what was there stays."""
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"before")

    def refused(kind, words, model=tiny, target=path, **how):
        with pytest.raises(kind, match=words):
            save(model, target, **how)

    refused(TypeError, r"wrap it, srkit\.as_model\(net, scale=4\)", nn.Conv2d(3, 3, 1))
    refused(ValueError, r"a\.pth: weights are saved as \.safetensors", target=tmp_path / "a.pth")
    refused(ValueError, r"dtype torch\.int8: .* floating-point numbers", dtype=torch.int8)
    refused(TypeError, r"provenance cannot be saved: .* is none of", provenance={"at": tmp_path})
    refused(TypeError, r"provenance cannot be saved: \{1: 2\}", provenance={"x": {1: 2}})
    odd = RLFN(4, channels=np.int64(8), blocks=1, esa=4)
    refused(TypeError, r"rlfn:RLFN's argument channels cannot be saved: .*8.* is none of", odd)
    with torch.no_grad():
        tiny.conv_1.weight[0] = 1e6
    refused(
        ValueError, r"conv_1\.weight cannot be saved as torch\.float16: .* NaN", dtype=torch.float16
    )
    tiny.conv_2 = nn.Conv2d(24, 24, 1)
    changed = r"rlfn_tiny_x4 cannot be saved: it was changed since srkit\.models\.rlfn:RLFN made it"
    refused(ValueError, rf"{changed} .*conv_2\.weight is .*subclass of Network")
    rlfn, carn = RLFN(4, channels=8, blocks=1, esa=4), CARN(4, channels=8)
    rlfn.scale, carn.scale = 2, 3
    refused(ValueError, r"scale 2\. upsampler\.0\.weight is \(48,", rlfn)
    refused(ValueError, r"scale 3\. 2 tensors are missing \(upsample\.up3", carn)
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [(path.name, b"before")]


ARGUMENTS = {
    "scale": 4, "channels": 24, "mid": None, "blocks": 4, "esa": 8, "block": "RLFB",
    "rgb_range": 255.0,
}  # fmt: skip
NONE = "srkit has no such network"


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"constructor": "this:Zen"}, NONE),
        ({"constructor": "os:system"}, NONE),
        ({"constructor": "srkit.files:unpack"}, NONE),
        ({"constructor": "srkit.models.nowhere:Net"}, NONE),
        ({"constructor": "srkit.models.esrgan:VGGDiscriminator"}, NONE),
        ({"constructor": "srkit.models.zoo:Entry"}, NONE),
        ({"constructor": "srkit.models.rlfn:torch"}, NONE),
        ({"constructor": "srkit.models.rlfn:Network"}, NONE),
        ({"constructor": "srkit.models.rlfn:RLFN.forward"}, NONE),
        ({"constructor": "srkit.models.network:Wrapped"}, "It cannot be built"),
        ({"constructor": "srkit.models.rfdn:RFDN"}, "unexpected keyword argument 'mid'"),
        ({"arguments": "{'scale': 4}"}, "This cannot be read: JSONDecodeError"),
        ({"arguments": None}, r"This cannot be read: KeyError\('arguments'\)"),
        ({"name": None}, r"This cannot be read: KeyError\('name'\)"),
        ({"arguments": "[4]"}, r"It cannot be built \(TypeError"),
        ({"arguments": json.dumps(ARGUMENTS | {"esa": 16})}, r"is \(8,.* in the file, \(16,"),
        ({"arguments": json.dumps(ARGUMENTS | {"wide": 2})}, "unexpected keyword argument 'wide'"),
        ({"arguments": json.dumps(ARGUMENTS | {"channels": "24"})}, "It cannot be built"),
        ({"arguments": json.dumps(ARGUMENTS | {"block": "X"})}, "block 'X': choose one of RLFB"),
        ({"arguments": json.dumps(ARGUMENTS | {"channels": 10**12})}, r"built \(RuntimeError"),
        ({"arguments": json.dumps(ARGUMENTS | {"blocks": 3})}, r"tensors are not in the network"),
        ({"scale": "four"}, "This cannot be read: ValueError"),
        ({"scale": "2"}, r"upsampler\.0\.\w+ is \(48,.* in the file, \(12,"),
    ],
    ids=lambda value: json.dumps(value)[:60] if isinstance(value, dict) else "",
)
def test_a_header_that_is_not_true_is_refused(tmp_path, tiny, changed, words):
    path = tmp_path / "a.safetensors"
    save(tiny, path)
    forge(path, **changed)
    refusal = rf"a\.safetensors is refused: its header says .*\. .*{words}.*load_weights\(model, pa"
    with pytest.raises(ValueError, match=refusal):
        load_checkpoint(path)
    assert "this" not in sys.modules
    filled = create_model("rlfn_tiny_x4")
    load_weights(filled, path)  # the way out that it names
    assert same(filled, tiny)


def test_the_forged_header_is_true_before_it_is_changed(tmp_path, tiny):
    save(tiny, tmp_path / "a.safetensors")
    assert json.loads(header(tmp_path / "a.safetensors")["arguments"]) == ARGUMENTS
    forge(tmp_path / "a.safetensors")
    assert same(load_checkpoint(tmp_path / "a.safetensors"), tiny)


def test_float16_halves_the_file_and_comes_back_as_float32(tmp_path, tiny):
    tiny.to(memory_format=torch.channels_last)
    save(tiny, tmp_path / "32.safetensors")
    save(tiny, tmp_path / "16.safetensors", dtype=torch.float16)
    small, large = ((tmp_path / f"{n}.safetensors").stat().st_size for n in (16, 32))
    assert small < 0.52 * large
    loaded = load_checkpoint(tmp_path / "16.safetensors")
    assert loaded.conv_1.weight.dtype == torch.float32
    assert torch.equal(loaded.conv_1.weight, tiny.conv_1.weight.half().float())


def test_counters_stay_whole_numbers(tmp_path):
    model = create_model("srresnet_x4")
    model.body[0].body[1].num_batches_tracked.fill_(2**20 + 1)  # float16 ends at 65504
    save(model, tmp_path / "a.safetensors", dtype=torch.float16)
    assert (
        load_checkpoint(tmp_path / "a.safetensors").body[0].body[1].num_batches_tracked == 2**20 + 1
    )


RECIPES = {
    "carn": "CARN", "ciplab": "RRDBNetx4x4", "dbpn": "DBPN", "enhancenet": "EnhanceNet",
    "esrgan": "RRDBNet", "idn": "IDN", "memnet": "MemNet", "msrn": "MSRN", "rcan": "RCAN",
    "rdn": "RDN", "rlfn": "RLFN", "sftgan": "SFTGAN", "srfeat": "SRFeat", "srgan": "MSRResNet",
    "ttsr": "TTSR", ("esrgan", "psnr-bn"): "SRResNet", ("esrgan", "standard-after-bn"): "SRResNet",
    ("srgan", "srresnet"): "SRResNet", ("msrn", "residual"): "EDSR",
}  # fmt: skip
SHIPPED = sorted(files.data_path("weights").glob("*_x*.safetensors"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_weights_say_what_they_are(path, recwarn):
    """Class and arguments in the header, those of the recipe that the provenance names."""
    facts = header(path)
    assert facts.keys() == {"format", "name", "scale", "constructor", "arguments", "provenance"}
    run = json.loads(facts["provenance"])
    model = load_checkpoint(path)
    assert not recwarn.list
    variant = (run["recipe"], run["variant"])
    assert type(model).__name__ == RECIPES.get(variant, RECIPES[run["recipe"]])
    stored = json.loads(facts["arguments"])
    assert stored == {name: as_json(model.arguments[name]) for name in stored}
    assert (str(model.scale), model.name) == (facts["scale"], facts["name"])
    stem = "-".join([run["recipe"], run["budget"], run["variant"]])
    if path.stem != "rlfn-minutes_x4":
        assert path.stem == f"{stem}_x{model.scale}"
    assert {t.dtype for t in load_file(path).values()} <= {torch.float16, torch.int64}
    assert run["metrics"]
    assert run["seed"] == 0


def test_all_shipped_weights_are_tested():
    assert len(SHIPPED) == 53


def test_a_shipped_file_saved_again_is_the_same_file(tmp_path):
    for path in SHIPPED[:3]:
        provenance = json.loads(header(path)["provenance"])
        again = tmp_path / path.name
        save(load_checkpoint(path), again, provenance=provenance, dtype=torch.float16)
        assert again.read_bytes() == path.read_bytes()


def test_convert_keeps_every_bit_and_says_where_it_comes_from(tmp_path):
    """Under the authors' names, which are not ours."""
    torch.manual_seed(0)
    model = create_model("vdsr_x3")
    source, target = tmp_path / "theirs.pth", tmp_path / "ours.safetensors"
    state = model.state_dict()
    names = {name: f"{int(name.split('.')[1]):02}_conv.{name.split('.')[2]}" for name in state}
    torch.save({names[name]: tensor for name, tensor in state.items()}, source)
    assert convert(source, target, name="vdsr_x3") == target
    loaded = load_checkpoint(target)
    assert same(loaded, model)
    assert loaded.arguments == model.arguments
    facts = header(target)
    assert (facts["name"], facts["scale"]) == ("vdsr_x3", "3")
    assert json.loads(facts["provenance"]) == {
        "source": "theirs.pth",
        "sha256": files.sha256(source),
        "licence": "not known",
        "paper": f"{model_info('vdsr_x3').paper.title}, CVPR 2016",
        "srkit": srkit.__version__,
        "translated": "0 of 40 tensors have the same name there and here",
    }


def test_convert_writes_down_which_network_it_is(tmp_path, recwarn):
    """What fits three networks fits one afterwards; what was known before is kept."""
    torch.save(create_model("idn_x3").state_dict(), tmp_path / "a.pth")
    convert(tmp_path / "a.pth", tmp_path / "a.safetensors", name="idn_x3")
    assert load_checkpoint(tmp_path / "a.safetensors").name == "idn_x3"
    convert(tmp_path / "a.safetensors", tmp_path / "b.safetensors")
    assert load_checkpoint(tmp_path / "b.safetensors").name == "idn_x3"
    assert not recwarn.list
    first = header(tmp_path / "a.safetensors")["provenance"]
    second = json.loads(header(tmp_path / "b.safetensors")["provenance"])
    assert second["the source's provenance"] == first


def test_convert_of_a_trained_network_knows_its_paper(tmp_path):
    """Of one that is not in the zoo by its sizes or its name."""
    model = RLFN(4, channels=8, blocks=1, esa=4)
    save(model, tmp_path / "a.safetensors")
    convert(tmp_path / "a.safetensors", tmp_path / "b.safetensors")
    assert same(load_checkpoint(tmp_path / "b.safetensors"), model)
    paper = json.loads(header(tmp_path / "b.safetensors")["provenance"])["paper"]
    assert paper.startswith("Residual Local Feature Network")


@pytest.mark.parametrize("name", ["enhancenet_pat_x4", "idn_x4", "carn_m_x3", "rlfn_ntire_x4"])
def test_convert_of_the_authors_file_knows_its_licence(assets, tmp_path, name):
    entry = model_info(name)
    source = assets(entry.weights["official"].path)
    convert(source, tmp_path / "a.safetensors", name=name)
    loaded = load_checkpoint(tmp_path / "a.safetensors")
    assert same(loaded, create_model(name, weights=source))
    assert loaded.arguments == entry.build().arguments
    facts = json.loads(header(tmp_path / "a.safetensors")["provenance"])
    assert facts["sha256"] == entry.weights["official"].sha256
    assert facts["licence"] == entry.weights["official"].licence


@pytest.mark.filterwarnings("ignore:.* does not say how its network was made")
def test_convert_of_what_others_trained_says_so(assets, tmp_path):
    entry = model_info("pcarn_m_x4")
    source = assets(entry.weights["gan"].path)
    convert(source, tmp_path / "a.safetensors", name="pcarn_m_x4")
    facts = json.loads(header(tmp_path / "a.safetensors")["provenance"])
    assert facts["licence"] == "MIT"
    assert facts["origin"] == "trained by PCARN's authors, against a discriminator"


def test_of_a_pair_of_ncnn_the_numbers_are_what_is_known(tmp_path):
    (tmp_path / "x4.param").write_text("7767517")
    (tmp_path / "x4.bin").write_bytes(b"numbers")
    assert origin(tmp_path / "x4.param") == origin(tmp_path / "x4.bin")
    assert origin(tmp_path / "x4.bin")["sha256"] == files.sha256(tmp_path / "x4.bin")


@pytest.mark.filterwarnings("ignore:.* does not say how its network was made")
def test_convert_to_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch, tiny):
    save(tiny, tmp_path / "a.safetensors")
    before = (tmp_path / "a.safetensors").read_bytes()
    torch.save(tiny.state_dict(), tmp_path / "a.pth")

    def full(*_):
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="the disk is full"):
        convert(tmp_path / "a.pth", tmp_path / "a.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.pth", "a.safetensors"]
