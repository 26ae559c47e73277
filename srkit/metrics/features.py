"""Frozen feature extractors: what perceptual, texture and contrastive losses look at.

An extractor takes RGB in [0, 1] and normalises inside. Its layers are named so that nothing is left
to guess: `conv5_4` is before the ReLU, `relu5_4` after it, `pool5` after the pooling.

    phi = vgg19()
    phi(image, ["conv2_2", "conv5_4"])      # {"conv2_2": (B, 128, H/2, W/2), "conv5_4": ...}

VGG: Simonyan and Zisserman, ICLR 2015. AlexNet in its one-column form: Krizhevsky, 2014. SqueezeNet
1.1: Iandola et al., 2016. The random extractor: RLFN, Kong et al., CVPRW 2022, Sec. 3.3.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from srkit import files
from srkit.image.tensors import check_floats

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # mean and deviation, RGB in [0, 1]


class Extractor(nn.Module):
    """`extractor(image, layers) -> {layer: features}`, computed no deeper than the last one asked.

    The image is RGB in [0, 1], (B, 3, H, W) or (3, H, W); features are (B, C, h, w) or (C, h, w).
    No parameter trains, gradients reach the image. Features stay float32 under autocast, because
    VGG's, in the hundreds, overflow float16 once they are squared.

    Attributes: `layers` (every name, in order), `name`, `sha256` (of the weights' file, or of the
    tensors where there is none): what a run or a caption must tell.

    A call raises TypeError for what is no float tensor, ValueError for another shape, an unknown
    layer, or none.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        layers: dict[str, nn.Module],
        weights: dict[str, Tensor],
        *,
        name: str,
        sha256: str,
        mean: Sequence[float],
        std: Sequence[float],
    ):
        super().__init__()
        self.name, self.sha256, self.layers = name, sha256, tuple(layers)
        self.body = nn.ModuleDict(layers)
        self.body.load_state_dict(weights, assign=True)  # the layers were made without memory
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)
        self.eval().requires_grad_(False)
        self.to(memory_format=torch.channels_last)  # a tenth (VGG) to a third (SqueezeNet) faster

    def forward(self, image: Tensor, layers: str | Iterable[str]) -> dict[str, Tensor]:
        """The features of a picture at some layers, by name.

        Raises ValueError for a layer that the network has not, or for none.
        """
        wanted = [layers] if isinstance(layers, str) else list(layers)
        unknown = [layer for layer in wanted if layer not in self.layers]
        if unknown or not wanted:
            raise ValueError(
                f"{self.name} has no layer {unknown}; it has {', '.join(self.layers)}."
                if unknown
                else f"no layer was asked for: {self.name} has {', '.join(self.layers)}."
            )
        check_floats(image)
        if image.ndim not in (3, 4) or image.shape[-3] != 3:
            raise ValueError(
                f"{self.name} takes float RGB in [0, 1], (B, 3, H, W) or (3, H, W); "
                f"got {tuple(image.shape)}."
            )
        depth = max(self.layers.index(layer) for layer in wanted)
        least = self.least_size(self.layers[depth])
        if min(image.shape[-2:]) < least:
            raise ValueError(
                f"{self.name} needs pictures of at least {least}x{least} pixels for "
                f"{self.layers[depth]}, got {image.shape[-2]}x{image.shape[-1]}: take larger ones, "
                "or an earlier layer"
            )
        found = {}
        with torch.autocast(image.device.type, enabled=False):
            x = (image.float() - self.mean) / self.std
            for layer in self.layers[: depth + 1]:
                x = self.body[layer](x)
                if layer in wanted:
                    found[layer] = x
        return {layer: found[layer] for layer in wanted}

    def least_size(self, layer: str) -> int:
        """The smallest side of a picture, in pixels, that leaves anything at a layer."""
        side = 1
        for name in self.layers[self.layers.index(layer) :: -1]:
            for module in reversed([*self.body[name].modules()]):
                side = max(1, _side_before(module, side))
        return side


