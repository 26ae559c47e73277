"""Losses: one idea, one file. Each takes pictures in [0, 1] and gives a scalar."""
