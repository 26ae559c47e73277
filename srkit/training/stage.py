"""A stage: one call of the training loop, written down as a value before anything is built.

A variant of a recipe is a short list of stages. The paper's and ours are the same dataclass, so
that they can be compared field by field, printed, and stored with what was measured.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from srkit.calls import Build, Call, Given, as_json, as_text
from srkit.checks import at_least, finite
from srkit.datasets.patches import check_crops
from srkit.datasets.pictures import patches, training_pictures
from srkit.losses.terms import Sum
from srkit.models.network import Network
from srkit.training.loop import Crops, Forward, adam, enlarge
from srkit.training.schedules import Schedule
from srkit.weights.load import load_checkpoint, load_weights

if TYPE_CHECKING:
    from srkit.training.run import Run


@dataclass(frozen=True)
class Share:
    """The weight that makes this term `share` times the loss's first one.

    Both are measured when the stage begins, on the first `crops` crops.
    """

    share: float
    crops: int = 4

    def __str__(self) -> str:
        return f"({self.share:g} of the first term at the start)"


@dataclass(frozen=True)
class Loss:
    """Weighted terms: pairs of a weight and the call that makes the term.

    Equal calls within a loss make one object, so that two terms may share a discriminator.
    balance(labels): makes what weighs the terms while the network trains, of the terms' labels;
    None keeps the weights. balance_rate: what a balance learns itself (`Uncertainty` does) has so
    many times the network's learning rate.
    """

    terms: tuple[tuple[float | Share, Call], ...]
    balance: Call | None = None
    balance_rate: float = 1.0

    def __str__(self) -> str:
        weighed = (str(term) if w == 1 else f"{as_text(w)} {term}" for w, term in self.terms)
        by = "" if self.balance is None else f", weighed by {self.balance}"
        at = "" if self.balance_rate == 1 else f" at {self.balance_rate:g} times the rate"
        return " + ".join(weighed) + by + at

    def made(self, build: Build, measure: Callable[[Sum, int], dict[str, Tensor]]) -> Sum:
        """The loss itself. measure(loss, n): each term's value on the first n crops."""
        terms = [build.value(call) for _, call in self.terms]
        weights = [0.0 if isinstance(w, Share) else float(w) for w, _ in self.terms]
        for k, (weight, _) in enumerate(self.terms):
            if isinstance(weight, Share):
                pair = Sum([(1.0, terms[0]), (1.0, terms[k])])
                first, value = measure(pair, weight.crops).values()
                weights[k] = weight.share * (first / value).item()
        total = Sum(zip(weights, terms, strict=True))
        if self.balance is None:
            return total
        return total.balanced(build(self.balance, [*total.terms]))


def loss_of(term: Callable[..., Any], /, weight: float = 1.0, **arguments: Any) -> Loss:
    """A loss of one term."""
    return Loss(((weight, Call(term, **arguments)),))


def random_numbers(seed: int) -> torch.Generator:
    """What a term of a loss draws from, on the CPU: `Call(random_numbers, seed=Given.SEED)`."""
    return torch.Generator().manual_seed(seed)


@dataclass(frozen=True)
class Random:
    """Random weights, decided by the run's seed."""


@dataclass(frozen=True)
class Prepared:
    """Random weights, then changed by `by(network)`: see `srkit.training.enlargement`."""

    by: Call


@dataclass(frozen=True)
class After:
    """The weights that another variant of the recipe ended with, of the same seed.

    insert(network, other): copies them, where the two networks differ. Without it all weights are
    taken over. Only weights are: the optimiser is new, and the learning rate starts anew.
    """

    variant: str
    insert: Call | None = None


@dataclass(frozen=True)
class Continued:
    """The network of the stage before. optimizer: with its optimiser, which keeps its moments."""

    optimizer: bool = False


