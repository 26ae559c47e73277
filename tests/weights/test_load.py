"""Names and files become networks: by header or by tensors, or they are refused in words."""

from __future__ import annotations

import os
import pickle
import re
from dataclasses import replace
from itertools import product

import pytest
import torch
from models.test_carn import MOBILE, pcarn_file
from small import same
from torch import nn

from srkit import files
from srkit.models.esrgan import RRDBNet, rename_keys
from srkit.models.memnet import MemNet
from srkit.models.rcan import RCAN
from srkit.models.rlfn import RLFN
from srkit.models.zoo import ZOO, Weights, model_info
from srkit.weights import load as weights
from srkit.weights.load import create_model, load_checkpoint, load_weights
from srkit.weights.save import save

ABSENT = {"esrgan_x4"}  # its hash is known, the file is not among the research data
OFFICIAL = [
    e
    for e in ZOO
    if "official" in e.weights and e.weights["official"].sha256 and e.name not in ABSENT
]


BY_OTHERS = [(e, kind) for e in ZOO for kind in e.weights if kind not in ("official", "srkit")]


@pytest.mark.parametrize("entry", OFFICIAL, ids=lambda entry: entry.name)
def test_the_authors_file_is_verified_loaded_and_recognised(assets, recwarn, entry):
    """By its hash it is beyond doubt, so nothing is assumed and nothing said."""
    path = assets(entry.weights["official"].path)
    named = create_model(entry.family, scale=entry.scale, weights="official")
    recognised = load_checkpoint(path)
    # a file for several scales is recognised as the network of the smallest
    first = next(
        e for e in OFFICIAL if e.weights["official"].path == entry.weights["official"].path
    )
    assert (named.name, recognised.name) == (entry.name, first.name)
    assert not recwarn.list
    assert not named.training
    assert not recognised.training
    assert entry is not first or same(named, recognised)
    with torch.no_grad():
        grey = named(torch.full((1, 3, 24, 24), 0.5))[..., 20:-20, 20:-20]
    assert (grey - 0.5).abs().max() < 0.003  # fed its own range, it keeps a flat grey


@pytest.mark.parametrize(
    ("entry", "kind"), BY_OTHERS, ids=[f"{e.name}-{kind}" for e, kind in BY_OTHERS]
)
def test_a_file_of_others_is_verified_loaded_and_recognised(assets, recwarn, entry, kind):
    path = assets(entry.weights[kind].path)
    named, recognised = create_model(entry.name, weights=kind), load_checkpoint(path)
    first = next(e for e, other in BY_OTHERS if e.weights[other].path == entry.weights[kind].path)
    assert (named.name, recognised.name) == (entry.name, first.name)
    assert entry is not first or same(named, recognised)
    assert not recwarn.list


def test_where_weights_of_others_come_from_is_said_where_they_cannot_be_had(tmp_path, monkeypatch):
    monkeypatch.setenv("SRKIT_HOME", str(tmp_path))
    monkeypatch.setenv("SRKIT_CACHE", str(tmp_path / "cache"))
    with pytest.raises(RuntimeError, match=r"realsr_df2k_x4.* no address is known") as refusal:
        create_model("esrgan_x4", weights="realsr")
    assert "trained by RealSR's authors" in str(refusal.value)
    assert "nihui/realsr-ncnn-vulkan releases them" in str(refusal.value)


