"""The loop: it learns, repeats itself, keeps its budget, stops in words, and is one on many."""

from __future__ import annotations

import math
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from accelerate import Accelerator
from torch import nn
from torch.nn import functional as F
from toy import Crops, Discriminator, Enlarger, ended, gradients, steps_of, train

from srkit.datasets import procedural
from srkit.datasets.patches import Patches
from srkit.image.tensors import to_8bit
from srkit.losses import L1, MSE, Uncertainty
from srkit.losses.adversarial import Adversarial, DiscriminatorGate
from srkit.losses.objectives import Standard, Wasserstein
from srkit.losses.terms import Term
from srkit.models.network import Network
from srkit.models.srresnet import MSRResNet
from srkit.training.adversarial import discriminator_step
from srkit.training.loop import adam, fit
from srkit.training.run import find_runs
from srkit.training.schedules import Constant, Cosine, Halving, Multistep, Warmup


class Gain(Network):
    """sr = nearest-neighbour enlargement times a learned number: one parameter, known optimum."""

    name, scale = "gain", 2

    def __init__(self, start: float = 0.0):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(start))
        self.seen: list[float] = []  # the gain at each call in training

    def forward(self, x):
        if self.training:
            self.seen.append(self.gain.item())
        return self.gain * x.repeat_interleave(2, -1).repeat_interleave(2, -2)


@pytest.fixture(scope="module")
def flat():
    """Flat grey pictures: a gain of exactly 1 makes the loss zero."""
    return Patches([torch.full((3, 32, 32), value, dtype=torch.uint8) for value in (90, 200)], 2)


def learn(model, crops, loss=None, **how):
    if "minutes" not in how:
        how = {"steps": 40} | how
    how = {"batch": 2, "patch": 8, "rate": Constant(0.1), "device": "cpu"} | how
    return fit(model, loss or L1(), crops, **how)


# it learns


def test_it_finds_the_known_optimum(flat):
    model = Gain()
    history = learn(model, flat, steps=120, rate=Halving(0.05, 1 / 6))
    assert abs(model.gain.item() - 1) < 0.02
    assert history[-1]["step"] == 120


def test_the_same_seed_gives_the_same_weights_and_another_seed_others():
    first, again, other = (train("gan", seed=seed, steps=5) for seed in (3, 3, 4))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["model.head.weight"], other["model.head.weight"])


def test_an_optimiser_that_is_handed_on_keeps_its_moments(flat):
    """The whole difference between a cyclic schedule and a warm start."""
    kept, fresh = Gain(0.3), Gain(0.3)
    memory = adam(kept)
    learn(kept, flat, optimizer=memory)
    learn(fresh, flat)
    assert torch.equal(kept.gain, fresh.gain)  # the first stage is the same
    learn(kept, flat, optimizer=memory, steps=1)
    learn(fresh, flat, steps=1)
    assert memory.state[kept.gain]["step"] == 41
    assert not torch.equal(kept.gain, fresh.gain)


def test_a_share_multiplies_the_rate_of_its_group(flat):
    """Plain gradient descent on the mean error of flat pictures: steps of rate * their grey.

    The history tells the schedule's rate, not the first group's.
    """

    class Gains(Gain):
        """The sum of two gains, of the same gradient."""

        def __init__(self):
            super().__init__()
            self.other = nn.Parameter(torch.tensor(0.0))

        def forward(self, x):
            return super().forward(x) + self.other * F.interpolate(x, scale_factor=2)

    model = Gains()
    groups = [{"params": [model.gain], "share": 0.1}, {"params": [model.other]}]
    descent = torch.optim.SGD(groups, lr=math.nan)  # the rate is fit's
    history = learn(model, flat, optimizer=descent, steps=2, rate=Constant(0.5))
    assert [row["rate"] for row in history] == [0.5]
    rng = torch.Generator().manual_seed(0)
    grey = sum(flat.batch(2, 8, rng)["hr"].mean().item() for _ in range(2))
    assert model.other.item() == pytest.approx(0.5 * grey)
    assert model.gain.item() == pytest.approx(0.1 * 0.5 * grey)


