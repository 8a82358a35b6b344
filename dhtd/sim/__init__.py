"""Whole networks of real nodes on one virtual clock: latency, loss, NAT, partitions, churn, liars.

Nothing here reads a clock or draws entropy of its own: a network is its seed and what is done to it, so every run of a
test is the same run.
"""
