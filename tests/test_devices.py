"""Devices: which one is here and what is said of it, and that everything stays on a GPU.

There need be none: `standin.gpu` is one that has all but numbers. What is on the CPU and meets the
GPU is refused there, and so is a value that the CPU would have to wait for. Where a value is
needed, a test says so by `pytest.raises(ValueNeeded)` and ends.
"""

import ast
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
import standin
import torch
from small import SMALL, SWITCHED
from standin import CUDA, ValueNeeded, gpu
from torch import nn
from torch.nn import functional as F
from toy import KINDS, Crops, Discriminator, Enlarger, noise

import srkit.losses as losses
from srkit import devices
from srkit.datasets.patches import Patches
from srkit.devices import find_device
from srkit.image.io import write_image
from srkit.image.resize import imresize
from srkit.inference import receptive_field, upscale
from srkit.losses import L1, MSE, Adversarial, objectives
from srkit.losses.adversarial import DiscriminatorGate
from srkit.losses.unet import UNetAdversarial, cutmix
from srkit.metrics.evaluate import evaluate
from srkit.metrics.features import Extractor
from srkit.metrics.psnr import psnr
from srkit.metrics.ssim import ssim
from srkit.models import ciplab, sftgan, ttsr
from srkit.models.network import Network
from srkit.models.zoo import list_models, model_info
from srkit.training import checkpoints
from srkit.training.loop import fit
from srkit.training.run import Run
from srkit.training.schedules import Constant

# a copy of a network asks its tensors where their numbers begin
pytestmark = pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor")
PACKAGE = Path(devices.__file__).parent
LACKS = (
    "The operator 'aten::weave' is not currently implemented for the MPS device. If you want this "
    "op to be considered, please comment on the issue. As a temporary fix, you can set the "
    "environment variable `PYTORCH_ENABLE_MPS_FALLBACK=1` to use the CPU as a fallback."
)
DEFAULTS = pytest.mark.parametrize("default", ["cuda", "cpu"])


# --- which device -----------------------------------------------------------------------------


def accelerator(monkeypatch, kind: str, count: int) -> SimpleNamespace:
    """A machine with so many accelerators of a kind, as far as torch tells of them."""
    states = {f"{kind}:{k}" if count > 1 else kind: torch.tensor([k]) for k in range(count)}
    module = SimpleNamespace(
        is_available=lambda: count > 0,
        get_rng_state=lambda device: states[str(device)].clone(),
        set_rng_state=lambda state, device: states.update({str(device): state}),
        states=states,
    )
    found = torch.device(kind) if count else None
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: found)
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: count)
    monkeypatch.setattr(torch, "get_device_module", lambda device: module)
    return module


@pytest.mark.parametrize(
    ("kind", "count", "names"),
    [
        ("cuda", 0, "cpu"),
        ("cuda", 1, "cpu or cuda"),
        ("cuda", 2, "cpu or cuda:0 or cuda:1"),
        ("mps", 1, "cpu or mps"),
        ("xpu", 1, "cpu or xpu"),
    ],
)
def test_a_device_that_is_not_here_is_refused_with_those_that_are(kind, count, names, monkeypatch):
    accelerator(monkeypatch, kind, count)
    assert find_device() == torch.device(kind if count else "cpu")
    for wrong in ("gpu", "cuda:99", "meta", "hpu"):
        words = f"^device '{wrong}' is not on this machine: choose {names}$"
        with pytest.raises(ValueError, match=words):
            find_device(wrong)


def test_a_device_is_found_by_its_name():
    assert find_device("cpu") == find_device(torch.device("cpu")) == torch.device("cpu")


@pytest.mark.parametrize("wrong", ["cuda:99", "meta", "tpu"])
def test_a_training_refuses_such_a_device_before_any_work(wrong):
    model = Enlarger()
    with pytest.raises(ValueError, match=f"device '{wrong}' is not on this machine: choose cpu"):
        fit(model, L1(), Crops(), steps=1, batch=2, patch=8, rate=Constant(1e-3), device=wrong)


def test_a_run_refuses_such_a_device_before_any_work(tmp_path):
    with pytest.raises(ValueError, match="device 'cuda:99' is not on this machine: choose cpu"):
        Run(tmp_path / "run", {}, device="cuda:99")
    assert not (tmp_path / "run").exists()