def test_the_average_of_the_weights_is_what_is_validated_and_kept(flat):
    """w of step 1, then decay * average + (1 - decay) * w of each later step."""
    plain, averaged = Gain(), Gain()
    learn(plain, flat, steps=9)
    expected = None
    for weight in [*plain.seen[1:], plain.gain.item()]:  # after each step
        expected = weight if expected is None else 0.9 * expected + 0.1 * weight
    history = learn(averaged, flat, steps=9, ema=0.9, validate=lambda m: {"gain": m.gain.item()})
    assert averaged.gain.item() == pytest.approx(expected, abs=1e-6)
    assert history[-1]["gain"] == averaged.gain.item()
    assert averaged.gain.item() != plain.gain.item()


def test_a_gradient_is_clipped_to_its_norm():
    """Plain gradient descent at rate 1: what a step moves is the gradient it was given."""
    moved = {}
    for clip in (None, 0.01):
        torch.manual_seed(0)
        model = Enlarger()
        before = [p.detach().clone() for p in model.parameters()]
        descent = torch.optim.SGD(model.parameters(), lr=1)
        learn(model, Crops(), 100 * L1(), optimizer=descent, steps=1, rate=Constant(1.0), clip=clip)
        moves = [a - b for a, b in zip(model.parameters(), before, strict=True)]
        moved[clip] = torch.cat([move.flatten() for move in moves]).norm().item()
    assert moved[None] > 1
    assert moved[0.01] == pytest.approx(0.01, rel=1e-3)


def test_a_network_in_bfloat16_learns_float32_weights(flat):
    model = Gain()
    learn(model, flat, steps=120, rate=Halving(0.05, 1 / 6), precision="bfloat16")
    assert model.gain.dtype == torch.float32
    assert abs(model.gain.item() - 1) < 0.02


def test_a_compiled_network_learns_the_same(monkeypatch):
    """Traced, and run by torch's own operators: no compiler is needed."""
    plain, compile_ = train("pixel", drop=0.0, precision="float32"), torch.compile
    monkeypatch.setattr(torch, "compile", lambda model: compile_(model, backend="aot_eager"))
    for name, value in train("pixel", drop=0.0, precision="float32", compiled=True).items():
        torch.testing.assert_close(value, plain[name], atol=1e-5, rtol=0, msg=name)


# schedules


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        (Constant(2.0), {0: 2, 0.7: 2, 1: 2}),
        (Halving(8.0, every=0.1), {0: 8, 0.09: 8, 3 * 0.1: 1, 0.31: 1, 0.9: 8 / 512}),
        (Multistep(8.0, at=(0.5, 0.75)), {0: 8, 0.49: 8, 0.5: 4, 0.75: 2, 1: 2}),
        (Multistep(1.0, at=(0.2,), factor=0.1), {0.19: 1, 0.2: 0.1}),
        (Cosine(1.0), {0: 1, 0.5: 0.5, 1: 0}),
        (Cosine(1.0, floor=0.5), {0: 1, 0.5: 0.75, 1: 0.5}),
        (Cosine(1.0, periods=2), {0: 1, 0.25: 0.5, 0.4999: 0, 0.5: 1, 0.75: 0.5, 1: 0}),
        (Warmup(Constant(1.0), share=0.1), {0: 0, 0.05: 0.5, 0.1: 1, 0.9: 1}),
        (Warmup(Halving(1.0, 0.5), share=0.2), {0.1: 0.5, 0.4: 1, 0.5: 0.5}),
        (Warmup(Constant(1.0), share=0), {0: 1, 0.5: 1}),
    ],
    ids=str,
)
def test_a_schedule_follows_the_share_that_is_done(schedule, rates):
    assert {at: schedule(at) for at in rates} == pytest.approx(rates, abs=1e-6)


def test_fit_takes_the_schedule_of_steps(flat):
    history = learn(Gain(), flat, rate=Halving(0.1, 0.25), validate_every=10)
    assert [row["rate"] for row in history] == [0.1, 0.05, 0.025, 0.0125]


# budget and history


def test_a_row_holds_the_mean_of_each_part_since_the_last_row(flat):
    """Of the loss as it was before each step: the flat pictures give it in closed form."""
    model = Gain(0.5)
    grey = (90 + 200) / 2 / 255
    crops = SimpleNamespace(  # both pictures in every batch
        batch=lambda count, size, rng, part: {
            "lr": torch.tensor([90.0, 200.0]).view(2, 1, 1, 1).expand(2, 3, 4, 4) / 255,
            "hr": torch.tensor([90.0, 200.0]).view(2, 1, 1, 1).expand(2, 3, 8, 8) / 255,
        },
        pictures=[],
    )
    rate = Constant(1e-3)
    loss = 2 * L1() + 3 * MSE()
    history = learn(model, crops, loss, steps=5, validate_every=3, rate=rate)
    assert [row["step"] for row in history] == [3, 5]
    for row, gains in zip(history, (model.seen[:3], model.seen[3:]), strict=True):
        l1 = sum(grey * (1 - gain) for gain in gains) / len(gains)
        square = (90**2 + 200**2) / 2 / 255**2
        mse = sum(square * (1 - gain) ** 2 for gain in gains) / len(gains)
        assert (row["L1"], row["MSE"]) == pytest.approx((l1, mse), rel=1e-5)
        assert row["loss"] == pytest.approx(2 * l1 + 3 * mse, rel=1e-5)