def test_an_official_file_with_another_hash_is_not_used(tmp_path, monkeypatch):
    monkeypatch.setenv("SRKIT_HOME", str(tmp_path))
    monkeypatch.setenv("SRKIT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "net.pth").write_bytes(b"something else")
    file = Weights("net.pth", "MIT", "http://127.0.0.1:9/net.pth", sha256="ab" * 32)
    entry = replace(model_info("imdn_x2"), weights={"official": file})
    with pytest.raises(RuntimeError) as refusal:
        weights.file_of(entry, "official")
    assert "ab" * 32 in str(refusal.value)
    assert files.sha256(tmp_path / "net.pth") in str(refusal.value)


def test_weights_that_do_not_exist_are_answered_with_those_that_do(tmp_path):
    with pytest.raises(ValueError, match=r"rfdn_x4 has no weights 'official'.*rfdn_aim_x4 has"):
        create_model("rfdn", scale=4, weights="official")
    with pytest.raises(ValueError, match=r"no weights 'oficial', and no file.* It has: 'official'"):
        create_model("imdn", scale=4, weights="oficial")
    with pytest.raises(ValueError, match=r"esrgan_x4 has no .* It has: 'official' or 'realsr'"):
        create_model("esrgan_x4", weights="realesrgan")
    with pytest.raises(FileNotFoundError, match=r"no file .*imdn_x4.*create_model"):
        load_checkpoint(tmp_path / "imdn_x4")


def test_shipped_weights_come_from_the_package(tmp_path, monkeypatch, tiny):
    save(tiny, tmp_path / "w.safetensors")
    entry = replace(model_info("rlfn_tiny_x4"), weights={"srkit": Weights("w", "Apache-2.0")})
    monkeypatch.setattr(weights, "model_info", lambda name, scale: entry)
    monkeypatch.setattr(files, "data_path", lambda relative: tmp_path / f"{relative}.safetensors")
    assert same(create_model("rlfn_tiny_x4", weights="srkit"), tiny)


def test_a_new_network_takes_its_numbers_from_the_seed_alone():
    """Recognising files builds networks on the side; that must not touch the random state."""
    torch.manual_seed(5)
    weights._signature.cache_clear()
    weights._fits({})
    after = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(1), after)


assumed = pytest.mark.filterwarnings("ignore:.* does not say how its network was made")


@assumed
@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: s,
        lambda s: {f"module.{k}": v for k, v in s.items()},
        lambda s: {f"_orig_mod.module.{k}": v for k, v in s.items()},
        lambda s: {"params": s},
        lambda s: {"state_dict": {f"module.{k}": v for k, v in s.items()}, "epoch": 3},
        lambda s: {"model": {"params": s}, "optimizer": {"lr": 1e-4}},
    ],
    ids=["plain", "module", "compiled", "params", "state_dict", "nested"],
)
def test_known_wrappings_are_taken_off(tmp_path, tiny, wrap):
    torch.save(wrap(tiny.state_dict()), tmp_path / "net.pth")
    loaded = load_checkpoint(tmp_path / "net.pth")
    assert loaded.name == "rlfn_tiny_x4"
    assert same(loaded, tiny)


@assumed
def test_of_several_weights_in_a_file_it_is_said_which_are_taken(tmp_path, tiny):
    """BasicSR's params and params_ema: the average, as Real-ESRGAN's own programs do."""
    state = tiny.state_dict()
    torch.save(
        {"params": {k: v * 0 for k, v in state.items()}, "params_ema": state}, tmp_path / "a"
    )
    with pytest.warns(UserWarning, match="under params_ema and params: params_ema is taken"):
        loaded = load_checkpoint(tmp_path / "a")
    assert same(loaded, tiny)


REAL_ESRGAN = [  # of each released file: scale, blocks
    ("RealESRGAN_x4plus", 4, 23),
    ("RealESRGAN_x2plus", 2, 23),
    ("RealESRGAN_x4plus_anime_6B", 4, 6),
]


@pytest.mark.parametrize(("name", "scale", "blocks"), REAL_ESRGAN)
def test_a_file_of_real_esrgan_is_read_by_its_shapes(tmp_path, rng, name, scale, blocks):
    """BasicSR's names under params_ema; few channels, so that it takes no time."""
    torch.manual_seed(0)
    theirs = RRDBNet(scale, channels=6, blocks=blocks, growth=4).eval()
    torch.save(
        {"params_ema": rename_keys(theirs.state_dict(), "basicsr")}, tmp_path / f"{name}.pth"
    )
    words = rf"for esrgan, srkit.*:RRDBNet\(scale={scale}, channels=6, blocks={blocks}, growth=4, "
    with pytest.warns(UserWarning, match=words):
        loaded = load_checkpoint(tmp_path / f"{name}.pth")
    assert loaded.scale == scale
    lr = torch.rand(1, 3, 6, 7, generator=rng)
    with torch.no_grad():
        assert torch.equal(loaded(lr), theirs(lr))


