"""Pictures: files, tensors, colour, resizing, degradations."""