def test_what_validation_finds_joins_the_row_and_is_reported(flat):
    model, modes, reported = Gain(), [], []

    def validate(network):
        modes.append(network.training)
        return {"psnr": 30.0 + len(modes)}

    history = learn(
        model, flat, validate=validate, validate_every=20, report=lambda h: reported.append(len(h))
    )
    assert [row["psnr"] for row in history] == [31, 32]
    assert modes == [False, False]  # it is validated in eval mode, and left so
    assert not model.training
    assert reported == [1, 2]


def test_minutes_are_a_budget_of_training_alone(flat, monkeypatch):
    """A clock on which a batch takes a second and a validation a hundred."""
    now = [0.0]
    clocks = SimpleNamespace(perf_counter=lambda: now[0], process_time=lambda: now[0] / 2)
    monkeypatch.setattr("srkit.training.state.time", clocks)

    def batch(*args):
        now[0] += 1
        return flat.batch(*args)

    def validate(model):
        now[0] += 100
        return {}

    history = learn(
        Gain(), SimpleNamespace(batch=batch, pictures=[]), minutes=0.5, rate=Halving(0.1, 0.5),
        validate=validate, validate_every=8,
    )  # fmt: skip
    assert [row["step"] for row in history] == [8, 16, 24, 30]
    assert [row["rate"] for row in history] == [0.1, 0.05, 0.05, 0.05]
    assert history[-1]["minutes"] == pytest.approx(0.5)
    assert history[-1]["cpu_minutes"] == pytest.approx(0.25)


@pytest.mark.parametrize("budget", [{}, {"steps": 5, "minutes": 1.0}])
def test_a_budget_is_one_of_two(flat, budget):
    how = {"batch": 2, "patch": 8, "rate": Constant(0.1)} | budget
    with pytest.raises(ValueError, match="a budget is steps or minutes: got steps="):
        fit(Gain(), L1(), flat, **how)


# what goes wrong


class Odd(Term):
    """L1 until its `at`-th call, then a value or a gradient that is no number."""

    label, formula = "odd", "mean |sr - hr|, for a while"

    def __init__(self, at: int, value: float = 1.0, slope: float = 1.0):
        super().__init__()
        self.at, self.calls, self.odd, self.slope = at, 0, value, slope

    def value(self, sr, hr):
        self.calls += 1
        loss = (sr - hr).abs().mean()
        if self.calls != self.at:
            return loss
        return self.odd * loss + (0 if self.slope == 1 else (sr - sr.detach()).sum().sqrt())


@pytest.mark.parametrize(
    ("odd", "words"),
    [
        ({"value": math.nan}, "the loss is nan at step 3"),
        ({"value": math.inf}, "the loss is inf at step 3"),
        ({"slope": math.inf}, "step 3 .learning rate 0.1, gradient norm (inf|nan)"),
    ],
)
def test_a_loss_that_is_not_finite_stops_with_all_that_is_known(flat, tmp_path, odd, words):
    with pytest.raises(FloatingPointError, match=words) as caught:
        learn(Gain(), flat, Odd(3, **odd), folder=tmp_path, save_every=1)
    assert "learning rate 0.1, gradient norm " in str(caught.value)
    kept = tmp_path / "not-finite-00000003.pt"
    assert f"the batch is in {kept}" in str(caught.value)
    batch = torch.load(kept, weights_only=True)
    rng = torch.Generator().manual_seed(0)
    third = [flat.batch(2, 8, rng) for _ in range(3)][-1]
    assert torch.equal(batch["hr"], third["hr"])
    # nothing that the odd step spoiled is kept
    newest = sorted(tmp_path.glob("checkpoint-*.pt"))[-1]
    assert newest.name == "checkpoint-00000002.pt"


