"""Terms of a training loss, and their sum: read it, call it, see each part.

    loss = 0.01 * L1() + content("esrgan") + 0.005 * adversarial
    print(loss)                     # the equation, and the formula of each term
    loss(sr, hr)                    # the scalar to minimise
    loss.parts(sr, hr)              # {"L1": ..., "content": ..., "adversarial": ...}, not weighed

A loss of your own is a class with a label, a formula and a value, here of neighbours in a row:

    class Edges(Term):
        label = "edges"
        formula = "mean |dx(sr) - dx(hr)|"

        def value(self, sr: Tensor, hr: Tensor) -> Tensor:
            return (sr.diff(dim=-1) - hr.diff(dim=-1)).abs().mean()

    loss = L1() + 0.1 * Edges()

A `FeatureTerm` compares what a trained network sees instead, by `compare`. Terms that look through
one network share it: in a sum each picture passes it once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from srkit.losses.balance import Factors
from srkit.metrics.features import Extractor

Features = Mapping[str, Tensor]  # of one picture, by layer


def feature_mean(x: Tensor) -> Tensor:
    """x.mean(), with a gradient that keeps the layout channels_last of the features x.

    The gradient of x.mean() does not keep it, which makes the backward pass three times slower.
    """
    return x.sum() / x.numel()


class Term(nn.Module):
    """One loss: term(sr, hr) -> scalar, for pictures (B, 3, H, W).

    hr is in [0, 1]; sr is what the network gives, and may leave that range.

    - value(sr, hr): what a subclass computes.
    - label: its name in a sum.
    - formula: its equation, for people.
    - needs: further inputs and what each of them is, in their order. With {"negative": "..."} it is
      called as term(sr, hr, blurred) or term(sr, hr, negative=blurred).

    Raises what `Sum` raises.
    """

    label: str
    formula: str
    needs: Mapping[str, str] = {}

    def value(self, sr: Tensor, hr: Tensor, **inputs: Any) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} has no value(sr, hr)")

    def forward(self, sr: Tensor, hr: Tensor, *inputs: Any, **named: Any) -> Tensor:
        return Sum([(1.0, self)])(sr, hr, *inputs, **named)

    def __mul__(self, weight: float) -> Sum:
        return Sum([(1.0, self)]) * weight

    def __add__(self, other: Term | Sum) -> Sum:
        return Sum([(1.0, self)]) + other

    __rmul__ = __mul__

    def __repr__(self) -> str:
        return f"{self.label}: {self.formula}"


class Looking(Protocol):
    """What a `FeatureTerm` looks through: a `srkit.metrics.features.Extractor`, or its like.

    name and sha256 together tell it from all others.
    """

    @property
    def name(self) -> str: ...

    @property
    def sha256(self) -> str: ...

    @property
    def layers(self) -> tuple[str, ...]: ...

    def __call__(self, image: Tensor, layers: Iterable[str]) -> Mapping[str, Any]: ...


class FeatureTerm(Term):
    """A term that compares features: what a frozen network sees in the pictures.

    A subclass calls `look_through` when it is made, and gives `compare`. That gets features by
    layer: those of sr with their graph, those of hr and of the `needs` without. They are float32,
    because squares of VGG's features overflow in half precision.
    """

    extractor: Looking
    layers: tuple[str, ...]

    def look_through(self, extractor: Looking, layers: Iterable[str]) -> None:
        """Set the extractor and the layers to look at.

        Raises ValueError for layers that the extractor has not, or for none.
        """
        layers = tuple(layers)
        unknown = [layer for layer in layers if layer not in extractor.layers]
        if unknown or not layers:
            raise ValueError(
                f"{extractor.name} has no layers {unknown}; it has {', '.join(extractor.layers)}"
            )
        self.extractor, self.layers = extractor, layers

    @property
    def source(self) -> tuple[str, str]:
        """The extractor's name and hash. In a sum, terms of one source share its features."""
        return self.extractor.name, self.extractor.sha256

    @property
    def trunk(self) -> str:
        """The extractor's name and the first digits of its hash, for formulas."""
        return f"{self.extractor.name} (sha256 {self.extractor.sha256[:8]})"

    def compare(self, sr: Features, hr: Features, **inputs: Features) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} has no compare(sr, hr)")


