"""The loop that trains a network, written out: pixel losses and adversarial ones, one device or
many, a budget of steps or of minutes."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from srkit.calls import as_text
from srkit.checks import at_least, below, check_folder, expanded, finite
from srkit.datasets.loaders import Loaded
from srkit.devices import find_device, in_bfloat16, saying_what_is_lacking
from srkit.image.colour import to_y, with_y
from srkit.losses.adversarial import Adversarial
from srkit.losses.terms import Sum, Term
from srkit.models.network import Network, Wrapped, check_network
from srkit.processes import broadcast, launched, share_batch_norm
from srkit.training.adversarial import average_gradients, discriminator_step, refuse_untrained
from srkit.training.schedules import Schedule
from srkit.training.state import State, stop_requests

Batch = Mapping[str, Any]  # tensors by name, and the scale
# What becomes of a batch: (network, batch) -> (sr, what the loss gets beside it)
Forward = Callable[[nn.Module, Batch], tuple[Tensor, Mapping[str, Tensor]]]


@runtime_checkable
class Crops(Protocol):
    """Where batches come from: `srkit.datasets.patches.Patches` and its like.

    pictures: what is cut from, uint8 (3, H, W), for the record's hash.
    """

    @property
    def pictures(self) -> Sequence[Tensor]: ...

    def batch(
        self, count: int, size: int, rng: torch.Generator, part: tuple[int, int] = (0, 1)
    ) -> dict[str, Any]:
        """`count` crops of `size` LR pixels a side, decided by rng.

        part: (i, n) for the i-th of n equal shares of them.
        """
        ...


def adam(model: nn.Module, betas: tuple[float, float] = (0.9, 0.999)) -> torch.optim.Adam:
    """Adam as the super-resolution papers use it; `fit` sets the learning rate."""
    return torch.optim.Adam(model.parameters(), betas=betas, eps=1e-8, fused=True)


def enlarge(network: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
    """The usual forward: sr = network(lr), and nothing more for the loss."""
    return network(batch["lr"]), {}


def enlarge_y(network: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
    """The forward of networks of Y: their Y with hr's colours.

    So the loss sees the error in Y alone, times 255/219.
    """
    return with_y(batch["hr"], to_y(network(batch["lr"]))), {}


def fit(
    model: Network,
    loss: Term | Sum,
    crops: Crops | DataLoader,
    *,
    batch: int | None = None,
    patch: int | None = None,
    rate: Schedule,
    steps: int | None = None,
    minutes: float | None = None,
    seed: int = 0,
    forward: Forward = enlarge,
    optimizer: torch.optim.Optimizer | None = None,
    discriminator_optimizer: Callable[[nn.Module], torch.optim.Optimizer] = adam,
    discriminator_rate: Schedule | None = None,
    clip: float | None = None,
    ema: float | None = None,
    accumulate: int = 1,
    precision: str = "auto",
    compiled: bool = False,
    device: str | None = None,
    from_scratch: bool = False,
    validate: Callable[[Network], dict[str, float]] | None = None,
    validate_every: int = 250,
    report: Callable[[list[dict]], None] | None = None,
    folder: str | os.PathLike | None = None,
    save_every: int | None = None,
    progress: bool | None = None,
) -> list[dict]:
    """Train `model` in place; return the history, one row a validation.

    - model: a `Network`; wrap a module of your own by `srkit.as_model(net, scale=4)`.
    - crops: `Patches`, or a DataLoader of dictionaries with "lr" (B, 3, h, w) and "hr" in [0, 1]
      (`srkit.datasets.loaders`). A DataLoader that is resumed begins another epoch.
    - batch, patch: crops a step, over all processes, and their side in LR pixels; a DataLoader has
      its own.
    - steps or minutes: how long; `rate` (`srkit.training.schedules`) follows the share done.
    - forward(network, batch) -> (sr, inputs): how a batch becomes a result, and what the loss gets
      beside it (the negative of a contrastive loss, say).
    - optimizer: one of an earlier call keeps its moments (a cyclic schedule); a new one starts from
      zero (a warm start). A group's "share" multiplies the rate of its parameters.
    - discriminator_optimizer(discriminator), discriminator_rate: for the discriminators of the
      loss's adversarial terms, which are trained in turn. Such a loss refuses an untrained network,
      unless `from_scratch`.
    - clip: the largest gradient norm. ema: decay of an average of the weights, which is what gets
      validated, and what `model` holds in the end.
    - accumulate: each step learns its batch in so many equal parts, one after another, by the mean
      of their gradients: the same step in less memory. (Batch norm sees a part at a time.) Not for
      discriminators and balances, which look at whole batches.
    - precision: "auto" is bfloat16 where the hardware multiplies it, else float32.
    - compiled: by torch.compile, a slow start, then faster.
    - folder: for checkpoints, every `save_every` steps (default: `validate_every`). Called again
      with it, `fit` goes on where it stopped, on a CPU bit for bit; with other settings it refuses
      to, except that steps may be more. The first Ctrl-C or SIGTERM
      ends with a checkpoint after the step at hand (of several GPUs: after ten steps at most), a
      second one stops at once.
    - progress: a line with loss and PSNR; None shows it in a terminal and in a notebook at work.
    - Several processes learn what one would: they share each batch, and batch norm looks at the
      whole of it.

    Raises TypeError for a model that is no `Network` and for a loss, crops, rate, forward,
    optimizer or validate of another kind than described; ValueError for settings out of range, and
    for a network that nothing would change, before any work; FloatingPointError at the first loss
    that is not finite, with the batch in `folder`.
    """
    from accelerate import Accelerator, DistributedDataParallelKwargs

    model = check_network(model)
    if (steps is None) == (minutes is None):
        raise ValueError(f"a budget is steps or minutes: got steps={steps}, minutes={minutes}")
    numbers = {"steps": steps, "batch": batch, "patch": patch, "save_every": save_every}
    at_least(1, validate_every=validate_every, accumulate=accumulate, **numbers)
    at_least(0, seed=seed)
    below(2**32, seed=seed)
    finite(minutes=minutes, clip=clip, ema=ema)
    below(1.0, ema=ema)
    crops, batch, patch = _source(crops, batch, patch)
    _check_parts(loss, rate, discriminator_rate)
    check_accumulate(accumulate, batch, 1.0 * loss)
    _check_learning(model, optimizer)
    for name, asked in {"validate": validate, "report": report}.items():
        if asked is not None and not callable(asked):
            raise TypeError(f"{name} is a {type(asked).__name__}: a function is expected")
    if folder is not None:
        folder = expanded(folder)
        check_folder(folder)
    # processes and devices are Accelerate's; precision is set below, where it can be seen
    where = find_device(device)
    half = in_bfloat16(precision, where)
    idle = DistributedDataParallelKwargs(find_unused_parameters=model.idle)
    # one process has the device it wants, each time; of several each has the one it is given
    several = launched() > 1
    accelerator = Accelerator(cpu=several and where.type == "cpu", kwargs_handlers=[idle])
    part = accelerator.process_index, accelerator.num_processes
    where = accelerator.device if several else where
    layout = model.memory_format
    model.to(where).to(memory_format=layout)
    loss = (1.0 * loss).to(where)
    weighing = loss.balance or nn.Module()
    optimizer = optimizer or adam(nn.ModuleList([model, weighing]))
    discriminators = {k: term for k, term in loss.terms.items() if isinstance(term, Adversarial)}
    for term in discriminators.values():  # in all processes the same draws
        if term.rng is None:
            term.rng = torch.Generator().manual_seed(seed)
    broadcast(loss)
    for module in (model, *(term.discriminator for term in discriminators.values())):
        share_batch_norm(module.train())
    turns = {
        label: discriminator_optimizer(term.discriminator) for label, term in discriminators.items()
    }
    compilable = cast(nn.Module, torch.compile(model)) if compiled else model
    network = accelerator.prepare_model(compilable, device_placement=False)
    mixed = torch.autocast(where.type, torch.bfloat16, enabled=half)
    torch.manual_seed(seed + part[0])
    identity = {
        "seed": seed, "batch": batch, "patch": patch, "clip": clip, "ema": ema,
        "precision": "bfloat16" if half else "float32", "loss": str(loss),
        "rate": as_text(rate), "discriminator_rate": as_text(discriminator_rate),
        "optimizer": type(optimizer).__name__, "pictures": len(crops.pictures),
    }  # fmt: skip
    if accumulate > 1:  # checkpoints from before there was such a setting say nothing of it
        identity["accumulate"] = accumulate
    if folder is not None:
        identity |= {
            "network": _made_by(model), "forward": _name(forward),
            "settings of the optimizer": _settings(optimizer),
            "settings of the discriminators' optimizers": ", ".join(map(_settings, turns.values())),
            "pixels (a hash of some)": _fingerprint(crops.pictures),
        }  # fmt: skip
    model.loaded = "a training here"
    state = State(model, loss, optimizer, turns, seed, ema, folder, identity)
    state.show_progress(steps, progress if accelerator.is_main_process else False)

    def look() -> None:
        try:
            state.look(validate, accelerator, report)
        except Exception:  # whatever ends a validation, the training that came before it is kept
            state.save(accelerator)
            raise

    if state.looked < state.step and (state.step % validate_every == 0 or state.step == steps):
        look()  # it was stopped in that validation
    with stop_requests(active=folder is not None) as heard, saying_what_is_lacking(where):
        while (done := state.done(accelerator, steps, minutes)) < 1:
            data = _moved(crops.batch(batch, patch, state.rng, part), where, layout)
            state.set_rate(optimizer, rate(done))
            optimizer.zero_grad(set_to_none=True)
            learned = []
            for piece in _pieces(data, accumulate):
                with mixed:
                    sr, inputs = _pair(forward(network, piece))
                    if discriminators and state.step == 0 and not from_scratch:
                        refuse_untrained(sr, piece["hr"], piece["lr"])
                    parts = loss.parts(sr, piece["hr"], **inputs)
                    total = loss.combine(parts)
                accelerator.backward(total / accumulate)
                learned.append((total.detach(), parts))
            if accumulate > 1:
                total, parts = _means(learned)
            average_gradients(weighing)
            norm = nn.utils.get_total_norm(
                [p.grad for p in model.parameters() if p.grad is not None]
            )
            if clip:
                nn.utils.clip_grads_with_norm_(model.parameters(), clip, norm)
            optimizer.step()

            for label, term in discriminators.items():
                state.set_rate(turns[label], (discriminator_rate or rate)(done))
                parts[f"{label}, discriminator"] = discriminator_step(
                    term, sr, data["hr"], inputs, turns[label], accelerator, mixed, clip
                )

            state.count(total, parts, norm, data)
            if state.step % validate_every == 0 or state.step == steps:
                look()
            requests = state.agreed(heard, accelerator)
            if requests or state.step % (save_every or validate_every) == 0 or state.step == steps:
                state.save(accelerator)
            if requests:
                raise requests[0]
        if state.looked < state.step:  # the minutes were up between two validations
            look()
        if state.saved < state.step:
            state.save(accelerator)
        if requests := state.agreed(heard, accelerator, at_once=True):
            raise requests[0]
    state.end()
    return state.history


def _source(crops: object, batch: int | None, patch: int | None) -> tuple[Crops, int, int]:
    """Where batches come from, and the size that is asked for: of a DataLoader 0, its own."""
    if isinstance(crops, DataLoader):
        if (batch, patch) != (None, None):
            raise ValueError(
                f"batch={batch}, patch={patch}: a DataLoader's batches have their own size, leave "
                "both out"
            )
        return Loaded(crops), 0, 0
    if not isinstance(crops, Crops):
        raise TypeError(
            f"crops is a {type(crops).__name__}: Patches(pictures, scale) is expected, a "
            "DataLoader of dictionaries, or what has the `pictures` and `batch` of Patches"
        )
    if batch is None or patch is None:
        raise ValueError(
            f"batch={batch}, patch={patch}: crops a step and their side in LR pixels are needed, "
            "as batch=16, patch=48"
        )
    return crops, batch, patch


def _made_by(model: Network) -> str:
    """The class of a network and its arguments; tensors' shapes do not tell a skip, say."""
    kind = type(model.net if isinstance(model, Wrapped) else model)
    arguments = json.dumps(model.arguments, default=lambda value: type(value).__name__)
    return f"{kind.__qualname__}({arguments})"


