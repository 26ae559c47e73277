"""Your own pictures: a network, with the weights it has, goes on learning from a folder of yours.

    record = srkit.finetune("rlfn_x4", hr="my/photos", val="my/val", steps=2000)
    record = srkit.finetune("rlfn_x4", pairs=("my/hr", "my/lr"), loss={"l1": 1, "content": 0.1})
    record = srkit.finetune(model, hr="my/photos", degrade=real(4), loss=L1() + 0.1 * mine)

It is one `Stage` in one `Run`, as in recipes: the loop is `srkit.training.loop.fit`, to be read,
and called by yourself with the same words. What is different: the weights that it starts from are
measured first, on held-out pictures, and the record has both figures.
"""

from __future__ import annotations

import hashlib
import json
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import safe_open
from torch import Tensor

from srkit import files
from srkit.calls import Build, Call, Given, as_json, name_of
from srkit.checks import at_least, below, check_folder, finite
from srkit.datasets.catalog import Pair
from srkit.datasets.pairs import checked, match, paired
from srkit.datasets.patches import DegradedPatches, picture_size
from srkit.datasets.pictures import sound, training_pictures
from srkit.devices import find_device, in_bfloat16
from srkit.image import degrade as degradations
from srkit.image.degrade import Degradation, bicubic, files_of, generator_of
from srkit.image.folder import reasons
from srkit.image.io import read_image, write_image
from srkit.image.tensors import modcrop, to_8bit
from srkit.inference import upscale
from srkit.losses import (
    L1,
    LPIPS,
    MSE,
    Adversarial,
    Charbonnier,
    FeatureAdversarial,
    Huber,
    TotalVariation,
    UNetAdversarial,
    content,
    style,
)
from srkit.losses.objectives import RelativisticAverage, Standard, Wasserstein
from srkit.losses.terms import Sum, Term
from srkit.metrics.evaluate import evaluate
from srkit.metrics.features import vgg19
from srkit.models import ciplab, enhancenet, esrgan, srfeat, srresnet, ttsr
from srkit.models.layers import LumaNetwork
from srkit.models.network import Network, Wrapped, check_network
from srkit.training.loop import Crops, check_accumulate, enlarge, enlarge_y
from srkit.training.record import Record, data_facts
from srkit.training.run import Run
from srkit.training.schedules import Cosine, Schedule, Warmup
from srkit.training.stage import Continued, Loss, Stage, first_values
from srkit.weights.load import create_model, load_checkpoint, load_weights
from srkit.weights.save import check_savable, save

DEFAULT_STEPS = 1000
Pictures = list[Any]  # files, uint8 tensors (3, H, W), or pairs of files
HELD_OUT = 10  # of so many pictures one is held out, where no others are given
MOST_HELD_OUT = 10
VAL = "val"  # what the record calls the pictures that are not learned from

# Terms of a loss by name, as `loss={"l1": 1, "content": 0.1}` and `--l1 1 --content 0.1` have them.
LOSSES: dict[str, Callable[[str | None], Call]] = {
    "l1": lambda extractor: Call(L1),
    "mse": lambda extractor: Call(MSE),
    "charbonnier": lambda extractor: Call(Charbonnier),
    "huber": lambda extractor: Call(Huber),
    "tv": lambda extractor: Call(TotalVariation),
    "content": lambda extractor: Call(content, name="esrgan", extractor=extractor),
    "style": lambda extractor: Call(style, name="enhancenet", extractor=extractor),
    "lpips": lambda extractor: Call(LPIPS),
}
ADVERSARIAL = "adversarial"


def _against(discriminator: Call, objective: Any) -> Call:
    return Call(Adversarial, discriminator=discriminator, objective=objective)


