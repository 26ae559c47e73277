"""Pairs of HR and LR pictures of your own: matched, checked, their alignment measured.

    found = match("my/hr", "my/lr", scale=4)     # by name; sizes are checked, no pixel is read
    found = measured(found)                      # shift, brightness and contrast of some of them
    print(found)                                 # what fits, what does not, how they lie
    crops = Paired(found.pairs, 4)               # a training set

A pair that is shifted by a fraction of a pixel teaches a network to shift. By MATLAB's bicubic the
pixel (0, 0) of LR is the mean of r x r pixels of HR. Who takes every r-th pixel instead, hr[::r],
gets an LR picture that lies (r - 1) / 2r of its pixels further down and right: 0.25 of them at x2.
"""

from __future__ import annotations

import hashlib
import math
import os
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from srkit.checks import at_least
from srkit.datasets.catalog import Pair
from srkit.datasets.patches import Patches, Unreadable, picture_size, read_or_name
from srkit.image.colour import to_y
from srkit.image.degrade import Gaussian
from srkit.image.folder import Found, find_pictures, reasons
from srkit.image.io import read_image
from srkit.image.resize import imresize
from srkit.image.tensors import check_image, modcrop, to_8bit

WINDOW = 256  # LR pixels of the middle that are compared
SHIFTED = 0.2  # LR pixels from which a pair counts as shifted
UNLIKE = 0.5  # correlation below which two pictures count as different ones
BRIGHTER = 3.0  # grey levels of 255 from which brightness counts as another
CONTRAST = 0.05  # share from which contrast counts as another


@dataclass(frozen=True)
class Alignment:
    """How an LR picture lies on its HR picture, reduced by bicubic to the same size.

    down, right: how far its content lies below and to the right, in LR pixels; None where the
        picture has too little detail to tell.
    brightness: mean of LR less that of HR, in grey levels of 255, of R, G and B.
    contrast: LR's slope over HR's, of coarse detail, 1 if it is the same; None in a flat picture.
    likeness: the correlation of both, once the shift is undone: 1 for equal pictures.
    """

    down: float | None
    right: float | None
    brightness: tuple[float, float, float]
    contrast: float | None
    likeness: float

    @property
    def shift(self) -> float:
        """The length of the shift in LR pixels, of what of it is known."""
        return math.hypot(self.down or 0.0, self.right or 0.0)


def measure_alignment(lr: Tensor, hr: Tensor, scale: int) -> Alignment:
    """The shift, brightness and contrast between lr (3, h, w) and hr (3, H, W), in [0, 1].

    The whole-pixel shift is the peak of the phase correlation of the middle of both pictures; from
    there, and from no shift at all, Gauss and Newton's method finds the shift, gain and offset of
    least squares, lr(p) = gain hr(p - shift) + offset + blur. Both pictures are smoothed a little
    first, so that noise and JPEG hardly matter. Measured on photographs, with blur of sigma 2,
    noise of 25 levels or JPEG of quality 30 in LR: right to 0.06 LR pixels. A shift of a quarter of
    the short side, or more, is not looked for.

    Raises ValueError for sizes that do not fit (H // scale, W // scale), and what `check_image`
    raises.
    """
    check_image(lr, "lr", batch=False)
    check_image(hr, "hr", batch=False)
    expected = hr.shape[-2] // scale, hr.shape[-1] // scale
    if tuple(lr.shape[-2:]) != expected:
        raise ValueError(f"lr is {tuple(lr.shape[-2:])}, expected {expected}, hr's sides / {scale}")
    hr = _middle(modcrop(hr, scale), scale * WINDOW, scale)
    lr = _middle(lr, WINDOW).double()
    low = imresize(hr, size=tuple(lr.shape[-2:])).clamp(0, 1).double()
    x, y = (to_y(each)[0] for each in (low, lr))  # (h, w)
    best = None
    for start in dict.fromkeys([(0.0, 0.0), _whole_pixels(x, y)]):
        found = _refined(x, y, start, sigmas=(2.0, 1.0))
        if best is None or found.likeness > best.likeness + 1e-3:
            best = found
    assert best is not None
    if best.likeness > 0:  # once more, now HR itself is moved: to reduce and to move do not commute
        fine = _refined(to_y(hr)[0].double(), y, best.shift, sigmas=(1.0,), scale=scale)
        best = fine if fine.likeness > 0 else best
    down, right = best.shift
    brightness = 255 * (lr - low).mean((1, 2))
    return Alignment(
        down=down if best.errors[0] < SHIFTED / 2 else None,
        right=right if best.errors[1] < SHIFTED / 2 else None,
        brightness=(brightness[0].item(), brightness[1].item(), brightness[2].item()),
        contrast=_slope(x, y, best.shift),
        likeness=best.likeness,
    )


