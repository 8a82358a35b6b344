"""The own records of a node: published, looked after, and withdrawn."""