class Lost(Adversarial):
    """Its discriminator has a loss that is no number, in its `at`-th turn alone."""

    turn, at = 0, 3

    def discriminator_loss(self, sr, hr):
        self.turn += 1
        return super().discriminator_loss(sr, hr) * (math.nan if self.turn == self.at else 1)


def test_a_discriminator_that_is_lost_in_its_turn_is_told_and_not_kept(tmp_path):
    """The generator's loss was still sound, and would have been the checkpoint's."""
    words = r"the loss is 0\.\d+ at step 3 \('adversarial, discriminator' is nan, learning rate"
    loss = L1() + 0.1 * Lost(Discriminator(), Standard())
    with pytest.raises(FloatingPointError, match=words):
        learn(Enlarger(), Crops(), loss, folder=tmp_path, save_every=1, from_scratch=True)
    assert sorted(tmp_path.glob("checkpoint-*.pt"))[-1].name == "checkpoint-00000002.pt"


def test_without_a_folder_the_batch_is_not_kept(flat):
    with pytest.raises(FloatingPointError, match=r"gradient norm nan\): lower the rate"):
        learn(Gain(), flat, Odd(40, value=math.nan))


def adversarial(weight=0.1, objective=None):
    torch.manual_seed(6)
    return L1() + weight * Adversarial(Discriminator(), objective or Standard())


def test_an_untrained_generator_is_refused():
    black = Gain(0.0)
    with pytest.raises(ValueError, match=r"this generator is not trained: .* from_scratch=True"):
        learn(black, Crops(), adversarial(), steps=2)
    learn(black, Crops(), adversarial(), steps=2, from_scratch=True)


def test_a_generator_that_begins_as_a_bilinear_enlargement_is_refused_too():
    crops = Patches([to_8bit(image) for image in procedural.pictures(2, 64, seed=0)], 2)
    with pytest.raises(ValueError, match=r"dB on its first batch, where bicubic gives"):
        learn(MSRResNet(2, channels=8, blocks=1), crops, adversarial(), steps=2)


def test_a_trained_generator_may_meet_a_discriminator(flat):
    torch.manual_seed(0)
    model = Enlarger()
    learn(model, Crops(), steps=400, rate=Constant(1e-2), batch=4)
    learn(model, Crops(), adversarial(), steps=2)


# discriminators


def test_a_discriminator_learns_at_its_own_rate_in_its_own_turn():
    loss = adversarial(objective=Wasserstein(discriminator_steps=3))
    discriminator, made = loss.terms["adversarial"].discriminator, []
    before = discriminator.layers[0].weight.detach().clone()

    def keep(module):
        made.append(adam(module, betas=(0.0, 0.9)))
        return made[-1]

    history = learn(
        Enlarger(), Crops(), loss, steps=4, from_scratch=True, discriminator_optimizer=keep,
        discriminator_rate=Constant(3e-3),
    )  # fmt: skip
    assert not torch.equal(discriminator.layers[0].weight, before)
    assert made[0].param_groups[0]["lr"] == 3e-3
    assert {int(state["step"]) for state in made[0].state.values()} == {12}
    assert history[0].keys() >= {"loss", "L1", "adversarial", "adversarial, discriminator"}


def test_each_turn_of_a_discriminator_sees_what_the_last_one_changed():
    """In bfloat16 too, where autocast would go on with the weights as it first rounded them."""
    torch.manual_seed(2)
    discriminator = Discriminator()
    term = Adversarial(discriminator, Wasserstein(penalty=0.0, discriminator_steps=2))
    sr, hr = torch.rand(2, 2, 3, 16, 16)
    descent = torch.optim.SGD(discriminator.parameters(), lr=0.5)
    mixed = torch.autocast("cpu", torch.bfloat16)
    values = []
    term.discriminator_loss, plain = (
        lambda *a: values.append(plain(*a)) or values[-1],
        term.discriminator_loss,
    )
    discriminator_step(term, sr, hr, {}, descent, Accelerator(cpu=True), mixed)
    assert values[1] < values[0] - 1e-3


