"""The records that a node holds for others, and how much of the store each source may use."""
