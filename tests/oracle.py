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
from torch import nn


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


def relative_error(network: nn.Module, folder: Path, tag: str) -> float:
    """Fill `network` and compare its answer: largest difference over the largest magnitude.

    Names and shapes of all tensors must be the authors'. The network is fed the oracle's own range:
    build it with rgb_range=1. It computes in float64, so only the oracle's float32 rounding shows.
    """
    spec = json.loads((folder / f"{tag}.json").read_text())
    state = network.double().eval().state_dict()
    shapes = {name: list(t.shape) for name, t in state.items() if name not in spec["kept"]}
    assert shapes == spec["tensors"], "tensor names or shapes are not the authors'"
    for name, tensor in state.items():
        if name in spec["kept"]:
            values = np.array(spec["kept"][name]).reshape(tensor.shape)
        else:
            values = fill(name, tuple(tensor.shape), spec["salt"], spec["gain"])
        tensor.copy_(torch.from_numpy(values))
    with np.load(folder / f"{tag}.npz") as arrays:
        (given,) = (arrays[key] for key in arrays.files if key.startswith("in_"))
        (wanted,) = (arrays[key] for key in arrays.files if key.startswith("out_"))
    with torch.no_grad():
        answer = network(torch.from_numpy(given).double()).numpy()
    return float(np.abs(answer - wanted).max() / np.abs(wanted).max())
