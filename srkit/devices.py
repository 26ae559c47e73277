"""Where a network computes: which device is here, what it can do, and what to say if it cannot.

Each question is asked in one way of all accelerators, through `torch.accelerator`: NVIDIA's (CUDA),
AMD's (ROCm, which torch calls "cuda" too), Apple's ("mps"), Intel's ("xpu"). That several GPUs
train together needs CUDA, ROCm or XPU: their processes talk by NCCL, RCCL or XCCL, which
Accelerate chooses.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache, wraps
from typing import ParamSpec, Protocol, TypeVar, cast

import torch
from torch import Tensor

CPU = torch.device("cpu")
NO_FLOAT64 = ("mps",)

# What torch says of an operator that a backend has not: MPS's own words, then everybody's.
_LACKS = (
    r"operator '([^']+)' is not current(?:ly)? implemented for the \w+ device",
    r"Could not run '([^']+)' with arguments from the '\w+' backend",
)

Asked = ParamSpec("Asked")
Made_co = TypeVar("Made_co", covariant=True)


def best_device() -> torch.device:
    """The accelerator of this machine; the CPU where there is none."""
    return torch.accelerator.current_accelerator(check_available=True) or CPU


def find_device(device: str | torch.device | None = None) -> torch.device:
    """The device of that name: "cpu", "cuda", "cuda:1", "mps", "xpu" ... None is the best one.

    Raises ValueError for a name that torch does not know, and for a device that is not here.
    """
    if device is None:
        return best_device()
    # torch's ways to say no: it is unknown, not here, not compiled in, of a package not installed
    with suppress(RuntimeError, AssertionError, ImportError):
        found = torch.device(device)
        if found.type != "meta":  # that one has no numbers
            torch.zeros(1, device=found)
            return found
    choice = " or ".join(devices())
    raise ValueError(f"device {str(device)!r} is not on this machine: choose {choice}")


def devices() -> list[str]:
    """The names of all devices that are here, the CPU first."""
    kind, count = best_device().type, torch.accelerator.device_count()
    if kind == "cpu":
        return ["cpu"]
    return ["cpu", kind] if count == 1 else ["cpu", *(f"{kind}:{k}" for k in range(count))]


def device_name(device: torch.device) -> str | None:
    """What an accelerator is called, as "NVIDIA H200"; None for the CPU."""
    if device.type == "cpu":
        return None
    named = getattr(torch.get_device_module(device), "get_device_name", None)
    return named(device) if named else f"Apple {device.type.upper()}"


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 in hardware; elsewhere it is slower than float32.

    False where torch cannot tell, as of MPS.
    """
    if device.type == "cpu":
        # the oldest supported torch has no such function
        known = getattr(torch.cpu, "get_capabilities", dict)()
        return any(known.get(x) for x in ("amx_bf16", "avx512_bf16"))
    told = getattr(getattr(torch, device.type, None), "is_bf16_supported", None)
    return told is not None and told(including_emulation=False)


def in_bfloat16(precision: str, device: torch.device) -> bool:
    """Whether "auto", "float32" or "bfloat16" means bfloat16 on this device.

    Raises ValueError for another word.
    """
    if precision not in ("auto", "float32", "bfloat16"):
        raise ValueError(f"precision {precision!r}: choose auto, float32 or bfloat16")
    return precision == "bfloat16" or (precision == "auto" and has_bfloat16(device))


def with_float64(x: Tensor) -> Tensor:
    """x where float64 can be computed: on the CPU, if its own device has none."""
    return x.cpu() if x.device.type in NO_FLOAT64 else x


# memory


def check_memory(nbytes: int) -> None:
    """Refuse to take more of the CPU's memory than is free.

    A system may promise it all the same, and end the process when it is used. Raises MemoryError.
    """
    if nbytes > 2**28:  # what is less is quickly there or not
        import psutil

        if nbytes > (free := psutil.virtual_memory().available):
            raise MemoryError(
                f"not enough memory: {nbytes / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB are free"
            )