def test_a_gpu_has_a_name_and_the_cpu_has_none(monkeypatch):
    assert devices.device_name(torch.device("cpu")) is None
    module = accelerator(monkeypatch, "mps", 1)
    assert devices.device_name(torch.device("mps")) == "Apple MPS"
    module.get_device_name = lambda device: f"the one on {device}"
    assert devices.device_name(torch.device("xpu:1")) == "the one on xpu:1"


def test_what_torch_cannot_tell_of_a_device_is_none(monkeypatch):
    """torch.accelerator raises for MPS where its memory is concerned, until torch 2.13."""

    def cannot(*device):
        raise RuntimeError("Allocator for mps is not a DeviceAllocator.")

    for name in ("get_memory_info", "max_memory_allocated", "reset_peak_memory_stats"):
        monkeypatch.setattr(torch.accelerator, name, cannot)
    accelerator(monkeypatch, "mps", 1)
    for device in (torch.device("mps"), torch.device("cpu")):
        assert devices.free_memory(device) is devices.peak_device_memory(device) is None
    devices.forget_device_peaks()
    assert not devices.has_bfloat16(torch.device("mps"))


@pytest.mark.parametrize("count", [0, 1, 2])
def test_the_generators_of_all_accelerators_go_on_where_they_were(count, monkeypatch):
    module = accelerator(monkeypatch, "xpu", count)
    before = devices.random_states()
    assert list(before) == list(module.states)
    for name in module.states:
        module.states[name] = torch.tensor([99])
    devices.set_random_states(before | {"cuda:0": torch.tensor([5])})  # not here: passed over
    assert [state.item() for state in module.states.values()] == list(range(count))


# --- an operator that the device lacks ----------------------------------------------------------


class Weaving(Enlarger):
    """Needs an operator that only the CPU has."""

    def __init__(self, words: str = LACKS):
        super().__init__()
        self.words, self.seen = words, []

    def forward(self, x):
        self.seen.append(x.device.type)
        if x.device.type != "cpu":
            raise NotImplementedError(self.words)
        return super().forward(x)


@pytest.mark.parametrize(
    ("words", "operator"),
    [
        (LACKS, "aten::weave"),
        (LACKS.replace("currently", "current"), "aten::weave"),
        ("Could not run 'aten::warp' with arguments from the 'XPU' backend.", "aten::warp"),
        ("no value(sr, hr)", None),
    ],
)
def test_the_operator_is_read_from_torchs_words(words, operator):
    assert devices.lacking(NotImplementedError(words)) == operator
    assert devices.lacking(ValueError(words)) is None


def test_the_cpu_takes_over_with_one_sentence():
    """And stays at it: the next picture does not try the device again."""
    picture = torch.rand(3, 12, 12)
    with gpu(number=0.25):
        model = Weaving()
        with pytest.warns(UserWarning, match="cuda:0 has no aten::weave, which toy needs") as told:
            first = upscale(model, torch.rand(3, 40, 40, device="cpu"), tile=20, overlap=2)
        assert [str(w.message) for w in told] == [
            "cuda:0 has no aten::weave, which toy needs: the CPU takes over, slower"
        ]
        assert first.shape == (3, 80, 80)
        assert model.seen == ["cuda", *["cpu"] * 4]
        assert model.head.weight.device == CUDA  # the network comes back as it was
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            upscale(model, torch.rand(3, 12, 12, device="cpu"))
        assert model.seen[5:] == ["cpu"]
    real = Weaving()
    assert upscale(real, picture).shape == (3, 24, 24)


@pytest.mark.parametrize(("make", "place"), [(Enlarger, "cuda"), (Weaving, "cpu")])
@pytest.mark.filterwarnings("ignore:cuda:UserWarning")
def test_a_table_says_where_its_pictures_were_made(make, place, tmp_path):
    write_image(torch.rand(3, 24, 36), tmp_path / "a.png")
    with gpu(number=0.25):
        assert evaluate(make(), tmp_path, device="cuda").device == place


def test_any_other_missing_piece_is_an_error():
    with gpu(number=0.25), pytest.raises(NotImplementedError, match="has no luma"):
        upscale(Weaving("Weaving has no luma(y)"), torch.rand(3, 12, 12, device="cpu"))