@pytest.mark.parametrize(("name", "scale", "blocks"), REAL_ESRGAN)
def test_real_esrgan_at_full_width(tmp_path, no_init, name, scale, blocks):
    """x4plus has ESRGAN's own network; another one is answered with the call that reads it."""
    state = RRDBNet(scale, blocks=blocks).state_dict()
    state = {key: like(tensor) for key, tensor in rename_keys(state, "basicsr").items()}
    torch.save({"params_ema": state}, path := tmp_path / f"{name}.pth")
    if (scale, blocks) == (4, 23):
        assert create_model("esrgan_x4", weights=path).name == "esrgan_x4"
    else:
        made = rf"RRDBNet\(scale={scale}, channels=64, blocks={blocks}, growth=32, .*\)"
        with pytest.raises(ValueError, match=f"not fit esrgan_x4.*{made}, which load_checkpoint"):
            create_model("esrgan_x4", weights=path)


def prefixed(state, scale):
    """As DataParallel names them."""
    return {f"module.{name}": tensor for name, tensor in state.items()}


def plain(state, scale):
    return state


def basicsr(state, scale):
    return {"params": state}


def esrgan_old(state, scale):
    return rename_keys(state, "old")


def esrgan_basicsr(state, scale):
    return {"params_ema": rename_keys(state, "basicsr")}


def rdn_yjn870(state, scale):
    last = "UPNet.4" if scale == 4 else "UPNet.2"
    pairs = [("SFENet", "sfe"), ("RDBs", "rdbs"), ("convs", "layers"), ("conv.0", "conv")]
    pairs += [("LFF", "lff"), ("GFF", "gff"), (last, "output"), ("UPNet", "upscale")]
    renamed = {}
    for name, tensor in state.items():
        for ours, theirs in pairs:
            name = name.replace(ours, theirs)
        renamed[name] = tensor
    return renamed


def pcarn_three_heads(state, scale):
    """Their names, and each shared block three times."""
    every = replace(model_info("pcarn_m_x2"), kwargs=MOBILE | {"heads": (2, 3, 4)}).build()
    return {name: like(tensor) for name, tensor in pcarn_file(every).items()}


def carn_three_heads(state, scale):
    """The authors' one file for three scales."""
    every = replace(model_info("carn_x2"), kwargs={"heads": (2, 3, 4)}).build()
    return {name: like(tensor) for name, tensor in every.state_dict().items()}


def carn_one_head(state, scale):
    return {name.replace(f"upsample.up{scale}.", "upsample.up."): state[name] for name in state}


def memnet_caffe(state, scale):
    """The authors' layers, as `foreign.read_caffemodel` names their blobs."""
    theirs = {}

    def norm(name, layer):
        for blob, part in (("weight", "running_mean"), ("bias", "running_var")):
            theirs[f"bn_{layer}.{blob}"] = 4 * state[f"{name}.{part}"]
        theirs[f"bn_{layer}.2"] = torch.tensor([4.0])
        for part in ("weight", "bias"):
            theirs[f"scale_{layer}.{part}"] = state[f"{name}.{part}"]

    def conv(name, layer):
        for part in ("weight", "bias"):
            theirs[f"{layer}.{part}"] = state[f"{name}.{part}"]

    norm("head_bn", "conv1")
    conv("head", "conv1")
    blocks = len(state["ensemble"])
    for m, tag in enumerate(f"{m:02}" for m in range(1, blocks + 1)):
        for r, ab in product(range(blocks), "ab"):  # as many recursions as blocks
            norm(f"blocks.{m}.bn_{ab}.{r}", f"conv{tag}_{r + 1:02}_{ab}")
            conv(f"blocks.{m}.conv_{ab}.0", f"conv{tag}_{r + 1:02}_{ab}")
        norm(f"blocks.{m}.gate_bn", f"conv_transition_{tag}")
        conv(f"blocks.{m}.gate", f"conv_transition_{tag}")
        norm(f"out_bn.{m}", f"conv_end_{tag}")
        conv("out", f"conv_end_{tag}")
        theirs[f"weight_output_end_{tag}.weight"] = state["ensemble"][m : m + 1]
    return theirs


