"""What the tests of weights share."""

import pytest
import torch

from srkit.weights.load import create_model


@pytest.fixture
def tiny():
    """A small network of the zoo with weights of its own."""
    torch.manual_seed(0)
    return create_model("rlfn_tiny_x4")
