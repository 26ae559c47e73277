"""From a name or a file to a network with weights, and back.

Files of other people are recognised by their tensors (names and shapes), never by their file names,
and never run: `.pth` is read with PyTorch's restricted unpickler, the files of Caffe, TensorFlow
and NumPy by `srkit.weights.foreign`, srkit's own are `.safetensors`. Where authors name tensors
otherwise than srkit, the paper's file has the map: `from_authors` of its network.
"""

from __future__ import annotations

import json
import re
import warnings
from functools import cache
from os import PathLike
from pathlib import Path

import torch
from torch import Tensor, nn

from srkit import __version__, files
from srkit.models.zoo import ZOO, Entry, model_info
from srkit.weights import foreign

WRAPPERS = ("params_ema", "params", "state_dict", "model")  # keys under which trainers put weights
PREFIXES = ("module.", "_orig_mod.")  # of DataParallel and torch.compile


def create_model(
    name: str, *, scale: int | None = None, weights: str | PathLike | None = None
) -> nn.Module:
    """The network `name` ("rlfn_x4", or "rlfn" with scale=4), in eval mode, on the CPU.

    `weights`: None leaves PyTorch's random ones; "official" takes the authors' file, from
    SRKIT_HOME, the cache, or the network, verified; "srkit" the one trained here; or a path.
    """
    entry = model_info(name, scale=scale)
    model = entry.build()
    if weights is not None:
        load_weights(model, file_of(entry, weights))
    return model.eval()


def load_checkpoint(path: str | PathLike) -> nn.Module:
    """The network that a file of weights is for, with these weights, in eval mode, on the CPU.

    Recognises each network of the zoo at each scale, as srkit or its authors save it. Where a file
    serves several scales (CARN-M, VDSR), the smallest is taken, or the one that the header or the
    hash tells; `create_model` takes any, by path.
    Raises ValueError when no network fits, saying what differs from the nearest one.
    """
    state, metadata = _read(path)
    fits = _fits(state)
    if not fits:
        shapes, values = _shapes(state), sum(tensor.numel() for tensor in state.values())
        # building all of the zoo to compare would take seconds
        alike = [e for e in ZOO if 0.1 < e.parameters / max(1, values) < 10] or ZOO
        nearest = max(alike, key=lambda e: len(shapes.items() & _signature(e).items()))
        raise ValueError(
            f"{path} fits no network of srkit. The nearest is {nearest.name}: "
            f"{_difference(shapes, _signature(nearest))}"
        )
    model = _chosen(fits, metadata, path).build()
    model.load_state_dict(_translated(state, model))
    return model.eval()


def load_weights(model: nn.Module, path: str | PathLike) -> None:
    """Fill `model` from a file, srkit's or the authors'; every tensor must fit.

    Values are converted to the model's dtype. Raises ValueError, naming the network that the file
    is for, where there is one; the model is then left as it was.
    """
    state, _ = _read(path)
    expected = _shapes(model.state_dict())
    own = _translated(state, model)
    if _shapes(own) != expected:
        name = getattr(model, "name", type(model).__name__)
        ways = " or ".join(f"create_model({e.family!r}, scale={e.scale})" for e in _fits(state))
        hint = f"This file is for {ways}." if ways else _difference(_shapes(own), expected)
        raise ValueError(f"{path} does not fit {name}. {hint}")
    model.load_state_dict(own)


def save_weights(
    model: nn.Module,
    path: str | PathLike,
    *,
    provenance: dict | None = None,
    dtype: torch.dtype | None = None,
) -> None:
    """Write the weights as `.safetensors`, whole or not at all.

    The header says `name` and `scale` and, as JSON, `provenance`: what is to be known of how they
    came to be. `dtype` (torch.float16, half the size) converts floating-point tensors.
    """
    from safetensors.torch import save

    if Path(path).suffix != ".safetensors":
        raise ValueError(f"{path}: weights are saved as .safetensors, choose such a name.")
    state = {}
    for name, tensor in model.state_dict().items():
        value = tensor.to(dtype) if dtype and tensor.is_floating_point() else tensor
        state[name] = value.contiguous()
        _check_finite(state[name], name, "cannot be saved" + (f" as {dtype}" if dtype else ""))
    metadata = {"format": "pt", "name": model.name, "scale": str(model.scale)}
    metadata["provenance"] = json.dumps(provenance or {})
    with files.write_whole(path) as file:
        file.write(save(state, metadata))


