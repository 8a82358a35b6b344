"""The settings of the daemon, where its files lie, and the files of its keys."""
