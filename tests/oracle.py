"""The oracles' rule: networks filled with numbers that depend on tensor names alone.

An oracle is what the authors' own code answers when it is filled so; only input rule, tensor names
and answer are stored (`oracles/TAG.json`, `TAG.npz` below SRKIT_HOME).
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn


def fill(name: str, shape: tuple[int, ...], salt: int, gain: float) -> np.ndarray:
    seed = (zlib.crc32(name.encode()) + salt) % 2**32
    u = np.random.RandomState(seed).uniform(-1, 1, size=shape)  # a frozen stream
    if name.endswith("running_var"):
        return 1 + 0.1 * np.abs(u)
    if len(shape) >= 2:
        return gain * u * np.sqrt(3 / np.prod(shape[1:]))
    if name.endswith("weight"):
        return 0.25 + 0.05 * u if np.prod(shape) == 1 else 1 + 0.05 * u
    return 0.05 * u  # biases and running means


def picture(shape: tuple[int, ...], salt: int = 0, low: float = 0.0, high: float = 1.0) -> Tensor:
    """An oracle's input where it is not stored, float32 values in float64."""
    values = np.random.RandomState(1000 + salt).uniform(low, high, shape).astype(np.float32)
    return torch.from_numpy(values).double()


def fill_network(network: nn.Module, spec: dict) -> set[str]:
    """Fill `network` by the rule; return the names that the authors' network has and ours has not.

    Every tensor of ours must be one of theirs, in name and shape.
    """
    state = {n: t for n, t in network.state_dict().items() if not n.endswith("batches_tracked")}
    for name, tensor in state.items():
        if name in spec["kept"]:
            values = np.array(spec["kept"][name]).reshape(tensor.shape)
        else:
            assert list(tensor.shape) == spec["tensors"].get(name), f"{name} is not the authors'"
            values = fill(name, tuple(tensor.shape), spec["salt"], spec["gain"])
        tensor.copy_(torch.from_numpy(values))
    return spec["tensors"].keys() - state.keys()


def relative_error(network: nn.Module, folder: Path, tag: str) -> float:
    """Fill `network` and compare its answer: largest difference over the largest magnitude.

    Names and shapes of all tensors must be the authors'. It computes in float64, so only the
    oracle's float32 rounding shows. An oracle that was fed 0..255 is for a network that has this
    range inside (rgb_range=255).
    """
    spec = json.loads((folder / f"{tag}.json").read_text())
    missing = fill_network(network.double().eval(), spec)
    assert missing == set(), "tensors of the authors that are not here"
    with np.load(folder / f"{tag}.npz") as arrays:
        (given,) = (arrays[key] for key in arrays.files if key.startswith("in_"))
        (wanted,) = (arrays[key] for key in arrays.files if key.startswith("out_"))
    top = spec["input_range"][1]
    with torch.no_grad():
        answer = top * network(torch.from_numpy(given).double() / top).numpy()
    return float(np.abs(answer - wanted).max() / np.abs(wanted).max())