def test_a_gate_lets_a_discriminator_skip_the_turn_after_it_was_right():
    discriminator = Discriminator()
    gate = DiscriminatorGate(0.01)  # any discriminator is as right as that about both halves
    term = Adversarial(discriminator, Standard(), gate=gate)
    sr, hr = torch.rand(2, 2, 3, 16, 16)
    turns, plain = adam(discriminator), torch.autocast("cpu", enabled=False)
    turns.param_groups[0]["lr"] = 1e-3
    weights = [discriminator.layers[0].weight.detach().clone()]
    for _ in range(2):
        value = discriminator_step(term, sr, hr, {}, turns, Accelerator(cpu=True), plain)
        weights.append(discriminator.layers[0].weight.detach().clone())
        assert value.isfinite()
    assert not torch.equal(weights[0], weights[1])
    assert torch.equal(weights[1], weights[2])
    assert "terms.adversarial.gate.skip" in (1.0 * term).state_dict()  # what a resumed run needs


# several processes: in float32, for halves of a batch add up otherwise than the whole, and bfloat16
# shows it

LAUNCHER = [sys.executable, "-m", "torch.distributed.run"]
WORKER = """
import sys, time, torch
from pathlib import Path
from accelerate import PartialState
from toy import gradients, noise, train
import srkit
from srkit.datasets.patches import Patches

class LaidOut(Patches):
    def _blocks(self, pictures):
        (Path(sys.argv[1]) / f"laid-out-by-{me}").touch()
        time.sleep(0.5)  # the other process comes meanwhile
        return super()._blocks(pictures)

torch.set_num_threads(1)
me = PartialState(cpu=True).process_index
PartialState().wait_for_everyone()
LaidOut(noise(), 2, store=Path(sys.argv[1]) / "pixels")
torch.save(gradients(me, PartialState().num_processes), Path(sys.argv[1]) / f"gradients-{me}.pt")
for kind in ("pixel", "gan", "penalty", "batch"):
    learned = train(kind, drop=0.0, precision="float32", steps=4)
    if PartialState().is_main_process:
        torch.save(learned, Path(sys.argv[1]) / f"{kind}.pt")
if len(sys.argv) > 2:
    time.sleep(PartialState().process_index)  # a process that is later than the first
    how = {"budget": "smoke", "out": sys.argv[2], "device": "cpu", "resume": "never"}
    for name, variant in (("rlfn", "one-stage"), ("memnet", "memnet"), ("carn", "carn")):
        srkit.train(name, variant, **how)
print("processes:", PartialState().num_processes)
"""


STOPPED = """
import signal, sys, torch
from pathlib import Path
from accelerate import PartialState
from toy import Crops, train

torch.set_num_threads(1)
folder, at, me = Path(sys.argv[1]), int(sys.argv[2]), PartialState(cpu=True).process_index
crops = Crops({at: lambda: signal.raise_signal(signal.SIGTERM)} if me == 1 else None)
try:
    learned = train("pixel", folder / "run", crops, drop=0.0, precision="float32")
except SystemExit as ended:
    (folder / f"code-{me}").write_text(str(ended.code))
    raise
if me == 0:
    torch.save(learned, folder / "learned.pt")
"""


def launched(options, folder: Path, *arguments: object, program: str = WORKER) -> subprocess.Popen:
    path = folder / "worker.py"
    path.write_text(program)
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path]),
    }
    command = [*LAUNCHER, *options, str(path), str(folder), *map(str, arguments)]
    return subprocess.Popen(command, env=environment)


def assert_learned_the_same(folder: Path) -> None:
    for kind in ("pixel", "gan", "penalty", "batch"):
        alone = train(kind, drop=0.0, precision="float32", steps=4)
        together = torch.load(folder / f"{kind}.pt", weights_only=True)
        assert together.keys() == alone.keys()
        for name, value in alone.items():
            torch.testing.assert_close(together[name], value, atol=1e-5, rtol=0, msg=name)


def test_two_processes_with_half_the_batch_learn_what_one_learns(tmp_path):
    """Network and discriminator; and whole recipes, of which one record each is left. A file of
    crops is laid out by one of them."""
    runs = tmp_path / "runs"
    assert ended(launched(["--standalone", "--nproc-per-node", "2"], tmp_path, runs)) == 0
    assert_learned_the_same(tmp_path)
    assert len(list(tmp_path.glob("laid-out-by-*"))) == 1
    for name, whole in gradients().items():
        for rank in (0, 1):
            share = torch.load(tmp_path / f"gradients-{rank}.pt", weights_only=True)[name]
            torch.testing.assert_close(share, whole[rank::2], msg=f"{name}, {rank}")
    folders = list(runs.glob("*/smoke/*"))
    assert {folder.parts[-3] for folder in folders} == {"rlfn", "memnet", "carn"}
    for folder in folders:
        names = {path.name for path in folder.iterdir()}
        assert names >= {"run.json", "history.jsonl", "model.safetensors"}
        assert not [name for name in names if name.startswith(("stage", "."))]


