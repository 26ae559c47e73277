"""What a training leaves behind: a record that says how every number came to be."""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import cache, cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from filelock import FileLock, Timeout
from torch import Tensor, nn

import srkit
from srkit.files import data_path, write_whole
from srkit.image.io import write_image
from srkit.inference import in_bfloat16
from srkit.losses.terms import Sum, Term
from srkit.processes import launched
from srkit.training.loop import Crops, fit
from srkit.training.schedules import Schedule
from srkit.weights.load import load_weights, save_weights

if TYPE_CHECKING:
    from accelerate import PartialState
    from torch.utils.tensorboard import SummaryWriter


class Run:
    """One training and its folder: `run.json`, `history.jsonl`, `model.safetensors`, `samples/`.

    A recipe builds a network by `build`, trains it by `fit`, once a stage, and ends with `finish`.
    Run again in the same folder, stages that are done are passed over, and one that was stopped
    goes on from its last checkpoint.
    """

    def __init__(
        self,
        folder: Path,
        *,
        seed: int = 0,
        device: str | None = None,
        tensorboard: bool = False,
        **asked: object,
    ):
        self.folder, self.seed, self.device = Path(folder), seed, device
        self.tensorboard = tensorboard
        self.asked = json.loads(json.dumps({**asked, "seed": seed}))  # as it will be read again
        self.stages: list[dict] = []
        self.facts: dict[str, object] = {}
        self.folder.mkdir(parents=True, exist_ok=True)
        path, several = self.folder / "asked.json", launched() > 1
        before = json.loads(path.read_text()) if path.exists() else dict(self.asked)
        self.code = before.pop("code", [])  # srkit's own when it began, and as it went on
        if code_version() not in self.code:
            self.code.append(code_version())
        if before != self.asked:
            changed = sorted(k for k in before | self.asked if before.get(k) != self.asked.get(k))
            raise ValueError(
                f"{self.folder} holds a run that was asked for otherwise (differs: "
                f"{', '.join(changed)}): take another folder, or remove it"
            )
        if several:  # or a slower process would see what the first one writes
            self._processes.wait_for_everyone()
        if self.finished:
            return
        if not several or self._processes.is_main_process:
            write_json(self.asked | {"code": self.code}, path)
        forget_peaks()

    @property
    def finished(self) -> bool:
        return (self.folder / "run.json").exists()

    def record(self) -> dict:
        """What `run.json` of a finished run says."""
        return json.loads((self.folder / "run.json").read_text())

    def build(self, make: Callable[[], nn.Module]) -> nn.Module:
        """A network or a discriminator, its random weights decided by the run's seed."""
        torch.manual_seed(self.seed)
        return make()

    def fit(
        self,
        model: nn.Module,
        loss: Term | Sum,
        crops: Crops,
        *,
        rate: Schedule,
        batch: int,
        patch: int,
        series: int | None = None,
        **how,
    ) -> None:
        """One stage by `srkit.training.loop.fit`, with checkpoints; adds to the record.

        Each stage draws crops of its own, seeded with 1000 seed + series. `series` is the number of
        the stage in this run, unless given: a stage that goes on from another run's weights, and is
        compared with a longer run, takes the number that follows that run's.
        """
        k = len(self.stages)
        series = k if series is None else series
        with self._alone(), self._log() as log:
            history = fit(
                model,
                loss,
                crops,
                rate=rate,
                batch=batch,
                patch=patch,
                seed=1000 * self.seed + series,
                device=self.device,
                folder=self.folder / f"stage-{k}",
                report=partial(self._report, log),
                **how,
            )
        plain = {n: v for n, v in how.items() if isinstance(v, int | float | str | None)}
        last, where = history[-1], next(model.parameters()).device
        self.stages.append(
            {
                "loss": str(loss).splitlines(),
                "rate": str(rate),
                "batch": batch,
                "patch": patch,
                "series": series,
                **plain,
                "precision": "bfloat16"
                if in_bfloat16(how.get("precision", "auto"), where)
                else "float32",
                "processes": launched(),
                "steps": last["step"],
                "minutes": last["minutes"],
                "cpu_minutes": last["cpu_minutes"],
                "steps_per_second": last["step"] / max(60 * last["minutes"], 1e-9),
                "history": history,
            }
        )

    def finish(
        self,
        model: nn.Module,
        *,
        measure: Callable[[nn.Module], dict[str, dict[str, float]]],
        samples: Mapping[str, Callable[[nn.Module], Tensor]],
        **facts: object,
    ) -> dict:
        """Measure, keep weights and pictures, write `run.json`; return it.

        measure(model): the metrics by test set. samples: what makes a picture (3, H, W) with the
        model, by its name. Of several processes the first does this; the others wait.
        """
        if self._processes.is_main_process:
            self._finish(model, measure, samples, facts)
        self._processes.wait_for_everyone()
        return self.record()

    @cached_property
    def _processes(self) -> PartialState:
        """Those that train together, of which this is one."""
        from accelerate import PartialState

        on_cpu = self.device == "cpu" or not torch.cuda.is_available()
        return PartialState(cpu=on_cpu and launched() > 1)

    def _finish(self, model, measure, samples, facts) -> None:
        for name, make in samples.items():
            write_image(make(model).clamp(0, 1), self.folder / "samples" / f"{name}.png")
        device = next(model.parameters()).device
        record = {
            **self.asked,
            "parameters": sum(p.numel() for p in model.parameters()),
            **self.facts,
            **facts,
            "stages": self.stages,
            "metrics": measure(model),
            **{key: sum(stage[key] for stage in self.stages) for key in ("minutes", "cpu_minutes")},
            "peak_memory_mib": peak_memory(),
            "peak_gpu_memory_mib": peak_gpu_memory(device),
            "machine": machine(device),
            "code": self.code[0],
        }
        if self.code[1:]:
            record["code_after_stops"] = self.code[1:]
        origin = {key: self.asked.get(key) for key in ("recipe", "variant", "budget", "seed")}
        save_weights(model, self.folder / "model.safetensors", provenance=origin)
        write_json(record, self.folder / "run.json")
        for stage in self.folder.glob("stage-*"):
            shutil.rmtree(stage)
        (self.folder / "lock").unlink(missing_ok=True)

    def load(self, model: nn.Module) -> nn.Module:
        """The finished run's weights, into a network of its kind."""
        load_weights(model, self.folder / "model.safetensors")
        return model

    def _report(self, log: SummaryWriter | None, rows: Sequence[Mapping]) -> None:
        """After each validation of a stage: the history so far, and TensorBoard's, if asked for."""
        self._write_history([*self.stages, {"history": rows}])
        if log is not None:
            before = sum(stage["steps"] for stage in self.stages)
            for name, value in rows[-1].items():
                log.add_scalar(name, value, before + rows[-1]["step"])

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Two trainings in one folder would spoil each other's checkpoints."""
        if not self._processes.is_main_process:
            yield
            return
        lock = FileLock(self.folder / "lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise RuntimeError(
                f"another process trains in {self.folder}: wait for it, or take another folder"
            ) from None
        try:
            yield
        finally:
            lock.release()

    def _log(self) -> AbstractContextManager[SummaryWriter | None]:
        """For TensorBoard, if asked for, a stage: the first process's, closed however it ends."""
        if not (self.tensorboard and self._processes.is_main_process):
            return nullcontext()
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise RuntimeError(
                "TensorBoard is not here: pip install tensorboard, or train without it"
            ) from error
        return SummaryWriter(str(self.folder / "tensorboard"))

    def _write_history(self, stages: Sequence[Mapping]) -> None:
        with write_whole(self.folder / "history.jsonl", "w") as file:
            for number, stage in enumerate(stages):
                for row in stage["history"]:
                    file.write(json.dumps({"stage": number, **row}) + "\n")


