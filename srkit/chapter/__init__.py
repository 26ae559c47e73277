"""What only the book's pages need: widgets, the study, diagrams, toys."""