class Sum(nn.Module):
    """A loss of weighted terms: sum_k w_k L_k, or what a `balance` makes of them.

    - terms, weights: by label. A label that stands there already gets a number, "L1 (2)".
    - balance: changes the weights while a network trains, see `srkit.losses.balance`.
    - needs: what all the terms need, see `Term`.

    A call raises ValueError for pictures that differ in size, for an hr outside [0, 1] (which is
    looked at on the CPU alone), for an input that is missing and for one that no term takes.
    """

    terms: Mapping[str, Term]
    weights: dict[str, float]
    balance: Factors | None

    def __init__(self, terms: Iterable[tuple[float, Term]], balance: Factors | None = None):
        super().__init__()
        by_label, self.weights = {}, {}
        for weight, term in terms:
            label, twin = term.label, 2
            while label in by_label:
                label, twin = f"{term.label} ({twin})", twin + 1
            by_label[label], self.weights[label] = term, float(weight)
        self.terms = cast(Mapping[str, Term], nn.ModuleDict(by_label))
        self.balance = balance
        self.needs = {
            name: what for term in self.terms.values() for name, what in term.needs.items()
        }

    def forward(self, sr: Tensor, hr: Tensor, *inputs: Any, **named: Any) -> Tensor:
        return self.combine(self.parts(sr, hr, *inputs, **named))

    def parts(self, sr: Tensor, hr: Tensor, *inputs: Any, **named: Any) -> dict[str, Tensor]:
        """L_k: the value of each term, by label, before weights."""
        if len(inputs) > len(self.needs):
            raise ValueError(
                f"this loss takes {len(self.needs)} inputs after sr and hr, not {len(inputs)}"
            )
        named |= dict(zip(self.needs, inputs, strict=False))
        self._check(sr, hr, named)
        # what a network gives under autocast is compared in float32
        pictures = {"sr": sr.to(torch.promote_types(sr.dtype, torch.float32)), "hr": hr, **named}
        seen = self._look(pictures)
        values = {}
        for label, term in self.terms.items():
            names = ("sr", "hr", *term.needs)
            if isinstance(term, FeatureTerm):
                with torch.autocast(sr.device.type, enabled=False):
                    values[label] = term.compare(**{n: seen[n, term.source] for n in names})
            else:
                values[label] = term.value(**{n: pictures[n] for n in names})
        return values

    def combine(self, parts: Mapping[str, Tensor]) -> Tensor:
        """The scalar to minimise, of what `parts` gives."""
        if self.balance is not None:
            return self.balance(parts, self.weights)
        return sum((self.weights[k] * part for k, part in parts.items()), torch.zeros(()))

    def balanced(self, balance: Factors) -> Sum:
        """The same terms, weighed by `balance`."""
        return Sum(self._weighed(), balance)

    def learned(self) -> dict[str, Tensor]:
        """The part of its state that training changes: discriminators, and what `balance` learned.

        A discriminator that terms share is there under each term's name. Extractors and the heads
        of LPIPS are left out: they never change, and VGG-19 has 80 MB.
        """
        never = Extractor | nn.ParameterDict
        every = self.named_modules(remove_duplicate=False)
        frozen = tuple(f"{name}." for name, module in every if isinstance(module, never))
        return {k: v for k, v in self.state_dict().items() if not k.startswith(frozen)}

    def discriminators(self) -> dict[str, Tensor]:
        """The tensors of its discriminators, by their names in its state."""
        return {k: v for k, v in self.learned().items() if not k.startswith("balance.")}

    def _look(self, pictures: Mapping[str, Tensor]) -> dict[tuple[str, tuple], Features]:
        """By picture and extractor, all layers that any term asks for, from one pass."""
        extractors: dict[tuple, Looking] = {}  # two that were loaded from one file are one
        wanted: dict[tuple[str, tuple], dict[str, None]] = {}  # a dict: a set in fixed order
        for term in self.terms.values():
            if isinstance(term, FeatureTerm):
                extractors.setdefault(term.source, term.extractor)
                for name in ("sr", "hr", *term.needs):
                    wanted.setdefault((name, term.source), {}).update(dict.fromkeys(term.layers))
        seen = {}
        for (name, source), layers in wanted.items():
            with torch.set_grad_enabled(name == "sr" and torch.is_grad_enabled()):
                seen[name, source] = extractors[source](pictures[name], layers)
        return seen

    def _check(self, sr: Tensor, hr: Tensor, inputs: Mapping[str, Any]) -> None:
        if missing := self.needs.keys() - inputs.keys():
            name = sorted(missing)[0]
            raise ValueError(f"this loss needs {name}=..., {self.needs[name]}")
        if unused := inputs.keys() - self.needs.keys():
            raise ValueError(
                f"no term of this loss takes {', '.join(sorted(unused))}: leave it out"
            )
        if sr.shape != hr.shape or sr.ndim != 4 or sr.shape[1] != 3:
            raise ValueError(
                f"a loss compares pictures (B, 3, H, W) of one size; sr is {tuple(sr.shape)}, "
                f"hr {tuple(hr.shape)}"
            )
        # not on a GPU, which would have to be waited for, nor while torch.compile records a graph
        if hr.device.type == "cpu" and not torch.compiler.is_compiling():
            low, high = (value.item() for value in hr.detach().aminmax())
            if not (low >= -1e-3 and high <= 1 + 1e-3):
                raise ValueError(
                    f"hr holds values from {low:.4g} to {high:.4g}, expected [0, 1]: "
                    "divide 8-bit pictures by 255"
                )

    def _weighed(self) -> list[tuple[float, Term]]:
        return [(self.weights[label], term) for label, term in self.terms.items()]

    def __mul__(self, weight: float) -> Sum:
        return Sum([(weight * w, term) for w, term in self._weighed()], self.balance)

    def __add__(self, other: Term | Sum) -> Sum:
        other = other if isinstance(other, Sum) else Sum([(1.0, other)])
        if self.balance is not None or other.balance is not None:
            raise ValueError("add all terms first, then balance their sum: (a + b).balanced(...)")
        return Sum([*self._weighed(), *other._weighed()])

    __rmul__ = __mul__

    def __repr__(self) -> str:
        if list(self.weights.values()) == [1.0] and self.balance is None:
            return repr(next(iter(self.terms.values())))
        weighed = (
            label if weight == 1 else f"{weight:g} {label}"
            for label, weight in self.weights.items()
        )
        width = max(map(len, self.terms), default=0)
        lines = [f"  {label:<{width}}  {term.formula}" for label, term in self.terms.items()]
        by = [f"  weighed by {self.balance}"] if self.balance is not None else []
        return "\n".join([" + ".join(weighed), *lines, *by])
