"""The daemon: trio, the UDP socket, signals, and what a node needs of its machine (paths, settings, state)."""