def without_counters(state, scale):
    """As PyTorch before 0.4.1 saved batch norms."""
    return {name: t for name, t in state.items() if not name.endswith("num_batches_tracked")}


SCALES = {"memnet": (2, 3, 4), "zssr": (2, 3, 4)}  # one file for all

# The papers without a file at hand: name, and how the authors (or those whose port is used) save it
# fmt: off
LAYOUTS = [
    ("srresnet_x4", plain), ("srresnet_x4", without_counters), ("srresnet_x4", prefixed),
    ("msrresnet_x2", basicsr), ("msrresnet_x3", basicsr), ("msrresnet_x4", basicsr),
    ("memnet_x2", plain), ("memnet_x2", memnet_caffe), ("memnet_x2", without_counters),
    ("ddbpn_x2", prefixed), ("ddbpn_x4", prefixed), ("ddbpn_x8", prefixed),
    ("dbpnll_x4", prefixed), ("dbpn_res_x4", prefixed),
    ("dbpn_s_x4", plain), ("dbpn_s_x8", plain),
    ("rdn_x2", plain), ("rdn_x3", rdn_yjn870), ("rdn_x4", rdn_yjn870), ("rdn_a_x4", plain),
    ("rcan_x2", plain), ("rcan_x3", plain), ("rcan_x4", plain), ("rcan_x8", plain),
    ("msrn_x2", plain), ("msrn_x3", plain), ("msrn_x4", plain), ("msrn_x8", plain),
    ("msrn2018_x3", prefixed), ("msrn2018_x4", prefixed),
    ("carn_x2", carn_three_heads), ("carn_x3", plain), ("carn_x4", plain), ("carn_m_x3", plain),
    ("carn_x2", carn_one_head), ("carn_m_x4", carn_one_head),
    ("pcarn_m_x3", plain), ("pcarn_m_x2", pcarn_three_heads),
    ("zssr_x2", plain),
    ("sftgan_x4", plain), ("sftgan_retrained_x4", plain),
    ("esrgan_x4", plain), ("esrgan_x4", esrgan_old), ("esrgan_x4", esrgan_basicsr),
    ("ttsr_x4", plain), ("ciplab_x16", plain), ("edsr_baseline_x3", plain),
]
# fmt: on


def like(tensor):
    """Zeros of that shape, which take no room in memory or in a file."""
    return torch.zeros((), dtype=tensor.dtype).expand(tensor.shape)


@pytest.fixture
def no_init(monkeypatch):
    """Networks of any size are made at once: their weights will be replaced."""
    for rule in ("kaiming_uniform_", "kaiming_normal_", "xavier_normal_", "normal_", "uniform_"):
        monkeypatch.setattr(nn.init, rule, lambda tensor, *_, **__: tensor)


@pytest.mark.parametrize(("name", "layout"), LAYOUTS, ids=lambda x: getattr(x, "__name__", x))
def test_a_file_of_the_authors_is_recognised(tmp_path, recwarn, no_init, name, layout):
    """Paper, variant and scale, from names and shapes of the tensors alone."""
    entry = model_info(name)
    state = {key: like(tensor) for key, tensor in entry.build().state_dict().items()}
    torch.save(layout(state, entry.scale), tmp_path / "a.pth")
    assert load_checkpoint(tmp_path / "a.pth").name == name
    heads = layout in (carn_three_heads, pcarn_three_heads)
    several = SCALES.get(entry.family, (2, 3, 4) if heads else ())[1:]
    others = ", ".join(f"{entry.family}_x{scale}" for scale in several)
    (said,) = [str(warning.message) for warning in recwarn]
    taken = f"taken for {name} (as would be {others})" if several else f"taken for {name}"
    assert f"{taken}, {entry.constructor}(scale={entry.scale}, " in said


