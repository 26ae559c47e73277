"""For all that pytest runs here, tests and notebooks: no network, and a cache of its own.

What tests start (workers, kernels, commands) inherits both by the environment.
"""

import os
import sys
import tempfile
from pathlib import Path

GUARD = str(Path(__file__).parent / "tests" / "guard")

sys.path.insert(0, GUARD)
import no_network  # noqa: E402, F401

if "PYTEST_XDIST_WORKER" not in os.environ:  # a worker has them from the process that started it
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [GUARD, os.environ.get("PYTHONPATH")]))
    CACHE = tempfile.TemporaryDirectory(prefix="srkit-tests-")  # gone when pytest ends
    os.environ["SRKIT_CACHE"] = CACHE.name
