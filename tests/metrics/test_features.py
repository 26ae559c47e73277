"""Frozen extractors: the published networks, tapped where the names say, and nothing silent."""

import hashlib
import urllib.error

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from srkit import files
from srkit.metrics import features
from srkit.metrics.features import (
    alexnet,
    feature_difference,
    random_tanh,
    squeezenet,
    vgg16,
    vgg19,
)


def picture(path, size=128):
    rgb = np.asarray(Image.open(path).convert("RGB"))[:size, :size]
    return torch.from_numpy(rgb.copy()).permute(2, 0, 1) / 255


@pytest.fixture(scope="module")
def oxford(assets):
    assets("backbones/vgg19_oxford.npz")
    return vgg19("oxford")


@pytest.fixture
def empty_machine(monkeypatch, tmp_path):
    """No file at hand, an empty cache, and no network."""

    def unreachable(url, *args, **kwargs):
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.delenv("SRKIT_HOME", raising=False)
    monkeypatch.setenv("SRKIT_CACHE", str(tmp_path))
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", unreachable)
    return tmp_path


def torchvision_network(name, seed=0):
    """One of torchvision's networks with random convolutions and no memory for its classifier."""
    import torchvision

    with torch.device("meta"):
        network = getattr(torchvision.models, name)()
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for key, tensor in network.features.state_dict().items():
        fan_in = tensor[0].numel() if tensor.ndim == 4 else 1e4
        state[key] = torch.randn(tensor.shape, generator=generator) / fan_in**0.5
    network.features.load_state_dict(state, assign=True)
    whole = {f"features.{key}": tensor for key, tensor in state.items()}
    return network.features, whole | {"classifier.0.weight": torch.zeros(2, 2)}


# ------------------------------------------------------------------ Oxford's VGG-19


def test_oxford_features_have_the_known_size(oxford, assets):
    """Rms before the ReLU: about 59, 890, 740, 75 on natural pictures (within a factor 1.6)."""
    known = {"conv1_1": 59, "conv3_4": 890, "conv4_4": 740, "conv5_4": 75}
    squares = dict.fromkeys(known, 0.0)
    names = ("baby", "bird", "butterfly", "head", "woman")
    for name in names:
        found = oxford(picture(assets(f"benchmarks/Set5/HR/{name}.png")), known)
        for layer in known:
            squares[layer] += found[layer].square().mean().item() / len(names)
    for layer, rms in known.items():
        assert rms / 1.6 < squares[layer] ** 0.5 < rms * 1.6, (layer, squares[layer] ** 0.5)


def test_oxford_is_fed_bgr_minus_the_mean(oxford, assets, rng):
    """conv1_2 equals the Caffe recipe written out in float64 from the file's own tensors."""
    image = torch.rand(3, 20, 24, generator=rng)
    with np.load(assets("backbones/vgg19_oxford.npz")) as stored:
        w1, b1, w2, b2 = (
            torch.from_numpy(stored[f"conv1_{i}.{part}"]).double()
            for i in (1, 2)
            for part in ("weight", "bias")
        )
    mean = torch.tensor([103.939, 116.779, 123.68], dtype=torch.float64).view(3, 1, 1)
    bgr = image.double()[[2, 1, 0]] * 255 - mean
    expected = F.conv2d(F.conv2d(bgr, w1, b1, padding=1).relu(), w2, b2, padding=1)
    torch.testing.assert_close(
        oxford(image, "conv1_2")["conv1_2"].double(), expected, rtol=1e-5, atol=1e-2
    )


def test_oxford_8bit_kernels_are_expanded(oxford, assets):
    with np.load(assets("backbones/vgg19_oxford.npz")) as stored:
        scale, lowest = stored["conv5_4.weight.scale_min"]
        expected = stored["conv5_4.weight.u8"][7, 9].astype(np.float64) * scale + lowest
    np.testing.assert_allclose(oxford.body["conv5_4"].weight[7, 9], expected, rtol=1e-6)


def test_taps_are_before_and_after_relu_and_pooling(oxford, rng):
    found = oxford(torch.rand(2, 3, 32, 48, generator=rng), oxford.layers)
    assert len(oxford.layers) == 16 + 16 + 5
    assert found["conv5_4"].shape == (2, 512, 2, 3)
    assert found["conv5_4"].min() < 0
    for name in oxford.layers:
        if name.startswith("relu"):
            assert torch.equal(found[name], found[name.replace("relu", "conv")].relu()), name
    assert torch.equal(found["pool3"], F.max_pool2d(found["relu3_4"], 2))


def test_layers_come_in_the_order_asked_and_no_deeper(oxford, rng, monkeypatch):
    reached = []
    for name, layer in oxford.body.items():
        monkeypatch.setattr(layer, "forward", spy(layer.forward, name, reached))
    found = oxford(torch.rand(3, 16, 16, generator=rng), ["relu2_1", "conv1_2"])
    assert list(found) == ["relu2_1", "conv1_2"]
    assert reached == list(oxford.layers[: oxford.layers.index("relu2_1") + 1])