def _name(forward: Forward) -> str:
    function = forward.func if isinstance(forward, partial) else forward
    return getattr(function, "__qualname__", type(function).__name__)


def _settings(optimizer: torch.optim.Optimizer) -> str:
    """What of an optimizer decides its steps: without the rate, and without how it computes."""
    left_out = ("params", "lr", "initial_lr", "fused", "foreach", "capturable", "differentiable")
    return "; ".join(
        ", ".join(f"{k}={v}" for k, v in sorted(group.items()) if k not in left_out)
        for group in optimizer.param_groups
    )


def _fingerprint(pictures: Sequence[Tensor]) -> str:
    """A hash of the pictures' sizes and of up to 1,024 values of each, evenly spread."""
    digest = hashlib.sha256()
    for picture in pictures:
        digest.update(str(tuple(picture.shape)).encode())
        some = picture.flatten()[:: max(1, picture.numel() // 1024)].cpu()
        if type(some) is Tensor:  # those of a fake mode hold no numbers
            digest.update(some.numpy().tobytes())
    return digest.hexdigest()[:12]


def _check_learning(model: Network, optimizer: object) -> None:
    """Refuse a network that nothing would change: it is frozen, or the optimizer has others."""
    own = {id(p) for p in model.parameters() if p.requires_grad}
    if not own:
        raise ValueError(
            f"{model.name} has no parameter that learns: model.requires_grad_(True) lets all learn"
        )
    if optimizer is None:
        return
    if not isinstance(optimizer, torch.optim.Optimizer) or isinstance(optimizer, torch.optim.LBFGS):
        raise TypeError(
            f"optimizer is {optimizer!r:.60}: one that steps by gradients alone is expected, as "
            "torch.optim.Adam(model.parameters())"
        )
    if not any(id(p) in own for group in optimizer.param_groups for p in group["params"]):
        raise ValueError(
            f"the optimizer has no parameter of {model.name}, which would not learn: make it of "
            "model.parameters()"
        )


def _check_parts(loss: object, rate: object, discriminator_rate: object) -> None:
    """Refuse what is no loss, no schedule."""
    if not isinstance(loss, Term | Sum):
        raise TypeError(
            f"loss is a {type(loss).__name__}: a srkit loss is expected, as L1() or "
            "L1() + 0.1 * content(...); one of your own is a subclass of Term (srkit.losses.terms)"
        )
    if isinstance(loss, Sum) and not loss.terms:
        raise ValueError("loss has no term: there is nothing to learn from")
    for name, schedule in {"rate": rate, "discriminator_rate": discriminator_rate}.items():
        if schedule is None and name != "rate":
            continue
        if not callable(schedule):
            raise TypeError(
                f"{name}={schedule!r}: a function of the share done is expected, as "
                f"Constant({schedule!r}) of srkit.training.schedules"
            )
        for done in (0.0, 0.5, 1.0):
            found: Any = schedule(done)
            at_least(0.0, **{f"{name} at {done:g}": found})


def _pair(made: object) -> tuple[Tensor, Mapping[str, Tensor]]:
    """What a forward returned, if it is (sr, inputs)."""
    if isinstance(made, tuple) and len(made) == 2 and isinstance(made[1], Mapping):
        if isinstance(made[0], Tensor):
            return made
        raise TypeError(
            f"the network returned a {type(made[0]).__name__}: one tensor (B, 3, H, W) is expected"
        )
    raise TypeError(
        f"forward returned a {type(made).__name__}: (sr, inputs) is expected, inputs a dictionary "
        "of what the loss gets beside sr and hr, often {}"
    )


def check_accumulate(accumulate: int, batch: int, loss: Sum) -> None:
    """Refuse a number of parts that a batch, shared by all processes, cannot be cut into.

    Raises ValueError; also for a loss that looks at whole batches.
    """
    if accumulate == 1:
        return
    if batch == 0:
        raise ValueError(
            f"accumulate={accumulate}: a DataLoader's batches have their own size, which need not "
            "be a multiple of it: take accumulate=1 and a smaller batch_size"
        )
    if batch % (accumulate * launched()):
        raise ValueError(
            f"batch={batch} cannot be learned in accumulate={accumulate} equal parts by "
            f"{launched()} processes: take a multiple of {accumulate * launched()}"
        )
    if loss.balance is not None or any(isinstance(t, Adversarial) for t in loss.terms.values()):
        raise ValueError(
            f"accumulate={accumulate}: a discriminator, or what balances a loss, looks at a whole "
            "batch: take accumulate=1 and a smaller batch"
        )


def _pieces(batch: Batch, count: int) -> Iterator[Batch]:
    """A batch cut into equal parts; what is no tensor of its samples goes into each."""
    samples = len(batch["lr"])
    side = samples // count
    for k in range(count):
        yield {
            name: value[k * side : (k + 1) * side]
            if count > 1 and isinstance(value, Tensor) and value.ndim and len(value) == samples
            else value
            for name, value in batch.items()
        }


def _means(learned: Sequence[tuple[Tensor, Mapping[str, Tensor]]]) -> tuple[Tensor, dict]:
    """The mean loss and the mean of each of its parts."""
    totals, parts = zip(*learned, strict=True)
    means = {name: torch.stack([p[name].detach() for p in parts]).mean() for name in parts[0]}
    return torch.stack(totals).mean(), means


def _moved(batch: Batch, device: torch.device, layout: torch.memory_format) -> dict[str, Any]:
    """Pictures go to the device and take the network's layout; a scale or a name stays."""
    return {
        name: value.to(
            device,
            non_blocking=True,
            memory_format=layout if value.ndim == 4 else torch.preserve_format,
        )
        if isinstance(value, Tensor)
        else value
        for name, value in batch.items()
    }
