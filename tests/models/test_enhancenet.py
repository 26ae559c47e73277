"""EnhanceNet: TensorFlow 1's bicubic, the authors' weights, the discriminator."""

from __future__ import annotations

import pytest
import torch

from srkit.datasets.catalog import Pair
from srkit.metrics.evaluate import evaluate
from srkit.models.enhancenet import Discriminator, EnhanceNet, tensorflow1_bicubic
from srkit.weights.load import create_model, load_weights


def test_tensorflow1_bicubic_is_the_formula(rng):
    """Output k at input k/r, a = -3/4, edges repeated: one row in float64, tap by tap."""
    x, r = torch.rand(1, 2, 3, 6, dtype=torch.float64, generator=rng), 4

    def weight(d):
        d = abs(d)
        if d <= 1:
            return 1.25 * d**3 - 2.25 * d**2 + 1
        return -0.75 * d**3 + 3.75 * d**2 - 6 * d + 3 if d < 2 else 0

    out = tensorflow1_bicubic(x, r)
    assert out.shape == (1, 2, 12, 24)
    for k in range(24):  # rows 0, 4, 8 lie on input rows: only the columns are interpolated
        taps = [(i, weight(k / r - i)) for i in range(k // r - 1, k // r + 3)]
        expected = sum(w * x[..., min(max(i, 0), 5)] for i, w in taps)
        assert torch.allclose(out[:, :, ::r, k], expected, atol=1e-12)
    assert torch.allclose(tensorflow1_bicubic(x.mT, r), out.mT, atol=1e-12)


def lanczos_pair(root, name, folder):
    """The authors' LR picture: Pillow's Lanczos, 8 bits."""
    from PIL import Image

    with Image.open(root / "HR" / f"{name}.png") as hr:
        w, h = hr.width // 4, hr.height // 4
        hr.crop((0, 0, 4 * w, 4 * h)).resize((w, h), Image.LANCZOS).save(folder / f"{name}.png")
    return Pair(name, root / "HR" / f"{name}.png", folder / f"{name}.png")


def test_authors_weights_need_tensorflows_bicubic(assets, tmp_path):
    """The whole of Set5 gives 28.573 dB, and 25.3 with the bicubic of everybody else."""
    pair = lanczos_pair(assets("benchmarks/Set5"), "bird", tmp_path)
    model = create_model("enhancenet_pat_x4", weights="official")
    right = evaluate(model, [pair]).means["psnr"]
    model.skip = "bicubic"
    wrong = evaluate(model, [pair]).means["psnr"]
    assert right == pytest.approx(30.457, abs=0.005)
    assert wrong < right - 2


def test_a_tensorflow_file_is_for_the_authors_network_only(assets):
    path = assets("weights/EnhanceNet/weights")
    with pytest.raises(ValueError, match=r"does not fit enhancenet_x2.*'enhancenet_pat'"):
        load_weights(create_model("enhancenet_x2"), path)


def test_discriminator():
    discriminator = Discriminator()
    assert sum(p.numel() for p in discriminator.parameters()) == 13_102_881
    small = Discriminator(64, channels=(16, 32, 64))
    assert small(torch.rand(2, 3, 64, 64)).shape == (2, 1)
    with pytest.raises(ValueError, match="built for 64x64 pixels, got 32x32: crop"):
        small(torch.rand(1, 3, 32, 32))
    with pytest.raises(ValueError, match="size 100: 5 halvings need a multiple of 32"):
        Discriminator(100)


def test_refusals():
    with pytest.raises(ValueError, match="scale 3: EnhanceNet doubles, it is for 2, 4 and 8"):
        EnhanceNet(3)
    with pytest.raises(ValueError, match="skip 'tf': choose one of bicubic, tensorflow1"):
        EnhanceNet(4, skip="tf")


def test_the_authors_names_are_numbers_in_the_order_of_the_pass():
    """Conv, Conv_1 ... Conv_24, kernels (kh, kw, in, out); a number beyond them stays as it is."""
    model = EnhanceNet()
    order = []
    for name, layer in model.named_modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.register_forward_hook(lambda *_, name=name: order.append(name))
    with torch.no_grad():
        model(torch.rand(1, 3, 8, 8))
    theirs = {}
    for name, tensor in model.state_dict().items():
        layer, part = name.rsplit(".", 1)
        number = f"_{order.index(layer)}" if order.index(layer) else ""
        kernel = tensor.permute(2, 3, 1, 0) if part == "weight" else tensor
        theirs[f"generator/Conv{number}/{'weights' if part == 'weight' else 'biases'}"] = kernel
    assert len(theirs) == 50
    extra = {"generator/Conv_25/biases": torch.zeros(1), "global_step": torch.zeros(1)}
    found = EnhanceNet.from_authors(theirs | extra, 4)
    assert found.keys() - model.state_dict().keys() == extra.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in model.state_dict().items())
