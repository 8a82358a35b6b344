"""Completion: what TAB offers, and the scripts of the shells."""
