"""Adversarial losses against their equations, and what gradients they leave where."""

import math

import pytest
import torch
from torch import nn

from srkit.losses.adversarial import (
    Adversarial,
    ClassAdversarial,
    DiscriminatorGate,
    FeatureAdversarial,
    class_loss,
    frozen,
    gradient_penalty,
)
from srkit.losses.objectives import (
    Hinge,
    LeastSquares,
    RelativisticAverage,
    Standard,
    Wasserstein,
)
from srkit.losses.pixel import L1
from srkit.metrics.features import random_tanh
from srkit.models import ciplab, enhancenet, esrgan, sftgan, srfeat, srresnet, ttsr

OBJECTIVES = [
    Standard(),
    RelativisticAverage(),
    RelativisticAverage("code"),
    Hinge(),
    Hinge(linear=True),
    LeastSquares(),
    Wasserstein(),
]
FAKE = torch.tensor([0.3, -1.7, 2.5], dtype=torch.float64)
REAL = torch.tensor([1.1, -0.4, 0.9], dtype=torch.float64)


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def sigmoid(z):
    return 1 / (1 + math.exp(-z))


def relativistic(up, down):
    """-mean log D(up, down) - mean log(1 - D(down, up)), term by term."""
    first = mean(-math.log(sigmoid(u - mean(down))) for u in up)
    return first + mean(-math.log(1 - sigmoid(d - mean(up))) for d in down)


F, R = FAKE.tolist(), REAL.tolist()
HINGE = mean(max(0, 1 - r) for r in R) + mean(max(0, 1 + f) for f in F)
SQUARES = mean((r - 1) ** 2 for r in R) / 2 + mean(f**2 for f in F) / 2
BY_HAND = [  # generator, discriminator: in plain floats
    (
        mean(-math.log(sigmoid(f)) for f in F),
        mean(-math.log(sigmoid(r)) for r in R) + mean(-math.log(1 - sigmoid(f)) for f in F),
    ),
    (relativistic(F, R), relativistic(R, F)),
    (relativistic(F, R) / 2, relativistic(R, F) / 2),
    (mean(max(0, 1 - f) for f in F), HINGE),
    (-mean(F), HINGE),
    (mean((f - 1) ** 2 for f in F) / 2, SQUARES),
    (-mean(F), mean(F) - mean(R)),
]


@pytest.mark.parametrize(
    ("objective", "expected"), list(zip(OBJECTIVES, BY_HAND, strict=True)), ids=str
)
def test_objectives_are_their_equations(objective, expected):
    assert objective.generator(FAKE, REAL).item() == pytest.approx(expected[0], rel=1e-13)
    assert objective.discriminator(FAKE, REAL).item() == pytest.approx(expected[1], rel=1e-13)


def test_the_standard_generator_minimises_minus_log_sigmoid():
    """Exact in float64 where the log of a sigmoid still is; within 1e-6 in float32."""
    z = torch.linspace(-30, 15, 91, dtype=torch.float64)
    exact = torch.tensor([-math.log(sigmoid(v)) for v in z.tolist()], dtype=torch.float64)
    for dtype, tolerance in ((torch.float64, 1e-9), (torch.float32, 1e-6)):
        value = torch.stack([Standard().generator(v) for v in z.to(dtype)]).double()
        torch.testing.assert_close(value, exact, rtol=tolerance, atol=0)


@pytest.mark.parametrize("objective", OBJECTIVES, ids=str)
@pytest.mark.parametrize("size", [100.0, -100.0])
def test_finite_for_certain_discriminators(objective, size):
    fake = torch.tensor([[size], [-size], [size]], requires_grad=True)
    real = torch.tensor([[-size], [-size], [size]], requires_grad=True)
    for value in (objective.generator(fake, real), objective.discriminator(fake, real)):
        gradients = torch.autograd.grad(value, (fake, real), allow_unused=True)
        assert value.isfinite()
        assert all(g.isfinite().all() for g in gradients if g is not None)


def test_an_unsure_generator_is_still_taught_where_the_discriminator_is_certain():
    """Non-saturating: the slope goes to 1, not to 0, when the discriminator is sure of a fake."""
    fake = torch.tensor([-100.0], requires_grad=True)
    Standard().generator(fake).backward()
    assert fake.grad.item() == pytest.approx(-1)


def test_relativistic_symmetry_and_value_at_equality():
    """Generator and discriminator exchange HR and SR; where all logits agree each term is log 2."""
    same = torch.full((4, 1), 0.7, dtype=torch.float64)
    for form, terms in (("paper", 2), ("code", 1)):
        objective = RelativisticAverage(form)
        assert objective.generator(FAKE, REAL) == objective.discriminator(REAL, FAKE)
        value = objective.generator(same, same).item()
        assert value == pytest.approx(terms * math.log(2), rel=1e-15)


