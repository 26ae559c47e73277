"""What a training leaves to be read: one typed record for every run.

`run.json` in a run's folder holds one; `data/runs/RECIPE.json` holds those that srkit ships. What
was asked for is in `plan`, stage by stage, as `srkit.training.stage.Stage` has it; what came out is
in `stages` and `metrics`.
"""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import MISSING, asdict, dataclass, field, fields
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import torch
from torch import Tensor

import srkit
from srkit.calls import completed
from srkit.cards import card
from srkit.devices import best_device, device_name, forget_device_peaks, peak_device_memory
from srkit.files import read_json, write_whole

Scores = dict[str, dict[str, float]]  # by test set and metric


@dataclass(frozen=True, kw_only=True)
class StageResult:
    """What one stage came to.

    loss: the equation, a line a term, as the loss prints it. history: a row a validation.
    test, image, psnr, ssim: of the picture, where each has a training of its own (ZSSR only).
    """

    steps: int
    minutes: float
    history: list[dict[str, Any]]
    cpu_minutes: float | None = None  # the earliest records have no processor time
    loss: tuple[str, ...] = ()
    precision: str = "float32"
    compiled: bool = False
    processes: int = 1
    steps_per_second: float | None = None
    test: str | None = None
    image: str | None = None
    psnr: float | None = None
    ssim: float | None = None


@dataclass(frozen=True, kw_only=True)
class Record:
    """One finished run.

    - recipe, variant, budget, seed: which run it is.
    - plan: {"tests", "lpips", "stages"}, what was asked for, as JSON.
    - minutes_a_stage: where a budget of minutes took the place of the plan's steps.
    - paper: {"metrics", "stages"}, the paper's figures of this variant, and its stages.
    - builds_on: variants whose weights it began with. data: name, number and hash of the pictures.
    - stages: what each stage came to. metrics: of the finished network, by test set.
    - scales: {"x2": ...}, validated at each scale, where one network serves several. baselines: of
      other methods, by test.
    - start, pictures, kept_step: of a fine-tuning, the weights it began with, the PSNR of each
      picture before and after, and the step whose weights were kept, 0 for the start's.
    - machine: what it ran on. code: the hash of srkit's source; code_after_stops: those of the
      code it was resumed with.
    """

    recipe: str
    variant: str
    budget: str
    seed: int
    plan: dict[str, Any]
    paper: dict[str, Any]
    parameters: int
    stages: tuple[StageResult, ...]
    metrics: Scores
    minutes: float
    cpu_minutes: float
    machine: dict[str, Any]
    code: str
    protocol: str = "classic"
    minutes_a_stage: float | None = None
    precision: str = "auto"
    compiled: bool = False
    builds_on: tuple[str, ...] = ()
    data: dict[str, Any] | None = None
    scales: Scores = field(default_factory=dict)
    baselines: dict[str, Scores] = field(default_factory=dict)
    start: dict[str, Any] | None = None
    pictures: Scores = field(default_factory=dict)
    kept_step: int | None = None
    peak_memory_mib: int | None = None
    peak_gpu_memory_mib: int | None = None
    code_after_stops: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """For messages: "rlfn/laptop/warm-start, seed 0"."""
        return f"{self.recipe}/{self.budget}/{self.variant}, seed {self.seed}"

    @property
    def kind(self) -> tuple[Any, ...]:
        """What must be equal for figures of several seeds to be averaged."""
        plan = json.dumps(completed(self.plan), sort_keys=True)
        return self.recipe, self.budget, self.variant, str(self.minutes_a_stage), plan

    def _repr_html_(self) -> str:
        scores = {
            test: ", ".join(f"{metric} {value:.4g}" for metric, value in found.items())
            for test, found in self.metrics.items()
        }
        steps = sum(stage.steps for stage in self.stages)
        trained = f"{steps:,} steps, {self.minutes:.1f} minutes"
        return card(self.name, {"parameters": f"{self.parameters:,}", "trained": trained} | scores)

    def curve(self, metric: str = "psnr") -> list[tuple[int, float]]:
        """(step, value) of each validation, the steps counted through all stages."""
        points, before = [], 0
        for stage in self.stages:
            rows = (row for row in stage.history if _is(row.get(metric), float))
            points += [(before + row["step"], row[metric]) for row in rows]
            before += stage.steps
        return points

    def to_json(self) -> dict[str, Any]:
        """The record as JSON has it; what is empty or as usual is left out."""
        known = asdict(self)
        known["stages"] = [_without_defaults(StageResult, s) for s in known["stages"]]
        return json.loads(json.dumps(_without_defaults(Record, known)))

    @classmethod
    def from_json(cls, found: Mapping[str, Any], source: str | Path = "a record") -> Record:
        """The record of what `to_json` gave.

        Raises ValueError, with `source`, for a field that is missing, unknown or not of its kind.
        """
        if not isinstance(found, Mapping) or not isinstance(found.get("stages"), list):
            raise ValueError(f"{source} is no record of a run: it has no list of stages")
        for stage in found["stages"]:
            _check(StageResult, stage, source)
            if not all(_is(row.get("step"), int) for row in stage["history"]):
                raise ValueError(f"{source}: a row of StageResult.history has no step")
        _check(cls, found, source)
        for name, kinds in _WITHIN.items():
            # a run of no recipe may have an empty plan, and no paper
            asked = (
                kinds if name == "machine" else {k: v for k, v in kinds.items() if k in found[name]}
            )
            _check_within(found[name], asked, f"{source}: Record.{name}")
        for name in ("plan", "paper"):
            for stage in found[name].get("stages", ()):
                _check_within(stage, _OF_A_PLAN, f"{source}: a stage of Record.{name}")
        stages = [StageResult(**s | {"loss": tuple(s.get("loss", ()))}) for s in found["stages"]]
        lists = {name: tuple(found.get(name, ())) for name in ("builds_on", "code_after_stops")}
        return cls(**{**found, **lists, "stages": tuple(stages)})