def spy(forward, name, reached):
    def call(x):
        reached.append(name)
        return forward(x)

    return call


def test_frozen_but_gradients_reach_the_picture(oxford, rng):
    image = torch.rand(1, 3, 32, 32, generator=rng, requires_grad=True)
    oxford(image, "conv3_4")["conv3_4"].square().mean().backward()
    assert image.grad.abs().min() > 0
    assert not any(p.requires_grad for p in oxford.parameters())
    assert not oxford.training


def test_one_picture_equals_a_batch_of_one(oxford, rng):
    image = torch.rand(3, 32, 32, generator=rng)
    alone, batch = oxford(image, "conv4_4")["conv4_4"], oxford(image[None], "conv4_4")["conv4_4"]
    torch.testing.assert_close(alone, batch[0])


def test_features_stay_float32_under_autocast(oxford, rng):
    image = torch.rand(3, 32, 32, generator=rng)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = oxford(image, "conv4_4")["conv4_4"]
    assert torch.equal(inside, oxford(image, "conv4_4")["conv4_4"])


def test_sha256_is_the_files(oxford, assets):
    expected = hashlib.sha256(assets("backbones/vgg19_oxford.npz").read_bytes()).hexdigest()
    assert (oxford.name, oxford.sha256) == ("vgg19-oxford", expected)


def test_a_file_of_oxford_is_read_as_the_recipe_says(empty_machine, monkeypatch, rng):
    """Its first layer takes BGR in [0, 255] less the mean; a kernel in 8 bits is scaled back."""
    build = features._vgg_layers
    monkeypatch.setattr(features, "_vgg_layers", lambda depths: dict([*build(depths).items()][:3]))
    w1, b1, b2 = (torch.randn(s, generator=rng).numpy() for s in ((64, 3, 3, 3), 64, 64))
    w2 = torch.randint(0, 256, (64, 64, 3, 3), dtype=torch.uint8, generator=rng).numpy()
    stored = {
        "conv1_1.weight": w1, "conv1_1.bias": b1, "conv1_2.bias": b2,
        "conv1_2.weight.u8": w2, "conv1_2.weight.scale_min": np.array([0.01, -1.25]),
    }  # fmt: skip
    path = empty_machine / "backbones/vgg19_oxford.npz"
    path.parent.mkdir()
    np.savez(path, **stored)
    extractor, image = vgg19("oxford"), torch.rand(3, 9, 8, generator=rng)
    mean = torch.tensor([103.939, 116.779, 123.68], dtype=torch.float64).view(3, 1, 1)
    x = 255 * image.double().flip(0) - mean
    x = F.conv2d(x, torch.from_numpy(w1).double(), torch.from_numpy(b1).double(), padding=1).relu()
    kernel = torch.from_numpy(w2).double() * 0.01 - 1.25
    x = F.conv2d(x, kernel, torch.from_numpy(b2).double(), padding=1)
    found = extractor(image, "conv1_2")["conv1_2"]
    torch.testing.assert_close(found.double(), x, rtol=1e-4, atol=1e-2)
    assert (extractor.name, extractor.sha256) == ("vgg19-oxford", files.sha256(path))


# ------------------------------------------------------------------ torchvision's networks


@pytest.mark.parametrize("build", [vgg19, vgg16, alexnet, squeezenet])
def test_fetched_once_stripped_and_equal_to_torchvision(build, empty_machine, monkeypatch, rng):
    """Every layer equals torchvision's own network; the classifier is not kept; one download."""
    name = "squeezenet1_1" if build is squeezenet else build.__name__
    network, state = torchvision_network(name)
    urls = []

    def download(url, folder, *, map_location, check_hash, weights_only):
        assert check_hash
        assert weights_only
        urls.append(url)
        return state

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", download)
    extractor, again = build(), build()
    assert len(urls) == 1
    assert name in urls[0]
    kept = empty_machine / f"backbones/{name}_torchvision.safetensors"
    from safetensors.torch import load_file

    assert set(load_file(kept)) == set(state) - {"classifier.0.weight"}
    assert extractor.sha256 == again.sha256 == files.sha256(kept)

    image = torch.rand(2, 3, 65, 70, generator=rng)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in features.IMAGENET)
    found, x = extractor(image, extractor.layers), (image - mean) / std
    for layer, module in zip(extractor.layers, network, strict=True):
        x = module(x.clone())  # theirs rectifies in place
        torch.testing.assert_close(found[layer], x, rtol=1e-4, atol=1e-5, msg=layer)


@pytest.mark.parametrize("build", [alexnet, squeezenet])
def test_a_stored_trunk_needs_no_network(build, assets, monkeypatch):
    path = assets(f"backbones/lpips_{'alex' if build is alexnet else 'squeeze'}.safetensors")
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", None)
    assert build().sha256 == files.sha256(path)