def test_what_shapes_do_not_show_is_said_when_it_is_assumed(tmp_path, no_init):
    """An RCAN without skips has the tensors of one with them, and none of its answers."""
    bare = RCAN(2, long_skip=False, short_skip=False, rgb_range=1.0)
    torch.save({n: like(t) for n, t in bare.state_dict().items()}, tmp_path / "a.pth")
    words = (
        r"a\.pth does not say how its network was made\..* taken for rcan_x2, "
        r"srkit\.models\.rcan:RCAN\(scale=2, channels=64, groups=10, blocks=20, reduction=16, "
        r"attention=True, short_skip=True, long_skip=True, rgb_range=255\.0\)\. create_model\("
    )
    with pytest.warns(UserWarning, match=words) as caught:
        assert load_checkpoint(tmp_path / "a.pth").long_skip
    assert caught[0].filename == __file__  # the line that asked for it


def test_the_statistics_of_memnet_s_caffe_layers_are_divided_by_their_factor(rng):
    torch.manual_seed(0)
    model = MemNet(4, channels=32, blocks=3, recursions=3)
    state = {
        name: torch.rand(tensor.shape, generator=rng) if tensor.is_floating_point() else tensor
        for name, tensor in model.state_dict().items()
    }
    own = model.from_authors(memnet_caffe(state, 4), 4)
    assert own.keys() == state.keys()
    assert all(torch.equal(own[name], state[name]) for name in state)
    broken = memnet_caffe(state, 4) | {"conv02_03_a.weight": torch.zeros(32, 32, 3, 3)}
    with pytest.raises(ValueError, match="conv02_01_a and its recursions should share one weight"):
        model.from_authors(broken, 4)


@assumed
def test_batch_norms_without_counters_start_at_zero(tmp_path):
    torch.manual_seed(0)
    model = create_model("srresnet_x4")
    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.running_mean.uniform_()
        norm.num_batches_tracked += 5
    torch.save(without_counters(model.state_dict(), 4), tmp_path / "a.pth")
    loaded, other = load_checkpoint(tmp_path / "a.pth"), create_model("srresnet_x4")
    load_weights(other, tmp_path / "a.pth")
    for copy in (loaded, other):
        assert without_counters(copy.state_dict(), 4).keys() < copy.state_dict().keys()
        for name, tensor in copy.state_dict().items():
            counted = name.endswith("num_batches_tracked")
            assert torch.equal(tensor, torch.tensor(0) if counted else model.state_dict()[name])


def test_a_file_for_another_scale_is_answered_with_the_call_that_fits(tmp_path):
    """Or, where the file says it, with what it was saved from."""
    smaller = create_model("imdn_x2")
    torch.save(smaller.state_dict(), tmp_path / "a.pth")
    save(smaller, tmp_path / "a.safetensors")
    model = create_model("imdn_x4")
    before = model.fea_conv.weight.clone()
    with pytest.raises(ValueError, match=r"does not fit imdn_x4.*create_model\('imdn', scale=2\)"):
        load_weights(model, tmp_path / "a.pth")
    made = r'saved from srkit.models.imdn:IMDN\({"scale": 2, .*}\): upsampler.0.bias is \(12,\)'
    with pytest.raises(ValueError, match=f"does not fit imdn_x4.*{made}"):
        load_weights(model, tmp_path / "a.safetensors")
    assert torch.equal(model.fea_conv.weight, before)


def test_other_widths_are_named_with_both_shapes(tmp_path):
    torch.save(RLFN(4, channels=20).state_dict(), tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"conv_1\.weight is \(20, .*\) in the file, \(52, "):
        load_weights(create_model("rlfn_x4"), tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"fits no network of srkit\. The nearest is rlfn"):
        load_checkpoint(tmp_path / "a.pth")


