"""Looks for what is wrong with a node and its entries: a step for each question, and a verdict on the whole."""
