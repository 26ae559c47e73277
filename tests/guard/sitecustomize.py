"""Python imports this when it starts with `tests/guard` on PYTHONPATH, as processes of tests do."""

import no_network  # noqa: F401
