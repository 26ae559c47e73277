"""What a training leaves behind: a record that says how every number came to be."""

from __future__ import annotations

import hashlib
import json
import platform
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

import srkit
from srkit.files import data_path, write_whole


def machine() -> dict:
    """The hardware and software that a figure depends on."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "processor": platform.processor() or platform.machine(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "gpu": gpu,
        "torch": torch.__version__,
        "srkit": srkit.__version__,
    }


def pictures_hash(pictures: Sequence[Tensor]) -> str:
    """sha256 over shapes and pixels: the same hash means the same training pictures."""
    digest = hashlib.sha256()
    for picture in pictures:
        digest.update(str(tuple(picture.shape)).encode())
        digest.update(picture.contiguous().numpy().tobytes())
    return digest.hexdigest()


@contextmanager
def recording(path: Path, **fields) -> Iterator[dict]:
    """Collect a run's record in the dict that is yielded; write it when the run ends well.

    Adds the machine, wall and processor minutes, and the peak memory of the process.
    """
    record = dict(fields)
    wall, cpu = time.perf_counter(), time.process_time()
    yield record
    record["machine"] = machine()
    record["wall_minutes"] = round((time.perf_counter() - wall) / 60, 2)
    record["cpu_minutes"] = round((time.process_time() - cpu) / 60, 2)
    record["peak_memory_mib"] = peak_memory()
    write_json(record, path)


def peak_memory() -> int | None:
    """The most memory (MiB) that this process ever held; None where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if platform.system() == "Darwin" else 1024  # bytes there, KiB elsewhere
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20)


def write_json(value: object, path: Path) -> None:
    """JSON, indented, written whole or not at all."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with write_whole(path) as file:
        file.write(json.dumps(value, indent=1).encode() + b"\n")


def read_runs(name: str) -> list[dict]:
    """The recorded runs of one experiment, e.g. `read_runs("rlfn-ladder")`."""
    return json.loads(data_path(f"runs/{name}.json").read_text())