def convert(source: str | PathLike, target: str | PathLike, *, name: str | None = None) -> Path:
    """Write the weights of a file that `load_checkpoint` reads as srkit's own; return `target`.

    `name` ("idn_x3") says which network, where the file fits several. The header's provenance tells
    the file they come from (`origin`), the paper, the version of srkit, and what was translated.
    """
    model = create_model(name, weights=Path(source)) if name else load_checkpoint(source)
    state, metadata = _read(source)
    paper, same = model_info(model.name).paper, state.keys() & model.state_dict().keys()
    provenance = origin(source) | {
        "paper": f"{paper.title}, {paper.venue} {paper.year}",
        "srkit": __version__,
        "translated": f"{len(same)} of {len(state)} tensors have the same name there and here",
    }
    if "provenance" in metadata:
        provenance["the source's provenance"] = metadata["provenance"]
    save_weights(model, target, provenance=provenance)
    return Path(target)


def origin(path: str | PathLike) -> dict[str, str]:
    """What is to be known of a file of weights: name, SHA-256, and licence if the zoo knows it."""
    seen = files.sha256(path)
    known = (file.licence for e in ZOO for file in e.weights.values() if file.sha256 == seen)
    return {"source": Path(path).name, "sha256": seen, "licence": next(known, "not known")}


def official(entry: Entry) -> Path:
    """The authors' file of `entry`, found or fetched, its SHA-256 verified."""
    return file_of(entry, "official")


def file_of(entry: Entry, weights: str | PathLike) -> Path:
    """The file that `weights` of `create_model` means: "official", "srkit", or a path."""
    if weights in entry.weights:
        file = entry.weights[weights]
        if weights == "official":
            return files.fetch([file.url] if file.url else [], file.path, file.sha256)
        return files.data_path(file.path)
    if Path(weights).is_file():
        return Path(weights)
    kinds = " or ".join(map(repr, entry.weights)) or "none"
    others = [e.name for e in ZOO if e.paper == entry.paper and weights in e.weights]
    hint = f" Of the same paper, {', '.join(others)} has them." if others else ""
    raise ValueError(
        f"{entry.name} has no weights {str(weights)!r}, and no file is named so. "
        f"It has: {kinds}.{hint}"
    )


@cache
def _signature(entry: Entry) -> dict[str, torch.Size]:
    with torch.random.fork_rng(devices=[]):  # looking takes no random numbers from the caller
        return _shapes(entry.build().state_dict())


def _chosen(fits: list[Entry], metadata: dict[str, str], path: str | PathLike) -> Entry:
    """Of networks that share all names and shapes, the one that the file is for.

    srkit's files say it in the header (those of a training the scale alone), the authors' are
    known by their hash; else the first is taken with a warning (IDN's weights for x4 would fit its
    network for x2).
    """
    named = [entry for entry in fits if entry.name == metadata.get("name")]
    named = named or [entry for entry in fits if str(entry.scale) == metadata.get("scale")]
    if len(named) == 1 or len(fits) == 1:
        return (named or fits)[0]
    seen = files.sha256(path)
    known = [e for e in fits if "official" in e.weights and e.weights["official"].sha256 == seen]
    if not known:
        warnings.warn(
            f"{path} fits {', '.join(e.name for e in fits)}, and does not say which: taken for "
            f"{fits[0].name}. create_model(name, weights=path) takes another, as does "
            "srkit convert --name.",
            stacklevel=3,
        )
    return (known or fits)[0]


