"""What a training is made of while it runs: its state, as checkpoints keep it, and its history."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from srkit.devices import random_states, set_random_states
from srkit.files import write_whole
from srkit.losses.adversarial import Adversarial
from srkit.losses.terms import Sum
from srkit.models.network import Network
from srkit.processes import mean_over_processes, part
from srkit.progress import bar
from srkit.training import checkpoints


class State:
    """Everything that decides how a training goes on, and what is known of it so far.

    Made from the checkpoint in `folder` where there is one; identity: the settings that must be
    those of the checkpoint, by name. `history` has a row a validation; `seconds` counts training
    alone, not validation, over all the times it was resumed; `cpu_seconds` is the same in processor
    time.
    """

    def __init__(
        self,
        model: Network,
        loss: Sum,
        optimizer: torch.optim.Optimizer,
        turns: Mapping[str, torch.optim.Optimizer],
        seed: int,
        ema: float | None,
        folder: Path | None,
        identity: Mapping[str, object],
    ):
        self.model, self.loss, self.folder = model, loss, folder
        self.identity = dict(identity)
        self.optimizers = {"model": optimizer, **turns}
        self.rng = torch.Generator().manual_seed(seed)
        own = [term.rng for term in loss.terms.values() if isinstance(term, Adversarial)]
        self.generators = [self.rng, *(rng for rng in own if rng is not None)]
        self.average = None
        if ema is not None:
            with torch.device("cpu"):  # its count is asked for in each step: no GPU is waited for
                self.average = AveragedModel(
                    model, multi_avg_fn=get_ema_multi_avg_fn(ema), use_buffers=True
                )
        self.step = self.looked = self.saved = 0
        self.seconds = self.cpu_seconds = 0.0
        self.history: list[dict] = []
        self.sums: dict[str, Tensor] = {}
        self.unread: tuple | None = None  # the last step's loss: read one step late, see `count`
        if folder and (saved := checkpoints.load_latest(folder)):
            self._check_identity(saved)
            self._restore(saved)
        self._start()

    def done(self, accelerator, steps: int | None, minutes: float | None) -> float:
        """The share of the budget that is spent; the first process's clock counts for all."""
        if steps is not None or minutes is None:
            return self.step / (steps or 1)
        if self.step == 0:  # one step at least, however slow the machine is
            return 0.0
        now = self.seconds + time.perf_counter() - self.clock
        spent = torch.tensor(now / 60 / minutes, device="cpu")
        if accelerator.num_processes > 1:
            from accelerate.utils import broadcast

            spent = cast(Tensor, broadcast(spent.to(accelerator.device)))
        return spent.item()

    def agreed(
        self, heard: list[BaseException], accelerator, at_once: bool = False
    ) -> list[BaseException]:
        """The requests to stop that count now.

        Several processes may hear a signal at different steps, or only some of them, so they vote
        and stop together. GPUs vote every tenth step, because the answer has to be waited for.
        """
        if accelerator.num_processes == 1:
            return heard
        if accelerator.device.type != "cpu" and self.step % 10 and not at_once:
            return []
        count = torch.tensor(float(len(heard)), device=accelerator.device)
        asked = accelerator.reduce(count, "sum").item() > 0
        return (heard or [SystemExit(128 + signal.SIGTERM)]) if asked else []

    def show_progress(self, steps: int | None, progress: bool | None) -> None:
        """One line with loss and PSNR, see `srkit.progress.bar`."""
        self.bar = bar(
            desc=self.model.name, total=steps, initial=self.step, unit="step", progress=progress
        )

    def set_rate(self, optimizer: torch.optim.Optimizer, rate: float) -> None:
        for group in optimizer.param_groups:
            group["lr"] = rate * group.get("share", 1)

    @property
    def rate(self) -> float:
        """The schedule's rate, without the multiplier of a group of parameters."""
        group = self.optimizers["model"].param_groups[0]
        return group["lr"] / group.get("share", 1)

    def count(self, total: Tensor, parts: Mapping[str, Tensor], norm: Tensor, data: dict) -> None:
        """Count a step. Its loss is read one step later, so that a GPU need not wait."""
        if self.average is not None:
            self.average.update_parameters(self.model)
        self._read()
        self.step += 1
        self.bar.update()
        for name, value in {"loss": total, **parts}.items():
            self.sums[name] = self.sums.get(name, 0) + value.detach()
        values = {"loss": total, "gradient norm": norm, **parts}
        together = torch.stack([value.detach().to(total) for value in values.values()])
        self.unread = (self.step, self.rate, list(values), together, data)

    def look(
        self,
        validate: Callable[[Network], dict[str, float]] | None,
        accelerator,
        report: Callable[[list[dict]], None] | None,
    ) -> None:
        """Validate, and add a row: the mean of each part of the loss since the last one."""
        self._read()
        self._tick()
        steps = self.step - self.looked
        spent = {"minutes": self.seconds / 60, "cpu_minutes": self.cpu_seconds / 60}
        row = {"step": self.step, **spent, "rate": self.rate}
        sums = self._sums()
        row |= {name: value.item() / steps for name, value in sums.items()}
        factors = self.loss.balance.weights if self.loss.balance is not None else {}
        row |= {f"factor of {label}": factor for label, factor in factors.items()}
        if validate and accelerator.is_main_process:
            held = self.model if self.average is None else cast(Network, self.average.module)
            row |= _measured(validate(held.eval()), row)
            held.train()
        self.history.append(row)
        self.bar.set_postfix({k: f"{row[k]:.4g}" for k in ("loss", "psnr") if k in row})
        self.looked, self.sums = self.step, {}
        if report and accelerator.is_main_process:
            report(self.history)
        self._start()

    def save(self, accelerator) -> None:
        """A checkpoint, if there is a folder for it."""
        self._read()
        self._tick()
        self.sums = self._sums()
        if self.folder and accelerator.is_main_process:
            checkpoints.save(self.folder, self.step, self._snapshot())
        self.saved = self.step
        self._start()

    def _sums(self) -> dict[str, Tensor]:
        """The parts of the loss since the last row, summed over steps, averaged over processes."""
        return {name: mean_over_processes(value) for name, value in self.sums.items()}

    def end(self) -> None:
        """The network as it was validated, ready for use."""
        if self.average is not None:
            self.model.load_state_dict(self.average.module.state_dict())
        self.model.eval()
        self.bar.close()

    def _start(self) -> None:
        """The clocks go on: what comes is training."""
        self.clock, self.cpu_clock = time.perf_counter(), time.process_time()

    def _tick(self) -> None:
        self.seconds += time.perf_counter() - self.clock
        self.cpu_seconds += time.process_time() - self.cpu_clock
        self._start()

    def _read(self) -> None:
        if self.unread is None:
            return
        step, rate, names, together, data = self.unread
        self.unread = None
        (_, total), (_, norm), *parts = zip(names, together.tolist(), strict=True)
        # parts too: a discriminator that is lost in its own turn shows in the total a step later
        odd = [f"{name!r} is {value}, " for name, value in parts if not math.isfinite(value)]
        if math.isfinite(total) and math.isfinite(norm) and not odd:
            return
        kept = ""
        if self.folder:
            this, several = part()
            whose = f"-of-process-{this}" if several > 1 else ""
            path = self.folder / f"not-finite-{step:08d}{whose}.pt"
            with write_whole(path) as file:
                torch.save(data, file)
            kept = f"; the batch is in {path}"
        raise FloatingPointError(
            f"the loss is {total:.6g} at step {step} ({''.join(odd)}learning rate {rate:g}, "
            f"gradient norm {norm:.3g}){kept}: lower the rate, clip the gradient, or look for a "
            "division by zero in the loss"
        )

    def _check_identity(self, saved: dict) -> None:
        """Refuse to go on with other settings than a checkpoint was made with."""
        before = saved.get("identity", {})  # earlier editions wrote down less, the first nothing
        changed = [
            f"{name} was {before[name]}, now it is {now}"
            for name, now in self.identity.items()
            if name in before and before[name] != now
        ]
        if changed:
            raise ValueError(
                f"{self.folder} holds a training that was begun otherwise: {'; '.join(changed)}. "
                "Ask for what it was begun with, or take another folder."
            )

    def _snapshot(self) -> dict:
        return {
            "identity": self.identity,
            "step": self.step,
            "looked": self.looked,
            "seconds": self.seconds,
            "cpu_seconds": self.cpu_seconds,
            "history": self.history,
            "sums": self.sums,
            "model": self.model.state_dict(),
            "average": self.average.state_dict() if self.average is not None else None,
            "loss": self.loss.learned(),
            "optimizers": {name: turn.state_dict() for name, turn in self.optimizers.items()},
            "rng": [generator.get_state() for generator in self.generators],
            "torch_rng": torch.get_rng_state(),
            "device_rng": random_states(),
        }

    def _restore(self, saved: dict) -> None:
        for name in ("step", "looked", "seconds", "cpu_seconds", "history", "sums"):
            setattr(self, name, saved[name])
        place = next(self.model.parameters()).device
        self.sums = {name: value.to(place) for name, value in self.sums.items()}
        self.model.load_state_dict(saved["model"])
        if self.average is not None:
            self.average.load_state_dict(saved["average"])
        self.loss.load_state_dict(self.loss.state_dict() | saved["loss"])
        for name, turn in self.optimizers.items():
            turn.load_state_dict(saved["optimizers"][name])
        self.saved = self.step
        for generator, state in zip(self.generators, saved["rng"], strict=True):
            generator.set_state(state)
        if part()[0] == 0:  # whose state it is; others have their own seed
            torch.set_rng_state(saved["torch_rng"])
            set_random_states(saved.get("device_rng", {}))  # the first edition's had none


