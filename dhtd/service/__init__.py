"""The methods of the daemon: one table drives every way in."""