def _side_before(module: nn.Module, side: int) -> int:
    """How many pixels a convolution or a pooling must get to leave `side` of them."""
    if not isinstance(module, nn.Conv2d | nn.MaxPool2d):
        return side
    kernel, stride, padding = (
        value[0] if isinstance(value, tuple) else int(value)
        for value in (module.kernel_size, module.stride, module.padding)
    )
    before = (side - 1) * stride - 2 * padding + kernel
    if isinstance(module, nn.MaxPool2d) and module.ceil_mode:  # a last window may be cut off
        return max(before - stride + 1, (side - 1) * stride - padding + 1)
    return before


def vgg19(lineage: str = "torchvision") -> Extractor:
    """VGG-19's convolutions: conv1_1, relu1_1, conv1_2, ... pool1, ... conv5_4, relu5_4, pool5.

    lineage:
    - "torchvision": torchvision's own ImageNet training, which most published loss weights mean.
      Fetched once (548 MB, of which 80 MB are kept).
    - "oxford": the authors' network (Caffe, CC BY 4.0), conv4 and conv5 stored in 8 bits, from
      backbones/vgg19_oxford.npz. Its features are larger by far (rms near 890 at conv3_4), so loss
      weights do not carry over; the 8 bits change a VGG loss by about 1 %.

    Raises ValueError for another lineage; FileNotFoundError, saying what to do, where it cannot be
    had.
    """
    if lineage == "oxford":
        return _vgg19_oxford()
    if lineage != "torchvision":
        raise ValueError(f"lineage {lineage!r} is unknown: 'torchvision' or 'oxford'.")
    return _from_torchvision("vgg19", _vgg_layers((2, 2, 4, 4, 4)))


def vgg16() -> Extractor:
    """VGG-16's convolutions, conv1_1 ... pool5, in torchvision's training (fetched once).

    Raises FileNotFoundError, saying what to do, where they cannot be had.
    """
    return _from_torchvision("vgg16", _vgg_layers((2, 2, 3, 3, 3)))


def alexnet() -> Extractor:
    """AlexNet's convolutions in torchvision's training: conv1, relu1, pool1, ... relu5, pool5.

    Raises FileNotFoundError, saying what to do, where they cannot be had.
    """
    with torch.device("meta"):
        layers = {
            "conv1": nn.Conv2d(3, 64, 11, stride=4, padding=2),
            "relu1": nn.ReLU(),
            "pool1": nn.MaxPool2d(3, 2),
            "conv2": nn.Conv2d(64, 192, 5, padding=2),
            "relu2": nn.ReLU(),
            "pool2": nn.MaxPool2d(3, 2),
            "conv3": nn.Conv2d(192, 384, 3, padding=1),
            "relu3": nn.ReLU(),
            "conv4": nn.Conv2d(384, 256, 3, padding=1),
            "relu4": nn.ReLU(),
            "conv5": nn.Conv2d(256, 256, 3, padding=1),
            "relu5": nn.ReLU(),
            "pool5": nn.MaxPool2d(3, 2),
        }
    return _from_torchvision("alexnet", layers, "backbones/lpips_alex.safetensors")


def squeezenet() -> Extractor:
    """SqueezeNet 1.1 in torchvision's training: conv1, relu1, pool1, fire2 ... fire9.

    A fire's features are after its ReLUs.

    Raises FileNotFoundError, saying what to do, where it cannot be had.
    """
    with torch.device("meta"):
        layers = {
            "conv1": nn.Conv2d(3, 64, 3, stride=2),
            "relu1": nn.ReLU(),
            "pool1": nn.MaxPool2d(3, 2, ceil_mode=True),
            "fire2": Fire(64, 16, 128),
            "fire3": Fire(128, 16, 128),
            "pool3": nn.MaxPool2d(3, 2, ceil_mode=True),
            "fire4": Fire(128, 32, 256),
            "fire5": Fire(256, 32, 256),
            "pool5": nn.MaxPool2d(3, 2, ceil_mode=True),
            "fire6": Fire(256, 48, 384),
            "fire7": Fire(384, 48, 384),
            "fire8": Fire(384, 64, 512),
            "fire9": Fire(512, 64, 512),
        }
    return _from_torchvision("squeezenet1_1", layers, "backbones/lpips_squeeze.safetensors")


