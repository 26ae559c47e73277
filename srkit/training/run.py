"""A run: one training in one folder; it can be stopped at any moment and resumed."""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from filelock import FileLock, Timeout
from torch import Tensor

from srkit.calls import completed
from srkit.checks import expanded
from srkit.devices import best_device, find_device, in_bfloat16
from srkit.files import read_json, write_whole
from srkit.image.folder import inside
from srkit.image.io import write_image
from srkit.losses.terms import Sum
from srkit.models.network import Network
from srkit.processes import launched
from srkit.training import checkpoints
from srkit.training.loop import Crops, Forward, fit
from srkit.training.record import (
    Record,
    Scores,
    StageResult,
    code_version,
    data_facts,
    forget_peaks,
    machine,
    peak_gpu_memory,
    peak_memory,
    read_record,
    write_json,
)
from srkit.weights.save import check_savable, save, save_tensors

if TYPE_CHECKING:
    from accelerate import PartialState
    from torch.utils.tensorboard import SummaryWriter

    from srkit.training.stage import Stage


class Run:
    """One training and its folder: `run.json`, `history.jsonl`, `model.safetensors`, `samples/`.

    `discriminators.safetensors` has those of the last stage's loss, if it has any.

    Its stages are trained one after another by `fit`; it ends with `finish`. Run again in the same
    folder, stages that are done are passed over, and one that was stopped goes on from its last
    checkpoint.

    asked: what the run is, as JSON; a folder that holds a run with other settings is
    refused. minutes: of each stage, in place of its steps. validate(network): what is measured now
    and then; None measures nothing.

    Raises ValueError for a folder that holds another run, and for a device that is not here.
    """

    def __init__(
        self,
        folder: str | Path,
        asked: Mapping[str, Any],
        *,
        seed: int = 0,
        minutes: float | None = None,
        precision: str = "auto",
        compiled: bool = False,
        device: str | None = None,
        tensorboard: bool = False,
        validate: Callable[[Network], dict[str, float]] | None = None,
    ):
        find_device(device)  # or it is refused now
        self.folder, self.seed, self.device = expanded(folder), seed, device
        self.minutes, self.precision, self.compiled = minutes, precision, compiled
        self.tensorboard, self.validate = tensorboard, validate
        settings = {"minutes_a_stage": minutes, "precision": precision, "compiled": compiled}
        self.asked = json.loads(json.dumps({**asked, "seed": seed, **settings}))
        self.results: list[StageResult] = []
        self.builds_on: list[str] = []
        self.data: dict[str, Any] | None = None
        self.optimizer: torch.optim.Optimizer | None = None  # the last stage's
        self.loss: Sum | None = None  # the last stage's
        self.code: list[str] = []  # the hash of srkit's code at the start and after each resume
        self._began = False  # whether what was asked for is written down
        self._lock = FileLock(self.folder / "lock")
        self._check_asked()

    def _check_asked(self) -> None:
        """Refuse a folder in which a run with other settings has begun to learn.

        A start that failed before its first checkpoint binds nothing.
        """
        path = self.folder / "asked.json"
        bound = has_learned(self.folder) and path.exists()
        before = completed(read_json(path, dict)) if bound else dict(self.asked)
        self.code = before.pop("code", [])
        if code_version() not in self.code:
            self.code.append(code_version())
        then, now = self._binding(before), self._binding(self.asked)
        if then != now:
            changed = []
            for name in sorted({*then, *now}):
                pair = [json.dumps(each.get(name)) for each in (then, now)]
                if then.get(name) != now.get(name):
                    short = max(map(len, pair)) < 40  # a plan is not
                    changed.append(f"{name} ({pair[0]} then, {pair[1]} now)" if short else name)
            raise ValueError(
                f"{self.folder} holds a run that was asked for otherwise (differs: "
                f"{', '.join(changed)}): take another folder, or remove it"
            )

    def _binding(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        """Of what a run was asked for, what must be the same to go on with it, by name."""
        return asked

    @contextmanager
    def alone(self) -> Iterator[None]:
        """From the first check to the last write, no other process works in the folder.

        Raises RuntimeError if one does, ValueError if it holds another run.
        """
        if launched() > 1:  # or a slower process would see what the first one writes
            self._processes.wait_for_everyone()
        if not self._processes.is_main_process:
            yield
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
        except Timeout:
            raise RuntimeError(
                f"another process trains in {self.folder}: wait for it, or take another folder"
            ) from None
        except PermissionError:
            raise PermissionError(
                f"{self.folder} cannot be written: choose another folder for the runs"
            ) from None
        try:
            if not (self._began or self.finished):
                self._check_asked()
                write_json(self.asked | {"code": self.code}, self.folder / "asked.json")
                forget_peaks()
                self._began = True
            yield
        finally:
            self._lock.release()
            if self.finished and not self._lock.is_locked:
                (self.folder / "lock").unlink(missing_ok=True)

    @property
    def finished(self) -> bool:
        """Whether the record of this run is written."""
        return (self.folder / "run.json").exists()

    @property
    def weights(self) -> Path:
        """The file of the finished network."""
        return self.folder / "model.safetensors"

    def record(self) -> Record:
        """The record of a finished run."""
        return read_record(self.folder / "run.json")

    def weights_of(self, variant: str) -> Path:
        """The finished weights of another variant, with the same seed. A recipe's run trains it.

        Raises ValueError here, for a run that belongs to no recipe.
        """
        raise ValueError(f"this run knows no variant {variant!r} to begin with")

    def crops(self, stage: Stage) -> Crops:
        """The stage's source of crops. The first stage's pictures are hashed for the record."""
        crops = stage.crops(stage.data, stage.scale, self.device)
        if self.data is None:
            self.data = data_facts(stage.data, crops.pictures)
            self._check_data(self.data)
        return crops

    def _check_data(self, now: dict[str, Any]) -> None:
        """Keep what is learned from beside what was asked for; refuse to go on with another.

        A start that failed before its first checkpoint binds nothing.
        """
        path = self.folder / "data.json"
        if not (path.exists() and has_learned(self.folder)):
            if self._processes.is_main_process:
                write_json(now, path)
        elif (before := read_json(path, dict)) != now:
            raise ValueError(
                f"{self.folder} was begun with {before['pictures']} pictures of {before['name']} "
                f"(SHA-256 {before['sha256'][:12]}); there are {now['pictures']} now "
                f"({now['sha256'][:12]}): put them back, or take another folder."
            )

    def fit(
        self,
        stage: Stage,
        model: Network,
        loss: Sum,
        crops: Crops,
        *,
        forward: Forward,
        optimizer: torch.optim.Optimizer,
    ) -> None:
        """Train one stage by `srkit.training.loop.fit`, with checkpoints; add to the record.

        Its crops are drawn with the seed 1000 seed + stage.series.
        """
        check_savable(model)
        self.optimizer, self.loss = optimizer, loss
        with self.alone(), self._log() as log:
            history = fit(
                model,
                loss,
                crops,
                rate=stage.rate,
                batch=stage.batch,
                patch=stage.patch,
                steps=stage.steps if self.minutes is None else None,
                minutes=self.minutes,
                seed=1000 * self.seed + stage.series,
                forward=forward,
                optimizer=optimizer,
                discriminator_optimizer=stage.discriminator_optimizer,
                discriminator_rate=stage.discriminator_rate,
                clip=stage.clip,
                ema=stage.ema,
                accumulate=stage.accumulate,
                precision=self.precision,
                compiled=self.compiled,
                device=self.device,
                from_scratch=stage.from_scratch,
                validate=self.validate,
                validate_every=stage.validate_every,
                report=partial(self._report, log),
                folder=self.folder / f"stage-{len(self.results)}",
            )
        last, where = history[-1], next(model.parameters()).device
        self.results.append(
            StageResult(
                loss=tuple(str(loss).splitlines()),
                precision="bfloat16" if in_bfloat16(self.precision, where) else "float32",
                compiled=self.compiled,
                processes=launched(),
                steps=last["step"],
                minutes=last["minutes"],
                cpu_minutes=last["cpu_minutes"],
                steps_per_second=last["step"] / max(60 * last["minutes"], 1e-9),
                history=history,
            )
        )

    def finish(
        self,
        model: Network,
        *,
        measure: Callable[[Network], Scores],
        samples: Mapping[str, Callable[[Network], Tensor]],
        **facts: Any,
    ) -> Record:
        """Measure the network, keep weights and pictures, write `run.json`; return the record.

        measure(model): the metrics by test set. samples: what makes a picture (3, H, W) with the
        model, by its name. facts: further fields of the record. Of several processes the first one
        does this; the others wait.
        """
        with self.alone():
            if self._processes.is_main_process:
                self._finish(model, measure, samples, facts)
        self._processes.wait_for_everyone()
        return self.record()

    @cached_property
    def _processes(self) -> PartialState:
        """Those that train together, of which this is one."""
        from accelerate import PartialState

        on_cpu = "cpu" in (self.device, best_device().type)
        return PartialState(cpu=on_cpu and launched() > 1)

    def _finish(
        self,
        model: Network,
        measure: Callable[[Network], Scores],
        samples: Mapping[str, Callable[[Network], Tensor]],
        facts: Mapping[str, Any],
    ) -> None:
        origin = {key: self.asked.get(key) for key in ("recipe", "variant", "budget", "seed")}
        save(model, self.weights, provenance=origin)
        if self.loss is not None and (judges := self.loss.discriminators()):
            save_tensors(judges, self.folder / "discriminators.safetensors", provenance=origin)
        for name, make in samples.items():
            write_image(make(model).clamp(0, 1), self.folder / "samples" / f"{name}.png")
        device = next(model.parameters()).device
        record = Record(
            **self.asked,
            **facts,
            parameters=sum(p.numel() for p in model.parameters()),
            builds_on=tuple(self.builds_on),
            data=self.data,
            stages=tuple(self.results),
            metrics=measure(model),
            minutes=sum(stage.minutes for stage in self.results),
            cpu_minutes=sum(stage.cpu_minutes or 0 for stage in self.results),
            peak_memory_mib=peak_memory(),
            peak_gpu_memory_mib=peak_gpu_memory(device),
            machine=machine(device),
            code=self.code[0],
            code_after_stops=tuple(self.code[1:]),
        )
        write_json(record.to_json(), self.folder / "run.json")
        self.tidy()

    def tidy(self) -> None:
        """Of a finished run, remove what only its training needed; a kill may have left it."""
        for stage in self.folder.glob("stage-*"):
            shutil.rmtree(stage, ignore_errors=True)  # another process may do so, too

    def _report(self, log: SummaryWriter | None, rows: Sequence[Mapping[str, Any]]) -> None:
        """After each validation of a stage: the history so far, and TensorBoard's, if asked for."""
        histories = [*(stage.history for stage in self.results), rows]
        with write_whole(self.folder / "history.jsonl", "w") as file:
            for number, history in enumerate(histories):
                for row in history:
                    file.write(json.dumps({"stage": number, **row}) + "\n")
        if log is not None:
            before = sum(stage.steps for stage in self.results)
            for name, value in rows[-1].items():
                log.add_scalar(name, value, before + rows[-1]["step"])

    def _log(self) -> AbstractContextManager[SummaryWriter | None]:
        """For TensorBoard, if asked for: the first process's, closed however the stage ends."""
        if not (self.tensorboard and self._processes.is_main_process):
            return nullcontext()
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise RuntimeError(
                "TensorBoard is not here: pip install tensorboard, or train without it"
            ) from error
        return SummaryWriter(str(self.folder / "tensorboard"))


def has_learned(folder: Path) -> bool:
    """Whether a run in that folder is finished, or has a checkpoint; else nothing is lost there."""
    return (folder / "run.json").exists() or any(folder.glob("stage-*/checkpoint-*.pt"))


def files_named(folder: str | os.PathLike, name: str) -> list[Path]:
    """The files of that name under a folder, sorted; links to folders are followed."""
    return sorted(path for path in inside(expanded(folder)) if path.name == name)


def find_runs(folder: str | Path) -> list[Record]:
    """The records of all finished runs under a folder; a warning names each damaged one."""
    found = []
    for path in files_named(folder, "run.json"):
        try:
            found.append(read_record(path))
        except (ValueError, OSError) as error:
            warnings.warn(str(error), stacklevel=2)
    return found


def unfinished_runs(folder: str | Path) -> dict[Path, str]:
    """What was begun under a folder and is not finished: how far it is, by folder."""
    found = {}
    for path in files_named(folder, "asked.json"):
        run = path.parent
        if not (run / "run.json").exists():
            steps = [
                f"{stage.name.replace('-', ' ')} at step {checkpoints.step_of(last):,}"
                for stage in sorted(run.glob("stage-*"))
                for last in checkpoints.found(stage)[-1:]
            ]
            found[run] = ", ".join(steps) or "no checkpoint yet"
    return found
