"""Sums of terms: read as an equation, called as a loss, each part seen, each trunk asked once."""

import textwrap

import pytest
import torch
from torch import nn

from srkit.losses import (
    L1,
    MSE,
    Contrastive,
    FeatureTerm,
    RunningMean,
    Sum,
    Term,
    content,
    style,
    terms,
)
from srkit.losses.terms import feature_mean


class Counting(nn.Module):
    """Features that are the picture and its square; notes each picture that passes, and how."""

    layers = ("same", "square")

    def __init__(self, name="counting"):
        super().__init__()
        self.name, self.sha256, self.passes = name, "0" * 64, []

    def forward(self, image, layers):
        self.passes.append((image, tuple(layers), torch.is_grad_enabled()))
        found = {"same": 1 * image, "square": image**2}
        return {layer: found[layer] for layer in layers}


class Look(FeatureTerm):
    label = "look"
    formula = "mean |sr - hr| of features"

    def __init__(self, extractor, layers=("same",)):
        super().__init__()
        self.look_through(extractor, layers)

    def compare(self, sr, hr):
        assert set(self.layers) <= set(sr)
        return sum((sr[layer] - hr[layer]).abs().mean() for layer in self.layers)


class Masked(Term):
    label = "masked"
    formula = "mean mask |sr - hr|"
    needs = {"mask": "where to look, 0 or 1"}

    def value(self, sr, hr, mask):
        return (mask * (sr - hr).abs()).mean()


@pytest.fixture
def pictures(rng):
    return torch.rand(3, 2, 3, 6, 8, dtype=torch.float64, generator=rng)


# ------------------------------------------------------------------ an equation


def test_it_is_the_weighted_sum_of_its_parts(pictures):
    sr, hr, _ = pictures
    loss = 0.01 * L1() + 2 * MSE()
    parts = loss.parts(sr, hr)
    assert list(parts) == ["L1", "MSE"]
    assert torch.equal(parts["L1"], L1()(sr, hr))
    assert torch.equal(parts["MSE"], MSE()(sr, hr))
    assert torch.equal(loss(sr, hr), 0.01 * parts["L1"] + 2 * parts["MSE"])
    assert torch.equal(loss.combine(parts), loss(sr, hr))


def test_factors_go_through_brackets_from_both_sides():
    for loss in (2 * (L1() + 0.5 * MSE()), (L1() + MSE() * 0.5) * 2):
        assert loss.weights == {"L1": 2, "MSE": 1}
    loss = (L1() + 3 * MSE()) + (0.5 * Masked() + L1())
    assert loss.weights == {"L1": 1, "MSE": 3, "masked": 0.5, "L1 (2)": 1}


def test_it_prints_as_its_equation():
    assert repr(0.01 * L1() + MSE()) == (
        "0.01 L1 + MSE\n  L1   mean |sr - hr|\n  MSE  mean (sr - hr)²"
    )


def test_equal_labels_are_told_apart(pictures):
    sr, hr, _ = pictures
    loss = L1() + 3 * L1() + L1()
    assert list(loss.parts(sr, hr)) == ["L1", "L1 (2)", "L1 (3)"]
    torch.testing.assert_close(loss(sr, hr), 5 * L1()(sr, hr))


def test_the_docstrings_example_of_a_loss_works(pictures):
    """At most ten lines, run as they stand there: mean |dx(sr) - dx(hr)| as a tenth of the sum."""
    lines = textwrap.dedent(terms.__doc__.partition("in a row:\n")[2].partition("\nA `Feature")[0])
    assert len(lines.split("\n\n")) > 2
    assert sum(map(bool, lines.splitlines())) <= 10
    names = vars(terms) | {"L1": L1}
    exec(lines, names)
    sr, hr, _ = pictures
    edges = (sr[..., 1:] - sr[..., :-1] - (hr[..., 1:] - hr[..., :-1])).abs().mean()
    torch.testing.assert_close(names["loss"](sr, hr), (sr - hr).abs().mean() + 0.1 * edges)


# ------------------------------------------------------------------ one look


def test_each_picture_passes_once_with_all_layers(pictures):
    sr, hr, negative = (x.clone().requires_grad_() for x in pictures)
    phi = Counting()
    loss = Look(phi) + Look(phi, ["square"]) + Contrastive(phi, {"same": 1.0})
    loss(sr, hr, negative).backward()
    images, layers, with_graph = zip(*phi.passes, strict=True)
    assert [any(x is image for x in images) for image in (sr, hr, negative)] == [True] * 3
    assert len(images) == 3
    assert layers[:2] == (("same", "square"),) * 2
    assert layers[2] == ("same",)  # the negative is for one term alone
    assert with_graph == (True, False, False)
    assert hr.grad is None
    assert negative.grad is None