class Fire(nn.Module):
    """SqueezeNet's block (Sec. 3.1): squeeze by 1x1, expand by 1x1 and 3x3 side by side."""

    def __init__(self, channels: int, squeezed: int, expanded: int):
        super().__init__()
        self.squeeze = nn.Conv2d(channels, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded // 2, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded // 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.squeeze(x).relu()
        return torch.cat([self.expand1x1(x), self.expand3x3(x)], dim=-3).relu()


def random_tanh(channels: int = 64, seed: int = 0, activation: str = "tanh") -> Extractor:
    """RLFN's extractor, Conv3x3 - Tanh - Conv3x3, random and never trained: conv1, act1, conv2.

    ReLU features are sparse and unbounded; Tanh keeps them dense and bounded, and a random network
    already answers to edges and texture (Sec. 3.3). The paper gives neither width nor
    initialisation: here 64 channels, Kaiming normal kernels with tanh's gain (the same numbers for
    every activation, so that those can be compared), no bias, ImageNet's normalisation.

    activation: "tanh" | "relu" | "none". The seed draws from a generator of its own.

    Raises ValueError for another activation.
    """
    kinds = {"tanh": nn.Tanh, "relu": nn.ReLU, "none": nn.Identity}
    if activation not in kinds:
        raise ValueError(f"activation {activation!r} is unknown: one of {', '.join(kinds)}.")
    generator = torch.Generator().manual_seed(seed)
    with torch.device("meta"):
        layers = {
            "conv1": nn.Conv2d(3, channels, 3, padding=1, bias=False),
            "act1": kinds[activation](),
            "conv2": nn.Conv2d(channels, channels, 3, padding=1, bias=False),
        }
    weights = {
        f"{layer}.weight": nn.init.kaiming_normal_(
            torch.empty(layers[layer].weight.shape, device="cpu"),
            nonlinearity="tanh",
            generator=generator,
        )
        for layer in ("conv1", "conv2")
    }
    digest = hashlib.sha256(b"".join(w.numpy().tobytes() for w in weights.values())).hexdigest()
    name = f"random-{activation}-{channels}-seed{seed}"
    return Extractor(layers, weights, name=name, sha256=digest, mean=IMAGENET[0], std=IMAGENET[1])


def feature_difference(
    extractor: Extractor, a: Tensor, b: Tensor, layers: str | Iterable[str], reduce: str = "mean"
) -> dict[str, Tensor]:
    """Where two pictures differ for an extractor: a map for each layer (RLFN, Eq. 9).

    D[i, j] = mean ("mean") or sum ("sum") over channels k of |phi(a) - phi(b)|[k, i, j]

    a, b: (3, H, W), giving (h, w), or (B, 3, H, W), giving (B, h, w).

    Raises ValueError for pictures of two sizes or another `reduce`, and what a call of the
    extractor raises.
    """
    if reduce not in ("mean", "sum"):
        raise ValueError(f"reduce {reduce!r} is unknown: 'mean' or 'sum'.")
    if a.shape != b.shape:
        raise ValueError(f"the pictures differ in size: {tuple(a.shape)} and {tuple(b.shape)}.")
    of_a, of_b = extractor(a, layers), extractor(b, layers)
    over_channels = torch.mean if reduce == "mean" else torch.sum
    return {  # (C, h, w) -> (h, w)
        layer: over_channels((of_a[layer] - of_b[layer]).abs(), dim=-3) for layer in of_a
    }


def _vgg_layers(depths: Sequence[int]) -> dict[str, nn.Module]:
    layers, channels = {}, 3
    with torch.device("meta"):
        for block, (depth, width) in enumerate(
            zip(depths, (64, 128, 256, 512, 512), strict=True), 1
        ):
            for i in range(1, depth + 1):
                layers[f"conv{block}_{i}"] = nn.Conv2d(channels, width, 3, padding=1)
                layers[f"relu{block}_{i}"] = nn.ReLU()
                channels = width
            layers[f"pool{block}"] = nn.MaxPool2d(2)
    return layers


def _vgg19_oxford() -> Extractor:
    path = files.find("backbones/vgg19_oxford.npz")
    if path is None:
        raise FileNotFoundError(
            "VGG-19 of lineage 'oxford' is not at hand: no backbones/vgg19_oxford.npz under "
            f"{_homes()}. vgg19() takes torchvision's instead; random_tanh() needs no file."
        )
    layers = _vgg_layers((2, 2, 4, 4, 4))
    weights = {}
    with np.load(path, allow_pickle=False) as stored:
        for layer in (name for name in layers if name.startswith("conv")):
            if f"{layer}.weight" in stored:
                kernel = stored[f"{layer}.weight"]
            else:
                scale, lowest = stored[f"{layer}.weight.scale_min"]
                kernel = stored[f"{layer}.weight.u8"] * scale + lowest
            if layer == "conv1_1":  # it takes BGR
                kernel = kernel[:, ::-1]
            weights[f"{layer}.weight"] = torch.from_numpy(kernel.astype(np.float32))
            weights[f"{layer}.bias"] = torch.from_numpy(stored[f"{layer}.bias"])
    mean = [level / 255 for level in (123.68, 116.779, 103.939)]  # RGB; it takes 0..255 less that
    return Extractor(
        layers,
        weights,
        name="vgg19-oxford",
        sha256=files.sha256(path),
        mean=mean,
        std=[1 / 255] * 3,
    )


def _from_torchvision(network: str, layers: dict[str, nn.Module], *stored: str) -> Extractor:
    """An extractor with torchvision's ImageNet weights, whose `features.N` is our N-th layer."""
    from safetensors.torch import load_file

    kept = f"backbones/{network}_torchvision.safetensors"
    path = next(filter(None, map(files.find, (kept, *stored))), None) or _fetch(network, kept)
    weights = {}
    for key, tensor in load_file(path).items():
        if key.startswith("features."):  # features.3.weight -> pool1.weight, say
            _, index, rest = key.split(".", 2)
            weights[f"{list(layers)[int(index)]}.{rest}"] = tensor
    return Extractor(
        layers,
        weights,
        name=f"{network}-torchvision",
        sha256=files.sha256(path),
        mean=IMAGENET[0],
        std=IMAGENET[1],
    )


def _fetch(network: str, to: str) -> Path:
    """Torchvision's file, fetched and checked by the hash in its name; its convolutions are kept.

    The classifier that follows them is most of the file (120 M of VGG-19's 140 M weights).
    """
    from safetensors.torch import save
    from torchvision.models import get_model_weights

    url = get_model_weights(network)["IMAGENET1K_V1"].url
    try:
        with tempfile.TemporaryDirectory() as folder:
            state = torch.hub.load_state_dict_from_url(
                url, folder, map_location="cpu", check_hash=True, weights_only=True
            )
    except OSError as error:  # no network, no such host, refused, broken off
        other = files.find(f"backbones/{network}_oxford.npz")
        instead = f"{network}(lineage='oxford') is at hand and " if other else ""
        raise FileNotFoundError(
            f"{network} of torchvision is not at hand: no {to} under {_homes()}, and {url} could "
            f"not be fetched ({error}). Run this once on a machine that has a network and copy the "
            f"file, or name another extractor: {instead}random_tanh() needs no file."
        ) from error
    convolutions = {k: v.contiguous() for k, v in state.items() if k.startswith("features.")}
    path = files.cache_folder() / to
    with files.write_whole(path) as file:
        file.write(save(convolutions))
    return path


def _homes() -> str:
    return ", ".join(map(str, files.home()))
