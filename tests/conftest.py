"""What the tests share: pictures, the folder of research data, and the thread count."""

import os
from pathlib import Path

import pytest
import torch

torch.set_num_threads(int(os.environ.get("SRKIT_TEST_THREADS", "1")))


@pytest.fixture(scope="session")
def assets():
    """`assets("benchmarks/Set5")`: that path below SRKIT_HOME, or a skip that says what is missing.

    With SRKIT_REQUIRE_ASSETS=1 a missing file fails the test instead.
    """
    folders = [Path(p) for p in os.environ.get("SRKIT_HOME", "").split(os.pathsep) if p]

    def find(relative: str) -> Path:
        for folder in folders:
            if (folder / relative).exists():
                return (folder / relative).absolute()
        where = f"SRKIT_HOME={os.environ['SRKIT_HOME']}" if folders else "SRKIT_HOME is not set"
        message = f"needs {relative} ({where})"
        if os.environ.get("SRKIT_REQUIRE_ASSETS") == "1":
            pytest.fail(message)
        pytest.skip(message)

    return find


@pytest.fixture(scope="session")
def official(assets):
    """`official("idn", 3)`: that network with the authors' weights, or a skip without them."""
    from srkit.models.zoo import model_info
    from srkit.weights.load import create_model

    def load(name: str, scale: int | None = None):
        entry = model_info(name, scale=scale)
        assets(entry.weights["official"].path)
        return create_model(entry.name, weights="official")

    return load


@pytest.fixture
def rng():
    """A seeded torch generator."""
    return torch.Generator().manual_seed(0)