def test_two_loads_of_one_trunk_share_a_pass_other_trunks_do_not(pictures):
    """Known by name and hash: `content("esrgan") + content("ttsr")` loads its VGG-19 twice."""
    sr, hr, _ = pictures
    one, same, other = Counting(), Counting(), Counting("another")
    total = (Look(one) + Look(same, ["square"]) + Look(other))(sr, hr)
    assert [len(phi.passes) for phi in (one, same, other)] == [2, 0, 2]
    expected = sum(Look(Counting(), [layer])(sr, hr) for layer in ("same", "square", "same"))
    torch.testing.assert_close(total, expected)


def test_no_graph_where_no_gradient_is_asked_for(pictures):
    phi = Counting()
    with torch.no_grad():
        Look(phi)(*pictures[:2])
    assert [with_graph for *_, with_graph in phi.passes] == [False, False]


def test_feature_mean_is_the_mean_with_a_gradient_laid_out_like_its_input(rng):
    x = torch.rand(2, 8, 4, 5, generator=rng).to(memory_format=torch.channels_last)
    x.requires_grad_()
    y = x.abs()
    torch.testing.assert_close(feature_mean(y), y.mean())
    (gradient,) = torch.autograd.grad(feature_mean(y * y), x)
    assert gradient.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(gradient, 2 * x.detach() / x.numel())


# ------------------------------------------------------------------ half precision


def test_features_and_their_squares_stay_float32_under_autocast(rng):
    """A network's bfloat16 output, terms on a real extractor: as in a run without autocast."""
    net = nn.Conv2d(3, 3, 3, padding=1)
    lr, hr, negative = torch.rand(3, 2, 3, 32, 32, generator=rng)
    loss = content("esrgan", extractor="random") + style("enhancenet", extractor="random")
    phi = loss.terms["content (random)"].extractor
    loss = loss + Contrastive(phi, {"conv2": 1.0})
    with torch.autocast("cpu", dtype=torch.bfloat16):
        sr = net(lr)
        assert sr.dtype == torch.bfloat16
        inside = loss.parts(sr, hr, negative)
    outside = loss.parts(sr.float(), hr, negative)
    for label, value in inside.items():
        assert value.dtype == torch.float32, label
        assert torch.equal(value, outside[label]), label


# ------------------------------------------------------------------ refusals


def test_a_balanced_sum_is_not_added_to():
    balanced = (L1() + MSE()).balanced(RunningMean(["L1"]))
    for add in (lambda: balanced + L1(), lambda: L1() + balanced):
        with pytest.raises(ValueError, match=r"add all terms first, then balance"):
            add()


def test_inputs_are_asked_for_by_name(pictures):
    sr, hr, mask = pictures
    loss = L1() + Masked()
    assert torch.equal(loss(sr, hr, mask), loss(sr, hr, mask=mask))
    with pytest.raises(ValueError, match=r"needs mask=\.\.\., where to look, 0 or 1"):
        loss(sr, hr)
    with pytest.raises(ValueError, match="no term of this loss takes negative: leave it out"):
        loss(sr, hr, mask, negative=mask)
    with pytest.raises(ValueError, match="takes 0 inputs after sr and hr, not 1"):
        L1()(sr, hr, mask)


def test_pictures_that_are_none_are_refused(pictures):
    sr, hr, _ = pictures
    with pytest.raises(ValueError, match=r"hr holds values from .* to .*divide 8-bit pictures"):
        L1()(sr, 255 * hr)
    with pytest.raises(ValueError, match=r"expected \[0, 1\]"):
        L1()(sr, 2 * hr - 1)
    with pytest.raises(ValueError, match=r"from nan to nan"):
        L1()(sr, hr * float("nan"))
    with pytest.raises(ValueError, match=r"of one size; sr is \(2, 3, 6, 7\), hr \(2, 3, 6, 8\)"):
        L1()(sr[..., :-1], hr)
    with pytest.raises(ValueError, match=r"\(B, 3, H, W\)"):
        L1()(sr[0], hr[0])
    assert L1()(3 * sr - 1, hr) > 0  # what a network gives may lie outside


def test_a_sum_of_none_is_none():
    assert Sum([]).weights == {}
