"""How RLFN is trained, and the paper's arguments as experiments small enough to repeat.

The paper (Kong et al., 2022): three stages of 1000 epochs each on DIV2K, HR crops of 256, batch 64,
flips and turns, Adam at 5e-4 halved every 2e5 iterations, L1. Stages 2 and 3 start from the weights
of the stage before with a fresh optimiser (warm start); stage 3 adds the contrastive loss.

    python -m srkit.recipes.rlfn ladder --seed 0       RFDB -> RFDBR -> RLFB
    python -m srkit.recipes.rlfn schedule --seed 0     long, cyclic, warm start
    python -m srkit.recipes.rlfn contrastive --seed 0  the loss by extractor, after `schedule`
    python -m srkit.recipes.rlfn edsr --seed 0         warm start and the loss on a small EDSR
    python -m srkit.recipes.rlfn collect               the records of all seeds, one file each

A finished run is not repeated. Every run is seeded: the same weights and crops on one machine.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path

import torch
from torch import Tensor, nn

from srkit import features
from srkit.datasets import catalog, procedural
from srkit.datasets.patches import Patches
from srkit.evaluation import evaluate
from srkit.images import read_image, to_8bit
from srkit.losses.contrastive import RANDOM_TANH, VGG_DEEP, VGG_SHALLOW, Contrastive
from srkit.models.edsr import EDSR
from srkit.models.rfdn import RFDN
from srkit.models.rlfn import RLFN
from srkit.resize import imresize
from srkit.training.fit import Loss, adam, fit, l1
from srkit.training.runs import pictures_hash, recording, write_json
from srkit.weights import load_weights, save_weights

SCALE = 4
EXPERIMENTS = ("ladder", "schedule", "contrastive", "edsr")

# One stage is `steps` long. A stage with the contrastive loss has its own length, because VGG-19
# costs a hundred times the network, and shows the extractor only `contrast_crops` of a batch.
BUDGETS = {
    "smoke": {
        "data": "procedural", "tests": (), "steps": 4, "batch": 2, "patch": 16, "lr": 3e-3,
        "contrast_steps": 2, "contrast_crops": 1,
    },
    "laptop": {
        "data": "BSDS400", "tests": ("Set5", "Set14", "BSD100"), "steps": 1500, "batch": 16,
        "patch": 24, "lr": 3e-3, "contrast_steps": 300, "contrast_crops": 4,
    },
    "gpu": {
        "data": "DIV2K", "tests": ("Set5", "Set14", "BSD100"), "steps": 50_000, "batch": 64,
        "patch": 64, "lr": 5e-4, "contrast_steps": 50_000, "contrast_crops": 64,
    },
}  # fmt: skip


def rlfn_tiny() -> RLFN:
    """RLFN at less than half the width and two thirds of the depth: 87,816 parameters."""
    return RLFN(SCALE, channels=24, blocks=4, esa=8)


def edsr_tiny() -> EDSR:
    """An EDSR of RLFN-tiny's weight class: 4 blocks of 24 channels."""
    return EDSR(SCALE, channels=24, blocks=4)


# The paper's ladder (its Table 3) at half the width: 24 for its 48 channels, 28 for its 52.
LADDER: dict[str, Callable[[], nn.Module]] = {
    "RFDB24": lambda: RFDN(SCALE, channels=24, blocks=4, attention="esa"),
    "RFDBR24": lambda: RLFN(SCALE, channels=24, blocks=4, esa=6, block="RFDBR"),
    "RFDBR28": lambda: RLFN(SCALE, channels=28, blocks=4, esa=8, block="RFDBR"),
    "RLFB28": lambda: RLFN(SCALE, channels=28, blocks=4, esa=8),
}

# Extractor and layer weights of each contrastive loss; RLFN's own is the last.
CONTRASTS: dict[str, tuple[Callable[[], nn.Module], dict[str, float]]] = {
    "VGG-19 deep": (lambda: features.vgg19("oxford"), VGG_DEEP),
    "VGG-19 shallow": (lambda: features.vgg19("oxford"), VGG_SHALLOW),
    "random tanh": (features.random_tanh, RANDOM_TANH),
}
CONTRAST_SHARE = 0.1  # of L1, when the stage begins; the paper's own weight is not known