def test_relativistic_code_form_has_no_gradient_through_the_discriminators_means():
    def gradient(objective):
        real = REAL.clone().requires_grad_()
        return torch.autograd.grad(objective.discriminator(FAKE, real), real)[0]

    alone = -torch.sigmoid(-(REAL - FAKE.mean())) / 3  # of -log sigmoid(real - mean fake)
    through = torch.sigmoid(FAKE - REAL.mean()).mean().neg() / 3  # of the other term, by the mean
    torch.testing.assert_close(gradient(RelativisticAverage("code")), alone / 2)
    torch.testing.assert_close(gradient(RelativisticAverage("paper")), alone + through)


def test_the_relativistic_generator_learns_from_real_pictures_too():
    """With the fakes' own term out of reach, the slope through their mean remains."""
    fake = torch.tensor([[50.0]], dtype=torch.float64, requires_grad=True)
    real = torch.tensor([[50.0], [-50.0]], dtype=torch.float64)
    RelativisticAverage().generator(fake, real).backward()
    assert fake.grad.item() == pytest.approx(-0.25)  # -log sigmoid(mean fake - 50), one of two


def test_hinge_stops_where_the_discriminator_is_convinced():
    fake = torch.tensor([1.5, 0.5], requires_grad=True)
    Hinge().generator(fake).backward()
    assert fake.grad.tolist() == [0, -0.5]
    fake.grad = None
    Hinge(linear=True).generator(fake).backward()
    assert fake.grad.tolist() == [-0.5, -0.5]


@pytest.mark.parametrize("objective", OBJECTIVES, ids=str)
def test_a_batch_twice_as_large_has_the_same_loss(objective):
    for side in (objective.generator, objective.discriminator):
        torch.testing.assert_close(side(FAKE.repeat(2), REAL.repeat(2)), side(FAKE, REAL))


def test_an_unknown_form_is_named():
    with pytest.raises(ValueError, match=r"form 'sum' is unknown: 'paper' \(sums\) or 'code'"):
        RelativisticAverage("sum")


def test_a_relative_objective_asks_for_the_logits_of_hr():
    with pytest.raises(ValueError, match=r"compares with HR: generator\(fake, real\)"):
        RelativisticAverage().generator(FAKE)


class Linear(nn.Module):
    """C(x) = <w, x>: its slope is w, everywhere."""

    def __init__(self, weight):
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x):
        return (self.weight * x).flatten(1).sum(1, keepdim=True)


def test_penalty_of_a_linear_discriminator(rng):
    """10 (|w| - 1)², with its gradient 20 (|w| - 1) w / |w|, whatever the points drawn."""
    sr, hr, w = torch.rand(3, 4, 3, 5, 6, dtype=torch.float64, generator=rng)
    w = w[0]
    discriminator = Linear(w.clone())
    discriminator_loss = Adversarial(discriminator, Wasserstein(), rng=rng).discriminator_loss(
        sr, hr
    )
    plain = Wasserstein().discriminator(discriminator(sr), discriminator(hr))
    torch.testing.assert_close(discriminator_loss - plain, 10 * (w.norm() - 1) ** 2)
    (slope,) = torch.autograd.grad(discriminator_loss - plain, discriminator.weight)
    torch.testing.assert_close(slope, 20 * (w.norm() - 1) * w / w.norm())


def test_penalty_of_a_constant_discriminator(rng):
    """A slope of 0 is one away from 1; and its gradient there is finite."""
    discriminator = Linear(torch.zeros(3, 4, 4))
    value = 10 * gradient_penalty(discriminator, *torch.rand(2, 2, 3, 4, 4, generator=rng), rng)
    assert value == 10
    assert torch.autograd.grad(value, discriminator.weight)[0].isfinite().all()


def test_penalty_lies_between_sr_and_hr_for_each_sample():
    """C = x²/2 has slope x: the points must be eps hr + (1 - eps) sr of the seed's draws."""

    class Square(nn.Module):
        def forward(self, x):
            return x.square().flatten(1).sum(1) / 2

    sr, hr = torch.zeros(3, 3, 4, 4), torch.ones(3, 3, 4, 4)
    value = gradient_penalty(Square(), sr, hr, torch.Generator().manual_seed(5))
    eps = torch.rand(3, generator=torch.Generator().manual_seed(5))
    torch.testing.assert_close(value, (eps * 48**0.5 - 1).square().mean())
    assert value == gradient_penalty(Square(), sr, hr, torch.Generator().manual_seed(5))