def free_memory(device: torch.device) -> int | None:
    """Bytes that are free on an accelerator; None for the CPU, and where torch cannot tell."""
    if device.type == "cpu":
        return None
    with suppress(RuntimeError):
        return torch.accelerator.get_memory_info(device)[0]
    return None


def peak_device_memory(device: torch.device) -> int | None:
    """The most bytes that tensors took at once; None for the CPU, and where torch cannot tell."""
    if device.type == "cpu":
        return None
    with suppress(RuntimeError):
        return torch.accelerator.max_memory_allocated(device)
    return None


def forget_device_peaks() -> None:
    """Count the peaks of memory of all accelerators from now on, where torch can."""
    with suppress(RuntimeError):
        for k in range(torch.accelerator.device_count()):
            torch.accelerator.reset_peak_memory_stats(k)


def give_back_memory() -> None:
    """Give the memory that torch keeps for later back to the accelerator."""
    if (device := best_device()).type != "cpu":
        torch.get_device_module(device).empty_cache()


def sent(x: Tensor, device: torch.device) -> Tensor:
    """x on the device. CUDA, ROCm and XPU copy from pinned memory, while Python goes on."""
    if device.type in ("cpu", "mps"):  # MPS shares the CPU's memory
        return x.to(device)
    return x.pin_memory().to(device, non_blocking=True)


# random numbers


def random_states() -> dict[str, Tensor]:
    """The states of the accelerators' own generators, by device; none without an accelerator."""
    return {
        name: torch.get_device_module(name).get_rng_state(torch.device(name))
        for name in devices()[1:]
    }


def set_random_states(states: Mapping[str, Tensor]) -> None:
    """Go on from what `random_states` returned. Devices that are not here are passed over."""
    for name in devices()[1:]:
        if name in states:
            torch.get_device_module(name).set_rng_state(states[name], torch.device(name))


# what a device lacks


def lacking(error: Exception) -> str | None:
    """The operator that a device has not, if that is what torch's error says; else None."""
    if not isinstance(error, NotImplementedError):
        return None
    found = (re.search(pattern, str(error)) for pattern in _LACKS)
    return next((match[1] for match in found if match), None)


@contextmanager
def saying_what_is_lacking(device: torch.device) -> Iterator[None]:
    """Within it, an operator that the device has not is told with the way to do without.

    Raises NotImplementedError in torch's place.
    """
    try:
        yield
    except NotImplementedError as error:
        if device.type == "cpu" or (operator := lacking(error)) is None:
            raise
        ways = ["train on the CPU (device='cpu')"]
        if device.type == "mps":
            ways.append("set PYTORCH_ENABLE_MPS_FALLBACK=1 before Python starts: it fills in")
        raise NotImplementedError(f"{device} has no {operator}: {', or '.join(ways)}") from error


# tensors that are kept


class Kept(Protocol[Asked, Made_co]):
    """A function that remembers what it made, as `functools.lru_cache` does."""

    cache_clear: Callable[[], None]
    cache_info: Callable[[], tuple]

    def __call__(self, *args: Asked.args, **named: Asked.kwargs) -> Made_co: ...


def keep_tensors(
    most: int,
) -> Callable[[Callable[Asked, Made_co]], Kept[Asked, Made_co]]:
    """Remember the `most` last results of a function that makes tensors.

    While tensors hold no numbers (torch.export, a fake mode, the device "meta"), what it makes
    is not kept, and nothing that was kept is given: the two kinds must not meet.
    """

    def decorate(function: Callable[Asked, Made_co]) -> Kept[Asked, Made_co]:
        kept = lru_cache(most)(function)

        @wraps(function)
        def give(*args: Asked.args, **named: Asked.kwargs) -> Made_co:
            trial = torch.empty(0)
            if torch.compiler.is_exporting() or type(trial) is not Tensor or trial.is_meta:
                return function(*args, **named)
            return kept(*args, **named)

        for name in ("cache_clear", "cache_info"):
            setattr(give, name, getattr(kept, name))
        return cast("Kept[Asked, Made_co]", give)

    return decorate
