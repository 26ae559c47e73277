"""Networks: one paper, one file; `zoo` is the table of what exists."""