def test_span_gives_the_penalty_of_pictures_in_another_range(rng):
    """A discriminator of y = 2x - 1 that is penalised in y, as TTSR's, from pictures x in [0,
    1]."""
    of_y = Linear(torch.rand(3, 4, 4, generator=rng))
    of_x = Linear(2 * of_y.weight.detach())
    sr, hr = torch.rand(2, 2, 3, 4, 4, generator=rng)
    torch.testing.assert_close(
        gradient_penalty(of_x, sr, hr, rng, span=2),
        gradient_penalty(of_y, 2 * sr - 1, 2 * hr - 1, rng),
    )


def test_torchs_own_generator_draws_where_none_is_given():
    sr, hr = torch.rand(2, 2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    discriminator = ttsr.Discriminator(size=32, width=2)
    with torch.random.fork_rng():
        values = []
        for seed in (1, 1, 2):
            torch.manual_seed(seed)
            values.append(gradient_penalty(discriminator, sr, hr).item())
    assert values[0] == values[1] != values[2]


def case(name):
    """An adversarial term on a small discriminator of the package, its picture side, further
    inputs."""
    discriminators = {
        "srgan": lambda: srresnet.Discriminator(16, channels=4, hidden=8),
        "esrgan": lambda: esrgan.VGGDiscriminator(16, channels=4),
        "enhancenet": lambda: enhancenet.Discriminator(16, (4, 8)),
        "srfeat": lambda: srfeat.ImageDiscriminator(16, channels=4, stages=2, hidden=8),
        "ttsr": lambda: ttsr.Discriminator(size=32, width=2),
        "sftgan": lambda: sftgan.Discriminator(size=16, width=4),
        "features": lambda: srfeat.FeatureDiscriminator(8, 16, channels=4, stages=2, hidden=8),
    }
    torch.manual_seed(0)
    discriminator = discriminators[name]()
    if name == "features":
        return (
            FeatureAdversarial(discriminator, Standard(), random_tanh(8), "conv2", unit=1),
            16,
            {},
        )
    if name == "sftgan":
        return ClassAdversarial(discriminator), 16, {"category": torch.tensor([3, 0])}
    objectives = {
        "esrgan": RelativisticAverage(),
        "ttsr": Wasserstein(discriminator_steps=2, span=2),
    }
    rng = torch.Generator().manual_seed(0)
    objective = objectives.get(name, Standard())
    return Adversarial(discriminator, objective, rng=rng), 32 if name == "ttsr" else 16, {}


CASES = ["srgan", "esrgan", "enhancenet", "srfeat", "ttsr", "sftgan", "features"]


@pytest.mark.parametrize("name", CASES)
def test_each_turn_teaches_its_own_network(name, rng):
    """Generator's turn: only it gets gradients. Discriminator's turn: only the discriminator."""
    term, side, inputs = case(name)
    generator = nn.Conv2d(3, 3, 3, padding=1)
    lr, hr = torch.rand(2, 2, 3, side, side, generator=rng)
    sr = generator(lr)
    (0.01 * L1() + 0.005 * term)(sr, hr, **inputs).backward()
    with_adversary = generator.weight.grad
    assert all(p.grad is None and p.requires_grad for p in term.discriminator.parameters())
    generator.weight.grad = None
    (0.01 * L1())(generator(lr), hr).backward()
    assert with_adversary.isfinite().all()
    assert not torch.equal(with_adversary, generator.weight.grad)

    generator.weight.grad = None
    sr = generator(lr)
    sr.retain_grad()
    term.discriminator_loss(sr, hr, **inputs).backward()
    assert all(p.grad.isfinite().all() for p in term.discriminator.parameters())
    assert any(p.grad.abs().max() > 0 for p in term.discriminator.parameters())
    assert sr.grad is None
    assert generator.weight.grad is None
    assert term.discriminator_steps == (2 if name == "ttsr" else 1)


@pytest.mark.parametrize("name", CASES)
def test_the_discriminator_is_moved_and_saved_with_the_loss(name):
    term, _, _ = case(name)
    loss = (1.0 * L1() + term).double()
    kept = [value for key, value in loss.state_dict().items() if ".discriminator." in key]
    assert len(kept) == len(term.discriminator.state_dict())
    assert all(p.dtype == torch.float64 for p in term.discriminator.parameters())


def test_no_weight_gradient_is_computed_in_the_generators_turn(rng):
    """The graph of the generator's loss ends nowhere but in sr."""
    term, side, _ = case("esrgan")
    sr = torch.rand(2, 3, side, side, generator=rng).requires_grad_()
    seen, ends = set(), []
    nodes = [term(sr, sr.detach()).grad_fn]
    while nodes:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        nodes += [following for following, _ in node.next_functions]
        if hasattr(node, "variable"):
            ends.append(node.variable)
    assert len(ends) == 1
    assert ends[0] is sr


def test_freezing_leaves_a_discriminators_own_graph_alone(rng):
    """A discriminator's loss made before the generator's turn can be derived after it; what the
    caller froze stays frozen, also after an error."""
    term, side, _ = case("srgan")
    last = term.discriminator.score[-1].bias.requires_grad_(False)
    sr, hr = torch.rand(2, 2, 3, side, side, generator=rng)
    before = term.discriminator_loss(sr, hr)
    term(sr.requires_grad_(), hr)
    before.backward()
    assert last.grad is None
    assert not last.requires_grad
    with pytest.raises(ValueError, match="16x16"), frozen(term.discriminator):
        term.discriminator(torch.rand(1, 3, 8, 8))
    assert sum(not p.requires_grad for p in term.discriminator.parameters()) == 1


def test_only_a_relative_objective_shows_hr_to_the_discriminator_in_the_generators_turn(rng):
    for name, looks in (("srgan", 1), ("esrgan", 2)):
        term, side, _ = case(name)
        passes = []
        term.discriminator.register_forward_hook(lambda *_, passes=passes: passes.append(1))
        term(*torch.rand(2, 2, 3, side, side, generator=rng))
        assert len(passes) == looks


def test_sr_and_hr_pass_batch_norm_apart(rng):
    """The logits are those of two passes; one pass of both together gives others."""
    term, side, _ = case("esrgan")
    sr, hr = torch.rand(2, 2, 3, side, side, generator=rng)
    fake, real = term.judge(sr / 4, hr)
    torch.testing.assert_close(fake, term.discriminator(sr / 4))
    torch.testing.assert_close(real, term.discriminator(hr))
    assert (
        torch.cat((fake, real)) - term.discriminator(torch.cat((sr / 4, hr)))
    ).abs().max() > 1e-3


@pytest.mark.parametrize("name", CASES)
def test_half_precision_stays_in_the_discriminator(name, rng):
    """Under bfloat16 autocast, with what a network gives then, both losses are float32."""
    term, side, inputs = case(name)
    sr, hr = torch.rand(2, 2, 3, side, side, generator=rng)
    with torch.autocast("cpu", torch.bfloat16):
        values = (
            term(sr.bfloat16(), hr, **inputs),
            term.discriminator_loss(sr.bfloat16(), hr, **inputs),
        )
    assert all(v.dtype == torch.float32 and v.isfinite() for v in values)
    term.discriminator_loss(sr.bfloat16(), hr, **inputs)  # also without autocast


def test_a_wrapped_discriminator_works_as_it_is(rng):
    """DistributedDataParallel, whose reducer must not wait for gradients in the generator's turn,
    gives the gradients of the discriminator itself."""
    import torch.distributed as dist
    from torch.nn.parallel import DistributedDataParallel

    gradients = []
    sr, hr = torch.rand(2, 2, 3, 32, 32, generator=rng)
    store = dist.HashStore()
    dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        for wrap in (lambda discriminator: discriminator, DistributedDataParallel):
            torch.manual_seed(0)
            discriminator = wrap(ttsr.Discriminator(size=32, width=2))
            term = Adversarial(discriminator, Wasserstein(), rng=torch.Generator().manual_seed(1))
            for _ in range(2):
                discriminator.zero_grad()
                term(sr.clone().requires_grad_(), hr).backward()
                assert all(p.grad is None for p in discriminator.parameters())
                term.discriminator_loss(sr, hr).backward()
            gradients.append([p.grad for p in discriminator.parameters()])
    finally:
        dist.destroy_process_group()
    torch.testing.assert_close(*gradients)


def test_features_are_judged_in_their_unit(rng):
    """C(phi(x) / unit), seen by the discriminator in both turns."""
    discriminator = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 1))
    phi = random_tanh(8)
    term = FeatureAdversarial(discriminator, LeastSquares(), phi, "conv2", unit=12.75)
    sr, hr = torch.rand(2, 2, 3, 8, 8, generator=rng)
    fake, real = (discriminator(phi(x, "conv2")["conv2"] / 12.75) for x in (sr, hr))
    torch.testing.assert_close(term(sr, hr), (fake - 1).square().mean() / 2)
    expected = ((real - 1).square().mean() + fake.square().mean()) / 2
    torch.testing.assert_close(term.discriminator_loss(sr, hr), expected)