def test_missing_and_unknown_tensors_are_named(tmp_path, tiny):
    state = tiny.state_dict()
    state["extra"] = state.pop("conv_2.bias")
    torch.save(state, tmp_path / "a.pth")
    words = re.escape("1 tensors are missing (conv_2.bias) and 1 tensors are not in the network")
    with pytest.raises(ValueError, match=words):
        load_weights(tiny, tmp_path / "a.pth")


def test_a_file_that_fits_several_networks_is_taken_with_a_warning(tmp_path):
    """IDN's tensors have the same shapes at every scale; only hash or header tell them apart."""
    torch.save(create_model("idn_x3").state_dict(), tmp_path / "a.pth")
    with pytest.warns(
        UserWarning, match=r"taken for idn_x2 \(as would be idn_x3, idn_x4\), srkit.*:IDN\("
    ):
        assert load_checkpoint(tmp_path / "a.pth").name == "idn_x2"
    assert create_model("idn", scale=3, weights=tmp_path / "a.pth").name == "idn_x3"


def test_a_file_of_torch7_is_refused_with_a_way_out(tmp_path):
    (tmp_path / "RDN_BIX2.t7").write_bytes(b"4\n1\n3\nV 1")
    with pytest.raises(ValueError, match=r"RDN_BIX2\.t7 is a file of Torch7.*torch\.save or as"):
        load_checkpoint(tmp_path / "RDN_BIX2.t7")


class Malicious:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("save", [torch.save, lambda o, p: p.write_bytes(pickle.dumps(o, 2))])
def test_a_file_that_would_run_code_is_refused_and_runs_nothing(tmp_path, save):
    save({"params": Malicious(tmp_path / "owned")}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"refused: to load it would run .*mkdir"):
        load_checkpoint(tmp_path / "a.pth")
    assert not (tmp_path / "owned").exists()


def test_a_pickled_module_is_refused_with_a_way_out(tmp_path, tiny):
    for content in (tiny, {"epoch": 3, "model": tiny}):  # CIPLab's, MSRN's of 2018
        torch.save(content, tmp_path / "a.pth")
        with pytest.raises(
            ValueError, match=r"srkit\.models\.rlfn\.RLFN.*`network\.state_dict\(\)"
        ):
            load_checkpoint(tmp_path / "a.pth")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_broken_files_are_refused_in_one_sentence(tmp_path, tiny, suffix):
    path, good = tmp_path / f"a{suffix}", tmp_path / f"good{suffix}"
    if suffix == ".pth":
        torch.save(tiny.state_dict(), good)
    else:
        save(tiny, good)
    whole = good.read_bytes()
    for content, words in (
        (whole[: len(whole) // 2], "broken, cut off"),
        (whole[:20], "broken, cut off"),
        (b"\x00\xff" * 500, "broken, cut off"),
        (b"", "is empty: fetch it again"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"<!DOCTYPE html><title>404</title>", "is a web page"),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=words):
            load_checkpoint(path)


def test_damaged_values_are_refused(tmp_path, tiny):
    state = tiny.state_dict()
    state["conv_2.bias"][3] = float("nan")
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(files.Damaged, match=r"conv_2\.bias of .*a\.pth is damaged.*NaN"):
        load_checkpoint(tmp_path / "a.pth")


def test_a_file_of_something_else_says_what_it_found(tmp_path):
    torch.save({"optimizer": {}, "epoch": 3}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"no tensors by name.*dict with optimizer"):
        load_checkpoint(tmp_path / "a.pth")
    torch.save([torch.ones(1)], tmp_path / "b.pth")
    with pytest.raises(ValueError, match="there is a list"):
        load_checkpoint(tmp_path / "b.pth")


def test_a_file_that_may_not_be_read_is_not_called_broken(tmp_path, tiny, monkeypatch):
    save(tiny, tmp_path / "a.safetensors")

    def forbidden(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("srkit.weights.load.format_of", forbidden)  # root may read everything
    with pytest.raises(PermissionError, match=r"a\.safetensors may not be read by this"):
        load_checkpoint(tmp_path / "a.safetensors")