def machine(device: torch.device | None = None) -> dict:
    """The hardware and software that a figure depends on. device: where it was made; a GPU, if any,
    unless given."""
    on_gpu = torch.cuda.is_available() and (device is None or device.type == "cuda")
    gpu = torch.cuda.get_device_name(device) if on_gpu else None
    return {
        "processor": platform.processor() or platform.machine(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "gpu": gpu,
        "torch": torch.__version__,
        "srkit": srkit.__version__,
    }


@cache
def code_version() -> str:
    """The first digits of a SHA-256 over srkit's own source: the same digits mean the same code."""
    digest = hashlib.sha256()
    root = Path(srkit.__file__).parent
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def pictures_hash(pictures: Sequence[Tensor]) -> str:
    """sha256 over shapes and pixels: the same hash means the same training pictures."""
    digest = hashlib.sha256()
    for picture in pictures:
        digest.update(str(tuple(picture.shape)).encode())
        digest.update(picture.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def data_facts(name: str, pictures: Sequence[Tensor], **more: object) -> dict:
    """For a record: what was trained on, beyond doubt."""
    return {
        "name": name,
        **more,
        "pictures": len(pictures),
        "sha256": pictures_hash(pictures),
    }


def peak_memory() -> int | None:
    """The most memory (MiB) that this process held, since `forget_peaks` where the system is Linux;
    None where it does not tell."""
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
    """The most memory (MiB) that tensors took at once on the GPU; None on a processor."""
    return round(torch.cuda.max_memory_allocated(device) / 2**20) if device.type == "cuda" else None


def forget_peaks() -> None:
    """The peaks are from now on; where the system can't forget, they remain the process's."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # Linux: VmHWM falls to what is held now
    if torch.cuda.is_initialized():  # or there is nothing to forget yet, and CUDA says so loudly
        for k in range(torch.cuda.device_count()):
            torch.cuda.reset_peak_memory_stats(k)


def write_json(value: object, path: Path) -> None:
    """JSON, indented, written whole or not at all."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with write_whole(path) as file:
        file.write(json.dumps(value, indent=1).encode() + b"\n")


def read_runs(name: str) -> list[dict]:
    """The recorded runs of a recipe, e.g. `read_runs("rlfn")`, or what another program recorded."""
    return json.loads(data_path(f"runs/{name}.json").read_text())


def find_runs(folder: Path) -> list[dict]:
    """The records of all finished runs under a folder."""
    return [json.loads(path.read_text()) for path in sorted(Path(folder).rglob("run.json"))]