def test_class_loss_by_hand():
    """The mean over pictures that show something; a batch of background only gives 0, not NaN."""
    logits = torch.tensor([[0.2, 1.0, -0.5], [2.0, 0.1, 0.3], [9.0, 0.0, 0.0]]).double()
    logits.requires_grad_()

    def cross_entropy(row, label):
        return math.log(sum(math.exp(v) for v in row)) - row[label]

    rows = logits.tolist()
    expected = (cross_entropy(rows[0], 1) + cross_entropy(rows[1], 2)) / 2
    assert class_loss(logits, torch.tensor([1, 2, 0])).item() == pytest.approx(expected)
    nothing = class_loss(logits, torch.tensor([0, 0, 0]))
    nothing.backward()
    assert nothing == 0
    assert logits.grad.abs().max() == 0


def test_classes_help_both_sides(rng):
    """-log D + CE for the generator; both halves' CE for the discriminator; background left out."""
    term, side, _ = case("sftgan")
    sr, hr = torch.rand(2, 2, 3, side, side, generator=rng)
    category, nothing = torch.tensor([5, 2]), torch.tensor([0, 0])
    (fake, shown), (real, seen) = term.discriminator(sr), term.discriminator(hr)
    ce = nn.functional.cross_entropy
    torch.testing.assert_close(
        term(sr, hr, category=category), Standard().generator(fake) + ce(shown, category)
    )
    torch.testing.assert_close(
        term.discriminator_loss(sr, hr, category),
        Standard().discriminator(fake, real) + ce(shown, category) + ce(seen, category),
    )
    torch.testing.assert_close(term(sr, hr, nothing), Standard().generator(fake))
    with pytest.raises(ValueError, match="needs category="):
        term(sr, hr)


