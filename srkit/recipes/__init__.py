"""Recipes: one paper, one file; how it is trained, in three budgets."""

import os


def budget() -> str:
    """The budget that the environment variable SRKIT_BUDGET names: smoke (default), laptop or gpu.

    smoke takes seconds on any machine, laptop 10 to 20 minutes of a processor, gpu as long on one
    GPU. Chapters ask here, so that one switch decides for all of them.
    """
    chosen = os.environ.get("SRKIT_BUDGET", "smoke")
    if chosen not in ("smoke", "laptop", "gpu"):
        raise ValueError(f"SRKIT_BUDGET={chosen}: expected smoke, laptop or gpu")
    return chosen