def test_without_a_trunk_the_error_says_what_to_do(empty_machine):
    with pytest.raises(FileNotFoundError, match=r"download\.pytorch\.org.*could not be fetched"):
        vgg19()
    with pytest.raises(FileNotFoundError, match=r"name another extractor: random_tanh\(\)"):
        vgg19()
    with pytest.raises(FileNotFoundError, match=r"vgg19_oxford\.npz.*random_tanh\(\)"):
        vgg19("oxford")
    (empty_machine / "backbones").mkdir()
    (empty_machine / "backbones/vgg19_oxford.npz").touch()
    with pytest.raises(FileNotFoundError, match=r"vgg19\(lineage='oxford'\) is at hand"):
        vgg19()
    assert not list(empty_machine.rglob("*.safetensors"))


def test_an_unknown_lineage_is_refused():
    with pytest.raises(ValueError, match="'torchvision' or 'oxford'"):
        vgg19("caffe")


# ------------------------------------------------------------------ the random extractor


def test_random_is_conv_tanh_conv(rng):
    phi, image = random_tanh(channels=8, seed=3), torch.rand(2, 3, 10, 12, generator=rng)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in features.IMAGENET)
    conv1 = F.conv2d((image - mean) / std, phi.body["conv1"].weight, padding=1)
    conv2 = F.conv2d(conv1.tanh(), phi.body["conv2"].weight, padding=1)
    found = phi(image, phi.layers)
    assert phi.layers == ("conv1", "act1", "conv2")
    for layer, expected in {"conv1": conv1, "act1": conv1.tanh(), "conv2": conv2}.items():
        torch.testing.assert_close(found[layer], expected, rtol=1e-5, atol=1e-5)


def test_random_depends_on_its_seed_alone():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = random_tanh(seed=5)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert random_tanh(seed=5).sha256 == first.sha256
    assert random_tanh(seed=6).sha256 != first.sha256
    assert random_tanh(seed=5, activation="relu").sha256 == first.sha256  # comparable
    assert first.name == "random-tanh-64-seed5"


def test_random_activations(rng):
    image = torch.rand(3, 16, 16, generator=rng)
    by = {kind: random_tanh(activation=kind)(image, ["conv1", "act1"]) for kind in ("relu", "none")}
    assert torch.equal(by["relu"]["act1"], by["relu"]["conv1"].relu())
    assert torch.equal(by["none"]["act1"], by["none"]["conv1"])
    with pytest.raises(ValueError, match="tanh, relu, none"):
        random_tanh(activation="gelu")


# ------------------------------------------------------------------ refusals and Eq. (9)


def test_refusals_teach():
    phi, image = random_tanh(channels=4), torch.rand(3, 8, 8)
    with pytest.raises(ValueError, match=r"has no layer \['relu9'\]; it has conv1, act1, conv2"):
        phi(image, ["conv1", "relu9"])
    with pytest.raises(ValueError, match="no layer was asked for"):
        phi(image, [])
    with pytest.raises(ValueError, match=r"takes float RGB.*got \(1, 8, 8\)"):
        phi(image[:1], "conv1")
    with pytest.raises(TypeError, match=r"image is torch\.uint8, expected floats in \[0, 1\]"):
        phi(image.byte(), "conv1")


def test_a_picture_of_the_least_size_is_taken(rng):
    """pool2 leaves one pixel of 4 x 4, and none of 3 x 4."""
    layers = {f"pool{k}": torch.nn.MaxPool2d(2) for k in (1, 2)}
    phi = features.Extractor(layers, {}, name="pools", sha256="", mean=[0] * 3, std=[1] * 3)
    assert [phi.least_size(layer) for layer in phi.layers] == [2, 4]
    assert phi(torch.rand(3, 4, 4, generator=rng), "pool2")["pool2"].shape == (3, 1, 1)
    with pytest.raises(ValueError, match="at least 4x4 pixels for pool2, got 3x4: take larger"):
        phi(torch.rand(3, 3, 4, generator=rng), "pool2")


def test_feature_difference_is_equation_9(rng):
    """Mean or sum over channels of the absolute difference, for one picture and for a batch."""
    phi = random_tanh(channels=4)
    a, b = torch.rand(2, 2, 3, 9, 11, generator=rng)
    maps = feature_difference(phi, a, b, ["conv1", "conv2"])
    for layer in ("conv1", "conv2"):
        difference = np.abs((phi(a, layer)[layer] - phi(b, layer)[layer]).double().numpy())
        np.testing.assert_allclose(maps[layer], difference.mean(axis=1), rtol=1e-5)
        sums = feature_difference(phi, a[0], b[0], layer, reduce="sum")
        np.testing.assert_allclose(sums[layer], difference[0].sum(axis=0), rtol=1e-4)
    with pytest.raises(ValueError, match="'mean' or 'sum'"):
        feature_difference(phi, a, b, "conv1", reduce="max")
    with pytest.raises(ValueError, match=r"differ in size: \(3, 9, 11\) and \(3, 9, 10\)"):
        feature_difference(phi, a[0], b[0][..., :10], "conv1")