def _measured(found: object, row: Mapping[str, float]) -> dict[str, float]:
    """What `validate` returned, if it is numbers by names that the row does not have yet."""
    if not isinstance(found, Mapping):
        raise TypeError(
            f"validate returned a {type(found).__name__}: a dictionary of numbers is expected, as "
            '{"psnr": 30.1}'
        )
    if taken := [name for name in found if name in row]:
        raise ValueError(
            f"validate returned {taken[0]!r}, which every row of the history has: choose another "
            "name"
        )
    numbers = {}
    for name, value in found.items():
        try:
            numbers[str(name)] = float(value)
        except (TypeError, ValueError, RuntimeError) as error:
            raise TypeError(
                f"validate returned {name!r}: {value!r:.60}, where a number is expected"
            ) from error
    return numbers


@contextmanager
def stop_requests(active: bool) -> Iterator[list[BaseException]]:
    """The signals received: the first Ctrl-C or SIGTERM appends the exception to end with.

    A second one of its kind has its usual effect at once. (torchrun, itself interrupted by Ctrl-C,
    sends SIGTERM on top of it.) Signals reach the main thread alone.
    """
    requests: list[BaseException] = []
    if not active or threading.current_thread() is not threading.main_thread():
        yield requests
        return
    asking = (signal.SIGINT, signal.SIGTERM)
    before = {int(number): signal.getsignal(number) for number in asking}

    def ask(number: int, frame: object) -> None:
        requests.append(
            KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + number)
        )
        signal.signal(number, before[number])

    try:
        for number in before:
            signal.signal(number, ask)
        yield requests
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