@dataclass(frozen=True)
class _Fit:
    """A shift by least squares, its standard errors (LR pixels), and the correlation it leaves."""

    shift: tuple[float, float]
    errors: tuple[float, float] = (math.inf, math.inf)
    likeness: float = -1.0


def _middle(x: Tensor, side: int, unit: int = 1) -> Tensor:
    """At most `side` pixels of the middle, cut at multiples of `unit`."""
    top, left = (max(0, (n - side) // 2 // unit * unit) for n in x.shape[-2:])
    return x[..., top : top + side, left : left + side]


def _whole_pixels(x: Tensor, y: Tensor) -> tuple[float, float]:
    """The whole-pixel shift of y (h, w) against x: the peak of their phase correlation."""
    h, w = x.shape
    window = torch.hann_window(h, dtype=x.dtype)[:, None] * torch.hann_window(w, dtype=x.dtype)
    a, b = (torch.fft.rfft2(_smooth(each - each.mean(), 1.0) * window) for each in (x, y))
    cross = b * a.conj()
    peaks = torch.fft.irfft2(cross / cross.abs().clamp_min(1e-9), (h, w))
    row, column = divmod(int(peaks.argmax()), w)
    return float(row - h if row > h // 2 else row), float(column - w if column > w // 2 else column)


def _refined(
    x: Tensor, y: Tensor, start: tuple[float, float], *, sigmas: Sequence[float], scale: int = 1
) -> _Fit:
    """The shift of y (h, w) against x, by Gauss and Newton's steps from `start`.

    y = gain x + offset - shift grad x + blur laplace x. The last term takes up what a blur of y
    leaves, which would pull the shift otherwise. scale: x has so many times the sides of y, and is
    reduced after it was moved.
    """
    shift, fit = torch.tensor(start, dtype=torch.float64, device=y.device), _Fit(start)
    for sigma in sigmas:
        b = _smooth(y, sigma)
        for again in range(7, -1, -1):
            border = 4 + math.ceil(shift.abs().max().item())
            if 4 * border > min(y.shape):  # too little of the two is the same place
                return _Fit(start)
            a = _moved(x if scale > 1 else _smooth(x, sigma), scale * shift)
            if scale > 1:
                a = _smooth(imresize(a, size=tuple(y.shape)), sigma)
            rows, columns = torch.gradient(a)
            curve = torch.gradient(rows)[0] + torch.gradient(columns)[1]
            known = torch.stack([a, torch.ones_like(a), -rows, -columns, curve])
            known = known[:, border:-border, border:-border].flatten(1).T  # (pixels, 5)
            seen = b[border:-border, border:-border].flatten()
            square = known.T @ known + 1e-9 * torch.eye(5, dtype=known.dtype, device=known.device)
            found = torch.linalg.solve(square, known.T @ seen)
            gain = found[0].item() if abs(found[0]) > 0.05 else 1.0
            step = (found[2:4] / gain).clamp(-1, 1)
            shift = shift + step
            if again and step.abs().max() > 1e-3:
                continue
            left = (known @ found - seen).square().sum() / max(len(seen) - 5, 1)
            left = left + 1 / 12 / 255**2  # of rounding to 8 bits
            # neighbours err together: about 4 pi sigma² of them count as one
            spread = (left * torch.linalg.inv(square).diagonal() * 4 * math.pi * sigma**2).sqrt()
            errors = (spread[2].item() / abs(gain), spread[3].item() / abs(gain))
            likeness = torch.corrcoef(torch.stack([known[:, 0], seen]))[0, 1].nan_to_num(0.0)
            fit = _Fit((shift[0].item(), shift[1].item()), errors, likeness.item())
            break
    return fit


def _moved(x: Tensor, shift: Tensor) -> Tensor:
    """x (h, w) with its content moved down and right, cubic between pixels."""
    h, w = x.shape
    rows = torch.arange(h, dtype=x.dtype, device=x.device) - shift[0]
    columns = torch.arange(w, dtype=x.dtype, device=x.device) - shift[1]
    grid = torch.stack(
        torch.meshgrid(2 * rows / (h - 1) - 1, 2 * columns / (w - 1) - 1, indexing="ij"), -1
    )
    how = {"mode": "bicubic", "padding_mode": "border", "align_corners": True}
    return F.grid_sample(x[None, None], grid.flip(-1)[None], **how)[0, 0]


def _slope(x: Tensor, y: Tensor, shift: tuple[float, float]) -> float | None:
    """The slope of y over x, both smoothed so that blur does not count; None for a flat x."""
    a = _moved(_smooth(x, 3.0), torch.tensor(shift, dtype=x.dtype, device=x.device))
    b = _smooth(y, 3.0)
    border = min(4 + math.ceil(max(map(abs, shift))), min(a.shape) // 4)
    a, b = (each[border:-border, border:-border].flatten() for each in (a, b))
    a, b = a - a.mean(), b - b.mean()
    if a.square().mean().sqrt() * 255 < 4:
        return None
    return ((a * b).sum() / a.square().sum()).item()


def _smooth(x: Tensor, sigma: float) -> Tensor:
    kernel = Gaussian(sigma).make().to(x.dtype)
    size = kernel.shape[0] // 2
    rows, columns = kernel.sum(1).view(1, 1, -1, 1), kernel.sum(0).view(1, 1, 1, -1)
    padded = F.pad(x[None, None], (size,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(padded, rows), columns)[0, 0]


@dataclass(frozen=True)
class Pairs:
    """HR and LR pictures of two folders, as `match` found them and `measured` measured them.

    rule: how LR is named after HR, "{name}" or "{name}x4". left_out: pictures without a fitting
    twin, and why. alignments: of the pairs that were measured, by name.
    """

    hr: Path
    lr: Path
    scale: int
    rule: str
    pairs: tuple[Pair, ...]
    left_out: dict[Path, str] = field(default_factory=dict)
    alignments: dict[str, Alignment] = field(default_factory=dict)

    @property
    def shifted(self) -> dict[str, Alignment]:
        """The measured pairs that are off by SHIFTED LR pixels or more, the worst first."""
        found = {n: a for n, a in self.alignments.items() if a.shift >= SHIFTED}
        return dict(sorted(found.items(), key=lambda item: -item[1].shift))

    @property
    def unlike(self) -> list[str]:
        """The measured pairs whose pictures show different things."""
        detailed = (n for n, a in self.alignments.items() if a.contrast is not None)
        return [n for n in detailed if self.alignments[n].likeness < UNLIKE]

    def refusal(self) -> str | None:
        """Why a training on these pairs is refused, in a sentence; None if it is not.

        The rule: half of the measured pairs, or more, are shifted or show different things.
        """
        wrong = {*self.shifted, *self.unlike}
        if not self.alignments or 2 * len(wrong) < len(self.alignments):
            return None
        if 2 * len(self.unlike) >= len(self.alignments):
            return (
                f"LR and HR show different things in {len(self.unlike)} of {len(self.alignments)} "
                f"measured pairs ({_some(self.unlike)}): check the names, or the orientation"
            )
        down, right = self._medians(self.shifted.values())
        return (
            f"LR is shifted against HR in {len(wrong)} of {len(self.alignments)} measured pairs, "
            f"by {down:+.2f} pixels down and {right:+.2f} right in the median: a network would "
            "learn the shift; align them, or make LR of HR"
        )

    def warnings(self) -> list[str]:
        """What may be wrong with these pairs, a sentence each.

        The rule: some pairs are shifted or show different things; in the median brightness differs
        by BRIGHTER grey levels of 255 in a channel, or contrast by a share of CONTRAST.
        """
        if not self.alignments:
            return []
        found = []
        if self.shifted:
            worst = [f"{name} by {a.shift:.2f}" for name, a in self.shifted.items()]
            found.append(f"LR is shifted against HR in some pairs, in LR pixels: {_some(worst)}")
        if self.unlike:
            found.append(f"LR and HR show different things: {_some(self.unlike)}")
        colours = self._brightness()
        if max(map(abs, colours)) >= BRIGHTER:
            r, g, b = colours
            found.append(
                f"LR's brightness is not HR's: {r:+.1f}, {g:+.1f}, {b:+.1f} grey levels in R, G, "
                "B; a network would learn the difference"
            )
        contrast = self._contrast()
        if contrast is not None and abs(contrast - 1) >= CONTRAST:
            found.append(
                f"LR's contrast is {contrast:.2f} times HR's: a network would learn the difference"
            )
        return found

    def __str__(self) -> str:
        lines = [
            f"{self.hr} with {self.lr}, x{self.scale}: {len(self.pairs)} pairs, "
            f"LR is named {self.rule}"
        ]
        if self.left_out:
            lines.append(reasons(self.left_out))
        if self.alignments:
            down, right = self._medians(self.alignments.values())
            worst, name = max((a.shift, name) for name, a in self.alignments.items())
            r, g, b = self._brightness()
            contrast = self._contrast()
            lines += [
                f"measured in {len(self.alignments)} pairs; LR against HR, reduced by bicubic:",
                f"  shift, LR pixels      {down:+.2f} down, {right:+.2f} right in the median, "
                f"{worst:.2f} at most ({name})",
                f"  brightness, of 255    {r:+.1f} R, {g:+.1f} G, {b:+.1f} B in the median",
                "  contrast              "
                + ("too flat to tell" if contrast is None else f"{contrast:.3f} in the median"),
            ]
            refused = self.refusal()
            said = (
                [f"refused: {refused}"] if refused else [f"warning: {w}" for w in self.warnings()]
            )
            lines += said or ["aligned: nothing that a network would learn wrongly was found"]
        return "\n".join(lines)

    def _medians(self, of: Iterable[Alignment]) -> tuple[float, float]:
        found = [(a.down or 0.0, a.right or 0.0) for a in of]
        return median(d for d, _ in found), median(r for _, r in found)

    def _brightness(self) -> tuple[float, float, float]:
        r, g, b = zip(*(a.brightness for a in self.alignments.values()), strict=True)
        return median(r), median(g), median(b)

    def _contrast(self) -> float | None:
        known = [a.contrast for a in self.alignments.values() if a.contrast is not None]
        return median(known) if known else None


def _some(names: Sequence[str]) -> str:
    return f"{', '.join(names[:3])}{' ...' if len(names) > 3 else ''}"


def match(
    hr: str | os.PathLike, lr: str | os.PathLike, scale: int, *, rule: str | None = None
) -> Pairs:
    """The pairs of a folder of HR and one of LR pictures, by name; sizes are checked.

    rule: LR's name (without suffix) as a text with {name}, HR's, in it. None tries "{name}",
    "{name}x4" and "{name}_x4" (with the scale), and takes the one that most pictures follow.
    A pair fits if LR has HR's sides / scale, rounded down; HR is then cut at the bottom and right.
    Only the headers of the files are read.

    Raises FileNotFoundError for a folder that is not there or has no picture; ValueError for a rule
    without {name}, and where no pair fits: it says the first reasons.
    """
    at_least(1, scale=scale)
    if rule is not None and "{name}" not in rule:
        raise ValueError(f'rule={rule!r}: a name with {{name}} in it is expected, as "{{name}}x4"')
    high, low = find_pictures(hr), find_pictures(lr)
    left_out = high.left_out | low.left_out
    tall, small = _by_name(high, left_out), _by_name(low, left_out)
    rules = [rule] if rule else ["{name}", f"{{name}}x{scale}", f"{{name}}_x{scale}"]
    chosen = max(rules, key=lambda each: sum(each.replace("{name}", n) in small for n in tall))
    pairs = []
    for name, path in tall.items():
        twin = small.pop(chosen.replace("{name}", name), None)
        if twin is None:
            left_out[path] = "no LR picture of its name"
        elif why := _misfit(path, twin, scale):
            left_out[twin] = why
        else:
            pairs.append(Pair(name, path, twin))
    left_out |= dict.fromkeys(small.values(), "no HR picture of its name")
    if not pairs:
        raise ValueError(
            f"no pair of {high.folder} and {low.folder} fits x{scale}: {reasons(left_out)}"
        )
    return Pairs(high.folder, low.folder, scale, chosen, tuple(pairs), left_out)


def _by_name(found: Found, left_out: dict[Path, str]) -> dict[str, Path]:
    """The pictures by their names without suffix; of two of one name neither."""
    names: dict[str, list[Path]] = {}
    for path in found.pictures:
        names.setdefault(path.stem, []).append(path)
    for twins in names.values():
        if len(twins) > 1:
            left_out |= dict.fromkeys(twins, "two pictures have its name")
    return {name: twins[0] for name, twins in names.items() if len(twins) == 1}


def _misfit(hr: Path, lr: Path, scale: int) -> str | None:
    """Why two pictures are no pair by their sizes; None if they are one."""
    try:
        (height, width), (h, w) = picture_size(hr), picture_size(lr)
    except ValueError as error:
        return str(error)
    if (h, w) == (height // scale, width // scale):
        return None
    return f"is {w}x{h}, HR's {width}x{height} / {scale} is {width // scale}x{height // scale}"


def measured(found: Pairs, *, most: int | None = 20) -> Pairs:
    """The same pairs with the alignment of `most` of them, spread evenly; None measures all.

    A pair with a picture that cannot be read is left out, and so is one of less than 24 LR pixels
    from the measuring alone.

    Raises ValueError where no pair is left.
    """
    at_least(1, most=most)
    step = 1 if most is None else max(1, len(found.pairs) / most)
    chosen = {int(k * step) for k in range(math.ceil(len(found.pairs) / step))}
    left_out, kept, alignments = dict(found.left_out), [], {}
    for number, pair in enumerate(found.pairs):
        if number in chosen:
            assert pair.lr is not None
            try:
                hr, lr = read_image(pair.hr), read_image(pair.lr)
                if min(lr.shape[1:]) >= 24:
                    alignments[pair.name] = measure_alignment(lr, hr, found.scale)
            except (ValueError, PermissionError) as error:
                left_out[pair.lr] = str(error)
                continue
        kept.append(pair)
    if not kept:
        raise ValueError(f"no pair of {found.hr} and {found.lr} is left: {reasons(left_out)}")
    return replace(found, pairs=tuple(kept), left_out=left_out, alignments=alignments)


def checked(found: Pairs, *, allow: bool = False) -> Pairs:
    """The pairs, once they are measured, for a training; a warning says what may be wrong.

    Raises ValueError by the rule of `Pairs.refusal`; with `allow` that is a warning, too.
    """
    found = found if found.alignments else measured(found)
    refused = found.refusal()
    if refused and not allow:
        raise ValueError(f"{refused} (allow_misaligned trains on them all the same)")
    for each in [refused] if refused else found.warnings():
        warnings.warn(each, stacklevel=2)
    return found


class Paired(Patches):
    """Crops of pairs that are files: as of `Patches`, but LR is read, not made.

    The pairs' sizes must fit, as those of `match` do; store, device: see `Patches`.

    Raises ValueError for a pair without an LR file or of sizes that do not fit, and what `Patches`
    raises.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        scale: int,
        *,
        store: str | os.PathLike | None = None,
        device: str | torch.device = "cpu",
    ):
        self.twins: list[Path] = []
        for pair in pairs:
            if pair.lr is None:
                raise ValueError(f"{pair.name} has no LR file: give a pair")
            if why := _misfit(pair.hr, pair.lr, scale):
                raise ValueError(f"{pair.lr} {why}")
            self.twins.append(pair.lr)
        super().__init__([pair.hr for pair in pairs], scale, store=store, device=device)

    @property
    def pictures(self) -> list[Tensor]:
        """All HR pictures, then all LR pictures, uint8 (3, H, W): what the record's hash is of."""
        (planes,) = self.lr.values()
        return [*super().pictures, *map(self.view, planes)]

    def low(self, number: int, picture: Tensor, scale: int) -> Tensor:
        """The LR picture from its file."""
        return to_8bit(read_or_name(self.twins[number]))

    def key(self, pictures: Sequence) -> bytes:
        """Of the store: the LR files count, too."""
        files = (path.read_bytes() for path in self.twins)
        digest = hashlib.sha256(super().key(pictures))
        for data in files:
            digest.update(hashlib.sha256(data).digest())
        return digest.digest()


def paired(pairs: Sequence[Pair], scale: int, **where: Any) -> Paired:
    """`Paired` of those pairs whose files can be read; a warning names the others.

    Raises ValueError where none can be.
    """
    left_out: dict[Path, str] = {}
    while True:
        kept = [p for p in pairs if not {p.hr, p.lr} & left_out.keys()]
        if not kept:
            raise ValueError(f"none of {len(pairs)} pairs can be read: {reasons(left_out)}")
        try:
            found = Paired(kept, scale, **where)
        except Unreadable as damaged:
            left_out[Path(damaged.path)] = "damaged or no picture"
            continue
        if left_out:
            warnings.warn(reasons(left_out), stacklevel=3)
        return found