Start = Random | Prepared | After | Continued


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What is trained, on what, for how long, by which loss.

    - name: what the stage is for; the paper's stage of the same name is its counterpart.
    - network: makes the network.
    - data, scale: pictures, by a name of the catalogue, and the factor or factors to learn.
    - crops(data, scale, device): where batches come from (`srkit.training.loop.Crops`).
    - steps, batch, patch: how long, crops a step, and their side in LR pixels.
    - series: added to the seed of the crops. A stage that goes on with what another one learned,
      and is compared with one long stage, takes the next number, so that it sees new crops.
    - rate: the learning rate, as a function of the part of the stage that is done, 0 to 1.
    - start: which weights it begins with.
    - optimizer(network): made anew for each stage, unless the start is `Continued(optimizer=True)`.
    - forward(network, batch): how a batch becomes a result, see `srkit.training.loop.Forward`.
    - freeze(network): sets which parameters learn, before the stage begins.
    - clip: the largest norm of the gradient. ema: the decay of an average of the weights.
    - accumulate: in how many parts a batch is learned, see `fit`.
    - discriminator_optimizer, discriminator_rate: for the discriminators of the loss; None for the
      rate is the network's.
    - from_scratch: allow an adversarial stage to begin with an untrained network.
    - validate_every: steps between two validations.

    Raises ValueError for numbers out of range.
    """

    name: str
    network: Call
    loss: Loss
    data: str
    scale: int | tuple[int, ...]
    steps: int
    batch: int
    patch: int
    rate: Schedule
    crops: Call = Call(patches)
    series: int = 0
    start: Start = Random()
    optimizer: Call = Call(adam)
    forward: Call = Call(enlarge)
    freeze: Call | None = None
    clip: float | None = None
    ema: float | None = None
    accumulate: int = 1
    discriminator_optimizer: Call = Call(adam)
    discriminator_rate: Schedule | None = None
    from_scratch: bool = False
    validate_every: int = 250

    def __post_init__(self):
        for name in ("steps", "batch", "patch", "accumulate", "validate_every"):
            at_least(1, **{name: getattr(self, name)})
        at_least(0, series=self.series)
        finite(clip=self.clip, ema=self.ema)

    def train(self, run: Run, before: Network | None) -> Network:
        """Train it as a part of `run` and return the network. before: the one of the last stage."""
        build = Build(seed=run.seed)
        network = self._network(run, before, build)
        build.given |= {Given.NETWORK: network, Given.SEED: run.seed}
        if self.freeze is not None:
            build(self.freeze, network)
        crops, forward = run.crops(self), _bound(self.forward)

        def measure(loss: Sum, count: int) -> dict[str, Tensor]:
            return first_values(loss, forward, network, crops, count, self.patch, run.seed)

        loss = self.loss.made(build, measure)
        keep = isinstance(self.start, Continued) and self.start.optimizer
        optimizer = run.optimizer if keep else None
        if optimizer is None:
            optimizer = build(self.optimizer, network)
        if loss.balance is not None and (learned := [*loss.balance.parameters()]):
            optimizer.add_param_group({"params": learned, "share": self.loss.balance_rate})
        run.fit(self, network, loss, crops, forward=forward, optimizer=optimizer)
        return network

    def look_first(self) -> None:
        """Find the pictures, and make the loss's terms, once and for nothing.

        Raises FileNotFoundError for pictures, and for an extractor, that are not at hand;
        ValueError for a name that means no pictures, and for pictures smaller than the crops.
        """
        if self.crops.function is patches:
            check_crops(training_pictures(self.data), self.scale, self.patch)
        build, of_network = Build(given={Given.SEED: 0}), json.dumps(as_json(Given.NETWORK))
        with torch.random.fork_rng(devices=[]):
            for _, call in self.loss.terms:
                if of_network not in json.dumps(as_json(call)):  # there is no network yet
                    build.value(call)

    def _network(self, run: Run, before: Network | None, build: Build) -> Network:
        if isinstance(self.start, Continued):
            if before is None:
                raise ValueError(f"stage {self.name!r} continues, but no stage comes before it")
            return before
        network = build(self.network)
        if isinstance(self.start, Prepared):
            self.start.by(network)  # its random numbers follow those of the network
        if isinstance(self.start, After):
            file = run.weights_of(self.start.variant)
            if self.start.insert is None:
                load_weights(network, file)
            else:
                build(self.start.insert, network, load_checkpoint(file))
        return network


def first_values(
    loss: Sum, forward: Forward, network: Network, crops: Crops, count: int, patch: int, seed: int
) -> dict[str, Tensor]:
    """The value of each term on the run's first crops, on the CPU: the network is not moved yet."""
    batch = crops.batch(count, patch, torch.Generator().manual_seed(seed))
    batch = {k: v.cpu() if isinstance(v, Tensor) else v for k, v in batch.items()}
    with torch.inference_mode():
        sr, inputs = forward(network, batch)
        return loss.parts(sr, batch["hr"], **inputs)


def _bound(forward: Call) -> Forward:
    """The forward with its arguments made once, not at each step."""
    build = Build()
    made = {name: build.value(value) for name, value in forward.arguments.items()}
    return partial(forward.function, **made)
