"""Guards tie own entries to their services: checks, processes and connections."""
