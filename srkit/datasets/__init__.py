"""Pictures: where they come from (`catalog`), made by code (`procedural`), cropped (`patches`)."""
