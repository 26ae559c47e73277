"""Recipes: one paper, one file; how it is trained, in three budgets."""
