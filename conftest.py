"""Tests and notebooks run without a network and with an empty cache of their own.

The processes that they start (workers, kernels, commands) inherit both through the environment.
"""

import os
import sys
import tempfile
from pathlib import Path

GUARD = str(Path(__file__).parent / "tests" / "guard")

sys.path.insert(0, GUARD)
import no_network  # noqa: E402, F401

if "PYTEST_XDIST_WORKER" not in os.environ:  # a worker has inherited both already
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [GUARD, os.environ.get("PYTHONPATH")]))
    CACHE = tempfile.TemporaryDirectory(prefix="srkit-tests-")  # gone when pytest ends
    os.environ["SRKIT_CACHE"] = CACHE.name
