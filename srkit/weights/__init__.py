"""From a name or a file to a network with weights, and out again."""