# What lists and cards ask of a record's plan, paper and machine; there may be more.
_WITHIN = {
    "plan": {"stages": list[dict[str, Any]]},
    "paper": {"metrics": Scores, "stages": list[dict[str, Any]]},
    "machine": {"threads": int, "capability": str, "gpu": str | None, "torch": str},
}
_OF_A_PLAN = {"name": str, "data": str, "steps": int}


def _check_within(found: Mapping[str, Any], kinds: Mapping[str, Any], what: str) -> None:
    for name, kind in kinds.items():
        if name not in found or not _is(found[name], kind):
            value = f"is {found[name]!r:.40}" if name in found else "is missing"
            raise ValueError(f"{what}: {name} {value}, expected {getattr(kind, '__name__', kind)}")


def _without_defaults(kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    kept = {}
    for f in fields(kind):
        default = f.default_factory() if f.default_factory is not MISSING else f.default
        if values[f.name] != default:
            kept[f.name] = values[f.name]
    return kept


def _check(kind: type, values: Mapping[str, Any], source: str | Path) -> None:
    """Refuse fields that are unknown, missing or not of their kind."""
    if not isinstance(values, Mapping):
        raise ValueError(f"{source}: {values!r:.40} is no {kind.__name__}")
    known = {f.name: f for f in fields(kind)}
    if unknown := sorted(values.keys() - known.keys()):
        raise ValueError(f"{source}: {kind.__name__} has no field {', '.join(unknown)}")
    required = {n for n, f in known.items() if f.default is f.default_factory is MISSING}
    if missing := sorted(required - values.keys()):
        raise ValueError(f"{source}: {kind.__name__} lacks {', '.join(missing)}")
    for name, expected in get_type_hints(kind).items():
        if name in values and name != "stages" and not _is(values[name], expected):
            raise ValueError(
                f"{source}: {kind.__name__}.{name} is {values[name]!r:.40}, which is no "
                f"{known[name].type}"
            )


def _is(value: object, kind: Any) -> bool:
    """Whether a value that was read from JSON is of a kind as fields are annotated with."""
    of = get_args(kind)
    if kind is Any:
        return True
    if isinstance(kind, UnionType):
        return any(_is(value, each) for each in of)
    if get_origin(kind) is dict:
        return isinstance(value, dict) and all(_is(each, of[1]) for each in value.values())
    if get_origin(kind) in (list, tuple):
        return isinstance(value, list) and all(_is(each, of[0]) for each in value)
    if kind in (int, float):
        if isinstance(value, int) and not isinstance(value, bool):
            return kind is int or abs(value) <= sys.float_info.max
        return kind is float and isinstance(value, float)
    return isinstance(value, kind)


def read_record(path: Path) -> Record:
    """The record in a `run.json`.

    Raises Damaged, naming the file, and ValueError for one of another kind.
    """
    return Record.from_json(read_json(path, dict), path)


def write_json(value: object, path: str | Path) -> None:
    """Write JSON, indented, whole or not at all."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with write_whole(path) as file:
        file.write(json.dumps(value, indent=1).encode() + b"\n")


def data_facts(name: str, pictures: Sequence[Tensor]) -> dict[str, Any]:
    """What was trained on, beyond doubt: the name, how many pictures, the hash of all pixels."""
    digest = hashlib.sha256()
    for picture in pictures:
        digest.update(str(tuple(picture.shape)).encode())
        digest.update(picture.cpu().contiguous().numpy().tobytes())
    return {"name": name, "pictures": len(pictures), "sha256": digest.hexdigest()}


def machine(device: torch.device | None = None) -> dict[str, Any]:
    """The hardware and software that figures depend on.

    device: where they were made; without one, a GPU if there is any.
    """
    return {
        "processor": _processor() or platform.processor() or platform.machine(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "gpu": device_name(best_device() if device is None else device),
        "torch": torch.__version__,
        "srkit": srkit.__version__,
    }


def _processor() -> str:
    """The processor's model where the system tells it (Linux): figures depend on it."""
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text().splitlines() if facts.exists() else []
    told = dict(line.split(":", 1) for line in lines if ":" in line)
    told = {name.strip(): value.strip() for name, value in told.items()}
    names = ("model name", "cpu family", "model", "stepping")
    return ", ".join(told[name] for name in names if name in told)


@cache
def code_version() -> str:
    """The first digits of a SHA-256 over srkit's own source: the same digits, the same code."""
    digest = hashlib.sha256()
    root = Path(srkit.__file__).parent
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def peak_memory() -> int | None:
    """The most memory, in MiB, that this process held; None where the system does not tell.

    On Linux it is counted from the last `forget_peaks`.
    """
    status = Path("/proc/self/status")
    if status.exists():  # Linux, whose getrusage also counts the process that started this one
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return round(int(line.split()[1]) / 2**10)
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if platform.system() == "Darwin" else 2**10  # bytes there, KiB elsewhere
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20)


def peak_gpu_memory(device: torch.device) -> int | None:
    """The most memory, in MiB, that tensors took at once on the GPU; None without one."""
    peak = peak_device_memory(device)
    return None if peak is None else round(peak / 2**20)


def forget_peaks() -> None:
    """Count the peaks of memory from now on, where the system can."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # Linux: VmHWM falls to what is held now
    forget_device_peaks()
