"""Looking inside a network while it runs: features, attention and gates by their modules' names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from fnmatch import fnmatchcase
from typing import Any

from torch import Tensor, nn


@contextmanager
def taps(model: nn.Module, names: str | Sequence[str]) -> Iterator[dict[str, Any]]:
    """Collects what the named modules give in the latest pass through `model`.

    >>> with taps(model, "sft_branch.*.sft0.SFT_scale_conv1") as seen:
    ...     sr = model(lr)
    >>> gamma = seen["sft_branch.0.sft0.SFT_scale_conv1"]  # (B, C, h, w)

    names: of `model.named_modules()`; `*`, `?` and `[...]` stand for parts of a name between dots,
        never for a dot. A module called again within a pass is found as "name@2", "name@3", ...

    Tensors are copies (a later in-place layer can't change them) that keep their gradient history.
    Activations that a network computes by function, not by module, have no name: tap the module
    before. The hooks are gone when the block is left.

    Raises ValueError for a name that fits none.
    """
    modules = {name: module for name, module in model.named_modules() if name}
    wanted = [names] if isinstance(names, str) else names
    found: dict[str, nn.Module] = {}
    for pattern in wanted:
        fitting = {name: module for name, module in modules.items() if _fits(name, pattern)}
        if not fitting:
            # numbered modules in one line: blocks.0, blocks.1, ... -> blocks.*
            known = dict.fromkeys(re.sub(r"(^|[._])\d+(?=\.|$)", r"\1*", name) for name in modules)
            raise ValueError(
                f"no module of {type(model).__name__} is named {pattern!r}. "
                f"There are: {', '.join(known) or 'none'}."
            )
        found |= fitting

    seen: dict[str, Any] = {}
    with ExitStack() as hooks:
        hooks.enter_context(model.register_forward_pre_hook(lambda *_: seen.clear()))
        for name, module in found.items():

            def keep(_module: nn.Module, _inputs: Any, output: Any, name: str = name) -> None:
                calls = sum(key.split("@")[0] == name for key in seen)
                seen[f"{name}@{calls + 1}" if calls else name] = _copy(output)

            hooks.enter_context(module.register_forward_hook(keep))
        yield seen


def _fits(name: str, pattern: str) -> bool:
    parts, wanted = name.split("."), pattern.split(".")
    return len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted))


def _copy(output: Any) -> Any:
    if isinstance(output, Tensor):
        return output.clone()
    if isinstance(output, (tuple, list)):
        return tuple(_copy(item) for item in output)
    return output