def test_a_discriminator_of_another_kind_is_named(rng):
    sr, hr = torch.rand(2, 1, 3, 16, 16, generator=rng)
    for discriminator in (sftgan.Discriminator(size=16, width=2), ciplab.UNetDiscriminator((4, 6))):
        discriminator.eval()
        with pytest.raises(TypeError, match="ClassAdversarial is for a head of classes, UNet"):
            Adversarial(discriminator, Standard())(sr, hr)


def test_a_penalty_of_each_sample_is_refused_where_batch_norm_mixes_them():
    """The term is refused when it is made; without the penalty, or the batch norm, it is made."""
    mixing = srresnet.Discriminator(16, channels=4, hidden=8)
    words = r"^Discriminator has batch norm.*: take a discriminator without batch norm, or penalty="
    for make in (Adversarial, lambda *a: FeatureAdversarial(*a, random_tanh(8), "conv2")):
        with pytest.raises(ValueError, match=words):
            make(mixing, Wasserstein())
        make(mixing, Wasserstein(penalty=0))
        make(mixing, Standard())
        make(ttsr.Discriminator(size=32, width=2), Wasserstein())


def test_a_gate_hears_the_verdicts_on_what_the_discriminator_is_shown(rng):
    """Features for a discriminator of features, without a graph back to the generator."""
    term, side, _ = case("features")
    sr, hr = torch.rand(2, 2, 3, side, side, generator=rng)
    expected = [term.discriminator(term.extractor(x, "conv2")["conv2"]) for x in (sr, hr)]
    verdicts = term.judge(sr.requires_grad_(), hr)
    torch.testing.assert_close(verdicts, tuple(expected))
    sum(verdicts).sum().backward()
    assert sr.grad is None
    assert term.discriminator.score[-1].bias.grad is not None


def test_the_sum_prints_its_equation():
    term, _, _ = case("esrgan")
    text = str(0.01 * L1() + 0.005 * term)
    assert text.startswith("0.01 L1 + 0.005 adversarial\n")
    assert "-log sigmoid(C(sr) - mean C(hr))" in text


def test_a_discriminator_that_was_right_about_both_halves_rests_one_step():
    gate = DiscriminatorGate(0.8)
    sure, unsure = torch.tensor([[3.0]]), torch.tensor([[0.5]])  # 0.95 and 0.62
    assert gate.opens(-sure, sure)  # the first is always trained on
    assert not gate.opens(-sure, unsure)  # right about both, the step before
    assert gate.opens(-unsure, sure)  # was unsure of HR
    assert gate.opens(-unsure, unsure)  # was unsure of SR
    assert gate.opens(sure, -sure)
    assert gate.opens(-sure, sure)
    resumed = DiscriminatorGate(0.8)
    resumed.load_state_dict(gate.state_dict())
    assert not resumed.opens(-sure, sure)
    with pytest.raises(ValueError, match="threshold 80: a probability between 0 and 1"):
        DiscriminatorGate(80)
