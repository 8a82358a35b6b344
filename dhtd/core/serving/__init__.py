"""The answering side of a node: limits, tokens and answers."""
