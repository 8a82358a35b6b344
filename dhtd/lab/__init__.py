"""A simulated network behind the page: it runs while people look at it, and they may lay hands on it."""