def test_two_nodes_are_two_launchers(tmp_path):
    """As on a cluster, here both on this machine: each starts its own processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    nodes = []
    for rank in (0, 1):
        options = ["--nnodes", "2", "--node-rank", str(rank), "--nproc-per-node", "1"]
        options += ["--master-addr", "127.0.0.1", "--master-port", str(port)]
        nodes.append(launched(options, tmp_path))
    assert [ended(node) for node in nodes] == [0, 0]
    assert_learned_the_same(tmp_path)


def test_srkit_train_is_launched_on_each_of_two_nodes(tmp_path):
    """By the command that README gives; they find each other, and leave one record."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        where = f"localhost:{free.getsockname()[1]}"
    command = [sys.executable, "-m", "srkit", "train", "rlfn", "--variant", "one-stage",
               "--budget", "smoke", "--device", "cpu", "--nodes", "2", "--rendezvous", where,
               "--out", str(tmp_path)]  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    nodes = [subprocess.Popen(command, env=environment) for _ in range(2)]
    assert [ended(node) for node in nodes] == [0, 0]
    (record,) = find_runs(tmp_path)
    assert record.stages[0].processes == 2


def test_processes_stop_together_though_one_alone_is_asked_to(tmp_path):
    """And go on from there as if nothing had been: a cluster's signals come when they come."""
    two = ["--standalone", "--nproc-per-node", "2"]
    assert ended(launched(two, tmp_path, 13, program=STOPPED)) != 0
    codes = {path.name: path.read_text() for path in tmp_path.glob("code-*")}
    assert codes == {"code-0": "143", "code-1": "143"}
    assert steps_of(tmp_path / "run")[-1] == 13
    assert ended(launched(two, tmp_path, 0, program=STOPPED)) == 0
    for name, value in train("pixel", drop=0.0, precision="float32").items():
        together = torch.load(tmp_path / "learned.pt", weights_only=True)[name]
        torch.testing.assert_close(together, value, atol=1e-5, rtol=0, msg=name)


def test_the_share_of_a_process_is_its_part_of_the_batch():
    """Together the shares are the batch of one process, none twice."""
    whole = Crops().batch(4, 8, torch.Generator().manual_seed(1), (0, 1))
    parts = [Crops().batch(4, 8, torch.Generator().manual_seed(1), (i, 2)) for i in (0, 1)]
    for name in ("lr", "hr"):
        together = torch.stack([part[name] for part in parts], 1).flatten(0, 1)
        assert torch.equal(together, whole[name])


# ------------------------------------------------------------------ a batch in parts


@pytest.mark.parametrize("parts", [2, 4])
def test_a_batch_in_parts_gives_the_step_of_the_whole(parts):
    """Weights and history as of the whole batch, up to the order in which floats are summed."""
    weights, rows = [], []
    for accumulate in (1, parts):
        torch.manual_seed(0)
        model = Enlarger()
        history = fit(
            model, L1(), Crops(), batch=8, patch=8, rate=Constant(1e-3), steps=6, clip=0.5,
            accumulate=accumulate, device="cpu", precision="float32",
        )  # fmt: skip
        weights.append(model.state_dict())
        rows.append(history[-1]["loss"])
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, atol=2e-5, rtol=1e-4)
    assert rows[1] == pytest.approx(rows[0], rel=1e-5)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"accumulate": 0}, "accumulate=0: expected a whole number from 1"),
        ({"accumulate": 3}, "batch=8 cannot be learned in accumulate=3 equal parts"),
        (
            {"accumulate": 2, "loss": L1() + Adversarial(Discriminator(), Standard())},
            "accumulate=2: a discriminator, or what balances a loss, looks at a whole batch",
        ),
        (
            {"accumulate": 2, "loss": (1.0 * L1()).balanced(Uncertainty(["L1"]))},
            "accumulate=2: a discriminator, or what balances a loss, looks at a whole batch",
        ),
    ],
)
def test_parts_that_cannot_be_are_refused(how, words):
    crops = Crops()
    with pytest.raises(ValueError, match=words):
        fit(
            Enlarger(), how.pop("loss", L1()), crops, batch=8, patch=8, rate=Constant(1e-3),
            steps=1, **how,
        )  # fmt: skip
    assert crops.asked == 0