def test_a_training_says_what_to_do():
    with (
        gpu(),
        pytest.raises(
            NotImplementedError,
            match=r"^cuda has no aten::weave: train on the CPU \(device='cpu'\)$",
        ),
    ):
        train("pixel", Weaving())
    with (
        pytest.raises(NotImplementedError, match=r"mps has no .*or set PYTORCH_ENABLE_MPS_FALLB"),
        devices.saying_what_is_lacking(torch.device("mps")),
    ):
        raise NotImplementedError(LACKS)


# --- the stand-in itself ------------------------------------------------------------------------


class WithConstant(nn.Module):
    def forward(self, x):
        return x * torch.tensor([0.4, 0.5, 0.6], device="cpu")[:, None, None]


class WithHiddenWeights(nn.Module):
    """Its weights are no buffer, so that they stay behind when it moves."""

    def __init__(self):
        super().__init__()
        self.weights = torch.rand(3, 1, 1)

    def forward(self, x):
        return x * self.weights


class Deciding(nn.Module):
    def forward(self, x):
        return x if x.mean() > 0.5 else 1 - x


class Drawing(nn.Module):
    def forward(self, x):
        return x + torch.randn(x.shape, generator=torch.Generator(), device=x.device)


class Precise(nn.Module):
    def forward(self, x):
        return x.double().mean()


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (WithConstant, RuntimeError, "(same device|different devices).*cuda:0(,| and) cpu"),
        (WithHiddenWeights, RuntimeError, "(same device|different devices).*cuda:0(,| and) cpu"),
        (Deciding, ValueNeeded, "_local_scalar_dense"),
        (Drawing, RuntimeError, "cuda:0 is filled by a generator on cpu"),
        (Precise, RuntimeError, "no float64"),
    ],
)
def test_the_stand_in_refuses_what_a_gpu_does(make, error, words):
    with torch.no_grad():
        make()(torch.rand(1, 3, 4, 4))  # on the CPU nothing is wrong with it
    with gpu(float64=False):
        with torch.device("cpu"):
            module = make()
        module.to("cuda")
        with pytest.raises(error, match=words):
            module(torch.rand(1, 3, 4, 4))


def test_the_stand_ins_gradients_are_autograds(rng, monkeypatch):
    """Broadcast, used twice, through a leaf and an inner node, and differentiated twice."""
    x, w, b = (torch.rand(*shape, generator=rng) for shape in ((2, 3, 6, 6), (4, 3, 3, 3), (4,)))

    def gradients() -> list[torch.Tensor]:
        leaves = [each.clone().requires_grad_() for each in (x, w, b)]
        y = F.conv2d(leaves[0], leaves[1]) * leaves[2][:, None, None] + leaves[2].sum()
        (slope,) = torch.autograd.grad(y.square().mean(), leaves[0], create_graph=True)
        z = y.sigmoid()
        (inner,) = torch.autograd.grad(z.mean(), y, retain_graph=True)
        loss = (slope.flatten(1).norm(dim=1) - 1).square().mean() + z.mean() + leaves[1].std()
        loss.backward()
        return [slope, inner, *(leaf.grad for leaf in leaves)]

    expected = gradients()
    monkeypatch.setattr(torch.autograd, "grad", standin.grad)
    monkeypatch.setattr(torch.autograd, "backward", standin.backward)
    for mine, theirs in zip(gradients(), expected, strict=True):
        torch.testing.assert_close(mine, theirs)


# --- networks -----------------------------------------------------------------------------------

NETWORKS = [*SMALL, *SWITCHED]


def test_all_networks_of_the_zoo_are_tried():
    tried = {call.function for call in NETWORKS}
    assert {model_info(name).network for name in list_models()} <= tried


@pytest.mark.parametrize("call", NETWORKS, ids=lambda call: str(call)[:60])
def test_a_network_moves_to_the_gpu_and_stays_there(call):
    """Whichever the default device; and so do its gradients. It asks for no value, no float64."""
    with gpu(float64=False):
        with torch.device("cpu"):
            model = call.function(**call.arguments)
        model.to("cuda")
        side = max(model.min_size, 12)
        lr = torch.rand(2, 3, side, side)
        for default in ("cpu", "cuda"):
            with torch.device(default):
                sr = model(lr)
            assert sr.device == CUDA
            assert sr.shape == (2, 3, model.scale * side, model.scale * side)
        sr.mean().backward()
        learned = [p.grad for p in model.parameters() if p.grad is not None]
        assert learned
        assert {gradient.device for gradient in learned} == {CUDA}


