"""Terms of a training loss, and their sum: read it, call it, see each part.

    loss = 0.01 * L1() + content("esrgan") + 0.005 * adversarial
    print(loss)                     # the equation, and the formula of each term
    loss(sr, hr)                    # the scalar to minimise
    loss.parts(sr, hr)              # {"L1": ..., "content": ..., "adversarial": ...}, not weighed

Terms that look through one trunk share it: in a sum each picture passes it once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn

from srkit.metrics.features import Extractor

Features = Mapping[str, Tensor]  # of one picture, by layer
Balance = Callable[[Mapping[str, Tensor], Mapping[str, float]], Tensor]


def mean(x: Tensor) -> Tensor:
    """x.mean(), for features: their gradient stays channels_last, like they are.

    That of x.mean() does not, and takes three times as long from there on.
    """
    return x.sum() / x.numel()


class Term(nn.Module):
    """`term(sr, hr) -> scalar` for pictures (B, 3, H, W): hr in [0, 1], sr as the network gives it.

    A subclass gives `value`. `label` is its name in a sum, `formula` what it computes. `needs` says
    which further inputs it takes, in which order, and what each is: `term(sr, hr, blurred)` or
    `term(sr, hr, negative=blurred)`.
    """

    label: str
    formula: str
    needs: Mapping[str, str] = {}

    def value(self, sr: Tensor, hr: Tensor, **inputs: Tensor) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} has no value(sr, hr)")

    def forward(self, sr: Tensor, hr: Tensor, *inputs: Tensor, **named: Tensor) -> Tensor:
        return Sum([(1.0, self)])(sr, hr, *inputs, **named)

    def __mul__(self, weight: float) -> Sum:
        return Sum([(1.0, self)]) * weight

    def __add__(self, other: Term | Sum) -> Sum:
        return Sum([(1.0, self)]) + other

    __rmul__ = __mul__

    def __repr__(self) -> str:
        return f"{self.label}: {self.formula}"


class FeatureTerm(Term):
    """A term that compares what a frozen extractor sees; a subclass gives `compare`.

    `compare` gets float32 features by layer, of sr with their graph, of hr and of the `needs`
    without. float32, because squares of VGG's features have no room in half precision.
    """

    extractor: Extractor
    layers: tuple[str, ...]

    def look_through(self, extractor: Extractor, layers: Iterable[str]) -> None:
        """Take the extractor and the layers to look at, which must be among its own."""
        layers = tuple(layers)
        unknown = [layer for layer in layers if layer not in extractor.layers]
        if unknown or not layers:
            raise ValueError(
                f"{extractor.name} has no layers {unknown}; it has {', '.join(extractor.layers)}"
            )
        self.extractor, self.layers = extractor, layers

    @property
    def trunk(self) -> str:
        """Which network looks, beyond doubt: its lineage and the first digits of its hash.

        Terms of one trunk share one look in a sum.
        """
        return f"{self.extractor.name} (sha256 {self.extractor.sha256[:8]})"

    def compare(self, sr: Features, hr: Features, **inputs: Features) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} has no compare(sr, hr)")


class Sum(nn.Module):
    """Weighted terms. `parts` gives each term's value, `combine` makes one scalar of them.

    combine is sum_k w_k part_k, unless a `balance` (`srkit.losses.balance`) decides otherwise.

    Raises ValueError for pictures that differ in size, an hr outside [0, 1] (looked at on the CPU
    alone), an input that a term needs and does not get, or that none needs.
    """

    def __init__(self, terms: Iterable[tuple[float, Term]], balance: Balance | None = None):
        super().__init__()
        self.terms, self.weights = nn.ModuleDict(), {}
        for weight, term in terms:
            label, twin = term.label, 2
            while label in self.terms:
                label, twin = f"{term.label} ({twin})", twin + 1
            self.terms[label], self.weights[label] = term, float(weight)
        self.balance = balance
        self.needs = {
            name: what for term in self.terms.values() for name, what in term.needs.items()
        }

    def forward(self, sr: Tensor, hr: Tensor, *inputs: Tensor, **named: Tensor) -> Tensor:
        return self.combine(self.parts(sr, hr, *inputs, **named))

    def parts(self, sr: Tensor, hr: Tensor, *inputs: Tensor, **named: Tensor) -> dict[str, Tensor]:
        """The value of each term, by label, before weights."""
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
                    values[label] = term.compare(**{n: seen[n, term.trunk] for n in names})
            else:
                values[label] = term.value(**{n: pictures[n] for n in names})
        return values

    def combine(self, parts: Mapping[str, Tensor]) -> Tensor:
        if self.balance is not None:
            return self.balance(parts, self.weights)
        return sum(self.weights[label] * part for label, part in parts.items())

    def balanced(self, balance: Balance) -> Sum:
        """The same terms, weighed by `balance`."""
        return Sum(self._weighed(), balance)

    def _look(self, pictures: Mapping[str, Tensor]) -> dict[tuple[str, str], Features]:
        """Each picture once through each trunk, with all layers that any term asks for."""
        extractors: dict[str, Extractor] = {}  # two that were loaded from one file are one
        wanted: dict[tuple[str, str], dict[str, None]] = {}  # a dict: a set in fixed order
        for term in self.terms.values():
            if isinstance(term, FeatureTerm):
                extractors.setdefault(term.trunk, term.extractor)
                for name in ("sr", "hr", *term.needs):
                    wanted.setdefault((name, term.trunk), {}).update(dict.fromkeys(term.layers))
        seen = {}
        for (name, trunk), layers in wanted.items():
            with torch.set_grad_enabled(name == "sr" and torch.is_grad_enabled()):
                seen[name, trunk] = extractors[trunk](pictures[name], layers)
        return seen

    def _check(self, sr: Tensor, hr: Tensor, inputs: Mapping[str, Tensor]) -> None:
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
        # on a GPU the values would have to be waited for, and compiling can't look at them
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
        weighed = (
            label if weight == 1 else f"{weight:g} {label}"
            for label, weight in self.weights.items()
        )
        width = max(map(len, self.terms), default=0)
        lines = [f"  {label:<{width}}  {term.formula}" for label, term in self.terms.items()]
        by = [f"  weighed by {self.balance}"] if self.balance is not None else []
        return "\n".join([" + ".join(weighed), *lines, *by])