def _translated(state: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """`state` as it is where it fits, else by the network's names if it knows the authors'."""
    if _shapes(state) == _shapes(model.state_dict()) or not hasattr(model, "from_authors"):
        return state
    return model.from_authors(state, model.scale)


def _shapes(state: dict[str, Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in state.items()}


def _fits(state: dict[str, Tensor]) -> list[Entry]:
    """The lines of the zoo that `state` has the names and shapes of, ours or the authors'."""
    found = []
    for entry in ZOO:
        translate = getattr(entry.network, "from_authors", None)
        for own in (state, translate(state, entry.scale)) if translate else (state,):
            # a network is built to compare only where the count fits; buffers add little to it
            values = sum(tensor.numel() for tensor in own.values())
            near = entry.parameters <= values <= 1.05 * entry.parameters + 64
            if near and _shapes(own) == _signature(entry):
                found.append(entry)
                break
    return found


def _difference(found: dict[str, torch.Size], expected: dict[str, torch.Size]) -> str:
    for name, size in found.items():
        if name in expected and expected[name] != size:
            return f"{name} is {tuple(size)} in the file, {tuple(expected[name])} in the network."
    missing, extra = expected.keys() - found.keys(), found.keys() - expected.keys()
    parts = [
        f"{len(names)} tensors {what} ({', '.join(sorted(names)[:3])}{', ...' * (len(names) > 3)})"
        for names, what in ((missing, "are missing"), (extra, "are not in the network"))
        if names
    ]
    return " and ".join(parts) + "."


def _read(path: str | PathLike) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors by name, wrappers and prefixes taken off, and the header of a .safetensors file."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"no file {path}. For a network by its name use create_model, "
            "for a list of names list_models."
        )
    if path.suffix == ".safetensors":
        state, metadata = _read_safetensors(path)
    elif path.suffix == ".caffemodel":
        state, metadata = foreign.read_caffemodel(path), {}
    elif path.suffix == ".npz":
        state, metadata = foreign.read_npz(path), {}
    elif path.suffix == ".t7":
        raise ValueError(
            f"{path} is a file of Torch7, which srkit does not read. Open it where Torch7 or a "
            "reader of its files is, and save its tensors by the names and shapes of "
            "create_model(name).state_dict(), with torch.save or as .safetensors."
        )
    elif foreign.is_tensorflow(path):
        state, metadata = foreign.read_tensorflow(path), {}
    else:
        state, metadata = _read_pickle(path), {}
    while isinstance(state, dict) and (key := next((k for k in WRAPPERS if k in state), None)):
        state = state[key]
    tensors = state.values() if isinstance(state, dict) else ()
    if not tensors or not all(isinstance(value, Tensor) for value in tensors):
        found = f"dict with {', '.join(map(str, state))}" if tensors else type(state).__name__
        raise ValueError(
            f"{path} holds no tensors by name, at its top or under {', '.join(WRAPPERS)}; "
            f"there is a {found}."
        )
    while prefix := next((p for p in PREFIXES if all(n.startswith(p) for n in state)), None):
        state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    for name, tensor in state.items():
        _check_finite(tensor, name, f"of {path} is damaged")
    # batch norms of PyTorch before 0.4.1 do not count their batches; new ones start at 0
    norms = [name.removesuffix("running_mean") for name in state if name.endswith("running_mean")]
    return {f"{norm}num_batches_tracked": torch.tensor(0) for norm in norms} | state, metadata


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            names = file.keys()
            return {name: file.get_tensor(name) for name in names}, file.metadata() or {}
    except SafetensorError as error:
        raise _unreadable(path) from error


def _read_pickle(path: Path) -> object:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a broken file shows as any of half a dozen kinds
        if wanted := re.search(r"GLOBAL (\S+)", str(error)):
            raise ValueError(
                f"{path} is refused: to load it would run {wanted[1]}, and weights are tensors "
                "only. If you trust the file, open it where it was made and save "
                "`network.state_dict()` alone."
            ) from error
        raise _unreadable(path) from error


def _unreadable(path: Path) -> ValueError:
    with open(path, "rb") as file:
        head = file.read(64).lstrip()
    if head.startswith(b"version https://git-lfs"):
        return ValueError(f"{path} is a Git LFS pointer, not the weights: run `git lfs pull`.")
    if head.startswith(b"<"):
        return ValueError(f"{path} is a web page, not weights: look at what the address gave.")
    what = "broken, cut off, or not a file of weights" if head else "empty"
    return ValueError(f"{path} is {what}: fetch it again.")


def _check_finite(tensor: Tensor, name: str, what: str) -> None:
    if not tensor.isfinite().all():
        raise ValueError(f"{name} {what}: it holds NaN or infinite values.")
