"""What the daemon can be asked: one table of methods, which every way in is driven by."""