# Adversarial terms by the paper of the discriminator; size: of the HR crops, in pixels.
DISCRIMINATORS: dict[str, Callable[[int], Call]] = {
    "srgan": lambda size: _against(Call(srresnet.Discriminator, size=size), Standard()),
    "enhancenet": lambda size: _against(Call(enhancenet.Discriminator, size=size), Standard()),
    "srfeat": lambda size: _against(Call(srfeat.ImageDiscriminator, size=size), Standard()),
    "srfeat-features": lambda size: Call(
        FeatureAdversarial,
        discriminator=Call(srfeat.FeatureDiscriminator, size=size // 16),
        objective=Standard(),
        extractor=Call(vgg19, lineage="oxford"),
    ),
    "esrgan": lambda size: _against(
        Call(esrgan.VGGDiscriminator, size=size), RelativisticAverage()
    ),
    "real-esrgan": lambda size: _against(Call(esrgan.UNetDiscriminator), Standard()),
    "ttsr": lambda size: _against(Call(ttsr.Discriminator, size=size), Wasserstein()),
    "ciplab": lambda size: Call(
        UNetAdversarial, discriminator=Call(ciplab.UNetDiscriminator)
    ),
}  # fmt: skip


def loss_of_weights(
    weights: Mapping[str, float], *, discriminator: str, size: int, extractor: str | None = None
) -> Loss:
    """A loss of LOSSES' terms by their weights; "adversarial" is against `discriminator`.

    size: of the HR crops. extractor: of content and style, None for the paper's, or "random".

    Raises ValueError for an unknown term, discriminator or extractor, a weight that is not above 0,
    and for no terms.
    """
    known = [*LOSSES, ADVERSARIAL]
    terms = []
    for name, weight in weights.items():
        if name not in known:
            raise ValueError(f"there is no loss {name!r}: one of {', '.join(known)}")
        finite(**{name: weight})
        if name == ADVERSARIAL:
            if discriminator not in DISCRIMINATORS:
                raise ValueError(
                    f"there is no discriminator {discriminator!r}: one of "
                    f"{', '.join(DISCRIMINATORS)}"
                )
            terms.append((float(weight), DISCRIMINATORS[discriminator](size)))
        else:
            terms.append((float(weight), LOSSES[name](extractor)))
    if not terms:
        raise ValueError(f"a loss without terms: give weights, as l1=1, of {', '.join(known)}")
    if extractor not in (None, "random"):
        raise ValueError(f"extractor {extractor!r}: None takes the paper's, 'random' needs no file")
    return Loss(tuple(terms))


class ReadyLoss(Loss):
    """A loss that was made already, as L1() + 0.1 * mine. In a plan stands how it prints."""

    ready: Sum

    def __init__(self, loss: Term | Sum):
        super().__init__(terms=((1.0, Call(own_loss, equation=str(loss))),))
        object.__setattr__(self, "ready", 1.0 * loss)

    def made(self, build: Build, measure: Callable[..., Any]) -> Sum:
        return self.ready


def own_loss(equation: str) -> Term:
    """Stands in a plan for terms of your own, which srkit cannot make. Raises ValueError."""
    raise ValueError(f"a loss of your own, make it yourself: {equation}")


def own_network(name: str, of: str) -> Network:
    """Stands in a plan for a network of your own, which srkit cannot make. Raises ValueError."""
    raise ValueError(f"{name} is a network of your own, {of}: build it yourself")


def finetune(
    model: Network | str | PathLike,
    *,
    hr: str | PathLike | None = None,
    pairs: tuple[str | PathLike, str | PathLike] | None = None,
    val: str | PathLike | tuple[str | PathLike, str | PathLike] | None = None,
    scale: int | None = None,
    weights: str | PathLike | None = None,
    degrade: str | Degradation | None = None,
    rule: str | None = None,
    loss: Mapping[str, float] | Loss | Term | Sum | None = None,
    discriminator: str = "esrgan",
    extractor: str | None = None,
    steps: int | None = None,
    minutes: float | None = None,
    batch: int = 16,
    patch: int = 32,
    rate: float | Schedule = 1e-4,
    accumulate: int = 1,
    clip: float | None = None,
    ema: float | None = None,
    keep: str = "best",
    validate_every: int | None = None,
    name: str | None = None,
    seed: int = 0,
    out: str | PathLike = "runs",
    precision: str = "auto",
    compiled: bool = False,
    device: str | None = None,
    tensorboard: bool = False,
    resume: str = "auto",
    from_scratch: bool = False,
    allow_misaligned: bool = False,
) -> Record:
    """Let a network go on learning from pictures of yours; return the record of the run.

    - model: a network of the zoo, by name or made; its file; or your own, by `srkit.as_model`. One
      that is given is trained in place. scale, weights: of a name, see `srkit.create_model`
      (weights: "official" unless told).
    - hr: pictures to learn from, a folder or what else `srkit train --data` takes; LR is made of
      them by `degrade`: "bicubic", "blind", "real", or a `srkit.image.degrade.Degradation`.
    - pairs: instead, a folder of HR and one of LR pictures, matched by `rule` and measured as
      `srkit.datasets.pairs` tells. Shifted ones are refused, unless `allow_misaligned`.
    - val: pictures to measure on, a folder of HR or a pair of folders. None holds out every tenth
      of `hr` or `pairs`, ten at most. Those are never learned from.
    - loss: weights of terms by name, {"l1": 1, "content": 0.1, "adversarial": 0.005} (LOSSES), or
      terms that are made. None is L1. discriminator: of "adversarial", a name of DISCRIMINATORS.
      extractor: of content and style, "random" needs no file. An untrained network is refused
      against a discriminator, unless `from_scratch`.
    - steps or minutes: how long; 1000 steps unless told. batch, patch, accumulate, clip, ema: as in
      `srkit.training.loop.fit`. rate: the highest learning rate, which is reached in the first
      fiftieth and falls along half a cosine; or a schedule.
    - keep: "best", the weights of the best PSNR on `val` (the start's, if none beat it), or "last".
    - name, seed, out: the run goes to OUT/finetune/MODEL/NAME-seedN; the name is the folder's,
      unless told.
    - precision, compiled, device, tensorboard, resume: as in `srkit.recipes.train`.

    Asked again, what was stopped goes on, on a CPU bit for bit, and what is finished is read. With
    more steps or minutes a finished run is extended from its last step. With other settings, other
    pictures or another start it is refused.

    The record's `baselines` have the start's scores and bicubic's, `pictures` the PSNR of each
    picture before and after, `start` the hash of the weights, `data` that of the pictures.
    `srkit.reports.gain.gain(record)` says in a sentence whether it helped.

    Raises ValueError for settings that do not fit, before any work; FileNotFoundError for pictures,
    weights or an extractor that are not at hand; FloatingPointError when the loss is not finite.
    """
    at_least(1, steps=steps, batch=batch, patch=patch, accumulate=accumulate)
    at_least(1, validate_every=validate_every)
    at_least(0, seed=seed)
    below(2**32 // 1000, seed=seed)
    finite(minutes=minutes, clip=clip, ema=ema)
    below(1.0, ema=ema)
    if steps is not None and minutes is not None:
        raise ValueError(f"a budget is steps or minutes: got steps={steps}, minutes={minutes}")
    in_bfloat16(precision, find_device(device))  # or they are refused now
    if keep not in ("best", "last"):
        raise ValueError(f"keep={keep!r}: best or last")
    if resume not in ("auto", "never"):
        raise ValueError(f"resume {resume!r}: auto or never")
    if (hr is None) == (pairs is None):
        raise ValueError(
            "what to learn from: hr=FOLDER, or pairs=(HR FOLDER, LR FOLDER), one of the two"
        )
    if pairs is not None and degrade is not None:
        raise ValueError("pairs have their LR pictures: leave degrade out, or give hr")
    if pairs is None and rule is not None:
        raise ValueError(f"rule={rule!r} is for pairs: leave it out, or give pairs")
    if not callable(rate):
        finite(rate=rate)
        rate = Warmup(Cosine(float(rate)), 0.02)
    model, start = _started(model, scale, weights)
    size = model.scale * patch
    named = {"discriminator": discriminator, "size": size, "extractor": extractor}
    if loss is None or isinstance(loss, Mapping):
        loss = loss_of_weights({"l1": 1.0} if loss is None else loss, **named)
    elif isinstance(loss, Term | Sum):
        loss = ReadyLoss(loss)
    elif not isinstance(loss, Loss):
        raise TypeError(
            f'loss is a {type(loss).__name__}: weights by name are expected, as {{"l1": 1}}, or '
            "terms, as L1() + 0.1 * mine"
        )
    if isinstance(degrade, str) or degrade is None:
        degrade = degradations.preset(degrade or "bicubic", model.scale)
    elif degrade.scale != model.scale:
        raise ValueError(f"degrade is for x{degrade.scale}, {model.name} enlarges by {model.scale}")
    data, short = _called(hr, pairs)
    folder = folder_of(out, model.name, name or short, seed)
    check_folder(folder)
    if resume == "never" and (folder / "asked.json").exists():
        raise ValueError(f"{folder} holds a run already: resume auto goes on with it")
    every: Pictures = (
        list(checked(match(*pairs, model.scale, rule=rule), allow=allow_misaligned).pairs)
        if pairs is not None
        else _large_enough(training_pictures(data), model.scale)
    )
    if val is None:
        measured = held = every[::HELD_OUT][:MOST_HELD_OUT] if len(every) > 1 else []
    else:
        measured = _validation(val, pairs is not None, model.scale, rule, allow_misaligned)
        paths = {_file(each) for each in measured}
        held = [each for each in every if _file(each) in paths and not isinstance(each, Tensor)]
        if len(held) == len(every):
            raise ValueError(f"no picture of {data} is left to learn from: val has them all")
        if held:
            warnings.warn(
                f"{len(held)} pictures of {data} are in val, too: they are not learned from",
                stacklevel=2,
            )
    shown = _measurable(measured, every, model)
    if val is not None and not shown:
        raise ValueError(f"none of the {len(measured)} pictures of val can be measured on")
    if not shown:
        warnings.warn("no picture is left to measure on: nothing tells if it helps", stacklevel=2)
    steps = DEFAULT_STEPS if steps is None else steps
    stage = Stage(
        name="finetune", network=_made_by(model), loss=loss, data=data, scale=model.scale,
        steps=steps, batch=batch, patch=patch, rate=rate, start=Continued(), clip=clip, ema=ema,
        crops=Call(
            crops_of, degrade=None if pairs else degrade, rule=rule,
            pairs=None if pairs is None else tuple(map(str, pairs)),
            held_out=tuple(_name_of(each, every) for each in held),
        ),
        accumulate=accumulate,
        forward=Call(enlarge_y if isinstance(model, LumaNetwork) else enlarge),
        validate_every=validate_every or max(1, min(250, steps // 4)), from_scratch=from_scratch,
    )  # fmt: skip
    check_savable(model)
    crops = stage.crops(data, model.scale, device)
    check_accumulate(accumulate, batch, _try_out(model, stage, crops, seed))
    asked = {
        "recipe": "finetune", "variant": model.name, "budget": name or short, "start": start,
        "plan": {
            "tests": [VAL] if shown else [], "lpips": False, "stages": [as_json(stage)],
            "keep": keep, "validation": _hash_of(shown), "files": _hashes(files_of(degrade)),
        },
    }  # fmt: skip
    run = Tuning(
        folder, asked, stage=stage, crops=crops, shown=shown, degrade=degrade, seed=seed,
        minutes=minutes, precision=precision, compiled=compiled, device=device,
        tensorboard=tensorboard,
    )  # fmt: skip
    return run.go(model)


def folder_of(out: str | PathLike, model: str, name: str, seed: int) -> Path:
    """Where a run goes: OUT/finetune/MODEL/NAME-seedN."""
    return Path(out).expanduser() / "finetune" / model / f"{name}-seed{seed}"


def crops_of(
    data: str,
    scale: int,
    device: str | None,
    *,
    degrade: Degradation | None = None,
    pairs: tuple[str, str] | None = None,
    rule: str | None = None,
    held_out: Sequence[str] = (),
) -> Crops:
    """Crops of the pictures that `data` means, degraded, or of pairs, in memory or in a file.

    held_out: the names of those that are not learned from. Damaged pictures are left out, with a
    warning that names them. The file, where memory does not suffice, is in srkit's cache.
    """
    every: Pictures = (
        list(match(*pairs, scale, rule=rule).pairs)
        if pairs is not None
        else _large_enough(training_pictures(data), scale)
    )
    held = set(held_out)
    kept = [each for each in every if _name_of(each, every) not in held]
    if pairs is not None:
        make: Callable[..., Crops] = partial(paired, kept, scale)
    elif degrade is None or degrade == bicubic(scale):
        make = partial(sound, kept, scale)
    else:
        make = partial(sound, kept, scale, make=partial(_degraded, degrade))
    with suppress(MemoryError):
        return make()
    digest = hashlib.sha256(json.dumps([data, sorted(held)]).encode()).hexdigest()[:12]
    return make(store=files.cache_folder() / "crops" / f"finetune {digest} x{scale}.pixels")


def _degraded(degrade: Degradation, pictures: Any, scale: int, **where: Any) -> DegradedPatches:
    return DegradedPatches(pictures, degrade, **where)


def _called(
    hr: str | PathLike | None, pairs: tuple[str | PathLike, str | PathLike] | None
) -> tuple[str, str]:
    """What the record calls the data, and what the run's folder is called."""
    if pairs is not None:
        data = " with ".join(str(folder).rstrip("/") for folder in pairs)
        return data, Path(pairs[0]).expanduser().resolve().name
    parts = [part.strip().rstrip("/") for part in str(hr).split("+")]
    return "+".join(parts), "+".join(Path(part).expanduser().resolve().name for part in parts)


def _validation(
    val: str | PathLike | tuple[str | PathLike, str | PathLike],
    of_pairs: bool,
    scale: int,
    rule: str | None,
    allow: bool,
) -> Pictures:
    """The pictures or pairs of `val`."""
    if isinstance(val, tuple):
        return list(checked(match(*val, scale, rule=rule), allow=allow).pairs)
    if of_pairs:
        raise ValueError(f"val={str(val)!r}: with pairs it is two, (HR FOLDER, LR FOLDER)")
    with warnings.catch_warnings():  # a benchmark is what one may measure on
        warnings.filterwarnings("ignore", ".* is a benchmark")
        return training_pictures(str(val))


def _file(each: Tensor | Path | Pair) -> Path | None:
    path = each.hr if isinstance(each, Pair) else each
    return path.resolve() if isinstance(path, Path) else None


def _name_of(each: Tensor | Path | Pair, every: Pictures) -> str:
    """What a picture is called: a pair by its name, a file by its path, a tensor by its place."""
    if isinstance(each, Pair):
        return each.name
    if isinstance(each, Path):
        return str(each)
    return f"picture {next(k for k, other in enumerate(every) if other is each)}"


def _large_enough(pictures: Pictures, scale: int) -> Pictures:
    """Those of which there is an LR pixel; a warning names the others."""
    small = {}
    for each in pictures:
        with suppress(ValueError):  # a damaged one is named when it is read
            if min(picture_size(each)) < scale:
                small[each] = f"smaller than the scale {scale}"
    if small:
        warnings.warn(reasons(small), stacklevel=3)
    return [each for each in pictures if each not in small] if small else pictures


@dataclass(frozen=True)
class Shown:
    """A picture to measure on: HR (3, H, W), and LR where it is a file's and not to be made."""

    name: str
    hr: Tensor
    lr: Tensor | None


def _measurable(measured: Pictures, every: Pictures, model: Network) -> list[Shown]:
    """Those that can be read and are large enough; a warning names the others."""
    shown, left_out = [], {}
    least = max(model.min_size, math.ceil(11 / model.scale) + 2)  # SSIM's window, within the border
    for number, each in enumerate(measured):
        path = each.hr if isinstance(each, Pair) else each
        name = _name_of(each, every) if isinstance(each, Tensor) else Path(path).stem
        try:
            hr = each / 255 if isinstance(each, Tensor) else read_image(path)
            lr = read_image(each.lr) if isinstance(each, Pair) and each.lr is not None else None
        except (ValueError, PermissionError) as error:
            left_out[Path(path)] = str(error)
            continue
        if min(hr.shape[1:]) // model.scale < least:
            left_out[Path(path)] = f"less than {least} LR pixels on a side"
            continue
        if name in (one.name for one in shown):
            name = f"{name} ({number})"
        shown.append(Shown(name, modcrop(hr, model.scale), lr))
    if left_out:
        warnings.warn(f"of the pictures to measure on {reasons(left_out)}", stacklevel=3)
    return shown


def _hash_of(shown: Sequence[Shown]) -> dict[str, Any]:
    """How many pictures are measured on, and the hash of their pixels."""
    pictures = [to_8bit(each.hr) for each in shown]
    pictures += [to_8bit(each.lr) for each in shown if each.lr is not None]
    found = data_facts(VAL, pictures)
    return {"pictures": len(shown), "sha256": found["sha256"]}


def _hashes(paths: Sequence[Path]) -> dict[str, str]:
    return {str(path): files.sha256(path) for path in paths}


def _started(
    model: Network | str | PathLike, scale: int | None, weights: str | PathLike | None
) -> tuple[Network, dict[str, Any]]:
    """The network with the weights that it starts from, and what the record says of them."""
    said = None
    if isinstance(model, str | PathLike):
        if Path(model).is_file():
            if weights is not None:
                raise ValueError(
                    f"weights {weights} beside the file {model}: the file has the weights, leave "
                    "weights out, or name the network that they are for"
                )
            said, model = str(model), load_checkpoint(model, scale=scale)
        else:
            said = str(weights or "official")
            model = create_model(str(model), scale=scale, weights=weights or "official")
    elif weights is not None:
        raise ValueError(f"weights {weights} beside a network that is made: it has its weights")
    model = check_network(model)
    if scale not in (None, model.scale):
        raise ValueError(f"scale={scale}, but {model.name} enlarges by {model.scale}")
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return model, {"network": model.name, "weights": said, "sha256": digest.hexdigest()}


def _made_by(model: Network) -> Call:
    """The network as its plan has it."""
    net = model.net if isinstance(model, Wrapped) else model
    if type(net).__module__.startswith("srkit.models."):
        return Call(type(net), **cast(Network, net).arguments)
    return Call(own_network, name=model.name, of=name_of(type(net)))


def _try_out(model: Network, stage: Stage, crops: Crops, seed: int) -> Sum:
    """Send two crops through network and loss, and forget them; the loss, made for nothing.

    Raises ValueError, in a sentence, for what would stop the training at its first step.
    """
    given = {Given.NETWORK: model, Given.SEED: seed}
    with torch.random.fork_rng(devices=[]):
        loss = deepcopy(stage.loss.made(Build(seed=seed, given=given), _unmeasured))
        try:
            sizes = min(2, stage.batch), stage.patch, seed
            values = first_values(loss, stage.forward.function, model.cpu().eval(), crops, *sizes)
        except (RuntimeError, TypeError, ValueError, AssertionError, IndexError) as error:
            raise ValueError(
                f"{model.name} cannot learn from crops of {stage.patch} LR pixels by this loss: "
                f"{(str(error).splitlines() or [type(error).__name__])[0]}"
            ) from error
    for label, value in values.items():
        if not value.isfinite():
            raise ValueError(
                f"{model.name} cannot learn by this loss: {label} is {value.item()} at the start"
            )
    return loss


def _unmeasured(loss: Sum, crops: int) -> dict[str, Tensor]:
    """In place of the first values of terms, for a loss whose weights do not matter."""
    return {name: torch.ones((), device="cpu") for name in ("first", "other")}


class Tuning(Run):
    """The run of a fine-tuning: one stage, measured before it and after it."""

    def __init__(
        self,
        folder: Path,
        asked: Mapping[str, Any],
        *,
        stage: Stage,
        crops: Crops,
        shown: Sequence[Shown],
        degrade: Degradation,
        **how: Any,
    ):
        self.stage, self.made, self.shown, self.degrade = stage, crops, shown, degrade
        self.best = -math.inf
        super().__init__(folder, asked, validate=self.validated if shown else None, **how)

    @property
    def place(self) -> Path:
        """Where the best weights so far are, with their PSNR in the header."""
        return self.folder / "best.safetensors"

    def _binding(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        """All settings by their full names, but for how long it goes on and when it is measured."""
        free = ("minutes_a_stage", "plan.stages.0.steps", "plan.stages.0.validate_every")
        return {name: value for name, value in flat(asked).items() if name not in free}

    def _check_asked(self) -> None:
        """As of `Run`; and refuse to make a run shorter, or to count it otherwise."""
        super()._check_asked()
        then, now = self._before(), self.length
        if then is not None and (then[0] != now[0] or now[1] < then[1]):
            raise ValueError(
                f"{self.folder} holds a run of {then[1]:g} {then[0]}, {now[1]:g} {now[0]} are "
                "asked for: it can be extended, not shortened; take another name or folder"
            )

    @property
    def length(self) -> tuple[str, float]:
        """How long it is asked to be: ("steps", 1000) or ("minutes", 5.0)."""
        return ("steps", self.stage.steps) if self.minutes is None else ("minutes", self.minutes)

    def _before(self) -> tuple[str, float] | None:
        """How long the folder's run was asked to be; None where nothing binds."""
        path = self.folder / "asked.json"
        bound = self.finished or any(self.folder.glob("stage-*/checkpoint-*.pt"))
        if not (bound and path.exists()):
            return None
        asked = files.read_json(path, dict)
        if asked["minutes_a_stage"] is not None:
            return "minutes", asked["minutes_a_stage"]
        return "steps", asked["plan"]["stages"][0]["steps"]

    def crops(self, stage: Stage) -> Crops:
        """Those that were made when the settings were checked."""
        if self.data is None:
            self.data = data_facts(stage.data, self.made.pictures)
            self._check_data(self.data)
        return self.made

    def tidy(self) -> None:
        """Keeps the checkpoints: a finished run can be extended."""

    def go(self, model: Network) -> Record:
        """Train it, or go on; or read the record of what is done, and its weights into `model`."""
        with self.alone():
            if self.finished and self._before() == self.length:
                load_weights(model, self.weights)
                model.eval()
                return self.record()
            if self.finished and self._processes.is_main_process:
                steps = self.record().stages[0].steps
                (self.folder / "run.json").rename(self.folder / f"run-{steps}-steps.json")
            self._processes.wait_for_everyone()
            with self.alone():  # now it is not finished: what is asked for is written down
                return self._train(model)

    def _train(self, model: Network) -> Record:
        began = any(self.folder.glob("stage-*/checkpoint-*.pt"))
        if self._processes.is_main_process:
            self._write_pictures()
            if not began:
                self.place.unlink(missing_ok=True)
        self._processes.wait_for_everyone()
        start = deepcopy(model.state_dict())
        model.to(find_device(self.device))
        look = bool(self.shown) and self._processes.is_main_process
        before = self.rows(model) if look else {}
        plain = self.rows("bicubic") if look else {}
        self.best = _mean(before) if before else -math.inf
        if self.place.exists():
            with safe_open(self.place, "pt") as opened:
                said = json.loads(opened.metadata()["provenance"])
            self.best = max(self.best, said["psnr"])
        self.stage.train(self, model)
        kept = self._keep_best(model, start, before) if before else None
        after = self.rows(model) if look else {}
        scores = {"start": _means(before), "bicubic": _means(plain)} if before else {}
        return self.finish(
            model,
            measure=lambda m: {VAL: _means(after)} if after else {},
            samples={
                name: partial(upscale, image=lr) for name, lr in list(self._low().items())[:2]
            },
            protocol="classic",
            paper={"metrics": {}, "stages": []},
            baselines={VAL: scores} if scores else {},
            pictures={
                when: {name: row["psnr"] for name, row in rows.items()}
                for when, rows in (("start", before), ("end", after))
                if rows
            },
            kept_step=kept,
        )

    def _keep_best(self, model: Network, start: Mapping[str, Tensor], before: Any) -> int | None:
        """Give the network the best weights, if they are to be kept; the step that they are of."""
        rows = [row for row in self.results[0].history if "psnr" in row]
        best = max(rows, key=lambda row: row["psnr"], default=None)
        if self.asked["plan"]["keep"] == "last" or best is None:
            return rows[-1]["step"] if rows else None
        if best["psnr"] > _mean(before):
            load_weights(model, self.place)
            return best["step"]
        model.load_state_dict(start)
        return 0

    def validated(self, model: Network) -> dict[str, float]:
        """The scores on the pictures to measure on; the best network so far is kept."""
        found = _means(self.rows(model))
        if self.asked["plan"]["keep"] == "best" and found["psnr"] > self.best:
            self.best = found["psnr"]
            save(model, self.place, provenance={"psnr": self.best})
        return found

    def rows(self, model: Network | str) -> dict[str, dict[str, float]]:
        """PSNR and SSIM of each picture, by the protocol "classic"."""
        at = self.folder / "val"
        names = [f"{each.name}.png" for each in self.shown]
        pairs = [Pair(n.removesuffix(".png"), at / "HR" / n, at / "LR" / n) for n in names]
        scores = evaluate(model, pairs, protocol="classic", scale=self.stage_scale)
        return {row["image"]: {"psnr": row["psnr"], "ssim": row["ssim"]} for row in scores.rows}

    @property
    def stage_scale(self) -> int:
        assert isinstance(self.stage.scale, int)
        return self.stage.scale

    def _low(self) -> dict[str, Tensor]:
        """The LR picture of each picture to measure on; made ones always draw the same."""
        return {
            each.name: self.degrade(each.hr, generator_of(0, each.name))
            if each.lr is None
            else each.lr
            for each in self.shown
        }

    def _write_pictures(self) -> None:
        """The pictures to measure on, as files in the run's folder: `val/HR`, `val/LR`."""
        for each, lr in zip(self.shown, self._low().values(), strict=True):
            for kind, picture in (("HR", each.hr), ("LR", lr)):
                write_image(picture, self.folder / "val" / kind / f"{each.name}.png")


def flat(value: Any, name: str = "") -> dict[str, Any]:
    """Nested JSON as one level: {"plan.stages.0.batch": 16}."""
    if isinstance(value, Mapping):
        items = [(str(key), each) for key, each in value.items()]
    elif isinstance(value, list | tuple):
        items = [(str(key), each) for key, each in enumerate(value)]
    else:
        return {name: value}
    found: dict[str, Any] = {}
    for key, each in items:
        found |= flat(each, f"{name}.{key}" if name else key)
    return found


def _means(rows: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    names = next(iter(rows.values()))
    return {name: sum(row[name] for row in rows.values()) / len(rows) for name in names}


def _mean(rows: Mapping[str, Mapping[str, float]]) -> float:
    return _means(rows)["psnr"]
