"""The state file: what a node remembers across a restart."""