def training_pictures(data: str) -> list[Tensor]:
    """uint8 pictures (3, H, W): a catalogue name, or "procedural" (needs no file at all)."""
    if data == "procedural":
        images = procedural.pictures(8, 128, seed=0)
    else:
        images = [read_image(path) for path in catalog.pictures(data)]
    return [to_8bit(image) for image in images]


def contrastive(extractor: nn.Module, weights: dict[str, float], crops: int) -> Loss:
    """L1 plus the contrastive loss of the first `crops` pictures of the batch.

    The contrastive term is weighed so that it begins at CONTRAST_SHARE of L1; the first batch
    decides, and the weight stands in `.weight` from then on.
    """
    contrast = Contrastive(extractor, weights)

    def loss(sr: Tensor, hr: Tensor, lr: Tensor) -> Tensor:
        pixel = l1(sr, hr, lr)
        blurred = imresize(lr[:crops], SCALE).clamp(0, 1)
        value = contrast(sr[:crops], hr[:crops], negative=blurred)
        if loss.weight is None:
            loss.weight = CONTRAST_SHARE * pixel.item() / value.item()
        return pixel + loss.weight * value

    loss.weight = None
    return loss


class Study:
    """One seed of one experiment: pictures, crops and evaluation, and where its runs are kept."""

    def __init__(self, experiment: str, seed: int, budget: str, out: Path):
        self.experiment, self.seed, self.budget, self.out = experiment, seed, budget, Path(out)
        self.plan = BUDGETS[budget]
        pictures = training_pictures(self.plan["data"])
        self.data = {
            "name": self.plan["data"],
            "pictures": len(pictures),
            "sha256": pictures_hash(pictures),
        }
        self.patches = Patches(pictures, SCALE)

    def files(self, variant: str, *, experiment: str | None = None) -> tuple[Path, Path]:
        """Record and weights of a run, of this experiment or another with the same seed."""
        stem = f"{experiment or self.experiment}-{variant.replace(' ', '_')}-seed{self.seed}"
        return self.out / f"{stem}.json", self.out / f"{stem}.safetensors"

    def fresh(self, build: Callable[[], nn.Module]) -> nn.Module:
        torch.manual_seed(self.seed)
        return build()

    def validate(self, model: nn.Module) -> float:
        return evaluate(model, self.plan["tests"][0], protocol="classic").means["psnr"]

    def stage(
        self,
        model: nn.Module,
        *,
        part: int = 0,
        length: int = 1,
        steps: int | None = None,
        lr: float | None = None,
        loss: Loss = l1,
        optimizer: torch.optim.Optimizer | None = None,
        validate_every: int = 250,
    ) -> dict:
        """Train for `steps`, or `length` times the plan's; `part` picks the stage's own crops."""
        plan = self.plan
        steps = steps or length * plan["steps"]
        schedule = {"steps": steps, "lr": lr or plan["lr"], "halve_every": max(1, steps // 5)}
        history = fit(
            model,
            self.patches,
            **schedule,
            batch=plan["batch"],
            patch=plan["patch"],
            rng=torch.Generator().manual_seed(1000 * self.seed + part),
            loss=loss,
            optimizer=optimizer,
            validate=self.validate if plan["tests"] else None,
            validate_every=validate_every,
        )
        return {**schedule, "history": history}

    @contextmanager
    def recording(self, variant: str, model: nn.Module) -> Iterator[dict]:
        """Around the training of `model`: then evaluate it, keep its weights and its record."""
        path, weights = self.files(variant)
        fields = {
            "recipe": "rlfn",
            "experiment": self.experiment,
            "variant": variant,
            "seed": self.seed,
            "budget": self.budget,
            "parameters": sum(p.numel() for p in model.parameters()),
            "data": self.data,
            "batch": self.plan["batch"],
            "patch": self.plan["patch"],
        }
        with recording(path, **fields) as record:
            yield record
            record["metrics"] = {}
            for name in self.plan["tests"]:
                means = evaluate(model, name, protocol="classic").means
                record["metrics"][name] = {"psnr": means["psnr"], "ssim": means["ssim"]}
            save_weights(model, weights, provenance={"recipe": "rlfn", "run": path.stem})

    def done(self, *variants: str) -> bool:
        return all(self.files(variant)[0].exists() for variant in variants)


def ladder(study: Study) -> None:
    """Equal steps for every block (Sec. 4: what each part of RFDB is worth)."""
    for variant, build in LADDER.items():
        if not study.done(variant):
            model = study.fresh(build)
            with study.recording(variant, model) as record:
                record["stages"] = [study.stage(model)]


def two_stages(study: Study, build: Callable[[], nn.Module], *, cyclic: bool) -> None:
    """One stage, then as many steps again in one of three ways (Sec. 3.4).

    "warm start": the schedule from its beginning, with a fresh optimiser. "cyclic": the same, but
    Adam keeps its moments. "long": never restarted, each learning rate held twice as long.
    """
    if not study.done("one stage", "warm start"):
        model = study.fresh(build)
        optimizer = adam(model)
        with study.recording("one stage", model) as record:
            record["stages"] = first = [study.stage(model, optimizer=optimizer)]
        warm = deepcopy(model)
        with study.recording("warm start", warm) as record:
            record["stages"] = [*first, study.stage(warm, part=1)]
        if cyclic:  # goes on with the very network whose moments Adam holds
            with study.recording("cyclic", model) as record:
                record["stages"] = [*first, study.stage(model, part=1, optimizer=optimizer)]
    if not study.done("long"):
        model = study.fresh(build)
        with study.recording("long", model) as record:
            record["stages"] = [study.stage(model, length=2)]


def last_stage(study: Study, start: Path, build: Callable[[], nn.Module], names: Iterable) -> None:
    """A short stage more from trained weights: with L1 alone, and with each contrastive loss."""
    plan = study.plan
    how = {"part": 2, "steps": plan["contrast_steps"], "lr": plan["lr"] / 4, "validate_every": 100}
    for name in ("L1 alone", *names):
        if study.done(name):
            continue
        model = build()
        load_weights(model, start)
        with study.recording(name, model) as record:
            if name == "L1 alone":
                record["stages"] = [study.stage(model, **how)]
                continue
            make_extractor, weights = CONTRASTS[name]
            extractor = make_extractor()
            loss = contrastive(extractor, weights, plan["contrast_crops"])
            record["stages"] = [study.stage(model, loss=loss, **how)]
            record["contrast"] = {
                "extractor": extractor.name,
                "sha256": extractor.sha256,
                "layers": weights,
                "weight": loss.weight,
            }


def run(experiment: str, *, seed: int = 0, budget: str = "laptop", out: Path = "runs/rlfn") -> None:
    """One experiment with one seed; what is finished is not done again."""
    study = Study(experiment, seed, budget, out)
    if experiment == "ladder":
        ladder(study)
    elif experiment == "schedule":
        two_stages(study, rlfn_tiny, cyclic=True)
    elif experiment == "contrastive":
        start = study.files("warm start", experiment="schedule")[1]
        last_stage(study, start, rlfn_tiny, CONTRASTS)
    elif experiment == "edsr":
        two_stages(study, edsr_tiny, cyclic=False)
        last_stage(study, study.files("warm start")[1], edsr_tiny, ["random tanh"])
    else:
        raise ValueError(f"experiment {experiment!r}: one of {', '.join(EXPERIMENTS)}")


def collect(out: Path, target: Path) -> None:
    """Gather the records under `out` into one file an experiment, `target`/rlfn-EXPERIMENT.json."""
    for experiment in EXPERIMENTS:
        records = [
            json.loads(path.read_text()) for path in sorted(out.glob(f"{experiment}-*.json"))
        ]
        if records:
            write_json(records, target / f"rlfn-{experiment}.json")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("experiment", choices=[*EXPERIMENTS, "collect"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--budget", choices=BUDGETS, default="laptop")
    parser.add_argument("--out", type=Path, default=Path("runs/rlfn"))
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.experiment == "collect":
        collect(args.out, Path("data/runs"))
    else:
        run(args.experiment, seed=args.seed, budget=args.budget, out=args.out)


if __name__ == "__main__":
    main()
