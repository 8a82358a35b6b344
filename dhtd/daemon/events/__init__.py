"""What the node does, as clients are told of it."""