# --- losses -------------------------------------------------------------------------------------


def extractor() -> Extractor:
    layers = {"conv1": nn.Conv2d(3, 8, 3, padding=1), "conv2": nn.Conv2d(8, 8, 3, padding=1)}
    weights = {f"{n}.{k}": v for n, m in layers.items() for k, v in m.state_dict().items()}
    return Extractor(layers, weights, name="two", sha256="0" * 64, mean=[0.5] * 3, std=[0.2] * 3)


def lpips_network(net: str):
    return extractor(), {layer: torch.rand(8, 1, 1) for layer in ("conv1", "conv2")}


def judge(objective: objectives.Objective) -> Adversarial:
    return Adversarial(Discriminator(), objective, rng=torch.Generator())


def of_features() -> losses.FeatureAdversarial:
    body = nn.Sequential(nn.Conv2d(8, 1, 3, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return losses.FeatureAdversarial(body, objectives.Hinge(), extractor(), "conv2")


BOTH = {"conv1": 0.5, "conv2": 1.0}
TERMS = {
    "L1": losses.L1,
    "MSE": losses.MSE,
    "Charbonnier": losses.Charbonnier,
    "Huber": losses.Huber,
    "TV": losses.TotalVariation,
    "content": lambda: losses.Content(extractor(), BOTH, criterion="l1", unit="mean"),
    "style": lambda: losses.Style(extractor(), BOTH, patch=8),
    "LPIPS": losses.LPIPS,
    "contrastive": lambda: losses.Contrastive(extractor(), BOTH),
    "transferal": lambda: losses.Transferal(ttsr.LTE((4, 8, 8))),
    "adversarial": lambda: judge(objectives.Standard()),
    "relativistic": lambda: judge(objectives.RelativisticAverage()),
    "hinge": lambda: judge(objectives.Hinge()),
    "least squares": lambda: judge(objectives.LeastSquares()),
    "Wasserstein": lambda: judge(objectives.Wasserstein()),
    "feature adversarial": of_features,
    "class adversarial": lambda: losses.ClassAdversarial(sftgan.Discriminator(size=32, width=4)),
    "cutmix, code": lambda: UNetAdversarial(ciplab.UNetDiscriminator((4, 6, 8))),
    "cutmix, mask": lambda: UNetAdversarial(ciplab.UNetDiscriminator((4, 6, 8)), cutmix="mask"),
    "matching": lambda: losses.Matching(ciplab.UNetDiscriminator((4, 6, 8))),
}


def inputs_of(term: losses.Term) -> dict:
    """What the loss needs beside the pictures, on the GPU."""
    known = {
        "negative": lambda: torch.rand(2, 3, 32, 32),
        "category": lambda: torch.ones(2, dtype=torch.int64),
        "transferred": lambda: [torch.rand(2, c, s, s) for c, s in ((4, 32), (8, 16), (8, 8))],
    }
    return {name: known[name]() for name in term.needs}


def test_all_terms_and_objectives_are_tried():
    """What is neither listed here nor a base class is missing."""
    bases = {losses.Term, losses.FeatureTerm}
    terms = {each for name in losses.__all__ if isinstance(each := getattr(losses, name), type)}
    terms = {each for each in terms if issubclass(each, losses.Term)} - bases
    with gpu(), pytest.MonkeyPatch.context() as patch:
        patch.setattr("srkit.losses.perceptual.lpips_network", lpips_network)
        tried = [make() for make in TERMS.values()]
    assert terms == {type(term) for term in tried}
    named = {type(term.objective) for term in tried if isinstance(term, Adversarial)}
    assert named == set(objectives.Objective.__subclasses__())


@pytest.mark.parametrize("name", TERMS)
def test_a_loss_stays_on_the_gpu(name, monkeypatch):
    """Its value, its gradient at sr, and the turn of its discriminator; no value is asked for."""
    monkeypatch.setattr("srkit.losses.perceptual.lpips_network", lpips_network)
    with gpu(float64=False):
        term = TERMS[name]()
        hr, inputs = torch.rand(2, 3, 32, 32), inputs_of(term)
        for default in ("cpu", "cuda"):
            sr = torch.rand(2, 3, 32, 32).requires_grad_()
            with torch.device(default):
                value = (0.5 * term)(sr, hr, **inputs)
                value.backward()
            assert value.device == sr.grad.device == CUDA
            assert value.shape == ()
            assert sr.grad.shape == sr.shape
            if isinstance(term, Adversarial):
                with torch.device(default):
                    term.discriminator_loss(sr, hr, **inputs).backward()
                assert {p.grad.device for p in term.discriminator.parameters()} == {CUDA}


def test_cutmix_stays_on_the_gpu():
    with gpu():
        for picture in cutmix(torch.rand(2, 3, 16, 16), torch.rand(2, 3, 16, 16)):
            assert picture.device == CUDA


@pytest.mark.parametrize(
    "make",
    [
        lambda labels, last: losses.Uncertainty(labels),
        lambda labels, last: losses.DynamicWeightAverage(labels, every=1),
        lambda labels, last: losses.GradientBalance("MSE", last),
        lambda labels, last: losses.RunningMean(labels),
        lambda labels, last: losses.Ramp("MSE", 10),
    ],
    ids=["Uncertainty", "DynamicWeightAverage", "GradientBalance", "RunningMean", "Ramp"],
)
@DEFAULTS
def test_a_balance_asks_the_gpu_for_nothing(make, default):
    with gpu(float64=False):
        last = nn.Parameter(torch.rand(3, 1, 1))
        loss = L1() + 0.1 * MSE()
        loss = loss.balanced(make(loss.terms, last))
        with torch.device(default):
            for _ in range(3):
                value = loss(
                    last * torch.rand(2, 3, 8, 8, device=CUDA), torch.rand(2, 3, 8, 8, device=CUDA)
                )
                value.backward()
        assert value.device == loss.balance.factors.device == CUDA


def test_a_gate_needs_the_last_verdict():
    """Whether the discriminator takes a step is Python's to decide: the CPU has to wait."""
    with gpu():
        gate = DiscriminatorGate(0.8)
        with pytest.raises(ValueNeeded):
            gate.opens(torch.rand(4, 1), torch.rand(4, 1))


# --- pictures -----------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1 / 4, 1 / 3, 2, 2.5])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.bfloat16])
@DEFAULTS
def test_imresize_stays_on_the_gpu(scale, dtype, default):
    with gpu():
        x = torch.zeros(2, 3, 24, 36, dtype=dtype)
        with torch.device(default):
            y = imresize(x, scale)
        assert (y.device, y.dtype) == (CUDA, dtype)
        assert y.shape == (2, 3, *(-int(-n * scale // 1) for n in (24, 36)))


def test_without_float64_bytes_are_resized_on_the_cpu_and_come_back():
    with gpu(0.25, float64=False):
        y = imresize(torch.zeros(3, 24, 36, dtype=torch.uint8), 1 / 4)
        assert (y.device, y.dtype, y.shape) == (CUDA, torch.uint8, (3, 6, 9))


def test_a_gather_of_crops_stays_on_the_gpu():
    crops = Patches(noise(), 2)
    with gpu():
        crops.pixels = torch.from_numpy(crops.pixels).to("cuda")
        for default in ("cpu", "cuda"):
            with torch.device(default):
                batch = crops.batch(4, 8, torch.Generator())
            assert batch["lr"].device == batch["hr"].device == CUDA
            assert (batch["lr"].shape, batch["hr"].shape) == ((4, 3, 8, 8), (4, 3, 16, 16))


class Watched(Enlarger):
    """Notes where its pictures are and how large."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, x):
        self.seen.append((x.device, *x.shape[-2:]))
        return super().forward(x)


@pytest.mark.parametrize("home", ["cpu", "cuda"])
@DEFAULTS
def test_tiles_go_to_the_gpu_and_the_result_to_where_the_picture_is(home, default):
    """It is put together on the CPU: that is where values are needed, so there they are 0.25."""
    with gpu(number=0.25):
        model, picture = Watched(), torch.rand(3, 40, 20, device=home)
        with torch.device(default):
            big = upscale(model, picture, tile=20, overlap=2)
            whole = upscale(model, picture, self_ensemble=True)
        assert model.seen[:2] == [(CUDA, 22, 20), (CUDA, 22, 20)]
        assert {device for device, *_ in model.seen} == {CUDA}
        assert big.device == whole.device == picture.device
        assert big.shape == whole.shape == (3, 80, 40)


def test_the_receptive_field_is_measured_without_float64():
    with gpu(number=0.25, float64=False):
        model = Watched()
        assert receptive_field(model) == 0  # all differences say 0.25 <= 5e-6 is True
        assert {device for device, *_ in model.seen} == {CUDA}


# --- metrics ------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", [psnr, ssim])
@DEFAULTS
def test_a_metric_of_a_batch_stays_on_the_gpu_once_values_are_checked(metric, default):
    """Values outside [0, 1] are refused, so values are needed first; a number is one, too."""
    how = {"on": "y", "shave": 2}
    with gpu():
        sr, hr = torch.rand(2, 2, 3, 24, 24)
        with pytest.raises(ValueNeeded):
            metric(sr, hr, **how)
    with gpu(number=0.25):
        sr, hr = torch.rand(2, 2, 3, 24, 24)
        with torch.device(default):
            found = metric(sr, hr, **how)
        assert (found.device, found.shape) == (CUDA, (2,))
        assert metric(sr[0], hr[0], **how) == 0.25
    with gpu(number=0.25, float64=False):
        sr, hr = torch.rand(2, 2, 3, 24, 24)
        assert metric(sr, hr, **how).device.type == "cpu"


# --- training -----------------------------------------------------------------------------------


def train(kind: str, model: Network | None = None, **how) -> tuple[Network, losses.Sum, list]:
    """One of `toy.KINDS` for two steps of the stand-in, made on it with its crops."""
    made, own = KINDS[kind](0.3)
    model, loss = model or made, 1.0 * own.pop("loss")
    how = {"steps": 2, "precision": "float32", "validate_every": 2} | own | how
    crops = Patches.__new__(Patches)
    crops.__dict__ |= CROPS.__dict__
    crops.pixels = torch.from_numpy(CROPS.pixels).to("cuda")
    history = fit(model, loss, crops, batch=4, patch=8, rate=Constant(1e-3), device="cuda", **how)
    return model, loss, history


CROPS = Patches(noise(), 2)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_step_of_training_never_waits_for_the_gpu(kind, precision):
    """Its loss is read in the next step, so that only there the first value is needed."""
    with gpu(float64=False), pytest.raises(ValueNeeded) as stopped:
        train(kind, precision=precision)
    frames = [frame.name for frame in stopped.traceback]
    assert "count" in frames
    assert frames[frames.index("count") + 1] == "_read"


def on_cpu(x):
    """What a checkpoint is when it is read: all of it on the CPU."""
    if isinstance(x, dict):
        return {k: on_cpu(v) for k, v in x.items()}
    if isinstance(x, list):
        return [on_cpu(v) for v in x]
    return x.to("cpu") if isinstance(x, torch.Tensor) and x.device == CUDA else x


@pytest.mark.parametrize("kind", KINDS)
def test_a_training_ends_and_resumes_on_the_gpu(kind, monkeypatch, tmp_path):
    """With average, checkpoint, a fresh start from it, and bfloat16, where tensors have numbers."""
    kept = {}
    monkeypatch.setattr(checkpoints, "save", lambda _, step, state: kept.update(on_cpu(state)))
    monkeypatch.setattr(checkpoints, "load_latest", lambda _: dict(kept) or None)
    how = {"ema": 0.9, "clip": 0.5, "folder": tmp_path, "precision": "auto", "save_every": 1}
    with gpu(number=0.25):
        train(kind, **how)
        assert kept["step"] == 2
        model, loss, history = train(kind, **how | {"steps": 4})
        assert [row["step"] for row in history] == [2, 4]
        assert history[-1]["loss"] == 0.25 / 2  # a sum that says 0.25, over two steps
        tensors = [*model.state_dict().values(), *loss.state_dict().values()]
        assert {x.device for x in tensors} == {CUDA}
        assert {x.shape for x in model.state_dict().values()} == {
            x.shape for x in kept["model"].values()
        }


def test_a_validation_that_was_stopped_is_done_again_on_the_gpu(monkeypatch, tmp_path):
    """From sums that come from a checkpoint: several GPUs average them there, not on the CPU."""
    kept, averaged = {}, []
    monkeypatch.setattr(checkpoints, "save", lambda _, step, state: kept.update(on_cpu(state)))
    monkeypatch.setattr(checkpoints, "load_latest", lambda _: dict(kept) or None)
    state = "srkit.training.state.mean_over_processes"
    monkeypatch.setattr(state, lambda x: averaged.append(x.device) or x)

    def stopped(network):
        raise KeyError("stopped")

    with gpu(number=0.25):
        with pytest.raises(KeyError, match="stopped"):
            train("pixel", folder=tmp_path, validate=stopped)
        assert kept["looked"] < kept["step"]
        train("pixel", folder=tmp_path)
    assert averaged
    assert set(averaged) == {CUDA}


def test_an_untrained_generator_is_looked_at_before_the_first_step():
    """Whether it is better than bicubic is a value; it is asked for once."""
    with gpu(), pytest.raises(ValueNeeded) as stopped:
        train("gan", from_scratch=False)
    assert "refuse_untrained" in [frame.name for frame in stopped.traceback]


# --- what is kept -------------------------------------------------------------------------------


def test_what_has_no_numbers_is_never_kept():
    """Made in the stand-in first and then for real, and the other way round."""
    x = torch.rand(3, 21, 35)
    with gpu():
        imresize(torch.rand(3, 21, 35), 1 / 7)
        imresize(torch.rand(3, 21, 35, device="cpu"), 1 / 7)
    y = imresize(x, 1 / 7)
    assert type(y) is torch.Tensor
    assert y.mean() == pytest.approx(x.mean().item(), abs=0.05)
    with gpu():
        assert imresize(torch.rand(3, 21, 35, device="cpu"), 1 / 7).device.type == "cpu"
    assert torch.equal(imresize(x, 1 / 7), y)


def test_a_kept_result_is_made_once_and_forgotten_last():
    made = []

    @devices.keep_tensors(2)
    def ramp(n: int) -> torch.Tensor:
        """Numbers from 0."""
        made.append(n)
        return torch.arange(n)

    assert [len(ramp(n)) for n in (3, 3, 4, 5, 3)] == [3, 3, 4, 5, 3]
    assert made == [3, 4, 5, 3]
    assert ramp.cache_info().currsize == 2
    with torch.device("meta"):
        assert ramp(3).is_meta  # not the one that was kept
    assert not ramp(3).is_meta
    ramp.cache_clear()
    assert ramp.cache_info().currsize == 0


MAKERS = {
    "arange", "as_tensor", "asarray", "empty", "eye", "fftfreq", "full", "linspace", "logspace",
    "ones", "rand", "randint", "randn", "randperm", "rfftfreq", "scalar_tensor", "tensor", "zeros",
}  # fmt: skip


def unplaced(path: Path) -> list[str]:
    """Tensors that are made without saying where, outside of constructors.

    A constructor follows the default device, as those of torch.nn do; and a sum may start from
    torch.zeros(()), a number that is added to tensors of any device.
    """
    found = []

    def visit(node: ast.AST, function: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Call):
                text = ast.unparse(child)
                name = ast.unparse(child.func)
                makes = name.startswith("torch.") and name.split(".")[-1] in MAKERS
                placed = any(keyword.arg == "device" for keyword in child.keywords)
                if makes and not placed and function != "__init__" and text != "torch.zeros(())":
                    found.append(f"{path.name}:{child.lineno} {text}")
            inner = child.name if isinstance(child, ast.FunctionDef) else function
            visit(child, inner)

    visit(ast.parse(path.read_text()), "")
    return found


def test_who_makes_a_tensor_says_where():
    """Or it lands on the default device, which is not where a generator or the others are."""
    found = [line for path in sorted(PACKAGE.rglob("*.py")) for line in unplaced(path)]
    assert [line for line in found if not line.startswith("devices.py")] == []
    assert len(found) == 1  # `keep_tensors` asks what the default device makes


def test_a_tensor_without_a_place_is_found(tmp_path):
    file = tmp_path / "x.py"
    file.write_text(
        "class A:\n    def __init__(self):\n        self.a = torch.zeros(3)\n"
        "def f(x):\n    a = torch.ones(2)\n    b = torch.zeros(2, device=x.device)\n"
        "    return sum(x, torch.zeros(())) + torch.fft.fftfreq(4)\n"
    )
    assert unplaced(file) == ["x.py:5 torch.ones(2)", "x.py:7 torch.fft.fftfreq(4)"]
